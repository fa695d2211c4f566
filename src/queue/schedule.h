/* A schedule: what is pushed again and again, when, and how far it has come.
 *
 * Its definition is a JSON object: that of a push (recorder.h) without
 * `expect_seq` and `not_before`, with members of the schedule's own beside:
 *
 *     cron     when: base/cron.h
 *     zone     whose clock: "Europe/Berlin"; without it UTC
 *     missed   "skip" (without it) or "once": what becomes of runs whose time
 *              passed while they could not be made
 *     paused   true, false
 *
 * It is kept as it came, so that it means at each run what a push of it would
 * mean then. Definition and state together are one message of an internal
 * topic, SCHEDULE_TOPIC_PREFIX and the id: the last one counts.
 *
 * Threads: the loop's of the shard that owns the topic.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_SCHEDULE_H
#define OPQ_QUEUE_SCHEDULE_H

#include "base/buf.h"
#include "base/cron.h"
#include "base/err.h"
#include "base/str.h"
#include "queue/recorder.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    SCHEDULE_ID_MAX = 64,         /* bytes of an id */
    SCHEDULE_SIZE_MAX = 64 << 10, /* bytes of a definition */
    SCHEDULE_MEMBERS_MAX = 64,    /* of a definition */
    SCHEDULE_STATE_PAIRS = 6,
    SCHEDULE_RUN_ID_MAX = 8 + SCHEDULE_ID_MAX + PUT_DECIMAL_MAX,
};

#define SCHEDULE_TOPIC_PREFIX ".opq.schedule."

enum schedule_missed {
    SCHEDULE_MISSED_SKIP, /* nothing */
    SCHEDULE_MISSED_ONCE, /* one run, for however many */
};

struct schedule_definition {
    struct buf json; /* owned; as it came */
    struct cron cron;
    enum schedule_missed missed;
    bool paused; /* as it came; whether it is paused: the state */
    char cron_text[CRON_SIZE_MAX + 1];
    char zone[ZONE_NAME_MAX + 1];
};

/* What is kept beside the definition. Times are of the wall clock, 0: none. */
struct schedule_state {
    bool paused;
    uint64_t since_ms;   /* runs are counted from then on: when it was put, or
                            resumed */
    uint64_t due_ms;     /* of the last run that was due, made or given up */
    uint64_t run_ms;     /* when the last run was stored, a run by hand too */
    uint64_t run_count;  /* runs stored */
    uint64_t fail_count; /* runs given up, since the push was refused */
};

/* Tell whether this may be a schedule's id: [A-Za-z0-9._-], not beginning with
 * '.', at most SCHEDULE_ID_MAX bytes. */
bool schedule_id_valid(struct str id);

/* The id in the name of a topic; empty when it is not a schedule's. */
struct str schedule_id_of_topic(struct str topic);

/* Read what of a definition is the schedule's own.
 *
 * Gives:  `*out`, for schedule_definition_fini().
 * Errors: ERR_INVALID  `*out_refusal` says why
 *         ERR_NOMEM
 */
MUST_CHECK enum err schedule_definition_read(struct str json,
                                             struct schedule_definition *out,
                                             struct push_refusal *out_refusal);

/* Free it; zeroed is accepted. */
void schedule_definition_fini(struct schedule_definition *definition);

/* Read the push that a definition is, as of now. `expect_seq` and `not_before`,
 * which are of one message, are refused. What recorder_read_item()
 * says of borrowing holds for definition and recorder.
 *
 * Errors: ERR_INVALID  `*out_refusal` says why
 *         ERR_NOMEM
 */
MUST_CHECK enum err
schedule_read_push(const struct schedule_definition *definition,
                   struct recorder *recorder,
                   uint64_t now_ms,
                   struct push *out_push,
                   struct push_refusal *out_refusal);

/* The message that keeps a schedule, and what it borrows. */
struct schedule_message {
    struct message message;
    struct pair pairs[SCHEDULE_STATE_PAIRS];
    char digits[SCHEDULE_STATE_PAIRS][PUT_DECIMAL_MAX];
};

/* Make the message that keeps a definition and a state.
 * Borrows: definition, as long as `*out` is used. */
void schedule_message_make(const struct schedule_definition *definition,
                           const struct schedule_state *state,
                           uint64_t now_ms,
                           struct schedule_message *out);

/* Read the state that a message keeps; its body is the definition's JSON.
 * Errors: ERR_CORRUPT  it is no such message */
MUST_CHECK enum err schedule_message_read(const struct message *message,
                                          struct schedule_state *out_state);

#endif

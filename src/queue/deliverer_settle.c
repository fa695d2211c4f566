/* What is stored about a message whose delivery has ended.
 *
 * A dead letter is the message as it was, in the topic <t>.dlq, with what is
 * known of its end as a JSON object. A callback is an ordinary message of the
 * topic "opq.callbacks" (TOPIC_CALLBACKS). Both go through push_task like
 * any other, to whatever shard owns those topics.
 *
 * What can go wrong: no memory, a full disk, a store that fails. Then what was
 * not stored yet is stored later, while the lane waits; the message is not sent
 * again for that. Only a server that stops meanwhile forgets how it ended.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer_settle.h"

#include "base/check.h"
#include "base/diag.h"
#include "base/json_text.h"
#include "queue/deliverer_delivery.h"
#include "queue/deliverer_parcel.h"
#include "queue/push_task.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    HEAD_MAX = 2048,    /* bytes of an answer's head in a dead letter */
    LETTER_MAX = 65536, /* bytes of what is said about an end */
};

struct settlement {
    struct deliverer *deliverer; /* borrowed */
    struct parcel *parcel;       /* borrowed; NULL: nobody waits */
    enum retry_reason reason;
    struct buf report; /* owned: members of a JSON object, each with a comma
                          before it */
    struct buf answer; /* owned: the same, of the answer; for callbacks */
    uint32_t pending;  /* pushes under way */
    uint32_t stored;   /* a bit for each enum part that is durable */
    enum err err;      /* the first that failed */
    enum err failed;   /* the same of the last time */
};

/* What is stored, as push_task.item. */
enum part { PART_LETTER, PART_CALLBACK };

static const struct topic *topic_of_parcel(const struct parcel *parcel)
{
    return topic_root(parcel->delivery->topic);
}

/* --- words ---------------------------------------------------------------- */

/* Append the head of an answer as it came, as far as it is short. */
static void append_head(struct buf *to, const struct http_head *head)
{
    struct buf text;

    buf_init(&text, 0);
    buf_append_format(&text, "HTTP/1.%d %d %s\r\n", head->version_minor,
                      head->status, http_status_text(head->status));
    for (uint32_t i = 0; i < head->header_count; i++) {
        const struct http_header *header = &head->headers[i];
        if (text.size + header->name.size + header->value.size > HEAD_MAX) {
            break;
        }
        buf_append_str(&text, header->name);
        buf_append_c(&text, ": ");
        buf_append_str(&text, header->value);
        buf_append_c(&text, "\r\n");
    }
    if (text.failed) {
        to->failed = true;
    } else {
        json_text_append_text(to, "head", buf_str(&text));
    }
    buf_fini(&text);
}

static void append_report(struct buf *to,
                          const struct parcel *parcel,
                          const struct settle_outcome *outcome)
{
    const struct topic *topic = topic_of_parcel(parcel);
    struct deliverer *deliverer = parcel->delivery->deliverer;
    bool delivered = outcome->reason == RETRY_REASON_NONE;

    buf_append_c(to,
                 delivered ? ",\"delivered\":true" : ",\"delivered\":false");
    if (!delivered) {
        json_text_append_text(to, "reason",
                              str_from(retry_reason_text(outcome->reason)));
    }
    json_text_append_text(to, "topic", topic->store->name_str);
    json_text_append_number(to, "seq", parcel->base.sequence);
    if (parcel->delivery->topic->parent != NULL) {
        json_text_append_text(to, "subscription",
                              parcel->delivery->topic->store->name_str);
    }
    json_text_append_number(to, "attempts",
                            parcel->base.attempts + (delivered ? 1U : 0U));
    if (outcome->class != NULL) {
        json_text_append_text(to, "class", str_from(outcome->class));
        json_text_append_number(to, "status", (uint64_t)outcome->status);
    }
    if (outcome->detail != NULL) {
        json_text_append_text(to, "detail", str_from(outcome->detail));
    }
    if (parcel->target != NULL) {
        json_text_append_text(to, "endpoint", str_from(parcel->target->name));
    }
    json_text_append_time(to, "at", io_wall_ms(deliverer->options.io));
    attempt_log_json(parcel->failures, to);
}

static void append_answer(struct buf *to, const struct settle_outcome *outcome)
{
    if (outcome->head != NULL) {
        buf_append_c(to, ",\"headers\":[");
        for (uint32_t i = 0; i < outcome->head->header_count; i++) {
            const struct http_header *header = &outcome->head->headers[i];
            buf_append_c(to, i > 0 ? ",[\"" : "[\"");
            buf_append_json(to, header->name);
            buf_append_c(to, "\",\"");
            buf_append_json(to, header->value);
            buf_append_c(to, "\"]");
        }
        buf_append_byte(to, ']');
    }
    buf_append_c(to, ",\"body_base64\":\"");
    json_text_append_base64(to, outcome->body);
    buf_append_byte(to, '"');
}

/* --- life ----------------------------------------------------------------- */

static void destroy(struct settlement *settlement)
{
    settlement->deliverer->settling--;
    buf_fini(&settlement->report);
    buf_fini(&settlement->answer);
    free(settlement);
}

void deliverer_settle_leave(struct settlement *settlement)
{
    if (settlement == NULL) {
        return;
    }
    settlement->parcel = NULL;
    if (settlement->pending == 0) {
        destroy(settlement);
    }
}

enum err deliverer_settle_failed(const struct settlement *settlement)
{
    return settlement != NULL ? settlement->failed : ERR_OK;
}

void deliverer_settle(struct parcel *parcel,
                      const struct settle_outcome *outcome)
{
    struct deliverer *deliverer = parcel->delivery->deliverer;
    struct settlement *settlement = calloc(1, sizeof(*settlement));

    CHECK(parcel->settlement == NULL);
    if (settlement == NULL) {
        deliverer_parcel_stumble(parcel, ERR_NOMEM);
        return;
    }
    settlement->deliverer = deliverer;
    settlement->parcel = parcel;
    settlement->reason = outcome->reason;
    deliverer->settling++;
    buf_init(&settlement->report, LETTER_MAX);
    buf_init(&settlement->answer, 0);
    append_report(&settlement->report, parcel, outcome);
    if (outcome->head != NULL && outcome->reason != RETRY_REASON_NONE) {
        append_head(&settlement->report, outcome->head);
    }
    append_answer(&settlement->answer, outcome);
    if (settlement->report.failed || settlement->answer.failed) {
        destroy(settlement);
        deliverer_parcel_stumble(parcel, ERR_NOMEM);
        return;
    }
    parcel->settlement = settlement;
    deliverer_parcel_settle(parcel);
}

/* --- storing -------------------------------------------------------------- */

/* Tell whether a body that was to be stored once more is no more. */
static bool is_lost(enum err err)
{
    return err == ERR_NOT_FOUND || err == ERR_CORRUPT;
}

/* All that was begun has ended. */
static void ended(struct settlement *settlement)
{
    struct parcel *parcel = settlement->parcel;
    enum err err = settlement->err;

    settlement->err = ERR_OK;
    settlement->failed = err;
    if (parcel != NULL && err != ERR_OK && !is_lost(err)) {
        deliverer_parcel_stumble(parcel, err);
        return;
    }
    destroy(settlement);
    if (parcel == NULL) {
        return;
    }
    parcel->settlement = NULL;
    if (is_lost(err)) {
        store_blob_damaged(parcel->delivery->topic->store,
                           parcel->base.sequence, err);
        deliverer_parcel_lose(parcel, "its body is damaged on disk");
    } else {
        parcel->delivery->deliverer->stats.expired_dropped +=
            parcel->drops ? 1 : 0;
        deliverer_parcel_done(parcel);
    }
}

static void push_ended(struct push_task *task)
{
    struct settlement *settlement = task->context;

    if (task->err == ERR_OK) {
        settlement->stored |= 1U << task->item;
        if (task->item == PART_LETTER) {
            settlement->deliverer->stats.dead[settlement->reason]++;
        }
    } else if (settlement->err == ERR_OK) {
        settlement->err = task->err;
    }
    push_task_release(task);
    CHECK(settlement->pending > 0);
    settlement->pending--;
    if (settlement->pending == 0) {
        ended(settlement);
    }
}

static void
begin(struct settlement *settlement, enum part part, const struct push *push)
{
    const struct parcel *parcel = settlement->parcel;
    struct push_task *task = NULL;
    enum err err = push_task_acquire(&settlement->deliverer->pushes, &task);

    if (err == ERR_OK) {
        task->ended = push_ended;
        task->context = settlement;
        task->item = part;
        err = push_task_start_copy(task, push, topic_of_parcel(parcel)->store,
                                   parcel->base.sequence);
        if (err == ERR_OK) {
            settlement->pending++;
            return;
        }
        push_task_release(task);
    }
    if (settlement->err == ERR_OK) {
        settlement->err = err;
    }
}

/* The message's id as its receiver saw it. */
static void append_id(struct buf *to,
                      const struct parcel *parcel,
                      const struct message_options *options)
{
    if (options != NULL && options->id.size > 0) {
        buf_append_str(to, options->id);
    } else {
        topic_message_id(topic_of_parcel(parcel), parcel->base.sequence, to);
    }
}

/* Close what was said into one JSON object. */
static struct str
close_object(struct buf *to, const struct buf *first, const struct buf *second)
{
    buf_append_c(to, "{\"id\":\"");
    buf_append_str(to, buf_str(first));
    buf_append_c(to, "\"");
    buf_append_str(to, buf_str(second));
    return buf_str(to);
}

static void store_letter(struct settlement *settlement,
                         const struct record *record,
                         const struct buf *id)
{
    const struct parcel *parcel = settlement->parcel;
    const struct topic *topic = topic_of_parcel(parcel);
    struct message_options options = {.retries = MESSAGE_RETRIES_UNSET};
    char name[TOPIC_NAME_MAX + 1];
    struct buf dead;

    if (record->message.options != NULL) {
        options = *record->message.options;
    }
    buf_init(&dead, 0);
    (void)close_object(&dead, id, &settlement->report);
    buf_append_byte(&dead, '}');
    options.id = buf_str(id);
    options.topic = topic->store->name_str;
    options.dead = buf_str(&dead);
    options.dedup_id = (struct str){0}; /* it is not pushed once more */
    options.not_before_ms = 0;
    topic_dead_name(topic->store->name_str, name);
    struct push push = {
        .topic = str_from(name),
        .message = record->message,
        .durability = DURABILITY_DISK,
        .owed = true,
    };
    push.message.options = &options;
    if (dead.failed) {
        settlement->err = ERR_NOMEM;
    } else {
        begin(settlement, PART_LETTER, &push);
    }
    buf_fini(&dead);
}

static void store_callback(struct settlement *settlement,
                           struct str url,
                           const struct buf *id)
{
    struct deliverer *deliverer = settlement->deliverer;
    struct buf body;

    buf_init(&body, 0);
    (void)close_object(&body, id, &settlement->report);
    buf_append_str(&body, buf_str(&settlement->answer));
    buf_append_byte(&body, '}');
    struct push push = {
        .topic = STR(TOPIC_CALLBACKS),
        .durability = DURABILITY_DISK,
        .owed = true,
        .message =
            {
                .url = url,
                .kind = MESSAGE_KIND_RAW,
                .body = buf_str(&body),
                .content_type = STR("application/json"),
                .pushed_at_ms = io_wall_ms(deliverer->options.io),
            },
    };
    if (body.failed) {
        settlement->err = ERR_NOMEM;
    } else {
        begin(settlement, PART_CALLBACK, &push);
    }
    buf_fini(&body);
}

/* Tell whether a part is still to be stored. */
static bool wants(const struct settlement *settlement, enum part part)
{
    return (settlement->stored & 1U << part) == 0;
}

void deliverer_settle_store(struct parcel *parcel, const struct record *record)
{
    struct settlement *settlement = parcel->settlement;
    const struct message_options *options = record->message.options;
    bool delivered = settlement->reason == RETRY_REASON_NONE;
    struct str url = {0};
    struct buf id;

    buf_init(&id, 0);
    append_id(&id, parcel, options);
    if (id.failed) {
        settlement->err = ERR_NOMEM;
    }
    if (options != NULL) {
        url = delivered ? options->callback : options->failure_callback;
    }
    if (settlement->err == ERR_OK && !delivered && !parcel->drops &&
        wants(settlement, PART_LETTER)) {
        store_letter(settlement, record, &id);
    }
    if (settlement->err == ERR_OK && url.size > 0 &&
        wants(settlement, PART_CALLBACK)) {
        store_callback(settlement, url, &id);
    }
    buf_fini(&id);
    if (settlement->pending == 0) {
        ended(settlement);
    }
}

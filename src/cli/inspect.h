/* Looking through a data directory that no server has: every record in its
 * segments and journals, and all that is not as it should be. Nothing is
 * written but the process id into the lock, which is held meanwhile.
 *
 * inspect_look() does it on one that a server may have: without the lock, and
 * what the server changes meanwhile is nothing to tell of.
 *
 * Threads: one. All calls block on the disk.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_INSPECT_H
#define OPQ_CLI_INSPECT_H

#include "base/err.h"
#include "base/str.h"
#include "log/journal.h"
#include "log/topic_inspect.h"

#include <stdbool.h>
#include <stdint.h>

struct inspect;

/* Something that is not as it should be. */
struct inspect_damage {
    const char *topic; /* NULL: not known */
    const char *path;  /* of the file */
    enum topic_finding_kind kind;
    uint64_t offset;   /* in the file */
    uint64_t size;     /* bytes; 0: not known */
    uint64_t sequence; /* of the first message it is about */
    uint64_t lost;     /* messages; 0: none, or not known */
    const char *what;  /* in words */
};

struct inspect_visit {
    /* Each entry of a journal, as it is. May be NULL. An error as that of
     * record(). */
    enum err (*entry)(void *context,
                      enum journal_type type,
                      uint64_t topic_id,
                      struct str body);
    /* A topic's folder begins. */
    void (*topic)(void *context, const char *topic);
    /* A whole record. In segments they come in sequence; those in a journal may
     * have been met in a segment. An error ends the walk and is returned. May
     * be NULL. */
    enum err (*record)(void *context,
                       const char *topic,
                       uint64_t sequence,
                       struct str bytes,
                       bool in_journal);
    /* May be NULL. */
    void (*damage)(void *context, const struct inspect_damage *damage);
    /* The topic's `cmd` says that numbers up to `end` were given, of which
     * those from `oldest` on are kept; told before the topic's segments. May be
     * NULL. */
    void (*given)(void *context,
                  const char *topic,
                  uint64_t oldest,
                  uint64_t end);
    /* Messages below `oldest` were dropped; told after those of the topic's
     * segments, and again as the journal has it. May be NULL. */
    void (*trim)(void *context, const char *topic, uint64_t oldest);
    /* The topic was deleted; what the journal has of the name comes after. May
     * be NULL. */
    void (*deleted)(void *context, const char *topic);
    void *context; /* borrowed */
};

/* Open a data directory: read its `meta` and its topics' names.
 *
 * Gives:  `*out`, for inspect_close().
 * Errors: ERR_NOT_FOUND    no data directory
 *         ERR_UNSUPPORTED  of a version that this program does not know
 *         ERR_CORRUPT      its meta file is damaged
 *         ERR_BUSY         a server has it
 *         ERR_IO, ERR_NOMEM, ERR_TOO_LARGE (the path)
 */
MUST_CHECK enum err inspect_open(const char *directory, struct inspect **out);

/* As inspect_open(), without the lock: a server may have the directory. */
MUST_CHECK enum err inspect_look(const char *directory, struct inspect **out);

/* As inspect_open(), for who has the lock already. */
MUST_CHECK enum err inspect_held(const char *directory, struct inspect **out);

/* Tell whether a process has the lock of a data directory. Writes nothing. */
bool inspect_in_use(const char *directory);

/* Close it. Accepts NULL. */
void inspect_close(struct inspect *inspect);

/* Go through the segments of one topic, or, with NULL, of all, by name.
 * Errors: ERR_NOT_FOUND (the topic), ERR_IO, ERR_NOMEM, ERR_BUSY, those of
 *         record() */
MUST_CHECK enum err inspect_segments(struct inspect *inspect,
                                     const char *topic,
                                     const struct inspect_visit *visit);

/* Go through what is in the journals behind the last checkpoints.
 * Errors: as inspect_segments() */
MUST_CHECK enum err inspect_journals(struct inspect *inspect,
                                     const struct inspect_visit *visit);

/* Look at what is noted of messages above cursors (log/acked_file.h): pages
 * that are not whole are told by damage(), and cost no message. Calls nothing
 * else.
 * Errors: ERR_IO, ERR_BUSY (descriptors), ERR_NOMEM, ERR_TOO_LARGE (path) */
MUST_CHECK enum err inspect_acked(const struct inspect *inspect,
                                  const struct inspect_visit *visit);

#endif

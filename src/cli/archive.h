/* The lines of an export: doc/export-format.md. Written from a data directory,
 * read back from whoever's file.
 *
 * A file is a row of JSON objects, a line each; the first says the version. A
 * topic's line is followed by those of its cursor, its subscriptions and its
 * messages in order, and a line that ends it. A body that lies in a file of its
 * own follows its message in parts.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_ARCHIVE_H
#define OPQ_CLI_ARCHIVE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "log/record.h"
#include "log/topic_conf.h"
#include "log/topic_cursor.h"
#include "log/topic_gaps.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    ARCHIVE_VERSION = 1,
    ARCHIVE_PART_SIZE = 192 * 1024, /* bytes of a body on one line, at most */
};

enum archive_kind {
    ARCHIVE_HEAD,
    ARCHIVE_TOPIC,
    ARCHIVE_CURSOR, /* of the topic */
    ARCHIVE_VIEW,
    ARCHIVE_MESSAGE,
    ARCHIVE_PART,
    ARCHIVE_TOPIC_END,
    ARCHIVE_END,
};

/* A line that was read. What its slices borrow lives until the next
 * archive_read(). */
struct archive_line {
    enum archive_kind kind;
    uint64_t id;            /* HEAD: random, of this export */
    struct str name;        /* TOPIC, VIEW, TOPIC_END */
    struct topic_conf conf; /* TOPIC, VIEW */
    uint64_t first;         /* TOPIC: number of the first message that the log
                               has, or would have */
    struct topic_cursor cursor; /* CURSOR, VIEW */
    struct topic_gaps acked;    /* owned; CURSOR, VIEW: ranges that it has no
                                   room for, above its own */
    struct record record;       /* MESSAGE; its blob has no id */
    struct str part;            /* PART */
    uint64_t topics;            /* END: how many there were */
    uint64_t messages;          /* TOPIC_END, END */
    uint64_t end;               /* TOPIC_END: number that the next one gets */
    json_t *document;           /* private, as the next */
    struct buf memory;
};

/* Append the first line. */
void archive_write_head(struct buf *to, uint64_t id, uint64_t now_ms);

/* Append a topic's line. */
void archive_write_topic(struct buf *to,
                         struct str name,
                         const struct topic_conf *conf,
                         uint64_t first);

/* Append the line of a topic's cursor. `acked`, unless it is empty, is in place
 * of its ranges: any number of them. */
void archive_write_cursor(struct buf *to,
                          const struct topic_cursor *cursor,
                          const struct topic_gaps *acked);

/* Append the line of a view with its cursor; `acked` likewise. */
void archive_write_view(struct buf *to,
                        struct str name,
                        const struct topic_conf *conf,
                        const struct topic_cursor *cursor,
                        const struct topic_gaps *acked);

/* Append a message's line; if its body lies beside, parts follow it. */
void archive_write_message(struct buf *to, const struct record *record);

/* Append a part of a body that lies beside. */
void archive_write_part(struct buf *to, struct str bytes);

/* Append the line that ends a topic. */
void archive_write_topic_end(struct buf *to,
                             struct str name,
                             uint64_t messages,
                             uint64_t end);

/* Append the last line. */
void archive_write_end(struct buf *to, uint64_t topics, uint64_t messages);

/* Read one line. `*line` is zeroed, or holds an earlier one.
 *
 * Borrows: text, until then.
 * Gives:   `*line`, for archive_line_fini(); after an error its content has no
 *          meaning.
 * Errors:  ERR_INVALID      no line of an export
 *          ERR_UNSUPPORTED  the head says a later version
 *          ERR_NOMEM
 */
MUST_CHECK enum err archive_read(struct str text, struct archive_line *line);

/* Free a line. Accepts a zeroed one. */
void archive_line_fini(struct archive_line *line);

#endif

/* A segment as the loop sees it: what is believed of it, and its files while
 * they are open for reading.
 *
 * Threads: the loop's. A flush makes objects of its own and never touches the
 * loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_TOPIC_SEGMENT_H
#define OPQ_LOG_TOPIC_SEGMENT_H

#include "base/err.h"
#include "base/list.h"
#include "log/index.h"

#include <stdbool.h>
#include <stdint.h>

struct topic_segment {
    struct list link; /* in the row of its log, or in what was dropped */
    uint64_t first;
    uint64_t end;         /* one past the last sequence; a bound if not exact */
    uint64_t size;        /* bytes that are believed */
    uint64_t time_max;    /* largest pushed_at_ms, if `has_time` */
    uint32_t index_count; /* entries, if `has_index` */
    bool exact;
    bool has_time;
    bool has_index;       /* its index was looked at and is in order */
    int fd;               /* owned; -1: closed */
    struct index_map map; /* owned; entries NULL: not mapped */
};

/* Make one, with its files closed.
 * Gives:  for topic_segment_destroy(). NULL: no memory. */
struct topic_segment *topic_segment_create(uint64_t first);

/* Close and free. Accepts NULL. It is in no list. */
void topic_segment_destroy(struct topic_segment *segment);

/* Close its files and unmap its index. */
void topic_segment_close(struct topic_segment *segment);

/* Have its .msg open. A damaged head is said once and does no harm: records
 * speak for themselves.
 * Errors: ERR_NOT_FOUND, ERR_IO, ERR_BUSY (descriptors), ERR_TOO_LARGE */
MUST_CHECK enum err topic_segment_open(struct topic_segment *segment,
                                       const char *directory);

/* Have its .msg open and its index mapped, checked once and mended when need
 * be; on disk, too, with `mend`, which the one that a flush may be writing to
 * must not have.
 * Errors: as topic_segment_open(), and ERR_NOMEM */
MUST_CHECK enum err topic_segment_open_index(struct topic_segment *segment,
                                             const char *directory,
                                             bool mend);

/* Build its index anew, from its records alone.
 * Errors: as topic_segment_open_index() */
MUST_CHECK enum err topic_segment_rebuild(struct topic_segment *segment,
                                          const char *directory,
                                          bool mend);

#endif

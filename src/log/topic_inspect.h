/* Looking through a topic's folder without opening its log: every record and
 * its checksum, whether indexes agree with their segments, whether `cmd` and
 * `dlv` make sense, and `topic.conf` and `dlv` of its views; and mending
 * indexes. For `opq verify`, `dump`, `repair`.
 *
 * Works on a stopped data directory and on one that a server has: then what
 * changes meanwhile (the end of the last segment, its index, one slot of `cmd`
 * and `dlv`) is no finding. Nothing is written, but by
 * topic_inspect_mend_index().
 *
 * Threads: any. All calls block on the disk.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_TOPIC_INSPECT_H
#define OPQ_LOG_TOPIC_INSPECT_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum topic_finding_kind {
    TOPIC_FINDING_HEAD,   /* the head of a segment; records are read anyway */
    TOPIC_FINDING_RECORD, /* bytes that are no whole record */
    TOPIC_FINDING_GAP,    /* numbers missing between two segments */
    TOPIC_FINDING_TAIL,   /* bytes behind the last whole record of the last
                             segment: what a crash leaves, no damage */
    TOPIC_FINDING_INDEX,  /* an index is missing, short or wrong: mend it */
    TOPIC_FINDING_STATE,  /* topic.conf, `cmd` or `dlv` is damaged or
                             contradicts, or a view's files do */
};

struct topic_finding {
    enum topic_finding_kind kind;
    const char *file;  /* its name in the folder */
    uint64_t segment;  /* first sequence of the segment, if it is about one */
    uint64_t offset;   /* in the file */
    uint64_t size;     /* bytes; 0: not known */
    uint64_t sequence; /* of the first message it is about */
    uint64_t lost;     /* messages; 0: none, or not known */
    const char *what;  /* in words */
};

struct topic_inspect_visit {
    /* A whole record, in sequence; may be NULL. An error ends the walk and is
     * returned. */
    enum err (*record)(void *context, uint64_t sequence, struct str bytes);
    /* Something is not as it should be; may be NULL. */
    void (*finding)(void *context, const struct topic_finding *finding);
    void *context; /* borrowed during the call */
};

struct topic_inspect_options {
    const char *directory; /* the topic's folder; borrowed */
    uint64_t first;        /* begin with this sequence: earlier segments are
                              passed over, earlier records not shown */
    bool running;          /* a server may have the directory */
};

/* What there is. */
struct topic_inspect_sum {
    uint64_t oldest;  /* first sequence on disk */
    uint64_t end;     /* one past the last */
    uint64_t records; /* whole ones */
    uint64_t bytes;   /* of them */
    uint64_t lost;    /* messages that are damaged or missing */
    uint64_t cmd_end; /* what the newest `cmd` says; 0: there is none */
};

/* Go through all segments, `cmd` and `dlv`, and the views.
 *
 * Errors: ERR_NOT_FOUND  there is no folder
 *         ERR_IO, ERR_BUSY (descriptors), ERR_NOMEM, ERR_TOO_LARGE (path),
 *         those of record()
 */
MUST_CHECK enum err
topic_inspect_walk(const struct topic_inspect_options *options,
                   const struct topic_inspect_visit *visit,
                   struct topic_inspect_sum *out_sum);

/* Build the index of a segment anew from its records, and put it in the place
 * of what there is. No server has the directory.
 *
 * Errors: ERR_NOT_FOUND  there is no such segment
 *         ERR_FULL, ERR_IO, ERR_BUSY (descriptors), ERR_NOMEM,
 *         ERR_TOO_LARGE (path)
 */
MUST_CHECK enum err topic_inspect_mend_index(const char *directory,
                                             uint64_t segment);

#endif

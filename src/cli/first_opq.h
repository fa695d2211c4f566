/* Reading the data of the first OPQ, which this one replaces: a folder `topics`
 * with, for each topic, `cmd` (u64: messages written), `dlv` (u64: next to
 * deliver), and for each million messages `<N>.msg` and `<N>.idx`, N being the
 * number of the first. All little-endian.
 *
 *     <N>.msg  u64 size of the payload, u32 CRC-32 (IEEE) of it, the payload:
 *              FlatBuffers `Message {url; body:[Body]; header:[Header]}`
 *     <N>.idx  u32 number relative to N, u32 offset in <N>.msg; one for each
 *              4,096 bytes, so sparse
 *
 * A record that is damaged is counted and passed over: by its own size, or,
 * when that makes no sense, by the next entry of the index that leads to a
 * whole one. Files are only read.
 *
 * Threads: one. All calls block on the disk.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_FIRST_OPQ_H
#define OPQ_CLI_FIRST_OPQ_H

#include "base/err.h"
#include "base/str.h"
#include "log/record.h"
#include "sys/dir.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FIRST_OPQ_HEAD_SIZE = 12,          /* of a record */
    FIRST_OPQ_PAYLOAD_MAX = 256 << 20, /* what makes sense as a size */
};

/* The topics of a folder. */
struct first_opq {
    char directory[DIR_PATH_MAX]; /* that has the topics' folders */
    char **names;                 /* owned, ascending */
    size_t count;
    size_t capacity;
};

/* What a topic's folder says. */
struct first_opq_topic {
    uint64_t *firsts; /* owned: of its files, ascending */
    size_t count;
    uint64_t end;  /* `cmd`; or, without it, behind the last message */
    uint64_t next; /* `dlv`; 0 without it */
    bool has_cmd;
};

struct first_opq_visit {
    /* A message. An error ends the walk and is returned. */
    enum err (*message)(void *context, const struct record *record);
    /* Numbers from `first` up to `end` cannot be read; `why` is static. */
    void (*damaged)(void *context,
                    uint64_t first,
                    uint64_t end,
                    const char *why);
    void *context; /* borrowed during the call */
};

/* Find the topics in a folder of the first OPQ: that which has `topics`, or
 * `topics` itself.
 *
 * Gives:  `*out`, for first_opq_fini().
 * Errors: ERR_NOT_FOUND  there is none
 *         ERR_INVALID    it is a data directory of this OPQ
 *         ERR_IO, ERR_NOMEM, ERR_TOO_LARGE (path)
 */
MUST_CHECK enum err first_opq_open(const char *directory,
                                   struct first_opq *out);

/* Free it. Accepts a zeroed one. */
void first_opq_fini(struct first_opq *opq);

/* Read what a topic's folder says.
 * Gives:  `*out_topic`, for first_opq_topic_fini().
 * Errors: ERR_IO, ERR_NOMEM, ERR_TOO_LARGE (path) */
MUST_CHECK enum err first_opq_topic(const struct first_opq *opq,
                                    const char *name,
                                    struct first_opq_topic *out_topic);

/* Free it. Accepts a zeroed one. */
void first_opq_topic_fini(struct first_opq_topic *topic);

/* Go through the messages of a topic from number `first` on. `*topic` gets its
 * `end` when it has no `cmd`, or a `cmd` below what is there.
 * Errors: ERR_IO, ERR_BUSY (descriptors), ERR_NOMEM, ERR_TOO_LARGE (path),
 *         those of message() */
MUST_CHECK enum err first_opq_walk(const struct first_opq *opq,
                                   const char *name,
                                   struct first_opq_topic *topic,
                                   uint64_t first,
                                   const struct first_opq_visit *visit);

/* CRC-32 (IEEE 802.3, reflected), as its records have. */
uint32_t first_opq_crc(struct str bytes);

#endif

/* The file `meta` of a data directory: doc/log-format.md, section 1.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_META_H
#define OPQ_LOG_META_H

#include "base/err.h"

#include <stdint.h>

struct meta {
    uint64_t node;        /* random, made with the directory; not 0 */
    uint32_t shard_count; /* whose journals there are */
    uint64_t base;        /* journals of lower checkpoints are void */
};

/* Read <data>/meta.
 *
 * Errors: ERR_NOT_FOUND    there is none
 *         ERR_UNSUPPORTED  of a version that this program does not know
 *         ERR_CORRUPT      damaged
 *         ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum err meta_load(const char *directory, struct meta *out_meta);

/* Replace <data>/meta in one step, durably.
 * Errors: ERR_FULL, ERR_IO, ERR_NOMEM: the old one is still there */
MUST_CHECK enum err meta_store(const char *directory, const struct meta *meta);

#endif

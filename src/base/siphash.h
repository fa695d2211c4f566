/* SipHash-2-4 with 128 bits of result: a hash whose collisions nobody can make
 * who does not know the key.
 *
 * For tables that are asked by what others send: with a key made at random when
 * the process starts, equal hashes mean equal bytes, but for a chance of one in
 * 2^128 a pair. It is no signature, and no value to store: the next process has
 * another key.
 *
 *     siphash_begin(&state, &key);
 *     siphash_add(&state, part);      any number of times
 *     hash = siphash_end(&state);
 *
 * Parts are one row of bytes: who adds several says where they end.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_SIPHASH_H
#define OPQ_BASE_SIPHASH_H

#include "base/str.h"

#include <stdint.h>

struct siphash_key {
    uint64_t words[2]; /* little-endian */
};

struct siphash {
    uint64_t low;  /* the first 8 bytes of the result, little-endian */
    uint64_t high; /* the other 8 */
};

struct siphash_state {
    uint64_t lanes[4];
    uint64_t word;  /* bytes that are no whole word yet */
    uint64_t count; /* bytes in all */
};

/* Begin a hash. */
void siphash_begin(struct siphash_state *state, const struct siphash_key *key);

/* Go on with more bytes. */
void siphash_add(struct siphash_state *state, struct str bytes);

/* The hash of all bytes added. The state is used up. */
struct siphash siphash_end(struct siphash_state *state);

#endif

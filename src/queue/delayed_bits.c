/* A set of sequence numbers.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/delayed_bits.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

enum { WORD_BITS = 64, CHUNK_WORDS = DELAYED_BITS_CHUNK / WORD_BITS };

void delayed_bits_fini(struct delayed_bits *bits)
{
    for (size_t index = 0; index < bits->chunk_count; index++) {
        free(bits->chunks[index]);
    }
    free(bits->chunks);
    *bits = (struct delayed_bits){0};
}

/* The word that has a number; NULL: none of its chunk is in the set. */
static uint64_t *word_of(const struct delayed_bits *bits, uint64_t sequence)
{
    uint64_t chunk = sequence / DELAYED_BITS_CHUNK;

    if (chunk >= bits->chunk_count || bits->chunks[chunk] == NULL) {
        return NULL;
    }
    return &bits->chunks[chunk][sequence % DELAYED_BITS_CHUNK / WORD_BITS];
}

static uint64_t bit_of(uint64_t sequence)
{
    return 1ULL << sequence % WORD_BITS;
}

/* Make room for the chunk that a number belongs to. */
static enum err make_chunk(struct delayed_bits *bits, uint64_t sequence)
{
    uint64_t chunk = sequence / DELAYED_BITS_CHUNK;

    if (chunk >= bits->chunk_count) {
        uint64_t count = chunk + 1;
        if (count > SIZE_MAX / sizeof(*bits->chunks)) {
            return ERR_NOMEM;
        }
        uint64_t **chunks =
            realloc(bits->chunks, (size_t)count * sizeof(*bits->chunks));
        if (chunks == NULL) {
            return ERR_NOMEM;
        }
        memset(chunks + bits->chunk_count, 0,
               ((size_t)count - bits->chunk_count) * sizeof(*chunks));
        bits->chunks = chunks;
        bits->chunk_count = (size_t)count;
    }
    if (bits->chunks[chunk] == NULL) {
        bits->chunks[chunk] = calloc(CHUNK_WORDS, sizeof(uint64_t));
    }
    return bits->chunks[chunk] == NULL ? ERR_NOMEM : ERR_OK;
}

enum err delayed_bits_set(struct delayed_bits *bits, uint64_t sequence)
{
    uint64_t *word = word_of(bits, sequence);

    if (word == NULL) {
        enum err err = make_chunk(bits, sequence);
        if (err != ERR_OK) {
            return err;
        }
        word = word_of(bits, sequence);
        CHECK(word != NULL);
    }
    if ((*word & bit_of(sequence)) == 0) {
        *word |= bit_of(sequence);
        bits->count++;
    }
    return ERR_OK;
}

void delayed_bits_clear(struct delayed_bits *bits, uint64_t sequence)
{
    uint64_t *word = word_of(bits, sequence);

    if (word != NULL && (*word & bit_of(sequence)) != 0) {
        *word &= ~bit_of(sequence);
        CHECK(bits->count > 0);
        bits->count--;
    }
}

bool delayed_bits_has(const struct delayed_bits *bits, uint64_t sequence)
{
    const uint64_t *word = word_of(bits, sequence);

    return word != NULL && (*word & bit_of(sequence)) != 0;
}

uint64_t
delayed_bits_next(const struct delayed_bits *bits, uint64_t from, uint64_t end)
{
    uint64_t at = from;

    while (at < end) {
        const uint64_t *word = word_of(bits, at);
        if (word == NULL) {
            at = (at / DELAYED_BITS_CHUNK + 1) * DELAYED_BITS_CHUNK;
            continue;
        }
        uint64_t rest = *word >> at % WORD_BITS;
        if (rest != 0) {
            at += (uint64_t)__builtin_ctzll(rest);
            break;
        }
        at = (at / WORD_BITS + 1) * WORD_BITS;
    }
    return at < end ? at : end;
}

void delayed_bits_drop(struct delayed_bits *bits, uint64_t before)
{
    uint64_t at = delayed_bits_next(bits, 0, before);

    while (at < before) {
        delayed_bits_clear(bits, at);
        at = delayed_bits_next(bits, at + 1, before);
    }
    for (size_t chunk = 0;
         chunk < bits->chunk_count && chunk < before / DELAYED_BITS_CHUNK;
         chunk++) {
        free(bits->chunks[chunk]);
        bits->chunks[chunk] = NULL;
    }
}

/* SipHash-2-4-128, as Aumasson and Bernstein describe it: four lanes of 64
 * bits, two rounds for each word of input, four for each half of the result.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/siphash.h"

#include "base/buf.h"

enum {
    ROUNDS_WORD = 2,
    ROUNDS_END = 4,
    MARK_WIDE = 0xee, /* what tells the 128-bit form from that of 64 */
    MARK_HALF = 0xdd, /* and its second half from the first */
};

static uint64_t rotate(uint64_t value, unsigned bits)
{
    return value << bits | value >> (64 - bits);
}

static void mix(uint64_t lanes[4], int rounds)
{
    for (int round = 0; round < rounds; round++) {
        lanes[0] += lanes[1];
        lanes[2] += lanes[3];
        lanes[1] = rotate(lanes[1], 13) ^ lanes[0];
        lanes[3] = rotate(lanes[3], 16) ^ lanes[2];
        lanes[0] = rotate(lanes[0], 32);
        lanes[2] += lanes[1];
        lanes[0] += lanes[3];
        lanes[1] = rotate(lanes[1], 17) ^ lanes[2];
        lanes[3] = rotate(lanes[3], 21) ^ lanes[0];
        lanes[2] = rotate(lanes[2], 32);
    }
}

static void take_word(uint64_t lanes[4], uint64_t word)
{
    lanes[3] ^= word;
    mix(lanes, ROUNDS_WORD);
    lanes[0] ^= word;
}

void siphash_begin(struct siphash_state *state, const struct siphash_key *key)
{
    /* "somepseudorandomlygeneratedbytes" */
    state->lanes[0] = key->words[0] ^ UINT64_C(0x736f6d6570736575);
    state->lanes[1] = key->words[1] ^ UINT64_C(0x646f72616e646f6d) ^ MARK_WIDE;
    state->lanes[2] = key->words[0] ^ UINT64_C(0x6c7967656e657261);
    state->lanes[3] = key->words[1] ^ UINT64_C(0x7465646279746573);
    state->word = 0;
    state->count = 0;
}

void siphash_add(struct siphash_state *state, struct str bytes)
{
    size_t index = 0;

    while (index < bytes.size) {
        if (state->count % 8 == 0 && bytes.size - index >= 8) {
            take_word(state->lanes, get_u64(bytes.data + index));
            state->count += 8;
            index += 8;
            continue;
        }
        state->word |= (uint64_t)(uint8_t)bytes.data[index]
                       << (8 * (state->count % 8));
        state->count++;
        index++;
        if (state->count % 8 == 0) {
            take_word(state->lanes, state->word);
            state->word = 0;
        }
    }
}

static uint64_t fold(const uint64_t lanes[4])
{
    return lanes[0] ^ lanes[1] ^ lanes[2] ^ lanes[3];
}

struct siphash siphash_end(struct siphash_state *state)
{
    struct siphash hash;

    take_word(state->lanes, state->word | state->count << 56);
    state->lanes[2] ^= MARK_WIDE;
    mix(state->lanes, ROUNDS_END);
    hash.low = fold(state->lanes);
    state->lanes[1] ^= MARK_HALF;
    mix(state->lanes, ROUNDS_END);
    hash.high = fold(state->lanes);
    return hash;
}

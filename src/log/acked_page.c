/* A page of messages that are done.
 *
 * The checksum is the exclusive or of a number for each word that is not zero,
 * made of its place, its value, and whose the page is. So a change of a word
 * changes it without a look at the others, and a page in another's place, or
 * one that is in part from before, does not have it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/acked_page.h"

#include "base/buf.h"
#include "base/check.h"

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

enum {
    AT_MAGIC = 0,
    AT_TOPIC = 8,
    AT_EPOCH = 16,
    AT_NUMBER = 24,
    AT_SUM = 32,
    AT_SUM_NEXT = 40,
    AT_RESERVED = 48,
    WORD_SIZE = 8,
    WORD_BITS = 64,
    WORD_COUNT = ACKED_PAGE_MESSAGES / WORD_BITS,
};

static_assert(ACKED_PAGE_HEAD_SIZE % WORD_SIZE == 0, "words are aligned");
static_assert(ACKED_PAGE_HEAD_SIZE + WORD_COUNT * WORD_SIZE == ACKED_PAGE_SIZE,
              "bits fill the page");

/* "OPQ-ACK" */
#define MAGIC UINT64_C(0x004b43412d51504f)

/* --- the checksum --------------------------------------------------------- */

/* Every bit of the result depends on every bit of the value. */
static uint64_t mix(uint64_t value)
{
    value ^= value >> 30;
    value *= UINT64_C(0xbf58476d1ce4e5b9);
    value ^= value >> 27;
    value *= UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

/* The checksum of a page without any bit. */
static uint64_t sum_begin(const struct acked_page_key *key)
{
    uint64_t sum = mix(MAGIC + key->topic_id);
    sum = mix(sum + key->epoch);
    return mix(sum + key->number);
}

/* What a word adds to the checksum, or takes from it. */
static uint64_t word_sum(uint64_t begin, uint32_t index, uint64_t word)
{
    return word == 0 ? 0 : mix(word ^ mix(begin + index + 1));
}

static const char *word_at(const char *page, uint32_t index)
{
    return page + ACKED_PAGE_HEAD_SIZE + (size_t)index * WORD_SIZE;
}

static uint64_t sum_of(const char *page, const struct acked_page_key *key)
{
    uint64_t begin = sum_begin(key);
    uint64_t sum = begin;
    for (uint32_t i = 0; i < WORD_COUNT; i++) {
        sum ^= word_sum(begin, i, get_u64(word_at(page, i)));
    }
    return sum;
}

/* Store a number in one piece, behind all stores before it: a kill leaves it
 * as it was or as it is now. */
static void store(char *at, uint64_t value)
{
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit((_Atomic uint64_t *)(void *)at, value,
                          memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
}

/* --- pages ---------------------------------------------------------------- */

void acked_page_begin(char *page, const struct acked_page_key *key)
{
    uint64_t sum = sum_begin(key);
    store(page + AT_TOPIC, key->topic_id);
    store(page + AT_EPOCH, key->epoch);
    store(page + AT_NUMBER, key->number);
    store(page + AT_SUM, sum);
    store(page + AT_SUM_NEXT, sum);
    store(page + AT_MAGIC, MAGIC); /* the last: now it is one */
}

bool acked_page_read(const char *page, struct acked_page_key *out)
{
    if (get_u64(page + AT_MAGIC) != MAGIC || get_u64(page + AT_RESERVED) != 0 ||
        get_u64(page + AT_RESERVED + WORD_SIZE) != 0) {
        return false;
    }
    struct acked_page_key key = {
        .topic_id = get_u64(page + AT_TOPIC),
        .epoch = get_u64(page + AT_EPOCH),
        .number = get_u64(page + AT_NUMBER),
    };
    uint64_t sum = sum_of(page, &key);
    if (key.number > UINT64_MAX / ACKED_PAGE_MESSAGES - 1 ||
        (sum != get_u64(page + AT_SUM) && sum != get_u64(page + AT_SUM_NEXT))) {
        return false;
    }
    *out = key;
    return true;
}

uint64_t acked_page_number(const char *page)
{
    return get_u64(page + AT_NUMBER);
}

bool acked_page_is_empty(const char *page)
{
    for (size_t at = 0; at < ACKED_PAGE_SIZE; at += WORD_SIZE) {
        if (get_u64(page + at) != 0) {
            return false;
        }
    }
    return true;
}

void acked_page_mend(char *page, const struct acked_page_key *key)
{
    uint64_t sum = sum_of(page, key);
    if (get_u64(page + AT_SUM) != sum) {
        store(page + AT_SUM, sum);
    }
    if (get_u64(page + AT_SUM_NEXT) != sum) {
        store(page + AT_SUM_NEXT, sum);
    }
}

/* Set bits of one word. The one copy of the checksum says what the bits are,
 * the other what they will be. */
static void word_set(char *page, uint64_t begin, uint32_t index, uint64_t bits)
{
    char *at = page + ACKED_PAGE_HEAD_SIZE + (size_t)index * WORD_SIZE;
    uint64_t word = get_u64(at);
    uint64_t next = word | bits;
    if (next == word) {
        return;
    }
    uint64_t sum = get_u64(page + AT_SUM) ^ word_sum(begin, index, word) ^
                   word_sum(begin, index, next);
    store(page + AT_SUM_NEXT, sum);
    store(at, next);
    store(page + AT_SUM, sum);
}

/* Bits `first` up to `end` of a word. */
static uint64_t bits_between(uint32_t first, uint32_t end)
{
    uint64_t below_end =
        end == WORD_BITS ? UINT64_MAX : (UINT64_C(1) << end) - 1;
    return below_end & ~((UINT64_C(1) << first) - 1);
}

void acked_page_set(char *page,
                    const struct acked_page_key *key,
                    uint32_t first,
                    uint32_t end)
{
    CHECK(end <= ACKED_PAGE_MESSAGES);
    uint64_t begin = sum_begin(key);
    while (first < end) {
        uint32_t index = first / WORD_BITS;
        uint32_t stop = (index + 1) * WORD_BITS;
        stop = stop < end ? stop : end;
        word_set(page, begin, index,
                 bits_between(first % WORD_BITS, stop - index * WORD_BITS));
        first = stop;
    }
}

uint32_t acked_page_find(const char *page, uint32_t from, bool set)
{
    uint32_t at = from;
    while (at < ACKED_PAGE_MESSAGES) {
        uint32_t index = at / WORD_BITS;
        uint64_t word = get_u64(word_at(page, index));
        word = set ? word : ~word;
        word &= bits_between(at % WORD_BITS, WORD_BITS);
        if (word != 0) {
            return index * WORD_BITS + (uint32_t)__builtin_ctzll(word);
        }
        at = (index + 1) * WORD_BITS;
    }
    return ACKED_PAGE_MESSAGES;
}

/* Which delayed messages are due next.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/delayed_index.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

enum { CAPACITY_FIRST = 64 };

void delayed_index_init(struct delayed_index *index, uint32_t count_max)
{
    CHECK(count_max >= 2);
    *index = (struct delayed_index){.count_max = count_max};
}

void delayed_index_fini(struct delayed_index *index)
{
    free(index->keys);
    *index = (struct delayed_index){.count_max = index->count_max};
}

int delayed_index_compare(const struct delayed_key *left,
                          const struct delayed_key *right)
{
    if (left->due_ms != right->due_ms) {
        return left->due_ms < right->due_ms ? -1 : 1;
    }
    return (left->sequence > right->sequence) -
           (left->sequence < right->sequence);
}

static int compare(const void *left, const void *right)
{
    return delayed_index_compare(left, right);
}

/* --- the heap ------------------------------------------------------------- */

static void sift_up(struct delayed_index *index, uint32_t at)
{
    struct delayed_key *keys = index->keys;
    struct delayed_key key = keys[at];

    while (at > 0 && delayed_index_compare(&key, &keys[(at - 1) / 2]) < 0) {
        keys[at] = keys[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    keys[at] = key;
}

static void sift_down(struct delayed_index *index, uint32_t at)
{
    struct delayed_key *keys = index->keys;
    struct delayed_key key = keys[at];

    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= index->count) {
            break;
        }
        if (child + 1 < index->count &&
            delayed_index_compare(&keys[child + 1], &keys[child]) < 0) {
            child++;
        }
        if (delayed_index_compare(&key, &keys[child]) <= 0) {
            break;
        }
        keys[at] = keys[child];
        at = child;
    }
    keys[at] = key;
}

/* Forget what lies behind `last`. */
static void cut(struct delayed_index *index, const struct delayed_key *last)
{
    uint32_t kept = 0;

    for (uint32_t at = 0; at < index->count; at++) {
        if (delayed_index_compare(&index->keys[at], last) <= 0) {
            index->keys[kept] = index->keys[at];
            kept++;
        }
    }
    index->count = kept;
    for (uint32_t at = kept / 2; at > 0; at--) {
        sift_down(index, at - 1);
    }
}

/* Nothing behind `last` is known any more. */
static void come_down(struct delayed_index *index,
                      const struct delayed_key *last)
{
    if (index->loading && delayed_index_compare(last, &index->horizon) >= 0) {
        index->limit = *last;
        return;
    }
    index->loading = false;
    index->horizon = *last;
}

/* Forget the later half. */
static void halve(struct delayed_index *index)
{
    if (index->count == 0) {
        return;
    }
    /* In order, an array is a heap. */
    qsort(index->keys, index->count, sizeof(*index->keys), compare);
    index->count = (index->count + 1) / 2;
    struct delayed_key last = index->keys[index->count - 1];
    come_down(index, &last);
}

static bool grow(struct delayed_index *index)
{
    uint32_t capacity =
        index->capacity == 0 ? CAPACITY_FIRST : 2 * index->capacity;

    if (capacity > index->count_max) {
        capacity = index->count_max;
    }
    if (capacity == index->capacity) {
        return false;
    }
    struct delayed_key *keys =
        realloc(index->keys, capacity * sizeof(*index->keys));
    if (keys == NULL) {
        return false;
    }
    index->keys = keys;
    index->capacity = capacity;
    return true;
}

/* --- loading -------------------------------------------------------------- */

void delayed_index_load(struct delayed_index *index,
                        const struct delayed_key *limit)
{
    CHECK(!index->loading);
    CHECK(delayed_index_compare(limit, &index->horizon) > 0);
    index->loading = true;
    index->limit = *limit;
}

void delayed_index_loaded(struct delayed_index *index)
{
    if (index->loading) {
        index->loading = false;
        index->horizon = index->limit;
    }
}

void delayed_index_load_stop(struct delayed_index *index)
{
    if (index->loading) {
        index->loading = false;
        cut(index, &index->horizon);
    }
}

/* --- messages ------------------------------------------------------------- */

static bool wants(const struct delayed_index *index,
                  const struct delayed_key *key)
{
    return delayed_index_compare(key, &index->horizon) <= 0 ||
           (index->loading && delayed_index_compare(key, &index->limit) <= 0);
}

/* What is promised ends before a key. */
static void end_before(struct delayed_index *index,
                       const struct delayed_key *key)
{
    struct delayed_key before = *key;

    if (before.sequence > 0) {
        before.sequence--;
    } else if (before.due_ms > 0) {
        before.due_ms--;
        before.sequence = UINT64_MAX;
    }
    come_down(index, &before);
    cut(index, &before);
}

void delayed_index_forget(struct delayed_index *index, uint64_t from_ms)
{
    const struct delayed_key from = {.due_ms = from_ms, .sequence = 0};

    CHECK(!index->loading);
    if (delayed_index_compare(&from, &index->horizon) <= 0) {
        end_before(index, &from);
    }
}

void delayed_index_add(struct delayed_index *index,
                       const struct delayed_key *key)
{
    if (!wants(index, key)) {
        return;
    }
    if (index->count == index->capacity && !grow(index)) {
        halve(index);
        if (!wants(index, key)) {
            return;
        }
    }
    if (index->count == index->capacity) {
        end_before(index, key); /* there is no memory for even one */
        return;
    }
    index->keys[index->count] = *key;
    index->count++;
    sift_up(index, index->count - 1);
}

const struct delayed_key *delayed_index_first(const struct delayed_index *index)
{
    if (index->count == 0 ||
        delayed_index_compare(&index->keys[0], &index->horizon) > 0) {
        return NULL;
    }
    return &index->keys[0];
}

void delayed_index_take(struct delayed_index *index)
{
    CHECK(index->count > 0);
    index->count--;
    if (index->count > 0) {
        index->keys[0] = index->keys[index->count];
        sift_down(index, 0);
    }
}

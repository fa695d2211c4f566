/* How far a topic is delivered.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/topic_cursor.h"

#include "base/buf.h"
#include "base/check.h"

#include <string.h>

enum {
    AT_NEXT = 8,
    AT_ATTEMPTS = 16,
    AT_COUNT = 20,
    RANGE_SIZE = 16,
    RETRIES_HEAD_SIZE = 4,
    RETRY_SIZE = 12,
};

bool topic_cursor_valid(const struct topic_cursor *cursor)
{
    if (cursor->range_count > TOPIC_RANGES_MAX ||
        cursor->retry_count > TOPIC_RETRIES_MAX) {
        return false;
    }
    uint64_t above = cursor->next;
    for (uint32_t i = 0; i < cursor->range_count; i++) {
        const struct topic_range *range = &cursor->ranges[i];
        if (range->first < above || range->end <= range->first) {
            return false;
        }
        above = range->end;
    }
    above = cursor->next;
    for (uint32_t i = 0; i < cursor->retry_count; i++) {
        if (cursor->retries[i].sequence <= above) {
            return false;
        }
        above = cursor->retries[i].sequence;
    }
    return true;
}

/* --- bytes ---------------------------------------------------------------- */

size_t topic_cursor_size(const struct topic_cursor *cursor)
{
    size_t size =
        TOPIC_CURSOR_SIZE_MIN + (size_t)cursor->range_count * RANGE_SIZE;
    if (cursor->retry_count > 0) {
        size += RETRIES_HEAD_SIZE + (size_t)cursor->retry_count * RETRY_SIZE;
    }
    return size;
}

void topic_cursor_write(const struct topic_cursor *cursor, void *to)
{
    CHECK(cursor->range_count <= TOPIC_RANGES_MAX);
    CHECK(cursor->retry_count <= TOPIC_RETRIES_MAX);
    char *at = to;
    put_u64(at, cursor->epoch);
    put_u64(at + AT_NEXT, cursor->next);
    put_u32(at + AT_ATTEMPTS, cursor->attempts);
    put_u32(at + AT_COUNT, cursor->range_count);
    at += TOPIC_CURSOR_SIZE_MIN;
    for (uint32_t i = 0; i < cursor->range_count; i++) {
        put_u64(at, cursor->ranges[i].first);
        put_u64(at + 8, cursor->ranges[i].end);
        at += RANGE_SIZE;
    }
    if (cursor->retry_count == 0) {
        return;
    }
    put_u32(at, cursor->retry_count);
    at += RETRIES_HEAD_SIZE;
    for (uint32_t i = 0; i < cursor->retry_count; i++) {
        put_u64(at, cursor->retries[i].sequence);
        put_u32(at + 8, cursor->retries[i].attempts);
        at += RETRY_SIZE;
    }
}

bool topic_cursor_read(struct str bytes,
                       struct topic_cursor *out_cursor,
                       size_t *out_size)
{
    struct topic_cursor *cursor = out_cursor;
    struct reader reader = reader_of(bytes);
    cursor->epoch = reader_u64(&reader);
    cursor->next = reader_u64(&reader);
    cursor->attempts = reader_u32(&reader);
    cursor->range_count = reader_u32(&reader);
    cursor->retry_count = 0;
    if (reader.failed || cursor->range_count > TOPIC_RANGES_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < cursor->range_count; i++) {
        cursor->ranges[i].first = reader_u64(&reader);
        cursor->ranges[i].end = reader_u64(&reader);
    }
    if (reader_left(&reader) > 0) { /* older ones have none */
        cursor->retry_count = reader_u32(&reader);
    }
    if (reader.failed || cursor->retry_count > TOPIC_RETRIES_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < cursor->retry_count; i++) {
        cursor->retries[i].sequence = reader_u64(&reader);
        cursor->retries[i].attempts = reader_u32(&reader);
    }
    *out_size = reader.position;
    return !reader.failed && topic_cursor_valid(cursor);
}

/* --- bringing together ---------------------------------------------------- */

/* Drop the ranges that `next` is past, moving it over those that it reaches. */
static void prune_ranges(struct topic_cursor *cursor)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < cursor->range_count; i++) {
        struct topic_range range = cursor->ranges[i];
        if (range.first > cursor->next) {
            cursor->ranges[kept] = range;
            kept++;
        } else if (range.end > cursor->next) {
            cursor->next = range.end;
            cursor->attempts = 0;
        }
    }
    cursor->range_count = kept;
}

/* Drop the retries of what is delivered; that at `next` is its attempts. */
static void prune_retries(struct topic_cursor *cursor)
{
    uint32_t kept = 0;
    uint32_t range = 0;
    for (uint32_t i = 0; i < cursor->retry_count; i++) {
        struct topic_retry retry = cursor->retries[i];
        while (range < cursor->range_count &&
               cursor->ranges[range].end <= retry.sequence) {
            range++;
        }
        if (retry.sequence == cursor->next &&
            retry.attempts > cursor->attempts) {
            cursor->attempts = retry.attempts;
        }
        if (retry.sequence > cursor->next &&
            (range == cursor->range_count ||
             cursor->ranges[range].first > retry.sequence)) {
            cursor->retries[kept] = retry;
            kept++;
        }
    }
    cursor->retry_count = kept;
}

void topic_cursor_prune(struct topic_cursor *cursor)
{
    prune_ranges(cursor);
    prune_retries(cursor);
}

/* Put a range at the end of a row that ascends by `first`, joined to the last
 * one where they meet; what there is no room for is dropped. */
static void add_range(struct topic_cursor *to, struct topic_range range)
{
    if (to->range_count > 0) {
        struct topic_range *last = &to->ranges[to->range_count - 1];
        if (range.first <= last->end) {
            last->end = range.end > last->end ? range.end : last->end;
            return;
        }
    }
    if (to->range_count < TOPIC_RANGES_MAX) {
        to->ranges[to->range_count] = range;
        to->range_count++;
    }
}

/* Bring the ranges of both, which ascend, into `to`. */
static void merge_ranges(const struct topic_cursor *left,
                         const struct topic_cursor *right,
                         struct topic_cursor *to)
{
    uint32_t i = 0;
    uint32_t k = 0;
    while (i < left->range_count || k < right->range_count) {
        bool from_left = k == right->range_count ||
                         (i < left->range_count &&
                          left->ranges[i].first <= right->ranges[k].first);
        add_range(to, from_left ? left->ranges[i++] : right->ranges[k++]);
    }
}

static void add_retry(struct topic_cursor *to, struct topic_retry retry)
{
    if (to->retry_count > 0) {
        struct topic_retry *last = &to->retries[to->retry_count - 1];
        if (last->sequence == retry.sequence) {
            last->attempts = retry.attempts > last->attempts ? retry.attempts
                                                             : last->attempts;
            return;
        }
    }
    if (to->retry_count < TOPIC_RETRIES_MAX) {
        to->retries[to->retry_count] = retry;
        to->retry_count++;
    }
}

/* Likewise their retries. */
static void merge_retries(const struct topic_cursor *left,
                          const struct topic_cursor *right,
                          struct topic_cursor *to)
{
    uint32_t i = 0;
    uint32_t k = 0;
    while (i < left->retry_count || k < right->retry_count) {
        bool from_left =
            k == right->retry_count ||
            (i < left->retry_count &&
             left->retries[i].sequence <= right->retries[k].sequence);
        add_retry(to, from_left ? left->retries[i++] : right->retries[k++]);
    }
}

/* Leave out of a copy what the other's `next` is past, so that it takes no room
 * from what counts. */
static void raise(struct topic_cursor *cursor, uint64_t next)
{
    if (cursor->next < next) {
        cursor->next = next;
        cursor->attempts = 0;
    }
    topic_cursor_prune(cursor);
}

static bool equal(const struct topic_cursor *left,
                  const struct topic_cursor *right)
{
    if (left->epoch != right->epoch || left->next != right->next ||
        left->attempts != right->attempts ||
        left->range_count != right->range_count ||
        left->retry_count != right->retry_count) {
        return false;
    }
    for (uint32_t i = 0; i < left->range_count; i++) {
        if (left->ranges[i].first != right->ranges[i].first ||
            left->ranges[i].end != right->ranges[i].end) {
            return false;
        }
    }
    for (uint32_t i = 0; i < left->retry_count; i++) {
        if (left->retries[i].sequence != right->retries[i].sequence ||
            left->retries[i].attempts != right->retries[i].attempts) {
            return false;
        }
    }
    return true;
}

bool topic_cursor_merge(struct topic_cursor *cursor,
                        const struct topic_cursor *other)
{
    if (other->epoch < cursor->epoch) {
        return false;
    }
    struct topic_cursor right = *other;
    if (other->epoch > cursor->epoch) {
        topic_cursor_prune(&right);
        *cursor = right;
        return true;
    }
    struct topic_cursor left = *cursor;
    raise(&left, other->next);
    raise(&right, left.next);
    raise(&left, right.next);
    struct topic_cursor both = {
        .epoch = left.epoch,
        .next = left.next > right.next ? left.next : right.next,
    };
    both.attempts = left.next == both.next ? left.attempts : 0;
    if (right.next == both.next && right.attempts > both.attempts) {
        both.attempts = right.attempts;
    }
    merge_ranges(&left, &right, &both);
    merge_retries(&left, &right, &both);
    topic_cursor_prune(&both);
    bool changed = !equal(cursor, &both);
    *cursor = both;
    return changed;
}

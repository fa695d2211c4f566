/* Records in memory, in chunks.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/topic_tail.h"

#include "base/check.h"
#include "sys/pages.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_SIZE_FIRST = 512, /* of the allocation, head included */
    CHUNK_SIZE_MAX = PAGES_SIZE_MAX,
};

struct segment_record topic_tail_record(const struct topic_chunk *chunk,
                                        size_t at)
{
    CHECK(at < chunk->size);
    struct str bytes = {chunk->bytes + at, chunk->size - at};
    struct segment_record record;
    enum err err = segment_record_head(bytes, &record);
    CHECK(err == ERR_OK); /* it was checked when it was appended */
    return record;
}

static size_t chunk_memory(const struct topic_chunk *chunk)
{
    return sizeof(*chunk) + chunk->capacity;
}

/* Tell whether a chunk is of pages: nearly all that a burst takes, and what the
 * kernel is to have back. */
static bool in_pages(size_t size)
{
    return size >= PAGES_SIZE_MIN && size <= PAGES_SIZE_MAX;
}

static void *memory_take(size_t *size)
{
    if (!in_pages(*size)) {
        return malloc(*size);
    }
    *size = pages_fit(*size);
    return pages_take(*size);
}

static void chunk_free(struct topic_tail *tail, struct topic_chunk *chunk)
{
    size_t size = chunk_memory(chunk);
    if (chunk->reserved) {
        tail_reserve_give(tail->reserve);
    } else if (in_pages(size)) {
        pages_give(chunk, size);
    } else {
        free(chunk);
    }
}

static struct topic_chunk *chunk_create(const struct topic_tail *tail,
                                        size_t record_size)
{
    size_t size = CHUNK_SIZE_FIRST;
    if (tail->last != NULL) {
        size = (sizeof(*tail->last) + tail->last->capacity) * 2;
    }
    size = size < CHUNK_SIZE_MAX ? size : CHUNK_SIZE_MAX;
    if (size < sizeof(struct topic_chunk) + record_size) {
        size = sizeof(struct topic_chunk) + record_size;
    }
    struct topic_chunk *chunk = memory_take(&size);
    bool reserved = chunk == NULL && tail->reserve != NULL;
    if (reserved) {
        size = sizeof(*chunk) + record_size;
        chunk = tail_reserve_take(tail->reserve, size);
    }
    if (chunk != NULL) {
        *chunk = (struct topic_chunk){.capacity = size - sizeof(*chunk),
                                      .reserved = reserved};
    }
    return chunk;
}

enum err topic_tail_append(struct topic_tail *tail,
                           struct str bytes,
                           const struct segment_record *record)
{
    struct topic_chunk *chunk = tail->last;
    if (chunk == NULL || record->sequence != chunk->end ||
        chunk->capacity - chunk->size < bytes.size) {
        chunk = chunk_create(tail, bytes.size);
        if (chunk == NULL) {
            return ERR_NOMEM;
        }
        chunk->first = record->sequence;
        chunk->end = record->sequence;
        chunk->hint_sequence = record->sequence;
        if (tail->last == NULL) {
            tail->head = chunk;
        } else {
            tail->last->next = chunk;
        }
        tail->last = chunk;
        tail->memory_bytes += chunk_memory(chunk);
    }
    memcpy(chunk->bytes + chunk->size, bytes.data, bytes.size);
    chunk->last_at = chunk->size;
    chunk->size += bytes.size;
    chunk->end++;
    if (record->pushed_at_ms > chunk->time_max) {
        chunk->time_max = record->pushed_at_ms;
    }
    return ERR_OK;
}

/* Where a record of the chunk begins: from the end, from where the last look
 * went, or from the beginning. */
static size_t chunk_find(struct topic_chunk *chunk, uint64_t sequence)
{
    CHECK(sequence >= chunk->first && sequence < chunk->end);
    size_t at = 0;
    uint64_t here = chunk->first;
    if (sequence == chunk->end - 1) {
        at = chunk->last_at;
        here = sequence;
    } else if (sequence >= chunk->hint_sequence) {
        at = chunk->hint_at;
        here = chunk->hint_sequence;
    }
    for (; here < sequence; here++) {
        at += topic_tail_record(chunk, at).size;
    }
    chunk->hint_at = at;
    chunk->hint_sequence = sequence;
    return at;
}

bool topic_tail_find(struct topic_tail *tail,
                     uint64_t sequence,
                     struct str *out_bytes,
                     uint64_t *out_first)
{
    struct topic_chunk *chunk = tail->head;
    if (tail->last != NULL && sequence >= tail->last->first) {
        chunk = tail->last;
    } else if (tail->hint != NULL && sequence >= tail->hint->first) {
        chunk = tail->hint;
    }
    while (chunk != NULL && chunk->end <= sequence) {
        chunk = chunk->next;
    }
    if (chunk == NULL) {
        return false;
    }
    tail->hint = chunk;
    uint64_t first = sequence > chunk->first ? sequence : chunk->first;
    size_t at = chunk_find(chunk, first);
    *out_bytes = (struct str){chunk->bytes + at, chunk->size - at};
    *out_first = first;
    return true;
}

bool topic_tail_find_time(const struct topic_tail *tail,
                          uint64_t sequence,
                          uint64_t at_ms,
                          uint64_t *out_sequence)
{
    for (struct topic_chunk *chunk = tail->head; chunk != NULL;
         chunk = chunk->next) {
        if (chunk->end <= sequence || chunk->time_max < at_ms) {
            continue;
        }
        for (size_t at = 0; at < chunk->size;) {
            struct segment_record record = topic_tail_record(chunk, at);
            if (record.sequence >= sequence && record.pushed_at_ms >= at_ms) {
                *out_sequence = record.sequence;
                return true;
            }
            at += record.size;
        }
    }
    return false;
}

/* Free the first chunk. */
static void drop_head(struct topic_tail *tail)
{
    struct topic_chunk *chunk = tail->head;
    tail->head = chunk->next;
    tail->memory_bytes -= chunk_memory(chunk);
    tail->hint = NULL;
    if (tail->head == NULL) {
        tail->last = NULL;
    }
    chunk_free(tail, chunk);
}

void topic_tail_drop(struct topic_tail *tail, uint64_t before)
{
    while (tail->head != NULL && tail->head->end <= before) {
        drop_head(tail);
    }
}

void topic_tail_prepend(struct topic_tail *to, struct topic_tail *from)
{
    if (from->head == NULL) {
        return;
    }
    from->last->next = to->head;
    to->last = to->head == NULL ? from->last : to->last;
    to->head = from->head;
    to->hint = NULL;
    to->memory_bytes += from->memory_bytes;
    *from = (struct topic_tail){.reserve = from->reserve};
}

void topic_tail_fini(struct topic_tail *tail)
{
    while (tail->head != NULL) {
        drop_head(tail);
    }
}

/* Ids of delayed messages, and numbers that stand for them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/due_id.h"

#include "base/buf.h"
#include "base/check.h"

#include <stdlib.h>
#include <string.h>

enum {
    HOUR_MS = 3600 * 1000,
    KNOWN_MAX = 16384, /* hours; those of a year are fewer */
};

/* --- ids ------------------------------------------------------------------ */

char *due_id_put(uint64_t bucket_id, uint64_t sequence, char *to)
{
    static const char digits[] = "0123456789abcdef";

    to = put_text(to, STR("dly_"));
    for (int shift = 60; shift >= 0; shift -= 4) {
        *to = digits[bucket_id >> shift & 15];
        to++;
    }
    *to = '-';
    return put_decimal(to + 1, sequence);
}

bool due_id_is(struct str id)
{
    return str_starts(id, STR("dly_"));
}

enum err
due_id_read(struct str id, uint64_t *out_bucket_id, uint64_t *out_sequence)
{
    enum { HEX_AT = 4, HEX_END = 20 };
    uint64_t bucket_id = 0;

    if (!str_starts(id, STR("dly_")) || id.size <= HEX_END + 1 ||
        id.data[HEX_END] != '-') {
        return ERR_INVALID;
    }
    for (size_t at = HEX_AT; at < HEX_END; at++) {
        char byte = id.data[at];
        if (byte >= '0' && byte <= '9') {
            bucket_id = bucket_id << 4 | (uint64_t)(byte - '0');
        } else if (byte >= 'a' && byte <= 'f') {
            bucket_id = bucket_id << 4 | (uint64_t)(byte - 'a' + 10);
        } else {
            return ERR_INVALID;
        }
    }
    struct str number = str_cut(id, HEX_END + 1, id.size);
    if (number.size > 1 && number.data[0] == '0') {
        return ERR_INVALID; /* an id has one form */
    }
    uint64_t sequence = 0;
    if (str_to_u64(number, &sequence) != ERR_OK) {
        return ERR_INVALID;
    }
    *out_bucket_id = bucket_id;
    *out_sequence = sequence;
    return ERR_OK;
}

/* --- what was put where --------------------------------------------------- */

enum { MARK_BIT = 63, HOUR_SHIFT = 40 };

static const uint64_t sequence_mask = (UINT64_C(1) << HOUR_SHIFT) - 1;
static const uint64_t hour_end = UINT64_C(1) << (MARK_BIT - HOUR_SHIFT);

static uint32_t known_place(const struct due_id_table *table, uint64_t hour)
{
    uint32_t low = 0;
    uint32_t high = table->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (table->known[middle].hour < hour) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Make room for another one; at the bound, the earliest is forgotten. */
static bool known_room(struct due_id_table *table)
{
    if (table->count < table->capacity) {
        return true;
    }
    if (table->count == KNOWN_MAX) {
        table->count--;
        memmove(&table->known[0], &table->known[1],
                table->count * sizeof(*table->known));
        return true;
    }
    uint32_t capacity = table->capacity == 0 ? 16 : 2 * table->capacity;
    struct due_id_known *known =
        realloc(table->known, capacity * sizeof(*known));
    if (known == NULL) {
        return false;
    }
    table->known = known;
    table->capacity = capacity;
    return true;
}

/* Remember which bucket an hour has. Without memory it is not. */
static void know(struct due_id_table *table, uint64_t hour, uint64_t bucket_id)
{
    uint32_t place = known_place(table, hour);

    if (place < table->count && table->known[place].hour == hour) {
        table->known[place].bucket_id = bucket_id;
        return;
    }
    if (!known_room(table)) {
        return;
    }
    place = known_place(table, hour);
    memmove(&table->known[place + 1], &table->known[place],
            (table->count - place) * sizeof(*table->known));
    table->known[place] =
        (struct due_id_known){.hour = hour, .bucket_id = bucket_id};
    table->count++;
}

void due_id_know(struct due_id_table *table,
                 uint64_t due_ms,
                 uint64_t bucket_id)
{
    know(table, due_ms / HOUR_MS, bucket_id);
}

void due_id_table_fini(struct due_id_table *table)
{
    free(table->known);
    *table = (struct due_id_table){0};
}

uint64_t due_id_mark(uint64_t due_ms, uint64_t sequence)
{
    uint64_t hour = due_ms / HOUR_MS;

    CHECK(sequence <= sequence_mask);
    CHECK(hour < hour_end);
    return UINT64_C(1) << MARK_BIT | hour << HOUR_SHIFT | sequence;
}

bool due_id_remember(struct due_id_table *table,
                     uint64_t due_ms,
                     uint64_t bucket_id,
                     uint64_t sequence,
                     uint64_t *out_mark)
{
    uint64_t hour = due_ms / HOUR_MS;

    if (sequence > sequence_mask || hour >= hour_end) {
        return false;
    }
    know(table, hour, bucket_id);
    *out_mark = due_id_mark(due_ms, sequence);
    return true;
}

bool due_id_marked(const struct due_id_table *table,
                   uint64_t mark,
                   uint64_t *out_bucket_id,
                   uint64_t *out_sequence)
{
    if (mark >> MARK_BIT == 0) {
        return false;
    }
    uint64_t hour = (mark & ~(UINT64_C(1) << MARK_BIT)) >> HOUR_SHIFT;
    uint32_t place = known_place(table, hour);
    bool known = place < table->count && table->known[place].hour == hour;
    *out_bucket_id = known ? table->known[place].bucket_id : 0;
    *out_sequence = mark & sequence_mask;
    return true;
}

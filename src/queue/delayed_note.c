/* What is noted of a bucket of delayed messages.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/delayed_note.h"

#include "base/buf.h"
#include "base/check.h"

#include <stdlib.h>

enum { VERSION = 1, AT_VERSION = 0, AT_KIND = 2, AT_COUNT = 4, AT_END = 8 };

static int compare(const void *left, const void *right)
{
    const uint64_t *first = left;
    const uint64_t *second = right;

    return (*first > *second) - (*first < *second);
}

static char *range_at(char *to, uint32_t index)
{
    return to + DELAYED_NOTE_HEAD_SIZE +
           (size_t)index * DELAYED_NOTE_RANGE_SIZE;
}

size_t delayed_note_write(enum delayed_note_kind kind,
                          uint64_t *sequences,
                          uint32_t count,
                          char *to)
{
    uint32_t ranges = 0;

    CHECK(count > 0 && count <= DELAYED_NOTE_COUNT_MAX);
    qsort(sequences, count, sizeof(*sequences), compare);
    for (uint32_t index = 0; index < count; index++) {
        uint64_t sequence = sequences[index];
        if (ranges > 0 &&
            get_u64(range_at(to, ranges - 1) + AT_END) == sequence) {
            put_u64(range_at(to, ranges - 1) + AT_END, sequence + 1);
            continue;
        }
        put_u64(range_at(to, ranges), sequence);
        put_u64(range_at(to, ranges) + AT_END, sequence + 1);
        ranges++;
    }
    put_u16(to + AT_VERSION, VERSION);
    put_u16(to + AT_KIND, (uint16_t)kind);
    put_u32(to + AT_COUNT, ranges);
    return (size_t)(range_at(to, ranges) - to);
}

enum err delayed_note_read(struct str bytes, struct delayed_note *out_note)
{
    struct delayed_note note;
    uint64_t end = 0;

    if (bytes.size < DELAYED_NOTE_HEAD_SIZE ||
        get_u16(bytes.data + AT_VERSION) != VERSION) {
        return ERR_CORRUPT;
    }
    uint16_t kind = get_u16(bytes.data + AT_KIND);
    note.count = get_u32(bytes.data + AT_COUNT);
    note.ranges = str_cut(bytes, DELAYED_NOTE_HEAD_SIZE, bytes.size);
    if ((kind != DELAYED_NOTE_HANDED && kind != DELAYED_NOTE_CANCELLED) ||
        note.count == 0 || note.count > DELAYED_NOTE_COUNT_MAX ||
        note.ranges.size != (size_t)note.count * DELAYED_NOTE_RANGE_SIZE) {
        return ERR_CORRUPT;
    }
    note.kind = (enum delayed_note_kind)kind;
    for (uint32_t index = 0; index < note.count; index++) {
        struct store_range range = delayed_note_range(&note, index);
        if (range.end <= range.first || (index > 0 && range.first <= end)) {
            return ERR_CORRUPT;
        }
        end = range.end;
    }
    *out_note = note;
    return ERR_OK;
}

struct store_range delayed_note_range(const struct delayed_note *note,
                                      uint32_t index)
{
    CHECK(index < note->count);

    const char *at =
        note->ranges.data + (size_t)index * DELAYED_NOTE_RANGE_SIZE;
    return (struct store_range){
        .first = get_u64(at),
        .end = get_u64(at + AT_END),
    };
}

/* One entry of the journal, as bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/journal_entry.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"

#include <string.h>

enum {
    CRC_AT = 0,
    SIZE_AT = 4, /* the checksum begins here */
    GENERATION_AT = 8,
    POSITION_AT = 16,
    TYPE_AT = 20,
    FLAGS_AT = 22,
    TOPIC_AT = 24,
};

_Static_assert((int)TOPIC_AT + 8 == (int)JOURNAL_ENTRY_HEAD_SIZE,
               "the head ends with the topic");
_Static_assert((int)JOURNAL_ENTRY_HEAD_SIZE + JOURNAL_ABORT_BODY_SIZE ==
                   (int)JOURNAL_ABORT_ENTRY_SIZE,
               "an ABORT entry has no padding");

size_t journal_entry_size(size_t body_size)
{
    size_t size = JOURNAL_ENTRY_HEAD_SIZE + body_size;
    return (size + JOURNAL_ENTRY_ALIGN - 1) &
           ~(size_t)(JOURNAL_ENTRY_ALIGN - 1);
}

void journal_entry_begin(void *entry,
                         size_t size,
                         enum journal_type type,
                         uint64_t topic_id)
{
    char *head = entry;
    CHECK(size <= UINT32_MAX);
    put_u32(head + SIZE_AT, (uint32_t)size);
    put_u16(head + TYPE_AT, (uint16_t)type);
    put_u16(head + FLAGS_AT, 0);
    put_u64(head + TOPIC_AT, topic_id);
}

static uint32_t type_of(const char *head)
{
    return get_u32(head + TYPE_AT) & 0xffff; /* flags are above */
}

bool journal_entry_fits(const void *entry)
{
    const char *head = entry;
    return type_of(head) != JOURNAL_RECORD ||
           get_u32(head + JOURNAL_ENTRY_HEAD_SIZE) + JOURNAL_ENTRY_HEAD_SIZE ==
               get_u32(head + SIZE_AT);
}

size_t journal_entry_size_of(const void *entry)
{
    return get_u32((const char *)entry + SIZE_AT);
}

static uint32_t checksum(const char *head, size_t summed)
{
    return crc32c(0, head + SIZE_AT, summed - SIZE_AT);
}

/* A record has a checksum of its own, so its bytes are summed once. */
static size_t summed_size(uint32_t type, uint32_t size)
{
    return type == JOURNAL_RECORD ? JOURNAL_ENTRY_HEAD_SIZE : size;
}

void journal_entry_seal(void *entry,
                        uint64_t generation,
                        uint64_t offset,
                        bool first)
{
    char *head = entry;
    CHECK(offset % JOURNAL_ENTRY_ALIGN == 0);
    CHECK(offset / JOURNAL_ENTRY_ALIGN <= UINT32_MAX);
    uint32_t position = (uint32_t)(offset / JOURNAL_ENTRY_ALIGN);
    put_u64(head + GENERATION_AT, generation);
    put_u32(head + POSITION_AT, position);
    put_u16(head + FLAGS_AT, first ? JOURNAL_FLAG_FIRST : 0);
    size_t summed = summed_size(type_of(head), get_u32(head + SIZE_AT));
    put_u32(head + CRC_AT, checksum(head, summed));
}

void journal_entry_abort(void *entry,
                         const struct journal_abort *abort,
                         struct journal_place place,
                         bool first)
{
    char *body = (char *)entry + JOURNAL_ENTRY_HEAD_SIZE;
    journal_entry_begin(entry, JOURNAL_ABORT_ENTRY_SIZE, JOURNAL_ABORT, 0);
    put_u64(body, abort->generation);
    put_u64(body + 8, abort->offset);
    journal_entry_seal(entry, place.generation, place.offset, first);
}

bool journal_entry_read(struct str bytes,
                        uint64_t generation,
                        uint64_t offset,
                        struct journal_entry *out_entry)
{
    struct reader reader = reader_of(bytes);
    reader_seek(&reader, SIZE_AT);
    struct journal_entry entry = {.size = reader_u32(&reader)};
    entry.generation = reader_u64(&reader);
    uint64_t position = reader_u32(&reader);
    entry.type = reader_u16(&reader);
    entry.flags = reader_u16(&reader);
    entry.topic_id = reader_u64(&reader);
    if (reader.failed || entry.generation == 0 ||
        (generation != 0 && entry.generation != generation) ||
        position * JOURNAL_ENTRY_ALIGN != offset ||
        entry.size < JOURNAL_ENTRY_HEAD_SIZE ||
        entry.size % JOURNAL_ENTRY_ALIGN != 0) {
        return false;
    }
    *out_entry = entry;
    return true;
}

size_t journal_entry_summed(const struct journal_entry *entry)
{
    return summed_size(entry->type, entry->size);
}

bool journal_entry_whole(struct str bytes)
{
    if (bytes.size < JOURNAL_ENTRY_HEAD_SIZE) {
        return false;
    }
    return get_u32(bytes.data + CRC_AT) == checksum(bytes.data, bytes.size);
}

bool journal_entry_abort_read(struct str body, struct journal_abort *out_abort)
{
    struct reader reader = reader_of(body);
    struct journal_abort abort = {.generation = reader_u64(&reader)};
    abort.offset = reader_u64(&reader);
    if (reader.failed) {
        return false;
    }
    *out_abort = abort;
    return true;
}

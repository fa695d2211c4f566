/* One file of records in sequence.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/segment.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "log/record_layout.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Where the fields of the head are. */
    HEAD_VERSION_AT = 8,
    HEAD_CRC_AT = 12,
    HEAD_FIRST_AT = 16,
    HEAD_CREATED_AT = 24,
    SEGMENT_VERSION = 1,

    WALK_BLOCK_SIZE = 256 * 1024,
    WALK_FIRST_SIZE = 16 * 1024, /* many walks are short */
};

static const char segment_magic[8] = "OPQ-SEG";
static const char zeros[16];

/* --- names and files ------------------------------------------------------ */

void segment_name(char name[SEGMENT_NAME_MAX], uint64_t first, bool index)
{
    (void)snprintf(name, SEGMENT_NAME_MAX, "%" PRIu64 "%s", first,
                   index ? ".idx" : ".msg");
}

bool segment_name_parse(const char *name, bool index, uint64_t *out_first)
{
    struct str text = str_from(name);
    struct str suffix = index ? STR(".idx") : STR(".msg");
    if (text.size <= suffix.size) {
        return false;
    }
    size_t digits = text.size - suffix.size;
    uint64_t first = 0;
    if (!str_equal(str_cut(text, digits, suffix.size), suffix) ||
        str_to_u64(str_cut(text, 0, digits), &first) != ERR_OK) {
        return false;
    }
    if (digits > 1 && text.data[0] == '0') {
        return false; /* leading zeros: another name for the same number */
    }
    *out_first = first;
    return true;
}

enum err
segment_path(char *path, const char *directory, uint64_t first, bool index)
{
    char name[SEGMENT_NAME_MAX];
    segment_name(name, first, index);
    return dir_join(path, directory, name);
}

enum err segment_create(const char *directory,
                        uint64_t first,
                        uint64_t created_ms,
                        int *out_fd)
{
    char path[DIR_PATH_MAX];
    enum err err = segment_path(path, directory, first, false);
    if (err != ERR_OK) {
        return err;
    }
    int fd = -1;
    err = file_open(path, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &fd);
    if (err != ERR_OK) {
        return err;
    }
    char head[SEGMENT_HEAD_SIZE] = {0};
    memcpy(head, segment_magic, sizeof(segment_magic));
    put_u32(head + HEAD_VERSION_AT, SEGMENT_VERSION);
    put_u64(head + HEAD_FIRST_AT, first);
    put_u64(head + HEAD_CREATED_AT, created_ms);
    put_u32(head + HEAD_CRC_AT,
            crc32c(0, head + HEAD_FIRST_AT, sizeof(head) - HEAD_FIRST_AT));
    err = file_write_at(fd, head, sizeof(head), 0, false);
    if (err != ERR_OK) {
        file_close(fd);
        return err;
    }
    *out_fd = fd;
    return ERR_OK;
}

static enum err check_head(int fd, uint64_t first)
{
    char head[SEGMENT_HEAD_SIZE];
    size_t size = 0;
    enum err err = file_read_at(fd, head, sizeof(head), 0, &size);
    if (err != ERR_OK) {
        return err;
    }
    if (size < sizeof(head) ||
        memcmp(head, segment_magic, sizeof(segment_magic)) != 0 ||
        get_u32(head + HEAD_VERSION_AT) != SEGMENT_VERSION ||
        get_u64(head + HEAD_FIRST_AT) != first) {
        return ERR_CORRUPT;
    }
    uint32_t crc =
        crc32c(0, head + HEAD_FIRST_AT, sizeof(head) - HEAD_FIRST_AT);
    return get_u32(head + HEAD_CRC_AT) == crc ? ERR_OK : ERR_CORRUPT;
}

enum err segment_open(const char *directory,
                      uint64_t first,
                      bool writable,
                      int *out_fd,
                      uint64_t *out_size)
{
    char path[DIR_PATH_MAX];
    enum err err = segment_path(path, directory, first, false);
    if (err != ERR_OK) {
        return err;
    }
    int fd = -1;
    err = file_open(path, writable ? FILE_WRITE : FILE_READ, &fd);
    if (err != ERR_OK) {
        return err;
    }
    uint64_t size = 0;
    err = check_head(fd, first);
    if (err == ERR_OK) {
        err = file_size(fd, &size);
    }
    if (err != ERR_OK) {
        file_close(fd);
        return err;
    }
    *out_fd = fd;
    *out_size = size;
    return ERR_OK;
}

/* --- records -------------------------------------------------------------- */

enum err segment_record_head(struct str bytes,
                             struct segment_record *out_record)
{
    if (bytes.size < RECORD_HEADER_SIZE) {
        return ERR_AGAIN;
    }
    const char *data = bytes.data;
    struct segment_record record = {
        .size = get_u32(data + RECORD_AT_SIZE),
        .crc = get_u32(data + RECORD_AT_CRC),
        .sequence = get_u64(data + RECORD_AT_SEQUENCE),
        .pushed_at_ms = get_u64(data + RECORD_AT_PUSHED_AT),
        .payload_size = get_u32(data + RECORD_AT_PAYLOAD_SIZE),
        .beside = get_u64(data + RECORD_AT_BODY_SIZE),
    };
    uint16_t version = get_u16(data + RECORD_AT_VERSION);
    uint64_t reserved = get_u64(data + RECORD_AT_RESERVED);

    uint64_t size = (uint64_t)RECORD_HEADER_SIZE + record.payload_size;
    size = (size + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN;
    if (record.size != size || version != RECORD_VERSION ||
        !record_body_size_valid(bytes.data) || reserved != 0) {
        return ERR_CORRUPT;
    }
    *out_record = record;
    return ERR_OK;
}

bool segment_record_whole(struct str bytes, const struct segment_record *record)
{
    if (bytes.data == NULL || bytes.size < record->size) {
        return false;
    }
    size_t used = RECORD_HEADER_SIZE + (size_t)record->payload_size;
    uint32_t crc =
        crc32c(0, bytes.data + RECORD_AT_SEQUENCE, used - RECORD_AT_SEQUENCE);
    return crc == record->crc &&
           memcmp(bytes.data + used, zeros, record->size - used) == 0;
}

/* --- walk ----------------------------------------------------------------- */

void segment_walk_init(struct segment_walk *walk,
                       int fd,
                       uint64_t offset,
                       uint64_t end,
                       uint64_t sequence)
{
    CHECK(offset >= SEGMENT_HEAD_SIZE);
    *walk = (struct segment_walk){
        .fd = fd,
        .offset = offset,
        .end = end,
        .sequence = sequence,
    };
}

void segment_walk_fini(struct segment_walk *walk)
{
    free(walk->block);
    walk->block = NULL;
    walk->block_capacity = 0;
    walk->block_size = 0;
}

/* Make the block hold at least `size` bytes from `offset` on. */
static enum err
walk_load(struct segment_walk *walk, uint64_t offset, size_t size)
{
    if (offset >= walk->block_offset &&
        offset + size <= walk->block_offset + walk->block_size) {
        return ERR_OK;
    }
    size_t capacity = WALK_BLOCK_SIZE;
    if (walk->block == NULL) {
        capacity = WALK_FIRST_SIZE;
    }
    if (capacity < size) {
        capacity = size;
    }
    if (capacity > walk->block_capacity) {
        free(walk->block);
        walk->block_size = 0;
        walk->block_capacity = 0;
        walk->block = malloc(capacity);
        if (walk->block == NULL) {
            return ERR_NOMEM;
        }
        walk->block_capacity = capacity;
    }
    size_t wanted = walk->block_capacity;
    if (wanted > walk->end - offset) {
        wanted = (size_t)(walk->end - offset);
    }
    walk->block_size = 0;
    size_t got = 0;
    enum err err = file_read_at(walk->fd, walk->block, wanted, offset, &got);
    if (err != ERR_OK) {
        return err;
    }
    walk->block_offset = offset;
    walk->block_size = got;
    if (got < wanted) {
        walk->end = offset + got; /* the file is shorter than believed */
    }
    return ERR_OK;
}

/* Slice up to `size` bytes from `offset`, which are in the block or missing. */
static struct str
walk_bytes(const struct segment_walk *walk, uint64_t offset, size_t size)
{
    if (walk->block == NULL) {
        return (struct str){NULL, 0};
    }
    struct str block = {walk->block, walk->block_size};
    if (offset < walk->block_offset) {
        return (struct str){NULL, 0};
    }
    return str_cut(block, (size_t)(offset - walk->block_offset), size);
}

/* Look at the record at `offset` without moving.
 * Errors: ERR_NOT_FOUND  fewer bytes than a head before the walk's end
 *         ERR_CORRUPT, ERR_IO, ERR_NOMEM */
static enum err walk_look(struct segment_walk *walk,
                          uint64_t offset,
                          struct segment_step *out_step)
{
    if (offset >= walk->end || walk->end - offset < RECORD_HEADER_SIZE) {
        return ERR_NOT_FOUND;
    }
    enum err err = walk_load(walk, offset, RECORD_HEADER_SIZE);
    if (err != ERR_OK) {
        return err;
    }
    struct segment_step step = {.offset = offset};
    err = segment_record_head(walk_bytes(walk, offset, RECORD_HEADER_SIZE),
                              &step.record);
    if (err != ERR_OK || step.record.size > walk->end - offset) {
        return ERR_CORRUPT;
    }
    err = walk_load(walk, offset, step.record.size);
    if (err != ERR_OK) {
        return err;
    }
    step.bytes = walk_bytes(walk, offset, step.record.size);
    if (!segment_record_whole(step.bytes, &step.record)) {
        return ERR_CORRUPT;
    }
    *out_step = step;
    return ERR_OK;
}

enum err segment_walk_next(struct segment_walk *walk,
                           struct segment_step *out_step)
{
    if (walk->offset >= walk->end) {
        return ERR_NOT_FOUND;
    }
    struct segment_step step;
    enum err err = walk_look(walk, walk->offset, &step);
    if (err == ERR_NOT_FOUND) {
        return ERR_CORRUPT; /* something, but too short for a record */
    }
    if (err != ERR_OK) {
        return err;
    }
    if (step.record.sequence != walk->sequence) {
        return ERR_CORRUPT;
    }
    walk->offset += step.record.size;
    walk->sequence++;
    *out_step = step;
    return ERR_OK;
}

/* Tell whether a whole record at `offset` is one that may follow the damage,
 * and whether it leads where it must. */
static enum err walk_candidate(struct segment_walk *walk,
                               uint64_t offset,
                               const struct segment_landing *landing,
                               uint64_t *out_sequence)
{
    struct segment_step step;
    enum err err = walk_look(walk, offset, &step);
    if (err != ERR_OK) {
        return err;
    }
    uint64_t first = step.record.sequence;
    /* At least one record was lost, and none is smaller than its header. */
    uint64_t lost_max = (offset - walk->offset) / RECORD_HEADER_SIZE;
    if (first <= walk->sequence || first - walk->sequence > lost_max) {
        return ERR_CORRUPT;
    }
    uint64_t sequence = first;
    uint64_t at = offset;
    while (landing->exact && at < landing->limit) {
        err = walk_look(walk, at, &step);
        if (err != ERR_OK) {
            return err;
        }
        if (step.record.sequence != sequence) {
            return ERR_CORRUPT;
        }
        sequence++;
        at += step.record.size;
    }
    if (landing->exact &&
        (at != landing->limit || sequence != landing->sequence)) {
        return ERR_CORRUPT;
    }
    *out_sequence = first;
    return ERR_OK;
}

/* Where the size of the damaged record leads to; 0: nowhere. */
static enum err walk_own_next(struct segment_walk *walk, uint64_t *out_offset)
{
    *out_offset = 0;
    if (walk->end - walk->offset < RECORD_HEADER_SIZE) {
        return ERR_OK;
    }
    enum err err = walk_load(walk, walk->offset, RECORD_HEADER_SIZE);
    if (err != ERR_OK) {
        return err;
    }
    struct segment_record record;
    struct str bytes = walk_bytes(walk, walk->offset, RECORD_HEADER_SIZE);
    if (segment_record_head(bytes, &record) == ERR_OK &&
        record.size <= walk->end - walk->offset) {
        *out_offset = walk->offset + record.size;
    }
    return ERR_OK;
}

enum err segment_walk_resync(struct segment_walk *walk,
                             const struct segment_landing *landing)
{
    uint64_t own_next = 0;
    enum err err = walk_own_next(walk, &own_next);
    if (err != ERR_OK) {
        return err;
    }
    if (own_next == landing->limit &&
        (!landing->exact || walk->sequence + 1 == landing->sequence)) {
        return ERR_NOT_FOUND; /* it is the only one damaged, and the last */
    }
    uint64_t scan_from = walk->offset + RECORD_HEADER_SIZE;
    uint64_t offset = own_next != 0 ? own_next : scan_from;
    bool scanning = own_next == 0;
    while (offset < landing->limit && offset < walk->end) {
        uint64_t sequence = 0;
        err = walk_candidate(walk, offset, landing, &sequence);
        if (err == ERR_OK) {
            walk->offset = offset;
            walk->sequence = sequence;
            return ERR_OK;
        }
        if (err == ERR_IO || err == ERR_NOMEM) {
            return err;
        }
        offset += RECORD_ALIGN;
        if (!scanning) {
            scanning = true;
            offset = scan_from;
        }
    }
    return ERR_NOT_FOUND;
}

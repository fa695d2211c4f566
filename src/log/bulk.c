/* Large writes past the page cache.
 *
 *     offset      first block              last block       end
 *     |-- head ---|------ whole blocks ----|---- tail ------|
 *       cached             direct               cached
 *
 * What can fail: a direct write, for reasons of its own (a device that wants
 * another alignment, a file system that has none). The policy: the same bytes
 * then go through the page cache; only that one's word counts.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/bulk.h"

#include "base/check.h"
#include "sys/file.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Where a copy of parts stands. */
struct source {
    const struct iovec *parts; /* borrowed */
    size_t used;               /* bytes of the first of them */
};

static void copy(struct source *source, char *to, size_t size)
{
    while (size > 0) {
        const struct iovec *part = source->parts;
        size_t left = part->iov_len - source->used;
        size_t step = left < size ? left : size;
        memcpy(to, (const char *)part->iov_base + source->used, step);
        to += step;
        size -= step;
        source->used += step;
        if (source->used == part->iov_len) {
            source->parts++;
            source->used = 0;
        }
    }
}

/* Write whole blocks past the page cache, or through it; `*out_direct` tells.
 */
static enum err write_blocks(
    int fd, const char *blocks, size_t size, uint64_t offset, bool *out_direct)
{
    enum err err = ERR_UNSUPPORTED;
    if (file_set_direct(fd, true)) {
        err = file_write_at(fd, blocks, size, offset, false);
        CHECK(file_set_direct(fd, false));
    }
    *out_direct = err == ERR_OK;
    if (err == ERR_OK || err == ERR_FULL) {
        return err;
    }
    return file_write_at(fd, blocks, size, offset, false);
}

enum err bulk_write(int fd,
                    struct iovec *parts,
                    uint32_t part_count,
                    uint64_t offset,
                    uint64_t size,
                    enum bulk_way *out_way)
{
    const uint64_t align = FILE_DIRECT_ALIGN;
    uint64_t first = (offset + align - 1) / align * align;
    uint64_t last = (offset + size) / align * align;
    char *blocks = NULL;
    if (last >= first + BULK_DIRECT_MIN) {
        blocks = aligned_alloc(align, last - first);
    }
    *out_way = BULK_CACHED;
    if (blocks == NULL) {
        return file_write_parts(fd, parts, part_count, offset, false);
    }
    char edge[FILE_DIRECT_ALIGN];
    struct source source = {.parts = parts};
    copy(&source, edge, first - offset);
    enum err err = file_write_at(fd, edge, first - offset, offset, false);
    if (err == ERR_OK) {
        copy(&source, blocks, last - first);
        bool direct = false;
        err = write_blocks(fd, blocks, last - first, first, &direct);
        *out_way = direct ? BULK_DIRECT : BULK_REFUSED;
    }
    free(blocks);
    if (err == ERR_OK) {
        copy(&source, edge, offset + size - last);
        err = file_write_at(fd, edge, offset + size - last, last, false);
    }
    return err;
}

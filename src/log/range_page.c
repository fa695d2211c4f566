/* Cursors with ranges in a shared mapping.
 *
 * Which copy is the older one is told by a number that goes up with each store,
 * without a checksum: a copy that is not whole is emptied when it is claimed,
 * so in the life of a process there are none but while one is written.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/range_page.h"

#include "base/buf.h"
#include "base/crc32c.h"
#include "log/slot_file.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    AT_SIZE = 4,
    AT_TOPIC = 8,
    AT_SERIAL = 16,
    HEAD_SIZE = 32,
};

static_assert((int)AT_TOPIC == (int)SLOT_FILE_OWNER_AT, "whose it is");
static_assert((int)HEAD_SIZE + (int)TOPIC_CURSOR_SIZE_MAX <=
                  (int)RANGE_PAGE_COPY_SIZE,
              "a cursor fits a copy");

enum { PAGE_SIZE_MAX = 1 << 30 }; /* of a file that is read whole */

struct range_page {
    struct slot_file *file; /* owned */
};

enum err range_page_open(const char *directory,
                         uint32_t slot_max,
                         struct range_page **out)
{
    struct range_page *page = calloc(1, sizeof(*page));
    if (page == NULL) {
        return ERR_NOMEM;
    }
    const struct slot_file_options options = {
        .directory = directory,
        .name = "ranges",
        .copy_size = RANGE_PAGE_COPY_SIZE,
        .slot_max = slot_max,
    };
    enum err err = slot_file_open(&options, &page->file);
    if (err != ERR_OK) {
        free(page);
        return err;
    }
    *out = page;
    return ERR_OK;
}

void range_page_close(struct range_page *page)
{
    if (page != NULL) {
        slot_file_close(page->file);
        free(page);
    }
}

/* Read one copy; false when it is empty or not whole. */
static bool copy_read(const char *copy, struct topic_cursor *out_cursor)
{
    size_t found = 0;
    size_t size = get_u32(copy + AT_SIZE);
    if (get_u64(copy + AT_TOPIC) == 0 || size > TOPIC_CURSOR_SIZE_MAX ||
        get_u32(copy) != crc32c(0, copy + 4, HEAD_SIZE - 4 + size)) {
        return false;
    }
    struct str body = {copy + HEAD_SIZE, size};
    return topic_cursor_read(body, out_cursor, &found) && found == size;
}

/* What range_page_claim() was given. */
struct claim {
    struct range_page *page;
    bool (*visit)(void *context,
                  uint32_t slot,
                  uint64_t topic_id,
                  const struct topic_cursor *cursor);
    void *context;
};

static bool claim_slot(void *context, uint32_t slot)
{
    struct claim *claim = context;
    bool kept = false;
    for (int i = 0; i < 2; i++) {
        char *copy = slot_file_copy(claim->page->file, slot, i);
        struct topic_cursor cursor;
        if (copy_read(copy, &cursor)) {
            uint64_t topic_id = get_u64(copy + AT_TOPIC);
            kept |= claim->visit(claim->context, slot, topic_id, &cursor);
        } else if (get_u64(copy + AT_TOPIC) != 0 ||
                   get_u64(copy + AT_SERIAL) != 0) {
            memset(copy, 0, RANGE_PAGE_COPY_SIZE);
        }
    }
    return kept;
}

void range_page_claim(struct range_page *page,
                      bool (*visit)(void *context,
                                    uint32_t slot,
                                    uint64_t topic_id,
                                    const struct topic_cursor *cursor),
                      void *context)
{
    struct claim claim = {page, visit, context};
    slot_file_claim(page->file, claim_slot, &claim);
}

enum err range_page_read(const char *directory,
                         void (*visit)(void *context,
                                       uint64_t topic_id,
                                       const struct topic_cursor *cursor),
                         void *context)
{
    char path[DIR_PATH_MAX];
    char *data = NULL;
    size_t size = 0;
    enum err err = dir_join(path, directory, "ranges");
    if (err == ERR_OK) {
        err = file_load(path, PAGE_SIZE_MAX, &data, &size);
    }
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    for (size_t at = 0; at + RANGE_PAGE_COPY_SIZE <= size;
         at += RANGE_PAGE_COPY_SIZE) {
        struct topic_cursor cursor;
        if (copy_read(data + at, &cursor)) {
            visit(context, get_u64(data + at + AT_TOPIC), &cursor);
        }
    }
    free(data);
    return ERR_OK;
}

enum err range_page_take(struct range_page *page, uint32_t *out_slot)
{
    return slot_file_take(page->file, out_slot);
}

void range_page_store(struct range_page *page,
                      uint32_t slot,
                      uint64_t topic_id,
                      const struct topic_cursor *cursor)
{
    uint64_t serials[2];
    for (int i = 0; i < 2; i++) {
        serials[i] = get_u64(slot_file_copy(page->file, slot, i) + AT_SERIAL);
    }
    int copy = serials[0] <= serials[1] ? 0 : 1;
    char bytes[RANGE_PAGE_COPY_SIZE];
    size_t size = topic_cursor_size(cursor);
    memset(bytes, 0, HEAD_SIZE);
    put_u32(bytes + AT_SIZE, (uint32_t)size);
    put_u64(bytes + AT_TOPIC, topic_id);
    put_u64(bytes + AT_SERIAL, serials[1 - copy] + 1);
    topic_cursor_write(cursor, bytes + HEAD_SIZE);
    put_u32(bytes, crc32c(0, bytes + 4, HEAD_SIZE - 4 + size));
    slot_file_write(page->file, slot, copy, bytes, HEAD_SIZE + size);
}

void range_page_drop(struct range_page *page, uint32_t slot)
{
    slot_file_drop(page->file, slot);
}

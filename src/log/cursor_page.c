/* Cursors in a shared mapping.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/cursor_page.h"

#include "base/buf.h"
#include "base/crc32c.h"
#include "log/slot_file.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

enum {
    AT_ATTEMPTS = 4,
    AT_TOPIC = 8,
    AT_EPOCH = 16,
    AT_NEXT = 24,
    SUMMED_END = 32, /* the checksum covers 4 up to here */
};

static_assert((int)AT_TOPIC == (int)SLOT_FILE_OWNER_AT, "whose it is");
static_assert(CURSOR_PAGE_STEP * CURSOR_PAGE_SLOT_SIZE ==
                  (int)SLOT_FILE_STEP_SIZE,
              "a step of the file");

enum { PAGE_SIZE_MAX = 1 << 30 }; /* of a file that is read whole */

struct cursor_page {
    struct slot_file *file; /* owned */
};

static char *copy_at(const struct cursor_page *page, uint32_t slot, int copy)
{
    return slot_file_copy(page->file, slot, copy);
}

/* Read one copy; false when it is empty or not whole. */
static bool copy_read(const char *copy, struct cursor_page_entry *out)
{
    out->topic_id = get_u64(copy + AT_TOPIC);
    out->epoch = get_u64(copy + AT_EPOCH);
    out->next = get_u64(copy + AT_NEXT);
    out->attempts = get_u32(copy + AT_ATTEMPTS);
    return out->topic_id != 0 &&
           get_u32(copy) == crc32c(0, copy + 4, SUMMED_END - 4);
}

/* Tell whether `left` was written after `right`. */
static bool newer(const struct cursor_page_entry *left,
                  const struct cursor_page_entry *right)
{
    if (left->epoch != right->epoch) {
        return left->epoch > right->epoch;
    }
    if (left->next != right->next) {
        return left->next > right->next;
    }
    return left->attempts > right->attempts;
}

/* Which copy holds the newest state: 0, 1, or -1 for none. */
static int slot_read(const struct cursor_page *page,
                     uint32_t slot,
                     struct cursor_page_entry *out)
{
    struct cursor_page_entry second;
    bool first_whole = copy_read(copy_at(page, slot, 0), out);
    if (!copy_read(copy_at(page, slot, 1), &second)) {
        return first_whole ? 0 : -1;
    }
    if (first_whole && !newer(&second, out)) {
        return 0;
    }
    *out = second;
    return 1;
}

enum err cursor_page_open(const char *directory,
                          uint32_t slot_max,
                          struct cursor_page **out)
{
    struct cursor_page *page = calloc(1, sizeof(*page));
    if (page == NULL) {
        return ERR_NOMEM;
    }
    const struct slot_file_options options = {
        .directory = directory,
        .name = "cursors",
        .copy_size = CURSOR_PAGE_COPY_SIZE,
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

void cursor_page_close(struct cursor_page *page)
{
    if (page != NULL) {
        slot_file_close(page->file);
        free(page);
    }
}

/* What cursor_page_claim() was given. */
struct claim {
    struct cursor_page *page;
    bool (*visit)(void *context,
                  uint32_t slot,
                  const struct cursor_page_entry *entry);
    void *context;
};

static bool claim_slot(void *context, uint32_t slot)
{
    struct claim *claim = context;
    struct cursor_page_entry entry;
    return slot_read(claim->page, slot, &entry) >= 0 &&
           claim->visit(claim->context, slot, &entry);
}

void cursor_page_claim(struct cursor_page *page,
                       bool (*visit)(void *context,
                                     uint32_t slot,
                                     const struct cursor_page_entry *entry),
                       void *context)
{
    struct claim claim = {page, visit, context};
    slot_file_claim(page->file, claim_slot, &claim);
}

enum err cursor_page_read(const char *directory,
                          void (*visit)(void *context,
                                        const struct cursor_page_entry *entry),
                          void *context)
{
    char path[DIR_PATH_MAX];
    char *data = NULL;
    size_t size = 0;
    enum err err = dir_join(path, directory, "cursors");
    if (err == ERR_OK) {
        err = file_load(path, PAGE_SIZE_MAX, &data, &size);
    }
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    for (size_t at = 0; at + CURSOR_PAGE_COPY_SIZE <= size;
         at += CURSOR_PAGE_COPY_SIZE) {
        struct cursor_page_entry entry;
        if (copy_read(data + at, &entry)) {
            visit(context, &entry);
        }
    }
    free(data);
    return ERR_OK;
}

enum err cursor_page_take(struct cursor_page *page, uint32_t *out_slot)
{
    return slot_file_take(page->file, out_slot);
}

void cursor_page_store(struct cursor_page *page,
                       uint32_t slot,
                       const struct cursor_page_entry *entry)
{
    struct cursor_page_entry present;
    int copy = slot_read(page, slot, &present) == 0 ? 1 : 0;
    char bytes[CURSOR_PAGE_COPY_SIZE] = {0};
    put_u32(bytes + AT_ATTEMPTS, entry->attempts);
    put_u64(bytes + AT_TOPIC, entry->topic_id);
    put_u64(bytes + AT_EPOCH, entry->epoch);
    put_u64(bytes + AT_NEXT, entry->next);
    put_u32(bytes, crc32c(0, bytes + 4, SUMMED_END - 4));
    slot_file_write(page->file, slot, copy, bytes, sizeof(bytes));
}

void cursor_page_drop(struct cursor_page *page, uint32_t slot)
{
    slot_file_drop(page->file, slot);
}

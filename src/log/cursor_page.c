/* Cursors in a shared mapping.
 *
 * The whole of what the page may become is mapped at once; the file grows in
 * steps beneath it, by written zeros, so that no store meets a hole for which
 * the disk has no room. Slots past the file's end are never touched.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/cursor_page.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    AT_ATTEMPTS = 4,
    AT_TOPIC = 8,
    AT_EPOCH = 16,
    AT_NEXT = 24,
    SUMMED_END = 32, /* the checksum covers 4 up to here */
};

struct cursor_page {
    char *memory;   /* owned mapping of slot_max slots */
    uint32_t *free; /* owned; slots given back, a stack */
    uint32_t free_count;
    uint32_t slot_max;  /* mapped */
    uint32_t slot_file; /* backed by the file */
    uint32_t slot_used; /* below it, every slot was taken once */
    int fd;             /* owned */
};

static size_t mapping_size(uint32_t slot_count)
{
    return (size_t)slot_count * CURSOR_PAGE_SLOT_SIZE;
}

static char *copy_at(const struct cursor_page *page, uint32_t slot, int copy)
{
    return page->memory + mapping_size(slot) +
           (size_t)copy * CURSOR_PAGE_COPY_SIZE;
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

/* Empty a slot and put it on the stack of free ones. */
static void give_back(struct cursor_page *page, uint32_t slot)
{
    CHECK(page->free_count < page->slot_max);
    char *memory = copy_at(page, slot, 0);
    if (get_u64(memory + AT_TOPIC) != 0 ||
        get_u64(memory + CURSOR_PAGE_COPY_SIZE + AT_TOPIC) != 0) {
        memset(memory, 0, CURSOR_PAGE_SLOT_SIZE);
    }
    page->free[page->free_count] = slot;
    page->free_count++;
}

/* Let the file grow to `slot_count` slots. */
static enum err grow(struct cursor_page *page, uint32_t slot_count)
{
    static const char zeros[CURSOR_PAGE_STEP * CURSOR_PAGE_SLOT_SIZE];
    uint32_t at = page->slot_file;
    while (at < slot_count) {
        uint32_t step = slot_count - at;
        if (step > CURSOR_PAGE_STEP) {
            step = CURSOR_PAGE_STEP;
        }
        enum err err = file_write_at(page->fd, zeros, mapping_size(step),
                                     mapping_size(at), false);
        if (err != ERR_OK) {
            return err;
        }
        at += step;
        page->slot_file = at;
    }
    return ERR_OK;
}

/* Open the file and map it. */
static enum err map(struct cursor_page *page, const char *directory)
{
    char path[DIR_PATH_MAX];
    if (dir_join(path, directory, "cursors") != ERR_OK) {
        return ERR_IO;
    }
    enum err err = file_open(path, FILE_WRITE | FILE_CREATE, &page->fd);
    if (err != ERR_OK) {
        return err == ERR_FULL ? ERR_FULL : ERR_IO;
    }
    uint64_t size = 0;
    err = file_size(page->fd, &size);
    if (err != ERR_OK) {
        return err;
    }
    uint64_t slot_count = size / CURSOR_PAGE_SLOT_SIZE;
    if (slot_count > page->slot_max) {
        page->slot_max =
            slot_count < UINT32_MAX ? (uint32_t)slot_count : UINT32_MAX - 1;
    }
    page->slot_file =
        slot_count < page->slot_max ? (uint32_t)slot_count : page->slot_max;
    if (page->slot_file < CURSOR_PAGE_STEP) {
        err = grow(page, CURSOR_PAGE_STEP);
        if (err != ERR_OK) {
            return err;
        }
    }
    void *memory = NULL;
    err = file_map(page->fd, mapping_size(page->slot_max), true, &memory);
    if (err == ERR_OK) {
        page->memory = memory;
    }
    return err;
}

enum err cursor_page_open(const char *directory,
                          uint32_t slot_max,
                          struct cursor_page **out)
{
    struct cursor_page *page = calloc(1, sizeof(*page));
    if (page == NULL) {
        return ERR_NOMEM;
    }
    page->fd = -1;
    page->slot_max = slot_max < CURSOR_PAGE_STEP ? CURSOR_PAGE_STEP : slot_max;
    enum err err = map(page, directory);
    if (err == ERR_OK) {
        page->free = calloc(page->slot_max, sizeof(*page->free));
        if (page->free == NULL) {
            err = ERR_NOMEM;
        }
    }
    if (err != ERR_OK) {
        cursor_page_close(page);
        return err;
    }
    *out = page;
    return ERR_OK;
}

void cursor_page_close(struct cursor_page *page)
{
    if (page == NULL) {
        return;
    }
    file_unmap(page->memory, mapping_size(page->slot_max));
    file_close(page->fd);
    free(page->free);
    free(page);
}

void cursor_page_claim(struct cursor_page *page,
                       bool (*visit)(void *context,
                                     uint32_t slot,
                                     const struct cursor_page_entry *entry),
                       void *context)
{
    uint32_t used = 0;
    page->free_count = 0;
    for (uint32_t slot = 0; slot < page->slot_file; slot++) {
        struct cursor_page_entry entry;
        if (slot_read(page, slot, &entry) >= 0 &&
            visit(context, slot, &entry)) {
            for (; used < slot; used++) {
                give_back(page, used);
            }
            used = slot + 1;
        }
    }
    page->slot_used = used;
}

enum err cursor_page_take(struct cursor_page *page, uint32_t *out_slot)
{
    if (page->free_count > 0) {
        page->free_count--;
        *out_slot = page->free[page->free_count];
        return ERR_OK;
    }
    if (page->slot_used == page->slot_max) {
        return ERR_BUSY;
    }
    if (page->slot_used == page->slot_file) {
        uint32_t step = page->slot_max - page->slot_file;
        if (step > CURSOR_PAGE_STEP) {
            step = CURSOR_PAGE_STEP;
        }
        enum err err = grow(page, page->slot_file + step);
        if (err != ERR_OK) {
            return err;
        }
    }
    *out_slot = page->slot_used;
    page->slot_used++;
    /* What an unclaimed slot held is of no topic. */
    memset(copy_at(page, *out_slot, 0), 0, CURSOR_PAGE_SLOT_SIZE);
    return ERR_OK;
}

void cursor_page_store(struct cursor_page *page,
                       uint32_t slot,
                       const struct cursor_page_entry *entry)
{
    CHECK(slot < page->slot_used);
    struct cursor_page_entry present;
    int copy = slot_read(page, slot, &present) == 0 ? 1 : 0;
    char bytes[CURSOR_PAGE_COPY_SIZE] = {0};
    put_u32(bytes + AT_ATTEMPTS, entry->attempts);
    put_u64(bytes + AT_TOPIC, entry->topic_id);
    put_u64(bytes + AT_EPOCH, entry->epoch);
    put_u64(bytes + AT_NEXT, entry->next);
    put_u32(bytes, crc32c(0, bytes + 4, SUMMED_END - 4));
    /* The other copy is whole while this one is written: the compiler must not
     * let two stores in a row overlap. */
    atomic_signal_fence(memory_order_seq_cst);
    memcpy(copy_at(page, slot, copy), bytes, sizeof(bytes));
    atomic_signal_fence(memory_order_seq_cst);
}

void cursor_page_drop(struct cursor_page *page, uint32_t slot)
{
    if (slot == CURSOR_PAGE_NONE) {
        return;
    }
    CHECK(slot < page->slot_used);
    give_back(page, slot);
}

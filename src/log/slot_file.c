/* A file of slots in a shared mapping.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/slot_file.h"

#include "base/buf.h"
#include "base/check.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct slot_file {
    char *memory;   /* owned mapping of slot_max slots */
    uint32_t *free; /* owned; slots given back, a stack */
    size_t copy_size;
    uint32_t free_count;
    uint32_t slot_step;  /* by which the file grows */
    uint32_t slot_max;   /* mapped */
    uint32_t slot_count; /* backed by the file */
    uint32_t slot_used;  /* below it, every slot was taken once */
    int fd;              /* owned */
};

static size_t mapping_size(const struct slot_file *file, uint32_t slot_count)
{
    return (size_t)slot_count * 2 * file->copy_size;
}

char *slot_file_copy(const struct slot_file *file, uint32_t slot, int copy)
{
    return file->memory + mapping_size(file, slot) +
           (size_t)copy * file->copy_size;
}

/* Empty a slot and put it on the stack of free ones. One that is empty is not
 * written to, and so costs no memory. */
static void give_back(struct slot_file *file, uint32_t slot)
{
    CHECK(file->free_count < file->slot_max);
    for (int i = 0; i < 2; i++) {
        char *copy = slot_file_copy(file, slot, i);
        if (get_u64(copy + SLOT_FILE_OWNER_AT) != 0) {
            memset(copy, 0, file->copy_size);
        }
    }
    file->free[file->free_count] = slot;
    file->free_count++;
}

/* Let the file grow to `slot_count` slots. */
static enum err grow(struct slot_file *file, uint32_t slot_count)
{
    static const char zeros[SLOT_FILE_STEP_SIZE];
    uint32_t at = file->slot_count;
    while (at < slot_count) {
        uint32_t step = slot_count - at;
        if (step > file->slot_step) {
            step = file->slot_step;
        }
        enum err err = file_write_at(file->fd, zeros, mapping_size(file, step),
                                     mapping_size(file, at), false);
        if (err != ERR_OK) {
            return err;
        }
        at += step;
        file->slot_count = at;
    }
    return ERR_OK;
}

/* Open the file and map it. */
static enum err map(struct slot_file *file,
                    const struct slot_file_options *options)
{
    char path[DIR_PATH_MAX];
    if (dir_join(path, options->directory, options->name) != ERR_OK) {
        return ERR_IO;
    }
    enum err err = file_open(path, FILE_WRITE | FILE_CREATE, &file->fd);
    if (err != ERR_OK) {
        return err == ERR_FULL ? ERR_FULL : ERR_IO;
    }
    uint64_t size = 0;
    err = file_size(file->fd, &size);
    if (err != ERR_OK) {
        return err;
    }
    uint64_t slot_count = size / mapping_size(file, 1);
    if (slot_count > file->slot_max) {
        file->slot_max =
            slot_count < UINT32_MAX ? (uint32_t)slot_count : UINT32_MAX - 1;
    }
    file->slot_count =
        slot_count < file->slot_max ? (uint32_t)slot_count : file->slot_max;
    if (file->slot_count < file->slot_step) {
        err = grow(file, file->slot_step);
        if (err != ERR_OK) {
            return err;
        }
    }
    void *memory = NULL;
    err = file_map(file->fd, mapping_size(file, file->slot_max), true, &memory);
    if (err == ERR_OK) {
        file->memory = memory;
    }
    return err;
}

enum err slot_file_open(const struct slot_file_options *options,
                        struct slot_file **out)
{
    CHECK(SLOT_FILE_STEP_SIZE % (2 * options->copy_size) == 0);
    struct slot_file *file = calloc(1, sizeof(*file));
    if (file == NULL) {
        return ERR_NOMEM;
    }
    file->fd = -1;
    file->copy_size = options->copy_size;
    file->slot_step =
        (uint32_t)(SLOT_FILE_STEP_SIZE / (2 * options->copy_size));
    file->slot_max = options->slot_max < file->slot_step ? file->slot_step
                                                         : options->slot_max;
    enum err err = map(file, options);
    if (err == ERR_OK) {
        file->free = calloc(file->slot_max, sizeof(*file->free));
        if (file->free == NULL) {
            err = ERR_NOMEM;
        }
    }
    if (err != ERR_OK) {
        slot_file_close(file);
        return err;
    }
    *out = file;
    return ERR_OK;
}

void slot_file_close(struct slot_file *file)
{
    if (file == NULL) {
        return;
    }
    file_unmap(file->memory, mapping_size(file, file->slot_max));
    file_close(file->fd);
    free(file->free);
    free(file);
}

/* Give back what the file grew by for slots that nobody has: what was looked at
 * is in memory, too. */
static void shrink(struct slot_file *file)
{
    uint32_t left = file->slot_used + file->slot_step - 1;
    left -= left % file->slot_step;
    left = left > file->slot_step ? left : file->slot_step;
    if (left < file->slot_count &&
        file_truncate(file->fd, mapping_size(file, left)) == ERR_OK) {
        file->slot_count = left;
    }
}

void slot_file_claim(struct slot_file *file,
                     bool (*visit)(void *context, uint32_t slot),
                     void *context)
{
    uint32_t used = 0;
    file->free_count = 0;
    for (uint32_t slot = 0; slot < file->slot_count; slot++) {
        if (visit(context, slot)) {
            for (; used < slot; used++) {
                give_back(file, used);
            }
            used = slot + 1;
        }
    }
    file->slot_used = used;
    shrink(file);
}

enum err slot_file_take(struct slot_file *file, uint32_t *out_slot)
{
    if (file->free_count > 0) {
        file->free_count--;
        *out_slot = file->free[file->free_count];
        return ERR_OK;
    }
    if (file->slot_used == file->slot_max) {
        return ERR_BUSY;
    }
    if (file->slot_used == file->slot_count) {
        uint32_t step = file->slot_max - file->slot_count;
        if (step > file->slot_step) {
            step = file->slot_step;
        }
        enum err err = grow(file, file->slot_count + step);
        if (err != ERR_OK) {
            return err;
        }
    }
    *out_slot = file->slot_used;
    file->slot_used++;
    /* What an unclaimed slot held is of no topic. */
    memset(slot_file_copy(file, *out_slot, 0), 0, 2 * file->copy_size);
    return ERR_OK;
}

void slot_file_write(struct slot_file *file,
                     uint32_t slot,
                     int copy,
                     const char *bytes,
                     size_t size)
{
    CHECK(slot < file->slot_used && size <= file->copy_size);
    /* The other copy is whole while this one is written: the compiler must not
     * let two stores in a row overlap. */
    atomic_signal_fence(memory_order_seq_cst);
    memcpy(slot_file_copy(file, slot, copy), bytes, size);
    atomic_signal_fence(memory_order_seq_cst);
}

void slot_file_drop(struct slot_file *file, uint32_t slot)
{
    if (slot == SLOT_FILE_NONE) {
        return;
    }
    CHECK(slot < file->slot_used);
    give_back(file, slot);
}

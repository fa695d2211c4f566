/* The files of the journal: making, recycling, and the place of the end.
 *
 * A file is filled with zeros on the helper thread before it is needed. A
 * checkpoint frees those that it has passed; they are written over as they are,
 * for their blocks are there and their stale bytes fail by generation. One of
 * another size (the setting was changed) is removed instead.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "base/diag.h"
#include "log/journal_internal.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum err journal_file_path(char *path, const char *directory, uint32_t slot)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "%u.jnl", slot);
    return dir_join(path, directory, name);
}

enum err journal_file_open(const char *directory,
                           uint32_t slot,
                           bool direct,
                           int *out_fd,
                           bool *out_direct)
{
    char path[DIR_PATH_MAX];

    enum err err = journal_file_path(path, directory, slot);
    if (err != ERR_OK) {
        return err;
    }
    if (direct) {
        err = file_open(path, FILE_WRITE | FILE_DIRECT, out_fd);
        if (err != ERR_UNSUPPORTED) {
            *out_direct = true;
            return err;
        }
    }
    *out_direct = false;
    return file_open(path, FILE_WRITE, out_fd);
}

enum err journal_file_make(const char *directory,
                           uint64_t size,
                           bool direct,
                           struct journal_file *file)
{
    char path[DIR_PATH_MAX];
    bool is_direct = false;
    int fd = -1;

    enum err err = journal_file_path(path, directory, file->slot);
    if (err == ERR_OK) {
        err = file_open(path, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE, &fd);
    }
    if (err != ERR_OK) {
        return err;
    }
    err = file_fill(fd, size);
    file_close(fd);
    if (err == ERR_OK) {
        err = dir_sync(directory);
    }
    if (err == ERR_OK) {
        err = journal_file_open(directory, file->slot, direct, &file->fd,
                                &is_direct);
    }
    if (err != ERR_OK) {
        enum err removed = file_remove(path);
        DIAG_WARN("journal_file_failed", "path=%s err=%s removed=%s", path,
                  err_text(err), err_text(removed));
        return err;
    }
    file->size = size;
    file->generation = 0;
    file->state = JOURNAL_FILE_FREE;
    return ERR_OK;
}

enum err journal_files_add(struct journal *journal,
                           const struct journal_file *file)
{
    if (journal->file_count == journal->file_room) {
        uint32_t room = journal->file_room * 2;
        struct journal_file *files =
            realloc(journal->files, room * sizeof(*files));
        if (files == NULL) {
            return ERR_NOMEM;
        }
        /* `current` points into the table. */
        if (journal->current != NULL) {
            journal->current = files + (journal->current - journal->files);
        }
        journal->files = files;
        journal->file_room = room;
    }
    journal->files[journal->file_count] = *file;
    journal->file_count++;
    return ERR_OK;
}

struct journal_file *journal_files_free(struct journal *journal)
{
    for (uint32_t index = 0; index < journal->file_count; index++) {
        if (journal->files[index].state == JOURNAL_FILE_FREE) {
            return &journal->files[index];
        }
    }
    return NULL;
}

/* --- making
 * -------------------------------------------------------------------------- */

static void make_run(struct io_work *work)
{
    struct journal_making *making =
        CONTAINER_OF(work, struct journal_making, work);

    making->err = journal_file_make(making->directory, making->size,
                                    making->direct, &making->file);
}

/* What the helper needs of the journal it finds by this pair. */
struct making_owned {
    struct journal_making making;
    struct journal *journal; /* borrowed; it outlives the making */
};

static void make_done(struct io_work *work)
{
    struct journal_making *making =
        CONTAINER_OF(work, struct journal_making, work);
    struct making_owned *owned =
        CONTAINER_OF(making, struct making_owned, making);
    struct journal *journal = owned->journal;
    enum err err = making->err;

    if (err == ERR_OK) {
        err = journal_files_add(journal, &making->file);
    }
    journal->making_failed_ms =
        err == ERR_OK ? 0 : io_now_ms(journal->options.io);
    journal->making = NULL;
    free(owned);
    if (journal->closing) {
        journal_close(journal);
    } else if (err == ERR_OK) {
        journal_files_prepare(journal);
    }
}

static uint32_t free_slot(const struct journal *journal)
{
    uint32_t slot = 0;
    uint32_t index = 0;

    while (index < journal->file_count) {
        if (journal->files[index].slot == slot) {
            slot++;
            index = 0;
        } else {
            index++;
        }
    }
    return slot;
}

/* Tell whether one more file is wanted now. */
static bool wants_file(const struct journal *journal)
{
    uint32_t ready = 0;

    if (journal->making != NULL || journal->closing ||
        journal->file_count >= journal->options.files_max) {
        return false;
    }
    for (uint32_t index = 0; index < journal->file_count; index++) {
        ready += journal->files[index].state == JOURNAL_FILE_FREE ? 1 : 0;
    }
    return ready < JOURNAL_READY_COUNT &&
           (journal->making_failed_ms == 0 ||
            io_now_ms(journal->options.io) - journal->making_failed_ms >=
                JOURNAL_RETRY_MS);
}

void journal_files_prepare(struct journal *journal)
{
    if (!wants_file(journal)) {
        return;
    }
    struct making_owned *owned = calloc(1, sizeof(*owned));
    if (owned == NULL) {
        return; /* asked again with the next put that finds no file */
    }
    struct journal_making *making = &owned->making;
    CHECK(strlen(journal->directory) < sizeof(making->directory));
    memcpy(making->directory, journal->directory,
           strlen(journal->directory) + 1);
    making->size = journal->options.file_size;
    making->direct = journal->options.direct;
    making->file.slot = free_slot(journal);
    making->work.run = make_run;
    making->work.done = make_done;
    owned->journal = journal;
    journal->making = making;
    io_work_start(journal->options.io, &making->work);
}

/* --- recycling
 * ----------------------------------------------------------------------- */

struct journal_place journal_place(const struct journal *journal)
{
    if (journal->current == NULL) {
        return (struct journal_place){.generation = journal->generation_next,
                                      .offset = 0};
    }
    return (struct journal_place){.generation = journal->current->generation,
                                  .offset = journal->offset};
}

/* Take a file of another size out of the table and off the disk. */
static void drop_file(struct journal *journal, uint32_t index)
{
    char path[DIR_PATH_MAX];

    file_close(journal->files[index].fd);
    enum err err =
        journal_file_path(path, journal->directory, journal->files[index].slot);
    if (err == ERR_OK) {
        err = file_remove(path);
    }
    if (err != ERR_OK) {
        DIAG_WARN("journal_file_stays", "path=%s err=%s", path, err_text(err));
    }
    journal->file_count--;
    if (journal->current == &journal->files[journal->file_count]) {
        journal->current = &journal->files[index];
    }
    journal->files[index] = journal->files[journal->file_count];
}

/* Bytes from the released place to the end. */
static uint64_t used_bytes(const struct journal *journal)
{
    uint64_t used = 0;

    for (uint32_t index = 0; index < journal->file_count; index++) {
        const struct journal_file *file = &journal->files[index];
        if (file->state == JOURNAL_FILE_FREE) {
            continue;
        }
        used += file == journal->current ? journal->offset : file->size;
        if (file->generation == journal->released.generation) {
            used -= journal->released.offset;
        }
    }
    return used;
}

void journal_release(struct journal *journal, struct journal_place place)
{
    journal->released = place;
    for (uint32_t index = journal->file_count; index > 0; index--) {
        struct journal_file *file = &journal->files[index - 1];
        if (file->generation >= place.generation ||
            file->state == JOURNAL_FILE_FREE ||
            file->state == JOURNAL_FILE_CURRENT) {
            continue;
        }
        if (file->size != journal->options.file_size) {
            drop_file(journal, index - 1);
        } else {
            file->state = JOURNAL_FILE_FREE;
        }
    }
    journal->stats.used_bytes = used_bytes(journal);
    journal_files_prepare(journal);
}

bool journal_crowded(const struct journal *journal)
{
    uint64_t room = journal->options.file_size * journal->options.files_max;

    return journal->stats.used_bytes >= room / 2;
}

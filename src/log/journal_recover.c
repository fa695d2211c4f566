/* Reading a journal back: doc/log-format.md, 9.
 *
 *   1. Each file's generation is that of its first entry, or, if that block is
 *      damaged, the highest of any batch in it.
 *   2. The ABORTs of all files that count are collected: they stand in the
 * first block of the file that was begun after a failure.
 *   3. The files are read in order of generation, from `from` on.
 *
 * In a file: entries follow each other; behind the last of a batch there are
 * zeros up to the next block. Where no valid entry begins, the next block
 * boundary with the first entry of a batch of this generation goes on: what
 * lies between is padding if it is zeros to that boundary, else damage. When
 * there is none, the file ends.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/diag.h"
#include "log/journal_internal.h"
#include "log/record.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW_SIZE = 4 << 20 }; /* bytes read at once; grows for an entry */

/* A file, seen through a window that moves forward. */
struct window {
    int fd;
    uint64_t file_size;
    char *data;      /* owned */
    size_t capacity; /* bytes of data */
    uint64_t start;  /* offset in the file of the window's first byte */
    size_t size;     /* bytes in it */
};

/* What all files share. */
struct recovery {
    struct journal *journal;
    const struct journal_replay *replay;
    struct journal_place from;
    struct journal_place aborts[JOURNAL_FILES_MAX];
    uint32_t abort_count;
    struct window window;
    uint64_t all_bytes;  /* of files to read */
    uint64_t done_bytes; /* read so far */
};

/* An entry's head, read. */
struct entry {
    uint32_t size;
    uint64_t generation;
    uint64_t offset;
    enum journal_type type;
    bool first;
    uint64_t topic_id;
};

/* --- the window
 * ---------------------------------------------------------------------- */

/* Have `size` bytes from `offset` on in the window, or fewer at the file's end.
 * Errors: ERR_IO, ERR_NOMEM */
static enum err
look(struct window *window, uint64_t offset, size_t size, struct str *out_bytes)
{
    if (offset >= window->start &&
        offset + size <= window->start + window->size) {
        *out_bytes =
            (struct str){window->data + (offset - window->start), size};
        return ERR_OK;
    }
    uint64_t start = offset & ~(uint64_t)(JOURNAL_BATCH_ALIGN - 1);
    size_t need = (size_t)(offset - start) + size;
    size_t capacity = need > WINDOW_SIZE ? need : WINDOW_SIZE;
    capacity = (capacity + JOURNAL_BATCH_ALIGN - 1) &
               ~(size_t)(JOURNAL_BATCH_ALIGN - 1);
    if (capacity > window->capacity) {
        char *data = aligned_alloc(JOURNAL_BATCH_ALIGN, capacity);
        if (data == NULL) {
            return ERR_NOMEM;
        }
        free(window->data);
        window->data = data;
        window->capacity = capacity;
    }
    window->start = start;
    window->size = 0;
    enum err err = file_read_at(window->fd, window->data, window->capacity,
                                start, &window->size);
    if (err != ERR_OK) {
        return err;
    }
    size_t before = (size_t)(offset - start);
    size_t there = window->size > before ? window->size - before : 0;
    *out_bytes =
        (struct str){window->data + before, there < size ? there : size};
    return ERR_OK;
}

/* --- entries
 * -------------------------------------------------------------------------- */

/* Read an entry's head from bytes that begin with it, checking what can be
 * checked without the body. False: no entry of a plausible shape. */
static bool read_head(struct str bytes, struct entry *out_entry)
{
    if (bytes.size < JOURNAL_ENTRY_HEAD_SIZE) {
        return false;
    }
    const char *at = bytes.data;
    uint32_t type = (uint32_t)(uint8_t)at[JOURNAL_AT_TYPE] |
                    (uint32_t)(uint8_t)at[JOURNAL_AT_TYPE + 1] << 8;
    out_entry->size = get_u32(at + JOURNAL_AT_SIZE);
    out_entry->generation = get_u64(at + JOURNAL_AT_GENERATION);
    out_entry->offset =
        (uint64_t)get_u32(at + JOURNAL_AT_POSITION) * JOURNAL_POSITION_UNIT;
    out_entry->type = (enum journal_type)type;
    out_entry->first = (at[JOURNAL_AT_FLAGS] & JOURNAL_FLAG_FIRST) != 0;
    out_entry->topic_id = get_u64(at + JOURNAL_AT_TOPIC);
    return out_entry->size >= JOURNAL_ENTRY_HEAD_SIZE &&
           out_entry->size % JOURNAL_POSITION_UNIT == 0 &&
           type >= JOURNAL_RECORD && type <= JOURNAL_ABORT;
}

static bool checksum_holds(struct str bytes, const struct entry *entry)
{
    size_t summed =
        entry->type == JOURNAL_RECORD ? JOURNAL_ENTRY_HEAD_SIZE : entry->size;

    return bytes.size >= summed &&
           crc32c(0, bytes.data + JOURNAL_AT_SIZE, summed - JOURNAL_AT_SIZE) ==
               get_u32(bytes.data + JOURNAL_AT_CRC);
}

/* Read the entry at an offset, whole. Gives ERR_NOT_FOUND when none that is
 * valid by shape, place and checksum begins there. */
static enum err entry_at(struct window *window,
                         uint64_t offset,
                         struct entry *out_entry,
                         struct str *out_bytes)
{
    struct str bytes;

    enum err err = look(window, offset, JOURNAL_ENTRY_HEAD_SIZE, &bytes);
    if (err != ERR_OK) {
        return err;
    }
    if (!read_head(bytes, out_entry) || out_entry->offset != offset ||
        out_entry->size > window->file_size - offset) {
        return ERR_NOT_FOUND;
    }
    err = look(window, offset, out_entry->size, &bytes);
    if (err != ERR_OK) {
        return err;
    }
    if (bytes.size < out_entry->size || !checksum_holds(bytes, out_entry)) {
        return ERR_NOT_FOUND;
    }
    *out_bytes = bytes;
    return ERR_OK;
}

/* Find the next block at or behind `offset` where a batch of `generation` (0:
 * of any) begins.
 * Errors: ERR_NOT_FOUND, ERR_IO, ERR_NOMEM */
static enum err next_batch(struct window *window,
                           uint64_t offset,
                           uint64_t generation,
                           struct entry *out_entry,
                           uint64_t *out_offset)
{
    uint64_t at = (offset + JOURNAL_BATCH_ALIGN - 1) &
                  ~(uint64_t)(JOURNAL_BATCH_ALIGN - 1);

    for (; at < window->file_size; at += JOURNAL_BATCH_ALIGN) {
        struct str bytes;
        enum err err = entry_at(window, at, out_entry, &bytes);
        if (err == ERR_OK && out_entry->first &&
            (generation == 0 || out_entry->generation == generation)) {
            *out_offset = at;
            return ERR_OK;
        }
        if (err != ERR_OK && err != ERR_NOT_FOUND) {
            return err;
        }
    }
    return ERR_NOT_FOUND;
}

/* --- generations and aborts
 * ------------------------------------------------------------ */

/* The generation of a file; 0 when it holds nothing. */
static enum err find_generation(struct window *window, uint64_t *out_generation)
{
    struct entry entry;
    uint64_t highest = 0;
    uint64_t at = 0;

    for (;;) {
        enum err err = next_batch(window, at, 0, &entry, &at);
        if (err == ERR_NOT_FOUND) {
            *out_generation = highest;
            return ERR_OK;
        }
        if (err != ERR_OK) {
            return err;
        }
        highest = entry.generation > highest ? entry.generation : highest;
        if (at == 0) {
            *out_generation = highest; /* the usual case: nothing is damaged */
            return ERR_OK;
        }
        at += JOURNAL_BATCH_ALIGN;
    }
}

/* Note the ABORTs at the beginning of a file. */
static enum err collect_aborts(struct recovery *recovery, uint64_t generation)
{
    struct window *window = &recovery->window;
    uint64_t offset = 0;

    while (offset < JOURNAL_BATCH_ALIGN) {
        struct entry entry;
        struct str bytes;
        enum err err = entry_at(window, offset, &entry, &bytes);
        if (err == ERR_NOT_FOUND) {
            return ERR_OK;
        }
        if (err != ERR_OK) {
            return err;
        }
        if (entry.generation != generation || entry.type != JOURNAL_ABORT ||
            entry.size < JOURNAL_ENTRY_HEAD_SIZE + JOURNAL_ABORT_SIZE ||
            recovery->abort_count == JOURNAL_FILES_MAX) {
            return ERR_OK;
        }
        const char *body = bytes.data + JOURNAL_ENTRY_HEAD_SIZE;
        recovery->aborts[recovery->abort_count] = (struct journal_place){
            .generation = get_u64(body), .offset = get_u64(body + 8)};
        recovery->abort_count++;
        offset += entry.size;
    }
    return ERR_OK;
}

/* Where the entries of a generation stop to count. */
static uint64_t counted_end(const struct recovery *recovery,
                            const struct journal_file *file)
{
    uint64_t end = file->size;

    for (uint32_t index = 0; index < recovery->abort_count; index++) {
        if (recovery->aborts[index].generation == file->generation &&
            recovery->aborts[index].offset < end) {
            end = recovery->aborts[index].offset;
        }
    }
    return end;
}

/* --- reading
 * -----------------------------------------------------------------------------
 */

static void tell_damage(struct recovery *recovery,
                        const struct journal_file *file,
                        uint64_t topic_id,
                        uint64_t offset,
                        uint64_t size)
{
    struct journal_place place = {.generation = file->generation,
                                  .offset = offset};

    recovery->journal->stats.damaged_entries++;
    if (recovery->replay->damaged != NULL) {
        recovery->replay->damaged(recovery->replay->context, topic_id, place,
                                  size);
    }
}

static enum err take_entry(struct recovery *recovery,
                           const struct journal_file *file,
                           const struct entry *entry,
                           struct str bytes)
{
    const struct journal_replay *replay = recovery->replay;
    struct str body = str_cut(bytes, JOURNAL_ENTRY_HEAD_SIZE, bytes.size);

    recovery->journal->stats.recovered_entries++;
    if (entry->type == JOURNAL_ABORT) {
        return ERR_OK;
    }
    enum err err =
        replay->entry(replay->context, entry->type, entry->topic_id, body);
    if (err == ERR_CORRUPT) {
        tell_damage(recovery, file, entry->topic_id, entry->offset,
                    entry->size);
        return ERR_OK;
    }
    return err;
}

/* Tell whether only zeros lie from `offset` to the next block: padding. */
static enum err
is_padding(struct window *window, uint64_t offset, bool *out_padding)
{
    uint64_t end = (offset + JOURNAL_BATCH_ALIGN - 1) &
                   ~(uint64_t)(JOURNAL_BATCH_ALIGN - 1);
    struct str bytes;

    enum err err = look(window, offset, (size_t)(end - offset), &bytes);
    if (err != ERR_OK) {
        return err;
    }
    *out_padding = true;
    for (size_t index = 0; index < bytes.size; index++) {
        if (bytes.data[index] != '\0') {
            *out_padding = false;
        }
    }
    return ERR_OK;
}

/* Step over what is no entry, to the next batch. ERR_NOT_FOUND: the end. */
static enum err step_over(struct recovery *recovery,
                          const struct journal_file *file,
                          uint64_t end,
                          uint64_t *offset)
{
    struct window *window = &recovery->window;
    struct entry entry;
    uint64_t next = 0;
    bool padding = false;

    enum err err = is_padding(window, *offset, &padding);
    if (err == ERR_OK) {
        err = next_batch(window, *offset + 1, file->generation, &entry, &next);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (next >= end) {
        return ERR_NOT_FOUND;
    }
    uint64_t block = (*offset + JOURNAL_BATCH_ALIGN - 1) &
                     ~(uint64_t)(JOURNAL_BATCH_ALIGN - 1);
    if (!padding || *offset == block || next != block) {
        tell_damage(recovery, file, 0, *offset, next - *offset);
    }
    *offset = next;
    return ERR_OK;
}

static enum err read_file(struct recovery *recovery,
                          const struct journal_file *file)
{
    bool is_first = file->generation == recovery->from.generation;
    uint64_t offset = is_first ? recovery->from.offset : 0;
    uint64_t end = counted_end(recovery, file);
    enum err err = ERR_OK;

    while (err == ERR_OK && offset < end) {
        struct entry entry;
        struct str bytes;
        err = entry_at(&recovery->window, offset, &entry, &bytes);
        if (err == ERR_OK && entry.generation == file->generation) {
            err = take_entry(recovery, file, &entry, bytes);
            offset += entry.size;
        } else if (err == ERR_OK || err == ERR_NOT_FOUND) {
            err = step_over(recovery, file, end, &offset);
        }
        if (recovery->replay->progress != NULL) {
            recovery->replay->progress(recovery->replay->context,
                                       recovery->done_bytes + offset,
                                       recovery->all_bytes);
        }
    }
    recovery->done_bytes += file->size;
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* --- files
 * -------------------------------------------------------------------------------
 */

static void see_file(struct recovery *recovery, const struct journal_file *file)
{
    struct window *window = &recovery->window;

    window->fd = file->fd;
    window->file_size = file->size;
    window->start = 0;
    window->size = 0;
}

/* Enter one file of the directory into the table. */
static enum err enter_file(void *context, const char *name, bool is_directory)
{
    struct recovery *recovery = context;
    struct journal *journal = recovery->journal;
    struct journal_file file = {.fd = -1};
    struct str text = str_from(name);
    uint64_t slot = 0;
    bool direct = false;

    if (is_directory || text.size < 5 ||
        !str_equal(str_cut(text, text.size - 4, 4), STR(".jnl")) ||
        str_to_u64(str_cut(text, 0, text.size - 4), &slot) != ERR_OK ||
        slot >= UINT32_MAX) {
        return ERR_OK;
    }
    file.slot = (uint32_t)slot;
    enum err err =
        journal_file_open(journal->directory, file.slot,
                          journal->options.direct, &file.fd, &direct);
    if (err != ERR_OK) {
        return err;
    }
    journal->stats.direct = direct;
    err = file_size(file.fd, &file.size);
    if (err == ERR_OK) {
        see_file(recovery, &file);
        err = find_generation(&recovery->window, &file.generation);
    }
    bool needed =
        file.generation >= recovery->from.generation && file.generation > 0;
    file.state = needed ? JOURNAL_FILE_FULL : JOURNAL_FILE_FREE;
    if (err == ERR_OK) {
        err = journal_files_add(journal, &file);
    }
    if (err != ERR_OK) {
        file_close(file.fd);
    }
    return err;
}

static int by_generation(const void *left, const void *right)
{
    const struct journal_file *a = left;
    const struct journal_file *b = right;

    return a->generation < b->generation ? -1 : a->generation > b->generation;
}

/* Files that hold nothing we need, of a size that we do not want (half filled,
 * or the setting was changed), go. */
static enum err remove_odd(struct journal *journal)
{
    uint32_t index = 0;

    while (index < journal->file_count) {
        struct journal_file *file = &journal->files[index];
        char path[DIR_PATH_MAX];
        if (file->state != JOURNAL_FILE_FREE ||
            (file->size == journal->options.file_size &&
             journal->file_count <= journal->options.files_max)) {
            index++;
            continue;
        }
        file_close(file->fd);
        enum err err = journal_file_path(path, journal->directory, file->slot);
        if (err == ERR_OK) {
            err = file_remove(path);
        }
        journal->file_count--;
        journal->files[index] = journal->files[journal->file_count];
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

static enum err read_files(struct recovery *recovery)
{
    struct journal *journal = recovery->journal;
    enum err err = ERR_OK;

    qsort(journal->files, journal->file_count, sizeof(*journal->files),
          by_generation);
    for (uint32_t index = 0; err == ERR_OK && index < journal->file_count;
         index++) {
        struct journal_file *file = &journal->files[index];
        if (file->generation >= journal->generation_next) {
            journal->generation_next = file->generation + 1;
        }
        if (file->state == JOURNAL_FILE_FULL) {
            see_file(recovery, file);
            recovery->all_bytes += file->size;
            err = collect_aborts(recovery, file->generation);
        }
    }
    for (uint32_t index = 0; err == ERR_OK && index < journal->file_count;
         index++) {
        if (journal->files[index].state == JOURNAL_FILE_FULL) {
            see_file(recovery, &journal->files[index]);
            err = read_file(recovery, &journal->files[index]);
        }
    }
    return err;
}

enum err journal_recover(struct journal *journal,
                         struct journal_place from,
                         const struct journal_replay *replay)
{
    struct recovery *recovery = calloc(1, sizeof(*recovery));
    if (recovery == NULL) {
        return ERR_NOMEM;
    }
    recovery->journal = journal;
    recovery->replay = replay;
    recovery->from = from;
    enum err err = dir_each(journal->directory, enter_file, recovery);
    if (err == ERR_OK) {
        err = read_files(recovery);
    }
    if (err == ERR_OK && journal->options.io != NULL) {
        err = remove_odd(journal);
    }
    /* What was replayed stays until a checkpoint has passed it. */
    for (uint32_t index = 0; index < journal->file_count; index++) {
        const struct journal_file *file = &journal->files[index];
        if (file->state == JOURNAL_FILE_FULL) {
            journal->stats.used_bytes += file->size;
        }
    }
    free(recovery->window.data);
    free(recovery);
    return err;
}

/* Files of the journal: found, filled, opened, freed.
 *
 * What happens: while one file takes batches, the next one is made ready on the
 * helper thread: made if there are fewer than there may be, filled with zeros,
 * synced, its name made durable, opened. A free file that was used before is
 * only opened.
 *
 * A new file is used once its beginning is filled; behind that, batches extend
 * it, which is right but slower. So a start needs no more than a small fill,
 * and a journal that is written to faster than files can be filled goes on.
 * Never does the helper write to a file that takes batches.
 *
 * Without room (journal_options) there are two files and no more are made, and
 * of these no more is filled than must be; each checkpoint frees one.
 *
 * What fails: a file that cannot be filled is removed again, and tried again a
 * second later; the journal refuses puts when it needs it before.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "base/diag.h"
#include "log/journal_internal.h"
#include "sys/clock.h"
#include "sys/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_SIZE = 32 }; /* of a file, its NUL included */

/* Never written, so that it takes neither room in the binary nor memory. */
static _Alignas(FILE_DIRECT_ALIGN) char zeros[JOURNAL_FILL_STEP];

/* --- which files there are ------------------------------------------------ */

enum err journal_slot_path(const struct journal *journal,
                           const struct journal_slot *slot,
                           char *path)
{
    char name[NAME_MAX_SIZE];
    (void)snprintf(name, sizeof(name), "%" PRIu32 ".jnl", slot->number);
    return dir_join(path, journal->directory, name);
}

struct listing {
    uint32_t *numbers; /* owned */
    uint32_t count;
    uint32_t capacity;
};

/* The number in a name of the one form that we give them. */
static bool parse_name(const char *name, uint32_t *out_number)
{
    struct str text = str_from(name);
    struct str suffix = STR(".jnl");
    uint64_t number = 0;
    if (text.size <= suffix.size ||
        !str_equal(str_cut(text, text.size - suffix.size, suffix.size),
                   suffix)) {
        return false;
    }
    struct str digits = str_cut(text, 0, text.size - suffix.size);
    if (str_to_u64(digits, &number) != ERR_OK || number > UINT32_MAX ||
        (digits.size > 1 && digits.data[0] == '0')) {
        return false;
    }
    *out_number = (uint32_t)number;
    return true;
}

static enum err list_one(void *context, const char *name, bool is_directory)
{
    struct listing *listing = context;
    uint32_t number = 0;
    if (is_directory || !parse_name(name, &number)) {
        return ERR_OK;
    }
    if (listing->count == listing->capacity) {
        uint32_t capacity = listing->capacity == 0 ? 16 : listing->capacity * 2;
        uint32_t *numbers =
            realloc(listing->numbers, capacity * sizeof(*numbers));
        if (numbers == NULL) {
            return ERR_NOMEM;
        }
        listing->numbers = numbers;
        listing->capacity = capacity;
    }
    listing->numbers[listing->count] = number;
    listing->count++;
    return ERR_OK;
}

static int compare_numbers(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

/* Fill the table: those that are there, then numbers for those that may come.
 * `listing` is sorted. */
static void make_slots(struct journal *journal, const struct listing *listing)
{
    uint32_t next = 0; /* number to give */
    uint32_t at = 0;   /* in the listing: the first number not below `next` */
    for (int i = 0; i < journal->slot_count; i++) {
        struct journal_slot *slot = &journal->slots[i];
        *slot = (struct journal_slot){.fd = -1, .direct_fd = -1};
        if ((uint32_t)i < listing->count) {
            slot->number = listing->numbers[i];
            slot->state = SLOT_FREE;
            continue;
        }
        while (at < listing->count && listing->numbers[at] == next) {
            at++;
            next++;
        }
        slot->number = next;
        next++;
    }
}

enum err journal_slot_list(struct journal *journal)
{
    struct listing listing = {0};
    enum err err = dir_each(journal->directory, list_one, &listing);
    if (err == ERR_OK) {
        uint32_t count = journal->options.files_max;
        count = count < listing.count ? listing.count : count;
        journal->slots = calloc(count, sizeof(*journal->slots));
        journal->slot_count = (int)count;
        err = journal->slots != NULL ? ERR_OK : ERR_NOMEM;
    }
    if (err == ERR_OK) {
        if (listing.count > 1) {
            qsort(listing.numbers, listing.count, sizeof(*listing.numbers),
                  compare_numbers);
        }
        make_slots(journal, &listing);
    }
    free(listing.numbers);
    return err == ERR_OK || err == ERR_NOMEM ? err : ERR_IO;
}

/* --- making one ready, on the helper thread ------------------------------- */

/* See whether direct writes work: some file systems open what they cannot
 * write. Nothing in a file that is being prepared counts, but its first block
 * stays as it is: by it recovery knows the file, and would take one without
 * for what it finds behind (doc/log-format.md, section 9). */
static bool probe_direct(const struct journal_prepare *prepare, int fd)
{
    uint64_t size = 0;
    if (file_size(prepare->fd, &size) != ERR_OK) {
        return false;
    }
    uint64_t block_count = size / JOURNAL_BATCH_ALIGN;
    return block_count > 1 &&
           file_write_at(fd, zeros, JOURNAL_BATCH_ALIGN,
                         (block_count - 1) * JOURNAL_BATCH_ALIGN,
                         false) == ERR_OK;
}

/* Open it a second time past the page cache, where that works. */
static void open_direct(struct journal_prepare *prepare)
{
    prepare->direct_fd = -1;
    if (!prepare->direct) {
        return;
    }
    int fd = -1;
    if (file_open(prepare->path, FILE_WRITE | FILE_DIRECT, &fd) != ERR_OK) {
        return;
    }
    if (prepare->probe && !probe_direct(prepare, fd)) {
        file_close(fd);
        return;
    }
    prepare->direct_fd = fd;
}

/* Make some bytes of the file zeros, durably: past the page cache, if it is
 * known to work, which saves the copy. */
static enum err
fill_part(const struct journal_prepare *prepare, size_t size, uint64_t offset)
{
    if (prepare->direct_fd >= 0 && size % JOURNAL_BATCH_ALIGN == 0 &&
        offset % JOURNAL_BATCH_ALIGN == 0) {
        enum err direct_err =
            file_write_at(prepare->direct_fd, zeros, size, offset, true);
        if (direct_err == ERR_OK || direct_err == ERR_FULL) {
            return direct_err;
        }
    }
    enum err err = file_write_at(prepare->fd, zeros, size, offset, false);
    return err == ERR_OK ? file_sync(prepare->fd) : err;
}

/* Write zeros behind what the file has: up to its size, or not much when it is
 * needed soon. Step by step with a sync of each: one for all of it would hold
 * up commits, whose own syncs come behind it on the device. */
static enum err fill(struct journal_prepare *prepare)
{
    uint64_t offset = 0;
    enum err err = file_size(prepare->fd, &offset);
    if (err != ERR_OK || offset >= prepare->size) {
        return err;
    }
    uint64_t first =
        prepare->size < JOURNAL_FILL_FIRST ? prepare->size : JOURNAL_FILL_FIRST;
    while (offset < prepare->size) {
        if (offset >= first && atomic_load(&prepare->hurry)) {
            break;
        }
        uint64_t left = prepare->size - offset;
        size_t size = left < sizeof(zeros) ? (size_t)left : sizeof(zeros);
        err = fill_part(prepare, size, offset);
        if (err != ERR_OK) {
            return err;
        }
        offset += size;
    }
    return ERR_OK;
}

static enum err prepare_file(struct journal_prepare *prepare)
{
    int flags = FILE_WRITE;
    flags |= prepare->create ? FILE_CREATE : 0;
    enum err err = file_open(prepare->path, flags, &prepare->fd);
    if (err != ERR_OK) {
        return err;
    }
    if (!prepare->probe) {
        open_direct(prepare);
    }
    err = fill(prepare);
    if (err == ERR_OK && prepare->create) {
        err = dir_sync(prepare->directory);
    }
    if (err != ERR_OK) {
        file_close(prepare->direct_fd);
        file_close(prepare->fd);
        prepare->direct_fd = -1;
        prepare->fd = -1;
        if (prepare->create && file_remove(prepare->path) != ERR_OK) {
            /* It stays, and the next try goes on with it. */
            DIAG_WARN("journal_file_left", "path=%s", prepare->path);
        }
        return err;
    }
    if (prepare->probe) {
        open_direct(prepare); /* it tries with a block that is there */
    }
    return ERR_OK;
}

static void prepare_run(struct io_work *work)
{
    struct journal_prepare *prepare =
        CONTAINER_OF(work, struct journal_prepare, work);
    prepare->err = prepare_file(prepare);
    CHECK(pthread_mutex_lock(&prepare->lock) == 0);
    prepare->ran = true;
    CHECK(pthread_cond_signal(&prepare->ended) == 0);
    CHECK(pthread_mutex_unlock(&prepare->lock) == 0);
}

/* --- the same, on the loop ------------------------------------------------ */

static void prepare_free(struct journal_prepare *prepare)
{
    (void)pthread_cond_destroy(&prepare->ended);
    (void)pthread_mutex_destroy(&prepare->lock);
    free(prepare);
}

/* There is nothing to make ready, until a release or for a while. */
static void prepare_none(struct journal_prepare *prepare)
{
    prepare->failed = true;
    prepare->full = false;
    prepare->retry_at_ns = clock_monotonic_ns() + JOURNAL_PREPARE_RETRY_NS;
}

/* The slot is ready, or as it was. */
static void prepare_ended(struct journal *journal)
{
    struct journal_prepare *prepare = journal->prepare;
    struct journal_slot *slot = &journal->slots[prepare->slot];
    CHECK(slot->state == SLOT_PREPARING);
    prepare->failed = prepare->err != ERR_OK;
    prepare->full = prepare->err == ERR_FULL;
    if (prepare->failed) {
        slot->state = prepare->create ? SLOT_ABSENT : SLOT_FREE;
        prepare->retry_at_ns = clock_monotonic_ns() + JOURNAL_PREPARE_RETRY_NS;
        DIAG_WARN("journal_file_failed", "path=%s err=%s", prepare->path,
                  err_name(prepare->err));
        return;
    }
    slot->state = SLOT_READY;
    slot->fd = prepare->fd;
    slot->direct_fd = prepare->direct_fd;
    journal->ready = prepare->slot;
}

static void prepare_done(struct io_work *work)
{
    struct journal_prepare *prepare =
        CONTAINER_OF(work, struct journal_prepare, work);
    if (prepare->journal == NULL) {
        prepare_free(prepare);
        return;
    }
    prepare->running = false;
    prepare_ended(prepare->journal);
    journal_commit_file_ended(prepare->journal);
}

enum err journal_slot_init(struct journal *journal)
{
    struct journal_prepare *prepare = calloc(1, sizeof(*prepare));
    if (prepare == NULL) {
        return ERR_NOMEM;
    }
    prepare->journal = journal;
    prepare->slot = JOURNAL_NONE; /* the search begins with the first */
    prepare->work.run = prepare_run;
    prepare->work.done = prepare_done;
    prepare->size = journal->options.file_size;
    prepare->room = true;
    prepare->fd = -1;
    prepare->direct_fd = -1;
    if (pthread_mutex_init(&prepare->lock, NULL) != 0) {
        free(prepare);
        return ERR_NOMEM;
    }
    if (pthread_cond_init(&prepare->ended, NULL) != 0) {
        (void)pthread_mutex_destroy(&prepare->lock);
        free(prepare);
        return ERR_NOMEM;
    }
    CHECK(strlen(journal->directory) < sizeof(prepare->directory));
    memcpy(prepare->directory, journal->directory,
           strlen(journal->directory) + 1);
    journal->prepare = prepare;
    return ERR_OK;
}

/* See whether there is room for a file, as far as somebody knows. */
static void see_room(struct journal *journal)
{
    const struct journal_options *options = &journal->options;
    journal->prepare->room =
        options->room == NULL ||
        options->room(options->room_context, options->file_size);
}

/* A slot to make ready: one that is there, or else one to make. The search
 * goes on behind the last one, so that a bad file is not all that is tried. */
static int pick(const struct journal *journal)
{
    uint32_t max = journal->options.files_max;
    if (!journal->prepare->room && max > JOURNAL_FILES_OWED) {
        max = JOURNAL_FILES_OWED;
    }
    uint32_t there = 0;
    int absent = JOURNAL_NONE;
    int last = journal->prepare->slot;
    for (int i = 1; i <= journal->slot_count; i++) {
        int index = (last + i) % journal->slot_count;
        enum slot_state state = journal->slots[index].state;
        if (state == SLOT_FREE) {
            return index;
        }
        if (state == SLOT_ABSENT) {
            absent = absent == JOURNAL_NONE ? index : absent;
        } else {
            there++;
        }
    }
    return there < max ? absent : JOURNAL_NONE;
}

bool journal_slot_available(struct journal *journal)
{
    see_room(journal);
    return pick(journal) != JOURNAL_NONE;
}

/* Set the work up; false when there is no slot for it. */
static bool prepare_begin(struct journal *journal)
{
    struct journal_prepare *prepare = journal->prepare;
    int index = pick(journal);
    if (index == JOURNAL_NONE) {
        return false;
    }
    struct journal_slot *slot = &journal->slots[index];
    if (journal_slot_path(journal, slot, prepare->path) != ERR_OK) {
        return false;
    }
    prepare->slot = index;
    prepare->create = slot->state == SLOT_ABSENT;
    prepare->direct = journal->direct;
    prepare->ran = false;
    prepare->fd = -1;
    prepare->direct_fd = -1;
    atomic_store(&prepare->hurry, !prepare->room); /* no more than must be */
    slot->state = SLOT_PREPARING;
    return true;
}

enum err journal_slot_ready_now(struct journal *journal)
{
    struct journal_prepare *prepare = journal->prepare;
    if (!prepare_begin(journal)) {
        return ERR_BUSY;
    }
    atomic_store(&prepare->hurry, true);
    prepare->probe = true;
    prepare->err = prepare_file(prepare);
    prepare->probe = false;
    prepare_ended(journal);
    if (prepare->err == ERR_OK) {
        journal->direct = prepare->direct_fd >= 0;
    }
    return prepare->err;
}

void journal_slot_prepare_next(struct journal *journal)
{
    struct journal_prepare *prepare = journal->prepare;
    if (journal->ready != JOURNAL_NONE || prepare->running) {
        return;
    }
    if (prepare->failed && clock_monotonic_ns() < prepare->retry_at_ns) {
        return;
    }
    see_room(journal);
    if (!prepare_begin(journal)) {
        prepare_none(prepare);
        return;
    }
    prepare->running = true;
    io_work_start(journal->io, &prepare->work);
}

void journal_slot_hurry(struct journal *journal)
{
    atomic_store(&journal->prepare->hurry, true);
}

/* --- the life of a file --------------------------------------------------- */

void journal_slot_close(struct journal_slot *slot)
{
    file_close(slot->fd);
    file_close(slot->direct_fd);
    slot->fd = -1;
    slot->direct_fd = -1;
}

void journal_slot_take(struct journal *journal)
{
    CHECK(journal->ready != JOURNAL_NONE && journal->current == JOURNAL_NONE);
    struct journal_slot *slot = &journal->slots[journal->ready];
    journal->current = journal->ready;
    journal->ready = JOURNAL_NONE;
    journal->last_generation++;
    journal->offset = 0;
    slot->state = SLOT_CURRENT;
    slot->generation = journal->last_generation;
    slot->unsynced = 0;
    journal_slot_prepare_next(journal);
}

void journal_slot_seal(struct journal *journal, uint64_t end)
{
    CHECK(journal->current != JOURNAL_NONE);
    struct journal_slot *slot = &journal->slots[journal->current];
    slot->state = SLOT_SEALED;
    slot->end = end;
    file_close(slot->direct_fd);
    slot->direct_fd = -1;
    if (slot->unsynced == 0) {
        journal_slot_close(slot);
    }
    CHECK(journal->abort_count < journal->abort_max);
    journal->aborts[journal->abort_count].generation = slot->generation;
    journal->aborts[journal->abort_count].offset = end;
    journal->abort_count++;
    journal->current = JOURNAL_NONE;
    journal_slot_account(journal);
}

void journal_slot_account(struct journal *journal)
{
    journal->sealed_count = 0;
    journal->sealed_bytes = 0;
    for (int i = 0; i < journal->slot_count; i++) {
        const struct journal_slot *slot = &journal->slots[i];
        if (slot->state != SLOT_SEALED) {
            continue;
        }
        uint64_t from = slot->generation == journal->released.generation
                            ? journal->released.offset
                            : 0;
        journal->sealed_count++;
        journal->sealed_bytes += slot->end > from ? slot->end - from : 0;
    }
}

void journal_slot_shrink(struct journal *journal)
{
    uint32_t there = 0;
    for (int i = 0; i < journal->slot_count; i++) {
        there += journal->slots[i].state != SLOT_ABSENT;
    }
    for (int i = journal->slot_count - 1; i >= 0; i--) {
        struct journal_slot *slot = &journal->slots[i];
        char path[DIR_PATH_MAX];
        if (there <= journal->options.files_max || slot->state != SLOT_FREE) {
            continue;
        }
        if (journal_slot_path(journal, slot, path) == ERR_OK &&
            file_remove(path) == ERR_OK) {
            slot->state = SLOT_ABSENT;
            there--;
        }
    }
}

void journal_slot_fini(struct journal *journal)
{
    struct journal_prepare *prepare = journal->prepare;
    if (prepare != NULL && prepare->running) {
        journal_slot_hurry(journal);
        CHECK(pthread_mutex_lock(&prepare->lock) == 0);
        while (!prepare->ran) {
            CHECK(pthread_cond_wait(&prepare->ended, &prepare->lock) == 0);
        }
        CHECK(pthread_mutex_unlock(&prepare->lock) == 0);
        file_close(prepare->fd);
        file_close(prepare->direct_fd);
        prepare->journal = NULL; /* done() frees it */
    } else if (prepare != NULL) {
        prepare_free(prepare);
    }
    for (int i = 0; journal->slots != NULL && i < journal->slot_count; i++) {
        journal_slot_close(&journal->slots[i]);
    }
    free(journal->slots);
}

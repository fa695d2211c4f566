/* The write-ahead journal: puts, commits, what fails.
 *
 * What happens:
 *   - Puts fill one of two buffers; a commit takes it and leaves the other to
 *     gather. Only then is it known where the batch goes: behind the one before
 *     it, or, when it does not fit, to the file that was made ready. So entries
 *     are sealed here: place, generation, checksum.
 *   - A durable commit is one direct, synchronous write. It makes only its own
 *     bytes durable (the kernel syncs a range, or writes through the device's
 *     cache), so when commits before it were not durable, it is a write and an
 *     fdatasync of each file that they went to.
 *   - A commit that is not durable goes through the page cache.
 *   - A new file begins with ABORT entries in a block of their own, written by
 *     the same call as its first batch: where the generation before ended.
 *
 * What fails:
 *   - Anything of a commit: the file is sealed where the batch began, and an
 *     ABORT entry is written to the next file at once (or when the helper has
 *     made it), so that bytes of the batch that did reach the disk do not come
 *     back. When that fails as well, or there is no file, it waits for the next
 *     commit, which then is durable.
 *   - A sync: what commits without durability had left is not synced again, as
 *     success would prove nothing; it is safe with the next checkpoint.
 *
 * Policy: a file that failed is not written again in this life of it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/journal.h"

#include "base/check.h"
#include "base/diag.h"
#include "log/journal_internal.h"
#include "sys/clock.h"
#include "sys/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)JOURNAL_BATCH_ALIGN % (int)FILE_DIRECT_ALIGN == 0,
               "batches can be written directly");

static void commit_run(struct journal *journal, enum err err);

/* --- puts ----------------------------------------------------------------- */

/* Tell whether a batch of `size` bytes has a place to go to. */
static bool has_room(const struct journal *journal, uint64_t size)
{
    if (journal->current != JOURNAL_NONE &&
        journal->offset + size <= journal->options.file_size) {
        return true;
    }
    return journal->ready != JOURNAL_NONE;
}

enum err journal_put_begin(struct journal *journal,
                           enum journal_type type,
                           uint64_t topic_id,
                           size_t body_size,
                           void **out_body)
{
    CHECK(journal->io != NULL);
    CHECK(journal->entry == NULL);
    struct journal_buffer *buffer = &journal->buffers[journal->gathering];
    uint64_t size_max = journal->options.batch_size_max;
    if (body_size > size_max ||
        journal_align(journal_entry_size(body_size)) > size_max) {
        return ERR_TOO_LARGE;
    }
    size_t size = journal_entry_size(body_size);
    uint64_t used = journal_align(buffer->used + size);
    if (used > size_max) {
        return ERR_BUSY;
    }
    if (!has_room(journal, used)) {
        journal_slot_prepare_next(journal);
        journal_slot_hurry(journal);
        return journal->prepare->full ? ERR_FULL : ERR_BUSY;
    }
    char *entry = buffer->memory + journal->prefix_size + buffer->used;
    memset(entry + size - JOURNAL_ENTRY_ALIGN, 0, JOURNAL_ENTRY_ALIGN);
    journal_entry_begin(entry, size, type, topic_id);
    buffer->used += size;
    journal->entry = entry;
    *out_body = entry + JOURNAL_ENTRY_HEAD_SIZE;
    return ERR_OK;
}

void journal_put_end(struct journal *journal)
{
    CHECK(journal->entry != NULL);
    CHECK(journal_entry_fits(journal->entry));
    journal->entry = NULL;
}

void journal_drop(struct journal *journal)
{
    journal->buffers[journal->gathering].used = 0;
    journal->entry = NULL;
}

bool journal_has_file(const struct journal *journal)
{
    return journal->ready != JOURNAL_NONE;
}

bool journal_pending(const struct journal *journal)
{
    return journal->buffers[journal->gathering].used > 0;
}

bool journal_committing(const struct journal *journal)
{
    return journal->commit.running;
}

bool journal_busy(const struct journal *journal)
{
    return journal->commit.running ||
           (journal->prepare != NULL && journal->prepare->running);
}

/* --- figures -------------------------------------------------------------- */

static void account(struct journal *journal)
{
    uint64_t used = journal->sealed_bytes;
    if (journal->current != JOURNAL_NONE) {
        const struct journal_slot *slot = &journal->slots[journal->current];
        uint64_t from = slot->generation == journal->released.generation
                            ? journal->released.offset
                            : 0;
        used += journal->offset > from ? journal->offset - from : 0;
    }
    journal->stats.used_bytes = used;
    journal->stats.sync_mean_ns = journal->pace.mean_ns;
    journal->stats.direct = journal->direct;
}

struct journal_place journal_place(const struct journal *journal)
{
    struct journal_place place = {.generation = journal->last_generation + 1};
    if (journal->current != JOURNAL_NONE) {
        place.generation = journal->last_generation;
        place.offset = journal->offset;
    }
    return place;
}

bool journal_crowded(const struct journal *journal)
{
    uint64_t file_size = journal->options.file_size;
    uint64_t used = journal->sealed_count * file_size;
    if (journal->current != JOURNAL_NONE) {
        used += journal->offset;
    }
    if (used >= journal->options.files_max * file_size / 2) {
        return true;
    }
    /* No more files can be had, whatever was meant. */
    return journal->sealed_count > 0 && journal->ready == JOURNAL_NONE &&
           journal->prepare != NULL && journal->prepare->failed;
}

const struct journal_stats *journal_stats(const struct journal *journal)
{
    return &journal->stats;
}

/* --- release -------------------------------------------------------------- */

void journal_release(struct journal *journal, struct journal_place place)
{
    journal->released = place;
    for (int i = 0; i < journal->slot_count; i++) {
        struct journal_slot *slot = &journal->slots[i];
        if (slot->state == SLOT_SEALED && slot->generation < place.generation) {
            journal_slot_close(slot);
            slot->unsynced = 0;
            slot->state = SLOT_FREE;
        }
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < journal->abort_count; i++) {
        if (journal->aborts[i].generation >= place.generation) {
            journal->aborts[kept] = journal->aborts[i];
            kept++;
        }
    }
    journal->abort_count = kept;
    journal->abort_urgent = journal->abort_urgent && kept > 0;
    journal_slot_account(journal);
    account(journal);
    if (journal->io != NULL) {
        journal_slot_shrink(journal);
        journal->prepare->failed = false;
        journal->prepare->full = false;
        journal_slot_prepare_next(journal);
    }
}

/* --- a batch's bytes ------------------------------------------------------ */

/* Write the ABORT entries that wait to the end of the room before the batch:
 * whole blocks, which are a batch of their own at the file's beginning. */
static size_t put_aborts(struct journal *journal, char *prefix)
{
    CHECK(journal->offset == 0);
    size_t used = journal->abort_count * (size_t)JOURNAL_ABORT_ENTRY_SIZE;
    size_t size = (size_t)journal_align(used);
    CHECK(size <= journal->prefix_size);
    char *to = prefix + journal->prefix_size - size;
    for (uint32_t i = 0; i < journal->abort_count; i++) {
        size_t at = i * (size_t)JOURNAL_ABORT_ENTRY_SIZE;
        struct journal_place place = {journal->last_generation, at};
        journal_entry_abort(to + at, &journal->aborts[i], place, i == 0);
    }
    memset(to + used, 0, size - used);
    return size;
}

/* Say in each entry where it lies, and sum it. */
static void seal_entries(char *batch, size_t used, struct journal_place place)
{
    size_t at = 0;
    while (at < used) {
        journal_entry_seal(batch + at, place.generation, place.offset + at,
                           at == 0);
        at += journal_entry_size_of(batch + at);
    }
    CHECK(at == used);
}

/* Find the batch a place and make its bytes ready.
 * Errors: ERR_FULL  there is no file for it */
static enum err commit_place(struct journal *journal)
{
    struct journal_commit *commit = &journal->commit;
    struct journal_buffer *buffer = &journal->buffers[1 - journal->gathering];
    size_t size = (size_t)journal_align(buffer->used);
    if (journal->current == JOURNAL_NONE ||
        journal->offset + size > journal->options.file_size) {
        if (journal->ready == JOURNAL_NONE) {
            return ERR_FULL;
        }
        if (journal->current != JOURNAL_NONE) {
            journal_slot_seal(journal, journal->offset);
        }
        journal_slot_take(journal);
    }
    size_t prefix = 0;
    if (journal->abort_count > 0) {
        prefix = put_aborts(journal, buffer->memory);
        commit->durable = commit->durable || journal->abort_urgent;
    }
    char *batch = buffer->memory + journal->prefix_size;
    memset(batch + buffer->used, 0, size - buffer->used);
    struct journal_place place = {journal->last_generation,
                                  journal->offset + prefix};
    seal_entries(batch, buffer->used, place);
    commit->data = batch - prefix;
    commit->size = prefix + size;
    commit->offset = journal->offset;
    journal->offset += commit->size;
    if (journal->offset > journal->options.file_size / 2) {
        journal_slot_prepare_next(journal); /* if it could not be yet */
        journal_slot_hurry(journal);
    }
    return ERR_OK;
}

/* --- the steps of a commit ------------------------------------------------ */

/* Bytes that earlier commits left without a sync. */
static uint64_t unsynced_bytes(const struct journal *journal)
{
    uint64_t bytes = 0;
    for (int i = 0; i < journal->slot_count; i++) {
        bytes += journal->slots[i].unsynced;
    }
    return bytes;
}

/* A sealed slot with bytes to sync. */
static int unsynced_other(const struct journal *journal)
{
    for (int i = 0; i < journal->slot_count; i++) {
        if (i != journal->current && journal->slots[i].unsynced > 0) {
            return i;
        }
    }
    return JOURNAL_NONE;
}

/* A slot needs no sync any more; one that is sealed needs no descriptor. */
static void slot_synced(struct journal *journal, int index)
{
    struct journal_slot *slot = &journal->slots[index];
    slot->unsynced = 0;
    if (index != journal->current) {
        journal_slot_close(slot);
    }
}

/* Write down that the batch does not count, where there is a file for it. */
static enum commit_step note_failure(struct journal *journal)
{
    struct journal_commit *commit = &journal->commit;
    struct journal_buffer *buffer = &journal->buffers[1 - journal->gathering];
    if (journal->ready == JOURNAL_NONE || journal->abort_count == 0) {
        return COMMIT_END; /* no file, or released meanwhile */
    }
    journal_slot_take(journal);
    size_t size = put_aborts(journal, buffer->memory);
    commit->data = buffer->memory + journal->prefix_size - size;
    commit->size = size;
    commit->offset = 0;
    journal->offset = size;
    return COMMIT_ABORT;
}

/* A step failed: nothing of the batch counts. Gives the next step. */
static enum commit_step give_up(struct journal *journal, enum err err)
{
    struct journal_commit *commit = &journal->commit;
    struct journal_slot *slot = &journal->slots[journal->current];
    DIAG_ERROR("journal_write_failed",
               "directory=%s slot=%" PRIu32 " offset=%" PRIu64 " err=%s",
               journal->directory, slot->number, commit->offset, err_name(err));
    bool again = commit->step != COMMIT_ABORT;
    if (commit->step == COMMIT_SYNC_OTHERS) {
        slot_synced(journal, commit->other);
    } else if (commit->step == COMMIT_SYNC) {
        slot->unsynced = 0;
    }
    commit->err = commit->err == ERR_OK ? err : commit->err;
    journal_slot_seal(journal, commit->offset);
    journal->abort_urgent = true;
    if (!again) {
        return COMMIT_END;
    }
    if (journal->ready == JOURNAL_NONE && journal->prepare->running) {
        journal_slot_hurry(journal);
        return COMMIT_FILE;
    }
    return note_failure(journal);
}

/* The ABORT entries are written. */
static void aborts_written(struct journal *journal)
{
    journal->abort_count = 0;
    journal->abort_urgent = false;
}

/* The batch is written; whether durably is the next question. */
static enum commit_step written(struct journal *journal)
{
    struct journal_commit *commit = &journal->commit;
    struct journal_slot *slot = &journal->slots[journal->current];
    if (!commit->durable) {
        slot->unsynced += commit->size;
        aborts_written(journal);
        return COMMIT_END;
    }
    return slot->unsynced > 0 ? COMMIT_SYNC : COMMIT_END;
}

/* What comes after the step that just succeeded. */
static enum commit_step step_after(struct journal *journal)
{
    struct journal_commit *commit = &journal->commit;
    switch (commit->step) {
    case COMMIT_SYNC_OTHERS:
        slot_synced(journal, commit->other);
        /* fall through */
    case COMMIT_BEGIN:
        commit->other = unsynced_other(journal);
        if (commit->durable && commit->other != JOURNAL_NONE) {
            return COMMIT_SYNC_OTHERS;
        }
        return COMMIT_WRITE;
    case COMMIT_WRITE:
        return written(journal);
    case COMMIT_SYNC:
        slot_synced(journal, journal->current);
        return COMMIT_END;
    case COMMIT_FILE:
        return note_failure(journal);
    case COMMIT_ABORT:
        aborts_written(journal);
        return COMMIT_END;
    case COMMIT_END:
        break;
    }
    CHECK(false);
    return COMMIT_END;
}

static void op_done(struct io_file_op *op, enum err err, size_t size)
{
    struct journal_commit *commit = CONTAINER_OF(op, struct journal_commit, op);
    struct journal *journal = CONTAINER_OF(commit, struct journal, commit);
    (void)size;
    commit_run(journal, err);
}

/* Do a step: here and now, with its outcome in `*out_err`; or start it, to go
 * on in op_done(). Tells whether it is done. */
static bool commit_do(struct journal *journal, enum err *out_err)
{
    struct journal_commit *commit = &journal->commit;
    if (commit->step == COMMIT_FILE) {
        return false; /* journal_commit_file_ended() goes on */
    }
    bool others = commit->step == COMMIT_SYNC_OTHERS;
    const struct journal_slot *slot =
        &journal->slots[others ? commit->other : journal->current];
    bool sync = others || commit->step == COMMIT_SYNC;
    /* With bytes to sync before it, fdatasync follows and does for all. */
    bool durable = commit->step == COMMIT_ABORT ||
                   (commit->durable && slot->unsynced == 0);
    int fd = durable && slot->direct_fd >= 0 ? slot->direct_fd : slot->fd;
    if (commit->on_loop && sync) {
        *out_err = file_sync(slot->fd);
        return true;
    }
    if (commit->on_loop) {
        *out_err = file_write_at(fd, commit->data, commit->size, commit->offset,
                                 durable);
        return true;
    }
    commit->part = (struct iovec){commit->data, commit->size};
    commit->op = (struct io_file_op){
        .done = op_done,
        .fd = sync ? slot->fd : fd,
        .parts = &commit->part,
        .part_count = 1,
        .offset = commit->offset,
        .durable = durable,
    };
    if (sync) {
        io_sync(journal->io, &commit->op);
    } else {
        io_write_at(journal->io, &commit->op);
    }
    return false;
}

static void commit_ended(struct journal *journal)
{
    struct journal_commit *commit = &journal->commit;
    uint64_t now_ns = clock_monotonic_ns();
    if (commit->err == ERR_OK) {
        journal->stats.commits++;
        journal->stats.bytes += commit->size;
        if (commit->durable) {
            aborts_written(journal);
        }
        if (commit->timed) {
            journal_pace_note(&journal->pace, commit->on_loop,
                              now_ns - commit->started_ns, now_ns);
        }
    } else {
        journal->stats.failures++;
    }
    account(journal);
    commit->committed(commit->context, commit->err);
    journal->buffers[1 - journal->gathering].used = 0;
    commit->running = false;
}

/* Go on after a step with this outcome, until one is not done at once. */
static void commit_run(struct journal *journal, enum err err)
{
    struct journal_commit *commit = &journal->commit;
    do {
        commit->step =
            err == ERR_OK ? step_after(journal) : give_up(journal, err);
        if (commit->step == COMMIT_END) {
            commit_ended(journal);
            return;
        }
    } while (commit_do(journal, &err));
}

void journal_commit_file_ended(struct journal *journal)
{
    if (journal->commit.running && journal->commit.step == COMMIT_FILE) {
        commit_run(journal, ERR_OK);
    }
}

void journal_commit(struct journal *journal,
                    enum journal_how how,
                    void (*committed)(void *context, enum err err),
                    void *context)
{
    struct journal_commit *commit = &journal->commit;
    CHECK(journal->io != NULL);
    CHECK(!commit->running);
    CHECK(journal->entry == NULL);
    CHECK(journal_pending(journal));
    journal->gathering = 1 - journal->gathering;
    CHECK(!journal_pending(journal));
    *commit = (struct journal_commit){
        .running = true,
        .durable = how != JOURNAL_WRITTEN,
        .timed = how == JOURNAL_DURABLE,
        .step = COMMIT_BEGIN,
        .started_ns = clock_monotonic_ns(),
        .committed = committed,
        .context = context,
    };
    commit->err = commit_place(journal);
    commit->on_loop =
        !commit->durable ||
        (how == JOURNAL_DURABLE &&
         journal_pace_inline(&journal->pace, commit->started_ns) &&
         unsynced_bytes(journal) <= JOURNAL_SYNC_INLINE_MAX);
    if (commit->err != ERR_OK) {
        commit_ended(journal);
        return;
    }
    commit_run(journal, ERR_OK);
}

/* --- life ----------------------------------------------------------------- */

/* Memory that depends on how many files there are. */
static enum err make_memory(struct journal *journal)
{
    /* Each slot may wait for one ABORT entry. */
    journal->abort_max = (uint32_t)journal->slot_count + 1;
    journal->prefix_size = (size_t)journal_align((uint64_t)journal->abort_max *
                                                 JOURNAL_ABORT_ENTRY_SIZE);
    journal->aborts = calloc(journal->abort_max, sizeof(*journal->aborts));
    if (journal->aborts == NULL) {
        return ERR_NOMEM;
    }
    if (journal->io == NULL) {
        return ERR_OK;
    }
    CHECK(journal->prefix_size + journal->options.batch_size_max <=
          journal->options.file_size);
    for (int i = 0; i < 2; i++) {
        journal->buffers[i].memory = aligned_alloc(
            JOURNAL_BATCH_ALIGN,
            journal->prefix_size + (size_t)journal->options.batch_size_max);
        if (journal->buffers[i].memory == NULL) {
            return ERR_NOMEM;
        }
    }
    return journal_slot_init(journal);
}

/* Tell whether some file is in use. */
static bool some_sealed(const struct journal *journal)
{
    for (int i = 0; i < journal->slot_count; i++) {
        if (journal->slots[i].state == SLOT_SEALED) {
            return true;
        }
    }
    return false;
}

/* Pass over generations that the life before may have given without leaving a
 * trace that recovery sees: a file whose first write lost its first block looks
 * as it did before, and whole entries lie behind. Given again to that file,
 * the number would make them count where a new batch ends before them. */
static void skip_generations(struct journal *journal)
{
    uint32_t step = 0; /* small enough for 2^32 starts */
    clock_random(&step, sizeof(step));
    journal->last_generation += step;
}

/* Be ready for puts, where there is room. */
static enum err begin(struct journal *journal)
{
    skip_generations(journal);
    /* Names that a killed process made may not be durable yet. */
    enum err err = dir_sync(journal->directory);
    if (err != ERR_OK) {
        return ERR_IO;
    }
    journal_slot_shrink(journal);
    if (!journal_slot_available(journal)) {
        return ERR_OK; /* until a checkpoint frees one */
    }
    err = journal_slot_ready_now(journal);
    if (err == ERR_FULL && some_sealed(journal)) {
        return ERR_OK; /* likewise */
    }
    return err == ERR_OK || err == ERR_FULL ? err : ERR_IO;
}

static enum err create(const struct journal_options *options,
                       struct journal **out)
{
    struct journal *journal = calloc(1, sizeof(*journal));
    if (journal == NULL) {
        return ERR_NOMEM;
    }
    journal->directory = strdup(options->directory);
    if (journal->directory == NULL) {
        free(journal);
        return ERR_NOMEM;
    }
    journal->io = options->io;
    journal->options = *options;
    journal->options.batch_size_max &= ~(uint64_t)(JOURNAL_BATCH_ALIGN - 1);
    if (journal->options.files_max > JOURNAL_FILES_MAX) {
        journal->options.files_max = JOURNAL_FILES_MAX;
    }
    journal->options.directory = journal->directory;
    journal->direct = options->direct;
    journal->current = JOURNAL_NONE;
    journal->ready = JOURNAL_NONE;
    journal_pace_init(&journal->pace, options->sync_inline_max_us);
    *out = journal;
    return ERR_OK;
}

enum err journal_open(const struct journal_options *options,
                      struct journal_place from,
                      const struct journal_replay *replay,
                      struct journal **out)
{
    CHECK(strlen(options->directory) < DIR_PATH_MAX);
    CHECK(options->files_max > 0);
    CHECK(options->file_size % JOURNAL_BATCH_ALIGN == 0);
    struct journal *journal = NULL;
    enum err err = create(options, &journal);
    if (err != ERR_OK) {
        return err;
    }
    err = journal_slot_list(journal);
    if (err == ERR_OK) {
        err = make_memory(journal);
    }
    if (err == ERR_OK) {
        journal->released = from;
        err = journal_replay_run(journal, from, replay);
    }
    if (err == ERR_OK && journal->io != NULL) {
        err = begin(journal);
    }
    if (err != ERR_OK) {
        journal_close(journal);
        return err;
    }
    journal_slot_account(journal);
    account(journal);
    *out = journal;
    return ERR_OK;
}

void journal_close(struct journal *journal)
{
    if (journal == NULL) {
        return;
    }
    CHECK(!journal->commit.running);
    journal_slot_fini(journal);
    free(journal->buffers[0].memory);
    free(journal->buffers[1].memory);
    free(journal->aborts);
    free(journal->directory);
    free(journal);
}

/* Commits: one write, made durable.
 *
 *   1. The batch is padded to whole blocks; a file with room for it is current,
 *      or a free one becomes so, with the next generation.
 *   2. After a failure the block of ABORT entries goes before it.
 *   3. Each entry gets generation, position and checksum.
 *   4. One write: on the loop while syncs are fast, else handed to the kernel.
 *
 * What can fail: the write or its sync. The file is given up, never to be
 * written again before a checkpoint has passed it, and the place of the failure
 * is noted for an ABORT. Policy: nothing is tried twice in the same place.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/diag.h"
#include "log/journal_internal.h"
#include "sys/clock.h"
#include "sys/file.h"

#include <string.h>

void journal_entry_seal(char *entry,
                        uint64_t generation,
                        uint64_t offset,
                        bool first)
{
    uint32_t size = get_u32(entry + JOURNAL_AT_SIZE);
    bool record = entry[JOURNAL_AT_TYPE] == JOURNAL_RECORD;
    size_t summed = record ? JOURNAL_ENTRY_HEAD_SIZE : size;

    put_u64(entry + JOURNAL_AT_GENERATION, generation);
    put_u32(entry + JOURNAL_AT_POSITION,
            (uint32_t)(offset / JOURNAL_POSITION_UNIT));
    put_u16(entry + JOURNAL_AT_FLAGS, first ? JOURNAL_FLAG_FIRST : 0);
    put_u32(entry + JOURNAL_AT_CRC,
            crc32c(0, entry + JOURNAL_AT_SIZE, summed - JOURNAL_AT_SIZE));
}

static size_t padded(size_t size)
{
    return (size + JOURNAL_BATCH_ALIGN - 1) &
           ~(size_t)(JOURNAL_BATCH_ALIGN - 1);
}

/* Fill the block before the batch with an ABORT for each failure. */
static void write_aborts(struct journal *journal, char *block, uint64_t offset)
{
    size_t used = 0;

    memset(block, 0, JOURNAL_BATCH_ALIGN);
    for (uint32_t index = 0; index < journal->abort_count; index++) {
        char *entry = block + used;
        char *body = entry + JOURNAL_ENTRY_HEAD_SIZE;
        size_t size = JOURNAL_ENTRY_HEAD_SIZE + JOURNAL_ABORT_SIZE;
        put_u32(entry + JOURNAL_AT_SIZE, (uint32_t)size);
        put_u16(entry + JOURNAL_AT_TYPE, JOURNAL_ABORT);
        put_u64(body, journal->aborts[index].generation);
        put_u64(body + 8, journal->aborts[index].offset);
        journal_entry_seal(entry, journal->current->generation, offset + used,
                           index == 0);
        used += size;
    }
}

_Static_assert(JOURNAL_ABORTS_MAX *(JOURNAL_ENTRY_HEAD_SIZE +
                                    JOURNAL_ABORT_SIZE) <= JOURNAL_BATCH_ALIGN,
               "all ABORT entries fit into their block");

/* Give all entries of the batch their place. */
static void seal_batch(struct journal *journal,
                       struct journal_batch *batch,
                       uint64_t offset)
{
    size_t at = 0;

    while (at < batch->size) {
        char *entry = batch->data + at;
        uint32_t size = get_u32(entry + JOURNAL_AT_SIZE);
        journal_entry_seal(entry, journal->current->generation, offset + at,
                           at == 0);
        at += size;
    }
    CHECK(at == batch->size);
    memset(batch->data + batch->size, 0, padded(batch->size) - batch->size);
}

/* What was written to a file without a sync must not be left behind in it. */
static enum err leave_file(struct journal *journal)
{
    struct journal_file *file = journal->current;

    if (file == NULL) {
        return ERR_OK;
    }
    if (journal->unsynced && file->state == JOURNAL_FILE_CURRENT) {
        enum err err = file_sync(file->fd);
        if (err != ERR_OK) {
            return err;
        }
        journal->unsynced = false;
    }
    if (file->state == JOURNAL_FILE_CURRENT) {
        file->state = JOURNAL_FILE_FULL;
    }
    journal->current = NULL;
    return ERR_OK;
}

/* Have a current file with room for `size` bytes.
 * Errors: ERR_BUSY (none is free), ERR_IO, ERR_FULL (leaving the old one) */
static enum err have_room(struct journal *journal, size_t size)
{
    if (journal_room(journal) >= size) {
        return ERR_OK;
    }
    enum err err = leave_file(journal);
    if (err != ERR_OK) {
        return err;
    }
    struct journal_file *file = journal_files_free(journal);
    if (file == NULL) {
        return ERR_BUSY;
    }
    file->state = JOURNAL_FILE_CURRENT;
    file->generation = journal->generation_next;
    journal->generation_next++;
    journal->current = file;
    journal->offset = 0;
    journal_files_prepare(journal);
    return ERR_OK;
}

/* The running mean decides how the next commits are made. Coming back on the
 * loop takes a mean of half the limit, so that it does not swing. */
static void note_time(struct journal *journal, uint64_t took_ns)
{
    uint64_t limit_ns = (uint64_t)journal->options.sync_inline_max_us * 1000;
    uint64_t mean_ns = journal->stats.sync_mean_ns;

    mean_ns = mean_ns == 0 ? took_ns : (mean_ns * 15 + took_ns) / 16;
    journal->stats.sync_mean_ns = mean_ns;
    if (mean_ns > limit_ns) {
        journal->slow = true;
    } else if (mean_ns < limit_ns / 2) {
        journal->slow = false;
    }
}

static void give_up(struct journal *journal)
{
    struct journal_file *file = journal->current;

    journal->stats.failures++;
    if (file == NULL) {
        return;
    }
    file->state = JOURNAL_FILE_FAILED;
    journal->aborts[journal->abort_count] = (struct journal_place){
        .generation = file->generation, .offset = journal->offset};
    journal->abort_count++;
    journal->current = NULL;
    /* What was written there without a sync is lost for power cuts only. */
    journal->unsynced = false;
}

static void commit_done(struct journal *journal, enum err err)
{
    void (*committed)(void *, enum err) = journal->committed;

    journal->batches[1 - journal->gathering].size = 0;
    if (err == ERR_OK) {
        journal->stats.commits++;
        journal->stats.bytes += journal->written;
        journal->stats.used_bytes += journal->written;
        journal->offset += journal->written;
        journal->abort_count = 0;
        journal->unsynced = !journal->durable;
        if (journal->durable) {
            note_time(journal, clock_monotonic_ns() - journal->started_ns);
        }
    } else {
        give_up(journal);
    }
    journal->committing = false;
    committed(journal->context, err);
}

/* --- on the loop
 * -------------------------------------------------------------------- */

static enum err write_now(struct journal *journal, const char *data)
{
    int fd = journal->current->fd;
    /* A durable write alone covers itself; a flush covers what was before. */
    bool flush = journal->durable && journal->unsynced;
    enum err err = file_write_at(fd, data, (size_t)journal->written,
                                 journal->offset, journal->durable && !flush);

    return err == ERR_OK && flush ? file_sync(fd) : err;
}

/* --- by the kernel
 * ------------------------------------------------------------------ */

static void synced(struct io_file_op *op, enum err err, size_t size)
{
    struct journal *journal = CONTAINER_OF(op, struct journal, op);

    (void)size;
    commit_done(journal, err);
}

static void written(struct io_file_op *op, enum err err, size_t size)
{
    struct journal *journal = CONTAINER_OF(op, struct journal, op);

    (void)size;
    if (err == ERR_OK && journal->durable && journal->unsynced) {
        op->done = synced;
        io_sync(journal->options.io, op);
        return;
    }
    commit_done(journal, err);
}

static void write_later(struct journal *journal, char *data)
{
    struct io_file_op *op = &journal->op;

    journal->part.iov_base = data;
    journal->part.iov_len = (size_t)journal->written;
    memset(op, 0, sizeof(*op));
    op->done = written;
    op->fd = journal->current->fd;
    op->parts = &journal->part;
    op->part_count = 1;
    op->offset = journal->offset;
    op->durable = journal->durable && !journal->unsynced;
    io_write_at(journal->options.io, op);
}

void journal_commit(struct journal *journal,
                    bool durable,
                    void (*committed)(void *context, enum err err),
                    void *context)
{
    struct journal_batch *batch = &journal->batches[journal->gathering];
    bool aborts = journal->abort_count > 0;
    size_t size = padded(batch->size) + (aborts ? JOURNAL_BATCH_ALIGN : 0);
    char *data = aborts ? batch->memory : batch->data;

    CHECK(!journal->committing && batch->size > 0);
    journal->committing = true;
    journal->committed = committed;
    journal->context = context;
    journal->durable = durable;
    journal->written = size;
    journal->started_ns = clock_monotonic_ns();
    journal->gathering = 1 - journal->gathering;
    enum err err = have_room(journal, size);
    if (err != ERR_OK) {
        commit_done(journal, err == ERR_BUSY ? ERR_FULL : err);
        return;
    }
    if (aborts) {
        write_aborts(journal, data, journal->offset);
    }
    seal_batch(journal, batch,
               journal->offset + (aborts ? JOURNAL_BATCH_ALIGN : 0));
    if (journal->slow && durable) {
        write_later(journal, data);
    } else {
        commit_done(journal, write_now(journal, data));
    }
}

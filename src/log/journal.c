/* The write-ahead journal: its life, and gathering entries.
 *
 * An entry is put into the batch with its size, type and topic; generation,
 * position and checksum are set when the batch is committed, for only then it
 * is known which file it goes to. So a batch that does not fit into the
 * current file simply goes to the next one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/journal.h"

#include "base/buf.h"
#include "base/check.h"
#include "log/journal_internal.h"
#include "sys/file.h"

#include <stdlib.h>
#include <string.h>

static enum err batch_init(struct journal_batch *batch, uint64_t size_max)
{
    /* Pages that no batch reaches are never touched, so they cost nothing. */
    size_t size = (size_t)size_max + 2 * JOURNAL_BATCH_ALIGN;

    size =
        (size + JOURNAL_BATCH_ALIGN - 1) & ~(size_t)(JOURNAL_BATCH_ALIGN - 1);
    batch->memory = aligned_alloc(JOURNAL_BATCH_ALIGN, size);
    if (batch->memory == NULL) {
        return ERR_NOMEM;
    }
    batch->data = batch->memory + JOURNAL_BATCH_ALIGN;
    return ERR_OK;
}

static enum err journal_init(struct journal *journal,
                             const struct journal_options *options)
{
    journal->options = *options;
    journal->directory = strdup(options->directory);
    journal->file_room = options->files_max;
    journal->files = calloc(journal->file_room, sizeof(*journal->files));
    if (journal->directory == NULL || journal->files == NULL) {
        return ERR_NOMEM;
    }
    journal->options.directory = journal->directory;
    journal->slow = options->sync_inline_max_us == 0;
    for (int index = 0; options->io != NULL && index < 2; index++) {
        enum err err =
            batch_init(&journal->batches[index], options->batch_size_max);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

/* Have a file to begin with. Without one puts are refused until a release. */
static enum err have_first_file(struct journal *journal)
{
    struct journal_file file = {.slot = 0};

    if (journal_files_free(journal) != NULL ||
        journal->file_count >= journal->options.files_max) {
        return ERR_OK;
    }
    for (uint32_t index = 0; index < journal->file_count; index++) {
        if (journal->files[index].slot >= file.slot) {
            file.slot = journal->files[index].slot + 1;
        }
    }
    enum err err =
        journal_file_make(journal->directory, journal->options.file_size,
                          journal->options.direct, &file);
    return err == ERR_OK ? journal_files_add(journal, &file) : err;
}

enum err journal_open(const struct journal_options *options,
                      struct journal_place from,
                      const struct journal_replay *replay,
                      struct journal **out)
{
    CHECK(options->file_size % JOURNAL_BATCH_ALIGN == 0);
    CHECK(options->batch_size_max + 2 * JOURNAL_BATCH_ALIGN <=
          options->file_size);
    CHECK(options->files_max >= 1 && options->files_max <= JOURNAL_FILES_MAX);
    struct journal *journal = calloc(1, sizeof(*journal));
    if (journal == NULL) {
        return ERR_NOMEM;
    }
    enum err err = journal_init(journal, options);
    if (err == ERR_OK) {
        journal->released = from;
        journal->generation_next = from.generation + 1;
        err = journal_recover(journal, from, replay);
    }
    if (err == ERR_OK && options->io != NULL) {
        err = have_first_file(journal);
    }
    if (err != ERR_OK) {
        journal_close(journal);
        return err;
    }
    if (options->io != NULL) {
        journal_files_prepare(journal);
    }
    *out = journal;
    return ERR_OK;
}

void journal_close(struct journal *journal)
{
    if (journal == NULL) {
        return;
    }
    CHECK(!journal->committing);
    if (journal->making != NULL) {
        /* The helper is at work: the rest is done when it has ended. */
        journal->closing = true;
        return;
    }
    for (uint32_t index = 0; index < journal->file_count; index++) {
        file_close(journal->files[index].fd);
    }
    free(journal->files);
    free(journal->batches[0].memory);
    free(journal->batches[1].memory);
    free(journal->directory);
    free(journal);
}

/* --- gathering
 * ------------------------------------------------------------------ */

uint64_t journal_room(const struct journal *journal)
{
    return journal->current == NULL ? 0
                                    : journal->current->size - journal->offset;
}

/* Bytes that a batch of `size` takes on disk, ABORT entries included. */
static uint64_t batch_need(const struct journal *journal, size_t size)
{
    uint64_t blocks = (size + JOURNAL_BATCH_ALIGN - 1) / JOURNAL_BATCH_ALIGN;

    return (blocks + (journal->abort_count > 0 ? 1 : 0)) * JOURNAL_BATCH_ALIGN;
}

/* Tell whether the batch being gathered would find a place. What a running
 * commit fills is already taken off the current file. */
static bool has_place(struct journal *journal, size_t batch_size)
{
    if (journal_room(journal) >= batch_need(journal, batch_size)) {
        return true;
    }
    if (journal_files_free(journal) != NULL) {
        return true;
    }
    journal_files_prepare(journal);
    return false;
}

enum err journal_put_begin(struct journal *journal,
                           enum journal_type type,
                           uint64_t topic_id,
                           size_t body_size,
                           void **out_body)
{
    struct journal_batch *batch = &journal->batches[journal->gathering];
    size_t size = (JOURNAL_ENTRY_HEAD_SIZE + body_size + 7) & ~(size_t)7;

    if (body_size > journal->options.batch_size_max ||
        size > journal->options.batch_size_max) {
        return ERR_TOO_LARGE;
    }
    if (batch->size + size > journal->options.batch_size_max ||
        journal->abort_count == JOURNAL_ABORTS_MAX ||
        !has_place(journal, batch->size + size)) {
        return ERR_BUSY;
    }
    char *entry = batch->data + batch->size;
    memset(entry, 0, JOURNAL_ENTRY_HEAD_SIZE);
    memset(entry + size - 8, 0, 8); /* padding; the body may write over it */
    put_u32(entry + JOURNAL_AT_SIZE, (uint32_t)size);
    put_u16(entry + JOURNAL_AT_TYPE, (uint16_t)type);
    put_u64(entry + JOURNAL_AT_TOPIC, topic_id);
    batch->last = batch->size;
    batch->size += size;
    *out_body = entry + JOURNAL_ENTRY_HEAD_SIZE;
    return ERR_OK;
}

void journal_put_end(struct journal *journal)
{
    /* Checksums wait for the commit, which knows the place. */
    CHECK(journal->batches[journal->gathering].size > 0);
}

void journal_drop(struct journal *journal)
{
    journal->batches[journal->gathering].size = 0;
}

bool journal_pending(const struct journal *journal)
{
    return journal->batches[journal->gathering].size > 0;
}

bool journal_committing(const struct journal *journal)
{
    return journal->committing;
}

const struct journal_stats *journal_stats(const struct journal *journal)
{
    return &journal->stats;
}

/* Writing the segments of a topic.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/restore_log.h"

#include "log/segment.h"
#include "sys/clock.h"
#include "sys/dir.h"
#include "sys/file.h"

enum {
    BATCH_SIZE = 1 << 20,
    SEGMENT_MESSAGES = 1000000,
};

static const uint64_t segment_size = UINT64_C(1) << 30;

void restore_log_init(struct restore_log *log, const char *directory)
{
    *log =
        (struct restore_log){.directory = directory, .fd = -1, .index_fd = -1};
}

static enum err flush(struct restore_log *log)
{
    struct str records = buf_str(&log->batch);
    struct str entries = buf_str(&log->index_batch);

    if (buf_err(&log->batch) != ERR_OK ||
        buf_err(&log->index_batch) != ERR_OK) {
        return ERR_NOMEM;
    }
    enum err err = file_write_at(log->fd, records.data, records.size,
                                 log->size - records.size, false);
    if (err == ERR_OK && entries.size > 0) {
        err = file_write_at(log->index_fd, entries.data, entries.size,
                            log->index_size, false);
        log->index_size += entries.size;
    }
    buf_clear(&log->batch);
    buf_clear(&log->index_batch);
    return err;
}

/* End the open segment. */
static enum err seal(struct restore_log *log)
{
    enum err err = ERR_OK;

    if (log->fd < 0) {
        return ERR_OK;
    }
    if (log->batch.size > 0) {
        err = flush(log);
    }
    if (err == ERR_OK) {
        err = file_sync(log->fd);
    }
    if (err == ERR_OK) {
        err = file_sync(log->index_fd);
    }
    file_close(log->fd);
    file_close(log->index_fd);
    log->fd = -1;
    log->index_fd = -1;
    return err;
}

static enum err begin(struct restore_log *log, uint64_t first)
{
    char path[DIR_PATH_MAX];

    enum err err = seal(log);
    if (err == ERR_OK) {
        err = segment_path(path, log->directory, first, true);
    }
    if (err == ERR_OK) {
        err = segment_create(log->directory, first, clock_wall_ms(), &log->fd);
    }
    if (err == ERR_OK) {
        err = file_open(path, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE,
                        &log->index_fd);
    }
    log->first = first;
    log->size = SEGMENT_HEAD_SIZE;
    log->index_size = 0;
    index_builder_init(&log->builder, first);
    return err;
}

static void add_entry(struct restore_log *log,
                      const struct segment_record *head,
                      uint64_t offset)
{
    struct index_entry entry;

    if (index_builder_add(&log->builder, head->sequence, offset,
                          head->pushed_at_ms, &entry)) {
        buf_append(&log->index_batch, &entry, sizeof(entry));
    }
}

enum err restore_log_put(struct restore_log *log, struct str record)
{
    struct segment_record head;

    enum err err = segment_record_head(record, &head);
    if (err != ERR_OK || (log->messages > 0 && head.sequence < log->end)) {
        return ERR_INVALID;
    }
    if (log->fd < 0 || head.sequence != log->end ||
        log->size + record.size > segment_size ||
        head.sequence - log->first >= SEGMENT_MESSAGES) {
        err = begin(log, head.sequence);
    }
    if (err == ERR_OK && log->messages > 0 && head.sequence != log->end) {
        err = topic_gaps_add(&log->gaps, log->end, head.sequence);
    }
    if (err != ERR_OK) {
        return err;
    }
    add_entry(log, &head, log->size);
    buf_append_str(&log->batch, record);
    log->size += record.size;
    log->oldest = log->messages == 0 ? head.sequence : log->oldest;
    log->messages++;
    log->end = head.sequence + 1;
    return log->batch.size >= BATCH_SIZE ? flush(log) : ERR_OK;
}

enum err restore_log_finish(struct restore_log *log)
{
    enum err err = seal(log);

    return err == ERR_OK ? dir_sync(log->directory) : err;
}

void restore_log_fini(struct restore_log *log)
{
    file_close(log->fd);
    file_close(log->index_fd);
    buf_fini(&log->batch);
    buf_fini(&log->index_batch);
    topic_gaps_fini(&log->gaps);
    restore_log_init(log, log->directory);
}

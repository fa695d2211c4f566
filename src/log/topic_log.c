/* The messages of one topic: open, append, figures.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/topic_log.h"

#include "base/check.h"
#include "base/diag.h"
#include "log/topic_log_internal.h"
#include "sys/dir.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- open and close ------------------------------------------------------- */

static bool options_valid(const struct topic_log_options *options)
{
    return options->segment_size_max > 0 &&
           options->segment_size_max <= TOPIC_SEGMENT_SIZE_MAX &&
           options->segment_count_max > 0 &&
           options->segment_count_max <= TOPIC_SEGMENT_COUNT_MAX;
}

/* An empty log. */
static struct topic_log *create(const struct topic_log_options *options)
{
    struct topic_log *log = calloc(1, sizeof(*log));
    if (log == NULL) {
        return NULL;
    }
    log->directory = strdup(options->directory);
    if (log->directory == NULL) {
        free(log);
        return NULL;
    }
    log->topic_id = options->topic_id;
    log->checkpoint = options->checkpoint;
    log->view = options->view;
    log->skip_last = UINT64_MAX;
    log->tail.reserve = options->reserve;
    list_init(&log->segments);
    list_init(&log->dropped);
    list_init(&log->parked);
    topic_writer_init(&log->writer, log->directory);
    log->writer.size_max = options->segment_size_max;
    log->writer.count_max = options->segment_count_max;
    log->writer.direct = options->direct;
    log->writer.folder_new = true;
    return log;
}

enum err topic_log_open(const struct topic_log_options *options,
                        struct topic_log **out,
                        struct topic_cursor *out_cursor)
{
    if (!options_valid(options)) {
        return ERR_INVALID;
    }
    if (strlen(options->directory) + SEGMENT_NAME_MAX >= DIR_PATH_MAX) {
        return ERR_TOO_LARGE;
    }
    struct topic_log *log = create(options);
    if (log == NULL) {
        return ERR_NOMEM;
    }
    struct topic_cursor cursor = {0};
    enum err err = ERR_OK;
    if (options->note.size > 0) {
        err = topic_log_take_note(log, options->note, &cursor);
    } else if (!options->fresh) {
        err = topic_log_recover(log, &cursor);
    }
    if (err != ERR_OK) {
        topic_log_close(log);
        return err;
    }
    *out = log;
    *out_cursor = cursor;
    return ERR_OK;
}

static void destroy_all(struct list *segments)
{
    for (struct list *node = list_take_first(segments); node != NULL;
         node = list_take_first(segments)) {
        topic_segment_destroy(CONTAINER_OF(node, struct topic_segment, link));
    }
}

void topic_log_close(struct topic_log *log)
{
    if (log == NULL) {
        return;
    }
    CHECK(log->flush == NULL);
    destroy_all(&log->segments);
    destroy_all(&log->dropped);
    destroy_all(&log->parked);
    topic_tail_fini(&log->tail);
    topic_writer_fini(&log->writer);
    free(log->rest);
    free(log->lost);
    free(log->directory);
    free(log);
}

const struct topic_log_stats *topic_log_stats(const struct topic_log *log)
{
    return &log->stats;
}

/* --- append --------------------------------------------------------------- */

enum err topic_log_append(struct topic_log *log, struct str record)
{
    struct segment_record head;
    enum err err = segment_record_head(record, &head);
    CHECK(err == ERR_OK && head.size == record.size);
    CHECK(!log->view);
    if (log->rest != NULL) {
        err = topic_log_settle(log, head.sequence); /* the replay's first */
        if (err != ERR_OK) {
            return err;
        }
    }
    if (head.sequence < log->stats.end) {
        return ERR_OK;
    }
    uint64_t memory_before = log->tail.memory_bytes;
    err = topic_tail_append(&log->tail, record, &head);
    if (err != ERR_OK) {
        return err;
    }
    log->stats.memory_bytes += log->tail.memory_bytes - memory_before;
    if (head.sequence > log->stats.end) {
        topic_log_note_lost(log, log->stats.end, head.sequence);
    }
    log->stats.end = head.sequence + 1;
    return ERR_OK;
}

enum err topic_log_recovered(struct topic_log *log)
{
    return log->rest == NULL ? ERR_OK : topic_log_settle(log, UINT64_MAX);
}

void topic_log_set_end(struct topic_log *log, uint64_t end)
{
    if (end <= log->stats.end) {
        return;
    }
    topic_log_note_lost(log, log->stats.end, end);
    log->stats.end = end;
}

/* --- files ---------------------------------------------------------------- */

static void close_all(const struct list *segments)
{
    for (struct list *node = segments->next; node != segments;
         node = node->next) {
        topic_segment_close(CONTAINER_OF(node, struct topic_segment, link));
    }
}

void topic_log_close_files(struct topic_log *log)
{
    CHECK(log->flush == NULL);
    if (log->holds > 0) {
        return;
    }
    close_all(&log->segments);
    topic_writer_close_files(&log->writer);
    topic_log_figures(log);
}

void topic_log_hold(struct topic_log *log)
{
    log->holds++;
}

void topic_log_release(struct topic_log *log)
{
    CHECK(log->holds > 0);
    log->holds--;
    if (log->holds > 0) {
        return;
    }
    destroy_all(&log->parked);
    close_all(&log->dropped);
    topic_log_figures(log);
}

/* Writing the tail to segments, behind the journal.
 *
 * Begin takes the tail's chunks and the writer away from the loop; run writes
 * them, and then `cmd` and `dlv`; sync makes it durable; end gives the writer
 * back and tells the loop's row of segments what has grown.
 *
 * A run that failed leaves the writer behind the last batch that was written
 * whole. Run again, it goes on there; ended, the chunks that are not wholly
 * written go back to the front of the tail, and the next flush passes over
 * those of their records that are.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "log/topic_log.h"
#include "log/topic_log_internal.h"

#include <stdlib.h>

static struct topic_segment *segment_of(struct list *node)
{
    return CONTAINER_OF(node, struct topic_segment, link);
}

/* --- begin ---------------------------------------------------------------- */

/* Note what `cmd` and `dlv` will say. */
static void take_state(const struct topic_log *log,
                       struct topic_flush *flush,
                       uint64_t checkpoint,
                       const struct topic_cursor *cursor)
{
    CHECK(checkpoint > 0);
    flush->with_state = true;
    flush->key = (struct topic_state_key){
        .directory = log->directory,
        .topic_id = log->topic_id,
        .checkpoint = checkpoint - 1,
    };
    flush->cmd = (struct topic_state_cmd){
        .end = log->stats.end,
        .oldest = log->stats.oldest,
        .quarantined = log->stats.quarantined,
    };
    flush->cursor = *cursor;
}

enum err topic_flush_begin(struct topic_log *log,
                           uint64_t checkpoint,
                           const struct topic_cursor *cursor,
                           struct topic_flush **out)
{
    if (log->flush != NULL) {
        return ERR_BUSY;
    }
    if (log->tail.head == NULL && cursor == NULL) {
        return ERR_NOT_FOUND;
    }
    if (log->rest != NULL) {
        enum err err = topic_log_settle(log, UINT64_MAX);
        if (err != ERR_OK) {
            return err;
        }
    }
    struct topic_flush *flush = calloc(1, sizeof(*flush));
    if (flush == NULL) {
        return ERR_NOMEM;
    }
    list_init(&flush->grown);
    flush->view = log->view;
    flush->writer = log->writer;
    flush->row = log->tail;
    flush->cmd_slots = log->cmd_slots;
    flush->dlv_slots = log->dlv_slots;
    if (cursor != NULL) {
        take_state(log, flush, checkpoint, cursor);
    }
    log->tail = (struct topic_tail){.reserve = flush->row.reserve};
    topic_writer_init(&log->writer, log->directory); /* it is lent */
    log->flush = flush;
    *out = flush;
    return ERR_OK;
}

/* --- run ------------------------------------------------------------------ */

/* Have an object to tell of the segment that the writer has, or begins. */
static enum err watch_begin(void *context, const struct topic_writer *writer)
{
    struct topic_flush *flush = context;
    if (!list_empty(&flush->grown) &&
        segment_of(flush->grown.prev)->first == writer->first) {
        return ERR_OK;
    }
    struct topic_segment *segment = topic_segment_create(writer->first);
    if (segment == NULL) {
        return ERR_NOMEM;
    }
    segment->end = writer->end;
    segment->size = writer->size;
    list_append(&flush->grown, &segment->link);
    return ERR_OK;
}

static void watch_grown(void *context, const struct topic_writer *writer)
{
    struct topic_flush *flush = context;
    struct topic_segment *segment = segment_of(flush->grown.prev);
    CHECK(segment->first == writer->first);
    segment->end = writer->end;
    segment->size = writer->size;
    segment->exact = true;
    segment->index_count = writer->builder.count;
    segment->has_index = true;
    segment->time_max = writer->builder.time_max;
    segment->has_time = true;
}

static enum err write_state(struct topic_flush *flush)
{
    const struct topic_writer *writer = &flush->writer;
    bool open = writer->open && writer->end == flush->cmd.end;
    flush->cmd.open_first = open ? writer->first : flush->cmd.end;
    flush->cmd.open_size = open ? writer->size : 0;
    enum err err = topic_writer_folder(&flush->writer);
    if (err != ERR_OK) {
        return err;
    }
    if (flush->dlv_slots.numbers[0] == 0 || flush->dlv_slots.numbers[1] == 0 ||
        (!flush->view && (flush->cmd_slots.numbers[0] == 0 ||
                          flush->cmd_slots.numbers[1] == 0))) {
        flush->writer.names_dirty = true; /* the files may be new */
    }
    flush->state_dirty = true;
    if (!flush->view) {
        err =
            topic_state_store_cmd(&flush->key, &flush->cmd, &flush->cmd_slots);
    }
    if (err == ERR_OK) {
        err = topic_state_store_dlv(&flush->key, &flush->cursor,
                                    &flush->dlv_slots);
    }
    return err;
}

enum err topic_flush_run(struct topic_flush *flush)
{
    struct topic_writer_watch watch = {watch_begin, watch_grown, flush};
    enum err err = topic_writer_append(&flush->writer, &flush->row, &watch);
    if (err == ERR_OK && flush->with_state && !flush->state_done) {
        err = write_state(flush);
        flush->state_done = err == ERR_OK;
    }
    CHECK(err != ERR_NOT_FOUND && err != ERR_CORRUPT);
    return err == ERR_TOO_LARGE ? ERR_IO : err;
}

enum err topic_flush_sync(struct topic_flush *flush)
{
    enum err err = topic_writer_sync(&flush->writer);
    if (err == ERR_OK && flush->state_dirty) {
        err = topic_state_sync(flush->writer.directory, !flush->view);
        flush->state_dirty = err != ERR_OK;
    }
    return err == ERR_TOO_LARGE ? ERR_IO : err;
}

void topic_flush_synced(struct topic_flush *flush)
{
    topic_writer_synced(&flush->writer);
    flush->state_dirty = false;
}

/* --- end ------------------------------------------------------------------ */

/* Tell the loop's object of a segment what the flush's says. */
static void take_growth(struct topic_segment *to,
                        const struct topic_segment *from)
{
    CHECK(from->end >= to->end && from->size >= to->size);
    to->end = from->end;
    to->size = from->size;
    to->exact = from->exact;
    to->time_max = from->time_max;
    to->has_time = from->has_time;
    to->index_count = from->index_count;
    to->has_index = from->has_index;
}

/* Bring the row of segments up to date. */
static void take_segments(struct topic_log *log, struct topic_flush *flush)
{
    for (struct list *node = list_take_first(&flush->grown); node != NULL;
         node = list_take_first(&flush->grown)) {
        struct topic_segment *grown = segment_of(node);
        struct topic_segment *last =
            list_empty(&log->segments) ? NULL : segment_of(log->segments.prev);
        if (!grown->has_index) {
            topic_segment_destroy(grown); /* begun, but nothing came of it */
        } else if (last != NULL && last->first == grown->first) {
            take_growth(last, grown);
            topic_segment_destroy(grown);
        } else {
            CHECK(last == NULL || last->first < grown->first);
            CHECK(list_linked(&log->segments) && log->segments.prev != NULL);
            list_append(&log->segments, &grown->link);
        }
    }
}

void topic_flush_end(struct topic_log *log,
                     struct topic_flush *flush,
                     enum err outcome)
{
    if (flush == NULL) {
        return;
    }
    CHECK(log->flush == flush);
    CHECK(outcome != ERR_OK || !flush->with_state || flush->state_done);
    log->flush = NULL;
    log->writer = flush->writer;
    log->cmd_slots = flush->cmd_slots;
    log->dlv_slots = flush->dlv_slots;
    if (flush->with_state) {
        log->checkpoint = flush->key.checkpoint;
        log->stats.state_stale =
            log->stats.state_stale && !(flush->state_done && outcome == ERR_OK);
    }
    take_segments(log, flush);
    topic_tail_drop(&flush->row, log->writer.position);
    CHECK(outcome != ERR_OK || flush->row.head == NULL);
    topic_tail_prepend(&log->tail, &flush->row);
    if (log->writer.position > log->stats.flushed) {
        log->stats.flushed = log->writer.position;
    }
    topic_log_raise_oldest(log, log->stats.oldest);
    free(flush);
}

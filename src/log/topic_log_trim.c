/* What a topic no longer keeps.
 *
 * Whole segments go, from the oldest on. A segment that is dropped leaves the
 * row at once; its file is removed later, by who takes the paths. The last
 * segment may go, too, when it holds anything and no flush is writing to it:
 * the next record then begins a new one under another name, so that no name is
 * ever used again and a late removal harms nothing.
 *
 * SPDX-License-Identifier: MIT
 */

#include "log/topic_log_internal.h"

#include "base/buf.h"
#include "base/check.h"

#include <stdlib.h>
#include <string.h>

static struct topic_segment *segment_of(struct list *node)
{
    return CONTAINER_OF(node, struct topic_segment, link);
}

static uint32_t count_open(const struct list *segments)
{
    uint32_t count = 0;
    for (struct list *node = segments->next; node != segments;
         node = node->next) {
        count += segment_of(node)->fd >= 0 ? 1 : 0;
    }
    return count;
}

void topic_log_figures(struct topic_log *log)
{
    struct topic_log_stats *stats = &log->stats;
    stats->disk_bytes = 0;
    stats->segment_count = 0;
    for (struct list *node = log->segments.next; node != &log->segments;
         node = node->next) {
        stats->disk_bytes += segment_of(node)->size;
        stats->segment_count++;
    }
    const struct topic_writer *writer =
        log->flush != NULL ? &log->flush->writer : &log->writer;
    stats->memory_bytes = log->tail.memory_bytes;
    stats->files_open = count_open(&log->segments) + count_open(&log->dropped) +
                        count_open(&log->parked);
    if (log->flush != NULL) {
        stats->memory_bytes += log->flush->row.memory_bytes;
    } else {
        stats->files_open += topic_writer_files(writer);
    }
}

/* Put a segment that is in no list to those dropped. */
static void drop(struct topic_log *log, struct topic_segment *segment)
{
    log->hint = NULL;
    if (log->holds == 0) {
        topic_segment_close(segment);
    }
    list_append(&log->dropped, &segment->link);
}

/* Tell whether the first segment of the row may go at all. */
static bool droppable(const struct topic_log *log,
                      const struct topic_segment *segment)
{
    bool last = segment->link.next == &log->segments;
    return !last || (segment->end > segment->first && log->flush == NULL &&
                     log->rest == NULL);
}

static void drop_first(struct topic_log *log)
{
    struct topic_segment *segment = segment_of(log->segments.next);
    if (log->flush == NULL && log->writer.open &&
        log->writer.first == segment->first) {
        topic_writer_forget(&log->writer);
    }
    list_remove(&segment->link);
    drop(log, segment);
}

/* Drop what is wholly below the oldest sequence. */
static void drop_below(struct topic_log *log)
{
    while (!list_empty(&log->segments)) {
        struct topic_segment *first = segment_of(log->segments.next);
        if (first->end > log->stats.oldest || !droppable(log, first)) {
            break;
        }
        drop_first(log);
    }
    topic_tail_drop(&log->tail, log->stats.oldest);
    topic_log_figures(log);
}

void topic_log_raise_oldest(struct topic_log *log, uint64_t oldest)
{
    CHECK(oldest <= log->stats.end);
    if (oldest > log->stats.oldest) {
        log->stats.oldest = oldest;
    }
    drop_below(log);
}

/* --- limits --------------------------------------------------------------- */

/* Tell whether all of a segment is older than the limit. What cannot be read
 * is kept. */
static bool expired(struct topic_log *log,
                    struct topic_segment *segment,
                    const struct topic_trim *trim)
{
    if (!segment->has_time) {
        bool was_open = segment->fd >= 0;
        enum err err = topic_log_open_segment(log, segment);
        topic_log_close_again(log, segment, was_open);
        if (err != ERR_OK || !segment->has_time) {
            return false;
        }
    }
    return segment->time_max < trim->now_ms &&
           trim->now_ms - segment->time_max > trim->age_ms;
}

/* Tell whether the limits let go of the first segment. */
static bool past_limits(struct topic_log *log,
                        struct topic_segment *segment,
                        const struct topic_trim *trim)
{
    uint64_t bytes = log->stats.disk_bytes + log->stats.memory_bytes;
    if (trim->bytes_max != 0 && bytes - segment->size >= trim->bytes_max) {
        return true;
    }
    if (trim->count_max != 0 &&
        log->stats.end - segment->end >= trim->count_max) {
        return true;
    }
    return trim->age_ms != 0 && expired(log, segment, trim);
}

enum err topic_log_trim(struct topic_log *log,
                        const struct topic_trim *trim,
                        uint64_t *out_oldest)
{
    uint64_t before = trim->before;
    topic_log_raise_oldest(log,
                           before < log->stats.end ? before : log->stats.end);
    while (!list_empty(&log->segments)) {
        struct topic_segment *first = segment_of(log->segments.next);
        if (first->end > trim->delivered || !droppable(log, first) ||
            !past_limits(log, first, trim)) {
            break;
        }
        if (first->end > log->stats.oldest) {
            log->stats.oldest = first->end;
        }
        drop_first(log);
        topic_log_figures(log);
    }
    *out_oldest = log->stats.oldest;
    return ERR_OK;
}

void topic_log_set_oldest(struct topic_log *log, uint64_t oldest)
{
    if (oldest > log->stats.end) {
        log->stats.end = oldest; /* what came before it is gone anyway */
    }
    topic_log_raise_oldest(log, oldest);
}

/* --- paths ---------------------------------------------------------------- */

static void append_path(struct buf *buf,
                        const struct topic_log *log,
                        uint64_t first,
                        bool index)
{
    char name[SEGMENT_NAME_MAX];
    segment_name(name, first, index);
    buf_append_c(buf, log->directory);
    buf_append_byte(buf, '/');
    buf_append_c(buf, name);
    buf_append_byte(buf, '\0');
}

char *topic_log_take_dropped(struct topic_log *log)
{
    if (list_empty(&log->dropped)) {
        return NULL;
    }
    struct buf buf;
    buf_init(&buf, 0);
    for (struct list *node = log->dropped.next; node != &log->dropped;
         node = node->next) {
        append_path(&buf, log, segment_of(node)->first, true);
        append_path(&buf, log, segment_of(node)->first, false);
    }
    buf_append_byte(&buf, '\0');
    if (buf_err(&buf) != ERR_OK) {
        buf_fini(&buf);
        return NULL;
    }
    while (!list_empty(&log->dropped)) {
        struct topic_segment *segment =
            segment_of(list_take_first(&log->dropped));
        if (log->holds > 0) {
            list_append(&log->parked, &segment->link);
        } else {
            topic_segment_destroy(segment);
        }
    }
    topic_log_figures(log);
    return buf.data; /* malloc'ed by struct buf: for free() */
}

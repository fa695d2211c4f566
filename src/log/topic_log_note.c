/* What a log is, for a process that takes its files over without a look.
 *
 * A note stands for what opening reads: the folder, `cmd`, `dlv` and the sizes
 * of the segments. So it is made only of a log that opening would find just so:
 * all of it is in segments, synced, and in force in `cmd` and `dlv`.
 *
 *     oldest, end, quarantined, of either file the numbers of its slots, flags,
 *     number of segments; per segment first, end, size, flags; then the cursor
 *
 * All numbers are u64; the cursor is as topic_cursor_write() has it.
 *
 * SPDX-License-Identifier: MIT
 */

#include "log/topic_log_internal.h"

#include "base/buf.h"
#include "base/check.h"
#include "log/segment.h"

enum { SEGMENT_NUMBERS = 4 };

enum {
    NOTE_OPEN = 1 << 0,    /* records go on behind the last segment's */
    NOTE_DAMAGED = 1 << 1, /* the first of four: slots of cmd, of dlv */
};

enum { SEGMENT_EXACT = 1 << 0 }; /* of a segment's flags */

static struct topic_segment *segment_of(struct list *node)
{
    return CONTAINER_OF(node, struct topic_segment, link);
}

/* --- writing -------------------------------------------------------------- */

/* Tell whether the writer goes on where the last segment is known to end. */
static bool writer_agrees(const struct topic_log *log)
{
    const struct topic_writer *writer = &log->writer;

    if (!writer->open) {
        return true;
    }
    if (list_empty(&log->segments)) {
        return false;
    }
    const struct topic_segment *last = segment_of(log->segments.prev);
    return last->exact && last->first == writer->first &&
           last->end == writer->end && last->size == writer->size;
}

/* Tell whether the files hold all of it, and nothing else. */
static bool at_rest(const struct topic_log *log, uint64_t checkpoint)
{
    const struct topic_writer *writer = &log->writer;

    if (log->flush != NULL || log->rest != NULL || log->tail.head != NULL ||
        !list_empty(&log->dropped) || !list_empty(&log->parked)) {
        return false;
    }
    if (topic_state_stale(&log->cmd_slots, checkpoint) ||
        topic_state_stale(&log->dlv_slots, checkpoint)) {
        return false;
    }
    if (writer->dirty || writer->names_dirty || writer->cut_needed ||
        writer->sealed_count > 0) {
        return false;
    }
    return log->view ||
           (writer->folder_known && !writer->folder_new &&
            log->stats.flushed == log->stats.end &&
            writer->position == log->stats.end && writer_agrees(log));
}

static uint64_t flags_of(const struct topic_log *log)
{
    uint64_t flags = log->writer.open ? NOTE_OPEN : 0;

    for (int i = 0; i < TOPIC_STATE_SLOTS; i++) {
        if (log->cmd_slots.damaged[i]) {
            flags |= (uint64_t)NOTE_DAMAGED << i;
        }
        if (log->dlv_slots.damaged[i]) {
            flags |= (uint64_t)NOTE_DAMAGED << (i + TOPIC_STATE_SLOTS);
        }
    }
    return flags;
}

bool topic_log_note(const struct topic_log *log,
                    uint64_t checkpoint,
                    const struct topic_cursor *cursor,
                    struct buf *to)
{
    char bytes[TOPIC_CURSOR_SIZE_MAX];
    const struct topic_log_stats *stats = &log->stats;

    if (!at_rest(log, checkpoint)) {
        return false;
    }
    buf_put_u64(to, stats->oldest);
    buf_put_u64(to, stats->end);
    buf_put_u64(to, stats->quarantined);
    buf_put_u64(to, log->cmd_slots.numbers[0]);
    buf_put_u64(to, log->cmd_slots.numbers[1]);
    buf_put_u64(to, log->dlv_slots.numbers[0]);
    buf_put_u64(to, log->dlv_slots.numbers[1]);
    buf_put_u64(to, flags_of(log));
    buf_put_u64(to, stats->segment_count);
    for (struct list *node = log->segments.next; node != &log->segments;
         node = node->next) {
        const struct topic_segment *segment = segment_of(node);
        buf_put_u64(to, segment->first);
        buf_put_u64(to, segment->end);
        buf_put_u64(to, segment->size);
        buf_put_u64(to, segment->exact ? SEGMENT_EXACT : 0);
    }
    topic_cursor_write(cursor, bytes);
    buf_append(to, bytes, topic_cursor_size(cursor));
    return true;
}

/* --- reading -------------------------------------------------------------- */

/* Read one segment, behind those that were read. */
static enum err read_segment(struct topic_log *log, struct reader *reader)
{
    uint64_t first = reader_u64(reader);
    uint64_t end = reader_u64(reader);
    uint64_t size = reader_u64(reader);
    uint64_t flags = reader_u64(reader);

    if (first > end || end > log->stats.end || size < SEGMENT_HEAD_SIZE ||
        (!list_empty(&log->segments) &&
         segment_of(log->segments.prev)->end > first)) {
        return ERR_INVALID;
    }
    struct topic_segment *segment = topic_segment_create(first);
    if (segment == NULL) {
        return ERR_NOMEM;
    }
    segment->end = end;
    segment->size = size;
    segment->exact = (flags & SEGMENT_EXACT) != 0;
    list_append(&log->segments, &segment->link);
    return ERR_OK;
}

static void read_flags(struct topic_log *log, uint64_t flags)
{
    for (int i = 0; i < TOPIC_STATE_SLOTS; i++) {
        log->cmd_slots.damaged[i] = (flags >> i & NOTE_DAMAGED) != 0;
        log->dlv_slots.damaged[i] =
            (flags >> (i + TOPIC_STATE_SLOTS) & NOTE_DAMAGED) != 0;
    }
}

/* Let the writer go on at the end of the last segment. */
static enum err read_writer(struct topic_log *log)
{
    if (list_empty(&log->segments)) {
        return ERR_INVALID;
    }
    const struct topic_segment *last = segment_of(log->segments.prev);
    if (!last->exact) {
        return ERR_INVALID;
    }
    log->writer.open = true;
    log->writer.first = last->first;
    log->writer.end = last->end;
    log->writer.size = last->size;
    return ERR_OK;
}

/* Read all but the cursor. */
static enum err read_log(struct topic_log *log, struct reader *reader)
{
    struct topic_log_stats *stats = &log->stats;

    stats->oldest = reader_u64(reader);
    stats->end = reader_u64(reader);
    stats->flushed = stats->end;
    stats->quarantined = reader_u64(reader);
    log->cmd_slots.numbers[0] = reader_u64(reader);
    log->cmd_slots.numbers[1] = reader_u64(reader);
    log->dlv_slots.numbers[0] = reader_u64(reader);
    log->dlv_slots.numbers[1] = reader_u64(reader);
    uint64_t flags = reader_u64(reader);
    uint64_t count = reader_u64(reader);
    size_t room = reader_left(reader) / ((size_t)SEGMENT_NUMBERS * 8);
    if (reader->failed || stats->oldest > stats->end || count > room) {
        return ERR_INVALID;
    }
    read_flags(log, flags);
    enum err err = ERR_OK;
    for (uint64_t i = 0; err == ERR_OK && i < count; i++) {
        err = read_segment(log, reader);
    }
    if (err == ERR_OK && (flags & NOTE_OPEN) != 0) {
        err = read_writer(log);
    }
    return err;
}

enum err topic_log_take_note(struct topic_log *log,
                             struct str note,
                             struct topic_cursor *out_cursor)
{
    struct reader reader = reader_of(note);
    struct topic_cursor cursor;
    size_t size = 0;

    enum err err = read_log(log, &reader);
    if (err != ERR_OK) {
        return err;
    }
    struct str rest = reader_bytes(&reader, reader_left(&reader));
    if (!topic_cursor_read(rest, &cursor, &size) || size != rest.size) {
        return ERR_INVALID;
    }
    log->writer.position = log->stats.end;
    if (!log->view) {
        log->writer.folder_known = true;
        log->writer.folder_new = false;
        topic_log_raise_oldest(log, log->stats.oldest);
    }
    *out_cursor = cursor;
    return ERR_OK;
}

/* Reading a topic's log.
 *
 * A sequence below `flushed` is on disk, one at or past it in memory: in the
 * row that a flush is writing, or in the tail. On disk, the index says where a
 * walk begins; the caller walks. What cannot be read there is stepped over by
 * topic_log_skip(), which trusts nothing but checksums: it first makes sure
 * that it is the record that is wrong, and not the index.
 *
 * SPDX-License-Identifier: MIT
 */

#include "log/topic_log_internal.h"

#include "base/check.h"
#include "base/diag.h"
#include "log/record.h"
#include "sys/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* How often in a row a skip may answer with the sequence it was asked for;
     * a bound, should a reader insist that a whole record is damaged. */
    SKIP_REPEATS_MAX = 16,
};

/* --- what is lost --------------------------------------------------------- */

/* How many of the sequences were not counted before; they are from now on. */
static uint64_t lost_add(struct topic_log *log, struct topic_lost range)
{
    struct topic_lost *lost = log->lost;
    uint32_t from = 0; /* ranges [from, to) touch the new one */
    while (from < log->lost_count && lost[from].end < range.first) {
        from++;
    }
    uint64_t known = 0;
    struct topic_lost merged = range;
    uint32_t to = from;
    for (; to < log->lost_count && lost[to].first <= range.end; to++) {
        uint64_t first =
            lost[to].first > range.first ? lost[to].first : range.first;
        uint64_t end = lost[to].end < range.end ? lost[to].end : range.end;
        known += end - first;
        merged.first =
            lost[to].first < merged.first ? lost[to].first : merged.first;
        merged.end = lost[to].end > merged.end ? lost[to].end : merged.end;
    }
    if (from == to && log->lost_count == TOPIC_LOST_MAX) {
        if (from == 0) {
            return range.end - range.first; /* it is the lowest itself */
        }
        memmove(lost, lost + 1, (log->lost_count - 1) * sizeof(*lost));
        log->lost_count--;
        from--;
        to--;
    }
    memmove(lost + from + 1, lost + to, (log->lost_count - to) * sizeof(*lost));
    lost[from] = merged;
    log->lost_count = log->lost_count - (to - from) + 1;
    return range.end - range.first - known;
}

void topic_log_note_lost(struct topic_log *log, uint64_t first, uint64_t end)
{
    CHECK(first < end);
    if (log->lost == NULL) {
        log->lost = calloc(TOPIC_LOST_MAX, sizeof(*log->lost));
    }
    uint64_t added = end - first; /* without memory it may count twice */
    if (log->lost != NULL) {
        added = lost_add(log, (struct topic_lost){first, end});
    }
    if (added == 0) {
        return;
    }
    log->stats.quarantined += added;
    DIAG_WARN("records_quarantined",
              "path=%s first=%" PRIu64 " end=%" PRIu64 " count=%" PRIu64,
              log->directory, first, end, added);
}

const struct topic_lost *topic_log_lost(const struct topic_log *log,
                                        uint32_t *out_count)
{
    *out_count = log->lost_count;
    return log->lost;
}

/* Tell whether one of the sequences from `first` up to `end` is lost. */
static bool
lost_between(const struct topic_log *log, uint64_t first, uint64_t end)
{
    for (uint32_t i = 0; i < log->lost_count; i++) {
        if (log->lost[i].first < end && log->lost[i].end > first) {
            return true;
        }
    }
    return false;
}

/* --- segments ------------------------------------------------------------- */

static struct topic_segment *segment_of(struct list *node)
{
    return CONTAINER_OF(node, struct topic_segment, link);
}

enum err topic_log_open_segment(struct topic_log *log,
                                struct topic_segment *segment)
{
    bool was_open = segment->fd >= 0;
    /* A running flush may be writing to the last one's index. */
    bool mend = log->flush == NULL || segment->link.next != &log->segments;
    enum err err = topic_segment_open_index(segment, log->directory, mend);
    if (!was_open && segment->fd >= 0) {
        log->stats.files_open++;
    }
    return err;
}

void topic_log_close_again(struct topic_log *log,
                           struct topic_segment *segment,
                           bool was_open)
{
    if (!was_open && segment->fd >= 0) {
        topic_segment_close(segment);
        log->stats.files_open--;
    }
}

/* The last segment that begins at or before a sequence; NULL: none. */
static struct topic_segment *segment_at(struct topic_log *log,
                                        uint64_t sequence)
{
    struct list *node = log->segments.next;
    if (log->hint != NULL && log->hint->first <= sequence) {
        node = &log->hint->link;
    }
    struct topic_segment *found = NULL;
    for (; node != &log->segments; node = node->next) {
        if (segment_of(node)->first > sequence) {
            break;
        }
        found = segment_of(node);
    }
    log->hint = found;
    return found;
}

static bool place_in_memory(struct topic_log *log,
                            uint64_t sequence,
                            struct topic_place *out_place)
{
    struct topic_place place = {.fd = -1};
    if ((log->flush != NULL && topic_tail_find(&log->flush->row, sequence,
                                               &place.memory, &place.first)) ||
        topic_tail_find(&log->tail, sequence, &place.memory, &place.first)) {
        place.size = place.memory.size;
        place.damaged_skip = place.first != sequence;
        *out_place = place;
        return true;
    }
    return false;
}

static struct topic_place place_in_file(const struct topic_segment *segment,
                                        uint64_t offset,
                                        uint64_t first)
{
    return (struct topic_place){
        .fd = segment->fd,
        .offset = offset,
        .size = segment->size - offset,
        .first = first,
    };
}

/* The beginning of what follows a segment (NULL: from the first one on), or
 * the first record in memory at or after `sequence`. */
static enum err place_behind(struct topic_log *log,
                             struct topic_segment *segment,
                             uint64_t sequence,
                             struct topic_place *out_place)
{
    struct list *node =
        segment != NULL ? segment->link.next : log->segments.next;
    if (sequence >= log->stats.flushed) {
        node = &log->segments; /* nothing of it is on disk */
    }
    for (; node != &log->segments; node = node->next) {
        struct topic_segment *next = segment_of(node);
        if (next->end == next->first || next->size <= SEGMENT_HEAD_SIZE) {
            continue; /* empty so far */
        }
        enum err err = topic_log_open_segment(log, next);
        if (err == ERR_NOT_FOUND) {
            continue; /* gone from the disk */
        }
        if (err == ERR_OK) {
            *out_place = place_in_file(next, SEGMENT_HEAD_SIZE, next->first);
            out_place->damaged_skip = true;
        }
        return err;
    }
    uint64_t from =
        sequence > log->stats.flushed ? sequence : log->stats.flushed;
    if (!place_in_memory(log, from, out_place)) {
        return ERR_NOT_FOUND;
    }
    out_place->damaged_skip = true;
    return ERR_OK;
}

/* --- skip ----------------------------------------------------------------- */

/* A sequence as the entries of a segment's index have it. */
static uint32_t relative_of(const struct topic_segment *segment,
                            uint64_t sequence)
{
    CHECK(sequence >= segment->first);
    uint64_t relative = sequence - segment->first;
    return relative < UINT32_MAX ? (uint32_t)relative : UINT32_MAX;
}

/* Where a walk to a sequence begins; its index is at hand. */
static void walk_start(const struct topic_segment *segment,
                       uint64_t sequence,
                       uint64_t *out_offset,
                       uint64_t *out_first)
{
    uint32_t i =
        index_find_sequence(&segment->map, relative_of(segment, sequence));
    if (i == segment->map.count) {
        *out_offset = SEGMENT_HEAD_SIZE;
        *out_first = segment->first;
        return;
    }
    *out_offset = index_entry_offset(&segment->map.entries[i]);
    *out_first = segment->first + segment->map.entries[i].relative;
}

/* A search for what follows damage in one segment. */
struct skip {
    struct topic_segment *segment;
    uint64_t sequence; /* that is damaged, as the caller found */
    bool known;        /* all damage before it was known */
    struct segment_walk walk;
};

/* The landing of a search that begins before the end of the walk: the next
 * index entry behind it, or the segment's end. */
static struct segment_landing landing_behind(const struct skip *skip)
{
    const struct topic_segment *segment = skip->segment;
    uint32_t i = index_find_offset(&segment->map, skip->walk.offset);
    if (i < segment->map.count) {
        const struct index_entry *entry = &segment->map.entries[i];
        return (struct segment_landing){
            .limit = index_entry_offset(entry),
            .sequence = segment->first + entry->relative,
            .exact = true,
        };
    }
    return (struct segment_landing){
        .limit = segment->size,
        .sequence = segment->end,
        .exact = segment->exact,
    };
}

/* Move the walk from damage to the next record that is whole: before the next
 * index entry, or at one.
 * Errors: ERR_NOT_FOUND: none in this segment; ERR_IO, ERR_NOMEM */
static enum err move_over(struct skip *skip)
{
    for (;;) {
        struct segment_landing landing = landing_behind(skip);
        enum err err = segment_walk_resync(&skip->walk, &landing);
        if (err != ERR_NOT_FOUND) {
            return err;
        }
        if (landing.limit >= skip->segment->size ||
            landing.limit >= skip->walk.end) {
            return ERR_NOT_FOUND;
        }
        skip->walk.offset = landing.limit;
        skip->walk.sequence = landing.sequence;
        struct segment_walk before = skip->walk;
        struct segment_step step;
        err = segment_walk_next(&skip->walk, &step);
        if (err == ERR_OK) {
            skip->walk.offset = before.offset; /* it begins here */
            skip->walk.sequence = before.sequence;
        }
        if (err != ERR_CORRUPT) {
            return err;
        }
    }
}

/* Walk to a record or, when it is not whole, behind it; what is damaged on the
 * way is noted.
 * Errors: ERR_NOT_FOUND: nothing whole follows; ERR_IO, ERR_NOMEM */
static enum err walk_to(struct topic_log *log, struct skip *skip)
{
    uint64_t offset = 0;
    uint64_t first = 0;
    walk_start(skip->segment, skip->sequence, &offset, &first);
    segment_walk_init(&skip->walk, skip->segment->fd, offset,
                      skip->segment->size, first);
    skip->known = true;
    enum err err = ERR_OK;
    while (err == ERR_OK && skip->walk.sequence < skip->sequence) {
        struct segment_step step;
        err = segment_walk_next(&skip->walk, &step);
        if (err != ERR_CORRUPT) {
            continue;
        }
        uint64_t damaged = skip->walk.sequence;
        err = move_over(skip);
        if (err == ERR_OK && skip->walk.sequence <= skip->sequence) {
            uint64_t before = log->stats.quarantined;
            topic_log_note_lost(log, damaged, skip->walk.sequence);
            skip->known = skip->known && log->stats.quarantined == before;
        }
    }
    return err;
}

/* As topic_log_find() in a segment with damage before the record: the place
 * begins with it, so that what fails there is the record itself. */
static enum err find_exact(struct topic_log *log,
                           struct topic_segment *segment,
                           uint64_t sequence,
                           struct topic_place *place)
{
    struct skip skip = {segment, sequence, false, {0}};
    enum err err = walk_to(log, &skip);
    if (err == ERR_OK && skip.walk.sequence == sequence) {
        *place = place_in_file(segment, skip.walk.offset, sequence);
    }
    segment_walk_fini(&skip.walk);
    return err == ERR_NOT_FOUND ? ERR_OK : err; /* the reader will see */
}

/* Walk over the damaged record, to the next one that is whole; or to the
 * record itself when damage before it was what the caller met. */
static enum err walk_over(struct topic_log *log, struct skip *skip)
{
    enum err err = walk_to(log, skip);
    if (err != ERR_OK || skip->walk.sequence > skip->sequence) {
        return err;
    }
    if (!skip->known && log->skip_repeats < SKIP_REPEATS_MAX) {
        return ERR_OK;
    }
    return move_over(skip);
}

/* Tell whether the index leads astray: the entry before the record does not
 * name a record, yet whole records lead past the place where it should. */
static enum err
index_astray(struct topic_segment *segment, uint64_t sequence, bool *out_astray)
{
    uint32_t i =
        index_find_sequence(&segment->map, relative_of(segment, sequence));
    *out_astray = false;
    if (i == segment->map.count || i == 0) {
        return ERR_OK; /* the first one is where it must be */
    }
    const struct index_entry *entry = &segment->map.entries[i];
    uint64_t wanted = segment->first + entry->relative;
    struct segment_walk walk;
    segment_walk_init(&walk, segment->fd, index_entry_offset(&entry[-1]),
                      segment->size, segment->first + entry[-1].relative);
    enum err err = ERR_OK;
    while (err == ERR_OK && walk.sequence < wanted) {
        struct segment_step step;
        err = segment_walk_next(&walk, &step);
    }
    *out_astray = err == ERR_OK && walk.offset != index_entry_offset(entry);
    segment_walk_fini(&walk);
    return err == ERR_CORRUPT || err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* Have an index that is right. */
static enum err check_index(struct topic_log *log,
                            struct topic_segment *segment,
                            uint64_t sequence,
                            bool *out_mended)
{
    bool astray = false;
    enum err err = index_astray(segment, sequence, &astray);
    if (err != ERR_OK || !astray) {
        return err;
    }
    DIAG_WARN("index_astray", "path=%s/%" PRIu64 ".idx sequence=%" PRIu64,
              log->directory, segment->first, sequence);
    bool mend = log->flush == NULL || segment->link.next != &log->segments;
    err = topic_segment_rebuild(segment, log->directory, mend);
    *out_mended = err == ERR_OK;
    return err;
}

/* Find the record itself, whole, now that the index is right. */
static enum err find_whole(struct skip *skip, bool *out_whole)
{
    uint64_t offset = 0;
    uint64_t first = 0;
    walk_start(skip->segment, skip->sequence, &offset, &first);
    segment_walk_init(&skip->walk, skip->segment->fd, offset,
                      skip->segment->size, first);
    struct segment_step step = {.offset = offset};
    enum err err = ERR_OK;
    while (err == ERR_OK && skip->walk.sequence <= skip->sequence) {
        err = segment_walk_next(&skip->walk, &step);
    }
    *out_whole = err == ERR_OK;
    if (*out_whole) {
        skip->walk.offset = step.offset;
        skip->walk.sequence = skip->sequence;
    }
    return err == ERR_CORRUPT || err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* Step over damage inside a segment.
 * Errors: ERR_NOT_FOUND: nothing whole follows in it */
static enum err skip_in_segment(struct topic_log *log,
                                struct skip *skip,
                                struct topic_place *out_place)
{
    bool mended = false;
    bool whole = false;
    enum err err = check_index(log, skip->segment, skip->sequence, &mended);
    if (err == ERR_OK && mended) {
        err = find_whole(skip, &whole);
        if (!whole) {
            segment_walk_fini(&skip->walk);
        }
    }
    if (err == ERR_OK && !whole) {
        err = walk_over(log, skip);
    }
    if (err == ERR_OK) {
        *out_place = place_in_file(skip->segment, skip->walk.offset,
                                   skip->walk.sequence);
        out_place->damaged_skip = skip->walk.sequence > skip->sequence;
    }
    segment_walk_fini(&skip->walk);
    return err;
}

enum err topic_log_skip(struct topic_log *log,
                        uint64_t sequence,
                        struct topic_place *out_place)
{
    if (sequence < log->stats.oldest) {
        return ERR_RANGE;
    }
    if (sequence >= log->stats.end) {
        return ERR_NOT_FOUND;
    }
    struct topic_place place;
    enum err err = ERR_NOT_FOUND;
    struct topic_segment *segment = NULL;
    if (sequence < log->stats.flushed) {
        segment = segment_at(log, sequence);
    }
    if (segment != NULL && sequence < segment->end) {
        struct skip skip = {segment, sequence, false, {0}};
        err = topic_log_open_segment(log, segment);
        if (err == ERR_OK) {
            err = skip_in_segment(log, &skip, &place);
        }
    }
    if (err == ERR_NOT_FOUND) {
        err = place_behind(log, segment, sequence + 1, &place);
    }
    if (err == ERR_NOT_FOUND) {
        topic_log_note_lost(log, sequence, log->stats.end);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (place.first > sequence) {
        topic_log_note_lost(log, sequence, place.first);
    }
    bool repeated = place.first == sequence && log->skip_last == sequence;
    log->skip_repeats = repeated ? log->skip_repeats + 1 : 0;
    log->skip_last = place.first;
    *out_place = place;
    return ERR_OK;
}

/* --- find ----------------------------------------------------------------- */

enum err topic_log_find(struct topic_log *log,
                        uint64_t sequence,
                        struct topic_place *out_place)
{
    if (sequence < log->stats.oldest) {
        return ERR_RANGE;
    }
    if (sequence >= log->stats.end) {
        return ERR_NOT_FOUND;
    }
    if (sequence >= log->stats.flushed) {
        return place_in_memory(log, sequence, out_place) ? ERR_OK
                                                         : ERR_NOT_FOUND;
    }
    struct topic_segment *segment = segment_at(log, sequence);
    if (segment == NULL || sequence >= segment->end) {
        return place_behind(log, segment, sequence, out_place);
    }
    enum err err = topic_log_open_segment(log, segment);
    if (err == ERR_NOT_FOUND) {
        return place_behind(log, segment, sequence, out_place);
    }
    if (err != ERR_OK) {
        return err;
    }
    uint64_t offset = 0;
    uint64_t first = 0;
    walk_start(segment, sequence, &offset, &first);
    *out_place = place_in_file(segment, offset, first);
    return lost_between(log, first, sequence)
               ? find_exact(log, segment, sequence, out_place)
               : ERR_OK;
}

/* --- time ----------------------------------------------------------------- */

/* The first record of a segment at or after `from` pushed at or after a time.
 * Errors: ERR_NOT_FOUND: none; ERR_IO, ERR_NOMEM */
static enum err find_time_in(const struct topic_segment *segment,
                             uint64_t from,
                             uint64_t at_ms,
                             uint64_t *out_sequence)
{
    uint64_t offset = 0;
    uint64_t first = 0;
    walk_start(segment, from, &offset, &first);
    uint32_t i = index_find_time(&segment->map, at_ms);
    if (i < segment->map.count &&
        index_entry_offset(&segment->map.entries[i]) > offset) {
        offset = index_entry_offset(&segment->map.entries[i]);
        first = segment->first + segment->map.entries[i].relative;
    }
    struct segment_landing landing = {.limit = segment->size};
    struct segment_walk walk;
    segment_walk_init(&walk, segment->fd, offset, segment->size, first);
    enum err err = ERR_OK;
    while (err == ERR_OK) {
        struct segment_step step;
        err = segment_walk_next(&walk, &step);
        if (err == ERR_CORRUPT) {
            err = segment_walk_resync(&walk, &landing);
        } else if (err == ERR_OK && step.record.sequence >= from &&
                   step.record.pushed_at_ms >= at_ms) {
            *out_sequence = step.record.sequence;
            break;
        }
    }
    segment_walk_fini(&walk);
    return err;
}

enum err topic_log_find_time(struct topic_log *log,
                             uint64_t at_ms,
                             uint64_t *out_sequence)
{
    uint64_t from = log->stats.oldest;
    for (struct list *node = log->segments.next; node != &log->segments;
         node = node->next) {
        struct topic_segment *segment = segment_of(node);
        if (segment->end <= from || segment->size <= SEGMENT_HEAD_SIZE ||
            (segment->has_time && segment->time_max < at_ms)) {
            continue;
        }
        bool was_open = segment->fd >= 0;
        enum err err = topic_log_open_segment(log, segment);
        if (err == ERR_OK && segment->time_max >= at_ms) {
            uint64_t first = from > segment->first ? from : segment->first;
            err = find_time_in(segment, first, at_ms, out_sequence);
        } else if (err == ERR_OK) {
            err = ERR_NOT_FOUND;
        }
        topic_log_close_again(log, segment, was_open);
        if (err != ERR_NOT_FOUND) {
            return err;
        }
    }
    if ((log->flush != NULL &&
         topic_tail_find_time(&log->flush->row, from, at_ms, out_sequence)) ||
        topic_tail_find_time(&log->tail, from, at_ms, out_sequence)) {
        return ERR_OK;
    }
    *out_sequence = log->stats.end;
    return ERR_OK;
}

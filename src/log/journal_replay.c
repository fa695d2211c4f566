/* Recovery of the journal: doc/log-format.md, section 9.
 *
 * What happens:
 *   - Each file is looked at: its generation, by the entry at its beginning or,
 *     when that is damaged, by the batches behind it; and the ABORT entries at
 *     its beginning, which tell where generations before it ended.
 *   - Files from `from` on are read in order of generation, in large reads.
 *
 * What may be met:
 *   - Below the end that an ABORT entry tells, or before a later batch of the
 *     same file, all was once whole: what is not is damaged. It is told and
 *     stepped over, to the next place at which an entry's head holds. A head
 *     says where it lies and of which generation it is, and is summed, so
 *     neither stale bytes nor payloads are taken for one.
 *   - The same where journal_options.end tells it.
 *   - Else the first entry that is not whole is where the last write was torn:
 *     the end. The file that is begun next says so in its first entry, so that
 *     the next recovery sees the same, whatever lies behind.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "base/diag.h"
#include "log/journal_internal.h"
#include "log/record.h"
#include "sys/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    READ_SIZE = 1 << 20,        /* bytes of one read, at least, */
    LOOK_SIZE = 32 << 10,       /* and where the beginning is wanted */
    UNUSED_LOOK_SIZE = 1 << 20, /* of a file whose first block is zeros */
};

/* What begins at a place. */
enum found {
    FOUND_NOTHING,
    FOUND_DAMAGED, /* a head, whose record is not whole */
    FOUND_WHOLE,
};

/* A file, read forwards. */
struct window {
    char path[DIR_PATH_MAX]; /* for the operator */
    int fd;                  /* owned; -1: closed */
    char *data;              /* owned */
    size_t capacity;         /* bytes allocated */
    size_t size;             /* bytes read */
    uint64_t base;           /* where they lie */
    uint64_t file_size;      /* nothing is read behind it */
    size_t read_size;        /* bytes of one read, at least */
};

/* Where a generation ended, as a later file tells. */
struct told_end {
    struct journal_abort end;
    uint64_t by; /* generation of the file that tells */
};

struct replay {
    struct journal *journal;
    const struct journal_replay *calls; /* borrowed */
    struct journal_place from;
    struct window window;
    struct told_end *aborts; /* owned: the ends that are known */
    uint32_t abort_count;
    uint32_t abort_capacity;
    uint64_t done_bytes;
    uint64_t told_bytes; /* at the last progress */
    uint64_t all_bytes;
};

/* Where the replay of one file is. */
struct reading {
    uint64_t generation;
    uint64_t offset;
    uint64_t limit; /* nothing counts from here on */
    uint64_t known; /* below it all was once whole */
    bool sealed;    /* an ABORT entry tells the limit */
};

/* --- the window ----------------------------------------------------------- */

/* There is no start without what the file holds: name it. Returns ERR_IO. */
static enum err file_failed(const struct window *window,
                            const char *call,
                            uint64_t offset,
                            enum err err)
{
    DIAG_ERROR("journal_file_unusable",
               "path=%s call=%s offset=%" PRIu64 " err=%s", window->path, call,
               offset, err_name(err));
    return ERR_IO;
}

/* Make `need` bytes at `offset` readable, or as many as the file has.
 * Gives: `*out_bytes`, borrowed until the next call. */
static enum err window_get(struct window *window,
                           uint64_t offset,
                           uint64_t need,
                           struct str *out_bytes)
{
    if (offset >= window->file_size) {
        *out_bytes = (struct str){window->data, 0};
        return ERR_OK;
    }
    if (need > window->file_size - offset) {
        need = window->file_size - offset;
    }
    if (offset < window->base || offset + need > window->base + window->size) {
        uint64_t left = window->file_size - offset;
        size_t room =
            left < window->read_size ? (size_t)left : window->read_size;
        room = room < need ? (size_t)need : room;
        if (room > window->capacity) {
            char *data = realloc(window->data, room);
            if (data == NULL) {
                return ERR_NOMEM;
            }
            window->data = data;
            window->capacity = room;
        }
        window->size = 0;
        window->base = offset;
        enum err err =
            file_read_at(window->fd, window->data, room, offset, &window->size);
        if (err != ERR_OK) {
            return file_failed(window, "read", offset, err);
        }
    }
    size_t start = (size_t)(offset - window->base);
    size_t size = window->size - start;
    *out_bytes =
        (struct str){window->data + start, size < need ? size : (size_t)need};
    return ERR_OK;
}

static enum err window_open(struct window *window,
                            const struct journal *journal,
                            const struct journal_slot *slot,
                            size_t read_size)
{
    window->read_size = read_size;
    window->size = 0;
    window->base = 0;
    window->file_size = 0;
    if (journal_slot_path(journal, slot, window->path) != ERR_OK) {
        return ERR_IO;
    }
    enum err err = file_open(window->path, FILE_READ, &window->fd);
    if (err != ERR_OK) {
        return file_failed(window, "open", 0, err);
    }
    err = file_size(window->fd, &window->file_size);
    return err == ERR_OK ? ERR_OK : file_failed(window, "stat", 0, err);
}

static void window_close(struct window *window)
{
    file_close(window->fd);
    window->fd = -1;
}

static bool is_zero(struct str bytes)
{
    return bytes.size == 0 ||
           (bytes.data[0] == 0 &&
            memcmp(bytes.data, bytes.data + 1, bytes.size - 1) == 0);
}

/* Tell whether all bytes from `offset` to `end` are zeros. */
static enum err window_is_zero(struct window *window,
                               uint64_t offset,
                               uint64_t end,
                               bool *out_zero)
{
    struct str bytes = {NULL, 0};
    enum err err = window_get(window, offset, end - offset, &bytes);
    if (err == ERR_OK) {
        *out_zero = is_zero(bytes);
    }
    return err;
}

/* --- looking for entries -------------------------------------------------- */

/* Look for the head of an entry of `generation` (0: any): one whose checksum
 * holds, which for all but records is that of the body, too. */
static enum err look_head(struct window *window,
                          uint64_t generation,
                          uint64_t offset,
                          struct journal_entry *out_entry,
                          bool *out_found)
{
    struct str bytes = {NULL, 0};
    enum err err = window_get(window, offset, JOURNAL_ENTRY_HEAD_SIZE, &bytes);
    *out_found = false;
    if (err != ERR_OK ||
        !journal_entry_read(bytes, generation, offset, out_entry) ||
        out_entry->size > window->file_size - offset) {
        return err;
    }
    size_t summed = journal_entry_summed(out_entry);
    if (summed > bytes.size) {
        err = window_get(window, offset, summed, &bytes);
    }
    *out_found =
        err == ERR_OK && bytes.size == summed && journal_entry_whole(bytes);
    return err;
}

/* Look for an entry. `*out_body` is borrowed until the next look. */
static enum err look(struct window *window,
                     uint64_t generation,
                     uint64_t offset,
                     struct journal_entry *out_entry,
                     struct str *out_body,
                     enum found *out_found)
{
    bool found = false;
    *out_found = FOUND_NOTHING;
    enum err err = look_head(window, generation, offset, out_entry, &found);
    if (err != ERR_OK || !found) {
        return err;
    }
    struct str bytes = {NULL, 0};
    err = window_get(window, offset, out_entry->size, &bytes);
    if (err != ERR_OK || bytes.size < out_entry->size) {
        return err;
    }
    *out_body = str_cut(bytes, JOURNAL_ENTRY_HEAD_SIZE, bytes.size);
    bool whole = out_entry->type != JOURNAL_RECORD ||
                 (record_check(*out_body) == ERR_OK);
    *out_found = whole ? FOUND_WHOLE : FOUND_DAMAGED;
    return ERR_OK;
}

/* Look for the first batch that begins at or behind `offset` and before
 * `end`; `*out_offset` is `end` when there is none. */
static enum err find_batch(struct window *window,
                           uint64_t generation,
                           uint64_t offset,
                           uint64_t end,
                           struct journal_place *out_place)
{
    offset = journal_align(offset);
    for (; offset < end; offset += JOURNAL_BATCH_ALIGN) {
        struct journal_entry entry;
        bool found = false;
        enum err err = look_head(window, generation, offset, &entry, &found);
        if (err != ERR_OK) {
            return err;
        }
        if (found && (entry.flags & JOURNAL_FLAG_FIRST) != 0) {
            out_place->generation = entry.generation;
            out_place->offset = offset;
            return ERR_OK;
        }
    }
    out_place->generation = 0;
    out_place->offset = end;
    return ERR_OK;
}

/* --- damage --------------------------------------------------------------- */

static void tell_damaged(struct replay *replay,
                         const struct reading *reading,
                         uint64_t topic_id,
                         uint64_t size)
{
    struct journal_place place = {reading->generation, reading->offset};
    replay->journal->stats.damaged_entries++;
    replay->calls->damaged(replay->calls->context, topic_id, place, size);
}

/* Where reading goes on behind damage at `reading->offset`: at the next head
 * that holds. The damaged one's own size is not believed, for it may be what is
 * damaged. */
static enum err step_over(struct window *window,
                          const struct reading *reading,
                          uint64_t *out_offset)
{
    uint64_t offset = reading->offset + JOURNAL_ENTRY_ALIGN;
    for (; offset < reading->known; offset += JOURNAL_ENTRY_ALIGN) {
        struct journal_entry entry;
        bool found = false;
        enum err err =
            look_head(window, reading->generation, offset, &entry, &found);
        if (err != ERR_OK) {
            return err;
        }
        if (found) {
            break;
        }
    }
    *out_offset = offset < reading->known ? offset : reading->known;
    return ERR_OK;
}

/* What is at `reading->offset` is not whole. Step over it, or end. */
static enum err not_whole(struct replay *replay,
                          struct reading *reading,
                          const struct journal_entry *damaged)
{
    struct window *window = &replay->window;
    if (reading->offset >= reading->known) {
        struct journal_place next;
        enum err err = find_batch(window, reading->generation,
                                  reading->offset + 1, reading->limit, &next);
        if (err != ERR_OK) {
            return err;
        }
        if (next.generation == 0) {
            reading->limit = reading->offset;
            return ERR_OK;
        }
        reading->known = next.offset;
    }
    if (damaged != NULL && damaged->size <= reading->known - reading->offset) {
        tell_damaged(replay, reading, damaged->topic_id, damaged->size);
        reading->offset += damaged->size;
        return ERR_OK;
    }
    uint64_t offset = reading->known;
    enum err err = step_over(window, reading, &offset);
    if (err == ERR_OK) {
        tell_damaged(replay, reading, 0, offset - reading->offset);
        reading->offset = offset;
    }
    return err;
}

/* --- reading -------------------------------------------------------------- */

static void tell_progress(struct replay *replay, uint64_t step)
{
    replay->done_bytes += step;
    if (replay->calls->progress != NULL &&
        (replay->done_bytes - replay->told_bytes >= READ_SIZE ||
         replay->done_bytes == replay->all_bytes)) {
        replay->told_bytes = replay->done_bytes;
        replay->calls->progress(replay->calls->context, replay->done_bytes,
                                replay->all_bytes);
    }
}

/* Hand a whole entry over. */
static enum err deliver(struct replay *replay,
                        const struct reading *reading,
                        const struct journal_entry *entry,
                        struct str body)
{
    if (entry->type == JOURNAL_ABORT) {
        return ERR_OK; /* collected before */
    }
    enum err err = ERR_CORRUPT;
    if (entry->type >= JOURNAL_RECORD && entry->type < JOURNAL_ABORT) {
        err = replay->calls->entry(replay->calls->context,
                                   (enum journal_type)entry->type,
                                   entry->topic_id, body);
    }
    if (err == ERR_CORRUPT) {
        tell_damaged(replay, reading, entry->topic_id, entry->size);
        return ERR_OK;
    }
    replay->journal->stats.recovered_entries++;
    return err;
}

/* What is at the place: an entry, the padding of a batch, or neither. */
static enum err read_one(struct replay *replay, struct reading *reading)
{
    struct window *window = &replay->window;
    struct journal_entry entry;
    struct str body;
    enum found found = FOUND_NOTHING;
    enum err err = look(window, reading->generation, reading->offset, &entry,
                        &body, &found);
    if (err != ERR_OK) {
        return err;
    }
    if (found == FOUND_WHOLE &&
        entry.size <= reading->limit - reading->offset) {
        err = deliver(replay, reading, &entry, body);
        reading->offset += entry.size;
        return err;
    }
    uint64_t boundary = journal_align(reading->offset);
    boundary = boundary < reading->limit ? boundary : reading->limit;
    bool padding = false;
    if (found == FOUND_NOTHING && boundary > reading->offset) {
        err = window_is_zero(window, reading->offset, boundary, &padding);
    }
    if (err == ERR_OK && padding) {
        reading->offset = boundary;
        return ERR_OK;
    }
    if (err != ERR_OK) {
        return err;
    }
    return not_whole(replay, reading, found == FOUND_DAMAGED ? &entry : NULL);
}

static const struct journal_abort *find_abort(const struct replay *replay,
                                              uint64_t generation)
{
    const struct journal_abort *found = NULL;
    for (uint32_t i = 0; i < replay->abort_count; i++) {
        const struct journal_abort *abort = &replay->aborts[i].end;
        if (abort->generation == generation &&
            (found == NULL || abort->offset < found->offset)) {
            found = abort;
        }
    }
    return found;
}

/* The end was not known before: the next file tells it. */
static void note_end(struct journal *journal, const struct journal_slot *slot)
{
    CHECK(journal->abort_count < journal->abort_max);
    journal->aborts[journal->abort_count].generation = slot->generation;
    journal->aborts[journal->abort_count].offset = slot->end;
    journal->abort_count++;
    journal->abort_urgent = true;
}

static enum err replay_file(struct replay *replay, struct journal_slot *slot)
{
    struct window *window = &replay->window;
    const struct journal_abort *abort = find_abort(replay, slot->generation);
    bool first = slot->generation == replay->from.generation;
    struct reading reading = {
        .generation = slot->generation,
        .offset = first ? replay->from.offset : 0,
        .limit = window->file_size,
        .sealed = abort != NULL,
    };
    uint64_t all = reading.limit - reading.offset;
    all = reading.offset < reading.limit ? all : 0;
    const struct journal_place *end = &replay->journal->options.end;
    if (abort != NULL) {
        reading.limit = abort->offset;
        reading.known = abort->offset;
    } else if (end->generation != 0 && end->generation == slot->generation &&
               end->offset <= window->file_size) {
        reading.limit = end->offset;
        reading.known = end->offset;
    }
    if (first && reading.offset > window->file_size) {
        /* It was longer. How far it went, nobody knows. */
        DIAG_ERROR("journal_file_short", "path=%s size=%" PRIu64, window->path,
                   window->file_size);
        tell_damaged(replay, &reading, 0, JOURNAL_BATCH_ALIGN);
    }
    uint64_t told = reading.offset;
    enum err err = ERR_OK;
    while (err == ERR_OK && reading.offset < reading.limit) {
        err = read_one(replay, &reading);
        uint64_t step = reading.offset - told;
        if (step >= READ_SIZE && step <= all) {
            tell_progress(replay, step);
            told = reading.offset;
            all -= step;
        }
    }
    if (err != ERR_OK) {
        return err;
    }
    tell_progress(replay, all);
    slot->end = reading.limit;
    if (!reading.sealed) {
        slot->end = reading.offset;
        note_end(replay->journal, slot);
    }
    DIAG_DEBUG("journal_file_read",
               "slot=%" PRIu32 " generation=%" PRIu64 " end=%" PRIu64
               " sealed=%d",
               slot->number, slot->generation, slot->end, reading.sealed);
    /* What a killed process left in the page cache counts now, so it must
     * stay. */
    err = replay->journal->io != NULL ? file_sync(window->fd) : ERR_OK;
    return err == ERR_OK ? ERR_OK : file_failed(window, "sync", 0, err);
}

/* --- looking at all files ------------------------------------------------- */

/* Collect the ABORT entries at the beginning of a file. */
static enum err collect_aborts(struct replay *replay, uint64_t generation)
{
    uint64_t offset = 0;
    for (;;) {
        struct journal_entry entry;
        struct journal_abort abort;
        struct str body;
        enum found found = FOUND_NOTHING;
        enum err err =
            look(&replay->window, generation, offset, &entry, &body, &found);
        if (err != ERR_OK || found != FOUND_WHOLE ||
            entry.type != JOURNAL_ABORT ||
            !journal_entry_abort_read(body, &abort)) {
            return err;
        }
        offset += entry.size;
        if (abort.generation >= generation) {
            continue; /* only what came before can have ended */
        }
        if (replay->abort_count == replay->abort_capacity) {
            uint32_t capacity = replay->abort_capacity * 2 + 16;
            struct told_end *aborts =
                realloc(replay->aborts, capacity * sizeof(*aborts));
            if (aborts == NULL) {
                return ERR_NOMEM;
            }
            replay->aborts = aborts;
            replay->abort_capacity = capacity;
        }
        replay->aborts[replay->abort_count] =
            (struct told_end){.end = abort, .by = generation};
        replay->abort_count++;
    }
}

/* Find the generation of a file; 0: there is nothing in it. */
static enum err find_generation(struct window *window, uint64_t *out_generation)
{
    struct journal_entry entry;
    bool found = false;
    bool unused = false;
    enum err err = look_head(window, 0, 0, &entry, &found);
    if (err != ERR_OK) {
        return err;
    }
    if (found) {
        *out_generation = entry.generation;
        return ERR_OK;
    }
    /* The beginning is damaged, or was never written. Batches of the life
     * before may lie behind it; the newest one tells. */
    err = window_is_zero(window, 0, JOURNAL_BATCH_ALIGN, &unused);
    uint64_t end = window->file_size;
    if (unused && end > UNUSED_LOOK_SIZE) {
        end = UNUSED_LOOK_SIZE;
    }
    uint64_t generation = 0;
    struct journal_place place = {0};
    while (err == ERR_OK && place.offset < end) {
        err = find_batch(window, 0, place.offset, end, &place);
        if (place.generation > generation) {
            generation = place.generation;
        }
        place.offset += place.offset < end ? JOURNAL_BATCH_ALIGN : 0;
    }
    *out_generation = generation;
    return err;
}

static enum err look_at_file(struct replay *replay, struct journal_slot *slot)
{
    struct journal *journal = replay->journal;
    uint64_t generation = 0;
    enum err err = window_open(&replay->window, journal, slot, LOOK_SIZE);
    if (err == ERR_OK) {
        err = find_generation(&replay->window, &generation);
    }
    if (err == ERR_OK && generation != 0) {
        err = collect_aborts(replay, generation);
    }
    window_close(&replay->window);
    if (err != ERR_OK) {
        return err;
    }
    slot->generation = generation;
    slot->end = replay->window.file_size;
    if (generation > journal->last_generation) {
        journal->last_generation = generation;
    }
    return ERR_OK;
}

/* --- what counts ---------------------------------------------------------- */

/* The slot of a generation; NULL when no file has it. */
static struct journal_slot *slot_of(const struct journal *journal,
                                    uint64_t generation)
{
    for (int i = 0; i < journal->slot_count; i++) {
        struct journal_slot *slot = &journal->slots[i];
        if (slot->state != SLOT_ABSENT && slot->generation == generation) {
            return slot;
        }
    }
    return NULL;
}

/* The highest generation below another that a file has; 0: none. */
static uint64_t generation_below(const struct journal *journal, uint64_t limit)
{
    uint64_t found = 0;
    for (int i = 0; i < journal->slot_count; i++) {
        uint64_t generation = journal->slots[i].generation;
        if (generation < limit && generation > found) {
            found = generation;
        }
    }
    return found;
}

/* Tell whether the end of a generation is told by another's file, and so that
 * one needs the other: nothing lies between them. */
static bool tells(const struct replay *replay, uint64_t by, uint64_t generation)
{
    for (uint32_t i = 0; i < replay->abort_count; i++) {
        const struct told_end *told = &replay->aborts[i];
        if (told->by == by && told->end.generation == generation) {
            return true;
        }
    }
    return false;
}

/* Tell whether a file begins with ends of others, or with none: not so when its
 * first block is damaged. */
static enum err
is_readable(struct replay *replay, struct journal_slot *slot, bool *out_is)
{
    struct journal_entry entry;
    enum err err =
        window_open(&replay->window, replay->journal, slot, LOOK_SIZE);
    *out_is = false;
    if (err == ERR_OK) {
        err = look_head(&replay->window, slot->generation, 0, &entry, out_is);
    }
    window_close(&replay->window);
    return err;
}

/* Without a checkpoint all counts, as far back as the files hang together: each
 * tells where the one before it ended, unless a checkpoint, which is lost, has
 * freed that one. What lies before a gap is stale: what came between is in the
 * segments alone, which must not be cut for it. */
static enum err find_from(struct replay *replay)
{
    struct journal *journal = replay->journal;
    uint64_t from = generation_below(journal, UINT64_MAX);
    for (uint64_t before = generation_below(journal, from); before != 0;
         before = generation_below(journal, from)) {
        bool readable = true;
        if (!tells(replay, from, before)) {
            enum err err =
                is_readable(replay, slot_of(journal, from), &readable);
            if (err != ERR_OK) {
                return err;
            }
            if (readable) {
                break;
            }
        }
        from = before;
    }
    replay->from.generation = from;
    return ERR_OK;
}

/* A generation counts of which there is no file. */
static void
file_lost(struct replay *replay, struct journal_place place, uint64_t size)
{
    DIAG_ERROR("journal_file_lost", "directory=%s generation=%" PRIu64,
               replay->journal->directory, place.generation);
    replay->journal->stats.damaged_entries++;
    replay->calls->damaged(replay->calls->context, 0, place, size);
}

/* Look for files that there must be behind a checkpoint at `from`: the one that
 * it names, and those whose end is told by a file that counts. */
static void find_lost(struct replay *replay, struct journal_place from)
{
    if (from.offset > 0 && slot_of(replay->journal, from.generation) == NULL) {
        /* How far it went, nobody knows. */
        file_lost(replay, from, JOURNAL_BATCH_ALIGN);
    }
    for (uint32_t i = 0; i < replay->abort_count; i++) {
        const struct told_end *told = &replay->aborts[i];
        struct journal_place place = {.generation = told->end.generation};
        bool counts = place.generation > from.generation ||
                      (place.generation == from.generation && from.offset == 0);
        /* Nothing of it counts when it ended at 0; it may never have begun. */
        if (counts && told->end.offset > 0 &&
            told->by >= replay->from.generation &&
            slot_of(replay->journal, place.generation) == NULL) {
            file_lost(replay, place, told->end.offset);
        }
    }
}

/* Let those files count that do; others are free. */
static void choose(struct replay *replay)
{
    struct journal *journal = replay->journal;
    const struct journal_place *from = &replay->from;
    for (int i = 0; i < journal->slot_count; i++) {
        struct journal_slot *slot = &journal->slots[i];
        if (slot->state == SLOT_ABSENT || slot->generation == 0 ||
            slot->generation < from->generation) {
            continue;
        }
        uint64_t first =
            slot->generation == from->generation ? from->offset : 0;
        slot->state = SLOT_SEALED;
        replay->all_bytes += slot->end > first ? slot->end - first : 0;
    }
}

/* --- all of it ------------------------------------------------------------ */

/* The slot to read next: the one with the lowest generation above `after`, and
 * of two with the same, which should not be, the one behind `after_index`. */
static int
next_slot(const struct journal *journal, uint64_t after, int after_index)
{
    int found = JOURNAL_NONE;
    for (int i = 0; i < journal->slot_count; i++) {
        const struct journal_slot *slot = &journal->slots[i];
        bool behind = slot->generation > after ||
                      (slot->generation == after && i > after_index);
        if (slot->state == SLOT_SEALED && behind &&
            (found == JOURNAL_NONE ||
             slot->generation < journal->slots[found].generation)) {
            found = i;
        }
    }
    return found;
}

static enum err replay_all(struct replay *replay)
{
    struct journal *journal = replay->journal;
    int index = next_slot(journal, 0, JOURNAL_NONE);
    while (index != JOURNAL_NONE) {
        struct journal_slot *slot = &journal->slots[index];
        enum err err = window_open(&replay->window, journal, slot, READ_SIZE);
        if (err == ERR_OK) {
            err = replay_file(replay, slot);
        }
        window_close(&replay->window);
        if (err != ERR_OK) {
            return err;
        }
        index = next_slot(journal, slot->generation, index);
    }
    return ERR_OK;
}

enum err journal_replay_run(struct journal *journal,
                            struct journal_place from,
                            const struct journal_replay *calls)
{
    struct replay replay = {
        .journal = journal,
        .calls = calls,
        .from = from,
        .window = {.fd = -1},
    };
    CHECK(from.offset % JOURNAL_ENTRY_ALIGN == 0);
    journal->last_generation = from.generation;
    enum err err = ERR_OK;
    for (int i = 0; err == ERR_OK && i < journal->slot_count; i++) {
        if (journal->slots[i].state == SLOT_FREE) {
            err = look_at_file(&replay, &journal->slots[i]);
        }
    }
    if (err == ERR_OK && from.generation == 0) {
        err = find_from(&replay);
    }
    if (err == ERR_OK) {
        find_lost(&replay, from);
        choose(&replay);
        err = replay_all(&replay);
    }
    free(replay.window.data);
    free(replay.aborts);
    return err;
}

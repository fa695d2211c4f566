/* Looking through a topic's folder.
 *
 * A segment is walked record by record, and its index alongside: each entry
 * must name a record that is met, and each record from which an entry is due
 * must have one. Where bytes are damaged the index is not blamed for what it
 * says of them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/topic_inspect.h"

#include "base/diag.h"
#include "log/index.h"
#include "log/segment.h"
#include "log/topic_conf.h"
#include "log/topic_folder.h"
#include "log/topic_gaps.h"
#include "log/topic_state.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A segment being walked. */
struct scan {
    const struct topic_inspect_options *options;
    const struct topic_inspect_visit *visit;
    struct topic_inspect_sum *sum;
    uint64_t first; /* of the segment */
    uint64_t next;  /* of the one behind it; UINT64_MAX: it is the last */
    uint64_t size;  /* of its file */
    struct segment_walk walk;
    struct index_entry *entries; /* owned: what the index file holds */
    uint32_t entry_count;
    uint32_t entry;       /* the one to be met next */
    uint64_t due_at;      /* from this offset on a record has an entry */
    bool damaged;         /* the walk stepped over damage since an entry */
    bool index_wrong;     /* it was said */
    bool index_unchecked; /* it may be written to just now */
    bool refused;         /* the visitor has ended the walk */
    char name[SEGMENT_NAME_MAX];
    char index_name[SEGMENT_NAME_MAX];
    struct topic_state_cmd cmd; /* once the segments are done */
    bool has_cmd;
    uint64_t id;                   /* of the topic; 0: nobody knows */
    const struct topic_gaps *gaps; /* borrowed: numbers known not to be there */
};

static void tell(const struct scan *scan, const struct topic_finding *finding)
{
    if (scan->visit->finding != NULL) {
        scan->visit->finding(scan->visit->context, finding);
    }
}

static bool is_last(const struct scan *scan)
{
    return scan->next == UINT64_MAX;
}

/* Name the file, or its folder, where reading ends for the disk's sake: who
 * looks on gets the error alone. */
static void
say_unreadable(const char *directory, const char *file, enum err err)
{
    if (err == ERR_IO) {
        DIAG_ERROR("unreadable", "path=%s/%s", directory, file);
    }
}

/* --- index ---------------------------------------------------------------- */

/* Say once that the index of the segment is not right. */
static void tell_index(struct scan *scan, uint64_t sequence, const char *what)
{
    if (scan->index_wrong || scan->index_unchecked) {
        return;
    }
    scan->index_wrong = true;
    const struct topic_finding finding = {
        .kind = TOPIC_FINDING_INDEX,
        .file = scan->index_name,
        .segment = scan->first,
        .offset = (uint64_t)scan->entry * INDEX_ENTRY_SIZE,
        .sequence = sequence,
        .what = what,
    };
    tell(scan, &finding);
}

/* Read the file of the index; one that is not there is a finding. */
static enum err load_entries(struct scan *scan)
{
    char path[DIR_PATH_MAX];
    enum err err =
        segment_path(path, scan->options->directory, scan->first, true);
    if (err != ERR_OK) {
        return err;
    }
    int fd = -1;
    err = file_open(path, FILE_READ, &fd);
    if (err == ERR_NOT_FOUND) {
        if (scan->size > SEGMENT_HEAD_SIZE) {
            tell_index(scan, scan->first, "it is missing");
        }
        return ERR_OK;
    }
    if (err != ERR_OK) {
        return err;
    }
    uint64_t size = 0;
    size_t got = 0;
    err = file_size(fd, &size);
    uint64_t count = size / INDEX_ENTRY_SIZE;
    uint64_t count_max = scan->size / INDEX_INTERVAL + 1;
    if (err == ERR_OK && (size % INDEX_ENTRY_SIZE != 0 || count > count_max)) {
        tell_index(scan, scan->first, "its size is not one it can have");
        count = count < count_max ? count : count_max;
    }
    if (err == ERR_OK) {
        scan->entries = malloc((size_t)(count + 1) * INDEX_ENTRY_SIZE);
        err = scan->entries == NULL ? ERR_NOMEM : ERR_OK;
    }
    if (err == ERR_OK) {
        err = file_read_at(fd, scan->entries, (size_t)count * INDEX_ENTRY_SIZE,
                           0, &got);
        scan->entry_count = (uint32_t)(got / INDEX_ENTRY_SIZE);
    }
    file_close(fd);
    if (err == ERR_OK &&
        !index_entries_ordered(scan->entries, scan->entry_count)) {
        tell_index(scan, scan->first, "its entries are not ascending");
    }
    return err;
}

/* Compare the index with a record that was met. */
static void check_entry(struct scan *scan, const struct segment_step *step)
{
    while (scan->entry < scan->entry_count &&
           index_entry_offset(&scan->entries[scan->entry]) < step->offset) {
        if (!scan->damaged) {
            tell_index(scan, step->record.sequence,
                       "an entry is not at a record");
        }
        scan->entry++;
    }
    bool due = step->offset >= scan->due_at;
    if (scan->entry == scan->entry_count ||
        index_entry_offset(&scan->entries[scan->entry]) > step->offset) {
        if (due && !scan->damaged) {
            tell_index(scan, step->record.sequence, "an entry is missing");
            scan->due_at = step->offset + INDEX_INTERVAL;
        }
        return;
    }
    const struct index_entry *entry = &scan->entries[scan->entry];
    if (scan->first + entry->relative != step->record.sequence) {
        tell_index(scan, step->record.sequence, "an entry has another number");
    } else if (entry->time_ms < step->record.pushed_at_ms) {
        tell_index(scan, step->record.sequence, "an entry has a time too low");
    } else if (!due && !scan->damaged) {
        tell_index(scan, step->record.sequence, "an entry is not due");
    }
    scan->due_at = step->offset + INDEX_INTERVAL;
    scan->damaged = false;
    scan->entry++;
}

/* --- records -------------------------------------------------------------- */

static enum err show(struct scan *scan, const struct segment_step *step)
{
    scan->sum->records++;
    scan->sum->bytes += step->record.size;
    scan->sum->end = step->record.sequence + 1;
    check_entry(scan, step);
    if (scan->visit->record == NULL ||
        step->record.sequence < scan->options->first) {
        return ERR_OK;
    }
    enum err err = scan->visit->record(scan->visit->context,
                                       step->record.sequence, step->bytes);
    scan->refused = err != ERR_OK;
    return err;
}

/* Say what the walk met from `offset` up to `end`; numbers from `sequence` up
 * to `found` were there. */
static void tell_damage(struct scan *scan,
                        uint64_t offset,
                        uint64_t end,
                        uint64_t sequence,
                        uint64_t found)
{
    bool tail = is_last(scan) && end == scan->size && found == sequence;
    if (tail && scan->options->running) {
        return; /* it is being written */
    }
    scan->sum->lost += found - sequence;
    scan->damaged = true;
    const struct topic_finding finding = {
        .kind = tail ? TOPIC_FINDING_TAIL : TOPIC_FINDING_RECORD,
        .file = scan->name,
        .segment = scan->first,
        .offset = offset,
        .size = end - offset,
        .sequence = sequence,
        .lost = found - sequence,
        .what = tail ? "no whole record at the end" : "no whole record",
    };
    tell(scan, &finding);
}

/* Go on behind damage.
 * Errors: ERR_NOT_FOUND  nothing whole follows */
static enum err skip_damage(struct scan *scan)
{
    uint64_t offset = scan->walk.offset;
    uint64_t sequence = scan->walk.sequence;
    struct segment_landing landing = {
        .limit = scan->size,
        .sequence = scan->next,
        .exact = !is_last(scan),
    };
    enum err err = segment_walk_resync(&scan->walk, &landing);
    if (err == ERR_NOT_FOUND && landing.exact) {
        landing.exact = false; /* more than one place is damaged */
        err = segment_walk_resync(&scan->walk, &landing);
    }
    if (err == ERR_OK) {
        tell_damage(scan, offset, scan->walk.offset, sequence,
                    scan->walk.sequence);
    } else if (err == ERR_NOT_FOUND) {
        uint64_t found = is_last(scan) ? sequence : scan->next;
        tell_damage(scan, offset, scan->size, sequence, found);
        scan->walk.sequence = found;
    }
    return err;
}

static enum err walk_records(struct scan *scan)
{
    enum err err = ERR_OK;
    while (err == ERR_OK) {
        struct segment_step step;
        err = segment_walk_next(&scan->walk, &step);
        if (err == ERR_OK) {
            err = show(scan, &step);
        } else if (err == ERR_CORRUPT) {
            err = skip_damage(scan);
        }
    }
    if (err != ERR_NOT_FOUND) {
        return err;
    }
    if (scan->entry < scan->entry_count && !scan->damaged) {
        tell_index(scan, scan->walk.sequence, "entries lie past the end");
    }
    if (is_last(scan) ||
        topic_gaps_has(scan->gaps, scan->walk.sequence, scan->next)) {
        return ERR_OK;
    }
    scan->sum->lost += scan->next - scan->walk.sequence;
    const struct topic_finding finding = {
        .kind = TOPIC_FINDING_GAP,
        .file = scan->name,
        .segment = scan->first,
        .offset = scan->walk.offset,
        .sequence = scan->walk.sequence,
        .lost = scan->next - scan->walk.sequence,
        .what = "numbers are missing before the next segment",
    };
    tell(scan, &finding);
    return ERR_OK;
}

/* Open the .msg; a damaged head is a finding and no hindrance. */
static enum err open_segment(struct scan *scan, int *out_fd)
{
    enum err err = segment_open(scan->options->directory, scan->first, false,
                                out_fd, &scan->size);
    if (err != ERR_CORRUPT) {
        return err;
    }
    char path[DIR_PATH_MAX];
    err = segment_path(path, scan->options->directory, scan->first, false);
    if (err == ERR_OK) {
        err = file_open(path, FILE_READ, out_fd);
    }
    if (err == ERR_OK) {
        err = file_size(*out_fd, &scan->size);
    }
    if (err == ERR_OK && !(scan->options->running && is_last(scan))) {
        bool torn = is_last(scan) && scan->size < SEGMENT_HEAD_SIZE;
        const struct topic_finding finding = {
            .kind = torn ? TOPIC_FINDING_TAIL : TOPIC_FINDING_HEAD,
            .file = scan->name,
            .segment = scan->first,
            .size = SEGMENT_HEAD_SIZE,
            .sequence = scan->first,
            .what = "its head is damaged",
        };
        tell(scan, &finding);
    }
    return err;
}

static enum err scan_segment(struct scan *scan)
{
    int fd = -1;
    segment_name(scan->name, scan->first, false);
    segment_name(scan->index_name, scan->first, true);
    scan->due_at = SEGMENT_HEAD_SIZE;
    scan->index_unchecked = scan->options->running && is_last(scan);
    enum err err = open_segment(scan, &fd);
    if (err == ERR_NOT_FOUND && scan->options->running) {
        return ERR_OK; /* retention took it */
    }
    if (err == ERR_OK) {
        err = load_entries(scan);
    }
    if (err == ERR_OK) {
        segment_walk_init(&scan->walk, fd, SEGMENT_HEAD_SIZE, scan->size,
                          scan->first);
        err = walk_records(scan);
        segment_walk_fini(&scan->walk);
    }
    free(scan->entries);
    file_close(fd);
    if (!scan->refused) {
        say_unreadable(scan->options->directory, scan->name, err);
    }
    return err;
}

/* --- cmd and dlv ---------------------------------------------------------- */

static void tell_state(const struct scan *scan,
                       const char *file,
                       uint64_t offset,
                       const char *what)
{
    const struct topic_finding finding = {
        .kind = TOPIC_FINDING_STATE,
        .file = file,
        .offset = offset,
        .what = what,
    };
    tell(scan, &finding);
}

/* Say which slots are damaged. One is what a crash, or a server at work, may
 * leave; both leave nothing to believe. */
static void check_slots(const struct scan *scan,
                        const char *file,
                        const struct topic_state_slots *slots)
{
    uint32_t damaged = 0;
    for (uint32_t i = 0; i < TOPIC_STATE_SLOTS; i++) {
        damaged += slots->damaged[i] ? 1 : 0;
    }
    for (uint32_t i = 0; i < TOPIC_STATE_SLOTS; i++) {
        if (slots->damaged[i] &&
            (!scan->options->running || damaged == TOPIC_STATE_SLOTS)) {
            tell_state(scan, file, (uint64_t)i * TOPIC_STATE_SLOT_SIZE,
                       "a slot is damaged");
        }
    }
}

/* Read a `dlv`, and compare it with what the topic's `cmd` says; `file` is its
 * name in the topic's folder. */
static enum err check_dlv(const struct scan *scan,
                          const char *directory,
                          const char *file,
                          const struct topic_state_cmd *cmd)
{
    const struct topic_state_key key = {
        .directory = directory,
        .checkpoint = UINT64_MAX, /* the newest, whether believed or not */
    };
    struct topic_state_slots slots = {0};
    struct topic_cursor cursor;
    enum err err = topic_state_load_dlv(&key, &slots, &cursor);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        say_unreadable(directory, "dlv", err);
        return err;
    }
    check_slots(scan, file, &slots);
    if (err == ERR_OK && cmd != NULL && cursor.next > cmd->end) {
        tell_state(scan, file, 0, "it is past the end that cmd says");
    }
    return ERR_OK;
}

/* Compare what `cmd` and `dlv` say with each other and with the segments. */
static enum err check_state(struct scan *scan)
{
    const struct topic_state_key key = {
        .directory = scan->options->directory,
        .checkpoint = UINT64_MAX,
    };
    struct topic_state_slots slots = {0};
    struct topic_state_cmd *cmd = &scan->cmd;
    enum err err = topic_state_load_cmd(&key, &slots, cmd);
    scan->has_cmd = err == ERR_OK;
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        say_unreadable(scan->options->directory, "cmd", err);
        return err;
    }
    check_slots(scan, "cmd", &slots);
    err = check_dlv(scan, scan->options->directory, "dlv",
                    scan->has_cmd ? cmd : NULL);
    if (err != ERR_OK || !scan->has_cmd) {
        return err;
    }
    scan->sum->cmd_end = cmd->end;
    if (cmd->open_size != 0 && cmd->open_first >= cmd->oldest &&
        cmd->open_first < cmd->end && scan->sum->end < cmd->end) {
        tell_state(scan, "cmd", 0, "segments end before what it says");
    }
    return ERR_OK;
}

/* --- views ---------------------------------------------------------------- */

/* Check the topic.conf of a view. One that is not there yet is what a crash, or
 * a server at work, leaves. */
static enum err check_view_conf(const struct scan *scan,
                                const char *directory,
                                const char *name)
{
    char file[sizeof(TOPIC_CONF_VIEWS) + TOPIC_CONF_NAME_MAX + 16];
    char *memory = NULL;
    struct topic_conf conf = {0};
    enum err err = topic_conf_load(directory, &memory, &conf);
    free(memory);
    (void)snprintf(file, sizeof(file), "%s/%.*s/topic.conf", TOPIC_CONF_VIEWS,
                   TOPIC_CONF_NAME_MAX, name);
    if (err == ERR_CORRUPT) {
        tell_state(scan, file, 0, "it is damaged");
    } else if (err == ERR_UNSUPPORTED) {
        tell_state(scan, file, 0, "it is of a later version");
    } else if (err == ERR_OK && scan->id != 0 && conf.parent != scan->id) {
        tell_state(scan, file, 0, "it is a view of another topic");
    } else if (err != ERR_OK && err != ERR_NOT_FOUND) {
        return err;
    }
    return ERR_OK;
}

static enum err visit_view(void *context, const char *name, bool is_directory)
{
    const struct scan *scan = context;
    char path[DIR_PATH_MAX];
    char file[sizeof(TOPIC_CONF_VIEWS) + TOPIC_CONF_NAME_MAX + 16];
    if (!is_directory) {
        return ERR_OK; /* none of ours */
    }
    enum err err = topic_conf_view_path(path, scan->options->directory, name);
    if (err == ERR_OK) {
        err = check_view_conf(scan, path, name);
    }
    (void)snprintf(file, sizeof(file), "%s/%.*s/dlv", TOPIC_CONF_VIEWS,
                   TOPIC_CONF_NAME_MAX, name);
    return err == ERR_OK
               ? check_dlv(scan, path, file, scan->has_cmd ? &scan->cmd : NULL)
               : err;
}

static enum err check_views(struct scan *scan)
{
    const char *directory = scan->options->directory;
    char path[DIR_PATH_MAX];
    char *memory = NULL;
    struct topic_conf conf;
    enum err err = topic_conf_load(directory, &memory, &conf);
    scan->id = err == ERR_OK ? conf.id : 0;
    free(memory);
    if (err == ERR_CORRUPT) {
        tell_state(scan, "topic.conf", 0, "it is damaged");
    }
    if (err != ERR_OK && err != ERR_NOT_FOUND && err != ERR_CORRUPT &&
        err != ERR_UNSUPPORTED) {
        say_unreadable(directory, "topic.conf", err);
        return err;
    }
    err = dir_join(path, directory, TOPIC_CONF_VIEWS);
    if (err == ERR_OK) {
        err = dir_each(path, visit_view, scan);
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* --- walk ----------------------------------------------------------------- */

enum err topic_inspect_walk(const struct topic_inspect_options *options,
                            const struct topic_inspect_visit *visit,
                            struct topic_inspect_sum *out_sum)
{
    struct topic_folder folder;
    enum err err = topic_folder_list(options->directory, &folder);
    if (err != ERR_OK) {
        return err;
    }
    struct topic_gaps gaps = {0};
    err = topic_gaps_load(options->directory, &gaps);
    if (err == ERR_CORRUPT || err == ERR_UNSUPPORTED) {
        err = ERR_OK; /* then the gaps are told */
    }
    struct topic_inspect_sum sum = {0};
    if (folder.count > 0) {
        sum.oldest = folder.firsts[0];
        sum.end = folder.firsts[folder.count - 1];
    }
    for (size_t i = 0; i < folder.count && err == ERR_OK; i++) {
        struct scan scan = {
            .options = options,
            .visit = visit,
            .sum = &sum,
            .gaps = &gaps,
            .first = folder.firsts[i],
            .next = i + 1 < folder.count ? folder.firsts[i + 1] : UINT64_MAX,
        };
        if (scan.next > options->first) {
            err = scan_segment(&scan);
        }
    }
    topic_folder_fini(&folder);
    topic_gaps_fini(&gaps);
    if (err == ERR_OK) {
        struct scan scan = {.options = options, .visit = visit, .sum = &sum};
        err = check_state(&scan);
        if (err == ERR_OK) {
            err = check_views(&scan);
        }
    }
    if (err == ERR_OK) {
        *out_sum = sum;
    }
    return err;
}

/* --- mend ----------------------------------------------------------------- */

enum err topic_inspect_mend_index(const char *directory, uint64_t segment)
{
    char path[DIR_PATH_MAX];
    enum err err = segment_path(path, directory, segment, false);
    if (err != ERR_OK) {
        return err;
    }
    struct index_segment about = {.directory = directory, .first = segment};
    err = file_open(path, FILE_READ, &about.fd);
    if (err != ERR_OK) {
        return err;
    }
    struct index_content content = {0};
    err = file_size(about.fd, &about.size);
    if (err == ERR_OK) {
        err = index_build(&about, &content);
    }
    if (err == ERR_OK) {
        err = index_store(&about, &content);
    }
    index_content_fini(&content);
    file_close(about.fd);
    return err;
}

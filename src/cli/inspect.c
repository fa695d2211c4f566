/* Looking through a data directory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/inspect.h"

#include "base/check.h"
#include "base/diag.h"
#include "log/acked_file.h"
#include "log/checkpoint.h"
#include "log/journal.h"
#include "log/meta.h"
#include "log/segment.h"
#include "log/topic_conf.h"
#include "log/topic_inspect.h"
#include "log/topic_state.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JOURNAL_BATCH_SIZE = 1 << 20 }; /* not used: nothing is written */

struct inspect_topic {
    uint64_t id; /* 0: not known */
    char name[TOPIC_CONF_NAME_MAX + 1];
};

struct inspect {
    char *directory; /* owned */
    int lock;        /* owned; -1: none */
    bool running;    /* a server may have the directory */
    struct meta meta;
    struct inspect_topic *topics; /* owned; by name, then as they come */
    size_t topic_count;
    size_t topic_capacity;
};

/* --- topics --------------------------------------------------------------- */

static enum err add_topic(struct inspect *inspect, struct str name, uint64_t id)
{
    if (name.size > TOPIC_CONF_NAME_MAX) {
        return ERR_OK; /* no topic's folder */
    }
    if (inspect->topic_count == inspect->topic_capacity) {
        size_t capacity = inspect->topic_capacity * 2 + 64;
        struct inspect_topic *topics =
            realloc(inspect->topics, capacity * sizeof(*topics));
        if (topics == NULL) {
            return ERR_NOMEM;
        }
        inspect->topics = topics;
        inspect->topic_capacity = capacity;
    }
    struct inspect_topic *topic = &inspect->topics[inspect->topic_count];
    *topic = (struct inspect_topic){.id = id};
    memcpy(topic->name, name.data, name.size);
    inspect->topic_count++;
    return ERR_OK;
}

static enum err topic_path(const struct inspect *inspect,
                           const char *topic,
                           char path[DIR_PATH_MAX])
{
    char topics[DIR_PATH_MAX];
    enum err err = dir_join(topics, inspect->directory, "topics");

    return err == ERR_OK ? dir_join(path, topics, topic) : err;
}

static enum err visit_topic(void *context, const char *name, bool is_directory)
{
    struct inspect *inspect = context;
    char path[DIR_PATH_MAX];
    char *memory = NULL;
    struct topic_conf conf = {0};

    if (!is_directory) {
        return ERR_OK;
    }
    enum err err = topic_path(inspect, name, path);
    if (err != ERR_OK) {
        return err;
    }
    if (topic_conf_load(path, &memory, &conf) != ERR_OK) {
        conf.id = topic_conf_guess_id(path);
    }
    free(memory);
    return add_topic(inspect, str_from(name), conf.id);
}

static int compare_names(const void *left, const void *right)
{
    const struct inspect_topic *left_topic = left;
    const struct inspect_topic *right_topic = right;

    return strcmp(left_topic->name, right_topic->name);
}

static enum err list_topics(struct inspect *inspect)
{
    char path[DIR_PATH_MAX];
    enum err err = dir_join(path, inspect->directory, "topics");

    if (err == ERR_OK) {
        err = dir_each(path, visit_topic, inspect);
    }
    if (err == ERR_NOT_FOUND) {
        return ERR_OK; /* none yet */
    }
    if (err == ERR_OK && inspect->topic_count > 0) {
        qsort(inspect->topics, inspect->topic_count, sizeof(inspect->topics[0]),
              compare_names);
    }
    return err;
}

/* --- life ----------------------------------------------------------------- */

static enum err take_lock(struct inspect *inspect)
{
    char path[DIR_PATH_MAX];
    enum err err = dir_join(path, inspect->directory, "opq.lock");

    return err == ERR_OK ? dir_lock(path, &inspect->lock) : err;
}

static enum err open_directory(const char *directory,
                               bool running,
                               bool locked,
                               struct inspect **out)
{
    struct inspect *inspect = calloc(1, sizeof(*inspect));
    enum err err = ERR_NOMEM;

    if (inspect == NULL) {
        return ERR_NOMEM;
    }
    inspect->lock = -1;
    inspect->running = running;
    inspect->directory = strdup(directory);
    if (inspect->directory != NULL) {
        err = meta_load(directory, &inspect->meta);
    }
    if (err == ERR_OK && locked) {
        err = take_lock(inspect);
    }
    if (err == ERR_OK) {
        err = list_topics(inspect);
    }
    if (err != ERR_OK) {
        inspect_close(inspect);
        return err;
    }
    *out = inspect;
    return ERR_OK;
}

enum err inspect_open(const char *directory, struct inspect **out)
{
    return open_directory(directory, false, true, out);
}

enum err inspect_look(const char *directory, struct inspect **out)
{
    return open_directory(directory, true, false, out);
}

enum err inspect_held(const char *directory, struct inspect **out)
{
    return open_directory(directory, false, false, out);
}

bool inspect_in_use(const char *directory)
{
    char path[DIR_PATH_MAX];

    return dir_join(path, directory, "opq.lock") == ERR_OK && dir_locked(path);
}

void inspect_close(struct inspect *inspect)
{
    if (inspect == NULL) {
        return;
    }
    dir_unlock(inspect->lock);
    free(inspect->topics);
    free(inspect->directory);
    free(inspect);
}

/* --- segments ------------------------------------------------------------- */

/* One topic's folder, being walked. */
struct topic_scan {
    const struct inspect_visit *visit;
    const char *topic;
    const char *directory;
};

static enum err topic_record(void *context, uint64_t sequence, struct str bytes)
{
    const struct topic_scan *scan = context;

    if (scan->visit->record == NULL) {
        return ERR_OK;
    }
    return scan->visit->record(scan->visit->context, scan->topic, sequence,
                               bytes, false);
}

static void topic_finding(void *context, const struct topic_finding *finding)
{
    const struct topic_scan *scan = context;
    char path[DIR_PATH_MAX];
    if (scan->visit->damage == NULL) {
        return;
    }
    enum err err = dir_join(path, scan->directory, finding->file);
    const struct inspect_damage damage = {
        .topic = scan->topic,
        .path = err == ERR_OK ? path : finding->file,
        .kind = finding->kind,
        .offset = finding->offset,
        .size = finding->size,
        .sequence = finding->sequence,
        .lost = finding->lost,
        .what = finding->what,
    };

    scan->visit->damage(scan->visit->context, &damage);
}

static enum err scan_topic(const struct inspect *inspect,
                           const char *topic,
                           const struct inspect_visit *visit)
{
    char path[DIR_PATH_MAX];
    struct topic_inspect_sum sum;
    struct topic_scan scan = {
        .visit = visit, .topic = topic, .directory = path};
    const struct topic_inspect_options options = {.directory = path,
                                                  .running = inspect->running};
    const struct topic_inspect_visit topic_visit = {
        .record = topic_record, .finding = topic_finding, .context = &scan};

    enum err err = topic_path(inspect, topic, path);
    return err == ERR_OK ? topic_inspect_walk(&options, &topic_visit, &sum)
                         : err;
}

static void
tell_trim(const struct inspect_visit *visit, const char *topic, uint64_t oldest)
{
    if (visit->trim != NULL && oldest > 0) {
        visit->trim(visit->context, topic, oldest);
    }
}

/* Read what a topic's `cmd` says. False: nothing. */
static bool load_cmd(const struct inspect *inspect,
                     const char *topic,
                     struct topic_state_cmd *out)
{
    char path[DIR_PATH_MAX];
    struct topic_state_slots slots;
    const struct topic_state_key key = {.directory = path,
                                        .checkpoint = UINT64_MAX};

    return topic_path(inspect, topic, path) == ERR_OK &&
           topic_state_load_cmd(&key, &slots, out) == ERR_OK;
}

static bool has_retention(const struct inspect *inspect, const char *topic)
{
    char path[DIR_PATH_MAX];
    char *memory = NULL;
    struct topic_conf conf = {0};

    bool retains = topic_path(inspect, topic, path) == ERR_OK &&
                   topic_conf_load(path, &memory, &conf) == ERR_OK &&
                   topic_conf_retains(&conf);
    free(memory);
    return retains;
}

/* Walk over one topic's folder, and tell what `cmd` says besides. */
static enum err visit_segments(const struct inspect *inspect,
                               const char *topic,
                               const struct inspect_visit *visit)
{
    struct topic_state_cmd cmd = {.oldest = 0};
    bool has_cmd = load_cmd(inspect, topic, &cmd);

    if (visit->topic != NULL) {
        visit->topic(visit->context, topic);
    }
    if (has_cmd && visit->given != NULL) {
        visit->given(visit->context, topic,
                     has_retention(inspect, topic) ? UINT64_MAX : cmd.oldest,
                     cmd.end);
    }
    enum err err = scan_topic(inspect, topic, visit);
    tell_trim(visit, topic, cmd.oldest);
    return err;
}

enum err inspect_segments(struct inspect *inspect,
                          const char *topic,
                          const struct inspect_visit *visit)
{
    bool found = topic == NULL;
    enum err err = ERR_OK;

    for (size_t index = 0; err == ERR_OK && index < inspect->topic_count;
         index++) {
        const char *name = inspect->topics[index].name;
        if (topic == NULL || strcmp(topic, name) == 0) {
            found = true;
            err = visit_segments(inspect, name, visit);
        }
    }
    return found || err != ERR_OK ? err : ERR_NOT_FOUND;
}

/* --- journals ------------------------------------------------------------- */

struct journal_scan {
    struct inspect *inspect;
    const struct inspect_visit *visit;
    const char *path; /* of the journal's folder */
};

/* The name of a topic by its id; NULL when it is not known. */
static const char *name_of(const struct inspect *inspect, uint64_t id)
{
    /* The newest first: those in the journal were added behind. */
    for (size_t index = inspect->topic_count; index > 0; index--) {
        if (inspect->topics[index - 1].id == id) {
            return inspect->topics[index - 1].name;
        }
    }
    return NULL;
}

static enum err journal_entry(void *context,
                              enum journal_type type,
                              uint64_t topic_id,
                              struct str body)
{
    struct journal_scan *scan = context;
    struct segment_record record;
    struct topic_conf conf;

    if (scan->visit->entry != NULL) {
        enum err err =
            scan->visit->entry(scan->visit->context, type, topic_id, body);
        if (err != ERR_OK) {
            return err;
        }
    }
    if (type == JOURNAL_TOPIC) {
        enum err err = topic_conf_body_read(body, &conf);
        return err == ERR_OK && name_of(scan->inspect, topic_id) == NULL
                   ? add_topic(scan->inspect, conf.name, topic_id)
                   : err;
    }
    const char *name = name_of(scan->inspect, topic_id);
    if (name != NULL && type == JOURNAL_TRIM) {
        struct reader reader = reader_of(body);
        uint64_t oldest = reader_u64(&reader);
        tell_trim(scan->visit, name, reader.failed ? 0 : oldest);
    }
    if (name != NULL && type == JOURNAL_DELETE &&
        scan->visit->deleted != NULL) {
        scan->visit->deleted(scan->visit->context, name);
    }
    if (type != JOURNAL_RECORD || name == NULL || scan->visit->record == NULL) {
        return ERR_OK; /* of a topic that was deleted since */
    }
    enum err err = segment_record_head(body, &record);
    if (err != ERR_OK || record.size > body.size) {
        return ERR_CORRUPT;
    }
    return scan->visit->record(scan->visit->context, name, record.sequence,
                               str_cut(body, 0, record.size), true);
}

static void journal_damaged(void *context,
                            uint64_t topic_id,
                            struct journal_place place,
                            uint64_t size)
{
    struct journal_scan *scan = context;
    if (scan->inspect->running || scan->visit->damage == NULL) {
        return; /* a file that was used again meanwhile is no damage */
    }
    const struct inspect_damage damage = {
        .topic = name_of(scan->inspect, topic_id),
        .path = scan->path,
        .kind = TOPIC_FINDING_RECORD,
        .offset = place.offset,
        .size = size,
        .what = "no whole entry",
    };

    scan->visit->damage(scan->visit->context, &damage);
}

static void journal_progress(void *context, uint64_t done, uint64_t all)
{
    (void)context;
    (void)done;
    (void)all;
}

static enum err pass_over(void *context, const char *name, bool is_directory)
{
    (void)context;
    (void)name;
    (void)is_directory;
    return ERR_OK;
}

static enum err scan_journal(struct journal_scan *scan)
{
    struct checkpoint checkpoint = {0};
    struct journal *journal = NULL;
    const struct journal_options options = {
        .directory = scan->path,
        .file_size = JOURNAL_BATCH_ALIGN,
        .files_max = JOURNAL_FILES_MAX,
        .batch_size_max = JOURNAL_BATCH_SIZE,
    };
    const struct journal_replay replay = {
        .entry = journal_entry,
        .damaged = journal_damaged,
        .progress = journal_progress,
        .context = scan,
    };

    /* A folder is made when its shard first starts: after another number of
     * shards was set, there may be none. */
    enum err err = dir_each(scan->path, pass_over, NULL);
    if (err == ERR_OK) {
        err = checkpoint_load(scan->path, &checkpoint);
    }
    if (err == ERR_IO) {
        DIAG_ERROR("unreadable", "path=%s/checkpoint", scan->path);
    }
    if (err != ERR_OK || (checkpoint.number != 0 &&
                          checkpoint.number < scan->inspect->meta.base)) {
        return err; /* void: what it had is in the segments */
    }
    const struct journal_place from = {.generation = checkpoint.generation,
                                       .offset = checkpoint.offset};
    err = journal_open(&options, from, &replay, &journal);
    if (err == ERR_OK) {
        journal_close(journal);
    }
    return err;
}

enum err inspect_journals(struct inspect *inspect,
                          const struct inspect_visit *visit)
{
    char journals[DIR_PATH_MAX];
    char path[DIR_PATH_MAX];
    char number[16];
    struct journal_scan scan = {
        .inspect = inspect, .visit = visit, .path = path};
    enum err err = dir_join(journals, inspect->directory, "journal");

    for (uint32_t shard = 0; err == ERR_OK && shard < inspect->meta.shard_count;
         shard++) {
        (void)snprintf(number, sizeof(number), "%u", (unsigned)shard);
        err = dir_join(path, journals, number);
        if (err == ERR_OK) {
            err = scan_journal(&scan);
        }
        err = err == ERR_NOT_FOUND ? ERR_OK : err; /* none was made yet */
    }
    return err;
}

/* --- above cursors -------------------------------------------------------- */

struct acked_scan {
    const struct inspect *inspect;
    const struct inspect_visit *visit;
};

static enum err visit_acked(void *context, const char *name, bool is_directory)
{
    const struct acked_scan *scan = context;
    struct acked_file_damage found = {0};
    char path[DIR_PATH_MAX];
    char owner[TOPIC_CONF_NAME_MAX + 1];
    struct str topic;
    uint64_t id = 0;

    if (is_directory || !acked_file_parse(name, &topic, &id) ||
        topic.size > TOPIC_CONF_NAME_MAX) {
        return ERR_OK;
    }
    enum err err = acked_file_path(path, scan->inspect->directory, topic, id);
    if (err == ERR_OK) {
        err = acked_file_check(path, id, &found);
    }
    if (err != ERR_OK || found.pages == 0 || scan->visit->damage == NULL) {
        return err == ERR_NOT_FOUND ? ERR_OK : err; /* it went meanwhile */
    }
    memcpy(owner, topic.data, topic.size);
    owner[topic.size] = '\0';
    const struct inspect_damage damage = {
        .topic = owner,
        .path = path,
        .kind = TOPIC_FINDING_STATE,
        .offset = found.offset,
        .size = (uint64_t)found.pages * ACKED_PAGE_SIZE,
        .what = "a page of what is done above a cursor is not whole: "
                "delivered again",
    };
    scan->visit->damage(scan->visit->context, &damage);
    return ERR_OK;
}

enum err inspect_acked(const struct inspect *inspect,
                       const struct inspect_visit *visit)
{
    char path[DIR_PATH_MAX];
    struct acked_scan scan = {.inspect = inspect, .visit = visit};
    enum err err = acked_file_folder(path, inspect->directory);

    if (err == ERR_OK) {
        err = dir_each(path, visit_acked, &scan);
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err; /* none was made yet */
}

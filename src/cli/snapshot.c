/* A data directory as a whole.
 *
 * In this order, so that a server at work takes nothing away: the numbers of
 * the checkpoints, the folders with topic.conf, `cmd` and `dlv`, the journals,
 * the pages of cursors. The segments come last, when they are asked for.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/snapshot.h"

#include "base/buf.h"
#include "base/diag.h"
#include "cli/inspect.h"
#include "log/checkpoint.h"
#include "log/cursor_page.h"
#include "log/meta.h"
#include "log/range_page.h"
#include "log/segment.h"
#include "log/topic_state.h"
#include "store/store_local.h"
#include "sys/clock.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct snapshot {
    struct snapshot_options options;
    struct meta meta;
    uint64_t *checkpoints;         /* owned; of each shard */
    struct snapshot_topic *topics; /* owned */
    size_t count;
    size_t capacity;
    /* Places of topics by id: ids are random, so their low bits are a hash.
     * Not kept up once the topics are in order. */
    uint32_t *table;   /* owned; place + 1; 0: empty */
    size_t table_size; /* a power of two, at least twice `count` */
    struct snapshot_spool spool;
    uint64_t entries;
    uint64_t bytes;
};

/* --- topics --------------------------------------------------------------- */

/* Where an id is in the table, or would be. */
static size_t find_slot(const struct snapshot *snapshot, uint64_t id)
{
    size_t slot = (size_t)id & (snapshot->table_size - 1);

    while (snapshot->table[slot] != 0 &&
           snapshot->topics[snapshot->table[slot] - 1].id != id) {
        slot = (slot + 1) & (snapshot->table_size - 1);
    }
    return slot;
}

/* Make room for another topic, in the list and in the table. */
static bool make_room(struct snapshot *snapshot)
{
    if (snapshot->count < snapshot->capacity) {
        return true;
    }
    size_t capacity = snapshot->capacity * 2 + 64;
    size_t table_size = 256;
    while (table_size < capacity * 2) {
        table_size *= 2;
    }
    struct snapshot_topic *topics = calloc(capacity, sizeof(*topics));
    uint32_t *table = calloc(table_size, sizeof(*table));
    if (topics == NULL || table == NULL) {
        free(topics);
        free(table);
        return false;
    }
    if (snapshot->topics != NULL) {
        memcpy(topics, snapshot->topics, snapshot->count * sizeof(*topics));
    }
    free(snapshot->topics);
    free(snapshot->table);
    snapshot->topics = topics;
    snapshot->table = table;
    snapshot->table_size = table_size;
    snapshot->capacity = capacity;
    for (size_t index = 0; index < snapshot->count; index++) {
        table[find_slot(snapshot, topics[index].id)] = (uint32_t)index + 1;
    }
    return true;
}

static struct snapshot_topic *
add_topic(struct snapshot *snapshot, struct str name, uint64_t id)
{
    if (!make_room(snapshot) || snapshot->topics == NULL) {
        return NULL;
    }
    struct snapshot_topic *topic = &snapshot->topics[snapshot->count];
    *topic = (struct snapshot_topic){.id = id};
    topic->name = strndup(name.data, name.size);
    if (topic->name == NULL) {
        return NULL;
    }
    topic->conf.id = id;
    snapshot->count++;
    snapshot->table[find_slot(snapshot, id)] = (uint32_t)snapshot->count;
    return topic;
}

/* The newest of an id; NULL when there is none. */
static struct snapshot_topic *find_id(const struct snapshot *snapshot,
                                      uint64_t id)
{
    if (snapshot->count == 0) {
        return NULL;
    }
    uint32_t place = snapshot->table[find_slot(snapshot, id)];
    return place == 0 ? NULL : &snapshot->topics[place - 1];
}

/* Take what a topic.conf, or an entry, says. */
static enum err take_conf(struct snapshot_topic *topic,
                          const struct topic_conf *conf)
{
    char *settings = malloc(conf->settings.size + 1);

    if (settings == NULL) {
        return ERR_NOMEM;
    }
    if (conf->settings.size > 0) {
        memcpy(settings, conf->settings.data, conf->settings.size);
    }
    free((char *)topic->settings_memory.data);
    topic->settings_memory = (struct str){settings, conf->settings.size};
    topic->conf = *conf;
    topic->conf.id = topic->id;
    topic->conf.name = str_from(topic->name);
    topic->conf.settings = topic->settings_memory;
    return ERR_OK;
}

static enum err take_cursor(struct snapshot_topic *topic,
                            const struct topic_cursor *cursor)
{
    if (topic->cursor != NULL) {
        (void)topic_cursor_merge(topic->cursor, cursor);
        return ERR_OK;
    }
    topic->cursor = malloc(sizeof(*topic->cursor));
    if (topic->cursor == NULL) {
        return ERR_NOMEM;
    }
    *topic->cursor = *cursor;
    return ERR_OK;
}

/* --- folders -------------------------------------------------------------- */

/* What `dlv` and `cmd` of a folder say. */
static enum err load_state(struct snapshot *snapshot,
                           const char *path,
                           const char *topic_name,
                           struct snapshot_topic *topic)
{
    struct topic_state_slots slots = {0};
    struct topic_state_cmd cmd;
    struct topic_cursor *cursor = malloc(sizeof(*cursor));
    const struct topic_state_key key = {
        .directory = path,
        .topic_id = topic->id,
        .checkpoint = snapshot->options.running
                          ? UINT64_MAX
                          : snapshot_checkpoint(snapshot, topic_name),
    };

    if (cursor == NULL) {
        return ERR_NOMEM;
    }
    enum err err = topic_state_load_dlv(&key, &slots, cursor);
    if (err == ERR_OK) {
        err = take_cursor(topic, cursor);
    }
    free(cursor);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        return err;
    }
    err = topic_state_load_cmd(&key, &slots, &cmd);
    if (err == ERR_OK) {
        topic->oldest = cmd.oldest;
        topic->cmd_end = cmd.end;
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* A folder of a topic, or of a view: what it says of itself. */
static enum err load_folder(struct snapshot *snapshot,
                            const char *path,
                            const char *name,
                            const char *topic_name)
{
    struct topic_conf conf = {0};
    char *memory = NULL;

    if (topic_conf_load(path, &memory, &conf) != ERR_OK) {
        conf = (struct topic_conf){.id = topic_conf_guess_id(path)};
    }
    struct snapshot_topic *topic = add_topic(snapshot, str_from(name), conf.id);
    enum err err = topic == NULL ? ERR_NOMEM : take_conf(topic, &conf);
    free(memory);
    if (err == ERR_OK) {
        topic->in_folder = true;
        err = load_state(snapshot, path, topic_name, topic);
    }
    if (err == ERR_IO) {
        DIAG_ERROR("unreadable", "path=%s", path);
    }
    return err;
}

/* A folder being listed. */
struct listing {
    struct snapshot *snapshot;
    const char *path;  /* of the folder that is listed */
    const char *topic; /* of views: their topic's name */
    uint64_t parent;   /* and its id */
};

static enum err visit_view(void *context, const char *name, bool is_directory)
{
    const struct listing *listing = context;
    struct snapshot *snapshot = listing->snapshot;
    char path[DIR_PATH_MAX];

    if (!is_directory || strlen(name) > TOPIC_CONF_NAME_MAX) {
        return ERR_OK;
    }
    enum err err = dir_join(path, listing->path, name);
    if (err == ERR_OK) {
        err = load_folder(snapshot, path, name, listing->topic);
    }
    if (err == ERR_OK) {
        struct snapshot_topic *view = &snapshot->topics[snapshot->count - 1];
        if (view->conf.parent == 0) {
            view->conf.parent = listing->parent; /* its own is lost */
        }
    }
    return err;
}

static enum err add_bytes(void *context, const char *name, bool is_directory)
{
    const struct listing *listing = context;
    char path[DIR_PATH_MAX];
    uint64_t first = 0;
    uint64_t size = 0;
    int fd = -1;

    if (is_directory || !segment_name_parse(name, false, &first) ||
        dir_join(path, listing->path, name) != ERR_OK ||
        file_open(path, FILE_READ, &fd) != ERR_OK) {
        return ERR_OK;
    }
    if (file_size(fd, &size) == ERR_OK) {
        listing->snapshot->bytes += size;
    }
    file_close(fd);
    return ERR_OK;
}

static enum err visit_topic(void *context, const char *name, bool is_directory)
{
    const struct listing *topics = context;
    struct snapshot *snapshot = topics->snapshot;
    char path[DIR_PATH_MAX];
    char views[DIR_PATH_MAX];

    if (!is_directory || strlen(name) > TOPIC_CONF_NAME_MAX) {
        return ERR_OK;
    }
    enum err err = dir_join(path, topics->path, name);
    if (err == ERR_OK) {
        err = load_folder(snapshot, path, name, name);
    }
    if (err == ERR_OK) {
        err = dir_join(views, path, TOPIC_CONF_VIEWS);
    }
    if (err != ERR_OK) {
        return err;
    }
    struct listing listing = {
        .snapshot = snapshot,
        .path = views,
        .topic = name,
        .parent = snapshot->topics[snapshot->count - 1].id,
    };
    err = dir_each(views, visit_view, &listing);
    if (err == ERR_OK || err == ERR_NOT_FOUND) {
        listing.path = path;
        err = dir_each(path, add_bytes, &listing);
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err; /* it went meanwhile */
}

static enum err list_topics(struct snapshot *snapshot)
{
    char path[DIR_PATH_MAX];
    struct listing listing = {.snapshot = snapshot, .path = path};
    enum err err = dir_join(path, snapshot->options.directory, "topics");

    if (err == ERR_OK) {
        err = dir_each(path, visit_topic, &listing);
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* --- journals ------------------------------------------------------------- */

static enum err
entry_topic(struct snapshot *snapshot, uint64_t topic_id, struct str body)
{
    struct topic_conf conf;
    struct snapshot_topic *topic = find_id(snapshot, topic_id);

    if (topic_conf_body_read(body, &conf) != ERR_OK) {
        return ERR_OK;
    }
    if (topic == NULL) {
        topic = add_topic(snapshot, conf.name, topic_id);
        if (topic == NULL) {
            return ERR_NOMEM;
        }
        const struct topic_cursor start = {.next = conf.start};
        if (conf.parent != 0 && take_cursor(topic, &start) != ERR_OK) {
            return ERR_NOMEM;
        }
    }
    return take_conf(topic, &conf);
}

static enum err
entry_record(struct snapshot *snapshot, uint64_t topic_id, struct str body)
{
    struct segment_record record;

    if (snapshot->options.bare ||
        segment_record_head(body, &record) != ERR_OK ||
        record.size > body.size) {
        return ERR_OK;
    }
    return snapshot_spool_put(&snapshot->spool, topic_id, record.sequence,
                              str_cut(body, 0, record.size));
}

static void entry_delete(struct snapshot *snapshot,
                         struct snapshot_topic *topic,
                         struct str body)
{
    struct reader reader = reader_of(body);

    topic->deleted = true;
    while (reader_left(&reader) >= 8) {
        struct snapshot_topic *view = find_id(snapshot, reader_u64(&reader));
        if (view != NULL) {
            view->deleted = true;
        }
    }
}

static enum err entry_cursor(struct snapshot_topic *topic, struct str body)
{
    size_t size = 0;
    struct topic_cursor *cursor = malloc(sizeof(*cursor));
    enum err err = cursor == NULL ? ERR_NOMEM : ERR_OK;

    if (err == ERR_OK && topic_cursor_read(body, cursor, &size)) {
        err = take_cursor(topic, cursor);
    }
    free(cursor);
    return err;
}

static enum err take_entry(void *context,
                           enum journal_type type,
                           uint64_t topic_id,
                           struct str body)
{
    struct snapshot *snapshot = context;

    snapshot->entries++;
    if (topic_id == 0) {
        return ERR_OK;
    }
    if (type == JOURNAL_TOPIC) {
        return entry_topic(snapshot, topic_id, body);
    }
    if (type == JOURNAL_RECORD) {
        return entry_record(snapshot, topic_id, body);
    }
    struct snapshot_topic *topic = find_id(snapshot, topic_id);
    if (topic == NULL) {
        return ERR_OK;
    }
    if (type == JOURNAL_CURSOR) {
        return entry_cursor(topic, body);
    }
    if (type == JOURNAL_TRIM) {
        struct reader reader = reader_of(body);
        uint64_t oldest = reader_u64(&reader);
        topic->oldest =
            !reader.failed && oldest > topic->oldest ? oldest : topic->oldest;
    }
    if (type == JOURNAL_DELETE) {
        entry_delete(snapshot, topic, body);
    }
    return ERR_OK;
}

static enum err scan_journals(struct snapshot *snapshot)
{
    struct inspect *inspect = NULL;
    const struct inspect_visit visit = {.entry = take_entry,
                                        .context = snapshot};

    enum err err = inspect_look(snapshot->options.directory, &inspect);
    if (err == ERR_OK) {
        err = inspect_journals(inspect, &visit);
    }
    inspect_close(inspect);
    return err == ERR_OK ? snapshot_spool_sort(&snapshot->spool) : err;
}

/* Read the journals. Where a server writes, an entry may be read while half of
 * it is there, and the next one whole: what is missing so is there the next
 * time; what is there already is kept once. */
static enum err read_journals(struct snapshot *snapshot)
{
    enum { PASSES_MAX = 10, PAUSE_MS = 10 };

    enum err err = scan_journals(snapshot);
    for (int pass = 1;
         err == ERR_OK && snapshot->options.running &&
         snapshot_spool_has_gap(&snapshot->spool) && pass < PASSES_MAX;
         pass++) {
        clock_sleep_ms(PAUSE_MS);
        err = scan_journals(snapshot);
    }
    return err;
}

/* --- pages ---------------------------------------------------------------- */

static void page_cursor(void *context, const struct cursor_page_entry *entry)
{
    struct snapshot_topic *topic = find_id(context, entry->topic_id);

    if (topic == NULL || topic->cursor == NULL ||
        topic->cursor->epoch != entry->epoch) {
        return; /* of a move that was never committed, or of nobody */
    }
    const struct topic_cursor cursor = {.epoch = entry->epoch,
                                        .next = entry->next,
                                        .attempts = entry->attempts};
    (void)topic_cursor_merge(topic->cursor, &cursor);
}

static void
page_ranges(void *context, uint64_t topic_id, const struct topic_cursor *cursor)
{
    struct snapshot_topic *topic = find_id(context, topic_id);

    if (topic != NULL && topic->cursor != NULL &&
        topic->cursor->epoch == cursor->epoch) {
        (void)topic_cursor_merge(topic->cursor, cursor);
    }
}

/* Topics of which nothing is known but what the pages say begin at epoch 0. */
static enum err begin_cursors(struct snapshot *snapshot)
{
    enum err err = ERR_OK;

    for (size_t index = 0; err == ERR_OK && index < snapshot->count; index++) {
        struct snapshot_topic *topic = &snapshot->topics[index];
        const struct topic_cursor start = {.next = topic->oldest};
        if (topic->cursor == NULL) {
            err = take_cursor(topic, &start);
        }
    }
    return err;
}

static enum err shard_path(const struct snapshot *snapshot,
                           uint32_t shard,
                           char path[DIR_PATH_MAX])
{
    char name[32];

    (void)snprintf(name, sizeof(name), "journal/%u", (unsigned)shard);
    return dir_join(path, snapshot->options.directory, name);
}

static enum err read_pages(struct snapshot *snapshot)
{
    enum err err = begin_cursors(snapshot);

    for (uint32_t shard = 0;
         err == ERR_OK && shard < snapshot->meta.shard_count; shard++) {
        char path[DIR_PATH_MAX];
        err = shard_path(snapshot, shard, path);
        if (err == ERR_OK) {
            err = cursor_page_read(path, page_cursor, snapshot);
        }
        if (err == ERR_OK) {
            err = range_page_read(path, page_ranges, snapshot);
        }
    }
    return err;
}

/* --- order ---------------------------------------------------------------- */

/* Names of topics, each before its views: the key is "topic" or "topic/view",
 * and '/' is below all that names may have but '-' and '.'. */
struct keyed {
    struct snapshot_topic topic;
    const char *parent; /* name of the topic that it is a view of; NULL */
};

static int compare_keyed(const void *left, const void *right)
{
    const struct keyed *a = left;
    const struct keyed *b = right;
    int order = strcmp(a->parent != NULL ? a->parent : a->topic.name,
                       b->parent != NULL ? b->parent : b->topic.name);

    if (order != 0) {
        return order;
    }
    if ((a->parent == NULL) != (b->parent == NULL)) {
        return a->parent == NULL ? -1 : 1;
    }
    return strcmp(a->topic.name, b->topic.name);
}

static enum err sort_topics(struct snapshot *snapshot)
{
    if (snapshot->count == 0) {
        return ERR_OK;
    }
    struct keyed *keyed = calloc(snapshot->count, sizeof(*keyed));
    if (keyed == NULL) {
        return ERR_NOMEM;
    }
    for (size_t index = 0; index < snapshot->count; index++) {
        keyed[index].topic = snapshot->topics[index];
        uint64_t parent = keyed[index].topic.conf.parent;
        const struct snapshot_topic *topic =
            parent == 0 ? NULL : find_id(snapshot, parent);
        keyed[index].parent = topic != NULL ? topic->name : NULL;
        if (parent != 0 && (topic == NULL || topic->deleted)) {
            keyed[index].topic.deleted = true; /* it went with it */
        }
    }
    qsort(keyed, snapshot->count, sizeof(*keyed), compare_keyed);
    for (size_t index = 0; index < snapshot->count; index++) {
        snapshot->topics[index] = keyed[index].topic;
    }
    free(keyed);
    return ERR_OK;
}

/* --- life ----------------------------------------------------------------- */

static enum err load_checkpoints(struct snapshot *snapshot)
{
    enum err err = meta_load(snapshot->options.directory, &snapshot->meta);
    uint32_t count = snapshot->meta.shard_count;

    if (err != ERR_OK) {
        return err;
    }
    snapshot->checkpoints = calloc(count + 1, sizeof(uint64_t));
    if (snapshot->checkpoints == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t shard = 0; err == ERR_OK && shard < count; shard++) {
        char path[DIR_PATH_MAX];
        struct checkpoint checkpoint = {0};
        err = shard_path(snapshot, shard, path);
        if (err == ERR_OK) {
            err = checkpoint_load(path, &checkpoint);
        }
        if (err == ERR_IO) {
            DIAG_ERROR("unreadable", "path=%s/checkpoint", path);
        }
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
        snapshot->checkpoints[shard] = checkpoint.number > snapshot->meta.base
                                           ? checkpoint.number
                                           : snapshot->meta.base;
    }
    return err;
}

enum err snapshot_open(const struct snapshot_options *options,
                       struct snapshot **out)
{
    struct snapshot *snapshot = calloc(1, sizeof(*snapshot));

    if (snapshot == NULL) {
        return ERR_NOMEM;
    }
    snapshot->options = *options;
    enum err err = load_checkpoints(snapshot);
    if (err == ERR_OK) {
        err = list_topics(snapshot);
    }
    if (err == ERR_OK) {
        err = read_journals(snapshot);
    }
    if (err == ERR_OK) {
        err = read_pages(snapshot);
    }
    if (err == ERR_OK) {
        err = sort_topics(snapshot);
    }
    if (err != ERR_OK) {
        snapshot_close(snapshot);
        return err;
    }
    *out = snapshot;
    return ERR_OK;
}

void snapshot_close(struct snapshot *snapshot)
{
    if (snapshot == NULL) {
        return;
    }
    for (size_t index = 0; index < snapshot->count; index++) {
        free(snapshot->topics[index].name);
        free(snapshot->topics[index].cursor);
        free((char *)snapshot->topics[index].settings_memory.data);
    }
    free(snapshot->topics);
    free(snapshot->table);
    free(snapshot->checkpoints);
    snapshot_spool_fini(&snapshot->spool);
    free(snapshot);
}

size_t snapshot_count(const struct snapshot *snapshot)
{
    return snapshot->count;
}

const struct snapshot_topic *snapshot_at(const struct snapshot *snapshot,
                                         size_t index)
{
    return &snapshot->topics[index];
}

const struct snapshot_topic *snapshot_find(const struct snapshot *snapshot,
                                           const char *name)
{
    for (size_t index = 0; index < snapshot->count; index++) {
        const struct snapshot_topic *topic = &snapshot->topics[index];
        if (!topic->deleted && topic->conf.parent == 0 &&
            strcmp(topic->name, name) == 0) {
            return topic;
        }
    }
    return NULL;
}

uint64_t snapshot_checkpoint(const struct snapshot *snapshot, const char *name)
{
    return snapshot->checkpoints[store_local_shard_of(
        snapshot->meta.shard_count, str_from(name))];
}

uint64_t snapshot_entries(const struct snapshot *snapshot)
{
    return snapshot->entries;
}

uint64_t snapshot_bytes(const struct snapshot *snapshot)
{
    return snapshot->bytes;
}

enum err snapshot_path(const struct snapshot *snapshot,
                       const struct snapshot_topic *topic,
                       char path[DIR_PATH_MAX])
{
    char topics[DIR_PATH_MAX];
    enum err err = dir_join(topics, snapshot->options.directory, "topics");

    return err == ERR_OK ? dir_join(path, topics, topic->name) : err;
}

/* --- messages ------------------------------------------------------------- */

/* Segments and what the journals had, brought together. */
struct merge {
    struct snapshot *snapshot;
    const struct snapshot_topic *topic;
    const struct snapshot_visit *visit;
    uint64_t next; /* what was shown ends here */
};

/* Show what the journals had below `end`. */
static enum err show_spooled(struct merge *merge, uint64_t end)
{
    struct snapshot_spool *spool = &merge->snapshot->spool;
    uint64_t id = merge->topic->id;
    enum err err = ERR_OK;

    for (size_t at = snapshot_spool_find(spool, id, merge->next);
         err == ERR_OK && at < spool->count &&
         spool->places[at].topic_id == id && spool->places[at].sequence < end;
         at++) {
        struct str bytes;
        err = snapshot_spool_read(spool, at, &bytes);
        if (err == ERR_OK) {
            merge->next = spool->places[at].sequence + 1;
            err = merge->visit->record(merge->visit->context,
                                       spool->places[at].sequence, bytes);
        }
    }
    return err;
}

static enum err show_stored(void *context, uint64_t sequence, struct str bytes)
{
    struct merge *merge = context;

    if (sequence < merge->next) {
        return ERR_OK;
    }
    enum err err =
        sequence > merge->next ? show_spooled(merge, sequence) : ERR_OK;
    if (err != ERR_OK) {
        return err;
    }
    merge->next = sequence + 1;
    return merge->visit->record(merge->visit->context, sequence, bytes);
}

static void pass_finding(void *context, const struct topic_finding *finding)
{
    const struct merge *merge = context;

    if (merge->visit->finding != NULL) {
        merge->visit->finding(merge->visit->context, finding);
    }
}

enum err snapshot_read(struct snapshot *snapshot,
                       const struct snapshot_topic *topic,
                       uint64_t first,
                       const struct snapshot_visit *visit)
{
    char path[DIR_PATH_MAX];
    struct topic_inspect_sum sum;
    struct merge merge = {
        .snapshot = snapshot,
        .topic = topic,
        .visit = visit,
        .next = first > topic->oldest ? first : topic->oldest,
    };
    const struct topic_inspect_options options = {
        .directory = path,
        .first = merge.next,
        .running = snapshot->options.running,
    };
    const struct topic_inspect_visit inspect = {
        .record = show_stored, .finding = pass_finding, .context = &merge};

    enum err err = snapshot_path(snapshot, topic, path);
    if (err == ERR_OK && topic->in_folder) {
        err = topic_inspect_walk(&options, &inspect, &sum);
        err = err == ERR_NOT_FOUND ? ERR_OK : err; /* it went meanwhile */
    }
    return err == ERR_OK ? show_spooled(&merge, UINT64_MAX) : err;
}

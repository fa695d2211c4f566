/* A store in memory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/store_memory.h"

#include "base/check.h"
#include "base/list.h"
#include "log/record.h"
#include "sys/clock.h"
#include "sys/file.h"

#include <stdlib.h>
#include <string.h>

enum { SETTINGS_ROOM = STORE_SETTINGS_MAX, TOPICS_ROOM = 4096 };

struct stored_record {
    void *bytes; /* owned; NULL: lost, or dropped */
    size_t size;
};

struct memory_store {
    struct store base;
    struct io *io;
    struct io_hook hook;
    struct list topics;  /* of struct memory_topic */
    struct list pending; /* of struct change */
    uint32_t topic_count;
    uint32_t readers;
    bool cold;
    enum err read_err;
    uint32_t read_failures;
    enum err commit_err;
    uint32_t commit_failures;
    const char *body; /* borrowed: the file of all bodies; NULL: none */
    uint32_t damaged; /* bodies */
    struct store_stats stats;
    void (*closed)(void *context);
    void *closed_context;
    struct io_timer closing;
};

struct memory_topic {
    struct store_topic base;
    char name[TOPIC_NAME_MAX + 1];
    struct list link;
    struct stored_record *records; /* owned; by sequence */
    uint64_t count;                /* durable ones, lost ones too */
    uint64_t room;
    char settings[SETTINGS_ROOM];
    struct store_range ranges[CURSOR_RANGES_MAX]; /* of the cursor */
    struct store_retry retries[CURSOR_RETRIES_MAX];
    struct store_range *acked; /* owned; above the cursor, as they came */
    uint32_t acked_count;
    bool moved;   /* watchers are to be told */
    bool deleted; /* freed when that is committed */
};

enum change_kind {
    CHANGE_APPEND,
    CHANGE_CURSOR, /* was made; this is how to undo it */
    CHANGE_PURGE,
    CHANGE_CONFIGURE,
    CHANGE_DELETE,
    CHANGE_NONE, /* fails with `err` in its turn */
};

struct change {
    struct list link;
    enum change_kind kind;
    struct memory_topic *topic;
    struct store_op *op;
    struct stored_record record;      /* of an append; or the settings before */
    struct store_retention retention; /* before */
    struct store_cursor cursor;       /* before */
    struct store_bounds bounds;       /* before */
    enum err err;
};

struct memory_reader {
    struct store_reader base;
    struct io_timer timer;
    uint64_t warm; /* this one is there */
    bool has_warm;
};

static struct memory_store *store_of(struct store *store)
{
    return CONTAINER_OF(store, struct memory_store, base);
}

static struct memory_topic *topic_of_base(struct store_topic *topic)
{
    return CONTAINER_OF(topic, struct memory_topic, base);
}

static struct memory_store *home(const struct memory_topic *topic)
{
    return store_of(topic->base.store);
}

/* --- commit --------------------------------------------------------------- */

static void topic_free(struct memory_topic *topic)
{
    CHECK(list_empty(&topic->base.watches));
    for (uint64_t i = 0; i < topic->count; i++) {
        free(topic->records[i].bytes);
    }
    free(topic->records);
    free(topic->acked);
    free(topic);
}

static void grow(struct memory_topic *topic)
{
    if (topic->count < topic->room) {
        return;
    }
    topic->room = topic->room == 0 ? 16 : topic->room * 2;
    topic->records =
        realloc(topic->records, topic->room * sizeof(*topic->records));
    CHECK(topic->records != NULL);
}

static void commit_append(struct change *change)
{
    struct memory_topic *topic = change->topic;

    grow(topic);
    record_renumber(change->record.bytes, topic->count);
    change->op->sequence = topic->count;
    topic->records[topic->count] = change->record;
    change->record.bytes = NULL;
    topic->count++;
    topic->base.bounds.end = topic->count;
    topic->base.bounds.bytes += change->record.size;
    topic->moved = true;
    home(topic)->stats.appended++;
}

/* The settings are what they were before. */
static void unconfigure(struct change *change)
{
    struct memory_topic *topic = change->topic;

    if (change->record.bytes == NULL) {
        return; /* they were refused */
    }
    memcpy(topic->settings, change->record.bytes, change->record.size);
    topic->base.settings = (struct str){topic->settings, change->record.size};
    topic->base.retention = change->retention;
}

static void undo(struct change *change)
{
    struct memory_topic *topic = change->topic;

    if (change->kind == CHANGE_CURSOR || change->kind == CHANGE_PURGE) {
        topic->base.cursor = change->cursor;
        topic->base.bounds.oldest = change->bounds.oldest;
    }
    if (change->kind == CHANGE_CONFIGURE) {
        unconfigure(change);
    }
    if (change->kind == CHANGE_DELETE) {
        topic->deleted = false;
        list_append(&home(topic)->topics, &topic->link);
    }
}

static enum err commit_one(struct change *change, enum err err)
{
    if (err == ERR_OK) {
        err = change->err;
    }
    if (err == ERR_OK && change->kind == CHANGE_APPEND) {
        if (change->topic->deleted) {
            return ERR_CLOSED;
        }
        commit_append(change);
    }
    return err;
}

/* Report a change, last of all, since done() may do anything. */
static void report(struct change *change, enum err err)
{
    struct store_op *op = change->op;

    if (change->kind == CHANGE_DELETE && err == ERR_OK) {
        topic_free(change->topic);
    }
    free(change->record.bytes);
    free(change);
    op->done(op, err);
}

static void tell_watchers(struct memory_store *store)
{
    for (struct list *link = store->topics.next; link != &store->topics;
         link = link->next) {
        struct memory_topic *topic =
            CONTAINER_OF(link, struct memory_topic, link);
        if (!topic->moved) {
            continue;
        }
        topic->moved = false;
        struct list *next = NULL;
        for (struct list *watch = topic->base.watches.next;
             watch != &topic->base.watches; watch = next) {
            next = watch->next;
            struct store_watch *told =
                CONTAINER_OF(watch, struct store_watch, link);
            told->moved(told);
        }
    }
}

static void commit(struct io_hook *hook)
{
    struct memory_store *store = CONTAINER_OF(hook, struct memory_store, hook);
    struct list batch;
    struct list failed;
    enum err err = ERR_OK;

    if (list_empty(&store->pending)) {
        return;
    }
    if (store->commit_failures > 0) {
        store->commit_failures--;
        store->stats.commit_failures++;
        err = store->commit_err;
    }
    store->stats.commits++;
    list_init(&batch);
    list_init(&failed);
    while (!list_empty(&store->pending)) {
        struct list *link = list_take_first(&store->pending);
        struct change *change = CONTAINER_OF(link, struct change, link);
        change->err = commit_one(change, err);
        list_append(&batch, link);
        if (change->err != ERR_OK) { /* undone from the last to the first */
            list_remove(link);
            list_prepend(&failed, link);
        }
    }
    for (struct list *link = failed.next; link != &failed; link = link->next) {
        undo(CONTAINER_OF(link, struct change, link));
    }
    while (!list_empty(&failed)) {
        list_prepend(&batch, list_take_first(&failed));
    }
    tell_watchers(store);
    while (!list_empty(&batch)) {
        struct list *link = list_take_first(&batch);
        struct change *change = CONTAINER_OF(link, struct change, link);
        report(change, change->err);
    }
}

/* Queue a change; the test's memory is enough. */
static struct change *
give(struct memory_topic *topic, enum change_kind kind, struct store_op *op)
{
    struct change *change = calloc(1, sizeof(*change));

    CHECK(change != NULL);
    change->kind = kind;
    change->topic = topic;
    change->op = op;
    change->cursor = topic->base.cursor;
    change->bounds = topic->base.bounds;
    op->topic = &topic->base;
    list_append(&home(topic)->pending, &change->link);
    return change;
}

/* --- operations ----------------------------------------------------------- */

static void closing_due(struct io_timer *timer)
{
    struct memory_store *store =
        CONTAINER_OF(timer, struct memory_store, closing);
    void (*closed)(void *context) = store->closed;
    void *context = store->closed_context;

    commit(&store->hook);
    store_memory_destroy(&store->base);
    closed(context);
}

static void
memory_close(struct store *base, void (*closed)(void *), void *context)
{
    struct memory_store *store = store_of(base);

    CHECK(store->readers == 0);
    store->closed = closed;
    store->closed_context = context;
    store->closing.expired = closing_due;
    io_timer_start(store->io, &store->closing, 0);
}

static const struct store_stats *memory_stats(const struct store *store)
{
    return &CONTAINER_OF(store, struct memory_store, base)->stats;
}

static enum err memory_topic_open(struct store *base,
                                  struct str name,
                                  bool create,
                                  struct store_topic **out)
{
    struct memory_store *store = store_of(base);

    for (struct list *link = store->topics.next; link != &store->topics;
         link = link->next) {
        struct memory_topic *topic =
            CONTAINER_OF(link, struct memory_topic, link);
        if (str_equal(topic->base.name_str, name)) {
            *out = &topic->base;
            return ERR_OK;
        }
    }
    if (!create) {
        return ERR_NOT_FOUND;
    }
    if (store->topic_count >= TOPICS_ROOM) {
        return ERR_BUSY;
    }
    struct memory_topic *topic = calloc(1, sizeof(*topic));
    if (topic == NULL) {
        return ERR_NOMEM;
    }
    topic->base.store = base;
    clock_random(&topic->base.id, sizeof(topic->base.id));
    memcpy(topic->name, name.data, name.size);
    topic->base.name = topic->name;
    topic->base.name_str = (struct str){topic->name, name.size};
    list_init(&topic->base.watches);
    list_append(&store->topics, &topic->link);
    store->topic_count++;
    *out = &topic->base;
    return ERR_OK;
}

static void memory_topic_each(struct store *base,
                              void (*visit)(void *, struct store_topic *),
                              void *context)
{
    struct memory_store *store = store_of(base);

    for (struct list *link = store->topics.next; link != &store->topics;
         link = link->next) {
        visit(context, &CONTAINER_OF(link, struct memory_topic, link)->base);
    }
}

/* Tests of what stands on it do not ask what becomes of topics unused. */
static bool memory_topic_unused(const struct store_topic *base)
{
    (void)base;
    return false;
}

static void memory_topic_unmake(struct store_topic *base)
{
    (void)base;
}

static void memory_topic_delete(struct store_topic *base, struct store_op *op)
{
    struct memory_topic *topic = topic_of_base(base);

    (void)give(topic, CHANGE_DELETE, op);
    topic->deleted = true;
    list_remove(&topic->link);
}

static void memory_topic_configure(struct store_topic *base,
                                   struct str settings,
                                   const struct store_retention *retention,
                                   struct store_op *op)
{
    struct memory_topic *topic = topic_of_base(base);
    struct change *change = give(topic, CHANGE_CONFIGURE, op);

    if (settings.size > sizeof(topic->settings)) {
        change->err = ERR_TOO_LARGE;
        return;
    }
    struct str old = base->settings;
    change->retention = base->retention;
    change->record.bytes = malloc(old.size + 1);
    CHECK(change->record.bytes != NULL);
    change->record.size = old.size;
    if (old.size > 0) {
        memcpy(change->record.bytes, old.data, old.size);
    }
    if (settings.size > 0) {
        memmove(topic->settings, settings.data, settings.size);
    }
    base->settings = (struct str){topic->settings, settings.size};
    base->retention = *retention;
}

static enum err memory_append(struct store_topic *base,
                              const struct message *message,
                              struct store_op *op)
{
    size_t size = 0;
    enum err err = record_size(message, &size);

    if (err != ERR_OK) {
        return err;
    }
    void *bytes = malloc(size);
    if (bytes == NULL) {
        return ERR_BUSY;
    }
    record_encode(message, 0, bytes, size);
    struct change *change = give(topic_of_base(base), CHANGE_APPEND, op);
    change->record = (struct stored_record){bytes, size};
    return ERR_OK;
}

static enum err memory_append_encoded(struct store_topic *base,
                                      const void *record,
                                      size_t record_size,
                                      struct store_op *op)
{
    void *bytes = malloc(record_size);

    if (bytes == NULL) {
        return ERR_BUSY;
    }
    memcpy(bytes, record, record_size);
    struct change *change = give(topic_of_base(base), CHANGE_APPEND, op);
    change->record = (struct stored_record){bytes, record_size};
    return ERR_OK;
}

static void memory_cursor_store(struct store_topic *base,
                                const struct store_cursor *cursor)
{
    struct memory_topic *topic = topic_of_base(base);

    if (cursor->next < base->cursor.next) {
        return;
    }
    CHECK(cursor->range_count <= CURSOR_RANGES_MAX);
    CHECK(cursor->retry_count <= CURSOR_RETRIES_MAX);
    for (uint32_t i = 0; i < cursor->range_count; i++) {
        topic->ranges[i] = cursor->ranges[i];
    }
    for (uint32_t i = 0; i < cursor->retry_count; i++) {
        topic->retries[i] = cursor->retries[i];
    }
    base->cursor = *cursor;
    base->cursor.ranges = topic->ranges;
    base->cursor.retries = topic->retries;
}

static void memory_cursor_save(struct store_topic *base,
                               const struct store_cursor *cursor,
                               struct store_op *op)
{
    struct change *change = give(topic_of_base(base), CHANGE_CURSOR, op);

    if (cursor->next < base->cursor.next || cursor->next > base->bounds.end) {
        change->kind = CHANGE_NONE;
        change->err = ERR_RANGE;
        return;
    }
    memory_cursor_store(base, cursor);
}

static void
memory_cursor_move(struct store_topic *base, uint64_t next, struct store_op *op)
{
    struct change *change = give(topic_of_base(base), CHANGE_CURSOR, op);

    if (next < base->bounds.oldest || next > base->bounds.end) {
        change->kind = CHANGE_NONE;
        change->err = ERR_RANGE;
        return;
    }
    base->cursor = (struct store_cursor){.next = next};
    base->moves++;
    topic_of_base(base)->acked_count = 0;
}

static enum store_acked
memory_acked_add(struct store_topic *base, uint64_t first, uint64_t end)
{
    struct memory_topic *topic = topic_of_base(base);

    CHECK(first < end && end <= base->bounds.end);
    topic->acked =
        realloc(topic->acked, (topic->acked_count + 1) * sizeof(*topic->acked));
    CHECK(topic->acked != NULL);
    topic->acked[topic->acked_count] = (struct store_range){first, end};
    topic->acked_count++;
    return STORE_ACKED_NOTED;
}

/* Tell whether a message above the cursor was noted, and no range has it. */
static bool is_acked(const struct memory_topic *topic, uint64_t sequence)
{
    const struct store_cursor *cursor = &topic->base.cursor;
    bool is = false;

    for (uint32_t i = 0; i < topic->acked_count; i++) {
        is = is || (sequence >= topic->acked[i].first &&
                    sequence < topic->acked[i].end);
    }
    for (uint32_t i = 0; i < cursor->range_count; i++) {
        is = is && (sequence < cursor->ranges[i].first ||
                    sequence >= cursor->ranges[i].end);
    }
    return is && sequence >= cursor->next;
}

static bool memory_acked_next(struct store_topic *base,
                              uint64_t from,
                              struct store_range *out)
{
    const struct memory_topic *topic = topic_of_base(base);

    while (from < base->bounds.end && !is_acked(topic, from)) {
        from++;
    }
    if (from >= base->bounds.end) {
        return false;
    }
    *out = (struct store_range){from, from + 1};
    while (is_acked(topic, out->end)) {
        out->end++;
    }
    return true;
}

static void
memory_purge(struct store_topic *base, uint64_t before, struct store_op *op)
{
    (void)give(topic_of_base(base), CHANGE_PURGE, op);
    if (before > base->bounds.end) {
        before = base->bounds.end;
    }
    if (before > base->bounds.oldest) {
        base->bounds.oldest = before;
    }
    if (before > base->cursor.next) {
        base->cursor = (struct store_cursor){.next = before};
    }
}

static enum err memory_find_time(struct store_topic *base,
                                 uint64_t at_ms,
                                 uint64_t *out_sequence)
{
    struct memory_topic *topic = topic_of_base(base);
    uint64_t found = base->bounds.oldest;

    while (found < topic->count) {
        const struct stored_record *record = &topic->records[found];
        struct str bytes = {record->bytes, record->size};
        size_t size = 0;
        uint64_t sequence = 0;
        uint64_t pushed_at_ms = 0;
        if (record->bytes != NULL &&
            record_peek(bytes, &size, &sequence, &pushed_at_ms) == ERR_OK &&
            pushed_at_ms >= at_ms) {
            break;
        }
        found++;
    }
    *out_sequence = found;
    return ERR_OK;
}

/* --- reading -------------------------------------------------------------- */

static void reader_due(struct io_timer *timer)
{
    struct memory_reader *reader =
        CONTAINER_OF(timer, struct memory_reader, timer);

    reader->has_warm = true;
    reader->base.ready(&reader->base);
}

static enum err memory_reader_create(struct store_topic *topic,
                                     struct store_reader **out)
{
    struct memory_reader *reader = calloc(1, sizeof(*reader));

    if (reader == NULL) {
        return ERR_NOMEM;
    }
    reader->base.topic = topic;
    reader->timer.expired = reader_due;
    store_of(topic->store)->readers++;
    *out = &reader->base;
    return ERR_OK;
}

static enum err memory_reader_next(struct store_reader *base,
                                   uint64_t sequence,
                                   struct record *out_record)
{
    struct memory_reader *reader =
        CONTAINER_OF(base, struct memory_reader, base);
    struct memory_topic *topic = topic_of_base(base->topic);
    struct memory_store *store = home(topic);

    if (store->read_failures > 0) {
        store->read_failures--;
        return store->read_err;
    }
    if (sequence < topic->base.bounds.oldest) {
        return ERR_RANGE;
    }
    while (sequence < topic->count && topic->records[sequence].bytes == NULL) {
        sequence++;
    }
    if (sequence >= topic->count) {
        return ERR_NOT_FOUND;
    }
    if (store->cold && !(reader->has_warm && reader->warm == sequence)) {
        reader->warm = sequence;
        reader->has_warm = false;
        io_timer_start(store->io, &reader->timer, 0);
        return ERR_AGAIN;
    }
    const struct stored_record *record = &topic->records[sequence];
    struct str bytes = {record->bytes, record->size};
    return record_decode(bytes, out_record);
}

static void memory_reader_destroy(struct store_reader *base)
{
    struct memory_reader *reader =
        CONTAINER_OF(base, struct memory_reader, base);
    struct memory_store *store = store_of(base->topic->store);

    CHECK(store->readers > 0);
    store->readers--;
    io_timer_stop(store->io, &reader->timer);
    free(reader);
}

/* Those that are pending have got theirs. */
static uint64_t memory_next_sequence(const struct store_topic *base)
{
    struct memory_topic *topic = topic_of_base((struct store_topic *)base);
    const struct list *pending = &home(topic)->pending;
    uint64_t next = topic->count;

    for (struct list *link = pending->next; link != pending;
         link = link->next) {
        struct change *change = CONTAINER_OF(link, struct change, link);
        next += change->topic == topic && change->kind == CHANGE_APPEND ? 1 : 0;
    }
    return next;
}

/* --- bodies --------------------------------------------------------------- */

static enum err memory_blob_open(struct store_topic *topic,
                                 uint64_t sequence,
                                 const struct message_blob *blob,
                                 int *out_fd)
{
    const struct memory_store *store = store_of(topic->store);

    (void)sequence;
    (void)blob;
    return store->body == NULL ? ERR_NOT_FOUND
                               : file_open(store->body, FILE_READ, out_fd);
}

static void
memory_blob_damaged(struct store_topic *topic, uint64_t sequence, enum err err)
{
    (void)sequence;
    CHECK(err == ERR_NOT_FOUND || err == ERR_CORRUPT);
    store_of(topic->store)->damaged++;
}

void store_memory_body(struct store *store, const char *path)
{
    store_of(store)->body = path;
}

uint32_t store_memory_damaged(const struct store *store)
{
    return CONTAINER_OF(store, struct memory_store, base)->damaged;
}

/* It has no views. */
static enum err memory_view_open(struct store_topic *topic,
                                 struct str name,
                                 bool create,
                                 struct store_topic **out)
{
    (void)topic;
    (void)name;
    (void)create;
    (void)out;
    return ERR_NOT_FOUND;
}

static void memory_view_each(struct store_topic *topic,
                             void (*visit)(void *, struct store_topic *),
                             void *context)
{
    (void)topic;
    (void)visit;
    (void)context;
}

static const struct store_ops memory_ops = {
    .name = "memory",
    .close = memory_close,
    .stats = memory_stats,
    .topic_open = memory_topic_open,
    .topic_each = memory_topic_each,
    .view_open = memory_view_open,
    .view_each = memory_view_each,
    .topic_unused = memory_topic_unused,
    .topic_unmake = memory_topic_unmake,
    .topic_delete = memory_topic_delete,
    .topic_configure = memory_topic_configure,
    .append = memory_append,
    .append_encoded = memory_append_encoded,
    .next_sequence = memory_next_sequence,
    .cursor_store = memory_cursor_store,
    .cursor_save = memory_cursor_save,
    .cursor_move = memory_cursor_move,
    .acked_add = memory_acked_add,
    .acked_next = memory_acked_next,
    .purge = memory_purge,
    .find_time = memory_find_time,
    .reader_create = memory_reader_create,
    .reader_next = memory_reader_next,
    .reader_destroy = memory_reader_destroy,
    .blob_open = memory_blob_open,
    .blob_damaged = memory_blob_damaged,
};

/* --- for tests ------------------------------------------------------------ */

enum err store_memory_create(struct io *io, struct store **out)
{
    struct memory_store *store = calloc(1, sizeof(*store));

    if (store == NULL) {
        return ERR_NOMEM;
    }
    store->base.ops = &memory_ops;
    store->io = io;
    store->hook.turn = commit;
    list_init(&store->topics);
    list_init(&store->pending);
    io_hook_add(io, &store->hook);
    *out = &store->base;
    return ERR_OK;
}

void store_memory_destroy(struct store *store)
{
    struct memory_store *memory = store_of(store);

    io_hook_remove(memory->io, &memory->hook);
    struct list *next = NULL;
    for (struct list *link = memory->pending.next; link != &memory->pending;
         link = next) {
        struct change *change = CONTAINER_OF(link, struct change, link);
        next = link->next;
        if (change->kind == CHANGE_DELETE) {
            topic_free(change->topic);
        }
        free(change->record.bytes);
        free(change);
    }
    for (struct list *link = memory->topics.next; link != &memory->topics;
         link = next) {
        next = link->next;
        topic_free(CONTAINER_OF(link, struct memory_topic, link));
    }
    free(memory);
}

void store_memory_cold(struct store *store, bool cold)
{
    store_of(store)->cold = cold;
}

void store_memory_fail_reads(struct store *store, enum err err, uint32_t count)
{
    store_of(store)->read_err = err;
    store_of(store)->read_failures = count;
}

void store_memory_fail_commits(struct store *store,
                               enum err err,
                               uint32_t count)
{
    store_of(store)->commit_err = err;
    store_of(store)->commit_failures = count;
}

void store_memory_lose(struct store_topic *topic, uint64_t sequence)
{
    struct memory_topic *memory = topic_of_base(topic);

    CHECK(sequence < memory->count);
    free(memory->records[sequence].bytes);
    memory->records[sequence].bytes = NULL;
    home(memory)->stats.quarantined++;
}

void store_memory_trim(struct store_topic *topic, uint64_t oldest)
{
    CHECK(oldest >= topic->bounds.oldest && oldest <= topic->bounds.end);
    topic->bounds.oldest = oldest;
}

uint32_t store_memory_readers(const struct store *store)
{
    return CONTAINER_OF(store, struct memory_store, base)->readers;
}

/* The schedules of one shard: which there are, and how they are read at start.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/scheduler.h"

#include "base/check.h"
#include "base/diag.h"
#include "queue/scheduler_internal.h"
#include "sys/zone_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum err scheduler_create(const struct scheduler_options *options,
                          struct scheduler **out)
{
    struct scheduler *scheduler = calloc(1, sizeof(*scheduler));

    if (scheduler == NULL) {
        return ERR_NOMEM;
    }
    scheduler->options = *options;
    enum err err = recorder_create(&options->recorder, &scheduler->recorder);
    if (err != ERR_OK) {
        free(scheduler);
        return err;
    }
    push_task_pool_init(&scheduler->pool, options->shard, SCHEDULER_RUNS_MAX);
    list_init(&scheduler->zones);
    scheduler->timer.expired = scheduler_look;
    *out = scheduler;
    return ERR_OK;
}

void scheduler_destroy(struct scheduler *scheduler)
{
    if (scheduler == NULL) {
        return;
    }
    for (uint32_t index = 0; index < scheduler->count; index++) {
        scheduler_work_free(scheduler->table[index]);
    }
    free(scheduler->table);
    push_task_pool_fini(&scheduler->pool);
    recorder_destroy(scheduler->recorder);
    free(scheduler);
}

bool scheduler_idle(const struct scheduler *scheduler)
{
    return scheduler->pool.pending == 0 && scheduler->operations == 0;
}

const struct scheduler_stats *scheduler_stats(const struct scheduler *scheduler)
{
    return &scheduler->stats;
}

/* --- the table ------------------------------------------------------------ */

uint32_t scheduler_count(const struct scheduler *scheduler)
{
    return scheduler->count;
}

const struct schedule *scheduler_at(const struct scheduler *scheduler,
                                    uint32_t index)
{
    CHECK(index < scheduler->count);
    return &scheduler->table[index]->schedule;
}

uint32_t scheduler_find(const struct scheduler *scheduler, struct str id)
{
    uint32_t low = 0;
    uint32_t high = scheduler->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct str found = str_from(scheduler->table[middle]->schedule.id);
        if (str_compare(found, id) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct schedule_work *scheduler_work(const struct scheduler *scheduler,
                                     struct str id)
{
    uint32_t index = scheduler_find(scheduler, id);

    if (index == scheduler->count ||
        !str_equal(str_from(scheduler->table[index]->schedule.id), id)) {
        return NULL;
    }
    return scheduler->table[index];
}

const struct schedule *scheduler_get(const struct scheduler *scheduler,
                                     struct str id)
{
    const struct schedule_work *work = scheduler_work(scheduler, id);

    return work != NULL ? &work->schedule : NULL;
}

enum err scheduler_enter(struct scheduler *scheduler,
                         struct schedule_work *work)
{
    uint32_t place = scheduler_find(scheduler, str_from(work->schedule.id));

    if (scheduler->count == scheduler->capacity) {
        uint32_t capacity = scheduler->capacity * 2 + 16;
        struct schedule_work **table = realloc(
            scheduler->table, capacity * sizeof(struct schedule_work *));
        if (table == NULL) {
            return ERR_NOMEM;
        }
        scheduler->table = table;
        scheduler->capacity = capacity;
    }
    for (uint32_t index = scheduler->count; index > place; index--) {
        scheduler->table[index] = scheduler->table[index - 1];
    }
    scheduler->table[place] = work;
    scheduler->count++;
    return ERR_OK;
}

void scheduler_leave(struct scheduler *scheduler, struct schedule_work *work)
{
    uint32_t place = scheduler_find(scheduler, str_from(work->schedule.id));

    CHECK(place < scheduler->count && scheduler->table[place] == work);
    scheduler->count--;
    for (uint32_t index = place; index < scheduler->count; index++) {
        scheduler->table[index] = scheduler->table[index + 1];
    }
}

struct schedule_work *scheduler_work_make(struct scheduler *scheduler,
                                          struct str id)
{
    struct schedule_work *work = calloc(1, sizeof(*work));

    if (work == NULL) {
        return NULL;
    }
    CHECK(id.size <= SCHEDULE_ID_MAX);
    memcpy(work->schedule.id, id.data, id.size);
    work->schedule.work = work;
    work->scheduler = scheduler;
    work->number = ++scheduler->number_next;
    return work;
}

void scheduler_work_free(struct schedule_work *work)
{
    if (work->noting || work->changing) {
        work->removed = true;
        return;
    }
    work->scheduler->bytes -= work->schedule.definition.json.size;
    scheduler_zone_leave(work->zone);
    schedule_definition_fini(&work->schedule.definition);
    free(work);
}

/* --- zones ---------------------------------------------------------------- */

enum err scheduler_zone_use(struct scheduler *scheduler,
                            struct str name,
                            struct zone_use **out)
{
    for (struct list *link = scheduler->zones.next; link != &scheduler->zones;
         link = link->next) {
        struct zone_use *use = CONTAINER_OF(link, struct zone_use, link);
        if (str_equal(str_from(use->name), name)) {
            use->users++;
            *out = use;
            return ERR_OK;
        }
    }
    struct zone_use *use = calloc(1, sizeof(*use));
    if (use == NULL) {
        return ERR_NOMEM;
    }
    enum err err = zone_file_load(name, &use->zone);
    if (err != ERR_OK) {
        free(use);
        return err;
    }
    memcpy(use->name, name.data, name.size);
    use->users = 1;
    list_append(&scheduler->zones, &use->link);
    *out = use;
    return ERR_OK;
}

void scheduler_zone_leave(struct zone_use *use)
{
    if (use == NULL) {
        return;
    }
    use->users--;
    if (use->users == 0) {
        list_remove(&use->link);
        zone_destroy(use->zone);
        free(use);
    }
}

/* --- reading at start ----------------------------------------------------- */

struct loading {
    struct scheduler *scheduler;
    struct store_reader *reader; /* owned; of the topic that is read */
    bool waiting;                /* for its ready() */
    enum err err;
};

static void reader_ready(struct store_reader *reader)
{
    struct loading *loading = reader->user;

    loading->waiting = false;
}

/* Read a message, waiting for its bytes. */
static enum err
read_one(struct loading *loading, uint64_t sequence, struct record *out_record)
{
    for (;;) {
        enum err err = store_reader_next(loading->reader, sequence, out_record);
        if (err != ERR_AGAIN) {
            return err;
        }
        loading->waiting = true;
        while (loading->waiting) {
            io_run_turn(loading->scheduler->options.shard->io, -1);
        }
    }
}

/* Make a schedule of what was read. A definition that this program refuses
 * makes no runs, but is there to be looked at and replaced. */
static enum err
take(struct loading *loading, struct str id, const struct record *record)
{
    struct scheduler *scheduler = loading->scheduler;
    struct push_refusal refusal;
    struct schedule_state state;

    enum err err = schedule_message_read(&record->message, &state);
    if (err != ERR_OK) {
        return err;
    }
    struct schedule_work *work = scheduler_work_make(scheduler, id);
    if (work == NULL) {
        return ERR_NOMEM;
    }
    struct schedule *schedule = &work->schedule;
    schedule->state = state;
    err = schedule_definition_read(record->message.body, &schedule->definition,
                                   &refusal);
    scheduler->bytes += schedule->definition.json.size;
    if (err == ERR_INVALID) {
        memcpy(schedule->error, refusal.detail, sizeof(schedule->error));
    } else if (err == ERR_OK) {
        err = scheduler_zone_use(scheduler, str_from(schedule->definition.zone),
                                 &work->zone);
        if (err == ERR_OK) {
            schedule->zone = work->zone->zone;
        } else {
            (void)snprintf(schedule->error, sizeof(schedule->error),
                           "zone %s is not known to this system",
                           schedule->definition.zone);
        }
    }
    if (schedule->error[0] != '\0') {
        DIAG_ERROR("schedule_stopped", "id=%s; %s", schedule->id,
                   schedule->error);
        err = ERR_OK;
    }
    err = err == ERR_OK ? scheduler_enter(scheduler, work) : err;
    if (err != ERR_OK) {
        scheduler_work_free(work);
    }
    return err;
}

/* Read the last message of a topic that is whole: the last one, or, where it
 * is damaged, what comes last of all. */
static enum err
read_last(struct loading *loading, struct str id, struct store_topic *stored)
{
    struct record *record = malloc(sizeof(*record));
    uint64_t end = stored->bounds.end;
    uint64_t found = end;

    if (record == NULL) {
        return ERR_NOMEM;
    }
    enum err err = read_one(loading, end - 1, record);
    if (err != ERR_OK) {
        DIAG_WARN("schedule_damaged", "id=%.*s err=%s; taking the one before",
                  STR_ARG(id), err_text(err));
        for (uint64_t next = stored->bounds.oldest; next < end;
             next = record->sequence + 1) {
            if (read_one(loading, next, record) != ERR_OK) {
                break;
            }
            found = record->sequence;
        }
        err = found == end ? ERR_CORRUPT : read_one(loading, found, record);
    }
    if (err == ERR_OK) {
        err = take(loading, id, record);
    }
    free(record);
    return err;
}

static enum err
load_one(struct loading *loading, struct str id, struct store_topic *stored)
{
    if (stored->bounds.oldest == stored->bounds.end) {
        return ERR_OK; /* its first definition was not stored */
    }
    enum err err = store_reader_create(stored, &loading->reader);
    if (err != ERR_OK) {
        return err;
    }
    loading->reader->ready = reader_ready;
    loading->reader->user = loading;
    err = read_last(loading, id, stored);
    store_reader_destroy(loading->reader);
    loading->reader = NULL;
    if (err == ERR_OK || err == ERR_NOMEM) {
        return err;
    }
    DIAG_ERROR("schedule_lost", "id=%.*s err=%s", STR_ARG(id), err_text(err));
    return ERR_OK;
}

struct names {
    struct str *list; /* owned; of the store's topics */
    uint32_t count;
    uint32_t capacity;
    bool failed;
};

static void note_name(void *context, struct store_topic *stored)
{
    struct names *names = context;

    if (schedule_id_of_topic(stored->name_str).size == 0) {
        return;
    }
    if (names->count == names->capacity) {
        uint32_t capacity = names->capacity * 2 + 16;
        struct str *list =
            realloc(names->list, capacity * sizeof(*names->list));
        if (list == NULL) {
            names->failed = true;
            return;
        }
        names->list = list;
        names->capacity = capacity;
    }
    names->list[names->count] = stored->name_str;
    names->count++;
}

enum err scheduler_load(struct scheduler *scheduler)
{
    struct loading loading = {.scheduler = scheduler};
    struct store *store = scheduler->options.shard->store;
    struct names names = {0};
    enum err err = ERR_OK;

    store_topic_each(store, note_name, &names);
    if (names.failed) {
        err = ERR_NOMEM;
    }
    for (uint32_t index = 0; err == ERR_OK && index < names.count; index++) {
        struct store_topic *stored = NULL;
        err = store_topic_open(store, names.list[index], false, &stored);
        if (err == ERR_OK) {
            err = load_one(&loading, schedule_id_of_topic(stored->name_str),
                           stored);
        }
    }
    free(names.list);
    return err;
}

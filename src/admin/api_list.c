/* The list of topics, by name, page by page.
 *
 * Each shard gives its own first names behind `after`, one more than the page
 * has room for; at home those of all shards are merged and cut again. What is
 * cut off tells that there is a next page. A shard keeps only the smallest
 * names that it has met, in order, so that a page costs about one look at each
 * topic, however many there are.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_internal.h"
#include "admin/api_render.h"
#include "base/check.h"
#include "queue/answer.h"

#include <stdlib.h>
#include <string.h>

/* A topic of the page: its text is in the call's `text`. */
struct list_entry {
    char name[TOPIC_NAME_MAX + 1];
    size_t start;
    size_t size;
};

struct list_call {
    struct api_call base;
    struct api_reading reading; /* of the oldest message not delivered */
    struct shard *there;        /* borrowed: where it is now */
    uint32_t limit;
    uint32_t found_max; /* names of a shard: one more than `limit`, or none */
    char after[TOPIC_NAME_MAX + 1];
    bool internal;  /* those that are OPQ's own, too */
    uint64_t total; /* topics in all */
    /* Of the shard where it is: the smallest names, ascending. */
    struct store_topic **found; /* owned; borrowed pointers, valid during the
                                   visit only */
    uint32_t found_count;
    /* The page so far; those of this shard are rendered from `next` on. */
    struct list_entry *entries; /* owned */
    uint32_t entry_count;
    uint32_t entry_capacity;
    uint32_t next;
    struct buf text; /* owned */
};

static struct list_call *list_call_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct list_call, base);
}

static void list_release(struct api_call *call)
{
    struct list_call *list = list_call_of(call);

    free(list->found);
    free(list->entries);
    buf_fini(&list->text);
}

/* --- on a shard ----------------------------------------------------------- */

/* Where a name belongs among those found. */
static uint32_t place_of(const struct list_call *list, const char *name)
{
    uint32_t low = 0;
    uint32_t high = list->found_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(list->found[middle]->name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void list_visit(void *context, struct store_topic *stored)
{
    struct list_call *list = context;

    if (!list->internal && topic_is_internal(stored->name_str)) {
        return;
    }
    list->total++;
    if (topic_of(stored) == NULL ||
        (list->after[0] != '\0' && strcmp(stored->name, list->after) <= 0)) {
        return;
    }
    uint32_t place = place_of(list, stored->name);
    if (place == list->found_max) {
        return;
    }
    if (list->found_count < list->found_max) {
        list->found_count++;
    }
    for (uint32_t index = list->found_count - 1; index > place; index--) {
        list->found[index] = list->found[index - 1];
    }
    list->found[place] = stored;
}

static bool add_entry(struct list_call *list, const struct store_topic *stored)
{
    if (list->entry_count == list->entry_capacity) {
        uint32_t capacity = list->entry_capacity + list->found_max;
        struct list_entry *entries =
            realloc(list->entries, capacity * sizeof(*entries));
        if (entries == NULL) {
            return false;
        }
        list->entries = entries;
        list->entry_capacity = capacity;
    }
    struct list_entry *entry = &list->entries[list->entry_count];
    *entry = (struct list_entry){0};
    memcpy(entry->name, stored->name, stored->name_str.size + 1);
    list->entry_count++;
    return true;
}

/* Render an entry, if its topic is still there. */
static void
render(struct list_call *list, struct list_entry *entry, uint64_t age_ms)
{
    struct topic *topic = NULL;

    if (shard_topic(list->there, str_from(entry->name), false, &topic) !=
        ERR_OK) {
        return;
    }
    entry->start = list->text.size;
    api_render_topic(topic, age_ms, API_RENDER_NONE, &list->text);
    entry->size = list->text.size - entry->start;
}

/* Begin to read for the age of an entry. Returns false when there is no need
 * for it, or no way. */
static bool begin_reading(struct list_call *list, struct list_entry *entry)
{
    struct topic *topic = NULL;

    return shard_topic(list->there, str_from(entry->name), false, &topic) ==
               ERR_OK &&
           deliverer_lag(topic) > 0 &&
           api_reading_open(&list->reading, list->base.api, list->there,
                            topic) == ERR_OK;
}

/* Read for the age. Returns false while the bytes are not there. */
static bool read_age(struct list_call *list, uint64_t *out_age_ms)
{
    const struct store_topic *stored = list->reading.reader->topic;
    struct record record;

    enum err err =
        api_reading_next(&list->reading, stored->cursor.next, &record);
    if (err == ERR_AGAIN) {
        return false;
    }
    *out_age_ms = API_RENDER_NONE;
    if (err == ERR_OK) {
        uint64_t at_ms = record.message.pushed_at_ms;
        uint64_t now_ms = io_wall_ms(list->there->io);
        *out_age_ms = now_ms > at_ms ? now_ms - at_ms : 0;
    }
    return true;
}

/* Render what is left of this shard's part, until a read must wait. */
static void list_go(struct list_call *list)
{
    for (; list->next < list->entry_count; list->next++) {
        struct list_entry *entry = &list->entries[list->next];
        uint64_t age_ms = API_RENDER_NONE;
        bool reading =
            list->reading.reader != NULL || begin_reading(list, entry);
        if (reading && !read_age(list, &age_ms)) {
            return;
        }
        api_reading_close(&list->reading);
        render(list, entry, age_ms);
    }
    api_call_end(&list->base);
}

static void list_ready(struct api_reading *reading)
{
    list_go(CONTAINER_OF(reading, struct list_call, reading));
}

/* The topic that was read goes: on behind it, for it is still to be found
 * while it is being deleted, and must not be read again. */
static void list_gone(struct api_reading *reading)
{
    struct list_call *list = CONTAINER_OF(reading, struct list_call, reading);

    CHECK(list->next < list->entry_count);
    list->next++;
    list_go(list);
}

/* A read ends by itself, also while the shard stops. */
static void list_stopping(struct api_reading *reading)
{
    (void)reading;
}

static void list_run(struct api_call *call, struct shard *there)
{
    struct list_call *list = list_call_of(call);

    list->there = there;
    list->found_count = 0;
    store_topic_each(there->store, list_visit, list);
    for (uint32_t index = 0; index < list->found_count; index++) {
        if (!add_entry(list, list->found[index])) {
            api_call_err(call, ERR_NOMEM, "the list");
            api_call_end(call);
            return;
        }
    }
    list_go(list);
}

/* --- at home -------------------------------------------------------------- */

static int compare_entries(const void *left, const void *right)
{
    const struct list_entry *left_entry = left;
    const struct list_entry *right_entry = right;

    return strcmp(left_entry->name, right_entry->name);
}

static void list_finish(struct api_call *call)
{
    struct list_call *list = list_call_of(call);
    struct buf *to = &call->body;
    bool more = list->entry_count > list->limit;
    uint32_t end = more ? list->limit : list->entry_count;
    uint32_t shown = 0;

    if (list->entry_count > 0) {
        qsort(list->entries, list->entry_count, sizeof(list->entries[0]),
              compare_entries);
    }
    buf_append_c(to, "{\"topics\":[");
    /* A topic that was deleted meanwhile leaves the page shorter: behind
     * `end`, a shard may have names that it did not give. */
    for (uint32_t index = 0; index < end; index++) {
        const struct list_entry *entry = &list->entries[index];
        if (entry->size == 0) {
            continue; /* deleted meanwhile */
        }
        buf_append_c(to, shown > 0 ? ",\n" : "\n");
        buf_append_str(
            to, str_cut(buf_str(&list->text), entry->start, entry->size));
        shown++;
    }
    buf_append_format(
        to, "],\"total\":%llu,\"next\":", (unsigned long long)list->total);
    if (more && end > 0) {
        buf_append_format(to, "\"%s\"", list->entries[end - 1].name);
    } else {
        buf_append_c(to, "null");
    }
    buf_append_c(to, "}\n");
    to->failed = to->failed || list->text.failed;
}

static void list_start(const struct api_request *request,
                       uint32_t limit,
                       struct str after,
                       bool internal)
{
    struct api_call *call =
        api_call_create(request, sizeof(struct list_call), list_run);

    if (call == NULL) {
        return;
    }
    struct list_call *list = list_call_of(call);
    call->large = true;
    call->finish = list_finish;
    call->release = list_release;
    list->reading.ready = list_ready;
    list->reading.gone = list_gone;
    list->reading.stopping = list_stopping;
    list->limit = limit;
    list->internal = internal;
    list->found_max = limit > 0 ? limit + 1 : 0;
    if (after.size > 0) {
        memcpy(list->after, after.data, after.size);
    }
    list->found = calloc((size_t)limit + 1, sizeof(struct store_topic *));
    if (list->found == NULL) {
        answer_problem(request->exchange, 503, "out of memory", NULL);
        api_call_drop(call);
        return;
    }
    api_call_walk(call);
}

void api_list_get(const struct api_request *request)
{
    static const char *const known[] = {"limit", "after", "internal", NULL};
    struct form form = {0};
    uint64_t limit = API_PAGE_DEFAULT;
    bool internal = false;

    if (api_query(request, known, &form) &&
        api_query_number(request, &form, "limit", API_PAGE_MAX, &limit) &&
        api_query_flag(request, &form, "internal", &internal)) {
        const struct form_field *after = form_find(&form, STR("after"));
        struct str name = after != NULL ? after->value : (struct str){NULL, 0};
        list_start(request, (uint32_t)limit, str_cut(name, 0, TOPIC_NAME_MAX),
                   internal);
    }
    form_fini(&form);
}

/* Endpoints: the list, and what an operator says to one.
 *
 * An endpoint is on each shard that has topics for it, and each goes its own
 * way; here they are one. So all calls visit the shards twice: the first time
 * to find out which names are meant, or how much is where; the second time to
 * gather what is known of these, or to say it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_internal.h"
#include "base/check.h"
#include "base/json_text.h"
#include "http/url.h"
#include "queue/answer.h"
#include "queue/rate.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAME_MAX_SIZE = 300, /* of an endpoint, as in struct delivery_view */
    /* Of a rate, one part in so many is divided evenly among the shards, the
     * others by their backlogs: who has nearly none is not held up for long. */
    EVEN_SHARE = 8,
};

/* An endpoint of the page: sums over its shards. */
struct entry {
    char name[NAME_MAX_SIZE];
    enum endpoint_state state; /* the worst */
    uint64_t until_ms;         /* of those that are in it, the latest */
    uint64_t window;
    uint64_t in_flight;
    uint64_t waiting;
    uint64_t resting;
    uint64_t topics;
    uint64_t backlog;
    uint64_t eta_ms;   /* the longest */
    uint32_t failures; /* the most */
    enum err last_err; /* of the latest failure, as the next two */
    int last_status;
    uint64_t failed_ms;
    struct settings_rate released;
    struct latency latency;
    uint64_t shards; /* a bit for each */
};

static_assert(SHARDS_MAX <= 64, "a bit of entry.shards for each");

struct list_call {
    struct api_call base;
    uint32_t limit;
    bool any_state;
    enum endpoint_state state; /* unless it is any */
    char after[NAME_MAX_SIZE];
    char only[NAME_MAX_SIZE]; /* empty: all */
    bool gathering;           /* the second time */
    struct entry *entries;    /* owned; limit + 1 of them */
    struct entry **found;     /* owned; as many, ascending by name */
    uint32_t found_count;
    uint32_t shard; /* where it is */
};

static struct list_call *list_call_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct list_call, base);
}

static void list_release(struct api_call *call)
{
    free(list_call_of(call)->entries);
    free(list_call_of(call)->found);
}

static struct deliverer *deliverer_of(struct shard *there)
{
    return pipeline_deliverer(pipeline_of(there));
}

/* --- finding -------------------------------------------------------------- */

/* Where a name is, or belongs. */
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

/* The entry of a name; NULL: it is not on the page. */
static struct entry *find(const struct list_call *list, const char *name)
{
    uint32_t place = place_of(list, name);

    return place < list->found_count &&
                   strcmp(list->found[place]->name, name) == 0
               ? list->found[place]
               : NULL;
}

static bool is_wanted(const struct list_call *list,
                      const struct target_view *view)
{
    if (list->only[0] != '\0') {
        return strcmp(view->name, list->only) == 0;
    }
    return (list->any_state || view->endpoint.state == list->state) &&
           (list->after[0] == '\0' || strcmp(view->name, list->after) > 0);
}

/* Keep a name while it is one of the smallest: one more than a page has. */
static void note_name(void *context, const struct target_view *view)
{
    struct list_call *list = context;
    uint32_t found_max = list->limit + 1;

    CHECK(strlen(view->name) < NAME_MAX_SIZE);
    if (!is_wanted(list, view) || find(list, view->name) != NULL) {
        return;
    }
    uint32_t place = place_of(list, view->name);
    if (place == found_max) {
        return;
    }
    struct entry *entry = list->found_count < found_max
                              ? &list->entries[list->found_count]
                              : list->found[found_max - 1];
    if (list->found_count < found_max) {
        list->found_count++;
    }
    for (uint32_t index = list->found_count - 1; index > place; index--) {
        list->found[index] = list->found[index - 1];
    }
    *entry = (struct entry){0};
    memcpy(entry->name, view->name, strlen(view->name) + 1);
    list->found[place] = entry;
}

/* --- gathering ------------------------------------------------------------ */

static void merge_state(struct entry *entry, const struct target_view *view)
{
    int more = endpoint_state_badness(view->endpoint.state) -
               endpoint_state_badness(entry->state);

    if (more > 0 || (more == 0 && view->until_ms > entry->until_ms)) {
        entry->until_ms = view->until_ms;
    }
    entry->state = more > 0 ? view->endpoint.state : entry->state;
}

static void merge(void *context, const struct target_view *view)
{
    const struct list_call *list = context;
    const struct endpoint_view *endpoint = &view->endpoint;
    struct entry *entry = find(list, view->name);

    if (entry == NULL) {
        return;
    }
    merge_state(entry, view);
    entry->shards |= UINT64_C(1) << list->shard;
    entry->window += endpoint->window;
    entry->in_flight += endpoint->in_flight;
    entry->waiting += endpoint->waiting;
    entry->resting += endpoint->resting;
    entry->topics += view->topics;
    entry->backlog += view->backlog;
    if (view->eta_ms > entry->eta_ms) {
        entry->eta_ms = view->eta_ms;
    }
    if (endpoint->failures > entry->failures) {
        entry->failures = endpoint->failures;
    }
    if (endpoint->failed_ms > entry->failed_ms) {
        entry->failed_ms = endpoint->failed_ms;
        entry->last_err = endpoint->last_err;
        entry->last_status = endpoint->last_status;
    }
    if (view->released.count > 0) {
        entry->released = view->released;
    }
    latency_add(&entry->latency, view->latency);
}

static void list_run(struct api_call *call, struct shard *there)
{
    struct list_call *list = list_call_of(call);

    list->shard = there->index;
    deliverer_each_target(deliverer_of(there),
                          list->gathering ? merge : note_name, list);
    api_call_end(call);
}

static bool list_again(struct api_call *call)
{
    struct list_call *list = list_call_of(call);

    if (list->gathering) {
        return false;
    }
    if (list->found_count == 0 && list->only[0] != '\0') {
        api_call_err(call, ERR_NOT_FOUND, "endpoint");
        return false;
    }
    list->gathering = true;
    return list->found_count > 0;
}

/* --- showing -------------------------------------------------------------- */

/* Append a span in milliseconds: ,"name":12.345. */
static void append_us(struct buf *to, const char *name, uint64_t us)
{
    buf_append_format(to, ",\"%s\":%llu.%03u", name,
                      (unsigned long long)(us / 1000), (unsigned)(us % 1000));
}

static void append_latency(struct buf *to, const struct latency *latency)
{
    if (latency->count == 0) {
        buf_append_c(to, ",\"latency\":null");
        return;
    }
    buf_append_format(to, ",\"latency\":{\"count\":%u",
                      (unsigned)latency->count);
    append_us(to, "mean_ms", latency->mean_us);
    append_us(to, "p50_ms", latency_percentile_us(latency, 50));
    append_us(to, "p99_ms", latency_percentile_us(latency, 99));
    buf_append_byte(to, '}');
}

static void append_last_error(struct buf *to, const struct entry *entry)
{
    if (entry->failed_ms == 0) {
        buf_append_c(to, ",\"last_error\":null");
        return;
    }
    buf_append_format(to, ",\"last_error\":{\"class\":\"%s\"",
                      deliverer_class(entry->last_err, entry->last_status));
    if (entry->last_status != 0) {
        json_text_append_number(to, "status", (uint64_t)entry->last_status);
    }
    json_text_append_time(to, "at", entry->failed_ms);
    buf_append_byte(to, '}');
}

static void append_rate(struct buf *to, const struct settings_rate *rate)
{
    if (rate->count == 0) {
        buf_append_c(to, ",\"rate\":null");
        return;
    }
    buf_append_c(to, ",\"rate\":\"");
    rate_write(rate, to);
    buf_append_byte(to, '"');
}

/* Append ,"eta_s":N, in whole seconds and rather more. */
static void append_eta(struct buf *to, uint64_t eta_ms)
{
    json_text_append_number(to, "eta_s", eta_ms / 1000 + (eta_ms % 1000 > 0));
}

static void append_shards(struct buf *to, uint64_t shards)
{
    const char *before = ",\"shards\":[";

    for (unsigned index = 0; index < SHARDS_MAX; index++) {
        if ((shards >> index & 1) != 0) {
            buf_append_format(to, "%s%u", before, index);
            before = ",";
        }
    }
    buf_append_byte(to, ']');
}

static void append_entry(struct buf *to, const struct entry *entry)
{
    buf_append_c(to, "{\"endpoint\":\"");
    buf_append_json(to, str_from(entry->name));
    buf_append_format(to, "\",\"state\":\"%s\"",
                      endpoint_state_text(entry->state));
    if (entry->until_ms > 0) {
        json_text_append_time(to, "until", entry->until_ms);
    }
    json_text_append_number(to, "window", entry->window);
    json_text_append_number(to, "in_flight", entry->in_flight);
    json_text_append_number(to, "waiting", entry->waiting);
    json_text_append_number(to, "backing_off", entry->resting);
    json_text_append_number(to, "topics", entry->topics);
    json_text_append_number(to, "backlog", entry->backlog);
    json_text_append_number(to, "failures", entry->failures);
    append_last_error(to, entry);
    append_latency(to, &entry->latency);
    append_rate(to, &entry->released);
    if (entry->released.count > 0) {
        append_eta(to, entry->eta_ms);
    }
    append_shards(to, entry->shards);
    buf_append_byte(to, '}');
}

/* Tell whether an entry is still there, and as it is wanted in all. */
static bool is_shown(const struct list_call *list, const struct entry *entry)
{
    return entry->shards != 0 &&
           (list->any_state || entry->state == list->state);
}

static void list_finish(struct api_call *call)
{
    const struct list_call *list = list_call_of(call);
    struct buf *to = &call->body;
    bool more = list->found_count > list->limit;
    uint32_t end = more ? list->limit : list->found_count;
    bool first = true;

    buf_append_c(to, "{\"endpoints\":[");
    for (uint32_t index = 0; index < end; index++) {
        if (is_shown(list, list->found[index])) {
            buf_append_c(to, first ? "\n" : ",\n");
            append_entry(to, list->found[index]);
            first = false;
        }
    }
    buf_append_c(to, "],\"next\":");
    if (more && end > 0) {
        buf_append_c(to, "\"");
        buf_append_json(to, str_from(list->found[end - 1]->name));
        buf_append_c(to, "\"}\n");
    } else {
        buf_append_c(to, "null}\n");
    }
}

/* --- requests ------------------------------------------------------------- */

/* Read an endpoint, given as any URL of it, as its name. Answers and returns
 * false when it is none. */
static bool read_endpoint(const struct api_request *request,
                          struct str text,
                          char name[NAME_MAX_SIZE])
{
    const char *reason = NULL;
    struct buf written = {0};
    struct url url;

    enum err err = url_parse(text, &url, &reason);
    if (err == ERR_OK) {
        deliverer_target_name(&url, &written);
        buf_append_byte(&written, '\0');
        err = buf_err(&written);
    }
    if (err == ERR_OK && written.size <= NAME_MAX_SIZE) {
        memcpy(name, written.data, written.size);
        buf_fini(&written);
        return true;
    }
    answer_problem(request->exchange, err == ERR_NOMEM ? 503 : 400,
                   "endpoint must be a URL such as http://127.0.0.1:9000, "
                   "escaped as a query needs it",
                   NULL);
    buf_fini(&written);
    return false;
}

static bool read_state(const struct api_request *request,
                       const struct form_field *field,
                       struct list_call *wanted)
{
    wanted->any_state = field == NULL;
    if (field == NULL) {
        return true;
    }
    for (int state = 0; state < ENDPOINT_STATES; state++) {
        const char *text = endpoint_state_text((enum endpoint_state)state);
        if (str_equal(field->value, str_from(text))) {
            wanted->state = (enum endpoint_state)state;
            return true;
        }
    }
    answer_problem(request->exchange, 400,
                   "state must be closed, open, half_open or held", NULL);
    return false;
}

static void list_start(const struct api_request *request,
                       const struct list_call *wanted)
{
    struct api_call *call =
        api_call_create(request, sizeof(struct list_call), list_run);

    if (call == NULL) {
        return;
    }
    struct list_call *list = list_call_of(call);
    call->large = true;
    call->again = list_again;
    call->finish = list_finish;
    call->release = list_release;
    list->limit = wanted->limit;
    list->any_state = wanted->any_state;
    list->state = wanted->state;
    memcpy(list->after, wanted->after, sizeof(list->after));
    memcpy(list->only, wanted->only, sizeof(list->only));
    list->entries = calloc((size_t)list->limit + 1, sizeof(struct entry));
    list->found = calloc((size_t)list->limit + 1, sizeof(struct entry *));
    if (list->entries == NULL || list->found == NULL) {
        answer_problem(request->exchange, 503, "out of memory", NULL);
        api_call_drop(call);
        return;
    }
    api_call_walk(call);
}

void api_endpoints_list(const struct api_request *request)
{
    static const char *const known[] = {"endpoint", "state", "limit", "after",
                                        NULL};
    struct form form = {0};
    struct list_call wanted = {0};
    uint64_t limit = API_PAGE_DEFAULT;

    if (api_query(request, known, &form) &&
        api_query_number(request, &form, "limit", API_PAGE_MAX, &limit) &&
        read_state(request, form_find(&form, STR("state")), &wanted)) {
        const struct form_field *only = form_find(&form, STR("endpoint"));
        const struct form_field *after = form_find(&form, STR("after"));
        wanted.limit = (uint32_t)limit;
        if (after != NULL && after->value.size < NAME_MAX_SIZE) {
            memcpy(wanted.after, after->value.data, after->value.size);
        }
        if (only == NULL || read_endpoint(request, only->value, wanted.only)) {
            list_start(request, &wanted);
        }
    }
    form_fini(&form);
}

/* --- reset and release ---------------------------------------------------- */

struct change_call {
    struct api_call base;
    char name[NAME_MAX_SIZE];
    bool release;                  /* at `rate`; else reset */
    struct settings_rate rate;     /* count 0: end that */
    bool telling;                  /* the second time */
    uint64_t backlogs[SHARDS_MAX]; /* from the first time */
    uint64_t backlog_first;        /* their sum */
    uint64_t backlog;
    uint64_t shards; /* a bit for each that knows it */
    uint32_t shard;  /* where it is */
    uint64_t woken;
    uint64_t eta_ms;
};

static struct change_call *change_call_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct change_call, base);
}

static void note_backlog(void *context, const struct target_view *view)
{
    struct change_call *change = context;

    if (strcmp(view->name, change->name) == 0) {
        change->shards |= UINT64_C(1) << change->shard;
        change->backlogs[change->shard] = view->backlog;
        change->backlog_first += view->backlog;
    }
}

/* The rate of the shard where it is. */
static struct settings_rate share_of(const struct change_call *change)
{
    uint64_t count = (uint64_t)__builtin_popcountll(change->shards);
    uint64_t backlog = change->backlogs[change->shard];
    struct settings_rate share;

    /* An even part of each shard, and the rest by backlogs: in parts of
     * `backlog_first * count * EVEN_SHARE`. */
    uint64_t part = backlog * count * (EVEN_SHARE - 1) + change->backlog_first;
    uint64_t whole = change->backlog_first * count * EVEN_SHARE;
    if (whole == 0) {
        part = 1;
        whole = count;
    }
    rate_share(&change->rate, part, whole, &share);
    return share;
}

static void tell(struct change_call *change, struct shard *there)
{
    struct target_change done = {0};
    enum err err = ERR_OK;

    if (!change->release) {
        err = deliverer_target_renew(deliverer_of(there),
                                     str_from(change->name), &done);
    } else {
        struct settings_rate share = {0};
        if (change->rate.count > 0) {
            share = share_of(change);
        }
        err = deliverer_target_catch_up(deliverer_of(there),
                                        str_from(change->name), &share,
                                        &change->rate, &done);
    }
    if (err == ERR_NOT_FOUND) {
        return; /* it was forgotten meanwhile: nothing waits here */
    }
    change->woken += done.woken;
    change->backlog += done.backlog;
    if (done.eta_ms > change->eta_ms) {
        change->eta_ms = done.eta_ms;
    }
}

static void change_run(struct api_call *call, struct shard *there)
{
    struct change_call *change = change_call_of(call);

    change->shard = there->index;
    if (!change->telling) {
        deliverer_each_target(deliverer_of(there), note_backlog, change);
    } else if ((change->shards >> there->index & 1) != 0) {
        tell(change, there);
    }
    api_call_end(call);
}

static bool change_again(struct api_call *call)
{
    struct change_call *change = change_call_of(call);

    if (change->telling) {
        return false;
    }
    if (change->shards == 0) {
        api_call_err(call, ERR_NOT_FOUND, "endpoint");
        return false;
    }
    change->telling = true;
    return true;
}

static void change_finish(struct api_call *call)
{
    const struct change_call *change = change_call_of(call);
    struct buf *to = &call->body;

    buf_append_c(to, "{\"endpoint\":\"");
    buf_append_json(to, str_from(change->name));
    buf_append_byte(to, '"');
    json_text_append_number(to, "woken", change->woken);
    json_text_append_number(to, "backlog", change->backlog);
    if (change->release) {
        append_rate(to, &change->rate);
    }
    if (change->rate.count > 0) {
        append_eta(to, change->eta_ms);
    }
    append_shards(to, change->shards);
    buf_append_c(to, "}\n");
}

static void change_start(const struct api_request *request,
                         const char *name,
                         const struct settings_rate *rate)
{
    struct api_call *call =
        api_call_create(request, sizeof(struct change_call), change_run);

    if (call == NULL) {
        return;
    }
    struct change_call *change = change_call_of(call);
    call->again = change_again;
    call->finish = change_finish;
    memcpy(change->name, name, strlen(name) + 1);
    change->release = rate != NULL;
    if (rate != NULL) {
        change->rate = *rate;
    }
    api_call_walk(call);
}

/* Read the rate of a release. Answers and returns false when it is wrong. */
static bool read_rate(const struct api_request *request,
                      const struct form_field *field,
                      struct settings_rate *rate)
{
    if (field != NULL && rate_parse(field->value, rate) == ERR_OK) {
        return true;
    }
    answer_problem(request->exchange, 400,
                   "rate must be a number up to 1000000 in a duration from 1ms "
                   "to 1d such as 100/1s; 0 ends the release",
                   NULL);
    return false;
}

/* Take a request to reset or to release. */
static void take_change(const struct api_request *request,
                        const char *const *known,
                        bool release)
{
    struct form form = {0};
    struct settings_rate rate = {0};
    char name[NAME_MAX_SIZE];

    if (!api_query(request, known, &form)) {
        form_fini(&form);
        return;
    }
    const struct form_field *only = form_find(&form, STR("endpoint"));
    struct str text = only != NULL ? only->value : (struct str){NULL, 0};
    if (read_endpoint(request, text, name) &&
        (!release ||
         read_rate(request, form_find(&form, STR("rate")), &rate))) {
        change_start(request, name, release ? &rate : NULL);
    }
    form_fini(&form);
}

void api_endpoints_reset(const struct api_request *request)
{
    static const char *const known[] = {"endpoint", NULL};

    take_change(request, known, false);
}

void api_endpoints_release(const struct api_request *request)
{
    static const char *const known[] = {"endpoint", "rate", NULL};

    take_change(request, known, true);
}

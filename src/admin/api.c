/* The calls that look in and change topics: which there are.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api.h"

#include "admin/api_internal.h"
#include "admin/metrics.h"
#include "base/check.h"
#include "http/url.h"
#include "queue/answer.h"
#include "sys/clock.h"

#include <stdio.h>
#include <stdlib.h>

enum { SEGMENTS_MAX = 2 };

struct route {
    const char *path; /* {} stands for a segment */
    enum http_method method;
    bool always; /* served even without `admin` */
    void (*handle)(const struct api_request *request);
    const char *word;
};

#define TOPIC "/opq/topics/{}"
#define SUBSCRIPTION TOPIC "/subscriptions/{}"
#define ENDPOINTS "/opq/endpoints"
#define REPLAY "/opq/replays/{}"
#define SCHEDULE "/opq/schedules/{}"
#define MESSAGE "/opq/messages/{}"

static const struct route routes[] = {
    {"/healthz", HTTP_METHOD_GET, true, api_info_health, NULL},
    {"/readyz", HTTP_METHOD_GET, true, api_info_ready, NULL},
    {"/openapi.json", HTTP_METHOD_GET, true, api_info_openapi, NULL},
    {"/opq/info", HTTP_METHOD_GET, true, api_info_get, NULL},
    {"/metrics", HTTP_METHOD_GET, false, api_metrics_get, NULL},
    {"/opq/topics", HTTP_METHOD_GET, false, api_list_get, NULL},
    {TOPIC, HTTP_METHOD_GET, false, api_topic_get, NULL},
    {TOPIC, HTTP_METHOD_PUT, false, api_topic_put, NULL},
    {TOPIC, HTTP_METHOD_DELETE, false, api_topic_delete, NULL},
    {TOPIC "/pause", HTTP_METHOD_POST, false, api_topic_pause, "yes"},
    {TOPIC "/resume", HTTP_METHOD_POST, false, api_topic_pause, "no"},
    {TOPIC "/purge", HTTP_METHOD_POST, false, api_topic_purge, NULL},
    {"/opq/dlq", HTTP_METHOD_GET, false, api_dlq_get, NULL},
    {"/opq/dlq", HTTP_METHOD_DELETE, false, api_dlq_change, NULL},
    {"/opq/dlq/retry", HTTP_METHOD_POST, false, api_dlq_change, "retry"},
    {TOPIC "/messages", HTTP_METHOD_GET, false, api_messages_list, NULL},
    {TOPIC "/messages/{}", HTTP_METHOD_GET, false, api_messages_one, NULL},
    {TOPIC "/subscriptions", HTTP_METHOD_GET, false, api_subscriptions_list,
     NULL},
    {SUBSCRIPTION, HTTP_METHOD_GET, false, api_subscriptions_get, NULL},
    {SUBSCRIPTION, HTTP_METHOD_PUT, false, api_subscriptions_put, NULL},
    {SUBSCRIPTION, HTTP_METHOD_DELETE, false, api_subscriptions_delete, NULL},
    {SUBSCRIPTION "/pause", HTTP_METHOD_POST, false, api_subscriptions_pause,
     "yes"},
    {SUBSCRIPTION "/resume", HTTP_METHOD_POST, false, api_subscriptions_pause,
     "no"},
    {SUBSCRIPTION "/replay", HTTP_METHOD_POST, false, api_subscriptions_replay,
     NULL},
    {SUBSCRIPTION "/messages", HTTP_METHOD_GET, false, api_pull_messages, NULL},
    {SUBSCRIPTION "/ack", HTTP_METHOD_POST, false, api_pull_ack, NULL},
    {SUBSCRIPTION "/events", HTTP_METHOD_GET, false, api_events_get, NULL},
    {TOPIC "/events", HTTP_METHOD_GET, false, api_events_get, NULL},
    {ENDPOINTS, HTTP_METHOD_GET, false, api_endpoints_list, NULL},
    {ENDPOINTS "/reset", HTTP_METHOD_POST, false, api_endpoints_reset, NULL},
    {ENDPOINTS "/release", HTTP_METHOD_POST, false, api_endpoints_release,
     NULL},
    {"/opq/schedules", HTTP_METHOD_GET, false, api_schedules_list, NULL},
    {SCHEDULE, HTTP_METHOD_GET, false, api_schedules_get, NULL},
    {SCHEDULE, HTTP_METHOD_PUT, false, api_schedules_put, NULL},
    {SCHEDULE, HTTP_METHOD_DELETE, false, api_schedules_delete, NULL},
    {SCHEDULE "/pause", HTTP_METHOD_POST, false, api_schedules_pause, "yes"},
    {SCHEDULE "/resume", HTTP_METHOD_POST, false, api_schedules_pause, "no"},
    {SCHEDULE "/run", HTTP_METHOD_POST, false, api_schedules_run, NULL},
    {"/opq/replays", HTTP_METHOD_GET, false, api_replays_list, NULL},
    {"/opq/replays", HTTP_METHOD_POST, false, api_replays_post, NULL},
    {REPLAY, HTTP_METHOD_GET, false, api_replays_get, NULL},
    {REPLAY, HTTP_METHOD_DELETE, false, api_replays_delete, NULL},
    {REPLAY "/pause", HTTP_METHOD_POST, false, api_replays_pause, "yes"},
    {REPLAY "/resume", HTTP_METHOD_POST, false, api_replays_pause, "no"},
    {"/opq/delayed", HTTP_METHOD_GET, false, api_delayed_list, NULL},
    {MESSAGE, HTTP_METHOD_GET, false, api_delayed_one, NULL},
    {MESSAGE, HTTP_METHOD_DELETE, false, api_delayed_cancel, NULL},
    {TOPIC "/messages/{}/curl", HTTP_METHOD_GET, false, api_messages_curl,
     NULL},
    {"/opq/reload", HTTP_METHOD_POST, false, api_reload_post, NULL},
    {"/opq/events", HTTP_METHOD_GET, false, api_notices_get, NULL},
};

enum { ROUTE_COUNT = sizeof(routes) / sizeof(routes[0]) };

enum err api_create(const struct api_options *options, struct api **out)
{
    CHECK(options->shard_count <= SHARDS_MAX);

    struct api *api = calloc(1, sizeof(*api));
    if (api == NULL) {
        return ERR_NOMEM;
    }
    api->options = *options;
    api->started_ms = clock_wall_ms();
    api->started_ns = clock_monotonic_ns();
    atomic_init(&api->phase, API_STARTING);
    *out = api;
    return ERR_OK;
}

void api_destroy(struct api *api)
{
    free(api);
}

void api_set_ready(struct api *api, bool ready)
{
    atomic_store(&api->phase, ready ? API_READY : API_STOPPING);
}

void api_set_restarting(struct api *api, bool restarting)
{
    atomic_store(&api->restarting, restarting);
}

/* Match a path; `{}` takes one segment that is not empty. */
static bool
match(const char *pattern, struct str path, struct str segments[SEGMENTS_MAX])
{
    unsigned count = 0;

    while (*pattern != '\0') {
        if (*pattern == '{') {
            size_t size = str_find(path, '/');
            if (size == 0) {
                return false;
            }
            segments[count] = str_cut(path, 0, size);
            count++;
            path = str_cut(path, size, path.size);
            pattern += 2;
            continue;
        }
        if (path.size == 0 || path.data[0] != *pattern) {
            return false;
        }
        path = str_cut(path, 1, path.size);
        pattern++;
    }
    return path.size == 0;
}

static const char *method_names(enum http_method method)
{
    switch (method) {
    case HTTP_METHOD_GET:
        return "GET, HEAD";
    case HTTP_METHOD_POST:
        return "POST";
    case HTTP_METHOD_PUT:
        return "PUT";
    default:
        return "DELETE";
    }
}

static bool method_fits(enum http_method route, enum http_method asked)
{
    return route == asked ||
           (route == HTTP_METHOD_GET && asked == HTTP_METHOD_HEAD);
}

/* Look the path and method up. Without a route, `allow` gets the methods that
 * the path has; empty: none. */
static const struct route *
find_route(struct api_request *request, char *allow, size_t allow_size)
{
    const struct http_head *head = request->exchange->head;
    size_t used = 0;

    allow[0] = '\0';
    for (unsigned index = 0; index < ROUTE_COUNT; index++) {
        const struct route *route = &routes[index];
        struct str segments[SEGMENTS_MAX] = {{NULL, 0}, {NULL, 0}};
        if ((!route->always && !request->api->options.admin) ||
            !match(route->path, head->path, segments)) {
            continue;
        }
        if (method_fits(route->method, head->method)) {
            request->segments[0] = segments[0];
            request->segments[1] = segments[1];
            request->word = route->word;
            return route;
        }
        int size = snprintf(allow + used, allow_size - used, "%s%s",
                            used > 0 ? ", " : "", method_names(route->method));
        CHECK(size > 0 && used + (size_t)size < allow_size);
        used += (size_t)size;
    }
    return NULL;
}

bool api_is_control(struct str header)
{
    return str_equal_nocase(str_cut(header, 0, 4), STR("opq-"));
}

bool api_has_control(const struct http_head *head)
{
    for (uint32_t index = 0; index < head->header_count; index++) {
        if (api_is_control(head->headers[index].name)) {
            return true;
        }
    }
    return false;
}

/* Tell whether a call that changes something says more than is listened to.
 * Who purges with `before` in a body would else lose everything. */
static bool says_too_much(const struct route *route,
                          const struct http_exchange *exchange)
{
    if ((route->method != HTTP_METHOD_POST &&
         route->method != HTTP_METHOD_DELETE) ||
        route->handle == api_replays_post) {
        return false;
    }
    return exchange->body.size > 0 || api_has_control(exchange->head);
}

/* Tell whether the first {} of a route is a topic. */
static bool is_of_topic(const struct route *route)
{
    return str_starts(str_from(route->path), STR(TOPIC));
}

/* Tell what is wrong with a topic or schedule that a path names; NULL: nothing.
 * Other names their handlers look at. */
static const char *name_fault(const struct route *route, struct str name)
{
    if (str_starts(str_from(route->path), STR(SCHEDULE))) {
        return schedule_id_valid(name)
                   ? NULL
                   : "a schedule's id is 1 to 64 of A-Z a-z 0-9 . _ - and "
                     "does not begin with .";
    }
    return !is_of_topic(route) || store_topic_name_valid(name)
               ? NULL
               : "a topic is 1 to 128 of A-Z a-z 0-9 . _ - and not . or ..";
}

void api_handle(void *context,
                struct pipeline *pipeline,
                struct http_exchange *exchange)
{
    struct api_request request = {
        .api = context,
        .pipeline = pipeline,
        .exchange = exchange,
    };
    char allow[64];
    const struct route *route = find_route(&request, allow, sizeof(allow));

    if (route == NULL && allow[0] != '\0') {
        answer_method(exchange, allow);
    } else if (route == NULL) {
        answer_problem(exchange, 404, "there is nothing at this path", NULL);
    } else if (name_fault(route, request.segments[0]) != NULL) {
        answer_problem(exchange, 400, name_fault(route, request.segments[0]),
                       NULL);
    } else if (route->method != HTTP_METHOD_GET && is_of_topic(route) &&
               topic_is_internal(request.segments[0])) {
        answer_problem(exchange, 403, "this topic is OPQ's own", NULL);
    } else if (says_too_much(route, exchange)) {
        answer_problem(exchange, 400,
                       "this call takes neither a body nor Opq- headers: its "
                       "parameters are in the query",
                       NULL);
    } else {
        route->handle(&request);
    }
}

void api_about(const struct api *api,
               const struct shard *shard,
               struct metrics_about *out_about)
{
    *out_about = (struct metrics_about){
        .version = api->options.version,
        .io = io_backend_name(shard->io),
        .sync = api->options.durability,
        .data = api->options.data,
        .started_ms = api->started_ms,
        .started_ns = api->started_ns,
    };
}

bool api_url_allowed(const struct api *api, const char *text)
{
    const struct api_options *options = &api->options;
    const char *reason = NULL;
    struct url url;

    return options->target_allowed == NULL ||
           url_parse(str_from(text), &url, &reason) != ERR_OK ||
           options->target_allowed(options->context, url.host);
}

/* --- queries -------------------------------------------------------------- */

/* Find what is wrong with a query's names: NULL or a field. */
static const struct form_field *
find_unknown(const struct form *form, const char *const *known, bool *out_twice)
{
    for (uint32_t index = 0; index < form->field_count; index++) {
        const struct form_field *field = &form->fields[index];
        const char *const *name = known;
        while (*name != NULL && !str_equal(str_from(*name), field->name)) {
            name++;
        }
        *out_twice = form_find(form, field->name) != field;
        if (*name == NULL || *out_twice) {
            return field;
        }
    }
    return NULL;
}

bool api_query(const struct api_request *request,
               const char *const *known,
               struct form *form)
{
    struct buf detail = {0};
    bool twice = false;
    enum err err = form_parse_urlencoded(form, request->exchange->head->query);

    if (err != ERR_OK) {
        answer_problem(request->exchange, answer_status(err),
                       "the query is malformed or too long", NULL);
        return false;
    }
    const struct form_field *wrong = find_unknown(form, known, &twice);
    if (wrong == NULL) {
        return true;
    }
    buf_append_c(&detail, twice ? "given twice: " : "unknown parameter: ");
    buf_append_str(&detail, str_cut(wrong->name, 0, 64));
    buf_append_byte(&detail, '\0');
    answer_problem(request->exchange, 400,
                   detail.failed ? "unknown parameter" : detail.data, NULL);
    buf_fini(&detail);
    return false;
}

bool api_query_none(const struct api_request *request)
{
    static const char *const known[] = {NULL};
    struct form form = {0};
    bool none = api_query(request, known, &form);

    form_fini(&form);
    return none;
}

bool api_query_number(const struct api_request *request,
                      const struct form *form,
                      const char *name,
                      uint64_t max,
                      uint64_t *value)
{
    const struct form_field *field = form_find(form, str_from(name));
    uint64_t number = 0;
    char detail[96];

    if (field == NULL) {
        return true;
    }
    enum err err = str_to_u64(field->value, &number);
    if (err == ERR_OK && number <= max) {
        *value = number;
        return true;
    }
    (void)snprintf(detail, sizeof(detail), "%s must be a number from 0 to %llu",
                   name, (unsigned long long)max);
    answer_problem(request->exchange, 400, detail, NULL);
    return false;
}

bool api_query_flag(const struct api_request *request,
                    const struct form *form,
                    const char *name,
                    bool *flag)
{
    const struct form_field *field = form_find(form, str_from(name));
    char detail[96];

    if (field == NULL) {
        return true;
    }
    bool yes = str_equal(field->value, STR("yes"));
    if (yes || str_equal(field->value, STR("no"))) {
        *flag = yes;
        return true;
    }
    (void)snprintf(detail, sizeof(detail), "%s must be yes or no", name);
    answer_problem(request->exchange, 400, detail, NULL);
    return false;
}

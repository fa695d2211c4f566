/* Pull subscriptions: clients read their messages, and acknowledge them.
 *
 * What the filter leaves out is passed over when it is read, so that it does
 * not hold the cursor: noted with the ranges of the cursor, as far as there is
 * room, and not waited for, since it is found again.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_pull.h"

#include "admin/api_internal.h"
#include "admin/api_page.h"
#include "admin/api_render.h"
#include "base/check.h"
#include "queue/acknowledge.h"
#include "queue/answer.h"

#include <assert.h>
#include <string.h>

enum { ACK_COUNT_MAX = 1000 }; /* of seqs */

static_assert((int)ACK_COUNT_MAX <= (int)ACKNOWLEDGE_MAX, "in one go");

enum err api_pull_find(struct shard *shard,
                       const char *topic_name,
                       const char *subscription,
                       struct topic **out,
                       const char **out_subject)
{
    struct topic *topic = NULL;
    struct topic *found = NULL;

    *out_subject = "topic";
    enum err err = shard_topic(shard, str_from(topic_name), false, &topic);
    if (err != ERR_OK) {
        return err;
    }
    *out_subject = "subscription";
    err =
        shard_subscription(shard, topic, str_from(subscription), false, &found);
    if (err != ERR_OK) {
        return err;
    }
    if (found->settings.kind != SETTINGS_KIND_PULL) {
        *out_subject = "its kind is not pull";
        return ERR_EXISTS;
    }
    *out = found;
    return ERR_OK;
}

enum err api_pull_filter(const struct topic *subscription, struct filter **out)
{
    struct filter_problem problem;

    *out = NULL;
    if (subscription->settings.filter == NULL) {
        return ERR_OK;
    }
    enum err err =
        filter_compile(str_from(subscription->settings.filter), out, &problem);
    return err == ERR_OK || err == ERR_NOMEM ? err : ERR_CORRUPT;
}

/* Read the name of the request's subscription. Answers and returns false when
 * it is none. */
static bool read_name(const struct api_request *request,
                      char name[TOPIC_NAME_MAX + 1])
{
    struct str text = request->segments[1];

    if (!store_topic_name_valid(text)) {
        answer_problem(request->exchange, 400,
                       "a subscription is 1 to 128 of A-Z a-z 0-9 . _ - and "
                       "not . or ..",
                       NULL);
        return false;
    }
    memcpy(name, text.data, text.size);
    name[text.size] = '\0';
    return true;
}

/* End a call that is about no pull subscription. */
static void fail_find(struct api_call *call, enum err err, const char *subject)
{
    if (err == ERR_EXISTS) {
        api_call_problem(call, 409, subject);
    } else {
        api_call_err(call, err, subject);
    }
    api_call_end(call);
}

/* --- messages ------------------------------------------------------------- */

struct pull_call {
    struct api_call base;
    struct shard_call cancel; /* after the client has gone */
    struct api_page page;
    struct filter *filter; /* owned */
    char name[TOPIC_NAME_MAX + 1];
    uint64_t from;
    bool from_given;
    bool ended; /* api_call_end() was called */
};

static struct pull_call *pull_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct pull_call, base);
}

static void pull_release(struct api_call *call)
{
    filter_destroy(pull_of(call)->filter);
}

/* Move the cursor over what the filter left out. */
static void pass_over(struct topic *subscription, const struct api_page *page)
{
    struct store_range ranges[CURSOR_RANGES_MAX];
    struct store_cursor cursor;

    if (page->passed_count == 0) {
        return;
    }
    enum err err = acknowledge(&subscription->store->cursor, page->passed,
                               page->passed_count, true, ranges, &cursor);
    CHECK(err == ERR_OK); /* it is cut */
    store_cursor_store(subscription->store, &cursor);
}

static void pull_done(struct api_page *page, enum err err, const char *subject)
{
    struct pull_call *task = CONTAINER_OF(page, struct pull_call, page);
    struct topic *subscription = NULL;

    task->ended = true;
    if (err == ERR_OK) {
        err = api_pull_find(page->there, task->base.topic, task->name,
                            &subscription, &subject);
    }
    if (err != ERR_OK) {
        fail_find(&task->base, err, subject);
        return;
    }
    pass_over(subscription, page);
    const struct store_topic *view = subscription->store;
    buf_append_format(
        &task->base.body,
        "],\"next\":%llu,\"cursor\":%llu,\"oldest\":%llu,\"end\":%llu}\n",
        (unsigned long long)page->next, (unsigned long long)view->cursor.next,
        (unsigned long long)view->bounds.oldest,
        (unsigned long long)view->bounds.end);
    api_call_end(&task->base);
}

static void pull_run(struct api_call *call, struct shard *there)
{
    struct pull_call *task = pull_of(call);
    struct topic *subscription = NULL;
    const char *subject = NULL;

    enum err err =
        api_pull_find(there, call->topic, task->name, &subscription, &subject);
    if (err == ERR_OK) {
        subject = "the filter";
        err = api_pull_filter(subscription, &task->filter);
    }
    if (err != ERR_OK) {
        task->ended = true;
        fail_find(call, err, subject);
        return;
    }
    const struct store_topic *view = subscription->store;
    uint64_t from = task->from_given ? task->from : view->cursor.next;
    if (from > view->bounds.end) {
        task->ended = true;
        api_call_range(call, "from is past the end", &view->bounds);
        api_call_end(call);
        return;
    }
    struct api_page *page = &task->page;
    page->next = from > view->cursor.next ? from : view->cursor.next;
    page->held = subscription->settings.paused;
    page->there = there;
    page->api = call->api;
    page->topic = call->topic;
    page->subscription = task->name;
    page->filter = task->filter;
    page->to = &call->body;
    page->size_max = API_BYTES_MAX;
    page->done = pull_done;
    buf_append_c(&call->body, "{\"messages\":[");
    api_page_begin(page);
}

/* The client has gone: nobody waits any more. */
static void cancel_run(struct shard_call *call, struct shard *there)
{
    struct pull_call *task = CONTAINER_OF(call, struct pull_call, cancel);

    (void)there;
    if (!task->ended) {
        api_page_cancel(&task->page);
    }
    shard_call_return(call);
}

static void cancel_returned(struct shard_call *call)
{
    struct pull_call *task = CONTAINER_OF(call, struct pull_call, cancel);

    task->base.kept = false;
    if (task->base.exchange == NULL) {
        api_call_drop(&task->base); /* it was answered before */
    }
}

static void pull_abandoned(struct http_exchange *exchange)
{
    struct pull_call *task = exchange->context;

    exchange->abandoned = NULL;
    if (task->base.kept) {
        return;
    }
    task->cancel.run = cancel_run;
    task->cancel.returned = cancel_returned;
    struct shard *there =
        shard_owner(task->base.home, str_from(task->base.topic));
    /* When it cannot be sent, the wait ends by its time. */
    task->base.kept =
        shard_send(task->base.home, there, &task->cancel) == ERR_OK;
}

/* Read from, limit, wait. Answers and returns false when one is wrong. */
static bool read_page(const struct api_request *request,
                      const struct form *form,
                      struct pull_call *task)
{
    const struct form_field *wait = form_find(form, STR("wait"));
    uint64_t limit = API_PAGE_DEFAULT;
    uint64_t wait_ms = 0;

    task->from_given = form_find(form, STR("from")) != NULL;
    if (!read_name(request, task->name) ||
        !api_query_number(request, form, "from", UINT64_MAX, &task->from) ||
        !api_query_number(request, form, "limit", API_PAGE_MAX, &limit)) {
        return false;
    }
    if (wait != NULL && (str_to_duration_ms(wait->value, &wait_ms) != ERR_OK ||
                         wait_ms > API_WAIT_MS_MAX)) {
        answer_problem(request->exchange, 400,
                       "wait must be a duration of at most 60s", NULL);
        return false;
    }
    task->page.limit = (uint32_t)limit;
    task->page.wait_ms = (uint32_t)wait_ms;
    return true;
}

static void pull_start(const struct api_request *request,
                       const struct form *form)
{
    struct api_call *call =
        api_call_create(request, sizeof(struct pull_call), pull_run);

    if (call == NULL) {
        return;
    }
    struct pull_call *task = pull_of(call);
    call->large = true;
    call->release = pull_release;
    if (!read_page(request, form, task)) {
        api_call_drop(call);
        return;
    }
    if (task->page.wait_ms > 0) {
        request->exchange->context = task;
        request->exchange->abandoned = pull_abandoned;
    }
    api_call_send(call);
}

void api_pull_messages(const struct api_request *request)
{
    static const char *const known[] = {"from", "limit", "wait", NULL};
    struct form form = {0};

    if (api_query(request, known, &form)) {
        pull_start(request, &form);
    }
    form_fini(&form);
}

/* --- acknowledging -------------------------------------------------------- */

struct ack_call {
    struct api_call base;
    struct store_op op;
    struct shard *there; /* borrowed */
    char name[TOPIC_NAME_MAX + 1];
    bool durable;
    uint64_t last; /* the highest one */
    uint32_t count;
    struct store_range ranges[ACK_COUNT_MAX];
};

static struct ack_call *ack_of(struct api_call *call)
{
    return CONTAINER_OF(call, struct ack_call, base);
}

/* End the call with its subscription. */
static void ack_show(struct ack_call *task)
{
    struct topic *subscription = NULL;
    const char *subject = NULL;

    enum err err = api_pull_find(task->there, task->base.topic, task->name,
                                 &subscription, &subject);
    if (err != ERR_OK) {
        fail_find(&task->base, err, subject);
        return;
    }
    api_render_subscription(subscription, &task->base.body);
    buf_append_byte(&task->base.body, '\n');
    api_call_end(&task->base);
}

static void ack_saved(struct store_op *op, enum err err)
{
    struct ack_call *task = CONTAINER_OF(op, struct ack_call, op);

    if (err != ERR_OK) {
        api_call_err(&task->base, err, "the cursor could not be stored");
        api_call_end(&task->base);
        return;
    }
    ack_show(task);
}

static void ack_run(struct api_call *call, struct shard *there)
{
    struct ack_call *task = ack_of(call);
    struct store_range ranges[CURSOR_RANGES_MAX];
    struct store_cursor cursor;
    struct topic *subscription = NULL;
    const char *subject = NULL;

    task->there = there;
    enum err err =
        api_pull_find(there, call->topic, task->name, &subscription, &subject);
    if (err != ERR_OK) {
        fail_find(call, err, subject);
        return;
    }
    struct store_topic *view = subscription->store;
    if (task->last >= view->bounds.end) {
        api_call_range(call, "a sequence number is past the end",
                       &view->bounds);
        api_call_end(call);
        return;
    }
    err = acknowledge(&view->cursor, task->ranges, task->count, false, ranges,
                      &cursor);
    if (err != ERR_OK) {
        api_call_problem(
            call, 409,
            "too many gaps: at most 128 ranges can be acknowledged "
            "above the cursor; acknowledge what is below first");
        api_call_end(call);
        return;
    }
    if (!task->durable) {
        store_cursor_store(view, &cursor);
        ack_show(task);
        return;
    }
    task->op.done = ack_saved;
    store_cursor_save(view, &cursor, &task->op);
}

/* Read the numbers of seqs. Returns what is wrong, or NULL. */
static const char *read_row(struct str text, struct ack_call *task)
{
    for (bool more = true; more;) {
        size_t end = str_find(text, ',');
        uint64_t sequence = 0;
        if (task->count == ACK_COUNT_MAX) {
            return "seqs has more than 1000 numbers";
        }
        if (str_to_u64(str_cut(text, 0, end), &sequence) != ERR_OK ||
            sequence == UINT64_MAX) {
            return "seqs must be sequence numbers with commas";
        }
        more = end < text.size;
        text = str_cut(text, end + 1, text.size);
        task->ranges[task->count] =
            (struct store_range){sequence, sequence + 1};
        task->count++;
        task->last = sequence > task->last ? sequence : task->last;
    }
    return NULL;
}

/* Read seq or seqs, and sync. Returns what is wrong, or NULL. */
static const char *read_ack(const struct form *form, struct ack_call *task)
{
    const struct form_field *seq = form_find(form, STR("seq"));
    const struct form_field *seqs = form_find(form, STR("seqs"));
    const struct form_field *sync = form_find(form, STR("sync"));

    task->durable = sync == NULL || str_equal(sync->value, STR("disk"));
    if (!task->durable && !str_equal(sync->value, STR("none"))) {
        return "sync must be disk or none";
    }
    if ((seq == NULL) == (seqs == NULL)) {
        return "give either seq, for all up to it, or seqs, for single ones";
    }
    if (seqs != NULL) {
        return read_row(seqs->value, task);
    }
    if (str_to_u64(seq->value, &task->last) != ERR_OK ||
        task->last == UINT64_MAX) {
        return "seq must be a sequence number";
    }
    task->ranges[0] = (struct store_range){0, task->last + 1};
    task->count = 1;
    return NULL;
}

static void ack_start(const struct api_request *request,
                      const struct form *form)
{
    struct api_call *call =
        api_call_create(request, sizeof(struct ack_call), ack_run);

    if (call == NULL) {
        return;
    }
    struct ack_call *task = ack_of(call);
    if (!read_name(request, task->name)) {
        api_call_drop(call);
        return;
    }
    const char *wrong = read_ack(form, task);
    if (wrong != NULL) {
        answer_problem(request->exchange, 400, wrong, NULL);
        api_call_drop(call);
        return;
    }
    api_call_send(call);
}

void api_pull_ack(const struct api_request *request)
{
    static const char *const known[] = {"seq", "seqs", "sync", NULL};
    struct form form = {0};

    if (api_query(request, known, &form)) {
        ack_start(request, &form);
    }
    form_fini(&form);
}

/* Turns a push request into a message: see recorder.h for the forms.
 *
 * What happens: the type of the body chooses the form; the form fills topic,
 * url, fields or body, and control values; headers to deliver are picked; the
 * target's URL is checked. What can fail: the producer's input, always with the
 * field and the reason; memory. Policy: nothing is repaired and nothing that
 * is not understood is dropped in silence, but a form's unknown fields are the
 * message's.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/recorder_internal.h"

#include "base/check.h"
#include "http/url.h"
#include "queue/cloudevents.h"
#include "queue/forward.h"
#include "queue/topic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCRATCH_KEEP_MAX = 1 << 20 }; /* scratch kept between requests, bytes */

enum err recorder_create(const struct recorder_options *options,
                         struct recorder **out)
{
    struct recorder *recorder = calloc(1, sizeof(*recorder));

    if (recorder == NULL) {
        return ERR_NOMEM;
    }
    recorder->options = *options;
    form_init(&recorder->form);
    form_init(&recorder->query);
    *out = recorder;
    return ERR_OK;
}

void recorder_destroy(struct recorder *recorder)
{
    if (recorder == NULL) {
        return;
    }
    form_fini(&recorder->form);
    form_fini(&recorder->query);
    buf_fini(&recorder->memory);
    buf_fini(&recorder->events);
    free(recorder);
}

enum err recorder_refuse(struct push_refusal *refusal,
                         int status,
                         const char *what,
                         const char *why)
{
    refusal->status = status;
    (void)snprintf(refusal->detail, sizeof(refusal->detail), "%s %s", what,
                   why);
    return ERR_INVALID;
}

/* Tell whether a name can be shown back: none but plain characters, few. */
static bool is_plain(struct str name)
{
    enum { SHOWN_MAX = 64 };

    for (size_t index = 0; index < name.size; index++) {
        char byte = name.data[index];
        if (!(byte >= 'a' && byte <= 'z') && !(byte >= 'A' && byte <= 'Z') &&
            !(byte >= '0' && byte <= '9') && byte != '-' && byte != '_') {
            return false;
        }
    }
    return name.size > 0 && name.size <= SHOWN_MAX;
}

enum err recorder_refuse_name(struct push_refusal *refusal,
                              const char *what,
                              struct str name,
                              const char *why)
{
    char text[RECORDER_DETAIL_MAX];

    if (!is_plain(name)) {
        return recorder_refuse(refusal, 400, what, why);
    }
    (void)snprintf(text, sizeof(text), "%s %.*s", what, STR_ARG(name));
    return recorder_refuse(refusal, 400, text, why);
}

/* --- headers -------------------------------------------------------------- */

static const struct str opq_prefix = {"opq-", 4};
static const struct str forward_prefix = {"opq-forward-", 12};

/* Tell whether a field name begins with a prefix, without regard to case. */
static bool has_prefix(struct str name, struct str prefix)
{
    return str_equal_nocase(str_cut(name, 0, prefix.size), prefix);
}

/* What is delivered has a type of its own, by its form or `content_type`. */
static bool ends_here(struct str name)
{
    return forward_drops(name) ||
           (name.size == 12 && str_equal_nocase(name, STR("content-type")));
}

static enum err add_header(struct recorder *recorder,
                           struct str name,
                           struct str value,
                           struct push_refusal *refusal)
{
    struct message *message = &recorder->push.message;

    if (message->header_count == MESSAGE_PAIRS_MAX) {
        return recorder_refuse(refusal, 400, "headers", "are too many");
    }
    recorder->headers[message->header_count] =
        (struct pair){.key = name, .value = value};
    message->header_count++;
    return ERR_OK;
}

enum err recorder_add_header(struct recorder *recorder,
                             struct str name,
                             struct str value,
                             struct push_refusal *refusal)
{
    if (!http_is_token(name) || !http_is_field_value(value)) {
        return recorder_refuse(refusal, 400, "headers", "has a bad field");
    }
    if (ends_here(name)) {
        return recorder_refuse(refusal, 400, "headers",
                               "has a field that OPQ sets itself");
    }
    return add_header(recorder, name, value, refusal);
}

static bool is_idempotency_key(struct str name)
{
    return name.size == 15 && str_equal_nocase(name, STR("idempotency-key"));
}

/* Take control values and forwarded fields from the request's head; with
 * `verbatim`, its end-to-end fields, too. */
enum err recorder_take_head(struct recorder *recorder,
                            const struct http_head *head,
                            bool verbatim,
                            struct push_refusal *refusal)
{
    if (verbatim && forward_connection_size(head) > FORWARD_CONNECTION_MAX) {
        return recorder_refuse(refusal, 400, "Connection", "is too long");
    }
    for (uint32_t index = 0; index < head->header_count; index++) {
        struct str name = head->headers[index].name;
        struct str value = head->headers[index].value;
        enum err err = ERR_OK;
        if (http_head_has_read(head, index)) {
            continue; /* and so ends_here() */
        }
        if (is_idempotency_key(name)) {
            err = recorder_idempotency_key(recorder, value, refusal);
        } else if (!has_prefix(name, opq_prefix)) {
            if (verbatim && !ends_here(name) && !forward_is_named(head, name)) {
                err = add_header(recorder, name, value, refusal);
            }
        } else if (has_prefix(name, forward_prefix)) {
            err = recorder_add_header(
                recorder, str_cut(name, forward_prefix.size, name.size), value,
                refusal);
        } else {
            err = recorder_control(recorder,
                                   str_cut(name, opq_prefix.size, name.size),
                                   value, refusal);
            if (err == ERR_NOT_FOUND) {
                err = recorder_refuse_name(refusal, "header", name,
                                           "is not known");
            }
        }
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

/* --- common to all forms -------------------------------------------------- */

void recorder_begin(struct recorder *recorder, uint64_t now_ms)
{
    recorder->given = 0;
    recorder->push.topic = (struct str){NULL, 0};
    recorder->push.durability = recorder->options.durability;
    recorder->push.expects = false;
    recorder->push.dated = false;
    recorder->idempotency_key = (struct str){NULL, 0};
    memset(&recorder->push.message, 0, sizeof(recorder->push.message));
    recorder->push.message.pushed_at_ms = now_ms;
    recorder->push.message.fields = recorder->fields;
    recorder->push.message.headers = recorder->headers;
    form_clear(&recorder->form);
    form_clear(&recorder->query);
    if (recorder->memory.capacity > SCRATCH_KEEP_MAX) {
        buf_fini(&recorder->memory);
    }
    if (recorder->events.capacity > SCRATCH_KEEP_MAX) {
        buf_fini(&recorder->events);
    }
    buf_clear(&recorder->memory);
}

/* Say that a URL is wrong: "<name>: <reason>". */
static enum err refuse_url(struct push_refusal *refusal,
                           int status,
                           const char *name,
                           const char *reason)
{
    char what[RECORDER_DETAIL_MAX];

    (void)snprintf(what, sizeof(what), "%s:", name);
    return recorder_refuse(refusal, status, what, reason);
}

enum err recorder_check_url(struct recorder *recorder,
                            const char *name,
                            struct str text,
                            struct push_refusal *refusal)
{
    const char *reason = "";
    struct url url;

    if (url_memo_has(&recorder->urls, text)) {
        return ERR_OK;
    }
    if (text.size == 0) {
        return recorder_refuse(refusal, 400, name, "is missing or empty");
    }
    enum err err = url_parse(text, &url, &reason);
    if (err != ERR_OK) {
        return refuse_url(refusal, err == ERR_TOO_LARGE ? 414 : 400, name,
                          reason);
    }
    if (recorder->options.target_allowed != NULL &&
        !recorder->options.target_allowed(recorder->options.context,
                                          url.host)) {
        return recorder_refuse(refusal, 400, name,
                               "points to an address that is not allowed");
    }
    url_memo_put(&recorder->urls, text, &url);
    return ERR_OK;
}

/* Tell whether a message is to be looked at: most are none. */
static bool may_be_event(const struct message *message)
{
    return message->kind == MESSAGE_KIND_RAW &&
           (message->header_count > 0 ||
            cloudevents_is_any(message->content_type));
}

enum err recorder_finish(struct recorder *recorder,
                         struct push *out_push,
                         struct push_refusal *refusal)
{
    struct push *push = &recorder->push;

    if (push->topic.size == 0) {
        return recorder_refuse(refusal, 400, "topic", "is missing or empty");
    }
    if (!store_topic_name_valid(push->topic)) {
        return recorder_refuse(refusal, 400, "topic",
                               "must be 1 to 128 of A-Z a-z 0-9 . _ - and "
                               "not . or ..");
    }
    if (topic_is_internal(push->topic) || topic_is_dead(push->topic)) {
        return recorder_refuse(refusal, 400, "topic",
                               "is reserved: names that begin with .opq. or "
                               "end with .dlq are the server's own");
    }
    enum err err = ERR_OK;
    if (push->message.url.size > 0) { /* without: for the subscriptions */
        err = recorder_check_url(recorder, "url", push->message.url, refusal);
    }
    if (err == ERR_OK && may_be_event(&push->message)) {
        err = recorder_check_event(recorder, refusal);
    }
    if (err == ERR_OK &&
        (push->message.options != NULL || recorder->idempotency_key.size > 0)) {
        err = recorder_finish_options(recorder, refusal);
    }
    if (err != ERR_OK) {
        return err;
    }
    *out_push = *push;
    return ERR_OK;
}

static enum err form_failed(enum err err, struct push_refusal *refusal)
{
    if (err == ERR_NOMEM) {
        return err;
    }
    return recorder_refuse(refusal, 400, "form",
                           err == ERR_TOO_LARGE ? "has more than 100 fields"
                                                : "is malformed");
}

/* Append the query's parameters to a form. */
static enum err parse_query(const struct http_head *head,
                            struct form *form,
                            struct push_refusal *refusal)
{
    if (head->query.size == 0) {
        return ERR_OK;
    }
    enum err err = form_parse_urlencoded(form, head->query);
    return err == ERR_OK ? ERR_OK : form_failed(err, refusal);
}

/* --- forms ---------------------------------------------------------------- */

enum body_type {
    BODY_URLENCODED,
    BODY_MULTIPART,
    BODY_JSON,
    BODY_OTHER,
};

static enum body_type body_type(struct str content_type)
{
    struct str type =
        str_trim(str_cut(content_type, 0, str_find(content_type, ';')));

    if (str_equal_nocase(type, STR("application/x-www-form-urlencoded"))) {
        return BODY_URLENCODED;
    }
    if (str_equal_nocase(type, STR("multipart/form-data"))) {
        return BODY_MULTIPART;
    }
    if (str_equal_nocase(type, STR("application/json"))) {
        return BODY_JSON;
    }
    return BODY_OTHER;
}

/* Give the type of a request's body. Two types are two readings of it.
 * Errors: ERR_INVALID */
static enum err read_type(const struct http_head *head,
                          enum body_type *out_type,
                          struct push_refusal *refusal)
{
    if (head->content_type_count > 1) {
        return recorder_refuse(refusal, 400, "Content-Type", "is given twice");
    }
    *out_type = body_type(head->content_type);
    return ERR_OK;
}

bool recorder_is_raw(const struct http_head *head)
{
    if (cloudevents_is_structured(head->content_type) ||
        cloudevents_is_batch(head->content_type)) {
        return false; /* it is to be looked at */
    }
    return body_type(head->content_type) == BODY_OTHER ||
           recorder_has_event_head(head);
}

static enum err parse_form(struct recorder *recorder,
                           const struct http_head *head,
                           enum body_type type,
                           struct str body,
                           struct push_refusal *refusal)
{
    enum err err =
        type == BODY_MULTIPART
            ? form_parse_multipart(&recorder->form, head->content_type, body)
            : form_parse_urlencoded(&recorder->form, body);

    if (err != ERR_OK) {
        return form_failed(err, refusal);
    }
    return parse_query(head, &recorder->form, refusal);
}

/* Sort one field into topic, url, control value or message. */
static enum err take_field(struct recorder *recorder,
                           const struct form_field *field,
                           struct push_refusal *refusal)
{
    struct message *message = &recorder->push.message;
    struct str name = field->name;
    bool plain = str_equal(name, STR("url")) || str_equal(name, STR("topic"));

    if (plain || has_prefix(name, opq_prefix)) {
        struct str control =
            plain ? name : str_cut(name, opq_prefix.size, name.size);
        enum err err =
            recorder_control(recorder, control, field->value, refusal);
        if (err != ERR_NOT_FOUND) {
            return err;
        }
    }
    recorder->fields[message->field_count] =
        (struct pair){.key = name, .value = field->value};
    message->field_count++;
    return ERR_OK;
}

static enum err read_form(struct recorder *recorder,
                          const struct http_head *head,
                          enum body_type type,
                          struct str body,
                          struct push_refusal *refusal)
{
    _Static_assert((int)FORM_FIELDS_MAX <= (int)MESSAGE_PAIRS_MAX,
                   "every field of a form has a place in the message");
    enum err err = parse_form(recorder, head, type, body, refusal);

    recorder->push.message.kind = MESSAGE_KIND_FORM;
    for (uint32_t index = 0;
         err == ERR_OK && index < recorder->form.field_count; index++) {
        err = take_field(recorder, &recorder->form.fields[index], refusal);
    }
    if (err != ERR_OK) {
        return err;
    }
    return recorder_take_head(recorder, head, true, refusal);
}

/* Control values of the query; unknown names are refused. */
enum err recorder_take_query(struct recorder *recorder,
                             const struct http_head *head,
                             struct push_refusal *refusal)
{
    enum err err = parse_query(head, &recorder->query, refusal);

    for (uint32_t index = 0;
         err == ERR_OK && index < recorder->query.field_count; index++) {
        const struct form_field *field = &recorder->query.fields[index];
        err = recorder_control(recorder, field->name, field->value, refusal);
        if (err == ERR_NOT_FOUND) {
            err = recorder_refuse_name(refusal, "query parameter", field->name,
                                       "is not known");
        }
    }
    return err;
}

static enum err read_raw(struct recorder *recorder,
                         const struct http_head *head,
                         bool event,
                         struct str body,
                         struct push_refusal *refusal)
{
    struct message *message = &recorder->push.message;

    message->kind = MESSAGE_KIND_RAW;
    message->body = body;
    message->content_type = head->content_type;
    enum err err = recorder_take_head(recorder, head, false, refusal);
    if (err == ERR_OK && event) {
        err = recorder_take_event_head(recorder, head, refusal);
    }
    if (err != ERR_OK) {
        return err;
    }
    return recorder_take_query(recorder, head, refusal);
}

enum err recorder_read(struct recorder *recorder,
                       const struct http_head *head,
                       struct str body,
                       uint64_t now_ms,
                       struct push *out_push,
                       struct push_refusal *out_refusal)
{
    enum body_type type = BODY_OTHER;
    enum err err = read_type(head, &type, out_refusal);

    if (err != ERR_OK) {
        return err;
    }
    recorder_begin(recorder, now_ms);
    bool event = recorder_has_event_head(head);
    switch (event ? BODY_OTHER : type) {
    case BODY_URLENCODED:
    case BODY_MULTIPART:
        err = read_form(recorder, head, type, body, out_refusal);
        break;
    case BODY_JSON:
        err = recorder_read_json(recorder, head, body, out_refusal);
        break;
    case BODY_OTHER:
        err = read_raw(recorder, head, event, body, out_refusal);
        break;
    }
    if (err != ERR_OK) {
        return err;
    }
    return recorder_finish(recorder, out_push, out_refusal);
}

/* Refuse what is given twice and, when `strict`, what is unknown. */
static enum err
check_fields(const struct form *form, bool strict, struct push_refusal *refusal)
{
    for (uint32_t index = 0; index < form->field_count; index++) {
        struct str name = form->fields[index].name;
        bool known =
            str_equal(name, STR("topic")) || str_equal(name, STR("cmd"));
        if (!known && strict) {
            return recorder_refuse_name(refusal, "parameter", name,
                                        "is not known");
        }
        if (known && form_find(form, name) != &form->fields[index]) {
            return recorder_refuse(refusal, 400,
                                   name.size == 3 ? "cmd" : "topic",
                                   "is given twice");
        }
    }
    return ERR_OK;
}

/* Add the request's own Opq- headers to its fields. */
static enum err take_replay_head(const struct http_head *head,
                                 struct form *form,
                                 struct push_refusal *refusal)
{
    for (uint32_t index = 0; index < head->header_count; index++) {
        const struct http_header *header = &head->headers[index];
        struct str name = str_cut(header->name, opq_prefix.size, SIZE_MAX);
        if (!has_prefix(header->name, opq_prefix)) {
            continue;
        }
        if (str_equal_nocase(name, STR("topic"))) {
            name = STR("topic");
        } else if (str_equal_nocase(name, STR("cmd"))) {
            name = STR("cmd");
        } else {
            return recorder_refuse_name(refusal, "header", header->name,
                                        "is not known");
        }
        if (form->field_count == FORM_FIELDS_MAX) {
            return form_failed(ERR_TOO_LARGE, refusal);
        }
        form->fields[form->field_count++] =
            (struct form_field){.name = name, .value = header->value};
    }
    return ERR_OK;
}

enum err recorder_read_form(struct recorder *recorder,
                            const struct http_head *head,
                            struct str body,
                            const struct form **out_form,
                            struct push_refusal *out_refusal)
{
    struct form *form = &recorder->form;
    enum body_type type = BODY_OTHER;
    enum err err = read_type(head, &type, out_refusal);

    if (err != ERR_OK) {
        return err;
    }
    recorder_begin(recorder, 0);
    bool strict = type == BODY_JSON || type == BODY_OTHER;
    if (type == BODY_OTHER && body.size != 0) {
        return recorder_refuse(out_refusal, 415, "Content-Type",
                               "must be a form or JSON");
    }
    if (!strict) {
        err = parse_form(recorder, head, type, body, out_refusal);
    } else {
        err = parse_query(head, form, out_refusal);
    }
    if (err == ERR_OK && type == BODY_JSON) {
        err = recorder_read_members(recorder, body, out_refusal);
    }
    if (err == ERR_OK) {
        err = take_replay_head(head, form, out_refusal);
    }
    if (err == ERR_OK) {
        err = check_fields(form, strict, out_refusal);
    }
    if (err != ERR_OK) {
        return err;
    }
    *out_form = form;
    return ERR_OK;
}

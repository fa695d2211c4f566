/* Filters: whether conditions hold of a message.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/filter_internal.h"

#include "base/json_number.h"
#include "queue/cloudevents.h"

#include <stddef.h>

/* The body of a message as JSON, read when the first condition asks. */
struct body {
    const struct message *message;
    struct json_scan_value value; /* all of it */
    bool looked;
    bool is_json;
};

/* --- texts ---------------------------------------------------------------- */

/* What was found of a name: whether there is any, and whether one passes. */
struct finding {
    bool exists;
    bool passes;
};

/* Note one value of the name. */
static void note(struct finding *finding,
                 const struct filter_condition *condition,
                 struct str value)
{
    finding->exists = true;
    finding->passes =
        finding->passes || (condition->test == FILTER_TEST_PREFIX
                                ? str_starts(value, condition->value)
                                : str_equal(value, condition->value));
}

/* Whether the condition holds of what was found. */
static bool judge(const struct filter_condition *condition,
                  const struct finding *finding)
{
    switch (condition->test) {
    case FILTER_TEST_EXISTS:
        return finding->exists;
    case FILTER_TEST_ABSENT:
        return !finding->exists;
    case FILTER_TEST_UNEQUAL:
        return !finding->passes;
    default:
        return finding->passes;
    }
}

/* The content type that a message has of its own, besides headers. */
static struct str own_type(const struct message *message)
{
    return message->kind == MESSAGE_KIND_FORM
               ? STR("application/x-www-form-urlencoded")
               : message->content_type;
}

static bool header_holds(const struct filter_condition *condition,
                         const struct message *message)
{
    struct finding finding = {.exists = false};
    struct str type = own_type(message);

    /* As delivered: a type of the message's own stands in for headers. */
    if (type.size > 0 &&
        str_equal_nocase(condition->name, STR("content-type"))) {
        note(&finding, condition, type);
        return judge(condition, &finding);
    }
    for (uint32_t i = 0; i < message->header_count; i++) {
        const struct pair *header = &message->headers[i];
        if (str_equal_nocase(header->key, condition->name)) {
            note(&finding, condition, header->value);
        }
    }
    return judge(condition, &finding);
}

static bool field_holds(const struct filter_condition *condition,
                        const struct message *message)
{
    struct finding finding = {.exists = false};
    uint32_t count =
        message->kind == MESSAGE_KIND_FORM ? message->field_count : 0;

    for (uint32_t i = 0; i < count; i++) {
        const struct pair *field = &message->fields[i];
        if (str_equal(field->key, condition->name)) {
            note(&finding, condition, field->value);
        }
    }
    return judge(condition, &finding);
}

static bool option_holds(const struct filter_condition *condition,
                         const struct message *message)
{
    const struct message_options *options = message->options;
    struct finding finding = {.exists = false};
    struct str value = STR("");

    if (options != NULL) {
        value = condition->subject == FILTER_SUBJECT_KEY ? options->key
                                                         : options->label;
    }
    if (value.size > 0) {
        note(&finding, condition, value);
    }
    return judge(condition, &finding);
}

/* --- JSON ----------------------------------------------------------------- */

static bool body_is_json(struct body *body)
{
    const struct message *message = body->message;
    struct json_scan_value more;

    if (body->looked) {
        return body->is_json;
    }
    body->looked = true;
    if (message->kind == MESSAGE_KIND_RAW && message->blob.size == 0) {
        struct json_scan scan = json_scan_of(message->body);
        body->is_json = json_scan_next(&scan, &body->value) == ERR_OK &&
                        json_scan_next(&scan, &more) == ERR_NOT_FOUND;
    }
    return body->is_json;
}

/* Go into an object by a member, the last of its name. */
static bool enter_member(struct json_scan_value *value, struct str name)
{
    struct json_scan_value key;
    struct json_scan_value item;
    struct json_scan_value found;
    bool has = false;

    if (value->type != JSON_SCAN_OBJECT) {
        return false;
    }
    struct json_scan scan = json_scan_enter(value);
    while (json_scan_member(&scan, &key, &item) == ERR_OK) {
        if (json_scan_starts(&key, name, true)) {
            found = item;
            has = true;
        }
    }
    if (has) {
        *value = found;
    }
    return has;
}

static bool enter_element(struct json_scan_value *value, uint32_t index)
{
    struct json_scan_value item;

    if (value->type != JSON_SCAN_ARRAY) {
        return false;
    }
    struct json_scan scan = json_scan_enter(value);
    for (uint32_t i = 0; json_scan_element(&scan, &item) == ERR_OK; i++) {
        if (i == index) {
            *value = item;
            return true;
        }
    }
    return false;
}

/* Follow a path. */
static bool follow(const struct filter *filter,
                   const struct filter_condition *condition,
                   struct json_scan_value *value)
{
    for (uint32_t i = 0; i < condition->step_count; i++) {
        const struct filter_step *step = &filter->steps[condition->step + i];
        bool found = step->is_index ? enter_element(value, step->index)
                                    : enter_member(value, step->name);
        if (!found) {
            return false;
        }
    }
    return true;
}

static bool value_passes(const struct filter_condition *condition,
                         const struct json_scan_value *value)
{
    if (value->type != condition->type) {
        return false;
    }
    switch (value->type) {
    case JSON_SCAN_STRING:
        return json_scan_starts(value, condition->value,
                                condition->test != FILTER_TEST_PREFIX);
    case JSON_SCAN_NUMBER:
        return json_number_equal(value->text, condition->value);
    default: /* true, false, null: the type says it all */
        return true;
    }
}

static bool json_holds(const struct filter *filter,
                       const struct filter_condition *condition,
                       struct body *body)
{
    struct finding finding = {.exists = false};

    if (!body_is_json(body)) {
        return false;
    }
    struct json_scan_value value = body->value;
    finding.exists = follow(filter, condition, &value);
    bool compares = condition->test != FILTER_TEST_EXISTS &&
                    condition->test != FILTER_TEST_ABSENT;
    finding.passes =
        finding.exists && compares && value_passes(condition, &value);
    return judge(condition, &finding);
}

/* --- events --------------------------------------------------------------- */

/* Note an attribute of a structured event. */
static void note_member(struct finding *finding,
                        const struct filter_condition *condition,
                        struct body *body)
{
    if (!body_is_json(body)) {
        return;
    }
    struct json_scan_value value = body->value;
    if (!enter_member(&value, condition->name) ||
        value.type == JSON_SCAN_NULL) {
        return;
    }
    if (value.type != JSON_SCAN_STRING) {
        note(finding, condition, value.text);
        return;
    }
    finding->exists = true;
    finding->passes = json_scan_starts(&value, condition->value,
                                       condition->test != FILTER_TEST_PREFIX);
}

/* Note an attribute of a binary event. */
static void note_header(struct finding *finding,
                        const struct filter_condition *condition,
                        const struct message *message)
{
    if (str_equal(condition->name, STR("datacontenttype"))) {
        if (message->content_type.size > 0) {
            note(finding, condition, message->content_type);
        }
        return;
    }
    for (uint32_t i = 0; i < message->header_count; i++) {
        const struct pair *header = &message->headers[i];
        if (cloudevents_is_header(header->key) &&
            str_equal_nocase(str_cut(header->key, 3, SIZE_MAX),
                             condition->name)) {
            finding->exists = true;
            finding->passes =
                cloudevents_starts(header->value, condition->value,
                                   condition->test != FILTER_TEST_PREFIX);
        }
    }
}

static bool event_holds(const struct filter_condition *condition,
                        struct body *body)
{
    struct finding finding = {.exists = false};

    switch (cloudevents_mode(body->message)) {
    case CLOUDEVENTS_BINARY:
        note_header(&finding, condition, body->message);
        break;
    case CLOUDEVENTS_STRUCTURED:
        note_member(&finding, condition, body);
        break;
    default:
        break;
    }
    return judge(condition, &finding);
}

/* --- all ------------------------------------------------------------------ */

static bool holds(const struct filter *filter,
                  const struct filter_condition *condition,
                  struct body *body)
{
    switch (condition->subject) {
    case FILTER_SUBJECT_HEADER:
        return header_holds(condition, body->message);
    case FILTER_SUBJECT_FIELD:
        return field_holds(condition, body->message);
    case FILTER_SUBJECT_JSON:
        return json_holds(filter, condition, body);
    case FILTER_SUBJECT_EVENT:
        return event_holds(condition, body);
    default:
        return option_holds(condition, body->message);
    }
}

bool filter_matches(const struct filter *filter, const struct message *message)
{
    struct body body = {.message = message};
    uint32_t count = filter != NULL ? filter->condition_count : 0;

    for (uint32_t i = 0; i < count; i++) {
        if (!holds(filter, &filter->conditions[i], &body)) {
            return false;
        }
    }
    return true;
}

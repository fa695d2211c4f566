/* A schedule: its definition and its state, to and from bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/schedule.h"

#include "base/check.h"
#include "base/json_scan.h"
#include "base/zone.h"
#include "queue/topic.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static_assert(sizeof(SCHEDULE_TOPIC_PREFIX) - 1 + SCHEDULE_ID_MAX <=
                  TOPIC_NAME_MAX,
              "a schedule's topic has a name");

static const struct str prefix = {SCHEDULE_TOPIC_PREFIX,
                                  sizeof(SCHEDULE_TOPIC_PREFIX) - 1};

bool schedule_id_valid(struct str id)
{
    return id.size <= SCHEDULE_ID_MAX && store_topic_name_valid(id) &&
           id.data[0] != '.';
}

struct str schedule_id_of_topic(struct str topic)
{
    struct str none = {NULL, 0};

    if (!str_starts(topic, prefix)) {
        return none;
    }
    struct str id = str_cut(topic, prefix.size, topic.size);
    return schedule_id_valid(id) ? id : none;
}

/* --- definitions ---------------------------------------------------------- */

static enum err
refuse(struct push_refusal *refusal, const char *what, const char *why)
{
    refusal->status = 400;
    (void)snprintf(refusal->detail, sizeof(refusal->detail), "%s %s", what,
                   why);
    return ERR_INVALID;
}

/* What is being read. */
struct reading {
    struct schedule_definition *definition;
    struct buf memory; /* owned: decoded strings */
    uint32_t given;    /* members that were there, a bit each */
    struct push_refusal *refusal;
};

static enum err read_text(struct reading *reading,
                          const struct json_scan_value *value,
                          struct str *out_text)
{
    return value->type == JSON_SCAN_STRING
               ? json_scan_string(value, &reading->memory, out_text)
               : ERR_INVALID;
}

static enum err set_cron(struct reading *reading,
                         const struct json_scan_value *value)
{
    struct schedule_definition *definition = reading->definition;
    const char *reason = "";
    struct str text;

    if (read_text(reading, value, &text) != ERR_OK) {
        return refuse(reading->refusal, "cron", "must be a string");
    }
    if (cron_parse(text, &definition->cron, &reason) != ERR_OK) {
        return refuse(reading->refusal, "cron", reason);
    }
    text = str_trim(text);
    memcpy(definition->cron_text, text.data, text.size);
    definition->cron_text[text.size] = '\0';
    return ERR_OK;
}

static enum err set_zone(struct reading *reading,
                         const struct json_scan_value *value)
{
    struct str text;

    if (read_text(reading, value, &text) != ERR_OK || !zone_name_valid(text)) {
        return refuse(reading->refusal, "zone",
                      "must be the name of a time zone, such as "
                      "Europe/Berlin");
    }
    memcpy(reading->definition->zone, text.data, text.size);
    reading->definition->zone[text.size] = '\0';
    return ERR_OK;
}

static enum err set_missed(struct reading *reading,
                           const struct json_scan_value *value)
{
    struct str text = {NULL, 0};

    (void)read_text(reading, value, &text);
    bool once = str_equal(text, STR("once"));
    if (!once && !str_equal(text, STR("skip"))) {
        return refuse(reading->refusal, "missed", "must be skip or once");
    }
    reading->definition->missed =
        once ? SCHEDULE_MISSED_ONCE : SCHEDULE_MISSED_SKIP;
    return ERR_OK;
}

static enum err set_paused(struct reading *reading,
                           const struct json_scan_value *value)
{
    if (value->type != JSON_SCAN_TRUE && value->type != JSON_SCAN_FALSE) {
        return refuse(reading->refusal, "paused", "must be true or false");
    }
    reading->definition->paused = value->type == JSON_SCAN_TRUE;
    return ERR_OK;
}

struct own_member {
    struct str name;
    enum err (*set)(struct reading *reading,
                    const struct json_scan_value *value);
};

/* All else is the push's. */
static const struct own_member own_members[] = {
    {{"cron", 4}, set_cron},
    {{"zone", 4}, set_zone},
    {{"missed", 6}, set_missed},
    {{"paused", 6}, set_paused},
};

enum { OWN_COUNT = sizeof(own_members) / sizeof(own_members[0]) };

/* Index of the member of a name; OWN_COUNT when it is the push's. */
static uint32_t find_own(const struct json_scan_value *name)
{
    struct str text = str_cut(name->text, 1, name->text.size - 2);
    uint32_t index = 0;

    while (index < OWN_COUNT && !str_equal(own_members[index].name, text)) {
        index++;
    }
    return index;
}

static enum err read_own(struct reading *reading,
                         const struct json_scan_value *name,
                         const struct json_scan_value *value)
{
    uint32_t index = find_own(name);

    if (index == OWN_COUNT) {
        return ERR_OK;
    }
    if ((reading->given >> index & 1) != 0) {
        return refuse(reading->refusal, own_members[index].name.data,
                      "is given twice");
    }
    reading->given |= 1U << index;
    return own_members[index].set(reading, value);
}

/* Find the object that a definition must be, with nothing behind it. */
static enum err find_object(struct str json,
                            struct json_scan_value *out_object,
                            struct push_refusal *refusal)
{
    struct json_scan scan = json_scan_of(json);
    struct json_scan_value more;

    if (json_scan_next(&scan, out_object) != ERR_OK ||
        json_scan_next(&scan, &more) != ERR_NOT_FOUND) {
        return refuse(refusal, "body", "is not valid JSON");
    }
    if (out_object->type != JSON_SCAN_OBJECT) {
        return refuse(refusal, "body", "must be a JSON object");
    }
    return ERR_OK;
}

static enum err read_members(struct reading *reading, struct str json)
{
    struct json_scan_value object;
    struct json_scan_value name;
    struct json_scan_value value;

    enum err err = find_object(json, &object, reading->refusal);
    if (err != ERR_OK) {
        return err;
    }
    struct json_scan members = json_scan_enter(&object);
    while (err == ERR_OK &&
           json_scan_member(&members, &name, &value) == ERR_OK) {
        err = read_own(reading, &name, &value);
    }
    if (err == ERR_OK && (reading->given & 1U) == 0) {
        err = refuse(reading->refusal, "cron", "is missing");
    }
    return err;
}

enum err schedule_definition_read(struct str json,
                                  struct schedule_definition *out,
                                  struct push_refusal *out_refusal)
{
    struct schedule_definition definition = {.zone = "UTC"};
    struct reading reading = {.definition = &definition,
                              .refusal = out_refusal};

    if (json.size > SCHEDULE_SIZE_MAX) {
        (void)refuse(out_refusal, "body", "is too large for a schedule");
        out_refusal->status = 413;
        return ERR_INVALID;
    }
    buf_append_str(&definition.json, json);
    enum err err = buf_err(&definition.json);
    if (err == ERR_OK) {
        err = buf_reserve(&reading.memory, json.size);
    }
    if (err == ERR_OK) {
        err = read_members(&reading, json);
    }
    buf_fini(&reading.memory);
    if (err != ERR_OK) {
        schedule_definition_fini(&definition);
        return err;
    }
    *out = definition;
    return ERR_OK;
}

void schedule_definition_fini(struct schedule_definition *definition)
{
    buf_fini(&definition->json);
}

/* --- the push ------------------------------------------------------------- */

/* Gather the members that are the push's. */
static enum err gather(const struct json_scan_value *object,
                       struct recorder_member members[SCHEDULE_MEMBERS_MAX],
                       uint32_t *out_count,
                       struct push_refusal *refusal)
{
    struct json_scan scan = json_scan_enter(object);
    struct recorder_member member;
    uint32_t count = 0;

    while (json_scan_member(&scan, &member.name, &member.value) == ERR_OK) {
        if (find_own(&member.name) < OWN_COUNT) {
            continue;
        }
        if (count == SCHEDULE_MEMBERS_MAX) {
            return refuse(refusal, "body", "has too many members");
        }
        members[count] = member;
        count++;
    }
    *out_count = count;
    return ERR_OK;
}

/* Refuse what makes sense for one message only.
 * Errors: ERR_INVALID */
static enum err refuse_single(const struct push *push,
                              struct push_refusal *refusal)
{
    if (push->expects) {
        return refuse(refusal, "expect_seq",
                      "is of one message: a schedule runs many times");
    }
    if (push->dated) {
        return refuse(refusal, "not_before",
                      "is one time: a schedule runs many times; give `delay`");
    }
    return ERR_OK;
}

enum err schedule_read_push(const struct schedule_definition *definition,
                            struct recorder *recorder,
                            uint64_t now_ms,
                            struct push *out_push,
                            struct push_refusal *out_refusal)
{
    static const struct http_head no_head;
    struct recorder_member members[SCHEDULE_MEMBERS_MAX];
    struct recorder_item item = {.members = members};
    struct json_scan_value object;

    enum err err =
        find_object(buf_str(&definition->json), &object, out_refusal);
    if (err == ERR_OK) {
        item.json = object.text;
        err = gather(&object, members, &item.member_count, out_refusal);
    }
    if (err == ERR_OK) {
        err = recorder_begin_items(recorder, &no_head, now_ms, out_refusal);
    }
    if (err == ERR_OK) {
        err = recorder_read_item(recorder, &item, out_push, out_refusal);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (topic_is_internal(out_push->topic)) {
        return refuse(out_refusal, "topic", "is OPQ's own");
    }
    return refuse_single(out_push, out_refusal);
}

/* --- the message that keeps it -------------------------------------------- */

static const struct str state_names[SCHEDULE_STATE_PAIRS] = {
    {"paused", 6}, {"since", 5},     {"due", 3},
    {"run", 3},    {"run-count", 9}, {"fail-count", 10},
};

void schedule_message_make(const struct schedule_definition *definition,
                           const struct schedule_state *state,
                           uint64_t now_ms,
                           struct schedule_message *out)
{
    const uint64_t values[SCHEDULE_STATE_PAIRS] = {
        state->paused ? 1 : 0, state->since_ms,  state->due_ms,
        state->run_ms,         state->run_count, state->fail_count};

    for (unsigned index = 0; index < SCHEDULE_STATE_PAIRS; index++) {
        char *digits = out->digits[index];
        size_t size = (size_t)(put_decimal(digits, values[index]) - digits);
        out->pairs[index] =
            (struct pair){.key = state_names[index], .value = {digits, size}};
    }
    out->message = (struct message){
        .url = STR("opq:schedule"),
        .kind = MESSAGE_KIND_RAW,
        .header_count = SCHEDULE_STATE_PAIRS,
        .headers = out->pairs,
        .body = buf_str(&definition->json),
        .content_type = STR("application/json"),
        .pushed_at_ms = now_ms,
    };
}

/* Unknown ones are a newer program's. */
static enum err read_pair(const struct pair *pair, uint64_t *values)
{
    for (unsigned index = 0; index < SCHEDULE_STATE_PAIRS; index++) {
        if (str_equal(pair->key, state_names[index])) {
            return str_to_u64(pair->value, &values[index]);
        }
    }
    return ERR_OK;
}

enum err schedule_message_read(const struct message *message,
                               struct schedule_state *out_state)
{
    uint64_t values[SCHEDULE_STATE_PAIRS] = {0};

    if (message->kind != MESSAGE_KIND_RAW ||
        !str_equal(message->url, STR("opq:schedule"))) {
        return ERR_CORRUPT;
    }
    for (uint32_t index = 0; index < message->header_count; index++) {
        if (read_pair(&message->headers[index], values) != ERR_OK) {
            return ERR_CORRUPT;
        }
    }
    *out_state = (struct schedule_state){
        .paused = values[0] != 0,
        .since_ms = values[1],
        .due_ms = values[2],
        .run_ms = values[3],
        .run_count = values[4],
        .fail_count = values[5],
    };
    return ERR_OK;
}

/* Pushes in JSON: one object, alone or as an item of a batch.
 *
 * Members: topic, url, message or message_base64, headers, and the control
 * values. `message` is delivered as it was written: a string as its text
 * (text/plain), anything else as the JSON that stands there, byte for byte
 * (application/json). An unknown member is refused, so that a mistyped option
 * is noticed when it is set, not when it was needed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/recorder_internal.h"

#include "base/base64.h"
#include "base/json_scan.h"

/* The bytes of base64 text, decoded behind what `memory` has.
 *
 * Errors: ERR_INVALID, ERR_NOMEM
 */
static enum err
decode_base64(struct str text, struct buf *memory, struct str *out_bytes)
{
    size_t size = 0;

    if (text.size == 0) {
        *out_bytes = STR("");
        return ERR_OK;
    }
    if (buf_reserve(memory, base64_size_max(text.size)) != ERR_OK) {
        return ERR_NOMEM;
    }
    char *to = memory->data + memory->size;
    enum err err = base64_decode(text, to, &size);
    if (err != ERR_OK) {
        return err;
    }
    memory->size += size;
    *out_bytes = (struct str){to, size};
    return ERR_OK;
}

static enum err read_headers(struct recorder *recorder,
                             const struct json_scan_value *object,
                             struct push_refusal *refusal)
{
    struct json_scan_value name;
    struct json_scan_value value;

    if (object->type != JSON_SCAN_OBJECT) {
        return recorder_refuse(refusal, 400, "headers", "must be an object");
    }
    if ((recorder->given & RECORDER_GIVEN_HEADERS) != 0) {
        return recorder_refuse(refusal, 400, "headers", "is given twice");
    }
    recorder->given |= RECORDER_GIVEN_HEADERS;
    struct json_scan scan = json_scan_enter(object);
    while (json_scan_member(&scan, &name, &value) == ERR_OK) {
        struct str key;
        struct str text;
        if (value.type != JSON_SCAN_STRING ||
            json_scan_string(&name, &recorder->memory, &key) != ERR_OK ||
            json_scan_string(&value, &recorder->memory, &text) != ERR_OK) {
            return recorder_refuse(refusal, 400, "headers",
                                   "must have strings as values");
        }
        enum err err = recorder_add_header(recorder, key, text, refusal);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

static enum err read_message(struct recorder *recorder,
                             const struct json_scan_value *value,
                             struct push_refusal *refusal)
{
    struct message *message = &recorder->push.message;
    struct str type = STR("application/json");

    if (message->body.data != NULL) {
        return recorder_refuse(refusal, 400, "message", "is given twice");
    }
    if (value->type == JSON_SCAN_STRING) {
        type = STR("text/plain; charset=utf-8");
        if (json_scan_string(value, &recorder->memory, &message->body) !=
            ERR_OK) {
            return recorder_refuse(refusal, 400, "message",
                                   "has half of a surrogate pair");
        }
    } else {
        message->body = value->text;
    }
    if (message->content_type.size == 0) {
        message->content_type = type;
    }
    return ERR_OK;
}

static enum err read_base64(struct recorder *recorder,
                            const struct json_scan_value *value,
                            struct push_refusal *refusal)
{
    struct message *message = &recorder->push.message;
    struct str text;

    if (message->body.data != NULL) {
        return recorder_refuse(refusal, 400, "message", "is given twice");
    }
    if (value->type != JSON_SCAN_STRING ||
        json_scan_string(value, &recorder->memory, &text) != ERR_OK ||
        decode_base64(text, &recorder->memory, &message->body) != ERR_OK) {
        return recorder_refuse(refusal, 400, "message_base64",
                               "must be base64");
    }
    if (message->content_type.size == 0) {
        message->content_type = STR("application/octet-stream");
    }
    return ERR_OK;
}

/* A control value: a string or a number, as text. A null is what a producer
 * sends who lost the value: no name to make a topic of. */
static enum err value_text(struct recorder *recorder,
                           const struct json_scan_value *value,
                           struct str *out_text)
{
    if (value->type == JSON_SCAN_STRING) {
        return json_scan_string(value, &recorder->memory, out_text);
    }
    if (value->type == JSON_SCAN_NUMBER) {
        *out_text = value->text;
        return ERR_OK;
    }
    return ERR_INVALID;
}

static enum err read_member(struct recorder *recorder,
                            const struct json_scan_value *name,
                            const struct json_scan_value *value,
                            struct push_refusal *refusal)
{
    struct str key = str_cut(name->text, 1, name->text.size - 2);
    struct str text;

    if (str_equal(key, STR("message"))) {
        return read_message(recorder, value, refusal);
    }
    if (str_equal(key, STR("message_base64"))) {
        return read_base64(recorder, value, refusal);
    }
    if (str_equal(key, STR("headers"))) {
        return read_headers(recorder, value, refusal);
    }
    if (value_text(recorder, value, &text) != ERR_OK) {
        return recorder_refuse_name(refusal, "member", key,
                                    recorder_knows(key) ? "must be a string"
                                                        : "is not known");
    }
    enum err err = recorder_control(recorder, key, text, refusal);
    if (err == ERR_NOT_FOUND) {
        return recorder_refuse_name(refusal, "member", key, "is not known");
    }
    return err;
}

/* Enter a value that was scanned, which must be an object, and make room for
 * all its strings, so that slices of the memory stay valid. */
static enum err enter_object(struct recorder *recorder,
                             struct str json,
                             struct json_scan *out_members,
                             struct push_refusal *refusal)
{
    const struct json_scan_value object = {.type = JSON_SCAN_OBJECT,
                                           .text = json};

    if (json.data[0] != '{') {
        return recorder_refuse(refusal, 400, "body", "must be a JSON object");
    }
    /* Decoding never makes a string longer; base64 is decoded once more. */
    if (buf_reserve(&recorder->memory, 2 * json.size) != ERR_OK) {
        return ERR_NOMEM;
    }
    *out_members = json_scan_enter(&object);
    return ERR_OK;
}

/* Read one value, which must be an object with nothing behind it. */
static enum err read_object(struct recorder *recorder,
                            struct str json,
                            struct json_scan *out_members,
                            struct push_refusal *refusal)
{
    struct json_scan scan = json_scan_of(json);
    struct json_scan_value value;
    struct json_scan_value more;

    if (json_scan_next(&scan, &value) != ERR_OK ||
        json_scan_next(&scan, &more) != ERR_NOT_FOUND) {
        return recorder_refuse(refusal, 400, "body", "is not valid JSON");
    }
    return enter_object(recorder, value.text, out_members, refusal);
}

/* Take the control values of head and query. The head's Content-Type is that
 * of the push, not of the message. */
static enum err read_head(struct recorder *recorder,
                          const struct http_head *head,
                          struct push_refusal *refusal)
{
    recorder->push.message.kind = MESSAGE_KIND_RAW;
    enum err err = recorder_take_head(recorder, head, false, refusal);
    return err == ERR_OK ? recorder_take_query(recorder, head, refusal) : err;
}

/* A push without a message has an empty one. */
static void have_body(struct recorder *recorder)
{
    if (recorder->push.message.body.data == NULL) {
        recorder->push.message.body = STR("");
    }
}

static enum err read_members(struct recorder *recorder,
                             struct json_scan *members,
                             struct push_refusal *refusal)
{
    struct json_scan_value name;
    struct json_scan_value value;

    while (json_scan_member(members, &name, &value) == ERR_OK) {
        enum err err = read_member(recorder, &name, &value, refusal);
        if (err != ERR_OK) {
            return err;
        }
    }
    have_body(recorder);
    return ERR_OK;
}

/* The same, of members that were kept. */
static enum err read_kept(struct recorder *recorder,
                          const struct recorder_item *item,
                          struct push_refusal *refusal)
{
    for (uint32_t index = 0; index < item->member_count; index++) {
        const struct recorder_member *member = &item->members[index];
        enum err err =
            read_member(recorder, &member->name, &member->value, refusal);
        if (err != ERR_OK) {
            return err;
        }
    }
    have_body(recorder);
    return ERR_OK;
}

enum err recorder_read_json(struct recorder *recorder,
                            const struct http_head *head,
                            struct str json,
                            struct push_refusal *refusal)
{
    struct json_scan members;
    enum err err = read_head(recorder, head, refusal);

    if (err == ERR_OK) {
        err = read_object(recorder, json, &members, refusal);
    }
    return err == ERR_OK ? read_members(recorder, &members, refusal) : err;
}

enum err recorder_begin_items(struct recorder *recorder,
                              const struct http_head *head,
                              uint64_t now_ms,
                              struct push_refusal *out_refusal)
{
    recorder_begin(recorder, now_ms);
    enum err err = read_head(recorder, head, out_refusal);
    return err == ERR_OK ? recorder_keep_defaults(recorder, out_refusal) : err;
}

enum err recorder_read_item(struct recorder *recorder,
                            const struct recorder_item *item,
                            struct push *out_push,
                            struct push_refusal *out_refusal)
{
    struct json_scan members;

    recorder_take_defaults(recorder);
    buf_clear(&recorder->memory);
    if (item->event) {
        recorder->push.message.body = item->json;
        recorder->push.message.content_type =
            STR("application/cloudevents+json");
        return recorder_finish(recorder, out_push, out_refusal);
    }
    enum err err = enter_object(recorder, item->json, &members, out_refusal);
    if (err == ERR_OK) {
        err = item->members != NULL
                  ? read_kept(recorder, item, out_refusal)
                  : read_members(recorder, &members, out_refusal);
    }
    return err == ERR_OK ? recorder_finish(recorder, out_push, out_refusal)
                         : err;
}

enum err recorder_read_members(struct recorder *recorder,
                               struct str json,
                               struct push_refusal *refusal)
{
    struct form *form = &recorder->form;
    struct json_scan members;
    struct json_scan_value name;
    struct json_scan_value value;

    enum err err = read_object(recorder, json, &members, refusal);
    if (err != ERR_OK) {
        return err;
    }
    while (json_scan_member(&members, &name, &value) == ERR_OK) {
        struct str key = str_cut(name.text, 1, name.text.size - 2);
        struct str text;
        if (form->field_count == FORM_FIELDS_MAX) {
            return recorder_refuse(refusal, 400, "body", "has too much");
        }
        if (value_text(recorder, &value, &text) != ERR_OK) {
            return recorder_refuse_name(refusal, "member", key,
                                        "must be a string or a number");
        }
        form->fields[form->field_count] =
            (struct form_field){.name = key, .value = text};
        form->field_count++;
    }
    return ERR_OK;
}

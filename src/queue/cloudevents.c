/* Messages that are CloudEvents, read.
 *
 * What can fail: the producer's input, told with the attribute's name and what
 * is wrong; memory. Policy: what all events have, and what a change of modes
 * needs, is checked; the words of optional attributes (time, subject, ...) are
 * the receiver's to judge.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/cloudevents.h"

#include "base/base64.h"
#include "base/json_scan.h"
#include "base/json_text.h"
#include "http/parse.h"
#include "queue/json_type.h"

#include <stddef.h>
#include <stdint.h>

/* What is being read. */
struct reading {
    struct cloudevents_event *event;
    struct cloudevents_problem *problem;
    struct buf *memory; /* has room for all that is decoded */
};

static enum err
refuse(const struct reading *reading, struct str name, const char *why)
{
    *reading->problem = (struct cloudevents_problem){.name = name, .why = why};
    return ERR_INVALID;
}

/* --- names ---------------------------------------------------------------- */

static const struct str header_prefix = {"ce-", 3};
static const struct str family = {"application/cloudevents", 23};

bool cloudevents_begins(struct str type)
{
    struct str start = str_cut(type, 0, family.size);

    return type.size >= family.size && str_equal_nocase(start, family);
}

bool cloudevents_is_structured(struct str type)
{
    return cloudevents_is_any(type) &&
           str_equal_nocase(json_type_essence(type),
                            STR("application/cloudevents+json"));
}

bool cloudevents_is_batch(struct str type)
{
    return cloudevents_is_any(type) &&
           str_equal_nocase(json_type_essence(type),
                            STR("application/cloudevents-batch+json"));
}

bool cloudevents_is_header(struct str name)
{
    return name.size >= header_prefix.size &&
           str_equal_nocase(str_cut(name, 0, header_prefix.size),
                            header_prefix);
}

bool cloudevents_is_name(struct str name)
{
    for (size_t index = 0; index < name.size; index++) {
        char byte = name.data[index];
        if (!(byte >= 'a' && byte <= 'z') && !(byte >= '0' && byte <= '9')) {
            return false;
        }
    }
    return name.size > 0 && name.size <= CLOUDEVENTS_NAME_MAX;
}

enum cloudevents_mode cloudevents_mode(const struct message *message)
{
    if (message->kind != MESSAGE_KIND_RAW) {
        return CLOUDEVENTS_NONE;
    }
    if (cloudevents_is_any(message->content_type)) {
        return cloudevents_is_structured(message->content_type)
                   ? CLOUDEVENTS_STRUCTURED
                   : CLOUDEVENTS_OPAQUE;
    }
    for (uint32_t index = 0; index < message->header_count; index++) {
        struct str name = message->headers[index].key;
        if (name.size == 14 && str_equal_nocase(name, STR("ce-specversion"))) {
            return CLOUDEVENTS_BINARY;
        }
    }
    return CLOUDEVENTS_NONE;
}

struct str cloudevents_value(const struct cloudevents_event *event,
                             struct str name)
{
    for (uint32_t index = 0; index < event->count; index++) {
        if (str_equal(event->attributes[index].key, name)) {
            return event->attributes[index].value;
        }
    }
    return STR("");
}

/* --- values of headers ---------------------------------------------------- */

static int hex_digit(char byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    if (byte >= 'a' && byte <= 'f') {
        return byte - 'a' + 10;
    }
    return byte >= 'A' && byte <= 'F' ? byte - 'A' + 10 : -1;
}

/* A value in quotes is what stands between them. */
static bool is_quoted(struct str value)
{
    return value.size >= 2 && value.data[0] == '"' &&
           value.data[value.size - 1] == '"';
}

/* The next byte of a value, decoded; `*at` goes behind it. */
static char next_byte(struct str value, bool quoted, size_t *at)
{
    size_t position = *at;
    char byte = value.data[position];

    if (quoted && byte == '\\' && position + 1 < value.size) {
        position++;
        byte = value.data[position];
    }
    if (byte == '%' && value.size - position > 2) {
        int high = hex_digit(value.data[position + 1]);
        int low = hex_digit(value.data[position + 2]);
        if (high >= 0 && low >= 0) {
            position += 2;
            byte = (char)(high * 16 + low);
        }
    }
    *at = position + 1;
    return byte;
}

bool cloudevents_starts(struct str header_value, struct str start, bool whole)
{
    bool quoted = is_quoted(header_value);
    struct str value =
        quoted ? str_cut(header_value, 1, header_value.size - 2) : header_value;
    size_t count = 0;
    size_t at = 0;

    while (at < value.size && count < start.size) {
        if (next_byte(value, quoted, &at) != start.data[count]) {
            return false;
        }
        count++;
    }
    return count == start.size && (!whole || at == value.size);
}

/* The value decoded, behind what `memory` has. */
static struct str decode_header(struct str header_value, struct buf *memory)
{
    bool quoted = is_quoted(header_value);
    struct str value =
        quoted ? str_cut(header_value, 1, header_value.size - 2) : header_value;
    size_t start = memory->size;

    for (size_t at = 0; at < value.size;) {
        buf_append_byte(memory, next_byte(value, quoted, &at));
    }
    return (struct str){memory->data + start, memory->size - start};
}

void cloudevents_append_header(struct buf *to, struct str value)
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t index = 0; index < value.size; index++) {
        unsigned char byte = (unsigned char)value.data[index];
        if (byte > 0x20 && byte < 0x7f && byte != '"' && byte != '%') {
            buf_append_byte(to, (char)byte);
        } else {
            buf_append_byte(to, '%');
            buf_append_byte(to, digits[byte >> 4]);
            buf_append_byte(to, digits[byte & 15]);
        }
    }
}

/* --- both modes ----------------------------------------------------------- */

static bool has(const struct cloudevents_event *event, struct str name)
{
    for (uint32_t index = 0; index < event->count; index++) {
        if (str_equal(event->attributes[index].key, name)) {
            return true;
        }
    }
    return false;
}

/* Tell whether an attribute is one that every event must have. */
static bool is_required(struct str name)
{
    return str_equal(name, STR("specversion")) || str_equal(name, STR("id")) ||
           str_equal(name, STR("source")) || str_equal(name, STR("type"));
}

/* Add an attribute whose name was checked. */
static enum err
add(const struct reading *reading, struct str name, struct str value)
{
    struct cloudevents_event *event = reading->event;

    if (has(event, name)) {
        return refuse(reading, name, "is given twice");
    }
    if (event->count == CLOUDEVENTS_ATTRIBUTES_MAX) {
        return refuse(reading, STR(""), "has more than 64 attributes");
    }
    if (value.size == 0 && is_required(name)) {
        return refuse(reading, name, "must not be empty");
    }
    if (str_equal(name, STR("specversion")) && !str_equal(value, STR("1.0"))) {
        return refuse(reading, name, "must be 1.0");
    }
    event->attributes[event->count] = (struct pair){name, value};
    event->count++;
    return ERR_OK;
}

static enum err check_all(const struct reading *reading)
{
    static const struct str names[] = {
        {"specversion", 11}, {"id", 2}, {"source", 6}, {"type", 4}};

    for (size_t index = 0; index < sizeof(names) / sizeof(*names); index++) {
        if (!has(reading->event, names[index])) {
            return refuse(reading, names[index], "is missing");
        }
    }
    return ERR_OK;
}

/* --- binary --------------------------------------------------------------- */

static struct str lower(struct str name, struct buf *memory)
{
    size_t start = memory->size;

    for (size_t index = 0; index < name.size; index++) {
        char byte = name.data[index];
        bool capital = byte >= 'A' && byte <= 'Z';
        buf_append_byte(memory, capital ? (char)(byte - 'A' + 'a') : byte);
    }
    return (struct str){memory->data + start, memory->size - start};
}

static enum err read_header(const struct reading *reading,
                            const struct pair *header)
{
    struct str shown = str_cut(header->key, header_prefix.size, SIZE_MAX);
    struct str name = lower(shown, reading->memory);

    if (!cloudevents_is_name(name)) {
        return refuse(reading, shown,
                      "is no name of an attribute: 1 to 64 of a-z 0-9");
    }
    if (str_equal(name, STR("data")) ||
        str_equal(name, STR("datacontenttype"))) {
        return refuse(reading, name,
                      "is no header of a binary event: it has a body and a "
                      "Content-Type");
    }
    struct str value = decode_header(header->value, reading->memory);
    if (!json_text_is_text(value)) {
        return refuse(reading, name, "must be UTF-8 without NUL");
    }
    return add(reading, name, value);
}

static enum err read_binary(const struct reading *reading,
                            const struct message *message)
{
    struct cloudevents_event *event = reading->event;
    size_t size = 1; /* so that there is memory to point to */

    for (uint32_t index = 0; index < message->header_count; index++) {
        const struct pair *header = &message->headers[index];
        size += header->key.size + header->value.size;
    }
    if (buf_reserve(reading->memory, size) != ERR_OK) {
        return ERR_NOMEM;
    }
    for (uint32_t index = 0; index < message->header_count; index++) {
        const struct pair *header = &message->headers[index];
        enum err err = cloudevents_is_header(header->key)
                           ? read_header(reading, header)
                           : ERR_OK;
        if (err != ERR_OK) {
            return err;
        }
    }
    event->content_type = message->content_type;
    event->data = message->body;
    event->kind =
        message->body.size > 0 ? CLOUDEVENTS_DATA_BYTES : CLOUDEVENTS_DATA_NONE;
    return check_all(reading);
}

/* --- structured ----------------------------------------------------------- */

static enum err read_data(const struct reading *reading,
                          struct str name,
                          const struct json_scan_value *value)
{
    struct cloudevents_event *event = reading->event;

    if (event->kind != CLOUDEVENTS_DATA_NONE) {
        return refuse(reading, name,
                      event->kind == CLOUDEVENTS_DATA_JSON &&
                              str_equal(name, STR("data"))
                          ? "is given twice"
                          : "excludes the other: give data or data_base64");
    }
    event->kind = CLOUDEVENTS_DATA_JSON;
    event->data = value->text;
    return ERR_OK;
}

static enum err read_base64(const struct reading *reading,
                            struct str name,
                            const struct json_scan_value *value)
{
    struct cloudevents_event *event = reading->event;
    struct buf *memory = reading->memory;
    struct str text;
    size_t size = 0;

    enum err err = read_data(reading, name, value);
    if (err != ERR_OK) {
        return err;
    }
    if (value->type != JSON_SCAN_STRING ||
        json_scan_string(value, memory, &text) != ERR_OK) {
        return refuse(reading, name, "must be base64");
    }
    char *to = memory->data + memory->size;
    if (text.size > 0 && base64_decode(text, to, &size) != ERR_OK) {
        return refuse(reading, name, "must be base64");
    }
    memory->size += size;
    event->kind = CLOUDEVENTS_DATA_BYTES;
    event->data = (struct str){to, size};
    return ERR_OK;
}

/* Tell whether a number is an integer of 32 bits, as those of attributes. */
static bool is_integer(struct str text)
{
    bool negative = text.size > 0 && text.data[0] == '-';
    uint64_t number = 0;

    return str_to_u64(str_cut(text, negative ? 1 : 0, text.size), &number) ==
               ERR_OK &&
           number <= (negative ? UINT64_C(0x80000000) : UINT64_C(0x7fffffff));
}

/* Those that the specification names are all strings. */
static bool is_named(struct str name)
{
    return is_required(name) || str_equal(name, STR("datacontenttype")) ||
           str_equal(name, STR("dataschema")) ||
           str_equal(name, STR("subject")) || str_equal(name, STR("time"));
}

/* The value of an attribute as text. */
static enum err read_text(const struct reading *reading,
                          struct str name,
                          const struct json_scan_value *value,
                          struct str *out_text)
{
    switch (value->type) {
    case JSON_SCAN_STRING:
        if (json_scan_string(value, reading->memory, out_text) != ERR_OK ||
            !json_text_is_text(*out_text)) {
            return refuse(reading, name, "must be text, without NUL");
        }
        return ERR_OK;
    case JSON_SCAN_NUMBER:
        if (is_named(name) || !is_integer(value->text)) {
            break;
        }
        *out_text = value->text;
        return ERR_OK;
    case JSON_SCAN_TRUE:
    case JSON_SCAN_FALSE:
        if (is_named(name)) {
            break;
        }
        *out_text = value->text;
        return ERR_OK;
    default:
        break;
    }
    return refuse(reading, name,
                  is_named(name) ? "must be a string"
                                 : "must be a string, a boolean or an integer "
                                   "of 32 bits");
}

static enum err read_attribute(const struct reading *reading,
                               struct str name,
                               const struct json_scan_value *value)
{
    struct cloudevents_event *event = reading->event;
    struct str text;

    if (!cloudevents_is_name(name)) {
        return refuse(reading, name,
                      "is no name of an attribute: 1 to 64 of a-z 0-9");
    }
    if (value->type == JSON_SCAN_NULL) { /* as if it was not there */
        return ERR_OK;
    }
    enum err err = read_text(reading, name, value, &text);
    if (err != ERR_OK) {
        return err;
    }
    if (!str_equal(name, STR("datacontenttype"))) {
        return add(reading, name, text);
    }
    if (event->content_type.size > 0) {
        return refuse(reading, name, "is given twice");
    }
    if (text.size == 0 || !http_is_field_value(text)) {
        return refuse(reading, name, "must be a media type");
    }
    event->content_type = text;
    return ERR_OK;
}

static enum err read_member(const struct reading *reading,
                            const struct json_scan_value *name,
                            const struct json_scan_value *value)
{
    struct str key;

    if (json_scan_string(name, reading->memory, &key) != ERR_OK) {
        return refuse(reading, STR(""), "has half of a surrogate pair");
    }
    if (str_equal(key, STR("data"))) {
        return read_data(reading, key, value);
    }
    if (str_equal(key, STR("data_base64"))) {
        return value->type == JSON_SCAN_NULL ? ERR_OK
                                             : read_base64(reading, key, value);
    }
    return read_attribute(reading, key, value);
}

static enum err read_structured(const struct reading *reading,
                                const struct message *message)
{
    struct json_scan scan = json_scan_of(message->body);
    struct json_scan_value object;
    struct json_scan_value more;
    struct json_scan_value name;

    if (json_scan_next(&scan, &object) != ERR_OK ||
        json_scan_next(&scan, &more) != ERR_NOT_FOUND ||
        object.type != JSON_SCAN_OBJECT) {
        return refuse(reading, STR(""), "must be a JSON object");
    }
    /* Decoding makes no string longer; base64 is decoded once more. */
    if (buf_reserve(reading->memory, 2 * message->body.size) != ERR_OK) {
        return ERR_NOMEM;
    }
    struct json_scan members = json_scan_enter(&object);
    while (json_scan_member(&members, &name, &more) == ERR_OK) {
        enum err err = read_member(reading, &name, &more);
        if (err != ERR_OK) {
            return err;
        }
    }
    return check_all(reading);
}

enum err cloudevents_read(const struct message *message,
                          struct buf *memory,
                          struct cloudevents_event *out_event,
                          struct cloudevents_problem *out_problem)
{
    const struct reading reading = {out_event, out_problem, memory};
    enum cloudevents_mode mode = cloudevents_mode(message);

    if (mode != CLOUDEVENTS_BINARY && mode != CLOUDEVENTS_STRUCTURED) {
        return ERR_NOT_FOUND;
    }
    buf_clear(memory);
    out_event->mode = mode;
    out_event->count = 0;
    out_event->content_type = STR("");
    out_event->kind = CLOUDEVENTS_DATA_NONE;
    out_event->data = STR("");
    return mode == CLOUDEVENTS_BINARY ? read_binary(&reading, message)
                                      : read_structured(&reading, message);
}

/* The types of settings that are text: lists, a URL, a filter, headers.
 *
 * Text is kept in one form, whatever blanks it came with.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/settings_internal.h"

#include "base/json_scan.h"
#include "base/json_text.h"
#include "http/parse.h"
#include "http/url.h"
#include "queue/filter.h"
#include "queue/forward.h"
#include "queue/header_lines.h"
#include "queue/retry.h"

#include <stdlib.h>

enum { ITEM_SIZE_MAX = 64 }; /* bytes of one item of a list */

/* --- text ----------------------------------------------------------------- */

/* Make the field the text in `from`; NULL when that is empty. */
static enum err put_text_field(struct buf *from, void *field)
{
    char *copy = NULL;

    if (buf_err(from) != ERR_OK) {
        return ERR_NOMEM;
    }
    if (from->size > 0) {
        copy = strndup(from->data, from->size);
        if (copy == NULL) {
            return ERR_NOMEM;
        }
    }
    free(*(char **)field);
    *(char **)field = copy;
    return ERR_OK;
}

static enum err put_str_field(struct str text, void *field)
{
    struct buf copy = {0};

    buf_append_str(&copy, text);
    enum err err = put_text_field(&copy, field);
    buf_fini(&copy);
    return err;
}

static void
write_text(const struct setting *setting, const void *field, struct buf *to)
{
    (void)setting;
    buf_append_str(to, str_from(*(char *const *)field));
}

static void
show_text(const struct setting *setting, const void *field, struct buf *to)
{
    (void)setting;
    buf_append_byte(to, '"');
    buf_append_json(to, str_from(*(char *const *)field));
    buf_append_byte(to, '"');
}

/* --- lists ---------------------------------------------------------------- */

/* Read up to `max` items with commas, each of which must pass. Empty text is
 * no list, which is good, too. */
static enum err set_items(const struct setting *setting,
                          struct str value,
                          bool (*is_good)(struct str item),
                          void *field)
{
    struct buf list = {0};
    enum err err = ERR_OK;
    uint64_t count = 0;

    for (bool more = value.size > 0; more && err == ERR_OK; count++) {
        size_t end = str_find(value, ',');
        struct str item = str_trim(str_cut(value, 0, end));
        more = end < value.size;
        value = str_cut(value, end + 1, value.size);
        if (count == setting->max || item.size > ITEM_SIZE_MAX ||
            !is_good(item)) {
            err = ERR_INVALID;
        }
        buf_append_c(&list, count > 0 ? "," : "");
        buf_append_str(&list, item);
    }
    if (err == ERR_OK) {
        err = put_text_field(&list, field);
    }
    buf_fini(&list);
    return err;
}

static bool is_wait(struct str item)
{
    return retry_schedule_check(item) == ERR_OK;
}

static enum err
set_schedule(const struct setting *setting, struct str value, void *field)
{
    return set_items(setting, value, is_wait, field);
}

const struct settings_type settings_type_schedule = {
    0, set_schedule, set_schedule, show_text, write_text, NULL,
};

static bool is_status_range(struct str item)
{
    return retry_status_list_check(item) == ERR_OK;
}

static enum err
set_statuses(const struct setting *setting, struct str value, void *field)
{
    return set_items(setting, value, is_status_range, field);
}

const struct settings_type settings_type_statuses = {
    0, set_statuses, set_statuses, show_text, write_text, NULL,
};

static bool is_secret_name(struct str item)
{
    for (size_t i = 0; i < item.size; i++) {
        char byte = item.data[i];
        bool letter =
            (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
        bool digit = byte >= '0' && byte <= '9';
        if (!letter && !digit && byte != '.' && byte != '_' && byte != '-') {
            return false;
        }
    }
    return item.size > 0;
}

static enum err
set_secrets(const struct setting *setting, struct str value, void *field)
{
    return set_items(setting, value, is_secret_name, field);
}

const struct settings_type settings_type_secrets = {
    0, set_secrets, set_secrets, show_text, write_text, NULL,
};

/* --- url and filter ------------------------------------------------------- */

static enum err
set_url(const struct setting *setting, struct str value, void *field)
{
    struct url url;
    const char *reason = NULL;

    if (value.size > setting->max ||
        (value.size > 0 && url_parse(value, &url, &reason) != ERR_OK)) {
        return ERR_INVALID;
    }
    return put_str_field(value, field);
}

const struct settings_type settings_type_url = {
    0, set_url, set_url, show_text, write_text, NULL,
};

static enum err
set_name(const struct setting *setting, struct str value, void *field)
{
    if (value.size > setting->max ||
        (value.size > 0 && !store_topic_name_valid(value))) {
        return ERR_INVALID;
    }
    return put_str_field(value, field);
}

const struct settings_type settings_type_name = {
    0, set_name, set_name, show_text, write_text, NULL,
};

/* Text on one line. */
static enum err
set_line(const struct setting *setting, struct str value, void *field)
{
    if (value.size > setting->max || !json_text_is_text(value)) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < value.size; i++) {
        if ((unsigned char)value.data[i] < ' ' || value.data[i] == 0x7f) {
            return ERR_INVALID;
        }
    }
    return put_str_field(value, field);
}

const struct settings_type settings_type_text = {
    0, set_line, set_line, show_text, write_text, NULL,
};

/* One that is stored may be of a program that knew more: whoever matches
 * messages with it lets nothing pass then. */
static enum err
read_filter(const struct setting *setting, struct str value, void *field)
{
    if (value.size > setting->max || !json_text_is_text(value)) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < value.size; i++) {
        char byte = value.data[i]; /* conditions may be on lines of their own */
        bool blank = byte == '\n' || byte == '\r' || byte == '\t';
        if (((unsigned char)byte < ' ' && !blank) || byte == 0x7f) {
            return ERR_INVALID;
        }
    }
    return put_str_field(value, field);
}

static enum err
set_filter(const struct setting *setting, struct str value, void *field)
{
    struct filter_problem problem;
    struct filter *filter = NULL;
    enum err err = filter_compile(value, &filter, &problem);

    filter_destroy(filter);
    if (err != ERR_OK) {
        return err == ERR_NOMEM ? err : ERR_INVALID;
    }
    return read_filter(setting, value, field);
}

static void
explain_filter(const struct setting *setting, struct str value, struct buf *to)
{
    struct filter_problem problem;
    struct filter *filter = NULL;
    enum err err = filter_compile(value, &filter, &problem);

    filter_destroy(filter);
    if (value.size <= setting->max && err != ERR_OK && err != ERR_NOMEM) {
        buf_append_format(to, ": at byte %zu: %s", problem.position,
                          problem.expected);
    }
}

const struct settings_type settings_type_filter = {
    0, set_filter, read_filter, show_text, write_text, explain_filter,
};

/* --- headers -------------------------------------------------------------- */

/* Take one "Name: value" line apart, without its newline. */
static void
cut_header(struct str line, struct str *out_name, struct str *out_value)
{
    size_t colon = str_find(line, ':');

    *out_name = str_cut(line, 0, colon);
    *out_value = str_trim(str_cut(line, colon + 1, line.size));
}

/* Tell whether lines have a header. */
static bool has_header(struct str lines, struct str wanted)
{
    while (lines.size > 0) {
        struct str name;
        struct str value;
        size_t end = str_find(lines, '\n');
        cut_header(str_cut(lines, 0, end), &name, &value);
        if (str_equal_nocase(name, wanted)) {
            return true;
        }
        lines = str_cut(lines, end + 1, lines.size);
    }
    return false;
}

/* Append a header that may be there. */
static enum err add_header(const struct setting *setting,
                           struct str name,
                           struct str value,
                           struct buf *lines)
{
    size_t size = name.size + value.size + sizeof(": \n") - 1;

    if (!http_is_token(name) || !http_is_field_value(value) ||
        forward_drops(name) || has_header(buf_str(lines), name) ||
        size > setting->max - lines->size) {
        return ERR_INVALID;
    }
    enum err err = buf_reserve(lines, size);
    if (err == ERR_OK) {
        buf_append_str(lines, name);
        buf_append_c(lines, ": ");
        buf_append_str(lines, value);
        buf_append_byte(lines, '\n');
    }
    return err;
}

/* Add one member of the JSON object. */
static enum err add_member(const struct setting *setting,
                           const struct json_scan_value *name,
                           const struct json_scan_value *value,
                           struct buf *lines)
{
    struct buf memory = {0};
    struct str name_text = {NULL, 0};
    struct str value_text = {NULL, 0};

    if (value->type != JSON_SCAN_STRING) {
        return ERR_INVALID;
    }
    enum err err = buf_reserve(&memory, name->text.size + value->text.size);
    if (err == ERR_OK) {
        err = json_scan_string(name, &memory, &name_text);
    }
    if (err == ERR_OK) {
        err = json_scan_string(value, &memory, &value_text);
    }
    if (err == ERR_OK) {
        err = add_header(setting, name_text, str_trim(value_text), lines);
    }
    buf_fini(&memory);
    return err;
}

/* Read a JSON object of headers as lines. */
static enum err
read_object(const struct setting *setting, struct str text, struct buf *lines)
{
    struct json_scan scan = json_scan_of(text);
    struct json_scan_value object;
    struct json_scan_value name;
    struct json_scan_value value;

    if (json_scan_next(&scan, &object) != ERR_OK ||
        object.type != JSON_SCAN_OBJECT ||
        json_scan_next(&scan, &value) != ERR_NOT_FOUND) {
        return ERR_INVALID;
    }
    struct json_scan members = json_scan_enter(&object);
    enum err err = ERR_OK;
    while (err == ERR_OK &&
           json_scan_member(&members, &name, &value) == ERR_OK) {
        err = add_member(setting, &name, &value, lines);
    }
    return err;
}

/* Tell whether there is a line that deliveries would not have, and which. */
static bool find_wrong_line(const struct buf *lines,
                            const char **out_reason,
                            struct str *out_line)
{
    return header_lines_check(buf_str(lines), out_reason, out_line) != ERR_OK;
}

static enum err
set_headers(const struct setting *setting, struct str value, void *field)
{
    struct buf lines = {0};
    const char *reason = NULL;
    struct str line = {NULL, 0};
    enum err err = ERR_OK;

    if (value.size > 0) {
        err = read_object(setting, value, &lines);
    }
    if (err == ERR_OK && find_wrong_line(&lines, &reason, &line)) {
        err = ERR_INVALID;
    }
    if (err == ERR_OK) {
        err = put_text_field(&lines, field);
    }
    buf_fini(&lines);
    return err;
}

static void
explain_headers(const struct setting *setting, struct str value, struct buf *to)
{
    struct buf lines = {0};
    const char *reason = NULL;
    struct str line = {NULL, 0};

    if (read_object(setting, value, &lines) == ERR_OK &&
        find_wrong_line(&lines, &reason, &line)) {
        buf_append_c(to, ": ");
        buf_append_str(to, str_cut(line, 0, str_find(line, ':')));
        buf_append_format(to, ": %s", reason);
    }
    buf_fini(&lines);
}

static enum err
read_headers(const struct setting *setting, struct str value, void *field)
{
    struct buf lines = {0};
    enum err err = ERR_OK;

    while (value.size > 0 && err == ERR_OK) {
        struct str name;
        struct str text;
        size_t end = str_find(value, '\n');
        struct str line = str_cut(value, 0, end);
        cut_header(line, &name, &text);
        err = name.size < line.size ? add_header(setting, name, text, &lines)
                                    : ERR_INVALID; /* it has no colon */
        value = str_cut(value, end + 1, value.size);
    }
    if (err == ERR_OK) {
        err = put_text_field(&lines, field);
    }
    buf_fini(&lines);
    return err;
}

static void
show_headers(const struct setting *setting, const void *field, struct buf *to)
{
    struct str lines = str_from(*(char *const *)field);
    const char *before = "\"";

    (void)setting;
    buf_append_byte(to, '{');
    while (lines.size > 0) {
        struct str name;
        struct str value;
        size_t end = str_find(lines, '\n');
        cut_header(str_cut(lines, 0, end), &name, &value);
        buf_append_c(to, before);
        buf_append_json(to, name);
        buf_append_c(to, "\":\"");
        buf_append_json(to, value);
        buf_append_byte(to, '"');
        before = ",\"";
        lines = str_cut(lines, end + 1, lines.size);
    }
    buf_append_byte(to, '}');
}

const struct settings_type settings_type_headers = {
    0, set_headers, read_headers, show_headers, write_text, explain_headers,
};

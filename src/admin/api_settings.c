/* Settings that a request gives: in its headers, its query and its body.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_settings.h"

#include "admin/api_internal.h"
#include "base/check.h"
#include "http/form.h"
#include "queue/answer.h"

#include <jansson.h>
#include <stdlib.h>

enum {
    SETTING_NAME_MAX = 32, /* bytes; longer ones are unknown, too */
    REAL_DIGITS = 10,      /* of a number with decimals: 12.5 stays that */
};

/* What is being read. */
struct reading {
    enum err (*visit)(void *context,
                      struct str name,
                      struct str value,
                      struct buf *detail);
    void *context; /* borrowed, as all below */
    struct api_refusals *refusals;
};

/* What settings are read into. */
struct noting {
    enum settings_scope scope;
    struct settings_change *change;   /* borrowed, as all below */
    struct api_settings_extra *extra; /* NULL: none */
};

/* --- refusals ------------------------------------------------------------- */

void api_refusals_add(struct api_refusals *refusals)
{
    struct buf *detail = &refusals->detail;

    if (refusals->count < API_REFUSALS_MAX) {
        buf_append_c(&refusals->errors,
                     refusals->count == 0 ? "\"errors\":[\"" : ",\"");
        buf_append_json(&refusals->errors, buf_str(detail));
        buf_append_byte(&refusals->errors, '"');
    }
    if (refusals->count == 0) {
        buf_append_str(&refusals->first, buf_str(detail));
    }
    refusals->first.failed = refusals->first.failed || detail->failed;
    refusals->count++;
    buf_clear(detail);
}

static void refusals_fini(struct api_refusals *refusals)
{
    buf_fini(&refusals->detail);
    buf_fini(&refusals->first);
    buf_fini(&refusals->errors);
}

bool api_settings_taken(struct api_call *call,
                        enum err err,
                        struct api_refusals *refusals)
{
    struct buf *first = &refusals->first;
    struct buf *errors = &refusals->errors;

    if (err == ERR_OK) {
        refusals_fini(refusals);
        return true;
    }
    buf_append_byte(first, '\0');
    buf_append_c(errors, "]");
    buf_append_byte(errors, '\0');
    if (err == ERR_NOMEM || first->failed || errors->failed) {
        answer_problem(call->exchange, 503, "out of memory", NULL);
    } else {
        answer_problem(call->exchange, 400, first->data, errors->data);
    }
    api_call_drop(call);
    refusals_fini(refusals);
    return false;
}

/* --- reading -------------------------------------------------------------- */

static enum err note_extra(struct api_settings_extra *extra,
                           struct str value,
                           struct buf *detail)
{
    if (extra->given) {
        buf_append_format(detail, "%s is given twice", extra->name);
        return ERR_INVALID;
    }
    extra->given = true;
    buf_append_str(&extra->value, str_trim(value));
    return buf_err(&extra->value);
}

static enum err note_setting(void *context,
                             struct str name,
                             struct str value,
                             struct buf *detail)
{
    const struct noting *noting = context;

    if (noting->extra != NULL &&
        str_equal(name, str_from(noting->extra->name))) {
        return note_extra(noting->extra, value, detail);
    }
    return settings_change_set(noting->change, noting->scope, name, value,
                               detail);
}

/* Note one; when it is refused, that is noted, and reading goes on.
 * Errors: ERR_NOMEM */
static enum err
note(const struct reading *reading, struct str name, struct str value)
{
    enum err err = reading->visit(reading->context, name, value,
                                  &reading->refusals->detail);

    if (err == ERR_INVALID) {
        api_refusals_add(reading->refusals);
        return ERR_OK;
    }
    return err;
}

/* Note that a part of the request cannot be read. */
static void refuse(const struct reading *reading, const char *why)
{
    buf_append_c(&reading->refusals->detail, why);
    api_refusals_add(reading->refusals);
}

static enum err note_query(const struct reading *reading, struct str query)
{
    struct form form = {0};
    enum err err = form_parse_urlencoded(&form, query);

    if (err != ERR_OK && err != ERR_NOMEM) {
        refuse(reading, "the query is malformed");
        err = ERR_OK;
    }
    for (uint32_t index = 0; err == ERR_OK && index < form.field_count;
         index++) {
        const struct form_field *field = &form.fields[index];
        err = note(reading, field->name, field->value);
    }
    form_fini(&form);
    return err;
}

/* Opq-Retain-Age and the like: the setting's name, in `name`. */
static struct str header_setting(struct str header, char name[SETTING_NAME_MAX])
{
    struct str rest = str_cut(header, 4, header.size);
    size_t size = rest.size < SETTING_NAME_MAX ? rest.size : SETTING_NAME_MAX;

    for (size_t index = 0; index < size; index++) {
        char byte = rest.data[index];
        bool capital = byte >= 'A' && byte <= 'Z';
        byte = capital ? (char)(byte - 'A' + 'a') : byte;
        name[index] = byte == '-' ? '_' : byte;
    }
    return (struct str){name, size};
}

static enum err note_headers(const struct reading *reading,
                             const struct http_head *head)
{
    enum err err = ERR_OK;

    for (uint32_t index = 0; err == ERR_OK && index < head->header_count;
         index++) {
        const struct http_header *header = &head->headers[index];
        char name[SETTING_NAME_MAX];
        if (api_is_control(header->name)) {
            err = note(reading, header_setting(header->name, name),
                       header->value);
        }
    }
    return err;
}

/* Strings are taken as they are, the rest as JSON writes it. */
static enum err note_member(const struct reading *reading,
                            const char *name,
                            const json_t *value)
{
    if (json_is_null(value) || json_is_array(value)) {
        buf_append_format(&reading->refusals->detail, "%.64s must not be %s",
                          name, json_is_null(value) ? "null" : "an array");
        api_refusals_add(reading->refusals);
        return ERR_OK;
    }
    if (json_is_string(value)) {
        return note(
            reading, str_from(name),
            (struct str){json_string_value(value), json_string_length(value)});
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT |
                                       JSON_REAL_PRECISION(REAL_DIGITS));
    if (text == NULL) {
        return ERR_NOMEM;
    }
    enum err err = note(reading, str_from(name), str_from(text));
    free(text);
    return err;
}

static enum err note_json(const struct reading *reading, struct str body)
{
    json_error_t error;
    const char *name = NULL;
    json_t *value = NULL;
    enum err err = ERR_OK;

    if (body.size == 0) {
        return ERR_OK;
    }
    json_t *document =
        json_loadb(body.data, body.size, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(document)) {
        buf_append_format(&reading->refusals->detail,
                          "the body must be a JSON object%s%.100s",
                          document == NULL ? ": " : "",
                          document == NULL ? error.text : "");
        api_refusals_add(reading->refusals);
        json_decref(document);
        return ERR_OK;
    }
    json_object_foreach(document, name, value)
    {
        err = err == ERR_OK ? note_member(reading, name, value) : err;
    }
    json_decref(document);
    return err;
}

enum err api_settings_read(const struct http_exchange *exchange,
                           enum settings_scope scope,
                           struct settings_change *change,
                           struct api_refusals *refusals)
{
    return api_settings_read_with(exchange, scope, change, NULL, refusals);
}

enum err api_settings_read_with(const struct http_exchange *exchange,
                                enum settings_scope scope,
                                struct settings_change *change,
                                struct api_settings_extra *extra,
                                struct api_refusals *refusals)
{
    struct noting noting = {scope, change, extra};

    return api_settings_each(exchange, note_setting, &noting, refusals);
}

enum err api_settings_each(const struct http_exchange *exchange,
                           enum err (*visit)(void *context,
                                             struct str name,
                                             struct str value,
                                             struct buf *detail),
                           void *context,
                           struct api_refusals *refusals)
{
    const struct reading reading = {visit, context, refusals};

    if (exchange->body.size > API_SETTINGS_SIZE_MAX) {
        refuse(&reading, "the body is too large for settings");
        return ERR_INVALID;
    }
    enum err err = note_headers(&reading, exchange->head);
    if (err == ERR_OK) {
        err = note_query(&reading, exchange->head->query);
    }
    if (err == ERR_OK) {
        err = note_json(&reading, exchange->body);
    }
    return err == ERR_OK && refusals->count > 0 ? ERR_INVALID : err;
}

/* --- warnings ------------------------------------------------------------- */

/* Tell of one name, if it is unknown; the first time opens the array. */
static void warn_of(struct str name,
                    const struct secrets *secrets,
                    bool *open,
                    struct buf *to)
{
    uint32_t count = 0;

    if (secrets_find(secrets, name, &count) != NULL) {
        return;
    }
    buf_append_c(to, *open ? "," : ",\"warnings\":[");
    *open = true;
    buf_append_format(to,
                      "\"secret %.*s is not in the file of secrets: until it "
                      "is, nothing is sent\"",
                      STR_ARG(name));
}

void api_settings_warn(const struct settings *settings,
                       const struct secrets *secrets,
                       struct buf *to)
{
    struct str names = str_from(settings->secret);
    struct str headers = str_from(settings->headers);
    struct buf nowhere = {0};
    struct str name;
    bool open = false;

    if (to->failed) {
        return;
    }
    CHECK(to->size > 0 && to->data[to->size - 1] == '}');
    to->size--;
    while (names.size > 0) {
        size_t comma = str_find(names, ',');
        warn_of(str_cut(names, 0, comma), secrets, &open, to);
        names = str_cut(names, comma + 1, SIZE_MAX);
    }
    /* Without a table the first name of all is the one that is not found. */
    while (secrets_expand(NULL, headers, 0, &nowhere, &name) == ERR_NOT_FOUND) {
        warn_of(name, secrets, &open, to);
        size_t behind = (size_t)(name.data - headers.data) + name.size;
        headers = str_cut(headers, behind, headers.size);
    }
    buf_fini(&nowhere);
    buf_append_c(to, open ? "]}" : "}");
}

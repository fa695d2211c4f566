/* What must change so that a server has what a file defines.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_apply_plan.h"

#include "cli/cli_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DUMP = JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY };

static void change_fini(struct apply_change *change)
{
    json_decref(change->topic);
    json_decref(change->name);
    json_decref(change->diff);
    json_decref(change->body);
}

void cli_apply_plan_fini(struct apply_plan *plan)
{
    for (size_t index = 0; index < plan->count; index++) {
        change_fini(&plan->changes[index]);
    }
    free(plan->changes);
    *plan = (struct apply_plan){0};
}

/* Take a change over, or free it.
 * Errors: ERR_NOMEM */
MUST_CHECK static enum err add(struct apply_plan *plan,
                               struct apply_change *change)
{
    if (plan->count == plan->room) {
        size_t room = plan->room * 2 + 16;
        struct apply_change *changes =
            realloc(plan->changes, room * sizeof(*changes));
        if (changes == NULL) {
            change_fini(change);
            return ERR_NOMEM;
        }
        plan->changes = changes;
        plan->room = room;
    }
    plan->changes[plan->count] = *change;
    plan->count++;
    return ERR_OK;
}

json_t *cli_apply_plan_text(const json_t *value)
{
    if (json_is_string(value)) {
        return json_incref((json_t *)value);
    }
    char *dumped = json_dumps(value, DUMP);
    json_t *text = dumped != NULL ? json_string(dumped) : NULL;
    free(dumped);
    return text;
}

/* --- comparing ------------------------------------------------------------ */

static bool is_yes(const char *text)
{
    return strcmp(text, "yes") == 0 || strcmp(text, "true") == 0 ||
           strcmp(text, "on") == 0 || strcmp(text, "1") == 0;
}

/* Whether two parts of a value are the same text, duration, or number. */
static bool same_part(struct str one, struct str other)
{
    char texts[2][64];
    char *ends[2];
    uint64_t ms[2];

    if (str_equal(one, other)) {
        return true;
    }
    if (str_to_duration_ms(one, &ms[0]) == ERR_OK &&
        str_to_duration_ms(other, &ms[1]) == ERR_OK) {
        return ms[0] == ms[1];
    }
    if (one.size == 0 || other.size == 0 || one.size >= sizeof(texts[0]) ||
        other.size >= sizeof(texts[1])) {
        return false;
    }
    (void)snprintf(texts[0], sizeof(texts[0]), "%.*s", STR_ARG(one));
    (void)snprintf(texts[1], sizeof(texts[1]), "%.*s", STR_ARG(other));
    double numbers[2] = {strtod(texts[0], &ends[0]),
                         strtod(texts[1], &ends[1])};
    return ends[0] != texts[0] && ends[1] != texts[1] &&
           numbers[0] >= numbers[1] && numbers[0] <= numbers[1] &&
           strcmp(ends[0], ends[1]) == 0;
}

static size_t part_size(struct str text)
{
    size_t comma = str_find(text, ',');
    size_t slash = str_find(text, '/');

    return comma < slash ? comma : slash;
}

/* The same for values in parts, apart by ',' or '/': 100/60s is 100/1m. */
static bool same_parts(struct str one, struct str other)
{
    while (one.size > 0 || other.size > 0) {
        size_t sizes[2] = {part_size(one), part_size(other)};
        bool ends[2] = {sizes[0] == one.size, sizes[1] == other.size};
        if (ends[0] != ends[1] ||
            (!ends[0] && one.data[sizes[0]] != other.data[sizes[1]]) ||
            !same_part(str_trim(str_cut(one, 0, sizes[0])),
                       str_trim(str_cut(other, 0, sizes[1])))) {
            return false;
        }
        one = str_cut(one, sizes[0] + 1, one.size);
        other = str_cut(other, sizes[1] + 1, other.size);
    }
    return true;
}

/* Whether a text is a quantity: not a name, a URL, or words. */
static bool is_quantity(const json_t *property, const char *text)
{
    const char *pattern = cli_text(property, "pattern");
    const char *words = cli_text(property, "description");

    return text[0] >= '0' && text[0] <= '9' && strstr(pattern, "A-Z") == NULL &&
           strstr(words, "a text") == NULL;
}

static bool same_object(const json_t *now, const char *wanted)
{
    json_t *object = json_loads(wanted, 0, NULL);
    bool same = object != NULL && json_equal(now, object) != 0;

    json_decref(object);
    return same;
}

bool cli_apply_plan_same(const json_t *property,
                         const json_t *now,
                         const char *wanted)
{
    const char *text = json_string_value(now);
    uint64_t number = 0;

    if (json_is_boolean(now)) {
        return json_is_true(now) == is_yes(wanted);
    }
    if (json_is_integer(now)) {
        return str_to_size(str_from(wanted), &number) == ERR_OK &&
               number == (uint64_t)json_integer_value(now);
    }
    if (json_is_object(now)) {
        return same_object(now, wanted);
    }
    if (text == NULL) {
        return false;
    }
    return strcmp(text, wanted) == 0 ||
           (is_quantity(property, text) && is_quantity(property, wanted) &&
            same_parts(str_from(text), str_from(wanted)));
}

/* --- changes -------------------------------------------------------------- */

static struct apply_change begin(enum apply_action action,
                                 const struct apply_section *section)
{
    return (struct apply_change){
        .action = action,
        .kind = section->kind,
        .line = section->line,
        .topic = json_incref(section->topic),
        .name = json_incref(section->name),
        .diff = json_object(),
        .body = json_object(),
    };
}

/* Note a difference; `from` or `to` may be NULL, both are given away. */
static bool
note(struct apply_change *change, const char *name, json_t *from, json_t *to)
{
    json_t *pair = json_object();
    bool good = true;

    if (from != NULL) {
        good = json_object_set_new(pair, "from", from) == 0;
    }
    if (to != NULL) {
        good = json_object_set_new(pair, "to", to) == 0 && good;
    }
    return json_object_set_new(change->diff, name, pair) == 0 && good;
}

/* Note that a setting has another value than it should. */
static bool note_setting(struct apply_change *change,
                         const char *name,
                         const json_t *now,
                         const json_t *wanted)
{
    return note(change, name, now != NULL ? cli_apply_plan_text(now) : NULL,
                cli_apply_plan_text(wanted)) &&
           json_object_set(change->body, name, (json_t *)wanted) == 0;
}

/* Compare one setting of what is there with the section, or its default. */
static bool compare(struct apply_change *change,
                    const struct apply_section *section,
                    const char *name,
                    const json_t *property,
                    const json_t *now)
{
    const json_t *wanted = json_object_get(section->settings, name);

    if (wanted == NULL) {
        wanted = json_object_get(property, "default");
        if (wanted == NULL || strcmp(name, "paused") == 0 ||
            json_equal(now, wanted)) {
            return true;
        }
        json_t *text = cli_apply_plan_text(wanted);
        bool same = text == NULL ||
                    cli_apply_plan_same(property, now, json_string_value(text));
        json_decref(text);
        return same || note_setting(change, name, now, wanted);
    }
    return cli_apply_plan_same(property, now, json_string_value(wanted)) ||
           note_setting(change, name, now, wanted);
}

enum err cli_apply_plan_settings(struct apply_plan *plan,
                                 const struct apply_section *section,
                                 const json_t *schema,
                                 const json_t *now)
{
    struct apply_change change =
        begin(now == NULL ? APPLY_CREATE : APPLY_CHANGE, section);
    const char *name = NULL;
    json_t *value = NULL;
    bool good = true;

    if (now == NULL) {
        json_object_foreach(section->settings, name, value)
        {
            good = note_setting(&change, name, NULL, value) && good;
        }
    } else {
        json_object_foreach(json_object_get(schema, "properties"), name, value)
        {
            good = compare(&change, section, name, value,
                           json_object_get(now, name)) &&
                   good;
        }
    }
    if (!good || (now != NULL && json_object_size(change.diff) == 0)) {
        change_fini(&change);
        return good ? ERR_OK : ERR_NOMEM;
    }
    return add(plan, &change);
}

enum err cli_apply_plan_delete(struct apply_plan *plan,
                               enum apply_kind kind,
                               const char *topic,
                               const char *name)
{
    struct apply_change change = {
        .action = APPLY_DELETE,
        .kind = kind,
        .topic = topic != NULL ? json_string(topic) : NULL,
        .name = json_string(name),
    };

    return add(plan, &change);
}

/* --- schedules ------------------------------------------------------------ */

json_t *cli_apply_plan_flatten(const json_t *definition)
{
    json_t *flat = json_object();
    const char *name = NULL;
    json_t *value = NULL;

    json_object_foreach((json_t *)definition, name, value)
    {
        bool document = strcmp(name, "message") == 0 && !json_is_string(value);
        if (json_object_set_new(flat, document ? "message_json" : name,
                                cli_apply_plan_text(value)) != 0) {
            json_decref(flat);
            return NULL;
        }
    }
    return flat;
}

/* Make the definition that a section is.
 * Errors: ERR_INVALID, ERR_NOMEM */
MUST_CHECK static enum err make_definition(const struct apply_section *section,
                                           json_t *body)
{
    const char *name = NULL;
    json_t *text = NULL;

    json_object_foreach(section->settings, name, text)
    {
        const char *words = json_string_value(text);
        bool message = strcmp(name, "message_json") == 0;
        json_t *value = NULL;
        if (message || strcmp(name, "headers") == 0) {
            value = json_loads(words, JSON_DECODE_ANY, NULL);
            if (value == NULL) {
                return ERR_INVALID;
            }
        } else if (strcmp(name, "paused") == 0) {
            value = json_boolean(is_yes(words));
        } else {
            value = json_incref(text);
        }
        if (json_object_set_new(body, message ? "message" : name, value) != 0) {
            return ERR_NOMEM;
        }
    }
    return ERR_OK;
}

/* Note what two definitions, both flat, differ in. */
static bool
note_members(struct apply_change *change, json_t *before, json_t *after)
{
    const char *name = NULL;
    json_t *value = NULL;
    bool good = true;

    json_object_foreach(after, name, value)
    {
        json_t *old = json_object_get(before, name);
        if (!json_equal(old, value)) {
            good = note(change, name, json_incref(old), json_incref(value)) &&
                   good;
        }
    }
    json_object_foreach(before, name, value)
    {
        if (json_object_get(after, name) == NULL) {
            good = note(change, name, json_incref(value), NULL) && good;
        }
    }
    return good;
}

enum err cli_apply_plan_schedule(struct apply_plan *plan,
                                 const struct apply_section *section,
                                 const json_t *now)
{
    const json_t *paused = json_object_get(now, "paused");
    struct apply_change change =
        begin(now == NULL ? APPLY_CREATE : APPLY_CHANGE, section);

    enum err err = make_definition(section, change.body);
    json_t *before = cli_apply_plan_flatten(json_object_get(now, "definition"));
    json_t *after = cli_apply_plan_flatten(change.body);
    if (err == ERR_OK && (before == NULL || after == NULL)) {
        err = ERR_NOMEM;
    }
    /* Paused is what it is now, not what it was when it was defined. */
    (void)json_object_del(before, "paused");
    if (json_object_get(after, "paused") == NULL) {
        if (json_is_true(paused)) {
            (void)json_object_set_new(change.body, "paused", json_true());
        }
    } else if (now != NULL) {
        (void)json_object_set_new(before, "paused",
                                  cli_apply_plan_text(paused));
    }
    if (err == ERR_OK && !note_members(&change, before, after)) {
        err = ERR_NOMEM;
    }
    json_decref(before);
    json_decref(after);
    if (err != ERR_OK || (now != NULL && json_object_size(change.diff) == 0)) {
        change_fini(&change);
        return err;
    }
    return add(plan, &change);
}

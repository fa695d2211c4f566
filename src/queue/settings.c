/* The settings of topics and subscriptions: the table, and what is done by it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/settings_internal.h"

#include "base/nearest.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    SCOPE_NONE = 0,
    SCOPE_TOPIC = SETTINGS_TOPIC,
    SCOPE_SUBSCRIPTION = SETTINGS_SUBSCRIPTION,
    SCOPE_BOTH = SETTINGS_TOPIC | SETTINGS_SUBSCRIPTION,
};

#define TYPE_FLAG &settings_type_flag
#define TYPE_EITHER &settings_type_either
#define TYPE_CHOICE &settings_type_choice
#define TYPE_ORDINAL &settings_type_ordinal
#define TYPE_COUNT &settings_type_count
#define TYPE_COUNT64 &settings_type_count64
#define TYPE_SIZE &settings_type_size
#define TYPE_SPAN &settings_type_span
#define TYPE_SPAN64 &settings_type_span64
#define TYPE_RETRIES &settings_type_retries
#define TYPE_RATE &settings_type_rate
#define TYPE_BATCH &settings_type_batch
#define TYPE_SHARE &settings_type_share
#define TYPE_SCHEDULE &settings_type_schedule
#define TYPE_STATUSES &settings_type_statuses
#define TYPE_SECRETS &settings_type_secrets
#define TYPE_NAME &settings_type_name
#define TYPE_URL &settings_type_url
#define TYPE_TEXT &settings_type_text
#define TYPE_FILTER &settings_type_filter
#define TYPE_HEADERS &settings_type_headers

static const struct setting table[] = {
#define SETTING(name, type, field, stored, scope, value, max, wanted, words)   \
    {#name,                                                                    \
     stored,                                                                   \
     TYPE_##type,                                                              \
     SCOPE_##scope,                                                            \
     offsetof(struct settings, field),                                         \
     value,                                                                    \
     max,                                                                      \
     wanted,                                                                   \
     words},
#include "queue/settings.def"
#undef SETTING
};

enum { SETTING_COUNT = sizeof(table) / sizeof(table[0]) };
static_assert(SETTING_COUNT <= 64, "a change has a bit for each");

/* Each type of the table is of the C type that its code writes. */
#define FIELD_FLAG bool
#define FIELD_EITHER bool
#define FIELD_CHOICE unsigned
#define FIELD_ORDINAL unsigned
#define FIELD_COUNT uint32_t
#define FIELD_COUNT64 uint64_t
#define FIELD_SIZE uint64_t
#define FIELD_SPAN uint32_t
#define FIELD_SPAN64 uint64_t
#define FIELD_RETRIES uint32_t
#define FIELD_RATE struct settings_rate
#define FIELD_BATCH uint32_t
#define FIELD_SHARE uint32_t
#define FIELD_SCHEDULE char *
#define FIELD_STATUSES char *
#define FIELD_SECRETS char *
#define FIELD_NAME char *
#define FIELD_URL char *
#define FIELD_TEXT char *
#define FIELD_FILTER char *
#define FIELD_HEADERS char *
#define SETTING(name, type, field, stored, scope, value, max, wanted, words)   \
    static_assert(_Generic(((struct settings *)0)->field, FIELD_##type : 1,    \
                           default : 0),                                       \
                  #name);
#include "queue/settings.def"
#undef SETTING

const struct setting *settings_at(unsigned index)
{
    return index < SETTING_COUNT ? &table[index] : NULL;
}

const char *settings_name(enum settings_scope scope, unsigned index)
{
    for (unsigned at = 0; at < SETTING_COUNT; at++) {
        if ((table[at].scopes & scope) != 0 && index-- == 0) {
            return table[at].name;
        }
    }
    return NULL;
}

/* --- life ----------------------------------------------------------------- */

void settings_init(struct settings *settings)
{
    *settings = (struct settings){
        .retries = RETRY_FOREVER,
        .share_ppm = 1000000,
    };
}

static bool is_text(const struct setting *setting)
{
    return setting->type->size == 0;
}

void settings_fini(struct settings *settings)
{
    for (unsigned index = 0; index < SETTING_COUNT; index++) {
        if (is_text(&table[index])) {
            free(*(char **)settings_field(settings, &table[index]));
        }
    }
    settings_init(settings);
}

/* Make the settings that have a bit in `given` the same as those of `from`. */
static enum err
take(struct settings *settings, const struct settings *from, uint64_t given)
{
    for (unsigned index = 0; index < SETTING_COUNT; index++) {
        const struct setting *setting = &table[index];
        void *field = settings_field(settings, setting);
        const void *source = settings_field_of(from, setting);
        if ((given >> index & 1) == 0) {
            continue;
        }
        if (!is_text(setting)) {
            memcpy(field, source, setting->type->size);
            continue;
        }
        const char *text = *(char *const *)source;
        char *copy = text != NULL ? strdup(text) : NULL;
        if (text != NULL && copy == NULL) {
            return ERR_NOMEM;
        }
        free(*(char **)field);
        *(char **)field = copy;
    }
    return ERR_OK;
}

enum err settings_copy(struct settings *to, const struct settings *from)
{
    struct settings copy;

    settings_init(&copy);
    enum err err = take(&copy, from, UINT64_MAX);
    if (err != ERR_OK) {
        settings_fini(&copy);
        return err;
    }
    settings_fini(to);
    *to = copy;
    return ERR_OK;
}

/* --- by name -------------------------------------------------------------- */

static const struct setting *find(enum settings_scope scope, struct str name)
{
    for (unsigned index = 0; index < SETTING_COUNT; index++) {
        if ((table[index].scopes & scope) != 0 &&
            str_equal(name, str_from(table[index].name))) {
            return &table[index];
        }
    }
    return NULL;
}

static void
tell_unknown(enum settings_scope scope, struct str name, struct buf *detail)
{
    bool of_topic = scope == SETTINGS_TOPIC;
    const struct setting *other =
        find(of_topic ? SETTINGS_SUBSCRIPTION : SETTINGS_TOPIC, name);
    struct nearest nearest = nearest_of(name);

    if (other != NULL) {
        buf_append_format(detail, "%s is a setting of %s, not of %s",
                          other->name, of_topic ? "subscriptions" : "topics",
                          of_topic ? "topics" : "subscriptions");
        return;
    }
    for (unsigned index = 0; index < SETTING_COUNT; index++) {
        if ((table[index].scopes & scope) != 0) {
            nearest_offer(&nearest, table[index].name);
        }
    }
    buf_append_c(detail, "unknown setting: ");
    buf_append_str(detail, str_cut(name, 0, NEAREST_SIZE_MAX));
    if (nearest.name != NULL) {
        buf_append_format(detail, "; did you mean %s?", nearest.name);
    }
}

/* Set a known one. */
static enum err set_known(struct settings *settings,
                          const struct setting *setting,
                          struct str value,
                          struct buf *detail)
{
    enum err err = setting->type->set(setting, str_trim(value),
                                      settings_field(settings, setting));

    if (err == ERR_OK || err == ERR_NOMEM) {
        return err;
    }
    buf_append_format(detail, "%s must be ", setting->name);
    settings_wanted(setting, detail);
    if (setting->type->explain != NULL) {
        setting->type->explain(setting, str_trim(value), detail);
    }
    return ERR_INVALID;
}

enum err settings_set(struct settings *settings,
                      enum settings_scope scope,
                      struct str name,
                      struct str value,
                      struct buf *detail)
{
    const struct setting *setting = find(scope, name);

    if (setting == NULL) {
        tell_unknown(scope, name, detail);
        return ERR_INVALID;
    }
    return set_known(settings, setting, value, detail);
}

bool settings_holds(const struct settings *settings)
{
    if (settings->hold == SETTINGS_HOLD_AUTO) {
        return settings->kind == SETTINGS_KIND_PUSH ||
               settings->kind == SETTINGS_KIND_PULL;
    }
    return settings->hold == SETTINGS_HOLD_YES;
}

const char *settings_conflict(const struct settings *settings)
{
    if (settings->cloudevents == SETTINGS_EVENTS_BINARY &&
        settings->batch_count > 0) {
        return "cloudevents=binary has one event in a request, so it cannot "
               "be with batch";
    }
    return NULL;
}

void settings_retry_rules(const struct settings *settings,
                          const struct message_options *options,
                          struct retry_rules *out_rules)
{
    *out_rules = (struct retry_rules){
        .retries = settings->retries,
        .schedule = str_from(settings->retry_schedule),
        .permanent_status = str_from(settings->permanent_status),
    };
    if (options == NULL) {
        return;
    }
    if (options->retries != MESSAGE_RETRIES_UNSET) {
        out_rules->retries = options->retries;
    }
    if (options->retry_schedule.size > 0) {
        out_rules->schedule = options->retry_schedule;
    }
    out_rules->expires_at_ms = options->expires_at_ms;
}

void settings_json(const struct settings *settings,
                   enum settings_scope scope,
                   struct buf *to)
{
    const char *before = "{\"";

    for (unsigned index = 0; index < SETTING_COUNT; index++) {
        const struct setting *setting = &table[index];
        if ((setting->scopes & scope) == 0) {
            continue;
        }
        buf_append_c(to, before);
        buf_append_c(to, setting->name);
        buf_append_c(to, "\":");
        setting->type->show(setting, settings_field_of(settings, setting), to);
        before = ",\"";
    }
    buf_append_byte(to, '}');
}

/* --- changes -------------------------------------------------------------- */

void settings_change_init(struct settings_change *change)
{
    settings_init(&change->values);
    change->given = 0;
}

void settings_change_fini(struct settings_change *change)
{
    settings_fini(&change->values);
    change->given = 0;
}

enum err settings_change_set(struct settings_change *change,
                             enum settings_scope scope,
                             struct str name,
                             struct str value,
                             struct buf *detail)
{
    const struct setting *setting = find(scope, name);

    if (setting == NULL) {
        tell_unknown(scope, name, detail);
        return ERR_INVALID;
    }
    uint64_t bit = UINT64_C(1) << (setting - table);
    if ((change->given & bit) != 0) {
        buf_append_format(detail, "%s is given twice", setting->name);
        return ERR_INVALID;
    }
    enum err err = set_known(&change->values, setting, value, detail);
    if (err == ERR_OK) {
        change->given |= bit;
    }
    return err;
}

enum err settings_change_apply(const struct settings_change *change,
                               struct settings *settings)
{
    struct settings changed;

    settings_init(&changed);
    enum err err = settings_copy(&changed, settings);
    if (err == ERR_OK) {
        err = take(&changed, &change->values, change->given);
    }
    if (err != ERR_OK) {
        settings_fini(&changed);
        return err;
    }
    settings_fini(settings);
    *settings = changed;
    return ERR_OK;
}

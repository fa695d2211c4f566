/* Two readings of the settings, compared and merged by the table.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/config_change.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { KIND_NUMBER, KIND_TIME, KIND_FLAG, KIND_TEXT };

static const struct field {
    const char *name;
    enum kind kind;
    size_t offset;
} fields[] = {
#define KIND_OF_COUNT KIND_NUMBER
#define KIND_OF_SIZE KIND_NUMBER
#define KIND_OF_TIME KIND_TIME
#define KIND_OF_FLAG KIND_FLAG
#define KIND_OF_TEXT KIND_TEXT
#define KIND_OF_CHOICE KIND_TEXT
#define GROUP(text)
#define SETTING(name, type, value, min, max, text)                             \
    {#name, KIND_OF_##type, offsetof(struct config, name)},
#include "server/config.def"
#undef GROUP
#undef SETTING
};

static const size_t live_offsets[] = {
#define LIVE(name) offsetof(struct config, name),
#include "server/config_live.def"
#undef LIVE
};

enum {
    FIELD_COUNT = sizeof(fields) / sizeof(fields[0]),
    LIVE_COUNT = sizeof(live_offsets) / sizeof(live_offsets[0]),
};

static bool is_live(const struct config *now,
                    const struct config *fresh,
                    const struct field *field)
{
    bool certificate = field->offset == offsetof(struct config, tls_cert) ||
                       field->offset == offsetof(struct config, tls_key);

    if (certificate &&
        (now->tls_cert[0] == '\0' || fresh->tls_cert[0] == '\0')) {
        return false;
    }
    for (size_t i = 0; i < LIVE_COUNT; i++) {
        if (live_offsets[i] == field->offset) {
            return true;
        }
    }
    return false;
}

static const void *at(const struct config *config, const struct field *field)
{
    return (const char *)config + field->offset;
}

/* The value of a field as text: borrowed, or written into `room`. */
static const char *text_of(const struct config *config,
                           const struct field *field,
                           char room[CONFIG_CHANGE_NUMBER_SIZE])
{
    if (field->kind == KIND_TEXT) {
        return *(char *const *)at(config, field);
    }
    if (field->kind == KIND_FLAG) {
        return *(const bool *)at(config, field) ? "yes" : "no";
    }
    (void)snprintf(room, CONFIG_CHANGE_NUMBER_SIZE, "%llu%s",
                   (unsigned long long)*(const uint64_t *)at(config, field),
                   field->kind == KIND_TIME ? "ms" : "");
    return room;
}

/* What of a value is told: not the path of events_url, which often is what lets
 * its bearer in, as a token does. */
static const char *shown_of(const struct field *field,
                            const char *text,
                            char room[CONFIG_CHANGE_URL_SIZE])
{
    const char *slashes = strstr(text, "//");

    if (field->offset != offsetof(struct config, events_url) ||
        slashes == NULL) {
        return text;
    }
    const char *path = slashes + 2 + strcspn(slashes + 2, "/?#");
    if (path[0] == '\0' || strcmp(path, "/") == 0) {
        return text;
    }
    (void)snprintf(room, CONFIG_CHANGE_URL_SIZE, "%.*s/...", (int)(path - text),
                   text);
    return room;
}

void config_compare(const struct config *from,
                    const struct config *to,
                    config_differs *differs,
                    void *context)
{
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        char from_room[CONFIG_CHANGE_NUMBER_SIZE];
        char to_room[CONFIG_CHANGE_NUMBER_SIZE];
        char from_url[CONFIG_CHANGE_URL_SIZE];
        char to_url[CONFIG_CHANGE_URL_SIZE];
        const char *from_text = text_of(from, &fields[i], from_room);
        const char *to_text = text_of(to, &fields[i], to_room);
        if (strcmp(from_text, to_text) != 0) {
            differs(context, fields[i].name, is_live(from, to, &fields[i]),
                    shown_of(&fields[i], from_text, from_url),
                    shown_of(&fields[i], to_text, to_url));
        }
    }
}

/* Copy a field. Errors: ERR_NOMEM */
static enum err copy_field(const struct config *from,
                           const struct field *field,
                           struct config *to)
{
    char *place = (char *)to + field->offset;

    if (field->kind == KIND_TEXT) {
        char *copy = strdup(*(char *const *)at(from, field));
        memcpy(place, &copy, sizeof(copy));
        return copy != NULL ? ERR_OK : ERR_NOMEM;
    }
    memcpy(place, at(from, field),
           field->kind == KIND_FLAG ? sizeof(bool) : sizeof(uint64_t));
    return ERR_OK;
}

enum err config_merge(const struct config *now,
                      const struct config *fresh,
                      struct config *out)
{
    struct config merged = {.check_only = false};
    enum err err = ERR_OK;

    for (size_t i = 0; i < FIELD_COUNT; i++) {
        bool live = is_live(now, fresh, &fields[i]);
        enum err copied = copy_field(live ? fresh : now, &fields[i], &merged);
        err = copied != ERR_OK ? copied : err;
    }
    if (fresh->file != NULL) {
        merged.file = strdup(fresh->file);
        err = merged.file == NULL ? ERR_NOMEM : err;
    }
    if (err != ERR_OK) {
        config_fini(&merged);
        return err;
    }
    *out = merged;
    return ERR_OK;
}

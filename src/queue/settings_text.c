/* Settings as text: for the store, and for documents.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/settings_internal.h"

#include <string.h>

/* --- the store's text ----------------------------------------------------- */

/* A line holds a value in one piece: newlines are written as "\n". */
static void append_escaped(struct buf *to, struct str value)
{
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] == '\n') {
            buf_append_c(to, "\\n");
        } else if (value.data[i] == '\\') {
            buf_append_c(to, "\\\\");
        } else {
            buf_append_byte(to, value.data[i]);
        }
    }
}

/* Undo append_escaped(); false when it did not write this. */
static bool append_unescaped(struct buf *to, struct str text)
{
    for (size_t i = 0; i < text.size; i++) {
        char byte = text.data[i];
        if (byte == '\\') {
            i++;
            if (i == text.size ||
                (text.data[i] != 'n' && text.data[i] != '\\')) {
                return false;
            }
            byte = text.data[i] == 'n' ? '\n' : '\\';
        }
        buf_append_byte(to, byte);
    }
    return true;
}

/* Tell whether a setting has the value that it begins with. */
static bool is_default(const struct settings *settings,
                       const struct settings *defaults,
                       const struct setting *setting)
{
    const void *field = settings_field_of(settings, setting);

    if (setting->type->size == 0) {
        return *(char *const *)field == NULL;
    }
    return memcmp(field, settings_field_of(defaults, setting),
                  setting->type->size) == 0;
}

enum err settings_write(const struct settings *settings, struct buf *to)
{
    const struct setting *setting = NULL;
    struct settings defaults;
    struct buf value = {0};

    settings_init(&defaults);
    for (unsigned index = 0; (setting = settings_at(index)) != NULL; index++) {
        if (is_default(settings, &defaults, setting)) {
            continue;
        }
        buf_clear(&value);
        setting->type->write(setting, settings_field_of(settings, setting),
                             &value);
        buf_append_c(to, setting->stored);
        buf_append_byte(to, ' ');
        append_escaped(to, buf_str(&value));
        buf_append_byte(to, '\n');
        to->failed = to->failed || value.failed;
    }
    buf_fini(&value);
    enum err err = buf_err(to);
    return err == ERR_OK && to->size > SETTINGS_TEXT_MAX ? ERR_TOO_LARGE : err;
}

static const struct setting *find_stored(struct str name)
{
    const struct setting *setting = NULL;

    for (unsigned index = 0; (setting = settings_at(index)) != NULL; index++) {
        if (str_equal(name, str_from(setting->stored))) {
            return setting;
        }
    }
    return NULL;
}

static enum err
read_line(struct str name, struct str text, struct settings *settings)
{
    const struct setting *setting = find_stored(name);
    struct buf value = {0};

    if (setting == NULL) {
        return ERR_OK; /* of a newer program */
    }
    enum err err = ERR_CORRUPT;
    if (append_unescaped(&value, text)) {
        err = buf_err(&value);
    }
    if (err == ERR_OK) {
        err = setting->type->read(setting, buf_str(&value),
                                  settings_field(settings, setting));
        err = err == ERR_OK || err == ERR_NOMEM ? err : ERR_CORRUPT;
    }
    buf_fini(&value);
    return err;
}

enum err settings_read(struct str text, struct settings *settings)
{
    enum err err = ERR_OK;

    settings_fini(settings);
    while (text.size > 0 && err == ERR_OK) {
        struct str line = str_cut(text, 0, str_find(text, '\n'));
        size_t blank = str_find(line, ' ');
        text = str_cut(text, line.size + 1, text.size);
        err = read_line(str_cut(line, 0, blank),
                        str_cut(line, blank + 1, line.size), settings);
    }
    return err;
}

/* --- documents ------------------------------------------------------------ */

static const char *default_text(const struct setting *setting)
{
    return setting->value[0] != '\0' ? setting->value : "none";
}

void settings_table(enum settings_scope scope, struct buf *to)
{
    const struct setting *setting = NULL;

    buf_append_c(to, "| setting | value | default | meaning |\n"
                     "|---|---|---|---|\n");
    for (unsigned index = 0; (setting = settings_at(index)) != NULL; index++) {
        if ((setting->scopes & scope) == 0) {
            continue;
        }
        buf_append_format(to, "| `%s` | ", setting->name);
        settings_wanted(setting, to);
        buf_append_format(to, " | %s | %s |\n", default_text(setting),
                          setting->words);
    }
}

/* An underscore begins underlined text in scdoc. */
static void append_manual(struct buf *to, struct str text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '_') {
            buf_append_byte(to, '\\');
        }
        buf_append_byte(to, text.data[i]);
    }
}

void settings_manual(enum settings_scope scope, struct buf *to)
{
    const struct setting *setting = NULL;
    struct buf wanted = {0};

    for (unsigned index = 0; (setting = settings_at(index)) != NULL; index++) {
        if ((setting->scopes & scope) == 0) {
            continue;
        }
        buf_clear(&wanted);
        settings_wanted(setting, &wanted);
        buf_append_byte(to, '*');
        append_manual(to, str_from(setting->name));
        buf_append_format(to, "* %s\n\t", default_text(setting));
        append_manual(to, str_from(setting->words));
        buf_append_c(to, " (");
        append_manual(to, buf_str(&wanted));
        buf_append_c(to, ")\n\n");
        to->failed = to->failed || wanted.failed;
    }
    buf_fini(&wanted);
}

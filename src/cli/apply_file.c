/* A file of definitions.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/apply_file.h"

#include "base/nearest.h"

#include <stdarg.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[APPLY_FILE_KIND_COUNT] = {
    [APPLY_TOPIC] = "topic",
    [APPLY_SUBSCRIPTION] = "subscription",
    [APPLY_SCHEDULE] = "schedule",
};

/* How many names stand behind the word. */
static const unsigned name_counts[APPLY_FILE_KIND_COUNT] = {
    [APPLY_TOPIC] = 1,
    [APPLY_SUBSCRIPTION] = 2,
    [APPLY_SCHEDULE] = 1,
};

enum { WORDS_MAX = 4 }; /* of a head, with one too many */

struct parsing {
    const char *name;
    uint32_t line;
    struct apply_file *file;
    struct buf *errors;
    uint32_t error_count;
    bool in_section; /* the last head was right */
    bool headed;     /* there was one */
};

const char *apply_file_kind_text(enum apply_kind kind)
{
    return kind_names[kind];
}

static void complain(struct parsing *parsing, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void complain(struct parsing *parsing, const char *format, ...)
{
    char text[512];
    va_list arguments;

    parsing->error_count++;
    if (parsing->error_count > APPLY_FILE_ERRORS_MAX) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    buf_append_format(parsing->errors, "%s:%u: %s\n", parsing->name,
                      parsing->line, text);
}

/* --- heads ---------------------------------------------------------------- */

static uint32_t split(struct str text, struct str words[WORDS_MAX])
{
    uint32_t count = 0;

    text = str_trim(text);
    while (text.size > 0 && count < WORDS_MAX) {
        size_t size = str_find(text, ' ');
        size_t tab = str_find(text, '\t');
        size = tab < size ? tab : size;
        words[count] = str_cut(text, 0, size);
        count++;
        text = str_trim(str_cut(text, size, text.size));
    }
    return count;
}

static bool find_kind(struct str word, enum apply_kind *out)
{
    for (unsigned kind = 0; kind < APPLY_FILE_KIND_COUNT; kind++) {
        if (str_equal(word, str_from(kind_names[kind]))) {
            *out = (enum apply_kind)kind;
            return true;
        }
    }
    return false;
}

static void complain_kind(struct parsing *parsing, struct str word)
{
    struct nearest nearest = nearest_of(word);

    for (unsigned kind = 0; kind < APPLY_FILE_KIND_COUNT; kind++) {
        nearest_offer(&nearest, kind_names[kind]);
    }
    complain(parsing,
             "a section is [topic NAME], [subscription TOPIC NAME] or "
             "[schedule ID]%s%s%s",
             nearest.name != NULL ? "; did you mean " : "",
             nearest.name != NULL ? nearest.name : "",
             nearest.name != NULL ? "?" : "");
}

/* The section that defines the same; NULL: none. */
static const struct apply_section *
find_same(const struct apply_file *file, const struct apply_section *section)
{
    for (size_t index = 0; index < file->count; index++) {
        const struct apply_section *other = &file->sections[index];
        if (other->kind == section->kind &&
            json_equal(other->name, section->name) &&
            (section->topic == NULL ||
             json_equal(other->topic, section->topic))) {
            return other;
        }
    }
    return NULL;
}

static void section_fini(struct apply_section *section)
{
    json_decref(section->topic);
    json_decref(section->name);
    json_decref(section->settings);
    json_decref(section->lines);
}

/* Take a section over, or free it. Returns false without memory. */
static bool add_section(struct apply_file *file, struct apply_section *section)
{
    if (file->count == file->room) {
        size_t room = file->room * 2 + 16;
        struct apply_section *sections =
            realloc(file->sections, room * sizeof(*sections));
        if (sections == NULL) {
            section_fini(section);
            return false;
        }
        file->sections = sections;
        file->room = room;
    }
    file->sections[file->count] = *section;
    file->count++;
    return true;
}

/* Whether a name of a head can be written and read again. */
static bool is_clean(struct str name)
{
    for (size_t index = 0; index < name.size; index++) {
        unsigned char byte = (unsigned char)name.data[index];
        if (byte <= ' ' || byte == 0x7f) {
            return false;
        }
    }
    return true;
}

static void take_names(struct parsing *parsing,
                       enum apply_kind kind,
                       const struct str words[WORDS_MAX])
{
    struct str last = words[name_counts[kind]];
    struct apply_section section = {
        .kind = kind,
        .line = parsing->line,
        .name = json_stringn(last.data, last.size),
        .settings = json_object(),
        .lines = json_object(),
    };

    if (kind != APPLY_SCHEDULE) {
        section.topic = json_stringn(words[1].data, words[1].size);
    }
    if (section.name == NULL || !is_clean(last) || !is_clean(words[1]) ||
        (kind != APPLY_SCHEDULE && section.topic == NULL)) {
        complain(parsing, "a name is UTF-8 without controls");
        section_fini(&section);
        return;
    }
    const struct apply_section *same = find_same(parsing->file, &section);
    if (same != NULL) {
        complain(parsing, "this is defined in line %u already", same->line);
        section_fini(&section);
        return;
    }
    parsing->in_section = add_section(parsing->file, &section);
    if (!parsing->in_section) {
        parsing->errors->failed = true;
    }
}

static void take_head(struct parsing *parsing, struct str line)
{
    struct str words[WORDS_MAX];
    enum apply_kind kind = APPLY_TOPIC;
    bool closed = line.data[line.size - 1] == ']' && line.size > 2;

    parsing->in_section = false;
    parsing->headed = true;
    if (!closed) {
        complain(parsing, "a section ends with ']'");
        return;
    }
    uint32_t count = split(str_cut(line, 1, line.size - 2), words);
    if (count == 0 || !find_kind(words[0], &kind)) {
        complain_kind(parsing, count > 0 ? words[0] : (struct str){NULL, 0});
    } else if (count != name_counts[kind] + 1) {
        complain(parsing, "a %s has %s: [%s]", kind_names[kind],
                 name_counts[kind] == 1 ? "one name" : "two names",
                 kind == APPLY_TOPIC          ? "topic NAME"
                 : kind == APPLY_SUBSCRIPTION ? "subscription TOPIC NAME"
                                              : "schedule ID");
    } else {
        take_names(parsing, kind, words);
    }
}

/* --- settings ------------------------------------------------------------- */

/* The value as a string; NULL: it is none, which is said. */
static json_t *read_value(struct parsing *parsing, struct str value)
{
    json_error_t error;
    bool quoted = value.size > 0 && value.data[0] == '"';
    json_t *text =
        quoted ? json_loadb(value.data, value.size,
                            JSON_DECODE_ANY | JSON_ALLOW_NUL, &error)
               : json_stringn(value.size > 0 ? value.data : "", value.size);

    if (!json_is_string(text)) {
        complain(parsing, quoted ? "what begins with '\"' is a JSON string"
                                 : "the value is no UTF-8");
        json_decref(text);
        return NULL;
    }
    if (strlen(json_string_value(text)) != json_string_length(text)) {
        complain(parsing, "a value has no NUL");
        json_decref(text);
        return NULL;
    }
    return text;
}

static void take_setting(struct parsing *parsing, struct str line)
{
    struct apply_section *section =
        &parsing->file->sections[parsing->file->count - 1];
    size_t equals = str_find(line, '=');
    struct str word = str_trim(str_cut(line, 0, equals));
    char name[NEAREST_SIZE_MAX + 1];

    if (equals == line.size || word.size == 0 || word.size >= sizeof(name)) {
        complain(parsing, "a line is NAME = VALUE, of a name of 1 to %d bytes",
                 NEAREST_SIZE_MAX);
        return;
    }
    for (size_t index = 0; index < word.size; index++) {
        char byte = word.data[index];
        name[index] = byte == '-' ? '_' : byte;
        if ((unsigned char)byte <= ' ' || (unsigned char)byte >= 0x7f) {
            complain(parsing, "a name is of letters, digits, '_' and '-'");
            return;
        }
    }
    name[word.size] = '\0';
    const json_t *there = json_object_get(section->lines, name);
    if (there != NULL) {
        complain(parsing, "%s is given in line %lld already", name,
                 (long long)json_integer_value(there));
        return;
    }
    json_t *value =
        read_value(parsing, str_trim(str_cut(line, equals + 1, line.size)));
    if (value != NULL &&
        (json_object_set_new(section->settings, name, value) != 0 ||
         json_object_set_new(section->lines, name,
                             json_integer(parsing->line)) != 0)) {
        parsing->errors->failed = true;
    }
}

/* --- the file ------------------------------------------------------------- */

static void take_line(struct parsing *parsing, struct str line)
{
    if (line.size > 0 && line.data[line.size - 1] == '\r') {
        line.size--;
    }
    line = str_trim(line);
    if (line.size == 0 || line.data[0] == '#') {
        return;
    }
    if (line.data[0] == '[') {
        take_head(parsing, line);
    } else if (parsing->in_section) {
        take_setting(parsing, line);
    } else if (!parsing->headed) {
        complain(parsing, "a section comes first, such as [topic NAME]");
        parsing->headed = true; /* once is enough */
    }
}

enum err apply_file_parse(const char *name,
                          struct str text,
                          struct apply_file *out,
                          struct buf *errors)
{
    struct parsing parsing = {.name = name, .file = out, .errors = errors};

    *out = (struct apply_file){0};
    while (text.size > 0 && !errors->failed) {
        size_t size = str_find(text, '\n');
        parsing.line++;
        take_line(&parsing, str_cut(text, 0, size));
        text = str_cut(text, size + 1, text.size);
    }
    if (errors->failed) {
        return ERR_NOMEM;
    }
    if (parsing.error_count > APPLY_FILE_ERRORS_MAX) {
        buf_append_format(errors, "and %u more\n",
                          parsing.error_count - APPLY_FILE_ERRORS_MAX);
    }
    return parsing.error_count > 0 ? ERR_INVALID : ERR_OK;
}

void apply_file_fini(struct apply_file *file)
{
    for (size_t index = 0; index < file->count; index++) {
        section_fini(&file->sections[index]);
    }
    free(file->sections);
    *file = (struct apply_file){0};
}

/* --- writing -------------------------------------------------------------- */

void apply_file_write_value(struct buf *to, const char *value)
{
    struct str text = str_from(value);
    bool plain = str_trim(text).size == text.size &&
                 (text.size == 0 || text.data[0] != '"');

    for (size_t index = 0; index < text.size; index++) {
        unsigned char byte = (unsigned char)text.data[index];
        plain = plain && byte >= 0x20 && byte != 0x7f;
    }
    if (plain) {
        buf_append_str(to, text);
        return;
    }
    buf_append_byte(to, '"');
    buf_append_json(to, text);
    buf_append_byte(to, '"');
}

void apply_file_write_head(struct buf *to,
                           enum apply_kind kind,
                           const char *topic,
                           const char *name)
{
    buf_append_format(to, "[%s ", kind_names[kind]);
    if (topic != NULL) {
        buf_append_format(to, "%s ", topic);
    }
    buf_append_format(to, "%s]\n", name);
}

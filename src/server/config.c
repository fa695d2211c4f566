/* The settings of the server: reads defaults, file, environment, flags.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/config.h"

#include "base/nearest.h"
#include "base/str.h"
#include "log/journal.h"
#include "sys/file.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_FILE_MAX = 1 << 20, NAME_MAX_SIZE = 64 };

enum type {
    TYPE_COUNT,
    TYPE_SIZE,
    TYPE_TIME,
    TYPE_FLAG,
    TYPE_TEXT,
    TYPE_CHOICE
};

struct setting {
    const char *name; /* NULL: `text` is the title of a group */
    enum type type;
    const char *value; /* default */
    uint64_t min;
    uint64_t max;
    const char *choices; /* of TYPE_CHOICE */
    size_t offset;       /* of the field */
    const char *text;
};

static const struct setting settings[] = {
#define GROUP(text) {NULL, TYPE_TEXT, NULL, 0, 0, NULL, 0, text},
#define SETTING(name, type, value, minimum, maximum, words)                    \
    {#name,                                                                    \
     TYPE_##type,                                                              \
     value,                                                                    \
     SETTING_MIN_##type(minimum),                                              \
     maximum,                                                                  \
     SETTING_CHOICES_##type(minimum),                                          \
     offsetof(struct config, name),                                            \
     words},
#define SETTING_MIN_COUNT(min) min
#define SETTING_MIN_SIZE(min) min
#define SETTING_MIN_TIME(min) min
#define SETTING_MIN_FLAG(min) 0
#define SETTING_MIN_TEXT(min) 0
#define SETTING_MIN_CHOICE(min) 0
#define SETTING_CHOICES_COUNT(min) NULL
#define SETTING_CHOICES_SIZE(min) NULL
#define SETTING_CHOICES_TIME(min) NULL
#define SETTING_CHOICES_FLAG(min) NULL
#define SETTING_CHOICES_TEXT(min) NULL
#define SETTING_CHOICES_CHOICE(min) min
#include "server/config.def"
#undef GROUP
#undef SETTING
};

enum { SETTING_COUNT = sizeof(settings) / sizeof(settings[0]) };

/* --- names ---------------------------------------------------------------- */

static char plain(char byte)
{
    return byte == '-' ? '_' : byte;
}

static bool same_name(const char *name, struct str given)
{
    size_t index = 0;

    while (index < given.size && name[index] == plain(given.data[index])) {
        index++;
    }
    return index == given.size && name[index] == '\0';
}

static const struct setting *find(struct str name)
{
    for (size_t index = 0; index < SETTING_COUNT; index++) {
        if (settings[index].name != NULL &&
            same_name(settings[index].name, name)) {
            return &settings[index];
        }
    }
    return NULL;
}

static void
report_unknown(const char *where, struct str name, struct buf *errors)
{
    struct nearest nearest = nearest_of(name);

    for (size_t index = 0; index < SETTING_COUNT; index++) {
        if (settings[index].name != NULL) {
            nearest_offer(&nearest, settings[index].name);
        }
    }
    buf_append_format(errors, "%s: unknown setting %.*s", where, STR_ARG(name));
    if (nearest.name != NULL) {
        buf_append_format(errors, "; did you mean %s?", nearest.name);
    }
    buf_append_c(errors, "\n");
}

/* --- values --------------------------------------------------------------- */

static bool read_flag(struct str text, bool *out_flag)
{
    static const char *const yes[] = {"yes", "true", "on", "1"};
    static const char *const no[] = {"no", "false", "off", "0"};

    for (size_t index = 0; index < 4; index++) {
        bool is_yes = str_equal_nocase(text, str_from(yes[index]));
        if (is_yes || str_equal_nocase(text, str_from(no[index]))) {
            *out_flag = is_yes;
            return true;
        }
    }
    return false;
}

static bool is_choice(const char *choices, struct str text)
{
    struct str left = str_from(choices);

    while (left.size > 0) {
        size_t end = str_find(left, '|');
        if (str_equal(str_cut(left, 0, end), text)) {
            return true;
        }
        left = str_cut(left, end + 1, left.size);
    }
    return false;
}

static enum err read_number(const struct setting *setting,
                            struct str text,
                            uint64_t *out_number)
{
    uint64_t number = 0;
    enum err err = ERR_INVALID;

    if (setting->type == TYPE_COUNT) {
        err = str_to_u64(text, &number);
    } else if (setting->type == TYPE_SIZE) {
        err = str_to_size(text, &number);
    } else {
        err = str_to_duration_ms(text, &number);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (number < setting->min || number > setting->max) {
        return ERR_RANGE;
    }
    *out_number = number;
    return ERR_OK;
}

static const char *type_text(enum type type)
{
    switch (type) {
    case TYPE_COUNT:
        return "a number";
    case TYPE_SIZE:
        return "a size such as 4096, 64k, 1m, 2g";
    case TYPE_TIME:
        return "a duration such as 250ms, 10s, 5m, 2h";
    case TYPE_FLAG:
        return "yes or no";
    default:
        return "a text";
    }
}

static void report_value(const struct setting *setting,
                         const char *where,
                         enum err err,
                         struct buf *errors)
{
    buf_append_format(errors, "%s: %s must be ", where, setting->name);
    if (setting->type == TYPE_CHOICE) {
        buf_append_format(errors, "one of %s\n", setting->choices);
    } else if (err == ERR_RANGE) {
        buf_append_format(errors, "from %llu to %llu%s\n",
                          (unsigned long long)setting->min,
                          (unsigned long long)setting->max,
                          setting->type == TYPE_TIME ? " ms" : "");
    } else {
        buf_append_format(errors, "%s\n", type_text(setting->type));
    }
}

static enum err set_text(char **field, struct str text)
{
    char *copy = strndup(text.data != NULL ? text.data : "", text.size);

    if (copy == NULL) {
        return ERR_NOMEM;
    }
    free(*field);
    *field = copy;
    return ERR_OK;
}

static enum err set(struct config *config,
                    const struct setting *setting,
                    struct str text,
                    const char *where,
                    struct buf *errors)
{
    char *base = (char *)config + setting->offset;
    enum err err = ERR_OK;

    switch (setting->type) {
    case TYPE_FLAG:
        err = read_flag(text, (bool *)(void *)base) ? ERR_OK : ERR_INVALID;
        break;
    case TYPE_CHOICE:
        err = is_choice(setting->choices, text)
                  ? set_text((char **)(void *)base, text)
                  : ERR_INVALID;
        break;
    case TYPE_TEXT:
        err = set_text((char **)(void *)base, text);
        break;
    default:
        err = read_number(setting, text, (uint64_t *)(void *)base);
        break;
    }
    if (err == ERR_OK || err == ERR_NOMEM) {
        return err;
    }
    report_value(setting, where, err, errors);
    return ERR_INVALID;
}

/* --- sources -------------------------------------------------------------- */

static enum err set_defaults(struct config *config, struct buf *errors)
{
    for (size_t index = 0; index < SETTING_COUNT; index++) {
        if (settings[index].name == NULL) {
            continue;
        }
        enum err err = set(config, &settings[index],
                           str_from(settings[index].value), "default", errors);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

/* The value of a line, without what follows " #" or " ;". */
static struct str without_comment(struct str value)
{
    for (size_t index = 1; index < value.size; index++) {
        char byte = value.data[index];
        char before = value.data[index - 1];
        if ((byte == '#' || byte == ';') && (before == ' ' || before == '\t')) {
            return str_trim(str_cut(value, 0, index));
        }
    }
    return value;
}

/* Take one line of the file: name = value, nothing, or a comment. */
static enum err take_line(struct config *config,
                          struct str line,
                          const char *where,
                          struct buf *errors)
{
    if (line.size > 0 && line.data[line.size - 1] == '\r') {
        line.size--;
    }
    line = str_trim(line);
    if (line.size == 0 || line.data[0] == '#' || line.data[0] == ';') {
        return ERR_OK;
    }
    if (str_find(line, '\0') < line.size) {
        buf_append_format(errors, "%s: has a NUL byte\n", where);
        return ERR_INVALID;
    }
    size_t equals = str_find(line, '=');
    if (equals == line.size) {
        buf_append_format(errors, "%s: not of the form name = value\n", where);
        return ERR_INVALID;
    }
    struct str name = str_trim(str_cut(line, 0, equals));
    struct str value = str_trim(str_cut(line, equals + 1, line.size));
    const struct setting *setting = find(name);
    if (setting == NULL) {
        report_unknown(where, name, errors);
        return ERR_INVALID;
    }
    return set(config, setting, without_comment(value), where, errors);
}

static enum err
read_file(struct config *config, const char *path, struct buf *errors)
{
    char *data = NULL;
    size_t size = 0;
    enum err result = file_load(path, CONFIG_FILE_MAX, &data, &size);

    if (result != ERR_OK) {
        buf_append_format(errors, "%s: %s\n", path, err_text(result));
        return ERR_INVALID;
    }
    struct str left = {data, size};
    if (str_starts(left, STR("\xef\xbb\xbf"))) {
        left = str_cut(left, 3, left.size); /* some editors' first bytes */
    }
    for (int line = 1; left.size > 0 && result != ERR_NOMEM; line++) {
        char where[512];
        size_t end = str_find(left, '\n');
        (void)snprintf(where, sizeof(where), "%s:%d", path, line);
        enum err err = take_line(config, str_cut(left, 0, end), where, errors);
        result = err != ERR_OK ? err : result;
        left = str_cut(left, end + 1, left.size);
    }
    free(data);
    free(config->file);
    config->file = strdup(path);
    return config->file == NULL ? ERR_NOMEM : result;
}

static enum err read_environment(struct config *config,
                                 char *const *environment,
                                 struct buf *errors)
{
    enum err result = ERR_OK;

    for (; *environment != NULL; environment++) {
        struct str line = str_from(*environment);
        size_t equals = str_find(line, '=');
        char name[NAME_MAX_SIZE];
        if (!str_starts(line, STR("OPQ_")) || equals == line.size ||
            equals - 4 >= sizeof(name)) {
            continue;
        }
        for (size_t index = 4; index < equals; index++) {
            char byte = line.data[index];
            bool upper = byte >= 'A' && byte <= 'Z';
            name[index - 4] = upper ? (char)(byte - 'A' + 'a') : byte;
        }
        struct str key = {name, equals - 4};
        struct str where = str_cut(line, 0, equals);
        char place[NAME_MAX_SIZE + 8];
        (void)snprintf(place, sizeof(place), "%.*s", STR_ARG(where));
        if (str_equal(key, STR("config")) || str_equal(key, STR("url")) ||
            str_equal(key, STR("token")) || str_equal(key, STR("fds"))) {
            continue; /* read elsewhere */
        }
        const struct setting *setting = find(key);
        if (setting == NULL) {
            report_unknown(place, key, errors);
            result = ERR_INVALID;
        } else if (set(config, setting, str_cut(line, equals + 1, line.size),
                       place, errors) != ERR_OK) {
            result = ERR_INVALID;
        }
    }
    return result;
}

/* One flag of the command line, taken apart. */
struct flag {
    struct str name;  /* without dashes */
    struct str value; /* data NULL: none with '=' */
};

static bool read_dashes(const char *argument, struct flag *out_flag)
{
    struct str text = str_from(argument);

    if (!str_starts(text, STR("-")) || text.size == 1) {
        return false;
    }
    text = str_cut(text, text.data[1] == '-' ? 2 : 1, text.size);
    size_t equals = str_find(text, '=');
    out_flag->name = str_cut(text, 0, equals);
    out_flag->value = equals < text.size ? str_cut(text, equals + 1, text.size)
                                         : (struct str){NULL, 0};
    return true;
}

/* The value of a flag: behind '=', or the next argument; a FLAG may have none
 * and then means yes. */
static enum err flag_value(const struct setting *setting,
                           const struct flag *flag,
                           char *const *next,
                           struct str *out_value,
                           bool *out_next_used)
{
    bool ignored = false;

    *out_next_used = false;
    if (flag->value.data != NULL) {
        *out_value = flag->value;
        return ERR_OK;
    }
    if (setting->type == TYPE_FLAG) {
        *out_next_used = *next != NULL && read_flag(str_from(*next), &ignored);
        *out_value = *out_next_used ? str_from(*next) : STR("yes");
        return ERR_OK;
    }
    if (*next == NULL) {
        return ERR_INVALID;
    }
    *out_value = str_from(*next);
    *out_next_used = true;
    return ERR_OK;
}

/* What is not in the table but on the command line. */
static const struct setting config_setting = {.name = "config",
                                              .type = TYPE_TEXT};
static const struct setting check_setting = {.name = "check_config",
                                             .type = TYPE_FLAG};

static const struct setting *find_flag(struct str name)
{
    if (same_name(config_setting.name, name)) {
        return &config_setting;
    }
    if (same_name(check_setting.name, name)) {
        return &check_setting;
    }
    return find(name);
}

/* Walk over the flags. With `file_only` just --config is looked for. */
static enum err read_flags(struct config *config,
                           char *const *arguments,
                           const char **file_only,
                           struct buf *errors)
{
    enum err result = ERR_OK;

    for (; *arguments != NULL; arguments++) {
        struct flag flag = {.value = {NULL, 0}};
        struct str value = {NULL, 0};
        bool next_used = false;
        if (!read_dashes(*arguments, &flag)) {
            buf_append_format(errors, "%s: not a flag\n", *arguments);
            return ERR_INVALID;
        }
        const struct setting *setting = find_flag(flag.name);
        if (setting == NULL) {
            report_unknown(*arguments, flag.name, errors);
            return ERR_INVALID;
        }
        if (flag_value(setting, &flag, arguments + 1, &value, &next_used) !=
            ERR_OK) {
            buf_append_format(errors, "%s: needs a value\n", *arguments);
            return ERR_INVALID;
        }
        if (file_only != NULL) {
            if (setting == &config_setting) {
                *file_only = value.data;
            }
        } else if (setting == &check_setting) {
            if (!read_flag(value, &config->check_only)) {
                report_value(setting, *arguments, ERR_INVALID, errors);
                result = ERR_INVALID;
            }
        } else if (setting != &config_setting &&
                   set(config, setting, value, *arguments, errors) != ERR_OK) {
            result = ERR_INVALID;
        }
        arguments += next_used ? 1 : 0;
    }
    return result;
}

static const char *environment_file(char *const *environment)
{
    for (; *environment != NULL; environment++) {
        if (str_starts(str_from(*environment), STR("OPQ_CONFIG="))) {
            return *environment + sizeof("OPQ_CONFIG=") - 1;
        }
    }
    return NULL;
}

enum err config_check(const struct config *config, struct buf *errors)
{
    enum err result = ERR_OK;

    if (config->journal_size < 4 * config->journal_file_size) {
        buf_append_c(errors, "journal_size must be at least four times "
                             "journal_file_size\n");
        result = ERR_INVALID;
    }
    if (config->journal_size > JOURNAL_FILES_MAX * config->journal_file_size) {
        buf_append_format(errors,
                          "journal_size must be at most %d times "
                          "journal_file_size\n",
                          JOURNAL_FILES_MAX);
        result = ERR_INVALID;
    }
    if (config->retry_first > config->retry_max) {
        buf_append_c(errors, "retry_first must be at most retry_max\n");
        result = ERR_INVALID;
    }
    if (config->batch_size_max > config->journal_file_size / 2) {
        buf_append_c(errors, "batch_size_max must be at most half of "
                             "journal_file_size\n");
        result = ERR_INVALID;
    }
    /* Larger ones go through files; one that comes in pieces is held in up to
     * twice its size. */
    uint64_t gathered = config->batch_size_max / 2;
    gathered =
        config->body_size_max < gathered ? config->body_size_max : gathered;
    if (gathered > config->body_memory / 2) {
        buf_append_c(errors, "body_memory must be at least twice "
                             "body_size_max, or as much as batch_size_max\n");
        result = ERR_INVALID;
    }
    if (config->data[0] == '\0') {
        buf_append_c(errors, "data must name a directory\n");
        result = ERR_INVALID;
    }
    if (config->syslog[0] == '\0') {
        buf_append_c(errors, "syslog must name a file\n");
        result = ERR_INVALID;
    }
    return result;
}

/* Of two codes the one to return: ERR_NOMEM before a mistake. */
static enum err worse(enum err left, enum err right)
{
    if (left == ERR_OK || right == ERR_NOMEM) {
        return right;
    }
    return left;
}

enum err config_read(char *const *arguments,
                     char *const *environment,
                     struct config *out,
                     struct buf *errors)
{
    struct config config = {.check_only = false};
    const char *file = environment_file(environment);

    enum err result = set_defaults(&config, errors);
    if (result != ERR_OK) {
        config_fini(&config);
        return result;
    }
    enum err flags_err = read_flags(NULL, arguments, &file, errors);
    result = flags_err;
    /* Go on after errors, so that all of them are told at once. */
    if (file != NULL && *file != '\0') {
        result = worse(result, read_file(&config, file, errors));
    }
    result = worse(result, read_environment(&config, environment, errors));
    if (flags_err == ERR_OK) {
        result = worse(result, read_flags(&config, arguments, NULL, errors));
    }
    if (result == ERR_OK) {
        result = config_check(&config, errors);
    }
    if (result != ERR_OK) {
        config_fini(&config);
        return result;
    }
    *out = config;
    return ERR_OK;
}

void config_fini(struct config *config)
{
    for (size_t index = 0; index < SETTING_COUNT; index++) {
        const struct setting *setting = &settings[index];
        if (setting->name != NULL &&
            (setting->type == TYPE_TEXT || setting->type == TYPE_CHOICE)) {
            char **field = (char **)(void *)((char *)config + setting->offset);
            free(*field);
            *field = NULL;
        }
    }
    free(config->file);
    config->file = NULL;
}

/* --- for people ----------------------------------------------------------- */

static void print_name(FILE *to, const char *name)
{
    for (; *name != '\0'; name++) {
        (void)fputc(*name == '_' ? '-' : *name, to);
    }
}

void config_help(FILE *to)
{
    for (size_t index = 0; index < SETTING_COUNT; index++) {
        const struct setting *setting = &settings[index];
        if (setting->name == NULL) {
            (void)fprintf(to, "\n%s:\n", setting->text);
            continue;
        }
        (void)fputs("  --", to);
        print_name(to, setting->name);
        (void)fprintf(to, " %s\n        %s\n",
                      setting->value[0] != '\0' ? setting->value : "\"\"",
                      setting->text);
        if (setting->type == TYPE_CHOICE) {
            (void)fprintf(to, "        one of %s\n", setting->choices);
        }
    }
}

void config_manual(FILE *to)
{
    for (size_t index = 0; index < SETTING_COUNT; index++) {
        const struct setting *setting = &settings[index];
        if (setting->name == NULL) {
            (void)fprintf(to, "## %s\n\n", setting->text);
            continue;
        }
        (void)fputs("*--", to);
        print_name(to, setting->name);
        (void)fprintf(to, "* %s\n\t%s",
                      setting->value[0] != '\0' ? setting->value : "\"\"",
                      setting->text);
        if (setting->type == TYPE_CHOICE) {
            (void)fprintf(to, " (one of %s)", setting->choices);
        }
        (void)fputs("\n\n", to);
    }
}

/* Settings in the words of the API: queue/settings.def has both forms.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/import_settings.h"

#include "base/json_text.h"

enum { PPM_PER_CENT = 10000 };

/* Undo what the store escapes: "\n" and "\\". */
static void unescape(struct buf *to, struct str text)
{
    for (size_t index = 0; index < text.size; index++) {
        char byte = text.data[index];
        if (byte == '\\' && index + 1 < text.size) {
            index++;
            byte = text.data[index] == 'n' ? '\n' : text.data[index];
        }
        buf_append_byte(to, byte);
    }
}

static bool ends_with(struct str text, struct str end)
{
    return text.size >= end.size &&
           str_equal(str_cut(text, text.size - end.size, end.size), end);
}

/* "Name: value" lines, as an object. */
static void append_header_lines(struct buf *to, struct str lines)
{
    bool first = true;

    buf_append_c(to, ",\"headers\":{");
    while (lines.size > 0) {
        size_t end = str_find(lines, '\n');
        struct str line = str_cut(lines, 0, end);
        size_t colon = str_find(line, ':');
        lines = str_cut(lines, end + 1, lines.size);
        if (colon == line.size) {
            continue;
        }
        buf_append_c(to, first ? "\"" : ",\"");
        buf_append_json(to, str_trim(str_cut(line, 0, colon)));
        buf_append_c(to, "\":\"");
        buf_append_json(to, str_trim(str_cut(line, colon + 1, line.size)));
        buf_append_byte(to, '"');
        first = false;
    }
    buf_append_byte(to, '}');
}

/* Those that have another name or another form there. Returns whether it is
 * one of them. */
static bool append_other(struct buf *to, struct str name, struct str value)
{
    static const struct {
        const char *stored;
        const char *name;
        const char *words[3];
    } words[] = {
        {"expired_drop", "expired", {"dead", "drop", NULL}},
        {"dedup_content", "dedup", {"id", "content", "cloudevents"}},
        {"discard_old", "discard", {"new", "old", NULL}},
    };
    uint64_t number = 0;

    for (size_t index = 0; index < sizeof(words) / sizeof(words[0]); index++) {
        if (str_equal(name, str_from(words[index].stored)) &&
            str_to_u64(value, &number) == ERR_OK && number < 3 &&
            words[index].words[number] != NULL) {
            json_text_append_text(to, words[index].name,
                                  str_from(words[index].words[number]));
            return true;
        }
    }
    if (str_equal(name, STR("share_ppm")) &&
        str_to_u64(value, &number) == ERR_OK) {
        buf_append_format(to, ",\"share\":\"%llu.%04llu%%\"",
                          (unsigned long long)number / PPM_PER_CENT,
                          (unsigned long long)number % PPM_PER_CENT);
        return true;
    }
    if (str_equal(name, STR("headers"))) {
        append_header_lines(to, value);
        return true;
    }
    return false;
}

static void append_setting(struct buf *to, struct str name, struct str value)
{
    if (append_other(to, name, value) || name.size == 0 ||
        str_starts(name, STR("replay_")) || ends_with(name, STR("_used"))) {
        return;
    }
    bool span = ends_with(name, STR("_ms"));
    buf_append_c(to, ",\"");
    buf_append_json(to, str_cut(name, 0, span ? name.size - 3 : name.size));
    buf_append_c(to, "\":\"");
    buf_append_json(to, value);
    buf_append_c(to, span ? "ms\"" : "\"");
}

bool import_settings_write(struct buf *to, struct str text)
{
    bool paused = false;
    struct buf memory = {0};

    while (text.size > 0) {
        size_t end = str_find(text, '\n');
        struct str line = str_cut(text, 0, end);
        size_t blank = str_find(line, ' ');
        struct str name = str_cut(line, 0, blank);
        text = str_cut(text, end + 1, text.size);
        buf_clear(&memory);
        unescape(&memory, str_cut(line, blank + 1, line.size));
        if (str_equal(name, STR("paused"))) {
            paused = str_equal(buf_str(&memory), STR("1"));
        } else {
            append_setting(to, name, buf_str(&memory));
        }
    }
    to->failed = to->failed || memory.failed;
    buf_fini(&memory);
    return paused;
}

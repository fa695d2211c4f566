/* Fields of multipart/form-data bodies (RFC 7578, RFC 2046 5.1).
 *
 *     [preamble CRLF] --boundary CRLF fields CRLF CRLF content
 *                CRLF --boundary CRLF ...
 *                CRLF --boundary-- [epilogue]
 *
 * A delimiter followed by anything but blanks and CRLF, or "--", is refused:
 * whether it is content is what parsers disagree about.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/bytes.h"
#include "http/form.h"
#include "http/form_internal.h"
#include "http/parse.h"

#include <string.h>

enum { BOUNDARY_SIZE_MAX = 70 }; /* bytes; RFC 2046, 5.1.1 */

/* CRLF "--" boundary. */
struct delimiter {
    char text[4 + BOUNDARY_SIZE_MAX];
    size_t size;
};

/* --- parameters of a field value: ; name=token ; name="quoted" ----------- */

/* Take the bytes before the first of `ends`, or all. */
static struct str take_until(struct str *rest, const char *ends)
{
    size_t size = 0;
    while (size < rest->size && strchr(ends, rest->data[size]) == NULL) {
        size++;
    }
    struct str taken = str_cut(*rest, 0, size);
    *rest = str_cut(*rest, size, rest->size);
    return taken;
}

/* Take a quoted string, its escapes still in it, after its first quote. */
static enum err take_quoted(struct str *rest, struct str *out_value)
{
    size_t at = 0;
    while (at < rest->size && rest->data[at] != '"') {
        at += rest->data[at] == '\\' ? 2 : 1;
    }
    if (at >= rest->size) {
        return ERR_INVALID;
    }
    *out_value = str_cut(*rest, 0, at);
    *rest = str_cut(*rest, at + 1, rest->size);
    return ERR_OK;
}

/* Take the next parameter off `*rest`, which begins with its semicolon. */
static enum err take_parameter(struct str *rest,
                               struct str *out_name,
                               struct str *out_value,
                               bool *out_quoted)
{
    *rest = str_cut(*rest, 1, rest->size);
    struct str name = str_trim(take_until(rest, "=;"));
    if (rest->size == 0 || rest->data[0] != '=' || !http_is_token(name)) {
        return ERR_INVALID;
    }
    *rest = str_trim(str_cut(*rest, 1, rest->size));
    bool quoted = rest->size > 0 && rest->data[0] == '"';
    struct str value = {NULL, 0};
    if (quoted) {
        *rest = str_cut(*rest, 1, rest->size);
        enum err err = take_quoted(rest, &value);
        if (err != ERR_OK) {
            return err;
        }
        *rest = str_trim(*rest);
    } else {
        value = str_trim(take_until(rest, ";"));
    }
    *out_name = name;
    *out_value = value;
    *out_quoted = quoted;
    return ERR_OK;
}

/* Find one parameter of a field value after checking that its first part is
 * `type`. All parameters are read, so that what stands in the quotes of one is
 * not taken for another.
 * Errors: ERR_INVALID  another type, malformed, absent, or there twice */
static enum err find_parameter(struct str value,
                               struct str type,
                               struct str wanted,
                               struct str *out_text,
                               bool *out_quoted)
{
    struct str rest = value;
    bool found = false;
    if (!str_equal_nocase(str_trim(take_until(&rest, ";")), type)) {
        return ERR_INVALID;
    }
    while (rest.size > 0) {
        struct str name;
        struct str text;
        bool quoted = false;
        if (rest.data[0] != ';' ||
            take_parameter(&rest, &name, &text, &quoted) != ERR_OK) {
            return ERR_INVALID;
        }
        if (!str_equal_nocase(name, wanted)) {
            continue;
        }
        if (found) {
            return ERR_INVALID;
        }
        found = true;
        *out_text = text;
        *out_quoted = quoted;
    }
    return found ? ERR_OK : ERR_INVALID;
}

/* --- the delimiter ------------------------------------------------------- */

static bool is_boundary(struct str text)
{
    for (size_t i = 0; i < text.size; i++) {
        char byte = text.data[i];
        if (byte < 0x20 || byte == 0x7f || byte == '"' || byte == '\\') {
            return false;
        }
    }
    return text.size > 0 && text.size <= BOUNDARY_SIZE_MAX &&
           text.data[text.size - 1] != ' ';
}

static enum err read_delimiter(struct str content_type, struct delimiter *out)
{
    struct str boundary;
    bool quoted = false;
    enum err err = find_parameter(content_type, STR("multipart/form-data"),
                                  STR("boundary"), &boundary, &quoted);
    if (err != ERR_OK) {
        return err;
    }
    if (!is_boundary(boundary)) {
        return ERR_INVALID;
    }
    memcpy(out->text, "\r\n--", 4);
    memcpy(out->text + 4, boundary.data, boundary.size);
    out->size = boundary.size + 4;
    return ERR_OK;
}

/* Position of the next delimiter; text.size when there is none. */
static size_t find_delimiter(struct str text, const struct delimiter *delimiter)
{
    if (text.size == 0) {
        return 0;
    }
    const char *found =
        memmem(text.data, text.size, delimiter->text, delimiter->size);
    return found != NULL ? (size_t)(found - text.data) : text.size;
}

/* Go past what ends a delimiter's line; `*out_last` says it was "--". */
static enum err end_delimiter(struct str *rest, bool *out_last)
{
    *out_last = str_starts(*rest, STR("--"));
    if (*out_last) {
        return ERR_OK;
    }
    size_t blanks = 0;
    while (blanks < rest->size &&
           (rest->data[blanks] == ' ' || rest->data[blanks] == '\t')) {
        blanks++;
    }
    *rest = str_cut(*rest, blanks, rest->size);
    if (!str_starts(*rest, STR("\r\n"))) {
        return ERR_INVALID;
    }
    *rest = str_cut(*rest, 2, rest->size);
    return ERR_OK;
}

/* --- parts --------------------------------------------------------------- */

struct part {
    struct str name; /* escapes still in it */
    bool named;
    bool quoted;
};

static bool is_plain_encoding(struct str value)
{
    return str_equal_nocase(value, STR("7bit")) ||
           str_equal_nocase(value, STR("8bit")) ||
           str_equal_nocase(value, STR("binary"));
}

static enum err read_part_field(struct str line, struct part *part)
{
    size_t colon = str_find(line, ':');
    struct str name = str_cut(line, 0, colon);
    struct str value = str_trim(str_cut(line, colon + 1, line.size));
    if (colon == line.size || !http_is_token(name)) {
        return ERR_INVALID;
    }
    if (str_equal_nocase(name, STR("Content-Transfer-Encoding"))) {
        return is_plain_encoding(value) ? ERR_OK : ERR_INVALID;
    }
    if (!str_equal_nocase(name, STR("Content-Disposition"))) {
        return ERR_OK;
    }
    if (part->named) {
        return ERR_INVALID;
    }
    part->named = true;
    return find_parameter(value, STR("form-data"), STR("name"), &part->name,
                          &part->quoted);
}

/* Read the fields of a part up to its empty line and go past that. */
static enum err read_part_head(struct str *rest, struct part *part)
{
    while (true) {
        size_t feed = str_find(*rest, '\n');
        if (feed == rest->size || feed == 0 || rest->data[feed - 1] != '\r') {
            return ERR_INVALID;
        }
        struct str line = str_cut(*rest, 0, feed - 1);
        *rest = str_cut(*rest, feed + 1, rest->size);
        if (line.size == 0) {
            return part->named ? ERR_OK : ERR_INVALID;
        }
        if (str_find(line, '\r') < line.size ||
            str_find(line, '\0') < line.size) {
            return ERR_INVALID;
        }
        enum err err = read_part_field(line, part);
        if (err != ERR_OK) {
            return err;
        }
    }
}

/* Undo \" and \\ of a quoted name; other backslashes are kept, since browsers
 * do not escape them. */
static enum err unescape(struct form *form, struct str *text)
{
    if (str_find(*text, '\\') == text->size) {
        return ERR_OK;
    }
    char *to = form_allocate(form, text->size);
    if (to == NULL) {
        return ERR_NOMEM;
    }
    size_t size = 0;
    for (size_t at = 0; at < text->size; at++) {
        char byte = text->data[at];
        char next = at + 1 < text->size ? text->data[at + 1] : '\0';
        if (byte == '\\' && (next == '"' || next == '\\')) {
            at++;
            byte = next;
        }
        to[size++] = byte;
    }
    form_use(form, size);
    *text = (struct str){to, size};
    return ERR_OK;
}

static enum err parse_part(struct form *form,
                           struct str *rest,
                           const struct delimiter *delimiter)
{
    struct part part = {0};
    enum err err = read_part_head(rest, &part);
    if (err != ERR_OK) {
        return err;
    }
    if (part.quoted) {
        err = unescape(form, &part.name);
        if (err != ERR_OK) {
            return err;
        }
    }
    size_t size = find_delimiter(*rest, delimiter);
    if (size == rest->size) {
        return ERR_INVALID;
    }
    struct str value = str_cut(*rest, 0, size);
    *rest = str_cut(*rest, size + delimiter->size, rest->size);
    return form_add(form, part.name, value);
}

/* Go past the first delimiter, which may be without the CRLF before it. */
static enum err skip_preamble(struct str *rest,
                              const struct delimiter *delimiter)
{
    struct str bare = {delimiter->text + 2, delimiter->size - 2};
    if (str_starts(*rest, bare)) {
        *rest = str_cut(*rest, bare.size, rest->size);
        return ERR_OK;
    }
    size_t at = find_delimiter(*rest, delimiter);
    if (at == rest->size) {
        return ERR_INVALID;
    }
    *rest = str_cut(*rest, at + delimiter->size, rest->size);
    return ERR_OK;
}

static enum err parse_parts(struct form *form,
                            struct str rest,
                            const struct delimiter *delimiter)
{
    bool last = false;
    enum err err = skip_preamble(&rest, delimiter);
    if (err != ERR_OK) {
        return err;
    }
    err = end_delimiter(&rest, &last);
    while (err == ERR_OK && !last) {
        err = parse_part(form, &rest, delimiter);
        if (err == ERR_OK) {
            err = end_delimiter(&rest, &last);
        }
    }
    return err;
}

enum err form_parse_multipart(struct form *form,
                              struct str content_type,
                              struct str body)
{
    struct delimiter delimiter;
    uint32_t count_before = form->field_count;
    enum err err = read_delimiter(content_type, &delimiter);
    if (err != ERR_OK) {
        return err;
    }
    err = parse_parts(form, body, &delimiter);
    if (err != ERR_OK) {
        form->field_count = count_before;
    }
    return err;
}

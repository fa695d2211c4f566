/* Headers that a setting adds to deliveries.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/header_lines.h"

#include "http/parse.h"
#include "queue/forward.h"

#include <stddef.h>
#include <string.h>

/* Take the next line that is not empty; false at the end. */
static bool take_line(struct str *left, struct str *out_line)
{
    while (left->size > 0) {
        size_t end = str_find(*left, '\n');
        struct str line = str_cut(*left, 0, end);
        *left = str_cut(*left, end + 1, left->size);
        if (line.size > 0 && line.data[line.size - 1] == '\r') {
            line.size--;
        }
        line = str_trim(line);
        if (line.size > 0) {
            *out_line = line;
            return true;
        }
    }
    return false;
}

/* Read a line. Returns what is wrong, NULL when nothing is. */
static const char *read_line(struct str line, struct http_header *out)
{
    size_t colon = str_find(line, ':');
    struct str name = str_cut(line, 0, colon);
    struct str value = str_trim(str_cut(line, colon + 1, line.size));

    if (colon == line.size || !http_is_token(name)) {
        return "must be lines of Name: value";
    }
    if (forward_drops(name)) {
        return "that header belongs to the connection or to OPQ";
    }
    if (!http_is_field_value(value)) {
        return "the value has bytes that no header can have";
    }
    *out = (struct http_header){name, value};
    return NULL;
}

/* Take the next line that is right; false at the end. */
static bool take_header(struct str *left, struct http_header *out)
{
    struct str line;

    while (take_line(left, &line)) {
        if (read_line(line, out) == NULL) {
            return true;
        }
    }
    return false;
}

/* Tell whether the secrets that a value names could be. */
static bool names_are_right(struct str value)
{
    struct buf nowhere = {0};
    struct str name;

    /* The first name that could be is not found, and then the next one. */
    while (secrets_is_named(value)) {
        enum err err = secrets_expand(NULL, value, 0, &nowhere, &name);
        if (err != ERR_NOT_FOUND) {
            return false;
        }
        size_t behind = (size_t)(name.data - value.data) + name.size;
        value = str_cut(value, behind, value.size);
    }
    return true;
}

enum err header_lines_check(struct str lines,
                            const char **out_reason,
                            struct str *out_line)
{
    struct http_header header;
    struct str left = lines;
    struct str line = lines;
    uint32_t count = 0;

    if (lines.size > HEADER_LINES_SIZE_MAX) {
        *out_reason = "too long";
        *out_line = str_cut(lines, 0, 0);
        return ERR_TOO_LARGE;
    }
    while (take_line(&left, &line)) {
        const char *reason = read_line(line, &header);
        if (reason == NULL && !names_are_right(header.value)) {
            reason = "a secret is named as in ${secret:name}";
        }
        count++;
        if (reason == NULL && count > HEADER_LINES_MAX) {
            *out_reason = "too many lines";
            *out_line = line;
            return ERR_TOO_LARGE;
        }
        if (reason != NULL) {
            *out_reason = reason;
            *out_line = line;
            return ERR_INVALID;
        }
    }
    return ERR_OK;
}

bool header_lines_have(struct str lines, struct str name)
{
    struct http_header header;

    while (take_header(&lines, &header)) {
        if (str_equal_nocase(header.name, name)) {
            return true;
        }
    }
    return false;
}

/* Take back what was appended since `size`, wiped. */
static void take_back(struct buf *to, size_t size)
{
    if (to->size > size) {
        explicit_bzero(to->data + size, to->size - size);
        to->size = size;
    }
}

enum err header_lines_expand(struct str lines,
                             const struct secrets *secrets,
                             uint64_t now_ms,
                             struct buf *to,
                             bool *out_has_secret,
                             struct str *out_name)
{
    struct http_header header;
    struct str left = lines;
    size_t start = to->size;
    bool has_secret = false;

    while (take_header(&left, &header)) {
        buf_append_str(to, header.name);
        buf_append_c(to, ": ");
        has_secret = has_secret || secrets_is_named(header.value);
        enum err err =
            secrets_expand(secrets, header.value, now_ms, to, out_name);
        buf_append_c(to, "\r\n");
        if (err == ERR_OK) {
            err = buf_err(to);
        }
        if (err != ERR_OK) {
            take_back(to, start);
            return err;
        }
    }
    *out_has_secret = has_secret;
    return ERR_OK;
}

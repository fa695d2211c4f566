/* Files of lines that nobody but our user may read.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/private_lines.h"

#include "sys/file.h"

#include <stdlib.h>
#include <string.h>

enum err private_lines_load(const char *what,
                            const char *path,
                            size_t size_max,
                            struct buf *errors,
                            char **out_text,
                            size_t *out_size)
{
    enum err err = file_load_private(path, size_max, out_text, out_size);

    if (err == ERR_OK || err == ERR_NOMEM) {
        return err;
    }
    if (err == ERR_DENIED) {
        buf_append_format(errors,
                          "%s: %s must be a file of our own user that "
                          "nobody else can read or write (chmod 600)\n",
                          what, path);
    } else {
        buf_append_format(errors, "%s: %s cannot be read: %s\n", what, path,
                          err_text(err));
    }
    return ERR_INVALID;
}

void private_lines_wipe(char *text, size_t size)
{
    if (text != NULL) {
        explicit_bzero(text, size);
        free(text);
    }
}

size_t private_lines_count(struct str text)
{
    size_t count = 1;

    for (size_t i = 0; i < text.size; i++) {
        count += text.data[i] == '\n' ? 1 : 0;
    }
    return count;
}

bool private_lines_next(struct private_lines *lines,
                        struct str *out_word,
                        struct str *out_rest)
{
    while (lines->left.size > 0) {
        size_t end = str_find(lines->left, '\n');
        struct str line = str_cut(lines->left, 0, end);
        lines->left = str_cut(lines->left, end + 1, lines->left.size);
        lines->number++;
        if (line.size > 0 && line.data[line.size - 1] == '\r') {
            line.size--;
        }
        struct str word = private_lines_word(&line);
        if (word.size > 0) {
            *out_word = word;
            *out_rest = line;
            return true;
        }
    }
    return false;
}

struct str private_lines_word(struct str *line)
{
    struct str left = str_trim(*line);
    size_t size = 0;

    if (left.size > 0 && left.data[0] == '#') {
        left = STR("");
    }
    while (size < left.size && left.data[size] != ' ' &&
           left.data[size] != '\t') {
        size++;
    }
    *line = str_cut(left, size, left.size);
    return str_cut(left, 0, size);
}

void private_lines_refuse(struct private_lines *lines,
                          const char *wrong,
                          const char *near)
{
    lines->refused = true;
    buf_append_format(lines->errors, "%s:%u: %s", lines->where, lines->number,
                      wrong);
    if (near != NULL) {
        buf_append_format(lines->errors, "; did you mean %s?", near);
    }
    buf_append_c(lines->errors, "\n");
}

bool private_lines_is_name(struct str text)
{
    for (size_t i = 0; i < text.size; i++) {
        char byte = text.data[i];
        bool letter =
            (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
        bool other = (byte >= '0' && byte <= '9') || byte == '.' ||
                     byte == '_' || byte == '-';
        if (!letter && !other) {
            return false;
        }
    }
    return text.size > 0 && text.size <= PRIVATE_LINES_NAME_SIZE_MAX;
}

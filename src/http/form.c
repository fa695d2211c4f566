/* Fields of forms: urlencoded texts, and what both kinds share.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/form.h"

#include "base/check.h"
#include "http/bytes.h"
#include "http/form_internal.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_SIZE_MIN = 512 }; /* bytes of the first block */

/* A piece of memory for decoded text; never moved. */
struct form_block {
    struct form_block *next; /* owned; older */
    size_t size;             /* bytes of `text` */
    size_t used;             /* bytes of `text` in use */
    char text[];
};

void form_init(struct form *form)
{
    form->field_count = 0;
    form->blocks = NULL;
}

static void free_blocks(struct form_block *block)
{
    while (block != NULL) {
        struct form_block *next = block->next;
        free(block);
        block = next;
    }
}

void form_fini(struct form *form)
{
    if (form == NULL) {
        return;
    }
    free_blocks(form->blocks);
    form_init(form);
}

void form_clear(struct form *form)
{
    form->field_count = 0;
    if (form->blocks != NULL) {
        free_blocks(form->blocks->next);
        form->blocks->next = NULL;
        form->blocks->used = 0;
    }
}

char *form_allocate(struct form *form, size_t size)
{
    struct form_block *block = form->blocks;
    if (block == NULL || block->size - block->used < size) {
        size_t block_size = size > BLOCK_SIZE_MIN ? size : BLOCK_SIZE_MIN;
        struct form_block *fresh = malloc(sizeof(*fresh) + block_size);
        if (fresh == NULL) {
            return NULL;
        }
        fresh->next = block;
        fresh->size = block_size;
        fresh->used = 0;
        form->blocks = fresh;
        block = fresh;
    }
    return block->text + block->used;
}

void form_use(struct form *form, size_t size)
{
    struct form_block *block = form->blocks;
    CHECK(size <= block->size - block->used);
    block->used += size;
}

enum err form_add(struct form *form, struct str name, struct str value)
{
    if (name.size > 0 && memchr(name.data, '\0', name.size) != NULL) {
        return ERR_INVALID;
    }
    if (form->field_count == FORM_FIELDS_MAX) {
        return ERR_TOO_LARGE;
    }
    form->fields[form->field_count++] = (struct form_field){name, value};
    return ERR_OK;
}

/* --- urlencoded ---------------------------------------------------------- */

static bool is_escaped(struct str text)
{
    return text.size > 0 && (memchr(text.data, '%', text.size) != NULL ||
                             memchr(text.data, '+', text.size) != NULL);
}

/* Decode `*text`, into the form's memory where it is escaped. */
static enum err decode(struct form *form, struct str *text)
{
    if (!is_escaped(*text)) {
        return ERR_OK;
    }
    char *to = form_allocate(form, text->size);
    if (to == NULL) {
        return ERR_NOMEM;
    }
    size_t size = 0;
    for (size_t at = 0; at < text->size; at++) {
        char byte = text->data[at];
        if (byte == '%') {
            int high = text->size - at > 2 ? bytes_hex(text->data[at + 1]) : -1;
            int low = text->size - at > 2 ? bytes_hex(text->data[at + 2]) : -1;
            if (high < 0 || low < 0) {
                return ERR_INVALID;
            }
            byte = (char)(high * 16 + low);
            at += 2;
        } else if (byte == '+') {
            byte = ' ';
        }
        to[size++] = byte;
    }
    form_use(form, size);
    *text = (struct str){to, size};
    return ERR_OK;
}

static enum err parse_pair(struct form *form, struct str pair)
{
    size_t equals = str_find(pair, '=');
    struct str name = str_cut(pair, 0, equals);
    struct str value = str_cut(pair, equals + 1, pair.size);
    enum err err = decode(form, &name);
    if (err != ERR_OK) {
        return err;
    }
    err = decode(form, &value);
    if (err != ERR_OK) {
        return err;
    }
    return form_add(form, name, value);
}

enum err form_parse_urlencoded(struct form *form, struct str text)
{
    uint32_t count_before = form->field_count;
    struct str rest = text;
    /* One block for the whole text rather than one for each value. */
    if (is_escaped(text) && form_allocate(form, text.size) == NULL) {
        return ERR_NOMEM;
    }
    while (rest.size > 0) {
        size_t end = str_find(rest, '&');
        struct str pair = str_cut(rest, 0, end);
        rest = str_cut(rest, end + 1, rest.size);
        enum err err = pair.size > 0 ? parse_pair(form, pair) : ERR_OK;
        if (err != ERR_OK) {
            form->field_count = count_before;
            return err;
        }
    }
    return ERR_OK;
}

/* --- both ---------------------------------------------------------------- */

const struct form_field *form_find(const struct form *form, struct str name)
{
    for (uint32_t i = 0; i < form->field_count; i++) {
        if (str_equal(form->fields[i].name, name)) {
            return &form->fields[i];
        }
    }
    return NULL;
}

void form_escape(struct buf *to, struct str text)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t start = 0; /* of the run that stays as it is */
    for (size_t at = 0; at < text.size; at++) {
        unsigned char code = (unsigned char)text.data[at];
        if (bytes_is_unreserved(text.data[at])) {
            continue;
        }
        char escape[3] = {'%', digits[code >> 4], digits[code & 15]};
        buf_append(to, text.data + start, at - start);
        if (code == ' ') {
            buf_append_byte(to, '+');
        } else {
            buf_append(to, escape, sizeof(escape));
        }
        start = at + 1;
    }
    buf_append_str(to, str_cut(text, start, text.size));
}

/* Small text files with a version and a checksum.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/conf_text.h"

#include "base/crc32c.h"

/* Read the line "<name> <value>"; empty and failed when it is not the next. */
static struct str line_value(struct conf_text *text, struct str name)
{
    struct str rest = {(const char *)text->reader.data + text->reader.position,
                       reader_left(&text->reader)};
    size_t size = str_find(rest, '\n');
    struct str line = str_cut(rest, 0, size);
    if (size == rest.size || !str_starts(line, name) ||
        line.size <= name.size || line.data[name.size] != ' ') {
        text->failed = true;
        return (struct str){0};
    }
    (void)reader_bytes(&text->reader, size + 1);
    return str_cut(line, name.size + 1, line.size);
}

/* Read lower-case hexadecimal digits, 1 to 16. */
static bool hex_value(struct str text, uint64_t *out)
{
    uint64_t value = 0;
    if (text.size == 0 || text.size > 16) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        char digit = text.data[i];
        if (digit >= '0' && digit <= '9') {
            value = value << 4 | (uint64_t)(digit - '0');
        } else if (digit >= 'a' && digit <= 'f') {
            value = value << 4 | (uint64_t)(digit - 'a' + 10);
        } else {
            return false;
        }
    }
    *out = value;
    return true;
}

enum err conf_text_open(struct conf_text *text,
                        struct str all,
                        struct str kind,
                        uint64_t version)
{
    *text = (struct conf_text){.reader = reader_of(all), .all = all};
    uint64_t found = conf_text_u64(text, kind);
    if (text->failed || found == 0) {
        return ERR_CORRUPT;
    }
    return found > version ? ERR_UNSUPPORTED : ERR_OK;
}

uint64_t conf_text_u64(struct conf_text *text, struct str name)
{
    uint64_t value = 0;
    if (str_to_u64(line_value(text, name), &value) != ERR_OK) {
        text->failed = true;
        return 0;
    }
    return value;
}

uint64_t conf_text_hex(struct conf_text *text, struct str name)
{
    uint64_t value = 0;
    if (!hex_value(line_value(text, name), &value)) {
        text->failed = true;
    }
    return value;
}

struct str conf_text_bytes(struct conf_text *text, uint64_t size)
{
    struct str bytes = {0};
    if (size > reader_left(&text->reader)) {
        text->failed = true;
        return bytes;
    }
    bytes = reader_bytes(&text->reader, (size_t)size);
    if (reader_u8(&text->reader) != '\n') {
        text->failed = true;
    }
    return bytes;
}

enum err conf_text_close(struct conf_text *text)
{
    size_t summed = text->reader.position;
    uint64_t crc = conf_text_hex(text, STR("crc"));
    if (text->failed || text->reader.failed ||
        crc != crc32c(0, text->all.data, summed)) {
        return ERR_CORRUPT;
    }
    return ERR_OK;
}

void conf_text_seal(struct buf *text)
{
    uint32_t crc = crc32c(0, text->data, text->size);
    buf_append_format(text, "crc %08x\n", crc);
}

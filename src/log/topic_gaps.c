/* Numbers that no message has.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/topic_gaps.h"

#include "base/buf.h"
#include "log/conf_text.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <stdlib.h>
#include <string.h>

enum {
    VERSION = 1,
    FILE_SIZE_MAX = 64 << 20,
};

static enum err gaps_path(char path[DIR_PATH_MAX], const char *directory)
{
    return dir_join(path, directory, "gaps");
}

static enum err read_text(struct str all, struct topic_gaps *gaps)
{
    struct conf_text text;
    enum err err = conf_text_open(&text, all, STR("opq-gaps"), VERSION);
    if (err != ERR_OK) {
        return err;
    }
    uint64_t count = conf_text_u64(&text, STR("count"));
    for (uint64_t i = 0; err == ERR_OK && i < count && !text.failed; i++) {
        uint64_t first = conf_text_u64(&text, STR("from"));
        uint64_t end = conf_text_u64(&text, STR("to"));
        if (!text.failed && first < end) {
            err = topic_gaps_add(gaps, first, end);
        }
    }
    return err == ERR_OK ? conf_text_close(&text) : err;
}

enum err topic_gaps_load(const char *directory, struct topic_gaps *out)
{
    char path[DIR_PATH_MAX];
    char *data = NULL;
    size_t size = 0;
    struct topic_gaps gaps = {0};
    enum err err = gaps_path(path, directory);
    if (err == ERR_OK) {
        err = file_load(path, FILE_SIZE_MAX, &data, &size);
    }
    if (err == ERR_OK) {
        err = read_text((struct str){data, size}, &gaps);
    } else if (err == ERR_NOT_FOUND) {
        err = ERR_OK;
    }
    free(data);
    if (err != ERR_OK) {
        topic_gaps_fini(&gaps);
        return err;
    }
    *out = gaps;
    return ERR_OK;
}

enum err topic_gaps_store(const char *directory, const struct topic_gaps *gaps)
{
    char path[DIR_PATH_MAX];
    struct buf text = {0};
    buf_append_format(&text, "opq-gaps %d\ncount %llu\n", (int)VERSION,
                      (unsigned long long)gaps->count);
    for (size_t i = 0; i < gaps->count; i++) {
        buf_append_format(&text, "from %llu\nto %llu\n",
                          (unsigned long long)gaps->gaps[i].first,
                          (unsigned long long)gaps->gaps[i].end);
    }
    conf_text_seal(&text);
    enum err err = buf_err(&text);
    if (err == ERR_OK) {
        err = gaps_path(path, directory);
    }
    if (err == ERR_OK) {
        err = file_replace(path, text.data, text.size);
    }
    buf_fini(&text);
    return err;
}

enum err topic_gaps_add(struct topic_gaps *gaps, uint64_t first, uint64_t end)
{
    size_t at = 0;
    if (gaps->count > 0 && gaps->gaps[gaps->count - 1].first <= first) {
        at = gaps->count - 1; /* as a rule they come in order */
    }
    while (at < gaps->count && gaps->gaps[at].end < first) {
        at++;
    }
    size_t over = at; /* those that it touches become one with it */
    while (over < gaps->count && gaps->gaps[over].first <= end) {
        first = gaps->gaps[over].first < first ? gaps->gaps[over].first : first;
        end = gaps->gaps[over].end > end ? gaps->gaps[over].end : end;
        over++;
    }
    if (over == at && gaps->count == gaps->capacity) {
        size_t capacity = gaps->capacity * 2 + 8;
        struct topic_gap *grown =
            realloc(gaps->gaps, capacity * sizeof(*grown));
        if (grown == NULL) {
            return ERR_NOMEM;
        }
        gaps->gaps = grown;
        gaps->capacity = capacity;
    }
    memmove(gaps->gaps + at + 1, gaps->gaps + over,
            (gaps->count - over) * sizeof(gaps->gaps[0]));
    gaps->count = gaps->count + 1 - (over - at);
    gaps->gaps[at] = (struct topic_gap){first, end};
    return ERR_OK;
}

bool topic_gaps_has(const struct topic_gaps *gaps, uint64_t first, uint64_t end)
{
    for (size_t i = 0; i < gaps->count; i++) {
        if (gaps->gaps[i].first <= first && gaps->gaps[i].end >= end) {
            return true;
        }
    }
    return first >= end;
}

void topic_gaps_fini(struct topic_gaps *gaps)
{
    free(gaps->gaps);
    *gaps = (struct topic_gaps){0};
}

/* What is kept of a topic besides its messages.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/topic_conf.h"

#include "base/check.h"
#include "base/crc32c.h"
#include "log/conf_text.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <stdlib.h>
#include <string.h>

enum {
    CONF_VERSION = 1,
    CONF_FILE_MAX = TOPIC_CONF_SETTINGS_MAX + 1024,
    SLOT_SIZE = 4096, /* of `cmd` and `dlv` */
    SLOT_HEAD_SIZE = 32,
    BODY_DISCARD_OLD = 1,
    BODY_MADE = 2,
    BODY_VIEW = 4,
    BODY_LOOSE = 8,
    BODY_FIXED_SIZE = 8 + 2 + 2 + 3 * 8 + 1,
    BODY_VIEW_SIZE = 8 + 8,
};

static void view_write(const struct topic_conf *conf, struct buf *to)
{
    buf_append_format(to,
                      "opq-view %d\nid %016llx\nparent %016llx\n"
                      "created %llu\nhold %d\nsettings %zu\n",
                      CONF_VERSION, (unsigned long long)conf->id,
                      (unsigned long long)conf->parent,
                      (unsigned long long)conf->created_ms, conf->loose ? 0 : 1,
                      conf->settings.size);
}

static void topic_write(const struct topic_conf *conf, struct buf *to)
{
    buf_append_format(to,
                      "opq-topic %d\nid %016llx\ncreated %llu\n"
                      "retain_age %llu\nretain_bytes %llu\n"
                      "retain_count %llu\ndiscard_old %d\nsettings %zu\n",
                      CONF_VERSION, (unsigned long long)conf->id,
                      (unsigned long long)conf->created_ms,
                      (unsigned long long)conf->retain_age_ms,
                      (unsigned long long)conf->retain_bytes,
                      (unsigned long long)conf->retain_count,
                      conf->discard_old ? 1 : 0, conf->settings.size);
}

bool topic_conf_retains(const struct topic_conf *conf)
{
    return (conf->retain_age_ms | conf->retain_bytes | conf->retain_count) != 0;
}

void topic_conf_write(const struct topic_conf *conf, struct buf *to)
{
    if (conf->parent != 0) {
        view_write(conf, to);
    } else {
        topic_write(conf, to);
    }
    buf_append_str(to, conf->settings);
    buf_append_byte(to, '\n');
    conf_text_seal(to);
}

/* Read the lines that only a topic's file has. */
static void topic_read(struct conf_text *text, struct topic_conf *conf)
{
    conf->id = conf_text_hex(text, STR("id"));
    conf->created_ms = conf_text_u64(text, STR("created"));
    conf->retain_age_ms = conf_text_u64(text, STR("retain_age"));
    conf->retain_bytes = conf_text_u64(text, STR("retain_bytes"));
    conf->retain_count = conf_text_u64(text, STR("retain_count"));
    conf->discard_old = conf_text_u64(text, STR("discard_old")) != 0;
}

/* Read the lines that only a view's file has. */
static void view_read(struct conf_text *text, struct topic_conf *conf)
{
    conf->id = conf_text_hex(text, STR("id"));
    conf->parent = conf_text_hex(text, STR("parent"));
    conf->created_ms = conf_text_u64(text, STR("created"));
    conf->loose = conf_text_u64(text, STR("hold")) == 0;
}

/* Read the file's text. */
static enum err conf_read(struct str all, struct topic_conf *out)
{
    struct conf_text text = {0};
    struct topic_conf conf = {0};
    bool view = str_starts(all, STR("opq-view "));
    enum err err = conf_text_open(
        &text, all, view ? STR("opq-view") : STR("opq-topic"), CONF_VERSION);
    if (err != ERR_OK) {
        return err;
    }
    if (view) {
        view_read(&text, &conf);
    } else {
        topic_read(&text, &conf);
    }
    uint64_t settings_size = conf_text_u64(&text, STR("settings"));
    conf.settings = conf_text_bytes(&text, settings_size);
    err = conf_text_close(&text);
    if (err != ERR_OK) {
        return err;
    }
    if (conf.id == 0 || (view && conf.parent == 0) ||
        settings_size > TOPIC_CONF_SETTINGS_MAX) {
        return ERR_CORRUPT;
    }
    *out = conf;
    return ERR_OK;
}

enum err topic_conf_load(const char *directory,
                         char **out_memory,
                         struct topic_conf *out_conf)
{
    char path[DIR_PATH_MAX];
    if (dir_join(path, directory, "topic.conf") != ERR_OK) {
        return ERR_IO;
    }
    char *data = NULL;
    size_t size = 0;
    enum err err = file_load(path, CONF_FILE_MAX, &data, &size);
    if (err != ERR_OK) {
        return err == ERR_TOO_LARGE ? ERR_CORRUPT : err;
    }
    err = conf_read((struct str){data, size}, out_conf);
    if (err != ERR_OK) {
        free(data);
        return err;
    }
    *out_memory = data;
    return ERR_OK;
}

/* The topic id in a whole slot of `cmd` or `dlv`; 0 when there is none. */
static uint64_t slot_id(struct str file)
{
    uint64_t id = 0;
    for (size_t at = 0; at + SLOT_HEAD_SIZE <= file.size; at += SLOT_SIZE) {
        struct reader reader = reader_of(str_cut(file, at, SLOT_SIZE));
        uint32_t crc = reader_u32(&reader);
        uint32_t size = reader_u32(&reader);
        (void)reader_u64(&reader); /* checkpoint */
        uint64_t found = reader_u64(&reader);
        if (size <= SLOT_SIZE - SLOT_HEAD_SIZE &&
            at + SLOT_HEAD_SIZE + size <= file.size &&
            crc == crc32c(0, file.data + at + 4, SLOT_HEAD_SIZE - 4 + size)) {
            id = found;
        }
    }
    return id;
}

uint64_t topic_conf_guess_id(const char *directory)
{
    static const char *const names[] = {"cmd", "dlv"};
    uint64_t id = 0;
    for (size_t i = 0; id == 0 && i < sizeof(names) / sizeof(names[0]); i++) {
        char path[DIR_PATH_MAX];
        char *data = NULL;
        size_t size = 0;
        if (dir_join(path, directory, names[i]) == ERR_OK &&
            file_load(path, (size_t)2 * SLOT_SIZE, &data, &size) == ERR_OK) {
            id = slot_id((struct str){data, size});
            free(data);
        }
    }
    return id;
}

enum err topic_conf_view_path(char path[DIR_PATH_MAX],
                              const char *topic_directory,
                              const char *name)
{
    char views[DIR_PATH_MAX];
    enum err err = dir_join(views, topic_directory, TOPIC_CONF_VIEWS);
    return err == ERR_OK ? dir_join(path, views, name) : err;
}

/* A folder of views that is looked through. */
struct guess {
    const char *directory;
    uint64_t parent;
};

static enum err guess_visit(void *context, const char *name, bool is_directory)
{
    struct guess *guess = context;
    char path[DIR_PATH_MAX];
    char *memory = NULL;
    struct topic_conf conf;
    if (is_directory &&
        topic_conf_view_path(path, guess->directory, name) == ERR_OK &&
        topic_conf_load(path, &memory, &conf) == ERR_OK) {
        guess->parent = conf.parent;
        free(memory);
    }
    return ERR_OK;
}

uint64_t topic_conf_guess_parent(const char *directory)
{
    struct guess guess = {.directory = directory};
    char path[DIR_PATH_MAX];
    if (dir_join(path, directory, TOPIC_CONF_VIEWS) != ERR_OK ||
        dir_each(path, guess_visit, &guess) != ERR_OK) {
        return 0;
    }
    return guess.parent;
}

size_t topic_conf_body_size(const struct topic_conf *conf)
{
    return BODY_FIXED_SIZE + conf->name.size + conf->settings.size +
           (conf->parent != 0 ? BODY_VIEW_SIZE : 0);
}

/* Append to a row of bytes; gives the place behind. */
static uint8_t *put_bytes(uint8_t *to, struct str bytes)
{
    put_u16(to, (uint16_t)bytes.size);
    if (bytes.size > 0) {
        memcpy(to + 2, bytes.data, bytes.size);
    }
    return to + 2 + bytes.size;
}

void topic_conf_body_write(const struct topic_conf *conf, void *to)
{
    CHECK(conf->name.size <= TOPIC_CONF_NAME_MAX);
    CHECK(conf->settings.size <= TOPIC_CONF_SETTINGS_MAX);
    uint8_t *at = to;
    put_u64(at, conf->created_ms);
    at = put_bytes(at + 8, conf->name);
    at = put_bytes(at, conf->settings);
    put_u64(at, conf->retain_age_ms);
    put_u64(at + 8, conf->retain_bytes);
    put_u64(at + 16, conf->retain_count);
    at[24] = (uint8_t)((conf->discard_old ? BODY_DISCARD_OLD : 0) |
                       (conf->made ? BODY_MADE : 0) |
                       (conf->parent != 0 ? BODY_VIEW : 0) |
                       (conf->loose ? BODY_LOOSE : 0));
    if (conf->parent != 0) {
        put_u64(at + 25, conf->parent);
        put_u64(at + 33, conf->start);
    }
}

enum err topic_conf_body_read(struct str body, struct topic_conf *out_conf)
{
    struct reader reader = reader_of(body);
    struct topic_conf conf = {0};
    conf.created_ms = reader_u64(&reader);
    conf.name = reader_bytes(&reader, reader_u16(&reader));
    conf.settings = reader_bytes(&reader, reader_u16(&reader));
    conf.retain_age_ms = reader_u64(&reader);
    conf.retain_bytes = reader_u64(&reader);
    conf.retain_count = reader_u64(&reader);
    uint8_t flags = reader_u8(&reader);
    conf.discard_old = (flags & BODY_DISCARD_OLD) != 0;
    conf.made = (flags & BODY_MADE) != 0;
    conf.loose = (flags & BODY_LOOSE) != 0;
    bool view = (flags & BODY_VIEW) != 0;
    if (view) {
        conf.parent = reader_u64(&reader);
        conf.start = reader_u64(&reader);
    }
    if (reader.failed || view != (conf.parent != 0) ||
        conf.name.size > TOPIC_CONF_NAME_MAX ||
        conf.settings.size > TOPIC_CONF_SETTINGS_MAX) {
        return ERR_CORRUPT;
    }
    *out_conf = conf;
    return ERR_OK;
}

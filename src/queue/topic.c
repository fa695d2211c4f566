/* A topic as the pipeline sees it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/topic.h"

#include "base/check.h"
#include "base/diag.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum err topic_create(struct store_topic *store, struct topic **out)
{
    CHECK(store->user == NULL);

    struct topic *topic = calloc(1, sizeof(*topic));
    if (topic == NULL) {
        return ERR_NOMEM;
    }
    enum err err = topic_settings_read(store->settings, &topic->settings);
    if (err != ERR_OK) {
        /* The topic works with what could be read; setting it anew mends it. */
        DIAG_WARN("topic_settings_damaged", "topic=%s err=%s", store->name,
                  err_text(err));
    }
    topic->settings.retention = store->retention; /* what is acted on */
    topic->store = store;
    int size = snprintf(topic->id_prefix, sizeof(topic->id_prefix),
                        "msg_%016" PRIx64 "-", store->id);
    CHECK(size == TOPIC_ID_PREFIX_SIZE);
    store->user = topic;
    *out = topic;
    return ERR_OK;
}

void topic_destroy(struct topic *topic)
{
    if (topic == NULL) {
        return;
    }
    CHECK(topic->delivery == NULL);
    topic->store->user = NULL;
    free(topic);
}

static void write_line(struct buf *to, const char *name, uint64_t value)
{
    buf_append_c(to, name);
    buf_append_byte(to, ' ');
    buf_append_u64(to, value);
    buf_append_byte(to, '\n');
}

void topic_settings_write(const struct topic_settings *settings, struct buf *to)
{
    write_line(to, "paused", settings->paused ? 1 : 0);
    write_line(to, "timeout_ms", settings->timeout_ms);
    write_line(to, "retain_age_ms", settings->retention.age_ms);
    write_line(to, "retain_bytes", settings->retention.bytes);
    write_line(to, "retain_count", settings->retention.count);
    write_line(to, "discard_old", settings->retention.discard_old ? 1 : 0);
}

/* Read a value of at most `max`. */
static enum err read_number(struct str text, uint64_t max, uint64_t *out_value)
{
    uint64_t value = 0;

    if (str_to_u64(text, &value) != ERR_OK || value > max) {
        return ERR_CORRUPT;
    }
    *out_value = value;
    return ERR_OK;
}

static enum err read_flag(struct str text, bool *out_flag)
{
    uint64_t value = 0;
    enum err err = read_number(text, 1, &value);

    if (err == ERR_OK) {
        *out_flag = value == 1;
    }
    return err;
}

static enum err
read_line(struct str name, struct str value, struct topic_settings *settings)
{
    struct store_retention *retention = &settings->retention;

    if (str_equal(name, STR("paused"))) {
        return read_flag(value, &settings->paused);
    }
    if (str_equal(name, STR("timeout_ms"))) {
        uint64_t timeout_ms = 0;
        enum err err = read_number(value, UINT32_MAX, &timeout_ms);
        if (err == ERR_OK) {
            settings->timeout_ms = (uint32_t)timeout_ms;
        }
        return err;
    }
    if (str_equal(name, STR("retain_age_ms"))) {
        return read_number(value, UINT64_MAX, &retention->age_ms);
    }
    if (str_equal(name, STR("retain_bytes"))) {
        return read_number(value, UINT64_MAX, &retention->bytes);
    }
    if (str_equal(name, STR("retain_count"))) {
        return read_number(value, UINT64_MAX, &retention->count);
    }
    if (str_equal(name, STR("discard_old"))) {
        return read_flag(value, &retention->discard_old);
    }
    return ERR_OK; /* of a newer program */
}

enum err topic_settings_read(struct str text,
                             struct topic_settings *out_settings)
{
    *out_settings = (struct topic_settings){0};
    while (text.size > 0) {
        struct str line = str_cut(text, 0, str_find(text, '\n'));
        text = str_cut(text, line.size + 1, text.size);
        size_t blank = str_find(line, ' ');
        enum err err =
            read_line(str_cut(line, 0, blank),
                      str_cut(line, blank + 1, line.size), out_settings);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

char *
topic_message_id_put(const struct topic *topic, uint64_t sequence, char *to)
{
    to = put_text(to, (struct str){topic->id_prefix, TOPIC_ID_PREFIX_SIZE});
    return put_decimal(to, sequence);
}

void topic_message_id(const struct topic *topic,
                      uint64_t sequence,
                      struct buf *to)
{
    char id[TOPIC_ID_PREFIX_SIZE + PUT_DECIMAL_MAX];

    buf_append(to, id,
               (size_t)(topic_message_id_put(topic, sequence, id) - id));
}

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

#define DEAD_SUFFIX ".dlq"
#define INTERNAL_PREFIX ".opq."

/* Give a topic its title; that of a topic is its name.
 * Errors: ERR_NOMEM */
static enum err set_title(struct topic *topic)
{
    const struct store_topic *store = topic->store;

    if (store->parent == NULL) {
        topic->title = store->name;
        return ERR_OK;
    }
    size_t size = store->parent->name_str.size + 1 + store->name_str.size + 1;
    char *title = malloc(size);
    if (title == NULL) {
        return ERR_NOMEM;
    }
    (void)snprintf(title, size, "%s/%s", store->parent->name, store->name);
    topic->title = title;
    return ERR_OK;
}

static void free_title(struct topic *topic)
{
    if (topic->store->parent != NULL) {
        free((char *)topic->title);
    }
}

/* Find what topic_write() says of the log. */
static void read_used(struct topic *topic)
{
    struct str text = topic->store->settings;

    while (text.size > 0) {
        struct str line = str_cut(text, 0, str_find(text, '\n'));
        text = str_cut(text, line.size + 1, text.size);
        topic->dedup_used =
            topic->dedup_used || str_equal(line, STR("dedup_used 1"));
        topic->collapse_used =
            topic->collapse_used || str_equal(line, STR("collapse_used 1"));
    }
}

enum err topic_create(struct store_topic *store, struct topic **out)
{
    CHECK(store->user == NULL);

    struct topic *topic = calloc(1, sizeof(*topic));
    if (topic == NULL) {
        return ERR_NOMEM;
    }
    topic->store = store;
    settings_init(&topic->settings);
    enum err err = set_title(topic);
    if (err == ERR_OK) {
        err = settings_read(store->settings, &topic->settings);
    }
    if (err == ERR_NOMEM) {
        free_title(topic);
        settings_fini(&topic->settings);
        free(topic);
        return err;
    }
    if (err != ERR_OK) {
        /* The topic works with what could be read; setting it anew mends it. */
        DIAG_WARN("topic_settings_damaged", "topic=%s err=%s", topic->title,
                  err_text(err));
    }
    topic->settings.retention = store->retention; /* what is acted on */
    list_init(&topic->letters);
    read_used(topic);
    list_init(&topic->subscriptions);
    if (store->parent != NULL) {
        topic->parent = topic_of(store->parent);
        list_append(&topic->parent->subscriptions, &topic->link);
        store = store->parent;
    }
    int size = snprintf(topic->id_prefix, sizeof(topic->id_prefix),
                        "msg_%016" PRIx64 "-", store->id);
    CHECK(size == TOPIC_ID_PREFIX_SIZE);
    topic->store->user = topic;
    *out = topic;
    return ERR_OK;
}

void topic_destroy(struct topic *topic)
{
    if (topic == NULL) {
        return;
    }
    CHECK(topic->delivery == NULL);
    CHECK(list_empty(&topic->subscriptions));
    list_remove(&topic->link);
    CHECK(list_empty(&topic->letters));
    topic->store->user = NULL;
    free_title(topic);
    settings_fini(&topic->settings);
    free(topic);
}

void topic_dead_name(struct str name, char to[TOPIC_NAME_MAX + 1])
{
    enum { HASH_SIZE = 17, SUFFIX_SIZE = sizeof(DEAD_SUFFIX) - 1 };

    if (name.size + SUFFIX_SIZE <= TOPIC_NAME_MAX) {
        (void)snprintf(to, TOPIC_NAME_MAX + 1, "%.*s" DEAD_SUFFIX,
                       STR_ARG(name));
        return;
    }
    (void)snprintf(to, TOPIC_NAME_MAX + 1, "%.*s-%016" PRIx64 DEAD_SUFFIX,
                   TOPIC_NAME_MAX - HASH_SIZE - SUFFIX_SIZE, name.data,
                   str_hash(name));
}

bool topic_is_delivered(const struct topic *topic)
{
    struct str name = topic_root(topic)->store->name_str;

    return !topic_is_internal(name) && !topic_is_dead(name) &&
           (topic->parent == NULL ||
            topic->settings.kind != SETTINGS_KIND_PULL) &&
           topic->settings.replay_finished_ms == 0;
}

enum settings_order topic_order(const struct topic *topic)
{
    return str_equal(topic->store->name_str, STR(TOPIC_CALLBACKS))
               ? SETTINGS_ORDER_NONE
               : topic->settings.order;
}

bool topic_has_subscriptions(const struct topic *topic)
{
    const struct list *all = &topic->subscriptions;

    for (const struct list *link = all->next; link != all; link = link->next) {
        if (topic_is_subscription(CONTAINER_OF(link, struct topic, link))) {
            return true;
        }
    }
    return false;
}

bool topic_is_internal(struct str name)
{
    struct str prefix = STR(INTERNAL_PREFIX);

    return name.size > 0 && name.data[0] == '.' &&
           str_equal(str_cut(name, 0, prefix.size), prefix);
}

bool topic_is_dead(struct str name)
{
    struct str suffix = STR(DEAD_SUFFIX);

    return name.size > suffix.size &&
           str_equal(str_cut(name, name.size - suffix.size, suffix.size),
                     suffix);
}

enum err topic_write(const struct topic *topic,
                     const struct settings *settings,
                     struct buf *to)
{
    enum err err = settings_write(settings, to);

    if (err == ERR_OK && topic->dedup_used) {
        buf_append_c(to, "dedup_used 1\n");
    }
    if (err == ERR_OK && topic->collapse_used) {
        buf_append_c(to, "collapse_used 1\n");
    }
    return err == ERR_OK ? buf_err(to) : err;
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

/* Room on disk, and the limits of what topics keep.
 *
 * Below the reserve, pushes are refused and all else goes on: what deliveries
 * write was set aside before (the journal is filled, `cmd` and `dlv` are
 * overwritten), and retention makes room. The reserve itself is for what is
 * owed: the segments of what was accepted, dead letters, callbacks, delayed
 * messages that are due, and topics that are needed for these. The state is
 * looked at while appends come, at once after a write found no room, and by a
 * timer: each second while it is low, else each ten, for who pushes nothing
 * wants to know, too.
 *
 * Without a reserve, or when others were faster, a write finds no room. That
 * counts as low, too, until there is more room than then, or a write finds
 * some: one append a second is let through to see, and the background tries by
 * itself.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_chore.h"
#include "store/store_local.h"
#include "store/store_local_internal.h"
#include "store/store_views.h"

#include "base/diag.h"

static void tell(const struct local_store *store, bool low)
{
    const struct store_news news = {
        .kind = low ? STORE_NEWS_DISK_LOW : STORE_NEWS_DISK_OK,
        .subject = store->data->directory,
        .free = store->stats.disk_free,
        .reserve = store->options->disk_reserve,
        .full = store->no_room,
    };

    store_tell(&store->base, &news);
}

/* Look again after a while, sooner when it is low. */
static void space_arm(struct local_store *store)
{
    bool slowly = !store->stats.disk_low;
    bool runs = io_timer_running(&store->space_timer);
    if (store->closing || (runs && (slowly || !store->space_slowly))) {
        return;
    }
    store->space_slowly = slowly;
    io_timer_start(store->io, &store->space_timer,
                   slowly ? STORE_SPACE_IDLE_MS : STORE_SPACE_CHECK_MS);
}

/* Say what follows from what is known. */
static void space_judge(struct local_store *store)
{
    uint64_t free_size = store->stats.disk_free;
    bool low = free_size < store->options->disk_reserve || store->no_room;
    if (low != store->stats.disk_low) {
        store->stats.disk_low = low;
        if (low) {
            DIAG_ERROR("disk_low", "shard=%u free=%llu reserve=%llu full=%d",
                       store->shard, (unsigned long long)free_size,
                       (unsigned long long)store->options->disk_reserve,
                       store->no_room ? 1 : 0);
        } else {
            DIAG_INFO("disk_recovered", "shard=%u free=%llu", store->shard,
                      (unsigned long long)free_size);
        }
    }
    if (low != store->space_told && store->base.told != NULL) {
        store->space_told = low; /* at a start nobody listens yet */
        tell(store, low);
    }
    space_arm(store);
}

static void space_look(struct local_store *store)
{
    uint64_t free_size = 0;
    uint64_t total_size = 0;
    store->space_checked_ms = io_now_ms(store->io);
    if (dir_space(store->data->directory, &free_size, &total_size) == ERR_OK) {
        store->stats.disk_free = free_size; /* else as it was */
    }
    if (store->no_room && store->stats.disk_free >= store->room_wanted) {
        store->no_room = false;
    }
    space_judge(store);
}

void store_space_full(struct local_store *store)
{
    /* The first failure may be the only one: the next append may see. */
    store->room_tried_ms = store->no_room ? io_now_ms(store->io) : 0;
    store->no_room = true;
    store->room_wanted = UINT64_MAX;
    space_look(store);
    store->room_wanted = store->stats.disk_free + STORE_ROOM_GROWN;
}

void store_space_found(struct local_store *store)
{
    if (store->no_room) {
        store->no_room = false;
        space_look(store);
    }
}

bool store_space_refuses(const struct local_store *store, bool owed)
{
    if (!store->stats.disk_low) {
        return false;
    }
    if (!owed && store->stats.disk_free < store->options->disk_reserve) {
        return true;
    }
    return store->no_room &&
           io_now_ms(store->io) - store->room_tried_ms < STORE_SPACE_CHECK_MS;
}

void store_space_check(struct local_store *store)
{
    if (store->space_checked_ms == 0 ||
        io_now_ms(store->io) - store->space_checked_ms >=
            STORE_SPACE_CHECK_MS) {
        space_look(store);
    }
}

bool store_space_has(struct local_store *store, uint64_t size)
{
    space_look(store);
    if (store->stats.disk_low) {
        return false;
    }
    /* What cannot be looked at is found out by writing. */
    return store->stats.disk_free == 0 ||
           store->stats.disk_free - store->options->disk_reserve >= size;
}

bool store_space_journal(void *context, uint64_t size)
{
    return store_space_has(context, size);
}

void store_space_expired(struct io_timer *timer)
{
    space_look(CONTAINER_OF(timer, struct local_store, space_timer));
}

/* --- retention ------------------------------------------------------------ */

static bool limited(const struct local_topic *topic)
{
    const struct store_retention *retention = &topic->base.retention;
    return (retention->age_ms | retention->bytes | retention->count) != 0;
}

/* Let the helper remove the files that the log dropped. */
static void remove_dropped(struct local_topic *topic)
{
    char *files = topic_log_take_dropped(topic->log);
    if (files == NULL) {
        return;
    }
    enum err err = store_chore_remove(topic->store, NULL, files);
    if (err != ERR_OK) {
        DIAG_WARN("remove_failed", "topic=%s err=%s", topic->base.name,
                  err_name(err));
    }
}

void store_space_trim(struct local_topic *topic)
{
    /* Limits that are not committed let go of nothing. */
    const struct store_retention *retention =
        topic->settings.first != NULL ? &topic->settings.first->retention
                                      : &topic->base.retention;
    struct topic_trim trim = {
        .before = topic->base.bounds.oldest,
        .delivered = retention->discard_old ? topic->base.bounds.end
                                            : store_views_delivered(topic),
        .now_ms = io_wall_ms(topic->store->io),
        .age_ms = retention->age_ms,
        .bytes_max = retention->bytes,
        .count_max = retention->count,
    };
    uint64_t oldest = topic->base.bounds.oldest;
    if (topic->moves.first != NULL) {
        /* A purge or move that is not committed may be undone: only what was
         * settled before it counts. */
        trim.before = topic->moves.first->oldest;
    }
    if (topic_log_trim(topic->log, &trim, &oldest) != ERR_OK) {
        return; /* later */
    }
    if (oldest > topic->base.bounds.oldest) {
        topic->base.bounds.oldest = oldest;
        store_views_clamp(topic);
        store_cursor_page(topic);
        topic->trim_dirty = true;
        store_cursor_mark(topic);
        store_topics_mark(topic);
    }
    remove_dropped(topic);
    store_topics_account(topic);
}

void store_space_arm(struct local_topic *topic)
{
    struct local_store *store = topic->store;
    if (limited(topic) && !topic->deleted &&
        topic->base.bounds.oldest < topic->base.bounds.end &&
        !io_timer_running(&store->retention_timer) && !store->closing) {
        io_timer_start(store->io, &store->retention_timer, STORE_RETENTION_MS);
    }
}

void store_space_retention_expired(struct io_timer *timer)
{
    struct local_store *store =
        CONTAINER_OF(timer, struct local_store, retention_timer);
    struct list *node = store->topics.next;
    while (node != &store->topics) {
        struct local_topic *topic =
            CONTAINER_OF(node, struct local_topic, link);
        node = node->next;
        if (limited(topic)) {
            if (topic_log_stats(topic->log)->disk_bytes > 0) {
                store_space_trim(topic);
            }
            store_space_arm(topic);
        }
    }
}

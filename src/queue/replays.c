/* The replays of a shard.
 *
 * A change of settings is stored like an operator's, but that nobody waits for
 * its end: the next one follows only when it has come. A replay that is
 * detached meanwhile is freed then.
 *
 * What can go wrong: settings that cannot be stored are stored later; a walk
 * over the dead letters that fails is begun again at the next look.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/replays.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/diag.h"
#include "queue/replay_walk.h"

#include <stdio.h>
#include <stdlib.h>

struct replays {
    struct shard *shard; /* borrowed */
    void (*finished)(struct topic *topic);
    struct list all; /* of struct replay */
    struct io_timer timer;
    bool closed;
};

struct replay {
    struct replays *replays; /* borrowed */
    struct topic *topic;     /* borrowed; NULL: detached, but being stored */
    struct list link;        /* in replays->all */
    /* What had been counted before the topic was attached. */
    struct replays_counts before;
    struct replays_counts noted; /* what is stored, or under way */
    uint64_t noted_ms;           /* monotonic: when it was */
    struct store_op op;
    bool storing;              /* the op is under way */
    struct replay_walk *walk;  /* one that is under way; owned until it ends */
    struct replay_walk *known; /* owned: the last one that ended; NULL: none */
    bool stumbled;             /* the last one could not be made */
};

/* A deletion, which outlives its replay. */
struct removal {
    struct store_op op;
    struct shard *shard; /* borrowed */
    char topic[TOPIC_NAME_MAX + 1];
    char name[TOPIC_NAME_MAX + 1]; /* of the view */
};

static struct io *io_of(const struct replays *replays)
{
    return replays->shard->io;
}

static bool is_over(const struct topic *topic)
{
    return topic->store->cursor.next >= topic->settings.replay_end;
}

void replays_counts(const struct topic *topic,
                    struct replays_counts *out_counts)
{
    const struct replay *replay = topic->replay;

    *out_counts = (struct replays_counts){
        .sent = topic->stats.delivered,
        .given_up = topic->stats.given_up,
    };
    if (replay != NULL) {
        out_counts->sent += replay->before.sent;
        out_counts->given_up += replay->before.given_up;
    }
}

/* --- storing -------------------------------------------------------------- */

static void stored(struct store_op *op, enum err err)
{
    struct replay *replay = CONTAINER_OF(op, struct replay, op);

    replay->storing = false;
    if (replay->topic == NULL) {
        free(replay);
        return;
    }
    if (err != ERR_OK) { /* again later */
        DIAG_WARN("replay_not_noted", "topic=%s err=%s", replay->topic->title,
                  err_text(err));
        replay->noted = (struct replays_counts){UINT64_MAX, UINT64_MAX};
    }
}

static bool is_noted(const struct replay *replay)
{
    const struct settings *settings = &replay->topic->settings;
    struct replays_counts counts;

    replays_counts(replay->topic, &counts);
    return counts.sent == replay->noted.sent &&
           counts.given_up == replay->noted.given_up &&
           (settings->replay_finished_ms > 0 || !is_over(replay->topic));
}

/* Store the counts, and that it has finished, if it has. */
static void note(struct replay *replay)
{
    struct topic *topic = replay->topic;
    struct settings *settings = &topic->settings;
    struct buf text = {0};

    if (replay->storing || is_noted(replay)) {
        return;
    }
    if (is_over(topic) && settings->replay_finished_ms == 0) {
        settings->replay_finished_ms = io_wall_ms(io_of(replay->replays));
        DIAG_INFO("replay_finished", "topic=%s", topic->title);
        replay->replays->finished(topic); /* it is woken no more */
    }
    replays_counts(topic, &replay->noted);
    replay->noted_ms = io_now_ms(io_of(replay->replays));
    settings->replay_sent = replay->noted.sent;
    settings->replay_given_up = replay->noted.given_up;
    if (topic_write(topic, settings, &text) == ERR_OK) {
        replay->storing = true;
        replay->op = (struct store_op){.done = stored};
        store_topic_configure(topic->store, buf_str(&text),
                              &topic->store->retention, &replay->op);
    } else {
        replay->noted = (struct replays_counts){UINT64_MAX, UINT64_MAX};
    }
    buf_fini(&text);
}

static void removed(struct store_op *op, enum err err)
{
    struct removal *removal = CONTAINER_OF(op, struct removal, op);

    if (err != ERR_OK) {
        DIAG_WARN("replay_not_deleted", "topic=%s/%s err=%s", removal->topic,
                  removal->name, err_text(err));
        if (!removal->shard->stopping) { /* later, once more */
            shard_subscription_again(removal->shard, str_from(removal->topic),
                                     str_from(removal->name));
        }
    }
    free(removal);
}

/* Delete one that was done for long. */
static void remove_replay(struct replay *replay)
{
    struct topic *topic = replay->topic;
    struct removal *removal = calloc(1, sizeof(*removal));

    if (removal == NULL) {
        return; /* at the next look */
    }
    removal->shard = replay->replays->shard;
    (void)snprintf(removal->topic, sizeof(removal->topic), "%s",
                   topic->store->parent->name);
    (void)snprintf(removal->name, sizeof(removal->name), "%s",
                   topic->store->name);
    removal->op.done = removed;
    DIAG_INFO("replay_deleted", "topic=%s", topic->title);
    shard_subscription_delete(replay->replays->shard, topic, &removal->op);
}

/* --- looking -------------------------------------------------------------- */

/* Do what is due of a replay, which may be gone then. Returns when to look
 * again, in milliseconds. */
static uint64_t look(struct replay *replay)
{
    struct topic *topic = replay->topic;
    const struct settings *settings = &topic->settings;
    uint64_t wall_ms = io_wall_ms(io_of(replay->replays));
    uint64_t now_ms = io_now_ms(io_of(replay->replays));

    if (settings->replay_finished_ms == 0 || !is_noted(replay)) {
        if (is_over(topic) || now_ms - replay->noted_ms >= REPLAYS_NOTE_MS) {
            note(replay);
        }
        if (replay->stumbled) {
            replay->stumbled = false;
            topic_changed(topic); /* which asks again */
        }
        bool rests = settings->paused && is_noted(replay);
        return rests ? REPLAYS_KEEP_MS : REPLAYS_LOOK_MS;
    }
    uint64_t due_ms = settings->replay_finished_ms + REPLAYS_KEEP_MS;
    if (wall_ms >= due_ms) {
        remove_replay(replay);
        return REPLAYS_LOOK_MS;
    }
    return due_ms - wall_ms;
}

static void expired(struct io_timer *timer)
{
    struct replays *replays = CONTAINER_OF(timer, struct replays, timer);
    uint64_t next_ms = REPLAYS_KEEP_MS;
    struct list *next = NULL;

    for (struct list *link = replays->all.next; link != &replays->all;
         link = next) {
        next = link->next;
        uint64_t wait_ms = look(CONTAINER_OF(link, struct replay, link));
        next_ms = wait_ms < next_ms ? wait_ms : next_ms;
    }
    if (!list_empty(&replays->all) && !replays->shard->stopping) {
        io_timer_start(io_of(replays), timer, next_ms);
    }
}

/* Look within a second. */
static void look_soon(struct replays *replays)
{
    if (!replays->closed) {
        io_timer_start(io_of(replays), &replays->timer, REPLAYS_LOOK_MS);
    }
}

void replays_changed(struct topic *topic)
{
    if (topic->replay != NULL) {
        look_soon(topic->replay->replays);
    }
}

/* --- what became dead letters --------------------------------------------- */

static void walked(struct replay_walk *walk)
{
    struct replay *replay = walk->owner;

    replay->walk = NULL;
    if (walk->err != ERR_OK) {
        replay->stumbled = true;
        look_soon(replay->replays);
        replay_walk_free(walk);
        return;
    }
    replay_walk_free(replay->known);
    replay->known = walk;
    topic_changed(replay->topic);
}

bool replays_next(struct topic *topic, uint64_t sequence, uint64_t *out_next)
{
    struct replay *replay = topic->replay;

    if (replay == NULL) {
        return false;
    }
    const struct replay_walk *known = replay->known;
    if (known != NULL && sequence >= known->from && sequence < known->end) {
        *out_next = replay_walk_next(known, sequence);
        return true;
    }
    if (replay->walk != NULL || replay->stumbled ||
        replay->replays->shard->stopping) {
        return false;
    }
    enum err err = replay_walk_start(replay->replays->shard, topic,
                                     &topic->settings, sequence, &replay->walk);
    if (err == ERR_OK) {
        replay->walk->owner = replay;
        replay->walk->ended = walked;
    } else {
        replay->stumbled = true;
        look_soon(replay->replays);
    }
    return false;
}

/* --- life ----------------------------------------------------------------- */

enum err replays_create(struct shard *shard,
                        void (*finished)(struct topic *topic),
                        struct replays **out)
{
    struct replays *replays = calloc(1, sizeof(*replays));

    if (replays == NULL) {
        return ERR_NOMEM;
    }
    replays->shard = shard;
    replays->finished = finished;
    replays->timer.expired = expired;
    list_init(&replays->all);
    *out = replays;
    return ERR_OK;
}

void replays_destroy(struct replays *replays)
{
    if (replays == NULL) {
        return;
    }
    CHECK(list_empty(&replays->all));
    io_timer_stop(io_of(replays), &replays->timer);
    free(replays);
}

enum err replays_attach(struct replays *replays, struct topic *topic)
{
    const struct settings *settings = &topic->settings;

    if (topic->parent == NULL || settings->kind != SETTINGS_KIND_REPLAY) {
        return ERR_OK;
    }
    struct replay *replay = calloc(1, sizeof(*replay));
    if (replay == NULL) {
        return ERR_NOMEM;
    }
    replay->replays = replays;
    replay->topic = topic;
    replay->before.sent = settings->replay_sent;
    replay->before.given_up = settings->replay_given_up;
    replay->noted = replay->before;
    replay->noted_ms = io_now_ms(io_of(replays));
    topic->replay = replay;
    list_append(&replays->all, &replay->link);
    look_soon(replays);
    return ERR_OK;
}

void replays_detach(struct topic *topic)
{
    struct replay *replay = topic->replay;

    if (replay == NULL) {
        return;
    }
    topic->replay = NULL;
    replay->topic = NULL;
    list_remove(&replay->link);
    replay_walk_abandon(replay->walk);
    replay->walk = NULL;
    replay_walk_free(replay->known);
    replay->known = NULL;
    if (!replay->storing) {
        free(replay);
    }
}

void replays_close(struct replays *replays)
{
    replays->closed = true;
    io_timer_stop(io_of(replays), &replays->timer);
    for (struct list *link = replays->all.next; link != &replays->all;
         link = link->next) {
        note(CONTAINER_OF(link, struct replay, link));
    }
}

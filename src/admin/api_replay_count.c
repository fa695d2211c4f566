/* What a replay would send, counted.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_replay_count.h"

#include "base/check.h"
#include "queue/deliverer.h"

static void go(struct api_replay_count *count);

static void end(struct api_replay_count *count, enum err err)
{
    api_reading_close(&count->reading);
    io_timer_stop(count->there->io, &count->timer);
    replay_walk_abandon(count->walk);
    count->walk = NULL;
    replay_walk_free(count->known);
    count->known = NULL;
    filter_destroy(count->filter);
    count->filter = NULL;
    count->done(count, err);
}

/* --- only what failed ----------------------------------------------------- */

static void walked(struct replay_walk *walk)
{
    struct api_replay_count *count = walk->owner;

    count->walk = NULL;
    replay_walk_free(count->known);
    count->known = walk;
    if (walk->err != ERR_OK) {
        end(count, walk->err);
        return;
    }
    go(count);
}

/* Pass over what did not fail. Returns false when the count has ended, or is
 * called again when that is known. */
static bool pass_others(struct api_replay_count *count)
{
    const struct replay_walk *known = count->known;

    if (known != NULL && count->next >= known->from &&
        count->next < known->end) {
        count->next = replay_walk_next(known, count->next);
        return true;
    }
    enum err err =
        replay_walk_start(count->there, topic_of(count->reading.reader->topic),
                          count->settings, count->next, &count->walk);
    if (err != ERR_OK) {
        end(count, err);
        return false;
    }
    count->walk->owner = count;
    count->walk->ended = walked;
    return false;
}

/* --- reading -------------------------------------------------------------- */

static void take(struct api_replay_count *count, const struct record *record)
{
    if (!deliverer_replays(count->settings, count->filter, &record->message)) {
        return;
    }
    if (count->messages == 0) {
        count->first = record->sequence;
    }
    count->messages++;
    count->bytes += record->size + record->message.blob.size;
    count->last = record->sequence;
}

/* Look at the message at count->next, or go on behind what is no more. Returns
 * false when the count has ended, or waits. */
static bool look(struct api_replay_count *count)
{
    const struct store_bounds *bounds = &count->reading.reader->topic->bounds;
    struct record record;

    enum err err = api_reading_next(&count->reading, count->next, &record);
    if (err == ERR_AGAIN) {
        return false;
    }
    if (err == ERR_RANGE && count->next < bounds->oldest) {
        count->next = bounds->oldest; /* dropped meanwhile */
        return true;
    }
    if (err == ERR_NOT_FOUND) { /* nothing whole is behind it */
        count->next = count->settings->replay_end;
        return true;
    }
    if (err != ERR_OK) {
        end(count, err);
        return false;
    }
    if (record.sequence > count->next) {
        count->next = record.sequence; /* those between are damaged */
        return true;
    }
    take(count, &record);
    count->next++;
    return true;
}

static void go(struct api_replay_count *count)
{
    for (uint32_t step = 0; step < API_REPLAY_COUNT_STEPS_MAX; step++) {
        if (count->settings->replay_failed &&
            count->next < count->settings->replay_end && !pass_others(count)) {
            return;
        }
        if (count->next >= count->settings->replay_end ||
            count->there->stopping ||
            io_now_ms(count->there->io) >= count->due_ms) {
            end(count, ERR_OK);
            return;
        }
        if (!look(count)) {
            return;
        }
    }
    io_timer_start(count->there->io, &count->timer, 0);
}

static void expired(struct io_timer *timer)
{
    go(CONTAINER_OF(timer, struct api_replay_count, timer));
}

static void ready(struct api_reading *reading)
{
    go(CONTAINER_OF(reading, struct api_replay_count, reading));
}

static void gone(struct api_reading *reading)
{
    end(CONTAINER_OF(reading, struct api_replay_count, reading), ERR_NOT_FOUND);
}

/* A read and a walk end by themselves, also while the shard stops. */
static void stopping(struct api_reading *reading)
{
    (void)reading;
}

void api_replay_count_begin(struct api_replay_count *count, struct topic *topic)
{
    const struct settings *settings = count->settings;
    struct filter_problem problem;
    enum err err = ERR_OK;

    count->next = settings->replay_from;
    count->due_ms = io_now_ms(count->there->io) + API_REPLAY_COUNT_MS;
    count->timer.expired = expired;
    count->reading.ready = ready;
    count->reading.gone = gone;
    count->reading.stopping = stopping;
    if (settings->filter != NULL) {
        err = filter_compile(str_from(settings->filter), &count->filter,
                             &problem);
    }
    if (err == ERR_OK) {
        err =
            api_reading_open(&count->reading, count->api, count->there, topic);
    }
    if (err != ERR_OK) {
        end(count, err);
        return;
    }
    go(count);
}

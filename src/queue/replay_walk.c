/* Which messages of a topic became dead letters.
 *
 * The numbers are collected in an array of twice the room, which is sorted and
 * cut to the lowest ones whenever it is full: each walk costs a few sorts.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/replay_walk.h"

#include "base/check.h"
#include "queue/letters.h"
#include "queue/letters_filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 2 * REPLAY_WALK_MAX };

static void go(struct replay_walk *walk);

/* --- numbers -------------------------------------------------------------- */

static int compare(const void *left, const void *right)
{
    const uint64_t *one = left;
    const uint64_t *other = right;

    return *one < *other ? -1 : *one > *other;
}

/* Sort the numbers, have each once, and no more than a walk gives. */
static void compact(struct replay_walk *walk)
{
    uint32_t kept = 0;

    if (walk->count == 0) {
        return;
    }
    qsort(walk->sequences, walk->count, sizeof(walk->sequences[0]), compare);
    for (uint32_t index = 0; index < walk->count; index++) {
        if (kept == 0 || walk->sequences[index] != walk->sequences[kept - 1]) {
            walk->sequences[kept] = walk->sequences[index];
            kept++;
        }
    }
    if (kept > REPLAY_WALK_MAX) {
        kept = REPLAY_WALK_MAX;
        walk->end = walk->sequences[kept - 1] + 1;
    }
    walk->count = kept;
}

static void add(struct replay_walk *walk, uint64_t sequence)
{
    if (sequence < walk->from || sequence >= walk->end) {
        return;
    }
    if (walk->count == ROOM) {
        compact(walk);
        if (sequence >= walk->end) {
            return;
        }
    }
    walk->sequences[walk->count] = sequence;
    walk->count++;
}

uint64_t replay_walk_next(const struct replay_walk *walk, uint64_t sequence)
{
    uint32_t low = 0;
    uint32_t high = walk->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (walk->sequences[middle] < sequence) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < walk->count ? walk->sequences[low] : walk->end;
}

/* --- life ----------------------------------------------------------------- */

void replay_walk_free(struct replay_walk *walk)
{
    if (walk == NULL) {
        return;
    }
    CHECK(walk->reader == NULL);
    free(walk->sequences);
    buf_fini(&walk->memory);
    free(walk);
}

void replay_walk_abandon(struct replay_walk *walk)
{
    if (walk != NULL) {
        walk->ended = NULL;
    }
}

static void returned(struct shard_call *call)
{
    struct replay_walk *walk = CONTAINER_OF(call, struct replay_walk, call);

    compact(walk);
    if (walk->ended != NULL) {
        walk->ended(walk);
    } else {
        replay_walk_free(walk);
    }
}

/* It is over on the letters' shard. */
static void end(struct replay_walk *walk, enum err err)
{
    walk->err = err;
    store_reader_destroy(walk->reader);
    walk->reader = NULL;
    list_remove(&walk->link);
    io_timer_stop(walk->there->io, &walk->timer);
    shard_call_return(&walk->call);
}

/* --- reading -------------------------------------------------------------- */

/* Tell whether a letter is of a message of this topic, not of one that had its
 * name before: unless it was given another, its id begins as those here do. */
static bool is_ours(const struct replay_walk *walk, struct str id)
{
    struct str prefix = {walk->id_prefix, TOPIC_ID_PREFIX_SIZE};
    struct str start = str_cut(id, 0, TOPIC_ID_PREFIX_SIZE);
    bool derived = start.size == prefix.size && str_starts(id, STR("msg_")) &&
                   start.data[start.size - 1] == '-';

    return !derived || str_equal(start, prefix);
}

/* Errors: ERR_NOMEM */
static enum err take_letter(struct replay_walk *walk,
                            const struct record *record)
{
    const struct message_options *options = record->message.options;
    struct letters_end said;

    if (options == NULL || !is_ours(walk, options->id)) {
        return ERR_OK;
    }
    enum err err = letters_filter_read(options->dead, &walk->memory, &said);
    if (err != ERR_OK) {
        return err == ERR_NOMEM ? err : ERR_OK;
    }
    if (walk->subscription[0] == '\0' ||
        str_equal(said.subscription, str_from(walk->subscription))) {
        add(walk, said.sequence);
    }
    return ERR_OK;
}

/* Look at the letter at walk->next, which is live, or go on behind what is no
 * more. Returns false when the walk has ended, or waits. */
static bool look(struct replay_walk *walk)
{
    const struct store_bounds *bounds = &walk->reader->topic->bounds;
    struct record record;

    enum err err = store_reader_next(walk->reader, walk->next, &record);
    if (err == ERR_AGAIN) {
        return false;
    }
    if (err == ERR_RANGE && walk->next < bounds->oldest) {
        walk->next = bounds->oldest; /* dropped meanwhile */
        return true;
    }
    if (err == ERR_OK && record.sequence > walk->next) {
        walk->next = record.sequence; /* those between are damaged */
        return true;
    }
    if (err == ERR_OK) {
        err = take_letter(walk, &record);
        walk->next++;
    }
    if (err != ERR_OK) {
        end(walk, err == ERR_NOT_FOUND ? ERR_OK : err);
        return false;
    }
    return true;
}

static void go(struct replay_walk *walk)
{
    struct letters letters;

    letters_load(&letters, &walk->reader->topic->cursor);
    for (uint32_t step = 0; step < REPLAY_WALK_STEPS_MAX; step++) {
        walk->next = letters_next(&letters, walk->next);
        if (walk->next >= walk->reader->topic->bounds.end) {
            end(walk, ERR_OK);
            return;
        }
        if (walk->there->stopping) {
            end(walk, ERR_CLOSED);
            return;
        }
        if (!look(walk)) {
            return;
        }
    }
    io_timer_start(walk->there->io, &walk->timer, 0);
}

static void expired(struct io_timer *timer)
{
    go(CONTAINER_OF(timer, struct replay_walk, timer));
}

static void ready(struct store_reader *reader)
{
    go(reader->user);
}

static void run(struct shard_call *call, struct shard *there)
{
    struct replay_walk *walk = CONTAINER_OF(call, struct replay_walk, call);
    struct topic *topic = NULL;

    walk->there = there;
    enum err err = shard_topic(there, str_from(walk->letters), false, &topic);
    if (err == ERR_OK) {
        err = store_reader_create(topic->store, &walk->reader);
    }
    if (err != ERR_OK) {
        end(walk, err == ERR_NOT_FOUND ? ERR_OK : err);
        return;
    }
    walk->reader->ready = ready;
    walk->reader->user = walk;
    list_append(&there->replay_walks, &walk->link);
    go(walk);
}

void replay_walk_forget(struct shard *shard, const struct topic *topic)
{
    struct list *next = NULL;

    for (struct list *link = shard->replay_walks.next;
         link != &shard->replay_walks; link = next) {
        struct replay_walk *walk = CONTAINER_OF(link, struct replay_walk, link);
        next = link->next;
        if (walk->reader->topic == topic->store) {
            end(walk, ERR_OK); /* there are no letters any more */
        }
    }
}

enum err replay_walk_start(struct shard *home,
                           const struct topic *topic,
                           const struct settings *settings,
                           uint64_t from,
                           struct replay_walk **out)
{
    struct str name = topic_root(topic)->store->name_str;
    struct replay_walk *walk = calloc(1, sizeof(*walk));

    if (walk == NULL) {
        return ERR_NOMEM;
    }
    walk->sequences = malloc(ROOM * sizeof(walk->sequences[0]));
    walk->from = from;
    walk->end = settings->replay_end;
    walk->call.run = run;
    walk->call.returned = returned;
    walk->timer.expired = expired;
    topic_dead_name(name, walk->letters);
    (void)snprintf(walk->subscription, sizeof(walk->subscription), "%s",
                   settings->replay_of != NULL ? settings->replay_of : "");
    memcpy(walk->id_prefix, topic->id_prefix, TOPIC_ID_PREFIX_SIZE);
    enum err err = walk->sequences == NULL ? ERR_NOMEM : ERR_OK;
    if (err == ERR_OK) {
        err = shard_send(home, shard_owner(home, str_from(walk->letters)),
                         &walk->call);
    }
    if (err != ERR_OK) {
        replay_walk_free(walk);
        return err;
    }
    *out = walk;
    return ERR_OK;
}

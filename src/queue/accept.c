/* What happens to a push before and when it is stored: see accept.h.
 *
 * What can fail: memory and the store, as for any append; the mark in the
 * topic's settings, and then the push with it. When a message fails after it
 * was given to the store, its id is new again, and those that waited for it
 * fail as it did: they cannot be stored in its place, since their own messages
 * are gone from memory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/accept_internal.h"

#include "base/check.h"
#include "sys/clock.h"

#include <stdlib.h>
#include <string.h>

enum {
    FORGET_EACH = 16,          /* of its own topic, before a push claims */
    SWEEP_TOPICS = 256,        /* looked at in one go */
    SWEEP_ENTRIES = 4096,      /* forgotten in one go */
    SWEEP_INTERVAL_MS = 60000, /* while there is something to forget */
    SWEEP_AGAIN_MS = 20,       /* while it is not done */
};

/* Of the process; written once before main(), read by any thread after. */
static struct siphash_key hash_key;

__attribute__((constructor)) static void make_hash_key(void)
{
    clock_random(&hash_key, sizeof(hash_key));
}

struct siphash accept_hash(struct str topic, struct str id)
{
    struct siphash_state state;

    siphash_begin(&state, &hash_key);
    siphash_add(&state, topic);
    siphash_add(&state, STR("\0")); /* no name has it */
    siphash_add(&state, id);
    return siphash_end(&state);
}

void accept_wants(struct accept_wants *out_wants,
                  struct str topic,
                  const struct message *message,
                  bool expects,
                  uint64_t expect_seq)
{
    const struct message_options *options = message->options;

    /* Hashes are written where they are wanted: most pushes want none. */
    out_wants->own = false;
    out_wants->any = expects;
    out_wants->dedup = false;
    out_wants->collapse = false;
    out_wants->expects = expects;
    out_wants->expect_seq = expect_seq;
    if (options == NULL) {
        return;
    }
    if (options->id.size > 0) {
        out_wants->own = true;
        return;
    }
    if (options->dedup_id.size > 0) {
        out_wants->any = true;
        out_wants->dedup = true;
        out_wants->dedup_hash = accept_hash(topic, options->dedup_id);
    }
    if (options->collapse.size > 0) {
        out_wants->any = true;
        out_wants->collapse = true;
        out_wants->collapse_hash = accept_hash(topic, options->collapse);
    }
}

uint32_t accept_window_ms(const struct topic *topic)
{
    uint32_t window_ms = topic->settings.dedup_window_ms;

    return window_ms > 0 ? window_ms : ACCEPT_WINDOW_MS;
}

/* --- life ----------------------------------------------------------------- */

static void end_all(struct io_task *task);
static void sweep_due(struct io_timer *timer);

enum err accept_create(const struct accept_options *options,
                       struct accept **out)
{
    struct accept *accept = calloc(1, sizeof(*accept));
    if (accept == NULL) {
        return ERR_NOMEM;
    }
    accept->options = *options;
    dedup_init(&accept->dedup, options->dedup_max, io_wall_ms(options->io));
    collapse_init(&accept->collapse);
    list_init(&accept->topics);
    list_init(&accept->ended);
    accept->task.run = end_all;
    accept->sweep.expired = sweep_due;
    accept_walk_init(accept);
    *out = accept;
    return ERR_OK;
}

void accept_destroy(struct accept *accept)
{
    if (accept == NULL) {
        return;
    }
    CHECK(list_empty(&accept->topics));
    CHECK(list_empty(&accept->ended));
    io_timer_stop(accept->options.io, &accept->sweep);
    accept_walk_fini(accept);
    dedup_fini(&accept->dedup);
    collapse_fini(&accept->collapse);
    free(accept);
}

const struct accept_stats *accept_stats(struct accept *accept)
{
    accept->stats.dedup_ids = accept->dedup.table.count;
    accept->stats.collapse_ids = accept->collapse.table.count;
    accept->stats.bytes = id_table_bytes(&accept->dedup.table) +
                          id_table_bytes(&accept->collapse.table);
    accept->stats.walks = accept->walk.waiting;
    return &accept->stats;
}

/* --- topics --------------------------------------------------------------- */

struct accept_topic *accept_state(struct accept *accept, struct topic *topic)
{
    struct accept_topic *state = topic->accept;

    if (state != NULL) {
        return state;
    }
    state = calloc(1, sizeof(*state));
    if (state == NULL) {
        return NULL;
    }
    state->accept = accept;
    state->topic = topic;
    /* Where there was a mark it was made when the topic was attached. */
    state->dedup_ready = true;
    state->collapse_ready = true;
    state->delayed_ready = true;
    state->walked_from = UINT64_MAX;
    list_init(&state->under_way);
    dedup_list_init(&state->dedup);
    collapse_list_init(&state->collapse);
    list_append(&accept->topics, &state->link);
    topic->accept = state;
    return state;
}

static void state_release(struct accept_topic *state)
{
    if (state->topic == NULL && state->holds == 0) {
        free(state);
    }
}

enum err accept_attach(struct accept *accept, struct topic *topic)
{
    CHECK(topic->accept == NULL);
    if (!topic->dedup_used && !topic->collapse_used) {
        return ERR_OK;
    }
    struct accept_topic *state = accept_state(accept, topic);
    if (state == NULL) {
        return ERR_NOMEM;
    }
    state->dedup_ready = !topic->dedup_used;
    state->delayed_ready = !topic->dedup_used;
    state->collapse_ready = !topic->collapse_used;
    if (topic->dedup_used) {
        accept_delayed_window(accept, accept_window_ms(topic));
    }
    accept_walk_add(state);
    return ERR_OK;
}

enum err accept_attach_bucket(struct accept *accept, struct topic *topic)
{
    struct accept_topic *state = accept_state(accept, topic);

    if (state == NULL) {
        return ERR_NOMEM;
    }
    state->is_bucket = true;
    state->dedup_ready = false;
    accept_delayed_begin(accept);
    accept_walk_add(state);
    return ERR_OK;
}

void accept_detach(struct topic *topic)
{
    struct accept_topic *state = topic->accept;

    if (state == NULL) {
        return;
    }
    struct accept *accept = state->accept;
    accept_walk_remove(state);
    for (struct list *link = state->under_way.next; link != &state->under_way;
         link = link->next) {
        struct accept_op *op = CONTAINER_OF(link, struct accept_op, link);
        if (op->claimed) {
            op->claimed = false;
            dedup_release(&accept->dedup, op->entry);
        }
    }
    dedup_forget_all(&accept->dedup, &state->dedup);
    collapse_forget_all(&accept->collapse, &state->collapse);
    list_remove(&state->link);
    topic->accept = NULL;
    state->topic = NULL;
    state_release(state);
}

/* --- forgetting ----------------------------------------------------------- */

/* Look at some topics, those first that were looked at least lately. Returns
 * how many entries went. */
static uint32_t sweep(struct accept *accept, uint32_t topic_count)
{
    uint64_t now_ms = io_wall_ms(accept->options.io);
    uint32_t count = 0;

    while (topic_count > 0 && count < SWEEP_ENTRIES &&
           !list_empty(&accept->topics)) {
        struct list *link = list_take_first(&accept->topics);
        struct accept_topic *state =
            CONTAINER_OF(link, struct accept_topic, link);
        count += dedup_forget(&accept->dedup, &state->dedup, now_ms,
                              accept_window_ms(state->topic), SWEEP_ENTRIES);
        list_append(&accept->topics, link);
        topic_count--;
    }
    return count;
}

void accept_sweep_arm(struct accept *accept)
{
    if (!io_timer_running(&accept->sweep) && accept->dedup.table.count > 0) {
        io_timer_start(accept->options.io, &accept->sweep, SWEEP_INTERVAL_MS);
    }
}

static void sweep_due(struct io_timer *timer)
{
    struct accept *accept = CONTAINER_OF(timer, struct accept, sweep);

    if (sweep(accept, SWEEP_TOPICS) > 0) {
        io_timer_start(accept->options.io, &accept->sweep, SWEEP_AGAIN_MS);
        return;
    }
    accept_sweep_arm(accept);
}

/* Enter a new id, making room where windows are over. */
static enum err claim(struct accept_topic *state,
                      const struct siphash *hash,
                      struct accept_op *op)
{
    struct accept *accept = state->accept;
    uint64_t value = (uintptr_t)op;

    (void)dedup_forget(&accept->dedup, &state->dedup,
                       io_wall_ms(accept->options.io),
                       accept_window_ms(state->topic), FORGET_EACH);
    enum err err = dedup_claim(&accept->dedup, hash, value, &op->entry);
    if (err == ERR_BUSY && sweep(accept, SWEEP_TOPICS) > 0) {
        err = dedup_claim(&accept->dedup, hash, value, &op->entry);
    }
    op->claimed = err == ERR_OK;
    accept_sweep_arm(accept);
    return err;
}

/* --- ends ----------------------------------------------------------------- */

static void end(struct accept_op *op, enum err err)
{
    if (op->done != NULL) {
        op->store.done = op->done; /* it was ours */
        op->done = NULL;
    }
    op->store.done(&op->store, err);
}

static void end_all(struct io_task *task)
{
    struct accept *accept = CONTAINER_OF(task, struct accept, task);

    struct list now;

    accept->posted = false;
    list_init(&now);
    while (!list_empty(&accept->ended)) { /* what they bring is for later */
        list_append(&now, list_take_first(&accept->ended));
    }
    while (!list_empty(&now)) {
        struct list *link = list_take_first(&now);
        struct accept_op *op = CONTAINER_OF(link, struct accept_op, link);
        end(op, op->err);
    }
}

/* End a push that the store does not get, in the next turn. */
static void end_later(struct accept *accept, struct accept_op *op, enum err err)
{
    op->unstored = true;
    op->err = err;
    list_append(&accept->ended, &op->link);
    if (!accept->posted) {
        accept->posted = true;
        io_post(accept->options.io, &accept->task);
    }
}

static void refuse(struct accept *accept,
                   struct accept_op *op,
                   enum err err,
                   const char *why)
{
    op->detail = why;
    end_later(accept, op, err);
}

/* The outcome of the first is that of those that waited for it. */
static void
end_waiting(struct accept *accept, struct accept_op *first, enum err err)
{
    while (!list_empty(&first->waiting)) {
        struct list *link = list_take_first(&first->waiting);
        struct accept_op *op = CONTAINER_OF(link, struct accept_op, link);
        if (err == ERR_OK) {
            accept->stats.duplicates++;
            op->duplicate = true;
            op->store.sequence = first->store.sequence;
        }
        end_later(accept, op, err);
    }
}

/* Note what became of a push that the store had. */
static void
settle(struct accept_topic *state, struct accept_op *op, enum err err)
{
    struct accept *accept = state->accept;
    uint64_t sequence = op->store.sequence;

    if (op->claimed && err == ERR_OK) {
        dedup_settle(&accept->dedup, &state->dedup, op->entry, sequence,
                     op->at_ms);
    } else if (op->claimed) {
        dedup_release(&accept->dedup, op->entry);
    }
    op->claimed = false;
    if (op->collapse && err == ERR_OK && state->topic != NULL) {
        collapse_note(&accept->collapse, &state->collapse, &op->collapse_hash,
                      sequence);
    }
}

static void stored(struct store_op *store_op, enum err err)
{
    struct accept_op *op = CONTAINER_OF(store_op, struct accept_op, store);
    struct accept_topic *state = op->topic;

    list_remove(&op->link);
    op->topic = NULL;
    settle(state, op, err);
    end_waiting(state->accept, op, err);
    state->holds--;
    state_release(state);
    end(op, err);
}

/* --- marks ---------------------------------------------------------------- */

/* A change of a topic's settings under way. */
struct mark {
    struct store_op op;
    struct accept_topic *state; /* held */
    bool dedup;                 /* what it says anew */
    bool collapse;
};

static void marked(struct store_op *op, enum err err)
{
    struct mark *mark = CONTAINER_OF(op, struct mark, op);
    struct accept_topic *state = mark->state;

    if (err != ERR_OK && state->topic != NULL) {
        /* And with it all that was given after it. */
        state->topic->dedup_used = state->topic->dedup_used && !mark->dedup;
        state->topic->collapse_used =
            state->topic->collapse_used && !mark->collapse;
    }
    state->holds--;
    state_release(state);
    free(mark);
}

/* Change the settings in the store, and tell whether they were taken. */
static bool
configure(struct topic *topic, struct mark *mark, const struct buf *text)
{
    store_topic_configure(topic->store, buf_str(text),
                          &topic->settings.retention, &mark->op);
    return str_equal(topic->store->settings, buf_str(text));
}

/* Have the topic's settings say what its log has, before it has.
 * Errors: ERR_BUSY, ERR_NOMEM */
static enum err mark_used(struct accept_topic *state, bool dedup, bool collapse)
{
    struct topic *topic = state->topic;
    struct buf text = {0};

    dedup = dedup && !topic->dedup_used;
    collapse = collapse && !topic->collapse_used;
    if (!dedup && !collapse) {
        return ERR_OK;
    }
    struct mark *mark = calloc(1, sizeof(*mark));
    if (mark == NULL) {
        return ERR_NOMEM;
    }
    mark->op.done = marked;
    mark->state = state;
    topic->dedup_used = topic->dedup_used || dedup;
    topic->collapse_used = topic->collapse_used || collapse;
    enum err err = topic_write(topic, &topic->settings, &text);
    if (err != ERR_OK) {
        free(mark);
    } else {
        state->holds++;
        mark->dedup = dedup;
        mark->collapse = collapse;
        if (!configure(topic, mark, &text)) {
            mark->dedup = false; /* nothing was built on it */
            mark->collapse = false;
            err = ERR_BUSY;
        }
    }
    if (err != ERR_OK) {
        topic->dedup_used = topic->dedup_used && !dedup;
        topic->collapse_used = topic->collapse_used && !collapse;
    }
    buf_fini(&text);
    return err;
}

/* --- the way in ----------------------------------------------------------- */

/* The one place from which a push goes to its topic, or to whoever keeps it
 * until it is due. */
static enum err
give(struct topic *topic, const struct accept_push *push, struct accept_op *op)
{
    if (push->give != NULL) {
        return push->give(push, op);
    }
    return push->message != NULL
               ? store_append(topic->store, push->message, &op->store)
               : store_append_encoded(topic->store, push->record,
                                      push->record_size, &op->store);
}

static uint64_t pushed_at_ms(const struct accept_push *push)
{
    struct str record = {push->record, push->record_size};
    size_t size = 0;
    uint64_t sequence = 0;
    uint64_t at_ms = 0;

    if (push->message != NULL) {
        return push->message->pushed_at_ms;
    }
    enum err err = record_peek(record, &size, &sequence, &at_ms);
    CHECK(err == ERR_OK); /* it was encoded by this process */
    return at_ms;
}

/* Give a push to the store, and follow it.
 * Errors: the store's, those of mark_used() */
static enum err follow(struct accept_topic *state,
                       const struct accept_push *push,
                       struct accept_op *op)
{
    const struct accept_wants *wants = push->wants;
    /* What waits is newer than nothing before it is in its topic. */
    bool collapse = wants->collapse && push->give == NULL;
    enum err err = mark_used(state, wants->dedup, collapse);

    if (err != ERR_OK) {
        return err;
    }
    if (wants->dedup) {
        accept_delayed_window(state->accept, accept_window_ms(state->topic));
    }
    op->topic = state;
    op->at_ms = pushed_at_ms(push);
    op->collapse = collapse;
    if (collapse) {
        op->collapse_hash = wants->collapse_hash;
    }
    op->done = op->store.done;
    op->store.done = stored;
    err = give(state->topic, push, op);
    if (err != ERR_OK) {
        op->store.done = op->done;
        op->done = NULL;
        return err;
    }
    state->holds++;
    list_append(&state->under_way, &op->link);
    return ERR_OK;
}

/* Look whether the id is new. Returns false when the push has, or will have,
 * the outcome of another. */
static bool is_new(struct accept_topic *state,
                   const struct siphash *hash,
                   struct accept_op *op)
{
    struct accept *accept = state->accept;
    uint64_t value = 0;

    switch (dedup_look(&accept->dedup, hash, io_wall_ms(accept->options.io),
                       accept_window_ms(state->topic), &value)) {
    case DEDUP_PENDING:
        list_append(&((struct accept_op *)(uintptr_t)value)->waiting,
                    &op->link);
        return false;
    case DEDUP_KNOWN:
        accept->stats.duplicates++;
        op->duplicate = true;
        op->store.sequence = value;
        end_later(accept, op, ERR_OK);
        return false;
    default:
        return true;
    }
}

/* Tell whether all ids that a topic had are known. */
static bool ids_known(struct accept_topic *state)
{
    if (!state->delayed_ready) {
        state->delayed_ready = accept_delayed_known(state->accept);
    }
    return state->dedup_ready && state->delayed_ready;
}

/* Check a push that asks for something, and store it.
 * Errors: those of follow() */
static enum err admit(struct accept_topic *state,
                      const struct accept_push *push,
                      struct accept_op *op)
{
    const struct accept_wants *wants = push->wants;
    struct accept *accept = state->accept;
    uint64_t next = store_next_sequence(state->topic->store);

    if (wants->dedup && !ids_known(state)) {
        refuse(accept, op, ERR_BUSY,
               "which ids the topic had lately is being read; try again");
        return ERR_OK;
    }
    if (wants->dedup && !is_new(state, &wants->dedup_hash, op)) {
        return ERR_OK;
    }
    if (wants->expects && wants->expect_seq != next) {
        op->next = next;
        end_later(accept, op, ERR_CONDITION);
        return ERR_OK;
    }
    enum err err = wants->dedup ? claim(state, &wants->dedup_hash, op) : ERR_OK;
    if (err == ERR_BUSY) {
        refuse(accept, op, ERR_BUSY,
               "as many ids are remembered as may be; try again later");
        return ERR_OK;
    }
    if (err != ERR_OK) {
        return err;
    }
    err = follow(state, push, op);
    if (err != ERR_OK && op->claimed) {
        op->claimed = false;
        dedup_release(&accept->dedup, op->entry);
    }
    return err;
}

/* Give a message that has no dedup id of its own that of its content, or of the
 * event that it is.
 * Errors: those of admit() */
static enum err admit_content(struct accept_topic *state,
                              const struct accept_push *push,
                              const struct message *message,
                              struct accept_op *op)
{
    char id[ACCEPT_CONTENT_ID_SIZE];
    struct message_options options = {.retries = MESSAGE_RETRIES_UNSET};
    struct accept_wants wants = *push->wants;

    enum err err = state->topic->settings.dedup == SETTINGS_DEDUP_CLOUDEVENTS
                       ? accept_event_id(message, id)
                       : accept_content_id(message, id);
    if (err == ERR_UNSUPPORTED) {
        return admit(state, push, op);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (message->options != NULL) {
        options = *message->options;
    }
    options.dedup_id = (struct str){id, sizeof(id)};
    struct message named = *message;
    named.options = &options;
    wants.dedup = true;
    wants.dedup_hash =
        accept_hash(state->topic->store->name_str, options.dedup_id);
    const struct accept_push anew = {
        .wants = &wants, .message = &named, .give = push->give};
    return admit(state, &anew, op);
}

static enum err read_content(struct accept_topic *state,
                             const struct accept_push *push,
                             struct accept_op *op)
{
    struct record record;

    if (push->message != NULL) {
        return admit_content(state, push, push->message, op);
    }
    enum err err =
        record_decode((struct str){push->record, push->record_size}, &record);
    CHECK(err == ERR_OK); /* it was encoded by this process */
    return admit_content(state, push, &record.message, op);
}

enum err accept_append(struct accept *accept,
                       struct topic *topic,
                       const struct accept_push *push,
                       struct accept_op *op)
{
    const struct accept_wants *wants = push->wants;

    op->duplicate = false;
    op->unstored = false;
    op->detail = NULL;
    op->done = NULL;
    bool by_content = topic->settings.dedup != SETTINGS_DEDUP_ID &&
                      !wants->dedup && !wants->own;
    if (!wants->any && !by_content) {
        return give(topic, push, op);
    }
    struct accept_topic *state = accept_state(accept, topic);
    if (state == NULL) {
        return ERR_NOMEM;
    }
    memset(&op->link, 0, sizeof(op->link));
    list_init(&op->waiting);
    op->claimed = false;
    return by_content ? read_content(state, push, op) : admit(state, push, op);
}

/* --- the way out ---------------------------------------------------------- */

uint64_t accept_undelivered_from(const struct topic *topic)
{
    uint64_t lowest = topic->store->cursor.next;

    for (const struct list *link = topic->subscriptions.next;
         link != &topic->subscriptions; link = link->next) {
        const struct topic *one = CONTAINER_OF(link, struct topic, link);
        uint64_t next = one->store->cursor.next;
        /* To a replay nothing is superseded. */
        lowest = topic_is_subscription(one) && next < lowest ? next : lowest;
    }
    return lowest;
}

enum accept_collapse
accept_collapse(const struct topic *topic, struct str key, uint64_t sequence)
{
    const struct topic *owner = topic->parent != NULL ? topic->parent : topic;
    const struct accept_topic *state = owner->accept;

    if (state == NULL) {
        return ACCEPT_SEND;
    }
    struct siphash hash = accept_hash(owner->store->name_str, key);
    if (collapse_superseded(&state->accept->collapse, &hash, sequence)) {
        return ACCEPT_SUPERSEDED;
    }
    return state->collapse_ready ? ACCEPT_SEND : ACCEPT_WAIT;
}

void accept_delivered(struct topic *topic)
{
    const struct topic *owner = topic->parent != NULL ? topic->parent : topic;
    struct accept_topic *state = owner->accept;

    if (state != NULL && state->collapse.count > 0) {
        collapse_forget(&state->accept->collapse, &state->collapse,
                        accept_undelivered_from(owner));
    }
}

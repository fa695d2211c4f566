/* How far topics are delivered.
 *
 * Progress is noted in memory and in the cursor page, which outlives the
 * process, ranges and retries in the range page; the journal gets it along with
 * other changes, or by a timer, for the loss of power. A move or purge is a
 * change like an append: durable, or rolled back. While one is pending the page
 * is left alone, since what it says would be of an epoch that may never be.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_acked.h"
#include "store/store_local.h"
#include "store/store_local_internal.h"
#include "store/store_views.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { TRIM_BODY_SIZE = 8 };

static_assert((int)CURSOR_RANGES_MAX == (int)TOPIC_RANGES_MAX &&
                  (int)CURSOR_RETRIES_MAX == (int)TOPIC_RETRIES_MAX,
              "what is noted fits what is written");

/* --- the cursor in memory ------------------------------------------------- */

/* The row, or memory for one of `size` bytes when there are to be any in it;
 * NULL: there is none. */
static void *row_for(void *row, uint32_t count, size_t size)
{
    return row == NULL && count > 0 ? malloc(size) : row;
}

void store_cursor_set(struct local_topic *topic,
                      const struct store_cursor *cursor)
{
    CHECK(cursor->range_count <= CURSOR_RANGES_MAX);
    CHECK(cursor->retry_count <= CURSOR_RETRIES_MAX);
    struct store_cursor *own = &topic->base.cursor;
    topic->ranges = row_for(topic->ranges, cursor->range_count,
                            CURSOR_RANGES_MAX * sizeof(*topic->ranges));
    topic->retries = row_for(topic->retries, cursor->retry_count,
                             CURSOR_RETRIES_MAX * sizeof(*topic->retries));
    own->next = cursor->next;
    own->attempts = cursor->attempts;
    own->range_count = topic->ranges != NULL ? cursor->range_count : 0;
    own->retry_count = topic->retries != NULL ? cursor->retry_count : 0;
    if (own->range_count > 0) {
        memmove(topic->ranges, cursor->ranges,
                own->range_count * sizeof(*topic->ranges));
    }
    if (own->retry_count > 0) {
        memmove(topic->retries, cursor->retries,
                own->retry_count * sizeof(*topic->retries));
    }
    own->ranges = topic->ranges;
    own->retries = topic->retries;
}

/* A cursor as it is written. */
static void cursor_copy(const struct store_cursor *cursor,
                        uint64_t epoch,
                        struct topic_cursor *out)
{
    out->epoch = epoch;
    out->next = cursor->next;
    out->attempts = cursor->attempts;
    out->range_count = cursor->range_count;
    for (uint32_t i = 0; i < cursor->range_count; i++) {
        out->ranges[i].first = cursor->ranges[i].first;
        out->ranges[i].end = cursor->ranges[i].end;
    }
    out->retry_count = cursor->retry_count;
    for (uint32_t i = 0; i < cursor->retry_count; i++) {
        out->retries[i].sequence = cursor->retries[i].sequence;
        out->retries[i].attempts = cursor->retries[i].attempts;
    }
}

void store_cursor_load(struct local_topic *topic,
                       const struct topic_cursor *cursor)
{
    struct store_range ranges[CURSOR_RANGES_MAX];
    struct store_retry retries[CURSOR_RETRIES_MAX];
    struct store_cursor set = {
        .next = cursor->next,
        .attempts = cursor->attempts,
        .range_count = cursor->range_count,
        .retry_count = cursor->retry_count,
        .ranges = ranges,
        .retries = retries,
    };
    for (uint32_t i = 0; i < cursor->range_count; i++) {
        ranges[i].first = cursor->ranges[i].first;
        ranges[i].end = cursor->ranges[i].end;
    }
    for (uint32_t i = 0; i < cursor->retry_count; i++) {
        retries[i].sequence = cursor->retries[i].sequence;
        retries[i].attempts = cursor->retries[i].attempts;
    }
    topic->epoch = cursor->epoch;
    store_cursor_set(topic, &set);
}

void store_cursor_merge(struct local_topic *topic,
                        const struct topic_cursor *other)
{
    struct topic_cursor cursor;
    cursor_copy(&topic->base.cursor, topic->epoch, &cursor);
    if (topic_cursor_merge(&cursor, other)) {
        store_cursor_load(topic, &cursor);
        store_topics_mark(topic);
    }
}

void store_cursor_clamp(struct local_topic *topic)
{
    struct topic_cursor cursor;
    uint64_t oldest = topic->base.bounds.oldest;
    if (topic->base.cursor.next >= oldest) {
        return;
    }
    cursor_copy(&topic->base.cursor, topic->epoch, &cursor);
    cursor.next = oldest;
    cursor.attempts = 0;
    topic_cursor_prune(&cursor);
    store_cursor_load(topic, &cursor);
}

/* Note ranges and retries. What the slot said before stays true when there are
 * none any more: nothing is to be done then. */
static void note_ranges(struct local_topic *topic)
{
    struct range_page *page = topic->store->range_page;
    const struct store_cursor *own = &topic->base.cursor;
    struct topic_cursor cursor;
    if (own->range_count + own->retry_count == 0) {
        return;
    }
    if (topic->range_slot == RANGE_PAGE_NONE &&
        range_page_take(page, &topic->range_slot) != ERR_OK) {
        topic->range_slot = RANGE_PAGE_NONE; /* the journal alone, then */
        return;
    }
    cursor_copy(own, topic->epoch, &cursor);
    range_page_store(page, topic->range_slot, topic->base.id, &cursor);
}

void store_cursor_page(struct local_topic *topic)
{
    struct local_store *store = topic->store;
    if (topic->moves.first != NULL || store->page == NULL || topic->gone) {
        return;
    }
    note_ranges(topic);
    if (topic->page_slot == CURSOR_PAGE_NONE &&
        cursor_page_take(store->page, &topic->page_slot) != ERR_OK) {
        topic->page_slot = CURSOR_PAGE_NONE; /* the journal alone, then */
        return;
    }
    struct cursor_page_entry entry = {
        .topic_id = topic->base.id,
        .epoch = topic->epoch,
        .next = topic->base.cursor.next,
        .attempts = topic->base.cursor.attempts,
    };
    cursor_page_store(store->page, topic->page_slot, &entry);
}

void store_cursor_spare(struct local_topic *topic)
{
    struct store_cursor *cursor = &topic->base.cursor;
    if (cursor->range_count == 0 && topic->ranges != NULL) {
        free(topic->ranges);
        topic->ranges = NULL;
        cursor->ranges = NULL;
    }
    if (cursor->retry_count == 0 && topic->retries != NULL) {
        free(topic->retries);
        topic->retries = NULL;
        cursor->retries = NULL;
    }
    /* While a move is pending, the slot is of the state before, which may be
     * what a crash leaves. */
    if (topic->range_slot != RANGE_PAGE_NONE && topic->moves.first == NULL &&
        cursor->range_count + cursor->retry_count == 0) {
        range_page_drop(topic->store->range_page, topic->range_slot);
        topic->range_slot = RANGE_PAGE_NONE;
    }
}

void store_cursor_drop(struct local_topic *topic)
{
    struct local_store *store = topic->store;
    if (store->page != NULL) {
        cursor_page_drop(store->page, topic->page_slot);
    }
    if (store->range_page != NULL) {
        range_page_drop(store->range_page, topic->range_slot);
    }
    topic->page_slot = CURSOR_PAGE_NONE;
    topic->range_slot = RANGE_PAGE_NONE;
}

uint64_t store_cursor_settled(const struct local_topic *topic)
{
    uint64_t next = topic->base.cursor.next;
    const struct undo *undo = topic->moves.first;
    return undo != NULL && undo->cursor.next < next ? undo->cursor.next : next;
}

void store_cursor_snapshot(const struct local_topic *topic,
                           struct topic_cursor *out)
{
    const struct undo *undo = topic->moves.first;
    if (undo != NULL) {
        cursor_copy(&undo->cursor, undo->epoch, out);
    } else {
        cursor_copy(&topic->base.cursor, topic->epoch, out);
    }
}

/* --- the journal ---------------------------------------------------------- */

void store_cursor_arm(struct local_store *store)
{
    if (list_empty(&store->cursors_dirty) || store->broken) {
        io_timer_stop(store->io, &store->cursor_timer);
    } else if (!io_timer_running(&store->cursor_timer)) {
        io_timer_start(store->io, &store->cursor_timer,
                       store->options->cursor_interval_ms);
    }
}

void store_cursor_expired(struct io_timer *timer)
{
    struct local_store *store =
        CONTAINER_OF(timer, struct local_store, cursor_timer);
    store->cursors_due = true; /* the turn hook does it */
}

void store_cursor_mark(struct local_topic *topic)
{
    struct local_store *store = topic->store;
    if (topic->deleted || list_linked(&topic->cursor_link)) {
        return;
    }
    list_append(&store->cursors_dirty, &topic->cursor_link);
    if (!io_timer_running(&store->cursor_timer)) {
        io_timer_start(store->io, &store->cursor_timer,
                       store->options->cursor_interval_ms);
    }
}

/* Put the oldest message kept. */
static enum err put_trim(struct local_topic *topic)
{
    void *body = NULL;
    enum err err = store_append_try(topic, JOURNAL_TRIM, TRIM_BODY_SIZE, &body);
    if (err != ERR_OK) {
        return err;
    }
    put_u64(body, topic->base.bounds.oldest);
    journal_put_end(topic->store->journal);
    store_append_note(topic, CHANGE_TRIM, NULL)->before =
        topic->base.bounds.oldest;
    topic->trim_dirty = false;
    return ERR_OK;
}

/* Put a topic's cursor, and its oldest message when that moved. `op` is done
 * with it; NULL: nobody waits. */
static enum err put_progress(struct local_topic *topic, struct store_op *op)
{
    if (topic->trim_dirty) {
        enum err err = put_trim(topic);
        if (err != ERR_OK) {
            return err;
        }
    }
    struct topic_cursor cursor;
    void *body = NULL;
    cursor_copy(&topic->base.cursor, topic->epoch, &cursor);
    size_t size = topic_cursor_size(&cursor);
    enum err err = op != NULL
                       ? store_append_put(topic, JOURNAL_CURSOR, size, &body)
                       : store_append_try(topic, JOURNAL_CURSOR, size, &body);
    if (err != ERR_OK) {
        return err;
    }
    topic_cursor_write(&cursor, body);
    journal_put_end(topic->store->journal);
    (void)store_append_note(topic, CHANGE_CURSOR, op);
    store_cursor_spare(topic);
    return ERR_OK;
}

void store_cursor_ride(struct local_store *store, uint32_t count_max)
{
    for (uint32_t i = 0; i < count_max; i++) {
        struct list *node = list_take_first(&store->cursors_dirty);
        if (node == NULL) {
            return;
        }
        struct local_topic *topic =
            CONTAINER_OF(node, struct local_topic, cursor_link);
        if (put_progress(topic, NULL) != ERR_OK) {
            list_prepend(&store->cursors_dirty, node);
            return;
        }
    }
}

/* --- operations ----------------------------------------------------------- */

/* Ranges and retries are as they must be: else `dlv` would not be believed. */
static void check_order(const struct store_cursor *cursor)
{
    uint64_t above = cursor->next;
    for (uint32_t i = 0; i < cursor->range_count; i++) {
        CHECK(cursor->ranges[i].first >= above);
        CHECK(cursor->ranges[i].end > cursor->ranges[i].first);
        above = cursor->ranges[i].end;
    }
    above = cursor->next;
    for (uint32_t i = 0; i < cursor->retry_count; i++) {
        CHECK(cursor->retries[i].sequence > above);
        above = cursor->retries[i].sequence;
    }
}

void store_cursor_note(struct store_topic *base,
                       const struct store_cursor *cursor)
{
    struct local_topic *topic = store_topic_of(base);
    if (topic->deleted || cursor->next < base->cursor.next) {
        return; /* a late word from before a move */
    }
    CHECK(cursor->next <= base->bounds.end);
    check_order(cursor);
    store_cursor_set(topic, cursor);
    store_cursor_page(topic);
    store_cursor_mark(topic);
}

void store_cursor_keep(struct store_topic *base,
                       const struct store_cursor *cursor,
                       struct store_op *op)
{
    struct local_topic *topic = store_topic_of(base);
    struct local_store *store = topic->store;
    op->topic = base;
    enum err err = store_append_admit(store);
    if (err == ERR_OK && topic->deleted) {
        err = ERR_CLOSED;
    }
    if (err == ERR_OK &&
        (cursor->next < base->cursor.next || cursor->next > base->bounds.end)) {
        err = ERR_RANGE;
    }
    if (err != ERR_OK) {
        store_append_finish(store, op, err);
        return;
    }
    store_cursor_note(base, cursor);
    err = put_progress(topic, op);
    if (err != ERR_OK) {
        store_append_finish(store, op, err);
        return;
    }
    list_remove(&topic->cursor_link);
    store_cursor_arm(store);
}

/* Note a move or purge whose entry was put; what it changes comes next. */
static struct change *note_move(struct local_topic *topic,
                                enum change_kind kind,
                                struct undo *undo,
                                struct store_op *op)
{
    journal_put_end(topic->store->journal);
    struct change *change = store_append_note(topic, kind, op);
    change->undo = undo;
    store_append_undo_push(&topic->moves, undo);
    return change;
}

void store_cursor_move_to(struct store_topic *base,
                          uint64_t next,
                          struct store_op *op)
{
    struct local_topic *topic = store_topic_of(base);
    struct local_store *store = topic->store;
    op->topic = base;
    enum err err = store_append_admit(store);
    if (err == ERR_OK &&
        (next < base->bounds.oldest || next > base->bounds.end)) {
        err = ERR_RANGE;
    }
    if (err != ERR_OK) {
        store_append_finish(store, op, err);
        return;
    }
    struct topic_cursor cursor;
    void *body = NULL;
    struct undo *undo = store_append_undo(topic);
    cursor_copy(&(struct store_cursor){.next = next}, topic->epoch + 1,
                &cursor);
    if (undo == NULL ||
        store_append_put(topic, JOURNAL_CURSOR, topic_cursor_size(&cursor),
                         &body) != ERR_OK) {
        store_append_undo_free(undo);
        store_append_finish(store, op, ERR_BUSY);
        return;
    }
    topic_cursor_write(&cursor, body);
    (void)note_move(topic, CHANGE_MOVE, undo, op);
    base->moves++;
    store_cursor_load(topic, &cursor);
}

void store_cursor_purge(struct store_topic *base,
                        uint64_t before,
                        struct store_op *op)
{
    struct local_topic *topic = store_topic_of(base);
    struct local_store *store = topic->store;
    op->topic = base;
    enum err err = store_append_admit(store);
    if (err != ERR_OK) {
        store_append_finish(store, op, err);
        return;
    }
    void *body = NULL;
    struct undo *undo = store_append_undo(topic);
    if (undo == NULL || store_views_undo(topic, before, undo) != ERR_OK ||
        store_append_put(topic, JOURNAL_TRIM, TRIM_BODY_SIZE, &body) !=
            ERR_OK) {
        store_views_drop(undo);
        store_append_undo_free(undo);
        store_append_finish(store, op, ERR_BUSY);
        return;
    }
    if (before > base->bounds.end) {
        before = base->bounds.end;
    }
    if (before < base->bounds.oldest) {
        before = base->bounds.oldest;
    }
    put_u64(body, before);
    note_move(topic, CHANGE_PURGE, undo, op)->before = before;
    base->bounds.oldest = before;
    store_views_purge(undo);
    store_views_clamp(topic);
}

void store_cursor_moved(struct change *change)
{
    struct local_topic *topic = change->topic;
    store_views_purged(change->undo);
    store_append_undo_settle(&topic->moves, change->undo);
    store_cursor_page(topic);
    store_acked_moved(topic);
    if (change->kind == CHANGE_PURGE) {
        store_space_trim(topic);
    }
}

/* Called for the newest first, so it is the last of those pending. */
void store_cursor_unmoved(struct change *change)
{
    struct local_topic *topic = change->topic;
    struct undo *undo = change->undo;
    store_append_undo_take(&topic->moves, undo);
    store_cursor_set(topic, &undo->cursor);
    topic->epoch = undo->epoch;
    topic->base.moves += change->kind == CHANGE_MOVE ? 1 : 0;
    if (change->kind == CHANGE_PURGE) {
        /* Retention may have gone past it meanwhile. */
        uint64_t oldest = topic_log_stats(topic->log)->oldest;
        topic->base.bounds.oldest =
            undo->oldest > oldest ? undo->oldest : oldest;
        store_views_mirror(topic);
        store_views_unpurged(undo);
    }
    store_append_undo_free(undo);
    store_acked_moved(topic);
    store_cursor_clamp(topic);
    store_cursor_page(topic);
    store_cursor_mark(topic);
}

/* Which messages above a cursor are done, beyond what its ranges say.
 *
 * A topic or view has a file for them (log/acked_file.h) from the first one
 * that is noted until a checkpoint finds that its cursor has passed all of
 * them. It is of one epoch of the cursor: a move begins another one. While a
 * move is pending nothing is noted, since it would be of an epoch that may
 * never be; what was before stays, since that may be what a crash leaves. A
 * purge that is pending changes no epoch, and what is done stays so.
 *
 * What fails costs nothing but that a message may be delivered again; who notes
 * is told, and gives it once more.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_acked.h"

#include "base/diag.h"
#include "log/acked_file.h"
#include "store/store_local.h"
#include "sys/file.h"

#include <assert.h>
#include <string.h>

static_assert((int)STORE_ACKED_SPAN <= (int)ACKED_FILE_SPAN, "as promised");

/* --- files ---------------------------------------------------------------- */

/* Write the path of a topic's or view's file. */
static enum err path_of(const struct local_topic *topic,
                        char path[DIR_PATH_MAX])
{
    const struct local_topic *parent = store_parent_of(topic);
    const struct local_topic *named = parent != NULL ? parent : topic;
    return acked_file_path(path, topic->store->data->directory,
                           named->base.name_str, topic->base.id);
}

void store_acked_close(struct local_topic *topic)
{
    if (topic->acked != NULL) {
        acked_file_close(topic->acked);
        topic->acked = NULL;
        topic->store->acked_count--;
    }
}

/* Remove a file that nobody needs. */
static void remove_file(const char *path)
{
    enum err err = file_remove(path);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        DIAG_WARN("remove_failed", "path=%s err=%s", path, err_name(err));
    }
}

/* Let go of the file and remove it. One that stays is removed by a later start,
 * or written over. */
static void discard(struct local_topic *topic)
{
    char path[DIR_PATH_MAX];
    if (topic->acked == NULL) {
        return;
    }
    store_acked_close(topic);
    if (path_of(topic, path) == ERR_OK) { /* as it was when it was made */
        remove_file(path);
    }
}

/* Tell whether a move is pending: the present epoch may never be. */
static bool is_moving(const struct local_topic *topic)
{
    const struct undo *first = topic->moves.first;
    return first != NULL && first->epoch != topic->epoch;
}

/* The file of the present epoch; NULL: there is none. */
static struct acked_file *file_of(const struct local_topic *topic)
{
    return topic->acked != NULL &&
                   acked_file_epoch(topic->acked) == topic->epoch
               ? topic->acked
               : NULL;
}

/* Make the file of the present epoch. */
static enum err file_make(struct local_topic *topic)
{
    char path[DIR_PATH_MAX];
    if (topic->store->acked_count == STORE_ACKED_MAX) {
        return ERR_BUSY;
    }
    enum err err = path_of(topic, path);
    if (err == ERR_OK) {
        err = acked_file_create(path, topic->base.id, topic->epoch,
                                &topic->acked);
    }
    if (err == ERR_OK) {
        topic->store->acked_count++;
    }
    return err;
}

void store_acked_moved(struct local_topic *topic)
{
    if (!is_moving(topic) && file_of(topic) == NULL) {
        discard(topic);
    }
}

void store_acked_spare(struct local_topic *topic)
{
    const struct acked_file *file = file_of(topic);
    if (file != NULL && topic->moves.first == NULL &&
        acked_file_end(file) <= topic->base.cursor.next) {
        discard(topic);
    }
}

void store_acked_gone(struct local_topic *topic)
{
    discard(topic);
}

uint64_t store_acked_end(const struct local_topic *topic)
{
    const struct acked_file *file = file_of(topic);
    return file != NULL ? acked_file_end(file) : 0;
}

/* --- recovery ------------------------------------------------------------- */

/* Take up the file of a topic or view. */
static enum err take_up(struct local_topic *topic, const char *path)
{
    struct local_store *store = topic->store;
    enum err err =
        acked_file_open(path, topic->base.id, topic->epoch, &topic->acked);
    if (err == ERR_NOMEM) {
        return ERR_NOMEM;
    }
    if (err != ERR_OK) {
        DIAG_WARN("acked_unusable", "path=%s err=%s", path, err_name(err));
        return ERR_OK; /* what it has is delivered again */
    }
    store->acked_count++;
    struct acked_file_damage damage = acked_file_damage(topic->acked);
    if (damage.pages > 0) {
        DIAG_WARN("acked_damaged", "path=%s pages=%u offset=%llu", path,
                  damage.pages, (unsigned long long)damage.offset);
    }
    if (store->io != NULL) {
        store_acked_spare(topic);
    }
    return ERR_OK;
}

static enum err visit_file(void *context, const char *name, bool is_directory)
{
    struct local_store *store = context;
    struct str owner;
    uint64_t id = 0;
    char path[DIR_PATH_MAX];
    char expected[DIR_PATH_MAX];
    if (is_directory || !acked_file_parse(name, &owner, &id) ||
        !store_topic_name_valid(owner) ||
        store_data_shard(store->shard_count, owner) != store->shard) {
        return ERR_OK;
    }
    if (acked_file_path(path, store->data->directory, owner, id) != ERR_OK) {
        return ERR_OK;
    }
    struct local_topic *topic = store_topics_find_id(store, id);
    if (topic != NULL && path_of(topic, expected) == ERR_OK &&
        strcmp(path, expected) == 0) {
        return take_up(topic, path);
    }
    /* Where something of the journal was lost, it may be of a topic that is
     * found again. */
    if (store->io != NULL && store->recovery.damaged == 0 &&
        store->recovery.stranger_count == 0) {
        remove_file(path);
    }
    return ERR_OK;
}

enum err store_acked_recover(struct local_store *store)
{
    char path[DIR_PATH_MAX];
    enum err err = acked_file_folder(path, store->data->directory);
    if (err == ERR_OK) {
        err = dir_each(path, visit_file, store);
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* --- operations ----------------------------------------------------------- */

enum store_acked
store_acked_note(struct store_topic *base, uint64_t first, uint64_t end)
{
    struct local_topic *topic = store_topic_of(base);
    uint64_t floor = base->cursor.next;
    first = first > floor ? first : floor;
    end = end < base->bounds.end ? end : base->bounds.end;
    if (first >= end || topic->deleted || topic->gone) {
        return STORE_ACKED_NOTED;
    }
    if (is_moving(topic)) {
        return STORE_ACKED_MOVING;
    }
    if (file_of(topic) == NULL) {
        discard(topic);
        if (file_make(topic) != ERR_OK) {
            return STORE_ACKED_NO_ROOM;
        }
    }
    enum err err = acked_file_add(topic->acked, floor, first, end);
    store_topics_mark(topic); /* a checkpoint gives the file back */
    return err == ERR_OK || err == ERR_RANGE ? STORE_ACKED_NOTED
                                             : STORE_ACKED_NO_ROOM;
}

/* Leave out of a run what the cursor's ranges say. False: nothing is left, and
 * `*from` is where to go on. */
static bool leave_out(const struct store_cursor *cursor,
                      struct store_range *run,
                      uint64_t *from)
{
    for (uint32_t i = 0; i < cursor->range_count; i++) {
        const struct store_range *range = &cursor->ranges[i];
        if (range->first >= run->end) {
            break;
        }
        if (range->first > run->first) {
            run->end = range->first;
            break;
        }
        run->first = range->end > run->first ? range->end : run->first;
        if (run->first >= run->end) {
            *from = run->first;
            return false;
        }
    }
    return true;
}

bool store_acked_find(struct store_topic *base,
                      uint64_t from,
                      struct store_range *out)
{
    struct local_topic *topic = store_topic_of(base);
    const struct acked_file *file = file_of(topic);
    struct topic_range found;
    from = from > base->cursor.next ? from : base->cursor.next;
    while (file != NULL && acked_file_next(file, from, &found)) {
        struct store_range run = {found.first, found.end};
        if (run.end > base->bounds.end) {
            run.end = base->bounds.end;
        }
        if (run.first >= run.end) {
            return false;
        }
        if (leave_out(&base->cursor, &run, &from)) {
            *out = run;
            return true;
        }
    }
    return false;
}

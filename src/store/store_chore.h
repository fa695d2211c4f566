/* Chores: folders and files of what is deleted, which wait until the helper
 * thread removes them, one at a time (store_flush.c). What a process leaves is
 * found by the next one: folders are called trash-*, files are not known.
 *
 * Threads: the loop's of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_STORE_STORE_CHORE_H
#define OPQ_STORE_STORE_CHORE_H

#include "base/check.h"
#include "base/err.h"
#include "base/list.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct io_timer;
struct local_store;

struct chore {
    struct list link;
    char *from;            /* owned: a folder; NULL: `files` */
    char *to;              /* owned: its new name; NULL: it is removed */
    char *files;           /* owned: as topic_log_take_dropped() gives them */
    struct str name;       /* of the topic, inside `from`; empty: any */
    uint64_t topic_id;     /* not 0: of `from`, only the bodies */
    uint64_t blobs_before; /* below this go, if the topic is still there */
};

/* Make the chore that moves `folder` (copied), that of a topic or view called
 * `name`, out of the way, to trash-<number>, and removes it then.
 *
 * Gives:  `*out`, for store_chore_take() or store_chore_free().
 * Errors: ERR_NOMEM; ERR_TOO_LARGE, the path of the data */
MUST_CHECK enum err store_chore_move_away(const struct local_store *store,
                                          const char *folder,
                                          struct str name,
                                          uint64_t number,
                                          struct chore **out);

/* Let a chore wait for its turn; it is taken over. */
void store_chore_take(struct local_store *store, struct chore *chore);

/* Let a folder, or files, wait to be removed. One of the two is NULL; the other
 * is taken over, also when there is no memory. Errors: ERR_NOMEM */
MUST_CHECK enum err
store_chore_remove(struct local_store *store, char *from, char *files);

/* Free a chore that was not taken; accepts NULL. */
void store_chore_free(struct chore *chore);

/* Tell whether a folder waits to be moved away. */
bool store_chore_moves(const struct local_store *store);

/* Forget chores that were not begun: a restart finds them again. */
void store_chore_drop_all(struct local_store *store);

/* The pause after a failed chore is over: `expired` of store->chore_timer. */
void store_chore_expired(struct io_timer *timer);

#endif

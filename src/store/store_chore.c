/* Chores of the helper thread: see store_chore.h. store_flush.c runs them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store/store_chore.h"

#include "store/store_local_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void store_chore_free(struct chore *chore)
{
    if (chore == NULL) {
        return;
    }
    free(chore->from);
    free(chore->to);
    free(chore->files);
    free(chore);
}

bool store_chore_moves(const struct local_store *store)
{
    const struct list *chores = &store->chores;
    for (struct list *node = chores->next; node != chores; node = node->next) {
        if (CONTAINER_OF(node, struct chore, link)->to != NULL) {
            return true;
        }
    }
    return false;
}

void store_chore_take(struct local_store *store, struct chore *chore)
{
    list_append(&store->chores, &chore->link);
}

enum err store_chore_remove(struct local_store *store, char *from, char *files)
{
    struct chore *chore = calloc(1, sizeof(*chore));
    if (chore == NULL) {
        free(from);
        free(files);
        return ERR_NOMEM;
    }
    chore->from = from;
    chore->files = files;
    store_chore_take(store, chore);
    return ERR_OK;
}

enum err store_chore_move_away(const struct local_store *store,
                               const char *folder,
                               struct str name,
                               uint64_t number,
                               struct chore **out)
{
    struct chore *chore = calloc(1, sizeof(*chore));
    char path[DIR_PATH_MAX];
    char trash[sizeof("trash-") + 16];
    if (chore == NULL) {
        return ERR_NOMEM;
    }
    (void)snprintf(trash, sizeof(trash), "trash-%016llx",
                   (unsigned long long)number);
    enum err err = dir_join(path, store->data->directory, trash);
    if (err == ERR_OK) {
        chore->from = strdup(folder);
        chore->to = strdup(path);
        err = chore->from != NULL && chore->to != NULL ? ERR_OK : ERR_NOMEM;
    }
    if (err != ERR_OK) {
        store_chore_free(chore);
        return err;
    }
    /* The last part of `from`, which outlives the topic. */
    chore->name = (struct str){
        chore->from + strlen(chore->from) - name.size,
        name.size,
    };
    *out = chore;
    return ERR_OK;
}

void store_chore_drop_all(struct local_store *store)
{
    for (struct list *node = list_take_first(&store->chores); node != NULL;
         node = list_take_first(&store->chores)) {
        store_chore_free(CONTAINER_OF(node, struct chore, link));
    }
}

void store_chore_expired(struct io_timer *timer)
{
    struct local_store *store =
        CONTAINER_OF(timer, struct local_store, chore_timer);
    store->chores_paused = false;
}

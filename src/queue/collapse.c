/* The newest message of each collapse key: see collapse.h.
 *
 * An entry's `note` is the one before it in its topic's list, so that it can be
 * taken out of the middle when its key has a newer message.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/collapse.h"

void collapse_init(struct collapse *collapse)
{
    id_table_init(&collapse->table);
}

void collapse_fini(struct collapse *collapse)
{
    id_table_fini(&collapse->table);
}

void collapse_list_init(struct collapse_list *list)
{
    *list = (struct collapse_list){ID_TABLE_NONE, ID_TABLE_NONE, 0};
}

static struct id_entry *entry_at(struct collapse *collapse, uint32_t index)
{
    return id_table_entry(&collapse->table, index);
}

static void
list_put(struct collapse *collapse, struct collapse_list *list, uint32_t index)
{
    struct id_entry *entry = entry_at(collapse, index);

    entry->younger = ID_TABLE_NONE;
    entry->note = list->newest;
    if (list->newest == ID_TABLE_NONE) {
        list->oldest = index;
    } else {
        entry_at(collapse, list->newest)->younger = index;
    }
    list->newest = index;
    list->count++;
}

static void
list_take(struct collapse *collapse, struct collapse_list *list, uint32_t index)
{
    const struct id_entry *entry = entry_at(collapse, index);

    if (entry->note == ID_TABLE_NONE) {
        list->oldest = entry->younger;
    } else {
        entry_at(collapse, entry->note)->younger = entry->younger;
    }
    if (entry->younger == ID_TABLE_NONE) {
        list->newest = entry->note;
    } else {
        entry_at(collapse, entry->younger)->note = entry->note;
    }
    list->count--;
}

static void drop_oldest(struct collapse *collapse, struct collapse_list *list)
{
    uint32_t index = list->oldest;

    list_take(collapse, list, index);
    id_table_remove(&collapse->table, index);
}

/* Let there be room for one more key. */
static bool make_room(struct collapse *collapse, struct collapse_list *list)
{
    if (list->count >= COLLAPSE_KEYS_MAX ||
        (collapse->table.count >= COLLAPSE_TOTAL_MAX && list->count > 0)) {
        drop_oldest(collapse, list);
    }
    return collapse->table.count < COLLAPSE_TOTAL_MAX;
}

void collapse_note(struct collapse *collapse,
                   struct collapse_list *list,
                   const struct siphash *hash,
                   uint64_t sequence)
{
    uint32_t index = id_table_find(&collapse->table, hash, ID_TABLE_NONE);

    if (index == ID_TABLE_NONE) {
        if (!make_room(collapse, list) ||
            id_table_insert(&collapse->table, hash, &index) != ERR_OK) {
            return;
        }
    } else if (id_table_value(entry_at(collapse, index)) < sequence) {
        list_take(collapse, list, index);
    } else {
        return;
    }
    id_table_set_value(entry_at(collapse, index), sequence);
    list_put(collapse, list, index);
}

bool collapse_superseded(const struct collapse *collapse,
                         const struct siphash *hash,
                         uint64_t sequence)
{
    uint32_t index = id_table_find(&collapse->table, hash, ID_TABLE_NONE);

    return index != ID_TABLE_NONE &&
           id_table_value(id_table_entry(&collapse->table, index)) > sequence;
}

void collapse_forget(struct collapse *collapse,
                     struct collapse_list *list,
                     uint64_t sequence)
{
    while (list->oldest != ID_TABLE_NONE &&
           id_table_value(entry_at(collapse, list->oldest)) < sequence) {
        drop_oldest(collapse, list);
    }
}

void collapse_forget_all(struct collapse *collapse, struct collapse_list *list)
{
    while (list->oldest != ID_TABLE_NONE) {
        drop_oldest(collapse, list);
    }
}

/* Which messages were pushed lately: see dedup.h.
 *
 * An entry's `note` is when its message was pushed, in ticks of 64 ms since
 * `base_ms`, which is before anything that can be in a window: 32 bits are then
 * enough for more than eight years of one process.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/dedup.h"

#include "base/check.h"

#define TICK_MS UINT64_C(64)
#define TICK_PENDING UINT32_MAX
#define TICK_LAST (UINT32_MAX - 1)

void dedup_init(struct dedup *dedup, uint32_t count_max, uint64_t now_ms)
{
    id_table_init(&dedup->table);
    dedup->count_max = count_max;
    /* The longest window there can be is UINT32_MAX ms. */
    dedup->base_ms = now_ms > UINT32_MAX ? now_ms - UINT32_MAX : 0;
}

void dedup_fini(struct dedup *dedup)
{
    id_table_fini(&dedup->table);
}

void dedup_list_init(struct dedup_list *list)
{
    *list = (struct dedup_list){ID_TABLE_NONE, ID_TABLE_NONE, 0};
}

static uint32_t tick_of(const struct dedup *dedup, uint64_t at_ms)
{
    uint64_t since = at_ms > dedup->base_ms ? at_ms - dedup->base_ms : 0;
    uint64_t tick = since / TICK_MS;

    return tick < TICK_LAST ? (uint32_t)tick : TICK_LAST;
}

/* Tell whether the window of what was pushed at `tick` is over, to be sure: a
 * tick says no more than that it was within 64 ms. */
static bool is_over(uint32_t tick, uint32_t now, uint32_t window_ms)
{
    return now > tick && (uint64_t)(now - tick - 1) * TICK_MS >= window_ms;
}

enum dedup_state dedup_look(const struct dedup *dedup,
                            const struct siphash *hash,
                            uint64_t now_ms,
                            uint32_t window_ms,
                            uint64_t *out_value)
{
    uint32_t now = tick_of(dedup, now_ms);
    uint32_t index = ID_TABLE_NONE;

    for (;;) {
        index = id_table_find(&dedup->table, hash, index);
        if (index == ID_TABLE_NONE) {
            return DEDUP_NEW;
        }
        const struct id_entry *entry = id_table_entry(&dedup->table, index);
        /* One whose window is over may wait behind others to be forgotten,
         * while its id is in use again. */
        if (entry->note == TICK_PENDING ||
            !is_over(entry->note, now, window_ms)) {
            *out_value = id_table_value(entry);
            return entry->note == TICK_PENDING ? DEDUP_PENDING : DEDUP_KNOWN;
        }
    }
}

enum err dedup_claim(struct dedup *dedup,
                     const struct siphash *hash,
                     uint64_t value,
                     uint32_t *out_index)
{
    if (dedup->table.count >= dedup->count_max) {
        return ERR_BUSY;
    }
    enum err err = id_table_insert(&dedup->table, hash, out_index);
    if (err == ERR_OK) {
        struct id_entry *entry = id_table_entry(&dedup->table, *out_index);
        id_table_set_value(entry, value);
        entry->note = TICK_PENDING;
    }
    return err;
}

static void append(struct dedup *dedup,
                   struct dedup_list *list,
                   uint32_t index,
                   uint64_t value,
                   uint64_t at_ms)
{
    struct id_entry *entry = id_table_entry(&dedup->table, index);

    id_table_set_value(entry, value);
    entry->note = tick_of(dedup, at_ms);
    if (list->newest == ID_TABLE_NONE) {
        list->oldest = index;
    } else {
        id_table_entry(&dedup->table, list->newest)->younger = index;
    }
    list->newest = index;
    list->count++;
}

void dedup_settle(struct dedup *dedup,
                  struct dedup_list *list,
                  uint32_t index,
                  uint64_t value,
                  uint64_t at_ms)
{
    CHECK(id_table_entry(&dedup->table, index)->note == TICK_PENDING);
    append(dedup, list, index, value, at_ms);
}

void dedup_release(struct dedup *dedup, uint32_t index)
{
    CHECK(id_table_entry(&dedup->table, index)->note == TICK_PENDING);
    id_table_remove(&dedup->table, index);
}

enum err dedup_add(struct dedup *dedup,
                   struct dedup_list *list,
                   const struct siphash *hash,
                   uint64_t value,
                   uint64_t at_ms)
{
    uint32_t index = ID_TABLE_NONE;
    enum err err = id_table_insert(&dedup->table, hash, &index);

    if (err == ERR_OK) {
        append(dedup, list, index, value, at_ms);
    }
    return err;
}

/* Take the oldest out. */
static void drop_oldest(struct dedup *dedup, struct dedup_list *list)
{
    uint32_t index = list->oldest;

    list->oldest = id_table_entry(&dedup->table, index)->younger;
    if (list->oldest == ID_TABLE_NONE) {
        list->newest = ID_TABLE_NONE;
    }
    list->count--;
    id_table_remove(&dedup->table, index);
}

uint32_t dedup_forget(struct dedup *dedup,
                      struct dedup_list *list,
                      uint64_t now_ms,
                      uint32_t window_ms,
                      uint32_t count_max)
{
    uint32_t now = tick_of(dedup, now_ms);
    uint32_t count = 0;

    while (list->oldest != ID_TABLE_NONE && count < count_max) {
        struct id_entry *entry = id_table_entry(&dedup->table, list->oldest);
        if (entry->note > now) {
            entry->note = now; /* the clock went back: see dedup.h */
        }
        if (!is_over(entry->note, now, window_ms)) {
            break;
        }
        drop_oldest(dedup, list);
        count++;
    }
    return count;
}

void dedup_forget_all(struct dedup *dedup, struct dedup_list *list)
{
    while (list->oldest != ID_TABLE_NONE) {
        drop_oldest(dedup, list);
    }
}

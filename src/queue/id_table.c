/* A table of numbers by 128-bit hashes: see id_table.h.
 *
 * With n buckets, and `half` the largest power of two that is not above n, the
 * buckets up to n - half are split already: their entries are told apart by one
 * more bit of the hash. Each insertion past n entries splits one more bucket.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/id_table.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_SHIFT = 10,
    CHUNK_COUNT = 1 << CHUNK_SHIFT, /* entries, and likewise buckets */
    ROOM_MIN = 8,
};

void id_table_init(struct id_table *table)
{
    memset(table, 0, sizeof(*table));
    table->unused = ID_TABLE_NONE;
}

void id_table_fini(struct id_table *table)
{
    for (uint32_t index = 0; index < table->chunk_count; index++) {
        free(table->chunks[index]);
    }
    for (uint32_t index = 0; index < table->bucket_chunks; index++) {
        free(table->buckets[index]);
    }
    free(table->chunks);
    free(table->buckets);
    id_table_init(table);
}

struct id_entry *id_table_entry(const struct id_table *table, uint32_t index)
{
    CHECK(index < table->fresh);
    return &table->chunks[index >> CHUNK_SHIFT][index & (CHUNK_COUNT - 1)];
}

static uint32_t *bucket_at(const struct id_table *table, uint32_t index)
{
    return &table->buckets[index >> CHUNK_SHIFT][index & (CHUNK_COUNT - 1)];
}

/* The largest power of two that is not above a number. */
static uint32_t power_below(uint32_t number)
{
    return UINT32_C(1) << (31 - (unsigned)__builtin_clz(number));
}

/* The bucket of a hash, whose first word decides. */
static uint32_t bucket_of(const struct id_table *table, uint32_t word)
{
    uint32_t half = power_below(table->bucket_count);
    uint32_t index = word & (2 * half - 1);

    return index < table->bucket_count ? index : word & (half - 1);
}

uint64_t id_table_bytes(const struct id_table *table)
{
    return (uint64_t)table->chunk_count * CHUNK_COUNT *
               sizeof(struct id_entry) +
           (uint64_t)table->bucket_chunks * CHUNK_COUNT * sizeof(uint32_t) +
           (uint64_t)(table->chunk_room + table->bucket_room) * sizeof(void *);
}

/* --- growing and shrinking ------------------------------------------------ */

/* Let an array of pointers have room for one more than `count`. */
static enum err reserve(void *array, uint32_t count, uint32_t *room)
{
    void *old = NULL;

    if (count < *room) {
        return ERR_OK;
    }
    uint32_t more = *room == 0 ? ROOM_MIN : 2 * *room;
    memcpy(&old, array, sizeof(old));
    void *grown = realloc(old, more * sizeof(void *));
    if (grown == NULL) {
        return ERR_NOMEM;
    }
    memcpy(array, &grown, sizeof(grown));
    *room = more;
    return ERR_OK;
}

static enum err add_entries(struct id_table *table)
{
    enum err err =
        reserve(&table->chunks, table->chunk_count, &table->chunk_room);
    if (err != ERR_OK) {
        return err;
    }
    struct id_entry *chunk = malloc(CHUNK_COUNT * sizeof(*chunk));
    if (chunk == NULL) {
        return ERR_NOMEM;
    }
    table->chunks[table->chunk_count] = chunk;
    table->chunk_count++;
    return ERR_OK;
}

static enum err add_buckets(struct id_table *table)
{
    enum err err =
        reserve(&table->buckets, table->bucket_chunks, &table->bucket_room);
    if (err != ERR_OK) {
        return err;
    }
    uint32_t *chunk = malloc(CHUNK_COUNT * sizeof(*chunk));
    if (chunk == NULL) {
        return ERR_NOMEM;
    }
    memset(chunk, 0xff, CHUNK_COUNT * sizeof(*chunk)); /* ID_TABLE_NONE */
    table->buckets[table->bucket_chunks] = chunk;
    table->bucket_chunks++;
    if (table->bucket_count == 0) {
        table->bucket_count = CHUNK_COUNT;
    }
    return ERR_OK;
}

/* Add a bucket, and give it what is now its own. */
static void split(struct id_table *table)
{
    uint32_t half = power_below(table->bucket_count);
    uint32_t added = table->bucket_count;
    uint32_t *from = bucket_at(table, added - half);
    uint32_t *to = bucket_at(table, added);
    uint32_t index = *from;

    *from = ID_TABLE_NONE;
    *to = ID_TABLE_NONE;
    table->bucket_count++;
    while (index != ID_TABLE_NONE) {
        struct id_entry *entry = id_table_entry(table, index);
        uint32_t next = entry->next;
        uint32_t *head = (entry->hash[0] & (2 * half - 1)) == added ? to : from;
        entry->next = *head;
        *head = index;
        index = next;
    }
}

/* Grow by one bucket where the entries are more than they. */
static void grow(struct id_table *table)
{
    if (table->count <= table->bucket_count ||
        table->bucket_count == UINT32_C(1) << 31) {
        return;
    }
    if (table->bucket_count == table->bucket_chunks * CHUNK_COUNT &&
        add_buckets(table) != ERR_OK) {
        return; /* longer rows until there is memory */
    }
    split(table);
}

/* Nothing is in it: keep one chunk of each, as at the beginning. */
static void shrink(struct id_table *table)
{
    while (table->chunk_count > 1) {
        table->chunk_count--;
        free(table->chunks[table->chunk_count]);
    }
    while (table->bucket_chunks > 1) {
        table->bucket_chunks--;
        free(table->buckets[table->bucket_chunks]);
    }
    table->bucket_count = CHUNK_COUNT;
    table->fresh = 0;
    table->unused = ID_TABLE_NONE;
}

/* --- entries -------------------------------------------------------------- */

static void hash_words(const struct siphash *hash, uint32_t words[4])
{
    words[0] = (uint32_t)hash->low;
    words[1] = (uint32_t)(hash->low >> 32);
    words[2] = (uint32_t)hash->high;
    words[3] = (uint32_t)(hash->high >> 32);
}

uint32_t id_table_find(const struct id_table *table,
                       const struct siphash *hash,
                       uint32_t after)
{
    uint32_t words[4];
    uint32_t index = ID_TABLE_NONE;

    if (table->count == 0) {
        return ID_TABLE_NONE;
    }
    hash_words(hash, words);
    index = after != ID_TABLE_NONE
                ? id_table_entry(table, after)->next
                : *bucket_at(table, bucket_of(table, words[0]));
    while (index != ID_TABLE_NONE) {
        const struct id_entry *entry = id_table_entry(table, index);
        if (memcmp(entry->hash, words, sizeof(words)) == 0) {
            return index;
        }
        index = entry->next;
    }
    return ID_TABLE_NONE;
}

/* Take an entry that is not in use. */
static enum err take_entry(struct id_table *table, uint32_t *out_index)
{
    if (table->unused != ID_TABLE_NONE) {
        *out_index = table->unused;
        table->unused = id_table_entry(table, table->unused)->next;
        return ERR_OK;
    }
    if (table->fresh == table->chunk_count * CHUNK_COUNT) {
        enum err err = add_entries(table);
        if (err != ERR_OK) {
            return err;
        }
    }
    *out_index = table->fresh;
    table->fresh++;
    return ERR_OK;
}

enum err id_table_insert(struct id_table *table,
                         const struct siphash *hash,
                         uint32_t *out_index)
{
    uint32_t index = ID_TABLE_NONE;

    if (table->count == ID_TABLE_NONE - CHUNK_COUNT) {
        return ERR_NOMEM;
    }
    enum err err = table->bucket_chunks == 0 ? add_buckets(table) : ERR_OK;
    if (err == ERR_OK) {
        err = take_entry(table, &index);
    }
    if (err != ERR_OK) {
        return err;
    }
    struct id_entry *entry = id_table_entry(table, index);
    hash_words(hash, entry->hash);
    id_table_set_value(entry, 0);
    entry->younger = ID_TABLE_NONE;
    entry->note = 0;
    uint32_t *head = bucket_at(table, bucket_of(table, entry->hash[0]));
    entry->next = *head;
    *head = index;
    table->count++;
    grow(table);
    *out_index = index;
    return ERR_OK;
}

void id_table_remove(struct id_table *table, uint32_t index)
{
    struct id_entry *entry = id_table_entry(table, index);
    uint32_t *link = bucket_at(table, bucket_of(table, entry->hash[0]));

    while (*link != index) {
        CHECK(*link != ID_TABLE_NONE);
        link = &id_table_entry(table, *link)->next;
    }
    *link = entry->next;
    entry->next = table->unused;
    table->unused = index;
    table->count--;
    if (table->count == 0) {
        shrink(table);
    }
}

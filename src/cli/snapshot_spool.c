/* Records from journals, kept.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/snapshot_spool.h"

#include "sys/file.h"

#include <stdlib.h>

enum err snapshot_spool_put(struct snapshot_spool *spool,
                            uint64_t topic_id,
                            uint64_t sequence,
                            struct str bytes)
{
    if (spool->count == spool->capacity) {
        size_t capacity = spool->capacity * 2 + 1024;
        struct snapshot_spool_place *places =
            realloc(spool->places, capacity * sizeof(*places));
        if (places == NULL) {
            return ERR_NOMEM;
        }
        spool->places = places;
        spool->capacity = capacity;
    }
    if (spool->file == NULL) {
        spool->file = tmpfile();
    }
    if (spool->file == NULL ||
        fwrite(bytes.data, 1, bytes.size, spool->file) != bytes.size) {
        return ERR_IO;
    }
    spool->places[spool->count] = (struct snapshot_spool_place){
        .topic_id = topic_id,
        .sequence = sequence,
        .offset = spool->size,
        .size = (uint32_t)bytes.size,
    };
    spool->count++;
    spool->size += bytes.size;
    return ERR_OK;
}

/* The one that came last goes first of those of one number. */
static int compare_places(const void *left, const void *right)
{
    const struct snapshot_spool_place *a = left;
    const struct snapshot_spool_place *b = right;

    if (a->topic_id != b->topic_id) {
        return a->topic_id < b->topic_id ? -1 : 1;
    }
    if (a->sequence != b->sequence) {
        return a->sequence < b->sequence ? -1 : 1;
    }
    return a->offset > b->offset ? -1 : a->offset < b->offset ? 1 : 0;
}

enum err snapshot_spool_sort(struct snapshot_spool *spool)
{
    size_t kept = 0;

    if (spool->count == 0) {
        return ERR_OK;
    }
    qsort(spool->places, spool->count, sizeof(spool->places[0]),
          compare_places);
    for (size_t index = 1; index < spool->count; index++) {
        if (spool->places[index].topic_id != spool->places[kept].topic_id ||
            spool->places[index].sequence != spool->places[kept].sequence) {
            kept++;
            spool->places[kept] = spool->places[index];
        }
    }
    spool->count = kept + 1;
    return fflush(spool->file) == 0 ? ERR_OK : ERR_IO;
}

bool snapshot_spool_has_gap(const struct snapshot_spool *spool)
{
    for (size_t index = 1; index < spool->count; index++) {
        const struct snapshot_spool_place *place = &spool->places[index];
        const struct snapshot_spool_place *last = place - 1;
        if (place->topic_id == last->topic_id &&
            place->sequence != last->sequence + 1) {
            return true;
        }
    }
    return false;
}

size_t snapshot_spool_find(const struct snapshot_spool *spool,
                           uint64_t topic_id,
                           uint64_t sequence)
{
    size_t low = 0;
    size_t high = spool->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct snapshot_spool_place *place = &spool->places[middle];
        if (place->topic_id < topic_id ||
            (place->topic_id == topic_id && place->sequence < sequence)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

enum err snapshot_spool_read(struct snapshot_spool *spool,
                             size_t place,
                             struct str *out_bytes)
{
    const struct snapshot_spool_place *at = &spool->places[place];
    size_t got = 0;

    buf_clear(&spool->record);
    if (buf_reserve(&spool->record, at->size) != ERR_OK) {
        return ERR_NOMEM;
    }
    enum err err = file_read_at(fileno(spool->file), spool->record.data,
                                at->size, at->offset, &got);
    if (err == ERR_OK && got < at->size) {
        err = ERR_IO;
    }
    *out_bytes = (struct str){spool->record.data, at->size};
    return err;
}

void snapshot_spool_fini(struct snapshot_spool *spool)
{
    if (spool->file != NULL) {
        (void)fclose(spool->file);
    }
    free(spool->places);
    buf_fini(&spool->record);
    *spool = (struct snapshot_spool){0};
}

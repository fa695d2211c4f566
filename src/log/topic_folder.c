/* Which segments a topic's folder has.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/topic_folder.h"

#include "log/blob.h"
#include "log/segment.h"
#include "log/topic_conf.h"
#include "sys/dir.h"

#include <stdlib.h>
#include <string.h>

enum { CAPACITY_FIRST = 16 };

/* Numbers as they come. */
struct numbers {
    uint64_t *items; /* owned */
    size_t count;
    size_t capacity;
};

struct listing {
    struct numbers messages;
    struct numbers indexes;
    bool more; /* folders that are known */
};

static enum err add(struct numbers *numbers, uint64_t number)
{
    if (numbers->count == numbers->capacity) {
        size_t capacity = numbers->capacity * 2;
        capacity = capacity != 0 ? capacity : CAPACITY_FIRST;
        uint64_t *items =
            realloc(numbers->items, capacity * sizeof(*numbers->items));
        if (items == NULL) {
            return ERR_NOMEM;
        }
        numbers->items = items;
        numbers->capacity = capacity;
    }
    numbers->items[numbers->count++] = number;
    return ERR_OK;
}

static enum err visit(void *context, const char *name, bool is_directory)
{
    struct listing *listing = context;
    uint64_t first = 0;
    if (strcmp(name, TOPIC_CONF_VIEWS) == 0 || strcmp(name, BLOB_FOLDER) == 0) {
        listing->more = true; /* whatever it is, a link for one */
    }
    if (is_directory) {
        return ERR_OK;
    }
    if (segment_name_parse(name, false, &first)) {
        return add(&listing->messages, first);
    }
    if (segment_name_parse(name, true, &first)) {
        return add(&listing->indexes, first);
    }
    return ERR_OK;
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void sort(struct numbers *numbers)
{
    if (numbers->count > 0) {
        qsort(numbers->items, numbers->count, sizeof(uint64_t), compare);
    }
}

enum err topic_folder_list(const char *directory,
                           struct topic_folder *out_folder)
{
    struct listing listing = {{0}, {0}, false};
    enum err err = dir_each(directory, visit, &listing);
    if (err != ERR_OK) {
        free(listing.messages.items);
        free(listing.indexes.items);
        return err;
    }
    sort(&listing.messages);
    sort(&listing.indexes);
    *out_folder = (struct topic_folder){
        .firsts = listing.messages.items,
        .count = listing.messages.count,
        .indexes = listing.indexes.items,
        .index_count = listing.indexes.count,
        .plain = !listing.more,
    };
    return ERR_OK;
}

void topic_folder_fini(struct topic_folder *folder)
{
    free(folder->firsts);
    free(folder->indexes);
    *folder = (struct topic_folder){0};
}

bool topic_folder_has_index(const struct topic_folder *folder, uint64_t first)
{
    return folder->index_count > 0 &&
           bsearch(&first, folder->indexes, folder->index_count,
                   sizeof(uint64_t), compare) != NULL;
}

/* The newest message of each collapse key: the table of a shard, with a list
 * for each topic.
 *
 * Only what is not delivered matters, so the owner says how far all who deliver
 * have come, and what is before is forgotten. A topic has COLLAPSE_KEYS_MAX
 * keys at most, a shard COLLAPSE_TOTAL_MAX; beyond them the oldest of the topic
 * is forgotten, which only means that an older message of that key is sent as
 * well.
 *
 * Memory: 40 bytes an entry (id_table.h). Pure: no I/O.
 *
 * Threads: none; the shard's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_COLLAPSE_H
#define OPQ_QUEUE_COLLAPSE_H

#include "queue/id_table.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    COLLAPSE_KEYS_MAX = 65536,    /* of a topic: 2.5 MiB */
    COLLAPSE_TOTAL_MAX = 1000000, /* of a shard: 40 MB */
};

struct collapse {
    struct id_table table;
};

/* What a topic has in it, in the order in which it was noted. */
struct collapse_list {
    uint32_t oldest;
    uint32_t newest;
    uint32_t count;
};

/* Make an empty table. */
void collapse_init(struct collapse *collapse);

/* Free it. */
void collapse_fini(struct collapse *collapse);

/* Make an empty list. */
void collapse_list_init(struct collapse_list *list);

/* Note a message of a key; an older one than is known changes nothing. The hash
 * is of the topic and the key. Without memory the key is as if forgotten. */
void collapse_note(struct collapse *collapse,
                   struct collapse_list *list,
                   const struct siphash *hash,
                   uint64_t sequence);

/* Tell whether a newer message of the key than `sequence` is known. */
bool collapse_superseded(const struct collapse *collapse,
                         const struct siphash *hash,
                         uint64_t sequence);

/* Forget the keys whose newest message is before `sequence`, those noted last
 * as the last: when one of them is not, those behind it wait. */
void collapse_forget(struct collapse *collapse,
                     struct collapse_list *list,
                     uint64_t sequence);

/* Forget all of a list. */
void collapse_forget_all(struct collapse *collapse, struct collapse_list *list);

#endif

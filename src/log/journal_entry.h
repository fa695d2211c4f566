/* One entry of the journal, as bytes: doc/log-format.md, section 6.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_JOURNAL_ENTRY_H
#define OPQ_LOG_JOURNAL_ENTRY_H

#include "base/str.h"
#include "log/journal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    JOURNAL_ENTRY_ALIGN = 8,
    JOURNAL_FLAG_FIRST = 1,        /* first of a batch */
    JOURNAL_ABORT_BODY_SIZE = 16,  /* u64 generation, u64 offset */
    JOURNAL_ABORT_ENTRY_SIZE = 48, /* with its head */
};

/* The head of an entry, read back. */
struct journal_entry {
    uint64_t generation;
    uint64_t topic_id;
    uint32_t size; /* head and padding included */
    uint16_t type;
    uint16_t flags;
};

/* Where a generation ended: what an ABORT entry says. */
struct journal_abort {
    uint64_t generation;
    uint64_t offset; /* entries from here on do not count */
};

/* Bytes of an entry with a body of that size. */
size_t journal_entry_size(size_t body_size);

/* Write the head of an entry of `size` bytes, all but what sealing adds. */
void journal_entry_begin(void *entry,
                         size_t size,
                         enum journal_type type,
                         uint64_t topic_id);

/* Tell whether a record in an entry is as large as the entry says; of other
 * types, nothing is known here. */
bool journal_entry_fits(const void *entry);

/* Bytes of an entry that was begun, head and padding included. */
size_t journal_entry_size_of(const void *entry);

/* Say where the entry lies and sum it: it is not changed any more. */
void journal_entry_seal(void *entry,
                        uint64_t generation,
                        uint64_t offset,
                        bool first);

/* Write a whole, sealed ABORT entry of JOURNAL_ABORT_ENTRY_SIZE bytes. */
void journal_entry_abort(void *entry,
                         const struct journal_abort *abort,
                         struct journal_place place,
                         bool first);

/* Read the fields of a head; false when they cannot be those of an entry of
 * `generation` (0: any) at `offset`. The checksum is not looked at. */
bool journal_entry_read(struct str bytes,
                        uint64_t generation,
                        uint64_t offset,
                        struct journal_entry *out_entry);

/* Bytes that the entry's own checksum is over, from its beginning: the head of
 * a record, all of another. */
size_t journal_entry_summed(const struct journal_entry *entry);

/* Check the checksum; `bytes` are those that it is over. */
bool journal_entry_whole(struct str bytes);

/* Read the body of an ABORT entry; false when it is none. */
bool journal_entry_abort_read(struct str body, struct journal_abort *out_abort);

#endif

/* A page of messages that are done: doc/log-format.md, section 7.
 *
 * It has a bit for each of a run of sequence numbers, which go from 0 to 1
 * only, and says whose they are. A checksum over the bits is kept as they are
 * set: at each moment of that, in whatever order a kill leaves it, the bits are
 * those of the one or the other of its two copies. So a page is whole, or not
 * to be believed; what it had is delivered again then, never lost.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_ACKED_PAGE_H
#define OPQ_LOG_ACKED_PAGE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    ACKED_PAGE_SIZE = 4096,
    ACKED_PAGE_HEAD_SIZE = 64,
    ACKED_PAGE_MESSAGES = (ACKED_PAGE_SIZE - ACKED_PAGE_HEAD_SIZE) * 8,
};

/* Whose messages a page is about, and which. */
struct acked_page_key {
    uint64_t topic_id;
    uint64_t epoch;  /* of the cursor */
    uint64_t number; /* its first message is this times ACKED_PAGE_MESSAGES */
};

/* Write the head of a page of zeros, aligned as u64: none of its messages is
 * done. */
void acked_page_begin(char *page, const struct acked_page_key *key);

/* Read the key of a page that is whole. False when it is not. */
bool acked_page_read(const char *page, struct acked_page_key *out);

/* The number that the head of a page says. */
uint64_t acked_page_number(const char *page);

/* Tell whether a page was never written. */
bool acked_page_is_empty(const char *page);

/* Make ready for changes a page that is whole: a kill may have come between the
 * two copies of its checksum. */
void acked_page_mend(char *page, const struct acked_page_key *key);

/* Set bits `first` up to `end`, at most ACKED_PAGE_MESSAGES, of a page that is
 * whole and mended. */
void acked_page_set(char *page,
                    const struct acked_page_key *key,
                    uint32_t first,
                    uint32_t end);

/* The first bit at or behind `from` that is set, or, with `set` false, is not.
 * ACKED_PAGE_MESSAGES: there is none. */
uint32_t acked_page_find(const char *page, uint32_t from, bool set);

#endif

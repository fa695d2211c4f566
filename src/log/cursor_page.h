/* Cursors in a shared mapping: doc/log-format.md, section 7.
 *
 * Noting a cursor costs a store to memory, and a killed process loses none.
 * The journal has them too, for the loss of power, only not as fresh.
 *
 *     open -> claim (recovery) -> { take -> store* -> drop }* -> close
 *
 * Durability: against the end of the process alone.
 *
 * Threads: the loop's of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_CURSOR_PAGE_H
#define OPQ_LOG_CURSOR_PAGE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct cursor_page;

enum {
    CURSOR_PAGE_COPY_SIZE = 64,
    CURSOR_PAGE_SLOT_SIZE = 2 * CURSOR_PAGE_COPY_SIZE,
    CURSOR_PAGE_STEP = 1024, /* slots by which the file grows */
};

#define CURSOR_PAGE_NONE UINT32_MAX /* no slot */

struct cursor_page_entry {
    uint64_t topic_id;
    uint64_t epoch;
    uint64_t next;
    uint32_t attempts;
};

/* Open the page in journal/<shard>, made when it is not there, for up to
 * `slot_max` topics.
 *
 * Gives:  `*out`, for cursor_page_close().
 * Errors: ERR_FULL, ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum err cursor_page_open(const char *directory,
                                     uint32_t slot_max,
                                     struct cursor_page **out);

/* Unmap and free. Accepts NULL. */
void cursor_page_close(struct cursor_page *page);

/* Call `visit` for each whole slot, with the newer of its copies. Slots for
 * which it returns true stay taken; all others are free afterwards. */
void cursor_page_claim(struct cursor_page *page,
                       bool (*visit)(void *context,
                                     uint32_t slot,
                                     const struct cursor_page_entry *entry),
                       void *context);

/* Call `visit` for each whole copy in the page's file in journal/<shard>, so up
 * to twice for a topic, and change nothing; one that a process has open may be
 * read. For tools. A page that is not there has none.
 *
 * Blocks: on the disk.
 * Errors: ERR_IO, ERR_NOMEM, ERR_TOO_LARGE
 */
MUST_CHECK enum err cursor_page_read(
    const char *directory,
    void (*visit)(void *context, const struct cursor_page_entry *entry),
    void *context);

/* Take a slot.
 *
 * Errors: ERR_BUSY  all are taken
 *         ERR_FULL, ERR_IO: the file could not grow; the page is as it was
 */
MUST_CHECK enum err cursor_page_take(struct cursor_page *page,
                                     uint32_t *out_slot);

/* Note a cursor in a slot that was taken. */
void cursor_page_store(struct cursor_page *page,
                       uint32_t slot,
                       const struct cursor_page_entry *entry);

/* Give a slot back; CURSOR_PAGE_NONE is accepted. */
void cursor_page_drop(struct cursor_page *page, uint32_t slot);

#endif

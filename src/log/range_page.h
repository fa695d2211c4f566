/* Cursors that have ranges or retries, whole, in a shared mapping:
 * doc/log-format.md, section 7.
 *
 * The cursor page has but `next` and its attempts of every topic, in little
 * room. Only topics that are delivered to in parallel have more to say, now and
 * then, and then have a slot here as well.
 *
 *     open -> claim (recovery) -> { take -> store* -> drop }* -> close
 *
 * Durability: against the end of the process alone.
 *
 * Threads: the loop's of the shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_RANGE_PAGE_H
#define OPQ_LOG_RANGE_PAGE_H

#include "base/err.h"
#include "log/topic_cursor.h"

#include <stdbool.h>
#include <stdint.h>

struct range_page;

enum { RANGE_PAGE_COPY_SIZE = 4096 };

#define RANGE_PAGE_NONE UINT32_MAX /* no slot */

/* Open the page in journal/<shard>, made when it is not there, for up to
 * `slot_max` topics.
 *
 * Gives:  `*out`, for range_page_close().
 * Errors: ERR_FULL, ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum err range_page_open(const char *directory,
                                    uint32_t slot_max,
                                    struct range_page **out);

/* Unmap and free. Accepts NULL. */
void range_page_close(struct range_page *page);

/* Call `visit` for each whole copy, so up to twice for a slot, in no order:
 * what either says counts. Slots for which it returned true stay taken; all
 * others are free afterwards. */
void range_page_claim(struct range_page *page,
                      bool (*visit)(void *context,
                                    uint32_t slot,
                                    uint64_t topic_id,
                                    const struct topic_cursor *cursor),
                      void *context);

/* Call `visit` for each whole copy in the page's file in journal/<shard>, and
 * change nothing; one that a process has open may be read. For tools. A page
 * that is not there has none.
 *
 * Blocks: on the disk.
 * Errors: ERR_IO, ERR_NOMEM, ERR_TOO_LARGE
 */
MUST_CHECK enum err range_page_read(const char *directory,
                                    void (*visit)(void *context,
                                                  uint64_t topic_id,
                                                  const struct topic_cursor *),
                                    void *context);

/* Take a slot.
 *
 * Errors: ERR_BUSY  all are taken
 *         ERR_FULL, ERR_IO: the file could not grow; the page is as it was
 */
MUST_CHECK enum err range_page_take(struct range_page *page,
                                    uint32_t *out_slot);

/* Note a valid cursor in a slot that was taken. Costs as much as the cursor has
 * ranges and retries. */
void range_page_store(struct range_page *page,
                      uint32_t slot,
                      uint64_t topic_id,
                      const struct topic_cursor *cursor);

/* Give a slot back; RANGE_PAGE_NONE is accepted. */
void range_page_drop(struct range_page *page, uint32_t slot);

#endif

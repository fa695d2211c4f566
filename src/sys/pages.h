/* Memory in runs of pages: for what comes in bursts and is wanted back by the
 * kernel afterwards.
 *
 * malloc() gives back only what lies at the end of a heap, and malloc_trim()
 * holds the heap's lock for as long as that takes, so that a loop waits for it.
 * Here what was given back is on a shelf for its size, in use again without a
 * fault, and pages_release() lets the kernel have what nobody has wanted since
 * the release before. So a steady load keeps what it uses, and what a burst
 * took beyond that goes.
 *
 *     pages_take -> use -> pages_give        any thread
 *     pages_release                          one thread, now and then
 *
 * Address space is never given back: for each size there is as much as was ever
 * in use at a time. With AddressSanitizer this is malloc(), which checks more.
 *
 * Threads: any. Nobody waits for a call to the kernel but who makes it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SYS_PAGES_H
#define OPQ_SYS_PAGES_H

#include <stddef.h>
#include <stdint.h>

enum {
    PAGES_SIZE_MIN = 4 * 1024,
    PAGES_SIZE_MAX = 64 * 1024,
};

/* `size`, rounded up to what pages_take() takes. */
size_t pages_fit(size_t size);

/* Get memory of `size` bytes, a multiple of PAGES_SIZE_MIN up to
 * PAGES_SIZE_MAX; what is in it is not known.
 * Returns: for pages_give(); NULL when there is none. */
void *pages_take(size_t size);

/* Give back what pages_take() returned for that size. */
void pages_give(void *memory, size_t size);

/* Let the kernel have what has not been in use since the call before.
 * Blocks: some 0.2 ms for each MB. One thread at a time.
 * Returns: how many bytes these are */
size_t pages_release(void);

/* Before making small object `number` of many: now and then, let the heap grow
 * in one step. malloc() has it grow by a page at a time in any thread but the
 * first, with a call to the kernel for each. What is not used is not there. */
void pages_ahead(uint32_t number);

#endif

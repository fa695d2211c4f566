/* Large writes to a file that is otherwise written through the page cache.
 *
 * What goes through the page cache is copied there page by page, for each of
 * which memory must be found, and is copied out again by the kernel's own
 * threads: four to ten times the time of a direct write of the same bytes
 * (doc/performance.md). So the whole blocks of a large write go past it, and
 * only what is before the first and behind the last of them does not.
 *
 * Threads: any; one at a time for a descriptor.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_BULK_H
#define OPQ_LOG_BULK_H

#include "base/err.h"

#include <stdint.h>
#include <sys/uio.h>

/* Below so many bytes of whole blocks everything goes through the page cache.
 */
enum { BULK_DIRECT_MIN = 64 * 1024 };

enum bulk_way {
    BULK_CACHED,  /* all of it through the page cache: too small, no memory */
    BULK_DIRECT,  /* the whole blocks past it */
    BULK_REFUSED, /* a direct write was tried, and is not possible here */
};

/* Write all bytes of `parts` (at most IOV_MAX, `size` bytes in all) at
 * `offset`, large runs past the page cache when the file system, the memory and
 * the size allow it; `*out_way` tells. As durable as any write: not before the
 * next sync. `parts` are changed.
 *
 * Errors: ERR_FULL, ERR_IO; some bytes may have been written
 */
MUST_CHECK enum err bulk_write(int fd,
                               struct iovec *parts,
                               uint32_t part_count,
                               uint64_t offset,
                               uint64_t size,
                               enum bulk_way *out_way);

#endif

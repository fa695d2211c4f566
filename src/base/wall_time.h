/* Points in time as people and the API write them: RFC 3339 and Unix seconds.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_WALL_TIME_H
#define OPQ_BASE_WALL_TIME_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

/* Read "2026-01-02T03:04:05Z", with a fraction or an offset ("+02:00") too, or
 * Unix seconds, with a fraction too ("1767323045.5"). What is finer than a
 * millisecond is dropped.
 *
 * Errors: ERR_INVALID  malformed, no such day, before 1970 or after 9999
 */
MUST_CHECK enum err wall_time_parse(struct str text, uint64_t *out_unix_ms);

/* Append "2026-01-02T03:04:05.678Z". Times after the year 9999 are written as
 * its end. */
void wall_time_write(struct buf *to, uint64_t unix_ms);

#endif

/* Time zones: what the clock on the wall shows at a second, and which seconds
 * it shows a time at.
 *
 * A zone is read from the bytes of a TZif file (RFC 8536), version 2 or later:
 * a table of the changes of its offset, and behind the last of them a rule in
 * the form of the TZ variable of POSIX. sys/zone_file.h finds the file. libc's
 * own reading is of one zone for the whole process, and not for threads.
 *
 * The bytes are not trusted. Zones that count leap seconds are refused: the
 * system's clock does not count them.
 *
 * Threads: a zone never changes; any number of threads may use it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_ZONE_H
#define OPQ_BASE_ZONE_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct zone;

enum {
    ZONE_NAME_MAX = 64, /* bytes of a name */
    ZONE_FILE_SIZE_MAX = 256 * 1024,
    ZONE_ANSWERS_MAX = 2, /* seconds that show the same time: a fold */
};

/* Seconds since 1970 that a zone is asked about: the years 1 to 9999. */
#define ZONE_SECOND_MIN INT64_C(-62135596800)
#define ZONE_SECOND_MAX INT64_C(253402300799)

/* What the clock on the wall shows. */
struct zone_time {
    int64_t year;
    int32_t month;  /* 1 to 12 */
    int32_t day;    /* 1 to 31 */
    int32_t hour;   /* 0 to 23 */
    int32_t minute; /* 0 to 59 */
    int32_t second; /* 0 to 59 */
};

/* A span in which the offset is the same. */
struct zone_span {
    int64_t start;  /* its first second; INT64_MIN: it has none */
    int64_t end;    /* the first one behind it; INT64_MAX: there is none */
    int32_t offset; /* seconds east of UTC */
    int32_t before; /* the offset of the span before; of the first: its own */
};

/* Tell whether this may be a zone's name: parts of [A-Za-z0-9._+-] that do not
 * begin with '.', between slashes; at most ZONE_NAME_MAX bytes. */
bool zone_name_valid(struct str name);

/* Read a zone.
 *
 * Gives:  `*out`, for zone_destroy().
 * Errors: ERR_CORRUPT      malformed
 *         ERR_UNSUPPORTED  version 1, or with leap seconds
 *         ERR_NOMEM
 */
MUST_CHECK enum err zone_create(struct str bytes, struct zone **out);

/* Make the zone UTC, which needs no file.
 * Gives: `*out`, for zone_destroy(). Errors: ERR_NOMEM */
MUST_CHECK enum err zone_create_utc(struct zone **out);

/* Free it. Accepts NULL. */
void zone_destroy(struct zone *zone);

/* The span that a second lies in. */
struct zone_span zone_span_of(const struct zone *zone, int64_t second);

/* What the clock shows with an offset. */
struct zone_time zone_time_at(int64_t second, int32_t offset);

/* What the clock of the zone shows. */
struct zone_time zone_time_of(const struct zone *zone, int64_t second);

/* The seconds at which the clock shows `time`, ascending: none in a gap, two in
 * a fold (the first two, should there be more), else one. Returns how many. */
unsigned zone_seconds_of(const struct zone *zone,
                         const struct zone_time *time,
                         int64_t out_seconds[ZONE_ANSWERS_MAX]);

#endif

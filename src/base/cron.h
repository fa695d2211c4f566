/* Times that come again and again, as cron writes them.
 *
 *     minute hour day-of-month month day-of-week        "30 2 * * MON-FRI"
 *     second minute hour day-of-month month day-of-week "0 30 2 * * MON-FRI"
 *     @hourly @daily @midnight @weekly @monthly @yearly @annually
 *     @every 90s
 *
 * A field is a star, a number, a range or a list of those, a step behind a star
 * or range: 0,30 and 8-18 and 0-59/5 and a star with /15. Months and days of
 * the week have names of three letters; Sunday is 0 and 7. When both days are
 * given and neither begins with a star, one of them is enough (the rule of
 * Vixie's cron, crontab(5)).
 *
 * Where the clock of the zone jumps, the rule is that of Vixie's cron, too,
 * (cron(8)): what is for certain hours and falls into a gap comes at its end,
 * once; what falls into a fold comes the first time only. What is for every
 * hour goes on as the clock shows it: nothing in a gap, and in a fold both
 * times, so that it stays as far apart as it always is.
 *
 * `@every` counts from 1970 on, so that its times do not depend on when it was
 * begun.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_CRON_H
#define OPQ_BASE_CRON_H

#include "base/err.h"
#include "base/str.h"
#include "base/zone.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    CRON_SIZE_MAX = 256, /* bytes of an expression */
    /* A leap day on a given weekday comes after 40 years at most. */
    CRON_YEARS_MAX = 50,
};

/* Bit n: the value n is meant. */
struct cron {
    uint64_t every_ms; /* `@every`; 0: the fields */
    uint64_t seconds;
    uint64_t minutes;
    uint32_t hours;
    uint32_t days; /* of the month, from bit 1 */
    uint32_t months;
    uint32_t weekdays; /* 0 is Sunday, to 6 */
    bool either_day;   /* one of both days is enough */
};

/* Read an expression.
 *
 * Errors: ERR_INVALID  malformed, or it never comes; `*out_reason` (static)
 *                      says why, to go on after "cron "
 */
MUST_CHECK enum err
cron_parse(struct str text, struct cron *out_cron, const char **out_reason);

/* The first time after `after_ms` (milliseconds since 1970) on the clock of a
 * zone. False when there is none up to CRON_YEARS_MAX later, or to the year
 * 9999. */
bool cron_next(const struct cron *cron,
               const struct zone *zone,
               uint64_t after_ms,
               uint64_t *out_ms);

#endif

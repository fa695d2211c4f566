/* The rule behind the last change of a zone: the TZ variable of POSIX, with the
 * extensions of RFC 8536, 3.3.1, as "CET-1CEST,M3.5.0,M10.5.0/3".
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_ZONE_RULE_H
#define OPQ_BASE_ZONE_RULE_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum zone_rule_kind {
    ZONE_RULE_JULIAN, /* day 1 to 365, the leap day not counted */
    ZONE_RULE_DAY,    /* day 0 to 365 */
    ZONE_RULE_WEEK,   /* weekday of a week of a month */
};

/* When in a year summer time begins or ends, on the clock before it does. */
struct zone_rule_date {
    enum zone_rule_kind kind;
    int32_t day;   /* of the year, or of the week: 0 is Sunday */
    int32_t week;  /* 1 to 5, which is the last */
    int32_t month; /* 1 to 12 */
    int32_t time;  /* seconds from that day's beginning; may be negative */
};

struct zone_rule {
    int32_t standard; /* offset, seconds east */
    bool has_summer;
    int32_t summer; /* offset, seconds east */
    struct zone_rule_date begin;
    struct zone_rule_date end;
};

/* Where a second lies among the changes that a rule makes. */
struct zone_rule_span {
    int64_t start; /* INT64_MIN: there are no changes */
    int64_t end;   /* INT64_MAX: likewise */
    int32_t offset;
    int32_t before; /* the offset before `start` */
};

/* Read a rule.
 * Errors: ERR_CORRUPT */
MUST_CHECK enum err zone_rule_parse(struct str text,
                                    struct zone_rule *out_rule);

/* Find the span that a second lies in. */
struct zone_rule_span zone_rule_span_of(const struct zone_rule *rule,
                                        int64_t second);

#endif

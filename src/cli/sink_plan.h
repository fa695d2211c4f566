/* How a sink misbehaves, and when: "503:10%,slow:2s,410:seq=7".
 *
 * A plan is a list of rules by commas, the first that fits decides. A rule is
 * what to do and, after colons, how and when; all of its conditions must fit:
 *
 *     do    503         answer with this status
 *           slow:2s     answer 200, after this time
 *           hang        do not answer at all
 *           reset       reset the connection instead of answering
 *           close       close it in order instead
 *           drip:1s     answer 200 with a body that never ends, a byte each
 *                       time
 *           garbage     answer what is no HTTP
 *     how   retry-after=30s  a status comes with Retry-After: 30
 *     when  10%         that often, by chance
 *           seq=7       Opq-Seq is this; seq=7-9: one of these
 *           attempt=1   Opq-Attempt is this, or one of these
 *           topic=name  Opq-Topic is this
 *           every=3     each third request to which all before it fits
 *
 * Threads: none.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_SINK_PLAN_H
#define OPQ_CLI_SINK_PLAN_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum { SINK_PLAN_RULES_MAX = 16 };

struct sink_range {
    bool given;
    uint64_t first;
    uint64_t last;
};

enum sink_action {
    SINK_ANSWER, /* with a status */
    SINK_HANG,
    SINK_RESET,
    SINK_CLOSE,
    SINK_DRIP,
    SINK_GARBAGE,
    SINK_ACTIONS,
};

struct sink_rule {
    enum sink_action action;
    int status;             /* of SINK_ANSWER; else 0 */
    uint32_t delay_ms;      /* before the answer; between bytes of SINK_DRIP */
    uint32_t retry_after_s; /* of SINK_ANSWER; 0: none */
    uint32_t per_mille;     /* chance; 1000: always */
    uint32_t every;         /* 0: not asked for */
    uint32_t counted;       /* requests that `every` has seen */
    struct sink_range sequence;
    struct sink_range attempt;
    struct str topic; /* borrowed from the text; empty: any */
};

struct sink_plan {
    uint32_t rule_count;
    struct sink_rule rules[SINK_PLAN_RULES_MAX];
    uint64_t random; /* state; the same seed, the same course */
};

/* What a plan looks at. */
struct sink_request {
    struct str topic;  /* empty: none */
    uint64_t sequence; /* UINT64_MAX: none */
    uint64_t attempt;  /* 1 when it is not told */
};

/* Read a plan. Borrows: text, as long as the plan is used.
 * Errors: ERR_INVALID  `detail` says what is wrong */
MUST_CHECK enum err sink_plan_parse(struct str text,
                                    uint64_t seed,
                                    struct sink_plan *out_plan,
                                    struct buf *detail);

/* Name an action as a rule does: "reset". Never NULL. */
const char *sink_plan_action_text(enum sink_action action);

/* The rule for a request; NULL: be good. */
const struct sink_rule *sink_plan_rule(struct sink_plan *plan,
                                       const struct sink_request *request);

#endif

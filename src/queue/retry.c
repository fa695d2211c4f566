/* When to try again, or no more.
 *
 * Schedules and lists of statuses are kept as text and read where they are
 * needed, after a failure: they are short, and failures are rare.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/retry.h"

#include "base/check.h"
#include "http/parse.h"

uint64_t retry_random_next(struct retry_random *random)
{
    random->state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = random->state;
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

/* Doubled once for each failure after the first, capped. */
static uint64_t backed_off_ms(const struct retry_policy *policy,
                              uint32_t failures)
{
    uint32_t doublings = failures - 1;

    if (doublings >= 32) { /* any first_ms is past a cap of 32 bits by then */
        return policy->max_ms;
    }
    uint64_t delay_ms = (uint64_t)policy->first_ms << doublings;
    return delay_ms < policy->max_ms ? delay_ms : policy->max_ms;
}

static uint64_t spread(uint64_t delay_ms, struct retry_random *random)
{
    uint64_t spread_ms = delay_ms * RETRY_JITTER_PERCENT / 100;
    uint64_t offset_ms = retry_random_next(random) % (2 * spread_ms + 1);
    return delay_ms - spread_ms + offset_ms;
}

uint64_t retry_delay_ms(const struct retry_policy *policy,
                        uint32_t failures,
                        struct retry_random *random)
{
    CHECK(failures > 0);
    CHECK(policy->first_ms > 0);
    CHECK(policy->first_ms <= policy->max_ms);
    return spread(backed_off_ms(policy, failures), random);
}

/* Seconds as milliseconds, cut to `max_ms`. */
static uint64_t seconds_cut(uint64_t seconds, uint64_t max_ms)
{
    return seconds > max_ms / 1000 ? max_ms : seconds * 1000;
}

enum err retry_after_ms(const struct retry_policy *policy,
                        struct str value,
                        uint64_t now_ms,
                        uint64_t *out_delay_ms)
{
    struct str text = str_trim(value);
    uint64_t seconds = 0;
    enum err err = str_to_u64(text, &seconds);

    if (err == ERR_RANGE) { /* digits, but no such number: as long as can be */
        *out_delay_ms = policy->after_max_ms;
        return ERR_OK;
    }
    if (err == ERR_OK) {
        *out_delay_ms = seconds_cut(seconds, policy->after_max_ms);
        return ERR_OK;
    }
    err = http_parse_date(text, &seconds);
    if (err != ERR_OK) {
        return ERR_INVALID;
    }
    if (seconds > UINT64_MAX / 1000 || seconds * 1000 <= now_ms) {
        *out_delay_ms = seconds > UINT64_MAX / 1000 ? policy->after_max_ms : 0;
        return ERR_OK;
    }
    uint64_t delay_ms = seconds * 1000 - now_ms;
    *out_delay_ms =
        delay_ms < policy->after_max_ms ? delay_ms : policy->after_max_ms;
    return ERR_OK;
}

/* --- texts ---------------------------------------------------------------- */

/* Take the item before the first comma, without blanks around it. Returns
 * whether there is a comma, so another item. */
static bool take_item(struct str *text, struct str *out_item)
{
    size_t comma = str_find(*text, ',');
    bool more = comma < text->size;

    *out_item = str_trim(str_cut(*text, 0, comma));
    *text = str_cut(*text, comma + 1, text->size);
    return more;
}

static enum err read_delay(struct str item, uint64_t *out_delay_ms)
{
    uint64_t delay_ms = 0;
    enum err err = str_to_duration_ms(item, &delay_ms);

    if (err != ERR_OK) {
        return err;
    }
    if (delay_ms == 0 || delay_ms > RETRY_SCHEDULE_DELAY_MAX_MS) {
        return ERR_RANGE;
    }
    *out_delay_ms = delay_ms;
    return ERR_OK;
}

enum err retry_schedule_ms(struct str schedule,
                           uint32_t failures,
                           uint64_t *out_delay_ms)
{
    uint64_t delay_ms = 0;
    bool more = true;

    CHECK(failures > 0);
    for (uint32_t i = 0; i < failures && more; i++) {
        struct str item;
        if (i == RETRY_SCHEDULE_MAX) {
            return ERR_RANGE;
        }
        more = take_item(&schedule, &item);
        enum err err = read_delay(item, &delay_ms);
        if (err != ERR_OK) {
            return err;
        }
    }
    *out_delay_ms = delay_ms;
    return ERR_OK;
}

enum err retry_schedule_check(struct str schedule)
{
    uint64_t delay_ms = 0;
    return retry_schedule_ms(schedule, UINT32_MAX, &delay_ms);
}

/* Statuses that are named together. */
struct status_range {
    uint64_t first;
    uint64_t last;
};

static enum err read_status(struct str text, uint64_t *out_status)
{
    enum err err = str_to_u64(text, out_status);

    if (err == ERR_OK && text.size != 3) {
        err = ERR_RANGE; /* "0404" is no status */
    }
    return err;
}

static enum err read_range(struct str item, struct status_range *out_range)
{
    size_t dash = str_find(item, '-');
    struct status_range range = {0};
    enum err err = read_status(str_cut(item, 0, dash), &range.first);

    range.last = range.first;
    if (err == ERR_OK && dash < item.size) {
        err = read_status(str_cut(item, dash + 1, item.size), &range.last);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (range.first < RETRY_STATUS_FIRST || range.last > RETRY_STATUS_LAST ||
        range.first > range.last) {
        return ERR_RANGE;
    }
    *out_range = range;
    return ERR_OK;
}

/* Read all of a list. Gives: whether it names the status. */
static enum err read_list(struct str list, uint64_t status, bool *out_has)
{
    bool has = false;
    bool more = true;

    for (uint32_t i = 0; more; i++) {
        struct status_range range;
        struct str item;
        if (i == RETRY_STATUS_LIST_MAX) {
            return ERR_RANGE;
        }
        more = take_item(&list, &item);
        enum err err = read_range(item, &range);
        if (err != ERR_OK) {
            return err;
        }
        has = has || (range.first <= status && status <= range.last);
    }
    *out_has = has;
    return ERR_OK;
}

enum err retry_status_list_check(struct str list)
{
    bool has = false;
    return read_list(list, 0, &has);
}

bool retry_status_list_has(struct str list, int status)
{
    bool has = false;
    return status > 0 && read_list(list, (uint64_t)status, &has) == ERR_OK &&
           has;
}

bool retry_is_abort(struct str value)
{
    return str_equal_nocase(str_trim(value), STR("abort-message"));
}

/* --- decisions ------------------------------------------------------------ */

/* How long to wait, by the schedule or else by doubling, but not past the end
 * of the message's time, which has not come yet. */
static uint64_t wait_ms(const struct retry_policy *policy,
                        const struct retry_rules *rules,
                        const struct retry_outcome *outcome,
                        uint32_t failures,
                        uint64_t now_ms,
                        struct retry_random *random)
{
    uint64_t delay_ms = outcome->after_ms;

    if (delay_ms == 0 &&
        retry_schedule_ms(rules->schedule, failures, &delay_ms) == ERR_OK) {
        delay_ms = spread(delay_ms, random);
    }
    if (delay_ms == 0) {
        delay_ms = retry_delay_ms(policy, failures, random);
    }
    if (rules->expires_at_ms > 0 && delay_ms > rules->expires_at_ms - now_ms) {
        delay_ms = rules->expires_at_ms - now_ms;
    }
    return delay_ms;
}

/* Why there is no next attempt; RETRY_REASON_NONE: there is. */
static enum retry_reason reason_to_end(const struct retry_rules *rules,
                                       const struct retry_outcome *outcome,
                                       uint32_t failures,
                                       uint64_t now_ms)
{
    if (outcome->abort) {
        return RETRY_REASON_ABORT;
    }
    if (retry_status_list_has(rules->permanent_status, outcome->status)) {
        return RETRY_REASON_PERMANENT;
    }
    if (rules->expires_at_ms > 0 && rules->expires_at_ms <= now_ms) {
        return RETRY_REASON_EXPIRED;
    }
    if (rules->retries != RETRY_FOREVER && failures > rules->retries) {
        return RETRY_REASON_EXHAUSTED;
    }
    return rules->gone_pauses && outcome->status == 410 ? RETRY_REASON_GONE
                                                        : RETRY_REASON_NONE;
}

struct retry_decision retry_decide(const struct retry_policy *policy,
                                   const struct retry_rules *rules,
                                   const struct retry_outcome *outcome,
                                   uint32_t failures,
                                   uint64_t now_ms,
                                   struct retry_random *random)
{
    CHECK(failures > 0);
    struct retry_decision decision = {
        .reason = reason_to_end(rules, outcome, failures, now_ms),
    };

    switch (decision.reason) {
    case RETRY_REASON_NONE:
        decision.action = RETRY_AGAIN;
        decision.delay_ms =
            wait_ms(policy, rules, outcome, failures, now_ms, random);
        break;
    case RETRY_REASON_GONE:
        decision.action = RETRY_PAUSE;
        break;
    default:
        decision.action = RETRY_DEAD;
        break;
    }
    return decision;
}

const char *retry_reason_text(enum retry_reason reason)
{
    static const char *const texts[RETRY_REASONS] = {
        [RETRY_REASON_NONE] = "",
        [RETRY_REASON_EXHAUSTED] = "retries_exhausted",
        [RETRY_REASON_PERMANENT] = "permanent_status",
        [RETRY_REASON_ABORT] = "abort_message",
        [RETRY_REASON_EXPIRED] = "expired",
        [RETRY_REASON_GONE] = "gone",
    };

    CHECK(reason >= 0 && reason < RETRY_REASONS);
    return texts[reason];
}

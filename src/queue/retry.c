/* When to try again.
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

uint64_t retry_delay_ms(const struct retry_policy *policy,
                        uint32_t failures,
                        struct retry_random *random)
{
    CHECK(failures > 0);
    CHECK(policy->first_ms > 0);
    CHECK(policy->first_ms <= policy->max_ms);

    uint64_t delay_ms = backed_off_ms(policy, failures);
    uint64_t spread_ms = delay_ms * RETRY_JITTER_PERCENT / 100;
    uint64_t offset_ms = retry_random_next(random) % (2 * spread_ms + 1);
    return delay_ms - spread_ms + offset_ms;
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

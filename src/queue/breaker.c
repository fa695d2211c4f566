/* Whether an endpoint is worth an attempt at all.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/breaker.h"

#include "base/check.h"

#include <assert.h>

static_assert(BREAKER_OUTCOMES == 32, "as many as the bits of breaker->bad");
static_assert((int)BREAKER_SILENT_MAX < (int)BREAKER_BAD,
              "silence opens it sooner than protest");

static bool opens(const struct breaker *breaker)
{
    return breaker->silent >= BREAKER_SILENT_MAX ||
           __builtin_popcount(breaker->bad) >= BREAKER_BAD;
}

/* Count an outcome. */
static void
count(struct breaker *breaker, enum breaker_sign sign, uint64_t now_ms)
{
    bool bad = sign != BREAKER_GOOD;

    if (now_ms - breaker->outcome_ms > BREAKER_STALE_MS) {
        breaker->bad = 0;
    }
    breaker->outcome_ms = now_ms;
    breaker->bad = breaker->bad << 1 | (bad ? 1U : 0U);
    breaker->failures = bad ? breaker->failures + 1 : 0;
    breaker->silent = sign == BREAKER_SILENT ? breaker->silent + 1 : 0;
}

static void close_up(struct breaker *breaker)
{
    breaker->state = BREAKER_CLOSED;
    breaker->openings = 0;
    breaker->silent = 0;
    breaker->failures = 0;
    breaker->bad = 0;
}

bool breaker_note(struct breaker *breaker,
                  enum breaker_sign sign,
                  uint64_t number,
                  uint64_t sent,
                  uint64_t now_ms)
{
    CHECK(number <= sent);
    CHECK(now_ms >= breaker->outcome_ms);
    if (number <= breaker->opened_at) {
        return false;
    }
    count(breaker, sign, now_ms);
    if (breaker->state == BREAKER_HALF_OPEN && sign == BREAKER_GOOD) {
        close_up(breaker);
        return false;
    }
    if (breaker->state == BREAKER_CLOSED && !opens(breaker)) {
        return false;
    }
    CHECK(breaker->state != BREAKER_OPEN); /* nothing was sent since */
    breaker->state = BREAKER_OPEN;
    breaker->openings++;
    breaker->opened_at = sent;
    return true;
}

void breaker_wait(struct breaker *breaker,
                  const struct retry_policy *policy,
                  struct retry_random *random,
                  uint64_t now_ms)
{
    CHECK(breaker->state == BREAKER_OPEN);
    breaker->until_ms =
        now_ms + retry_delay_ms(policy, breaker->openings, random);
}

void breaker_tick(struct breaker *breaker, uint64_t now_ms)
{
    if (breaker->state == BREAKER_OPEN && breaker->until_ms <= now_ms) {
        breaker->state = BREAKER_HALF_OPEN;
    }
}

void breaker_reset(struct breaker *breaker, uint64_t sent)
{
    close_up(breaker);
    breaker->opened_at = sent;
}

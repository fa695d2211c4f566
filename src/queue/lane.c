/* What to do next in one lane.
 *
 * What must stay true:
 *   - `next` never moves but by a delivery noted, a lost message skipped, or a
 *     cursor that the store moved;
 *   - an outcome is noted only when it is that of the message at `next`, and
 *     the cursor stood there all the time since it was sent;
 *   - nothing is begun while something is in flight.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/lane.h"

#include "base/check.h"

static struct lane_decision step_only(enum lane_step step)
{
    return (struct lane_decision){.step = step};
}

bool lane_has_work(const struct lane *lane)
{
    return lane->next < lane->end;
}

void lane_init(struct lane *lane, const struct lane_place *place)
{
    *lane = (struct lane){
        .state = LANE_IDLE,
        .next = place->next,
        .attempts = place->attempts,
        .end = place->end,
    };
}

/* Begin with the message at `next`, or rest. Nothing is in flight. */
static struct lane_decision begin(struct lane *lane)
{
    if (lane->paused || lane->stopped || !lane_has_work(lane)) {
        lane->state = LANE_IDLE;
        return step_only(LANE_STEP_REST);
    }
    lane->state = LANE_READING;
    return step_only(LANE_STEP_READ);
}

static struct lane_decision
back_off(struct lane *lane, uint64_t delay_ms, bool note)
{
    lane->state = LANE_BACKOFF;
    return (struct lane_decision){
        .step = LANE_STEP_DELAY,
        .note = note,
        .delay_ms = delay_ms,
    };
}

/* Follow the topic. Returns whether the cursor went elsewhere. */
static bool follow(struct lane *lane, const struct lane_place *place)
{
    lane->end = place->end;
    if (place->next == lane->next) {
        return false;
    }
    lane->next = place->next;
    lane->attempts = place->attempts;
    lane->unreadable = 0;
    lane->stray = lane->state == LANE_SENDING;
    return true;
}

struct lane_decision lane_look(struct lane *lane,
                               const struct lane_place *place)
{
    bool moved = follow(lane, place);

    if (lane->state == LANE_SENDING || (!moved && lane->state != LANE_IDLE)) {
        return step_only(LANE_STEP_NONE);
    }
    if (!moved && !lane_has_work(lane)) {
        return step_only(LANE_STEP_NONE);
    }
    return begin(lane);
}

struct lane_decision
lane_change(struct lane *lane, const struct lane_place *place, bool paused)
{
    (void)follow(lane, place);
    lane->paused = paused;
    if (lane->state == LANE_SENDING) {
        return step_only(LANE_STEP_NONE);
    }
    lane->attempts = place->attempts; /* a move to where it stands */
    return begin(lane);
}

struct lane_decision lane_stop(struct lane *lane)
{
    lane->stopped = true;
    if (lane->state == LANE_SENDING) {
        return step_only(LANE_STEP_NONE);
    }
    return begin(lane);
}

struct lane_decision lane_found(struct lane *lane, uint64_t sequence)
{
    CHECK(lane->state == LANE_READING || lane->state == LANE_WAITING);
    CHECK(sequence >= lane->next);

    struct lane_decision decision = step_only(LANE_STEP_SLOT);
    lane->state = LANE_WAITING;
    lane->unreadable = 0;
    if (sequence > lane->next) {
        lane->next = sequence;
        lane->attempts = 0;
        decision.note = true;
    }
    if (lane->end <= sequence) { /* it is newer than the last look */
        lane->end = sequence + 1;
    }
    return decision;
}

struct lane_decision lane_missed(struct lane *lane,
                                 bool failed,
                                 const struct retry_policy *policy,
                                 struct retry_random *random)
{
    CHECK(lane->state == LANE_READING || lane->state == LANE_WAITING);
    if (!failed) {
        lane->end = lane->next;
        return begin(lane);
    }
    lane->unreadable += lane->unreadable < UINT32_MAX ? 1 : 0;
    return back_off(lane, retry_delay_ms(policy, lane->unreadable, random),
                    false);
}

void lane_start(struct lane *lane)
{
    CHECK(lane->state == LANE_WAITING);
    CHECK(!lane->paused && !lane->stopped);
    lane->state = LANE_SENDING;
    lane->stray = false;
}

/* After a failed attempt. What the target asked for stands above our own
 * guess, but 0 is no answer to the question: it would be a loop. */
static struct lane_decision failed(struct lane *lane,
                                   uint64_t after_ms,
                                   const struct retry_policy *policy,
                                   struct retry_random *random)
{
    lane->attempts += lane->attempts < UINT32_MAX ? 1 : 0;
    uint64_t delay_ms = retry_delay_ms(policy, lane->attempts, random);
    struct lane_decision decision =
        back_off(lane, after_ms > 0 ? after_ms : delay_ms, true);

    if (lane->paused || lane->stopped) {
        lane->state = LANE_IDLE;
        decision.step = LANE_STEP_REST;
        decision.delay_ms = 0;
    }
    return decision;
}

struct lane_decision lane_end(struct lane *lane,
                              const struct lane_outcome *outcome,
                              const struct retry_policy *policy,
                              struct retry_random *random)
{
    CHECK(lane->state == LANE_SENDING);
    if (lane->stray) {
        lane->stray = false;
        return begin(lane);
    }
    if (!outcome->delivered) {
        return failed(lane, outcome->after_ms, policy, random);
    }
    CHECK(lane->next < lane->end);
    lane->next++;
    lane->attempts = 0;
    struct lane_decision decision = begin(lane);
    decision.note = true;
    return decision;
}

struct lane_decision lane_give_up(struct lane *lane)
{
    CHECK(lane->state == LANE_SENDING);
    lane->stray = false;
    return begin(lane);
}

struct lane_decision lane_due(struct lane *lane)
{
    CHECK(lane->state == LANE_BACKOFF);
    return begin(lane);
}

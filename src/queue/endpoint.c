/* Who may send next.
 *
 * An endpoint is in set->turns[kind], at the level of what it holds, exactly
 * while it has a waiter of that kind, is not closed, and has fewer in flight
 * than it may have; update() keeps that true after each change. So finding the
 * next one never walks past endpoints that could not send.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/endpoint.h"

#include "base/check.h"

#include <assert.h>
#include <stddef.h>

enum { EXACT = 16 }; /* levels that are one number each */

static_assert(ENDPOINT_LEVELS == 64, "a bit of endpoint_turns.used for each");

/* --- sets and endpoints --------------------------------------------------- */

static uint32_t less_of(uint32_t left, uint32_t right)
{
    return left < right ? left : right;
}

void endpoint_set_init(struct endpoint_set *set,
                       uint32_t in_flight_max,
                       uint32_t endpoint_max)
{
    CHECK(in_flight_max > 0);
    uint32_t half = in_flight_max / 2;
    uint32_t quarter = in_flight_max / 4;

    *set = (struct endpoint_set){
        .in_flight_max = in_flight_max,
        .retries_max = half > 0 ? half : 1,
        .endpoint_max = quarter > 0 ? quarter : 1,
        .turn = ENDPOINT_FRESH,
        .policy = {.first_ms = BREAKER_FIRST_MS, .max_ms = BREAKER_LONGEST_MS},
    };
    if (endpoint_max > 0) {
        set->endpoint_max = endpoint_max;
    }
    if (set->endpoint_max < in_flight_max) {
        set->reserve = less_of(in_flight_max / ENDPOINT_RESERVE_SHARE,
                               in_flight_max - set->endpoint_max);
    }
    for (int kind = 0; kind < ENDPOINT_KINDS; kind++) {
        for (int level = 0; level < ENDPOINT_LEVELS; level++) {
            list_init(&set->turns[kind].levels[level]);
        }
    }
}

void endpoint_set_pace(struct endpoint_set *set,
                       uint32_t first_ms,
                       uint32_t longest_ms,
                       uint64_t seed)
{
    CHECK(first_ms > 0 && longest_ms > 0);
    set->policy.max_ms = less_of(longest_ms, BREAKER_LONGEST_MS);
    set->policy.first_ms =
        less_of(less_of(first_ms, BREAKER_FIRST_MS), set->policy.max_ms);
    set->random.state = seed;
}

void endpoint_init(struct endpoint *endpoint, struct endpoint_set *set)
{
    *endpoint = (struct endpoint){.set = set};
    for (int kind = 0; kind < ENDPOINT_KINDS; kind++) {
        list_init(&endpoint->lines[kind]);
    }
    congestion_init(&endpoint->congestion, set->endpoint_max);
}

void endpoint_fini(struct endpoint *endpoint)
{
    CHECK(endpoint->waiting == 0);
    CHECK(endpoint->in_flight == 0);
    CHECK(endpoint->resting == 0);
    for (int kind = 0; kind < ENDPOINT_KINDS; kind++) {
        CHECK(!list_linked(&endpoint->turns[kind])); /* nobody waits */
    }
}

/* --- turns ---------------------------------------------------------------- */

/* The level of so many in flight. */
static uint32_t level_of(uint32_t in_flight)
{
    if (in_flight < EXACT) {
        return in_flight;
    }
    uint32_t bit = 31 - (uint32_t)__builtin_clz(in_flight);
    uint32_t level = EXACT + 4 * (bit - 4) + (in_flight >> (bit - 2) & 3);
    return less_of(level, ENDPOINT_LEVELS - 1);
}

/* How many may be in flight, unless nothing goes at all. */
static uint32_t in_flight_max_of(const struct endpoint *endpoint)
{
    uint32_t few = endpoint->set->endpoint_max / ENDPOINT_FAILING_SHARE;
    uint32_t window = endpoint->congestion.window;

    if (endpoint->breaker.state == BREAKER_HALF_OPEN) {
        return 1;
    }
    return endpoint->failing ? less_of(window, few > 0 ? few : 1) : window;
}

/* Tell whether one more may be in flight, as far as it is the endpoint's. */
static bool has_room(const struct endpoint *endpoint)
{
    if (endpoint->held || endpoint->breaker.state == BREAKER_OPEN) {
        return false;
    }
    if (endpoint->limited && rate_due_ms(&endpoint->limit, endpoint->limit_ms) >
                                 endpoint->limit_ms) {
        return false;
    }
    if (endpoint->breaker.state == BREAKER_HALF_OPEN) {
        return endpoint->probe == 0;
    }
    return endpoint->in_flight < in_flight_max_of(endpoint);
}

static void turn_remove(struct endpoint *endpoint, int kind)
{
    struct endpoint_turns *turns = &endpoint->set->turns[kind];

    if (list_linked(&endpoint->turns[kind])) {
        list_remove(&endpoint->turns[kind]);
        if (list_empty(&turns->levels[endpoint->level])) {
            turns->used &= ~(UINT64_C(1) << endpoint->level);
        }
    }
}

static void turn_append(struct endpoint *endpoint, int kind)
{
    struct endpoint_turns *turns = &endpoint->set->turns[kind];

    list_append(&turns->levels[endpoint->level], &endpoint->turns[kind]);
    turns->used |= UINT64_C(1) << endpoint->level;
}

/* Have the endpoint where it belongs, after any change of it. Who stays at its
 * level keeps its place there, but `served` goes behind the others. */
static void update_after(struct endpoint *endpoint, bool served)
{
    if (endpoint->waiting == 0 &&
        !list_linked(&endpoint->turns[ENDPOINT_FRESH]) &&
        !list_linked(&endpoint->turns[ENDPOINT_RETRY])) {
        return; /* nobody is in line, as mostly: its level is set later */
    }
    bool room = has_room(endpoint);
    uint32_t level = level_of(endpoint->in_flight);
    bool moves = served || level != endpoint->level;

    for (int kind = 0; kind < ENDPOINT_KINDS; kind++) {
        bool wanted = room && !list_empty(&endpoint->lines[kind]);
        if (moves || !wanted) {
            turn_remove(endpoint, kind);
        }
    }
    endpoint->level = level;
    for (int kind = 0; kind < ENDPOINT_KINDS; kind++) {
        bool wanted = room && !list_empty(&endpoint->lines[kind]);
        if (wanted && !list_linked(&endpoint->turns[kind])) {
            turn_append(endpoint, kind);
        }
    }
}

static void update(struct endpoint *endpoint)
{
    update_after(endpoint, false);
}

/* --- slots ---------------------------------------------------------------- */

/* Tell whether a slot is free for the endpoint; the last ones are for those
 * that hold few. */
static bool slot_free(const struct endpoint *endpoint, enum endpoint_kind kind)
{
    const struct endpoint_set *set = endpoint->set;
    uint32_t in_flight_max = set->in_flight_max;

    if (endpoint->in_flight >= ENDPOINT_FEW) {
        in_flight_max -= set->reserve;
    }
    return set->in_flight < in_flight_max &&
           (kind != ENDPOINT_RETRY || set->retries < set->retries_max);
}

static enum endpoint_kind kind_of(const struct endpoint *endpoint, bool retry)
{
    return retry || endpoint->failing ? ENDPOINT_RETRY : ENDPOINT_FRESH;
}

/* Give a slot to a waiter that is in no line. */
static void give_slot(struct endpoint_waiter *waiter)
{
    struct endpoint *endpoint = waiter->endpoint;
    struct endpoint_set *set = endpoint->set;

    CHECK(has_room(endpoint));
    CHECK(slot_free(endpoint, waiter->kind));
    waiter->in_flight = true;
    endpoint->sent++;
    waiter->number = endpoint->sent;
    if (endpoint->breaker.state == BREAKER_HALF_OPEN) {
        endpoint->probe = waiter->number;
    }
    if (endpoint->limited) {
        uint64_t due_ms = 0;
        bool given = rate_take(&endpoint->limit, endpoint->limit_ms, &due_ms);
        CHECK(given); /* has_room() */
    }
    endpoint->in_flight++;
    congestion_send(&endpoint->congestion, waiter->number, endpoint->in_flight);
    set->in_flight++;
    set->retries += waiter->kind == ENDPOINT_RETRY ? 1 : 0;
}

bool endpoint_take(struct endpoint *endpoint,
                   struct endpoint_waiter *waiter,
                   bool retry)
{
    enum endpoint_kind kind = kind_of(endpoint, retry);

    CHECK(waiter->endpoint == NULL);
    if (!has_room(endpoint) || !slot_free(endpoint, kind) ||
        !list_empty(&endpoint->lines[kind])) {
        return false;
    }
    waiter->endpoint = endpoint;
    waiter->kind = kind;
    give_slot(waiter);
    update(endpoint);
    return true;
}

void endpoint_wait(struct endpoint *endpoint,
                   struct endpoint_waiter *waiter,
                   bool retry)
{
    CHECK(waiter->endpoint == NULL);
    waiter->endpoint = endpoint;
    waiter->kind = kind_of(endpoint, retry);
    waiter->in_flight = false;
    list_append(&endpoint->lines[waiter->kind], &waiter->link);
    endpoint->waiting++;
    update(endpoint);
}

void endpoint_leave(struct endpoint_waiter *waiter)
{
    struct endpoint *endpoint = waiter->endpoint;

    if (endpoint == NULL) {
        return;
    }
    if (waiter->in_flight) {
        struct endpoint_set *set = endpoint->set;
        CHECK(endpoint->in_flight > 0 && set->in_flight > 0);
        endpoint->in_flight--;
        set->in_flight--;
        set->retries -= waiter->kind == ENDPOINT_RETRY ? 1 : 0;
        if (endpoint->probe == waiter->number) {
            endpoint->probe = 0;
        }
    } else {
        CHECK(endpoint->waiting > 0);
        endpoint->waiting--;
        list_remove(&waiter->link);
    }
    waiter->endpoint = NULL;
    waiter->in_flight = false;
    update(endpoint);
}

/* The endpoint whose turn it is; NULL when there is none for whom a slot is
 * free. Who has the fewest is asked first, so nobody else need be. */
static struct endpoint *first_of(struct endpoint_set *set,
                                 enum endpoint_kind kind)
{
    const struct endpoint_turns *turns = &set->turns[kind];

    if (turns->used == 0) {
        return NULL;
    }
    const struct list *level = &turns->levels[__builtin_ctzll(turns->used)];
    CHECK(!list_empty(level));
    struct endpoint *endpoint =
        CONTAINER_OF(level->next, struct endpoint, turns[kind]);
    return slot_free(endpoint, kind) ? endpoint : NULL;
}

struct endpoint_waiter *endpoint_next(struct endpoint_set *set)
{
    enum endpoint_kind kind = set->turn;
    struct endpoint *endpoint = first_of(set, kind);

    if (endpoint == NULL) {
        kind = kind == ENDPOINT_FRESH ? ENDPOINT_RETRY : ENDPOINT_FRESH;
        endpoint = first_of(set, kind);
    }
    if (endpoint == NULL) {
        return NULL;
    }
    struct list *first = list_take_first(&endpoint->lines[kind]);
    CHECK(first != NULL);
    struct endpoint_waiter *waiter =
        CONTAINER_OF(first, struct endpoint_waiter, link);

    endpoint->waiting--;
    set->turn = kind == ENDPOINT_FRESH ? ENDPOINT_RETRY : ENDPOINT_FRESH;
    give_slot(waiter);
    update_after(endpoint, true);
    return waiter;
}

/* --- outcomes ------------------------------------------------------------- */

/* Everybody in line for a first attempt now stands in the line of retries. */
static void demote(struct endpoint *endpoint)
{
    struct list *fresh = &endpoint->lines[ENDPOINT_FRESH];

    while (!list_empty(fresh)) {
        struct list *link = list_take_first(fresh);
        CONTAINER_OF(link, struct endpoint_waiter, link)->kind = ENDPOINT_RETRY;
        list_append(&endpoint->lines[ENDPOINT_RETRY], link);
    }
}

static enum breaker_sign sign_of(const struct endpoint_result *result)
{
    if (result->err != ERR_OK) {
        return BREAKER_SILENT;
    }
    return result->status == 429 || result->status >= 500 ? BREAKER_PROTEST
                                                          : BREAKER_GOOD;
}

/* Tell whether the target had more than it could do. */
static bool is_too_much(const struct endpoint_result *result)
{
    return result->err == ERR_TIMEOUT ||
           (result->err == ERR_OK &&
            (result->status == 429 || result->status == 503));
}

/* Let the window know, and the breaker. */
static void judge(struct endpoint *endpoint,
                  uint64_t number,
                  const struct endpoint_result *result)
{
    struct breaker *breaker = &endpoint->breaker;
    struct congestion *congestion = &endpoint->congestion;
    struct endpoint_set *set = endpoint->set;
    enum breaker_sign sign = sign_of(result);

    /* A probe that fails does not lower the threshold that was before. */
    if (is_too_much(result) && breaker->state == BREAKER_CLOSED) {
        congestion_cut(congestion, number);
    } else if (sign == BREAKER_GOOD) {
        congestion_grow(congestion, number);
    }
    /* An address that we may not connect to is no sign of its target; only a
     * probe must have an end. */
    if (result->err == ERR_DENIED && breaker->state == BREAKER_CLOSED) {
        return;
    }
    if (breaker_note(breaker, sign, number, endpoint->sent, result->now_ms)) {
        breaker_wait(breaker, &set->policy, &set->random, result->now_ms);
        congestion_collapse(congestion);
    }
}

void endpoint_note(struct endpoint_waiter *waiter,
                   const struct endpoint_result *result)
{
    struct endpoint *endpoint = waiter->endpoint;

    CHECK(endpoint != NULL && waiter->in_flight);
    if (!result->delivered) {
        endpoint->last_err = result->err;
        endpoint->last_status = result->status;
        endpoint->failed_ms = result->wall_ms;
    }
    latency_record(&endpoint->latency, result->elapsed_us);
    judge(endpoint, waiter->number, result);
    bool failing = endpoint->breaker.state != BREAKER_CLOSED ||
                   endpoint->breaker.silent > 0;
    if (failing && !endpoint->failing) {
        demote(endpoint);
    }
    endpoint->failing = failing;
    update(endpoint);
}

void endpoint_rest(struct endpoint *endpoint, bool begins)
{
    CHECK(begins || endpoint->resting > 0);
    endpoint->resting = begins ? endpoint->resting + 1 : endpoint->resting - 1;
}

/* --- closed until a time -------------------------------------------------- */

bool endpoint_hold(struct endpoint *endpoint, uint64_t until_ms)
{
    if (endpoint->held && endpoint->held_until_ms >= until_ms) {
        return false;
    }
    endpoint->held = true;
    endpoint->held_until_ms = until_ms;
    update(endpoint);
    return true;
}

void endpoint_limit(struct endpoint *endpoint,
                    const struct settings_rate *rate,
                    uint64_t now_ms)
{
    endpoint->limited = rate->count > 0;
    endpoint->limit = (struct rate_bucket){0};
    endpoint->limit_ms = now_ms;
    endpoint->busy_ms = now_ms;
    rate_set(&endpoint->limit, rate, now_ms);
    rate_level(&endpoint->limit, 0, now_ms);
    update(endpoint);
}

uint64_t endpoint_eta_ms(const struct endpoint *endpoint, uint64_t backlog)
{
    return endpoint->limited ? rate_span_ms(&endpoint->limit.rate, backlog) : 0;
}

void endpoint_reset(struct endpoint *endpoint)
{
    breaker_reset(&endpoint->breaker, endpoint->sent);
    congestion_reset(&endpoint->congestion);
    endpoint->probe = 0;
    endpoint->held = false;
    endpoint->failing = false;
    endpoint->limited = false;
    update(endpoint);
}

uint64_t endpoint_due_ms(const struct endpoint *endpoint)
{
    uint64_t due_ms = ENDPOINT_NEVER;

    if (endpoint->held) {
        due_ms = endpoint->held_until_ms;
    }
    if (endpoint->breaker.state == BREAKER_OPEN &&
        endpoint->breaker.until_ms < due_ms) {
        due_ms = endpoint->breaker.until_ms;
    }
    if (endpoint->limited &&
        endpoint->limit_ms + ENDPOINT_LIMIT_TICK_MS < due_ms) {
        due_ms = endpoint->limit_ms + ENDPOINT_LIMIT_TICK_MS;
    }
    return due_ms;
}

/* What came in while nobody took it is not given at once. */
static void tick_limit(struct endpoint *endpoint, uint64_t now_ms)
{
    uint64_t idle_ms = now_ms - endpoint->busy_ms;
    bool busy = endpoint->waiting > 0 || endpoint->in_flight > 0 ||
                endpoint->resting > 0;

    CHECK(now_ms >= endpoint->limit_ms);
    rate_level(&endpoint->limit, 2 * ENDPOINT_LIMIT_TICK_MS, now_ms);
    endpoint->limit_ms = now_ms;
    if (busy) {
        endpoint->busy_ms = now_ms;
    } else if (idle_ms >= ENDPOINT_LIMIT_IDLE_MS) {
        endpoint->limited = false;
    }
}

void endpoint_tick(struct endpoint *endpoint, uint64_t now_ms)
{
    if (endpoint->held && endpoint->held_until_ms <= now_ms) {
        endpoint->held = false;
    }
    breaker_tick(&endpoint->breaker, now_ms);
    if (endpoint->limited) {
        tick_limit(endpoint, now_ms);
    }
    update(endpoint);
}

/* --- for people ----------------------------------------------------------- */

void endpoint_view(const struct endpoint *endpoint,
                   struct endpoint_view *out_view)
{
    static const enum endpoint_state states[] = {
        [BREAKER_CLOSED] = ENDPOINT_CLOSED,
        [BREAKER_OPEN] = ENDPOINT_OPEN,
        [BREAKER_HALF_OPEN] = ENDPOINT_HALF_OPEN,
    };
    const struct breaker *breaker = &endpoint->breaker;
    const struct latency *latency = &endpoint->latency;

    *out_view = (struct endpoint_view){
        .state = states[breaker->state],
        .until_ms = breaker->state == BREAKER_OPEN ? breaker->until_ms : 0,
        .window = endpoint->congestion.window,
        .in_flight_max = in_flight_max_of(endpoint),
        .in_flight = endpoint->in_flight,
        .waiting = endpoint->waiting,
        .resting = endpoint->resting,
        .failures = breaker->failures,
        .last_err = endpoint->last_err,
        .last_status = endpoint->last_status,
        .failed_ms = endpoint->failed_ms,
        .latency_mean_us = latency->mean_us,
        .latency_p50_us = latency_percentile_us(latency, 50),
        .latency_p99_us = latency_percentile_us(latency, 99),
    };
    if (endpoint->held && endpoint->held_until_ms > out_view->until_ms) {
        out_view->state = ENDPOINT_HELD;
        out_view->until_ms = endpoint->held_until_ms;
    }
    if (endpoint->limited) {
        out_view->limit = endpoint->limit.rate;
    }
}

int endpoint_state_badness(enum endpoint_state state)
{
    switch (state) {
    case ENDPOINT_OPEN:
        return 3;
    case ENDPOINT_HELD:
        return 2;
    case ENDPOINT_HALF_OPEN:
        return 1;
    default:
        return 0;
    }
}

const char *endpoint_state_text(enum endpoint_state state)
{
    static const char *const texts[ENDPOINT_STATES] = {
        [ENDPOINT_CLOSED] = "closed",
        [ENDPOINT_OPEN] = "open",
        [ENDPOINT_HALF_OPEN] = "half_open",
        [ENDPOINT_HELD] = "held",
    };

    CHECK(state >= 0 && state < ENDPOINT_STATES);
    return texts[state];
}

/* How many requests an endpoint is given at once.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/congestion.h"

#include "base/check.h"

void congestion_init(struct congestion *congestion, uint32_t window_max)
{
    CHECK(window_max > 0);
    *congestion = (struct congestion){
        .window = window_max < CONGESTION_FIRST ? window_max : CONGESTION_FIRST,
        .window_max = window_max,
        .threshold = window_max,
    };
}

void congestion_send(struct congestion *congestion,
                     uint64_t number,
                     uint32_t in_flight)
{
    CHECK(number > congestion->sent);
    CHECK(in_flight > 0);
    congestion->sent = number;
    if (in_flight > congestion->peak) {
        congestion->peak = in_flight;
    }
}

/* A round is as long as a request takes: it ends with the outcome of one that
 * was sent after it began. */
static void follow(struct congestion *congestion, uint64_t number)
{
    CHECK(number <= congestion->sent);
    if (number > congestion->round_end) {
        congestion->round_end = congestion->sent;
        congestion->peak_last = congestion->peak;
        congestion->peak = 0;
    }
}

/* Most in flight lately. */
static uint32_t peak_of(const struct congestion *congestion)
{
    return congestion->peak > congestion->peak_last ? congestion->peak
                                                    : congestion->peak_last;
}

void congestion_grow(struct congestion *congestion, uint64_t number)
{
    follow(congestion, number);
    if (number <= congestion->cut_at ||
        congestion->window >= congestion->window_max ||
        congestion->window / 2 > peak_of(congestion)) {
        return;
    }
    if (congestion->window < congestion->threshold) {
        congestion->window++;
        return;
    }
    congestion->grown++;
    if (congestion->grown >= congestion->window) {
        congestion->grown = 0;
        congestion->window++;
    }
}

/* From now on it grows slowly past `threshold`. */
static void set_threshold(struct congestion *congestion, uint32_t threshold)
{
    congestion->threshold = threshold > CONGESTION_THRESHOLD_LEAST
                                ? threshold
                                : CONGESTION_THRESHOLD_LEAST;
    congestion->grown = 0;
}

void congestion_cut(struct congestion *congestion, uint64_t number)
{
    follow(congestion, number);
    if (number <= congestion->cut_at) {
        return;
    }
    /* A window that is far larger than what is in flight has not been tried:
     * half of it would still be no limit, and half of what is in flight is
     * too little after one slow answer. */
    uint32_t peak = peak_of(congestion);
    uint32_t half = congestion->window / 2;
    half = half < peak ? half : peak;
    congestion->window = half > CONGESTION_LEAST ? half : CONGESTION_LEAST;
    congestion->cut_at = congestion->sent;
    set_threshold(congestion, congestion->window);
}

void congestion_collapse(struct congestion *congestion)
{
    congestion->cut_at = congestion->sent;
    if (congestion->window > CONGESTION_LEAST) {
        set_threshold(congestion, congestion->window / 2);
        congestion->window = CONGESTION_LEAST;
    }
}

void congestion_reset(struct congestion *congestion)
{
    uint64_t sent = congestion->sent;

    congestion_init(congestion, congestion->window_max);
    congestion->sent = sent;
    congestion->round_end = sent;
    congestion->cut_at = sent;
}

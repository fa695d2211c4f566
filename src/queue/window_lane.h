/* The lanes of a window, and what its files know of one another. Private to
 * window*.c.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_WINDOW_LANE_H
#define OPQ_QUEUE_WINDOW_LANE_H

#include "queue/window.h"

/* Tell whether there are as many lanes that have something as may be. */
static inline bool window_lanes_full(const struct window *window)
{
    return window->lanes.count - window->lanes_idle_count >= WINDOW_LANES_MAX;
}

/* Find or make the lane of a message; `*out` NULL: it is in none.
 *
 * Errors: ERR_NOMEM
 *         ERR_FULL   there are WINDOW_LANES_MAX that have something */
MUST_CHECK enum err
window_lane_of(struct window *window, struct str key, struct window_lane **out);

/* A lane has one parcel less, or none aside: it may want more, or have nothing
 * any more; then what it knows is kept for a while. */
void window_lane_less(struct window *window, struct window_lane *lane);

/* Free all lanes of keys. None has parcels. */
void window_lane_clear(struct window *window);

/* A message with a lane, or NULL, is a parcel, which is linked already; ready
 * when it is the first of its lane. (window.c) */
void window_enter(struct window *window,
                  struct window_parcel *parcel,
                  struct window_lane *lane,
                  uint64_t sequence,
                  uint32_t priority);

/* Messages below `oldest` are aside no more. (window_aside.c) */
void window_aside_trim(struct window *window, uint64_t oldest);

#endif

/* Pausing a subscription whose target is gone (410). Private to deliverer*.c.
 *
 * Threads: the loop's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_DELIVERER_PAUSE_H
#define OPQ_QUEUE_DELIVERER_PAUSE_H

#include "base/err.h"
#include "queue/topic.h"

/* Have the settings of a subscription say that it is paused, and store them.
 * Its delivery looks at them with topic_changed(). When they cannot be stored,
 * a line says so, and it is paused until the server stops.
 *
 * Errors: ERR_TOO_LARGE, ERR_NOMEM; the settings are as they were */
MUST_CHECK enum err deliverer_pause(struct topic *subscription);

#endif

/* Pausing a subscription whose target is gone.
 *
 * The change is like an operator's pause, but that nobody waits for its end:
 * what goes with it frees itself. It does not touch the subscription then,
 * which may be deleted by that time.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer_pause.h"

#include "base/check.h"
#include "base/diag.h"

#include <stdlib.h>

struct pause {
    struct store_op op;
    uint64_t id; /* of the subscription */
};

static void stored(struct store_op *op, enum err err)
{
    struct pause *pause = CONTAINER_OF(op, struct pause, op);

    if (err != ERR_OK) {
        DIAG_WARN("subscription_pause_not_stored", "id=%016llx err=%s",
                  (unsigned long long)pause->id, err_text(err));
    }
    free(pause);
}

enum err deliverer_pause(struct topic *subscription)
{
    struct store_topic *view = subscription->store;
    struct buf text = {0};
    struct pause *pause = calloc(1, sizeof(*pause));

    if (pause == NULL) {
        return ERR_NOMEM;
    }
    subscription->settings.paused = true;
    enum err err = topic_write(subscription, &subscription->settings, &text);
    if (err != ERR_OK) {
        subscription->settings.paused = false;
        free(pause);
    } else {
        pause->op.done = stored;
        pause->id = view->id;
        store_topic_configure(view, buf_str(&text), &view->retention,
                              &pause->op);
    }
    buf_fini(&text);
    return err;
}

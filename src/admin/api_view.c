/* A view that a call makes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/api_view.h"

#include "base/buf.h"
#include "base/check.h"

static struct api_view *view_of(struct store_op *op)
{
    return CONTAINER_OF(op, struct api_view_step, op)->view;
}

/* It is gone, for it could not be made. */
static void undone(struct store_op *op, enum err err)
{
    struct api_view *view = view_of(op);

    (void)err; /* then it is there, and was never promised */
    shard_topic_unused(view->there, str_from(view->topic));
    view->made(view, view->err);
}

/* Not all of it could be made durable: take back what was. */
static void undo(struct api_view *view)
{
    struct str name = str_from(view->name);
    struct topic *topic = NULL;
    struct topic *subscription = NULL;

    if (shard_topic(view->there, str_from(view->topic), false, &topic) ==
        ERR_OK) {
        shard_subscription_unused(view->there, topic, name);
        if (shard_subscription(view->there, topic, name, false,
                               &subscription) == ERR_OK) {
            view->steps[0].op = (struct store_op){.done = undone};
            shard_subscription_delete(view->there, subscription,
                                      &view->steps[0].op);
            return;
        }
    }
    undone(&view->steps[0].op, ERR_OK);
}

static void step_end(struct api_view *view)
{
    CHECK(view->pending > 0);
    view->pending--;
    if (view->pending > 0) {
        return;
    }
    if (view->err == ERR_OK) {
        view->made(view, ERR_OK);
    } else {
        undo(view);
    }
}

static void step_done(struct store_op *op, enum err err)
{
    struct api_view *view = view_of(op);

    view->err = view->err == ERR_OK ? err : view->err;
    step_end(view);
}

static struct store_op *step_begin(struct api_view *view, unsigned index)
{
    struct api_view_step *step = &view->steps[index];

    step->view = view;
    step->op = (struct store_op){.done = step_done};
    view->pending++;
    return &step->op;
}

void api_view_make(struct api_view *view,
                   struct topic *topic,
                   const struct settings *settings,
                   uint64_t start)
{
    struct store_topic *stored = NULL;
    struct buf text = {0};

    enum err err = settings_write(settings, &text);
    if (err == ERR_OK) {
        err =
            store_view_open(topic->store, str_from(view->name), true, &stored);
    }
    if (err != ERR_OK) {
        buf_fini(&text);
        shard_topic_unused(view->there, str_from(view->topic));
        view->made(view, err);
        return;
    }
    view->err = ERR_OK;
    view->pending = 1;
    view->steps[0].view = view;
    store_topic_configure(stored, buf_str(&text), &settings->retention,
                          step_begin(view, 0));
    if (start != stored->cursor.next) {
        store_cursor_move(stored, start, step_begin(view, 1));
    }
    if (!settings_holds(settings)) {
        store_view_hold(stored, false, step_begin(view, 2));
    }
    buf_fini(&text);
    step_end(view);
}

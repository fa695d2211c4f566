/* A page of a topic's messages, read on its shard from a place on, perhaps
 * waiting for the next one to come.
 *
 *     begin -> (reading | waiting)* -> done()
 *
 * A page ends when it has `limit` messages or `size_max` bytes; at the end of
 * the log when it has any, or its time is over, the shard stops, or it was
 * cancelled; when the topic is deleted, with ERR_NOT_FOUND.
 *
 * Threads: the loop's of the topic's shard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_ADMIN_API_PAGE_H
#define OPQ_ADMIN_API_PAGE_H

#include "admin/api_internal.h"
#include "queue/filter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum api_page_form {
    API_PAGE_LIST,   /* {...},\n{...} */
    API_PAGE_EVENTS, /* server-sent events */
};

enum { API_PAGE_PASSED_MAX = CURSOR_RANGES_MAX }; /* ranges that are noted */

/* Embedded in the owner's object. It ends early, with what it has, when the
 * subscription is changed: what follows is for its filter as it is then. */
struct api_page {
    /* Set by the owner, all borrowed. */
    struct api *api;
    struct shard *there;
    const char *topic;
    const char *subscription;    /* whose acknowledged messages are left out;
                                    empty: none */
    const struct filter *filter; /* the others are left out; NULL: none */
    struct buf *to;              /* where it is written */
    /* It ended. It may begin again from here. `subject` begins the text of an
     * error. */
    void (*done)(struct api_page *page, enum err err, const char *subject);
    enum api_page_form form;
    uint64_t next;    /* where to begin; then: what follows */
    uint32_t limit;   /* messages */
    size_t size_max;  /* bytes after which it ends */
    uint32_t wait_ms; /* for the first message */
    bool held;        /* there is nothing to read at present, only to wait */
    /* The result. */
    uint32_t count;
    uint32_t passed_count; /* messages that the filter left out, as far as */
    struct store_range passed[API_PAGE_PASSED_MAX]; /* there is room */
    /* Private. */
    struct api_reading reading;
    struct store_watch watch;
    struct io_timer timer;
    uint64_t due_ms;
    bool open;
    bool waiting;
    bool woken;
    bool cancelled;
    bool changed; /* the subscription has: nothing more may be read */
};

/* Begin to read; the fields above are set. done() may come from inside. */
void api_page_begin(struct api_page *page);

/* Nobody waits for it any more: end it, now or at the end of the log. */
void api_page_cancel(struct api_page *page);

#endif

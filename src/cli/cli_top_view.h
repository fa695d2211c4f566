/* What `opq top` shows: a server's figures, their rates, and the page of text
 * that they make. No terminal, no network.
 *
 *     init -> (take_* -> render)* -> fini
 *
 * Threads: one.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_CLI_TOP_VIEW_H
#define OPQ_CLI_CLI_TOP_VIEW_H

#include "base/buf.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What topics are sorted by; the greatest first, but names. */
enum top_sort {
    TOP_SORT_LAG,
    TOP_SORT_PUSHED,
    TOP_SORT_FAILED,
    TOP_SORT_NAME,
    TOP_SORT_COUNT
};

struct top_topic {
    json_t *item; /* owned: as the server lists it */
    double pushed;
    double delivered; /* in a second, as the others */
    double failed;
};

struct top_view {
    const char *url;          /* borrowed: the server's */
    json_t *info;             /* owned; NULL: nothing was taken yet */
    json_t *info_before;      /* owned; NULL: there are no rates yet */
    json_t *before;           /* owned: topics by name, of the last time */
    uint64_t taken_ms;        /* monotonic: when info was */
    uint64_t span_ms;         /* between info_before and info */
    struct top_topic *topics; /* owned */
    size_t topic_count;
    size_t topic_room;
    json_t *endpoints; /* owned: an array */
    uint64_t lag;      /* of all topics but dead letters */
    uint64_t age_ms;   /* of the oldest message not delivered */
    enum top_sort sort;
    size_t scroll; /* topics left out at the top */
    bool paused;
    bool lost;   /* the server did not answer the last time */
    bool failed; /* no memory */
};

/* How a page is laid out. */
struct top_page {
    uint32_t width;  /* columns; 0: as wide as it gets, without escapes */
    uint32_t height; /* lines; 0: all that there is */
};

/* Begin. Borrows: url. */
void cli_top_view_init(struct top_view *view, const char *url);

/* Free what it has. */
void cli_top_view_fini(struct top_view *view);

/* Take what GET /opq/info gave, at a time of a clock that never jumps; what was
 * there becomes what rates are counted from. Takes: info. */
void cli_top_view_take_info(struct top_view *view,
                            json_t *info,
                            uint64_t now_ms);

/* Take one of the topics of GET /opq/topics, after the info; `context` is the
 * view. */
void cli_top_view_take_topic(void *context, const json_t *item);

/* Take one of the endpoints of GET /opq/endpoints, after the info; `context` is
 * the view. */
void cli_top_view_take_endpoint(void *context, const json_t *endpoint);

/* Append the page. With a width: at most `height` lines of at most `width`
 * columns, each wiped to its end and all below, to be written from the top
 * left corner on. */
void cli_top_view_render(struct top_view *view,
                         const struct top_page *page,
                         struct buf *to);

/* Scroll the topics by some lines, up (below 0) or down. */
void cli_top_view_scroll(struct top_view *view, int lines);

#endif

/* When a shard may hand over to a successor: the wait before a smooth restart.
 *
 * Nothing that is under way is cut for a restart: it is waited for, each to the
 * end that its own timeout sets, while all else goes on. So the moment is
 * sought in which little is under way:
 *
 *     WAITING    all goes on; targets that are slow get nothing new
 *     ENDING     when nothing on any shard is slow any more: no delivery and no
 *                upload begins; those under way are about to end
 *     QUIET      they have ended here; others are waited for
 *
 * When ENDING takes longer than it should, since something has turned slow, all
 * goes on (WAITING), and the next time it may take twice as long. Targets are
 * held by how slow they are: while one lets a request wait for ten seconds,
 * those that take one go on; when that is over, those get nothing new, and so
 * on. Where ever new targets turn slow that moment never comes by itself; then,
 * when all that was under way at first has ended long ago, ENDING is tried
 * without it.
 *
 * All shards are QUIET at once or go on at once: who counts last in
 * shard_group.quiet makes it final.
 *
 * Threads: the shard's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_HANDING_H
#define OPQ_QUEUE_HANDING_H

#include "http/server.h"
#include "queue/deliverer.h"
#include "queue/listener.h"
#include "queue/shard.h"
#include "sys/io.h"

#include <stdbool.h>
#include <stdint.h>

enum handing_stage {
    HANDING_OFF, /* it was not begun, or is cancelled */
    HANDING_WAITING,
    HANDING_ENDING,
    HANDING_QUIET,
};

/* Embedded in the pipeline. Zeroed: off. */
struct handing {
    enum handing_stage stage;
    struct shard *shard;         /* borrowed, as these: */
    struct deliverer *deliverer; /* its deliveries are waited for */
    struct listener *listener;   /* its uploads, too */
    struct http_server *server;
    struct io_timer timer;    /* private, as all below: of the next look */
    uint64_t begun_ms;        /* all times are of the loop */
    uint64_t look_ms;         /* when it is worth looking again */
    uint64_t longest_ms;      /* what was waited for anywhere */
    bool preparing;           /* the store writes what it has in memory */
    uint64_t prepared_ms;     /* when it had done so */
    uint64_t ending_ms;       /* how long ENDING may take, this time */
    uint64_t ending_until_ms; /* while it does */
    uint64_t again_ms;        /* before that it is not tried by force */
    uint64_t say_ms;          /* when there is a line about it */
};

/* Begin to wait. The four pointers are set; the loop's turn calls
 * handing_look(). */
void handing_start(struct handing *handing);

/* Each turn: take the next step when there is one. True: this is the last shard
 * to be quiet, and all are to hold their connections. */
bool handing_look(struct handing *handing);

/* Let all go on as before: it is to be no restart. False: all shards are quiet,
 * and it is too late for that. */
bool handing_cancel(struct handing *handing);

#endif

/* A record as JSON, for people and programs that look in.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_STORE_STORE_SHOW_H
#define OPQ_STORE_STORE_SHOW_H

#include "base/buf.h"
#include "log/record.h"

/* Append what doc/http-api.md shows of a message from `pushed_at` on: members,
 * each with a comma before it, for an object that has begun. The id that a
 * message brought with it (message_options.id) is the caller's to show. */
void store_show(const struct record *record, struct buf *to);

#endif

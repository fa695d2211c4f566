/* Target URLs that were checked and found good, so that the next push for one
 * of them need not read it again.
 *
 * A table of fixed size, one place for each hash: a URL takes the place of the
 * one before it. So nothing is ever wrong in it but what was put there, and at
 * worst every URL is read, as it would be without.
 *
 * Threads: none of its own; one thread at a time.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_URL_MEMO_H
#define OPQ_QUEUE_URL_MEMO_H

#include "base/str.h"

#include <stdbool.h>

enum {
    URL_MEMO_PLACES = 1024, /* a power of 2; 128 KiB in all */
    URL_MEMO_SIZE_MAX = 127 /* bytes of a URL that is kept; most are shorter */
};

/* Zeroed to begin. */
struct url_memo {
    struct url_memo_place {
        unsigned char size; /* bytes of the URL; 0: none is here */
        char text[URL_MEMO_SIZE_MAX];
    } places[URL_MEMO_PLACES];
};

/* Tell whether this URL, byte for byte, was put there and is still. */
bool url_memo_has(const struct url_memo *memo, struct str url);

/* Keep a URL. One that is too short or too long is not kept. */
void url_memo_put(struct url_memo *memo, struct str url);

#endif

/* Target URLs that were read and found good, so that the next message for one
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
#include "http/url.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    URL_MEMO_PLACES = 1024,  /* a power of 2; 128 KiB in all */
    URL_MEMO_SIZE_MAX = 116, /* bytes of a URL that is kept; most are shorter */
};

/* Zeroed to begin. */
struct url_memo {
    struct url_memo_place {
        uint8_t size; /* bytes of the URL; 0: none is here */
        bool secure;
        bool host_is_ip6;
        bool port_given;
        uint16_t port;
        struct url_memo_slice {
            uint8_t at; /* in the text */
            uint8_t size;
        } host, authority, target;
        char text[URL_MEMO_SIZE_MAX];
    } places[URL_MEMO_PLACES];
};

/* Tell whether this URL, byte for byte, was put there and is still. */
bool url_memo_has(const struct url_memo *memo, struct str text);

/* The same, and give what url_parse() made of it: slices of `text`. */
bool url_memo_find(const struct url_memo *memo,
                   struct str text,
                   struct url *out_url);

/* Keep a URL, which url_parse() made of `text`. One that is too long is not
 * kept. */
void url_memo_put(struct url_memo *memo,
                  struct str text,
                  const struct url *url);

#endif

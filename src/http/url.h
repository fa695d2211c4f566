/* Target URLs: http and https, as RFC 3986 writes them.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_HTTP_URL_H
#define OPQ_HTTP_URL_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { URL_SIZE_MAX = 8 * 1024 }; /* bytes of a URL */

struct url {
    bool secure;      /* https */
    struct str host;  /* without the brackets of IPv6; borrowed, all below */
    bool host_is_ip6; /* it stood in brackets */
    uint16_t port;    /* 80 or 443 when not given */
    bool port_given;
    struct str authority; /* host and port as they stood, for Host */
    struct str target;    /* path and query as they stood; may be empty, then
                             "/" is meant; may begin with '?', then "/" goes
                             before it; the fragment is dropped */
};

/* Parse a target URL, borrowing `text`.
 *
 * A host that ends in a number must be an IPv4 address as it is usually
 * written: other forms are read differently by different programs.
 *
 * Errors: ERR_INVALID    not http or https, no or malformed host, user
 *                        information, bad port, controls, blanks or bytes
 *                        above 0x7e; `*out_reason` is a static text that says
 *                        which, for people
 *         ERR_TOO_LARGE  past URL_SIZE_MAX (`*out_reason` likewise)
 */
MUST_CHECK enum err
url_parse(struct str text, struct url *out_url, const char **out_reason);

/* Tell whether two URLs have the same endpoint: scheme, host (no case), port.
 */
bool url_same_endpoint(const struct url *left, const struct url *right);

#endif

/* Which headers of a push go with its deliveries.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/forward.h"

/* Names are told by their size first: most headers of a push are dropped
 * or kept by one branch. */
static bool is_dropped(struct str name)
{
    switch (name.size) {
    case 2:
        return str_equal_nocase(name, STR("TE"));
    case 4:
        return str_equal_nocase(name, STR("Host"));
    case 6:
        return str_equal_nocase(name, STR("Expect"));
    case 7:
        return str_equal_nocase(name, STR("Trailer")) ||
               str_equal_nocase(name, STR("Upgrade"));
    case 10:
        return str_equal_nocase(name, STR("Connection")) ||
               str_equal_nocase(name, STR("Keep-Alive")) ||
               str_equal_nocase(name, STR("webhook-id"));
    case 14:
        return str_equal_nocase(name, STR("Content-Length")) ||
               str_equal_nocase(name, STR("HTTP2-Settings"));
    case 17:
        return str_equal_nocase(name, STR("Transfer-Encoding")) ||
               str_equal_nocase(name, STR("webhook-signature")) ||
               str_equal_nocase(name, STR("webhook-timestamp"));
    default:
        return false;
    }
}

/* Tell whether a name begins so, and is longer. */
static bool has_prefix(struct str name, struct str prefix)
{
    return name.size > prefix.size &&
           str_equal_nocase(str_cut(name, 0, prefix.size), prefix);
}

bool forward_drops(struct str name)
{
    return is_dropped(name) || has_prefix(name, STR("Opq-")) ||
           has_prefix(name, STR("Proxy-")) || has_prefix(name, STR("Webhook-"));
}

static bool is_connection(const struct http_header *header)
{
    return header->name.size == 10 &&
           str_equal_nocase(header->name, STR("connection"));
}

size_t forward_connection_size(const struct http_head *head)
{
    size_t size = 0;

    for (uint32_t i = 0; i < head->header_count; i++) {
        const struct http_header *header = &head->headers[i];
        size += is_connection(header) ? header->value.size : 0;
    }
    return size;
}

bool forward_is_named(const struct http_head *head, struct str name)
{
    for (uint32_t i = 0; i < head->header_count; i++) {
        const struct http_header *header = &head->headers[i];
        if (is_connection(header) && http_list_has(header->value, name)) {
            return true;
        }
    }
    return false;
}

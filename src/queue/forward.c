/* Which headers of a push go with its deliveries.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/forward.h"

static const struct str dropped[] = {
    {"TE", 2},
    {"Host", 4},
    {"Expect", 6},
    {"Trailer", 7},
    {"Upgrade", 7},
    {"Connection", 10},
    {"Keep-Alive", 10},
    {"webhook-id", 10},
    {"Content-Length", 14},
    {"HTTP2-Settings", 14},
    {"Transfer-Encoding", 17},
    {"webhook-signature", 17},
    {"webhook-timestamp", 17},
};

/* What begins so, and is longer. */
static const struct str dropped_prefixes[] = {
    {"Opq-", 4},
    {"Proxy-", 6},
};

bool forward_drops(struct str name)
{
    for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++) {
        if (name.size == dropped[i].size &&
            str_equal_nocase(name, dropped[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(dropped_prefixes) / sizeof(struct str); i++) {
        struct str prefix = dropped_prefixes[i];
        if (name.size > prefix.size &&
            str_equal_nocase(str_cut(name, 0, prefix.size), prefix)) {
            return true;
        }
    }
    return false;
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

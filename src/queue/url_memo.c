/* Target URLs that were found good.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/url_memo.h"

#include "base/buf.h"

#include <string.h>

enum { WORD = 8 }; /* bytes; no URL is shorter */

static bool is_kept(struct str url)
{
    return url.size >= WORD && url.size <= URL_MEMO_SIZE_MAX;
}

/* The place of a URL that is_kept(). All of it counts: the URLs of one
 * receiver may differ anywhere. */
static size_t place_of(struct str url)
{
    const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t hash = get_u64(url.data + url.size - WORD) ^ url.size;

    for (size_t at = 0; at + WORD < url.size; at += WORD) {
        hash = hash * factor ^ hash >> 32 ^ get_u64(url.data + at);
    }
    hash *= factor;
    return (size_t)((hash ^ hash >> 32) * factor >> 54);
}

_Static_assert(URL_MEMO_PLACES == 1 << (64 - 54), "a hash is a place");

bool url_memo_has(const struct url_memo *memo, struct str url)
{
    if (!is_kept(url)) {
        return false;
    }
    const struct url_memo_place *place = &memo->places[place_of(url)];
    return place->size == url.size &&
           memcmp(place->text, url.data, url.size) == 0;
}

void url_memo_put(struct url_memo *memo, struct str url)
{
    if (is_kept(url)) {
        struct url_memo_place *place = &memo->places[place_of(url)];
        place->size = (unsigned char)url.size;
        memcpy(place->text, url.data, url.size);
    }
}

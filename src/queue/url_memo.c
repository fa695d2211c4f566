/* Target URLs that were found good.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/url_memo.h"

#include "base/buf.h"
#include "base/check.h"

#include <string.h>

enum { WORD = 8 }; /* bytes; no URL is shorter */

_Static_assert(sizeof(struct url_memo_place) == 128, "two lines of cache");

static bool is_kept(struct str text)
{
    return text.size >= WORD && text.size <= URL_MEMO_SIZE_MAX;
}

/* The place of a URL that is_kept(). All of it counts: the URLs of one
 * receiver may differ anywhere. */
static size_t place_of(struct str text)
{
    const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t hash = get_u64(text.data + text.size - WORD) ^ text.size;

    for (size_t at = 0; at + WORD < text.size; at += WORD) {
        hash = hash * factor ^ hash >> 32 ^ get_u64(text.data + at);
    }
    hash *= factor;
    return (size_t)((hash ^ hash >> 32) * factor >> 54);
}

_Static_assert(URL_MEMO_PLACES == 1 << (64 - 54), "a hash is a place");

/* The place where a URL is; NULL when it is not. */
static const struct url_memo_place *find(const struct url_memo *memo,
                                         struct str text)
{
    if (!is_kept(text)) {
        return NULL;
    }
    const struct url_memo_place *place = &memo->places[place_of(text)];
    bool same = place->size == text.size &&
                memcmp(place->text, text.data, text.size) == 0;
    return same ? place : NULL;
}

bool url_memo_has(const struct url_memo *memo, struct str text)
{
    return find(memo, text) != NULL;
}

/* Cut what was noted out of a text. */
static struct str slice(struct str text, struct url_memo_slice noted)
{
    return (struct str){text.data + noted.at, noted.size};
}

bool url_memo_find(const struct url_memo *memo,
                   struct str text,
                   struct url *out_url)
{
    const struct url_memo_place *place = find(memo, text);

    if (place == NULL) {
        return false;
    }
    *out_url = (struct url){
        .secure = place->secure,
        .host = slice(text, place->host),
        .host_is_ip6 = place->host_is_ip6,
        .port = place->port,
        .port_given = place->port_given,
        .authority = slice(text, place->authority),
        .target = slice(text, place->target),
    };
    return true;
}

/* Note where a slice lies in its text; an empty one may lie nowhere. */
static struct url_memo_slice note(struct str text, struct str part)
{
    struct url_memo_slice noted = {0, (uint8_t)part.size};

    if (part.size > 0) {
        CHECK(part.data >= text.data && part.size <= text.size);
        noted.at = (uint8_t)(part.data - text.data);
    }
    return noted;
}

void url_memo_put(struct url_memo *memo, struct str text, const struct url *url)
{
    if (!is_kept(text)) {
        return;
    }
    struct url_memo_place *place = &memo->places[place_of(text)];
    *place = (struct url_memo_place){
        .size = (uint8_t)text.size,
        .secure = url->secure,
        .host_is_ip6 = url->host_is_ip6,
        .port_given = url->port_given,
        .port = url->port,
        .host = note(text, url->host),
        .authority = note(text, url->authority),
        .target = note(text, url->target),
    };
    memcpy(place->text, text.data, text.size);
}

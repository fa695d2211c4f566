/* The server's own events, as far as the server itself has to do with them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/announce.h"

#include "base/json_text.h"
#include "http/url.h"
#include "queue/notices.h"

enum err announce_check(const char *url, struct buf *errors)
{
    struct str text = str_from(url);
    struct url parsed;
    const char *reason = NULL;

    if (text.size == 0 || url_parse(text, &parsed, &reason) == ERR_OK) {
        return ERR_OK;
    }
    buf_append_format(errors, "events_url: %s\n", reason);
    return ERR_INVALID;
}

void announce_start(const struct shard *shard, const char *version, bool smooth)
{
    struct buf data;

    if (shard->index > 0) {
        return;
    }
    buf_init(&data, 0);
    json_text_append_text(&data, "version", str_from(version));
    buf_append_c(&data, smooth ? ",\"smooth\":true" : ",\"smooth\":false");
    notices_raise(shard, NOTICE_SERVER_STARTED, STR("opq"), &data);
    buf_fini(&data);
}

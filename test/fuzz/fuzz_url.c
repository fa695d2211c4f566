/* A URL that was taken is made of its parts, and taken again as the same.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "base/check.h"
#include "http/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_parts(const struct url *url)
{
    const char *reason = NULL;
    struct buf text = {0};
    struct url again;
    CHECK(url->port > 0);
    CHECK(url->host.size > 0 && url->host.size <= url->authority.size);
    CHECK(str_find(url->authority, '@') == url->authority.size);
    CHECK(str_find(url->target, '#') == url->target.size);
    CHECK(url->target.size == 0 || url->target.data[0] == '/' ||
          url->target.data[0] == '?');
    buf_append_c(&text, url->secure ? "https://" : "http://");
    buf_append_str(&text, url->authority);
    buf_append_str(&text, url->target);
    CHECK(url_parse(buf_str(&text), &again, &reason) == ERR_OK);
    CHECK(url_same_endpoint(url, &again));
    CHECK(str_equal(url->target, again.target));
    CHECK(str_equal(url->host, again.host));
    CHECK(url->port_given == again.port_given);
    buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct url url;
    const char *reason = NULL;
    enum err err =
        url_parse((struct str){(const char *)data, size}, &url, &reason);
    if (err == ERR_OK) {
        check_parts(&url);
    } else {
        CHECK(err == ERR_INVALID || err == ERR_TOO_LARGE);
        CHECK(reason != NULL);
    }
    return 0;
}

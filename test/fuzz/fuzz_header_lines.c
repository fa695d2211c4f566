/* Lines of headers that were found right are sent as headers, and nothing that
 * would break the framing ever is.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "http/parse.h"
#include "queue/forward.h"
#include "queue/header_lines.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is sent is lines of name and value, none of which is refused. */
static void check_sent(struct str text)
{
    while (text.size > 0) {
        size_t end = str_find(text, '\r');
        CHECK(end + 1 < text.size && text.data[end + 1] == '\n');
        struct str line = str_cut(text, 0, end);
        size_t colon = str_find(line, ':');
        CHECK(colon + 1 < line.size && line.data[colon + 1] == ' ');
        CHECK(http_is_token(str_cut(line, 0, colon)));
        CHECK(!forward_drops(str_cut(line, 0, colon)));
        CHECK(http_is_field_value(str_cut(line, colon + 2, line.size)));
        text = str_cut(text, end + 2, text.size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str lines = {(const char *)data, size};
    struct str wrong = STR("");
    struct buf to = {0};
    const char *reason = NULL;
    bool has_secret = false;

    enum err checked = header_lines_check(lines, &reason, &wrong);
    CHECK(checked == ERR_OK || reason != NULL);
    enum err err =
        header_lines_expand(lines, NULL, 0, &to, &has_secret, &wrong);
    if (err == ERR_OK) {
        check_sent(buf_str(&to));
        CHECK(!has_secret);
    } else {
        CHECK(err == ERR_NOT_FOUND || err == ERR_INVALID);
        CHECK(err == ERR_NOT_FOUND || checked != ERR_OK);
        CHECK(to.size == 0);
    }
    buf_fini(&to);
    return 0;
}

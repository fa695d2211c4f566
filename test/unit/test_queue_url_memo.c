/* Tests of queue/url_memo: it has what was put there, and nothing else.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/url_memo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static struct url_memo memo;

static int forget(void **state)
{
    (void)state;
    memset(&memo, 0, sizeof(memo));
    return 0;
}

static void a_url_is_known_byte_for_byte(void **state)
{
    (void)state;
    assert_false(url_memo_has(&memo, STR("http://host/path")));
    url_memo_put(&memo, STR("http://host/path"));
    assert_true(url_memo_has(&memo, STR("http://host/path")));
    assert_false(url_memo_has(&memo, STR("http://host/patH")));
    assert_false(url_memo_has(&memo, STR("Http://host/path")));
    assert_false(url_memo_has(&memo, STR("http://host/pat")));
    assert_false(url_memo_has(&memo, STR("http://host/path/")));
    assert_false(url_memo_has(&memo, STR("")));
}

static void only_sizes_with_a_place_are_kept(void **state)
{
    char text[URL_MEMO_SIZE_MAX + 1];

    (void)state;
    memset(text, 'a', sizeof(text));
    for (size_t size = 0; size <= sizeof(text); size++) {
        struct str url = {text, size};
        url_memo_put(&memo, url);
        assert_true(url_memo_has(&memo, url) ==
                    (size >= 8 && size <= URL_MEMO_SIZE_MAX));
    }
}

/* Ten times more than there are places: each is known when it was the last to
 * take its place, and no other is ever taken for it. */
static void urls_take_places_from_one_another(void **state)
{
    enum { COUNT = 10 * URL_MEMO_PLACES };
    uint32_t known = 0;

    (void)state;
    for (int pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < COUNT; i++) {
            char text[64];
            (void)snprintf(text, sizeof(text), "http://h/topic-%u/hook", i);
            if (pass == 0) {
                assert_false(url_memo_has(&memo, str_from(text)));
                url_memo_put(&memo, str_from(text));
                assert_true(url_memo_has(&memo, str_from(text)));
            } else {
                known += url_memo_has(&memo, str_from(text)) ? 1 : 0;
            }
        }
    }
    /* The hash leaves few places empty. */
    assert_in_range(known, URL_MEMO_PLACES * 9 / 10, URL_MEMO_PLACES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_url_is_known_byte_for_byte, forget),
        cmocka_unit_test_setup(only_sizes_with_a_place_are_kept, forget),
        cmocka_unit_test_setup(urls_take_places_from_one_another, forget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

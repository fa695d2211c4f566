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

/* Read a URL, which is good, and keep it. */
static void keep(const char *text)
{
    struct url url;
    const char *reason = NULL;

    assert_int_equal(url_parse(str_from(text), &url, &reason), ERR_OK);
    url_memo_put(&memo, str_from(text), &url);
}

/* The parts are those that url_parse() gives, in the text that is asked for. */
static void a_url_is_taken_apart_as_it_was(void **state)
{
    static const char *const texts[] = {
        "http://a",
        "https://a",
        "http://a:8080/x?y#z",
        "http://a?q",
        "https://[2001:db8::1]:444/p",
        "HTTPS://Host.example.:80",
        "http://127.0.0.1:1/",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char text[64];
        struct url found;
        struct url wanted;
        const char *reason = NULL;
        keep(texts[i]);
        (void)snprintf(text, sizeof(text), "%s", texts[i]);
        assert_int_equal(url_parse(str_from(text), &wanted, &reason), ERR_OK);
        assert_true(url_memo_find(&memo, str_from(text), &found));
        assert_true(found.secure == wanted.secure);
        assert_true(found.host_is_ip6 == wanted.host_is_ip6);
        assert_true(found.port_given == wanted.port_given);
        assert_int_equal(found.port, wanted.port);
        assert_ptr_equal(found.host.data, wanted.host.data);
        assert_int_equal(found.host.size, wanted.host.size);
        assert_ptr_equal(found.authority.data, wanted.authority.data);
        assert_int_equal(found.authority.size, wanted.authority.size);
        assert_true(str_equal(found.target, wanted.target));
        if (wanted.target.size > 0) {
            assert_ptr_equal(found.target.data, wanted.target.data);
        }
    }
}

static void a_url_is_known_byte_for_byte(void **state)
{
    (void)state;
    assert_false(url_memo_has(&memo, STR("http://host/path")));
    keep("http://host/path");
    assert_true(url_memo_has(&memo, STR("http://host/path")));
    assert_false(url_memo_has(&memo, STR("http://host/patH")));
    assert_false(url_memo_has(&memo, STR("Http://host/path")));
    assert_false(url_memo_has(&memo, STR("http://host/pat")));
    assert_false(url_memo_has(&memo, STR("http://host/path/")));
    assert_false(url_memo_has(&memo, STR("")));
}

static void only_sizes_with_a_place_are_kept(void **state)
{
    char text[URL_MEMO_SIZE_MAX + 2] = "http://a/";

    (void)state;
    for (size_t size = strlen(text); size <= URL_MEMO_SIZE_MAX + 1; size++) {
        struct str url = {text, size};
        keep(text);
        assert_true(url_memo_has(&memo, url) == (size <= URL_MEMO_SIZE_MAX));
        text[size] = 'a';
    }
    assert_false(url_memo_has(&memo, STR("http:/")));
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
                keep(text);
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
        cmocka_unit_test_setup(a_url_is_taken_apart_as_it_was, forget),
        cmocka_unit_test_setup(only_sizes_with_a_place_are_kept, forget),
        cmocka_unit_test_setup(urls_take_places_from_one_another, forget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Tests of http/url: what is a target, and what it is made of.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct good {
    const char *text;
    const char *host;
    const char *authority;
    const char *target;
    uint16_t port;
    bool secure;
};

static const struct good goods[] = {
    {"http://a", "a", "a", "", 80, false},
    {"https://a", "a", "a", "", 443, true},
    {"HTTP://A.b/", "A.b", "A.b", "/", 80, false},
    {"http://a:8080/x?y#z", "a", "a:8080", "/x?y", 8080, false},
    {"http://a?q", "a", "a", "?q", 80, false},
    {"http://a#f/", "a", "a", "", 80, false},
    {"http://a./x", "a.", "a.", "/x", 80, false},
    {"http://a_b-c~d.e", "a_b-c~d.e", "a_b-c~d.e", "", 80, false},
    {"http://127.0.0.1:1/", "127.0.0.1", "127.0.0.1:1", "/", 1, false},
    {"https://[::1]:65535/", "::1", "[::1]:65535", "/", 65535, true},
    {"http://[2001:db8::1]", "2001:db8::1", "[2001:db8::1]", "", 80, false},
    {"http://a/%zz/../@:[{}|", "a", "a", "/%zz/../@:[{}|", 80, false},
    {"http://a:080/", "a", "a:080", "/", 80, false},
};

static void assert_str(struct str text, const char *wanted)
{
    if (!str_equal(text, str_from(wanted))) {
        fail_msg("\"%.*s\" is not \"%s\"", STR_ARG(text), wanted);
    }
}

static void good_urls_are_taken_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++) {
        struct url url;
        const char *reason = "none";
        if (url_parse(str_from(goods[i].text), &url, &reason) != ERR_OK) {
            fail_msg("%s: %s", goods[i].text, reason);
        }
        assert_str(url.host, goods[i].host);
        assert_str(url.authority, goods[i].authority);
        assert_str(url.target, goods[i].target);
        assert_int_equal(url.port, goods[i].port);
        assert_int_equal(url.secure, goods[i].secure);
        assert_int_equal(url.host_is_ip6, goods[i].authority[0] == '[');
        assert_int_equal(url.port_given, strlen(goods[i].authority) >
                                             strlen(goods[i].host) +
                                                 (url.host_is_ip6 ? 2U : 0U));
    }
}

static const char *const bads[] = {
    "",
    "http",
    "http:",
    "http:/a",
    "http:a",
    "//a/",
    "/a",
    "a",
    "ftp://a/",
    "file:///etc/passwd",
    "httpss://a",
    " http://a",
    "http://a ",
    "http://a/b c",
    "http://a/\t",
    "http://a/\r\nX: y",
    "http://a/\x7f",
    "http://a/\x80",
    "http://\xc3\xa9/",
    "http://",
    "http:///a",
    "http://?a",
    "http://#a",
    "http://:80/",
    "http://u@a/",
    "http://u:p@a/",
    "http://@a/",
    "http://a%41/",
    "http://a\\b/",
    "http://a,b/",
    "http://a*/",
    "http://.a/",
    "http://a..b/",
    "http://a../",
    "http://./",
    "http://a:/",
    "http://a:0/",
    "http://a:65536/",
    "http://a:99999999999999999999/",
    "http://a:+80/",
    "http://a:-1/",
    "http://a:8 0/",
    "http://a:80:80/",
    "http://a:80a/",
    "http://::1/",
    "http://[::1/",
    "http://[]/",
    "http://[::1]a/",
    "http://[::1]80/",
    "http://[::1]:/",
    "http://[127.0.0.1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[:::1]/",
    "http://[1:2:3:4:5:6:7:8:9]/",
    "http://[v1.a]/",
};

static void bad_urls_are_refused_with_a_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
        struct url url = {.port = 7};
        const char *reason = NULL;
        if (url_parse(str_from(bads[i]), &url, &reason) != ERR_INVALID) {
            fail_msg("taken: %s", bads[i]);
        }
        assert_non_null(reason);
        assert_int_equal(url.port, 7);
    }
    struct url url;
    const char *reason = NULL;
    assert_int_equal(url_parse(STR("http://a/\0"), &url, &reason), ERR_INVALID);
}

/* Whatever numbers and dots make an address for the C library do for us. */
static void ip4_addresses_are_as_the_library_reads_them(void **state)
{
    static const char *const parts[] = {
        "",    "0",   "00",  "1",   "01",  "9",   "10",   "99",   "100",
        "249", "255", "256", "260", "300", "999", "1000", "0001", "4294967297",
    };
    enum { COUNT = sizeof(parts) / sizeof(parts[0]) };
    uint32_t good = 0;

    (void)state;
    for (uint32_t i = 0; i < COUNT * COUNT * COUNT * COUNT; i++) {
        for (int shape = 3; shape <= 5; shape++) {
            char host[64];
            char text[80];
            struct in_addr address;
            struct url url;
            const char *reason = NULL;
            const char *a = parts[i % COUNT];
            const char *b = parts[i / COUNT % COUNT];
            const char *c = parts[i / COUNT / COUNT % COUNT];
            const char *d = parts[i / COUNT / COUNT / COUNT];
            if (shape != 4 && i % 7 != 0) {
                continue;
            }
            (void)snprintf(host, sizeof(host),
                           shape == 3   ? "%s.%s.%s"
                           : shape == 4 ? "%s.%s.%s.%s"
                                        : "%s.%s.%s.%s.1",
                           a, b, c, d);
            (void)snprintf(text, sizeof(text), "http://%s/", host);
            bool taken = url_parse(str_from(text), &url, &reason) == ERR_OK;
            if (taken != (inet_pton(AF_INET, host, &address) == 1)) {
                fail_msg("%s: %d", text, taken);
            }
            good += taken ? 1 : 0;
        }
    }
    assert_int_equal(good, 8 * 8 * 8 * 8);
}

static void sizes_are_bounded(void **state)
{
    (void)state;
    char *text = malloc(URL_SIZE_MAX + 1);
    assert_non_null(text);
    memset(text, 'a', URL_SIZE_MAX + 1);
    memcpy(text, "http://b/", 9);
    struct url url;
    const char *reason = NULL;
    assert_int_equal(url_parse((struct str){text, URL_SIZE_MAX}, &url, &reason),
                     ERR_OK);
    assert_int_equal(
        url_parse((struct str){text, URL_SIZE_MAX + 1}, &url, &reason),
        ERR_TOO_LARGE);
    assert_non_null(reason);
    /* Labels to 63 bytes, names to 253. */
    memset(text + 7, 'a', 300);
    assert_int_equal(url_parse((struct str){text, 7 + 63}, &url, &reason),
                     ERR_OK);
    assert_int_equal(url_parse((struct str){text, 7 + 64}, &url, &reason),
                     ERR_INVALID);
    for (int i = 0; i < 300; i += 2) {
        text[8 + i] = '.';
    }
    assert_int_equal(url_parse((struct str){text, 7 + 253}, &url, &reason),
                     ERR_OK);
    assert_int_equal(url_parse((struct str){text, 7 + 254}, &url, &reason),
                     ERR_OK);
    assert_int_equal(url_parse((struct str){text, 7 + 255}, &url, &reason),
                     ERR_INVALID);
    free(text);
}

static bool same(const char *left, const char *right)
{
    struct url urls[2];
    const char *reason = NULL;
    assert_int_equal(url_parse(str_from(left), &urls[0], &reason), ERR_OK);
    assert_int_equal(url_parse(str_from(right), &urls[1], &reason), ERR_OK);
    return url_same_endpoint(&urls[0], &urls[1]);
}

static void endpoints_are_scheme_host_and_port(void **state)
{
    (void)state;
    assert_true(same("http://a/x", "HTTP://A:80/y?z"));
    assert_true(same("https://a", "https://a:443"));
    assert_false(same("http://a", "https://a"));
    assert_false(same("http://a:443", "https://a"));
    assert_false(same("http://a", "http://b"));
    assert_false(same("http://a:1", "http://a:2"));
    assert_true(same("http://[::1]", "http://[::1]:80"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_urls_are_taken_apart),
        cmocka_unit_test(bad_urls_are_refused_with_a_reason),
        cmocka_unit_test(ip4_addresses_are_as_the_library_reads_them),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(endpoints_are_scheme_host_and_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

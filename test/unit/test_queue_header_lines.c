/* Tests of queue/header_lines: what settings may add to deliveries.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/header_lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct secrets *secrets;

static int setup(void **state)
{
    static const char text[] = "token abc\nshop "
                               "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
    struct buf errors = {0};
    char *copy = strdup(text);

    (void)state;
    return copy == NULL || secrets_parse(copy, strlen(text), "f", &errors,
                                         &secrets) != ERR_OK
               ? -1
               : 0;
}

static int teardown(void **state)
{
    (void)state;
    secrets_release(secrets);
    return 0;
}

static void expect_right(const char *lines)
{
    const char *reason = NULL;
    struct str line = STR("");

    if (header_lines_check(str_from(lines), &reason, &line) != ERR_OK) {
        fail_msg("%s: %s", lines, reason);
    }
}

static void expect_wrong(const char *lines, const char *wrong_line)
{
    const char *reason = NULL;
    struct str line = STR("");

    assert_int_equal(header_lines_check(str_from(lines), &reason, &line),
                     ERR_INVALID);
    assert_non_null(reason);
    if (!str_equal(line, str_from(wrong_line))) {
        fail_msg("%s: %.*s", lines, STR_ARG(line));
    }
}

static void lines_are_checked(void **state)
{
    (void)state;
    expect_right("");
    expect_right("\n \n\r\n");
    expect_right("A: b");
    expect_right(" A:b \r\nX-Empty:\n\nC: d: e\n");
    expect_right("Authorization: Bearer ${secret:token}${secret:not-there}");
    expect_right("User-Agent: x\nContent-Type: y\nCookie: $ ${x}");
    expect_wrong("A: b\nno colon here\nC", "no colon here");
    expect_wrong(": x", ": x");
    expect_wrong("A B: x", "A B: x");
    expect_wrong("A : x", "A : x");
    expect_wrong("A: x\x01y", "A: x\x01y");
    expect_wrong("A: x\ry", "A: x\ry");
    expect_wrong("Host: x", "Host: x");
    expect_wrong("content-length: 1", "content-length: 1");
    expect_wrong("webhook-signature: v1,x", "webhook-signature: v1,x");
    expect_wrong("Opq-Seq: 1", "Opq-Seq: 1");
    expect_wrong("A: ${secret:b", "A: ${secret:b");
    expect_wrong("A: ${secret:b} ${secret:}", "A: ${secret:b} ${secret:}");
    expect_wrong("A: ${secret:b c}", "A: ${secret:b c}");
}

static void lines_have_limits(void **state)
{
    struct buf lines = {0};
    const char *reason = NULL;
    struct str line = STR("");

    (void)state;
    for (int i = 0; i < HEADER_LINES_MAX; i++) {
        buf_append_c(&lines, "A: b\n");
    }
    assert_int_equal(header_lines_check(buf_str(&lines), &reason, &line),
                     ERR_OK);
    buf_append_c(&lines, "C: d\n");
    assert_int_equal(header_lines_check(buf_str(&lines), &reason, &line),
                     ERR_TOO_LARGE);
    assert_true(str_equal(line, STR("C: d")));
    buf_clear(&lines);
    buf_append_c(&lines, "A: ");
    while (lines.size < HEADER_LINES_SIZE_MAX) {
        buf_append_byte(&lines, 'x');
    }
    assert_int_equal(header_lines_check(buf_str(&lines), &reason, &line),
                     ERR_OK);
    buf_append_byte(&lines, 'x');
    assert_int_equal(header_lines_check(buf_str(&lines), &reason, &line),
                     ERR_TOO_LARGE);
    buf_fini(&lines);
}

static void names_are_found_in_any_case(void **state)
{
    (void)state;
    assert_true(header_lines_have(STR("A: b\nX-C: d"), STR("x-c")));
    assert_false(header_lines_have(STR("A: b\nX-C: d"), STR("b")));
    assert_false(header_lines_have(STR("Opq-Seq: 1"), STR("Opq-Seq")));
    assert_false(header_lines_have(STR(""), STR("a")));
}

static void lines_are_written_as_they_are_sent(void **state)
{
    struct buf to = {0};
    struct str name = STR("");
    bool has_secret = true;

    (void)state;
    buf_append_c(&to, "X\r\n");
    assert_int_equal(header_lines_expand(STR("A:b\n\nHost: x\nbad\nC:  d "),
                                         NULL, 0, &to, &has_secret, &name),
                     ERR_OK);
    assert_true(str_equal(buf_str(&to), STR("X\r\nA: b\r\nC: d\r\n")));
    assert_false(has_secret);
    buf_clear(&to);
    assert_int_equal(header_lines_expand(STR("A: Bearer ${secret:token}"),
                                         secrets, 0, &to, &has_secret, &name),
                     ERR_OK);
    assert_true(str_equal(buf_str(&to), STR("A: Bearer abc\r\n")));
    assert_true(has_secret);
    buf_fini(&to);
}

static void after_an_error_no_secret_is_left(void **state)
{
    static const char lines[] = "A: ${secret:token}\nB: ${secret:gone}";
    struct buf to = {0};
    struct str name = STR("");
    bool has_secret = false;

    (void)state;
    buf_append_c(&to, "X\r\n");
    assert_int_equal(header_lines_expand(str_from(lines), secrets, 0, &to,
                                         &has_secret, &name),
                     ERR_NOT_FOUND);
    assert_true(str_equal(name, STR("gone")));
    assert_int_equal(to.size, 3);
    assert_null(memmem(to.data, to.capacity, "abc", 3));
    assert_int_equal(header_lines_expand(STR("B: ${secret:shop}"), secrets, 0,
                                         &to, &has_secret, &name),
                     ERR_INVALID);
    assert_true(str_equal(name, STR("shop")));
    buf_fini(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_checked),
        cmocka_unit_test(lines_have_limits),
        cmocka_unit_test(names_are_found_in_any_case),
        cmocka_unit_test(lines_are_written_as_they_are_sent),
        cmocka_unit_test(after_an_error_no_secret_is_left),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}

/* Tests of base/nearest: which name was meant.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static const char *meant(const char *given)
{
    static const char *const names[] = {"port", "part", "retain_age",
                                        "retain_bytes"};
    struct nearest nearest = nearest_of(str_from(given));

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        nearest_offer(&nearest, names[i]);
    }
    return nearest.name;
}

static void a_slip_of_the_pen_is_understood(void **state)
{
    (void)state;
    assert_string_equal(meant("prot"), "port");
    assert_string_equal(meant("pert"), "port"); /* the first of two */
    assert_string_equal(meant("part"), "part");
    assert_string_equal(meant("retainage"), "retain_age");
    assert_string_equal(meant("retain-bytess"), "retain_bytes");
    assert_string_equal(meant("retan_bites"), "retain_bytes");
}

static void what_is_like_none_has_no_name(void **state)
{
    (void)state;
    assert_null(meant(""));
    assert_null(meant("colour_of_it"));
}

static void long_names_are_like_none(void **state)
{
    (void)state;
    char given[NEAREST_SIZE_MAX + 2];
    char name[NEAREST_SIZE_MAX + 2];

    memset(given, 'a', sizeof(given));
    memset(name, 'a', sizeof(name));
    name[NEAREST_SIZE_MAX] = '\0';
    struct nearest nearest = nearest_of((struct str){given, NEAREST_SIZE_MAX});
    nearest_offer(&nearest, name);
    assert_ptr_equal(nearest.name, name);
    assert_int_equal(nearest.slips, 0);
    nearest = nearest_of((struct str){given, NEAREST_SIZE_MAX + 1});
    nearest_offer(&nearest, name);
    assert_null(nearest.name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slip_of_the_pen_is_understood),
        cmocka_unit_test(what_is_like_none_has_no_name),
        cmocka_unit_test(long_names_are_like_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

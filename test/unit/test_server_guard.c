/* Tests of server/guard: which addresses are targets.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct guard *make(const char *allow, const char *deny, bool public_only)
{
    struct buf errors = {0};
    struct guard *guard = NULL;

    assert_int_equal(guard_create(str_from(allow), str_from(deny), public_only,
                                  &errors, &guard),
                     ERR_OK);
    assert_int_equal(errors.size, 0);
    return guard;
}

static void expect(const struct guard *guard, const char *text, bool allowed)
{
    struct net_address address;

    assert_int_equal(net_parse(str_from(text), 80, &address), ERR_OK);
    if (guard_allows(guard, &address) != allowed) {
        fail_msg("%s should be %s", text, allowed ? "allowed" : "refused");
    }
    assert_int_equal(guard_allows_host(guard, str_from(text)), allowed);
}

static void own_services_are_targets_by_default(void **state)
{
    struct guard *guard = make("", "", false);

    (void)state;
    expect(guard, "127.0.0.1", true);
    expect(guard, "::1", true);
    expect(guard, "10.1.2.3", true);
    expect(guard, "192.168.0.9", true);
    expect(guard, "fd00::1", true);
    expect(guard, "93.184.216.34", true);
    expect(guard, "2606:2800:220:1::1", true);
    guard_destroy(guard);
}

static void what_is_never_a_target_is_refused(void **state)
{
    static const char *const cases[] = {
        "169.254.169.254",   "169.254.0.1",
        "fe80::1",           "0.0.0.0",
        "0.1.2.3",           "::",
        "224.0.0.1",         "ff02::1",
        "255.255.255.255",   "fd00:ec2::254",
        "100.100.100.200",   "::ffff:169.254.169.254",
        "::169.254.169.254", "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1"};
    struct guard *guard = make("", "", false);

    (void)state;
    for (size_t index = 0; index < sizeof(cases) / sizeof(*cases); index++) {
        expect(guard, cases[index], false);
    }
    guard_destroy(guard);
}

static void public_only_refuses_private_addresses(void **state)
{
    static const char *const cases[] = {
        "127.0.0.1",         "127.9.9.9",      "::1",
        "::ffff:127.0.0.1",  "10.0.0.1",       "172.16.0.1",
        "172.31.255.255",    "192.168.1.1",    "100.64.0.1",
        "fc00::1",           "fd12::1",        "198.18.0.1",
        "64:ff9b::10.0.0.1", "2002:7f00:1::1", "::10.0.0.1"};
    struct guard *guard = make("", "", true);

    (void)state;
    for (size_t index = 0; index < sizeof(cases) / sizeof(*cases); index++) {
        expect(guard, cases[index], false);
    }
    expect(guard, "172.32.0.1", true);
    expect(guard, "8.8.8.8", true);
    expect(guard, "2606:2800:220:1::1", true);
    guard_destroy(guard);
}

static void lists_win_over_the_rules(void **state)
{
    struct guard *guard =
        make("10.0.0.0/8, 169.254.169.254", "8.8.0.0/16,2001:db8::/32", true);

    (void)state;
    expect(guard, "10.1.2.3", true);
    expect(guard, "169.254.169.254", true);
    expect(guard, "169.254.169.253", false);
    expect(guard, "8.8.8.8", false);
    expect(guard, "::ffff:8.8.8.8", false);
    expect(guard, "8.9.8.8", true);
    guard_destroy(guard);
}

static void names_are_left_to_the_connection(void **state)
{
    struct guard *guard = make("", "", true);

    (void)state;
    assert_true(guard_allows_host(guard, STR("localhost")));
    assert_true(guard_allows_host(guard, STR("example.com")));
    guard_destroy(guard);
}

static void malformed_networks_are_named(void **state)
{
    struct buf errors = {0};
    struct guard *guard = NULL;

    (void)state;
    assert_int_equal(guard_create(STR("10.0.0.0/33"), STR("nonsense"), false,
                                  &errors, &guard),
                     ERR_INVALID);
    assert_null(guard);
    buf_append_byte(&errors, '\0');
    assert_string_equal(
        errors.data, "allow_net: 10.0.0.0/33 is no network such as 10.0.0.0/8\n"
                     "deny_net: nonsense is no network such as 10.0.0.0/8\n");
    buf_fini(&errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_services_are_targets_by_default),
        cmocka_unit_test(what_is_never_a_target_is_refused),
        cmocka_unit_test(public_only_refuses_private_addresses),
        cmocka_unit_test(lists_win_over_the_rules),
        cmocka_unit_test(names_are_left_to_the_connection),
        cmocka_unit_test(malformed_networks_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

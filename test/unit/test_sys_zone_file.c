/* Tests of sys/zone_file: names, and where files are found.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/zone_file.h"

#include "lib/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void zones_of_the_system_are_found(void **state)
{
    (void)state;
    static const char *const names[] = {"Europe/Berlin", "America/New_York",
                                        "Asia/Kolkata", "Etc/GMT+5", "UTC"};

    for (size_t index = 0; index < sizeof(names) / sizeof(names[0]); index++) {
        struct zone *zone = NULL;
        assert_int_equal(zone_file_load(str_from(names[index]), &zone), ERR_OK);
        zone_destroy(zone);
    }
}

static void what_is_no_zone_is_not_found(void **state)
{
    (void)state;
    static const char *const names[] = {
        "Europe",   "Europe/Nowhere",  "utc1",
        "zone.tab", "Europe/Berlin/x", "right/Europe/Berlin"};

    for (size_t index = 0; index < sizeof(names) / sizeof(names[0]); index++) {
        struct zone *zone = NULL;
        assert_int_equal(zone_file_load(str_from(names[index]), &zone),
                         ERR_NOT_FOUND);
        assert_null(zone);
    }
}

static void names_that_lead_elsewhere_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {
        "",        "/etc/passwd",    "../zoneinfo/UTC", "Europe/../UTC",
        "Europe/", "Europe//Berlin", ".hidden",         "Europe/.x",
        "a b",     "a\\b",           "\xc3\xa4"};
    char longest[ZONE_NAME_MAX + 2];

    for (size_t index = 0; index < sizeof(names) / sizeof(names[0]); index++) {
        struct zone *zone = NULL;
        assert_int_equal(zone_file_load(str_from(names[index]), &zone),
                         ERR_INVALID);
        assert_null(zone);
    }
    memset(longest, 'a', sizeof(longest));
    assert_true(zone_name_valid((struct str){longest, ZONE_NAME_MAX}));
    assert_false(zone_name_valid((struct str){longest, ZONE_NAME_MAX + 1}));
    assert_true(zone_name_valid(STR("Etc/GMT+5")));
    assert_true(zone_name_valid(STR("America/Port-au-Prince")));
}

/* A machine without zones has one: UTC. */
static void another_folder_is_used_when_it_is_named(void **state)
{
    (void)state;
    char folder[SCRATCH_PATH_MAX];
    char path[128];
    struct zone *zone = NULL;

    assert_int_equal(scratch_make(folder), 0);
    assert_int_equal(setenv("TZDIR", folder, 1), 0);
    assert_int_equal(zone_file_load(STR("Europe/Berlin"), &zone),
                     ERR_NOT_FOUND);
    assert_int_equal(zone_file_load(STR("UTC"), &zone), ERR_OK);
    zone_destroy(zone);
    (void)snprintf(path, sizeof(path), "%s/Mine", folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite("TZif1", 1, 5, file), 5);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(zone_file_load(STR("Mine"), &zone), ERR_NOT_FOUND);
    assert_int_equal(unsetenv("TZDIR"), 0);
    assert_int_equal(zone_file_load(STR("Europe/Berlin"), &zone), ERR_OK);
    zone_destroy(zone);
    assert_int_equal(scratch_remove(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zones_of_the_system_are_found),
        cmocka_unit_test(what_is_no_zone_is_not_found),
        cmocka_unit_test(names_that_lead_elsewhere_are_refused),
        cmocka_unit_test(another_folder_is_used_when_it_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Tests of cli/cli_apply_plan: what is the same, and what must change.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_apply_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool same(const char *property, const char *now, const char *wanted)
{
    json_t *schema = json_loads(property, 0, NULL);
    json_t *value = json_loads(now, JSON_DECODE_ANY, NULL);

    assert_non_null(schema);
    assert_non_null(value);
    bool result = cli_apply_plan_same(schema, value, wanted);
    json_decref(schema);
    json_decref(value);
    return result;
}

static void values_are_the_same_as_the_server_understands_them(void **state)
{
    (void)state;
    assert_true(same("{}", "\"7d\"", "168h"));
    assert_true(same("{}", "\"90s\"", "90"));
    assert_true(same("{}", "\"100/1m\"", "100 / 60s"));
    assert_true(same("{}", "\"5s,60s\"", "5s, 1m"));
    assert_true(same("{}", "\"12.5%\"", "12.50%"));
    assert_true(same("{}", "67108864", "64m"));
    assert_true(same("{}", "true", "yes"));
    assert_true(same("{}", "false", "no"));
    assert_true(same("{}", "{\"A\":\"b\",\"C\":\"d\"}",
                     "{ \"C\": \"d\", \"A\": \"b\" }"));
    assert_true(same("{}", "\"forever\"", "forever"));
}

static void others_are_not(void **state)
{
    (void)state;
    assert_false(same("{}", "\"7d\"", "7h"));
    assert_false(same("{}", "\"100/1m\"", "100/1s"));
    assert_false(same("{}", "\"100/1m\"", "100,1m"));
    assert_false(same("{}", "\"5s,60s\"", "5s"));
    assert_false(same("{}", "\"5s\"", "5s,60s"));
    assert_false(same("{}", "\"12.5%\"", "12.5"));
    assert_false(same("{}", "67108864", "64h"));
    assert_false(same("{}", "67108864", ""));
    assert_false(same("{}", "true", "no"));
    assert_false(same("{}", "{\"A\":\"b\"}", "{\"A\":\"c\"}"));
    assert_false(same("{}", "{\"A\":\"b\"}", "no object"));
    assert_false(same("{}", "5", "forever"));
    assert_false(same("{}", "null", ""));
}

static void names_and_texts_are_no_quantities(void **state)
{
    (void)state;
    assert_false(same("{\"pattern\":\"[A-Za-z0-9]\"}", "\"1m\"", "60s"));
    assert_false(same("{\"description\":\"(a text)\"}", "\"1.0\"", "1.00"));
    assert_false(same("{}", "\"http://a/1m\"", "http://a/60s"));
}

static const char schema_text[] =
    "{\"properties\":{\"paused\":{\"default\":false},"
    "\"order\":{\"default\":\"topic\"},\"concurrency\":{\"default\":0}}}";

/* Plan a file of one topic against what is there; NULL: nothing is. */
static void plan(const char *text, const char *now, struct apply_plan *out)
{
    json_t *schema = json_loads(schema_text, 0, NULL);
    json_t *settings = now != NULL ? json_loads(now, 0, NULL) : NULL;
    struct apply_file file;
    struct buf errors = {0};

    assert_int_equal(apply_file_parse("f", str_from(text), &file, &errors),
                     ERR_OK);
    assert_int_equal(
        cli_apply_plan_settings(out, &file.sections[0], schema, settings),
        ERR_OK);
    apply_file_fini(&file);
    buf_fini(&errors);
    json_decref(schema);
    json_decref(settings);
}

static void what_a_section_does_not_name_gets_its_default(void **state)
{
    (void)state;
    struct apply_plan changes = {0};

    plan("[topic a]\norder = key\n",
         "{\"paused\":true,\"order\":\"key\",\"concurrency\":7}", &changes);
    assert_int_equal(changes.count, 1);
    assert_int_equal(changes.changes[0].action, APPLY_CHANGE);
    assert_int_equal(json_object_size(changes.changes[0].body), 1);
    assert_int_equal(json_integer_value(json_object_get(changes.changes[0].body,
                                                        "concurrency")),
                     0);
    cli_apply_plan_fini(&changes);
}

static void what_is_so_is_no_change(void **state)
{
    (void)state;
    struct apply_plan changes = {0};

    plan("[topic a]\nconcurrency = 7\npaused = yes\n",
         "{\"paused\":true,\"order\":\"topic\",\"concurrency\":7}", &changes);
    assert_int_equal(changes.count, 0);
    cli_apply_plan_fini(&changes);
}

static void what_is_not_there_is_made(void **state)
{
    (void)state;
    struct apply_plan changes = {0};

    plan("[topic a]\n", NULL, &changes);
    assert_int_equal(changes.count, 1);
    assert_int_equal(changes.changes[0].action, APPLY_CREATE);
    assert_int_equal(changes.changes[0].line, 1);
    cli_apply_plan_fini(&changes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_the_same_as_the_server_understands_them),
        cmocka_unit_test(others_are_not),
        cmocka_unit_test(names_and_texts_are_no_quantities),
        cmocka_unit_test(what_a_section_does_not_name_gets_its_default),
        cmocka_unit_test(what_is_so_is_no_change),
        cmocka_unit_test(what_is_not_there_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

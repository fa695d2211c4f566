/* Tests of queue/sign: the published example of Standard Webhooks, and
 * signatures made by other implementations.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/sign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The example of the specification. */
#define ID "msg_p5jXN8AQM9LWM0D4loKWxJek"
#define TIMESTAMP 1614265330
#define BODY "{\"test\": 2432232314}"
#define KEY "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define KEY_SIGNED "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
/* By Python's hmac. */
#define OTHER "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
#define OTHER_SIGNED "v1,78nXHjpFP0tVJQW5D0SBwmVyyW87BV/rL6MgfM/Bw44="
/* The seeds of RFC 8032, 7.1, tests 1 and 2; signatures by an implementation of
 * that page's formulas in Python, which gives the RFC's own, too. */
#define SEED "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
#define SEED_SIGNED                                                            \
    "v1a,fldxM4gAKugP6nnt1hdz3sgGfZ6d99nzrMFnZOELIxbzEHoVmAb2ADpkJK7zgPePmPs"  \
    "le0zV9jSeGlHFG2NVAw=="
#define SEED_OTHER                                                             \
    "whsk_TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs9QBfD6EOJWpK3CqdNG368nJ"  \
    "gszy7ElozAzVXxKvRmDA=="
#define SEED_OTHER_SIGNED                                                      \
    "v1a,7anDmyOh9LNskt5GJUTacHmbvyUkT0/S1jnxFAp+h2hcVXnQLWhtWA2+wP6vO0AUwEY"  \
    "P23IIZVuneGRhNj7hDQ=="

static struct secrets *secrets;
static struct sign sign;
static struct str wrong_name;

static int finish(void **state)
{
    (void)state;
    sign_fini(&sign);
    secrets_release(secrets);
    secrets = NULL;
    return 0;
}

static void load(const char *text)
{
    struct buf errors = {0};
    char *copy = strdup(text);

    assert_non_null(copy);
    secrets_release(secrets);
    secrets = NULL;
    enum err err =
        secrets_parse(copy, strlen(text), "secrets", &errors, &secrets);
    if (err != ERR_OK) {
        fail_msg("%.*s", STR_ARG(buf_str(&errors)));
    }
}

static enum err begin(const char *names, uint64_t body_size)
{
    const struct sign_content content = {
        .id = STR(ID),
        .timestamp_s = TIMESTAMP,
        .body_size = body_size,
    };

    return sign_begin(&sign, secrets, str_from(names), &content, &wrong_name);
}

static void expect_end(const char *expected)
{
    char value[SIGN_SIZE_MAX + 1];
    size_t size = 0;

    assert_int_equal(sign_finish(&sign, value, &size), ERR_OK);
    value[size] = '\0';
    assert_string_equal(value, expected);
}

static void expect(const char *names, const char *expected)
{
    assert_int_equal(begin(names, strlen(BODY)), ERR_OK);
    sign_update(&sign, STR(BODY));
    expect_end(expected);
}

static void the_example_of_the_specification_is_signed_so(void **state)
{
    (void)state;
    load("shop " KEY "\n");
    expect("shop", KEY_SIGNED);
    expect(" shop ", KEY_SIGNED); /* again, by the same contexts */
}

static void ed25519_signs_as_others_do(void **state)
{
    (void)state;
    load("a " SEED "\nb " SEED_OTHER "\n");
    expect("a", SEED_SIGNED);
    expect("b", SEED_OTHER_SIGNED);
}

static void all_secrets_in_force_sign(void **state)
{
    (void)state;
    load("shop " SEED "\n"
         "shop " KEY " not_after=1614265330.001\n"
         "shop " OTHER "\n"
         "shop text\n"
         "new " SEED_OTHER " not_after=1614265330\n"
         "new " OTHER "\n");
    expect("shop", KEY_SIGNED " " OTHER_SIGNED " " SEED_SIGNED);
    expect("new", OTHER_SIGNED);
    expect("new, shop",
           OTHER_SIGNED " " KEY_SIGNED " " OTHER_SIGNED " " SEED_SIGNED);
}

static void a_body_comes_in_pieces(void **state)
{
    static const char body[] = BODY;

    (void)state;
    load("shop " KEY "\nshop " SEED "\n");
    assert_int_equal(begin("shop", strlen(body)), ERR_OK);
    for (size_t i = 0; i < strlen(body); i++) {
        sign_update(&sign, STR(""));
        sign_update(&sign, (struct str){body + i, 1});
    }
    expect_end(KEY_SIGNED " " SEED_SIGNED);
}

static void what_runs_needs_the_table_no_more(void **state)
{
    (void)state;
    load("shop " KEY "\nshop " SEED "\n");
    assert_int_equal(begin("shop", strlen(BODY)), ERR_OK);
    load("other text\n"); /* the one before is gone */
    sign_update(&sign, STR(BODY));
    expect_end(KEY_SIGNED " " SEED_SIGNED);
}

static void names_that_cannot_sign_are_told(void **state)
{
    (void)state;
    load("shop " KEY "\ntext word\nold " KEY " not_after=1614265330\n"
         "old word not_after=1614265330\n");
    assert_int_equal(begin("shop,nobody", 1), ERR_NOT_FOUND);
    assert_true(str_equal(wrong_name, STR("nobody")));
    assert_int_equal(begin("old", 1), ERR_NOT_FOUND);
    assert_true(str_equal(wrong_name, STR("old")));
    assert_int_equal(begin("text,shop", 1), ERR_INVALID);
    assert_true(str_equal(wrong_name, STR("text")));
    assert_int_equal(begin("", 1), ERR_INVALID);
    assert_int_equal(begin("shop,,shop", 1), ERR_INVALID);
    assert_int_equal(begin("a b", 1), ERR_INVALID);
    secrets_release(secrets);
    secrets = NULL;
    assert_int_equal(begin("shop", 1), ERR_NOT_FOUND);
}

static void a_large_body_is_signed_by_hmac_alone(void **state)
{
    (void)state;
    load("both " SEED "\nboth " KEY "\nboth " SEED_OTHER "\npublic " SEED "\n");
    /* What is told of the size alone decides; the bytes are not counted. */
    assert_int_equal(begin("both", SIGN_WHOLE_SIZE_MAX + 1), ERR_OK);
    sign_update(&sign, STR(BODY));
    expect_end(KEY_SIGNED);
    assert_int_equal(begin("public", UINT64_MAX), ERR_TOO_LARGE);
    assert_int_equal(begin("both", SIGN_WHOLE_SIZE_MAX), ERR_OK);
    sign_update(&sign, STR(BODY));
    expect_end(KEY_SIGNED " " SEED_SIGNED " " SEED_OTHER_SIGNED);
}

static void the_most_keys_of_the_longest_kind_fit(void **state)
{
    char text[16 * sizeof("a " SEED "\n")] = "";
    char value[SIGN_SIZE_MAX];
    size_t used = 0;
    size_t size = 0;

    (void)state;
    for (int i = 0; i < SIGN_KEYS_MAX + 1; i++) {
        used +=
            (size_t)snprintf(text + used, sizeof(text) - used, "a " SEED "\n");
    }
    load(text);
    assert_int_equal(begin("a", strlen(BODY)), ERR_OK);
    sign_update(&sign, STR(BODY));
    assert_int_equal(sign_finish(&sign, value, &size), ERR_OK);
    assert_int_equal(size, SIGN_KEYS_MAX * sizeof(SEED_SIGNED) - 1);
}

#define CASE(name) cmocka_unit_test_teardown(name, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_example_of_the_specification_is_signed_so),
        CASE(ed25519_signs_as_others_do),
        CASE(all_secrets_in_force_sign),
        CASE(a_body_comes_in_pieces),
        CASE(what_runs_needs_the_table_no_more),
        CASE(names_that_cannot_sign_are_told),
        CASE(a_large_body_is_signed_by_hmac_alone),
        CASE(the_most_keys_of_the_longest_kind_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

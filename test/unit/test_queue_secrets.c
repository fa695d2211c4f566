/* Tests of queue/secrets: what the file may say, who may read it, and what is
 * put in the place of a name.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/secrets.h"

#include "lib/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define HMAC_KEY "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define HMAC_OTHER "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
/* The seed of RFC 8032, 7.1, test 1, alone and with its public key. */
#define SEED "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
#define SEED_WHOLE                                                             \
    "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6D"   \
    "uFy89qmIyWvAhpo9wdRGg=="
/* That seed with the public key of test 2. */
#define SEED_WRONG                                                             \
    "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A9QBfD6EOJWpK3CqdNG368n"   \
    "Jgszy7ElozAzVXxKvRmDA=="

enum { PATH_SIZE = 256 };

static struct buf errors;
static struct secrets *secrets;

static int finish(void **state)
{
    (void)state;
    buf_fini(&errors);
    secrets_release(secrets);
    secrets = NULL;
    return 0;
}

static enum err parse(const char *text)
{
    size_t size = strlen(text);
    char *copy = malloc(size + 1);

    assert_non_null(copy);
    memcpy(copy, text, size + 1);
    buf_clear(&errors);
    return secrets_parse(copy, size, "f", &errors, &secrets);
}

static void expect_errors(const char *text)
{
    struct str all = buf_str(&errors);

    if (!str_equal(all, str_from(text))) {
        fail_msg("errors are: %.*s", STR_ARG(all));
    }
}

/* Parse a single line that is refused with this reason, and nothing of it. */
static void refuse(const char *line, const char *reason)
{
    char expected[256];

    (void)snprintf(expected, sizeof(expected), "f:1: %s\n", reason);
    assert_int_equal(parse(line), ERR_INVALID);
    assert_null(secrets);
    expect_errors(expected);
}

static void lines_of_a_name_are_found_in_order(void **state)
{
    uint32_t count = 0;

    (void)state;
    assert_int_equal(parse("# all of them\n"
                           "\n"
                           "shop " HMAC_KEY " not_after=1970-01-01T00:00:01Z\n"
                           "  other\tplain  # a comment\r\n"
                           "shop " SEED "\n"
                           "a.B_9-z x\n"
                           "shop " SEED_WHOLE " #\n"
                           "shop " HMAC_OTHER " not_after=5"),
                     ERR_OK);
    expect_errors("");
    const struct secret *found = secrets_find(secrets, STR("shop"), &count);
    assert_int_equal(count, 4);
    assert_int_equal(found[0].kind, SECRET_KIND_HMAC);
    assert_int_equal(found[0].value.size, 24);
    assert_memory_equal(found[0].value.data, "\x31\xf2\x90\xf6", 4);
    assert_true(found[0].not_after_ms == 1000);
    assert_int_equal(found[1].kind, SECRET_KIND_ED25519);
    assert_non_null(found[1].key);
    assert_true(found[1].not_after_ms == UINT64_MAX);
    assert_int_equal(found[2].kind, SECRET_KIND_ED25519);
    assert_int_equal(found[3].kind, SECRET_KIND_HMAC);
    assert_true(found[3].not_after_ms == 5000);
    found = secrets_find(secrets, STR("other"), &count);
    assert_int_equal(count, 1);
    assert_true(str_equal(found->value, STR("plain")));
    assert_non_null(secrets_find(secrets, STR("a.B_9-z"), &count));
    assert_null(secrets_find(secrets, STR("sho"), &count));
    assert_null(secrets_find(secrets, STR("shop2"), &count));
    assert_null(secrets_find(secrets, STR(""), &count));
    assert_int_equal(count, 0);
    assert_null(secrets_find(NULL, STR("shop"), &count));
}

static void an_empty_file_has_no_secrets(void **state)
{
    uint32_t count = 1;

    (void)state;
    assert_int_equal(parse(""), ERR_OK);
    assert_null(secrets_find(secrets, STR("a"), &count));
    assert_int_equal(count, 0);
}

static void a_wrong_line_is_refused_without_a_word_of_it(void **state)
{
    static const char hmac[] = "behind whsec_ are 24 to 64 bytes in base64";
    static const char name[] = "a name has 1 to 64 of A-Z a-z 0-9 . _ -";
    static const char first[] = "the name comes first, then the value";
    static const char both[] = "a name and a value are needed";
    static const char rest[] =
        "behind name and value only not_after=TIME may stand";

    (void)state;
    refuse("hidden", both);
    refuse("hidden # hidden", both);
    refuse("hid/den hidden", name);
    refuse("h\xc3\xa9 hidden", name);
    refuse(
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa x",
        name);
    refuse(HMAC_KEY " shop", first);
    refuse("whsk_abc shop", first);
    refuse("a whsec_", hmac);
    refuse("a whsec_AAAA", hmac);
    refuse("a whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", hmac);
    refuse("a whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-w", hmac);
    refuse(
        "a whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjUPD8ILPZIo2La"
        "LaSwMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        hmac);
    refuse("a whsk_?", "behind whsk_ are 32 or 64 bytes in base64");
    refuse("a whsk_AAAA", "an Ed25519 key is 32 or 64 bytes in base64");
    refuse("a " SEED_WRONG,
           "the second half of the Ed25519 key is not its public key");
    refuse("a whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
           "that is a public key: receivers need it, not the sender");
    refuse("a hid\x01"
           "den",
           "a text has visible characters only");
    refuse("a hidden hidden", rest);
    refuse("a hidden not_after=5 hidden", rest);
    refuse("a hidden not_after=never",
           "not_after is no time such as 2027-01-02T03:04:05Z");
}

static void all_wrong_lines_are_told(void **state)
{
    (void)state;
    assert_int_equal(parse("a good\n\nb\n# c\nd good\ne!\n"), ERR_INVALID);
    expect_errors("f:3: a name and a value are needed\n"
                  "f:6: a name has 1 to 64 of A-Z a-z 0-9 . _ -\n");
}

static void a_value_has_a_limit(void **state)
{
    struct buf text = {0};

    (void)state;
    buf_append_c(&text, "a ");
    for (int i = 0; i < SECRETS_VALUE_SIZE_MAX; i++) {
        buf_append_byte(&text, 'v');
    }
    buf_append_byte(&text, '\0');
    assert_int_equal(parse(text.data), ERR_OK);
    secrets_release(secrets);
    secrets = NULL;
    text.data[text.size - 1] = 'v';
    buf_append_byte(&text, '\0');
    refuse(text.data, "the value is too long");
    buf_fini(&text);
}

static void a_table_lives_as_long_as_it_is_held(void **state)
{
    uint32_t count = 0;

    (void)state;
    assert_int_equal(parse("a b\n"), ERR_OK);
    assert_ptr_equal(secrets_hold(secrets), secrets);
    secrets_release(secrets);
    assert_non_null(secrets_find(secrets, STR("a"), &count));
    secrets_release(NULL);
}

/* --- the file ------------------------------------------------------------- */

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void a_file_that_others_can_use_is_refused(void **state)
{
    static const mode_t refused[] = {0640, 0604, 0620, 0602, 0610, 0601, 0644};
    char directory[SCRATCH_PATH_MAX];
    char path[PATH_SIZE];
    uint32_t count = 0;

    (void)state;
    assert_int_equal(scratch_make(directory), 0);
    (void)snprintf(path, sizeof(path), "%s/secrets", directory);
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        write_file(path, "a hidden\n", refused[i]);
        buf_clear(&errors);
        assert_int_equal(secrets_load(path, &errors, &secrets), ERR_INVALID);
        assert_null(secrets);
        buf_append_byte(&errors, '\0');
        assert_non_null(strstr(errors.data, "chmod 600"));
        assert_null(strstr(errors.data, "hidden"));
    }
    write_file(path, "a hidden\n", 0600);
    if (geteuid() == 0) { /* one of another user, too */
        assert_int_equal(chown(path, 1, (gid_t)-1), 0);
        assert_int_equal(secrets_load(path, &errors, &secrets), ERR_INVALID);
        assert_int_equal(chown(path, 0, (gid_t)-1), 0);
    }
    assert_int_equal(secrets_load(path, &errors, &secrets), ERR_OK);
    assert_non_null(secrets_find(secrets, STR("a"), &count));
    assert_int_equal(scratch_remove(directory), 0);
}

static void a_file_that_is_not_there_or_too_large_is_told(void **state)
{
    char directory[SCRATCH_PATH_MAX];
    char path[PATH_SIZE];

    (void)state;
    assert_int_equal(scratch_make(directory), 0);
    (void)snprintf(path, sizeof(path), "%s/secrets", directory);
    assert_int_equal(secrets_load(path, &errors, &secrets), ERR_INVALID);
    buf_append_byte(&errors, '\0');
    assert_non_null(strstr(errors.data, "cannot be read"));
    buf_clear(&errors);
    write_file(path, "", 0600);
    assert_int_equal(truncate(path, SECRETS_FILE_SIZE_MAX + 1), 0);
    assert_int_equal(secrets_load(path, &errors, &secrets), ERR_INVALID);
    assert_true(errors.size > 0);
    buf_clear(&errors);
    assert_int_equal(secrets_load(directory, &errors, &secrets), ERR_INVALID);
    assert_true(errors.size > 0);
    assert_int_equal(scratch_remove(directory), 0);
}

/* --- headers -------------------------------------------------------------- */

static void expand(const char *value, enum err expected, const char *text)
{
    struct buf to = {0};
    struct str name = STR("");

    buf_append_c(&to, "X: ");
    assert_int_equal(secrets_expand(secrets, str_from(value), 1000, &to, &name),
                     expected);
    struct str got =
        expected == ERR_OK ? str_cut(buf_str(&to), 3, to.size) : name;
    if (!str_equal(got, str_from(text))) {
        fail_msg("%s: %.*s", value, STR_ARG(got));
    }
    assert_true(expected == ERR_OK || to.size == 3);
    buf_fini(&to);
}

static void names_are_replaced_by_secrets(void **state)
{
    (void)state;
    assert_int_equal(parse("old gone not_after=1\n"
                           "key first not_after=2\n"
                           "key second\n"
                           "shop " HMAC_KEY "\n"
                           "mixed " SEED "\n"
                           "mixed text\n"
                           "money a$b${secret:key}\n"),
                     ERR_OK);
    expand("", ERR_OK, "");
    expand("plain", ERR_OK, "plain");
    expand("${secret:key}", ERR_OK, "first");
    expand("Bearer ${secret:key}, ${secret:mixed}.", ERR_OK,
           "Bearer first, text.");
    expand("$ ${ $${secret:key}} ${secre:key} ${Secret:key} $", ERR_OK,
           "$ ${ $first} ${secre:key} ${Secret:key} $");
    expand("${secret:money}", ERR_OK, "a$b${secret:key}"); /* once only */
    expand("a ${secret:no}", ERR_NOT_FOUND, "no");
    expand("a ${secret:old}", ERR_NOT_FOUND, "old");
    expand("${secret:key} ${secret:shop}", ERR_INVALID, "shop");
    expand("${secret:}", ERR_INVALID, "");
    expand("${secret:a b}", ERR_INVALID, "a b");
    expand("${secret:key", ERR_INVALID, "key");
    expand("${secret:", ERR_INVALID, "");
    finish(NULL);
    expand("no table", ERR_OK, "no table");
    expand("${secret:key}", ERR_NOT_FOUND, "key");
}

static void what_names_a_secret_is_known(void **state)
{
    (void)state;
    assert_true(secrets_is_named(STR("a ${secret:b}")));
    assert_true(secrets_is_named(STR("${secret:")));
    assert_false(secrets_is_named(STR("${secret}")));
    assert_false(secrets_is_named(STR("$")));
    assert_false(secrets_is_named(STR("")));
}

#define CASE(name) cmocka_unit_test_teardown(name, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(lines_of_a_name_are_found_in_order),
        CASE(an_empty_file_has_no_secrets),
        CASE(a_wrong_line_is_refused_without_a_word_of_it),
        CASE(all_wrong_lines_are_told),
        CASE(a_value_has_a_limit),
        CASE(a_table_lives_as_long_as_it_is_held),
        CASE(a_file_that_others_can_use_is_refused),
        CASE(a_file_that_is_not_there_or_too_large_is_told),
        CASE(names_are_replaced_by_secrets),
        CASE(what_names_a_secret_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Tests of queue/tokens: what the file may say, who may read it, and which
 * token is found; and of queue/access: what a request needs.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/tokens.h"

#include "lib/scratch.h"
#include "queue/access.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

/* The SHA-256 of "a-token-of-the-desk-1". */
#define DESK_TOKEN "a-token-of-the-desk-1"
#define DESK_HASH                                                              \
    "9410E8B71B21F2A00E8529053F5C21E06750A893A5DBCBFE910AD57E07C4CEEA"
#define SHOP_TOKEN "opq_Shop.token~with+all/of=="

static struct buf errors;
static struct tokens *tokens;

static int finish(void **state)
{
    (void)state;
    buf_fini(&errors);
    tokens_release(tokens);
    tokens = NULL;
    return 0;
}

static enum err parse(const char *text)
{
    size_t size = strlen(text);
    char *copy = malloc(size + 1);

    assert_non_null(copy);
    memcpy(copy, text, size + 1);
    buf_clear(&errors);
    tokens_release(tokens);
    tokens = NULL;
    return tokens_parse(copy, size, "f", &errors, &tokens);
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
    assert_null(tokens);
    expect_errors(expected);
}

static void tokens_are_found_by_themselves_or_their_hash(void **state)
{
    (void)state;
    assert_int_equal(parse("# who may\n\n"
                           "shop publish " SHOP_TOKEN " # and so on\r\n"
                           "  desk\tread,admin  sha256:" DESK_HASH "\n"),
                     ERR_OK);
    expect_errors("");
    assert_int_equal(tokens_count(tokens), 2);
    const struct token *shop = tokens_find(tokens, STR(SHOP_TOKEN));
    assert_non_null(shop);
    assert_string_equal(shop->name, "shop");
    assert_int_equal(shop->scopes, TOKENS_SCOPE_PUBLISH);
    const struct token *desk = tokens_find(tokens, STR(DESK_TOKEN));
    assert_non_null(desk);
    assert_string_equal(desk->name, "desk");
    assert_int_equal(desk->scopes, TOKENS_SCOPE_READ | TOKENS_SCOPE_ADMIN);
}

static void nothing_else_is_found(void **state)
{
    (void)state;
    assert_int_equal(parse("shop publish " SHOP_TOKEN "\n"), ERR_OK);
    assert_null(tokens_find(tokens, STR("")));
    assert_null(tokens_find(tokens, STR(DESK_TOKEN)));
    assert_null(tokens_find(tokens, STR(SHOP_TOKEN "=")));
    assert_null(tokens_find(tokens, STR("sha256:" DESK_HASH)));
    assert_int_equal(parse("# nobody\n"), ERR_OK);
    assert_int_equal(tokens_count(tokens), 0);
    assert_null(tokens_find(tokens, STR(SHOP_TOKEN)));
}

static void a_name_may_have_several_tokens(void **state)
{
    (void)state;
    assert_int_equal(parse("shop publish " SHOP_TOKEN "\n"
                           "shop publish,read " DESK_TOKEN),
                     ERR_OK);
    assert_int_equal(tokens_find(tokens, STR(SHOP_TOKEN))->scopes,
                     TOKENS_SCOPE_PUBLISH);
    assert_string_equal(tokens_find(tokens, STR(DESK_TOKEN))->name, "shop");
}

static void wrong_lines_are_told_without_their_token(void **state)
{
    (void)state;
    refuse("shop", "a name, scopes and a token are needed");
    refuse("shop publish", "a name, scopes and a token are needed");
    refuse("sh:op publish " SHOP_TOKEN,
           "a name has 1 to 64 of A-Z a-z 0-9 . _ -");
    refuse("shop publsh " SHOP_TOKEN,
           "scopes are publish, read, admin, by commas without blanks; did "
           "you mean publish?");
    refuse("shop xyzxyzxyz " SHOP_TOKEN,
           "scopes are publish, read, admin, by commas without blanks");
    refuse("shop , " SHOP_TOKEN,
           "scopes are publish, read, admin, by commas without blanks");
    refuse("shop publish, read " SHOP_TOKEN,
           "a token is 20 to 256 of A-Z a-z 0-9 - . _ ~ + / =");
    refuse("shop publish short",
           "a token is 20 to 256 of A-Z a-z 0-9 - . _ ~ + / =");
    refuse("shop publish sha256:00", "behind sha256: are 64 digits in hex");
    refuse("shop publish " SHOP_TOKEN " more",
           "nothing may stand behind the token");
    assert_int_equal(parse("a read " SHOP_TOKEN "\n\nb admin " SHOP_TOKEN
                           "\nc red " DESK_TOKEN "\n"),
                     ERR_INVALID);
    expect_errors("f:3: this token stands on a line before\n"
                  "f:4: scopes are publish, read, admin, by commas without "
                  "blanks; did you mean read?\n");
}

static void a_table_grows_with_its_lines(void **state)
{
    struct buf text = {0};
    char token[64];

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        buf_append_format(&text, "n%u read the-token-with-number-%u\n", i, i);
    }
    buf_append_byte(&text, '\0');
    assert_int_equal(parse(text.data), ERR_OK);
    buf_fini(&text);
    assert_int_equal(tokens_count(tokens), 1000);
    for (unsigned i = 0; i < 1000; i++) {
        char name[16];
        (void)snprintf(token, sizeof(token), "the-token-with-number-%u", i);
        (void)snprintf(name, sizeof(name), "n%u", i);
        const struct token *found = tokens_find(tokens, str_from(token));
        assert_non_null(found);
        assert_string_equal(found->name, name);
    }
}

static void a_file_is_ours_alone(void **state)
{
    char folder[SCRATCH_PATH_MAX];
    char path[SCRATCH_PATH_MAX + 8];
    char expected[256];

    (void)state;
    assert_int_equal(scratch_make(folder), 0);
    (void)snprintf(path, sizeof(path), "%s/t", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs("shop publish " SHOP_TOKEN "\n", file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(tokens_load(path, &errors, &tokens), ERR_INVALID);
    (void)snprintf(expected, sizeof(expected),
                   "tokens: %s must be a file of our own user that nobody else "
                   "can read or write (chmod 600)\n",
                   path);
    expect_errors(expected);
    buf_clear(&errors);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(tokens_load(path, &errors, &tokens), ERR_OK);
    assert_int_equal(tokens_count(tokens), 1);
    assert_int_equal(scratch_remove(folder), 0);
}

static enum tokens_scope need(enum http_method method, const char *path)
{
    const struct http_head head = {.method = method, .path = str_from(path)};

    return access_scope(&head);
}

static void what_a_request_needs(void **state)
{
    static const char ack[] = "/opq/topics/t/subscriptions/s/ack";

    (void)state;
    assert_int_equal(need(HTTP_METHOD_POST, "/opq/push"), TOKENS_SCOPE_PUBLISH);
    assert_int_equal(need(HTTP_METHOD_POST, "/opq/batch"),
                     TOKENS_SCOPE_PUBLISH);
    assert_int_equal(need(HTTP_METHOD_POST, "/opq/push/"), TOKENS_SCOPE_ADMIN);
    assert_int_equal(need(HTTP_METHOD_PUT, "/opq/push"), TOKENS_SCOPE_ADMIN);
    assert_int_equal(need(HTTP_METHOD_POST, "/opq/replay"), TOKENS_SCOPE_ADMIN);
    assert_int_equal(need(HTTP_METHOD_POST, ack), TOKENS_SCOPE_READ);
    assert_int_equal(need(HTTP_METHOD_DELETE, ack), TOKENS_SCOPE_ADMIN);
    assert_int_equal(need(HTTP_METHOD_POST, "/opq/schedules/ack"),
                     TOKENS_SCOPE_ADMIN);
    assert_int_equal(need(HTTP_METHOD_GET, "/opq/topics"), TOKENS_SCOPE_READ);
    assert_int_equal(need(HTTP_METHOD_HEAD, "/opq/topics"), TOKENS_SCOPE_READ);
    assert_int_equal(need(HTTP_METHOD_GET, "/metrics"), TOKENS_SCOPE_READ);
    assert_int_equal(need(HTTP_METHOD_OTHER, "/opq/topics"),
                     TOKENS_SCOPE_ADMIN);
    assert_int_equal(need(HTTP_METHOD_GET, "/healthz"), TOKENS_SCOPE_NONE);
    assert_int_equal(need(HTTP_METHOD_HEAD, "/readyz"), TOKENS_SCOPE_NONE);
    assert_int_equal(need(HTTP_METHOD_GET, "/openapi.json"), TOKENS_SCOPE_NONE);
    assert_int_equal(need(HTTP_METHOD_DELETE, "/healthz"), TOKENS_SCOPE_ADMIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(tokens_are_found_by_themselves_or_their_hash,
                                  finish),
        cmocka_unit_test_teardown(nothing_else_is_found, finish),
        cmocka_unit_test_teardown(a_name_may_have_several_tokens, finish),
        cmocka_unit_test_teardown(wrong_lines_are_told_without_their_token,
                                  finish),
        cmocka_unit_test_teardown(a_table_grows_with_its_lines, finish),
        cmocka_unit_test_teardown(a_file_is_ours_alone, finish),
        cmocka_unit_test(what_a_request_needs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

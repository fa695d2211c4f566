/* Tests of server/config: where settings come from, and what is told of
 * mistakes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *const no_arguments[] = {NULL};
static char *const no_environment[] = {NULL};

/* Read, and expect it to go well. */
static struct config read_good(char *const *arguments, char *const *environment)
{
    struct config config;
    struct buf errors = {0};

    enum err err = config_read(arguments, environment, &config, &errors);
    if (err != ERR_OK) {
        fail_msg("%.*s", STR_ARG(buf_str(&errors)));
    }
    assert_int_equal(errors.size, 0);
    return config;
}

/* Read, and expect these words. */
static void expect_errors(char *const *arguments,
                          char *const *environment,
                          const char *words)
{
    struct config config;
    struct buf errors = {0};

    assert_int_equal(config_read(arguments, environment, &config, &errors),
                     ERR_INVALID);
    buf_append_byte(&errors, '\0');
    assert_string_equal(errors.data, words);
    buf_fini(&errors);
}

static void write_file(char *path, const char *text)
{
    (void)snprintf(path, 64, "/tmp/opq-config-XXXXXX");
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

static void defaults_are_those_of_the_table(void **state)
{
    struct config config = read_good(no_arguments, no_environment);

    (void)state;
    assert_int_equal(config.port, 8999);
    assert_string_equal(config.data, "opq-data");
    assert_string_equal(config.sync, "disk");
    assert_int_equal(config.timeout, 30000);
    assert_int_equal(config.body_size_max, 1 << 20);
    assert_true(config.admin);
    assert_false(config.debug);
    config_fini(&config);
}

static void flags_are_written_as_with_the_first_opq(void **state)
{
    char *const arguments[] = {
        "-port",      "9001",          "-debug=yes", "-syslog",    "my.log",
        "--admin=no", "--retry-first", "250ms",      "--io=epoll", NULL};
    struct config config = read_good(arguments, no_environment);

    (void)state;
    assert_int_equal(config.port, 9001);
    assert_true(config.debug);
    assert_string_equal(config.syslog, "my.log");
    assert_false(config.admin);
    assert_int_equal(config.retry_first, 250);
    assert_string_equal(config.io, "epoll");
    config_fini(&config);
}

static void a_yes_or_no_flag_needs_no_value(void **state)
{
    char *const arguments[] = {
        "-debug", "--insecure-open", "no", "--direct", "-port", "1", NULL};
    struct config config = read_good(arguments, no_environment);

    (void)state;
    assert_true(config.debug);
    assert_false(config.insecure_open);
    assert_true(config.direct);
    assert_int_equal(config.port, 1);
    config_fini(&config);
}

static void later_sources_win(void **state)
{
    char path[64];
    char flag[96];
    write_file(path, "# a comment\nport = 1\nshards = 3\ntimeout=9s\n");
    (void)snprintf(flag, sizeof(flag), "--config=%s", path);
    char *const arguments[] = {flag, "--timeout=7s", NULL};
    char *const environment[] = {"HOME=/", "OPQ_PORT=2", "OPQ_TIMEOUT=8s",
                                 NULL};

    struct config config = read_good(arguments, environment);
    (void)state;
    assert_int_equal(config.port, 2);
    assert_int_equal(config.shards, 3);
    assert_int_equal(config.timeout, 7000);
    config_fini(&config);
    (void)unlink(path);
}

static void mistakes_in_a_file_are_named_by_line(void **state)
{
    char path[64];
    char flag[96];
    char words[1024];
    write_file(path, "port = 70000\n\nprot = 1\nsync = maybe\nadmin = perhaps\n"
                     "segment_size = big\ntimeout = soon\nzzzzzzzzzz = 1\n");
    (void)snprintf(flag, sizeof(flag), "--config=%s", path);
    char *const arguments[] = {flag, NULL};

    (void)state;
    (void)snprintf(words, sizeof(words),
                   "%s:1: port must be from 0 to 65535\n"
                   "%s:3: unknown setting prot; did you mean port?\n"
                   "%s:4: sync must be one of disk|none\n"
                   "%s:5: admin must be yes or no\n"
                   "%s:6: segment_size must be a size such as 4096, 64k, 1m, "
                   "2g\n"
                   "%s:7: timeout must be a duration such as 250ms, 10s, 5m, "
                   "2h\n"
                   "%s:8: unknown setting zzzzzzzzzz\n",
                   path, path, path, path, path, path, path);
    expect_errors(arguments, no_environment, words);
    (void)unlink(path);
}

static void lines_that_are_no_settings_are_named(void **state)
{
    char path[64];
    char flag[96];
    char words[512];
    write_file(path, "port = 1\nnonsense\n[section]\nport = 2\n"
                     "data dir = 3\n");
    (void)snprintf(flag, sizeof(flag), "--config=%s", path);
    char *const arguments[] = {flag, NULL};

    (void)state;
    (void)snprintf(words, sizeof(words),
                   "%s:2: not of the form name = value\n"
                   "%s:3: not of the form name = value\n"
                   "%s:5: unknown setting data dir\n",
                   path, path, path);
    expect_errors(arguments, no_environment, words);
    (void)unlink(path);
}

/* A line that is indented does not go on with the one before it. */
static void lines_stand_for_themselves(void **state)
{
    char path[64];
    char flag[96];
    write_file(path, "\xef\xbb\xbfport = 1\r\n"
                     "data = a;b#c d   # a comment\n"
                     "\ttimeout=9s\t; another\n"
                     "  # port = 2\n"
                     "deny_net = \n"
                     "shards = 3");
    (void)snprintf(flag, sizeof(flag), "--config=%s", path);
    char *const arguments[] = {flag, NULL};

    struct config config = read_good(arguments, no_environment);
    (void)state;
    assert_int_equal(config.port, 1);
    assert_string_equal(config.data, "a;b#c d");
    assert_int_equal(config.timeout, 9000);
    assert_string_equal(config.deny_net, "");
    assert_int_equal(config.shards, 3);
    config_fini(&config);
    (void)unlink(path);
}

static void lines_may_be_long(void **state)
{
    char path[64];
    char flag[96];
    char words[128];
    struct buf text = {0};
    buf_append_c(&text, "deny_net = 10.0.0.0/8");
    for (int count = 0; count < 500; count++) {
        buf_append_c(&text, ",192.0.2.0/24");
    }
    size_t end = text.size;
    buf_append_c(&text, "\nprot = 1\n");
    buf_append_byte(&text, '\0');

    (void)state;
    write_file(path, text.data);
    (void)snprintf(flag, sizeof(flag), "--config=%s", path);
    char *const arguments[] = {flag, NULL};
    (void)snprintf(words, sizeof(words),
                   "%s:2: unknown setting prot; did you mean port?\n", path);
    expect_errors(arguments, no_environment, words);
    (void)unlink(path);

    text.data[end] = '\0';
    write_file(path, text.data);
    (void)snprintf(flag, sizeof(flag), "--config=%s", path);
    struct config config = read_good(arguments, no_environment);
    assert_string_equal(config.deny_net, text.data + strlen("deny_net = "));
    config_fini(&config);
    (void)unlink(path);
    buf_fini(&text);
}

static void a_missing_file_is_named(void **state)
{
    char *const arguments[] = {"--config", "/nowhere/opq.conf", NULL};
    char *const environment[] = {"OPQ_CONFIG=/nowhere/else.conf", NULL};

    (void)state;
    expect_errors(arguments, no_environment, "/nowhere/opq.conf: not found\n");
    expect_errors(no_arguments, environment, "/nowhere/else.conf: not found\n");
}

static void mistakes_elsewhere_are_named_by_place(void **state)
{
    char *const unknown[] = {"--prot=1", NULL};
    char *const lonely[] = {"-port", NULL};
    char *const stray[] = {"port", NULL};
    char *const bad[] = {"-port=x", NULL};
    char *const environment[] = {"OPQ_PROT=1", "OPQ_PORT=x", NULL};

    (void)state;
    expect_errors(unknown, no_environment,
                  "--prot=1: unknown setting prot; did you mean port?\n");
    expect_errors(lonely, no_environment, "-port: needs a value\n");
    expect_errors(stray, no_environment, "port: not a flag\n");
    expect_errors(bad, no_environment, "-port=x: port must be a number\n");
    expect_errors(no_arguments, environment,
                  "OPQ_PROT: unknown setting prot; did you mean port?\n"
                  "OPQ_PORT: port must be a number\n");
}

static void mistakes_of_all_sources_are_told_at_once(void **state)
{
    char path[64];
    char words[256];
    write_file(path, "port = 65536\n");
    char *const arguments[] = {"--config", path, "--shards=y", NULL};
    char *const environment[] = {"OPQ_TIMEOUT=soon", NULL};

    (void)state;
    (void)snprintf(words, sizeof(words),
                   "%s:1: port must be from 0 to 65535\n"
                   "OPQ_TIMEOUT: timeout must be a duration such as 250ms, "
                   "10s, 5m, 2h\n"
                   "--shards=y: shards must be a number\n",
                   path);
    expect_errors(arguments, environment, words);
    char *const file[] = {"--config", path, NULL};
    (void)snprintf(words, sizeof(words), "%s:1: port must be from 0 to 65535\n",
                   path);
    expect_errors(file, no_environment, words);
    (void)unlink(path);
}

static void settings_must_fit_together(void **state)
{
    char *const arguments[] = {"--batch-size-max=20m", NULL};

    (void)state;
    expect_errors(arguments, no_environment,
                  "batch_size_max must be at most half of "
                  "journal_file_size\n");

    char *const files[] = {"--journal-size=512g", NULL};
    expect_errors(files, no_environment,
                  "journal_size must be at most 4096 times "
                  "journal_file_size\n");

    /* A first pause beyond the longest one would end the process at the first
     * failed delivery. */
    char *const pauses[] = {"--retry-first=15m", NULL};
    expect_errors(pauses, no_environment,
                  "retry_first must be at most retry_max\n");

    /* The largest body could never be received. */
    char *const bodies[] = {"--body-memory=1m", NULL};
    expect_errors(bodies, no_environment,
                  "body_memory must be at least twice body_size_max, or as "
                  "much as batch_size_max\n");

    /* An empty one would be the root directory. */
    char *const empty[] = {"--data=", "--syslog=", NULL};
    expect_errors(empty, no_environment,
                  "data must name a directory\nsyslog must name a file\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_table),
        cmocka_unit_test(flags_are_written_as_with_the_first_opq),
        cmocka_unit_test(a_yes_or_no_flag_needs_no_value),
        cmocka_unit_test(later_sources_win),
        cmocka_unit_test(mistakes_in_a_file_are_named_by_line),
        cmocka_unit_test(lines_that_are_no_settings_are_named),
        cmocka_unit_test(lines_stand_for_themselves),
        cmocka_unit_test(lines_may_be_long),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(mistakes_elsewhere_are_named_by_place),
        cmocka_unit_test(mistakes_of_all_sources_are_told_at_once),
        cmocka_unit_test(settings_must_fit_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

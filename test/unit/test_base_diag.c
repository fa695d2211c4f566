/* Tests of base/diag: the shape of a line, levels, escapes, the cut.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/diag.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static char line[4096];
static size_t line_size;
static int line_count;

static void keep(void *context, const char *text, size_t size)
{
    assert_ptr_equal(context, &line_count);
    assert_true(size < sizeof(line));
    memcpy(line, text, size);
    line[size] = '\0';
    line_size = size;
    line_count++;
}

static uint64_t some_time(void)
{
    return UINT64_C(1767323045678);
}

static int begin(void **state)
{
    (void)state;
    struct diag_sink sink = {
        .write = keep, .context = &line_count, .now_ms = some_time};
    line_count = 0;
    line_size = 0;
    line[0] = '\0';
    diag_set_sink(&sink);
    diag_set_level(DIAG_LEVEL_INFO);
    diag_set_json(false);
    return 0;
}

static void line_has_time_level_event_and_values(void **state)
{
    (void)state;
    DIAG_WARN("segment_roll_failed", "path=%s err=%s", "a/0.msg", "full");
    assert_string_equal(line,
                        "2026-01-02T03:04:05.678Z warn segment_roll_failed "
                        "path=a/0.msg err=full\n");
    assert_int_equal(line_count, 1);
}

static void line_without_values_ends_after_the_event(void **state)
{
    (void)state;
    DIAG_INFO("started", "%s", "");
    assert_string_equal(line, "2026-01-02T03:04:05.678Z info started\n");
}

static void levels_up_to_the_set_one_are_printed(void **state)
{
    (void)state;
    for (int set = DIAG_LEVEL_ERROR; set <= DIAG_LEVEL_DEBUG; set++) {
        diag_set_level((enum diag_level)set);
        line_count = 0;
        DIAG_ERROR("e", "n=%d", 1);
        DIAG_WARN("w", "n=%d", 1);
        DIAG_INFO("i", "n=%d", 1);
        DIAG_DEBUG("d", "n=%d", 1);
        assert_int_equal(line_count, set + 1);
        assert_true(diag_enabled((enum diag_level)set));
        assert_int_equal(diag_enabled(DIAG_LEVEL_DEBUG),
                         set == DIAG_LEVEL_DEBUG);
        line_count = 0;
        diag_print(DIAG_LEVEL_DEBUG, "d", "n=%d", 1);
        assert_int_equal(line_count, set == DIAG_LEVEL_DEBUG);
    }
}

static void controls_cannot_forge_a_line(void **state)
{
    (void)state;
    DIAG_WARN("peer", "said=%s", "a\nb\r\x1b[1m\x7f\ttab \xc3\xa4");
    assert_non_null(strstr(
        line, " peer said=a\\x0ab\\x0d\\x1b[1m\\x7f\\x09tab \xc3\xa4\n"));
    assert_ptr_equal(strchr(line, '\n'), line + line_size - 1);
}

static void long_line_is_cut_at_its_limit(void **state)
{
    (void)state;
    char text[5000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    DIAG_WARN("long", "value=%s", text);
    assert_in_range(line_size, 2040, 2048);
    assert_int_equal(line[line_size - 1], '\n');
    memset(text, '\x01', sizeof(text) - 1);
    DIAG_WARN("long", "value=%s", text);
    assert_in_range(line_size, 2040, 2048);
}

static void no_sink_drops_lines(void **state)
{
    (void)state;
    diag_set_sink(NULL);
    DIAG_ERROR("lost", "n=%d", 1);
    assert_int_equal(line_count, 0);
}

static void json_line_is_an_object(void **state)
{
    (void)state;
    diag_set_json(true);
    DIAG_ERROR("bad", "said=%s", "\"q\"\n\xff\xc3\xa4");
    json_t *root = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    const char *expected[][2] = {
        {"time", "2026-01-02T03:04:05.678Z"},
        {"level", "error"},
        {"event", "bad"},
        {"detail", "said=\"q\"\n\xef\xbf\xbd\xc3\xa4"},
    };
    for (size_t i = 0; i < 4; i++) {
        json_t *value = json_object_get(root, expected[i][0]);
        assert_string_equal(json_string_value(value), expected[i][1]);
    }
    assert_int_equal(json_object_size(root), 4);
    json_decref(root);
    assert_ptr_equal(strchr(line, '\n'), line + line_size - 1);
}

static void cut_json_line_is_still_json(void **state)
{
    (void)state;
    /* Two-byte characters and escapes, so that each phase of the cut is met. */
    diag_set_json(true);
    for (size_t shift = 0; shift < 12; shift++) {
        char text[5000];
        memset(text, 'x', shift);
        for (size_t i = shift; i + 3 <= sizeof(text) - 1; i += 3) {
            memcpy(text + i, "\xc3\xa4\x02", 3);
        }
        text[4901] = '\0';
        DIAG_WARN("long", "value=%s", text);
        assert_in_range(line_size, 2035, 2048);
        json_t *root = json_loads(line, 0, NULL);
        assert_non_null(root);
        json_decref(root);
    }
}

enum { THREADS = 4, LINES_EACH = 500 };

static atomic_int whole_lines;

/* Each line must arrive whole, whatever other threads do. */
static void count_whole(void *context, const char *text, size_t size)
{
    static const char expected[] = "2026-01-02T03:04:05.678Z info busy n=7\n";
    if (context == &whole_lines && size == sizeof(expected) - 1 &&
        memcmp(text, expected, size) == 0) {
        atomic_fetch_add(&whole_lines, 1);
    }
}

static void *print_lines(void *argument)
{
    (void)argument;
    for (int i = 0; i < LINES_EACH; i++) {
        DIAG_INFO("busy", "n=%d", 7);
    }
    return NULL;
}

static void threads_print_whole_lines_while_the_sink_is_set(void **state)
{
    (void)state;
    const struct diag_sink sink = {
        .write = count_whole, .context = &whole_lines, .now_ms = some_time};
    pthread_t threads[THREADS];
    atomic_store(&whole_lines, 0);
    diag_set_sink(&sink);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, print_lines, NULL),
                         0);
    }
    for (int i = 0; i < LINES_EACH; i++) {
        diag_set_sink(&sink);
        diag_set_level(DIAG_LEVEL_INFO);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    diag_set_sink(NULL);
    assert_int_equal(atomic_load(&whole_lines), THREADS * LINES_EACH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(line_has_time_level_event_and_values, begin),
        cmocka_unit_test_setup(line_without_values_ends_after_the_event, begin),
        cmocka_unit_test_setup(levels_up_to_the_set_one_are_printed, begin),
        cmocka_unit_test_setup(controls_cannot_forge_a_line, begin),
        cmocka_unit_test_setup(long_line_is_cut_at_its_limit, begin),
        cmocka_unit_test_setup(no_sink_drops_lines, begin),
        cmocka_unit_test_setup(json_line_is_an_object, begin),
        cmocka_unit_test_setup(cut_json_line_is_still_json, begin),
        cmocka_unit_test_setup(threads_print_whole_lines_while_the_sink_is_set,
                               begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

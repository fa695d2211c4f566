/* Tests of admin/metrics_text: escapes, numbers, histograms.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/metrics_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void assert_text(struct buf *text, const char *wanted)
{
    assert_false(text->failed);
    buf_append_byte(text, '\0');
    assert_string_equal(text->data, wanted);
    buf_fini(text);
}

static void family_has_help_and_type(void **state)
{
    (void)state;
    struct buf to = {0};
    metrics_text_family(&to, "opq_a_total", "counter", "One \\ two\nthree.");
    assert_text(&to, "# HELP opq_a_total One \\\\ two\\nthree.\n"
                     "# TYPE opq_a_total counter\n");
}

static void labels_are_escaped(void **state)
{
    (void)state;
    struct buf to = {0};
    metrics_text_label(&to, "a", STR("plain"));
    metrics_text_label(&to, "b", STR("quote \" back \\ line\nend"));
    metrics_text_label(&to, "c", STR(""));
    metrics_text_label(&to, "d", STR("{a=\"b\"} 1"));
    assert_text(&to, "a=\"plain\",b=\"quote \\\" back \\\\ line\\nend\",c=\"\","
                     "d=\"{a=\\\"b\\\"} 1\"");
}

static void labels_are_utf8(void **state)
{
    (void)state;
    struct buf to = {0};
    metrics_text_label(&to, "a", STR("gr\xc3\xbc\xc3\x9f"));
    metrics_text_label(&to, "b", STR("x\xff\x80y"));
    metrics_text_label(&to, "c", STR("nul\0end"));
    assert_text(&to,
                "a=\"gr\xc3\xbc\xc3\x9f\",b=\"x\xef\xbf\xbd\xef\xbf\xbdy\","
                "c=\"nul\xef\xbf\xbd"
                "end\"");
}

static void numbers_move_their_point(void **state)
{
    (void)state;
    static const struct {
        uint64_t value;
        uint32_t decimals;
        const char *wanted;
    } cases[] = {
        {0, 0, "0"},
        {0, 9, "0"},
        {1500, 0, "1500"},
        {1500, 3, "1.5"},
        {1500, 6, "0.0015"},
        {1000, 3, "1"},
        {1, 9, "0.000000001"},
        {1000000001, 9, "1.000000001"},
        {UINT64_MAX, 0, "18446744073709551615"},
        {UINT64_MAX, 9, "18446744073.709551615"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf to = {0};
        metrics_text_number(&to, cases[i].value, cases[i].decimals);
        assert_text(&to, cases[i].wanted);
    }
}

static void samples_have_braces_only_with_labels(void **state)
{
    (void)state;
    struct buf to = {0};
    metrics_text_sample(&to, "opq_a", (struct str){NULL, 0}, 7, 0);
    metrics_text_sample(&to, "opq_a", STR("x=\"y\""), 7, 1);
    assert_text(&to, "opq_a 7\nopq_a{x=\"y\"} 0.7\n");
}

static struct histogram histogram;

static void a_histogram_of_times_adds_up(void **state)
{
    (void)state;
    const struct metrics_text_bounds bounds = {
        .first = 10, .last = 12, .decimals = 6};
    struct buf to = {0};

    memset(&histogram, 0, sizeof(histogram));
    histogram_record(&histogram, 1);
    histogram_record(&histogram, 1023);
    histogram_record(&histogram, 1024); /* a little above 1024, in truth */
    histogram_record(&histogram, 4095);
    histogram_record(&histogram, 5000000);
    metrics_text_histogram(&to, "opq_t_seconds", &histogram, &bounds);
    assert_text(&to, "opq_t_seconds_bucket{le=\"0.001024\"} 2\n"
                     "opq_t_seconds_bucket{le=\"0.002048\"} 3\n"
                     "opq_t_seconds_bucket{le=\"0.004096\"} 4\n"
                     "opq_t_seconds_bucket{le=\"+Inf\"} 5\n"
                     "opq_t_seconds_sum 5.006143\n"
                     "opq_t_seconds_count 5\n");
}

static void a_histogram_of_counts_has_whole_bounds(void **state)
{
    (void)state;
    const struct metrics_text_bounds bounds = {.first = 1, .last = 3};
    struct buf to = {0};

    memset(&histogram, 0, sizeof(histogram));
    for (uint64_t value = 1; value <= 8; value++) {
        histogram_record(&histogram, value);
    }
    metrics_text_histogram(&to, "opq_n", &histogram, &bounds);
    assert_text(&to, "opq_n_bucket{le=\"1\"} 1\n"
                     "opq_n_bucket{le=\"3\"} 3\n"
                     "opq_n_bucket{le=\"7\"} 7\n"
                     "opq_n_bucket{le=\"+Inf\"} 8\n"
                     "opq_n_sum 36\n"
                     "opq_n_count 8\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(family_has_help_and_type),
        cmocka_unit_test(labels_are_escaped),
        cmocka_unit_test(labels_are_utf8),
        cmocka_unit_test(numbers_move_their_point),
        cmocka_unit_test(samples_have_braces_only_with_labels),
        cmocka_unit_test(a_histogram_of_times_adds_up),
        cmocka_unit_test(a_histogram_of_counts_has_whole_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

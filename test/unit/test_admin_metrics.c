/* Tests of admin/metrics and metrics_top: what is shown, and how much of it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int make(void **state)
{
    *state = calloc(1, sizeof(struct metrics));
    return *state == NULL ? -1 : 0;
}

static int drop(void **state)
{
    struct metrics *metrics = *state;
    metrics_top_fini(&metrics->endpoints);
    free(metrics);
    return 0;
}

/* Render into a terminated text, to be freed. */
static char *render(struct metrics *metrics)
{
    const struct metrics_about about = {.version = "1 \"beta\"",
                                        .io = "epoll",
                                        .sync = "disk",
                                        .data = "/",
                                        .started_ms = 1795888694997};
    struct buf to = {0};

    metrics_set_process(metrics, &about);
    metrics_render(metrics, &about, &to);
    buf_append_byte(&to, '\0');
    assert_false(to.failed);
    return to.data;
}

static uint32_t count_of(const char *text, const char *part)
{
    uint32_t count = 0;
    for (const char *at = strstr(text, part); at != NULL;
         at = strstr(at + 1, part)) {
        count++;
    }
    return count;
}

/* --- topics --------------------------------------------------------------- */

static void the_topics_with_the_greatest_lag_are_kept(void **state)
{
    struct metrics_top *top = &((struct metrics *)*state)->lag;

    /* 1009 is a prime: every lag from 0 to 1008 once, in no order. */
    for (uint64_t i = 0; i < 1009; i++) {
        uint64_t lag = i * 631 % 1009;
        struct metrics_topic *place = metrics_top_place(top, lag);
        if (place != NULL) {
            (void)snprintf(place->topic, sizeof(place->topic), "t%llu",
                           (unsigned long long)lag);
        }
    }
    assert_int_equal(top->count, METRICS_TOP_MAX);
    for (uint32_t i = 0; i < METRICS_TOP_MAX; i++) {
        const struct metrics_topic *one = &top->topics[top->order[i]];
        char wanted[16];
        (void)snprintf(wanted, sizeof(wanted), "t%u", 1008 - i);
        assert_int_equal(one->lag, 1008 - i);
        assert_string_equal(one->topic, wanted);
    }
    assert_null(metrics_top_place(top, 909)); /* as much as the last: stays */
    assert_non_null(metrics_top_place(top, 910));
}

static void topics_without_lag_are_shown_while_there_is_room(void **state)
{
    struct metrics *metrics = *state;

    for (uint32_t i = 0; i < 3; i++) {
        struct metrics_topic *place = metrics_top_place(&metrics->lag, i % 2);
        assert_non_null(place);
        (void)snprintf(place->topic, sizeof(place->topic), "t%u", i);
        place->age_ms = i == 1 ? METRICS_NONE : 1500;
        (void)snprintf(place->subscription, sizeof(place->subscription), "%s",
                       i == 2 ? "sub" : "");
    }
    char *text = render(metrics);
    assert_non_null(
        strstr(text, "opq_topic_lag_messages{topic=\"t1\"} 1\n"
                     "opq_topic_lag_messages{topic=\"t0\"} 0\n"
                     "opq_topic_lag_messages{topic=\"t2\",subscription=\"sub\"}"
                     " 0\n"));
    /* An age that is not known is not shown. */
    assert_non_null(strstr(text, "opq_topic_oldest_age_seconds{topic=\"t0\"} "
                                 "1.5\n"));
    assert_null(strstr(text, "opq_topic_oldest_age_seconds{topic=\"t1\"}"));
    free(text);
}

/* --- endpoints ------------------------------------------------------------ */

static struct target_view
view_of(const char *name, enum endpoint_state state, uint64_t backlog)
{
    return (struct target_view){
        .name = name,
        .backlog = backlog,
        .endpoint = {.state = state,
                     .in_flight = 2,
                     .window = 8,
                     .failures = (uint32_t)backlog},
    };
}

static void an_endpoint_of_several_shards_is_one(void **state)
{
    struct metrics *metrics = *state;
    struct metrics_endpoints *endpoints = &metrics->endpoints;
    const struct target_view views[] = {
        view_of("http://a:1", ENDPOINT_CLOSED, 5),
        view_of("http://a:1", ENDPOINT_OPEN, 7),
        view_of("http://a:1", ENDPOINT_HALF_OPEN, 1),
        view_of("http://b:1", ENDPOINT_CLOSED, 9),
    };
    for (size_t i = 0; i < 4; i++) {
        metrics_top_note(endpoints, &views[i]);
    }
    metrics_top_choose(endpoints);
    for (size_t i = 0; i < 4; i++) {
        metrics_top_gather(endpoints, &views[i]);
    }
    assert_int_equal(endpoints->by_state[ENDPOINT_OPEN], 1);
    assert_int_equal(endpoints->by_state[ENDPOINT_CLOSED], 1);
    assert_int_equal(endpoints->by_state[ENDPOINT_HALF_OPEN], 0);
    char *text = render(metrics);
    static const char *const wanted[] = {
        "opq_endpoint_state{endpoint=\"http://a:1\"} 3\n",
        "opq_endpoint_state{endpoint=\"http://b:1\"} 0\n",
        "opq_endpoint_backlog_messages{endpoint=\"http://a:1\"} 13\n",
        "opq_endpoint_in_flight{endpoint=\"http://a:1\"} 6\n",
        "opq_endpoint_window{endpoint=\"http://a:1\"} 24\n",
        "opq_endpoint_failures_in_a_row{endpoint=\"http://a:1\"} 7\n",
        "opq_endpoints{state=\"open\"} 1\n",
    };
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        assert_non_null(strstr(text, wanted[i]));
    }
    free(text);
}

static void the_worst_endpoints_are_chosen(void **state)
{
    struct metrics_endpoints *endpoints =
        &((struct metrics *)*state)->endpoints;
    char name[32];

    /* 500 that are well with a backlog of 0 to 499, 60 that are open. */
    for (uint32_t i = 0; i < 560; i++) {
        (void)snprintf(name, sizeof(name), "http://e%u:1", i);
        struct target_view view = view_of(
            name, i < 500 ? ENDPOINT_CLOSED : ENDPOINT_OPEN, i < 500 ? i : 0);
        metrics_top_note(endpoints, &view);
    }
    metrics_top_choose(endpoints);
    assert_int_equal(endpoints->count, METRICS_TOP_MAX);
    assert_int_equal(endpoints->by_state[ENDPOINT_OPEN], 60);
    assert_int_equal(endpoints->by_state[ENDPOINT_CLOSED], 500);
    for (uint32_t i = 0; i < 560; i++) {
        (void)snprintf(name, sizeof(name), "http://e%u:1", i);
        struct target_view view = view_of(name, ENDPOINT_CLOSED, 0);
        metrics_top_gather(endpoints, &view);
    }
    for (uint32_t i = 0; i < METRICS_TOP_MAX; i++) {
        unsigned number = 0;
        assert_int_equal(
            sscanf(endpoints->chosen[i].name, "http://e%u:1", &number), 1);
        assert_true(number >= 460); /* those with 460 to 499, and the open */
    }
}

static void nothing_seen_is_nothing_shown(void **state)
{
    struct metrics *metrics = *state;

    metrics_top_choose(&metrics->endpoints);
    char *text = render(metrics);
    assert_null(strstr(text, "endpoint=\""));
    assert_null(strstr(text, "topic=\""));
    free(text);
}

/* --- the table ------------------------------------------------------------ */

static void each_metric_is_named_as_it_should_be(void **state)
{
    char *text = render(*state);
    char *rest = NULL;
    uint32_t families = 0;

    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        char name[128];
        char type[16];
        if (sscanf(line, "# TYPE %127s %15s", name, type) != 2) {
            continue;
        }
        families++;
        size_t size = strlen(name);
        bool total = size > 6 && strcmp(name + size - 6, "_total") == 0;
        assert_int_equal(strncmp(name, "opq_", 4), 0);
        assert_true(total == (strcmp(type, "counter") == 0));
    }
    assert_true(families > 60);
    free(text);
}

static void each_metric_is_there_once(void **state)
{
    char *text = render(*state);
    struct buf table = {0};

    metrics_table(&table);
    buf_append_byte(&table, '\0');
    const char *at = table.data;
    uint32_t count = 0;
    while ((at = strstr(at, "\n| `opq_")) != NULL) {
        char name[128];
        char line[160];
        at += 4;
        assert_int_equal(sscanf(at, "%127[a-z_]", name), 1);
        (void)snprintf(line, sizeof(line), "# TYPE %s ", name);
        assert_int_equal(count_of(text, line), 1);
        (void)snprintf(line, sizeof(line), "# HELP %s ", name);
        assert_int_equal(count_of(text, line), 1);
        count++;
    }
    assert_int_equal(count, count_of(text, "# TYPE "));
    assert_non_null(strstr(table.data, "| `opq_build_info` | gauge | 1 | "
                                       "`version`, `io`, `sync` | "));
    assert_non_null(strstr(table.data, " | requests | `class` | "));
    assert_non_null(strstr(table.data, " | pushes | - | "));
    buf_fini(&table);
    free(text);
}

/* An attempt that ended in a class without a sample would be in none. */
static void each_class_of_a_delivery_has_a_sample(void **state)
{
    char *text = render(*state);
    char wanted[128];

    for (int err = 0; err < ERR_COUNT; err++) {
        for (int status = 0; status < 600; status += 100) {
            (void)snprintf(wanted, sizeof(wanted),
                           "\nopq_attempts_total{class=\"%s\"} 0\n",
                           deliverer_class((enum err)err, status));
            assert_int_equal(count_of(text, wanted), 1);
        }
    }
    for (int reason = 1; reason < RETRY_REASONS; reason++) {
        (void)snprintf(wanted, sizeof(wanted),
                       "\nopq_dead_letters_total{reason=\"%s\"} 0\n",
                       retry_reason_text((enum retry_reason)reason));
        assert_int_equal(count_of(text, wanted), 1);
    }
    free(text);
}

static void process_and_build_are_told(void **state)
{
    char *text = render(*state);

    assert_non_null(strstr(text, "\nopq_build_info{version=\"1 \\\"beta\\\"\","
                                 "io=\"epoll\",sync=\"disk\"} 1\n"));
    assert_non_null(
        strstr(text, "\nopq_process_start_time_seconds 1795888694.997\n"));
    assert_null(strstr(text, "\nopq_process_resident_memory_bytes 0\n"));
    assert_null(strstr(text, "\nopq_process_open_fds 0\n"));
    assert_null(strstr(text, "\nopq_disk_size_bytes 0\n"));
    free(text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(the_topics_with_the_greatest_lag_are_kept),
        TEST(topics_without_lag_are_shown_while_there_is_room),
        TEST(an_endpoint_of_several_shards_is_one),
        TEST(the_worst_endpoints_are_chosen),
        TEST(nothing_seen_is_nothing_shown),
        TEST(each_metric_is_named_as_it_should_be),
        TEST(each_metric_is_there_once),
        TEST(each_class_of_a_delivery_has_a_sample),
        TEST(process_and_build_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

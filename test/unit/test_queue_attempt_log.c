/* Failed attempts that are remembered: queue/attempt_log.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/attempt_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool no_memory;

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);

void *__wrap_realloc(void *memory, size_t size)
{
    return no_memory ? NULL : __real_realloc(memory, size);
}

static void add(struct attempt_log **log, int status)
{
    struct attempt attempt = {
        .at_ms = 1000, .class = "http_5xx", .status = status};

    attempt_log_add(log, &attempt);
}

static void the_last_ones_are_kept(void **state)
{
    struct attempt_log *log = NULL;
    (void)state;
    assert_null(attempt_log_last(log));
    for (int number = 1; number <= 50; number++) {
        add(&log, number);
        int count = number < ATTEMPT_LOG_MAX ? number : ATTEMPT_LOG_MAX;
        assert_int_equal(log->count, count);
        assert_int_equal(attempt_log_last(log)->status, number);
        for (int index = 0; index < count; index++) {
            assert_int_equal(attempt_log_at(log, (uint32_t)index)->status,
                             number - count + 1 + index);
        }
    }
    free(log);
}

/* At any count, the older ones make room; more are kept when there is again. */
static void without_memory_the_oldest_goes(void **state)
{
    (void)state;
    for (int enough = 0; enough <= 20; enough++) {
        struct attempt_log *log = NULL;
        no_memory = false;
        for (int number = 1; number <= enough; number++) {
            add(&log, number);
        }
        no_memory = true;
        for (int number = enough + 1; number <= enough + 7; number++) {
            add(&log, number);
            assert_true(log == NULL || attempt_log_last(log)->status == number);
        }
        no_memory = false;
        for (int number = 100; number < 140; number++) {
            add(&log, number);
            assert_int_equal(attempt_log_last(log)->status, number);
        }
        for (uint32_t index = 1; index < log->count; index++) {
            assert_int_equal(attempt_log_at(log, index)->status,
                             attempt_log_at(log, index - 1)->status + 1);
        }
        free(log);
    }
}

static void they_are_shown_in_order(void **state)
{
    struct attempt_log *log = NULL;
    struct buf text = {0};
    struct attempt attempt = {.at_ms = 1500,
                              .class = "timeout",
                              .duration_ms = 30,
                              .detail = "a \"word\""};
    (void)state;
    attempt_log_json(NULL, &text);
    assert_int_equal(text.size, 0);
    add(&log, 503);
    attempt_log_add(&log, &attempt);
    attempt_log_json(log, &text);
    buf_append_byte(&text, '\0');
    assert_false(text.failed);
    assert_string_equal(
        text.data,
        ",\"attempts_log\":[{\"at\":\"1970-01-01T00:00:01.000Z\","
        "\"class\":\"http_5xx\",\"status\":503,\"duration_ms\":0},"
        "{\"at\":\"1970-01-01T00:00:01.500Z\",\"class\":\"timeout\","
        "\"status\":0,\"duration_ms\":30,\"detail\":\"a \\\"word\\\"\"}]");
    buf_fini(&text);
    free(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_ones_are_kept),
        cmocka_unit_test(without_memory_the_oldest_goes),
        cmocka_unit_test(they_are_shown_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Tests of queue/notice: types by name, the ring, and one of a kind in a while.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/notice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct notice *make(enum notice_type type, const char *subject)
{
    struct notice *notice =
        notice_make(type, 1000, str_from(subject), STR(",\"a\":1"));

    assert_non_null(notice);
    return notice;
}

static void types_are_read_by_name(void **state)
{
    uint32_t types = 7;

    (void)state;
    for (uint32_t type = 0; type < NOTICE_TYPES; type++) {
        assert_int_equal(
            notice_types_read(
                str_from(notice_type_name((enum notice_type)type)), &types),
            ERR_OK);
        assert_int_equal(types, 1U << type);
    }
    assert_int_equal(notice_types_read(STR("disk.ok,disk.low"), &types),
                     ERR_OK);
    assert_int_equal(types, 1U << NOTICE_DISK_OK | 1U << NOTICE_DISK_LOW);
    static const char *const wrong[] = {"",          ",",         "disk.low,",
                                        ",disk.low", "disk.lo",   "disk.lowe",
                                        "disk low",  "disk.low ,"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(notice_types_read(str_from(wrong[i]), &types),
                         ERR_INVALID);
    }
}

static void one_is_written_as_json(void **state)
{
    struct buf text;
    struct notice *notice = make(NOTICE_MESSAGE_DEAD, "a\"b");

    (void)state;
    buf_init(&text, 0);
    notice->id = 5;
    notice_json(notice, &text);
    buf_append_byte(&text, '\0');
    assert_string_equal(text.data,
                        "{\"type\":\"message.dead\",\"id\":5,"
                        "\"at\":\"1970-01-01T00:00:01.000Z\","
                        "\"subject\":\"a\\\"b\",\"data\":{\"a\":1}}");
    buf_clear(&text);
    notice->repeated = 2;
    notice->omitted = 3;
    notice->data = (struct str){0};
    notice_json(notice, &text);
    buf_append_byte(&text, '\0');
    assert_non_null(strstr(text.data, ",\"repeated\":2,\"omitted\":3,"
                                      "\"data\":{}}"));
    buf_fini(&text);
    free(notice);
}

static void long_ones_are_cut(void **state)
{
    static char text[NOTICE_DATA_MAX + 1];
    struct str subject = {text, NOTICE_SUBJECT_MAX + 1};
    struct str data = {text, sizeof(text)};

    (void)state;
    memset(text, 'x', sizeof(text));
    struct notice *notice = notice_make(NOTICE_DISK_OK, 0, subject, data);
    assert_non_null(notice);
    assert_int_equal(notice->subject.size, NOTICE_SUBJECT_MAX);
    assert_int_equal(notice->data.size, 0);
    free(notice);
}

static void topics_fit_with_their_subscriptions(void **state)
{
    struct notice *notice = make(NOTICE_TOPIC_SLOW, "shop/mail");
    uint32_t all = UINT32_MAX;

    (void)state;
    assert_true(notice_fits(notice, all, STR("")));
    assert_true(notice_fits(notice, all, STR("shop")));
    assert_true(notice_fits(notice, all, STR("shop/mail")));
    assert_false(notice_fits(notice, all, STR("sho")));
    assert_false(notice_fits(notice, all, STR("shop/mailer")));
    assert_false(notice_fits(notice, all, STR("shops")));
    assert_false(notice_fits(notice, 1U << NOTICE_DISK_LOW, STR("")));
    free(notice);
}

static void ring_keeps_the_last(void **state)
{
    static struct notice_ring ring;
    char name[32];

    (void)state;
    notice_ring_init(&ring, 77);
    assert_int_equal(notice_ring_oldest(&ring), ring.end);
    for (uint64_t i = 0; i < 3 * NOTICE_RING_MAX; i++) {
        (void)snprintf(name, sizeof(name), "%llu", (unsigned long long)i);
        notice_ring_add(&ring, make(NOTICE_TOPIC_SLOW, name));
        uint64_t kept = i + 1 < NOTICE_RING_MAX ? i + 1 : NOTICE_RING_MAX;
        assert_int_equal(ring.end, 77 + i + 1);
        assert_int_equal(notice_ring_oldest(&ring), ring.end - kept);
        const struct notice *last = notice_ring_at(&ring, ring.end - 1);
        assert_int_equal(last->id, 77 + i);
        assert_true(str_equal(last->subject, str_from(name)));
        assert_int_equal(notice_ring_at(&ring, ring.end - kept)->id,
                         ring.end - kept);
    }
    notice_ring_fini(&ring);
}

static void of_a_kind_one_passes_and_the_last_follows(void **state)
{
    struct notice_limit limit;
    struct notice *notice = NULL;

    (void)state;
    notice_limit_init(&limit);
    assert_true(notice_limit_due_ms(&limit) == UINT64_MAX);
    notice = notice_limit_add(&limit, make(NOTICE_MESSAGE_DEAD, "a"), 100);
    assert_non_null(notice);
    assert_int_equal(notice->repeated, 0);
    free(notice);
    /* Another type and another subject are other kinds. */
    notice = notice_limit_add(&limit, make(NOTICE_TOPIC_SLOW, "a"), 100);
    assert_non_null(notice);
    free(notice);
    notice = notice_limit_add(&limit, make(NOTICE_MESSAGE_DEAD, "b"), 100);
    assert_non_null(notice);
    free(notice);
    for (int i = 0; i < 5; i++) {
        assert_null(
            notice_limit_add(&limit, make(NOTICE_MESSAGE_DEAD, "a"), 101));
    }
    assert_int_equal(notice_limit_due_ms(&limit), 100 + NOTICE_SPAN_MS);
    assert_null(notice_limit_take(&limit, 100 + NOTICE_SPAN_MS - 1));
    notice = notice_limit_take(&limit, 100 + NOTICE_SPAN_MS);
    assert_non_null(notice);
    assert_int_equal(notice->repeated, 4);
    free(notice);
    assert_null(notice_limit_take(&limit, 100 + NOTICE_SPAN_MS));
    assert_true(notice_limit_due_ms(&limit) == UINT64_MAX);
    /* That began a new time of its kind; the others have ended. */
    assert_int_equal(limit.count, 1);
    assert_null(notice_limit_add(&limit, make(NOTICE_MESSAGE_DEAD, "a"),
                                 100 + 2 * NOTICE_SPAN_MS - 1));
    notice = notice_limit_add(&limit, make(NOTICE_MESSAGE_DEAD, "b"),
                              100 + 2 * NOTICE_SPAN_MS - 1);
    assert_non_null(notice);
    free(notice);
    notice_limit_fini(&limit);
}

static void kinds_are_bounded_and_the_rest_counted(void **state)
{
    struct notice_limit limit;
    struct notice *notice = NULL;
    char name[32];
    int shown = 0;

    (void)state;
    notice_limit_init(&limit);
    for (int i = 0; i < 2 * NOTICE_KINDS_MAX; i++) {
        (void)snprintf(name, sizeof(name), "t%d", i);
        notice = notice_limit_add(&limit, make(NOTICE_MESSAGE_DEAD, name), 5);
        shown += notice != NULL ? 1 : 0;
        free(notice);
    }
    assert_int_equal(shown, NOTICE_KINDS_COMMON_MAX);
    /* What only the server has still passes, and says what did not. */
    notice = notice_limit_add(&limit, make(NOTICE_DISK_LOW, "/data"), 5);
    assert_non_null(notice);
    assert_int_equal(notice->omitted,
                     2 * NOTICE_KINDS_MAX - NOTICE_KINDS_COMMON_MAX);
    free(notice);
    shown = 0;
    for (int i = 0; i < NOTICE_KINDS_MAX; i++) {
        (void)snprintf(name, sizeof(name), "http://%d", i);
        notice = notice_limit_add(&limit, make(NOTICE_ENDPOINT_DOWN, name), 5);
        shown += notice != NULL ? 1 : 0;
        free(notice);
    }
    assert_int_equal(shown, NOTICE_KINDS_MAX - NOTICE_KINDS_COMMON_MAX - 1);
    /* A while later there is room for all. */
    notice = notice_limit_add(&limit, make(NOTICE_MESSAGE_DEAD, "late"),
                              5 + NOTICE_SPAN_MS);
    assert_non_null(notice);
    free(notice);
    assert_int_equal(limit.count, 1);
    notice_limit_fini(&limit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_are_read_by_name),
        cmocka_unit_test(one_is_written_as_json),
        cmocka_unit_test(long_ones_are_cut),
        cmocka_unit_test(topics_fit_with_their_subscriptions),
        cmocka_unit_test(ring_keeps_the_last),
        cmocka_unit_test(of_a_kind_one_passes_and_the_last_follows),
        cmocka_unit_test(kinds_are_bounded_and_the_rest_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

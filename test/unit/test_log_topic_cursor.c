/* Tests of log/topic_cursor: bytes and back, and states of one epoch brought
 * together, against a model that has a flag for each message.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/topic_cursor.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char bytes[TOPIC_CURSOR_SIZE_MAX + 8];

/* Write it and read it back. */
static struct topic_cursor *back(const struct topic_cursor *cursor)
{
    static struct topic_cursor got;
    size_t size = topic_cursor_size(cursor);
    size_t found = 0;
    assert_true(size <= TOPIC_CURSOR_SIZE_MAX);
    topic_cursor_write(cursor, bytes);
    assert_true(topic_cursor_read((struct str){bytes, size}, &got, &found));
    assert_int_equal(found, size);
    return &got;
}

static void a_cursor_is_read_back(void **state)
{
    (void)state;
    struct topic_cursor cursor = {
        .epoch = 3,
        .next = 10,
        .attempts = 7,
        .range_count = 2,
        .retry_count = 3,
        .ranges = {{10, 12}, {15, 20}},
        .retries = {{13, 1}, {14, 2}, {UINT64_MAX, 9}},
    };
    const struct topic_cursor *got = back(&cursor);
    assert_int_equal(got->epoch, 3);
    assert_int_equal(got->next, 10);
    assert_int_equal(got->attempts, 7);
    assert_int_equal(got->range_count, 2);
    assert_int_equal(got->ranges[1].first, 15);
    assert_int_equal(got->ranges[1].end, 20);
    assert_int_equal(got->retry_count, 3);
    assert_true(got->retries[2].sequence == UINT64_MAX);
    assert_int_equal(got->retries[2].attempts, 9);
}

static void one_without_retries_ends_with_its_ranges(void **state)
{
    (void)state;
    struct topic_cursor cursor = {
        .next = 1, .range_count = 1, .ranges = {{4, 5}}};
    assert_int_equal(topic_cursor_size(&cursor), 24 + 16);
    assert_int_equal(back(&cursor)->retry_count, 0);
    cursor.range_count = 0;
    assert_int_equal(topic_cursor_size(&cursor), 24);
    assert_int_equal(back(&cursor)->range_count, 0);
}

static void padding_behind_it_is_not_its_own(void **state)
{
    (void)state;
    struct topic_cursor cursor = {
        .next = 1, .retry_count = 2, .retries = {{4, 5}, {6, 7}}};
    struct topic_cursor got;
    size_t size = topic_cursor_size(&cursor);
    size_t found = 0;
    memset(bytes, 0, sizeof(bytes));
    topic_cursor_write(&cursor, bytes);
    assert_true(topic_cursor_read((struct str){bytes, size + 4}, &got, &found));
    assert_int_equal(found, size);
    assert_int_equal(got.retry_count, 2);
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    struct topic_cursor cursor = {
        .next = 10, .retry_count = 2, .retries = {{13, 1}, {14, 2}}};
    struct topic_cursor got;
    size_t size = topic_cursor_size(&cursor);
    size_t found = 0;
    topic_cursor_write(&cursor, bytes);
    for (size_t cut = 0; cut < size; cut++) {
        if (cut != 24) { /* that is one without retries */
            assert_false(
                topic_cursor_read((struct str){bytes, cut}, &got, &found));
        }
    }
    const uint64_t bad[][2] = {{10, 12}, {9, 12}, {13, 13}, {14, 13}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cursor.retries[0].sequence = bad[i][0];
        cursor.retries[1].sequence = bad[i][1];
        topic_cursor_write(&cursor, bytes);
        assert_false(
            topic_cursor_read((struct str){bytes, size}, &got, &found));
    }
    put_u32(bytes + 20, TOPIC_RANGES_MAX + 1);
    assert_false(
        topic_cursor_read((struct str){bytes, sizeof(bytes)}, &got, &found));
    put_u32(bytes + 20, 0);
    put_u32(bytes + 24, TOPIC_RETRIES_MAX + 1);
    assert_false(
        topic_cursor_read((struct str){bytes, sizeof(bytes)}, &got, &found));
}

static void pruning_moves_over_what_is_acknowledged(void **state)
{
    (void)state;
    struct topic_cursor cursor = {
        .next = 12,
        .attempts = 3,
        .range_count = 4,
        .retry_count = 4,
        .ranges = {{5, 8}, {10, 14}, {14, 16}, {20, 30}},
        .retries = {{13, 1}, {16, 6}, {19, 2}, {25, 4}},
    };
    topic_cursor_prune(&cursor);
    assert_int_equal(cursor.next, 16);
    assert_int_equal(cursor.attempts, 6); /* those of 16 */
    assert_int_equal(cursor.range_count, 1);
    assert_int_equal(cursor.ranges[0].first, 20);
    assert_int_equal(cursor.retry_count, 1);
    assert_int_equal(cursor.retries[0].sequence, 19);
    assert_true(topic_cursor_valid(&cursor));
}

static void epochs_decide_what_counts(void **state)
{
    (void)state;
    struct topic_cursor cursor = {
        .epoch = 4, .next = 50, .range_count = 1, .ranges = {{60, 70}}};
    struct topic_cursor other = {.epoch = 3, .next = 90};
    assert_false(topic_cursor_merge(&cursor, &other));
    assert_int_equal(cursor.next, 50);
    other = (struct topic_cursor){.epoch = 5, .next = 2};
    assert_true(topic_cursor_merge(&cursor, &other));
    assert_int_equal(cursor.epoch, 5);
    assert_int_equal(cursor.next, 2);
    assert_int_equal(cursor.range_count, 0);
    assert_false(topic_cursor_merge(&cursor, &other));
}

static void attempts_are_those_at_next(void **state)
{
    (void)state;
    struct topic_cursor cursor = {.next = 5, .attempts = 9};
    struct topic_cursor other = {.next = 7, .attempts = 2};
    assert_true(topic_cursor_merge(&cursor, &other));
    assert_int_equal(cursor.attempts, 2);
    other.attempts = 1;
    assert_false(topic_cursor_merge(&cursor, &other));
    assert_int_equal(cursor.attempts, 2);
    other =
        (struct topic_cursor){.next = 3, .retry_count = 1, .retries = {{7, 4}}};
    assert_true(topic_cursor_merge(&cursor, &other));
    assert_int_equal(cursor.attempts, 4);
    /* One that moves on by what both say has none of the message before. */
    other = (struct topic_cursor){
        .next = 6, .attempts = 8, .range_count = 1, .ranges = {{7, 10}}};
    assert_true(topic_cursor_merge(&cursor, &other));
    assert_int_equal(cursor.next, 10);
    assert_int_equal(cursor.attempts, 0);
}

static void what_has_no_room_is_dropped_from_the_top(void **state)
{
    (void)state;
    static struct topic_cursor odd;
    static struct topic_cursor even;
    odd.range_count = even.range_count = TOPIC_RANGES_MAX;
    odd.retry_count = even.retry_count = TOPIC_RETRIES_MAX;
    for (uint64_t i = 0; i < TOPIC_RANGES_MAX; i++) {
        even.ranges[i] = (struct topic_range){10 + i * 8, 11 + i * 8};
        odd.ranges[i] = (struct topic_range){14 + i * 8, 15 + i * 8};
        even.retries[i] = (struct topic_retry){12 + i * 8, 1};
        odd.retries[i] = (struct topic_retry){16 + i * 8, 1};
    }
    assert_true(topic_cursor_merge(&odd, &even));
    assert_true(topic_cursor_valid(&odd));
    assert_int_equal(odd.range_count, TOPIC_RANGES_MAX);
    assert_int_equal(odd.retry_count, TOPIC_RETRIES_MAX);
    assert_int_equal(odd.ranges[0].first, 10);
    assert_int_equal(odd.ranges[127].first, 10 + 127 * 4);
    assert_int_equal(odd.retries[127].sequence, 12 + 127 * 4);
}

/* --- against a model ------------------------------------------------------ */

enum { MODEL_SIZE = 200 };

static uint32_t seed;

static uint32_t draw(uint32_t below)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 8) % below;
}

/* A cursor of which `acknowledged` says what it says. */
static void cursor_of(const bool *acknowledged, struct topic_cursor *out)
{
    memset(out, 0, sizeof(*out));
    while (out->next < MODEL_SIZE && acknowledged[out->next]) {
        out->next++;
    }
    for (uint64_t i = out->next; i < MODEL_SIZE; i++) {
        if (acknowledged[i] && !acknowledged[i - 1]) {
            out->ranges[out->range_count].first = i;
            out->range_count++;
        }
        if (acknowledged[i]) {
            out->ranges[out->range_count - 1].end = i + 1;
        }
    }
}

/* Draw what a state acknowledges, dense or sparse, behind a drawn `next`. */
static void draw_state(bool *acknowledged, struct topic_cursor *out)
{
    uint32_t next = draw(MODEL_SIZE);
    uint32_t sparse = 2 + draw(6);
    for (uint32_t i = 0; i < MODEL_SIZE; i++) {
        acknowledged[i] = i < next || draw(sparse) == 0;
    }
    cursor_of(acknowledged, out);
    for (uint64_t i = out->next + 1; i < MODEL_SIZE; i++) {
        if (!acknowledged[i] && draw(4) == 0 &&
            out->retry_count < TOPIC_RETRIES_MAX) {
            out->retries[out->retry_count].sequence = i;
            out->retries[out->retry_count].attempts = 1 + draw(5);
            out->retry_count++;
        }
    }
    assert_true(topic_cursor_valid(out));
}

static void expect_same(const struct topic_cursor *got,
                        const struct topic_cursor *wanted)
{
    assert_true(topic_cursor_valid(got));
    assert_int_equal(got->next, wanted->next);
    assert_int_equal(got->range_count, wanted->range_count);
    for (uint32_t i = 0; i < wanted->range_count; i++) {
        assert_int_equal(got->ranges[i].first, wanted->ranges[i].first);
        assert_int_equal(got->ranges[i].end, wanted->ranges[i].end);
    }
}

/* The attempts that a state says a message had. */
static uint32_t attempts_at(const struct topic_cursor *cursor, uint64_t at)
{
    for (uint32_t i = 0; i < cursor->retry_count; i++) {
        if (cursor->retries[i].sequence == at) {
            return cursor->retries[i].attempts;
        }
    }
    return at == cursor->next ? cursor->attempts : 0;
}

static void two_states_say_together_what_either_does(void **state)
{
    (void)state;
    for (seed = 0; seed < 3000; seed++) {
        uint32_t kept_seed = seed;
        bool left_has[MODEL_SIZE];
        bool right_has[MODEL_SIZE];
        struct topic_cursor left;
        struct topic_cursor right;
        struct topic_cursor wanted;
        draw_state(left_has, &left);
        draw_state(right_has, &right);
        struct topic_cursor one = left;
        struct topic_cursor two = right;
        (void)topic_cursor_merge(&one, &right);
        (void)topic_cursor_merge(&two, &left);
        for (uint32_t i = 0; i < MODEL_SIZE; i++) {
            left_has[i] = left_has[i] || right_has[i];
        }
        cursor_of(left_has, &wanted);
        expect_same(&one, &wanted);
        expect_same(&two, &wanted);
        for (uint32_t i = (uint32_t)wanted.next; i < MODEL_SIZE; i++) {
            uint32_t most = attempts_at(&left, i);
            uint32_t other = attempts_at(&right, i);
            most = other > most ? other : most;
            most = left_has[i] ? 0 : most;
            assert_int_equal(attempts_at(&one, i), most);
            assert_int_equal(attempts_at(&two, i), most);
        }
        assert_false(topic_cursor_merge(&one, &left));
        seed = kept_seed;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cursor_is_read_back),
        cmocka_unit_test(one_without_retries_ends_with_its_ranges),
        cmocka_unit_test(padding_behind_it_is_not_its_own),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(pruning_moves_over_what_is_acknowledged),
        cmocka_unit_test(epochs_decide_what_counts),
        cmocka_unit_test(attempts_are_those_at_next),
        cmocka_unit_test(what_has_no_room_is_dropped_from_the_top),
        cmocka_unit_test(two_states_say_together_what_either_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Memory set aside for tails: what it gives, and records that go through it
 * when malloc() has none.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/tail_reserve.h"

#include "log/topic_tail.h"

#include "lib/log_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool refuses; /* malloc() has nothing */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
    return refuses ? NULL : __real_malloc(size);
}

static int setup(void **state)
{
    (void)state;
    refuses = false;
    return 0;
}

static void refuses_when_there_is_no_memory(void **state)
{
    (void)state;
    struct tail_reserve reserve = {.size = 1};

    refuses = true;
    assert_int_equal(tail_reserve_init(&reserve, 1000), ERR_NOMEM);
    assert_null(reserve.memory);
    assert_int_equal(reserve.size, 0);
    tail_reserve_fini(&reserve);
}

static void
gives_pieces_until_it_is_empty_and_anew_when_all_are_back(void **state)
{
    (void)state;
    struct tail_reserve reserve;

    assert_int_equal(tail_reserve_init(&reserve, 100), ERR_OK);
    for (int round = 0; round < 3; round++) {
        char *first = tail_reserve_take(&reserve, 33);
        char *second = tail_reserve_take(&reserve, 40);
        assert_non_null(first);
        assert_ptr_equal(second, first + 48);
        assert_int_equal((uintptr_t)second % 16, 0);
        assert_null(tail_reserve_take(&reserve, 5));
        assert_non_null(tail_reserve_take(&reserve, 4));
        assert_null(tail_reserve_take(&reserve, 1));
        assert_true(tail_reserve_used(&reserve));
        tail_reserve_give(&reserve);
        tail_reserve_give(&reserve);
        assert_true(tail_reserve_used(&reserve));
        assert_null(tail_reserve_take(&reserve, 1));
        tail_reserve_give(&reserve);
        assert_false(tail_reserve_used(&reserve));
    }
    tail_reserve_fini(&reserve);
}

static enum err append(struct topic_tail *tail, uint64_t sequence)
{
    struct segment_record head;
    struct str record = log_fixture_record(sequence, 1000 + sequence, 300);

    assert_int_equal(segment_record_head(record, &head), ERR_OK);
    return topic_tail_append(tail, record, &head);
}

static void records_go_there_when_there_is_no_other_memory(void **state)
{
    (void)state;
    struct tail_reserve reserve;
    struct topic_tail tail = {.reserve = &reserve};
    uint64_t end = 0;

    assert_int_equal(tail_reserve_init(&reserve, 8192), ERR_OK);
    assert_int_equal(append(&tail, end), ERR_OK);
    end++;
    assert_false(tail_reserve_used(&reserve));
    refuses = true;
    while (append(&tail, end) == ERR_OK) {
        end++;
    }
    refuses = false;
    assert_true(tail_reserve_used(&reserve));
    assert_true(end > 10);
    for (uint64_t sequence = 0; sequence < end; sequence++) {
        struct str bytes;
        uint64_t first = 0;
        assert_true(topic_tail_find(&tail, sequence, &bytes, &first));
        assert_int_equal(first, sequence);
        struct str record = log_fixture_record(sequence, 1000 + sequence, 300);
        assert_memory_equal(bytes.data, record.data, record.size);
    }
    assert_int_equal(append(&tail, end), ERR_OK); /* as ever */
    topic_tail_drop(&tail, end);
    assert_false(tail_reserve_used(&reserve));
    topic_tail_fini(&tail);
    assert_int_equal(tail.memory_bytes, 0);
    tail_reserve_fini(&reserve);
}

static void without_one_there_is_only_what_malloc_has(void **state)
{
    (void)state;
    struct topic_tail tail = {0};

    refuses = true;
    assert_int_equal(append(&tail, 0), ERR_NOMEM);
    assert_null(tail.head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(refuses_when_there_is_no_memory, setup),
        cmocka_unit_test_setup(
            gives_pieces_until_it_is_empty_and_anew_when_all_are_back, setup),
        cmocka_unit_test_setup(records_go_there_when_there_is_no_other_memory,
                               setup),
        cmocka_unit_test_setup(without_one_there_is_only_what_malloc_has,
                               setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

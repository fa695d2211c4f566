/* Looking through a topic's folder: what is found, and that nothing else is.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/fault.h"
#include "lib/log_fixture.h"
#include "log/segment.h"
#include "log/topic_inspect.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FINDINGS_MAX = 64 };
#define RECORD_SIZE UINT64_C(88)

/* What a walk told. */
struct told {
    struct topic_inspect_sum sum;
    uint64_t first; /* record shown first */
    uint64_t next;  /* one past the last */
    uint64_t records;
    uint32_t count;
    struct {
        enum topic_finding_kind kind;
        char file[SEGMENT_NAME_MAX];
        uint64_t offset;
        uint64_t size;
        uint64_t sequence;
        uint64_t lost;
    } findings[FINDINGS_MAX];
};

static struct told told;

static int setup(void **state)
{
    struct log_fixture *fixture = malloc(sizeof(*fixture));
    assert_non_null(fixture);
    log_fixture_create(fixture);
    fixture->options.segment_count_max = 200;
    log_fixture_open(fixture, 0);
    fixture->cursor.next = 100;
    log_fixture_append(fixture, 0, 500);
    log_fixture_flush(fixture, 1);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    log_fixture_destroy(*state);
    free(*state);
    return 0;
}

static enum err on_record(void *context, uint64_t sequence, struct str bytes)
{
    struct told *to = context;
    assert_int_equal(bytes.size, RECORD_SIZE);
    to->first = to->records == 0 ? sequence : to->first;
    assert_true(to->records == 0 || sequence >= to->next);
    to->next = sequence + 1;
    to->records++;
    return ERR_OK;
}

static void on_finding(void *context, const struct topic_finding *finding)
{
    struct told *to = context;
    assert_true(to->count < FINDINGS_MAX);
    assert_non_null(finding->what);
    uint32_t i = to->count++;
    to->findings[i].kind = finding->kind;
    (void)snprintf(to->findings[i].file, sizeof(to->findings[i].file), "%s",
                   finding->file);
    to->findings[i].offset = finding->offset;
    to->findings[i].size = finding->size;
    to->findings[i].sequence = finding->sequence;
    to->findings[i].lost = finding->lost;
}

static enum err walk(struct log_fixture *fixture, uint64_t first, bool running)
{
    struct topic_inspect_options options = {
        .directory = fixture->directory, .first = first, .running = running};
    struct topic_inspect_visit visit = {on_record, on_finding, &told};
    memset(&told, 0, sizeof(told));
    return topic_inspect_walk(&options, &visit, &told.sum);
}

static void expect_one(struct log_fixture *fixture,
                       enum topic_finding_kind kind,
                       const char *file)
{
    assert_int_equal(walk(fixture, 0, false), ERR_OK);
    if (told.count != 1 || told.findings[0].kind != kind ||
        strcmp(told.findings[0].file, file) != 0) {
        fail_msg("%u findings; %d in %s", told.count,
                 (int)told.findings[0].kind, told.findings[0].file);
    }
}

static void a_whole_topic_has_no_findings(void **state)
{
    struct log_fixture *fixture = *state;
    for (int running = 0; running < 2; running++) {
        assert_int_equal(walk(fixture, 0, running == 1), ERR_OK);
        assert_int_equal(told.count, 0);
        assert_int_equal(told.records, 500);
        assert_int_equal(told.sum.oldest, 0);
        assert_int_equal(told.sum.end, 500);
        assert_int_equal(told.sum.records, 500);
        assert_int_equal(told.sum.bytes, 500 * RECORD_SIZE);
        assert_int_equal(told.sum.lost, 0);
        assert_int_equal(told.sum.cmd_end, 500);
    }
}

static void a_walk_may_begin_anywhere(void **state)
{
    struct log_fixture *fixture = *state;
    assert_int_equal(walk(fixture, 333, false), ERR_OK);
    assert_int_equal(told.first, 333);
    assert_int_equal(told.records, 167);
    assert_int_equal(walk(fixture, 900, false), ERR_OK);
    assert_int_equal(told.records, 0);
}

static void a_folder_that_is_not_there_is_said(void **state)
{
    struct log_fixture *fixture = *state;
    struct topic_inspect_options options = {.directory = "/nowhere/at/all"};
    struct topic_inspect_visit visit = {0};
    assert_int_equal(topic_inspect_walk(&options, &visit, &told.sum),
                     ERR_NOT_FOUND);
    assert_int_equal(topic_inspect_mend_index(fixture->directory, 77),
                     ERR_NOT_FOUND);
}

static enum err stop(void *context, uint64_t sequence, struct str bytes)
{
    (void)context;
    (void)bytes;
    return sequence == 250 ? ERR_CLOSED : ERR_OK;
}

static void an_error_of_the_visitor_ends_the_walk(void **state)
{
    struct log_fixture *fixture = *state;
    struct topic_inspect_options options = {.directory = fixture->directory};
    struct topic_inspect_visit visit = {.record = stop};
    assert_int_equal(topic_inspect_walk(&options, &visit, &told.sum),
                     ERR_CLOSED);
}

static void a_flipped_bit_in_a_record_is_one_finding(void **state)
{
    struct log_fixture *fixture = *state;
    for (uint64_t at = 0; at < RECORD_SIZE; at += 5) {
        uint64_t offset = SEGMENT_HEAD_SIZE + UINT64_C(50) * RECORD_SIZE;
        log_fixture_flip(fixture, "200.msg", offset + at);
        expect_one(fixture, TOPIC_FINDING_RECORD, "200.msg");
        assert_int_equal(told.findings[0].sequence, 250);
        assert_int_equal(told.findings[0].lost, 1);
        assert_int_equal(told.findings[0].offset, offset);
        assert_int_equal(told.findings[0].size, RECORD_SIZE);
        assert_int_equal(told.records, 499);
        assert_int_equal(told.sum.lost, 1);
        log_fixture_flip(fixture, "200.msg", offset + at);
    }
}

static void a_damaged_head_is_a_finding(void **state)
{
    struct log_fixture *fixture = *state;
    log_fixture_flip(fixture, "200.msg", 20);
    expect_one(fixture, TOPIC_FINDING_HEAD, "200.msg");
    assert_int_equal(told.records, 500);
}

static void a_torn_tail_is_not_damage(void **state)
{
    struct log_fixture *fixture = *state;
    log_fixture_cut(fixture, "400.msg",
                    SEGMENT_HEAD_SIZE + UINT64_C(100) * RECORD_SIZE + 30);
    expect_one(fixture, TOPIC_FINDING_TAIL, "400.msg");
    assert_int_equal(told.findings[0].size, 30);
    assert_int_equal(told.findings[0].lost, 0);
    assert_int_equal(told.sum.lost, 0);
    assert_int_equal(walk(fixture, 0, true), ERR_OK);
    assert_int_equal(told.count, 0);
    log_fixture_cut(fixture, "400.msg", 10);
    log_fixture_remove(fixture, "cmd");
    log_fixture_remove(fixture, "400.idx");
    expect_one(fixture, TOPIC_FINDING_TAIL, "400.msg");
}

static void a_segment_cut_short_or_missing_is_a_gap(void **state)
{
    struct log_fixture *fixture = *state;
    log_fixture_cut(fixture, "200.msg",
                    SEGMENT_HEAD_SIZE + UINT64_C(190) * RECORD_SIZE);
    assert_int_equal(walk(fixture, 0, false), ERR_OK);
    assert_int_equal(told.sum.lost, 10);
    bool gap = false;
    for (uint32_t i = 0; i < told.count; i++) {
        gap = gap ||
              (told.findings[i].kind == TOPIC_FINDING_GAP &&
               told.findings[i].sequence == 390 && told.findings[i].lost == 10);
    }
    assert_true(gap);
    log_fixture_remove(fixture, "200.msg");
    expect_one(fixture, TOPIC_FINDING_GAP, "0.msg");
    assert_int_equal(told.findings[0].sequence, 200);
    assert_int_equal(told.findings[0].lost, 200);
}

static void an_index_that_is_not_right_is_found_and_mended(void **state)
{
    struct log_fixture *fixture = *state;
    int64_t size = log_fixture_size(fixture, "200.idx");
    assert_int_equal(size, 5 * 16);
    for (uint64_t at = 0; at < 80; at++) {
        if (at % 16 >= 8 && at % 16 != 12) {
            continue; /* a time too high by little cannot be seen */
        }
        log_fixture_flip(fixture, "200.idx", at);
        assert_int_equal(walk(fixture, 0, false), ERR_OK);
        if (at % 16 == 12 && at < 64) {
            assert_int_equal(told.count, 1); /* not ascending any more */
        }
        if (at % 16 < 8) {
            assert_int_equal(told.count, 1);
            assert_int_equal(told.findings[0].kind, TOPIC_FINDING_INDEX);
            assert_string_equal(told.findings[0].file, "200.idx");
        }
        assert_int_equal(told.records, 500);
        assert_int_equal(topic_inspect_mend_index(fixture->directory, 200),
                         ERR_OK);
        assert_int_equal(walk(fixture, 0, false), ERR_OK);
        assert_int_equal(told.count, 0);
    }
    for (uint64_t cut = 0; cut < 80; cut += 4) {
        log_fixture_cut(fixture, "200.idx", cut);
        expect_one(fixture, TOPIC_FINDING_INDEX, "200.idx");
        assert_int_equal(topic_inspect_mend_index(fixture->directory, 200),
                         ERR_OK);
        assert_int_equal(log_fixture_size(fixture, "200.idx"), 5 * 16);
    }
    log_fixture_cut(fixture, "200.idx", 5 * 16 + 3);
    expect_one(fixture, TOPIC_FINDING_INDEX, "200.idx");
    log_fixture_remove(fixture, "200.idx");
    expect_one(fixture, TOPIC_FINDING_INDEX, "200.idx");
    assert_int_equal(topic_inspect_mend_index(fixture->directory, 200), ERR_OK);
    assert_int_equal(walk(fixture, 0, false), ERR_OK);
    assert_int_equal(told.count, 0);
    log_fixture_cut(fixture, "400.idx", 16); /* the open one, at work */
    assert_int_equal(walk(fixture, 0, true), ERR_OK);
    assert_int_equal(told.count, 0);
}

static void an_index_beside_damage_is_not_blamed(void **state)
{
    struct log_fixture *fixture = *state;
    /* The record of the entry at 47 * 88. */
    log_fixture_flip(fixture, "0.msg",
                     SEGMENT_HEAD_SIZE + UINT64_C(47) * RECORD_SIZE + 9);
    expect_one(fixture, TOPIC_FINDING_RECORD, "0.msg");
    assert_int_equal(topic_inspect_mend_index(fixture->directory, 0), ERR_OK);
    expect_one(fixture, TOPIC_FINDING_RECORD, "0.msg");
}

static void damaged_slots_are_found(void **state)
{
    struct log_fixture *fixture = *state;
    log_fixture_flip(fixture, "cmd", 33);
    expect_one(fixture, TOPIC_FINDING_STATE, "cmd");
    assert_int_equal(told.sum.cmd_end, 0);
    log_fixture_flip(fixture, "cmd", 33);
    log_fixture_flip(fixture, "dlv", 1);
    expect_one(fixture, TOPIC_FINDING_STATE, "dlv");
    log_fixture_flip(fixture, "dlv", 1);
    log_fixture_append(fixture, 500, 510);
    log_fixture_flush(fixture, 2);
    log_fixture_flip(fixture, "cmd", 4096 + 33);
    assert_int_equal(walk(fixture, 0, true), ERR_OK);
    assert_int_equal(told.count, 0); /* it may be half written */
    expect_one(fixture, TOPIC_FINDING_STATE, "cmd");
    assert_int_equal(told.findings[0].offset, 4096);
    log_fixture_flip(fixture, "cmd", 33);
    assert_int_equal(walk(fixture, 0, true), ERR_OK);
    assert_int_equal(told.count, 2);
}

static void states_that_contradict_are_found(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->cursor.next = 501;
    log_fixture_flush(fixture, 2);
    expect_one(fixture, TOPIC_FINDING_STATE, "dlv");
    fixture->cursor.next = 400;
    log_fixture_flush(fixture, 3);
    assert_int_equal(walk(fixture, 0, false), ERR_OK);
    assert_int_equal(told.count, 0);
    log_fixture_close(fixture);
    log_fixture_cut(fixture, "400.msg",
                    SEGMENT_HEAD_SIZE + UINT64_C(50) * RECORD_SIZE);
    log_fixture_cut(fixture, "400.idx", 32);
    expect_one(fixture, TOPIC_FINDING_STATE, "cmd");
}

static void a_disk_that_fails_is_an_error(void **state)
{
    struct log_fixture *fixture = *state;
    struct fault_plan plan = {.kinds = FAULT_ANY, .error_number = EIO};
    fault_install();
    for (uint64_t at = 1;; at++) {
        assert_true(at < 200);
        plan.at = at;
        fault_set(&plan);
        enum err err = walk(fixture, 0, false);
        enum err mend = topic_inspect_mend_index(fixture->directory, 200);
        bool fired = fault_fired();
        fault_reset();
        if (!fired) {
            assert_int_equal(err, ERR_OK);
            break;
        }
        assert_true(err != ERR_OK || mend != ERR_OK);
        assert_int_equal(topic_inspect_mend_index(fixture->directory, 200),
                         ERR_OK);
    }
    fault_remove();
}

int main(void)
{
#define FACT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        FACT(a_whole_topic_has_no_findings),
        FACT(a_walk_may_begin_anywhere),
        FACT(a_folder_that_is_not_there_is_said),
        FACT(an_error_of_the_visitor_ends_the_walk),
        FACT(a_flipped_bit_in_a_record_is_one_finding),
        FACT(a_damaged_head_is_a_finding),
        FACT(a_torn_tail_is_not_damage),
        FACT(a_segment_cut_short_or_missing_is_a_gap),
        FACT(an_index_that_is_not_right_is_found_and_mended),
        FACT(an_index_beside_damage_is_not_blamed),
        FACT(damaged_slots_are_found),
        FACT(states_that_contradict_are_found),
        FACT(a_disk_that_fails_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

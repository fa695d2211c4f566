/* The log of a topic after a crash and on damaged disks: doc/log-format.md,
 * sections 9 and 10.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "lib/log_fixture.h"
#include "log/record.h"
#include "log/segment.h"
#include "log/topic_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RECORD_SIZE UINT64_C(88) /* with the fixture's payload of 40 bytes */

static int setup(void **state)
{
    struct log_fixture *fixture = malloc(sizeof(*fixture));
    assert_non_null(fixture);
    log_fixture_create(fixture);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    log_fixture_destroy(*state);
    free(*state);
    return 0;
}

/* Records [0, checkpointed) as of checkpoint 1, those up to `written` in
 * segments without one; closed. */
static void
write_log(struct log_fixture *fixture, uint64_t checkpointed, uint64_t written)
{
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, checkpointed);
    if (checkpointed > 0) {
        log_fixture_flush(fixture, 1);
    }
    log_fixture_append(fixture, checkpointed, written);
    log_fixture_flush(fixture, 0);
    log_fixture_close(fixture);
}

/* Offset of a record in the segment that begins with `first`. */
static uint64_t offset_of(uint64_t sequence, uint64_t first)
{
    return SEGMENT_HEAD_SIZE + (sequence - first) * RECORD_SIZE;
}

static void recovered(struct log_fixture *fixture)
{
    assert_int_equal(topic_log_recovered(fixture->log), ERR_OK);
}

static void expect_end(struct log_fixture *fixture, uint64_t end)
{
    if (log_fixture_stats(fixture)->end != end) {
        fail_msg("end %llu, not %llu",
                 (unsigned long long)log_fixture_stats(fixture)->end,
                 (unsigned long long)end);
    }
}

/* --- cmd is believed ------------------------------------------------------ */

static void what_cmd_says_is_there_without_reading_it(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    write_log(fixture, 350, 350);
    log_fixture_open(fixture, 1);
    expect_end(fixture, 350);
    recovered(fixture);
    assert_int_equal(log_fixture_stats(fixture)->flushed, 350);
    assert_int_equal(log_fixture_stats(fixture)->segment_count, 4);
    assert_int_equal(log_fixture_stats(fixture)->disk_bytes,
                     UINT64_C(4) * 64 + 350 * RECORD_SIZE);
    assert_false(log_fixture_stats(fixture)->state_stale);
    log_fixture_expect(fixture, 0, 350);
}

static void what_lies_behind_cmd_comes_again_from_the_journal(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    write_log(fixture, 150, 420);
    log_fixture_open(fixture, 1);
    expect_end(fixture, 150);
    assert_int_equal(log_fixture_size(fixture, "100.msg"),
                     64 + 100 * RECORD_SIZE);
    log_fixture_append(fixture, 140, 160);
    expect_end(fixture, 160);
    assert_int_equal(log_fixture_size(fixture, "100.msg"),
                     64 + 50 * RECORD_SIZE);
    assert_int_equal(log_fixture_size(fixture, "200.msg"), -1);
    assert_int_equal(log_fixture_size(fixture, "400.idx"), -1);
    recovered(fixture);
    expect_end(fixture, 160);
    log_fixture_flush(fixture, 2);
    log_fixture_expect(fixture, 0, 160);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 0);
}

static void what_the_journal_does_not_bring_again_is_taken(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    write_log(fixture, 150, 420);
    log_fixture_open(fixture, 1);
    recovered(fixture);
    expect_end(fixture, 420);
    log_fixture_append(fixture, 420, 430);
    log_fixture_flush(fixture, 2);
    log_fixture_expect(fixture, 0, 430);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 0);
    log_fixture_close(fixture);
    log_fixture_open(fixture, 2);
    log_fixture_expect(fixture, 0, 430);
}

static void an_old_cmd_costs_nothing_that_the_journal_has_not(void **state)
{
    /* The slot in force was damaged; the other is of checkpoint 1, and the
     * journal begins behind checkpoint 2. */
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    write_log(fixture, 150, 150);
    log_fixture_open(fixture, 1);
    log_fixture_append(fixture, 150, 380);
    log_fixture_flush(fixture, 2);
    log_fixture_append(fixture, 380, 400);
    log_fixture_flush(fixture, 0);
    log_fixture_close(fixture);
    log_fixture_flip(fixture, "cmd", 4096 + 40);
    log_fixture_open(fixture, 2);
    expect_end(fixture, 150);
    log_fixture_append(fixture, 380, 405);
    recovered(fixture);
    expect_end(fixture, 405);
    log_fixture_flush(fixture, 3);
    log_fixture_expect(fixture, 0, 405);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 0);
}

static void a_tail_torn_at_any_byte_comes_again(void **state)
{
    struct log_fixture *fixture = *state;
    write_log(fixture, 5, 8);
    char home[sizeof(fixture->directory)];
    memcpy(home, fixture->directory, sizeof(home));
    char name[32];
    for (uint64_t cut = offset_of(5, 0); cut <= offset_of(8, 0); cut++) {
        memcpy(fixture->directory, home, sizeof(home));
        (void)snprintf(name, sizeof(name), "c%d", (int)cut);
        log_fixture_fork(fixture, name);
        log_fixture_cut(fixture, "0.msg", cut);
        log_fixture_open(fixture, 1);
        log_fixture_append(fixture, 5, 9);
        recovered(fixture);
        log_fixture_flush(fixture, 2);
        log_fixture_expect(fixture, 0, 9);
        log_fixture_close(fixture);
        log_fixture_open(fixture, 2);
        log_fixture_expect(fixture, 0, 9);
        log_fixture_close(fixture);
    }
    memcpy(fixture->directory, home, sizeof(home));
}

static void a_tail_torn_at_any_byte_is_cut_without_the_journal(void **state)
{
    struct log_fixture *fixture = *state;
    write_log(fixture, 5, 8);
    char home[sizeof(fixture->directory)];
    memcpy(home, fixture->directory, sizeof(home));
    char name[32];
    for (uint64_t cut = offset_of(5, 0); cut <= offset_of(8, 0); cut++) {
        memcpy(fixture->directory, home, sizeof(home));
        (void)snprintf(name, sizeof(name), "c%d", (int)cut);
        log_fixture_fork(fixture, name);
        log_fixture_cut(fixture, "0.msg", cut);
        log_fixture_open(fixture, 1);
        recovered(fixture);
        uint64_t whole = (cut - SEGMENT_HEAD_SIZE) / RECORD_SIZE;
        expect_end(fixture, whole);
        assert_int_equal(log_fixture_size(fixture, "0.msg"),
                         offset_of(whole, 0));
        log_fixture_append(fixture, whole, 12);
        log_fixture_flush(fixture, 2);
        log_fixture_expect(fixture, 0, 12);
        assert_int_equal(log_fixture_stats(fixture)->segment_count, 1);
        log_fixture_close(fixture);
    }
    memcpy(fixture->directory, home, sizeof(home));
}

static void
an_open_segment_shorter_than_cmd_says_is_not_gone_on_with(void **state)
{
    struct log_fixture *fixture = *state;
    write_log(fixture, 100, 100);
    log_fixture_cut(fixture, "0.msg", offset_of(90, 0) + 7);
    log_fixture_open(fixture, 1);
    recovered(fixture);
    expect_end(fixture, 100);
    log_fixture_expect(fixture, 0, 90);
    uint64_t sequence = 0;
    assert_int_equal(log_fixture_read(fixture, 95, &sequence), ERR_NOT_FOUND);
    log_fixture_append(fixture, 100, 110);
    assert_int_equal(log_fixture_read(fixture, 90, &sequence), ERR_OK);
    assert_int_equal(sequence, 100);
    log_fixture_flush(fixture, 2);
    assert_int_equal(log_fixture_read(fixture, 92, &sequence), ERR_OK);
    assert_int_equal(sequence, 100);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 10);
    log_fixture_expect(fixture, 100, 110);
    assert_int_equal(log_fixture_stats(fixture)->segment_count, 2);
}

static void a_segment_that_was_rolled_elsewhere_before_is_cut(void **state)
{
    /* The segments behind cmd were made with other limits. */
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    write_log(fixture, 50, 350);
    fixture->options.segment_count_max = 130;
    log_fixture_open(fixture, 1);
    log_fixture_append(fixture, 50, 350);
    recovered(fixture);
    log_fixture_flush(fixture, 2);
    log_fixture_expect(fixture, 0, 350);
    assert_int_equal(log_fixture_size(fixture, "100.msg"), -1);
    assert_int_equal(log_fixture_size(fixture, "130.msg"),
                     64 + 130 * RECORD_SIZE);
    log_fixture_close(fixture);
    log_fixture_open(fixture, 2);
    log_fixture_expect(fixture, 0, 350);
}

/* --- cmd is not there ----------------------------------------------------- */

static void a_log_without_cmd_is_walked(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    write_log(fixture, 350, 350);
    log_fixture_remove(fixture, "cmd");
    log_fixture_open(fixture, 1);
    expect_end(fixture, 350);
    log_fixture_append(fixture, 340, 360);
    recovered(fixture);
    expect_end(fixture, 360);
    log_fixture_flush(fixture, 2);
    log_fixture_expect(fixture, 0, 360);
    log_fixture_close(fixture);
    log_fixture_open(fixture, 2);
    log_fixture_expect(fixture, 0, 360);
}

static void a_log_without_dlv_begins_at_the_oldest(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    fixture->cursor.next = 250;
    write_log(fixture, 350, 350);
    log_fixture_open(fixture, 1);
    assert_int_equal(fixture->cursor.next, 0); /* as it was flushed: 0 */
    struct topic_trim trim = {.before = 120};
    uint64_t oldest = 0;
    assert_int_equal(topic_log_trim(fixture->log, &trim, &oldest), ERR_OK);
    log_fixture_flush(fixture, 2);
    log_fixture_close(fixture);
    log_fixture_remove(fixture, "dlv");
    log_fixture_open(fixture, 2);
    assert_int_equal(fixture->cursor.next, 120);
    assert_int_equal(fixture->cursor.epoch, 0);
}

static void a_hole_without_cmd_is_filled_by_the_journal(void **state)
{
    /* A power cut before the topic's first checkpoint: pages in the middle
     * are lost, the journal has all. */
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    write_log(fixture, 0, 350);
    char zeros[5 * RECORD_SIZE] = {0};
    log_fixture_write(fixture, "0.msg", offset_of(50, 0), zeros, sizeof(zeros));
    log_fixture_open(fixture, 0);
    expect_end(fixture, 50);
    log_fixture_append(fixture, 0, 350);
    recovered(fixture);
    log_fixture_flush(fixture, 1);
    log_fixture_expect(fixture, 0, 350);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 0);
}

static void a_missing_segment_without_cmd_is_filled_by_the_journal(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    write_log(fixture, 0, 350);
    log_fixture_remove(fixture, "100.msg");
    log_fixture_open(fixture, 0);
    expect_end(fixture, 100);
    log_fixture_append(fixture, 30, 350);
    recovered(fixture);
    log_fixture_flush(fixture, 1);
    log_fixture_expect(fixture, 0, 350);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 0);
}

static void damage_without_cmd_costs_only_what_is_damaged(void **state)
{
    /* cmd is lost long after; the journal has only the last records. */
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    write_log(fixture, 350, 350);
    log_fixture_remove(fixture, "cmd");
    log_fixture_flip(fixture, "100.msg", offset_of(150, 100) + 60);
    log_fixture_open(fixture, 1);
    expect_end(fixture, 150);
    log_fixture_append(fixture, 340, 360);
    recovered(fixture);
    expect_end(fixture, 360);
    log_fixture_flush(fixture, 2);
    log_fixture_expect(fixture, 0, 150);
    log_fixture_expect(fixture, 151, 360);
    uint64_t sequence = 0;
    assert_int_equal(log_fixture_read(fixture, 150, &sequence), ERR_OK);
    assert_int_equal(sequence, 151);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 1);
}

static void a_missing_segment_costs_only_its_own(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    write_log(fixture, 350, 350);
    log_fixture_remove(fixture, "100.msg");
    log_fixture_remove(fixture, "100.idx");
    for (int with_cmd = 1; with_cmd >= 0; with_cmd--) {
        log_fixture_open(fixture, 1);
        recovered(fixture);
        expect_end(fixture, 350);
        log_fixture_expect(fixture, 0, 100);
        log_fixture_expect(fixture, 200, 350);
        uint64_t sequence = 0;
        assert_int_equal(log_fixture_read(fixture, 120, &sequence), ERR_OK);
        assert_int_equal(sequence, 200);
        assert_true(log_fixture_stats(fixture)->quarantined >= 80);
        log_fixture_close(fixture);
        if (with_cmd == 1) {
            log_fixture_remove(fixture, "cmd");
        }
    }
}

static void a_torn_segment_head_is_written_anew(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 10;
    write_log(fixture, 0, 10);
    for (uint64_t size = 0; size <= SEGMENT_HEAD_SIZE; size += 8) {
        char zeros[SEGMENT_HEAD_SIZE] = {0};
        log_fixture_write(fixture, "10.msg", 0, zeros, sizeof(zeros));
        log_fixture_cut(fixture, "10.msg", size);
        log_fixture_open(fixture, 0);
        recovered(fixture);
        expect_end(fixture, 10);
        log_fixture_append(fixture, 10, 12);
        log_fixture_flush(fixture, 0);
        log_fixture_expect(fixture, 0, 12);
        log_fixture_close(fixture);
        log_fixture_open(fixture, 0);
        recovered(fixture);
        log_fixture_expect(fixture, 0, 12);
        log_fixture_close(fixture);
        log_fixture_remove(fixture, "10.msg");
        log_fixture_remove(fixture, "10.idx");
    }
}

static void a_name_that_holds_nothing_whole_is_put_aside(void **state)
{
    struct log_fixture *fixture = *state;
    write_log(fixture, 50, 50);
    char noise[1000];
    memset(noise, 0x5a, sizeof(noise));
    log_fixture_write(fixture, "60.msg", 0, noise, sizeof(noise));
    log_fixture_open(fixture, 1);
    recovered(fixture);
    expect_end(fixture, 50);
    assert_int_equal(log_fixture_size(fixture, "60.msg"), -1);
    assert_int_equal(log_fixture_size(fixture, "60.msg.damaged"), 1000);
    log_fixture_append(fixture, 50, 80);
    log_fixture_flush(fixture, 2);
    log_fixture_expect(fixture, 0, 80);
}

static void other_names_are_left_alone(void **state)
{
    struct log_fixture *fixture = *state;
    write_log(fixture, 50, 50);
    const char *names[] = {"topic.conf", "00.msg", "-1.msg",
                           "1x.msg",     ".msg",   "5.msg.bak"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        log_fixture_write(fixture, names[i], 0, "x", 1);
    }
    log_fixture_open(fixture, 1);
    recovered(fixture);
    expect_end(fixture, 50);
    log_fixture_expect(fixture, 0, 50);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(log_fixture_size(fixture, names[i]), 1);
    }
}

/* --- checkpoints that were not completed ---------------------------------- */

static void a_checkpoint_that_was_not_completed_is_not_believed(void **state)
{
    struct log_fixture *fixture = *state;
    for (uint64_t complete = 1; complete < 6; complete++) {
        log_fixture_open(fixture, complete - 1);
        recovered(fixture);
        uint64_t end = log_fixture_stats(fixture)->end;
        log_fixture_append(fixture, end, end + 10);
        fixture->cursor.next = end;
        log_fixture_flush(fixture, complete);
        fixture->cursor.next = 999;
        log_fixture_append(fixture, end + 10, end + 15);
        log_fixture_flush(fixture, complete + 1); /* and then the crash */
        log_fixture_close(fixture);
        log_fixture_open(fixture, complete);
        expect_end(fixture, end + 10);
        assert_int_equal(fixture->cursor.next, end);
        assert_true(log_fixture_stats(fixture)->state_stale);
        log_fixture_append(fixture, end + 10, end + 15);
        recovered(fixture);
        log_fixture_expect(fixture, 0, end + 15);
        log_fixture_close(fixture);
    }
}

static void a_stale_state_never_becomes_believable(void **state)
{
    /* Checkpoint 2 is lost with what it covered; the next 2 has nothing new
     * of this topic but what is stale. */
    struct log_fixture *fixture = *state;
    write_log(fixture, 10, 10);
    log_fixture_open(fixture, 1);
    log_fixture_append(fixture, 10, 20);
    fixture->cursor.next = 20;
    log_fixture_flush(fixture, 2);
    log_fixture_close(fixture);
    log_fixture_cut(fixture, "0.msg", offset_of(10, 0)); /* the power cut */
    log_fixture_open(fixture, 1);
    recovered(fixture);
    expect_end(fixture, 10);
    assert_true(log_fixture_stats(fixture)->state_stale);
    log_fixture_flush(fixture, 2);
    assert_false(log_fixture_stats(fixture)->state_stale);
    log_fixture_close(fixture);
    log_fixture_open(fixture, 2);
    expect_end(fixture, 10);
    assert_int_equal(fixture->cursor.next, 0);
}

static void states_of_a_lost_journal_never_come_back(void **state)
{
    /* The shard's checkpoint file is gone; numbers begin again at 1. */
    struct log_fixture *fixture = *state;
    for (uint64_t checkpoint = 1; checkpoint <= 5; checkpoint++) {
        log_fixture_open(fixture, checkpoint - 1);
        recovered(fixture);
        uint64_t end = log_fixture_stats(fixture)->end;
        log_fixture_append(fixture, end, end + 10);
        fixture->cursor.next = 1000 + checkpoint;
        log_fixture_flush(fixture, checkpoint);
        log_fixture_close(fixture);
    }
    log_fixture_open(fixture, 0);
    recovered(fixture);
    expect_end(fixture, 50);
    assert_int_equal(fixture->cursor.next, 0);
    assert_true(log_fixture_stats(fixture)->state_stale);
    log_fixture_flush(fixture, 1);
    log_fixture_close(fixture);
    log_fixture_open(fixture, 9); /* the topic was idle since */
    assert_int_equal(fixture->cursor.next, 0);
    expect_end(fixture, 50);
}

static void a_state_of_another_topic_is_not_believed(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->cursor.next = 7;
    write_log(fixture, 10, 10);
    fixture->options.topic_id = 78;
    log_fixture_open(fixture, 1);
    assert_int_equal(fixture->cursor.next, 0);
    expect_end(fixture, 10); /* walked */
}

static void a_slot_torn_at_any_byte_is_not_believed(void **state)
{
    struct log_fixture *fixture = *state;
    write_log(fixture, 10, 10);
    log_fixture_open(fixture, 1);
    log_fixture_append(fixture, 10, 20);
    fixture->cursor.next = 5;
    log_fixture_flush(fixture, 2);
    log_fixture_close(fixture);
    for (uint64_t at = 0; at < 32 + 40; at++) {
        if (at >= 24 && at < 32) {
            continue; /* reserved, but summed: below */
        }
        log_fixture_flip(fixture, "cmd", 4096 + at);
        if (at < 32 + 24) {
            log_fixture_flip(fixture, "dlv", 4096 + at);
        }
        log_fixture_open(fixture, 2);
        expect_end(fixture, 10);
        assert_int_equal(fixture->cursor.next, at < 32 + 24 ? 0 : 5);
        log_fixture_close(fixture);
        log_fixture_flip(fixture, "cmd", 4096 + at);
        if (at < 32 + 24) {
            log_fixture_flip(fixture, "dlv", 4096 + at);
        }
    }
    log_fixture_flip(fixture, "cmd", 4096 + 24);
    log_fixture_open(fixture, 2);
    expect_end(fixture, 10);
}

/* --- damaged records ------------------------------------------------------ */

/* Bits flipped in one record of a log that is wholly on disk: it is lost, and
 * nothing else. */
static void flip_and_expect(struct log_fixture *fixture,
                            uint64_t sequence,
                            uint64_t at,
                            uint64_t end)
{
    log_fixture_flip(fixture, "0.msg", offset_of(sequence, 0) + at);
    log_fixture_open(fixture, 1);
    recovered(fixture);
    expect_end(fixture, end);
    log_fixture_expect(fixture, 0, sequence);
    log_fixture_expect(fixture, sequence + 1, end);
    uint64_t got = 0;
    enum err err = log_fixture_read(fixture, sequence, &got);
    if (sequence + 1 < end) {
        assert_int_equal(err, ERR_OK);
        assert_int_equal(got, sequence + 1);
    } else {
        assert_int_equal(err, ERR_NOT_FOUND);
    }
    (void)log_fixture_read(fixture, sequence, &got);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 1);
    log_fixture_close(fixture);
    log_fixture_flip(fixture, "0.msg", offset_of(sequence, 0) + at);
}

static void a_flipped_bit_anywhere_costs_one_record(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->payload_size = 35; /* 5 bytes of padding */
    write_log(fixture, 200, 200);
    const uint64_t sequences[] = {0, 1, 45, 46, 47, 48, 93, 198, 199};
    for (size_t i = 0; i < sizeof(sequences) / sizeof(sequences[0]); i++) {
        for (uint64_t at = 0; at < RECORD_SIZE; at += 3) {
            flip_and_expect(fixture, sequences[i], at, 200);
        }
    }
}

static void flipped_bits_without_an_index_cost_one_record(void **state)
{
    struct log_fixture *fixture = *state;
    write_log(fixture, 200, 200);
    for (uint64_t at = 0; at < RECORD_SIZE; at += 7) {
        log_fixture_remove(fixture, "0.idx");
        flip_and_expect(fixture, 100, at, 200);
        assert_true(log_fixture_size(fixture, "0.idx") > 0);
    }
}

static void a_damaged_segment_head_costs_nothing(void **state)
{
    struct log_fixture *fixture = *state;
    write_log(fixture, 100, 100);
    for (uint64_t at = 0; at < SEGMENT_HEAD_SIZE; at += 5) {
        log_fixture_flip(fixture, "0.msg", at);
        log_fixture_open(fixture, 1);
        recovered(fixture);
        log_fixture_expect(fixture, 0, 100);
        assert_int_equal(log_fixture_stats(fixture)->quarantined, 0);
        log_fixture_close(fixture);
        log_fixture_flip(fixture, "0.msg", at);
    }
    log_fixture_flip(fixture, "0.msg", 17);
    log_fixture_open(fixture, 1); /* it is not appended to any more */
    recovered(fixture);
    log_fixture_append(fixture, 100, 110);
    log_fixture_flush(fixture, 2);
    assert_int_equal(log_fixture_stats(fixture)->segment_count, 2);
    log_fixture_expect(fixture, 0, 110);
}

static void bytes_that_look_like_records_are_not_taken_for_them(void **state)
{
    /* Someone pushed a message whose payload is a row of records with the
     * numbers that follow it; then its own head is damaged. */
    struct log_fixture *fixture = *state;
    enum { FORGED = 30 };
    char payload[FORGED * RECORD_SIZE];
    for (uint64_t i = 0; i < FORGED; i++) {
        struct str forged = log_fixture_record(11 + i, 5, 40);
        memcpy(payload + i * RECORD_SIZE, forged.data, RECORD_SIZE);
        payload[i * RECORD_SIZE + 50] = 1; /* not what the reader wants */
    }
    log_fixture_open(fixture, 0);
    log_fixture_append(fixture, 0, 10);
    fixture->payload_size = sizeof(payload);
    log_fixture_append(fixture, 10, 11);
    fixture->payload_size = 40;
    log_fixture_append(fixture, 11, 200);
    log_fixture_flush(fixture, 1);
    log_fixture_close(fixture);
    uint64_t at = offset_of(10, 0);
    for (uint64_t i = 0; i < FORGED; i++) { /* right checksums */
        struct str forged = log_fixture_record(11 + i, 5, 40);
        log_fixture_write(fixture, "0.msg",
                          at + RECORD_HEADER_SIZE + i * RECORD_SIZE,
                          forged.data, RECORD_SIZE);
    }
    log_fixture_flip(fixture, "0.msg", at + 2); /* its size */
    log_fixture_open(fixture, 1);
    recovered(fixture);
    struct topic_place place;
    assert_int_equal(topic_log_skip(fixture->log, 10, &place), ERR_OK);
    assert_true(place.first == 11);
    assert_true(place.offset == at + RECORD_HEADER_SIZE + sizeof(payload));
    log_fixture_expect(fixture, 11, 200);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 1);
}

static void a_row_of_damaged_records_costs_only_them(void **state)
{
    struct log_fixture *fixture = *state;
    write_log(fixture, 1000, 1000);
    char noise[300 * RECORD_SIZE];
    memset(noise, 0x77, sizeof(noise));
    log_fixture_write(fixture, "0.msg", offset_of(400, 0) + 20, noise,
                      sizeof(noise));
    log_fixture_open(fixture, 1);
    recovered(fixture);
    uint64_t sequence = 0;
    assert_int_equal(log_fixture_read(fixture, 400, &sequence), ERR_OK);
    assert_int_equal(sequence, 701);
    log_fixture_expect(fixture, 0, 400);
    log_fixture_expect(fixture, 701, 1000);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 301);
    assert_int_equal(log_fixture_read(fixture, 555, &sequence), ERR_OK);
    assert_int_equal(sequence, 701);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 301);
}

/* --- indexes -------------------------------------------------------------- */

/* Whatever is done to an index costs no record, and it is mended. */
static void expect_mended(struct log_fixture *fixture, uint64_t end)
{
    int64_t size = 0;
    log_fixture_open(fixture, 1);
    recovered(fixture);
    log_fixture_expect(fixture, 0, end);
    uint64_t found = 0;
    assert_int_equal(topic_log_find_time(fixture->log,
                                         log_fixture_time(fixture, end - 20),
                                         &found),
                     ERR_OK);
    assert_int_equal(found, end - 20);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 0);
    log_fixture_close(fixture);
    size = log_fixture_size(fixture, "0.idx");
    assert_int_equal(size, (end * RECORD_SIZE + 4135) / 4136 * 16);
}

static void an_index_in_any_state_is_mended(void **state)
{
    struct log_fixture *fixture = *state;
    write_log(fixture, 1000, 1000);
    expect_mended(fixture, 1000);
    uint64_t size = (uint64_t)log_fixture_size(fixture, "0.idx");
    for (uint64_t cut = 0; cut < size; cut += 5) {
        log_fixture_cut(fixture, "0.idx", cut);
        expect_mended(fixture, 1000);
    }
    log_fixture_cut(fixture, "0.idx", size + 16); /* an entry of zeros */
    expect_mended(fixture, 1000);
    log_fixture_cut(fixture, "0.idx", size + 12289);
    expect_mended(fixture, 1000);
    log_fixture_remove(fixture, "0.idx");
    expect_mended(fixture, 1000);
    for (uint64_t at = 0; at < size; at += 3) {
        if (at % 16 >= 8) {
            continue; /* a time that is off and in order is believed */
        }
        log_fixture_flip(fixture, "0.idx", at);
        log_fixture_open(fixture, 1);
        recovered(fixture);
        log_fixture_expect(fixture, 0, 1000);
        assert_int_equal(log_fixture_stats(fixture)->quarantined, 0);
        log_fixture_close(fixture);
        log_fixture_remove(fixture, "0.idx");
        expect_mended(fixture, 1000);
    }
}

static void an_index_that_leads_astray_is_built_anew(void **state)
{
    /* Ascending, inside the segment, and yet wrong in the middle. */
    struct log_fixture *fixture = *state;
    write_log(fixture, 1000, 1000);
    char entry[16];
    put_u32(entry, 470); /* is 10 * 47, at 64 + 470 * 88 */
    put_u32(entry + 4, (uint32_t)(offset_of(470, 0) / 8 + 1));
    put_u64(entry + 8, log_fixture_time(fixture, 470));
    log_fixture_write(fixture, "0.idx", UINT64_C(10) * 16, entry, 16);
    log_fixture_open(fixture, 1);
    recovered(fixture);
    log_fixture_expect(fixture, 0, 1000);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 0);
    put_u32(entry, 471); /* now the number is wrong */
    put_u32(entry + 4, (uint32_t)(offset_of(470, 0) / 8));
    log_fixture_close(fixture);
    log_fixture_write(fixture, "0.idx", UINT64_C(10) * 16, entry, 16);
    log_fixture_open(fixture, 1);
    recovered(fixture);
    log_fixture_expect(fixture, 0, 1000);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 0);
}

static void a_missing_index_is_built_when_the_log_is_opened(void **state)
{
    struct log_fixture *fixture = *state;
    fixture->options.segment_count_max = 100;
    write_log(fixture, 350, 350);
    log_fixture_remove(fixture, "100.idx");
    log_fixture_remove(fixture, "300.idx");
    log_fixture_open(fixture, 1);
    assert_true(log_fixture_size(fixture, "100.idx") > 0);
    assert_true(log_fixture_size(fixture, "300.idx") > 0);
    assert_int_equal(log_fixture_stats(fixture)->files_open, 0);
}

static void a_skip_that_did_not_help_is_not_repeated(void **state)
{
    /* A record that is whole but whose reader does not like it. */
    struct log_fixture *fixture = *state;
    write_log(fixture, 100, 100);
    log_fixture_open(fixture, 1);
    recovered(fixture);
    struct topic_place place;
    assert_int_equal(topic_log_skip(fixture->log, 50, &place), ERR_OK);
    assert_true(place.first == 51);
    assert_true(place.offset == offset_of(51, 0));
    assert_int_equal(topic_log_skip(fixture->log, 51, &place), ERR_OK);
    assert_true(place.first == 52);
    assert_int_equal(topic_log_skip(fixture->log, 99, &place), ERR_NOT_FOUND);
    assert_int_equal(topic_log_skip(fixture->log, 100, &place), ERR_NOT_FOUND);
    assert_int_equal(log_fixture_stats(fixture)->quarantined, 3);
    log_fixture_append(fixture, 100, 102);
    assert_int_equal(topic_log_skip(fixture->log, 100, &place), ERR_OK);
    assert_true(place.first == 101);
    assert_true(place.memory.size > 0);
}

int main(void)
{
#define FACT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        FACT(what_cmd_says_is_there_without_reading_it),
        FACT(what_lies_behind_cmd_comes_again_from_the_journal),
        FACT(what_the_journal_does_not_bring_again_is_taken),
        FACT(an_old_cmd_costs_nothing_that_the_journal_has_not),
        FACT(a_tail_torn_at_any_byte_comes_again),
        FACT(a_tail_torn_at_any_byte_is_cut_without_the_journal),
        FACT(an_open_segment_shorter_than_cmd_says_is_not_gone_on_with),
        FACT(a_segment_that_was_rolled_elsewhere_before_is_cut),
        FACT(a_log_without_cmd_is_walked),
        FACT(a_log_without_dlv_begins_at_the_oldest),
        FACT(a_hole_without_cmd_is_filled_by_the_journal),
        FACT(a_missing_segment_without_cmd_is_filled_by_the_journal),
        FACT(damage_without_cmd_costs_only_what_is_damaged),
        FACT(a_missing_segment_costs_only_its_own),
        FACT(a_torn_segment_head_is_written_anew),
        FACT(a_name_that_holds_nothing_whole_is_put_aside),
        FACT(other_names_are_left_alone),
        FACT(a_checkpoint_that_was_not_completed_is_not_believed),
        FACT(a_stale_state_never_becomes_believable),
        FACT(states_of_a_lost_journal_never_come_back),
        FACT(a_state_of_another_topic_is_not_believed),
        FACT(a_slot_torn_at_any_byte_is_not_believed),
        FACT(a_flipped_bit_anywhere_costs_one_record),
        FACT(flipped_bits_without_an_index_cost_one_record),
        FACT(a_damaged_segment_head_costs_nothing),
        FACT(bytes_that_look_like_records_are_not_taken_for_them),
        FACT(a_row_of_damaged_records_costs_only_them),
        FACT(an_index_in_any_state_is_mended),
        FACT(an_index_that_leads_astray_is_built_anew),
        FACT(a_missing_index_is_built_when_the_log_is_opened),
        FACT(a_skip_that_did_not_help_is_not_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

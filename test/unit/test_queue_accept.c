/* Tests of queue/accept on a store in memory: duplicates before and after the
 * first is durable, failures, bound and window, content, expected numbers,
 * collapse keys, and all of it read back from the log.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "lib/loop.h"
#include "lib/store_memory.h"
#include "queue/accept.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One push, and what became of it. */
struct push {
    struct accept_op op;
    struct accept_wants wants;
    void *record; /* owned; of one that is encoded */
    enum err err;
    uint32_t done; /* calls */
    uint32_t order;
};

struct world {
    struct io *io;
    struct store *store;
    struct accept *accept;
    struct topic *topic;
    uint32_t dedup_max;
    uint32_t orders;  /* of done() calls */
    uint32_t changes; /* calls of topic_changed() */
};

static struct world world;

static void note_change(struct topic *topic)
{
    (void)topic;
    world.changes++;
}

/* What a start does, with the store as it is. */
static void start(void)
{
    struct store_topic *stored = NULL;
    const struct accept_options options = {.io = world.io,
                                           .dedup_max = world.dedup_max};

    assert_int_equal(accept_create(&options, &world.accept), ERR_OK);
    assert_int_equal(store_topic_open(world.store, STR("t"), true, &stored),
                     ERR_OK);
    assert_int_equal(topic_create(stored, &world.topic), ERR_OK);
    world.topic->changed = note_change;
    assert_int_equal(accept_attach(world.accept, world.topic), ERR_OK);
}

static void stop(void)
{
    accept_detach(world.topic);
    topic_destroy(world.topic);
    accept_destroy(world.accept);
}

static void begin(void **state)
{
    world = (struct world){.io = loop_of(state), .dedup_max = 1000};
    assert_int_equal(store_memory_create(world.io, &world.store), ERR_OK);
    start();
}

static void finish(void)
{
    stop();
    assert_int_equal(store_memory_readers(world.store), 0);
    store_memory_destroy(world.store);
}

static void restart(void)
{
    stop();
    start();
}

/* --- pushes --------------------------------------------------------------- */

static void push_done(struct store_op *op, enum err err)
{
    struct push *push = CONTAINER_OF(op, struct push, op.store);

    push->err = err;
    push->done++;
    world.orders++;
    push->order = world.orders;
}

static struct message raw_message(const char *body)
{
    return (struct message){.url = STR("http://a/b"),
                            .kind = MESSAGE_KIND_RAW,
                            .body = str_from(body),
                            .content_type = STR("text/plain"),
                            .pushed_at_ms = io_wall_ms(world.io)};
}

/* Push a message; encoded before, as one that was carried over, if `encoded`.
 * Returns what the call said. */
static enum err
push_message(struct push *push, const struct message *message, bool encoded)
{
    size_t size = 0;
    bool expects = push->wants.expects;
    uint64_t expect_seq = push->wants.expect_seq;
    struct accept_push given = {.wants = &push->wants, .message = message};

    memset(push, 0, sizeof(*push));
    push->op.store.done = push_done;
    accept_wants(&push->wants, STR("t"), message, expects, expect_seq);
    if (encoded) {
        assert_int_equal(record_size(message, &size), ERR_OK);
        push->record = aligned_alloc(RECORD_ALIGN, size);
        assert_non_null(push->record);
        record_encode(message, 0, push->record, size);
        given.message = NULL;
        given.record = push->record;
        given.record_size = size;
    }
    enum err err = accept_append(world.accept, world.topic, &given, &push->op);
    assert_int_equal(push->done, 0);
    free(push->record); /* borrowed during the call only */
    push->record = NULL;
    return err;
}

static void push_options(struct push *push,
                         const char *body,
                         const struct message_options *options)
{
    struct message message = raw_message(body);

    message.options = options;
    assert_int_equal(push_message(push, &message, false), ERR_OK);
}

static void push_id(struct push *push, const char *id)
{
    const struct message_options options = {.retries = MESSAGE_RETRIES_UNSET,
                                            .dedup_id = str_from(id)};

    push_options(push, id, &options);
}

static void push_key(struct push *push, const char *key)
{
    const struct message_options options = {.retries = MESSAGE_RETRIES_UNSET,
                                            .collapse = str_from(key)};

    push_options(push, key, &options);
}

static void await(struct push *push)
{
    LOOP_UNTIL(world.io, push->done > 0);
    assert_int_equal(push->done, 1);
}

static void expect_stored(struct push *push, uint64_t sequence)
{
    await(push);
    assert_int_equal(push->err, ERR_OK);
    assert_false(push->op.duplicate);
    assert_false(push->op.unstored);
    assert_int_equal(push->op.store.sequence, sequence);
}

static void expect_duplicate(struct push *push, uint64_t sequence)
{
    await(push);
    assert_int_equal(push->err, ERR_OK);
    assert_true(push->op.duplicate);
    assert_true(push->op.unstored);
    assert_int_equal(push->op.store.sequence, sequence);
}

static void expect_refused(struct push *push, enum err err)
{
    await(push);
    assert_int_equal(push->err, err);
    assert_false(push->op.duplicate);
    assert_true(push->op.unstored);
}

static uint64_t end_of_topic(void)
{
    return world.topic->store->bounds.end;
}

static bool settings_have(struct str line)
{
    struct str text = world.topic->store->settings;

    while (text.size > 0) {
        struct str one = str_cut(text, 0, str_find(text, '\n'));
        if (str_equal(one, line)) {
            return true;
        }
        text = str_cut(text, one.size + 1, text.size);
    }
    return false;
}

/* Run until the log is read. */
static void await_walks(void)
{
    LOOP_UNTIL(world.io, accept_stats(world.accept)->walks == 0);
}

/* --- duplicates ----------------------------------------------------------- */

static void push_that_asks_for_nothing_leaves_nothing(void **state)
{
    begin(state);
    struct push push = {0};
    const struct message_options options = {.retries = 3, .label = STR("l")};

    push_options(&push, "a", NULL);
    expect_stored(&push, 0);
    push_options(&push, "a", &options);
    expect_stored(&push, 1);
    assert_null(world.topic->accept);
    assert_int_equal(world.topic->store->settings.size, 0);
    finish();
}

static void second_of_an_id_gets_the_number_of_the_first(void **state)
{
    begin(state);
    struct push other = {0};
    struct push first = {0};
    struct push second = {0};

    push_options(&other, "x", NULL);
    push_id(&first, "one");
    expect_stored(&first, 1);
    push_id(&second, "one");
    expect_duplicate(&second, 1);
    push_id(&other, "two");
    expect_stored(&other, 2);
    assert_int_equal(end_of_topic(), 3);
    assert_int_equal(accept_stats(world.accept)->duplicates, 1);
    assert_int_equal(accept_stats(world.accept)->dedup_ids, 2);
    finish();
}

static void those_of_an_id_under_way_wait_for_the_first(void **state)
{
    enum { COUNT = 5 };
    begin(state);
    struct push first = {0};
    struct push others[COUNT] = {0};

    push_id(&first, "one");
    for (int i = 0; i < COUNT; i++) {
        push_id(&others[i], "one");
    }
    expect_stored(&first, 0);
    for (int i = 0; i < COUNT; i++) {
        expect_duplicate(&others[i], 0);
        assert_true(others[i].order > first.order);
    }
    assert_int_equal(end_of_topic(), 1);
    finish();
}

static void when_the_first_fails_so_do_those_that_waited(void **state)
{
    begin(state);
    struct push first = {0};
    struct push second = {0};
    struct push third = {0};

    store_memory_fail_commits(world.store, ERR_IO, 1);
    push_id(&first, "one");
    push_id(&second, "one");
    await(&first);
    assert_int_equal(first.err, ERR_IO);
    assert_false(first.op.unstored);
    expect_refused(&second, ERR_IO);
    /* It never was; and neither was what the settings said of it. */
    assert_false(settings_have(STR("dedup_used 1")));
    assert_false(world.topic->dedup_used);
    assert_int_equal(accept_stats(world.accept)->dedup_ids, 0);
    push_id(&third, "one");
    expect_stored(&third, 0);
    assert_true(settings_have(STR("dedup_used 1")));
    finish();
}

static void what_has_an_id_already_is_no_duplicate(void **state)
{
    begin(state);
    struct push push = {0};
    const struct message_options options = {.retries = MESSAGE_RETRIES_UNSET,
                                            .id = STR("msg_1-2"),
                                            .collapse = STR("k"),
                                            .dedup_id = STR("one")};

    world.topic->settings.dedup_content = true;
    for (uint64_t i = 0; i < 2; i++) {
        push_options(&push, "again", &options);
        expect_stored(&push, i);
    }
    push_id(&push, "one");
    expect_stored(&push, 2);
    assert_int_equal(accept_collapse(world.topic, STR("k"), 0), ACCEPT_SEND);
    restart();
    await_walks();
    assert_int_equal(accept_stats(world.accept)->dedup_ids, 1);
    push_id(&push, "one");
    expect_duplicate(&push, 2);
    finish();
}

static void topics_do_not_share_ids(void **state)
{
    begin(state);
    struct push first = {0};
    struct accept_wants here;
    struct accept_wants there;
    struct message message = raw_message("a");
    const struct message_options options = {.dedup_id = STR("bc")};

    message.options = &options;
    accept_wants(&here, STR("a"), &message, false, 0);
    accept_wants(&there, STR("ab"), &message, false, 0);
    assert_true(here.dedup && there.dedup);
    assert_true(memcmp(&here.dedup_hash, &there.dedup_hash,
                       sizeof(here.dedup_hash)) != 0);
    push_id(&first, "one");
    expect_stored(&first, 0);
    finish();
}

static void id_is_new_again_when_its_window_is_over(void **state)
{
    begin(state);
    struct push push = {0};

    world.topic->settings.dedup_window_ms = 500;
    push_id(&push, "one");
    expect_stored(&push, 0);
    uint64_t until_ms = io_wall_ms(world.io) + 500 + 130;
    push_id(&push, "one");
    expect_duplicate(&push, 0);
    LOOP_UNTIL(world.io, io_wall_ms(world.io) > until_ms);
    push_id(&push, "one");
    expect_stored(&push, 1);
    push_id(&push, "one");
    expect_duplicate(&push, 1);
    assert_int_equal(accept_stats(world.accept)->dedup_ids, 1);
    finish();
}

static void at_the_bound_pushes_with_a_new_id_are_refused(void **state)
{
    begin(state);
    struct push push = {0};

    stop();
    world.dedup_max = 2;
    start();
    world.topic->settings.dedup_window_ms = 1000;
    uint64_t until_ms = io_wall_ms(world.io) + 1000 + 130;
    push_id(&push, "one");
    expect_stored(&push, 0);
    push_id(&push, "two");
    expect_stored(&push, 1);
    if (io_wall_ms(world.io) <
        until_ms - 500) { /* not on a machine that hangs */
        push_id(&push, "three");
        expect_refused(&push, ERR_BUSY);
        assert_non_null(push.op.detail);
        push_id(&push, "one");
        expect_duplicate(&push, 0);
        push_options(&push, "no id", NULL);
        expect_stored(&push, 2);
    }
    LOOP_UNTIL(world.io, io_wall_ms(world.io) > until_ms + 50);
    push_id(&push, "three");
    await(&push);
    assert_int_equal(push.err, ERR_OK);
    assert_false(push.op.duplicate);
    finish();
}

/* --- by content ----------------------------------------------------------- */

static void without_an_id_content_makes_the_duplicate(void **state)
{
    begin(state);
    struct push push = {0};
    struct message message = raw_message("body");
    const struct pair header = {STR("Trace-Id"), STR("7")};

    world.topic->settings.dedup_content = true;
    for (int encoded = 0; encoded < 2; encoded++) {
        assert_int_equal(push_message(&push, &message, encoded == 1), ERR_OK);
        if (encoded == 0) {
            expect_stored(&push, 0);
        } else {
            expect_duplicate(&push, 0);
        }
    }
    message.headers = &header; /* does not matter */
    message.header_count = 1;
    assert_int_equal(push_message(&push, &message, true), ERR_OK);
    expect_duplicate(&push, 0);
    push_id(&push, "body"); /* an id of its own counts alone */
    expect_stored(&push, 1);
    finish();
}

static void each_part_of_the_content_matters(void **state)
{
    begin(state);
    struct push push = {0};
    const struct pair fields[] = {{STR("ab"), STR("c")}, {STR("d"), STR("")}};
    const struct pair other[] = {{STR("a"), STR("bc")}, {STR("d"), STR("")}};
    struct message base = raw_message("body");
    struct message variants[9];

    for (size_t i = 0; i < 9; i++) {
        variants[i] = base;
    }
    variants[1].body = STR("Body");
    variants[2].url = STR("http://a/c");
    variants[3].method = STR("PUT");
    variants[4].content_type = STR("text/html");
    for (size_t i = 5; i < 9; i++) {
        variants[i].kind = MESSAGE_KIND_FORM;
        variants[i].body = (struct str){NULL, 0};
        variants[i].content_type = (struct str){NULL, 0};
    }
    variants[5].fields = fields;
    variants[5].field_count = 2;
    variants[6].fields = other;
    variants[6].field_count = 2;
    variants[7].fields = fields;
    variants[7].field_count = 1;
    world.topic->settings.dedup_content = true;
    for (uint64_t i = 0; i < 9; i++) {
        assert_int_equal(push_message(&push, &variants[i], i % 2 == 0), ERR_OK);
        expect_stored(&push, i);
    }
    for (uint64_t i = 0; i < 9; i++) {
        assert_int_equal(push_message(&push, &variants[i], i % 2 == 1), ERR_OK);
        expect_duplicate(&push, i);
    }
    variants[0].method = STR("POST"); /* is what none is */
    assert_int_equal(push_message(&push, &variants[0], false), ERR_OK);
    expect_duplicate(&push, 0);
    finish();
}

static void content_id_is_stored_with_the_message(void **state)
{
    begin(state);
    struct push push = {0};
    struct message message = raw_message("body");
    struct message_options options = {.retries = 5, .label = STR("label")};
    struct store_reader *reader = NULL;
    struct record record;

    world.topic->settings.dedup_content = true;
    message.options = &options;
    assert_int_equal(push_message(&push, &message, true), ERR_OK);
    expect_stored(&push, 0);
    assert_int_equal(store_reader_create(world.topic->store, &reader), ERR_OK);
    assert_int_equal(store_reader_next(reader, 0, &record), ERR_OK);
    assert_non_null(record.message.options);
    assert_int_equal(record.options.retries, 5);
    assert_true(str_equal(record.options.label, STR("label")));
    assert_int_equal(record.options.dedup_id.size, 71);
    assert_true(str_starts(record.options.dedup_id, STR("sha256:")));
    assert_true(str_equal(record.message.body, STR("body")));
    assert_int_equal(record.message.pushed_at_ms, message.pushed_at_ms);
    store_reader_destroy(reader);
    finish();
}

static void body_in_a_file_has_no_content_to_compare(void **state)
{
    begin(state);
    struct push push = {0};
    struct message message = raw_message("");

    message.blob = (struct message_blob){.id = 1, .size = 9, .crc = 2};
    world.topic->settings.dedup_content = true;
    for (uint64_t i = 0; i < 2; i++) {
        assert_int_equal(push_message(&push, &message, true), ERR_OK);
        expect_stored(&push, i);
    }
    finish();
}

/* --- expected numbers ----------------------------------------------------- */

static void push_expecting(struct push *push, uint64_t sequence, const char *id)
{
    const struct message_options options = {.retries = MESSAGE_RETRIES_UNSET,
                                            .dedup_id = str_from(id)};

    push->wants.expects = true;
    push->wants.expect_seq = sequence;
    push_options(push, "e", id != NULL ? &options : NULL);
}

static void expected_number_counts_those_under_way(void **state)
{
    begin(state);
    struct push pushes[6] = {0};

    push_expecting(&pushes[0], 0, NULL);
    push_expecting(&pushes[1], 0, NULL);
    push_expecting(&pushes[2], 1, NULL);
    push_expecting(&pushes[3], 3, NULL);
    push_options(&pushes[4], "plain", NULL);
    push_expecting(&pushes[5], 3, NULL);
    expect_stored(&pushes[0], 0);
    expect_refused(&pushes[1], ERR_CONDITION);
    assert_int_equal(pushes[1].op.next, 1);
    expect_stored(&pushes[2], 1);
    expect_refused(&pushes[3], ERR_CONDITION);
    assert_int_equal(pushes[3].op.next, 2);
    expect_stored(&pushes[4], 2);
    expect_stored(&pushes[5], 3);
    assert_int_equal(end_of_topic(), 4);
    finish();
}

static void push_sent_again_is_a_duplicate_whatever_it_expects(void **state)
{
    begin(state);
    struct push push = {0};

    push_expecting(&push, 0, "one");
    expect_stored(&push, 0);
    push_expecting(&push, 0, "one");
    expect_duplicate(&push, 0);
    push_expecting(&push, 0, "two");
    expect_refused(&push, ERR_CONDITION);
    assert_int_equal(push.op.next, 1);
    /* Which did not make it known. */
    push_expecting(&push, 1, "two");
    expect_stored(&push, 1);
    finish();
}

/* --- collapse ------------------------------------------------------------- */

static void key_is_superseded_once_a_newer_message_is_stored(void **state)
{
    begin(state);
    struct push push = {0};

    push_key(&push, "k");
    expect_stored(&push, 0);
    assert_true(settings_have(STR("collapse_used 1")));
    assert_int_equal(accept_collapse(world.topic, STR("k"), 0), ACCEPT_SEND);
    store_memory_fail_commits(world.store, ERR_FULL, 1);
    push_key(&push, "k");
    await(&push);
    assert_int_equal(push.err, ERR_FULL);
    assert_int_equal(accept_collapse(world.topic, STR("k"), 0), ACCEPT_SEND);
    push_key(&push, "k");
    assert_int_equal(accept_collapse(world.topic, STR("k"), 0), ACCEPT_SEND);
    expect_stored(&push, 1);
    assert_int_equal(accept_collapse(world.topic, STR("k"), 0),
                     ACCEPT_SUPERSEDED);
    assert_int_equal(accept_collapse(world.topic, STR("k"), 1), ACCEPT_SEND);
    assert_int_equal(accept_collapse(world.topic, STR("other"), 0),
                     ACCEPT_SEND);
    assert_int_equal(accept_stats(world.accept)->collapse_ids, 1);
    accept_delivered(world.topic, 1);
    assert_int_equal(accept_stats(world.accept)->collapse_ids, 1);
    accept_delivered(world.topic, 2);
    assert_int_equal(accept_stats(world.accept)->collapse_ids, 0);
    finish();
}

static void keys_are_known_again_after_a_start(void **state)
{
    begin(state);
    struct push push = {0};

    for (uint64_t i = 0; i < 6; i++) { /* a b a b a b */
        push_key(&push, i % 2 == 0 ? "a" : "b");
        expect_stored(&push, i);
    }
    world.topic->store->cursor.next = 2; /* two are delivered */
    store_memory_cold(world.store, true);
    restart();
    world.changes = 0;
    assert_int_equal(accept_collapse(world.topic, STR("a"), 2), ACCEPT_WAIT);
    push_key(&push, "b"); /* is not held up */
    expect_stored(&push, 6);
    assert_int_equal(accept_collapse(world.topic, STR("b"), 5),
                     ACCEPT_SUPERSEDED);
    await_walks();
    assert_int_equal(world.changes, 1);
    assert_int_equal(accept_collapse(world.topic, STR("a"), 2),
                     ACCEPT_SUPERSEDED);
    assert_int_equal(accept_collapse(world.topic, STR("a"), 4), ACCEPT_SEND);
    assert_int_equal(accept_collapse(world.topic, STR("b"), 5),
                     ACCEPT_SUPERSEDED);
    assert_int_equal(accept_collapse(world.topic, STR("b"), 6), ACCEPT_SEND);
    finish();
}

/* --- after a start -------------------------------------------------------- */

static void ids_are_known_again_after_a_start(void **state)
{
    begin(state);
    struct push push = {0};
    struct push early = {0};

    push_options(&push, "plain", NULL);
    expect_stored(&push, 0);
    push_id(&push, "one");
    push_id(&early, "two");
    expect_stored(&push, 1);
    expect_stored(&early, 2);
    store_memory_cold(world.store, true);
    restart();
    push_id(&push, "one"); /* not read yet */
    push_id(&early, "new");
    expect_refused(&push, ERR_BUSY);
    assert_non_null(push.op.detail);
    expect_refused(&early, ERR_BUSY);
    push_options(&push, "plain", NULL); /* does not wait for it */
    expect_stored(&push, 3);
    await_walks();
    push_id(&push, "two");
    expect_duplicate(&push, 2);
    push_id(&push, "one");
    expect_duplicate(&push, 1);
    push_id(&push, "new");
    expect_stored(&push, 4);
    assert_int_equal(accept_stats(world.accept)->dedup_ids, 3);
    finish();
}

static void only_what_is_in_the_window_is_known_again(void **state)
{
    begin(state);
    struct push push = {0};
    struct message message = raw_message("a");
    struct message_options options = {.retries = MESSAGE_RETRIES_UNSET};
    const uint64_t ages_ms[] = {7200000, 700000, 590000, 0};
    const char *const ids[] = {"eldest", "old", "young", "now"};

    for (size_t i = 0; i < 4; i++) {
        options.dedup_id = str_from(ids[i]);
        message.options = &options;
        message.pushed_at_ms = io_wall_ms(world.io) - ages_ms[i];
        assert_int_equal(push_message(&push, &message, false), ERR_OK);
        expect_stored(&push, i);
    }
    restart();
    await_walks();
    assert_int_equal(accept_stats(world.accept)->dedup_ids, 2);
    push_id(&push, "young");
    expect_duplicate(&push, 2);
    push_id(&push, "now");
    expect_duplicate(&push, 3);
    push_id(&push, "old");
    expect_stored(&push, 4);
    push_id(&push, "eldest");
    expect_stored(&push, 5);
    finish();
}

static void content_ids_are_known_again_after_a_start(void **state)
{
    begin(state);
    struct push push = {0};
    struct message message = raw_message("body");

    world.topic->settings.dedup_content = true;
    assert_int_equal(push_message(&push, &message, false), ERR_OK);
    expect_stored(&push, 0);
    restart();
    await_walks();
    world.topic->settings.dedup_content = true;
    message.pushed_at_ms += 5;
    assert_int_equal(push_message(&push, &message, true), ERR_OK);
    expect_duplicate(&push, 0);
    finish();
}

static void ids_and_keys_of_one_topic_are_both_read(void **state)
{
    begin(state);
    struct push push = {0};
    struct message message = raw_message("a");
    struct message_options options = {.retries = MESSAGE_RETRIES_UNSET,
                                      .collapse = STR("k"),
                                      .dedup_id = STR("old")};

    /* Long before the window, but not delivered. */
    message.pushed_at_ms -= 7200000;
    message.options = &options;
    assert_int_equal(push_message(&push, &message, false), ERR_OK);
    expect_stored(&push, 0);
    options.collapse = STR("other");
    assert_int_equal(push_message(&push, &message, false), ERR_OK);
    expect_stored(&push, 1);
    options.dedup_id = STR("new");
    options.collapse = STR("k");
    message.pushed_at_ms += 7200000;
    assert_int_equal(push_message(&push, &message, false), ERR_OK);
    expect_stored(&push, 2);
    restart();
    world.changes = 0;
    await_walks();
    assert_int_equal(world.changes, 1);
    assert_int_equal(accept_collapse(world.topic, STR("k"), 0),
                     ACCEPT_SUPERSEDED);
    assert_int_equal(accept_collapse(world.topic, STR("other"), 0),
                     ACCEPT_SUPERSEDED);
    assert_int_equal(accept_collapse(world.topic, STR("other"), 1),
                     ACCEPT_SEND);
    push_id(&push, "new");
    expect_duplicate(&push, 2);
    finish();
}

static void read_that_fails_is_made_again_and_promises_nothing(void **state)
{
    begin(state);
    struct push push = {0};

    push_id(&push, "one");
    expect_stored(&push, 0);
    store_memory_fail_reads(world.store, ERR_IO, 1);
    restart();
    LOOP_TURNS(world.io, 20);
    push_id(&push, "one");
    expect_refused(&push, ERR_BUSY);
    await_walks();
    push_id(&push, "one");
    expect_duplicate(&push, 0);
    finish();
}

static void messages_that_are_gone_are_passed_over(void **state)
{
    begin(state);
    struct push push = {0};
    char id[2] = "a";

    for (uint64_t i = 0; i < 5; i++) {
        id[0] = (char)('a' + i);
        push_id(&push, id);
        expect_stored(&push, i);
    }
    store_memory_lose(world.topic->store, 3);
    store_memory_cold(world.store, true);
    restart();
    io_run_turn(world.io, 1); /* it reads the first */
    store_memory_trim(world.topic->store, 2);
    await_walks();
    push_id(&push, "c");
    expect_duplicate(&push, 2);
    push_id(&push, "e");
    expect_duplicate(&push, 4);
    push_id(&push, "d"); /* nobody knows any more */
    expect_stored(&push, 5);
    finish();
}

static void more_than_the_bound_is_known_again(void **state)
{
    begin(state);
    struct push push = {0};

    push_id(&push, "one");
    push_id(&(struct push){0}, "unused");
    await(&push);
    stop();
    world.dedup_max = 1;
    start();
    await_walks();
    push_id(&push, "one");
    expect_duplicate(&push, 0);
    push_id(&push, "new");
    expect_refused(&push, ERR_BUSY);
    finish();
}

/* --- the topic goes ------------------------------------------------------- */

static void topic_may_go_with_pushes_under_way(void **state)
{
    begin(state);
    struct push first = {0};
    struct push second = {0};

    push_id(&first, "one");
    push_id(&second, "one");
    accept_detach(world.topic);
    assert_null(world.topic->accept);
    await(&first);
    await(&second);
    assert_int_equal(accept_stats(world.accept)->dedup_ids, 0);
    finish();
}

static void topic_may_go_while_it_is_read(void **state)
{
    begin(state);
    struct push push = {0};

    push_id(&push, "one");
    push_key(&(struct push){0}, "k");
    expect_stored(&push, 0);
    store_memory_cold(world.store, true);
    restart();
    io_run_turn(world.io, 1);
    assert_int_equal(store_memory_readers(world.store), 1);
    restart(); /* while a record is being read */
    restart(); /* while it waits in its row */
    await_walks();
    push_id(&push, "one");
    expect_duplicate(&push, 0);
    finish();
}

int main(void)
{
    const struct loop_test tests[] = {
        LOOP_TEST_ONCE(push_that_asks_for_nothing_leaves_nothing),
        LOOP_TEST_ONCE(second_of_an_id_gets_the_number_of_the_first),
        LOOP_TEST(those_of_an_id_under_way_wait_for_the_first),
        LOOP_TEST_ONCE(when_the_first_fails_so_do_those_that_waited),
        LOOP_TEST_ONCE(what_has_an_id_already_is_no_duplicate),
        LOOP_TEST_ONCE(topics_do_not_share_ids),
        LOOP_TEST_ONCE(id_is_new_again_when_its_window_is_over),
        LOOP_TEST_ONCE(at_the_bound_pushes_with_a_new_id_are_refused),
        LOOP_TEST_ONCE(without_an_id_content_makes_the_duplicate),
        LOOP_TEST_ONCE(each_part_of_the_content_matters),
        LOOP_TEST_ONCE(content_id_is_stored_with_the_message),
        LOOP_TEST_ONCE(body_in_a_file_has_no_content_to_compare),
        LOOP_TEST_ONCE(expected_number_counts_those_under_way),
        LOOP_TEST_ONCE(push_sent_again_is_a_duplicate_whatever_it_expects),
        LOOP_TEST_ONCE(key_is_superseded_once_a_newer_message_is_stored),
        LOOP_TEST(keys_are_known_again_after_a_start),
        LOOP_TEST(ids_are_known_again_after_a_start),
        LOOP_TEST_ONCE(only_what_is_in_the_window_is_known_again),
        LOOP_TEST_ONCE(content_ids_are_known_again_after_a_start),
        LOOP_TEST_ONCE(ids_and_keys_of_one_topic_are_both_read),
        LOOP_TEST_ONCE(read_that_fails_is_made_again_and_promises_nothing),
        LOOP_TEST_ONCE(messages_that_are_gone_are_passed_over),
        LOOP_TEST_ONCE(more_than_the_bound_is_known_again),
        LOOP_TEST_ONCE(topic_may_go_with_pushes_under_way),
        LOOP_TEST_ONCE(topic_may_go_while_it_is_read),
    };

    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}

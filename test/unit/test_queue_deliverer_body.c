/* Tests of queue/deliverer: bodies that lie in files and are to be signed. That
 * receivers can verify them: test/system/test_signing.py.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer.h"

#include "base/check.h"
#include "base/crc32c.h"
#include "lib/loop.h"
#include "lib/scene.h"
#include "lib/scratch.h"
#include "queue/deliverer_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Some pieces of 256 KiB, the last one not full. */
enum { BODY_SIZE = 3 * 256 * 1024 + 77 };

static char folder[SCRATCH_PATH_MAX];
static char path[SCRATCH_PATH_MAX + 8];
static char *body; /* what is in the file */
static struct secrets *secrets;
static bool is_drained;

static void write_body(const char *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void begin(void **state)
{
    static const char lines[] = "shop whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"
                                "text only\n";
    struct buf errors = {0};
    char *text = strdup(lines);

    assert_int_equal(scratch_make(folder), 0);
    (void)snprintf(path, sizeof(path), "%s/body", folder);
    body = malloc(BODY_SIZE);
    assert_non_null(body);
    for (size_t i = 0; i < BODY_SIZE; i++) {
        body[i] = (char)(i * 7 + i / 1000);
    }
    write_body(body, BODY_SIZE);
    assert_non_null(text);
    assert_int_equal(
        secrets_parse(text, strlen(text), "test", &errors, &secrets), ERR_OK);
    scene_begin(state);
    store_memory_body(scene.store, path);
    scene.options.secrets = secrets;
    scene.options.in_flight_max = 4;
    scene.options.retry_first_ms = 1;
    scene_start();
}

static void finish(void)
{
    scene_finish();
    secrets_release(secrets);
    free(body);
    assert_int_equal(scratch_remove(folder), 0);
}

/* A topic that signs. */
static struct topic *make_signing(const char *names)
{
    struct topic *topic = scene_make_topic();

    topic->settings.secret = strdup(names);
    assert_non_null(topic->settings.secret);
    scene_attach(topic);
    return topic;
}

/* Push a message whose body is the file. */
static void push_body(struct topic *topic, const struct target *target)
{
    char url[64];

    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/",
                   (unsigned)target_port(target));
    const struct message message = {
        .url = str_from(url),
        .kind = MESSAGE_KIND_RAW,
        .blob = {1, BODY_SIZE, crc32c(0, body, BODY_SIZE)},
    };
    scene_push_message(topic, &message);
}

/* The parcel that is being signed; NULL: none is. */
static const struct parcel *signing(void)
{
    struct list *flying = &scene.deliverer->flying;

    for (struct list *link = flying->next; link != flying; link = link->next) {
        const struct parcel *parcel =
            CONTAINER_OF(link, struct flight, link)->parcel;
        if (parcel->doing == PARCEL_SIGNING) {
            return parcel;
        }
    }
    return NULL;
}

static void assert_nothing_is_held(void)
{
    assert_int_equal(deliverer_stats(scene.deliverer)->in_flight, 0);
    assert_int_equal(scene.deliverer->slots.in_flight, 0);
    assert_int_equal(scene.deliverer->bodies, 0);
}

/* Answer 200 if the body is that of the file. */
static enum target_act check_body(void *context,
                                  const struct target_request *request,
                                  struct str bytes,
                                  struct buf *answer)
{
    int *good = context;

    (void)request;
    (void)answer;
    assert_int_equal(bytes.size, BODY_SIZE);
    assert_memory_equal(bytes.data, body, BODY_SIZE);
    *good += 1;
    return TARGET_ANSWER;
}

static void body_is_read_through_and_then_sent(void **state)
{
    begin(state);
    int good = 0;
    struct target *target = scene_make_target(check_body, &good);
    struct topic *topic = make_signing("shop");

    for (int i = 0; i < 10; i++) {
        push_body(topic, target);
    }
    LOOP_UNTIL(scene.io, signing() != NULL);
    assert_int_equal(target_count(target), 0);
    assert_int_equal(scene_view_of(topic).state, DELIVERY_READY);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 10);
    assert_int_equal(good, 10);
    assert_nothing_is_held();
    target_stop(target);
    finish();
}

static void several_are_signed_at_once(void **state)
{
    begin(state);
    int good = 0;
    struct target *target = scene_make_target(check_body, &good);
    struct topic *topic = make_signing("shop");

    topic->settings.order = SETTINGS_ORDER_NONE;
    deliverer_detach(topic);
    scene_attach(topic);
    for (int i = 0; i < 20; i++) {
        push_body(topic, target);
    }
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 20);
    assert_int_equal(good, 20);
    assert_nothing_is_held();
    target_stop(target);
    finish();
}

static void failed_attempt_is_signed_again(void **state)
{
    begin(state);
    uint64_t failures = 3;
    struct target *target = scene_make_target(scene_fail_first, &failures);
    struct topic *topic = make_signing("shop");

    push_body(topic, target);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 1);
    assert_int_equal(target_count(target), 4);
    assert_nothing_is_held();
    target_stop(target);
    finish();
}

static void pause_ends_the_signing(void **state)
{
    begin(state);
    int good = 0;
    struct target *target = scene_make_target(check_body, &good);
    struct topic *topic = make_signing("shop");

    push_body(topic, target);
    LOOP_UNTIL(scene.io, signing() != NULL);
    topic->settings.paused = true;
    topic_changed(topic);
    assert_nothing_is_held();
    LOOP_TURNS(scene.io, 10);
    assert_int_equal(good, 0);
    assert_int_equal(scene_view_of(topic).state, DELIVERY_PAUSED);
    topic->settings.paused = false;
    topic_changed(topic);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 1);
    assert_int_equal(target_at(target, 0)->attempt, 1);
    assert_int_equal(good, 1);
    target_stop(target);
    finish();
}

static struct store_op move;

static void moved(struct store_op *op, enum err err)
{
    (void)op;
    assert_int_equal(err, ERR_OK);
}

static void moved_cursor_ends_the_signing(void **state)
{
    begin(state);
    int good = 0;
    struct target *target = scene_make_target(check_body, &good);
    struct topic *topic = make_signing("shop");

    push_body(topic, target);
    push_body(topic, target);
    LOOP_UNTIL(scene.io, signing() != NULL);
    move.done = moved;
    store_cursor_move(topic->store, 1, &move);
    topic_changed(topic);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 2);
    assert_int_equal(good, 1);
    assert_int_equal(target_at(target, 0)->sequence, 1);
    assert_nothing_is_held();
    target_stop(target);
    finish();
}

static void drained(void *context)
{
    (void)context;
    is_drained = true;
}

static void drain_does_not_wait_for_it(void **state)
{
    begin(state);
    int good = 0;
    struct target *target = scene_make_target(check_body, &good);
    struct topic *topic = make_signing("shop");

    push_body(topic, target);
    LOOP_UNTIL(scene.io, signing() != NULL);
    is_drained = false;
    deliverer_drain(scene.deliverer, drained, NULL);
    assert_nothing_is_held();
    LOOP_UNTIL(scene.io, is_drained);
    LOOP_TURNS(scene.io, 10);
    assert_int_equal(good, 0);
    target_stop(target);
    finish();
}

static void detached_or_cut_while_it_is_signed(void **state)
{
    begin(state);
    int good = 0;
    struct target *target = scene_make_target(check_body, &good);
    struct topic *topic = make_signing("shop");

    push_body(topic, target);
    LOOP_UNTIL(scene.io, signing() != NULL);
    deliverer_detach(topic);
    assert_nothing_is_held();
    scene_attach(topic);
    LOOP_UNTIL(scene.io, signing() != NULL);
    deliverer_cut(scene.deliverer); /* which wakes nobody */
    assert_nothing_is_held();
    topic_changed(topic);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 1);
    assert_int_equal(good, 1);
    target_stop(target);
    finish();
}

static void damaged_body_is_found_before_it_is_sent(void **state)
{
    begin(state);
    int good = 0;
    struct target *target = scene_make_target(check_body, &good);
    struct topic *topic = make_signing("shop");

    push_body(topic, target);
    char *wrong = malloc(BODY_SIZE);
    assert_non_null(wrong);
    memcpy(wrong, body, BODY_SIZE);
    wrong[BODY_SIZE - 1] ^= 1;
    write_body(wrong, BODY_SIZE);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 1);
    assert_int_equal(store_memory_damaged(scene.store), 1);
    store_memory_body(scene.store, NULL);
    push_body(topic, target);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 2);
    assert_int_equal(store_memory_damaged(scene.store), 2);
    assert_int_equal(target_connections(target), 0);
    store_memory_body(scene.store, path);
    write_body(body, BODY_SIZE);
    push_body(topic, target);
    LOOP_UNTIL(scene.io, scene_next_of(topic) == 3);
    assert_int_equal(good, 1);
    assert_nothing_is_held();
    free(wrong);
    target_stop(target);
    finish();
}

static void without_its_secret_it_is_not_sent(void **state)
{
    begin(state);
    struct target *target = scene_make_target(NULL, NULL);
    struct topic *unknown = make_signing("nobody");
    struct topic *useless = make_signing("text");

    push_body(unknown, target);
    push_body(useless, target);
    LOOP_UNTIL(scene.io, unknown->stats.attempts_failed >= 2 &&
                             useless->stats.attempts_failed >= 2);
    assert_string_equal(scene_view_of(unknown).last_detail,
                        "no such secret is in force: nobody");
    assert_string_equal(scene_view_of(useless).last_detail,
                        "the secret is no key to sign with: text");
    assert_int_equal(target_connections(target), 0);
    assert_nothing_is_held();
    target_stop(target);
    finish();
}

static const struct loop_test tests[] = {
    LOOP_TEST(body_is_read_through_and_then_sent),
    LOOP_TEST(several_are_signed_at_once),
    LOOP_TEST(failed_attempt_is_signed_again),
    LOOP_TEST(pause_ends_the_signing),
    LOOP_TEST(moved_cursor_ends_the_signing),
    LOOP_TEST(drain_does_not_wait_for_it),
    LOOP_TEST(detached_or_cut_while_it_is_signed),
    LOOP_TEST(damaged_body_is_found_before_it_is_sent),
    LOOP_TEST(without_its_secret_it_is_not_sent),
};

int main(void)
{
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}

/* Messages set aside, and how they come back: queue/window.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/window.h"

#include "base/check.h"
#include "queue/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    MESSAGES = 20000,
    TARGETS = 4,
    LINE_MAX_HERE = 20, /* that wait for a target, as deliverer_line.h */
    LINE_FEW_HERE = 10,
    IN_FLIGHT_MAX = 32,
    STEPS_MAX = 3000000,
};

enum doing { NOT_FOUND, ASIDE, WAITING, FLYING, HELD, QUEUED, DONE };

/* Targets that open and close, keys, and a window between them. */
struct scene {
    struct window window;
    struct retry_random random;
    enum settings_order order;
    struct window_parcel parcels[MESSAGES];
    enum doing doing[MESSAGES];
    uint8_t key[MESSAGES]; /* 0: none */
    uint8_t target[MESSAGES];
    uint64_t last[UINT8_MAX + 1]; /* of a key, done last, plus 1 */
    struct window_group groups[TARGETS];
    uint32_t waiting[TARGETS];
    bool closed[TARGETS];
    uint32_t flying;
    uint64_t reads; /* of messages aside */
};

static uint64_t dice(struct scene *scene, uint64_t sides)
{
    return retry_random_next(&scene->random) % sides;
}

/* The text of a message's key; of the last call. */
static struct str key_of(const struct scene *scene, uint64_t sequence)
{
    static char text[16];

    if (scene->key[sequence] == 0) {
        return (struct str){0};
    }
    (void)snprintf(text, sizeof(text), "k%u", scene->key[sequence]);
    return str_from(text);
}

static struct scene *
begin(enum settings_order order, uint64_t seed, uint32_t keys)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    struct store_cursor cursor = {0};

    assert_non_null(scene);
    scene->random.state = seed;
    scene->order = order;
    for (int i = 0; i < MESSAGES; i++) {
        scene->key[i] = (uint8_t)dice(scene, keys);
        scene->target[i] = (uint8_t)dice(scene, TARGETS);
    }
    assert_int_equal(
        window_init(&scene->window, order, &cursor, MESSAGES, true), ERR_OK);
    return scene;
}

static void finish(struct scene *scene)
{
    while (!list_empty(&scene->window.parcels)) {
        window_drop(&scene->window, CONTAINER_OF(scene->window.parcels.next,
                                                 struct window_parcel, link));
    }
    for (int i = 0; i < TARGETS; i++) {
        window_group_forget(&scene->groups[i]);
    }
    window_fini(&scene->window);
    free(scene);
}

/* Have all that a window says agree with what is known. */
static void check(struct scene *scene)
{
    struct window_walk walk = {0};
    struct store_range range;
    uint64_t at = window_floor(&scene->window);

    for (uint64_t i = 0; i < at; i++) {
        assert_int_equal(scene->doing[i], DONE);
    }
    while (window_walk(&scene->window, &walk, &range)) {
        for (; at < range.first; at++) {
            assert_int_not_equal(scene->doing[at], DONE);
        }
        for (; at < range.end; at++) {
            assert_int_equal(scene->doing[at], DONE);
        }
    }
    for (; at < MESSAGES; at++) {
        assert_int_not_equal(scene->doing[at], DONE);
    }
}

static void look_for_more(struct scene *scene, int target)
{
    if (scene->waiting[target] < LINE_FEW_HERE) {
        window_group_wants(&scene->window, &scene->groups[target]);
    }
}

static struct window_group *blocks(struct scene *scene, uint64_t sequence)
{
    int target = scene->target[sequence];

    return scene->waiting[target] >= LINE_MAX_HERE ? &scene->groups[target]
                                                   : NULL;
}

static void start(struct scene *scene, struct window_parcel *parcel)
{
    int target = scene->target[parcel->sequence];

    window_take(&scene->window, parcel);
    if (scene->closed[target]) {
        scene->doing[parcel->sequence] = WAITING;
        scene->waiting[target]++;
    } else {
        scene->doing[parcel->sequence] = FLYING;
        scene->flying++;
    }
}

/* What a message was when it became a parcel. */
static void entered(struct scene *scene, struct window_parcel *parcel)
{
    int key = scene->key[parcel->sequence];

    scene->doing[parcel->sequence] = QUEUED;
    if (scene->order == SETTINGS_ORDER_KEY && key != 0) {
        uint64_t before = parcel->sequence;
        while (before-- > 0 && scene->key[before] != key) {
        }
        assert_int_equal(parcel->previous, before); /* -1 is none, too */
    }
}

static bool find_one(struct scene *scene)
{
    uint64_t sequence = scene->window.scan;

    if (!window_wants(&scene->window)) {
        return false;
    }
    assert_int_equal(scene->doing[sequence], NOT_FOUND);
    struct str key = key_of(scene, sequence);
    struct window_group *group = NULL;
    if (!window_admits(&scene->window, key) ||
        (group = blocks(scene, sequence)) != NULL) {
        assert_int_equal(window_set_aside(&scene->window, sequence, key, group),
                         ERR_OK);
        scene->doing[sequence] = ASIDE;
        return true;
    }
    assert_int_equal(window_found(&scene->window, &scene->parcels[sequence],
                                  sequence, key, 0),
                     ERR_OK);
    entered(scene, &scene->parcels[sequence]);
    return true;
}

static bool sweep_one(struct scene *scene)
{
    uint64_t sequence = window_sweep(&scene->window);

    if (sequence == WINDOW_NO_SEQUENCE ||
        scene->window.parcel_count >= WINDOW_PARCELS_MAX) {
        return false;
    }
    scene->reads++;
    assert_int_equal(scene->doing[sequence], ASIDE);
    struct str key = key_of(scene, sequence);
    struct window_group *group = blocks(scene, sequence);
    if (!window_sweep_admits(&scene->window, key)) {
        window_leave(&scene->window, key, NULL);
    } else if (group != NULL) {
        window_leave(&scene->window, key, group);
    } else {
        window_take_back(&scene->window, &scene->parcels[sequence], key, 0,
                         &scene->groups[scene->target[sequence]]);
        entered(scene, &scene->parcels[sequence]);
    }
    return true;
}

/* One that is in flight ends. */
static void end(struct scene *scene, struct window_parcel *parcel)
{
    uint64_t sequence = parcel->sequence;
    int key = scene->key[sequence];

    scene->flying--;
    if (dice(scene, 8) == 0) {
        scene->doing[sequence] = HELD;
        window_hold(&scene->window, parcel);
        return;
    }
    scene->doing[sequence] = DONE;
    if (scene->order == SETTINGS_ORDER_KEY && key != 0) {
        assert_true(sequence >= scene->last[key]);
        scene->last[key] = sequence + 1;
    }
    window_done(&scene->window, parcel);
}

/* Go on with what is a parcel. `many`: how many of them at most. */
static void go_on(struct scene *scene, uint32_t many)
{
    struct list *next = NULL;

    for (struct list *link = scene->window.parcels.next;
         link != &scene->window.parcels && many > 0; link = next, many--) {
        struct window_parcel *parcel =
            CONTAINER_OF(link, struct window_parcel, link);
        int target = scene->target[parcel->sequence];
        next = link->next;
        switch (scene->doing[parcel->sequence]) {
        case FLYING:
            end(scene, parcel);
            break;
        case HELD:
            window_ready(&scene->window, parcel, false);
            scene->doing[parcel->sequence] = QUEUED;
            break;
        case WAITING:
            if (!scene->closed[target] && scene->flying < IN_FLIGHT_MAX) {
                scene->doing[parcel->sequence] = FLYING;
                scene->flying++;
                scene->waiting[target]--;
                look_for_more(scene, target);
            }
            break;
        default:
            break;
        }
    }
}

static void step(struct scene *scene)
{
    struct window_parcel *first = window_first(&scene->window);

    if (first != NULL && scene->flying < IN_FLIGHT_MAX) {
        start(scene, first);
        return;
    }
    bool any = scene->flying < IN_FLIGHT_MAX &&
               (dice(scene, 2) == 0 ? sweep_one(scene) || find_one(scene)
                                    : find_one(scene) || sweep_one(scene));
    if (!any || dice(scene, 16) == 0) {
        go_on(scene,
              (uint32_t)(dice(scene, 4) == 0 ? MESSAGES : dice(scene, 200)));
    }
}

/* Whatever opens and closes: lanes keep their order, nothing is forgotten, and
 * what the window says of the past is so. */
static void any_walk_ends_in_order(enum settings_order order, uint32_t keys)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct scene *scene = begin(order, seed, keys);
        uint32_t steps = 0;
        while (!window_is_done(&scene->window)) {
            assert_true(steps < STEPS_MAX); /* somebody was forgotten */
            if (steps % 3000 == 0) {
                for (int i = 0; i < TARGETS; i++) {
                    scene->closed[i] = steps < 60000 && dice(scene, 3) > 0;
                }
            }
            if (steps % 7001 == 0) {
                check(scene);
            }
            step(scene);
            steps++;
        }
        check(scene);
        assert_int_equal(scene->window.aside.count, 0);
        finish(scene);
    }
}

static void any_walk_with_keys_ends_in_order(void **state)
{
    (void)state;
    any_walk_ends_in_order(SETTINGS_ORDER_KEY, 8);
}

static void any_walk_with_many_keys_ends_in_order(void **state)
{
    (void)state;
    any_walk_ends_in_order(SETTINGS_ORDER_KEY, 250);
}

static void any_walk_without_order_ends(void **state)
{
    (void)state;
    any_walk_ends_in_order(SETTINGS_ORDER_NONE, 2);
}

/* Of a target that is dead, however much is behind it, few are parcels; all
 * else goes on, and when it is back its messages are read about once. */
static void a_dead_target_holds_up_nobody(void **state)
{
    (void)state;
    struct scene *scene = begin(SETTINGS_ORDER_NONE, 7, 1);
    scene->closed[0] = true;

    for (uint32_t steps = 0; scene->window.scan < MESSAGES; steps++) {
        assert_true(steps < STEPS_MAX);
        step(scene);
        assert_true(scene->window.parcel_count <=
                    IN_FLIGHT_MAX * 4 + LINE_MAX_HERE);
    }
    for (int i = 0; i < 100; i++) {
        go_on(scene, MESSAGES);
        step(scene);
    }
    uint64_t dead = 0;
    for (int i = 0; i < MESSAGES; i++) {
        dead += scene->target[i] == 0 ? 1 : 0;
        assert_true((scene->doing[i] == DONE) == (scene->target[i] != 0));
    }
    assert_int_equal(scene->reads, 0);
    assert_int_equal(scene->window.aside.count, dead - LINE_MAX_HERE);
    check(scene);
    scene->closed[0] = false;
    for (uint32_t steps = 0; !window_is_done(&scene->window); steps++) {
        assert_true(steps < STEPS_MAX);
        step(scene);
    }
    assert_true(scene->reads < dead + dead / 4);
    finish(scene);
}

/* The same of a key, whose first message fails for long. */
static void a_dead_key_holds_up_nobody(void **state)
{
    (void)state;
    struct scene *scene = begin(SETTINGS_ORDER_KEY, 9, 4);
    uint64_t dead = 0;

    for (int i = 0; i < MESSAGES; i++) {
        scene->key[i] = (uint8_t)(1 + scene->key[i]);
        scene->target[i] = scene->key[i] == 1 ? 0 : 1;
        dead += scene->key[i] == 1 ? 1 : 0;
    }
    scene->closed[0] = true;
    for (uint32_t steps = 0;
         scene->window.scan < MESSAGES ||
         scene->window.aside.count + WINDOW_LANE_PARCELS_MAX > dead;
         steps++) {
        assert_true(steps < STEPS_MAX);
        step(scene);
    }
    assert_true(scene->window.aside.count + WINDOW_LANE_PARCELS_MAX <= dead);
    check(scene);
    scene->closed[0] = false;
    scene->reads = 0;
    for (uint32_t steps = 0; !window_is_done(&scene->window); steps++) {
        assert_true(steps < STEPS_MAX);
        step(scene);
    }
    assert_true(scene->reads < 2 * dead);
    finish(scene);
}

/* What retention took, and what is lost on disk, blocks nobody. */
static void what_is_gone_blocks_nobody(void **state)
{
    (void)state;

    for (int lost = 0; lost < 2; lost++) {
        struct scene *scene = begin(SETTINGS_ORDER_KEY, 11, 3);
        scene->closed[0] = scene->closed[1] = scene->closed[2] = true;
        for (uint32_t steps = 0; scene->window.scan < MESSAGES; steps++) {
            assert_true(steps < STEPS_MAX);
            step(scene);
        }
        uint64_t oldest = MESSAGES / 2;
        while (!list_empty(&scene->window.parcels)) {
            struct window_parcel *parcel = CONTAINER_OF(
                scene->window.parcels.next, struct window_parcel, link);
            if (parcel->sequence >= oldest) {
                break;
            }
            int target = scene->target[parcel->sequence];
            scene->flying -= scene->doing[parcel->sequence] == FLYING ? 1 : 0;
            bool waits = scene->doing[parcel->sequence] == WAITING;
            window_drop(&scene->window, parcel);
            if (waits) {
                scene->waiting[target]--;
                look_for_more(scene, target);
            }
        }
        for (uint64_t i = 0; i < oldest; i++) {
            scene->doing[i] = DONE;
        }
        if (lost == 0) {
            window_trim(&scene->window, oldest);
        } else if (window_sweep(&scene->window) < oldest) {
            window_sweep_lose(&scene->window, oldest);
        }
        for (int i = 0; i < TARGETS; i++) {
            scene->closed[i] = false;
        }
        for (int i = 0; i <= UINT8_MAX; i++) {
            scene->last[i] = 0;
        }
        for (uint32_t steps = 0;
             scene->window.parcel_count > 0 || scene->window.aside.count > 0;
             steps++) {
            assert_true(steps < STEPS_MAX);
            uint64_t sequence = window_sweep(&scene->window);
            if (sequence < oldest) { /* lost, as those before it */
                window_sweep_lose(&scene->window, sequence + 1);
                continue;
            }
            struct window_parcel *first = window_first(&scene->window);
            if (first != NULL && scene->flying < IN_FLIGHT_MAX) {
                start(scene, first);
            } else if (sequence != WINDOW_NO_SEQUENCE &&
                       scene->window.parcel_count < 1000) {
                struct str key = key_of(scene, sequence);
                if (window_sweep_admits(&scene->window, key)) {
                    window_take_back(&scene->window, &scene->parcels[sequence],
                                     key, 0, NULL);
                    scene->doing[sequence] = QUEUED;
                } else {
                    window_leave(&scene->window, key, NULL);
                }
            } else {
                go_on(scene, MESSAGES);
            }
        }
        assert_true(window_is_done(&scene->window));
        finish(scene);
    }
}

/* The message at the scan, with a key of its own, is set aside. */
static void set_one_aside(struct window *window, struct window_group *group)
{
    char key[24];

    (void)snprintf(key, sizeof(key), "%llu", (unsigned long long)window->scan);
    assert_true(window_wants(window));
    assert_int_equal(
        window_set_aside(window, window->scan, str_from(key), group), ERR_OK);
}

/* Lanes that are only remembered take no place from those that wait. */
static void idle_lanes_leave_room_for_others(void **state)
{
    (void)state;
    enum { LEFT = 100 };
    struct window_group group = {0};
    struct store_cursor cursor = {0};
    struct window window;

    assert_int_equal(window_init(&window, SETTINGS_ORDER_KEY, &cursor,
                                 2 * WINDOW_LANES_MAX, true),
                     ERR_OK);
    while (window.scan < WINDOW_LANES_MAX - LEFT) {
        set_one_aside(&window, &group);
    }
    for (int i = 0; i < 2 * WINDOW_LANES_IDLE_MAX; i++) {
        struct window_parcel parcel = {0};
        char key[24];
        (void)snprintf(key, sizeof(key), "idle %d", i);
        assert_true(window_wants(&window));
        assert_int_equal(
            window_found(&window, &parcel, window.scan, str_from(key), 0),
            ERR_OK);
        window_take(&window, &parcel);
        window_done(&window, &parcel);
    }
    for (int i = 0; i < LEFT; i++) {
        set_one_aside(&window, &group);
    }
    assert_false(window_wants(&window));
    assert_int_equal(
        window_set_aside(&window, window.scan, STR("one more"), &group),
        ERR_FULL);
    window_group_forget(&group);
    window_fini(&window);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_walk_with_keys_ends_in_order),
        cmocka_unit_test(any_walk_with_many_keys_ends_in_order),
        cmocka_unit_test(any_walk_without_order_ends),
        cmocka_unit_test(a_dead_target_holds_up_nobody),
        cmocka_unit_test(a_dead_key_holds_up_nobody),
        cmocka_unit_test(what_is_gone_blocks_nobody),
        cmocka_unit_test(idle_lanes_leave_room_for_others),
    };

    return cmocka_run_group_tests_name("queue_window_aside", tests, NULL, NULL);
}

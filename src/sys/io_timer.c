/* The wheel of timers: see io_private.h for how it turns.
 *
 * Starting and stopping is a list operation and a bit; the wheel never looks
 * at ticks on which nothing is due, since the bits tell where the next slot
 * with timers is. Stopping does not clear bits: a stopped timer would have to
 * find its slot for that. Whoever comes to an empty slot clears its bit.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "sys/clock.h"
#include "sys/io_private.h"

#include <string.h>

enum {
    /* Look at so many timers of a higher slot for the first to be due. With
     * more, wake when the slot begins, which is too early but cheap. */
    IO_WHEEL_LOOK_MAX = 16,
};

static const uint64_t due_max =
    (UINT64_C(1) << (IO_WHEEL_BITS * IO_WHEEL_LEVELS)) - 1;

void io_wheel_init(struct io_wheel *wheel, uint64_t now_ms)
{
    memset(wheel, 0, sizeof(*wheel));
    wheel->now_ms = now_ms;
    for (int level = 0; level < IO_WHEEL_LEVELS; level++) {
        for (int slot = 0; slot < IO_WHEEL_SLOTS; slot++) {
            list_init(&wheel->lists[level][slot]);
        }
    }
}

void io_wheel_add(struct io_wheel *wheel, struct io_timer *timer)
{
    uint64_t due = timer->due_ms;
    due = due > wheel->now_ms ? due : wheel->now_ms + 1;
    due = due < due_max ? due : due_max;
    unsigned highest = 63U - (unsigned)__builtin_clzll(due ^ wheel->now_ms);
    unsigned level = highest / IO_WHEEL_BITS;
    unsigned slot =
        (unsigned)(due >> (level * IO_WHEEL_BITS)) & (IO_WHEEL_SLOTS - 1);
    CHECK(level < IO_WHEEL_LEVELS);
    wheel->levels |= 1U << level;
    wheel->slots[level] |= UINT64_C(1) << slot;
    list_append(&wheel->lists[level][slot], &timer->link);
}

/* Find the first slot that has timers, and clear the bits of those before
 * that have none any more. */
static bool
first_slot(struct io_wheel *wheel, unsigned *out_level, unsigned *out_slot)
{
    while (wheel->levels != 0) {
        unsigned level = (unsigned)__builtin_ctz(wheel->levels);
        while (wheel->slots[level] != 0) {
            unsigned slot = (unsigned)__builtin_ctzll(wheel->slots[level]);
            if (!list_empty(&wheel->lists[level][slot])) {
                *out_level = level;
                *out_slot = slot;
                return true;
            }
            wheel->slots[level] &= ~(UINT64_C(1) << slot);
        }
        wheel->levels &= ~(1U << level);
    }
    return false;
}

/* The tick with which a slot begins. */
static uint64_t
slot_start(const struct io_wheel *wheel, unsigned level, unsigned slot)
{
    unsigned shift = level * IO_WHEEL_BITS;
    uint64_t above = wheel->now_ms >> (shift + IO_WHEEL_BITS);
    return (above << IO_WHEEL_BITS | slot) << shift;
}

/* Bring the wheel to the start of a slot and empty it: timers that are due
 * then are called, others move down. */
static void
enter_slot(struct io_wheel *wheel, unsigned level, unsigned slot, uint64_t at)
{
    struct list due;
    struct list *from = &wheel->lists[level][slot];
    wheel->now_ms = at;
    wheel->slots[level] &= ~(UINT64_C(1) << slot);
    /* Callbacks may stop any timer, those of this list too; so the list moves
     * as a whole and is taken from its front. */
    list_init(&due);
    due.next = from->next;
    due.prev = from->prev;
    due.next->prev = &due;
    due.prev->next = &due;
    list_init(from);
    for (;;) {
        struct list *node = list_take_first(&due);
        if (node == NULL) {
            return;
        }
        struct io_timer *timer = CONTAINER_OF(node, struct io_timer, link);
        if (timer->due_ms > at) {
            io_wheel_add(wheel, timer);
        } else {
            timer->expired(timer);
        }
    }
}

void io_wheel_advance(struct io_wheel *wheel, uint64_t now_ms)
{
    unsigned level = 0;
    unsigned slot = 0;
    while (first_slot(wheel, &level, &slot)) {
        uint64_t at = slot_start(wheel, level, slot);
        if (at > now_ms) {
            break;
        }
        enter_slot(wheel, level, slot, at);
    }
    if (now_ms > wheel->now_ms) {
        wheel->now_ms = now_ms;
    }
}

uint64_t io_wheel_next_ms(struct io_wheel *wheel)
{
    unsigned level = 0;
    unsigned slot = 0;
    if (!first_slot(wheel, &level, &slot)) {
        return UINT64_MAX;
    }
    uint64_t start = slot_start(wheel, level, slot);
    if (level == 0) {
        return start;
    }
    uint64_t next = UINT64_MAX;
    int looked = 0;
    const struct list *head = &wheel->lists[level][slot];
    for (const struct list *node = head->next; node != head;
         node = node->next) {
        if (++looked > IO_WHEEL_LOOK_MAX) {
            return start;
        }
        const struct io_timer *timer =
            CONTAINER_OF(node, const struct io_timer, link);
        next = timer->due_ms < next ? timer->due_ms : next;
    }
    return next > start ? next : start;
}

void io_timer_start(struct io *io, struct io_timer *timer, uint64_t delay_ms)
{
    CHECK(timer->expired != NULL);
    /* Outside of turns io_now_ns() is old: start-up may take its time. */
    uint64_t now_ms =
        io->in_turn ? io->now_ms : clock_monotonic_ns() / 1000000U;
    delay_ms = delay_ms < due_max ? delay_ms : due_max;
    list_remove(&timer->link);
    /* One tick more, since this one has begun already. */
    timer->due_ms = now_ms + delay_ms + 1;
    io_wheel_add(&io->wheel, timer);
}

void io_timer_stop(struct io *io, struct io_timer *timer)
{
    (void)io;
    list_remove(&timer->link);
}

bool io_timer_running(const struct io_timer *timer)
{
    return list_linked(&timer->link);
}

/* Sends messages to their targets.
 *
 * The turn hook is where everything begins: first slots that came free go to
 * those who stand in line, then deliveries that are awake look at their topics
 * and take what slots are left, then those who were put in line just now get
 * theirs. Deliveries that wake meanwhile have the next turn, so that no topic
 * keeps the loop to itself.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/deliverer.h"

#include "base/check.h"
#include "base/diag.h"
#include "queue/deliverer_delivery.h"
#include "queue/deliverer_internal.h"
#include "queue/deliverer_parcel.h"
#include "sys/clock.h"

#include <stdlib.h>

/* Have a turn come soon, though nothing else may happen. */
static void kick(struct deliverer *deliverer)
{
    if (!io_timer_running(&deliverer->wake)) {
        io_timer_start(deliverer->options.io, &deliverer->wake, 0);
    }
}

static bool is_drained(const struct deliverer *deliverer)
{
    return deliverer->draining && deliverer->drained != NULL &&
           list_empty(&deliverer->flying) && deliverer->settling == 0;
}

/* Its turn comes anyway; but the end of a drain is told from here, since the
 * callee may destroy the deliverer. */
static void woken(struct io_timer *timer)
{
    struct deliverer *deliverer = CONTAINER_OF(timer, struct deliverer, wake);

    if (is_drained(deliverer)) {
        void (*drained)(void *context) = deliverer->drained;
        deliverer->drained = NULL;
        drained(deliverer->drained_context);
    }
}

static void fill_slots(struct deliverer *deliverer)
{
    uint32_t given_max = deliverer->halted ? 0 : deliverer->slots.in_flight_max;

    for (uint32_t given = 0; given < given_max; given++) {
        struct endpoint_waiter *waiter = endpoint_next(&deliverer->slots);
        if (waiter == NULL) {
            return;
        }
        deliverer_parcel_slot(CONTAINER_OF(waiter, struct parcel, waiter));
    }
}

/* Move all of a list to an empty one. */
static void take_all(struct list *from, struct list *to)
{
    list_init(to);
    while (!list_empty(from)) {
        list_append(to, list_take_first(from));
    }
}

/* Let those go on that may read again. At the end of a turn somebody starves
 * only while readers wait for the disk, each of which begins a turn when it
 * ends, or while others are awake, for whom a turn comes anyway. */
static void feed(struct deliverer *deliverer)
{
    uint32_t room = deliverer->reading < DELIVERER_READING_MAX
                        ? DELIVERER_READING_MAX - deliverer->reading
                        : 0;

    while (room > 0 && !list_empty(&deliverer->starved)) {
        struct list *link = list_take_first(&deliverer->starved);
        deliverer_delivery_wake(CONTAINER_OF(link, struct delivery, ready));
        room--;
    }
}

/* Note the cursors that went on, each once a turn. */
static void note_cursors(struct deliverer *deliverer)
{
    struct list *link = NULL;

    while ((link = list_take_first(&deliverer->dirty)) != NULL) {
        deliverer_delivery_note(CONTAINER_OF(link, struct delivery, dirty));
    }
}

static void turn(struct io_hook *hook)
{
    struct deliverer *deliverer = CONTAINER_OF(hook, struct deliverer, hook);
    struct list awake;

    fill_slots(deliverer);
    feed(deliverer);
    take_all(&deliverer->ready, &awake);
    while (!list_empty(&awake)) {
        struct list *link = list_take_first(&awake);
        deliverer_delivery_work(CONTAINER_OF(link, struct delivery, ready));
    }
    fill_slots(deliverer);
    feed(deliverer);
    note_cursors(deliverer);
    bool awake_left = !list_empty(&deliverer->ready);
    CHECK(list_empty(&deliverer->starved) || deliverer->reading > 0 ||
          awake_left);
    if (awake_left || is_drained(deliverer)) {
        kick(deliverer);
    }
}

static enum err make_flights(struct deliverer *deliverer)
{
    uint32_t count = deliverer->options.in_flight_max;

    deliverer->flights = calloc(count, sizeof(*deliverer->flights));
    if (deliverer->flights == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        list_append(&deliverer->free, &deliverer->flights[i].link);
    }
    return ERR_OK;
}

enum err deliverer_create(const struct deliverer_options *options,
                          struct deliverer **out)
{
    struct deliverer *deliverer = calloc(1, sizeof(*deliverer));

    if (deliverer == NULL) {
        return ERR_NOMEM;
    }
    deliverer->options = *options;
    deliverer->policy = (struct retry_policy){
        .first_ms = options->retry_first_ms,
        .max_ms = options->retry_max_ms,
        .after_max_ms = options->retry_after_max_ms,
    };
    list_init(&deliverer->targets.unused);
    list_init(&deliverer->targets.slow);
    list_init(&deliverer->deliveries);
    list_init(&deliverer->ready);
    list_init(&deliverer->starved);
    list_init(&deliverer->dirty);
    list_init(&deliverer->parcels);
    list_init(&deliverer->free);
    list_init(&deliverer->flying);
    list_init(&deliverer->readers.list);
    deliverer->readers.count_max = DELIVERER_READERS_MAX;
    list_init(&deliverer->readers_idle.list);
    deliverer->readers_idle.count_max = DELIVERER_READERS_IDLE_MAX;
    deliverer->stats.in_flight_max = options->in_flight_max;
    endpoint_set_init(&deliverer->slots, options->in_flight_max,
                      options->endpoint_in_flight_max);
    if (make_flights(deliverer) != ERR_OK) {
        free(deliverer);
        return ERR_NOMEM;
    }
    push_task_pool_init(&deliverer->pushes, options->shard,
                        options->in_flight_max);
    deliverer->random.state = options->seed;
    if (options->seed == 0) {
        clock_random(&deliverer->random.state, sizeof(uint64_t));
    }
    endpoint_set_pace(&deliverer->slots, options->retry_first_ms,
                      options->retry_max_ms, ~deliverer->random.state);
    deliverer->wake.expired = woken;
    deliverer->hook.turn = turn;
    io_hook_add(options->io, &deliverer->hook);
    *out = deliverer;
    return ERR_OK;
}

void deliverer_set_limits(struct deliverer *deliverer,
                          const struct deliverer_options *options,
                          const struct secrets *secrets)
{
    deliverer->options.timeout_ms = options->timeout_ms;
    deliverer->options.secrets = secrets;
    deliverer->policy = (struct retry_policy){
        .first_ms = options->retry_first_ms,
        .max_ms = options->retry_max_ms,
        .after_max_ms = options->retry_after_max_ms,
    };
    endpoint_set_pace(&deliverer->slots, options->retry_first_ms,
                      options->retry_max_ms, ~deliverer->random.state);
}

void deliverer_destroy(struct deliverer *deliverer)
{
    if (deliverer == NULL) {
        return;
    }
    CHECK(list_empty(&deliverer->deliveries));
    CHECK(list_empty(&deliverer->flying));
    io_hook_remove(deliverer->options.io, &deliverer->hook);
    io_timer_stop(deliverer->options.io, &deliverer->wake);
    deliverer_target_clear(deliverer);
    push_task_pool_fini(&deliverer->pushes);
    sign_fini(&deliverer->sign);
    for (uint32_t i = 0; i < deliverer->options.in_flight_max; i++) {
        outgoing_fini(&deliverer->flights[i].outgoing);
    }
    free(deliverer->flights);
    struct list *link = NULL;
    while ((link = list_take_first(&deliverer->parcels)) != NULL) {
        free(CONTAINER_OF(link, struct parcel, base.link));
    }
    free(deliverer);
}

/* The cursor was moved (replay, purge), or settings changed (pause, resume):
 * look again. A request in flight for another place is finished, its outcome
 * not noted. Back-off is forgotten. */
static void topic_has_changed(struct topic *topic)
{
    if (topic->delivery != NULL) {
        deliverer_delivery_change(topic->delivery);
        kick(topic->delivery->deliverer);
    }
}

enum err deliverer_attach(struct deliverer *deliverer, struct topic *topic)
{
    CHECK(topic->delivery == NULL);
    enum err err =
        deliverer_delivery_create(deliverer, topic, &topic->delivery);
    if (err != ERR_OK) {
        return err;
    }
    topic->changed = topic_has_changed;
    kick(deliverer);
    return ERR_OK;
}

void deliverer_detach(struct topic *topic)
{
    struct delivery *delivery = topic->delivery;

    if (delivery == NULL) {
        return;
    }
    struct deliverer *deliverer = delivery->deliverer;
    topic->delivery = NULL;
    topic->changed = NULL;
    deliverer_delivery_destroy(delivery);
    kick(deliverer); /* a slot may have come free */
}

/* --- before a successor --------------------------------------------------- */

static const struct flight *flight_of(const struct list *link)
{
    return CONTAINER_OF(link, struct flight, link);
}

uint64_t deliverer_oldest_ms(const struct deliverer *deliverer)
{
    return list_empty(&deliverer->flying)
               ? 0
               : io_now_ms(deliverer->options.io) -
                     flight_of(deliverer->flying.next)->begun_ms;
}

void deliverer_slow(const struct deliverer *deliverer,
                    uint64_t slow_ms,
                    struct deliverer_slow *out_slow)
{
    uint64_t now_ms = io_now_ms(deliverer->options.io);
    struct deliverer_slow slow = {0};

    for (const struct list *link = deliverer->flying.next;
         link != &deliverer->flying; link = link->next) {
        const struct flight *flight = flight_of(link);
        uint64_t age_ms = now_ms - flight->begun_ms;
        uint64_t timeout_ms = flight->call.timeout_ms;
        if (age_ms < slow_ms) {
            break; /* those behind are younger */
        }
        uint64_t rest_ms = flight->body != NULL  ? timeout_ms
                           : timeout_ms > age_ms ? timeout_ms - age_ms
                                                 : 0;
        slow.count++;
        if (flight->parcel->target != NULL &&
            (slow.target == NULL || rest_ms > slow.rest_ms)) {
            slow.target = flight->parcel->target->name;
            slow.rest_ms = rest_ms;
        }
    }
    *out_slow = slow;
}

void deliverer_hold_slow(struct deliverer *deliverer,
                         uint64_t slow_ms,
                         uint64_t hold_ms)
{
    uint64_t now_ms = io_now_ms(deliverer->options.io);

    for (struct list *link = deliverer->flying.next; link != &deliverer->flying;
         link = link->next) {
        const struct flight *flight = flight_of(link);
        if (now_ms - flight->begun_ms < slow_ms) {
            break;
        }
        if (flight->parcel->target != NULL) {
            deliverer_target_slow(flight->parcel->target,
                                  now_ms - flight->begun_ms);
        }
    }
    deliverer_target_hold_slow(deliverer, slow_ms, hold_ms);
}

void deliverer_halt(struct deliverer *deliverer)
{
    deliverer->halted = true;
    for (struct list *link = deliverer->deliveries.next;
         link != &deliverer->deliveries; link = link->next) {
        deliverer_delivery_halt(CONTAINER_OF(link, struct delivery, link));
    }
}

bool deliverer_is_halted(const struct deliverer *deliverer)
{
    CHECK(deliverer->halted);
    if (!list_empty(&deliverer->flying)) {
        return false;
    }
    uint32_t waiting = 0;
    for (struct list *link = deliverer->deliveries.next;
         deliverer->settling > 0 && link != &deliverer->deliveries;
         link = link->next) {
        waiting += deliverer_delivery_unsettled(
            CONTAINER_OF(link, struct delivery, link));
    }
    return deliverer->settling == waiting;
}

void deliverer_resume(struct deliverer *deliverer)
{
    deliverer->halted = false;
    for (struct list *link = deliverer->deliveries.next;
         link != &deliverer->deliveries; link = link->next) {
        deliverer_delivery_wake(CONTAINER_OF(link, struct delivery, link));
    }
    kick(deliverer);
}

/* --- the end -------------------------------------------------------------- */

void deliverer_drain(struct deliverer *deliverer,
                     void (*drained)(void *context),
                     void *context)
{
    deliverer->draining = true;
    deliverer->drained = drained;
    deliverer->drained_context = context;
    for (struct list *link = deliverer->deliveries.next;
         link != &deliverer->deliveries; link = link->next) {
        deliverer_delivery_stop(CONTAINER_OF(link, struct delivery, link));
    }
    DIAG_INFO("deliverer_draining", "in_flight=%u",
              (unsigned)deliverer->stats.in_flight);
    kick(deliverer);
}

void deliverer_cut(struct deliverer *deliverer)
{
    while (!list_empty(&deliverer->flying)) {
        struct flight *flight =
            CONTAINER_OF(deliverer->flying.next, struct flight, link);
        deliverer_parcel_give_up(flight->parcel);
    }
    kick(deliverer);
}

const struct deliverer_stats *deliverer_stats(const struct deliverer *deliverer)
{
    return &deliverer->stats;
}

static const char *class_of_status(int status)
{
    switch (status / 100) {
    case 2:
        return "delivered";
    case 3:
        return "http_3xx";
    case 4:
        return "http_4xx";
    case 5:
        return "http_5xx";
    default:
        return "protocol_error";
    }
}

const char *deliverer_class(enum err err, int status)
{
    switch (err) {
    case ERR_OK:
        return class_of_status(status);
    case ERR_DNS:
        return "dns_error";
    case ERR_REFUSED:
        return "connection_refused";
    case ERR_RESET:
    case ERR_CLOSED:
        return "connection_reset";
    case ERR_TLS:
        return "tls_error";
    case ERR_TIMEOUT:
        return "timeout";
    case ERR_DENIED:
        return "blocked_address";
    case ERR_PROTOCOL:
    case ERR_INVALID:
        return "protocol_error";
    default:
        return "local_error"; /* no memory, no descriptors: ours */
    }
}

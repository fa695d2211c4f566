/* A smooth restart: see restart.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/restart.h"

#include "base/check.h"
#include "base/diag.h"
#include "sys/clock.h"
#include "sys/net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHECK_MS = 10000 };

/* --- trying --------------------------------------------------------------- */

bool restart_may_take_over(struct buf *errors, const char **out_addresses)
{
    const char *value = getenv(RESTART_CHECK_VARIABLE);
    uint64_t version = 0;

    *out_addresses = NULL;
    if (value == NULL) {
        return true;
    }
    size_t size = strcspn(value, " ");
    bool good = str_to_u64((struct str){value, size}, &version) == ERR_OK &&
                version >= 1 && version <= HANDOVER_VERSION;
    if (!good) {
        buf_append_format(errors,
                          "version %.*s of the handover is not known to this "
                          "program, which knows up to %d\n",
                          (int)size, value, HANDOVER_VERSION);
    }
    *out_addresses = value + size;
    (void)unsetenv(RESTART_CHECK_VARIABLE); /* the bytes stay */
    return good;
}

static void
say(char why[RESTART_WHY_MAX], const char *path, const char *text, int code)
{
    if (code >= 0) {
        (void)snprintf(why, RESTART_WHY_MAX, "%s: exit code %d%s%s", path, code,
                       text[0] != '\0' ? ": " : "", text);
    } else {
        (void)snprintf(why, RESTART_WHY_MAX, "%s: %s", path, text);
    }
}

/* The variable for a program that is tried. */
static void append_variable(const struct listen_inherited *listeners,
                            struct buf *to)
{
    buf_append_format(to, RESTART_CHECK_VARIABLE "=%d", HANDOVER_VERSION);
    if (listeners->activated) {
        buf_append_c(to, " *");
    }
    for (uint32_t index = 0; index < listeners->count; index++) {
        struct net_address address;
        char text[NET_TEXT_MAX];
        if (net_bound(listeners->fds[index], &address) == ERR_OK) {
            net_format(&address, text);
            buf_append_format(to, " %s", text);
        }
    }
    buf_append(to, "", 1);
}

/* Run the program to its end. Errors: as exec_run() */
static enum err try_program(const char *path,
                            char *const *arguments,
                            const struct listen_inherited *listeners,
                            struct exec_result *out)
{
    struct buf variable = {0};

    append_variable(listeners, &variable);
    enum err err = buf_err(&variable);
    if (err == ERR_OK) {
        err = exec_run(path, arguments, variable.data, CHECK_MS, out);
    }
    buf_fini(&variable);
    return err;
}

bool restart_check(const char *path,
                   char *const *arguments,
                   const struct listen_inherited *listeners,
                   char why[RESTART_WHY_MAX])
{
    struct exec_result result;
    size_t count = 0;

    while (arguments[count] != NULL) {
        count++;
    }
    char **checked = calloc(count + 2, sizeof(*checked));
    if (checked == NULL) {
        say(why, path, err_text(ERR_NOMEM), -1);
        return false;
    }
    memcpy(checked, arguments, count * sizeof(*checked));
    char flag[] = "--check-config";
    checked[count] = flag;
    listen_allow_overlap(listeners);
    enum err err = try_program(path, checked, listeners, &result);
    free(checked);
    if (err != ERR_OK) {
        say(why, path,
            err == ERR_TIMEOUT  ? "it did not end when it was tried"
            : err == ERR_CLOSED ? "a signal came to stop"
                                : err_text(err),
            -1);
        return false;
    }
    if (result.code != 0) {
        say(why, path, result.output, result.code);
        return false;
    }
    if (strcmp(result.output, RESTART_CHECK_LINE) != 0) {
        say(why, path, "it does not say that it can take over", -1);
        return false;
    }
    return true;
}

/* --- out ------------------------------------------------------------------ */

void restart_take(void *context, const struct http_handed *handed)
{
    struct restart_clients *clients = context;

    if (clients->count == 0) {
        clients->held_ns = clock_monotonic_ns();
    }
    clients->count++;
    handover_client(&clients->records, clients->shard, handed);
}

void restart_records(const char *program,
                     const struct listen_inherited *listeners,
                     struct restart_clients *const *clients,
                     uint32_t count,
                     struct buf *to)
{
    uint64_t held_ns = clock_monotonic_ns();

    for (uint32_t index = 0; index < count; index++) {
        const struct restart_clients *one = clients[index];
        if (one->count > 0 && one->held_ns < held_ns) {
            held_ns = one->held_ns;
        }
    }
    handover_begin(to, held_ns);
    handover_program(to, program);
    for (uint32_t index = 0; index < listeners->count; index++) {
        handover_listener(to, listeners->fds[index], listeners->activated);
    }
    for (uint32_t index = 0; index < count; index++) {
        to->failed = to->failed || clients[index]->records.failed;
        buf_append_str(to, buf_str(&clients[index]->records));
    }
}

/* --- in ------------------------------------------------------------------- */

/* What is wanted of the records. */
struct reading {
    struct listen_inherited *listeners; /* NULL: no listeners */
    struct pipeline *pipeline;          /* NULL: no clients */
    uint32_t shard;
    uint32_t count;   /* of shards */
    uint32_t adopted; /* clients */
    uint64_t held_ns;
    char *program;                /* of EXEC_PATH_MAX; NULL: not wanted */
    bool has_program;             /* and it has it */
    struct store_local_end *ends; /* of `end_max`; NULL: not wanted */
    uint32_t end_max;
    uint32_t end_count;
    bool back; /* from a program that could not go on */
};

static void read_begun(void *context, uint64_t held_ns)
{
    ((struct reading *)context)->held_ns = held_ns;
}

static void read_program(void *context, struct str path)
{
    struct reading *reading = context;

    if (reading->program != NULL && path.size > 0 &&
        path.size < EXEC_PATH_MAX && str_find(path, '\0') == path.size) {
        memcpy(reading->program, path.data, path.size);
        reading->program[path.size] = '\0';
        reading->has_program = true;
    }
}

static void read_journal(void *context, const struct store_local_end *end)
{
    struct reading *reading = context;

    if (reading->ends != NULL && reading->end_count < reading->end_max) {
        struct store_local_end *to = &reading->ends[reading->end_count];
        *to = *end;
        /* Who was to go on may have been at the topics before we came back. */
        to->topics = reading->back ? (struct str){NULL, 0} : end->topics;
        reading->end_count++;
    }
}

static void read_listener(void *context, int fd, bool activated)
{
    struct reading *reading = context;

    if (reading->listeners != NULL) {
        reading->listeners->activated |= activated;
        listen_inherit(reading->listeners, fd);
    }
}

static void
read_client(void *context, uint32_t shard, const struct http_handed *handed)
{
    struct reading *reading = context;

    if (reading->pipeline == NULL || shard % reading->count != reading->shard) {
        return;
    }
    enum err err = pipeline_adopt(reading->pipeline, handed);
    if (err != ERR_OK) {
        DIAG_WARN("client_lost", "err=%s", err_text(err));
        return;
    }
    reading->adopted++;
}

static void read_all(const struct handover *handover, struct reading *reading)
{
    static const struct handover_calls calls = {
        .begun = read_begun,
        .listener = read_listener,
        .program = read_program,
        .journal = read_journal,
        .client = read_client,
    };

    if (handover->fd > 0) {
        enum err err = handover_read(
            (struct str){handover->bytes, handover->size}, &calls, reading);
        CHECK(err == ERR_OK); /* it was read when it was taken */
    }
}

bool restart_program(const struct handover *handover, char path[EXEC_PATH_MAX])
{
    struct reading reading = {.program = path};

    read_all(handover, &reading);
    return reading.has_program;
}

uint32_t restart_ends(const struct handover *handover,
                      struct store_local_end *to,
                      uint32_t max)
{
    struct reading reading = {
        .ends = to, .end_max = max, .back = handover->back_fd < 0};

    read_all(handover, &reading);
    return reading.end_count;
}

void restart_listeners(const struct handover *handover,
                       struct listen_inherited *to)
{
    struct reading reading = {.listeners = to};

    read_all(handover, &reading);
}

uint32_t restart_adopt(const struct handover *handover,
                       struct pipeline *pipeline,
                       uint32_t shard,
                       uint32_t count)
{
    struct reading reading = {
        .pipeline = pipeline, .shard = shard, .count = count};

    read_all(handover, &reading);
    return reading.adopted;
}

uint32_t restart_adopt_waiting(struct listen_inherited *listeners,
                               struct pipeline *pipeline)
{
    uint32_t count = 0;

    for (uint32_t index = 0; index < listeners->count; index++) {
        struct http_handed handed = {0};
        int listener = listeners->fds[index];
        while (listener >= 0 && net_accept(listener, &handed.fd) == ERR_OK) {
            count += pipeline_adopt(pipeline, &handed) == ERR_OK ? 1 : 0;
        }
    }
    listen_forget(listeners);
    return count;
}

uint64_t restart_pause_ms(const struct handover *handover)
{
    struct reading reading = {0};
    uint64_t now_ns = clock_monotonic_ns();

    read_all(handover, &reading);
    return reading.held_ns > 0 && now_ns > reading.held_ns
               ? (now_ns - reading.held_ns) / 1000000
               : 0;
}

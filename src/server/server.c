/* The serving process.
 *
 * What happens: log, guard, data directory, listening sockets, one thread per
 * shard that opens its part (recovery) and reports; when all are open they are
 * told to listen and deliver, and the supervisor that we are ready. Then this
 * thread waits for signals. What can fail: settings (78), the data directory
 * (69 in use, 73), the port (69), a shard's disk (74). Policy: before readiness
 * any failure ends the process with its code and a line that says why; after
 * it, a shard that cannot go on safely ends the process without a word to the
 * disk, for recovery to find out what it holds.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/server.h"

#include "admin/api.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/diag.h"
#include "http/tls.h"
#include "queue/pipeline.h"
#include "queue/secrets.h"
#include "server/announce.h"
#include "server/descriptors.h"
#include "server/guard.h"
#include "server/keys.h"
#include "server/listen.h"
#include "server/log_file.h"
#include "server/parts.h"
#include "server/reload.h"
#include "server/restart.h"
#include "server/server_check.h"
#include "store/store_local.h"
#include "sys/clock.h"
#include "sys/dir.h"
#include "sys/exec.h"
#include "sys/pages.h"
#include "sys/process.h"
#include "sys/sandbox.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct server;

/* One shard's thread and where it stands. */
struct worker {
    struct server *server;
    struct pipeline *pipeline;     /* owned */
    struct process_thread *thread; /* owned */
    uint32_t index;
    enum err err;                   /* of opening, once it has reported */
    struct restart_clients clients; /* on their way to a successor */
};

struct server {
    const struct config *config;
    struct restart_start *start;
    bool smooth; /* it goes on for another process */
    struct store_local_end ends[SHARDS_MAX]; /* of the former process */
    uint32_t end_count;
    uint64_t files_max;       /* descriptors that the system grants */
    char path[EXEC_PATH_MAX]; /* of the program; "" when it is not known */
    struct listen_inherited inherited;
    atomic_uint adopted;           /* clients of the former process */
    struct guard *guard;           /* owned */
    struct secrets *secrets;       /* held; NULL: none are set */
    struct tokens *tokens;         /* held; NULL: none are set */
    struct reload *reload;         /* owned */
    struct store_local_data *data; /* owned */
    struct api *api;               /* owned */
    struct listen_set listen;      /* sockets per shard, until handed over */
    struct shard_group group;
    uint32_t count; /* of shards */
    struct worker workers[SHARDS_MAX];
    struct process_gate *gate; /* owned: all shards and this thread */
    bool restarts;             /* there is to be a successor, */
    struct buf records;        /* owned: which gets these */
    atomic_bool failed;        /* a shard could not open */
    atomic_bool begun;         /* a shard may have taken what was left */
    atomic_uint ended;         /* shards whose loop has stopped */
};

/* --- options of the parts ------------------------------------------------- */

static void store_failed(void *context, enum err err)
{
    (void)context;
    DIAG_ERROR("store_failed", "err=%s; ending at once, start again to recover",
               err_text(err));
    process_exit(SERVER_EXIT_IO);
}

/* As if a read or write had failed; only that no error can be returned. */
static void mapping_lost(void)
{
    DIAG_ERROR("mapping_failed",
               "err=%s; ending at once, start again to recover",
               err_text(ERR_IO));
    process_exit(SERVER_EXIT_IO);
}

static void
recovery_progress(void *context, uint64_t done_bytes, uint64_t all_bytes)
{
    (void)context;
    DIAG_INFO("recovery_progress", "done_mib=%llu all_mib=%llu",
              (unsigned long long)(done_bytes >> 20),
              (unsigned long long)(all_bytes >> 20));
}

/* What a shard may have of the descriptors. */
static struct descriptors share_of(const struct server *server,
                                   const struct config *config)
{
    struct descriptors share;

    (void)descriptors_share(config, server->files_max, server->count, &share);
    return share;
}

static struct store_local_options store_options(struct server *server)
{
    const struct config *config = server->config;
    struct store_local_options options =
        parts_store(config, share_of(server, config));

    options.shard_count = server->count;
    options.hurried = server->smooth;
    options.ends = server->ends;
    options.end_count = server->end_count;
    options.fatal = store_failed;
    options.progress = recovery_progress;
    options.context = server;
    return options;
}

static enum err
store_open(void *context, struct io *io, uint32_t index, struct store **out)
{
    struct server *server = context;

    return store_local_open(server->data, io, index, out);
}

static uint32_t topic_owner(void *context, struct str topic)
{
    const struct server *server = context;

    return store_local_shard(server->data, topic);
}

static struct pipeline_options pipeline_options(struct server *server,
                                                uint32_t index)
{
    const struct config *config = server->config;
    struct descriptors share = share_of(server, config);

    return (struct pipeline_options){
        .index = index,
        .group = &server->group,
        .io = parts_io(config),
        .http = parts_http(config, share),
        .client = parts_client(config, share, server->guard),
        .deliverer = parts_deliverer(config),
        .listener = parts_listener(config, server->guard),
        .accept = {.dedup_max = (uint32_t)config->dedup_max},
        .trim_bytes = config->segment_size,
        .trim_count = config->segment_count,
        .tokens = server->tokens,
        .secrets = server->secrets,
        .events_url = config->events_url,
        .store_open = store_open,
        .store_context = server,
        .handle_other = api_handle,
        .other_context = server->api,
    };
}

/* What settings are to the parts of a running shard. */
static void change_of(void *context,
                      const struct config *config,
                      struct pipeline_change *out)
{
    const struct server *server = context;
    struct descriptors share = share_of(server, config);

    *out = (struct pipeline_change){
        .http = parts_http(config, share),
        .client = parts_client(config, share, server->guard),
        .deliverer = parts_deliverer(config),
        .pending_max = (uint32_t)config->pending_max,
    };
}

static enum err
check_change(void *context, const struct config *config, struct buf *errors)
{
    const struct server *server = context;
    enum err err = server_check(config, errors);

    return err == ERR_OK ? listen_check_open(&server->listen, config, errors)
                         : err;
}

static enum err make_reload(struct server *server)
{
    const struct reload_options options = {
        .config = server->config,
        .arguments = server->start->arguments,
        .shard_count = server->count,
        .check = check_change,
        .change_of = change_of,
        .context = server,
    };

    return reload_create(&options, &server->reload);
}

static enum err make_api(struct server *server)
{
    const struct config *config = server->config;
    const struct api_options options = {
        .version = OPQ_VERSION,
        .admin = config->admin,
        .message_size_max = config->batch_size_max,
        .batch_count_max = (uint32_t)config->batch_count_max,
        .shard_count = server->count,
        .durability = config->sync,
        .data = config->data,
        .target_allowed = parts_host_allowed,
        .context = server->guard,
        .reload = {.read = reload_read,
                   .apply = reload_apply,
                   .end = reload_end,
                   .context = server->reload},
    };

    return api_create(&options, &server->api);
}

/* --- shards --------------------------------------------------------------- */

/* What a shard's thread waits for between opening and serving: all others. */
static enum err begin_serving(struct worker *worker)
{
    struct server *server = worker->server;
    enum err err = ERR_OK;

    atomic_store(&server->begun, true);
    api_set_ready(server->api, true); /* who waits is served as soon as that */
    for (uint32_t index = 0; err == ERR_OK && index < server->listen.count;
         index++) {
        int *fd = &server->listen.fds[worker->index][index];
        if (*fd >= 0) {
            err = pipeline_listen(worker->pipeline, *fd,
                                  server->listen.secure[index]);
            *fd = err == ERR_OK ? -1 : *fd;
        }
    }
    if (err == ERR_OK) {
        err = pipeline_deliver(worker->pipeline);
    }
    if (err == ERR_OK) {
        uint32_t adopted =
            restart_adopt(&server->start->handover, worker->pipeline,
                          worker->index, server->count);
        if (worker->index == 0 && server->config->tls_cert[0] == '\0') {
            adopted +=
                restart_adopt_waiting(&server->inherited, worker->pipeline);
        }
        atomic_fetch_add(&server->adopted, adopted);
    }
    return err;
}

static void worker_main(void *context)
{
    struct worker *worker = context;
    struct server *server = worker->server;

    worker->err = pipeline_open(worker->pipeline);
    process_gate_pass(server->gate);
    if (!atomic_load(&server->failed) && worker->err == ERR_OK) {
        worker->err = begin_serving(worker);
    }
    if (worker->err != ERR_OK) {
        atomic_store(&server->failed, true);
    }
    process_gate_pass(server->gate);
    if (!atomic_load(&server->failed)) {
        announce_start(pipeline_shard(worker->pipeline), OPQ_VERSION,
                       server->smooth);
        pipeline_run(worker->pipeline);
        atomic_fetch_add(&server->ended, 1);
        process_gate_pass(server->gate); /* others may post to us until then */
        pipeline_destroy(worker->pipeline);
    }
}

static enum err make_workers(struct server *server)
{
    for (uint32_t index = 0; index < server->count; index++) {
        struct worker *worker = &server->workers[index];
        struct pipeline_options options = pipeline_options(server, index);
        worker->server = server;
        worker->index = index;
        enum err err = pipeline_create(&options, &worker->pipeline);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

static enum err start_workers(struct server *server)
{
    for (uint32_t index = 0; index < server->count; index++) {
        struct worker *worker = &server->workers[index];
        enum err err =
            process_thread_start(worker_main, worker, &worker->thread);
        if (err != ERR_OK) {
            /* Those that run wait at the gate for ever: only an exit helps. */
            DIAG_ERROR("thread_failed", "err=%s", err_text(err));
            process_exit(SERVER_EXIT_SOFTWARE);
        }
    }
    process_gate_pass(server->gate); /* all are open, or one has failed */
    process_gate_pass(server->gate); /* all are about to run */
    return atomic_load(&server->failed) ? ERR_IO : ERR_OK;
}

/* Tell which shards could not open; gives the first one's reason. */
static enum err report_workers(const struct server *server, struct buf *errors)
{
    enum err first = ERR_OK;

    for (uint32_t index = 0; index < server->count; index++) {
        enum err err = server->workers[index].err;
        if (err != ERR_OK) {
            buf_append_format(errors, "shard %u of %s cannot be opened: %s\n",
                              index, server->config->data, err_text(err));
            first = first == ERR_OK ? err : first;
        }
    }
    return first;
}

/* --- serving -------------------------------------------------------------- */

static void say_listening(struct server *server)
{
    struct str left = buf_str(&server->listen.text);

    while (left.size > 0) {
        size_t end = str_find(left, '\n');
        struct str line = str_cut(left, 0, end);
        left = str_cut(left, end + 1, left.size);
        DIAG_INFO("listening", "url=%.*s", STR_ARG(line));
        (void)printf("opq " OPQ_VERSION " listening on %.*s\n", STR_ARG(line));
    }
    (void)fflush(stdout);
}

static void stop_all(struct server *server, uint32_t drain_ms)
{
    for (uint32_t index = 0; index < server->count; index++) {
        pipeline_stop(server->workers[index].pipeline, drain_ms);
    }
}

/* Tell whether the program at our path can go on for us. The supervisor knows
 * from here on that a signal was heard, and hears of the end either way. */
static bool may_restart(const struct server *server)
{
    char why[RESTART_WHY_MAX] = "the program's path is not known";
    char state[64];

    (void)snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%llu",
                   (unsigned long long)(clock_monotonic_ns() / 1000));
    process_notify(state);
    if (server->path[0] == '\0' ||
        !restart_check(server->path, server->start->arguments,
                       &server->listen.kept, why)) {
        DIAG_ERROR("restart_refused", "why=\"%s\"; going on", why);
        process_notify("READY=1");
        return false;
    }
    return true;
}

/* Until a signal says stop; true: restart. Meanwhile give back memory that a
 * burst has left: here, where nobody waits for it. */
static bool serve(const struct server *server)
{
    enum { RELEASE_MS = 10000 };

    for (;;) {
        switch (process_wait_signal(RELEASE_MS)) {
        case PROCESS_SIGNAL_STOP:
            return false;
        case PROCESS_SIGNAL_REOPEN:
            log_file_reopen();
            break;
        case PROCESS_SIGNAL_RELOAD:
            if (may_restart(server)) {
                return true;
            }
            break;
        case PROCESS_SIGNAL_NONE:
            (void)pages_release();
            break;
        }
    }
}

/* Until all shards have closed; a signal ends the drain. A disk that hangs must
 * not hold the process for ever: when neither closing nor recovery can be had
 * in order, the second is left. Returns whether a signal said stop. */
static bool wait_ended(struct server *server, unsigned look_ms, bool stop)
{
    enum { CLOSE_MS = 60000 };
    uint64_t left_ms = server->config->drain + CLOSE_MS;
    bool stopped = false;

    while (atomic_load(&server->ended) < server->count) {
        if (process_wait_signal((int)look_ms) == PROCESS_SIGNAL_STOP) {
            uint64_t drain_ms = stop || stopped ? 0 : server->config->drain;
            DIAG_WARN("drain_hurried", "by=signal");
            stopped = true;
            stop_all(server, (uint32_t)drain_ms);
            if (left_ms > drain_ms + CLOSE_MS) {
                left_ms = drain_ms + CLOSE_MS;
            }
        }
        left_ms -= left_ms < look_ms ? left_ms : look_ms;
        if (left_ms == 0) {
            DIAG_ERROR("stop_failed",
                       "pid=%u; a shard does not close, ending at once, the "
                       "next start recovers",
                       process_id());
            process_exit(SERVER_EXIT_IO);
        }
    }
    return stopped;
}

static void drain(struct server *server)
{
    enum { LOOK_MS = 20 };

    api_set_ready(server->api, false);
    process_notify("STOPPING=1");
    DIAG_INFO("stopping", "drain_ms=%llu",
              (unsigned long long)server->config->drain);
    stop_all(server, (uint32_t)server->config->drain);
    (void)wait_ended(server, LOOK_MS, true);
    DIAG_INFO("stopped", "pid=%u", process_id());
}

/* Until all shards are quiet (queue/handing.h). False: a signal says stop. */
static bool wait_quiet(const struct server *server)
{
    enum { LOOK_MS = 2 };

    while (atomic_load(&server->group.quiet) < server->count) {
        enum process_signal heard = process_wait_signal(LOOK_MS);
        if (heard == PROCESS_SIGNAL_STOP) {
            return false;
        }
        if (heard == PROCESS_SIGNAL_REOPEN) {
            log_file_reopen();
        } else if (heard == PROCESS_SIGNAL_RELOAD) {
            DIAG_INFO("restart_under_way", "program=%s", server->path);
        }
    }
    return true;
}

/* The same for a successor. Returns whether there is to be one. */
static bool hand_over(struct server *server)
{
    enum { LOOK_MS = 1 };

    DIAG_INFO("restarting", "program=%s", server->path);
    api_set_restarting(server->api, true);
    for (uint32_t index = 0; index < server->count; index++) {
        struct worker *worker = &server->workers[index];
        worker->clients.shard = index;
        pipeline_hand_over(worker->pipeline, restart_take, &worker->clients);
    }
    if (!wait_quiet(server)) {
        api_set_restarting(server->api, false);
        return false;
    }
    if (wait_ended(server, LOOK_MS, false)) {
        process_notify("STOPPING=1");
        DIAG_INFO("stopped", "pid=%u; while it was to restart", process_id());
        return false;
    }
    return true;
}

/* Write down what the successor gets. */
static void leave(struct server *server, struct buf *records)
{
    struct restart_clients *clients[SHARDS_MAX];

    for (uint32_t index = 0; index < server->count; index++) {
        clients[index] = &server->workers[index].clients;
    }
    restart_records(server->path, &server->listen.kept, clients, server->count,
                    records);
    for (uint32_t index = 0; index < server->count; index++) {
        struct store_local_end end;
        if (store_local_ended(server->data, index, &end)) {
            handover_journal(records, &end);
        }
    }
    for (uint32_t index = 0; index < server->count; index++) {
        buf_fini(&clients[index]->records);
    }
}

/* Tell of settings that the system has too few descriptors for. */
static void say_shares(const struct server *server)
{
    struct descriptors share;

    if (!descriptors_share(server->config, server->files_max, server->count,
                           &share)) {
        DIAG_INFO("descriptors_shared",
                  "limit=%llu a_shard: connections_max=%u "
                  "target_connections=%u files_open=%u",
                  (unsigned long long)server->files_max, share.connections_max,
                  share.target_connections, share.files_open);
    }
}

static int exit_of(enum err err)
{
    switch (err) {
    case ERR_BUSY:
    case ERR_EXISTS:
    case ERR_DENIED:
        return SERVER_EXIT_UNAVAILABLE;
    case ERR_INVALID:
        return SERVER_EXIT_CONFIG;
    case ERR_NOMEM:
        return SERVER_EXIT_SOFTWARE;
    default:
        return SERVER_EXIT_DATA;
    }
}

/* All serve: say so. */
static void say_ready(struct server *server)
{
    struct handover *left = &server->start->handover;

    if (server->smooth) {
        DIAG_INFO("restarted", "clients=%u pause_ms=%llu",
                  atomic_load(&server->adopted),
                  (unsigned long long)restart_pause_ms(left));
        handover_end(left);
        listen_forget(&server->inherited); /* of addresses no longer wanted */
    } else {
        say_listening(server);
    }
    process_notify("READY=1");
}

static int run_shards(struct server *server, struct buf *errors)
{
    enum err err = process_gate_create(server->count + 1, &server->gate);

    if (err == ERR_OK) {
        err = make_workers(server);
    }
    if (err != ERR_OK) {
        buf_append_format(errors, "no event loop (io=%s): %s\n",
                          server->config->io, err_text(err));
        return SERVER_EXIT_SOFTWARE;
    }
    if (start_workers(server) != ERR_OK) {
        return exit_of(report_workers(server, errors));
    }
    say_ready(server);
    server->restarts = serve(server) && hand_over(server);
    if (server->restarts) {
        leave(server, &server->records);
    } else if (atomic_load(&server->ended) == 0) {
        drain(server);
    }
    process_gate_pass(server->gate); /* all loops have stopped */
    for (uint32_t index = 0; index < server->count; index++) {
        process_thread_join(server->workers[index].thread);
        buf_fini(&server->workers[index].clients.records);
    }
    return SERVER_EXIT_OK;
}

/* --- start and end -------------------------------------------------------- */

/* Say it where it is seen: in the log, and to who started us. */
static void complain(struct str lines)
{
    while (lines.size > 0) {
        size_t end = str_find(lines, '\n');
        struct str line = str_cut(lines, 0, end);
        lines = str_cut(lines, end + 1, lines.size);
        DIAG_ERROR("start_failed", "%.*s", STR_ARG(line));
        (void)fprintf(stderr, "opq: %.*s\n", STR_ARG(line));
    }
}

static enum err take_data(struct server *server, struct buf *errors)
{
    struct store_local_options options = store_options(server);
    enum err err = store_local_prepare(&options, &server->data);

    if (err == ERR_IO && !dir_allowed(options.directory)) {
        err = ERR_DENIED;
    }
    if (err != ERR_OK) {
        buf_append_format(errors, "data directory %s: %s\n", options.directory,
                          err == ERR_BUSY ? "another process has it"
                                          : err_text(err));
    }
    return err;
}

static enum err open_log(const struct config *config)
{
    char path[DIR_PATH_MAX];

    if (strchr(config->syslog, '/') != NULL) {
        (void)snprintf(path, sizeof(path), "%s", config->syslog);
    } else {
        (void)snprintf(path, sizeof(path), "%s/logs/%s", config->data,
                       config->syslog);
    }
    log_file_set_level(config);
    return log_file_open(path);
}

/* All that can fail before there are threads. */
static enum err prepare(struct server *server, struct buf *errors)
{
    enum err err = server_check(server->config, errors);

    if (err == ERR_OK) {
        err = server_check_guard(server->config, errors, &server->guard);
    }
    if (err == ERR_OK) {
        err = keys_load_secrets(server->config, errors, &server->secrets);
    }
    if (err == ERR_OK) {
        err = keys_load_tokens(server->config, errors, &server->tokens);
    }
    if (server->secrets != NULL || server->tokens != NULL) {
        process_hide_memory();
    }
    if (err == ERR_OK) {
        err = take_data(server, errors);
    }
    if (err == ERR_OK) {
        restart_listeners(&server->start->handover, &server->inherited);
        err = listen_open(server->config, server->count, &server->inherited,
                          &server->listen, errors);
    }
    if (err == ERR_OK) {
        err = make_reload(server);
    }
    return err == ERR_OK ? make_api(server) : err;
}

static void server_fini(struct server *server)
{
    api_destroy(server->api);
    listen_close(&server->listen);
    listen_forget(&server->inherited);
    buf_fini(&server->records);
    store_local_release(server->data);
    guard_destroy(server->guard);
    secrets_release(server->secrets);
    tokens_release(server->tokens);
    reload_destroy(server->reload);
    process_gate_destroy(server->gate);
}

/* One for every two cores: the kernel does as much for a shard, on network and
 * disk, as the shard itself (doc/performance.md). */
static uint32_t default_shards(void)
{
    return (process_cores() + 1) / 2;
}

/* Become the successor; returns when that fails. */
static int become(struct server *server)
{
    enum err err = buf_err(&server->records);

    if (err == ERR_OK) {
        err = handover_become(server->path, server->start->arguments,
                              buf_str(&server->records));
    }
    DIAG_ERROR("restart_lost", "err=%s", err_text(err));
    return SERVER_EXIT_SOFTWARE;
}

/* Without one we are less safe, but not wrong. */
static void enter_sandbox(const struct config *config)
{
    enum err err = config->sandbox ? sandbox_enter() : ERR_OK;

    if (err != ERR_OK) {
        DIAG_WARN("sandbox_missing", "err=%s", err_text(err));
    }
}

int server_run(const struct config *config, struct restart_start *start)
{
    struct server *server = calloc(1, sizeof(*server));
    struct buf errors = {0};
    int code;

    if (server == NULL) {
        return SERVER_EXIT_SOFTWARE;
    }
    server->config = config;
    server->start = start;
    server->smooth = start->handover.fd > 0;
    server->end_count =
        restart_ends(&start->handover, server->ends, SHARDS_MAX);
    if (!restart_program(&start->handover, server->path) &&
        exec_own_path(start->arguments[0], server->path) != ERR_OK) {
        server->path[0] = '\0'; /* restarts will say so */
    }
    server->count =
        config->shards != 0 ? (uint32_t)config->shards : default_shards();
    server->count = server->count > SHARDS_MAX ? SHARDS_MAX : server->count;
    server->group.count = server->count;
    server->group.owner = topic_owner;
    server->group.context = server;
    process_block_signals();
    process_on_lost_mapping(mapping_lost);
    server->files_max = process_raise_files();
    enum err err = open_log(config);
    if (err != ERR_OK) {
        DIAG_ERROR("log_open_failed", "syslog=%s err=%s", config->syslog,
                   err_text(err));
    }
    enter_sandbox(config);
    DIAG_INFO("starting", "version=" OPQ_VERSION " pid=%u data=%s shards=%u",
              process_id(), config->data, server->count);
    say_shares(server);
    err = prepare(server, &errors);
    if (err == ERR_OK) {
        code = run_shards(server, &errors);
        if (code != SERVER_EXIT_OK) {
            if (!atomic_load(&server->begun)) {
                handover_back(&start->handover, start->arguments);
            }
            /* Threads of other shards may be at work on what would be freed. */
            complain(buf_str(&errors));
            process_exit(code);
        }
    } else {
        complain(buf_str(&errors));
        handover_back(&start->handover, start->arguments);
        code = exit_of(err);
    }
    buf_fini(&errors);
    if (server->restarts) {
        store_local_release(server->data);
        server->data = NULL;
        code = become(server);
    }
    server_fini(server);
    log_file_close();
    free(server);
    return code;
}

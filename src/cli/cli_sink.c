/* `opq sink`: a receiver that counts what comes, and can misbehave.
 *
 * The loop has a thread of its own; the first one waits for signals. Answers of
 * the good path are rendered beforehand, so that the sink can stand behind a
 * load test. A request that is not to be answered in order is held: it is let
 * go when its timer is due or its client has gone.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include "base/check.h"
#include "base/list.h"
#include "cli/sink_ledger.h"
#include "cli/sink_plan.h"
#include "http/server.h"
#include "sys/file.h"
#include "sys/net.h"
#include "sys/process.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONNECTIONS_MAX = 65536,
    HEAD_SIZE_MAX = 128 * 1024,
    RATE_MS = 1000,
    PRINT_BODY_MAX = 512, /* bytes of a body that --print shows */
};

struct sink_options {
    const char *port;
    const char *listen;
    const char *fail;
    const char *seed;
    const char *io;
    const char *until;
    const char *tls_cert; /* NULL: plain HTTP */
    const char *tls_key;
    bool print;
    bool rate;
    bool json;
};

struct sink {
    const struct sink_options *options;
    struct sink_plan plan;
    struct sink_ledger *ledger; /* owned */
    struct io *io;              /* owned */
    struct http_server *server; /* owned */
    struct list held;           /* of struct sink_held */
    struct io_timer rate_timer;
    struct io_task stop_task;
    uint64_t rate_last; /* requests when the rate was printed last */
    uint64_t until;     /* distinct messages after which it ends; 0: never */
    uint64_t requests;
    uint64_t bytes;
    uint64_t failed;   /* answered otherwise than 2xx, or not at all */
    uint64_t untraced; /* without Opq-Topic and Opq-Seq */
    uint64_t first_ns; /* when the first came, and the last */
    uint64_t last_ns;
    atomic_bool stopping; /* read by the first thread, too */
};

/* A request that is not answered yet. */
struct sink_held {
    struct list link;
    struct sink *sink;
    struct http_exchange *exchange; /* borrowed */
    struct io_timer timer;
    const struct sink_rule *rule; /* borrowed from the plan */
};

/* --- answers -------------------------------------------------------------- */

static void
answer(struct http_exchange *exchange, int status, uint32_t retry_after_s)
{
    char head[128];

    if (status == 200 && retry_after_s == 0) {
        http_exchange_answer_raw(
            exchange, STR("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"),
            (struct str){NULL, 0});
        return;
    }
    /* 204 and 304 have no length. */
    const char *length =
        status == 204 || status == 304 ? "" : "Content-Length: 0\r\n";
    int size = snprintf(head, sizeof(head), "HTTP/1.1 %d %s\r\n%s", status,
                        http_status_text(status), length);
    if (retry_after_s > 0) {
        size += snprintf(head + size, sizeof(head) - (size_t)size,
                         "Retry-After: %u\r\n", retry_after_s);
    }
    CHECK(size > 0 && (size_t)size < sizeof(head));
    http_exchange_answer_raw(exchange, (struct str){head, (size_t)size},
                             (struct str){NULL, 0});
}

/* End what is held. */
static void let_go(struct sink_held *held)
{
    struct http_exchange *exchange = held->exchange;
    const struct sink_rule *rule = held->rule;

    exchange->abandoned = NULL;
    io_timer_stop(held->sink->io, &held->timer);
    list_remove(&held->link);
    free(held);
    switch (rule->action) {
    case SINK_RESET:
    case SINK_CLOSE:
        http_exchange_cut(exchange, rule->action == SINK_RESET);
        break;
    case SINK_DRIP:
        http_exchange_stream_end(exchange);
        break;
    case SINK_ANSWER:
        answer(exchange, rule->status, rule->retry_after_s);
        break;
    default:
        answer(exchange, 503, 0);
        break;
    }
}

static void drip(struct sink_held *held)
{
    if (http_exchange_stream_send(held->exchange, STR(".")) != ERR_OK) {
        let_go(held);
        return;
    }
    io_timer_start(held->sink->io, &held->timer, held->rule->delay_ms);
}

static void held_expired(struct io_timer *timer)
{
    struct sink_held *held = CONTAINER_OF(timer, struct sink_held, timer);

    if (held->rule->action == SINK_DRIP) {
        drip(held);
    } else {
        let_go(held);
    }
}

static void held_abandoned(struct http_exchange *exchange)
{
    let_go(exchange->context);
}

/* Answer later, in bits, or not at all. */
static void hold(struct sink *sink,
                 struct http_exchange *exchange,
                 const struct sink_rule *rule)
{
    struct sink_held *held = calloc(1, sizeof(*held));

    if (held == NULL) {
        answer(exchange, 503, 0);
        return;
    }
    held->sink = sink;
    held->exchange = exchange;
    held->rule = rule;
    held->timer.expired = held_expired;
    exchange->context = held;
    exchange->abandoned = held_abandoned;
    list_append(&sink->held, &held->link);
    if (rule->action == SINK_DRIP) {
        http_exchange_stream_begin(exchange, NULL, 0);
    }
    if (rule->action != SINK_HANG) {
        io_timer_start(sink->io, &held->timer, rule->delay_ms);
    }
}

/* Do what a rule says; NULL: be good. */
static void obey(struct sink *sink,
                 struct http_exchange *exchange,
                 const struct sink_rule *rule)
{
    if (rule == NULL) {
        answer(exchange, 200, 0);
    } else if (rule->action == SINK_GARBAGE) {
        http_exchange_answer_raw(exchange, STR("this is no HTTP\r\n"),
                                 (struct str){NULL, 0});
    } else if (rule->action == SINK_ANSWER && rule->delay_ms == 0) {
        answer(exchange, rule->status, rule->retry_after_s);
    } else {
        hold(sink, exchange, rule);
    }
}

/* --- figures -------------------------------------------------------------- */

static void append_json(const struct sink *sink, struct buf *to)
{
    struct sink_figures sum;

    sink_ledger_sum(sink->ledger, &sum);
    buf_append_format(
        to,
        "{\"requests\":%llu,\"bytes\":%llu,\"failed\":%llu,\"untraced\":%llu,"
        "\"distinct\":%llu,\"duplicates\":%llu,\"disorder\":%llu,"
        "\"missing\":%llu,\"elapsed_ms\":%llu,\"topics\":",
        (unsigned long long)sink->requests, (unsigned long long)sink->bytes,
        (unsigned long long)sink->failed, (unsigned long long)sink->untraced,
        (unsigned long long)sum.distinct, (unsigned long long)sum.duplicates,
        (unsigned long long)sum.disorder, (unsigned long long)sum.missing,
        (unsigned long long)((sink->last_ns - sink->first_ns) / 1000000));
    sink_ledger_json(sink->ledger, to);
    buf_append_c(to, "}\n");
}

static void append_summary(const struct sink *sink, struct buf *to)
{
    struct sink_figures sum;
    double seconds = (double)(sink->last_ns - sink->first_ns) / 1e9;

    sink_ledger_sum(sink->ledger, &sum);
    buf_append_format(to, "%llu requests, %llu bytes in %.3f s",
                      (unsigned long long)sink->requests,
                      (unsigned long long)sink->bytes, seconds);
    if (seconds > 0) {
        buf_append_format(to, " (%.0f/s)", (double)sink->requests / seconds);
    }
    buf_append_format(
        to,
        "; %llu failed on purpose\n%llu messages accepted, %llu twice, "
        "%llu out of order, %llu missing; %llu requests without "
        "Opq-Topic\n",
        (unsigned long long)sink->failed, (unsigned long long)sum.distinct,
        (unsigned long long)sum.duplicates, (unsigned long long)sum.disorder,
        (unsigned long long)sum.missing, (unsigned long long)sink->untraced);
}

static void answer_stats(struct sink *sink, struct http_exchange *exchange)
{
    const struct http_header headers[] = {
        {STR("Content-Type"), STR("application/json")},
    };
    struct buf text = {0};

    append_json(sink, &text);
    http_exchange_answer(exchange, text.failed ? 503 : 200, headers, 1,
                         buf_str(&text));
    buf_fini(&text);
}

static void rate_expired(struct io_timer *timer)
{
    struct sink *sink = CONTAINER_OF(timer, struct sink, rate_timer);

    (void)printf("%llu/s\n",
                 (unsigned long long)(sink->requests - sink->rate_last));
    (void)fflush(stdout);
    sink->rate_last = sink->requests;
    io_timer_start(sink->io, timer, RATE_MS);
}

/* --- requests ------------------------------------------------------------- */

static void stopped(void *context)
{
    struct sink *sink = context;

    io_stop(sink->io);
}

static void stop(struct sink *sink)
{
    if (atomic_exchange(&sink->stopping, true)) {
        return;
    }
    io_timer_stop(sink->io, &sink->rate_timer);
    http_server_drain(sink->server, stopped, sink);
    struct list *link = list_take_first(&sink->held);
    while (link != NULL) {
        let_go(CONTAINER_OF(link, struct sink_held, link));
        link = list_take_first(&sink->held);
    }
}

static uint64_t
number_of(const struct http_head *head, struct str name, uint64_t otherwise)
{
    uint64_t number = 0;

    return str_to_u64(http_head_value(head, name), &number) == ERR_OK
               ? number
               : otherwise;
}

/* Print the beginning of a body on a line of its own, as far as it is text. */
static void print_body(struct str body)
{
    struct str shown = str_cut(body, 0, PRINT_BODY_MAX);

    if (shown.size == 0) {
        return;
    }
    (void)fputs("    ", stdout);
    for (size_t index = 0; index < shown.size; index++) {
        unsigned char byte = (unsigned char)shown.data[index];
        (void)fputc(byte < 0x20 || byte == 0x7f ? '.' : byte, stdout);
    }
    (void)fputs(shown.size < body.size ? "...\n" : "\n", stdout);
}

static void print_request(const struct http_exchange *exchange,
                          const struct sink_request *request,
                          const struct sink_rule *rule)
{
    const struct http_head *head = exchange->head;

    (void)printf("%.*s %.*s topic=%.*s seq=%lld attempt=%llu size=%zu ",
                 STR_ARG(head->method_text), STR_ARG(head->target),
                 STR_ARG(request->topic), (long long)request->sequence,
                 (unsigned long long)request->attempt, exchange->body.size);
    if (rule != NULL && rule->action != SINK_ANSWER) {
        (void)printf("%s\n", sink_plan_action_text(rule->action));
    } else {
        (void)printf("%d\n", rule != NULL ? rule->status : 200);
    }
    print_body(exchange->body);
    (void)fflush(stdout);
}

/* Note what is accepted; end when all that was waited for is here. */
static void note(struct sink *sink, const struct sink_request *request)
{
    struct sink_figures sum;

    if (request->topic.size == 0 ||
        sink_ledger_note(sink->ledger, request->topic, request->sequence) !=
            ERR_OK) {
        sink->untraced++;
    }
    if (sink->until == 0) {
        return;
    }
    sink_ledger_sum(sink->ledger, &sum);
    if (sum.distinct + sink->untraced >= sink->until) {
        io_post(sink->io, &sink->stop_task);
        sink->until = 0;
    }
}

static void handle(void *context, struct http_exchange *exchange)
{
    struct sink *sink = context;
    const struct http_head *head = exchange->head;

    if (str_equal(head->path, STR("/sink/stats"))) {
        answer_stats(sink, exchange);
        return;
    }
    const struct sink_request request = {
        .topic = http_head_value(head, STR("Opq-Topic")),
        .sequence = number_of(head, STR("Opq-Seq"), UINT64_MAX),
        .attempt = number_of(head, STR("Opq-Attempt"), 1),
    };
    const struct sink_rule *rule = sink_plan_rule(&sink->plan, &request);
    int status = rule != NULL ? rule->status : 200;
    sink->last_ns = io_now_ns(sink->io);
    sink->first_ns = sink->requests == 0 ? sink->last_ns : sink->first_ns;
    sink->requests++;
    sink->bytes += exchange->body.size;
    if (sink->options->print) {
        print_request(exchange, &request, rule);
    }
    if (status >= 200 && status < 300) {
        note(sink, &request);
    } else {
        sink->failed++;
    }
    obey(sink, exchange, rule);
}

/* --- start and end -------------------------------------------------------- */

static void stop_arrived(struct io_task *task)
{
    stop(CONTAINER_OF(task, struct sink, stop_task));
}

static enum err listen_on(struct sink *sink, char text[NET_TEXT_MAX])
{
    struct net_address address;
    uint64_t port = 0;
    int fd = -1;

    if (str_to_u64(str_from(sink->options->port), &port) != ERR_OK ||
        port > UINT16_MAX) {
        return ERR_INVALID;
    }
    enum err err =
        net_parse(str_from(sink->options->listen), (uint16_t)port, &address);
    if (err == ERR_OK) {
        err = net_listen(&address, false, &fd);
    }
    if (err == ERR_OK) {
        err = net_bound(fd, &address);
    }
    if (err != ERR_OK) {
        file_close(fd);
        return err;
    }
    net_format(&address, text);
    err = sink->options->tls_cert != NULL
              ? http_server_listen_tls(sink->server, fd)
              : http_server_listen(sink->server, fd);
    if (err != ERR_OK) {
        file_close(fd);
    }
    return err;
}

static enum err open_sink(struct sink *sink, char text[NET_TEXT_MAX])
{
    const char *name = sink->options->io;
    const struct io_options io_options = {
        .backend = strcmp(name, "epoll") == 0   ? IO_BACKEND_EPOLL
                   : strcmp(name, "uring") == 0 ? IO_BACKEND_URING
                                                : IO_BACKEND_AUTO,
    };
    struct http_server_options options = {
        .limits = {.head_size_max = HEAD_SIZE_MAX,
                   .target_size_max = HEAD_SIZE_MAX},
        .body_size_max = REMOTE_BODY_MAX,
        .body_memory_max = (uint64_t)REMOTE_BODY_MAX * 2,
        .connections_max = CONNECTIONS_MAX,
        .certificate_file = sink->options->tls_cert,
        .key_file = sink->options->tls_key,
        .handle = handle,
        .context = sink,
    };

    enum err err = sink_ledger_create(&sink->ledger);
    if (err == ERR_OK) {
        err = io_create(&io_options, &sink->io);
    }
    if (err == ERR_OK) {
        options.io = sink->io;
        err = http_server_create(&options, &sink->server);
        if (options.certificate_file != NULL &&
            (err == ERR_NOT_FOUND || err == ERR_INVALID)) {
            err = ERR_TLS;
        }
    }
    return err == ERR_OK ? listen_on(sink, text) : err;
}

static void close_sink(struct sink *sink)
{
    http_server_destroy(sink->server);
    io_destroy(sink->io);
    sink_ledger_destroy(sink->ledger);
}

static void run_loop(void *context)
{
    struct sink *sink = context;

    io_run(sink->io);
}

/* Wait for a signal, or for the loop to end by itself (--until). */
static void wait_for_end(struct sink *sink)
{
    enum { LOOK_MS = 50 };
    bool posted = false;

    while (!posted) {
        enum process_signal signal =
            process_wait_signal(sink->options->until != NULL ? LOOK_MS : -1);
        bool ended = atomic_load(&sink->stopping);
        if (ended || signal == PROCESS_SIGNAL_STOP) {
            posted = true;
            if (!ended) {
                io_post(sink->io, &sink->stop_task);
            }
        }
    }
}

static int serve(struct cli_call *call, struct sink *sink)
{
    struct process_thread *thread = NULL;
    char text[NET_TEXT_MAX];
    struct buf summary = {0};

    enum err err = open_sink(sink, text);
    if (err == ERR_OK) {
        bool local = str_starts(str_from(text), STR("unix:"));
        const char *scheme =
            sink->options->tls_cert != NULL ? "https://" : "http://";
        (void)printf("sink listening on %s%s\n", local ? "" : scheme, text);
        (void)fflush(stdout);
        if (sink->options->rate) {
            io_timer_start(sink->io, &sink->rate_timer, RATE_MS);
        }
        err = process_thread_start(run_loop, sink, &thread);
    }
    if (err == ERR_TLS) {
        close_sink(sink);
        return cli_complain(call, CLI_EXIT_FAILED,
                            "%s and %s are no certificate and its key in PEM",
                            sink->options->tls_cert, sink->options->tls_key);
    }
    if (err != ERR_OK) {
        close_sink(sink);
        return cli_complain(
            call, CLI_EXIT_FAILED, "cannot listen on %s, port %s: %s",
            sink->options->listen, sink->options->port,
            err == ERR_EXISTS ? "the address is in use" : err_text(err));
    }
    wait_for_end(sink);
    process_thread_join(thread);
    if (sink->options->json) {
        append_json(sink, &summary);
    } else {
        append_summary(sink, &summary);
    }
    close_sink(sink);
    return cli_print(&summary);
}

static int read_options(struct cli_call *call, struct sink *sink)
{
    const struct sink_options *options = sink->options;
    struct buf detail = {0};
    uint64_t seed = 1;
    int code = CLI_EXIT_OK;

    if ((options->tls_cert == NULL) != (options->tls_key == NULL)) {
        return cli_complain(call, CLI_EXIT_USAGE,
                            "--tls-cert and --tls-key need each other");
    }
    if (str_to_u64(str_from(options->seed), &seed) != ERR_OK) {
        return cli_complain(call, CLI_EXIT_USAGE, "--seed takes a number");
    }
    if (options->until != NULL &&
        str_to_u64(str_from(options->until), &sink->until) != ERR_OK) {
        return cli_complain(call, CLI_EXIT_USAGE, "--until takes a number");
    }
    if (sink_plan_parse(str_from(options->fail), seed, &sink->plan, &detail) !=
        ERR_OK) {
        code = cli_complain(call, CLI_EXIT_USAGE, "--fail: %.*s",
                            STR_ARG(buf_str(&detail)));
    }
    buf_fini(&detail);
    return code;
}

int cli_sink(int argument_count, char *const *arguments)
{
    struct cli_call call = {
        .command = "sink",
        .usage = "[--port 9000] [--listen 127.0.0.1] [--fail RULES] [--seed N]"
                 "\n    [--until COUNT] [--print] [--rate] [--io epoll|uring] "
                 "[--json]\n    [--tls-cert FILE --tls-key FILE]\n"
                 "RULES: 503:10%,slow:2s,410:seq=7,hang:topic=a:attempt=1,\n"
                 "    429:retry-after=30s:every=9,reset,close,drip:1s,garbage",
    };
    struct sink_options sink_options = {.port = "9000",
                                        .listen = "127.0.0.1",
                                        .fail = "",
                                        .seed = "1",
                                        .io = "auto"};
    const struct cli_option options[] = {
        {"port", &sink_options.port, NULL, NULL},
        {"listen", &sink_options.listen, NULL, NULL},
        {"fail", &sink_options.fail, NULL, NULL},
        {"seed", &sink_options.seed, NULL, NULL},
        {"until", &sink_options.until, NULL, NULL},
        {"io", &sink_options.io, NULL, NULL},
        {"tls-cert", &sink_options.tls_cert, NULL, NULL},
        {"tls-key", &sink_options.tls_key, NULL, NULL},
        {"print", NULL, &sink_options.print, NULL},
        {"rate", NULL, &sink_options.rate, NULL},
        {NULL, NULL, NULL, NULL},
    };
    struct sink sink = {.options = &sink_options};
    int code = cli_parse(&call, argument_count, arguments, options, 0, 0);

    if (code == CLI_EXIT_OK && !call.help) {
        sink_options.json = call.json;
        list_init(&sink.held);
        sink.stop_task.run = stop_arrived;
        sink.rate_timer.expired = rate_expired;
        process_block_signals();
        (void)process_raise_files();
        code = read_options(&call, &sink);
        code = code == CLI_EXIT_OK ? serve(&call, &sink) : code;
    }
    cli_call_fini(&call);
    return code;
}

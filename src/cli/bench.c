/* `opq bench`: a load generator for OPQ, and for anything else that takes a
 * POST.
 *
 * Each connection keeps `pipeline` requests under way: as answers come, as many
 * requests leave, in one send. Requests are rendered beforehand, so the
 * generator costs a receive, a scan for the answer's end, and a send. It counts
 * answers by status, and the time from a request's send to its answer.
 *
 * One thread, one loop: it is to be measured beside what it measures.
 *
 * Over TLS the requests of a send are encrypted as the session has room; what
 * is left waits in `plain` for sent(). Each connection makes a handshake of its
 * own. When one fails the run ends, since the others would fail likewise.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/bench.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/histogram.h"
#include "cli/progress.h"
#include "cli/remote_tls.h"
#include "http/form.h"
#include "http/parse.h"
#include "http/tls.h"
#include "http/url.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/io.h"
#include "sys/net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BENCH_PIPELINE_MAX = 256,
    BENCH_ANSWER_MAX = 1 << 20, /* bytes of one answer */
    BENCH_TOPICS_MAX = 100000,
    BENCH_PLAIN_SIZE = 16 * 1024, /* decrypted at a time: a record */
};

#define BENCH_BOUNDARY "opq-bench-boundary" /* of multipart bodies */

/* A request rendered `pipeline` times in a row. */
struct load {
    char *data;  /* owned */
    size_t size; /* of one */
};

struct bench {
    const struct bench_options *options;
    struct io *io;                        /* owned */
    struct net_address address;           /* of the server */
    struct str host;                      /* borrowed; that address as text */
    struct tls_context *tls;              /* owned; NULL: plain HTTP */
    struct load *loads;                   /* owned; one for each topic */
    struct bench_connection *connections; /* owned */
    struct bench_result *result;          /* borrowed */
    struct io_timer end;                  /* of warm-up, then of the run */
    struct io_timer tick;                 /* shows how far it is */
    struct progress progress;
    uint64_t begun_ns;
    uint32_t open; /* connections not yet closed */
    bool measuring;
    bool stopping;
    enum err err; /* ended the run before its time */
    uint64_t started_ns;
};

/* One connection; the times of its requests under way are a ring. */
struct bench_connection {
    struct io_socket socket;
    struct bench *bench; /* borrowed */
    bool over;           /* io_close() was called */
    bool closed;
    struct tls *tls;    /* owned; NULL: plain HTTP */
    bool shaken;        /* the handshake is over */
    struct str plain;   /* borrowed; requests not yet encrypted */
    size_t cipher_size; /* bytes of the running send, if over TLS */
    uint32_t topic;     /* next one */
    uint32_t under_way;
    uint32_t first; /* oldest in the ring */
    uint32_t owed;  /* requests to send when the running send ends */
    size_t scanned;
    size_t body_left; /* of the answer being skipped */
    struct buf input; /* owned: an answer's head that came in part */
    uint64_t sent_ns[BENCH_PIPELINE_MAX];
};

/* --- ending --------------------------------------------------------------- */

static void end_connection(struct bench_connection *connection)
{
    connection->over = true;
    io_close(&connection->socket);
}

static void break_off(struct bench_connection *connection)
{
    if (!connection->over) {
        connection->bench->result->broken++;
    }
    end_connection(connection);
}

static void tls_failed(struct bench_connection *connection)
{
    struct bench *bench = connection->bench;
    char *detail = bench->result->detail;

    (void)snprintf(detail, REMOTE_DETAIL_SIZE, "%s",
                   tls_detail(connection->tls));
    if (!connection->shaken) {
        bench->err = ERR_TLS;
        io_stop(bench->io);
    }
    break_off(connection);
}

/* --- sending -------------------------------------------------------------- */

/* Encrypt what there is room for, and send what TLS has for the network. */
static void tls_pump(struct bench_connection *connection)
{
    if (connection->over || io_sending(&connection->socket)) {
        return; /* sent() comes back here */
    }
    while (connection->plain.size > 0) {
        size_t size = 0;
        enum err err = tls_write(connection->tls, connection->plain, &size);
        if (err == ERR_AGAIN) {
            break;
        }
        if (err != ERR_OK) {
            tls_failed(connection);
            return;
        }
        connection->plain =
            str_cut(connection->plain, size, connection->plain.size);
    }
    struct str output = tls_output(connection->tls);
    if (output.size > 0) {
        struct iovec part = {(void *)output.data, output.size};
        connection->cipher_size = output.size;
        io_send(&connection->socket, &part, 1);
    }
}

static void send_requests(struct bench_connection *connection, uint32_t count)
{
    struct bench *bench = connection->bench;

    if (io_sending(&connection->socket) || connection->plain.size > 0) {
        connection->owed += count;
        return;
    }
    struct load *load = &bench->loads[connection->topic];
    struct str requests = {load->data, load->size * count};
    uint64_t now_ns = clock_monotonic_ns();
    for (uint32_t index = 0; index < count; index++) {
        uint32_t slot =
            (connection->first + connection->under_way) % BENCH_PIPELINE_MAX;
        connection->sent_ns[slot] = now_ns;
        connection->under_way++;
    }
    connection->topic = (connection->topic + 1) % bench->options->topics;
    if (connection->tls != NULL) {
        connection->plain = requests;
        tls_pump(connection);
        return;
    }
    struct iovec part = {(void *)requests.data, requests.size};
    io_send(&connection->socket, &part, 1);
}

static void tls_shake(struct bench_connection *connection)
{
    enum err err = tls_handshake(connection->tls);

    if (err == ERR_OK) {
        connection->shaken = true;
        send_requests(connection, connection->bench->options->pipeline);
    } else if (err != ERR_AGAIN) {
        tls_failed(connection);
    }
}

static void on_connected(struct io_socket *socket, enum err err)
{
    struct bench_connection *connection =
        CONTAINER_OF(socket, struct bench_connection, socket);

    if (err != ERR_OK) {
        break_off(connection);
        return;
    }
    io_receive_start(socket);
    if (connection->tls != NULL) {
        tls_shake(connection);
        tls_pump(connection);
        return;
    }
    send_requests(connection, connection->bench->options->pipeline);
}

static void on_sent(struct io_socket *socket, enum err err)
{
    struct bench_connection *connection =
        CONTAINER_OF(socket, struct bench_connection, socket);

    if (err != ERR_OK) {
        break_off(connection);
        return;
    }
    if (connection->tls != NULL) {
        tls_output_sent(connection->tls, connection->cipher_size);
        tls_pump(connection);
    }
    if (connection->owed > 0 && !connection->over) {
        uint32_t owed = connection->owed;
        connection->owed = 0;
        send_requests(connection, owed);
    }
}

/* --- answers -------------------------------------------------------------- */

static void count_answer(struct bench_connection *connection, int status)
{
    struct bench *bench = connection->bench;
    struct bench_result *result = bench->result;
    uint64_t sent_ns = connection->sent_ns[connection->first];

    CHECK(connection->under_way > 0);
    connection->first = (connection->first + 1) % BENCH_PIPELINE_MAX;
    connection->under_way--;
    if (status < 200 || status > 299) {
        result->refused++;
        result->last_status = status;
    }
    if (bench->measuring) {
        result->answers++;
        histogram_record(&result->latency_ns, clock_monotonic_ns() - sent_ns);
    }
}

/* Take whole answers from `text`; returns the bytes that are done with, or
 * SIZE_MAX when it is no HTTP. */
static size_t take_answers(struct bench_connection *connection,
                           struct str text,
                           uint32_t *out_count)
{
    const struct http_limits limits = {65536, 8192};
    static struct http_head head; /* one thread, one loop */
    size_t used = 0;
    uint32_t count = 0;

    while (used < text.size) {
        struct str left = str_cut(text, used, text.size);
        struct http_refusal refusal;
        size_t size = 0;
        if (connection->body_left > 0) {
            size_t skip = connection->body_left < left.size
                              ? connection->body_left
                              : left.size;
            connection->body_left -= skip;
            used += skip;
            continue;
        }
        enum err err = http_parse_response(left, &limits, &connection->scanned,
                                           &head, &size, &refusal);
        if (err == ERR_AGAIN) {
            break;
        }
        if (err != ERR_OK || head.chunked || connection->under_way == 0) {
            return SIZE_MAX;
        }
        connection->scanned = 0;
        used += size;
        if (head.content_length != HTTP_LENGTH_NONE && head.status != 204) {
            connection->body_left = (size_t)head.content_length;
        }
        count_answer(connection, head.status);
        count++;
    }
    *out_count = count;
    return used;
}

/* Take what the server says. */
static void take_input(struct bench_connection *connection, struct str text)
{
    struct buf *input = &connection->input;
    struct str all = text;
    uint32_t count = 0;

    if (input->size > 0) {
        buf_append_str(input, text);
        all = buf_str(input);
    }
    size_t used = take_answers(connection, all, &count);
    if (used == SIZE_MAX || all.size - used > BENCH_ANSWER_MAX) {
        break_off(connection);
        return;
    }
    if (input->size > 0) {
        buf_consume(input, used);
    } else {
        buf_append_str(input, str_cut(text, used, text.size));
    }
    if (connection->bench->stopping) {
        if (connection->under_way == 0) {
            end_connection(connection);
        }
    } else if (count > 0) {
        send_requests(connection, count);
    }
}

/* The server says no more. */
static void take_end(struct bench_connection *connection)
{
    if (!connection->bench->stopping || connection->under_way > 0) {
        break_off(connection);
    }
    end_connection(connection);
}

/* Take what TLS has decrypted. */
static void tls_drain(struct bench_connection *connection)
{
    static char plain[BENCH_PLAIN_SIZE]; /* one thread, one loop */

    while (!connection->over) {
        size_t size = 0;
        enum err err = tls_read(connection->tls, plain, sizeof(plain), &size);
        if (err == ERR_AGAIN) {
            return;
        }
        if (err == ERR_OK) {
            take_input(connection, (struct str){plain, size});
        } else if (err == ERR_CLOSED) {
            take_end(connection);
        } else {
            tls_failed(connection);
        }
    }
}

static void tls_received(struct bench_connection *connection, struct str input)
{
    while (input.size > 0 && !connection->over) {
        size_t taken = tls_feed(connection->tls, input);
        if (taken == 0) {
            break_off(connection); /* it asks TLS, and takes no answers */
            return;
        }
        input = str_cut(input, taken, input.size);
        if (!connection->shaken) {
            tls_shake(connection);
        }
        if (connection->shaken) {
            tls_drain(connection);
        }
    }
    tls_pump(connection);
}

static void on_received(struct io_socket *socket, const char *data, size_t size)
{
    struct bench_connection *connection =
        CONTAINER_OF(socket, struct bench_connection, socket);
    struct str input = {data, size};

    if (connection->tls != NULL) {
        tls_received(connection, input);
    } else {
        take_input(connection, input);
    }
}

static void on_ended(struct io_socket *socket, enum err err)
{
    (void)err;
    take_end(CONTAINER_OF(socket, struct bench_connection, socket));
}

static void on_closed(struct io_socket *socket)
{
    struct bench_connection *connection =
        CONTAINER_OF(socket, struct bench_connection, socket);
    struct bench *bench = connection->bench;

    connection->closed = true;
    tls_destroy(connection->tls);
    buf_fini(&connection->input);
    bench->open--;
    if (bench->open == 0) {
        io_timer_stop(bench->io, &bench->end);
        io_timer_stop(bench->io, &bench->tick);
        io_stop(bench->io);
    }
}

static const struct io_socket_ops socket_ops = {
    .connected = on_connected,
    .received = on_received,
    .ended = on_ended,
    .sent = on_sent,
    .closed = on_closed,
};

/* --- requests ------------------------------------------------------------- */

static void render_message(uint64_t size, struct buf *body)
{
    for (uint64_t index = 0; index < size; index++) {
        buf_append_byte(body, (char)('a' + index % 26));
    }
}

static void render_urlencoded(const struct bench_options *options,
                              uint32_t topic,
                              struct buf *body)
{
    buf_append_format(body, "topic=%s-%u&url=", options->topic, topic);
    form_escape(body, str_from(options->target));
    buf_append_c(body, "&message=");
    render_message(options->size, body);
}

static void render_part(struct buf *body, const char *name)
{
    buf_append_format(body,
                      "--" BENCH_BOUNDARY "\r\nContent-Disposition: form-data; "
                      "name=\"%s\"\r\n\r\n",
                      name);
}

static void render_multipart(const struct bench_options *options,
                             uint32_t topic,
                             struct buf *body)
{
    render_part(body, "topic");
    buf_append_format(body, "%s-%u\r\n", options->topic, topic);
    render_part(body, "url");
    buf_append_format(body, "%s\r\n", options->target);
    render_part(body, "message");
    render_message(options->size, body);
    buf_append_c(body, "\r\n--" BENCH_BOUNDARY "--\r\n");
}

static void render_json(const struct bench_options *options,
                        uint32_t topic,
                        struct buf *body)
{
    buf_append_format(body, "{\"topic\":\"%s-%u\",\"url\":\"", options->topic,
                      topic);
    buf_append_json(body, str_from(options->target));
    buf_append_c(body, "\",\"message\":\"");
    render_message(options->size, body);
    buf_append_c(body, "\"}");
}

/* Write the body into `body`, and where it goes into `path`.
 * Returns the media type. */
static const char *render_body(const struct bench_options *options,
                               uint32_t topic,
                               struct buf *path,
                               struct buf *body)
{
    buf_append_c(path, options->batch > 0 ? "/opq/batch" : "/opq/push");
    if (options->batch > 0) {
        for (uint32_t item = 0; item < options->batch; item++) {
            render_json(options, topic, body);
            buf_append_byte(body, '\n');
        }
        return "application/x-ndjson";
    }
    switch (options->form) {
    case BENCH_FORM_MULTIPART:
        render_multipart(options, topic, body);
        return "multipart/form-data; boundary=" BENCH_BOUNDARY;
    case BENCH_FORM_JSON:
        render_json(options, topic, body);
        return "application/json";
    case BENCH_FORM_RAW:
        buf_append_format(path, "?topic=%s-%u&url=", options->topic, topic);
        form_escape(path, str_from(options->target));
        render_message(options->size, body);
        return "application/octet-stream";
    default:
        CHECK(options->form == BENCH_FORM_URLENCODED);
        render_urlencoded(options, topic, body);
        return "application/x-www-form-urlencoded";
    }
}

static enum err render_load(const struct bench *bench,
                            const struct url *url,
                            uint32_t topic,
                            struct load *out_load)
{
    const struct bench_options *options = bench->options;
    struct buf path = {0};
    struct buf body = {0};
    struct buf request = {0};

    CHECK(options->pipeline > 0);

    const char *type = render_body(options, topic, &path, &body);
    for (uint32_t copy = 0; copy < options->pipeline; copy++) {
        buf_append_format(&request,
                          "POST %.*s HTTP/1.1\r\nHost: %.*s\r\n"
                          "%.*sContent-Type: %s\r\nContent-Length: %zu\r\n\r\n",
                          STR_ARG(buf_str(&path)), STR_ARG(url->authority),
                          STR_ARG(options->headers), type, body.size);
        buf_append_str(&request, buf_str(&body));
    }
    enum err err = buf_err(&request);
    if (err == ERR_OK) {
        err = buf_err(&body);
    }
    if (err == ERR_OK) {
        err = buf_err(&path);
    }
    buf_fini(&path);
    buf_fini(&body);
    if (err != ERR_OK) {
        buf_fini(&request);
        return err;
    }
    out_load->data = request.data;
    out_load->size = request.size / options->pipeline;
    return ERR_OK;
}

/* --- the run
 * ----------------------------------------------------------------------------
 */

static void run_over(struct io_timer *timer)
{
    struct bench *bench = CONTAINER_OF(timer, struct bench, end);

    if (!bench->measuring && !bench->stopping) {
        bench->measuring = true;
        bench->started_ns = clock_monotonic_ns();
        io_timer_start(bench->io, timer, bench->options->duration_ms);
        return;
    }
    if (bench->measuring) {
        bench->result->elapsed_ns = clock_monotonic_ns() - bench->started_ns;
        bench->measuring = false;
        bench->stopping = true;
        /* Let what is under way be answered, but not for ever. */
        io_timer_start(bench->io, timer, 5000);
        return;
    }
    io_stop(bench->io);
}

static void tick_expired(struct io_timer *timer)
{
    struct bench *bench = CONTAINER_OF(timer, struct bench, tick);
    const struct bench_options *options = bench->options;
    uint64_t spent_ms = (clock_monotonic_ns() - bench->begun_ns) / 1000000;

    progress_show(&bench->progress, spent_ms,
                  (uint64_t)options->warmup_ms + options->duration_ms,
                  "ms; %llu answers",
                  (unsigned long long)bench->result->answers);
    io_timer_start(bench->io, timer, PROGRESS_EVERY_MS);
}

static enum err connect_all(struct bench *bench)
{
    uint32_t count = bench->options->connections;

    bench->connections = calloc(count, sizeof(*bench->connections));
    if (bench->connections == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t index = 0; index < count; index++) {
        struct bench_connection *connection = &bench->connections[index];
        int fd = -1;
        enum err err = net_socket(bench->address.any.sa_family, &fd);
        if (err != ERR_OK) {
            return err;
        }
        connection->bench = bench;
        if (bench->tls != NULL) {
            err = tls_create_client(bench->tls, bench->host, NULL,
                                    &connection->tls);
            if (err != ERR_OK) {
                file_close(fd);
                return err;
            }
        }
        /* Apart, so that a short run reaches all of many topics. */
        connection->topic =
            (uint32_t)((uint64_t)index * bench->options->topics / count);
        io_socket_init(bench->io, &connection->socket, fd, &socket_ops);
        io_connect(&connection->socket, &bench->address.any,
                   bench->address.size);
        bench->open++;
    }
    return ERR_OK;
}

static enum err prepare(struct bench *bench)
{
    const struct bench_options *options = bench->options;
    const struct io_options io_options = {.backend = options->backend};
    const char *reason = NULL;
    struct url url;

    enum err err = url_parse(str_from(options->url), &url, &reason);
    if (err != ERR_OK) {
        return ERR_INVALID;
    }
    bench->host = url.host;
    err = net_parse(url.host, url.port, &bench->address);
    if (err == ERR_OK && url.secure) {
        err = remote_tls_context(options->ca_file, &bench->tls,
                                 bench->result->detail);
    }
    if (err == ERR_OK) {
        err = io_create(&io_options, &bench->io);
    }
    if (err != ERR_OK) {
        return err;
    }
    bench->loads = calloc(options->topics, sizeof(*bench->loads));
    if (bench->loads == NULL) {
        return ERR_NOMEM;
    }
    for (uint32_t topic = 0; topic < options->topics; topic++) {
        err = render_load(bench, &url, topic, &bench->loads[topic]);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}

static void bench_fini(struct bench *bench)
{
    for (uint32_t topic = 0;
         bench->loads != NULL && topic < bench->options->topics; topic++) {
        free(bench->loads[topic].data);
    }
    free(bench->loads);
    free(bench->connections);
    tls_context_destroy(bench->tls);
    io_destroy(bench->io);
}

enum err bench_run(const struct bench_options *options,
                   struct bench_result *out_result)
{
    struct bench bench = {.options = options, .result = out_result};

    CHECK(options->pipeline > 0 && options->pipeline <= BENCH_PIPELINE_MAX);
    CHECK(options->topics > 0 && options->topics <= BENCH_TOPICS_MAX);
    memset(out_result, 0, sizeof(*out_result));
    enum err err = prepare(&bench);
    if (err == ERR_OK) {
        err = connect_all(&bench);
    }
    if (err == ERR_OK) {
        bench.end.expired = run_over;
        io_timer_start(bench.io, &bench.end, options->warmup_ms);
        bench.begun_ns = clock_monotonic_ns();
        bench.tick.expired = tick_expired;
        progress_begin(&bench.progress);
        if (bench.progress.shown) {
            io_timer_start(bench.io, &bench.tick, PROGRESS_EVERY_MS);
        }
        io_run(bench.io);
        io_timer_stop(bench.io, &bench.tick);
        progress_end(&bench.progress);
        /* Those that never answered are closed by force. */
        for (uint32_t index = 0; index < options->connections; index++) {
            if (!bench.connections[index].closed) {
                io_close(&bench.connections[index].socket);
            }
        }
        while (bench.open > 0) {
            io_run_turn(bench.io, 100);
        }
        err = bench.err;
    }
    bench_fini(&bench);
    return err;
}

/* Subcommand dev: a server on temporary data, and a receiver that prints what
 * is delivered, to try things with.
 *
 * The server is this program again, in a process of its own. When that ends,
 * so does this; when this ends, by Ctrl-C, it ends the server and removes the
 * data. Killed with no warning, it leaves the data, and the kernel ends the
 * server.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include "base/check.h"
#include "http/form.h"
#include "http/server.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/net.h"
#include "sys/process.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SERVE_WORDS = 10,        /* of our own, with the end */
    LINE_MAX_SIZE = 1024,    /* bytes of what the server says */
    LOOK_MS = 100,           /* whether the server has ended */
    STOP_MS_MAX = 20 * 1000, /* for the server to end */
    HEAD_SIZE_MAX = 128 * 1024,
    BODY_SIZE_MAX = 64 << 20,
    PRINT_SIZE_MAX = 16 * 1024, /* bytes of a body */
    CONNECTIONS_MAX = 1024,
    TREE_FDS = 16,
};

struct dev {
    struct cli_call call;
    const char *port;
    bool colours;
    char directory[4096];
    char url[256];            /* the server's */
    pid_t server;             /* 0: none */
    int output;               /* what the server prints; -1: none */
    struct io *io;            /* owned */
    struct http_server *sink; /* owned */
    struct io_task stop_task;
    uint64_t count; /* deliveries printed */
};

/* --- deliveries ----------------------------------------------------------- */

/* Append text, its controls as '.'. */
static void append_text(struct buf *to, struct str text)
{
    struct str shown = str_cut(text, 0, PRINT_SIZE_MAX);

    for (size_t index = 0; index < shown.size; index++) {
        unsigned char byte = (unsigned char)shown.data[index];
        bool plain = (byte >= 0x20 && byte != 0x7f) || byte == '\n';
        buf_append_byte(to, plain ? (char)byte : '.');
    }
    buf_append_c(to, shown.size < text.size ? "..." : "");
}

/* Append JSON in lines, anything else as it is. */
static void append_pretty(struct buf *to, struct str text)
{
    json_t *document =
        text.size > 0 ? json_loadb(text.data, text.size, 0, NULL) : NULL;
    char *pretty = document != NULL
                       ? json_dumps(document, JSON_INDENT(2) | JSON_ENCODE_ANY)
                       : NULL;

    append_text(to, pretty != NULL ? str_from(pretty) : text);
    free(pretty);
    json_decref(document);
}

static void append_body(struct buf *to, const struct http_exchange *exchange)
{
    struct str type = http_head_value(exchange->head, STR("Content-Type"));
    struct form form = {0};

    if (str_starts(type, STR("application/x-www-form-urlencoded")) &&
        form_parse_urlencoded(&form, exchange->body) == ERR_OK) {
        for (uint32_t index = 0; index < form.field_count; index++) {
            append_text(to, form.fields[index].name);
            buf_append_c(to, " = ");
            append_pretty(to, form.fields[index].value);
            buf_append_byte(to, '\n');
        }
    } else if (exchange->body.size > 0) {
        append_pretty(to, exchange->body);
        buf_append_byte(to, '\n');
    }
    form_fini(&form);
}

static void print_delivery(const struct dev *dev,
                           const struct http_exchange *exchange)
{
    const struct http_head *head = exchange->head;
    const char *strong = dev->colours ? "\033[1;36m" : "";
    const char *weak = dev->colours ? "\033[2m" : "";
    const char *plain = dev->colours ? "\033[0m" : "";
    struct buf text = {0};

    buf_append_format(&text, "%s%.*s %.*s%s", strong,
                      STR_ARG(head->method_text), STR_ARG(head->target), plain);
    buf_append_format(
        &text, "  topic %.*s  seq %.*s  attempt %.*s%s  %.*s, %zu bytes%s\n",
        STR_ARG(http_head_value(head, STR("Opq-Topic"))),
        STR_ARG(http_head_value(head, STR("Opq-Seq"))),
        STR_ARG(http_head_value(head, STR("Opq-Attempt"))), weak,
        STR_ARG(http_head_value(head, STR("Content-Type"))),
        exchange->body.size, plain);
    append_body(&text, exchange);
    buf_append_byte(&text, '\n');
    (void)cli_print(&text);
}

static void handle(void *context, struct http_exchange *exchange)
{
    struct dev *dev = context;

    dev->count++;
    print_delivery(dev, exchange);
    http_exchange_answer_raw(exchange,
                             STR("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"),
                             (struct str){NULL, 0});
}

static void drained(void *context)
{
    struct dev *dev = context;

    io_stop(dev->io);
}

static void stop_arrived(struct io_task *task)
{
    struct dev *dev = CONTAINER_OF(task, struct dev, stop_task);

    http_server_drain(dev->sink, drained, dev);
}

static void run_loop(void *context)
{
    struct dev *dev = context;

    io_run(dev->io);
}

static enum err open_sink(struct dev *dev, char text[NET_TEXT_MAX])
{
    const struct io_options io_options = {.backend = IO_BACKEND_AUTO};
    struct http_server_options options = {
        .limits = {.head_size_max = HEAD_SIZE_MAX,
                   .target_size_max = HEAD_SIZE_MAX},
        .body_size_max = BODY_SIZE_MAX,
        .body_memory_max = (uint64_t)BODY_SIZE_MAX * 2,
        .connections_max = CONNECTIONS_MAX,
        .handle = handle,
        .context = dev,
    };
    struct net_address address;
    int fd = -1;

    enum err err = io_create(&io_options, &dev->io);
    if (err == ERR_OK) {
        options.io = dev->io;
        err = http_server_create(&options, &dev->sink);
    }
    if (err == ERR_OK) {
        err = net_parse(STR("127.0.0.1"), 0, &address);
    }
    if (err == ERR_OK) {
        err = net_listen(&address, false, &fd);
    }
    if (err == ERR_OK) {
        err = net_bound(fd, &address);
    }
    if (err == ERR_OK) {
        err = http_server_listen(dev->sink, fd);
    }
    if (err != ERR_OK) {
        file_close(fd);
        return err;
    }
    net_format(&address, text);
    return ERR_OK;
}

/* --- the server ----------------------------------------------------------- */

/* In the new process: become the server. */
static void become_server(const struct dev *dev, int output, pid_t parent)
{
    char data[sizeof(dev->directory) + 8];
    const char *words[SERVE_WORDS + CLI_WORDS_MAX] = {
        "opq",    "serve",   "--listen", "127.0.0.1",
        "--port", dev->port, "--data",   data};
    unsigned count = SERVE_WORDS - 2;

    (void)snprintf(data, sizeof(data), "%s/data", dev->directory);
    for (uint32_t index = 0; index < dev->call.word_count; index++) {
        words[count] = dev->call.words[index];
        count++;
    }
    words[count] = NULL;
    (void)setpgid(0, 0); /* Ctrl-C is ours */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)dup2(output, STDOUT_FILENO);
    if (getppid() == parent) {
        (void)execv("/proc/self/exe", (char *const *)(uintptr_t)words);
    }
    process_exit(CLI_EXIT_FAILED);
}

/* Take the server's address out of what it has said so far. */
static bool find_url(struct dev *dev, const char *said)
{
    static const char mark[] = " listening on http";
    const char *found = strstr(said, mark);
    const char *end = found != NULL ? strchr(found, '\n') : NULL;

    if (end == NULL) {
        return false;
    }
    found += sizeof(mark) - 1 - strlen("http");
    (void)snprintf(dev->url, sizeof(dev->url), "%.*s", (int)(end - found),
                   found);
    return true;
}

/* Wait until the server says where it listens. */
static enum err wait_for_url(struct dev *dev)
{
    char said[LINE_MAX_SIZE] = "";
    size_t size = 0;

    while (!find_url(dev, said) && size + 1 < sizeof(said)) {
        ssize_t got = read(dev->output, said + size, sizeof(said) - 1 - size);
        if (got <= 0 && !(got < 0 && errno == EINTR)) {
            return ERR_CLOSED;
        }
        size += got > 0 ? (size_t)got : 0;
        said[size] = '\0';
    }
    return dev->url[0] != '\0' ? ERR_OK : ERR_PROTOCOL;
}

static enum err start_server(struct dev *dev)
{
    pid_t parent = getpid();
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0) {
        return err_from_errno(errno);
    }
    pid_t child = fork();
    if (child == 0) {
        become_server(dev, ends[1], parent);
    }
    (void)close(ends[1]);
    dev->output = ends[0];
    if (child < 0) {
        return err_from_errno(errno);
    }
    dev->server = child;
    return wait_for_url(dev);
}

/* Whether the server has ended by itself. */
static bool server_ended(struct dev *dev)
{
    if (dev->server != 0 && waitpid(dev->server, NULL, WNOHANG) != 0) {
        dev->server = 0;
    }
    return dev->server == 0;
}

static void stop_server(struct dev *dev)
{
    uint64_t end_ms = clock_monotonic_ns() / 1000000 + STOP_MS_MAX;

    if (dev->server != 0) {
        (void)kill(dev->server, SIGTERM);
    }
    while (!server_ended(dev)) {
        if (clock_monotonic_ns() / 1000000 > end_ms) {
            (void)kill(dev->server, SIGKILL);
        }
        clock_sleep_ms(LOOK_MS / 5);
    }
    file_close(dev->output);
}

/* --- the data ------------------------------------------------------------- */

static bool make_directory(struct dev *dev)
{
    const char *where = getenv("TMPDIR");

    (void)snprintf(dev->directory, sizeof(dev->directory), "%s/opq-dev-XXXXXX",
                   where != NULL && where[0] != '\0' ? where : "/tmp");
    return mkdtemp(dev->directory) != NULL;
}

static int remove_one(const char *path,
                      const struct stat *status,
                      int kind,
                      struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

/* --- the command ---------------------------------------------------------- */

static int greet(const struct dev *dev, const char *sink)
{
    struct buf text = {0};

    buf_append_format(&text,
                      "server    %s\n"
                      "receiver  http://%s/ prints what comes\n"
                      "data      %s, gone when this ends (Ctrl-C)\n"
                      "\n"
                      "Try in another terminal:\n"
                      "  curl %s/opq/push -d topic=hello -d url=http://%s/ -d "
                      "message='{\"n\":1}'\n"
                      "  opq top --url %s\n"
                      "\n",
                      dev->url, sink, dev->directory, dev->url, sink, dev->url);
    return cli_print(&text);
}

/* Until a signal, or the end of the server. */
static int wait_for_end(struct dev *dev)
{
    for (;;) {
        if (process_wait_signal(LOOK_MS) == PROCESS_SIGNAL_STOP) {
            return CLI_EXIT_OK;
        }
        if (server_ended(dev)) {
            return cli_complain(&dev->call, CLI_EXIT_FAILED,
                                "the server has ended");
        }
    }
}

/* Run the receiver beside the server. */
static int run_sink(struct dev *dev)
{
    struct process_thread *thread = NULL;
    char address[NET_TEXT_MAX];

    enum err err = open_sink(dev, address);
    int code = CLI_EXIT_FAILED;
    if (err == ERR_OK && greet(dev, address) == CLI_EXIT_OK) {
        err = process_thread_start(run_loop, dev, &thread);
    }
    if (thread != NULL) {
        code = wait_for_end(dev);
        stop_server(dev); /* first, so that its last deliveries are taken */
        io_post(dev->io, &dev->stop_task);
        process_thread_join(thread);
    } else {
        code = cli_complain(&dev->call, CLI_EXIT_FAILED, "the receiver: %s",
                            err_text(err));
    }
    http_server_destroy(dev->sink);
    io_destroy(dev->io);
    return code;
}

static int run(struct dev *dev)
{
    int code = CLI_EXIT_FAILED;

    if (!make_directory(dev)) {
        return cli_complain(&dev->call, code, "cannot make %s", dev->directory);
    }
    process_block_signals();
    enum err err = start_server(dev);
    if (err == ERR_OK) {
        code = run_sink(dev);
    } else {
        code = cli_complain(&dev->call, code, "the server did not start");
    }
    stop_server(dev);
    if (nftw(dev->directory, remove_one, TREE_FDS, FTW_DEPTH | FTW_PHYS) != 0) {
        return cli_complain(&dev->call, CLI_EXIT_FAILED,
                            "cannot remove all of %s", dev->directory);
    }
    return code;
}

int cli_dev(int argument_count, char *const *arguments)
{
    struct dev dev = {
        .call = {.command = "dev",
                 .usage =
                     "[--port 0] [-- FLAGS OF SERVE]\n"
                     "Starts a server on temporary data, on a free port, and a "
                     "receiver that prints\neach delivery. Ctrl-C ends both "
                     "and removes the data."},
        .port = "0",
        .output = -1,
    };
    const struct cli_option options[] = {
        {"port", &dev.port, NULL, NULL},
        {NULL, NULL, NULL, NULL},
    };
    int code = cli_parse(&dev.call, argument_count, arguments, options, 0,
                         CLI_WORDS_MAX - 1);

    if (code == CLI_EXIT_OK && !dev.call.help) {
        dev.stop_task.run = stop_arrived;
        dev.colours = cli_colours();
        code = run(&dev);
    }
    cli_call_fini(&dev.call);
    return code;
}

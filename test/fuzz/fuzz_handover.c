/* What a former process left is read without harm, whatever it says: records,
 * and clients that a server goes on with, which send more afterwards. What was
 * read, written again, reads the same.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "base/check.h"
#include "http/server.h"
#include "server/handover.h"
#include "sys/file.h"
#include "sys/io.h"

#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS_MAX = 8, TURNS_MAX = 10000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is read of an input. */
struct reading {
    struct buf again;           /* owned: the same once more */
    struct http_server *server; /* NULL: nobody goes on */
    int ends[CLIENTS_MAX];      /* the clients' */
    uint32_t count;
};

static void begun(void *context, uint64_t held_ns)
{
    struct reading *reading = context;

    if (reading->again.size == 0) {
        handover_begin(&reading->again, held_ns);
    }
}

static void listener(void *context, int fd, bool activated)
{
    handover_listener(&((struct reading *)context)->again, fd, activated);
}

static void program(void *context, struct str path)
{
    CHECK(path.data != NULL || path.size == 0);
    (void)context;
}

static void journal(void *context, const struct store_local_end *end)
{
    handover_journal(&((struct reading *)context)->again, end);
}

static void
client(void *context, uint32_t shard, const struct http_handed *handed)
{
    struct reading *reading = context;
    struct http_handed own = *handed;
    int ends[2];

    CHECK(handed->fd > 2);
    handover_client(&reading->again, shard, handed);
    if (reading->server == NULL || reading->count == CLIENTS_MAX) {
        return;
    }
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                     ends) == 0);
    own.fd = ends[0];
    enum err err = http_server_adopt(reading->server, &own);
    CHECK(err == ERR_OK || err == ERR_INVALID);
    reading->ends[reading->count] = ends[1];
    reading->count++;
}

static const struct handover_calls calls = {
    .begun = begun,
    .listener = listener,
    .program = program,
    .journal = journal,
    .client = client,
};

/* What is written again reads the same. */
static void check_again(const struct reading *first)
{
    struct reading second = {0};
    struct str bytes = buf_str(&first->again);

    if (str_starts(bytes, STR("OPQ-HAND"))) {
        CHECK(handover_read(bytes, &calls, &second) == ERR_OK);
        CHECK(str_equal(buf_str(&second.again), bytes));
    }
    buf_fini(&second.again);
}

static void handle(void *context, struct http_exchange *exchange)
{
    (void)context;
    http_exchange_answer(exchange, 200, NULL, 0, STR("ok"));
}

static void run_turns(struct io *io, struct http_server *server, bool all)
{
    int turn = 0;
    int turns = all ? TURNS_MAX : 3;

    while (turn < turns &&
           (!all || http_server_stats(server)->connections_open > 0)) {
        io_run_turn(io, 0);
        turn++;
    }
    CHECK(!all || turn < turns);
}

/* The clients go on as if nothing had been. */
static void send_more(const struct reading *reading)
{
    static const char more[] = "5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n"
                               "Host: a\r\n\r\n";

    for (uint32_t i = 0; i < reading->count; i++) {
        (void)send(reading->ends[i], more, sizeof(more) - 1, MSG_NOSIGNAL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct io_options io_options = {.backend = IO_BACKEND_EPOLL,
                                    .sockets_max = 64};
    struct http_server_options options = {
        .limits = {.head_size_max = 16384, .target_size_max = 8192},
        .body_size_max = 1 << 20,
        .body_memory_max = 4 << 20,
        .body_buffer = 1 << 20,
        .body_gather_max = 1 << 20,
        .connections_max = 64,
        .server_name = "fuzz",
        .handle = handle,
    };
    struct reading reading = {0};
    struct io *io = NULL;

    options.head_timeout_ms = 1000;
    CHECK(io_create(&io_options, &io) == ERR_OK);
    options.io = io;
    CHECK(http_server_create(&options, &reading.server) == ERR_OK);
    enum err err =
        handover_read((struct str){(const char *)data, size}, &calls, &reading);
    CHECK(err == ERR_OK || err == ERR_CORRUPT || err == ERR_UNSUPPORTED);
    check_again(&reading);
    run_turns(io, reading.server, false);
    send_more(&reading);
    run_turns(io, reading.server, false);
    http_server_cut(reading.server);
    run_turns(io, reading.server, true);
    http_server_destroy(reading.server);
    io_destroy(io);
    for (uint32_t i = 0; i < reading.count; i++) {
        file_close(reading.ends[i]);
    }
    buf_fini(&reading.again);
    return 0;
}

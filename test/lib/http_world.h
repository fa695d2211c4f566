/* What the tests of http/server share: a server with a handler that does what
 * a test wants, and a client, both in one thread. Whoever waits for something
 * runs turns of the loop until it is there.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_HTTP_WORLD_H
#define OPQ_TEST_LIB_HTTP_WORLD_H

#include "base/buf.h"
#include "http/server.h"
#include "sys/clock.h"
#include "sys/io.h"
#include "sys/net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum {
    WAIT_MAX_MS = 10000, /* for anything; a test that waits longer fails */
    HELD_MAX = 256,
    SHORT_MS = 40,   /* a deadline that is to pass */
    LONG_MS = 60000, /* one that is not */
};

/* What the handler does. */
enum mode {
    MODE_ECHO,   /* answers at once: method, path, query, body */
    MODE_HOLD,   /* keeps the exchange */
    MODE_ALONE,  /* likewise, with none behind it */
    MODE_LARGE,  /* answers with large_size bytes */
    MODE_RAW,    /* answers prepared bytes */
    MODE_EMPTY,  /* answers 204 */
    MODE_PEER,   /* answers the peer's address */
    MODE_STREAM, /* begins a stream and keeps the exchange */
};

struct world {
    struct io *io;
    struct http_server *server;
    struct http_server_options options;
    struct net_address address;
    enum mode mode;
    size_t large_size;
    struct http_exchange *held[HELD_MAX];
    uint32_t held_count;
    char paths[HELD_MAX][16]; /* of the held ones */
    uint32_t requests;
    uint32_t abandoned;
    bool is_drained;
    char directory[32]; /* of the Unix socket; "" when there is none */
};

struct client {
    struct world *world;
    int fd;
    struct buf in;
    bool ended; /* the server ended its side */
    bool reset;
};

struct response {
    int status;
    bool keep_alive;
    char body[512]; /* the first bytes of it */
    size_t body_size;
    char head[1024];
};

/* Run turns until `condition`, and fail when it does not come true. */
#define WAIT_FOR(world, condition)                                             \
    do {                                                                       \
        uint64_t until_ns =                                                    \
            clock_monotonic_ns() + WAIT_MAX_MS * UINT64_C(1000000);            \
        while (!(condition)) {                                                 \
            if (clock_monotonic_ns() > until_ns) {                             \
                fail_msg("%s: did not happen", #condition);                    \
            }                                                                  \
            world_run_turn(world);                                             \
        }                                                                      \
    } while (false)

/* Back ends that this kernel does not have are skipped. */
#define WORLD(state)                                                           \
    *(state);                                                                  \
    if (*(state) == NULL) {                                                    \
        skip();                                                                \
    }

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

/* One test, for world_run_tests(). */
#define WORLD_TEST(function)                                                   \
    {                                                                          \
#function, function, NULL, NULL, NULL                                  \
    }

/* Run each test on each back end, with a world of its own as its state.
 * Returns main()'s exit code. */
int world_run_tests(const struct CMUnitTest *tests, size_t test_count);

/* Listen at an address (port 0, or a Unix socket) and serve. */
void world_start_at(struct world *world, struct str host);

/* The same at 127.0.0.1. */
void world_start(struct world *world);

/* Run one turn of the loop, of 10 ms at most. */
void world_run_turn(struct world *world);

/* For http_server_drain(), with the world as context. */
void world_note_drained(void *context);

/* Answer an exchange that the handler kept with its path. */
void world_answer_held(struct world *world, uint32_t index);

/* Connect; the socket does not block. */
struct client client_open(struct world *world);

/* Close. */
void client_close(struct client *client);

/* Send a RST instead of a FIN. */
void client_vanish(struct client *client);

/* Write what the socket takes; bytes written. */
size_t client_try_write(struct client *client, struct str bytes);

/* Write all of it, running turns meanwhile. */
void client_write(struct client *client, struct str bytes);

/* The same with a terminated string. */
void client_write_c(struct client *client, const char *text);

/* Read what is there. */
void client_read(struct client *client);

/* Read, and tell whether the server has ended or reset. */
bool client_has_ended(struct client *client);

/* Take one response off what was read; false when it is not all there. */
bool client_take(struct client *client, bool head_only, struct response *out);

/* Wait for a response. */
struct response client_response(struct client *client);

/* Wait for a response, which must be this one. */
void client_assert_response(struct client *client,
                            int status,
                            const char *body);

/* Wait for the server to end its side, having sent nothing more. */
void client_assert_end(struct client *client);

#endif

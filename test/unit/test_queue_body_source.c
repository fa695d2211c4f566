/* Tests of http/client with a source, and of queue/body_source as one: bodies
 * read from a file while they are sent, over real sockets.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/body_source.h"

#include "base/crc32c.h"
#include "lib/caller.h"
#include "lib/loop.h"
#include "lib/peer.h"
#include "lib/scratch.h"
#include "sys/clock.h"
#include "sys/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { BODY_SIZE = 3 * 1000 * 1000 + 7, PIECE_SIZE = 64 * 1024 };

/* What the peer saw. */
static struct {
    atomic_size_t size; /* of the last body */
    atomic_uint crc;
    atomic_int whole;        /* requests whose body was */
    atomic_bool close_first; /* the first connection after its first request */
} seen;

/* Read bytes; 0: the connection is over. */
static size_t read_some(struct peer_talk *talk, char *to, size_t size)
{
    if (talk->ssl != NULL) {
        int got = SSL_read(talk->ssl, to, (int)size);
        return got > 0 ? (size_t)got : 0;
    }
    ssize_t got = recv(talk->fd, to, size, 0);
    return got > 0 ? (size_t)got : 0;
}

/* Read a head and its length; false: the connection is over. */
static bool read_head(struct peer_talk *talk, size_t *out_left)
{
    char head[1024];
    size_t size = 0;
    while (size < 4 || memcmp(head + size - 4, "\r\n\r\n", 4) != 0) {
        if (size == sizeof(head) - 1 || read_some(talk, head + size, 1) == 0) {
            return false;
        }
        size++;
    }
    head[size] = '\0';
    const char *length = strstr(head, "Content-Length: ");
    *out_left = length == NULL ? 0 : strtoul(length + 16, NULL, 10);
    return true;
}

static void script(struct peer *peer, struct peer_talk *talk)
{
    char bytes[16384];
    size_t left = 0;
    (void)peer;
    while (read_head(talk, &left)) {
        uint32_t crc = 0;
        size_t size = 0;
        while (left > 0) {
            size_t got = read_some(talk, bytes,
                                   left < sizeof(bytes) ? left : sizeof(bytes));
            if (got == 0) {
                break;
            }
            crc = crc32c(crc, bytes, got);
            size += got;
            left -= got;
        }
        atomic_store(&seen.size, size);
        atomic_store(&seen.crc, crc);
        if (left > 0) {
            return;
        }
        atomic_fetch_add(&seen.whole, 1);
        (void)peer_say(talk, "HTTP/1.1 204 No Content\r\n\r\n");
        if (talk->index == 0 && atomic_load(&seen.close_first)) {
            return;
        }
    }
}

/* Answers before the body has come, and reads no more of it. */
static void hasty(struct peer *peer, struct peer_talk *talk)
{
    size_t left = 0;
    (void)peer;
    if (read_head(talk, &left)) {
        (void)peer_say(talk, "HTTP/1.1 413 Too Large\r\n"
                             "Content-Length: 0\r\n\r\n");
        peer_wait_end(talk);
    }
}

/* Reads a little, then nothing more. */
static void deaf(struct peer *peer, struct peer_talk *talk)
{
    size_t left = 0;
    (void)peer;
    (void)read_head(talk, &left);
    (void)peer_wait_go(talk);
}

struct world {
    struct io *io;
    struct http_client *client;
    struct peer peer;
    struct caller caller;
    struct body_source *source;
    struct message_blob blob;
    char directory[SCRATCH_PATH_MAX];
    char path[128];
};

static struct world *world_open(void **state,
                                void (*with)(struct peer *, struct peer_talk *))
{
    struct io *io = loop_of(state);
    struct world *world = calloc(1, sizeof(*world));
    struct http_client_options options = caller_options(io);
    int fd = -1;
    assert_non_null(world);
    memset(&seen, 0, sizeof(seen));
    world->io = io;
    world->peer.script = with;
    peer_start(&world->peer);
    world->client = caller_client(&options);
    assert_int_equal(scratch_make(world->directory), 0);
    (void)snprintf(world->path, sizeof(world->path), "%s/body",
                   world->directory);
    char *body = malloc(BODY_SIZE);
    assert_non_null(body);
    for (size_t i = 0; i < BODY_SIZE; i++) {
        body[i] = (char)(i * 17 + i / 4099);
    }
    assert_int_equal(file_open(world->path, FILE_WRITE | FILE_CREATE, &fd),
                     ERR_OK);
    assert_int_equal(file_write_at(fd, body, BODY_SIZE, 0, false), ERR_OK);
    file_close(fd);
    world->blob = (struct message_blob){
        .id = 1, .size = BODY_SIZE, .crc = crc32c(0, body, BODY_SIZE)};
    free(body);
    return world;
}

/* Open the body. */
static void world_source(struct world *world)
{
    int fd = -1;
    assert_int_equal(file_open(world->path, FILE_READ, &fd), ERR_OK);
    assert_int_equal(body_source_create(world->io, fd, &world->blob, PIECE_SIZE,
                                        &world->source),
                     ERR_OK);
}

/* Begin to send the body that is open. */
static void world_start(struct world *world, uint32_t timeout_ms)
{
    caller_fini(&world->caller);
    caller_prepare(&world->caller, world->client,
                   caller_url("http", "127.0.0.1", world->peer.port), NULL);
    int size = snprintf(world->caller.request, 512,
                        "POST / HTTP/1.1\r\nHost: a\r\n"
                        "Content-Length: %llu\r\n\r\n",
                        (unsigned long long)world->blob.size);
    world->caller.call.parts[0].iov_len = (size_t)size;
    world->caller.call.source = body_source_http(world->source);
    world->caller.call.timeout_ms = timeout_ms;
    http_call_start(&world->caller.call);
}

/* Begin to send the body. */
static void world_send(struct world *world, uint32_t timeout_ms)
{
    world_source(world);
    world_start(world, timeout_ms);
}

static void world_wait(struct world *world)
{
    LOOP_UNTIL(world->io, world->caller.done > 0);
    body_source_destroy(world->source);
    world->source = NULL;
}

static void world_close(struct world *world)
{
    caller_fini(&world->caller);
    caller_client_destroy(world->io, world->client);
    while (io_busy(world->io)) {
        io_run_turn(world->io, 10);
    }
    atomic_store(&world->peer.go, true);
    peer_stop(&world->peer);
    assert_int_equal(scratch_remove(world->directory), 0);
    free(world);
}

static void body_is_sent_as_it_is(void **state)
{
    struct world *world = world_open(state, script);
    for (int round = 0; round < 2; round++) {
        world_send(world, 10000);
        world_wait(world);
        assert_int_equal(world->caller.err, ERR_OK);
        assert_int_equal(world->caller.status, 204);
        assert_int_equal(atomic_load(&seen.size), BODY_SIZE);
        assert_int_equal(atomic_load(&seen.crc), world->blob.crc);
        assert_int_equal(world->caller.reused, round == 1);
    }
    world_close(world);
}

static void body_with_other_bytes_never_arrives_whole(void **state)
{
    struct world *world = world_open(state, script);
    world->blob.crc ^= 1;
    world_send(world, 10000);
    world_wait(world);
    assert_int_equal(world->caller.err, ERR_CORRUPT);
    world_close(world);
    assert_int_equal(atomic_load(&seen.whole), 0);
    assert_true(atomic_load(&seen.size) < BODY_SIZE);
}

static void body_that_is_too_short_never_arrives_whole(void **state)
{
    struct world *world = world_open(state, script);
    int fd = -1;
    assert_int_equal(file_open(world->path, FILE_WRITE, &fd), ERR_OK);
    assert_int_equal(file_truncate(fd, BODY_SIZE - 1), ERR_OK);
    file_close(fd);
    world_send(world, 10000);
    world_wait(world);
    assert_int_equal(world->caller.err, ERR_CORRUPT);
    world_close(world);
    assert_int_equal(atomic_load(&seen.whole), 0);
}

static void stale_connection_has_the_body_sent_once_more(void **state)
{
    struct world *world = world_open(state, script);
    atomic_store(&seen.close_first, true);
    world_send(world, 10000);
    world_wait(world);
    assert_int_equal(world->caller.err, ERR_OK);
    /* At once, before the client may have seen that the peer closed. */
    world_send(world, 10000);
    world_wait(world);
    assert_int_equal(world->caller.err, ERR_OK);
    assert_int_equal(atomic_load(&seen.crc), world->blob.crc);
    assert_int_equal(atomic_load(&seen.whole), 2);
    world_close(world);
}

static void answer_before_the_end_counts(void **state)
{
    struct world *world = world_open(state, hasty);
    world_send(world, 10000);
    world_wait(world);
    assert_int_equal(world->caller.err, ERR_OK);
    assert_int_equal(world->caller.status, 413);
    world_close(world);
}

static void cancelled_sending_ends_whatever_runs(void **state)
{
    struct world *world = world_open(state, script);
    for (int turns = 0; turns < 12; turns++) {
        world_send(world, 10000);
        for (int turn = 0; turn < turns && world->caller.done == 0; turn++) {
            io_run_turn(world->io, 1);
        }
        if (world->caller.done == 0) {
            http_call_cancel(&world->caller.call);
        }
        body_source_destroy(world->source);
        world->source = NULL;
    }
    world_send(world, 10000);
    world_wait(world);
    assert_int_equal(world->caller.err, ERR_OK);
    world_close(world);
}

static void peer_that_takes_nothing_more_is_timed_out(void **state)
{
    struct world *world = world_open(state, deaf);
    world->blob.size = BODY_SIZE;
    int fd = -1;
    /* More than sockets hold. */
    assert_int_equal(file_open(world->path, FILE_WRITE, &fd), ERR_OK);
    assert_int_equal(file_truncate(fd, UINT64_C(64) << 20), ERR_OK);
    file_close(fd);
    world->blob.size = UINT64_C(64) << 20;
    world_send(world, 150);
    world_wait(world);
    assert_int_equal(world->caller.err, ERR_TIMEOUT);
    world_close(world);
}

/* What a reading through saw. */
struct reader_through {
    struct body_scan scan;
    uint64_t size;
    uint32_t crc;
    int done;
    enum err err;
};

static void note_piece(struct body_scan *scan, struct str bytes)
{
    struct reader_through *through = (struct reader_through *)(void *)scan;
    through->size += bytes.size;
    through->crc = crc32c(through->crc, bytes.data, bytes.size);
}

static void note_done(struct body_scan *scan, enum err err)
{
    struct reader_through *through = (struct reader_through *)(void *)scan;
    through->done++;
    through->err = err;
}

/* Read the body through, and wait for the end. */
static struct reader_through read_through(struct world *world)
{
    struct reader_through through = {
        .scan = {.piece = note_piece, .done = note_done}};
    world_source(world);
    body_source_scan(world->source, &through.scan);
    assert_int_equal(through.done, 0);
    LOOP_UNTIL(world->io, through.done > 0);
    assert_int_equal(through.done, 1);
    return through;
}

static void body_is_read_through_before_it_is_sent(void **state)
{
    struct world *world = world_open(state, script);
    struct reader_through through = read_through(world);
    assert_int_equal(through.err, ERR_OK);
    assert_true(through.size == BODY_SIZE);
    assert_int_equal(through.crc, world->blob.crc);
    world_start(world, 10000);
    world_wait(world);
    assert_int_equal(world->caller.err, ERR_OK);
    assert_int_equal(atomic_load(&seen.crc), world->blob.crc);
    world_close(world);
}

static void reading_through_tells_what_is_wrong(void **state)
{
    struct world *world = world_open(state, script);
    int fd = -1;
    world->blob.crc ^= 1;
    struct reader_through through = read_through(world);
    assert_int_equal(through.err, ERR_CORRUPT);
    assert_true(through.size < BODY_SIZE);
    body_source_destroy(world->source);
    world->blob.crc ^= 1;
    assert_int_equal(file_open(world->path, FILE_WRITE, &fd), ERR_OK);
    assert_int_equal(file_truncate(fd, BODY_SIZE / 2), ERR_OK);
    file_close(fd);
    through = read_through(world);
    assert_int_equal(through.err, ERR_CORRUPT);
    body_source_destroy(world->source);
    world_close(world);
}

static void reading_through_ends_with_its_source(void **state)
{
    struct world *world = world_open(state, script);
    for (int turns = 0; turns < 4; turns++) {
        struct reader_through through = {
            .scan = {.piece = note_piece, .done = note_done}};
        world_source(world);
        body_source_scan(world->source, &through.scan);
        for (int turn = 0; turn < turns; turn++) {
            io_run_turn(world->io, 1);
        }
        uint64_t size = through.size;
        body_source_destroy(world->source);
        while (io_busy(world->io)) {
            io_run_turn(world->io, 10);
        }
        assert_int_equal(through.done, 0);
        assert_true(through.size == size);
    }
    world_close(world);
}

int main(void)
{
    static const struct loop_test tests[] = {
        LOOP_TEST(body_is_sent_as_it_is),
        LOOP_TEST(body_with_other_bytes_never_arrives_whole),
        LOOP_TEST(body_that_is_too_short_never_arrives_whole),
        LOOP_TEST(stale_connection_has_the_body_sent_once_more),
        LOOP_TEST(answer_before_the_end_counts),
        LOOP_TEST(cancelled_sending_ends_whatever_runs),
        LOOP_TEST(peer_that_takes_nothing_more_is_timed_out),
        LOOP_TEST(body_is_read_through_before_it_is_sent),
        LOOP_TEST(reading_through_tells_what_is_wrong),
        LOOP_TEST(reading_through_ends_with_its_source),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}

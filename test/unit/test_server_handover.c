/* Tests of server/handover: what is written reads the same; the file that was
 * kept of version 1 reads for ever; what cannot be is refused.
 *
 * handover/v1.bin was written by this version: two listeners, a program's path,
 * and clients in each state that a connection can be left in. Descriptors are
 * 101 and on. It never changes: a program of today has to go on for one of
 * then.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/handover.h"

#include "lib/http_world.h"
#include "sys/exec.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CLIENTS_MAX = 16, FILE_SIZE_MAX = 64 * 1024 };

/* What was read. */
struct seen {
    uint64_t held_ns;
    int listeners[4];
    bool activated[4];
    uint32_t listener_count;
    char program[64];
    struct store_local_end ends[4];
    uint32_t end_count;
    struct http_handed clients[CLIENTS_MAX]; /* of the bytes that were read */
    uint32_t shards[CLIENTS_MAX];
    uint32_t client_count;
};

static void note_begun(void *context, uint64_t held_ns)
{
    ((struct seen *)context)->held_ns = held_ns;
}

static void note_listener(void *context, int fd, bool activated)
{
    struct seen *seen = context;
    assert_true(seen->listener_count < 4);
    seen->activated[seen->listener_count] = activated;
    seen->listeners[seen->listener_count++] = fd;
}

static void note_program(void *context, struct str path)
{
    struct seen *seen = context;
    assert_true(path.size < sizeof(seen->program));
    memcpy(seen->program, path.data, path.size);
}

static void note_journal(void *context, const struct store_local_end *end)
{
    struct seen *seen = context;
    assert_true(seen->end_count < 4);
    seen->ends[seen->end_count++] = *end;
}

static void
note_client(void *context, uint32_t shard, const struct http_handed *handed)
{
    struct seen *seen = context;
    assert_true(seen->client_count < CLIENTS_MAX);
    seen->shards[seen->client_count] = shard;
    seen->clients[seen->client_count++] = *handed;
}

static enum err read_into(struct str bytes, struct seen *seen)
{
    static const struct handover_calls calls = {
        .begun = note_begun,
        .listener = note_listener,
        .program = note_program,
        .journal = note_journal,
        .client = note_client,
    };
    *seen = (struct seen){0};
    return handover_read(bytes, &calls, seen);
}

#define HEAD(fields) "POST /p HTTP/1.1\r\nHost: a\r\n" fields "\r\n"
#define LENGTH_HEAD HEAD("Content-Length: 8\r\n")
#define CHUNKED_HEAD HEAD("Transfer-Encoding: chunked\r\n")
#define EXPECT_HEAD HEAD("Content-Length: 2\r\nExpect: 100-continue\r\n")

/* The clients of the kept file. */
static const struct http_handed kept[] = {
    {.fd = 103},
    {.fd = 104, .input = {"GET /half HTTP/1.1\r\nHo", 22}},
    {.fd = 105,
     .request = {LENGTH_HEAD "hello", sizeof(LENGTH_HEAD "hello") - 1},
     .head_size = sizeof(LENGTH_HEAD) - 1,
     .body_left = 3,
     .body_size = 5},
    {.fd = 106,
     .request = {CHUNKED_HEAD "abc", sizeof(CHUNKED_HEAD "abc") - 1},
     .head_size = sizeof(CHUNKED_HEAD) - 1,
     .chunks = true,
     .chunked = {.left = 4, .state = 4}, /* in a chunk's data */
     .body_size = 3,
     .gathered = true},
    {.fd = 107,
     .request = {EXPECT_HEAD, sizeof(EXPECT_HEAD) - 1},
     .head_size = sizeof(EXPECT_HEAD) - 1,
     .body_left = 2,
     .continue_due = true},
    {.fd = 108, .deaf = true, .unsent = {{"the one ", 8}, {"the other", 9}}},
};

enum { KEPT_COUNT = sizeof(kept) / sizeof(kept[0]) };

static void write_kept(struct buf *to)
{
    handover_begin(to, 1234567890123);
    handover_program(to, "/usr/bin/opq");
    handover_listener(to, 101, false);
    handover_listener(to, 102, true);
    for (uint32_t i = 0; i < KEPT_COUNT; i++) {
        handover_client(to, i % 3, &kept[i]);
    }
    assert_int_equal(buf_err(to), ERR_OK);
}

static void assert_same_str(struct str left, struct str right)
{
    assert_int_equal(left.size, right.size);
    assert_true(str_equal(left, right));
}

static void assert_kept(const struct seen *seen)
{
    assert_int_equal(seen->held_ns, 1234567890123);
    assert_string_equal(seen->program, "/usr/bin/opq");
    assert_int_equal(seen->listener_count, 2);
    assert_int_equal(seen->listeners[0], 101);
    assert_int_equal(seen->listeners[1], 102);
    assert_false(seen->activated[0]);
    assert_true(seen->activated[1]);
    assert_int_equal(seen->client_count, KEPT_COUNT);
    for (uint32_t i = 0; i < KEPT_COUNT; i++) {
        const struct http_handed *is = &seen->clients[i];
        const struct http_handed *was = &kept[i];
        assert_int_equal(seen->shards[i], i % 3);
        assert_int_equal(is->fd, was->fd);
        assert_int_equal(is->deaf, was->deaf);
        assert_same_str(is->unsent[0], was->unsent[0]);
        assert_same_str(is->unsent[1], was->unsent[1]);
        assert_same_str(is->request, was->request);
        assert_same_str(is->input, was->input);
        assert_int_equal(is->head_size, was->head_size);
        assert_int_equal(is->chunks, was->chunks);
        assert_int_equal(is->chunked.left, was->chunked.left);
        assert_int_equal(is->chunked.state, was->chunked.state);
        assert_int_equal(is->chunked.overhead, was->chunked.overhead);
        assert_int_equal(is->body_left, was->body_left);
        assert_int_equal(is->body_size, was->body_size);
        assert_int_equal(is->gathered, was->gathered);
        assert_int_equal(is->continue_due, was->continue_due);
    }
}

static char file_bytes[FILE_SIZE_MAX];

static struct str read_file(void)
{
    FILE *file = fopen(HANDOVER_V1, "rb");
    assert_non_null(file);
    size_t size = fread(file_bytes, 1, sizeof(file_bytes), file);
    assert_int_equal(fclose(file), 0);
    assert_true(size > 0 && size < sizeof(file_bytes));
    return (struct str){file_bytes, size};
}

/* --- the format ----------------------------------------------------------- */

static void what_is_written_reads_the_same(void **state)
{
    (void)state;
    struct buf bytes = {0};
    struct seen seen;
    write_kept(&bytes);
    assert_int_equal(read_into(buf_str(&bytes), &seen), ERR_OK);
    assert_kept(&seen);
    buf_fini(&bytes);
}

static void ends_of_journals_read_the_same(void **state)
{
    (void)state;
    struct buf bytes = {0};
    struct seen seen;
    static const struct store_local_end ends[] = {
        {.node = UINT64_MAX, .shard = 0, .generation = 7, .offset = 4096},
        {.node = 1,
         .shard = 3,
         .generation = UINT64_MAX,
         .offset = 0,
         .checkpoint = 12,
         .locked = 1234567890123456789,
         .topics = {"notes", 5}},
    };
    write_kept(&bytes);
    size_t before = bytes.size;
    handover_journal(&bytes, &ends[0]);
    size_t after = bytes.size;
    handover_journal(&bytes, &ends[1]);
    assert_int_equal(read_into(buf_str(&bytes), &seen), ERR_OK);
    assert_kept(&seen);
    assert_int_equal(seen.end_count, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(seen.ends[i].node, ends[i].node);
        assert_int_equal(seen.ends[i].shard, ends[i].shard);
        assert_int_equal(seen.ends[i].generation, ends[i].generation);
        assert_int_equal(seen.ends[i].offset, ends[i].offset);
        assert_int_equal(seen.ends[i].checkpoint, ends[i].checkpoint);
        assert_int_equal(seen.ends[i].locked, ends[i].locked);
        assert_same_str(seen.ends[i].topics, ends[i].topics);
    }
    bytes.size = after - 16; /* as it was before there were notes */
    put_u32(bytes.data + before + 4, 32);
    assert_int_equal(read_into(buf_str(&bytes), &seen), ERR_OK);
    assert_int_equal(seen.end_count, 1);
    assert_int_equal(seen.ends[0].offset, 4096);
    assert_int_equal(seen.ends[0].locked, 0);
    bytes.size = after - 24;
    put_u32(bytes.data + before + 4, 24); /* a number is missing */
    assert_int_equal(read_into(buf_str(&bytes), &seen), ERR_CORRUPT);
    assert_int_equal(seen.end_count, 0);
    buf_fini(&bytes);
}

static void version_1_reads_for_ever(void **state)
{
    (void)state;
    struct seen seen;
    assert_int_equal(read_into(read_file(), &seen), ERR_OK);
    assert_kept(&seen);
}

static void newer_versions_are_refused(void **state)
{
    (void)state;
    struct buf bytes = {0};
    struct seen seen;
    static const uint32_t versions[] = {0, HANDOVER_VERSION + 1, UINT32_MAX};
    write_kept(&bytes);
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        put_u32(bytes.data + 8, versions[i]);
        assert_int_equal(read_into(buf_str(&bytes), &seen), ERR_UNSUPPORTED);
        assert_int_equal(seen.client_count + seen.listener_count, 0);
    }
    buf_fini(&bytes);
}

static void unknown_records_and_longer_ones_are_passed_over(void **state)
{
    (void)state;
    struct buf bytes = {0};
    struct seen seen;
    char number[4];
    static const char extra[12] = "of a later  ";
    handover_begin(&bytes, 7);
    put_u32(number, 77);
    buf_append(&bytes, number, 4);
    put_u32(number, sizeof(extra));
    buf_append(&bytes, number, 4);
    buf_append(&bytes, extra, sizeof(extra));
    handover_listener(&bytes, 9, false);
    /* The listener's record gets longer. */
    put_u32(bytes.data + bytes.size - 20, 16 + sizeof(extra));
    buf_append(&bytes, extra, sizeof(extra));
    handover_client(&bytes, 1, &kept[0]);
    assert_int_equal(read_into(buf_str(&bytes), &seen), ERR_OK);
    assert_int_equal(seen.listener_count, 1);
    assert_int_equal(seen.listeners[0], 9);
    assert_int_equal(seen.client_count, 1);
    buf_fini(&bytes);
}

static void what_breaks_off_is_refused(void **state)
{
    (void)state;
    struct buf bytes = {0};
    struct seen seen;
    uint32_t whole = 0;
    write_kept(&bytes);
    for (size_t size = 0; size < bytes.size; size++) {
        enum err err = read_into((struct str){bytes.data, size}, &seen);
        assert_true(err == ERR_OK || err == ERR_CORRUPT);
        whole += err == ERR_OK;
    }
    /* Between two records only: what is counted there, but for the end. */
    assert_int_equal(whole, 1 + 1 + 1 + 2 + KEPT_COUNT - 1);
    buf_fini(&bytes);
}

static void standard_descriptors_are_no_clients(void **state)
{
    (void)state;
    struct seen seen;
    for (int fd = 0; fd <= 2; fd++) {
        struct buf bytes = {0};
        struct http_handed handed = {.fd = fd};
        handover_begin(&bytes, 1);
        handover_client(&bytes, 0, &handed);
        assert_int_equal(read_into(buf_str(&bytes), &seen), ERR_CORRUPT);
        assert_int_equal(seen.client_count, 0);
        buf_fini(&bytes);
    }
}

/* --- going on for version 1 ----------------------------------------------- */

/* Have a server go on with one of the kept clients, and be that client. */
static struct client adopt(struct world *world, const struct http_handed *one)
{
    struct http_handed handed = *one;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends),
                     0);
    handed.fd = ends[0];
    assert_int_equal(http_server_adopt(world->server, &handed), ERR_OK);
    return (struct client){.world = world, .fd = ends[1]};
}

static void clients_of_version_1_go_on(void **state)
{
    struct world *world = WORLD(state);
    static const char *const rest[] = {GET("/new"), "st: a\r\n\r\n", "abc",
                                       "defg\r\n0\r\n\r\n", "ok"};
    static const char *const answers[] = {"GET /new  ", "GET /half  ",
                                          "POST /p  helloabc",
                                          "POST /p  abcdefg", "POST /p  ok"};
    struct seen seen;
    world->options.body_gather_max = 1 << 20;
    world_start(world);
    assert_int_equal(read_into(read_file(), &seen), ERR_OK);
    for (int i = 0; i < 5; i++) {
        struct client client = adopt(world, &seen.clients[i]);
        if (seen.clients[i].continue_due) {
            assert_int_equal(client_response(&client).status, 100);
        }
        client_write_c(&client, rest[i]);
        client_assert_response(&client, 200, answers[i]);
        client_close(&client);
    }
    struct client deaf = adopt(world, &seen.clients[5]);
    WAIT_FOR(world, client_has_ended(&deaf));
    assert_same_str(buf_str(&deaf.in), STR("the one the other"));
    client_close(&deaf);
}

/* A file that is opened later on would be taken for the client's socket. */
static void missing_descriptors_are_held(void **state)
{
    enum { LISTENER = 301, CLIENT = 302 };
    const struct http_handed client = {.fd = CLIENT};
    struct handover taken;
    struct buf records = {0};
    char value[32];
    struct stat status;
    int fd = -1;
    (void)state;
    handover_begin(&records, 1);
    handover_listener(&records, LISTENER, false);
    handover_client(&records, 0, &client);
    assert_int_equal(fcntl(CLIENT, F_GETFD), -1);
    assert_int_equal(exec_leave(buf_str(&records), &fd), ERR_OK);
    (void)snprintf(value, sizeof(value), "%d,-1", fd);
    assert_int_equal(setenv(HANDOVER_VARIABLE, value, 1), 0);
    assert_int_equal(handover_take(&taken), ERR_OK);
    for (int number = LISTENER; number <= CLIENT; number++) {
        assert_int_equal(fstat(number, &status), 0);
        assert_true(S_ISSOCK(status.st_mode));
        assert_int_equal(fcntl(number, F_GETFD), FD_CLOEXEC);
        (void)close(number);
    }
    handover_end(&taken);
    buf_fini(&records);
}

/* One group, for the output has one plan: those of the format need no world. */
static const struct CMUnitTest tests[] = {
    WORLD_TEST(what_is_written_reads_the_same),
    WORLD_TEST(ends_of_journals_read_the_same),
    WORLD_TEST(version_1_reads_for_ever),
    WORLD_TEST(newer_versions_are_refused),
    WORLD_TEST(unknown_records_and_longer_ones_are_passed_over),
    WORLD_TEST(what_breaks_off_is_refused),
    WORLD_TEST(standard_descriptors_are_no_clients),
    WORLD_TEST(clients_of_version_1_go_on),
    WORLD_TEST(missing_descriptors_are_held),
};

int main(void)
{
    return world_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}

/* Kills: a child process appends and delivers, and tells its parent what it was
 * told; it is killed at any moment. What it told must be there.
 *
 * When something is missing, the test says what, and what the recovery logged,
 * and leaves the directory as the kill left it, and what the child logged.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "base/check.h"
#include "base/diag.h"
#include "lib/loop.h"
#include "lib/store_place.h"
#include "sys/log_sink.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    CHILD_TOPICS = 5,
    LATER = 300, /* messages; a third of them are ranges */
};

static_assert(LATER / 3 < CURSOR_RANGES_MAX, "none is dropped");

/* What a child tells its parent. */
enum told_kind {
    TOLD_STORED,     /* an append was acknowledged */
    TOLD_DELIVERING, /* the cursor will be noted */
    TOLD_DELIVERED,  /* it was */
};

struct told {
    uint32_t topic;
    enum told_kind kind;
    uint64_t value; /* the end of the topic, or the cursor */
};

/* --- the child ------------------------------------------------------------ */

struct child_op {
    struct store_op op;
    struct child *child;
    uint32_t topic;
};

struct child {
    struct io *io;
    struct store_topic *topics[CHILD_TOPICS];
    struct store_topic *cursors[CHILD_TOPICS]; /* the topic, or its view */
    uint64_t delivered[CHILD_TOPICS];          /* where delivery has come to */
    struct child_op ops[CHILD_TOPICS * 8];
    size_t sizes[CHILD_TOPICS];
    int pipe;
};

static void
child_tell(struct child *child, uint32_t topic, enum told_kind kind, uint64_t v)
{
    struct told told = {.topic = topic, .kind = kind, .value = v};
    if (write(child->pipe, &told, sizeof(told)) != sizeof(told)) {
        _exit(3);
    }
}

static void child_append(struct child_op *op);

/* Tell whether a message was acknowledged when delivery had come to `at`: one
 * in three is so much later than the others, so that there are ranges. */
static bool is_acknowledged(uint64_t sequence, uint64_t at)
{
    return sequence < at && (sequence % 3 != 0 || sequence + LATER < at);
}

/* The cursor that says so. */
static void
cursor_at(uint64_t at, struct store_range *ranges, struct store_cursor *cursor)
{
    uint64_t sequence = at > LATER ? at - LATER : 0;
    *cursor = (struct store_cursor){.ranges = ranges};
    while (is_acknowledged(sequence, at)) {
        sequence++;
    }
    cursor->next = sequence;
    for (; sequence < at; sequence++) {
        if (!is_acknowledged(sequence, at)) {
            continue;
        }
        if (!is_acknowledged(sequence - 1, at)) {
            ranges[cursor->range_count].first = sequence;
            cursor->range_count++;
        }
        ranges[cursor->range_count - 1].end = sequence + 1;
    }
}

/* Delivery follows ten behind. */
static void child_deliver(struct child *child, uint32_t index, uint64_t next)
{
    struct store_range ranges[CURSOR_RANGES_MAX];
    struct store_cursor cursor;
    cursor_at(next, ranges, &cursor);
    child_tell(child, index, TOLD_DELIVERING, next);
    store_cursor_store(child->cursors[index], &cursor);
    child_tell(child, index, TOLD_DELIVERED, next);
}

static void child_done(struct store_op *base, enum err err)
{
    struct child_op *op = CONTAINER_OF(base, struct child_op, op);
    struct child *child = op->child;
    CHECK(err == ERR_OK);
    child_tell(child, op->topic, TOLD_STORED, base->sequence + 1);
    uint64_t *delivered = &child->delivered[op->topic];
    if (base->sequence >= 10 && *delivered < base->sequence - 10) {
        *delivered = base->sequence - 10;
        child_deliver(child, op->topic, *delivered);
    }
    child_append(op);
}

static void child_append(struct child_op *op)
{
    static char body[8192];
    struct child *child = op->child;
    struct store_topic *topic = child->topics[op->topic];
    struct message message = {
        .url = STR("http://x/"),
        .kind = MESSAGE_KIND_RAW,
        .body = {body, child->sizes[op->topic]},
    };
    enum err err = store_append(topic, &message, &op->op);
    CHECK(err == ERR_OK || err == ERR_BUSY);
    if (err == ERR_BUSY) {
        op->topic = UINT32_MAX; /* this one rests */
    }
}

/* Small bounds, so that much happens between two kills. */
static void kill_options(struct store_place *place)
{
    place->options.checkpoint_interval_ms = 5;
    place->options.cursor_interval_ms = 5;
    place->options.memory_size_max = 512 << 10;
}

/* Bytes of a body: 1 B to 4 KiB. */
static size_t topic_size(uint32_t index)
{
    return (size_t)1 << (3 * index);
}

static void topic_name(uint32_t index, char name[16])
{
    (void)snprintf(name, 16, "t%u", index);
}

static void child_log(void *context, const char *line, size_t size)
{
    log_sink_write(*(int *)context, line, size);
}

/* Log beside the data directory. */
static void child_log_begin(const char *directory)
{
    static int fd = -1;
    struct diag_sink sink = {
        .write = child_log,
        .context = &fd,
        .now_ms = clock_wall_ms,
    };
    char path[128];
    (void)snprintf(path, sizeof(path), "%s.log", directory);
    if (log_sink_open(path, &fd) != ERR_OK) {
        _exit(6);
    }
    diag_set_sink(&sink);
}

/* Every other topic is delivered through a view. */
static bool has_view(uint32_t index)
{
    return index % 2 == 1;
}

static struct store_wait view_wait;

/* Have a view that is durable before anything is told of it. */
static struct store_topic *child_view(struct io *io, struct store_topic *topic)
{
    struct store_topic *view = NULL;
    struct store_retention none = {0};
    if (store_view_open(topic, STR("v"), true, &view) != ERR_OK) {
        _exit(7);
    }
    store_wait_init(&view_wait, DURABILITY_DISK);
    store_topic_configure(view, STR("url x\n"), &none, &view_wait.op);
    if (store_wait_run(io, &view_wait) != ERR_OK) {
        _exit(8);
    }
    return view;
}

static void child_open(struct child *child, const char *directory)
{
    static struct store_place place;
    struct io_options options = {.backend = IO_BACKEND_EPOLL};
    store_place_use(&place, directory);
    kill_options(&place);
    if (io_create(&options, &child->io) != ERR_OK ||
        store_place_open(&place, child->io) != ERR_OK) {
        _exit(2);
    }
    for (uint32_t i = 0; i < CHILD_TOPICS; i++) {
        char name[16];
        topic_name(i, name);
        child->sizes[i] = topic_size(i);
        if (store_topic_open(place.store, str_from(name), true,
                             &child->topics[i]) != ERR_OK) {
            _exit(4);
        }
        child->cursors[i] = has_view(i)
                                ? child_view(child->io, child->topics[i])
                                : child->topics[i];
        const struct store_cursor *cursor = &child->cursors[i]->cursor;
        child->delivered[i] = cursor->range_count > 0
                                  ? cursor->ranges[cursor->range_count - 1].end
                                  : cursor->next;
    }
}

/* In a process of its own: append, deliver and tell, until killed. */
static _Noreturn void child_run(const char *directory, int out)
{
    static struct child child;
    child.pipe = out;
    child_log_begin(directory);
    child_open(&child, directory);
    for (uint32_t i = 0; i < CHILD_TOPICS * 8; i++) {
        child.ops[i].child = &child;
        child.ops[i].topic = i % CHILD_TOPICS;
        child.ops[i].op.done = child_done;
        child_append(&child.ops[i]);
    }
    for (;;) {
        io_run_turn(child.io, 100);
        for (uint32_t i = 0; i < CHILD_TOPICS * 8; i++) {
            if (child.ops[i].topic == UINT32_MAX) {
                child.ops[i].topic = i % CHILD_TOPICS;
                child_append(&child.ops[i]);
            }
        }
    }
}

/* --- the parent ----------------------------------------------------------- */

/* What must be there, by topic. */
struct kills {
    struct store_place place;
    struct io *io;
    uint64_t ends[CHILD_TOPICS];
    uint64_t nexts[CHILD_TOPICS];     /* delivered up to, and noted */
    uint64_t nexts_max[CHILD_TOPICS]; /* about to be */
    char kept[128];                   /* the directory, as the kill left it */
    struct buf log;                   /* owned; what the recovery said */
    int round;
};

static void parent_log(void *context, const char *line, size_t size)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct kills *kills = context;
    CHECK(pthread_mutex_lock(&lock) == 0); /* the helper thread logs, too */
    buf_append(&kills->log, line, size);
    CHECK(pthread_mutex_unlock(&lock) == 0);
}

/* Something is missing: say all that there is to know. */
static void
lost(struct kills *kills, const char *what, uint64_t is, uint64_t wanted)
{
    buf_append_byte(&kills->log, '\0');
    print_error("# round %d: %s is %" PRIu64 ", told was %" PRIu64
                "; as the kill left it: %s; child's log: %s.log\n%s",
                kills->round, what, is, wanted, kills->kept,
                kills->place.directory,
                buf_err(&kills->log) == ERR_OK ? kills->log.data : "");
    diag_set_sink(NULL);
    fail();
}

/* The same, of a topic. */
static void lost_in(struct kills *kills,
                    uint32_t index,
                    const char *what,
                    uint64_t is,
                    uint64_t wanted)
{
    char text[64];
    (void)snprintf(text, sizeof(text), "%s of t%u", what, index);
    lost(kills, text, is, wanted);
}

/* Take in what the child told. */
static void take(struct kills *kills, const struct told *told)
{
    uint64_t *rows[] = {
        [TOLD_STORED] = kills->ends,
        [TOLD_DELIVERING] = kills->nexts_max,
        [TOLD_DELIVERED] = kills->nexts,
    };
    assert_true(told->topic < CHILD_TOPICS && told->kind <= TOLD_DELIVERED);
    uint64_t *at = &rows[told->kind][told->topic];
    *at = told->value > *at ? told->value : *at;
}

/* Run a child until it has told so much, and kill it. */
static void child_kill(struct kills *kills, uint32_t told_count)
{
    int ends_of_pipe[2];
    struct told told;
    assert_int_equal(pipe(ends_of_pipe), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char out[16];
        (void)close(ends_of_pipe[0]);
        (void)snprintf(out, sizeof(out), "%d", ends_of_pipe[1]);
        (void)execl("/proc/self/exe", "child", kills->place.directory, out,
                    (char *)NULL);
        _exit(5);
    }
    (void)close(ends_of_pipe[1]);
    uint32_t count = 0;
    while (read(ends_of_pipe[0], &told, sizeof(told)) == sizeof(told)) {
        take(kills, &told);
        count++;
        if (count == told_count) {
            (void)kill(pid, SIGKILL);
        }
    }
    int status = 0;
    (void)close(ends_of_pipe[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        lost(kills, "the child's end", (uint64_t)status, SIGKILL);
    }
}

/* Read all of a topic. */
static void read_all(struct kills *kills, uint32_t index)
{
    char name[16];
    struct store_reader *reader = NULL;
    struct record record;
    topic_name(index, name);
    struct store_topic *topic = store_place_topic(kills->place.store, name);
    assert_int_equal(store_reader_create(topic, &reader), ERR_OK);
    for (uint64_t n = topic->bounds.oldest; n < topic->bounds.end; n++) {
        enum err err = store_place_read(kills->io, reader, n, &record);
        if (err != ERR_OK) {
            lost_in(kills, index, err_name(err), n, n);
        } else if (record.sequence != n) {
            lost_in(kills, index, "a sequence", record.sequence, n);
        } else if (record.message.body.size != topic_size(index)) {
            lost_in(kills, index, "a size", record.message.body.size,
                    topic_size(index));
        }
    }
    store_reader_destroy(reader);
}

/* Check that what was noted as acknowledged is, and what was not is not. */
static void verify_cursor(struct kills *kills,
                          uint32_t index,
                          const struct store_cursor *cursor)
{
    uint64_t least = kills->nexts[index];
    uint64_t most = kills->nexts_max[index];
    uint32_t range = 0;
    for (uint64_t n = 0; n < most; n++) {
        while (range < cursor->range_count && cursor->ranges[range].end <= n) {
            range++;
        }
        bool has = n < cursor->next || (range < cursor->range_count &&
                                        n >= cursor->ranges[range].first);
        if (!has && is_acknowledged(n, least)) {
            lost_in(kills, index, "an acknowledgement", n, least);
        }
        if (has && !is_acknowledged(n, most)) {
            lost_in(kills, index, "a message not delivered", n, most);
        }
    }
    if (cursor->next > most) {
        lost_in(kills, index, "the cursor", cursor->next, most);
    }
}

/* Check a topic against what was told. */
static void verify_topic(struct kills *kills, uint32_t index)
{
    char name[16];
    topic_name(index, name);
    struct store_topic *topic = store_place_topic(kills->place.store, name);
    uint64_t end = topic->bounds.end;
    if (end < kills->ends[index]) {
        lost_in(kills, index, "the end", end, kills->ends[index]);
    }
    if (topic->bounds.oldest != 0) {
        lost_in(kills, index, "the oldest", topic->bounds.oldest, 0);
    }
    struct store_topic *view = topic;
    if (has_view(index) &&
        store_view_open(topic, STR("v"), false, &view) != ERR_OK) {
        lost_in(kills, index, "the view", 0, 1);
    }
    verify_cursor(kills, index, &view->cursor);
    read_all(kills, index);
    kills->ends[index] = end;
}

static void kills_begin(struct kills *kills, struct io *io)
{
    struct diag_sink sink = {
        .write = parent_log, .context = kills, .now_ms = clock_wall_ms};
    memset(kills, 0, sizeof(*kills));
    kills->io = io;
    store_place_create(&kills->place);
    kill_options(&kills->place);
    (void)snprintf(kills->kept, sizeof(kills->kept), "%s/killed",
                   kills->place.root);
    diag_set_sink(&sink);
}

static void kills_end(struct kills *kills)
{
    diag_set_sink(NULL);
    buf_fini(&kills->log);
    store_place_destroy(&kills->place);
}

/* Kill a child, recover, and check. */
static void kill_once(struct kills *kills, uint32_t told_count)
{
    child_kill(kills, told_count);
    store_place_keep(&kills->place, kills->kept);
    buf_clear(&kills->log);
    enum err err = store_place_open(&kills->place, kills->io);
    if (err != ERR_OK) {
        lost(kills, err_name(err), (uint64_t)err, ERR_OK);
    }
    for (uint32_t i = 0; i < CHILD_TOPICS; i++) {
        verify_topic(kills, i);
    }
    uint64_t quarantined = store_stats(kills->place.store)->quarantined;
    if (quarantined > 0) {
        lost(kills, "quarantined", quarantined, 0);
    }
    store_place_close(&kills->place);
}

static void a_kill_loses_nothing_that_was_told(void **state)
{
    static struct kills kills;
    int place_count = getenv("OPQ_TORTURE") != NULL ? 25 : 1;
    uint32_t seed = 12345;
    for (int place = 0; place < place_count; place++) {
        kills_begin(&kills, loop_of(state));
        for (kills.round = 0; kills.round < 8; kills.round++) {
            seed = seed * 1103515245 + 12345;
            kill_once(&kills, 1 + (seed >> 8) % 4000);
        }
        kills_end(&kills);
    }
}

int main(int count, char **arguments)
{
    uint64_t out = 0;
    if (count == 3 && str_to_u64(str_from(arguments[2]), &out) == ERR_OK) {
        child_run(arguments[1], (int)out); /* see child_kill() */
    }
    static const struct loop_test tests[] = {
        LOOP_TEST(a_kill_loses_nothing_that_was_told),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}

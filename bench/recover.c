/* How long a shard takes to open: messages of 128 bytes in some topics, after a
 * clean stop, and after a kill with as much in the journal as there can be.
 *
 * usage: recover [MESSAGES [TOPICS [DIRECTORY]]]
 *
 * Writes (10,000,000 messages, 100 topics) into DIRECTORY/opq-recover-*, which
 * is removed afterwards; DIRECTORY is /tmp. The figures are those of a warm
 * page cache, as after a crash of the process, not of the machine.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "base/str.h"
#include "store/store.h"
#include "store/store_local.h"
#include "sys/clock.h"
#include "sys/dir.h"
#include "sys/io.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    BODY_SIZE = 128,
    IN_FLIGHT = 4096, /* appends under way: batches of up to so many */
    TOPICS_MAX = 100000,
    KILL_EXIT = 7, /* the child could not be killed */
};

struct writer {
    struct io *io;
    struct store_local_data *data;
    struct store *store;
    struct store_topic **topics; /* owned */
    uint32_t topic_count;
    uint64_t left;    /* messages to append */
    uint64_t waiting; /* ops under way */
    uint64_t most;    /* bytes that were in the journal at once */
    bool kill;        /* end by SIGKILL when the journal is fullest */
};

struct append {
    struct store_op op;
    struct writer *writer;
    bool running;
};

static void fail(const char *what, enum err err)
{
    (void)fprintf(stderr, "recover: %s: %s\n", what, err_text(err));
    exit(1);
}

/* Open the store of a directory, and tell how long that took. */
static uint64_t open_store(struct writer *writer, const char *directory)
{
    struct store_local_options options;
    struct io_options io_options = {.backend = IO_BACKEND_AUTO};
    store_local_options_init(&options);
    options.directory = directory;
    options.topics_max = TOPICS_MAX;
    if (writer->kill) {
        options.checkpoint_interval_ms = UINT32_MAX;
    }
    enum err err = io_create(&io_options, &writer->io);
    uint64_t started_ns = clock_monotonic_ns();
    if (err == ERR_OK) {
        err = store_local_prepare(&options, &writer->data);
    }
    if (err == ERR_OK) {
        err = store_local_open(writer->data, writer->io, 0, &writer->store);
    }
    if (err != ERR_OK) {
        fail("open", err);
    }
    return clock_monotonic_ns() - started_ns;
}

static void closed(void *context)
{
    bool *is = context;
    *is = true;
}

static void close_store(struct writer *writer)
{
    bool is = false;
    store_close(writer->store, closed, &is);
    while (!is) {
        io_run_turn(writer->io, 100);
    }
    store_local_release(writer->data);
    io_destroy(writer->io);
}

/* --- writing, in a process of its own ------------------------------------- */

static void append_next(struct append *append)
{
    static char body[BODY_SIZE];
    struct writer *writer = append->writer;
    if (writer->left == 0) {
        return;
    }
    struct message message = {
        .url = STR("http://127.0.0.1:9000/sink"),
        .kind = MESSAGE_KIND_RAW,
        .body = {body, sizeof(body)},
        .pushed_at_ms = io_wall_ms(writer->io),
    };
    struct store_topic *topic =
        writer->topics[writer->left % writer->topic_count];
    enum err err = store_append(topic, &message, &append->op);
    if (err == ERR_OK) {
        writer->left--;
        writer->waiting++;
        append->running = true;
    } else if (err != ERR_BUSY) {
        fail("append", err);
    }
}

static void append_done(struct store_op *op, enum err err)
{
    struct append *append = CONTAINER_OF(op, struct append, op);
    if (err != ERR_OK) {
        fail("commit", err);
    }
    append->writer->waiting--;
    append->running = false;
    append_next(append);
}

/* Note how much is in the journal; die when it has got less, having been as
 * much as it gets. */
static void look(struct writer *writer)
{
    uint64_t used = store_stats(writer->store)->journal_bytes;
    if (writer->kill && used < writer->most && writer->most > 0) {
        (void)kill(getpid(), SIGKILL);
        _exit(KILL_EXIT);
    }
    writer->most = used;
}

static int run_writer(const char *directory, uint64_t count, uint32_t topics)
{
    static struct append appends[IN_FLIGHT];
    struct writer writer = {.topic_count = topics, .left = count};
    writer.kill = count == UINT64_MAX;
    (void)open_store(&writer, directory);
    writer.topics = calloc(topics, sizeof(struct store_topic *));
    if (writer.topics == NULL) {
        fail("topics", ERR_NOMEM);
    }
    for (uint32_t i = 0; i < topics; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "topic-%u", i);
        enum err err = store_topic_open(writer.store, str_from(name), true,
                                        &writer.topics[i]);
        if (err != ERR_OK) {
            fail("topic", err);
        }
    }
    for (uint32_t i = 0; i < IN_FLIGHT; i++) {
        appends[i].writer = &writer;
        appends[i].op.done = append_done;
        appends[i].op.durability = DURABILITY_DISK;
    }
    while (writer.left > 0 || writer.waiting > 0) {
        /* Those that were refused try again. */
        for (uint32_t i = 0; writer.waiting < IN_FLIGHT && i < IN_FLIGHT; i++) {
            if (!appends[i].running) {
                append_next(&appends[i]);
            }
        }
        io_run_turn(writer.io, 10);
        look(&writer);
    }
    free(writer.topics);
    close_store(&writer);
    return 0;
}

/* --- measuring ------------------------------------------------------------ */

/* Let a child write. Returns its status. */
static int spawn_writer(const char *directory, uint64_t count, uint32_t topics)
{
    char count_text[32];
    char topics_text[32];
    (void)snprintf(count_text, sizeof(count_text), "%llu",
                   (unsigned long long)count);
    (void)snprintf(topics_text, sizeof(topics_text), "%u", topics);
    pid_t pid = fork();
    if (pid == 0) {
        (void)execl("/proc/self/exe", "recover", "--write", directory,
                    count_text, topics_text, (char *)NULL);
        _exit(1);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        fail("fork", ERR_IO);
    }
    return status;
}

static void print_open(const char *when, const char *directory)
{
    struct writer reader = {0};
    uint64_t took_ns = open_store(&reader, directory);
    const struct store_stats *stats = store_stats(reader.store);
    printf("%-32s %8.3f s   %10llu messages from the journal\n", when,
           (double)took_ns / 1e9, (unsigned long long)stats->recovered);
    (void)fflush(stdout);
    close_store(&reader);
}

static void remove_all(const char *root)
{
    pid_t pid = fork();
    if (pid == 0) {
        (void)execlp("rm", "rm", "-rf", root, (char *)NULL);
        _exit(1);
    }
    (void)waitpid(pid, NULL, 0);
}

static int measure(uint64_t count, uint32_t topics, const char *parent)
{
    char root[DIR_PATH_MAX];
    char directory[DIR_PATH_MAX];
    if (dir_join(root, parent, "opq-recover-XXXXXX") != ERR_OK ||
        mkdtemp(root) == NULL || dir_join(directory, root, "data") != ERR_OK) {
        fail(parent, ERR_IO);
    }
    uint64_t started_ns = clock_monotonic_ns();
    int status = spawn_writer(directory, count, topics);
    double wrote_s = (double)(clock_monotonic_ns() - started_ns) / 1e9;
    if (status == 0) {
        printf("%llu messages of %d bytes in %u topics, written in %.1f s\n",
               (unsigned long long)count, BODY_SIZE, topics, wrote_s);
        print_open("open after a clean stop", directory);
        status = spawn_writer(directory, UINT64_MAX, topics);
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
            print_open("open after a kill, journal full", directory);
            status = 0;
        }
    }
    remove_all(root);
    return status == 0 ? 0 : 1;
}

int main(int count, char **arguments)
{
    uint64_t messages = 10000000;
    uint64_t topics = 100;
    if (count == 5 && strcmp(arguments[1], "--write") == 0) {
        if (str_to_u64(str_from(arguments[3]), &messages) != ERR_OK ||
            str_to_u64(str_from(arguments[4]), &topics) != ERR_OK) {
            return 2;
        }
        return run_writer(arguments[2], messages, (uint32_t)topics);
    }
    if ((count > 1 &&
         str_to_u64(str_from(arguments[1]), &messages) != ERR_OK) ||
        (count > 2 && str_to_u64(str_from(arguments[2]), &topics) != ERR_OK) ||
        count > 4 || messages == 0 || topics == 0 || topics > TOPICS_MAX) {
        (void)fprintf(stderr,
                      "usage: recover [MESSAGES [TOPICS [DIRECTORY]]]\n");
        return 2;
    }
    return measure(messages, (uint32_t)topics,
                   count > 3 ? arguments[3] : "/tmp");
}

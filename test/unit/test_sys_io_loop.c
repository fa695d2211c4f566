/* Tests of the event loop without sockets: turns, hooks, tasks, work, files,
 * the choice of the back end.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "sys/file.h"
#include "sys/io.h"

#include "lib/fault.h"
#include "lib/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* --- hooks --------------------------------------------------------------- */

struct counter {
    struct io_hook hook;
    struct io *io;
    int count;
    int last;     /* number of the last call, over all */
    bool removes; /* itself */
    struct counter *adds;
    struct counter *removes_other;
};

static int calls;

static void counted(struct io_hook *hook)
{
    struct counter *counter = CONTAINER_OF(hook, struct counter, hook);
    counter->count++;
    counter->last = ++calls;
    if (counter->adds != NULL) {
        io_hook_add(counter->io, &counter->adds->hook);
        counter->adds = NULL;
    }
    if (counter->removes) {
        io_hook_remove(counter->io, hook);
    }
    if (counter->removes_other != NULL) {
        io_hook_remove(counter->io, &counter->removes_other->hook);
    }
}

static void hooks_run_each_turn_in_the_order_added(void **state)
{
    struct io *io = loop_of(state);
    struct counter counters[3];
    memset(counters, 0, sizeof(counters));
    for (int i = 0; i < 3; i++) {
        counters[i].io = io;
        counters[i].hook.turn = counted;
        io_hook_add(io, &counters[i].hook);
    }
    for (int turn = 1; turn <= 3; turn++) {
        calls = 0;
        io_run_turn(io, 0);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(counters[i].count, turn);
            assert_int_equal(counters[i].last, i + 1);
        }
    }
    io_hook_remove(io, &counters[1].hook);
    io_run_turn(io, 0);
    assert_int_equal(counters[0].count, 4);
    assert_int_equal(counters[1].count, 3);
    assert_int_equal(counters[2].count, 4);
}

static void hooks_may_remove_and_add_hooks(void **state)
{
    struct io *io = loop_of(state);
    struct counter late = {.io = io, .hook.turn = counted};
    struct counter next = {.io = io, .hook.turn = counted};
    struct counter last = {.io = io, .hook.turn = counted};
    struct counter first = {.io = io,
                            .hook.turn = counted,
                            .removes = true,
                            .adds = &late,
                            .removes_other = &next};
    io_hook_add(io, &first.hook);
    io_hook_add(io, &next.hook);
    io_hook_add(io, &last.hook);
    io_run_turn(io, 0);
    io_run_turn(io, 0);
    assert_int_equal(first.count, 1);
    assert_int_equal(next.count, 0);
    assert_int_equal(last.count, 2);
    assert_true(late.count >= 1);
}

static void stop_from_a_hook(struct io_hook *hook)
{
    struct counter *counter = CONTAINER_OF(hook, struct counter, hook);
    if (++counter->count == 3) {
        io_stop(counter->io);
    }
}

struct tick {
    struct io_timer timer;
    struct io *io;
};

static void tick_again(struct io_timer *timer)
{
    struct tick *tick = CONTAINER_OF(timer, struct tick, timer);
    io_timer_start(tick->io, timer, 0);
}

static void run_ends_with_the_turn_that_was_stopped(void **state)
{
    struct io *io = loop_of(state);
    struct counter stopper = {.io = io, .hook.turn = stop_from_a_hook};
    struct counter after = {.io = io, .hook.turn = counted};
    struct tick tick = {.io = io, .timer.expired = tick_again};
    io_timer_start(io, &tick.timer, 0);
    io_hook_add(io, &stopper.hook);
    io_hook_add(io, &after.hook);
    io_run(io);
    assert_int_equal(stopper.count, 3);
    assert_int_equal(after.count, 3);
    stopper.count = 0;
    io_run(io); /* and again */
    assert_int_equal(stopper.count, 3);
}

static void time_is_that_of_the_turn(void **state)
{
    struct io *io = loop_of(state);
    io_run_turn(io, 0);
    uint64_t now = io_now_ns(io);
    assert_true(clock_monotonic_ns() >= now);
    assert_int_equal(io_now_ms(io), now / 1000000);
    uint64_t wall = clock_wall_ms();
    assert_true(io_wall_ms(io) <= wall && io_wall_ms(io) + 10000 > wall);
    LOOP_UNTIL(io, io_now_ns(io) >= now + 2000000);
}

/* --- tasks --------------------------------------------------------------- */

enum { POSTERS = 4, POSTS = 5000 };

struct post {
    struct io_task task;
    struct poster *poster;
    int index;
};

struct poster {
    struct io *io;
    pthread_t thread;
    int next; /* index of the post that must come next */
    struct post posts[POSTS];
};

static void post_ran(struct io_task *task)
{
    struct post *post = CONTAINER_OF(task, struct post, task);
    assert_int_equal(post->index, post->poster->next);
    post->poster->next++;
}

static void *post_all(void *context)
{
    struct poster *poster = context;
    for (int i = 0; i < POSTS; i++) {
        poster->posts[i].task.run = post_ran;
        poster->posts[i].poster = poster;
        poster->posts[i].index = i;
        io_post(poster->io, &poster->posts[i].task);
    }
    return NULL;
}

static void posts_run_in_the_order_of_each_thread(void **state)
{
    struct io *io = loop_of(state);
    struct poster *posters = calloc(POSTERS, sizeof(*posters));
    assert_non_null(posters);
    for (int i = 0; i < POSTERS; i++) {
        posters[i].io = io;
        assert_int_equal(
            pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
    }
    for (int i = 0; i < POSTERS; i++) {
        LOOP_UNTIL(io, posters[i].next == POSTS);
        assert_int_equal(pthread_join(posters[i].thread, NULL), 0);
    }
    free(posters);
}

struct hop {
    struct io_task task;
    struct io *io;
    int left;
    uint64_t turn; /* of the last run */
};

static void hopped(struct io_task *task)
{
    struct hop *hop = CONTAINER_OF(task, struct hop, task);
    assert_true(io_stats(hop->io)->turns > hop->turn);
    hop->turn = io_stats(hop->io)->turns;
    if (--hop->left > 0) {
        io_post(hop->io, task);
    }
}

static void a_task_may_post_itself_for_the_next_turn(void **state)
{
    struct io *io = loop_of(state);
    struct hop hop = {.io = io, .left = 5, .task.run = hopped};
    uint64_t waits = io_stats(io)->waits;
    io_post(io, &hop.task);
    while (hop.left > 0) {
        io_run_turn(io, -1);
    }
    assert_int_equal(io_stats(io)->waits, waits); /* it never slept */
}

enum { PINGS = 2000 };

struct ping {
    struct io_task task;
    struct io *io;
    sem_t taken;
    int count;
};

static void ping_ran(struct io_task *task)
{
    struct ping *ping = CONTAINER_OF(task, struct ping, task);
    ping->count++;
    assert_int_equal(sem_post(&ping->taken), 0);
}

/* Post just when the loop goes to sleep, again and again. */
static void *post_pings(void *context)
{
    struct ping *ping = context;
    for (int i = 0; i < PINGS; i++) {
        io_post(ping->io, &ping->task);
        while (sem_wait(&ping->taken) != 0) {
        }
    }
    return NULL;
}

static void a_post_wakes_a_loop_that_sleeps(void **state)
{
    struct io *io = loop_of(state);
    struct ping ping = {.io = io, .task.run = ping_ran};
    pthread_t thread;
    assert_int_equal(sem_init(&ping.taken, 0, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, post_pings, &ping), 0);
    while (ping.count < PINGS) {
        io_run_turn(io, -1); /* hangs if a wake-up is lost */
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(sem_destroy(&ping.taken), 0);
}

/* --- work ---------------------------------------------------------------- */

struct job {
    struct io_work work;
    pthread_t ran_on;
    int *ran;  /* counts on the helper thread */
    int *done; /* counts on the loop */
    int index;
};

static void job_run(struct io_work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    assert_int_equal(job->index, *job->ran);
    ++*job->ran;
    job->ran_on = pthread_self();
}

static void job_done(struct io_work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    assert_int_equal(job->index, *job->done);
    assert_false(pthread_equal(job->ran_on, pthread_self()));
    ++*job->done;
}

static void work_is_done_elsewhere_in_order(void **state)
{
    struct io *io = loop_of(state);
    struct job jobs[100];
    int ran = 0;
    int done = 0;
    memset(jobs, 0, sizeof(jobs));
    for (int i = 0; i < 100; i++) {
        jobs[i].index = i;
        jobs[i].ran = &ran;
        jobs[i].done = &done;
        jobs[i].work.run = job_run;
        jobs[i].work.done = job_done;
        io_work_start(io, &jobs[i].work);
    }
    assert_int_equal(done, 0);
    LOOP_UNTIL(io, done == 100);
    assert_int_equal(ran, 100);
}

/* --- files --------------------------------------------------------------- */

struct operation {
    struct io_file_op op;
    bool done;
    enum err err;
    size_t size;
};

static void operation_done(struct io_file_op *op, enum err err, size_t size)
{
    struct operation *operation = CONTAINER_OF(op, struct operation, op);
    assert_false(operation->done);
    operation->done = true;
    operation->err = err;
    operation->size = size;
}

typedef void start_function(struct io *io, struct io_file_op *op);

/* Work that takes until it is told to end. */
struct long_job {
    struct io_work work;
    sem_t begun;
    sem_t end;
    bool done;
};

static void long_job_run(struct io_work *work)
{
    struct long_job *job = CONTAINER_OF(work, struct long_job, work);
    assert_int_equal(sem_post(&job->begun), 0);
    while (sem_wait(&job->end) != 0) {
    }
}

static void long_job_done(struct io_work *work)
{
    CONTAINER_OF(work, struct long_job, work)->done = true;
}

static void long_job_start(struct io *io, struct long_job *job)
{
    memset(job, 0, sizeof(*job));
    assert_int_equal(sem_init(&job->begun, 0, 0), 0);
    assert_int_equal(sem_init(&job->end, 0, 0), 0);
    job->work.run = long_job_run;
    job->work.done = long_job_done;
    io_work_start(io, &job->work);
    while (sem_wait(&job->begun) != 0) {
    }
}

static void long_job_end(struct io *io, struct long_job *job)
{
    assert_int_equal(sem_post(&job->end), 0);
    LOOP_UNTIL(io, job->done);
    assert_int_equal(sem_destroy(&job->begun), 0);
    assert_int_equal(sem_destroy(&job->end), 0);
}

static struct operation do_file(struct io *io,
                                start_function *start,
                                int fd,
                                struct iovec *parts,
                                uint32_t part_count,
                                bool durable)
{
    struct operation operation = {.op = {.done = operation_done,
                                         .fd = fd,
                                         .parts = parts,
                                         .part_count = part_count,
                                         .offset = 100,
                                         .durable = durable}};
    start(io, &operation.op);
    assert_false(operation.done);
    LOOP_UNTIL(io, operation.done);
    return operation;
}

static int temporary_file(void)
{
    char path[] = "/tmp/opq-test.XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    return fd;
}

static void write_and_read_back(struct io *io, bool durable)
{
    static char data[300000];
    static char back[300000];
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (char)(i % 251);
    }
    int fd = temporary_file();
    struct iovec out[] = {{data, 7}, {NULL, 0}, {data + 7, sizeof(data) - 7}};
    struct operation result = do_file(io, io_write_at, fd, out, 3, durable);
    assert_int_equal(result.err, ERR_OK);
    assert_int_equal(result.size, sizeof(data));
    result = do_file(io, io_sync, fd, NULL, 0, false);
    assert_int_equal(result.err, ERR_OK);
    struct iovec in[] = {{back, 100000}, {back + 100000, 200000}};
    result = do_file(io, io_read_at, fd, in, 2, false);
    assert_int_equal(result.err, ERR_OK);
    assert_int_equal(result.size, sizeof(data));
    assert_memory_equal(back, data, sizeof(data));
    (void)close(fd);
}

static void files_are_written_synced_and_read(void **state)
{
    struct io *io = loop_of(state);
    write_and_read_back(io, false);
    write_and_read_back(io, true);
}

static void files_do_not_wait_for_work(void **state)
{
    struct io *io = loop_of(state);
    struct long_job job;
    long_job_start(io, &job);
    write_and_read_back(io, true);
    assert_false(job.done);
    long_job_end(io, &job);
}

/* The first read waits here; what ran, in order. */
static struct {
    sem_t begun;
    sem_t go_on;
    char order[8];
    size_t count;
} gate;

static ssize_t gate_preadv2(
    int fd, const struct iovec *parts, int part_count, off_t offset, int flags)
{
    gate.order[gate.count++] = 'r';
    if (gate.count == 1) {
        assert_int_equal(sem_post(&gate.begun), 0);
        while (sem_wait(&gate.go_on) != 0) {
        }
    }
    return file_kernel_calls()->preadv2(fd, parts, part_count, offset, flags);
}

static ssize_t gate_pwritev2(
    int fd, const struct iovec *parts, int part_count, off_t offset, int flags)
{
    gate.order[gate.count++] = 'w';
    return file_kernel_calls()->pwritev2(fd, parts, part_count, offset, flags);
}

static void writes_go_before_reads_that_wait(void **state)
{
    struct io *io = loop_of(state);
    struct file_calls gated = *file_kernel_calls();
    struct operation operations[4] = {0};
    char bytes[4] = {0};
    struct iovec parts[4];
    int fd = temporary_file();
    memset(&gate, 0, sizeof(gate));
    assert_int_equal(sem_init(&gate.begun, 0, 0), 0);
    assert_int_equal(sem_init(&gate.go_on, 0, 0), 0);
    gated.preadv2 = gate_preadv2;
    gated.pwritev2 = gate_pwritev2;
    file_set_calls(&gated);
    for (int i = 0; i < 4; i++) {
        parts[i] = (struct iovec){&bytes[i], 1};
        operations[i].op = (struct io_file_op){
            .done = operation_done,
            .fd = fd,
            .parts = &parts[i],
            .part_count = 1,
        };
    }
    io_read_at(io, &operations[0].op);
    while (sem_wait(&gate.begun) != 0) {
    }
    io_read_at(io, &operations[1].op);
    io_read_at(io, &operations[2].op);
    io_write_at(io, &operations[3].op);
    assert_int_equal(sem_post(&gate.go_on), 0);
    for (int i = 0; i < 4; i++) {
        LOOP_UNTIL(io, operations[i].done);
        assert_int_equal(operations[i].err, ERR_OK);
    }
    file_set_calls(NULL);
    assert_true(memcmp(gate.order, "rwr", 3) == 0);
    assert_int_equal(sem_destroy(&gate.begun), 0);
    assert_int_equal(sem_destroy(&gate.go_on), 0);
    (void)close(fd);
}

static void reading_ends_at_the_end_of_the_file(void **state)
{
    struct io *io = loop_of(state);
    int fd = temporary_file();
    char back[100];
    struct iovec in[] = {{back, 50}, {back + 50, 50}};
    assert_int_equal(pwrite(fd, "12345", 5, 100), 5);
    struct operation result = do_file(io, io_read_at, fd, in, 2, false);
    assert_int_equal(result.err, ERR_OK);
    assert_int_equal(result.size, 5);
    assert_memory_equal(back, "12345", 5);
    (void)close(fd);
}

static void file_failures_are_told(void **state)
{
    struct io *io = loop_of(state);
    char byte = 'x';
    struct iovec part = {&byte, 1};
    int fd = open("/dev/full", O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(do_file(io, io_write_at, fd, &part, 1, false).err,
                     ERR_FULL);
    (void)close(fd);
    fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(do_file(io, io_write_at, fd, &part, 1, false).err, ERR_IO);
    (void)close(fd);
    assert_int_equal(do_file(io, io_read_at, fd, &part, 1, false).err, ERR_IO);
    assert_int_equal(do_file(io, io_sync, fd, NULL, 0, false).err, ERR_IO);
}

static void faults_reach_the_operations_of_the_loop(void **state)
{
    struct io *io = loop_of(state);
    int fd = temporary_file();
    char data[2] = "xy";
    struct iovec part = {data, 2};
    fault_install();
    fault_set(&(struct fault_plan){
        .kinds = FAULT_SYNC, .at = 1, .error_number = EIO});
    assert_int_equal(do_file(io, io_write_at, fd, &part, 1, true).err, ERR_OK);
    assert_int_equal(do_file(io, io_sync, fd, NULL, 0, false).err, ERR_IO);
    fault_set(&(struct fault_plan){.kinds = FAULT_WRITE,
                                   .at = 1,
                                   .short_write = true,
                                   .error_number = ENOSPC});
    part = (struct iovec){data, 2};
    assert_int_equal(do_file(io, io_write_at, fd, &part, 1, true).err,
                     ERR_FULL);
    fault_remove();
    (void)close(fd);
}

static void many_operations_at_once_all_end(void **state)
{
    struct io *io = loop_of(state);
    enum { OPERATIONS = 3000 }; /* more than a submission ring holds */
    struct operation *all = calloc(OPERATIONS, sizeof(*all));
    struct iovec *parts = calloc(OPERATIONS, sizeof(*parts));
    char byte = 'x';
    int fd = temporary_file();
    assert_true(all != NULL && parts != NULL);
    for (int i = 0; i < OPERATIONS; i++) {
        parts[i] = (struct iovec){&byte, 1};
        all[i].op = (struct io_file_op){.done = operation_done,
                                        .fd = fd,
                                        .parts = &parts[i],
                                        .part_count = 1,
                                        .offset = (uint64_t)i};
        io_write_at(io, &all[i].op);
    }
    for (int i = 0; i < OPERATIONS; i++) {
        LOOP_UNTIL(io, all[i].done);
        assert_int_equal(all[i].err, ERR_OK);
    }
    assert_int_equal(lseek(fd, 0, SEEK_END), OPERATIONS);
    (void)close(fd);
    free(all);
    free(parts);
}

/* --- the choice of the back end ------------------------------------------ */

static void the_back_end_asked_for_is_taken(void **state)
{
    struct io *io = loop_of(state);
    struct io *other = NULL;
    struct io_options options = {.backend = IO_BACKEND_EPOLL,
                                 .sockets_max = 10};
    assert_int_equal(io_create(&options, &other), ERR_OK);
    assert_string_equal(io_backend_name(other), "epoll");
    io_destroy(other);
    if (strcmp(io_backend_name(io), "io_uring") == 0) {
        options.backend = IO_BACKEND_AUTO;
        assert_int_equal(io_create(&options, &other), ERR_OK);
        assert_string_equal(io_backend_name(other), "io_uring");
        io_destroy(other);
    }
    io_destroy(NULL);
}

/* Let a call fail with EPERM, as containers do. */
static int forbid(long call)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 4, .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                   prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0
               ? 0
               : -1;
}

/* In a process of its own; the exit code says what was not as it should. */
static int create_without(long call)
{
    struct io_options options = {.backend = IO_BACKEND_URING};
    struct io *io = NULL;
    if (forbid(call) != 0) {
        return 77; /* no seccomp here */
    }
    if (io_create(&options, &io) != ERR_UNSUPPORTED || io != NULL) {
        return 1;
    }
    options.backend = IO_BACKEND_AUTO;
    if (io_create(&options, &io) != ERR_OK) {
        return 2;
    }
    if (strcmp(io_backend_name(io), "epoll") != 0) {
        return 3;
    }
    io_destroy(io);
    return 0;
}

static void epoll_is_taken_where_io_uring_is_refused(void **state)
{
    (void)loop_of(state);
    const long calls_refused[] = {SYS_io_uring_setup, SYS_io_uring_register};
    for (int i = 0; i < 2; i++) {
        int status = -1;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            _exit(create_without(calls_refused[i]));
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77) {
            skip();
        }
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

static void *run_in_thread(void *context)
{
    struct counter *counter = context;
    io_hook_add(counter->io, &counter->hook);
    struct tick tick = {.io = counter->io, .timer.expired = tick_again};
    io_timer_start(counter->io, &tick.timer, 0);
    io_run(counter->io);
    io_timer_stop(counter->io, &tick.timer);
    return NULL;
}

static void a_loop_may_be_made_and_freed_by_another_thread(void **state)
{
    struct io *io = loop_of(state);
    struct counter stopper = {.io = io, .hook.turn = stop_from_a_hook};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run_in_thread, &stopper), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(stopper.count, 3);
}

int main(void)
{
    const struct loop_test tests[] = {
        LOOP_TEST(hooks_run_each_turn_in_the_order_added),
        LOOP_TEST(hooks_may_remove_and_add_hooks),
        LOOP_TEST(run_ends_with_the_turn_that_was_stopped),
        LOOP_TEST(time_is_that_of_the_turn),
        LOOP_TEST(posts_run_in_the_order_of_each_thread),
        LOOP_TEST(a_task_may_post_itself_for_the_next_turn),
        LOOP_TEST(a_post_wakes_a_loop_that_sleeps),
        LOOP_TEST(work_is_done_elsewhere_in_order),
        LOOP_TEST(files_are_written_synced_and_read),
        LOOP_TEST(files_do_not_wait_for_work),
        LOOP_TEST(writes_go_before_reads_that_wait),
        LOOP_TEST(reading_ends_at_the_end_of_the_file),
        LOOP_TEST(file_failures_are_told),
        LOOP_TEST(faults_reach_the_operations_of_the_loop),
        LOOP_TEST(many_operations_at_once_all_end),
        LOOP_TEST(the_back_end_asked_for_is_taken),
        LOOP_TEST(epoll_is_taken_where_io_uring_is_refused),
        LOOP_TEST(a_loop_may_be_made_and_freed_by_another_thread),
    };
    return loop_run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}

/* The helper threads of a loop: one for work that blocks, first come first
 * served, and one for file operations, so that a commit never waits until a
 * checkpoint is written. Among file operations, writes and syncs, which commits
 * consist of, go before reads that wait.
 *
 * A thread starts with the first it has to do, with all signals blocked, so
 * that they go to the threads that want them. Results come back by io_post().
 *
 * When no thread can be started, the work is done on the loop: slow, but it
 * is done, and the next work tries again.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/check.h"
#include "base/diag.h"
#include "sys/file.h"
#include "sys/io_private.h"

#include <signal.h>
#include <string.h>

static void *worker_main(void *context)
{
    struct io_worker *worker = context;
    CHECK(pthread_mutex_lock(&worker->lock) == 0);
    for (;;) {
        struct list *node = list_take_first(&worker->first);
        if (node == NULL) {
            node = list_take_first(&worker->queue);
        }
        if (node == NULL && worker->stopping) {
            break;
        }
        if (node == NULL) {
            CHECK(pthread_cond_wait(&worker->more, &worker->lock) == 0);
            continue;
        }
        CHECK(pthread_mutex_unlock(&worker->lock) == 0);
        struct io_work *work = CONTAINER_OF(node, struct io_work, link);
        work->run(work);
        io_post(work->io, &work->task);
        CHECK(pthread_mutex_lock(&worker->lock) == 0);
    }
    CHECK(pthread_mutex_unlock(&worker->lock) == 0);
    return NULL;
}

enum err io_worker_init(struct io_worker *worker)
{
    memset(worker, 0, sizeof(*worker));
    list_init(&worker->first);
    list_init(&worker->queue);
    if (pthread_mutex_init(&worker->lock, NULL) != 0) {
        return ERR_NOMEM;
    }
    if (pthread_cond_init(&worker->more, NULL) != 0) {
        (void)pthread_mutex_destroy(&worker->lock);
        return ERR_NOMEM;
    }
    return ERR_OK;
}

void io_worker_fini(struct io_worker *worker)
{
    if (worker->started) {
        CHECK(pthread_mutex_lock(&worker->lock) == 0);
        CHECK(list_empty(&worker->first) && list_empty(&worker->queue));
        worker->stopping = true;
        CHECK(pthread_cond_signal(&worker->more) == 0);
        CHECK(pthread_mutex_unlock(&worker->lock) == 0);
        CHECK(pthread_join(worker->thread, NULL) == 0);
    }
    (void)pthread_cond_destroy(&worker->more);
    (void)pthread_mutex_destroy(&worker->lock);
}

static bool worker_start(struct io_worker *worker)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)sigdelset(&all, SIGBUS); /* see process_on_lost_mapping() */
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    int rc = pthread_create(&worker->thread, NULL, worker_main, worker);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    worker->started = rc == 0;
    if (rc != 0) {
        DIAG_WARN("helper_thread_failed", "errno=%d", rc);
    }
    return worker->started;
}

static void work_posted(struct io_task *task)
{
    struct io_work *work = CONTAINER_OF(task, struct io_work, task);
    work->done(work);
}

/* Put work into a queue of a worker: `first` or `queue`. */
static void worker_give(struct io *io,
                        struct io_worker *worker,
                        struct list *queue,
                        struct io_work *work)
{
    CHECK(work->run != NULL && work->done != NULL);
    work->io = io;
    work->task.run = work_posted;
    if (!worker->started && !worker_start(worker)) {
        work->run(work);
        io_post(io, &work->task);
        return;
    }
    memset(&work->link, 0, sizeof(work->link));
    CHECK(pthread_mutex_lock(&worker->lock) == 0);
    list_append(queue, &work->link);
    CHECK(pthread_cond_signal(&worker->more) == 0);
    CHECK(pthread_mutex_unlock(&worker->lock) == 0);
}

void io_work_start(struct io *io, struct io_work *work)
{
    worker_give(io, &io->worker, &io->worker.queue, work);
}

static void file_run(struct io_work *work)
{
    struct io_file_op *op = CONTAINER_OF(work, struct io_file_op, work);
    size_t size = 0;
    switch (op->kind) {
    case IO_FILE_WRITE:
        for (uint32_t i = 0; i < op->part_count; i++) {
            size += op->parts[i].iov_len;
        }
        op->err = file_write_parts(op->fd, op->parts, op->part_count,
                                   op->offset + op->moved, op->durable);
        break;
    case IO_FILE_READ:
        op->err = file_read_parts(op->fd, op->parts, op->part_count,
                                  op->offset + op->moved, &size);
        break;
    default:
        CHECK(op->kind == IO_FILE_SYNC);
        op->err = file_sync(op->fd);
        break;
    }
    if (op->err == ERR_OK) {
        op->moved += size;
    }
}

static void file_ran(struct io_work *work)
{
    struct io_file_op *op = CONTAINER_OF(work, struct io_file_op, work);
    io_file_done(op, op->err);
}

void io_work_file(struct io *io, struct io_file_op *op)
{
    op->work.run = file_run;
    op->work.done = file_ran;
    struct io_worker *worker = &io->file_worker;
    bool waits = op->kind == IO_FILE_READ;
    worker_give(io, worker, waits ? &worker->queue : &worker->first, &op->work);
}

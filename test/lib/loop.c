/* Event loops for tests.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/loop.h"

#include "base/check.h"
#include "sys/io_private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BACKEND_COUNT = 2 };

struct fixture {
    enum io_backend backend;
    struct io *io; /* NULL: not available */
};

static struct fixture fixtures[BACKEND_COUNT] = {
    {.backend = IO_BACKEND_EPOLL},
    {.backend = IO_BACKEND_URING},
};

static int setup(void **state)
{
    struct fixture *fixture = *state;
    struct io_options options = {.backend = fixture->backend};
    enum err err = io_create(&options, &fixture->io);
    return err == ERR_OK || err == ERR_UNSUPPORTED ? 0 : -1;
}

/* Tell whether the helper thread has work that it did not begin. */
static bool has_work(struct io *io)
{
    struct io_worker *worker = &io->worker;
    CHECK(pthread_mutex_lock(&worker->lock) == 0);
    bool has = !list_empty(&worker->first) || !list_empty(&worker->queue);
    CHECK(pthread_mutex_unlock(&worker->lock) == 0);
    return has;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    struct io *io = fixture->io;
    fixture->io = NULL;
    if (io != NULL && (io->sockets > 0 || io->file_ops > 0 || has_work(io))) {
        return -1; /* a test that failed; io_destroy() would abort */
    }
    io_destroy(io);
    return 0;
}

struct io *loop_of(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->io == NULL) {
        skip();
    }
    return fixture->io;
}

int loop_run_tests(const struct loop_test *tests, size_t count)
{
    static struct CMUnitTest all[LOOP_TESTS_MAX * BACKEND_COUNT];
    static char names[LOOP_TESTS_MAX * BACKEND_COUNT][128];
    size_t used = 0;
    CHECK(count <= LOOP_TESTS_MAX);
    for (size_t i = 0; i < count * BACKEND_COUNT; i++) {
        const struct loop_test *test = &tests[i / BACKEND_COUNT];
        struct fixture *fixture = &fixtures[i % BACKEND_COUNT];
        if (test->once && i % BACKEND_COUNT != 0) {
            continue;
        }
        (void)snprintf(names[used], sizeof(names[used]), "%s on %s", test->name,
                       fixture->backend == IO_BACKEND_EPOLL ? "epoll"
                                                            : "io_uring");
        all[used] = (struct CMUnitTest){.name = names[used],
                                        .test_func = test->run,
                                        .setup_func = setup,
                                        .teardown_func = teardown,
                                        .initial_state = fixture};
        used++;
    }
    /* The array is as long as it can be; unused places are not tests. */
    return _cmocka_run_group_tests("loop", all, used, NULL, NULL);
}

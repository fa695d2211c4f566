/* The process: signals, threads, supervisor.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/process.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

struct process_thread {
    pthread_t thread;
    void (*run)(void *context);
    void *context; /* borrowed */
};

static sigset_t waited_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGUSR1);
    return set;
}

void process_block_signals(void)
{
    sigset_t set = waited_signals();
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)sigaction(SIGPIPE, &ignore, NULL);
}

enum process_signal process_wait_signal(int wait_ms)
{
    sigset_t set = waited_signals();
    struct timespec wait = {.tv_sec = wait_ms / 1000,
                            .tv_nsec = (long)(wait_ms % 1000) * 1000000};
    int number;

    do {
        number = wait_ms < 0 ? sigwaitinfo(&set, NULL)
                             : sigtimedwait(&set, NULL, &wait);
    } while (number < 0 && errno == EINTR);
    switch (number) {
    case SIGTERM:
    case SIGINT:
        return PROCESS_SIGNAL_STOP;
    case SIGHUP:
        return PROCESS_SIGNAL_RELOAD;
    case SIGUSR1:
        return PROCESS_SIGNAL_REOPEN;
    default:
        return PROCESS_SIGNAL_NONE;
    }
}

uint32_t process_cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0) {
        return 1;
    }
    return (uint32_t)CPU_COUNT(&set);
}

uint64_t process_raise_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 0;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

void process_hide_memory(void)
{
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

uint32_t process_id(void)
{
    return (uint32_t)getpid();
}

_Noreturn void process_exit(int code)
{
    _exit(code);
}

static void *thread_main(void *context)
{
    struct process_thread *thread = context;

    thread->run(thread->context);
    return NULL;
}

enum err process_thread_start(void (*run)(void *context),
                              void *context,
                              struct process_thread **out)
{
    struct process_thread *thread = malloc(sizeof(*thread));

    if (thread == NULL) {
        return ERR_NOMEM;
    }
    thread->run = run;
    thread->context = context;
    int number = pthread_create(&thread->thread, NULL, thread_main, thread);
    if (number != 0) {
        free(thread);
        return err_from_errno(number);
    }
    *out = thread;
    return ERR_OK;
}

void process_thread_join(struct process_thread *thread)
{
    if (thread == NULL) {
        return;
    }
    (void)pthread_join(thread->thread, NULL);
    free(thread);
}

struct process_gate {
    pthread_barrier_t barrier;
};

enum err process_gate_create(uint32_t count, struct process_gate **out)
{
    struct process_gate *gate = malloc(sizeof(*gate));

    if (gate == NULL) {
        return ERR_NOMEM;
    }
    int number = pthread_barrier_init(&gate->barrier, NULL, count);
    if (number != 0) {
        free(gate);
        return err_from_errno(number);
    }
    *out = gate;
    return ERR_OK;
}

void process_gate_pass(struct process_gate *gate)
{
    (void)pthread_barrier_wait(&gate->barrier);
}

void process_gate_destroy(struct process_gate *gate)
{
    if (gate == NULL) {
        return;
    }
    (void)pthread_barrier_destroy(&gate->barrier);
    free(gate);
}

void process_notify(const char *state)
{
    (void)sd_notify(0, state);
}

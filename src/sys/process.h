/* The process: its signals, its threads, its supervisor.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_SYS_PROCESS_H
#define OPQ_SYS_PROCESS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum process_signal {
    PROCESS_SIGNAL_STOP,   /* SIGTERM, SIGINT */
    PROCESS_SIGNAL_RELOAD, /* SIGHUP */
    PROCESS_SIGNAL_REOPEN, /* SIGUSR1 */
    PROCESS_SIGNAL_NONE,   /* nothing within the time */
};

struct process_thread;

/* Block the signals above for this thread and those it starts, so that only
 * process_wait_signal() gets them; ignore SIGPIPE. Before any thread. */
void process_block_signals(void);

/* Wait for a signal, at most `wait_ms` (-1: for ever). */
enum process_signal process_wait_signal(int wait_ms);

/* Cores that this process may use. */
uint32_t process_cores(void);

/* Raise the limit of open files to what is allowed; returns the limit. */
uint64_t process_raise_files(void);

/* Keep what is in memory from others of our user, and out of core dumps: there
 * are keys in it. Until exec. */
void process_hide_memory(void);

/* The process id. */
uint32_t process_id(void);

/* End the process at once: no destructors, no flushing. */
_Noreturn void process_exit(int code);

/* Start a thread.
 * Gives:  `*out`, for process_thread_join().
 * Errors: ERR_BUSY, ERR_NOMEM */
MUST_CHECK enum err process_thread_start(void (*run)(void *context),
                                         void *context,
                                         struct process_thread **out);

/* Wait for a thread's end, and free it. Accepts NULL. */
void process_thread_join(struct process_thread *thread);

struct process_gate;

/* Make a gate that opens when `count` threads stand before it, again and again.
 * Gives:  `*out`, for process_gate_destroy().
 * Errors: ERR_NOMEM, ERR_BUSY */
MUST_CHECK enum err process_gate_create(uint32_t count,
                                        struct process_gate **out);

/* Wait before the gate until it opens. Blocks. Threads: any. */
void process_gate_pass(struct process_gate *gate);

/* Free it. Accepts NULL. Nobody stands before it. */
void process_gate_destroy(struct process_gate *gate);

/* Tell the supervisor (systemd, Type=notify) a state: "READY=1". Does nothing
 * without one. */
void process_notify(const char *state);

#endif

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

/* Call `lost` when the file behind a mapping cannot be read or written
 * (SIGBUS), on the thread that touched it, wherever that was: it ends the
 * process. No thread may block that signal. Before any thread. */
void process_on_lost_mapping(void (*lost)(void));

/* Open what is closed of standard input, output and error, to nothing: or a
 * socket would be the next to have such a number. First of all. */
void process_hold_standard(void);

/* Wait for a signal, at most `wait_ms` (-1: for ever). */
enum process_signal process_wait_signal(int wait_ms);

/* Tell whether process_wait_signal() would say stop; leaves that to it. */
bool process_stop_waits(void);

/* Cores that this process may use. */
uint32_t process_cores(void);

/* Raise the limit of open files to what is allowed; returns the limit. */
uint64_t process_raise_files(void);

/* What the process takes of the machine. 0: not known. */
struct process_usage {
    uint64_t cpu_us; /* in user space and in the kernel, all threads */
    uint64_t resident_bytes;
    uint64_t virtual_bytes;
    uint64_t files_open; /* descriptors */
    uint64_t files_max;
};

/* Find it out. Costs a few system calls, and before Linux 6.2 a look at each
 * open descriptor. Threads: any. */
void process_usage(struct process_usage *out_usage);

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

/* Take the sockets that the supervisor has opened for us (LISTEN_FDS), at most
 * `max`. The environment is told to name them no more, so that there are none
 * the second time. Before any thread.
 *
 * Gives:  `out_fds`, `*out_count` of them, for close; close-on-exec.
 * Errors: ERR_RANGE    there are more
 *         ERR_INVALID  the environment names what is no number, or not open
 */
MUST_CHECK enum err
process_sockets(uint32_t max, int *out_fds, uint32_t *out_count);

#endif

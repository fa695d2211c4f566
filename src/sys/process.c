/* The process: signals, threads, supervisor.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/process.h"

#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
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

static void (*mapping_lost)(void);

/* Raised by the thread's own access, so what it was doing cannot have been
 * among what the function below calls. Sent by others, or for a mistake of
 * ours, the signal does as ever. */
static void bus_error(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_code == BUS_ADRERR) {
        mapping_lost();
    }
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

void process_on_lost_mapping(void (*lost)(void))
{
    struct sigaction action = {.sa_sigaction = bus_error,
                               .sa_flags = SA_SIGINFO};

    mapping_lost = lost;
    (void)sigaction(SIGBUS, &action, NULL);
}

void process_hold_standard(void)
{
    int fd = STDIN_FILENO;

    while (fd >= 0 && fd <= STDERR_FILENO) {
        fd = open("/dev/null", O_RDWR); /* the lowest that is free */
    }
    if (fd >= 0) {
        (void)close(fd);
    }
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

bool process_stop_waits(void)
{
    sigset_t set;

    return sigpending(&set) == 0 &&
           (sigismember(&set, SIGTERM) == 1 || sigismember(&set, SIGINT) == 1);
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

static uint64_t microseconds(const struct timeval *time)
{
    return (uint64_t)time->tv_sec * 1000000 + (uint64_t)time->tv_usec;
}

/* Pages of memory, in all and resident; both 0 when that is not known. */
static void count_pages(uint64_t *out_all, uint64_t *out_resident)
{
    char text[128] = "";
    char *end = NULL;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        ssize_t size = read(fd, text, sizeof(text) - 1);
        text[size > 0 ? size : 0] = '\0';
        (void)close(fd);
    }
    *out_all = strtoull(text, &end, 10);
    *out_resident = strtoull(end, NULL, 10);
}

/* How many descriptors there are, but for the one that looks. */
static uint64_t count_files(void)
{
    static const char path[] = "/proc/self/fd";
    struct stat about;
    uint64_t count = 0;

    if (stat(path, &about) == 0 && about.st_size > 0) {
        return (uint64_t)about.st_size; /* since Linux 6.2 */
    }
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return 0;
    }
    while (readdir(directory) != NULL) {
        count++;
    }
    (void)closedir(directory);
    return count > 3 ? count - 3 : 0; /* ".", "..", its own */
}

void process_usage(struct process_usage *out_usage)
{
    struct process_usage usage = {0};
    struct rusage used;
    struct rlimit limit;
    uint64_t page_size = (uint64_t)sysconf(_SC_PAGESIZE);

    if (getrusage(RUSAGE_SELF, &used) == 0) {
        usage.cpu_us =
            microseconds(&used.ru_utime) + microseconds(&used.ru_stime);
    }
    count_pages(&usage.virtual_bytes, &usage.resident_bytes);
    usage.virtual_bytes *= page_size;
    usage.resident_bytes *= page_size;
    usage.files_open = count_files();
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        usage.files_max = limit.rlim_cur;
    }
    *out_usage = usage;
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

/* --- the supervisor
 * ------------------------------------------------------- */

/* Both halves are a few lines of a protocol that systemd promises to keep
 * (sd_notify(3), sd_listen_fds(3)); its library cannot be linked
 * statically. */

enum { FIRST_SOCKET = 3 }; /* SD_LISTEN_FDS_START */

void process_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (path == NULL || (path[0] != '/' && path[0] != '@')) {
        return;
    }
    size_t size = strlen(path);
    if (size >= sizeof(address.sun_path)) {
        return;
    }
    memcpy(address.sun_path, path, size);
    if (path[0] == '@') {
        address.sun_path[0] = '\0'; /* a name that is no file */
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    socklen_t address_size =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    (void)sendto(fd, state, strlen(state), MSG_NOSIGNAL,
                 (const struct sockaddr *)&address, address_size);
    (void)close(fd);
}

/* A number of the environment; 0 where it is not there. */
static enum err environment_number(const char *name, uint64_t *out)
{
    const char *text = getenv(name);

    if (text == NULL) {
        *out = 0;
        return ERR_OK;
    }
    return str_to_u64(str_from(text), out);
}

enum err process_sockets(uint32_t max, int *out_fds, uint32_t *out_count)
{
    uint64_t process = 0;
    uint64_t count = 0;
    enum err process_err = environment_number("LISTEN_PID", &process);
    enum err count_err = environment_number("LISTEN_FDS", &count);

    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    if (process_err != ERR_OK || count_err != ERR_OK) {
        return ERR_INVALID;
    }
    if (process != process_id()) {
        count = 0; /* meant for who started us */
    }
    if (count > max) {
        return ERR_RANGE;
    }
    for (uint32_t index = 0; index < count; index++) {
        if (fcntl(FIRST_SOCKET + (int)index, F_SETFD, FD_CLOEXEC) != 0) {
            return ERR_INVALID;
        }
    }
    for (uint32_t index = 0; index < count; index++) {
        out_fds[index] = FIRST_SOCKET + (int)index;
    }
    *out_count = (uint32_t)count;
    return ERR_OK;
}

/* Programs: running one, and becoming one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/exec.h"

#include "sys/clock.h"
#include "sys/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Tell whether a path leads to the program that runs. */
static bool is_own_path(const char *path)
{
    struct stat own;
    struct stat named;

    return strchr(path, '/') != NULL && stat("/proc/self/exe", &own) == 0 &&
           stat(path, &named) == 0 && own.st_dev == named.st_dev &&
           own.st_ino == named.st_ino;
}

enum err exec_own_path(const char *name, char path[EXEC_PATH_MAX])
{
    if (is_own_path(name) && strlen(name) < EXEC_PATH_MAX) {
        memcpy(path, name, strlen(name) + 1);
        return ERR_OK;
    }
    ssize_t size = readlink("/proc/self/exe", path, EXEC_PATH_MAX);

    if (size <= 0) {
        return ERR_IO;
    }
    if (size >= EXEC_PATH_MAX) {
        return ERR_TOO_LARGE;
    }
    path[size] = '\0';
    return ERR_OK;
}

enum err exec_own_file(int *out_fd)
{
    *out_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    return *out_fd >= 0 ? ERR_OK : ERR_IO;
}

/* --- running one ---------------------------------------------------------- */

/* Why a program did not begin, by its errno. */
static enum err start_err(int number)
{
    enum err err = err_from_errno(number);

    return err == ERR_NOT_FOUND || err == ERR_DENIED || err == ERR_NOMEM
               ? err
               : ERR_IO;
}

/* Start it, its standard error being `error_fd`. Errors: as exec_run() */
static enum err start(const char *path,
                      char *const *arguments,
                      char *const *environment,
                      int error_fd,
                      pid_t *out_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;

    if (posix_spawn_file_actions_init(&actions) != 0) {
        return ERR_NOMEM;
    }
    if (posix_spawnattr_init(&attributes) != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return ERR_NOMEM;
    }
    (void)sigemptyset(&none);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int rc = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO,
                                              "/dev/null", O_WRONLY, 0);
    if (rc == 0) {
        rc =
            posix_spawn_file_actions_adddup2(&actions, error_fd, STDERR_FILENO);
    }
    if (rc == 0) {
        rc = posix_spawn(out_pid, path, &actions, &attributes, arguments,
                         environment);
    }
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return rc == 0 ? ERR_OK : start_err(rc);
}

/* Keep the last line of what comes that is not empty. */
static void note_output(struct exec_result *result, const char *bytes, size_t n)
{
    size_t size = strlen(result->output);

    for (size_t i = 0; i < n; i++) {
        if (size > 0 && result->output[size - 1] == '\n') {
            size = 0;
        }
        if (bytes[i] == '\n' && size == 0) {
            continue;
        }
        if (size < EXEC_OUTPUT_MAX - 2) {
            result->output[size] = bytes[i] == '\0' ? ' ' : bytes[i];
            size++;
        } else if (bytes[i] == '\n') {
            result->output[size - 1] = '\n';
        }
    }
    result->output[size] = '\0';
}

/* Tell whether to wait on. Errors: ERR_TIMEOUT, ERR_CLOSED */
static enum err may_wait(uint64_t until_ms)
{
    if (process_stop_waits()) {
        return ERR_CLOSED;
    }
    return clock_monotonic_ns() / 1000000 < until_ms ? ERR_OK : ERR_TIMEOUT;
}

/* Read what it says until it says no more. Errors: as may_wait() */
static enum err listen_to(int fd, uint64_t until_ms, struct exec_result *result)
{
    enum { LOOK_MS = 50 };
    char bytes[EXEC_OUTPUT_MAX];

    for (;;) {
        /* Each time: it may talk for ever. */
        enum err err = may_wait(until_ms);
        if (err != ERR_OK) {
            return err;
        }
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int count = poll(&ready, 1, LOOK_MS);
        if (count == 0) {
            continue;
        }
        ssize_t size = count < 0 ? -1 : read(fd, bytes, sizeof(bytes));
        if (size > 0) {
            note_output(result, bytes, (size_t)size);
        } else if (size == 0 || errno != EINTR) {
            return ERR_OK;
        }
    }
}

/* Wait for its end: it may have closed its standard error before.
 * Errors: as may_wait() */
static enum err await_end(pid_t pid, uint64_t until_ms, int *out_status)
{
    enum { STEP_MS = 5 };

    while (waitpid(pid, out_status, WNOHANG) == 0) {
        enum err err = may_wait(until_ms);
        if (err != ERR_OK) {
            return err;
        }
        clock_sleep_ms(STEP_MS);
    }
    return ERR_OK;
}

/* End it, whatever it does. */
static void end(pid_t pid, int *out_status)
{
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, out_status, 0) < 0 && errno == EINTR) {
    }
}

enum err exec_run(const char *path,
                  char *const *arguments,
                  char *extra,
                  unsigned wait_ms,
                  struct exec_result *out)
{
    int ends[2];
    pid_t pid = -1;
    int status = 0;
    size_t count = 0;

    *out = (struct exec_result){0};
    while (environ[count] != NULL) {
        count++;
    }
    char **environment = calloc(count + 2, sizeof(*environment));
    if (environment == NULL) {
        return ERR_NOMEM;
    }
    memcpy(environment, environ, count * sizeof(*environment));
    environment[count] = extra;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        free(environment);
        return ERR_IO;
    }
    enum err err = start(path, arguments, environment, ends[1], &pid);
    free(environment);
    (void)close(ends[1]);
    if (err == ERR_OK) {
        uint64_t until_ms = clock_monotonic_ns() / 1000000 + wait_ms;
        err = listen_to(ends[0], until_ms, out);
        if (err == ERR_OK) {
            err = await_end(pid, until_ms, &status);
        }
        if (err != ERR_OK) {
            end(pid, &status);
        }
        out->code =
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    (void)close(ends[0]);
    size_t size = strlen(out->output);
    if (size > 0 && out->output[size - 1] == '\n') {
        out->output[size - 1] = '\0';
    }
    return err;
}

/* --- becoming one --------------------------------------------------------- */

enum err exec_become(const char *path,
                     char *const *arguments,
                     const char *variable,
                     const char *value)
{
    if (setenv(variable, value, 1) != 0) {
        return ERR_NOMEM;
    }
    (void)execve(path, arguments, environ);
    return start_err(errno);
}

enum err exec_become_file(int fd,
                          char *const *arguments,
                          const char *variable,
                          const char *value)
{
    if (setenv(variable, value, 1) != 0) {
        return ERR_NOMEM;
    }
    (void)fexecve(fd, arguments, environ);
    return start_err(errno);
}

bool exec_share(int fd, bool shared)
{
    int flags = fcntl(fd, F_GETFD);

    if (flags < 0) {
        return false;
    }
    flags = shared ? flags & ~FD_CLOEXEC : flags | FD_CLOEXEC;
    return fcntl(fd, F_SETFD, flags) == 0;
}

void exec_hold(int fd)
{
    int held = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (held >= 0 && held != fd) {
        (void)dup3(held, fd, O_CLOEXEC);
        (void)close(held);
    }
}

/* --- what is left behind -------------------------------------------------- */

enum err exec_leave(struct str bytes, int *out_fd)
{
    int fd = memfd_create("opq-handover", 0);

    if (fd < 0) {
        return errno == EMFILE || errno == ENFILE ? ERR_BUSY : ERR_NOMEM;
    }
    while (bytes.size > 0) {
        ssize_t size = write(fd, bytes.data, bytes.size);
        if (size < 0 && errno == EINTR) {
            continue;
        }
        if (size <= 0) {
            (void)close(fd);
            return errno == ENOSPC || errno == ENOMEM ? ERR_NOMEM : ERR_IO;
        }
        bytes = str_cut(bytes, (size_t)size, bytes.size);
    }
    *out_fd = fd;
    return ERR_OK;
}

enum err exec_left(int fd, char **out, size_t *out_size)
{
    struct stat status;

    if (fstat(fd, &status) != 0 || status.st_size < 0) {
        return ERR_IO;
    }
    size_t size = (size_t)status.st_size;
    char *bytes = malloc(size + 1);
    if (bytes == NULL) {
        return ERR_NOMEM;
    }
    size_t done = 0;
    while (done < size) {
        ssize_t count = pread(fd, bytes + done, size - done, (off_t)done);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            free(bytes);
            return ERR_IO;
        }
        done += (size_t)count;
    }
    *out = bytes;
    *out_size = size;
    return ERR_OK;
}

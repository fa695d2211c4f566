/* Directories, through the table of sys/file.h where names change.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/dir.h"

#include "base/check.h"
#include "sys/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { DIR_MODE = 0750 };

static enum err dir_err(int error_number)
{
    return error_number == ENOENT ? ERR_NOT_FOUND : ERR_IO;
}

static bool is_directory(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

bool dir_is_link(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0 && S_ISLNK(status.st_mode);
}

/* Make one directory whose parent is there. */
static enum err create_one(const char *path)
{
    if (file_current_calls()->mkdir(path, DIR_MODE) == 0) {
        return ERR_OK;
    }
    int error_number = errno;
    if (error_number == EEXIST) {
        return is_directory(path) ? ERR_OK : ERR_EXISTS;
    }
    if (error_number == ENOTDIR) {
        return ERR_EXISTS; /* a file has the name of one above */
    }
    return err_from_errno(error_number) == ERR_FULL ? ERR_FULL : ERR_IO;
}

enum err dir_create(const char *path)
{
    char part[DIR_PATH_MAX];
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof(part)) {
        return ERR_IO;
    }
    if (is_directory(path)) {
        return ERR_OK;
    }
    memcpy(part, path, size + 1);
    for (size_t i = 1; i < size; i++) {
        if (part[i] != '/' || part[i - 1] == '/') {
            continue;
        }
        part[i] = '\0';
        enum err err = is_directory(part) ? ERR_OK : create_one(part);
        if (err != ERR_OK) {
            return err;
        }
        part[i] = '/';
    }
    return create_one(path);
}

enum err dir_sync(const char *path)
{
    return file_sync_directory(path);
}

/* Tell whether an entry is a directory; symbolic links are not. */
static enum err
entry_is_directory(DIR *stream, const struct dirent *entry, bool *out_is)
{
    if (entry->d_type != DT_UNKNOWN) {
        *out_is = entry->d_type == DT_DIR;
        return ERR_OK;
    }
    struct stat status;
    if (fstatat(dirfd(stream), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) !=
        0) {
        return ERR_IO;
    }
    *out_is = S_ISDIR(status.st_mode);
    return ERR_OK;
}

enum err
dir_each(const char *path,
         enum err (*visit)(void *context, const char *name, bool is_directory),
         void *context)
{
    DIR *stream = opendir(path);
    if (stream == NULL) {
        return dir_err(errno);
    }
    enum err err = ERR_OK;
    while (err == ERR_OK) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (entry == NULL) {
            err = errno == 0 ? ERR_OK : ERR_IO;
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 ||
            strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        bool is = false;
        err = entry_is_directory(stream, entry, &is);
        if (err == ERR_OK) {
            err = visit(context, entry->d_name, is);
        }
    }
    (void)closedir(stream);
    return err;
}

static enum err remove_directory(const char *path)
{
    return file_current_calls()->rmdir(path) == 0 ? ERR_OK : dir_err(errno);
}

/* A name of a folder inside of the one that goes: files only. */
static enum err remove_inner(void *context, const char *name, bool directory)
{
    char path[DIR_PATH_MAX];
    enum err err = dir_join(path, context, name);
    if (err != ERR_OK || directory) {
        return ERR_IO; /* deeper than we ever make them */
    }
    return file_remove(path);
}

static enum err remove_entry(void *context, const char *name, bool directory)
{
    char path[DIR_PATH_MAX];
    enum err err = dir_join(path, context, name);
    if (err != ERR_OK) {
        return ERR_IO;
    }
    if (!directory) {
        return file_remove(path);
    }
    err = dir_each(path, remove_inner, path);
    return err == ERR_OK ? remove_directory(path) : err;
}

enum err dir_remove(const char *path)
{
    char copy[DIR_PATH_MAX];
    size_t size = strlen(path);
    if (size >= sizeof(copy)) {
        return ERR_IO;
    }
    memcpy(copy, path, size + 1);
    enum err err = dir_each(copy, remove_entry, copy);
    return err == ERR_OK ? remove_directory(copy) : err;
}

bool dir_allowed(const char *path)
{
    char part[DIR_PATH_MAX];
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof(part)) {
        return true;
    }
    memcpy(part, path, size + 1);
    while (faccessat(AT_FDCWD, part, W_OK | X_OK, AT_EACCESS) != 0) {
        if (errno == EACCES || errno == EPERM || errno == EROFS) {
            struct stat status;
            return stat(part, &status) == 0 && !S_ISDIR(status.st_mode);
        }
        if (errno != ENOENT) {
            return true;
        }
        char *slash = strrchr(part, '/');
        if (slash == NULL) {
            return faccessat(AT_FDCWD, ".", W_OK | X_OK, AT_EACCESS) == 0;
        }
        slash[slash == part ? 1 : 0] = '\0'; /* the one above it */
    }
    return true;
}

uint64_t dir_lock_stamp(int fd)
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return 0;
    }
    return (uint64_t)status.st_mtim.tv_sec * 1000000000 +
           (uint64_t)status.st_mtim.tv_nsec;
}

enum err dir_lock(const char *path, int *out_fd)
{
    bool again = false;
    return dir_lock_since(path, 0, out_fd, &again);
}

enum err
dir_lock_since(const char *path, uint64_t since, int *out_fd, bool *out_again)
{
    int fd = -1;
    if (file_open(path, FILE_WRITE | FILE_CREATE, &fd) != ERR_OK) {
        return ERR_IO;
    }
    enum err err = ERR_IO;
    /* A lock of the open file, not of the process: closing another descriptor
     * of the same file does not lose it. */
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        err = errno == EAGAIN || errno == EACCES ? ERR_BUSY : ERR_IO;
        goto fail;
    }
    bool again = since != 0 && dir_lock_stamp(fd) == since;
    char text[32];
    int size = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (file_truncate(fd, 0) != ERR_OK ||
        file_write_at(fd, text, (size_t)size, 0, false) != ERR_OK) {
        goto fail;
    }
    *out_fd = fd;
    *out_again = again;
    return ERR_OK;

fail:
    file_close(fd);
    return err;
}

bool dir_locked(const char *path)
{
    int fd = -1;
    if (file_open(path, FILE_READ, &fd) != ERR_OK) {
        return false;
    }
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool locked = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    file_close(fd);
    return locked;
}

void dir_unlock(int fd)
{
    file_close(fd); /* the lock goes with the descriptor */
}

enum err dir_space(const char *path, uint64_t *out_free, uint64_t *out_total)
{
    struct statvfs status;
    int rc;
    do {
        rc = statvfs(path, &status);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0) {
        return dir_err(errno);
    }
    *out_free = (uint64_t)status.f_bavail * status.f_frsize;
    *out_total = (uint64_t)status.f_blocks * status.f_frsize;
    return ERR_OK;
}

enum err dir_join(char *path, const char *directory, const char *name)
{
    size_t directory_size = strlen(directory);
    size_t name_size = strlen(name);
    if (directory_size + 1 + name_size + 1 > DIR_PATH_MAX) {
        return ERR_TOO_LARGE;
    }
    memcpy(path, directory, directory_size);
    path[directory_size] = '/';
    memcpy(path + directory_size + 1, name, name_size + 1);
    return ERR_OK;
}

bool dir_file_is_public(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && (status.st_mode & S_IROTH) != 0;
}

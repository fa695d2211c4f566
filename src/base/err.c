/* Names and words of the error codes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

struct err_words {
    const char *name; /* as in the source */
    const char *text; /* for people */
};

static const struct err_words words[] = {
    [ERR_OK] = {"ERR_OK", "ok"},
    [ERR_AGAIN] = {"ERR_AGAIN", "not complete yet"},
    [ERR_INVALID] = {"ERR_INVALID", "not valid"},
    [ERR_TOO_LARGE] = {"ERR_TOO_LARGE", "too large"},
    [ERR_NOT_FOUND] = {"ERR_NOT_FOUND", "not found"},
    [ERR_EXISTS] = {"ERR_EXISTS", "exists already"},
    [ERR_RANGE] = {"ERR_RANGE", "out of range"},
    [ERR_CONDITION] = {"ERR_CONDITION", "not as expected"},
    [ERR_UNSUPPORTED] = {"ERR_UNSUPPORTED", "not supported here"},
    [ERR_NOMEM] = {"ERR_NOMEM", "out of memory"},
    [ERR_BUSY] = {"ERR_BUSY", "busy, a bound is reached"},
    [ERR_FULL] = {"ERR_FULL", "no room on disk"},
    [ERR_IO] = {"ERR_IO", "input or output failed"},
    [ERR_CORRUPT] = {"ERR_CORRUPT", "stored bytes are damaged"},
    [ERR_CLOSED] = {"ERR_CLOSED", "closed"},
    [ERR_REFUSED] = {"ERR_REFUSED", "connection refused or unreachable"},
    [ERR_RESET] = {"ERR_RESET", "connection reset"},
    [ERR_TIMEOUT] = {"ERR_TIMEOUT", "timed out"},
    [ERR_DNS] = {"ERR_DNS", "name has no usable address"},
    [ERR_TLS] = {"ERR_TLS", "TLS handshake or verification failed"},
    [ERR_DENIED] = {"ERR_DENIED", "not allowed"},
    [ERR_PROTOCOL] = {"ERR_PROTOCOL", "protocol violated"},
};

static_assert(sizeof(words) / sizeof(words[0]) == ERR_COUNT,
              "every code has its words");

const char *err_text(enum err err)
{
    unsigned index = (unsigned)err;
    return index < ERR_COUNT ? words[index].text : "unknown error";
}

const char *err_name(enum err err)
{
    unsigned index = (unsigned)err;
    return index < ERR_COUNT ? words[index].name : "ERR_UNKNOWN";
}

enum err err_from_errno(int error_number)
{
    switch (error_number) {
    case ENOSPC:
    case EDQUOT:
        return ERR_FULL;
    case ENOMEM:
        return ERR_NOMEM;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return ERR_REFUSED;
    case ECONNRESET:
    case EPIPE:
        return ERR_RESET;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case EMFILE:
    case ENFILE:
    case EAGAIN:
        return ERR_BUSY;
    case EOPNOTSUPP:
    case ENOSYS:
        return ERR_UNSUPPORTED;
    default:
        return ERR_IO;
    }
}

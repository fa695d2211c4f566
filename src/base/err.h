/* What can go wrong, named by what the caller can do about it.
 *
 * One type for the whole program; zero is success. A function that returns it
 * is MUST_CHECK: return the code or handle it, never both.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_ERR_H
#define OPQ_BASE_ERR_H

#define MUST_CHECK __attribute__((warn_unused_result))

enum err {
    ERR_OK = 0,
    /* Not done yet: the same call goes on when more has arrived. */
    ERR_AGAIN,
    /* The caller's input is wrong and will be wrong next time. */
    ERR_INVALID,
    ERR_TOO_LARGE,   /* larger than a limit; would be right if smaller */
    ERR_NOT_FOUND,   /* no such thing */
    ERR_EXISTS,      /* it is there already */
    ERR_RANGE,       /* a position outside what is kept */
    ERR_CONDITION,   /* not as the caller expected it to be */
    ERR_UNSUPPORTED, /* this build, kernel or file system cannot */
    /* Right, but not now: try again later. */
    ERR_NOMEM, /* an allocation failed or a pool is empty */
    ERR_BUSY,  /* a bound is reached */
    ERR_FULL,  /* no room on disk, or in this file */
    /* The world failed. */
    ERR_IO,      /* the kernel or the device said no */
    ERR_CORRUPT, /* bytes read back are not those that were written */
    /* A peer failed; the names are those of the delivery's error classes. */
    ERR_CLOSED,   /* it ended the connection in order, or we did */
    ERR_REFUSED,  /* connection refused or unreachable */
    ERR_RESET,    /* connection reset or broken */
    ERR_TIMEOUT,  /* a deadline passed */
    ERR_DNS,      /* the name has no usable address */
    ERR_TLS,      /* handshake or verification failed */
    ERR_DENIED,   /* the address or the right is not allowed */
    ERR_PROTOCOL, /* it does not speak what it should */
    ERR_COUNT,
};

/* Name a code in words, for people: "no room on disk". Never NULL. */
const char *err_text(enum err err);

/* Name a code as in the source, for programs: "ERR_FULL". Never NULL. */
const char *err_name(enum err err);

/* Turn an errno value into the code whose remedy is the same.
 *
 * ENOSPC, EDQUOT: ERR_FULL. ENOMEM: ERR_NOMEM. ENOENT: ERR_NOT_FOUND.
 * EEXIST: ERR_EXISTS. ECONNREFUSED, EHOSTUNREACH, ENETUNREACH: ERR_REFUSED.
 * ECONNRESET, EPIPE: ERR_RESET. ETIMEDOUT: ERR_TIMEOUT. EMFILE, ENFILE,
 * EAGAIN: ERR_BUSY. EOPNOTSUPP, ENOSYS: ERR_UNSUPPORTED. Any other: ERR_IO.
 */
enum err err_from_errno(int error_number);

#endif

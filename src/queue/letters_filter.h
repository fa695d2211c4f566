/* What a dead letter says of its end, and which letters a request is about.
 *
 * The text is what deliverer_settle.c wrote, read back from disk: nothing in it
 * is trusted.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_LETTERS_FILTER_H
#define OPQ_QUEUE_LETTERS_FILTER_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

enum { LETTERS_STATUS_MAX = 999 };

/* Members of a letter's JSON; what is not there, or is of another type, is
 * empty or 0. */
struct letters_end {
    struct str reason; /* borrowed from the letter or the memory, as are */
    struct str class;  /* those below */
    struct str subscription; /* it was for that one alone; empty: it was not */
    bool has_status;         /* there was an attempt */
    uint64_t status;         /* 0: no answer came */
    uint64_t at_ms;          /* wall clock; 0: not known */
    uint64_t sequence;       /* that it had in its topic */
    uint64_t attempts;       /* that failed */
};

/* Which letters are meant: those to which all applies that is given. */
struct letters_filter {
    bool one; /* only that with the number `sequence` */
    uint64_t sequence;
    struct str reason;       /* borrowed, as those below; empty: any */
    struct str class;        /* empty: any */
    struct str subscription; /* empty: any */
    bool by_status;
    uint32_t status_first; /* 0: also letters whose target did not answer */
    uint32_t status_last;
    uint64_t from_ms; /* wall clock of its end: not before, */
    uint64_t to_ms;   /* and before; 0: without limit */
};

/* Read what a letter says.
 *
 * Borrows: letter and memory, as long as `*out_end` is used; memory is cleared.
 * Errors:  ERR_INVALID  it is no JSON object
 *          ERR_NOMEM
 */
MUST_CHECK enum err letters_filter_read(struct str letter,
                                        struct buf *memory,
                                        struct letters_end *out_end);

/* Read a status, or a range of them, "500" or "500-599", into a filter.
 * Errors: ERR_INVALID, ERR_RANGE; it then is as it was */
MUST_CHECK enum err letters_filter_status(struct letters_filter *filter,
                                          struct str text);

/* Tell whether a filter means a letter by what it says. */
bool letters_filter_match(const struct letters_filter *filter,
                          uint64_t sequence,
                          const struct letters_end *end);

#endif

/* The small text files of a data directory: a first line with the version,
 * "name value" lines in a fixed order, and the checksum of all of them.
 *
 * Reading keeps the first failure and is checked once, at the end.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_LOG_CONF_TEXT_H
#define OPQ_LOG_CONF_TEXT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct conf_text {
    struct reader reader; /* behind what was read */
    struct str all;       /* borrowed: the whole file */
    bool failed;          /* something was not as it must be */
};

/* Begin to read: the first line is "<kind> <version>".
 *
 * Borrows: all, until conf_text_close().
 * Errors:  ERR_UNSUPPORTED  a higher version
 *          ERR_CORRUPT      not of this kind
 */
MUST_CHECK enum err conf_text_open(struct conf_text *text,
                                   struct str all,
                                   struct str kind,
                                   uint64_t version);

/* Read the line "<name> <decimal number>"; 0 when it is not the next. */
uint64_t conf_text_u64(struct conf_text *text, struct str name);

/* Read the line "<name> <hexadecimal number>"; 0 when it is not the next. */
uint64_t conf_text_hex(struct conf_text *text, struct str name);

/* Read `size` bytes and the newline behind them. */
struct str conf_text_bytes(struct conf_text *text, uint64_t size);

/* End reading: the checksum line is next, and right.
 * Errors: ERR_CORRUPT  it is not, or something before was wrong */
MUST_CHECK enum err conf_text_close(struct conf_text *text);

/* End writing: append the checksum line. */
void conf_text_seal(struct buf *text);

#endif

/* Diagnostics: one line an event, for operators.
 *
 *     DIAG_WARN("segment_roll_failed", "path=%s err=%s", path, err_text(err));
 *     2026-01-02T03:04:05.678Z warn segment_roll_failed path=... err=...
 *
 * The event name is stable. error: an operator must act; warn: OPQ coped, look
 * soon; info: life-cycle only; debug: off by default. Never the body of a
 * message, a secret, or a line per message at info: rates are counters.
 *
 * A line is written with one write(2), to the file given to diag_open() and,
 * while `also_stderr` is set, to standard error. Bytes below 0x20 and 0x7f in
 * values are printed as \xHH, so that a peer cannot forge a line.
 *
 * Threads: any.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_DIAG_H
#define OPQ_BASE_DIAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum diag_level {
    DIAG_LEVEL_ERROR,
    DIAG_LEVEL_WARN,
    DIAG_LEVEL_INFO,
    DIAG_LEVEL_DEBUG,
};

/* Where lines go. The functions are given by sys/ (base makes no calls). */
struct diag_sink {
    /* Write one whole line, newline included. */
    void (*write)(void *context, const char *line, size_t size);
    void *context; /* borrowed while set */
    /* Wall clock, milliseconds since 1970. */
    uint64_t (*now_ms)(void);
};

/* Send lines to `sink` (copied); NULL drops them, as it is at start. When it
 * returns, the one before is not called any more. Never from inside a sink.
 *
 * Blocks: while lines are being written to the one before
 */
void diag_set_sink(const struct diag_sink *sink);

/* Print lines up to this level; info at start. */
void diag_set_level(enum diag_level level);

/* Print lines as JSON objects instead of text. */
void diag_set_json(bool json);

/* Tell whether lines of this level are printed. */
bool diag_enabled(enum diag_level level);

/* Print one line; use the macros. Cuts a line at 2,048 bytes. */
void diag_print(enum diag_level level,
                const char *event,
                const char *format,
                ...) __attribute__((format(printf, 3, 4)));

#define DIAG_AT(level, ...)                                                    \
    (diag_enabled(level) ? diag_print(level, __VA_ARGS__) : (void)0)
#define DIAG_ERROR(...) DIAG_AT(DIAG_LEVEL_ERROR, __VA_ARGS__)
#define DIAG_WARN(...) DIAG_AT(DIAG_LEVEL_WARN, __VA_ARGS__)
#define DIAG_INFO(...) DIAG_AT(DIAG_LEVEL_INFO, __VA_ARGS__)
#define DIAG_DEBUG(...) DIAG_AT(DIAG_LEVEL_DEBUG, __VA_ARGS__)

#endif

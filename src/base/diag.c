/* Formatting of diagnostic lines.
 *
 * A line is built in a fixed array, so that out of memory can be reported too.
 * The array is lent to a `struct buf` whose limit is its size: such a buffer
 * never allocates, and refuses what does not fit.
 *
 * The sink is held by readers while they write, so that after diag_set_sink()
 * the one before is not called any more and its context may go.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/diag.h"

#include "base/buf.h"
#include "base/str.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

enum {
    LINE_SIZE_MAX = 2048, /* bytes, newline included */
    TAIL_SIZE_MAX = 3,    /* "}\n and its quote */
};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static pthread_rwlock_t sink_lock = PTHREAD_RWLOCK_INITIALIZER;
static struct diag_sink sink; /* under sink_lock */
static atomic_int level_now = DIAG_LEVEL_INFO;
static atomic_bool json_now = false;

void diag_set_sink(const struct diag_sink *new_sink)
{
    (void)pthread_rwlock_wrlock(&sink_lock);
    sink = new_sink != NULL ? *new_sink : (struct diag_sink){0};
    (void)pthread_rwlock_unlock(&sink_lock);
}

void diag_set_level(enum diag_level level)
{
    atomic_store_explicit(&level_now, (int)level, memory_order_relaxed);
}

void diag_set_json(bool json)
{
    atomic_store_explicit(&json_now, json, memory_order_relaxed);
}

bool diag_enabled(enum diag_level level)
{
    return (int)level <= atomic_load_explicit(&level_now, memory_order_relaxed);
}

/* RFC 3339 in UTC with milliseconds. */
static void append_time(struct buf *line, uint64_t now_ms)
{
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm parts = {0};
    char text[sizeof("-2147483648-01-02T03:04:05")];

    (void)gmtime_r(&seconds, &parts);
    size_t size = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
    unsigned ms = (unsigned)(now_ms % 1000);
    char fraction[] = {'.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10),
                       (char)('0' + ms % 10), 'Z'};
    buf_append(line, text, size);
    buf_append(line, fraction, sizeof(fraction));
}

/* Append until the line is full; controls as \xHH. */
static void append_escaped(struct buf *line, struct str text)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < text.size && !line->failed; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        char escape[] = {'\\', 'x', hex[byte >> 4], hex[byte & 15]};
        if (byte < 0x20 || byte == 0x7f) {
            buf_append(line, escape, sizeof(escape));
        } else {
            buf_append_byte(line, text.data[i]);
        }
    }
}

/* Bytes of the UTF-8 character that begins with `byte`, if it is one. */
static size_t character_size(char byte)
{
    unsigned char lead = (unsigned char)byte;
    if (lead < 0xc0) {
        return 1;
    }
    if (lead < 0xe0) {
        return 2;
    }
    return lead < 0xf0 ? 3 : 4;
}

/* Append until the line is full, by whole characters. */
static void append_json(struct buf *line, struct str text)
{
    size_t at = 0;
    while (at < text.size && !line->failed) {
        struct str one = str_cut(text, at, character_size(text.data[at]));
        buf_append_json(line, one);
        at += one.size;
    }
}

static void build_text(struct buf *line,
                       const char *level_name,
                       const char *event,
                       struct str detail)
{
    buf_append_byte(line, ' ');
    buf_append_c(line, level_name);
    buf_append_byte(line, ' ');
    append_escaped(line, str_from(event));
    if (detail.size > 0) {
        buf_append_byte(line, ' ');
        append_escaped(line, detail);
    }
}

static void build_json(struct buf *line,
                       const char *level_name,
                       const char *event,
                       struct str detail)
{
    buf_append_c(line, "\",\"level\":\"");
    buf_append_c(line, level_name);
    buf_append_c(line, "\",\"event\":\"");
    append_json(line, str_from(event));
    buf_append_c(line, "\",\"detail\":\"");
    append_json(line, detail);
}

/* Build a line in `memory` of LINE_SIZE_MAX bytes. */
static struct str build_line(char *memory,
                             uint64_t now_ms,
                             enum diag_level level,
                             const char *event,
                             struct str detail)
{
    bool json = atomic_load_explicit(&json_now, memory_order_relaxed);
    struct buf line = {.data = memory,
                       .capacity = LINE_SIZE_MAX,
                       .size_max = LINE_SIZE_MAX - TAIL_SIZE_MAX};
    if (json) {
        buf_append_c(&line, "{\"time\":\"");
    }
    append_time(&line, now_ms);
    (json ? build_json : build_text)(&line, level_names[level], event, detail);

    line.failed = false; /* cut; there is room for the tail */
    line.size_max = LINE_SIZE_MAX;
    buf_append_c(&line, json ? "\"}\n" : "\n");
    return buf_str(&line);
}

void diag_print(enum diag_level level,
                const char *event,
                const char *format,
                ...)
{
    if (!diag_enabled(level)) {
        return;
    }
    char detail[LINE_SIZE_MAX];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(detail, sizeof(detail), format, arguments);
    va_end(arguments);
    size_t detail_size = size > 0 ? (size_t)size : 0;
    if (detail_size >= sizeof(detail)) {
        detail_size = sizeof(detail) - 1;
    }

    (void)pthread_rwlock_rdlock(&sink_lock);
    if (sink.write != NULL) {
        char memory[LINE_SIZE_MAX];
        uint64_t now_ms = sink.now_ms != NULL ? sink.now_ms() : 0;
        struct str text = {detail, detail_size};
        struct str line = build_line(memory, now_ms, level, event, text);
        sink.write(sink.context, line.data, line.size);
    }
    (void)pthread_rwlock_unlock(&sink_lock);
}

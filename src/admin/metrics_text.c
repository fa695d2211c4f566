/* The text format of Prometheus.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admin/metrics_text.h"

#include "base/check.h"
#include "base/json_text.h"

enum {
    DECIMALS_MAX = 9,
    EXPONENT_MAX = 40, /* of base/histogram.c */
};

void metrics_text_family(struct buf *to,
                         const char *name,
                         const char *type,
                         const char *help)
{
    buf_append_c(to, "# HELP ");
    buf_append_c(to, name);
    buf_append_byte(to, ' ');
    for (; *help != '\0'; help++) {
        if (*help == '\\') {
            buf_append_c(to, "\\\\");
        } else if (*help == '\n') {
            buf_append_c(to, "\\n");
        } else {
            buf_append_byte(to, *help);
        }
    }
    buf_append_c(to, "\n# TYPE ");
    buf_append_c(to, name);
    buf_append_byte(to, ' ');
    buf_append_c(to, type);
    buf_append_byte(to, '\n');
}

/* Append the inside of a label's quotes. */
static void append_value(struct buf *to, struct str value)
{
    bool good = json_text_is_text(value);

    for (size_t i = 0; i < value.size; i++) {
        char byte = value.data[i];
        if (byte == '\\' || byte == '"') {
            buf_append_byte(to, '\\');
            buf_append_byte(to, byte);
        } else if (byte == '\n') {
            buf_append_c(to, "\\n");
        } else if (byte == '\0' || (!good && (unsigned char)byte >= 0x80)) {
            buf_append_c(to, "\xef\xbf\xbd");
        } else {
            buf_append_byte(to, byte);
        }
    }
}

void metrics_text_label(struct buf *labels, const char *name, struct str value)
{
    if (labels->size > 0) {
        buf_append_byte(labels, ',');
    }
    buf_append_c(labels, name);
    buf_append_c(labels, "=\"");
    append_value(labels, value);
    buf_append_byte(labels, '"');
}

void metrics_text_number(struct buf *to, uint64_t value, uint32_t decimals)
{
    char digits[DECIMALS_MAX];
    uint32_t size = decimals;

    CHECK(decimals <= DECIMALS_MAX);
    for (uint32_t i = decimals; i > 0; i--) {
        digits[i - 1] = (char)('0' + value % 10);
        value /= 10;
    }
    while (size > 0 && digits[size - 1] == '0') {
        size--;
    }
    buf_append_u64(to, value);
    if (size > 0) {
        buf_append_byte(to, '.');
        buf_append(to, digits, size);
    }
}

/* Append what is before the value of a sample, with one more label. */
static void append_name(struct buf *to,
                        const char *name,
                        const char *suffix,
                        struct str labels)
{
    buf_append_c(to, name);
    buf_append_c(to, suffix);
    if (labels.size > 0) {
        buf_append_byte(to, '{');
        buf_append_str(to, labels);
        buf_append_byte(to, '}');
    }
    buf_append_byte(to, ' ');
}

void metrics_text_sample(struct buf *to,
                         const char *name,
                         struct str labels,
                         uint64_t value,
                         uint32_t decimals)
{
    append_name(to, name, "", labels);
    metrics_text_number(to, value, decimals);
    buf_append_byte(to, '\n');
}

static void append_bucket(struct buf *to,
                          const char *name,
                          const struct metrics_text_bounds *bounds,
                          uint32_t exponent,
                          uint64_t count)
{
    uint64_t bound = UINT64_C(1) << exponent;

    buf_append_c(to, name);
    buf_append_c(to, "_bucket{le=\"");
    metrics_text_number(to, bounds->decimals > 0 ? bound : bound - 1,
                        bounds->decimals);
    buf_append_c(to, "\"} ");
    buf_append_u64(to, count);
    buf_append_byte(to, '\n');
}

void metrics_text_histogram(struct buf *to,
                            const char *name,
                            const struct histogram *histogram,
                            const struct metrics_text_bounds *bounds)
{
    CHECK(bounds->last <= EXPONENT_MAX);
    for (uint32_t exponent = bounds->first; exponent <= bounds->last;
         exponent++) {
        append_bucket(to, name, bounds, exponent,
                      histogram_below(histogram, exponent));
    }
    append_name(to, name, "_bucket", STR("le=\"+Inf\""));
    buf_append_u64(to, histogram->count);
    buf_append_byte(to, '\n');
    append_name(to, name, "_sum", (struct str){NULL, 0});
    metrics_text_number(to, histogram->sum, bounds->decimals);
    buf_append_byte(to, '\n');
    append_name(to, name, "_count", (struct str){NULL, 0});
    buf_append_u64(to, histogram->count);
    buf_append_byte(to, '\n');
}

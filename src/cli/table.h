/* Rows of text in columns, for people.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_CLI_TABLE_H
#define OPQ_CLI_TABLE_H

#include "base/buf.h"

#include <stdint.h>

enum { TABLE_COLUMNS_MAX = 12 };

struct table {
    uint32_t column_count; /* at most TABLE_COLUMNS_MAX */
    uint32_t right;        /* bit i: column i is aligned right (numbers) */
    uint32_t cell_count;
    struct buf cells; /* owned: texts, each ended by a NUL, row by row */
};

/* Begin a table. */
void table_init(struct table *table, uint32_t column_count, uint32_t right);

/* Free its memory. */
void table_fini(struct table *table);

/* Add the next cell; controls in it become '?'. */
void table_add(struct table *table, const char *text);

/* Add a number as the next cell. */
void table_add_u64(struct table *table, uint64_t value);

/* Append the table: columns two blanks apart, no blanks at the ends of lines.
 * The last row is whole. Widths are counted in characters of UTF-8. */
void table_print(const struct table *table, struct buf *to);

#endif

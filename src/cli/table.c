/* Rows of text in columns.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/table.h"

#include "base/check.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

void table_init(struct table *table, uint32_t column_count, uint32_t right)
{
    CHECK(column_count > 0 && column_count <= TABLE_COLUMNS_MAX);
    *table = (struct table){.column_count = column_count, .right = right};
}

void table_fini(struct table *table)
{
    buf_fini(&table->cells);
}

void table_add(struct table *table, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        buf_append_byte(&table->cells,
                        byte < 0x20 || byte == 0x7f ? '?' : *text);
    }
    buf_append_byte(&table->cells, '\0');
    table->cell_count++;
}

void table_add_u64(struct table *table, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    table_add(table, text);
}

/* Characters of a text: bytes that do not continue one. */
static size_t width_of(const char *text)
{
    size_t width = 0;

    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80 ? 1 : 0;
    }
    return width;
}

static void blanks(struct buf *to, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_append_byte(to, ' ');
    }
}

void table_print(const struct table *table, struct buf *to)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    const char *cell = table->cells.data;

    CHECK(table->cell_count % table->column_count == 0);
    if (table->cells.failed) {
        to->failed = true;
        return;
    }
    for (uint32_t index = 0; index < table->cell_count; index++) {
        size_t width = width_of(cell);
        size_t *widest = &widths[index % table->column_count];
        *widest = width > *widest ? width : *widest;
        cell += strlen(cell) + 1;
    }
    cell = table->cells.data;
    for (uint32_t index = 0; index < table->cell_count; index++) {
        uint32_t column = index % table->column_count;
        bool last = column + 1 == table->column_count;
        bool right = (table->right >> column & 1) != 0;
        size_t pad = widths[column] - width_of(cell);
        blanks(to, right ? pad : 0);
        buf_append_c(to, cell);
        blanks(to, right || last ? 0 : pad);
        buf_append_c(to, last ? "\n" : "  ");
        cell += strlen(cell) + 1;
    }
}

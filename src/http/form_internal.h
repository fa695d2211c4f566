/* What the two kinds of forms share. Private to http/form*.c.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_HTTP_FORM_INTERNAL_H
#define OPQ_HTTP_FORM_INTERNAL_H

#include "base/err.h"
#include "http/form.h"

#include <stddef.h>

/* Find room for `size` bytes in the form's memory; form_use() takes what was
 * needed of it. NULL when there is no memory. */
char *form_allocate(struct form *form, size_t size);

/* Take the first `size` bytes of what form_allocate() gave last. */
void form_use(struct form *form, size_t size);

/* Append a field.
 *
 * Borrows: name and value, as long as the fields are used.
 * Errors:  ERR_INVALID    a NUL in the name
 *          ERR_TOO_LARGE  more than FORM_FIELDS_MAX fields
 */
MUST_CHECK enum err
form_add(struct form *form, struct str name, struct str value);

#endif

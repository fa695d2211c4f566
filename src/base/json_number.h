/* Numbers of JSON compared by value, exactly: 12, 12.0 and 1.2e1 are the same,
 * and two integers past 2^53 that differ are not.
 *
 * Threads: none; plain functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_BASE_JSON_NUMBER_H
#define OPQ_BASE_JSON_NUMBER_H

#include "base/str.h"

#include <stdbool.h>

/* Tell whether two numbers, as json_scan_next() gives them, have the same
 * value. Exponents of more than 15 digits all count as the same one. */
bool json_number_equal(struct str left, struct str right);

#endif

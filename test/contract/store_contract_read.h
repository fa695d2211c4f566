/* The second half of the suite: reading, watches, cursors, purging.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_CONTRACT_STORE_CONTRACT_READ_H
#define OPQ_TEST_CONTRACT_STORE_CONTRACT_READ_H

#include "lib/loop.h"

extern const struct loop_test store_contract_read_tests[];
extern const size_t store_contract_read_count;

#endif

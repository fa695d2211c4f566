/* The fourth part of the suite: messages that are done above a cursor.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_CONTRACT_STORE_CONTRACT_ACKED_H
#define OPQ_TEST_CONTRACT_STORE_CONTRACT_ACKED_H

#include "lib/loop.h"

extern const struct loop_test store_contract_acked_tests[];
extern const size_t store_contract_acked_count;

#endif

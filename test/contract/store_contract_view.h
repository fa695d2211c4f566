/* The third part of the suite: views.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_CONTRACT_STORE_CONTRACT_VIEW_H
#define OPQ_TEST_CONTRACT_STORE_CONTRACT_VIEW_H

#include "lib/loop.h"

extern const struct loop_test store_contract_view_tests[];
extern const size_t store_contract_view_count;

#endif

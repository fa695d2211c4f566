/* A compiled filter, for the two halves of queue/filter.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_FILTER_INTERNAL_H
#define OPQ_QUEUE_FILTER_INTERNAL_H

#include "base/json_scan.h"
#include "queue/filter.h"

#include <stdint.h>

enum filter_subject {
    FILTER_SUBJECT_KEY,
    FILTER_SUBJECT_LABEL,
    FILTER_SUBJECT_HEADER,
    FILTER_SUBJECT_FIELD,
    FILTER_SUBJECT_JSON,
    FILTER_SUBJECT_EVENT,
};

enum filter_test {
    FILTER_TEST_EQUAL,
    FILTER_TEST_UNEQUAL,
    FILTER_TEST_PREFIX,
    FILTER_TEST_EXISTS,
    FILTER_TEST_ABSENT,
};

/* One step of a path: a member, or an element. */
struct filter_step {
    struct str name; /* of a member; borrowed from the filter's text */
    uint32_t index;  /* of an element */
    bool is_index;
};

struct filter_condition {
    enum filter_subject subject;
    enum filter_test test;
    enum json_scan_type type; /* of the value */
    struct str name;          /* of header, field and event; borrowed */
    struct str value; /* a string decoded, a number as written; borrowed */
    uint16_t step;    /* of json: the first step, */
    uint16_t step_count;
};

struct filter {
    uint32_t condition_count;
    uint32_t step_count;
    struct filter_condition *conditions; /* in the same block, as all below */
    struct filter_step *steps;
    char *text; /* what slices are of; strings are decoded in place */
};

#endif

/* A directory for a test, gone after it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_SCRATCH_H
#define OPQ_TEST_LIB_SCRATCH_H

enum { SCRATCH_PATH_MAX = 64 };

/* Make an empty directory and write its path. Returns 0, or -1. */
int scratch_make(char path[SCRATCH_PATH_MAX]);

/* Remove it with all that is in it. Returns 0, or -1. */
int scratch_remove(const char *path);

#endif

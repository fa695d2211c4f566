/* A directory for a test, gone after it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lib/scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

static int remove_one(const char *path,
                      const struct stat *status,
                      int kind,
                      struct FTW *at)
{
    (void)status;
    (void)kind;
    (void)at;
    return remove(path);
}

int scratch_make(char path[SCRATCH_PATH_MAX])
{
    (void)snprintf(path, SCRATCH_PATH_MAX, "/tmp/opq-test.XXXXXX");
    return mkdtemp(path) != NULL ? 0 : -1;
}

int scratch_remove(const char *path)
{
    return nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Where the system keeps its time zones.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/zone_file.h"

#include "sys/dir.h"
#include "sys/file.h"

#include <stdlib.h>
#include <string.h>

static const char folder_default[] = "/usr/share/zoneinfo";

static const char *folder(void)
{
    const char *named = getenv("TZDIR");

    return named != NULL && named[0] != '\0' ? named : folder_default;
}

static enum err load(const char *path, struct zone **out)
{
    char *data = NULL;
    size_t size = 0;
    enum err err = file_load(path, ZONE_FILE_SIZE_MAX, &data, &size);

    if (err == ERR_OK) {
        err = zone_create((struct str){data, size}, out);
        free(data);
    }
    /* ERR_IO, among others, is what a folder gives. */
    return err == ERR_OK || err == ERR_NOMEM || err == ERR_BUSY ? err
                                                                : ERR_NOT_FOUND;
}

enum err zone_file_load(struct str name, struct zone **out)
{
    char path[DIR_PATH_MAX];
    char terminated[ZONE_NAME_MAX + 1];

    if (!zone_name_valid(name)) {
        return ERR_INVALID;
    }
    if (str_equal(name, STR("UTC"))) {
        return zone_create_utc(out);
    }
    memcpy(terminated, name.data, name.size);
    terminated[name.size] = '\0';
    if (dir_join(path, folder(), terminated) != ERR_OK) {
        return ERR_NOT_FOUND;
    }
    return load(path, out);
}

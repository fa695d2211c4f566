/* The file `meta`.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/meta.h"

#include "base/buf.h"
#include "base/str.h"
#include "log/conf_text.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <stdlib.h>

enum {
    META_VERSION = 1,
    META_SIZE_MAX = 4096,
};

enum err meta_load(const char *directory, struct meta *out_meta)
{
    char path[DIR_PATH_MAX];
    if (dir_join(path, directory, "meta") != ERR_OK) {
        return ERR_IO;
    }
    char *data = NULL;
    size_t size = 0;
    enum err err = file_load(path, META_SIZE_MAX, &data, &size);
    if (err != ERR_OK) {
        return err == ERR_TOO_LARGE ? ERR_CORRUPT : err;
    }
    struct conf_text text = {0};
    struct meta meta = {0};
    uint64_t shard_count = 0;
    err = conf_text_open(&text, (struct str){data, size}, STR("opq-data"),
                         META_VERSION);
    if (err == ERR_OK) {
        meta.node = conf_text_hex(&text, STR("node"));
        shard_count = conf_text_u64(&text, STR("shards"));
        meta.base = conf_text_u64(&text, STR("base"));
        err = conf_text_close(&text);
    }
    free(data);
    if (err != ERR_OK) {
        return err;
    }
    if (meta.node == 0 || shard_count == 0 || shard_count > UINT32_MAX) {
        return ERR_CORRUPT;
    }
    meta.shard_count = (uint32_t)shard_count;
    *out_meta = meta;
    return ERR_OK;
}

enum err meta_store(const char *directory, const struct meta *meta)
{
    char path[DIR_PATH_MAX];
    if (dir_join(path, directory, "meta") != ERR_OK) {
        return ERR_IO;
    }
    struct buf text = {0};
    buf_append_format(&text,
                      "opq-data %d\nnode %016llx\nshards %u\nbase %llu\n",
                      META_VERSION, (unsigned long long)meta->node,
                      meta->shard_count, (unsigned long long)meta->base);
    conf_text_seal(&text);
    enum err err = buf_err(&text);
    if (err == ERR_OK) {
        err = file_replace(path, text.data, text.size);
    }
    buf_fini(&text);
    return err;
}

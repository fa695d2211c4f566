/* Reading the settings again: see reload.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server/reload.h"

#include "base/check.h"
#include "base/diag.h"
#include "http/tls.h"
#include "server/config_change.h"
#include "server/keys.h"
#include "server/log_file.h"
#include "sys/file.h"
#include "sys/process.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

enum { HASH_SIZE = 32, FILE_COUNT = 4, FILE_SIZE_MAX = 1 << 20 };

/* A file whose content counts, by its hash. */
struct stamp {
    unsigned char hash[HASH_SIZE]; /* zero: there is none */
};

struct reload {
    struct reload_options options;
    struct config now; /* owned: in force */
    struct stamp stamps[FILE_COUNT];
    /* Of the one under way; owned. */
    struct config next;
    struct stamp next_stamps[FILE_COUNT];
    struct tokens *tokens;   /* NULL: none are set */
    struct secrets *secrets; /* likewise */
    struct tls_context *tls[SHARDS_MAX];
};

static const char *const file_names[FILE_COUNT] = {"tokens", "secrets",
                                                   "tls_cert", "tls_key"};

/* --- files ---------------------------------------------------------------- */

static void stamp_file(const char *path, struct stamp *stamp)
{
    char *data = NULL;
    size_t size = 0;
    unsigned hashed = 0;

    memset(stamp, 0, sizeof(*stamp));
    if (path[0] == '\0' ||
        file_load(path, FILE_SIZE_MAX, &data, &size) != ERR_OK) {
        return;
    }
    if (EVP_Digest(data, size, stamp->hash, &hashed, EVP_sha256(), NULL) != 1) {
        ERR_clear_error(); /* TLS looks there */
    }
    explicit_bzero(data, size);
    free(data);
}

static void stamp_all(const struct config *config,
                      struct stamp stamps[FILE_COUNT])
{
    const char *const paths[FILE_COUNT] = {config->tokens, config->secrets,
                                           config->tls_cert, config->tls_key};

    for (size_t i = 0; i < FILE_COUNT; i++) {
        stamp_file(paths[i], &stamps[i]);
    }
}

static bool file_differs(const struct reload *reload, size_t index)
{
    return memcmp(&reload->stamps[index], &reload->next_stamps[index],
                  sizeof(struct stamp)) != 0;
}

/* --- life ----------------------------------------------------------------- */

/* Let go of what was made for a reload. */
static void drop_next(struct reload *reload)
{
    tokens_release(reload->tokens);
    secrets_release(reload->secrets);
    reload->tokens = NULL;
    reload->secrets = NULL;
    for (uint32_t i = 0; i < reload->options.shard_count; i++) {
        tls_context_destroy(reload->tls[i]);
        reload->tls[i] = NULL;
    }
    config_fini(&reload->next);
}

enum err reload_create(const struct reload_options *options,
                       struct reload **out)
{
    struct reload *reload = calloc(1, sizeof(*reload));

    CHECK(options->shard_count <= SHARDS_MAX);
    if (reload == NULL) {
        return ERR_NOMEM;
    }
    reload->options = *options;
    enum err err = config_merge(options->config, options->config, &reload->now);
    if (err != ERR_OK) {
        free(reload);
        return err;
    }
    stamp_all(&reload->now, reload->stamps);
    *out = reload;
    return ERR_OK;
}

void reload_destroy(struct reload *reload)
{
    if (reload == NULL) {
        return;
    }
    drop_next(reload);
    config_fini(&reload->now);
    free(reload);
}

/* --- reading -------------------------------------------------------------- */

/* What of the program's arguments are flags of serve. */
static char *const *flags_of(char *const *arguments)
{
    if (*arguments != NULL) {
        arguments++;
    }
    return *arguments != NULL && strcmp(*arguments, "serve") == 0
               ? arguments + 1
               : arguments;
}

/* Read and look at the settings, and see what would be in force.
 * Errors: ERR_INVALID, ERR_NOMEM */
static enum err
read_settings(struct reload *reload, struct config *fresh, struct buf *errors)
{
    const struct reload_options *options = &reload->options;
    enum err err =
        config_read(flags_of(options->arguments), environ, fresh, errors);

    if (err != ERR_OK) {
        return err;
    }
    err = options->check(options->context, fresh, errors);
    if (err == ERR_OK) {
        err = config_merge(&reload->now, fresh, &reload->next);
    }
    if (err != ERR_OK) {
        return err;
    }
    size_t before = errors->size;
    err = config_check(&reload->next, errors);
    if (err == ERR_OK) {
        err = options->check(options->context, &reload->next, errors);
    }
    if (err == ERR_INVALID && errors->size > before) {
        buf_append_c(errors, "these settings are right, but not together with "
                             "those that wait for a restart\n");
    }
    return err;
}

/* Make what the settings name.
 * Errors: ERR_INVALID, ERR_NOMEM */
static enum err make_keys(struct reload *reload, struct buf *errors)
{
    const struct config *config = &reload->next;
    enum err err = keys_load_tokens(config, errors, &reload->tokens);

    if (err == ERR_OK) {
        err = keys_load_secrets(config, errors, &reload->secrets);
    }
    for (uint32_t i = 0; err == ERR_OK && config->tls_cert[0] != '\0' &&
                         i < reload->options.shard_count;
         i++) {
        err = tls_context_create_server(config->tls_cert, config->tls_key,
                                        &reload->tls[i]);
        if (err != ERR_OK && err != ERR_NOMEM) {
            /* It was good when it was looked at, a moment ago. */
            buf_append_format(errors, "tls_cert, tls_key: %s\n", err_text(err));
            err = ERR_INVALID;
        }
    }
    return err;
}

/* Where a difference is told. */
struct report {
    struct buf *to;
    bool live; /* those that can change, or those that cannot */
    bool any;
};

static void report_differs(void *context,
                           const char *name,
                           bool live,
                           const char *from,
                           const char *to)
{
    struct report *report = context;

    if (live != report->live) {
        return;
    }
    buf_append_format(report->to, "%s{\"name\":\"%s\",\"from\":\"",
                      report->any ? "," : "", name);
    buf_append_json(report->to, str_from(from));
    buf_append_c(report->to, "\",\"to\":\"");
    buf_append_json(report->to, str_from(to));
    buf_append_c(report->to, "\"}");
    report->any = true;
}

static void write_answer(const struct reload *reload,
                         const struct config *fresh,
                         struct buf *answer)
{
    struct report changed = {.to = answer, .live = true};
    struct report waiting = {.to = answer, .live = false};
    bool any = false;

    buf_append_c(answer, "{\"changed\":[");
    config_compare(&reload->now, fresh, report_differs, &changed);
    buf_append_c(answer, "],\"files\":[");
    for (size_t i = 0; i < FILE_COUNT; i++) {
        if (file_differs(reload, i)) {
            buf_append_format(answer, "%s\"%s\"", any ? "," : "",
                              file_names[i]);
            any = true;
        }
    }
    buf_append_c(answer, "],\"restart_needed\":[");
    config_compare(&reload->now, fresh, report_differs, &waiting);
    buf_append_c(answer, "]}\n");
}

static void log_waiting(void *context,
                        const char *name,
                        bool live,
                        const char *from,
                        const char *to)
{
    (void)context;
    if (!live) {
        DIAG_WARN("reload_needs_restart", "name=%s from=%s to=%s", name, from,
                  to);
    }
}

enum err reload_read(void *context, struct buf *answer, struct buf *errors)
{
    struct reload *reload = context;
    struct config fresh = {.check_only = false};
    enum err err = read_settings(reload, &fresh, errors);

    if (err == ERR_OK) {
        err = make_keys(reload, errors);
    }
    if (err == ERR_OK) {
        stamp_all(&reload->next, reload->next_stamps);
        write_answer(reload, &fresh, answer);
        err = buf_err(answer);
    }
    if (err == ERR_OK) {
        config_compare(&reload->now, &fresh, log_waiting, NULL);
    } else {
        drop_next(reload);
        DIAG_WARN("reload_refused", "err=%s; nothing is changed",
                  err_text(err));
    }
    config_fini(&fresh);
    return err;
}

/* --- applying ------------------------------------------------------------- */

void reload_apply(void *context, struct pipeline *pipeline)
{
    struct reload *reload = context;
    uint32_t index = pipeline_shard(pipeline)->index;
    struct pipeline_change change = {.pending_max = 0};

    reload->options.change_of(reload->options.context, &reload->next, &change);
    change.tokens = reload->tokens;
    change.secrets = reload->secrets;
    change.tls = reload->tls[index];
    reload->tls[index] = NULL;
    pipeline_change(pipeline, &change);
}

static void log_differs(void *context,
                        const char *name,
                        bool live,
                        const char *from,
                        const char *to)
{
    (void)context;
    (void)live;
    DIAG_INFO("reload_setting", "name=%s from=%s to=%s", name, from, to);
}

void reload_end(void *context)
{
    struct reload *reload = context;
    const struct config *next = &reload->next;

    log_file_set_level(next);
    if (reload->tokens != NULL || reload->secrets != NULL) {
        process_hide_memory();
    }
    config_compare(&reload->now, next, log_differs, NULL);
    for (size_t i = 0; i < FILE_COUNT; i++) {
        if (file_differs(reload, i)) {
            DIAG_INFO("reload_file", "name=%s", file_names[i]);
        }
    }
    memcpy(reload->stamps, reload->next_stamps, sizeof(reload->stamps));
    config_fini(&reload->now);
    reload->now = reload->next;
    memset(&reload->next, 0, sizeof(reload->next));
    drop_next(reload);
    DIAG_INFO("reloaded", "file=%s",
              reload->now.file != NULL ? reload->now.file : "-");
}

/* The subcommand repair: bring a data directory in order that no server has.
 *
 * Look at all of it and say what would be done; then, when nothing is lost by
 * it or somebody agreed, do it. The journals are brought into the topics first,
 * by what a start with another number of shards does, so that there is one
 * place for each message; then what is still wrong is mended, topic by topic;
 * then all is looked at once more.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_internal.h"

#include "cli/cli_data.h"
#include "cli/repair.h"
#include "cli/repair_plan.h"
#include "cli/snapshot.h"
#include "log/meta.h"
#include "store/store_local.h"
#include "sys/clock.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <stdio.h>
#include <string.h>

enum { ROUNDS_MAX = 4 }; /* mending may bring to light what it hid */

struct run {
    struct cli_call *call;
    const char *directory;
    bool dry;
    bool yes;
    int lock;                      /* owned; -1: none */
    struct store_local_data *data; /* owned: it has the lock, then */
    struct repair repair;
};

static int fail(const struct run *run, enum err err)
{
    return cli_complain(run->call, CLI_EXIT_FAILED, "%s: %s", run->directory,
                        err_text(err));
}

/* Look at the directory. Gives: `*out_snapshot`, which the plan borrows. */
static enum err look(const struct run *run,
                     struct repair_plan *plan,
                     struct snapshot **out_snapshot)
{
    const struct snapshot_options options = {.directory = run->directory};
    enum err err = snapshot_open(&options, out_snapshot);

    return err == ERR_OK ? repair_plan_look(plan, *out_snapshot) : err;
}

static int tell_plan(const struct run *run, const struct repair_plan *plan)
{
    struct buf text = {0};

    if (run->call->json) {
        buf_append_format(&text, "{\"found\":%llu,\"lost\":%llu}\n",
                          (unsigned long long)plan->found,
                          (unsigned long long)plan->lost);
        return cli_print(&text);
    }
    buf_append_str(&text, buf_str(&plan->text));
    if (plan->found == 0) {
        buf_append_c(&text, "nothing to mend\n");
    } else {
        buf_append_format(&text, "%llu things to mend; %llu messages lost\n",
                          (unsigned long long)plan->found,
                          (unsigned long long)plan->lost);
    }
    return cli_print(&text);
}

/* Whether messages may be given up. */
static bool is_agreed(const struct run *run, const struct repair_plan *plan)
{
    char answer[16];

    if (plan->lost == 0 || run->yes) {
        return true;
    }
    if (!file_is_terminal(fileno(stdin))) {
        (void)cli_complain(run->call, CLI_EXIT_FAILED,
                           "nothing was done: --yes gives these messages up");
        return false;
    }
    (void)fputs("Give these messages up? [y/N] ", stderr);
    (void)fflush(stderr);
    return fgets(answer, sizeof(answer), stdin) != NULL &&
           (answer[0] == 'y' || answer[0] == 'Y');
}

/* Bring the journals into the topics. */
static enum err empty_journals(struct run *run)
{
    struct store_local_options options;
    struct meta meta;
    enum err err = meta_load(run->directory, &meta);

    if (err != ERR_OK) {
        return err;
    }
    store_local_options_init(&options);
    options.directory = run->directory;
    options.shard_count = meta.shard_count == 1 ? 2 : 1;
    options.disk_reserve = 0;
    dir_unlock(run->lock);
    run->lock = -1;
    return store_local_prepare(&options, &run->data);
}

/* Mend what is found, again until nothing is. */
static enum err mend(struct run *run)
{
    enum err err = ERR_OK;
    bool clean = false;

    for (int round = 0; err == ERR_OK && !clean && round < ROUNDS_MAX;
         round++) {
        struct repair_plan plan = {.directory = run->directory};
        struct snapshot *snapshot = NULL;
        err = look(run, &plan, &snapshot);
        clean = plan.topic_count == 0;
        for (size_t index = 0; err == ERR_OK && index < plan.topic_count;
             index++) {
            err = repair_topic(&run->repair, snapshot, &plan.topics[index]);
        }
        repair_plan_fini(&plan);
        snapshot_close(snapshot);
    }
    return err == ERR_OK && !clean ? ERR_CORRUPT : err;
}

static enum err apply(struct run *run, const struct repair_plan *plan)
{
    enum err err = repair_names(&run->repair, plan);

    if (err == ERR_OK && plan->journal_damaged) {
        err = repair_keep_journals(&run->repair);
    }
    if (err == ERR_OK && (plan->entries > 0 || plan->journal_damaged)) {
        err = empty_journals(run);
    }
    return err == ERR_OK ? mend(run) : err;
}

/* Take the lock, and see to `meta`, without which nothing can be read. */
static int begin(struct run *run, struct repair_plan *plan)
{
    char path[DIR_PATH_MAX];

    enum err err = repair_plan_meta(plan, run->directory);
    if (err == ERR_OK) {
        err = dir_join(path, run->directory, "opq.lock");
    }
    if (err == ERR_OK) {
        err = dir_lock(path, &run->lock);
    }
    if (err != ERR_OK) {
        return cli_data_complain(run->call, run->directory, err);
    }
    err = repair_init(&run->repair, run->directory, clock_wall_ms());
    if (err == ERR_OK && plan->meta && run->dry) {
        (void)tell_plan(run, plan);
        return cli_complain(run->call, CLI_EXIT_FAILED,
                            "the rest can be read only with a `meta`");
    }
    if (err == ERR_OK && plan->meta) {
        err = repair_meta(&run->repair);
    }
    return err == ERR_OK ? CLI_EXIT_OK : fail(run, err);
}

static int run_repair(struct run *run, struct repair_plan *plan)
{
    struct snapshot *snapshot = NULL;
    int code = begin(run, plan);

    if (code != CLI_EXIT_OK) {
        return code;
    }
    enum err err = look(run, plan, &snapshot);
    if (err == ERR_OK) {
        code = tell_plan(run, plan);
    }
    bool found = err == ERR_OK && plan->found > 0;
    if (found && (run->dry || !is_agreed(run, plan))) {
        code = CLI_EXIT_FAILED;
    } else if (found) {
        err = apply(run, plan);
        if (err == ERR_OK && !run->call->json) {
            (void)printf("mended; what was taken out is in %s\n",
                         run->repair.quarantine);
        }
    }
    snapshot_close(snapshot);
    return err == ERR_OK ? code : fail(run, err);
}

int cli_repair(int argument_count, char *const *arguments)
{
    struct cli_call call = {
        .command = "repair",
        .usage =
            "DIRECTORY [--dry-run] [--yes] [--json]\n"
            "Finds and mends what is wrong with a data directory that no "
            "server has. Says which\nmessages are lost, and asks before it "
            "gives them up, unless --yes."};
    struct run run = {.call = &call, .lock = -1};
    struct repair_plan plan = {.found = 0};
    const struct cli_option options[] = {
        {"dry-run", NULL, &run.dry, NULL},
        {"yes", NULL, &run.yes, NULL},
        {NULL, NULL, NULL, NULL},
    };
    int code = cli_parse(&call, argument_count, arguments, options, 1, 1);

    if (code != CLI_EXIT_OK || call.help) {
        return code;
    }
    run.directory = call.words[0];
    code = run_repair(&run, &plan);
    repair_plan_fini(&plan);
    store_local_release(run.data);
    dir_unlock(run.lock);
    cli_call_fini(&call);
    return code;
}

/* What subcommands on a data directory share.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/cli_data.h"

#include "cli/inspect.h"
#include "sys/dir.h"

#include <string.h>

int cli_data_complain(const struct cli_call *call,
                      const char *directory,
                      enum err err)
{
    const char *why = err == ERR_NOT_FOUND ? "no data directory"
                      : err == ERR_BUSY    ? "a server has it: stop it first"
                      : !dir_allowed(directory) ? "no right to write there"
                                                : err_text(err);

    return cli_complain(
        call, err == ERR_CORRUPT ? CLI_EXIT_FAILED : CLI_EXIT_UNREACHABLE,
        "%s: %s", directory, why);
}

int cli_data_open(const struct cli_call *call,
                  const char *directory,
                  uint32_t first,
                  int missing,
                  struct snapshot **out)
{
    const struct snapshot_options options = {
        .directory = directory, .running = inspect_in_use(directory)};
    enum err err = snapshot_open(&options, out);

    if (err != ERR_OK) {
        return cli_data_complain(call, directory, err);
    }
    for (uint32_t index = first; index < call->word_count; index++) {
        if (snapshot_find(*out, call->words[index]) == NULL) {
            return cli_complain(call, missing, "there is no topic %s",
                                call->words[index]);
        }
    }
    return CLI_EXIT_OK;
}

bool cli_data_is_meant(const struct cli_call *call,
                       uint32_t first,
                       const struct snapshot_topic *topic)
{
    bool found = call->word_count <= first;

    for (uint32_t index = first; !found && index < call->word_count; index++) {
        found = strcmp(call->words[index], topic->name) == 0;
    }
    return found && !topic->deleted && topic->conf.parent == 0;
}

/* Which bodies are JSON.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue/json_type.h"

#include "base/json_scan.h"

#include <stddef.h>

struct str json_type_essence(struct str type)
{
    return str_trim(str_cut(type, 0, str_find(type, ';')));
}

bool json_type_is(struct str type)
{
    struct str name = json_type_essence(type);
    size_t end = name.size > 5 ? name.size - 5 : 0;

    return str_equal_nocase(name, STR("application/json")) ||
           str_equal_nocase(name, STR("text/json")) ||
           str_equal_nocase(str_cut(name, end, 5), STR("+json"));
}

static bool is_json(struct str body)
{
    struct json_scan scan = json_scan_of(body);
    struct json_scan_value value;
    struct json_scan_value more;

    return json_scan_next(&scan, &value) == ERR_OK &&
           json_scan_next(&scan, &more) == ERR_NOT_FOUND;
}

bool json_type_has(struct str type, struct str body)
{
    return json_type_is(type) && is_json(body);
}

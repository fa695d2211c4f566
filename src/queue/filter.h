/* Filters: conditions on a message, all of which must hold. A subscription has
 * one, and the list of dead letters takes one.
 *
 *     header:X-Team = "billing" and json:$.order.items[0].sku ^= "A-"
 *     key != "test"
 *     json:$.total exists
 *
 * The grammar; what is in quotes stands there as it is. Blanks separate words,
 * so that a name may have any sign that headers and forms allow:
 *
 *     filter    = { line-end } , [ condition , { joint , condition } ] ,
 *                 { line-end } ;
 *     joint     = blanks , "and" , blanks | line-end , { line-end } ;
 *     condition = [ blanks ] , subject , blanks , test , [ blanks ] ;
 *     subject   = "header:" , name | "field:" , ( name | string )
 *               | "json:" , path | "ce:" , attribute | "key" | "label" ;
 *     attribute = letters a to z and digits, 1 to 64 ;
 *     test      = operator , [ blanks ] , value | "exists" | "absent" ;
 *     operator  = "=" | "!=" | "^=" ;
 *     value     = string | number | "true" | "false" | "null" ;
 *     path      = "$" , { "." , member | "[" , index , "]"
 *                       | "[" , string , "]" } ;
 *     name      = bytes other than blanks, line ends and quotes, at least one ;
 *     member    = letters, digits, "_", "-" and what is not ASCII, at least one
 * ; index     = digits ; string    = a string of JSON, with its quotes and
 * escapes ; number    = a number of JSON ; blanks    = blanks and tabs, at
 * least one ; line-end  = [ blanks ] , [ carriage return ] , line feed ;
 *
 * What is compared: of `header:`, without regard to the case of its name, those
 * that the delivery has of the push, the content type among them; of `field:`,
 * those of a message that came as a form; of `json:`, the body of one that did
 * not; of `ce:`, the attribute of a CloudEvent in either mode, as text (the
 * type of its data is datacontenttype). A value other than a string goes with
 * `json:` and `=` or `!=` alone.
 *
 *     =       one of that name has this value; JSON strings are compared
 *             decoded, numbers by value, exactly
 *     ^=      one of that name is a text that begins so
 *     !=      none has this value: where `=` does not hold, absent ones too
 *     exists  there is one, whatever it is (null, too); of key and label: it is
 *             not empty
 *     absent  there is none
 *
 * A body that is not JSON, that came as a form, or lies in a file of its own is
 * not looked into: no condition on `json:` holds then, not even `!=` or
 * `absent`. Of members with the same name the last one counts, as with most
 * readers.
 *
 * A filter is compiled once; matching allocates nothing.
 *
 * Threads: any, of a compiled filter.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_QUEUE_FILTER_H
#define OPQ_QUEUE_FILTER_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    FILTER_SIZE_MAX = 4096,     /* bytes of text */
    FILTER_CONDITIONS_MAX = 32, /* of a filter */
    FILTER_STEPS_MAX = 64,      /* of all its paths */
};

struct filter;

/* Where a text is no filter. */
struct filter_problem {
    size_t position;      /* bytes before it */
    const char *expected; /* static: "expected a value, such as ..." */
};

/* Make a filter of its text. An empty one holds of every message.
 *
 * Gives:  `*out`, for filter_destroy(); `*out_problem` after ERR_INVALID and
 *         ERR_TOO_LARGE.
 * Errors: ERR_INVALID    it does not fit the grammar
 *         ERR_TOO_LARGE  a limit above is passed
 *         ERR_NOMEM
 */
MUST_CHECK enum err filter_compile(struct str text,
                                   struct filter **out,
                                   struct filter_problem *out_problem);

/* Free it. Accepts NULL. */
void filter_destroy(struct filter *filter);

/* Tell whether all conditions hold of a message. NULL: a filter without any. */
bool filter_matches(const struct filter *filter, const struct message *message);

#endif

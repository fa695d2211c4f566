/* Tests of base/err: each code has a name and words, errno maps as said.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

static void every_code_has_a_name_and_a_text_of_its_own(void **state)
{
    (void)state;
    for (int left = 0; left < ERR_COUNT; left++) {
        assert_non_null(err_text((enum err)left));
        assert_memory_equal(err_name((enum err)left), "ERR_", 4);
        for (int right = 0; right < left; right++) {
            assert_string_not_equal(err_text((enum err)left),
                                    err_text((enum err)right));
            assert_string_not_equal(err_name((enum err)left),
                                    err_name((enum err)right));
        }
    }
}

static void names_are_those_of_the_source(void **state)
{
    (void)state;
    assert_string_equal(err_name(ERR_OK), "ERR_OK");
    assert_string_equal(err_name(ERR_FULL), "ERR_FULL");
    assert_string_equal(err_name(ERR_PROTOCOL), "ERR_PROTOCOL");
    assert_string_equal(err_text(ERR_FULL), "no room on disk");
}

static void codes_out_of_range_are_named_too(void **state)
{
    (void)state;
    assert_string_equal(err_text((enum err)ERR_COUNT), "unknown error");
    assert_string_equal(err_name((enum err) - 1), "ERR_UNKNOWN");
}

static void errno_maps_to_the_code_with_the_same_remedy(void **state)
{
    (void)state;
    static const struct {
        int error_number;
        enum err err;
    } cases[] = {
        {ENOSPC, ERR_FULL},
        {EDQUOT, ERR_FULL},
        {ENOMEM, ERR_NOMEM},
        {ENOENT, ERR_NOT_FOUND},
        {EEXIST, ERR_EXISTS},
        {ECONNREFUSED, ERR_REFUSED},
        {EHOSTUNREACH, ERR_REFUSED},
        {ENETUNREACH, ERR_REFUSED},
        {ECONNRESET, ERR_RESET},
        {EPIPE, ERR_RESET},
        {ETIMEDOUT, ERR_TIMEOUT},
        {EMFILE, ERR_BUSY},
        {ENFILE, ERR_BUSY},
        {EAGAIN, ERR_BUSY},
        {EOPNOTSUPP, ERR_UNSUPPORTED},
        {ENOSYS, ERR_UNSUPPORTED},
        {EIO, ERR_IO},
        {EROFS, ERR_IO},
        {0, ERR_IO},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(err_from_errno(cases[i].error_number), cases[i].err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_name_and_a_text_of_its_own),
        cmocka_unit_test(names_are_those_of_the_source),
        cmocka_unit_test(codes_out_of_range_are_named_too),
        cmocka_unit_test(errno_maps_to_the_code_with_the_same_remedy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Settings that are all set, and settings compared.
 *
 * Assertions are cmocka's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPQ_TEST_LIB_SETTINGS_FIXTURE_H
#define OPQ_TEST_LIB_SETTINGS_FIXTURE_H

#include "queue/settings.h"

enum { SETTINGS_FIXTURE_TEXTS = 8 }; /* texts of settings that are all set */

/* Set each setting to something else than its default; `settings` is
 * initialised. */
void settings_fixture_fill(struct settings *settings);

/* All of both scopes as JSON, a line each, then as the store keeps them; for
 * free(). */
char *settings_fixture_dump(const struct settings *settings);

/* Check that two are the same. */
void settings_fixture_same(const struct settings *left,
                           const struct settings *right);

#endif

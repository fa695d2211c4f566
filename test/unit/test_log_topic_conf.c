/* Tests of log/meta, log/topic_conf and log/conf_text: what is read back is
 * what was written, and nothing else is believed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "log/topic_conf.h"

#include "base/crc32c.h"
#include "lib/fault.h"
#include "log/conf_text.h"
#include "log/meta.h"
#include "sys/dir.h"
#include "sys/file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char directory[] = "/tmp/opq-conf-XXXXXX";

static int setup(void **state)
{
    (void)state;
    memcpy(directory + sizeof(directory) - 7, "XXXXXX", 6);
    return mkdtemp(directory) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    return dir_remove(directory) == ERR_OK ? 0 : -1;
}

static void write_file(const char *name, struct str text)
{
    char path[DIR_PATH_MAX];
    assert_int_equal(dir_join(path, directory, name), ERR_OK);
    assert_int_equal(file_replace(path, text.data, text.size), ERR_OK);
}

static void write_sealed(const char *name, const char *text)
{
    struct buf buf = {0};
    buf_append_c(&buf, text);
    conf_text_seal(&buf);
    write_file(name, buf_str(&buf));
    buf_fini(&buf);
}

static void meta_is_read_back(void **state)
{
    (void)state;
    struct meta meta = {
        .node = 0xfedcba9876543210, .shard_count = 64, .base = UINT64_MAX};
    struct meta found;
    assert_int_equal(meta_load(directory, &found), ERR_NOT_FOUND);
    assert_int_equal(meta_store(directory, &meta), ERR_OK);
    assert_int_equal(meta_load(directory, &found), ERR_OK);
    assert_true(found.node == meta.node && found.base == meta.base);
    assert_int_equal(found.shard_count, 64);
}

static void meta_that_is_not_whole_is_refused(void **state)
{
    (void)state;
    struct meta meta = {.node = 7, .shard_count = 2, .base = 3};
    struct meta found;
    char path[DIR_PATH_MAX];
    char *data = NULL;
    size_t size = 0;
    assert_int_equal(meta_store(directory, &meta), ERR_OK);
    assert_int_equal(dir_join(path, directory, "meta"), ERR_OK);
    assert_int_equal(file_load(path, 4096, &data, &size), ERR_OK);
    for (size_t i = 0; i < size; i++) { /* cut, and each byte flipped */
        write_file("meta", (struct str){data, i});
        assert_int_equal(meta_load(directory, &found), ERR_CORRUPT);
        data[i] = (char)(data[i] ^ 2);
        write_file("meta", (struct str){data, size});
        enum err err = meta_load(directory, &found);
        assert_true(err == ERR_CORRUPT ||
                    (i == strlen("opq-data ") && err == ERR_UNSUPPORTED));
        data[i] = (char)(data[i] ^ 2);
    }
    free(data);
}

static void meta_of_a_later_version_is_told_apart(void **state)
{
    (void)state;
    struct meta found;
    write_sealed("meta", "opq-data 2\nanything\n");
    assert_int_equal(meta_load(directory, &found), ERR_UNSUPPORTED);
    write_sealed("meta", "opq-data 1\nnode 0\nshards 1\nbase 0\n");
    assert_int_equal(meta_load(directory, &found), ERR_CORRUPT);
    write_sealed("meta", "opq-data 1\nnode 1\nshards 0\nbase 0\n");
    assert_int_equal(meta_load(directory, &found), ERR_CORRUPT);
    write_sealed("meta", "opq-data 1\nnode 1\nshards 1\nbase 0\n");
    assert_int_equal(meta_load(directory, &found), ERR_OK);
}

static struct topic_conf full_conf(void)
{
    static char settings[TOPIC_CONF_SETTINGS_MAX];
    memset(settings, '\n', sizeof(settings));
    return (struct topic_conf){.id = UINT64_MAX,
                               .created_ms = 1,
                               .retain_age_ms = 2,
                               .retain_bytes = UINT64_MAX,
                               .retain_count = 4,
                               .discard_old = true,
                               .name = STR("name"),
                               .settings = {settings, sizeof(settings)}};
}

static void expect_conf(const struct topic_conf *found,
                        const struct topic_conf *wanted)
{
    assert_int_equal(found->created_ms, wanted->created_ms);
    assert_int_equal(found->retain_age_ms, wanted->retain_age_ms);
    assert_true(found->retain_bytes == wanted->retain_bytes);
    assert_int_equal(found->retain_count, wanted->retain_count);
    assert_int_equal(found->discard_old, wanted->discard_old);
    assert_true(str_equal(found->settings, wanted->settings));
}

static void topic_conf_is_read_back(void **state)
{
    (void)state;
    struct topic_conf empty = {.id = 1};
    struct topic_conf full = full_conf();
    const struct topic_conf *confs[] = {&empty, &full};
    for (size_t i = 0; i < 2; i++) {
        struct buf text = {0};
        char *memory = NULL;
        struct topic_conf found;
        topic_conf_write(confs[i], &text);
        assert_int_equal(buf_err(&text), ERR_OK);
        write_file("topic.conf", buf_str(&text));
        buf_fini(&text);
        assert_int_equal(topic_conf_load(directory, &memory, &found), ERR_OK);
        assert_true(found.id == confs[i]->id);
        expect_conf(&found, confs[i]);
        free(memory);
    }
}

static void topic_conf_that_is_not_whole_is_refused(void **state)
{
    (void)state;
    struct topic_conf conf = {.id = 12, .settings = STR("paused yes\n")};
    struct topic_conf found;
    char *memory = NULL;
    struct buf text = {0};
    assert_int_equal(topic_conf_load(directory, &memory, &found),
                     ERR_NOT_FOUND);
    topic_conf_write(&conf, &text);
    for (size_t i = 0; i < text.size; i++) {
        write_file("topic.conf", str_cut(buf_str(&text), 0, i));
        assert_int_equal(topic_conf_load(directory, &memory, &found),
                         ERR_CORRUPT);
    }
    buf_fini(&text);
    write_sealed("topic.conf", "opq-topic 9\n");
    assert_int_equal(topic_conf_load(directory, &memory, &found),
                     ERR_UNSUPPORTED);
    assert_null(memory);
}

static void the_body_of_an_entry_is_read_back(void **state)
{
    (void)state;
    struct topic_conf conf = full_conf();
    struct topic_conf found;
    size_t size = topic_conf_body_size(&conf);
    char *body = malloc(size);
    assert_non_null(body);
    topic_conf_body_write(&conf, body);
    assert_int_equal(topic_conf_body_read((struct str){body, size}, &found),
                     ERR_OK);
    assert_true(str_equal(found.name, conf.name));
    expect_conf(&found, &conf);
    assert_false(found.made);
    conf.made = true;
    conf.discard_old = false;
    topic_conf_body_write(&conf, body);
    assert_int_equal(topic_conf_body_read((struct str){body, size}, &found),
                     ERR_OK);
    expect_conf(&found, &conf);
    assert_true(found.made);
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(topic_conf_body_read((struct str){body, i}, &found),
                         ERR_CORRUPT);
    }
    free(body);
}

static void a_lost_id_is_guessed_from_the_state(void **state)
{
    (void)state;
    char slots[8192] = {0};
    assert_int_equal(topic_conf_guess_id(directory), 0);
    write_file("cmd", (struct str){slots, sizeof(slots)});
    assert_int_equal(topic_conf_guess_id(directory), 0);
    put_u32(slots + 4096 + 4, 40); /* size */
    put_u64(slots + 4096 + 8, 3);  /* checkpoint */
    put_u64(slots + 4096 + 16, 0xabcdef);
    put_u32(slots + 4096, crc32c(0, slots + 4096 + 4, 28 + 40));
    write_file("dlv", (struct str){slots, sizeof(slots)});
    assert_int_equal(topic_conf_guess_id(directory), 0xabcdef);
    slots[4096 + 17] = 1;
    write_file("dlv", (struct str){slots, sizeof(slots)});
    assert_int_equal(topic_conf_guess_id(directory), 0);
}

static void replacing_meta_leaves_the_old_or_the_new(void **state)
{
    (void)state;
    struct meta old = {.node = 5, .shard_count = 1, .base = 0};
    struct meta next = {.node = 5, .shard_count = 4, .base = 9};
    for (uint64_t at = 1;; at++) {
        struct meta found;
        assert_int_equal(meta_store(directory, &old), ERR_OK);
        fault_install();
        fault_set(&(struct fault_plan){.kinds = FAULT_ANY,
                                       .at = at,
                                       .error_number = EIO,
                                       .short_write = at % 2 == 0});
        enum err err = meta_store(directory, &next);
        bool fired = fault_fired();
        fault_remove();
        assert_int_equal(meta_load(directory, &found), ERR_OK);
        assert_true(found.shard_count == 1 || found.shard_count == 4);
        if (err == ERR_OK) {
            assert_int_equal(found.shard_count, 4);
        }
        if (!fired) {
            assert_int_equal(err, ERR_OK);
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(meta_is_read_back, setup, teardown),
        cmocka_unit_test_setup_teardown(meta_that_is_not_whole_is_refused,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(meta_of_a_later_version_is_told_apart,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(topic_conf_is_read_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(topic_conf_that_is_not_whole_is_refused,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_body_of_an_entry_is_read_back,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_id_is_guessed_from_the_state,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            replacing_meta_leaves_the_old_or_the_new, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

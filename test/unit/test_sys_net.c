/* Tests of sys/net.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sys/net.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct net_address parsed(const char *text, uint16_t port)
{
    struct net_address address;
    assert_int_equal(net_parse(str_from(text), port, &address), ERR_OK);
    return address;
}

static void addresses_are_read_and_written(void **state)
{
    (void)state;
    const struct {
        const char *text;
        const char *want;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1:8999"},
        {"0.0.0.0", "0.0.0.0:8999"},
        {"2001:DB8::1", "[2001:db8::1]:8999"},
        {"::", "[::]:8999"},
        {"unix:/run/opq.sock", "unix:/run/opq.sock"},
        {"unix:relative", "unix:relative"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[NET_TEXT_MAX];
        struct net_address address = parsed(cases[i].text, 8999);
        net_format(&address, text);
        assert_string_equal(text, cases[i].want);
    }
}

static void what_is_no_address_is_invalid(void **state)
{
    (void)state;
    const char *cases[] = {
        "",
        "localhost",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.1 ",
        "[::1]",
        "::1%lo",
        "unix:",
        "0x7f.0.0.1",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999",
        "11111111111111111111111111111111111111111111111111111111111111",
    };
    struct net_address address = {.size = 77};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(net_parse(str_from(cases[i]), 1, &address),
                         ERR_INVALID);
    }
    assert_int_equal(net_parse(STR("127.0.0.1\0x"), 1, &address), ERR_INVALID);
    assert_int_equal(net_parse(STR("unix:a\0b"), 1, &address), ERR_INVALID);
    assert_int_equal(address.size, 77);
}

static void a_path_fits_or_is_too_large(void **state)
{
    (void)state;
    char text[200] = "unix:";
    char back[NET_TEXT_MAX];
    struct net_address address;
    memset(text + 5, 'p', 107);
    assert_int_equal(net_parse(str_from(text), 0, &address), ERR_OK);
    net_format(&address, back);
    assert_string_equal(back, text);
    text[5 + 107] = 'p';
    assert_int_equal(net_parse(str_from(text), 0, &address), ERR_TOO_LARGE);
}

static void listening_binds_a_free_port(void **state)
{
    (void)state;
    const char *texts[] = {"127.0.0.1", "::1"};
    for (int i = 0; i < 2; i++) {
        int fd = -1;
        int second = -1;
        struct net_address address = parsed(texts[i], 0);
        enum err err = net_listen(&address, false, &fd);
        if (i == 1 && err == ERR_UNSUPPORTED) {
            break; /* a machine without IPv6 */
        }
        assert_int_equal(err, ERR_OK);
        assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
        assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        assert_int_equal(net_bound(fd, &address), ERR_OK);
        assert_int_not_equal(address.v4.sin_port, 0);
        assert_int_equal(net_listen(&address, false, &second), ERR_EXISTS);
        assert_int_equal(second, -1);
        (void)close(fd);
    }
}

static void shared_listeners_share_a_port(void **state)
{
    (void)state;
    int fds[2] = {-1, -1};
    struct net_address address = parsed("127.0.0.1", 0);
    assert_int_equal(net_listen(&address, true, &fds[0]), ERR_OK);
    assert_int_equal(net_bound(fds[0], &address), ERR_OK);
    assert_int_equal(net_listen(&address, true, &fds[1]), ERR_OK);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void an_address_of_others_is_refused(void **state)
{
    (void)state;
    int fd = -1;
    struct net_address address = parsed("192.0.2.1", 0);
    assert_int_equal(net_listen(&address, false, &fd), ERR_UNSUPPORTED);
    address = parsed("unix:/nowhere/at/all", 0);
    assert_int_equal(net_listen(&address, false, &fd), ERR_NOT_FOUND);
    assert_int_equal(net_bound(-1, &address), ERR_IO);
    assert_int_equal(fd, -1);
}

static void only_a_stale_unix_socket_is_removed(void **state)
{
    (void)state;
    char directory[] = "/tmp/opq-test.XXXXXX";
    char text[64];
    int fd = -1;
    int second = -1;
    assert_non_null(mkdtemp(directory));
    (void)snprintf(text, sizeof(text), "unix:%s/socket", directory);
    struct net_address address = parsed(text, 0);
    assert_int_equal(net_listen(&address, false, &fd), ERR_OK);
    assert_int_equal(net_listen(&address, false, &second), ERR_EXISTS);
    (void)close(fd); /* the file stays */
    assert_int_equal(net_listen(&address, false, &fd), ERR_OK);
    (void)close(fd);
    assert_int_equal(unlink(text + 5), 0);
    fd = open(text + 5, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(net_listen(&address, false, &second), ERR_EXISTS);
    assert_int_equal(unlink(text + 5), 0); /* a file is left alone */
    assert_int_equal(rmdir(directory), 0);
}

static void sockets_for_connecting_do_not_delay(void **state)
{
    (void)state;
    int fd = -1;
    int on = 0;
    socklen_t size = sizeof(on);
    assert_int_equal(net_socket(AF_INET, &fd), ERR_OK);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
    assert_int_not_equal(on, 0);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    (void)close(fd);
    assert_int_equal(net_socket(AF_UNIX, &fd), ERR_OK);
    net_set_nodelay(fd); /* does nothing */
    (void)close(fd);
    fd = -1;
    assert_int_equal(net_socket(12345, &fd), ERR_UNSUPPORTED);
    assert_int_equal(fd, -1);
}

static bool contains(const char *block_text, const char *address_text)
{
    struct net_block block;
    struct net_address address = parsed(address_text, 80);
    assert_int_equal(net_block_parse(str_from(block_text), &block), ERR_OK);
    return net_block_contains(&block, &address);
}

static void blocks_contain_their_addresses(void **state)
{
    (void)state;
    assert_true(contains("10.0.0.0/8", "10.255.0.1"));
    assert_false(contains("10.0.0.0/8", "11.0.0.0"));
    assert_true(contains("172.16.0.0/12", "172.31.255.255"));
    assert_false(contains("172.16.0.0/12", "172.32.0.0"));
    assert_true(contains("127.0.0.1", "127.0.0.1"));
    assert_false(contains("127.0.0.1", "127.0.0.2"));
    assert_true(contains("0.0.0.0/0", "8.8.8.8"));
    assert_false(contains("0.0.0.0/0", "2001:db8::1"));
    assert_true(contains("fe80::/10", "febf::1"));
    assert_false(contains("fe80::/10", "fec0::1"));
    assert_true(contains("::1", "::1"));
    assert_true(contains("::/0", "2001:db8::1"));
    assert_true(contains("::/0", "192.0.2.1"));
    /* An IPv4 address in an IPv6 coat meets the rules of IPv4. */
    assert_true(contains("169.254.0.0/16", "::ffff:169.254.169.254"));
    assert_true(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
    assert_false(contains("0.0.0.0/0", "unix:/run/x"));
}

static void bad_blocks_are_invalid(void **state)
{
    (void)state;
    const char *cases[] = {
        "",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.1.0.0/8",
        "::/129",
        "fe80::1/10",
        "unix:/x",
        "unix:/x/8",
        "example.com/8",
        "10.0.0.0/8/8",
    };
    struct net_block block = {.bits = 77};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(net_block_parse(str_from(cases[i]), &block),
                         ERR_INVALID);
    }
    assert_int_equal(block.bits, 77);
}

static void loopback_is_told_from_the_rest(void **state)
{
    static const struct {
        const char *text;
        bool local;
    } cases[] = {
        {"127.0.0.1", true},
        {"127.255.0.3", true},
        {"128.0.0.1", false},
        {"126.255.255.255", false},
        {"::1", true},
        {"::", false},
        {"::ffff:127.0.0.1", true},
        {"::ffff:10.0.0.1", false},
        {"2001:db8::1", false},
        {"0.0.0.0", false},
        {"unix:none", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct net_address address = parsed(cases[i].text, 80);
        assert_int_equal(net_is_loopback(&address), cases[i].local);
    }
}

static void congestion_of(int fd, char name[16])
{
    socklen_t size = 16;
    memset(name, 0, 16);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size),
                     0);
}

static void only_sockets_on_this_machine_are_eased(void **state)
{
    struct net_address address;
    char before[16];
    char after[16];
    int fd = -1;
    (void)state;
    assert_int_equal(net_socket(AF_INET, &fd), ERR_OK);
    congestion_of(fd, before);
    address = parsed("192.0.2.1", 80);
    net_ease(fd, &address);
    congestion_of(fd, after);
    assert_string_equal(before, after);
    address = parsed("127.0.0.1", 80);
    net_ease(fd, &address);
    congestion_of(fd, after);
    assert_string_equal(after, "reno");
    (void)close(fd);
}

static void a_listening_socket_of_others_is_adopted_and_shared(void **state)
{
    (void)state;
    struct net_address address = parsed("127.0.0.1", 0);
    struct net_address found;
    int shared = -1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, &address.any, address.size), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(net_adopt(fd, &found), ERR_OK);
    assert_int_equal(found.any.sa_family, AF_INET);
    assert_true(found.v4.sin_port != 0);
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);

    assert_int_equal(net_share(fd, &shared), ERR_OK);
    assert_true(shared >= 0 && shared != fd);
    assert_int_equal(fcntl(shared, F_GETFD), FD_CLOEXEC);
    (void)close(fd);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(client, &found.any, found.size), 0);
    int accepted = accept(shared, NULL, NULL);
    assert_true(accepted >= 0);
    (void)close(accepted);
    (void)close(client);
    (void)close(shared);
}

static void what_does_not_listen_is_not_adopted(void **state)
{
    (void)state;
    struct net_address found = {.size = 7};
    const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    int pipes[2];

    for (size_t i = 0; i < 2; i++) {
        int fd = socket(AF_INET, types[i], 0);
        assert_true(fd >= 0);
        assert_int_equal(net_adopt(fd, &found), ERR_INVALID);
        (void)close(fd);
    }
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(net_adopt(pipes[0], &found), ERR_INVALID);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
    assert_int_equal(found.size, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read_and_written),
        cmocka_unit_test(what_is_no_address_is_invalid),
        cmocka_unit_test(a_path_fits_or_is_too_large),
        cmocka_unit_test(listening_binds_a_free_port),
        cmocka_unit_test(shared_listeners_share_a_port),
        cmocka_unit_test(an_address_of_others_is_refused),
        cmocka_unit_test(only_a_stale_unix_socket_is_removed),
        cmocka_unit_test(sockets_for_connecting_do_not_delay),
        cmocka_unit_test(loopback_is_told_from_the_rest),
        cmocka_unit_test(only_sockets_on_this_machine_are_eased),
        cmocka_unit_test(blocks_contain_their_addresses),
        cmocka_unit_test(bad_blocks_are_invalid),
        cmocka_unit_test(a_listening_socket_of_others_is_adopted_and_shared),
        cmocka_unit_test(what_does_not_listen_is_not_adopted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

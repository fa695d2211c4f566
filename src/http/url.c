/* Target URLs.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/url.h"

#include "http/bytes.h"

#include <arpa/inet.h>
#include <string.h>

enum {
    PORT_PLAIN = 80,
    PORT_SECURE = 443,
    PORT_MAX = 65535,
    HOST_SIZE_MAX = 253, /* bytes of a name, RFC 1035 2.3.4 as text */
    LABEL_SIZE_MAX = 63, /* bytes between dots */
};

static enum err refuse(const char **out_reason, const char *reason)
{
    *out_reason = reason;
    return ERR_INVALID;
}

/* Take the scheme and its slashes off `*rest`. */
static bool take_scheme(struct str *rest, bool *out_secure)
{
    size_t size = 0;
    if (str_equal_nocase(str_cut(*rest, 0, 7), STR("http://"))) {
        size = 7;
    } else if (str_equal_nocase(str_cut(*rest, 0, 8), STR("https://"))) {
        size = 8;
    }
    *rest = str_cut(*rest, size, rest->size);
    *out_secure = size == 8;
    return size > 0;
}

/* Bytes before the first '/', '?' or '#'. */
static size_t authority_size(struct str text)
{
    size_t size = 0;
    while (size < text.size && text.data[size] != '/' &&
           text.data[size] != '?' && text.data[size] != '#') {
        size++;
    }
    return size;
}

/* Labels of unreserved characters, none empty; a dot may end the last. Names
 * only: percent-encoding has no meaning in the DNS. */
static bool is_host_name(struct str host)
{
    size_t label = 0;
    bool ends_in_dot = host.size > 0 && host.data[host.size - 1] == '.';
    size_t size = ends_in_dot ? host.size - 1 : host.size;
    if (size == 0 || size > HOST_SIZE_MAX) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (bytes_is_unreserved(host.data[i]) && host.data[i] != '.') {
            label++;
        } else if (host.data[i] != '.' || label == 0) {
            return false;
        } else {
            label = 0;
        }
        if (label > LABEL_SIZE_MAX) {
            return false;
        }
    }
    return label > 0;
}

/* Tell whether a host is an IPv6 address as inet_pton(3) reads it. */
static bool is_ip6(struct str host)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (host.size == 0 || host.size >= sizeof(text)) {
        return false;
    }
    memcpy(text, host.data, host.size);
    text[host.size] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1;
}

/* Tell whether a host is four numbers up to 255 with dots between them, none
 * written with a zero before it: what inet_pton(3) takes for an IPv4 address,
 * without the way there. */
static bool is_ip4(struct str host)
{
    size_t at = 0;
    for (int part = 0; part < 4; part++) {
        if (part > 0 && (at == host.size || host.data[at++] != '.')) {
            return false;
        }
        size_t start = at;
        unsigned value = 0;
        while (at < host.size && at - start < 4 && host.data[at] >= '0' &&
               host.data[at] <= '9') {
            value = value * 10 + (unsigned)(host.data[at] - '0');
            at++;
        }
        bool zero_before = at - start > 1 && host.data[start] == '0';
        if (at == start || value > 255 || zero_before) {
            return false;
        }
    }
    return at == host.size;
}

/* Tell whether some program takes a host for an IPv4 address: its last label
 * is a number, in decimal or after 0x. No name ends so (RFC 3696, 2), and what
 * 0177.1 is depends on whom one asks. */
static bool looks_like_ip4(struct str host)
{
    size_t end = host.size;
    end -= end > 0 && host.data[end - 1] == '.' ? 1 : 0;
    size_t start = end;
    while (start > 0 && host.data[start - 1] != '.') {
        start--;
    }
    struct str label = str_cut(host, start, end - start);
    bool hex = label.size > 1 && label.data[0] == '0' &&
               (label.data[1] == 'x' || label.data[1] == 'X');
    for (size_t i = hex ? 2 : 0; i < label.size; i++) {
        bool digit = label.data[i] >= '0' && label.data[i] <= '9';
        if (!digit && (!hex || bytes_hex(label.data[i]) < 0)) {
            return false;
        }
    }
    return label.size > 0;
}

static bool parse_port(struct str text, struct url *url)
{
    uint64_t port = 0;
    if (str_to_u64(text, &port) != ERR_OK || port == 0 || port > PORT_MAX) {
        return false;
    }
    url->port = (uint16_t)port;
    url->port_given = true;
    return true;
}

static enum err
parse_authority(struct str text, struct url *url, const char **out_reason)
{
    struct str rest;
    url->authority = text;
    if (text.size == 0) {
        return refuse(out_reason, "no host");
    }
    if (str_find(text, '@') < text.size) {
        return refuse(out_reason, "user information is not allowed");
    }
    url->host_is_ip6 = text.data[0] == '[';
    if (url->host_is_ip6) {
        size_t end = str_find(text, ']');
        url->host = str_cut(text, 1, end - 1);
        rest = str_cut(text, end + 1, text.size);
        if (end == text.size || !is_ip6(url->host)) {
            return refuse(out_reason, "malformed IPv6 address");
        }
    } else {
        size_t end = str_find(text, ':');
        url->host = str_cut(text, 0, end);
        rest = str_cut(text, end, text.size);
        if (!is_host_name(url->host)) {
            return refuse(out_reason, "malformed host");
        }
        if (looks_like_ip4(url->host) && !is_ip4(url->host)) {
            return refuse(out_reason, "malformed IPv4 address");
        }
    }
    if (rest.size == 0) {
        return ERR_OK;
    }
    if (rest.data[0] != ':' || !parse_port(str_cut(rest, 1, rest.size), url)) {
        return refuse(out_reason, "malformed port");
    }
    return ERR_OK;
}

enum err
url_parse(struct str text, struct url *out_url, const char **out_reason)
{
    struct url url = {0};
    struct str rest = text;
    if (text.size > URL_SIZE_MAX) {
        *out_reason = "too large";
        return ERR_TOO_LARGE;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (!bytes_is_target(text.data[i]) && text.data[i] != '#') {
            return refuse(out_reason,
                          "blanks, controls and bytes above 0x7e must be "
                          "percent-encoded");
        }
    }
    if (!take_scheme(&rest, &url.secure)) {
        return refuse(out_reason, "not an http:// or https:// URL");
    }
    url.port = url.secure ? PORT_SECURE : PORT_PLAIN;
    size_t size = authority_size(rest);
    enum err err = parse_authority(str_cut(rest, 0, size), &url, out_reason);
    if (err != ERR_OK) {
        return err;
    }
    rest = str_cut(rest, size, rest.size);
    url.target = str_cut(rest, 0, str_find(rest, '#'));
    *out_url = url;
    return ERR_OK;
}

bool url_same_endpoint(const struct url *left, const struct url *right)
{
    return left->secure == right->secure && left->port == right->port &&
           left->host_is_ip6 == right->host_is_ip6 &&
           str_equal_nocase(left->host, right->host);
}

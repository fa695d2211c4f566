"""Malformed input: each with its exact answer, over raw sockets.

What cannot be parsed without doubt (RFC 9112, 6 and 7) is answered and the
connection closed: nothing that follows it may be taken for a request.

SPDX-License-Identifier: MIT
"""

import json
import time

import pytest
from harness import wait_until

URL = 'http://127.0.0.1:9/'  # never connected to: nothing is stored here
GOOD = 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n'


@pytest.fixture(autouse=True, scope='module')
def nothing_is_stored(shared_opq):
    yield
    assert shared_opq.get('/opq/topics').json()['topics'] == []
    log = shared_opq.log()
    assert ' error ' not in log, log


def push(*fields, body='abc', version='HTTP/1.1', method='POST',
         target='/opq/push?topic=bad&url=' + URL):
    lines = [f'{method} {target} {version}', *fields]
    return '\r\n'.join(lines) + '\r\n\r\n' + body


def refused(opq, text, status, reason):
    """Assert a refusal of the parser, and that the connection is closed."""
    with opq.connect() as connection:
        connection.send(text)
        answer = connection.read_response()
        assert answer.status == status, answer
        assert answer.headers['content-type'] == 'application/problem+json'
        assert answer.headers['connection'] == 'close'
        problem = answer.json()
        assert problem['status'] == status
        assert problem['detail'] == reason
        assert connection.closed()


# --- framing ----------------------------------------------------------------

FRAMING = {
    'both lengths': (
        push('Host: x', 'Content-Length: 3', 'Transfer-Encoding: chunked',
             body='3\r\nabc\r\n0\r\n\r\n'),
        400, 'both Content-Length and Transfer-Encoding'),
    'both lengths, coding first': (
        push('Host: x', 'Transfer-Encoding: chunked', 'Content-Length: 3'),
        400, 'both Content-Length and Transfer-Encoding'),
    'two different lengths': (
        push('Host: x', 'Content-Length: 3', 'Content-Length: 4'),
        400, 'more than one Content-Length'),
    'the same length twice': (
        push('Host: x', 'Content-Length: 3', 'Content-Length: 3'),
        400, 'more than one Content-Length'),
    'a list of lengths': (
        push('Host: x', 'Content-Length: 3, 3'),
        400, 'malformed Content-Length'),
    'a signed length': (
        push('Host: x', 'Content-Length: +3'),
        400, 'malformed Content-Length'),
    'a negative length': (
        push('Host: x', 'Content-Length: -1'),
        400, 'malformed Content-Length'),
    'a hexadecimal length': (
        push('Host: x', 'Content-Length: 0x3'),
        400, 'malformed Content-Length'),
    'an empty length': (
        push('Host: x', 'Content-Length:'),
        400, 'malformed Content-Length'),
    'a length past 64 bits': (
        push('Host: x', 'Content-Length: 18446744073709551616'),
        400, 'malformed Content-Length'),
    'a length past 63 bits': (
        push('Host: x', 'Content-Length: 9223372036854775808'),
        400, 'malformed Content-Length'),
    'an unknown coding': (
        push('Host: x', 'Transfer-Encoding: gzip'),
        501, 'unknown transfer coding'),
    'a coding before chunked': (
        push('Host: x', 'Transfer-Encoding: gzip, chunked'),
        501, 'unknown transfer coding'),
    'a coding behind chunked': (
        push('Host: x', 'Transfer-Encoding: chunked, gzip'),
        400, 'malformed Transfer-Encoding'),
    'chunked twice': (
        push('Host: x', 'Transfer-Encoding: chunked, chunked'),
        400, 'malformed Transfer-Encoding'),
    'chunked in two fields': (
        push('Host: x', 'Transfer-Encoding: chunked',
             'Transfer-Encoding: chunked'),
        400, 'more than one Transfer-Encoding'),
    'chunked dressed up': (
        push('Host: x', 'Transfer-Encoding: "chunked"'),
        400, 'malformed Transfer-Encoding'),
    'chunked after a tab': (
        push('Host: x', 'Transfer-Encoding: \x0bchunked'),
        400, 'control character in a field'),
    'an empty coding': (
        push('Host: x', 'Transfer-Encoding:'),
        400, 'malformed Transfer-Encoding'),
    'chunked in HTTP/1.0': (
        push('Host: x', 'Transfer-Encoding: chunked', version='HTTP/1.0'),
        400, 'Transfer-Encoding in an HTTP/1.0 request'),
    'a bare line feed after the request line': (
        'POST /opq/push HTTP/1.1\nHost: x\r\n\r\n',
        400, 'line feed without carriage return'),
    'a bare line feed after a field': (
        push('Host: x\nContent-Length: 3'),
        400, 'line feed without carriage return'),
    'a bare line feed as the empty line': (
        'GET /healthz HTTP/1.1\r\nHost: x\r\n\n',
        400, 'line feed without carriage return'),
    'a bare carriage return in a field': (
        push('Host: x', 'X-A: b\rContent-Length: 3'),
        400, 'carriage return without line feed'),
    'a bare carriage return before the request': (
        '\rGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n',
        400, 'carriage return without line feed'),
    'a bare carriage return in the request line': (
        'GET /healthz HTTP/1.1\rX: y\r\nHost: x\r\n\r\n',
        400, 'bytes after the version'),
    'a folded field': (
        push('Host: x', 'X-A: b', ' c', 'Content-Length: 3'),
        400, 'folded field'),
    'a field folded by a tab': (
        push('Host: x', 'Content-Length: 3', '\tc'),
        400, 'folded field'),
    'a folded first field': (
        push(' Host: x', 'Content-Length: 3'),
        400, 'folded field'),
    'a blank before a colon': (
        push('Host: x', 'Content-Length : 3'),
        400, 'blank before a colon'),
    'a tab before a colon': (
        push('Host: x', 'Transfer-Encoding\t: chunked'),
        400, 'blank before a colon'),
    'a field without a colon': (
        push('Host: x', 'Content-Length'),
        400, 'malformed field name'),
    'a field without a name': (
        push('Host: x', ': 3'),
        400, 'field without a name'),
    'a field name with a bad byte': (
        push('Host: x', 'X(A): 3'),
        400, 'malformed field name'),
    'a field name beyond ASCII': (
        push('Host: x', 'X-\xe9: 3'),
        400, 'malformed field name'),
    'NUL in a value': (
        push('Host: x', 'X-A: a\0b'),
        400, 'NUL in a field'),
    'NUL in a name': (
        push('Host: x', 'X\0A: b'),
        400, 'NUL in a field name'),
    'NUL in the target': (
        push('Host: x', target='/opq/push\0'),
        400, 'malformed request target'),
    'NUL in the method': (
        'GE\0T /healthz HTTP/1.1\r\nHost: x\r\n\r\n',
        400, 'malformed method'),
    'a control character in a value': (
        push('Host: x', 'X-A: a\x7fb'),
        400, 'control character in a field'),
    'no host': (
        push('Content-Length: 3'), 400, 'no Host'),
    'two hosts': (
        push('Host: x', 'Host: x'), 400, 'more than one Host'),
    'a host that is none': (
        push('Host: a b'), 400, 'malformed Host'),
    'a later major version': (
        push('Host: x', version='HTTP/2.0'),
        505, 'only HTTP/1.x is spoken here'),
    'HTTP/0.9': (
        'GET /healthz\r\n\r\n', 400, 'malformed request target'),
    'a version in small letters': (
        push('Host: x', version='http/1.1'), 400, 'malformed version'),
    'a version of two digits': (
        push('Host: x', version='HTTP/1.10'),
        400, 'bytes after the version'),
    'a blank after the version': (
        push('Host: x', version='HTTP/1.1 '),
        400, 'bytes after the version'),
    'two blanks before the target': (
        'GET  /healthz HTTP/1.1\r\nHost: x\r\n\r\n',
        400, 'malformed request target'),
    'a target with a blank': (
        'GET /heal thz HTTP/1.1\r\nHost: x\r\n\r\n',
        400, 'malformed version'),
    'a target without a slash': (
        'GET healthz HTTP/1.1\r\nHost: x\r\n\r\n',
        400, 'malformed request target'),
    'a target beyond ASCII': (
        'GET /\xe9 HTTP/1.1\r\nHost: x\r\n\r\n',
        400, 'malformed request target'),
    'a TLS hello': (
        '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
        400, 'malformed method'),
    'an unknown expectation': (
        push('Host: x', 'Content-Length: 3', 'Expect: 200-maybe'),
        417, 'unknown expectation'),
}


@pytest.mark.parametrize('name', FRAMING)
def test_framing_that_parsers_disagree_about_is_refused(shared_opq, name):
    text, status, reason = FRAMING[name]
    # Behind it a whole request, which must not be answered.
    refused(shared_opq, text + GOOD, status, reason)


@pytest.mark.parametrize('name', ['both lengths', 'a folded field',
                                  'a blank before a colon', 'NUL in a value'])
def test_refusals_are_the_same_byte_by_byte(shared_opq, name):
    text, status, reason = FRAMING[name]
    with shared_opq.connect() as connection:
        head = text[:text.index('\r\n\r\n') + 4]
        for byte in head:
            connection.send(byte)
        answer = connection.read_response()
        assert (answer.status, answer.json()['detail']) == (status, reason)
        assert connection.closed()


CHUNKS = {
    'a size past 64 bits': '10000000000000000\r\nabc',
    'a size past 63 bits': '8000000000000000\r\nabc',
    'a size of many digits': 'fffffffffffffffffffff\r\nabc',
    'a size that is no number': 'xyz\r\nabc\r\n',
    'an empty size': '\r\nabc\r\n',
    'a negative size': '-3\r\nabc\r\n',
    'a size with a prefix': '0x3\r\nabc\r\n',
    'a blank before a size': ' 3\r\nabc\r\n0\r\n\r\n',
    'a bare line feed after a size': '3\nabc\r\n0\r\n\r\n',
    'a bare carriage return after a size': '3\rXabc\r\n0\r\n\r\n',
    'data longer than its size': '3\r\nabcd\r\n0\r\n\r\n',
    'data shorter than its size': '4\r\nabc\r\n0\r\n\r\n',
    'a bare line feed after data': '3\r\nabc\n0\r\n\r\n',
    'a bare line feed at the end': '3\r\nabc\r\n0\n\n',
    'a bare line feed in an extension': '3;a\n=b\r\nabc\r\n0\r\n\r\n',
    'NUL in an extension': '3;a\0=b\r\nabc\r\n0\r\n\r\n',
    'a trailer that is none': '3\r\nabc\r\n0\r\nno colon\r\n\r\n',
    'a folded trailer': '3\r\nabc\r\n0\r\nA: b\r\n c\r\n\r\n',
    'endless extensions': '3;' + 'a' * 20000 + '\r\nabc\r\n0\r\n\r\n',
    'endless trailers': '3\r\nabc\r\n0\r\n' + 'A: b\r\n' * 8000 + '\r\n',
}


@pytest.mark.parametrize('name', CHUNKS)
def test_malformed_chunks_are_refused(shared_opq, name):
    text = push('Host: x', 'Transfer-Encoding: chunked', body=CHUNKS[name])
    refused(shared_opq, text + GOOD, 400, 'malformed chunk')


def test_later_minor_version_is_read_as_1_1(shared_opq):
    answer = shared_opq.exchange('GET /healthz HTTP/1.9\r\nHost: x\r\n\r\n')
    assert answer.status == 200
    assert 'connection' not in answer.headers


def test_empty_line_before_a_request_is_skipped(shared_opq):
    assert shared_opq.exchange('\r\n' + GOOD).status == 200
    refused(shared_opq, '\r\n\r\n' + GOOD, 400, 'malformed method')


# --- sizes ------------------------------------------------------------------

def test_head_at_its_limits_is_taken_and_past_them_refused(shared_opq):
    def head(size):
        start = 'GET /healthz HTTP/1.1\r\nHost: x\r\nX-Fill: '
        return start + 'a' * (size - len(start) - 4) + '\r\n\r\n'

    assert len(head(65536)) == 65536
    assert shared_opq.exchange(head(65536)).status == 200
    refused(shared_opq, head(65537), 431, 'head too large')
    refused(shared_opq, head(70000), 431, 'head too large')


def test_100_fields_are_taken_and_more_refused(shared_opq):
    def head(count):
        fields = ''.join(f'X-{number}: a\r\n' for number in range(count - 1))
        return f'GET /healthz HTTP/1.1\r\nHost: x\r\n{fields}\r\n'

    assert shared_opq.exchange(head(100)).status == 200
    refused(shared_opq, head(101), 431, 'too many fields')


def test_target_of_8_kib_is_taken_and_more_refused(shared_opq):
    def head(size):
        return f'GET /{"a" * (size - 1)} HTTP/1.1\r\nHost: x\r\n\r\n'

    assert shared_opq.exchange(head(8192)).status == 404
    refused(shared_opq, head(8193), 414, 'request target too large')
    refused(shared_opq, head(65536), 414, 'start line too large')
    refused(shared_opq, 'A' * 65536, 414, 'start line too large')


def test_body_past_the_limit_is_refused_by_its_length(shared_opq):
    refused(shared_opq, push('Host: x', 'Content-Length: 1048577', body=''),
            413, 'the body is too large')
    refused(shared_opq,
            push('Host: x', 'Content-Length: 9223372036854775807', body=''),
            413, 'the body is too large')


def test_chunked_body_past_the_limit_is_refused_by_its_sizes(shared_opq):
    refused(shared_opq, push('Host: x', 'Transfer-Encoding: chunked',
                             body='100001\r\n'),
            413, 'the body is too large')
    refused(shared_opq, push('Host: x', 'Transfer-Encoding: chunked',
                             body='100000\r\n' + 'a' * 0x100000 + '\r\n1\r\n'),
            413, 'the body is too large')


def test_body_at_the_limit_is_taken(serve, receiver):
    opq = serve('--drain=2s', '--body-size-max=100k')
    target = f'/opq/push?topic=a&url={receiver.url()}'
    body = 'a' * 102400
    assert opq.exchange(push('Host: x', 'Content-Length: 102400', body=body,
                             target=target)).status == 201
    assert opq.exchange(push('Host: x', 'Transfer-Encoding: chunked',
                             body=f'19000\r\n{body}\r\n0\r\n\r\n',
                             target=target)).status == 201
    refused(opq, push('Host: x', 'Content-Length: 102401', body='',
                      target=target), 413, 'the body is too large')
    assert [len(one.body) for one in receiver.wait(2)] == [102400, 102400]


# --- requests that end early or come slowly ---------------------------------

@pytest.mark.parametrize('text', [
    push('Host: x', 'Content-Length: 10', body='abc'),
    push('Host: x', 'Transfer-Encoding: chunked', body='a\r\nabc'),
    push('Host: x', 'Transfer-Encoding: chunked', body='3\r\nabc\r\n0\r\n'),
    'POST /opq/push HTTP/1.1\r\nHost: x\r\n',
    'POST /opq',
    'P',
])
def test_truncated_request_is_refused(shared_opq, text):
    with shared_opq.connect() as connection:
        connection.send(text).end()
        answer = connection.read_response()
        assert answer.status == 400
        assert answer.json()['detail'] == 'the request ended early'
        assert connection.closed()


def test_client_that_vanishes_leaves_nothing(opq):
    def now():
        return opq.get('/opq/info').json()['now']

    for text in ('P', push('Host: x', 'Content-Length: 10'),
                 push('Host: x', 'Transfer-Encoding: chunked', body='ff\r\n')):
        opq.connect().send(text).reset()
    wait_until(lambda: now()['connections'] == 1, 'the asking one alone')
    assert now()['topics'] == 0


@pytest.fixture(scope='module')
def hasty_opq(tmp_path_factory):
    from conftest import serving
    for start in serving(tmp_path_factory.mktemp('hasty')):
        yield start('--head-timeout=150ms', '--body-timeout=150ms',
                    '--idle-timeout=400ms', '--drain=2s')


@pytest.mark.parametrize('text, reason', [
    ('G', 'the head did not come in time'),
    ('GET /healthz HTTP/1.1\r\nHost: x\r\n', 'the head did not come in time'),
    (push('Host: x', 'Content-Length: 10'),
     'the body did not come in time'),
    (push('Host: x', 'Transfer-Encoding: chunked', body='3\r\nab'),
     'the body did not come in time'),
])
def test_slow_sender_is_told_408(hasty_opq, text, reason):
    begin = time.monotonic()
    refused(hasty_opq, text, 408, reason)
    assert 0.1 < time.monotonic() - begin < 10


def test_dripping_head_is_not_waited_for(hasty_opq):
    """Each byte comes in time; the head as a whole does not."""
    with hasty_opq.connect() as connection:
        connection.socket.setblocking(False)

        def answered():
            try:
                return connection.socket.recv(65536)
            except BlockingIOError:
                connection.socket.send(b'a')
                return None
        connection.send('GET /healthz HTTP/1.1\r\nX-Drip: ')
        answer = wait_until(answered, 'an answer to a dripping head')
        assert answer.startswith(b'HTTP/1.1 408 Request Timeout\r\n')
        assert b'the head did not come in time' in answer


def test_idle_connection_is_closed_without_an_answer(hasty_opq):
    with hasty_opq.connect() as connection:
        assert connection.closed()
    with hasty_opq.connect() as connection:
        assert connection.send(GOOD).read_response().status == 200
        assert connection.closed()


def test_body_that_comes_too_slowly_is_refused(serve):
    opq = serve('--body-rate-min=1m', '--body-timeout=300ms', '--drain=2s')
    with opq.connect() as connection:
        connection.send(push('Host: x', 'Content-Length: 1000000'))
        connection.socket.setblocking(False)

        def answered():
            try:
                return connection.socket.recv(65536)
            except BlockingIOError:
                connection.socket.send(b'a')
                return None
        answer = wait_until(answered, 'an answer to a dripping body')
        assert answer.startswith(b'HTTP/1.1 408 Request Timeout\r\n')
        assert b'the body came too slowly' in answer


# --- fields of pushes -------------------------------------------------------

TOPIC_RULE = 'topic must be 1 to 128 of A-Z a-z 0-9 . _ - and not . or ..'


def form(shared_opq, path, body):
    answer = shared_opq.request('POST', path, body, {
        'Content-Type': 'application/x-www-form-urlencoded'})
    assert answer.headers['content-type'] == 'text/plain; charset=utf-8'
    return answer.status, answer.body.decode()


@pytest.mark.parametrize('topic', [
    '..%2F..%2Fx', '%2Fetc', 'a%2Fb', '.', '..', 'a' * 129, 'a+b', 'a%00b',
    '%C3%A9', 'a%0Ab', 'a:b', '*',
])
def test_bad_topic_is_refused(shared_opq, topic):
    assert form(shared_opq, '/opq/push', f'topic={topic}&url={URL}') == (
        400, f'BadRequest: {TOPIC_RULE}\n')


def test_empty_or_missing_topic_is_refused(shared_opq):
    for body in (f'topic=&url={URL}', f'url={URL}'):
        assert form(shared_opq, '/opq/push', body) == (
            400, 'BadRequest: topic is missing or empty\n')


@pytest.mark.parametrize('topic', ['a' * 128, '...', '-', '_', 'A.b-C_9'])
def test_odd_but_good_topics_are_taken(opq, receiver, topic):
    assert opq.push(topic, receiver.url()).status == 201
    assert receiver.wait(1)[0].topic == topic
    assert opq.topic(topic)['end'] == 1


@pytest.mark.parametrize('url, reason', [
    ('ftp://127.0.0.1/', 'not an http:// or https:// URL'),
    ('file:///etc/passwd', 'not an http:// or https:// URL'),
    ('127.0.0.1:80', 'not an http:// or https:// URL'),
    ('/path', 'not an http:// or https:// URL'),
    ('http:/127.0.0.1/', 'not an http:// or https:// URL'),
    ('javascript:alert(1)', 'not an http:// or https:// URL'),
    ('http://', 'no host'),
    ('http:///path', 'no host'),
    ('http://user@127.0.0.1/', 'user information is not allowed'),
    ('http://user:secret@127.0.0.1/', 'user information is not allowed'),
    ('http://127.0.0.1:0/', 'malformed port'),
    ('http://127.0.0.1:65536/', 'malformed port'),
    ('http://127.0.0.1:port/', 'malformed port'),
    ('http://127.0.0.1:/', 'malformed port'),
    ('http://127.0.0.1:-1/', 'malformed port'),
    ('http://127.0.0.1:99999999999999999999/', 'malformed port'),
    ('http://[::1/', 'malformed IPv6 address'),
    ('http://[nonsense]/', 'malformed IPv6 address'),
    ('http://a..b/', 'malformed host'),
    ('http://.a/', 'malformed host'),
    ('http://a%2Fb/', 'malformed host'),
    ('http://' + 'a' * 64 + '/', 'malformed host'),
    ('http://2130706433/', 'malformed IPv4 address'),
    ('http://0x7f000001/', 'malformed IPv4 address'),
    ('http://0177.0.0.1/', 'malformed IPv4 address'),
    ('http://127.1/', 'malformed IPv4 address'),
    ('http://127.0.0.0x1/', 'malformed IPv4 address'),
    ('http://127.0.0.1./', 'malformed IPv4 address'),
    ('http://127.0.0.256/', 'malformed IPv4 address'),
    ('http://example.123/', 'malformed IPv4 address'),
    ('http://0/', 'malformed IPv4 address'),
    ('http://a b/', None),
    ('http://127.0.0.1/\r\nX: y', None),
    ('http://127.0.0.1/\u00e9', None),
    ('http://127.0.0.1/\0', None),
])
def test_bad_url_is_refused(shared_opq, url, reason):
    answer = shared_opq.push('bad', url)
    if reason is None:
        reason = ('blanks, controls and bytes above 0x7e must be '
                  'percent-encoded')
    assert (answer.status, answer.body.decode()) == (
        400, f'BadRequest: url: {reason}\n')


def test_url_past_8_kib_is_refused(shared_opq, opq, receiver):
    url = receiver.url('/').ljust(8192, 'a')
    assert opq.push('long', url).status == 201
    assert receiver.wait(1)[0].target == '/' + 'a' * (
        8192 - len(receiver.url('/')))
    answer = shared_opq.push('long', url + 'a')
    assert answer.status == 414
    assert answer.body == b'URITooLong: url: too large\n'


@pytest.mark.parametrize('host', ['169.254.169.254', '[fe80::1]', '0.0.0.0',
                                  '224.0.0.1', '[::]', '[ff02::1]',
                                  '[::ffff:169.254.169.254]',
                                  '[fd00:ec2::254]', '255.255.255.255'])
def test_address_that_is_never_a_target_is_refused(shared_opq, host):
    answer = shared_opq.push('bad', f'http://{host}/latest/meta-data')
    assert (answer.status, answer.body) == (
        400, b'BadRequest: url points to an address that is not allowed\n')


@pytest.mark.parametrize('type_, body', [
    ('multipart/form-data', '--B\r\n\r\n'),
    ('multipart/form-data; boundary=', '--\r\n\r\n'),
    ('multipart/form-data; boundary="B', '--B--\r\n'),
    ('multipart/form-data; boundary=B; boundary=C', '--B--\r\n'),
    ('multipart/form-data; boundary=' + 'B' * 71, '--B--\r\n'),
    ('multipart/form-data; boundary=B', ''),
    ('multipart/form-data; boundary=B', '--C--\r\n'),
    ('multipart/form-data; boundary=B',
     '--B\r\nContent-Disposition: form-data; name="topic"\r\n\r\na'),
    ('multipart/form-data; boundary=B',
     '--B\r\nContent-Disposition: form-data; name="topic"\r\n\r\na\r\n--B'),
    ('multipart/form-data; boundary=B',
     '--B\r\nContent-Disposition: form-data\r\n\r\na\r\n--B--\r\n'),
    ('multipart/form-data; boundary=B', '--B\r\n\r\na\r\n--B--\r\n'),
    ('multipart/form-data; boundary=B',
     '--B\nContent-Disposition: form-data; name="topic"\n\na\n--B--\n'),
])
def test_multipart_that_is_malformed_is_refused(shared_opq, type_, body):
    answer = shared_opq.request('POST', '/opq/push', body,
                                {'Content-Type': type_})
    assert (answer.status, answer.body) == (
        400, b'BadRequest: form is malformed\n')


def test_form_of_too_many_fields_is_refused(shared_opq):
    body = '&'.join(f'f{number}=1' for number in range(101))
    assert form(shared_opq, '/opq/push', body) == (
        400, 'BadRequest: form has more than 100 fields\n')


# --- replay -----------------------------------------------------------------

@pytest.mark.parametrize('body, detail', [
    ('topic=a', 'cmd is missing or empty'),
    ('topic=a&cmd=', 'cmd is missing or empty'),
    ('cmd=0', 'topic is missing or empty'),
    ('topic=&cmd=0', 'topic is missing or empty'),
    ('topic=..%2Fx&cmd=0', TOPIC_RULE),
    ('topic=a&cmd=first', 'cmd must be a decimal number, 0 or more'),
    ('topic=a&cmd=-1', 'cmd must be a decimal number, 0 or more'),
    ('topic=a&cmd=%2B1', 'cmd must be a decimal number, 0 or more'),
    ('topic=a&cmd=1.5', 'cmd must be a decimal number, 0 or more'),
    ('topic=a&cmd=0x1', 'cmd must be a decimal number, 0 or more'),
    ('topic=a&cmd=1+', 'cmd must be a decimal number, 0 or more'),
])
def test_bad_replay_is_refused(shared_opq, body, detail):
    assert form(shared_opq, '/opq/replay', body) == (
        400, f'BadRequest: {detail}\n')


@pytest.mark.parametrize('query, body, headers, detail', [
    ('', 'topic=a&cmd=0&cmd=1', {}, 'cmd is given twice'),
    ('', 'topic=a&cmd=0&topic=a', {}, 'topic is given twice'),
    ('?cmd=0', 'topic=a&cmd=0', {}, 'cmd is given twice'),
    ('', 'topic=a&cmd=0', {'Opq-Cmd': '0'}, 'cmd is given twice'),
    ('', 'topic=a&cmd=0', {'Opq-Cdm': '0'}, 'header Opq-Cdm is not known'),
    ('?topic=a&cmd=0&from=1', None, {}, 'parameter from is not known'),
    ('?topic=a', {'topic': 'b', 'cmd': 0}, {}, 'topic is given twice'),
    ('', '{"topic":"a","cmd":0,"cmd":1}', {}, 'cmd is given twice'),
    ('', {'topic': 'a', 'cmd': 0, 'rate': 1}, {},
     'parameter rate is not known'),
    ('', {'topic': 'a', 'cmd': None}, {},
     'member cmd must be a string or a number'),
    ('?rate=1', {'topic': 'a', 'cmd': 0}, {}, 'parameter rate is not known'),
])
def test_ambiguous_replay_is_refused(shared_opq, query, body, headers, detail):
    if isinstance(body, str):
        headers = {**headers, 'Content-Type': 'application/json' if
                   body.startswith('{') else
                   'application/x-www-form-urlencoded'}
    answer = shared_opq.request('POST', f'/opq/replay{query}', body, {
        'Accept': 'application/json', **headers})
    assert (answer.status, answer.json()['detail']) == (400, detail)


def test_replay_by_headers_and_with_fields_of_others(opq, receiver):
    for _ in range(3):
        opq.push('r', receiver.url())
    opq.wait_delivered('r', 3)
    assert opq.request('POST', '/opq/replay', headers={
        'Opq-Topic': 'r', 'opq-cmd': '2'}).status == 201
    receiver.wait(4)
    assert form(opq, '/opq/replay', 'topic=r&cmd=1&submit=go') == (
        201, 'success')
    receiver.wait(6)
    assert receiver.sequences('r') == [0, 1, 2, 2, 1, 2]


def test_replay_of_an_unknown_topic_is_404(shared_opq):
    assert form(shared_opq, '/opq/replay', 'topic=nowhere&cmd=0') == (
        404, 'NotFound: topic is not known\n')


@pytest.mark.parametrize('cmd', ['4', '18446744073709551615',
                                 '18446744073709551616', '9' * 40])
def test_replay_beyond_the_end_is_416(opq, receiver, cmd):
    for _ in range(3):
        opq.push('r', receiver.url())
    opq.wait_delivered('r', 3)
    assert form(opq, '/opq/replay', f'topic=r&cmd={cmd}') == (
        416, 'RangeNotSatisfiable: cmd is out of range: oldest=0 newest=2\n')
    answer = opq.request('POST', '/opq/replay', json.dumps(
        {'topic': 'r', 'cmd': cmd}), {'Content-Type': 'application/json'})
    assert answer.status == 416
    assert (answer.json()['oldest'], answer.json()['end']) == (0, 3)
    assert len(receiver.requests) == 3


# --- methods, types and paths -----------------------------------------------

@pytest.mark.parametrize('method', ['GET', 'PUT', 'HEAD', 'DELETE', 'PATCH',
                                    'OPTIONS', 'TRACE', 'BREW'])
@pytest.mark.parametrize('path', ['/opq/push', '/opq/batch', '/opq/replay'])
def test_other_methods_are_405_with_allow(shared_opq, method, path):
    with shared_opq.connect() as connection:
        connection.send(f'{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n')
        answer = connection.read_response(head_only=method == 'HEAD')
        assert answer.status == 405
        assert answer.headers['allow'] == 'POST'
        # It is no doubt where it ends: the connection lives on.
        assert connection.send(GOOD).read_response().status == 200


def test_replay_of_another_type_is_415(shared_opq):
    answer = shared_opq.request('POST', '/opq/replay', '<a/>',
                                {'Content-Type': 'application/xml'})
    assert (answer.status, answer.body) == (
        415,
        b'UnsupportedMediaType: Content-Type must be a form or JSON\n')


@pytest.mark.parametrize('path', ['//opq/push', '/opq/push/', '/opq//push',
                                  '/OPQ/push', '/opq/./push', '/opq/%70ush',
                                  '/opq/push/../push', '/'])
def test_paths_that_are_nearly_right_are_404(shared_opq, path):
    answer = shared_opq.request(
        'POST', path, f'topic=bad&url={URL}',
        {'Content-Type': 'application/x-www-form-urlencoded'})
    assert answer.status == 404
    assert 'location' not in answer.headers


@pytest.mark.parametrize('target, status', [
    ('http://other/healthz', 200), ('http://user@other/healthz', 400),
    ('*', 400), ('ftp://other/healthz', 400),
])
def test_absolute_targets(shared_opq, target, status):
    answer = shared_opq.exchange(
        f'GET {target} HTTP/1.1\r\nHost: x\r\n\r\n')
    assert answer.status == status


def serves(connection):
    try:
        return connection.send(GOOD).read_response().status == 200
    except OSError:
        return False  # refused, and closed before it was asked


def test_connections_past_the_cap_are_told_503(serve):
    opq = serve('--shards=1', '--connections-max=4', '--drain=2s')
    held = []

    def hold():
        connection = opq.connect()
        if serves(connection):
            held.append(connection)
        else:
            connection.close()
        return len(held) == 4
    wait_until(hold, 'four places')  # that of who asked for readiness, too

    with opq.connect() as connection:
        answer = connection.read_response()
        assert answer.status == 503
        assert answer.headers['retry-after'] == '1'
        assert answer.json()['detail'] == 'too many connections'
        assert connection.closed()
    for one in held:
        assert serves(one)
        one.close()

    def served():
        with opq.connect() as connection:
            return serves(connection)
    wait_until(served, 'a place for another connection')


def test_pushes_past_the_memory_for_bodies_are_told_503(serve, receiver):
    opq = serve('--shards=1', '--body-memory=512k', '--body-size-max=256k',
                '--drain=2s')
    target = f'/opq/push?topic=m&url={receiver.url()}'
    size = 200 * 1024
    half = [opq.connect() for _ in range(2)]
    for one in half:
        one.send(push('Host: x', f'Content-Length: {size}', target=target,
                      body='a' * (size - 1)))

    def refused_now():
        answer = opq.exchange(push('Host: x', f'Content-Length: {size}',
                                   target=target, body='a' * size))
        assert answer.status in (201, 503)
        if answer.status == 503:
            assert answer.headers['retry-after'] == '1'
        return answer.status == 503
    wait_until(refused_now, 'a refusal for want of memory')
    for one in half:
        assert one.send('a').read_response().status == 201
        one.close()
    assert opq.exchange(push('Host: x', f'Content-Length: {size}',
                             target=target, body='a' * size)).status == 201


def test_answers_before_a_malformed_request_are_kept(shared_opq):
    with shared_opq.connect() as connection:
        connection.send(GOOD + GOOD + 'GET /healthz\n')
        assert connection.read_response().status == 200
        assert connection.read_response().status == 200
        assert connection.read_response().status == 400
        assert connection.closed()


def test_client_may_end_its_side_and_still_be_answered(shared_opq):
    with shared_opq.connect() as connection:
        connection.send(GOOD).end()
        assert connection.read_response().status == 200
        assert connection.closed()


"""HTTPS for producers: pushes, and clients that do it wrongly.

SPDX-License-Identifier: MIT
"""

import http.client
import os
import socket
import ssl
import time

import pytest
from certificates import Authority
from harness import RawConnection, run_cli

PUSH = ('POST /opq/push?topic=t&url={url} HTTP/1.1\r\n'
        'Host: localhost\r\nContent-Type: text/plain\r\n'
        'Content-Length: {size}\r\n\r\n')


@pytest.fixture(scope='module')
def authority(tmp_path_factory):
    made = Authority(tmp_path_factory.mktemp('https') / 'tls')
    made.server('good', 'DNS:localhost,IP:127.0.0.1')
    made.server('other', 'DNS:localhost,IP:127.0.0.1')
    return made


@pytest.fixture
def context(authority):
    """Of a client that verifies."""
    made = ssl.create_default_context(cafile=authority.file)
    made.set_alpn_protocols(['h2', 'http/1.1'])
    return made


@pytest.fixture(params=['epoll', 'uring'])
def secure(request, serve, authority, context):
    """A function that starts a server that speaks TLS."""
    def start(*arguments):
        return serve(f'--io={request.param}', *files(authority),
                     '--retry-first=20ms', '--drain=2s', *arguments,
                     tls=context)
    return start


def files(authority, certificate='good', key='good'):
    return (f'--tls-cert={authority.folder}/{certificate}.pem',
            f'--tls-key={authority.folder}/{key}.key')


def push(url, body=b'hello'):
    return PUSH.format(url=url, size=len(body)).encode() + body


def hello(context):
    """The first flight of a client, and what goes on with it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname='localhost')
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def still_serves(opq):
    return opq.get('/readyz').status == 200


def test_pushes_of_a_kept_connection_are_delivered(secure, receiver):
    opq = secure()
    assert all(url.startswith('https://') for url in opq.urls)
    with opq.connect() as connection:
        assert connection.socket.version() in ('TLSv1.2', 'TLSv1.3')
        assert connection.socket.selected_alpn_protocol() == 'http/1.1'
        for number in range(3):
            answer = connection.send(push(receiver.url())).read_response()
            assert answer.status == 201
            assert answer.headers['opq-seq'] == str(number)
    assert [one.body for one in receiver.wait(3)] == [b'hello'] * 3


@pytest.mark.parametrize('version', ['TLSv1_2', 'TLSv1_3'])
def test_both_versions_are_spoken(secure, context, receiver, version):
    context.minimum_version = getattr(ssl.TLSVersion, version)
    context.maximum_version = context.minimum_version
    opq = secure()
    assert opq.exchange(push(receiver.url())).status == 201


def test_pipelined_pushes_are_answered_in_order(secure, receiver):
    opq = secure()
    with opq.connect() as connection:
        # More than one record, more than the server lets wait at a time.
        connection.send(push(receiver.url(), b'x' * 700) * 200)
        for number in range(200):
            answer = connection.read_response()
            assert answer.status == 201
            assert answer.headers['opq-seq'] == str(number)


def test_a_large_body_goes_through_a_file(secure, receiver):
    opq = secure('--body-size-max=8m', '--body-buffer=64k')
    body = os.urandom(5_000_000)
    assert opq.exchange(push(receiver.url(), body)).status == 201
    assert receiver.wait(1)[0].body == body


def test_a_large_answer_is_sent_whole(secure, receiver):
    opq = secure()
    with opq.connect() as connection:
        connection.send(push(receiver.url(), b'm' * 4000) * 40)
        for _ in range(40):
            assert connection.read_response().status == 201
    listed = opq.get('/opq/topics/t/messages?from=0&limit=40').json()
    assert len(listed['messages']) == 40
    with opq.connect() as connection:
        line = ('GET /opq/topics/t/messages?from=0&limit=40 HTTP/1.1\r\n'
                'Host: x\r\n\r\n')
        connection.send(line * 8)
        bodies = {connection.read_response().body for _ in range(8)}
    assert len(bodies) == 1


def test_the_end_is_said_by_both(secure, receiver):
    opq = secure('--idle-timeout=200ms')
    with opq.connect() as connection:
        connection.send(push(receiver.url()))
        assert connection.read_response().status == 201
        connection.socket.unwrap()  # raises unless close_notify came
    with opq.connect() as connection:
        connection.socket.suppress_ragged_eofs = False
        assert connection.read_all() == b''  # idle: closed in order


def test_a_close_is_said_behind_the_answer(secure):
    opq = secure()
    with opq.connect() as connection:
        connection.socket.suppress_ragged_eofs = False
        connection.send('GET /readyz HTTP/1.1\r\nHost: x\r\n'
                        'Connection: close\r\n\r\n')
        assert connection.read_response().status == 200
        assert connection.read_all() == b''


def test_plain_http_is_told_so(secure):
    opq = secure()
    with opq.connect(tls=None) as connection:
        connection.send('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n')
        answer = connection.read_response()
        assert answer.status == 400 and 'https' in answer.json()['detail']
        assert connection.closed()
    assert still_serves(opq)


@pytest.mark.parametrize('data', [
    b'\0' * 100, b'\x16\x03\x01\xff\xff' + b'\xff' * 70000,
    b'\x15\x03\x03\0\x02\x02\x28', b'\x17\x03\x03\0\x05hello'],
    ids=['zeros', 'large', 'alert', 'data'])
def test_garbage_ends_the_connection(secure, data):
    opq = secure()
    with opq.connect(tls=None) as connection:
        try:
            connection.send(data)
        except OSError:
            pass  # it closed meanwhile
        assert len(connection.read_all()) < 100  # an alert at most
    assert still_serves(opq)


def test_garbage_behind_the_handshake_ends_the_connection(secure, context):
    opq = secure()
    with socket.create_connection(('127.0.0.1', opq.port)) as plain:
        with context.wrap_socket(plain.dup(),
                                 server_hostname='localhost') as session:
            plain.sendall(b'\x17\x03\x03\0\x20' + b'garbage.' * 4)
            with pytest.raises(ssl.SSLError):
                session.recv(1)
    assert still_serves(opq)


@pytest.mark.parametrize('part', [0, 1, 60])
def test_half_a_handshake_is_cut_at_the_deadline(secure, context, part):
    opq = secure('--head-timeout=400ms')
    with opq.connect(tls=None) as connection:
        begin = time.monotonic()
        connection.send(hello(context)[:part])
        assert connection.closed()
        assert time.monotonic() - begin > 0.3
    assert still_serves(opq)


def test_progress_does_not_move_the_deadline(secure, context):
    opq = secure('--head-timeout=500ms')
    first = hello(context)
    with opq.connect(tls=None, patience_s=0.05) as connection:
        for at in range(len(first)):
            try:
                connection.send(first[at:at + 1])
                if connection.socket.recv(1) == b'':
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            raise AssertionError('a byte at a time was waited for')
    assert still_serves(opq)


def test_a_slow_sender_is_served(secure, receiver):
    opq = secure()
    with opq.connect() as connection:
        for byte in push(receiver.url()):
            connection.send(bytes([byte]))  # a record each
        assert connection.read_response().status == 201


def test_an_abrupt_end_harms_no_one_else(secure, context, receiver):
    opq = secure('--shards=1')
    for _ in range(20):
        opq.connect(tls=None).send(hello(context)).reset()
        opq.connect().send(push(receiver.url())[:-2]).reset()
        opq.connect().send(push(receiver.url(), b'x' * 300000)[:-2]).close()
    assert opq.exchange(push(receiver.url(), b'after')).status == 201
    assert receiver.wait(1)[0].body == b'after'


def test_silent_connections_count_against_the_cap(secure):
    opq = secure('--shards=1', '--connections-max=3')
    silent = [opq.connect(tls=None) for _ in range(3)]

    def refused():
        with opq.connect(tls=None) as more:
            return more.closed()
    assert refused()
    for one in silent:
        one.close()
    for _ in range(1000):
        try:
            assert still_serves(opq)
            break
        except (OSError, http.client.HTTPException):
            continue
    else:
        raise AssertionError('room never came back')


def test_the_unix_socket_stays_plain(serve, authority, context, tmp_path):
    path = tmp_path / 'opq.sock'
    opq = serve(f'--unix={path}', *files(authority), tls=context)
    assert f'unix:{path}' in opq.urls
    done = run_cli('topics', '--url', f'unix:{path}')
    assert done.returncode == 0, done


def test_a_drain_ends_sessions_in_order(secure):
    opq = secure()
    connection = opq.connect()
    half = opq.connect(tls=None).send(b'\x16')
    connection.send('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n')
    assert connection.read_response().status == 200
    connection.socket.suppress_ragged_eofs = False
    assert opq.stop() == 0
    assert connection.read_all() == b''
    connection.close()
    half.close()


@pytest.mark.parametrize('certificate, key, said', [
    ('good', 'other', 'tls_key'), ('good', 'missing', 'tls_key'),
    ('missing', 'good', 'tls_cert'), ('good', None, 'tls_cert needs tls_key'),
    (None, 'good', 'tls_key needs tls_cert')])
def test_files_that_do_not_fit_refuse_the_start(serve, authority, certificate,
                                                key, said):
    arguments = [argument for argument, name in zip(
        files(authority, certificate, key), (certificate, key)) if name]
    opq = serve(*arguments, ready=False)
    assert opq.wait() == 78
    assert any(said in line for line in opq.output), opq.explain()


@pytest.mark.parametrize('mode', [0o600, 0o644])
def test_a_key_that_all_can_read_is_warned_of(serve, authority, context, mode):
    path = authority.folder / 'good.key'
    path.chmod(mode)
    opq = serve(*files(authority), tls=context)
    assert ('key_open_to_others' in opq.log()) == (mode == 0o644)
    path.chmod(0o600)

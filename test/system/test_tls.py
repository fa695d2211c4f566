"""HTTPS for producers: pushes, and clients that do it wrongly.

SPDX-License-Identifier: MIT
"""

import http.client
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import time

import pytest
from certificates import Authority
from harness import (BINARY, RawConnection, Sink, measures_memory, run_cli,
                     wait_until)

PUSH = ('POST /opq/push?topic=t&url={url} HTTP/1.1\r\n'
        'Host: localhost\r\nContent-Type: text/plain\r\n'
        'Content-Length: {size}\r\n\r\n')


@pytest.fixture(scope='module')
def authority(tmp_path_factory):
    made = Authority(tmp_path_factory.mktemp('https') / 'tls')
    made.server('good', 'DNS:localhost,IP:127.0.0.1')
    made.server('other', 'DNS:localhost,IP:127.0.0.1')
    made.server('away', 'DNS:elsewhere.example')
    return made


@pytest.fixture(scope='module')
def stranger(tmp_path_factory):
    """The file of an authority that vouches for none of them."""
    return str(Authority(tmp_path_factory.mktemp('https') / 'strange').file)


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


def resident_kib(opq):
    text = pathlib.Path(f'/proc/{opq.pid}/status').read_text()
    return int(re.search(r'\nVmRSS:\s+(\d+) kB', text).group(1))


@measures_memory
@pytest.mark.parametrize('sent', ['half a hello', 'a hello', 'a handshake'])
def test_what_a_connection_costs_is_bounded(secure, context, sent):
    """Measured: 59, 64 and 43 KiB; see doc/operations.md."""
    count, least_kib, most_kib = 200, 20, 80
    opq = secure('--shards=1')
    first = hello(context)
    for _ in range(3):
        assert still_serves(opq)
    before = resident_kib(opq)
    if sent == 'a handshake':
        held = [opq.connect() for _ in range(count)]
    else:
        size = len(first) if sent == 'a hello' else len(first) // 2
        held = [opq.connect(tls=None).send(first[:size])
                for _ in range(count)]
    wait_until(lambda: resident_kib(opq) - before > count * least_kib,
               'sessions')  # else it is not measured here what they cost
    for _ in range(3):
        assert still_serves(opq)
    assert resident_kib(opq) - before < count * most_kib
    for one in held:
        one.close()


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


# --- our own programs ---------------------------------------------------------

def run(opq, authority, command, *arguments, **options):
    return opq.run(command, '--ca-file', str(authority.file), *arguments,
                   **options)


def bench(*arguments):
    return ('bench', 'push', '--topic', 'load', '--size', '30', '--connections',
            '4', '--duration', '100ms', '--warmup', '50ms', '--json',
            *arguments)


@pytest.mark.parametrize('pipeline, size', [(1, 30), (256, 3000)])
def test_bench_pushes_over_tls(secure, authority, pipeline, size):
    opq = secure()
    assert opq.request('PUT', '/opq/topics/load-0?paused=yes').status == 201
    done = run(opq, authority, *bench('--pipeline', str(pipeline),
                                      '--size', str(size)))
    assert done.returncode == 0, done
    figures = json.loads(done.stdout)
    assert figures['answers'] > 0
    assert figures['refused'] == figures['broken'] == 0
    assert opq.topic('load-0')['end'] >= figures['answers']
    listed = opq.get('/opq/topics/load-0/messages?limit=1').json()
    assert len(listed['messages'][0]['fields'][0]['value']) == size


def test_bench_ends_at_once_when_the_authority_is_wrong(secure, stranger):
    opq = secure()
    done = opq.run(*bench('--ca-file', stranger, '--duration', '1h'))
    assert done.returncode == 2, done
    assert opq.url in done.stderr and 'certificate' in done.stderr
    assert done.stdout == ''
    assert opq.get('/opq/topics').json()['topics'] == []


@pytest.mark.parametrize('command', [
    ('bench', 'push', '--duration', '1h'), ('topics',),
    ('push', 't', 'http://127.0.0.1:1/', 'x')], ids=lambda words: words[0])
def test_who_cannot_be_verified_gets_nothing(serve, authority, context,
                                             stranger, tmp_path, command):
    def said(*arguments):
        done = run_cli(*command, '--url', url, *arguments)
        assert done.returncode == 2, done
        return done.stderr

    opq = serve(*files(authority), tls=context)
    url = opq.url
    assert 'certificate' in said('--ca-file', stranger)
    assert 'certificate' in said()  # the system's do not know it either
    assert 'no such file' in said('--ca-file', str(tmp_path / 'none.pem'))
    assert 'no certificates' in said('--ca-file',
                                     f'{authority.folder}/good.key')
    assert opq.get('/opq/topics').json()['topics'] == []
    away = serve(*files(authority, 'away', 'away'), name='away', ready=False,
                 tls=context)
    assert away.listening.wait(10), away.explain()
    url = away.url
    assert 'mismatch' in said('--ca-file', str(authority.file))


def test_subcommands_speak_tls(secure, authority, receiver, tmp_path):
    opq = secure('--body-size-max=8m')
    body = os.urandom(3_000_000)  # more than a session and its socket hold
    (tmp_path / 'body').write_bytes(body)
    done = run(opq, authority, 'push', 't', receiver.url(), '--file',
               str(tmp_path / 'body'), '--type', 'image/png', '--sync', 'disk')
    assert done.returncode == 0, done
    assert receiver.wait(1)[0].body == body
    lines = ''.join(json.dumps({'topic': 'many', 'url': receiver.url(),
                                'message': 'm' * 900}) + '\n'
                    for _ in range(3000))
    done = run(opq, authority, 'batch', input=lines)
    assert done.returncode == 0, done
    # Several requests of one kept connection, and answers of many records.
    done = run(opq, authority, 'tail', 'many', '-n', '3000', '--json')
    assert done.returncode == 0, done
    assert len(done.stdout.splitlines()) == 3000


def test_the_file_of_authorities_comes_from_the_environment(
        serve, authority, context):
    opq = serve(*files(authority), tls=context)
    assert opq.request('PUT', '/opq/topics/here').status == 201
    done = subprocess.run([BINARY, 'topics'], text=True, capture_output=True,
                          check=False,
                          env={**os.environ, 'OPQ_URL': opq.url,
                               'OPQ_CA_FILE': str(authority.file)})
    assert done.returncode == 0 and 'here' in done.stdout, done


def test_plain_and_tls_at_the_wrong_port_are_told(serve, secure, authority):
    opq = secure()
    done = run_cli('topics', '--url', opq.url.replace('https', 'http'))
    assert done.returncode == 1 and 'https' in done.stderr, done
    plain = serve(name='plain')
    for command in (('topics',), ('bench', 'push', '--duration', '1h')):
        done = run_cli(*command, '--ca-file', str(authority.file), '--url',
                       plain.url.replace('http', 'https'))
        assert done.returncode == 2 and done.stderr, done


@pytest.mark.parametrize('back_end', ['epoll', 'uring'])
def test_the_sink_takes_deliveries_over_tls(serve, authority, context,
                                            back_end):
    opq = serve(f'--ca-file={authority.file}', f'--io={back_end}')
    sink = Sink('--io', back_end, '--until', '20', *files(authority),
                tls=context)
    try:
        assert sink.url.startswith('https://')
        for number in range(19):
            opq.push('t', f'{sink.url}/in', str(number))
        opq.wait_delivered('t', 19)
        assert sink.stats()['topics'][0]['topic'] == 't'
        opq.push('t', f'{sink.url}/in', 'last')
        assert sink.process.wait(30) == 0
    finally:
        code, text = sink.stop()
    assert code == 0 and '20 messages accepted, 0 twice' in text, text


@pytest.mark.parametrize('arguments, code, said', [
    (('--tls-cert', 'good.pem'), 64, 'need each other'),
    (('--tls-key', 'good.key'), 64, 'need each other'),
    (('--tls-cert', 'good.pem', '--tls-key', 'other.key'), 1, 'good.pem'),
    (('--tls-cert', 'none.pem', '--tls-key', 'good.key'), 1, 'none.pem')])
def test_the_sink_refuses_files_that_do_not_fit(authority, arguments, code,
                                                said):
    done = run_cli('sink', '--port', '0', *arguments, cwd=authority.folder)
    assert done.returncode == code and said in done.stderr, done

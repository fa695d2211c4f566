"""What each kind of client sees of a smooth restart (SIGHUP), what a supervisor
hears, and restarts at bad moments.

SPDX-License-Identifier: MIT
"""

import contextlib
import os
import re
import resource
import signal
import socket
import ssl
import threading
import time

import pytest
from certificates import Authority
from harness import Answer, Server, wait_until
from mounts import mounted
from test_restart import restart, restarts_of

TORTURE = os.environ.get('OPQ_TORTURE', '') not in ('', '0')
IDLE = 10_000 if TORTURE else 400
GET = 'GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n'


@pytest.fixture(params=['uring', 'epoll'])
def opq(request, serve):
    return serve(f'--io={request.param}', '--shards=2', '--drain=20s')


# --- clients ----------------------------------------------------------------

def test_a_client_that_ends_its_side(opq):
    """Its half of the connection is closed: before the answer, behind a half
    of a request, and with nothing."""
    with (opq.connect() as late, opq.connect() as half,
          opq.connect() as silent):
        late.send(GET[:20])
        half.send(GET[:20])
        silent.send(GET).read_response()
        restart(opq)
        late.send(GET[20:]).end()
        half.end()
        silent.end()
        restart(opq)
        assert late.read_response().status == 200
        assert late.closed()
        assert half.read_response().status == 400
        assert half.closed()
        assert silent.closed()


def test_old_clients_and_those_that_want_to_end(opq):
    with opq.connect() as old, opq.connect() as polite:
        old.send('GET /readyz HT')
        polite.send('GET /readyz HTTP/1.1\r\nHost: x\r\nConn')
        restart(opq)
        old.send('TP/1.0\r\n\r\n')
        polite.send('ection: close\r\n\r\n')
        for one in (old, polite):
            assert one.read_response().status == 200
            assert one.closed()


def test_who_waits_to_be_told_to_go_on(opq, receiver):
    with opq.connect() as client:
        restart(opq)
        client.send('POST /opq/push HTTP/1.1\r\nHost: x\r\n'
                    'Content-Type: application/octet-stream\r\n'
                    f'Opq-Topic: t\r\nOpq-Url: {receiver.url()}\r\n'
                    'Expect: 100-continue\r\nContent-Length: 4\r\n\r\n')
        restart(opq)
        assert client.read_response().status == 100
        restart(opq)
        client.send('bo')
        restart(opq)
        client.send('dy')
        assert client.read_response().status == 201
    assert receiver.wait(1)[0].body == b'body'


@pytest.mark.parametrize('io', ['uring', 'epoll'])
def test_a_large_upload_ends_first(serve, receiver, io):
    opq = serve(f'--io={io}', '--shards=2', '--body-size-max=8m',
                '--body-buffer=256k')
    body = os.urandom(3 << 20)
    pid = opq.pid
    with opq.connect() as client, opq.connect() as other:
        client.send('POST /opq/push HTTP/1.1\r\nHost: x\r\n'
                    'Content-Type: application/octet-stream\r\n'
                    f'Opq-Topic: t\r\nOpq-Url: {receiver.url()}\r\n'
                    f'Content-Length: {len(body)}\r\n\r\n')
        client.send(body[:2 << 20])
        opq.signal(signal.SIGHUP)
        wait_until(lambda: ' restarting ' in opq.log(), 'the beginning')
        for _ in range(5):  # others are served meanwhile
            other.send(GET)
            assert other.read_response().status == 200
        assert restarts_of(opq) == 0, opq.log()
        client.send(body[2 << 20:])
        assert client.read_response().status == 201
        wait_until(lambda: restarts_of(opq) == 1, 'its end')
        for one in (client, other):
            one.send(GET)
            assert one.read_response().status == 200
    assert receiver.wait(1)[0].body == body
    assert opq.pid == pid and opq.log().count(' drain_cut ') == 0


def test_who_waits_is_answered(opq):
    """A long poll comes to its end with nothing, a stream of events, too; a
    new one goes on from there."""
    assert opq.request('PUT', '/opq/topics/t/subscriptions/c',
                       {'kind': 'pull'}).status == 201
    with opq.connect() as poll, opq.connect() as stream:
        poll.send('GET /opq/topics/t/subscriptions/c/messages?wait=50s '
                  'HTTP/1.1\r\nHost: x\r\n\r\n')
        stream.send('GET /opq/topics/t/events HTTP/1.1\r\nHost: x\r\n\r\n')
        assert stream.read_head()[0] == 200
        begun = time.monotonic()
        restart(opq)
        answer = poll.read_response()
        assert answer.status in (200, 204), answer
        assert time.monotonic() - begun < 25
        poll.send(GET)
        assert poll.read_response().status == 200
        assert stream.read_chunked() is not None
        stream.send(GET)
        assert stream.read_response().status == 200


def test_a_unix_socket(serve, tmp_path):
    path = tmp_path / 'opq.sock'
    opq = serve(f'--unix={path}', '--shards=2')

    def get(one):
        one.sendall(GET.encode())
        assert one.recv(4096).startswith(b'HTTP/1.1 200 ')
    with socket.socket(socket.AF_UNIX) as old:
        old.connect(str(path))
        for _ in range(3):
            get(old)
            restart(opq)
            get(old)
            with socket.socket(socket.AF_UNIX) as new:
                new.connect(str(path))
                get(new)


def test_tls_ends_in_order(serve, tmp_path):
    """TLS is not handed over: its connections end, none is cut."""
    authority = Authority(tmp_path / 'tls')
    authority.server('good', 'DNS:localhost,IP:127.0.0.1')
    context = ssl.create_default_context(cafile=authority.file)
    opq = serve(f'--tls-cert={authority.folder}/good.pem',
                f'--tls-key={authority.folder}/good.key', tls=context)
    for _ in range(3):
        with opq.connect() as idle:
            idle.send(GET)
            assert idle.read_response().status == 200
            restart(opq)
            assert idle.closed()  # with a close_notify, or ssl would complain
        assert opq.get('/readyz').status == 200


def test_many_idle_clients(opq):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(IDLE, hard - 1000)
    try:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(opq.connect())
                       for _ in range(count)]
            opq.get('/readyz')
            for _ in range(3):
                restart(opq)
            for client in clients:
                client.send(GET)
            for client in clients:
                assert client.read_response().status == 200
        given = re.findall(r' restarted clients=(\d+) pause_ms=(\d+)',
                           opq.log())
        print(f'{count} idle clients: {given}')
        assert int(given[-1][0]) >= count
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- bad moments ------------------------------------------------------------

def test_hangups_in_a_row(opq):
    with opq.connect() as client:
        for _ in range(20):
            opq.signal(signal.SIGHUP)
            time.sleep(0.01)
        wait_until(lambda: restarts_of(opq) > 0, 'a restart')
        for _ in range(5):
            client.send(GET)
            assert client.read_response().status == 200
        restart(opq)
        client.send(GET)
        assert client.read_response().status == 200


def test_a_storm_of_hangups(opq, receiver):
    """A hundred in a second, with pushes meanwhile: none fails, none is
    delivered twice, and then all is as before."""
    with opq.connect() as client:
        for number in range(100):
            opq.signal(signal.SIGHUP)
            client.send(f'POST /opq/push?topic=t&url={receiver.url()} HTTP/1.1'
                        '\r\nHost: x\r\nContent-Type: text/plain\r\n'
                        'Content-Length: 1\r\n\r\nx')
            assert client.read_response().status == 201
            time.sleep(0.005)
        before = restarts_of(opq)
        restart(opq)
        assert restarts_of(opq) > before
        opq.wait_delivered('t', 100)
    assert receiver.sequences('t') == list(range(100))


def test_hangup_while_it_ends(opq, receivers):
    """The end it is."""
    gate = threading.Event()
    receiver = receivers(lambda request: Answer(gate=gate))
    opq.push_json('t', receiver.url())
    receiver.wait(1)
    opq.signal(signal.SIGTERM)
    wait_until(lambda: ' stopping ' in opq.log(), 'the beginning')
    opq.signal(signal.SIGHUP)
    time.sleep(0.1)
    gate.set()
    assert opq.wait() == 0, opq.explain()
    assert ' restarting ' not in opq.log()


def test_stop_while_it_is_to_restart(opq, receivers):
    """Deliveries under way end, as at any stop; it does not come back."""
    gate = threading.Event()
    receiver = receivers(lambda request: Answer(gate=gate))
    opq.push_json('t', receiver.url())
    receiver.wait(1)
    opq.signal(signal.SIGHUP)
    wait_until(lambda: ' restarting ' in opq.log(), 'the beginning')
    opq.signal(signal.SIGTERM)
    threading.Timer(0.3, gate.set).start()
    assert opq.wait() == 0, opq.explain()
    assert ' stopped ' in opq.log() and ' drain_cut ' not in opq.log()
    assert len(receiver.requests) == 1
    opq.start()
    assert opq.topic('t')['delivered'] == 1


def test_full_disk(tmp_path, receivers):
    """Full when it begins: refused before, refused afterwards, and taken when
    there is room; nothing is lost."""
    with mounted(tmp_path, 'ext4', 200) as system:
        if isinstance(system, str):
            pytest.skip(system)
        receiver = receivers()
        opq = Server(system.path / 'data', '--shards=1', '--journal-size=16m',
                     '--journal-file-size=4m', '--batch-size-max=2m',
                     '--disk-reserve=16m', '--retry-first=20ms')
        opq.start()
        try:
            assert opq.push('t', receiver.url(), 'a').status == 201
            ballast = system.path / 'ballast'
            with contextlib.suppress(OSError), open(ballast, 'wb') as file:
                while True:
                    file.write(bytes(1 << 20))
            wait_until(lambda: opq.push('t', receiver.url()).status == 507,
                       'the alarm')
            for _ in range(2):
                restart(opq)
                assert opq.push('t', receiver.url()).status == 507
            ballast.unlink()
            wait_until(lambda: opq.push('t', receiver.url(),
                                        'b').status == 201, 'room')
            opq.wait_delivered('t', opq.topic('t')['end'])
            assert opq.stop() == 0
        finally:
            if opq.alive():
                opq.kill()


# --- supervisor -------------------------------------------------------------

def test_supervisor_hears_of_it(serve, tmp_path):
    """systemd's Type=notify and notify-reload; the process stays the same."""
    path = str(tmp_path / 'notify')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(path)
        supervisor.settimeout(30)
        supervisor.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

        def hear():
            data, more, _, _ = supervisor.recvmsg(4096,
                                                  socket.CMSG_SPACE(12))
            pid = int.from_bytes(more[0][2][:4], 'little')
            assert pid == opq.pid
            return dict(line.split('=', 1)
                        for line in data.decode().splitlines())

        settings = tmp_path / 'opq.conf'
        settings.write_text('drain = 5s\n')
        opq = serve('--config', str(settings), ready=False,
                    environment={'NOTIFY_SOCKET': path})
        assert hear() == {'READY': '1'}
        for _ in range(3):
            before = time.monotonic_ns() // 1000
            opq.signal(signal.SIGHUP)
            heard = hear()
            assert heard['RELOADING'] == '1'
            assert before <= int(heard['MONOTONIC_USEC']) <= (
                time.monotonic_ns() // 1000)
            assert hear() == {'READY': '1'}
        assert restarts_of(opq) == 3
        settings.write_text('drain = never\n')
        opq.signal(signal.SIGHUP)
        assert hear()['RELOADING'] == '1'
        assert hear() == {'READY': '1'}
        assert restarts_of(opq) == 3
        assert ' restart_refused ' in opq.log()
        opq.signal(signal.SIGTERM)
        assert hear() == {'STOPPING': '1'}
        assert opq.wait() == 0


def test_started_without_standard_input(serve):
    """The first socket would be descriptor 0 then."""
    opq = serve(command=['/bin/sh', '-c', 'exec "$@" <&-', 'sh'])
    with opq.connect() as client:
        restart(opq)
        client.send(GET)
        assert client.read_response().status == 200

"""Sockets that systemd has opened, and what it is told (Type=notify).

systemd-socket-activate stands for systemd: it listens, and becomes the server
when the first connection waits.

SPDX-License-Identifier: MIT
"""

import os
import shutil
import signal
import socket
import ssl

import pytest
from certificates import Authority
from harness import PATIENCE_S, RawConnection, run_cli, wait_until

ACTIVATE = shutil.which('systemd-socket-activate')

PUSH = ('POST /opq/push?topic=t&url={url} HTTP/1.1\r\n'
        'Host: localhost\r\nContent-Type: text/plain\r\n'
        'Content-Length: 5\r\n\r\nhello')


def free_port():
    """A port that nobody has just now."""
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return one.getsockname()[1]


def handed(*addresses, more=()):
    """The command that hands over sockets at these addresses."""
    command = [ACTIVATE, *more]
    for name in ('ASAN_OPTIONS', 'UBSAN_OPTIONS', 'TSAN_OPTIONS'):
        if name in os.environ:
            command += ['-E', name]
    for address in addresses:
        command += ['-l', address]
    return command


def connected(port):
    """A connection, as soon as somebody listens; the server begins then."""
    def try_it():
        try:
            return RawConnection(port)
        except ConnectionRefusedError:
            return None
    return wait_until(try_it, 'a listening socket')


@pytest.mark.parametrize('backend', ['epoll', 'uring'])
def test_a_push_that_came_before_the_server_is_answered(serve, receiver,
                                                        backend):
    port = free_port()
    opq = serve(f'--io={backend}', '--shards=3', ready=False,
                command=handed(f'127.0.0.1:{port}'))
    with connected(port) as early:
        early.send(PUSH.format(url=receiver.url()))
        assert early.read_response().status == 201
    opq.wait_ready()
    # No other address than that: the settings' one was not bound.
    assert opq.urls == [f'http://127.0.0.1:{port}']
    # Whichever shard accepts.
    connections = [opq.connect() for _ in range(40)]
    for one in connections:
        one.send(PUSH.format(url=receiver.url()))
    for one in connections:
        assert one.read_response().status == 201
        one.close()
    receiver.wait(41)
    assert receiver.sequences('t') == list(range(41))


@pytest.mark.parametrize('shards', [1, 4])
def test_the_first_connection_hears_that_it_is_ready(serve, shards):
    """It waits for the recovery to end, and is not told to come again."""
    for _ in range(5):
        port = free_port()
        opq = serve(f'--shards={shards}', ready=False,
                    command=handed(f'127.0.0.1:{port}'))
        with connected(port) as early:
            early.send('GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n')
            assert early.read_response().status == 200
        assert opq.stop() == 0


def test_several_sockets_each_of_its_kind(serve, tmp_path):
    authority = Authority(tmp_path / 'tls')
    authority.server('good', 'IP:127.0.0.1')
    context = ssl.create_default_context(cafile=authority.file)
    port, path = free_port(), tmp_path / 'opq.sock'
    opq = serve(f'--tls-cert={authority.folder}/good.pem',
                f'--tls-key={authority.folder}/good.key',
                f'--unix={tmp_path}/not-bound.sock', '--shards=2',
                ready=False, tls=context,
                command=handed(f'127.0.0.1:{port}', str(path)))
    connected(port).close()
    opq.wait_ready()
    assert sorted(opq.urls) == [f'https://127.0.0.1:{port}', f'unix:{path}']
    assert not (tmp_path / 'not-bound.sock').exists()
    assert run_cli('topics', '--url', f'unix:{path}').returncode == 0


def test_they_stay_over_smooth_restarts(serve, receiver):
    port = free_port()
    opq = serve('--shards=2', ready=False,
                command=handed(f'127.0.0.1:{port}'))
    with connected(port) as early:
        for round_ in range(1, 4):
            early.send(PUSH.format(url=receiver.url()))
            assert early.read_response().status == 201
            os.kill(opq.process.pid, signal.SIGHUP)
            wait_until(lambda: opq.log().count(' restarted ') == round_,
                       'the successor')
            with RawConnection(port) as late:
                late.send(PUSH.format(url=receiver.url()))
                assert late.read_response().status == 201
    receiver.wait(6)
    assert receiver.sequences('t') == list(range(6))


@pytest.mark.parametrize('address, more, words', [
    ('0.0.0.0', [], 'cannot listen on 0.0.0.0:{port}: others can reach it'),
    ('127.0.0.1', ['--datagram'],
     'cannot listen on a socket that was handed over: it does not listen'),
])
def test_what_must_not_be_served_is_refused(serve, address, more, words):
    port = free_port()
    opq = serve(ready=False,
                command=handed(f'{address}:{port}', more=more))
    if more:
        def knock():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                one.sendto(b'x', ('127.0.0.1', port))
            return opq.process.poll() is not None
        wait_until(knock, 'the end')
    else:
        connected(port).close()
    assert opq.wait() == 78
    assert any(words.format(port=port) in line for line in opq.output)


def test_a_wrong_word_about_sockets_is_refused(serve):
    opq = serve(ready=False, environment={'LISTEN_FDS': 'many'})
    assert opq.wait() == 78
    assert any('cannot listen on LISTEN_FDS: it names no open sockets' in line
               for line in opq.output)


def test_the_supervisor_is_told_of_readiness_and_of_the_end(serve, tmp_path):
    path = str(tmp_path / 'notify')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(path)
        supervisor.settimeout(PATIENCE_S)
        opq = serve('--drain=1s', environment={'NOTIFY_SOCKET': path})
        assert supervisor.recv(100) == b'READY=1'
        assert opq.stop() == 0
        assert supervisor.recv(100) == b'STOPPING=1'

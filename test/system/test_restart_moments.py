"""Signals at bad moments: while it recovers, with handshakes of TLS half done,
and in the middle of an upload that takes long.

OPQ_TORTURE=1 makes the upload as large as settings allow.

SPDX-License-Identifier: MIT
"""

import hashlib
import os
import signal
import ssl
import threading
import time

import pytest
from certificates import Authority
from harness import wait_until
from test_large import Sink
from test_restart import restart, restarts_of

TORTURE = os.environ.get('OPQ_TORTURE', '') not in ('', '0')
MIB = 1 << 20
GET = 'GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n'
TOPICS = [f'held{number}' for number in range(8)]


# --- while it recovers --------------------------------------------------------

@pytest.fixture
def killed(serve, receiver):
    """A server that was killed with 60 MB in its journals, none in segments;
    the topics are paused."""
    opq = serve('--shards=2', '--journal-size=128m', '--memory=256m',
                '--checkpoint-interval=1h', '--body-size-max=2m')
    for topic in TOPICS:
        assert opq.request('PUT', f'/opq/topics/{topic}',
                           {'paused': True}).status == 201
    items = [{'topic': topic, 'url': receiver.url(), 'message': 'x' * 60_000}
             for topic in TOPICS for _ in range(3)]
    for _ in range(40):
        assert opq.request('POST', '/opq/batch', items).status == 201
    opq.kill()
    return opq


def begin_recovery(opq):
    """Start, up to where it has its data, and is not ready."""
    begun = opq.log().count(' starting ')
    ready = opq.log().count(' listening ')
    opq.start(ready=False)
    wait_until(lambda: opq.log().count(' starting ') > begun, 'a start')
    assert opq.log().count(' listening ') == ready, 'it recovers too fast'


def all_is_there(opq, receiver):
    for topic in TOPICS:
        assert opq.topic(topic)['end'] == 120
        assert opq.request('PUT', f'/opq/topics/{topic}',
                           {'paused': False}).status == 200
    for topic in TOPICS:
        opq.wait_delivered(topic, 120)
        assert receiver.sequences(topic) == list(range(120))


def test_hangups_while_it_recovers(killed, receiver):
    """They are heard when it is ready: one restart, or a few."""
    begin_recovery(killed)
    for _ in range(20):
        killed.signal(signal.SIGHUP)
        time.sleep(0.005)
    wait_until(lambda: restarts_of(killed) > 0 or not killed.alive(),
               'a restart')
    assert killed.alive(), killed.explain()
    killed.wait_ready()
    all_is_there(killed, receiver)


def test_stop_while_it_recovers(killed, receiver):
    begin_recovery(killed)
    killed.signal(signal.SIGTERM)
    assert killed.wait() == 0, killed.explain()
    killed.start()
    all_is_there(killed, receiver)


def test_stop_and_hangup_while_it_recovers(killed, receiver):
    """Whichever is heard first, it ends."""
    begin_recovery(killed)
    killed.signal(signal.SIGHUP)
    killed.signal(signal.SIGTERM)
    assert killed.wait() == 0, killed.explain()
    killed.start()
    all_is_there(killed, receiver)


# --- handshakes of TLS --------------------------------------------------------

@pytest.fixture(params=['uring', 'epoll'])
def secure(request, serve, tmp_path):
    authority = Authority(tmp_path / 'tls')
    authority.server('good', 'DNS:localhost,IP:127.0.0.1')
    return serve(f'--io={request.param}', '--shards=2',
                 f'--tls-cert={authority.folder}/good.pem',
                 f'--tls-key={authority.folder}/good.key',
                 tls=ssl.create_default_context(cafile=authority.file))


class Handshake:
    """A client that does its handshake by halves."""

    def __init__(self, opq):
        self.connection = opq.connect(tls=None)
        self.incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = opq.tls.wrap_bio(self.incoming, outgoing,
                                        server_hostname='localhost')
        with pytest.raises(ssl.SSLWantReadError):
            self.session.do_handshake()
        self.hello = outgoing.read()

    def send(self, size=None):
        self.connection.send(self.hello[:size])
        return self

    def hear(self):
        """Have the server's flight, and not answer."""
        assert self.connection.socket.recv(65536)
        return self


def test_half_a_handshake(secure):
    """Whatever of it is done, its connection ends, at once or with the
    restart, which does not wait for it for long; new ones are served."""
    silent = Handshake(secure)
    half = Handshake(secure).send(60)
    heard = Handshake(secure).send().hear()
    assert secure.get('/readyz').status == 200
    begun = time.monotonic()
    restart(secure)
    took_s = time.monotonic() - begun
    for one in (silent, half, heard):
        one.connection.socket.settimeout(10)
        one.connection.read_all()
        one.connection.close()
    print(f'the restart took {took_s:.2f} s')
    assert took_s < 10
    assert secure.get('/readyz').status == 200


def test_handshakes_all_the_while(secure):
    """One after the other, over some restarts: at most what is under way at
    one is cut or told to come again, and soon."""
    served, cut, over = [], [], threading.Event()

    def connect():
        while not over.is_set():
            begun = time.monotonic()
            try:
                with secure.connect(patience_s=10) as one:
                    answer = one.send(GET).read_response()
                    served.append((answer.status, time.monotonic() - begun))
            except (OSError, EOFError) as error:
                cut.append((error, time.monotonic() - begun))
    threads = [threading.Thread(target=connect) for _ in range(4)]
    for one in threads:
        one.start()
    for _ in range(5):
        before = len(served)
        restart(secure)
        wait_until(lambda: len(served) > before + 20, 'clients')
    over.set()
    for one in threads:
        one.join()
    print(f'{len(served)} served, {len(cut)} cut')
    assert {status for status, _ in served} <= {200, 503}
    assert sum(status == 503 for status, _ in served) <= 4 * 5
    assert max(took_s for _, took_s in served + cut) < 5, (served, cut)
    assert len(cut) <= 4 * 5, cut


# --- an upload ----------------------------------------------------------------

@pytest.mark.parametrize('io', ['uring', 'epoll'])
def test_a_large_slow_upload_in_chunks(serve, io):
    """It comes before, while it is to restart, and arrives whole; a second
    one, begun meanwhile, too."""
    size = (1024 if TORTURE else 48) * MIB
    piece = os.urandom(MIB)
    sink = Sink()
    opq = serve(f'--io={io}', '--shards=2', '--body-size-max=1g',
                '--disk-reserve=4m', '--drain=100ms')
    fields = ('POST /opq/push HTTP/1.1\r\nHost: x\r\n'
              'Content-Type: application/octet-stream\r\n'
              f'Opq-Topic: t\r\nOpq-Url: {sink.url}\r\n'
              'Transfer-Encoding: chunked\r\n\r\n')
    chunk = b'100000\r\n' + piece + b'\r\n'
    whole = hashlib.sha256()
    with opq.connect() as slow, opq.connect() as other:
        slow.send(fields)
        for number in range(size // MIB):
            if number == size // MIB // 3:
                opq.signal(signal.SIGHUP)
                wait_until(lambda: ' restarting ' in opq.log(), 'its begin')
            slow.send(chunk[:700_000])
            time.sleep(0.01)
            slow.send(chunk[700_000:])
            whole.update(piece)
        assert restarts_of(opq) == 0, opq.log()
        other.send(fields + '3\r\none\r\n')
        slow.send('0\r\n\r\n')
        assert slow.read_response().status == 201
        wait_until(lambda: restarts_of(opq) == 1, 'the restart')
        other.send('0\r\n\r\n')
        assert other.read_response().status == 201
        slow.send(GET)
        assert slow.read_response().status == 200
    came = sink.wait(2)
    assert came[0] == (0, size, whole.hexdigest(), True)
    assert came[1] == (1, 3, hashlib.sha256(b'one').hexdigest(), True)
    assert len(came) == 2
    sink.close()

"""A smooth restart waits for what would be done twice: deliveries and uploads
under way, each to its own end, whatever `drain` says, while all else goes on.

SPDX-License-Identifier: MIT
"""

import contextlib
import json
import re
import signal
import threading
import time

import pytest
from harness import PATIENCE_S, Answer, wait_until
from test_restart import restart, restarts_of

TOPICS = [f'other{number}' for number in range(8)]  # on all shards
FAR_S = 600  # no test waits so long


@pytest.fixture(params=['uring', 'epoll'])
def opq(request, serve):
    return serve(f'--io={request.param}', '--shards=3', '--drain=100ms',
                 '--timeout=2m')


class Gate:
    """A receiver that answers when it is told to."""

    def __init__(self, receivers):
        self.event = threading.Event()
        self.receiver = receivers(lambda request: Answer(gate=self.event))

    def url(self):
        return self.receiver.url()


@pytest.fixture
def gate(receivers):
    one = Gate(receivers)
    yield one
    one.event.set()


def begin(opq):
    """Ask for a restart, and see that it is under way."""
    opq.signal(signal.SIGHUP)
    wait_until(lambda: ' restarting ' in opq.log(), 'the beginning')


def info(opq):
    return opq.get('/opq/info').json()['now']


def deliver(opq, receiver, topics, rounds=1):
    """Push to all of these, and see it arrive."""
    before = len(receiver.requests)
    for _ in range(rounds):
        for topic in topics:
            assert opq.push(topic, receiver.url(), 'x').status == 201
    receiver.wait(before + rounds * len(topics))


def once(*receivers):
    for receiver in receivers:
        seen = [(one.topic, one.sequence) for one in receiver.requests]
        assert len(seen) == len(set(seen)), 'delivered twice'


# --- deliveries -------------------------------------------------------------

def test_a_slow_delivery_is_not_cut(opq, gate, receivers):
    """It lasts far longer than `drain`; everybody else is served meanwhile,
    and it does not come again."""
    others = receivers()
    opq.push_json('slow', gate.url())
    gate.receiver.wait(1)
    assert info(opq)['restarting'] is False
    begin(opq)
    end_s = time.monotonic() + 4.5
    slowest_s = 0
    with opq.connect() as client:
        while time.monotonic() < end_s:
            begun_s = time.monotonic()
            deliver(opq, others, TOPICS)
            slowest_s = max(slowest_s, time.monotonic() - begun_s)
            client.send('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n')
            assert client.read_response().status == 200
        assert info(opq)['restarting'] is True
        assert restarts_of(opq) == 0
        # What goes to the slow one waits.
        opq.push_json('slow', gate.url())
        assert len(gate.receiver.requests) == 1
        gate.event.set()
        wait_until(lambda: restarts_of(opq) == 1, 'the restart')
        client.send('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n')
        assert client.read_response().status == 200
    assert info(opq)['restarting'] is False
    print(f'slowest round of {len(TOPICS)} others: {slowest_s:.3f} s')
    opq.wait_delivered('slow', 2)
    for topic in TOPICS:
        opq.wait_delivered(topic, opq.topic(topic)['end'])
    once(gate.receiver, others)
    log = opq.log()
    assert ' drain_cut ' not in log
    waits = re.findall(r' restart_waits shard=\d+ waited_ms=(\d+) '
                       r'deliveries=1 longest_rest_ms=(\d+) target=(\S+) '
                       r'uploads=0', log)
    assert len(waits) == 1, log
    assert 3000 <= int(waits[0][0]) < 4500
    assert 100_000 < int(waits[0][1]) < 120_000
    assert waits[0][2] == gate.url().rsplit('/', 1)[0]


def test_targets_of_different_slowness(opq, gate, receivers):
    """Those that are not the slowest go on while it is waited for."""
    slow = receivers(lambda request: Answer(delay_s=0.3))
    opq.push_json('slowest', gate.url())
    gate.receiver.wait(1)
    begin(opq)
    time.sleep(1.2)  # until it is by far the slowest
    for number in range(6):
        assert opq.push('slow', slow.url(), 'x').status == 201
    slow.wait(6)
    assert restarts_of(opq) == 0
    gate.event.set()
    wait_until(lambda: restarts_of(opq) == 1, 'the restart')
    once(gate.receiver, slow)


def test_a_target_that_turns_slow(opq, receivers):
    """It was fast when it was looked at: all goes on, and it is waited for."""
    gates = [threading.Event() for _ in range(4)]
    slow = receivers(lambda request: Answer(gate=gates[request.sequence]))
    others = receivers()
    opq.push_json('slow', slow.url())
    slow.wait(1)
    begin(opq)
    gates[0].set()
    for number in range(1, 4):
        opq.push_json('slow', slow.url())
    deliver(opq, others, TOPICS)
    for one in gates:
        one.set()
    wait_until(lambda: restarts_of(opq) == 1, 'the restart')
    opq.wait_delivered('slow', 4)
    once(slow, others)


def test_ever_new_targets_are_slow(serve, receivers):
    """No moment comes in which none is: then it is made."""
    slow = receivers(lambda request: Answer(delay_s=0.4), host='')
    opq = serve('--shards=2', '--drain=100ms')
    stop = threading.Event()

    def push():
        number = 0
        with opq.connect() as client:
            while not stop.is_set():
                # Each a target of its own.
                host = f'127.1.{number // 250}.{number % 250 + 1}'
                url = slow.url().replace('127.0.0.1', host)
                number += 1
                client.send(f'POST /opq/push?topic=t{number % 50} HTTP/1.1\r\n'
                            f'Host: x\r\nOpq-Url: {url}\r\n'
                            'Content-Type: text/plain\r\n'
                            'Content-Length: 1\r\n\r\nx')
                assert client.read_response().status == 201
                time.sleep(0.02)
    thread = threading.Thread(target=push)
    thread.start()
    try:
        time.sleep(1)
        opq.signal(signal.SIGHUP)
        wait_until(lambda: restarts_of(opq) == 1, 'the restart', PATIENCE_S)
    finally:
        stop.set()
        thread.join()
    for number in range(50):
        with contextlib.suppress(KeyError):
            opq.wait_delivered(f't{number}', opq.topic(f't{number}')['end'])
    once(slow)


def test_back_off_goes_on(opq, gate, receivers):
    """A message that waits for its next attempt has it when it is due, not
    before, though a restart is sought meanwhile."""
    failing = receivers(lambda request: Answer(500))
    opq.request('PUT', '/opq/topics/bad', {'retry': '60s'})
    opq.push_json('bad', failing.url())
    failing.wait(1)
    opq.push_json('slow', gate.url())
    gate.receiver.wait(1)
    begin(opq)
    deliver(opq, receivers(), TOPICS, 3)
    assert restarts_of(opq) == 0
    assert len(failing.requests) == 1
    gate.event.set()
    wait_until(lambda: restarts_of(opq) == 1, 'the restart')


# --- uploads ----------------------------------------------------------------

def test_a_slow_upload_is_not_cut(serve, receivers):
    receiver = receivers()
    opq = serve('--shards=2', '--drain=100ms', '--body-size-max=8m',
                '--body-buffer=64k')

    def head(topic, size):
        return ('POST /opq/push HTTP/1.1\r\nHost: x\r\n'
                'Content-Type: application/octet-stream\r\n'
                f'Opq-Topic: {topic}\r\nOpq-Url: {receiver.url()}\r\n'
                f'Content-Length: {size}\r\n\r\n')
    body = bytes(1 << 20)
    with opq.connect() as slow, opq.connect() as other:
        slow.send(head('slow', len(body)))
        slow.send(body[:100_000])
        begin(opq)
        time.sleep(1.5)
        other.send(head('other', len(body)))  # others are begun and end
        other.send(body)
        assert other.read_response().status == 201
        assert restarts_of(opq) == 0
        slow.send(body[100_000:])
        assert slow.read_response().status == 201
        wait_until(lambda: restarts_of(opq) == 1, 'the restart')
        other.send(head('other', len(body)))
        other.send(body)
        assert other.read_response().status == 201
    receiver.wait(3)
    once(receiver)
    assert ' drain_cut ' not in opq.log()


# --- signals meanwhile ------------------------------------------------------

def test_stop_while_it_waits(opq, gate):
    """It is a stop: with its `drain`, after which what is left is cut."""
    opq.push_json('slow', gate.url())
    gate.receiver.wait(1)
    begin(opq)
    time.sleep(0.3)
    assert opq.alive()
    opq.signal(signal.SIGTERM)
    assert opq.wait() == 0, opq.explain()
    log = opq.log()
    assert re.search(r' stopping drain_ms=100\b', log)
    assert log.count(' drain_cut ') == 1
    gate.event.set()
    opq.start()
    opq.wait_delivered('slow', 1)
    assert len(gate.receiver.requests) == 2


def test_hang_up_while_it_waits(opq, gate):
    opq.push_json('slow', gate.url())
    gate.receiver.wait(1)
    begin(opq)
    opq.signal(signal.SIGHUP)
    wait_until(lambda: ' restart_under_way ' in opq.log(), 'the word')
    gate.event.set()
    wait_until(lambda: restarts_of(opq) == 1, 'the restart')
    restart(opq)
    assert len(gate.receiver.requests) == 1


def test_log_is_opened_anew_while_it_waits(opq, gate):
    opq.push_json('slow', gate.url())
    gate.receiver.wait(1)
    begin(opq)
    path = opq.data / 'logs' / 'system.log'
    path.rename(path.with_suffix('.1'))
    opq.signal(signal.SIGUSR1)
    wait_until(path.exists, 'the new file')
    gate.event.set()
    wait_until(lambda: restarts_of(opq) == 1, 'the restart')


def test_reload_while_it_waits(opq, gate):
    opq.push_json('slow', gate.url())
    gate.receiver.wait(1)
    begin(opq)
    answer = opq.request('POST', '/opq/reload')
    assert answer.status == 200, answer
    assert json.loads(answer.body)['changed'] == []
    gate.event.set()
    wait_until(lambda: restarts_of(opq) == 1, 'the restart')
    assert len(gate.receiver.requests) == 1

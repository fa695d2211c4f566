"""What a target that is out, comes back, or has too much, is sent.

Endpoints are per shard, so there is one shard here.

SPDX-License-Identifier: MIT
"""

import threading
import time

from harness import Answer, wait_until


class Target:
    """A script for a receiver: counts what is there at once."""

    def __init__(self):
        self.lock = threading.Lock()
        self.answer = lambda at_once: Answer(reset=True)
        self.delay_s = 0.05
        self.at_once = 0
        self.most = 0
        self.ended = 0
        self.log = []  # (at once with this one, ended before it)

    def __call__(self, request):
        with self.lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            self.log.append((self.at_once, self.ended))
            answer = self.answer(self.at_once)
        time.sleep(self.delay_s)
        with self.lock:
            self.at_once -= 1
            self.ended += 1
        return answer

    def begin(self):
        """Forget what was counted."""
        with self.lock:
            self.most = self.at_once
            self.ended = 0
            self.log = []


def push_all(opq, receiver, topics, each):
    for number in range(each):
        for topic in range(topics):
            answer = opq.push(f't{topic}', receiver.url(), number)
            assert answer.status == 201


def assert_delivered_in_order(opq, receiver, topics, each):
    for topic in range(topics):
        opq.wait_delivered(f't{topic}', each)
        sequences = receiver.sequences(f't{topic}')
        assert sorted(set(sequences)) == list(range(each))
        assert sequences == sorted(sequences)


def test_target_that_is_out_gets_one_probe_at_a_time_then_more(serve,
                                                               receivers):
    target = Target()
    receiver = receivers(target)
    opq = serve('--shards=1', '--retry-first=300ms', '--retry-max=300ms',
                '--drain=2s')
    push_all(opq, receiver, topics=60, each=5)
    wait_until(lambda: target.ended >= 5 and target.at_once == 0,
               'the breaker is open')
    # A probe each 240 to 360 ms, though 60 topics want to try as often. What
    # was begun before it opened may still come in the first moments.
    receiver.wait(len(receiver.requests) + 2)
    target.begin()
    begun = time.monotonic()
    receiver.wait(len(receiver.requests) + 8)
    seconds = time.monotonic() - begun
    with target.lock:
        probes, most = len(target.log), target.most
    assert most == 1
    assert seconds >= 7 * 0.24
    assert probes <= seconds / 0.24 + 2

    # It comes back. With each answer one more may be there at once: no herd.
    wait_until(lambda: target.at_once == 0, 'no probe is under way')
    target.begin()
    target.delay_s = 0.02
    target.answer = lambda at_once: Answer(200)
    assert_delivered_in_order(opq, receiver, 60, 5)
    with target.lock:
        log, most = target.log, target.most
    assert all(at_once <= ended + 1 for at_once, ended in log)
    assert most >= 8
    # Waiting for a breaker is no attempt.
    attempts = [one.attempt for one in receiver.requests]
    assert len(attempts) < 60 * 5 + 60 + 5 * (seconds / 0.24 + 12)
    never_failed = [topic for topic in range(60)
                    if all(one.attempt == 1
                           for one in receiver.of_topic(f't{topic}'))]
    assert len(never_failed) > 10


def test_target_that_has_too_much_is_sent_less(serve, receivers):
    """It takes eight at once. Sixty topics would send sixty."""
    target = Target()
    target.delay_s = 0.02
    target.answer = lambda at_once: Answer(200 if at_once <= 8 else 503)
    receiver = receivers(target)
    opq = serve('--shards=1', '--retry-first=20ms', '--retry-max=100ms',
                '--drain=2s')
    push_all(opq, receiver, topics=60, each=10)
    assert_delivered_in_order(opq, receiver, 60, 10)
    with target.lock:
        refused = sum(1 for at_once, _ in target.log if at_once > 8)
    assert refused <= 200  # without a window: thousands
    late = target.log[len(target.log) // 2:]
    assert max(at_once for at_once, _ in late) <= 20
    assert sum(1 for at_once, _ in late if at_once > 8) <= len(late) / 5


def test_target_that_is_out_delays_nobody_else(serve, receivers):
    target = Target()
    out, well = receivers(target), receivers()
    opq = serve('--shards=1', '--retry-first=300ms', '--retry-max=300ms',
                '--drain=2s')
    for topic in range(60):
        assert opq.push(f'out{topic}', out.url()).status == 201
    wait_until(lambda: target.ended >= 5, 'the breaker is open')
    for number in range(100):
        assert opq.push('well', well.url(), number).status == 201
    opq.wait_delivered('well', 100)
    assert [one.attempt for one in well.requests] == [1] * 100

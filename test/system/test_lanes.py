"""Order and concurrency: lanes by topic, by key and none; priorities; rates.

SPDX-License-Identifier: MIT
"""

import collections
import threading
import time

import pytest
from harness import Answer, wait_until


def create(opq, topic, **settings):
    answer = opq.request('PUT', f'/opq/topics/{topic}', settings)
    assert answer.status in (200, 201), answer


class Crowd:
    """A script for receivers: how many are being answered at once."""

    def __init__(self, delay_s=0.02, key=lambda request: None):
        self.delay_s = delay_s
        self.key = key
        self.lock = threading.Lock()
        self.now = collections.Counter()
        self.most = collections.Counter()
        self.all = 0
        self.all_most = 0

    def __call__(self, request):
        key = self.key(request)
        with self.lock:
            self.now[key] += 1
            self.most[key] = max(self.most[key], self.now[key])
            self.all += 1
            self.all_most = max(self.all_most, self.all)
        time.sleep(self.delay_s)
        with self.lock:
            self.now[key] -= 1
            self.all -= 1
        return 200


def test_order_none_keeps_to_the_concurrency(opq, receiver):
    crowd = Crowd()
    receiver.script = crowd
    create(opq, 'free', order='none', concurrency=5)
    for number in range(60):
        opq.push_json('free', receiver.url(), str(number))
    opq.wait_delivered('free', 60)
    assert sorted(receiver.sequences('free')) == list(range(60))
    assert 2 <= crowd.all_most <= 5


def test_order_by_topic_is_one_at_a_time_whatever_the_concurrency(
        opq, receiver):
    crowd = Crowd(0.002)
    receiver.script = crowd
    create(opq, 'one', concurrency=50)
    for number in range(40):
        opq.push_json('one', receiver.url(), str(number))
    opq.wait_delivered('one', 40)
    assert receiver.sequences('one') == list(range(40))
    assert crowd.all_most == 1
    previous = [request.headers.get('opq-prev-seq')
                for request in receiver.requests]
    assert previous == [None] + [str(number) for number in range(39)]


def test_order_by_key_is_one_at_a_time_for_each_key(opq, receiver):
    crowd = Crowd(key=lambda request: request.path)
    receiver.script = crowd
    create(opq, 'keyed', order='key', concurrency=20)
    for number in range(120):
        key = f'k{number % 4}'
        opq.push_json('keyed', receiver.url(f'/{key}'), str(number),
                         key=key)
    opq.wait_delivered('keyed', 120)
    last = {}
    for request in receiver.of_topic('keyed'):
        key = request.path
        assert request.sequence > last.get(key, -1)
        expected = last.get(key)
        assert request.headers.get('opq-prev-seq') == (
            None if expected is None else str(expected))
        last[key] = request.sequence
    assert all(most == 1 for most in crowd.most.values())
    assert crowd.all_most >= 2


def test_failing_key_holds_back_its_own_messages_only(opq, receiver):
    mended = threading.Event()
    receiver.script = lambda request: (
        503 if request.path == '/bad' and not mended.is_set() else 200)
    create(opq, 'keyed', order='key')
    for number in range(40):
        key = 'bad' if number % 4 == 0 else f'good{number % 4}'
        opq.push_json('keyed', receiver.url('/' + key), str(number),
                         key=key)
    good = {number for number in range(40) if number % 4}
    wait_until(lambda: good <= set(receiver.sequences('keyed')))
    assert {request.sequence for request in receiver.requests
            if request.path == '/bad'} == {0}
    stuck = opq.get('/opq/topics/keyed/messages/4').json()
    assert stuck['state'] == 'waiting'
    assert stuck['behind'] == 0
    assert 'ordering key' in stuck['because']
    done = opq.get('/opq/topics/keyed/messages/7').json()
    assert done['state'] == 'delivered'
    assert opq.topic('keyed')['lag'] == 10
    mended.set()
    opq.wait_delivered('keyed', 40)
    bad = [request.sequence for request in receiver.requests
           if request.path == '/bad']
    assert sorted(set(bad)) == list(range(0, 40, 4))
    assert bad == sorted(bad)


def test_messages_without_a_key_are_free(opq, receiver):
    gate = threading.Event()
    receiver.script = lambda request: (
        Answer(gate=gate) if request.path == '/slow' else 200)
    create(opq, 'keyed', order='key')
    opq.push_json('keyed', receiver.url('/slow'), 'first', key='a')
    for number in range(20):
        opq.push_json('keyed', receiver.url('/free'), str(number))
    wait_until(lambda: len(receiver.of_topic('keyed')) == 21)
    assert opq.topic('keyed')['delivered'] == 0
    gate.set()
    opq.wait_delivered('keyed', 21)


def test_higher_priority_overtakes(opq, receiver):
    receiver.script = Crowd(0.005)
    create(opq, 'ranked', order='none', concurrency=1, paused=True)
    for number in range(30):
        opq.push_json('ranked', receiver.url(), str(number),
                         priority=9 if number % 10 == 9 else number % 2)
    assert opq.request('POST', '/opq/topics/ranked/resume').status == 200
    opq.wait_delivered('ranked', 30)
    order = receiver.sequences('ranked')
    first = order.index(9)
    assert order[first:first + 3] == [9, 19, 29]
    rest = order[first + 3:]
    odd = [number for number in rest if number % 2]
    even = [number for number in rest if not number % 2]
    assert odd == sorted(odd) and even == sorted(even)
    assert rest == odd + even


def test_priority_does_not_overtake_what_is_in_flight(opq, receiver):
    gate = threading.Event()
    receiver.script = lambda request: Answer(gate=gate)
    create(opq, 'room', order='none', concurrency=1)
    for number, priority in enumerate((0, 1, 9)):
        opq.push_json('room', receiver.url('/slow'), str(number),
                      priority=priority)
        receiver.wait(1)
    gate.set()
    opq.wait_delivered('room', 3)
    assert receiver.sequences('room') == [0, 2, 1]


def test_rate_of_a_topic_is_kept(opq, receiver):
    create(opq, 'slow', order='none', rate='10/1s')
    begun = time.monotonic()
    for number in range(25):
        opq.push_json('slow', receiver.url(), str(number))
    opq.wait_delivered('slow', 25)
    at = [request.at - begun for request in receiver.of_topic('slow')]
    assert at[24] >= 1.4  # 10 at once, then one each 100 ms
    for number in range(10, 25):
        window = [one for one in at if at[number] - 1 < one <= at[number]]
        assert len(window) <= 20


def test_rate_of_a_flow_leaves_others_alone(opq, receiver):
    create(opq, 'flows', order='none', flow_rate='5/1s')
    for number in range(16):
        opq.push_json('flows', receiver.url('/limited'), str(number),
                         flow_key='customer-1')
    for number in range(40):
        opq.push_json('flows', receiver.url('/free'), str(number))
    wait_until(lambda: len([one for one in receiver.requests
                            if one.path == '/free']) == 40)
    limited = [one for one in receiver.requests if one.path == '/limited']
    assert len(limited) < 12
    waiting = opq.get('/opq/topics/flows/messages/15').json()
    assert 'rate' in waiting['because']
    opq.wait_delivered('flows', 56)
    at = [one.at for one in receiver.requests if one.path == '/limited']
    assert at[-1] - at[0] >= 1.9  # 5 at once, 11 more at 5 a second


def test_largest_rate_is_delivered_by_and_a_larger_one_refused(opq, receiver):
    create(opq, 'fast', order='none', rate='1000000/1s',
           flow_rate='1000000/1ms')
    opq.push_json('fast', receiver.url(), 'x', flow_key='customer-1')
    opq.wait_delivered('fast', 1)
    for name in ('rate', 'flow_rate'):
        answer = opq.request('PUT', '/opq/topics/fast', {name: '1000001/1s'})
        assert answer.status == 400 and '1000000' in answer.json()['detail']
    assert opq.get('/readyz').status == 200


def test_order_may_change_while_messages_wait(opq, receiver):
    gate = threading.Event()
    receiver.script = lambda request: (
        Answer(gate=gate) if request.sequence == 0 else 200)
    create(opq, 'changing')
    for number in range(10):
        opq.push_json('changing', receiver.url(), str(number))
    receiver.wait(1)
    create(opq, 'changing', order='none')
    gate.set()
    opq.wait_delivered('changing', 10)
    assert set(receiver.sequences('changing')) == set(range(10))


@pytest.mark.parametrize('order', ['key', 'none'])
def test_stop_and_start_repeats_nothing_that_was_delivered(
        opq, receiver, order):
    bad = {0, 7, 23}
    mended = threading.Event()
    receiver.script = lambda request: (
        500 if request.sequence in bad and not mended.is_set() else 200)
    create(opq, 'restarted', order=order)
    for number in range(40):
        opq.push_json('restarted', receiver.url(), str(number),
                         key=f'k{number}')
    wait_until(lambda: set(receiver.sequences('restarted')) == set(range(40)))
    wait_until(lambda: opq.topic('restarted')['lag'] == 3)
    opq.stop()
    counts = collections.Counter(receiver.sequences('restarted'))
    mended.set()
    opq.start()
    opq.wait_delivered('restarted', 40)
    again = collections.Counter(receiver.sequences('restarted')) - counts
    assert set(again) == bad


@pytest.mark.parametrize('before, after', [
    ('none', 'key'), ('key', 'topic'), ('topic', 'none')])
def test_another_order_sends_nothing_again(opq, receiver, before, after):
    gate = threading.Event()
    receiver.script = lambda request: Answer(200, gate=gate)
    create(opq, 't', order=before, concurrency=5)
    for number in range(40):
        opq.push_json('t', receiver.url(), key=f'k{number % 7}')
    receiver.wait(1 if before == 'topic' else 5)
    create(opq, 't', order=after)
    gate.set()
    opq.wait_delivered('t', 40)
    assert sorted(receiver.sequences('t')) == list(range(40))
    if after == 'topic':
        assert receiver.sequences('t')[5:] == list(range(5, 40))

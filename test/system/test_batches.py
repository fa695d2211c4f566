"""Several messages as one request: settings batch and batch_format.

SPDX-License-Identifier: MIT
"""

import json
import threading
import time

import pytest
from harness import Answer, wait_until
from test_lanes import create


def numbers_of(request):
    """Sequence numbers of a request: of a batch, or of one message."""
    if 'opq-batch' not in request.headers:
        return [request.sequence]
    kind = request.headers['content-type']
    if kind == 'application/json':
        objects = json.loads(request.body)
    else:
        objects = [json.loads(line) for line in request.body.splitlines()]
    numbers = [one['seq'] for one in objects]
    assert int(request.headers['opq-batch']) == len(numbers)
    assert request.sequence == numbers[0]
    assert int(request.headers['opq-seq-last']) == numbers[-1]
    return numbers


def push_many(opq, receiver, topic, count, **members):
    for number in range(count):
        opq.push_json(topic, receiver.url(), f'text {number}', **members)


@pytest.mark.parametrize('form', ['ndjson', 'json'])
def test_a_backlog_goes_in_full_batches(opq, receiver, form):
    create(opq, 'many', batch='10,50ms', batch_format=form, paused=True)
    push_many(opq, receiver, 'many', 35)
    assert opq.request('POST', '/opq/topics/many/resume').status == 200
    opq.wait_delivered('many', 35)
    batches = [numbers_of(request) for request in receiver.requests]
    assert batches == [list(range(10)), list(range(10, 20)),
                       list(range(20, 30)), list(range(30, 35))]
    assert opq.topic('many')['since_start']['delivered'] == 35


def test_few_messages_wait_for_more_but_not_for_long(opq, receiver):
    create(opq, 'few', batch='100,300ms')
    begun = time.monotonic()
    push_many(opq, receiver, 'few', 3)
    opq.wait_delivered('few', 3)
    assert [numbers_of(one) for one in receiver.requests] == [[0, 1, 2]]
    assert receiver.requests[0].at - begun >= 0.25


def test_a_failing_batch_is_the_same_each_time(opq, receiver):
    receiver.then(503, 503)
    create(opq, 'again', batch='5,50ms', paused=True)
    push_many(opq, receiver, 'again', 7)
    opq.request('POST', '/opq/topics/again/resume')
    opq.wait_delivered('again', 7)
    assert [numbers_of(one) for one in receiver.requests] == [
        [0, 1, 2, 3, 4]] * 3 + [[5, 6]]
    first = receiver.requests[:3]
    assert len({one.headers['webhook-id'] for one in first}) == 1
    assert [one.attempt for one in first] == [1, 2, 3]


def test_only_the_bad_message_of_a_batch_dies(opq, receiver):
    receiver.script = lambda request: (
        422 if b'text 3"' in request.body else 200)
    create(opq, 'poison', batch='8,50ms', retries=1, paused=True)
    push_many(opq, receiver, 'poison', 8)
    opq.request('POST', '/opq/topics/poison/resume')
    opq.wait_delivered('poison', 8)
    sent = [numbers_of(one) for one in receiver.requests]
    assert sent[:2] == [list(range(8))] * 2
    assert sent[2:] == [[number] for number in range(8)]
    letters = opq.get('/opq/topics/poison.dlq/messages').json()['messages']
    assert [one['dead']['seq'] for one in letters] == [3]
    assert letters[0]['dead']['status'] == 422


def test_messages_that_ask_for_something_go_alone(opq, receiver):
    create(opq, 'mixed', batch='10,50ms', paused=True)
    for number in range(9):
        extra = {'ttl': '1h'} if number == 4 else {}
        opq.push_json('mixed', receiver.url(), f'text {number}', **extra)
    opq.request('POST', '/opq/topics/mixed/resume')
    opq.wait_delivered('mixed', 9)
    assert [numbers_of(one) for one in receiver.requests] == [
        [0, 1, 2, 3], [4], [5, 6, 7, 8]]
    alone = receiver.requests[1]
    assert 'opq-batch' not in alone.headers
    assert alone.body == b'text 4'


def test_each_url_has_batches_of_its_own(opq, receiver):
    create(opq, 'urls', batch='10,50ms', paused=True)
    for number in range(9):
        opq.push_json('urls', receiver.url(f'/{number // 3}'), str(number))
    opq.request('POST', '/opq/topics/urls/resume')
    opq.wait_delivered('urls', 9)
    assert [(one.path, numbers_of(one)) for one in receiver.requests] == [
        ('/0', [0, 1, 2]), ('/1', [3, 4, 5]), ('/2', [6, 7, 8])]


def test_without_order_batches_go_side_by_side(opq, receiver):
    gate = threading.Event()
    receiver.script = lambda request: Answer(gate=gate)
    create(opq, 'free', batch='5,20ms', order='none', paused=True)
    push_many(opq, receiver, 'free', 40)
    opq.request('POST', '/opq/topics/free/resume')
    wait_until(lambda: len(receiver.requests) == 8)
    gate.set()
    opq.wait_delivered('free', 40)
    assert sorted(sum((numbers_of(one) for one in receiver.requests),
                      [])) == list(range(40))


def test_kill_and_start_repeats_whole_batches_only(opq, receiver):
    gate = threading.Event()
    receiver.script = lambda request: (
        Answer(gate=gate) if 10 in numbers_of(request) else 200)
    create(opq, 'killed', batch='5,20ms', paused=True)
    push_many(opq, receiver, 'killed', 22)
    opq.request('POST', '/opq/topics/killed/resume')
    wait_until(lambda: len(receiver.requests) == 3)
    opq.kill()
    gate.set()
    opq.start()
    opq.wait_delivered('killed', 22)
    batches = [numbers_of(one) for one in receiver.requests]
    assert batches == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9],
                       [10, 11, 12, 13, 14], [10, 11, 12, 13, 14],
                       [15, 16, 17, 18, 19], [20, 21]]


def test_batch_after_a_start_does_not_reach_over_what_was_delivered(
        opq, receiver):
    bad = {0, 3}
    receiver.script = lambda request: (
        500 if bad & set(numbers_of(request)) else 200)
    create(opq, 'gaps', batch='10,20ms', order='none')

    def push_alone(*numbers):
        answer = opq.request('POST', '/opq/batch', [
            {'topic': 'gaps', 'url': receiver.url(), 'message': str(number)}
            for number in numbers])
        assert answer.status == 201, answer
        wait_until(lambda: list(numbers) in [
            numbers_of(one) for one in list(receiver.requests)])
    push_alone(0)
    push_alone(1, 2)
    wait_until(lambda: opq.topic('gaps')['lag'] == 1)
    push_alone(3)
    opq.kill()
    bad.clear()
    opq.start()
    opq.wait_delivered('gaps', 4)
    batches = [numbers_of(one) for one in receiver.requests]
    assert [number for numbers in batches for number in numbers
            if number in (1, 2)] == [1, 2]
    assert batches[-2:] == [[0], [3]]

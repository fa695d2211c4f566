"""Duplicates, expected sequence numbers: what is answered, what is stored,
over restarts and kill -9, and with many clients at once.

SPDX-License-Identifier: MIT
"""

import collections
import concurrent.futures
import json
import threading
import time

import pytest
from harness import PATIENCE_S, RawConnection, wait_until

# Nobody listens there: messages stay undelivered, which does not matter here.
NOWHERE = 'http://127.0.0.1:9/'
SHARDS = 3


@pytest.fixture
def many(serve):
    """A server with several shards, so that most pushes are carried over."""
    return serve(f'--shards={SHARDS}', '--drain=2s')


def push(opq, topic, message='m', headers=None, **members):
    return opq.request('POST', '/opq/push', {
        'topic': topic, 'url': NOWHERE, 'message': message, **members},
        headers)


def patient(opq, topic, message='m', **members):
    """Push, again while the server says to try again, as after a start."""
    answer = []

    def look():
        answer[:] = [push(opq, topic, message, **members)]
        return answer[0].status != 503

    wait_until(look, 'ids are read back')
    return answer[0]


def expect_stored(answer, sequence):
    assert answer.status == 201, answer
    assert answer.json()['seq'] == sequence
    assert 'opq-duplicate' not in answer.headers
    assert 'duplicate' not in answer.json()
    return answer.json()


def expect_duplicate(answer, first):
    assert answer.status == 202, answer
    assert answer.headers['opq-duplicate'] == 'true'
    assert answer.headers['opq-id'] == first['id']
    assert answer.headers['opq-topic'] == first['topic']
    assert answer.headers['opq-seq'] == str(first['seq'])
    assert 'opq-durability' not in answer.headers
    assert answer.json() == {'id': first['id'], 'topic': first['topic'],
                             'seq': first['seq'], 'duplicate': True}


def end_of(opq, topic):
    return opq.topic(topic)['end']


# --- duplicates ---------------------------------------------------------------


def test_a_duplicate_is_answered_with_the_first(many):
    for topic in ('a', 'b', 'c', 'd', 'e', 'f'):
        push(many, topic)
        first = expect_stored(push(many, topic, 'x', dedup_id='one'), 1)
        expect_duplicate(push(many, topic, 'y', dedup_id='one'), first)
        expect_stored(push(many, topic, 'x', dedup_id='two'), 2)
        assert end_of(many, topic) == 3
        kept = many.get(f'/opq/topics/{topic}/messages/1').json()
        assert kept['body'] == 'x'
    info = many.get('/opq/info').json()
    assert info['since_start']['duplicates'] == 6
    assert info['since_start']['pushes'] == 18
    assert info['now']['dedup_ids'] == 12


def test_every_form_of_a_push_may_be_a_duplicate(opq):
    first = expect_stored(push(opq, 't', dedup_id='one'), 0)
    expect_duplicate(
        push(opq, 't', headers={'Idempotency-Key': 'one'}), first)
    expect_duplicate(push(opq, 't', headers={'Opq-Dedup-Id': 'one'}), first)
    form = opq.push('t', NOWHERE, 'm', {'Idempotency-Key': 'one'})
    assert form.status == 202
    assert form.body == b'success'
    assert form.headers['opq-duplicate'] == 'true'
    assert form.headers['opq-id'] == first['id']
    raw = opq.request(
        'POST', f'/opq/push?topic=t&url={NOWHERE}&dedup_id=one', b'bytes',
        {'Content-Type': 'application/octet-stream'})
    assert raw.status == 202
    assert raw.body == b'success'
    assert end_of(opq, 't') == 1


def test_a_duplicate_in_a_batch_is_one_item(many):
    first = expect_stored(push(many, 't', dedup_id='one'), 0)
    items = [{'topic': 't', 'url': NOWHERE, 'message': str(number),
              'dedup_id': key}
             for number, key in enumerate(('one', 'two', 'two', 'three'))]
    answer = many.request('POST', '/opq/batch', items)
    assert answer.status == 201, answer
    results = answer.json()
    duplicate = {'topic': 't', 'duplicate': True}
    assert results[0] == {**duplicate, 'id': first['id'], 'seq': 0}
    assert results[1]['seq'] == 1 and 'duplicate' not in results[1]
    assert results[2] == {**duplicate, 'id': results[1]['id'], 'seq': 1}
    assert results[3]['seq'] == 2 and 'duplicate' not in results[3]
    assert end_of(many, 't') == 3


def bodies(opq):
    """Files that are as large as the bodies of the next test."""
    found = []
    for path in opq.data.rglob('*'):
        try:
            if path.is_file() and path.stat().st_size == 300000:
                found.append(path)
        except FileNotFoundError:
            pass  # it went meanwhile
    return found


def test_large_body_of_a_duplicate_leaves_no_file(serve):
    opq = serve('--body-size-max=4m', '--body-buffer=64k', '--drain=2s')
    path = f'/opq/push?topic=t&url={NOWHERE}&dedup_id=one'
    fields = {'Content-Type': 'application/octet-stream',
              'Accept': 'application/json'}
    first = opq.request('POST', path, b'a' * 300000, fields)
    assert first.status == 201
    assert [path.read_bytes() for path in bodies(opq)] == [b'a' * 300000]
    second = opq.request('POST', path, b'b' * 300000, fields)
    expect_duplicate(second, first.json())
    wait_until(lambda: len(bodies(opq)) == 1, 'the second file goes')
    assert bodies(opq)[0].read_bytes() == b'a' * 300000


def test_topics_have_ids_of_their_own_and_forget_them_when_deleted(opq):
    expect_stored(push(opq, 'a', dedup_id='one'), 0)
    expect_stored(push(opq, 'b', dedup_id='one'), 0)
    assert opq.request('DELETE', '/opq/topics/a').status == 204
    expect_stored(push(opq, 'a', dedup_id='one'), 0)


def test_an_id_is_new_again_when_its_window_is_over(opq):
    opq.request('PUT', '/opq/topics/t', {'dedup_window': '1s'})
    start = time.monotonic()
    first = expect_stored(push(opq, 't', dedup_id='one'), 0)
    answer = push(opq, 't', dedup_id='one')
    if time.monotonic() - start < 0.9:  # not on a machine that hangs
        expect_duplicate(answer, first)

    def stored_again():
        return push(opq, 't', dedup_id='one').status == 201

    wait_until(stored_again, 'the window is over')
    assert time.monotonic() - start >= 1


def test_the_bound_is_told_and_forgets_nothing(serve):
    opq = serve('--dedup-max=2', '--drain=2s')
    opq.request('PUT', '/opq/topics/t', {'dedup_window': '1h'})
    first = expect_stored(push(opq, 't', dedup_id='one'), 0)
    expect_stored(push(opq, 't', dedup_id='two'), 1)
    answer = push(opq, 't', dedup_id='three')
    assert answer.status == 503
    assert answer.headers['retry-after'] == '1'
    assert 'ids are remembered' in answer.json()['detail']
    expect_duplicate(push(opq, 't', dedup_id='one'), first)
    expect_stored(push(opq, 't'), 2)
    # A window that becomes short makes room.
    opq.request('PUT', '/opq/topics/t', {'dedup_window': '1ms'})
    wait_until(lambda: push(opq, 't', dedup_id='three').status == 201)


def test_same_content_is_a_duplicate_where_the_topic_says_so(many):
    for topic in ('a', 'b', 'c', 'd'):
        many.request('PUT', f'/opq/topics/{topic}', {'dedup': 'content'})
        first = expect_stored(push(many, topic, 'x'), 0)
        expect_duplicate(
            push(many, topic, 'x', headers={'Opq-Forward-Trace': '7'}), first)
        expect_stored(push(many, topic, 'y'), 1)
        expect_stored(push(many, topic, 'x', method='PUT'), 2)
        expect_stored(push(many, topic, 'x', dedup_id='own'), 3)
        kept = many.get(f'/opq/topics/{topic}/messages/0').json()
        assert kept['dedup_id'].startswith('sha256:')
    form = many.push('a', NOWHERE, 'form', other='1')
    assert form.status == 201
    assert many.push('a', NOWHERE, 'form', other='1').status == 202
    assert many.push('a', NOWHERE, 'form', other='2').status == 201


# --- over restarts ------------------------------------------------------------


@pytest.mark.parametrize('end', ['stop', 'kill'])
def test_ids_outlive_the_process(many, end):
    many.request('PUT', '/opq/topics/content', {'dedup': 'content'})
    firsts = {}
    for topic in ('a', 'b', 'c', 'd'):
        for number in range(50):
            key = f'{topic}{number}'
            firsts[topic, key] = expect_stored(
                push(many, topic, dedup_id=key), number)
    content = expect_stored(push(many, 'content', 'x'), 0)
    getattr(many, end)()
    many.start()
    for (topic, key), first in firsts.items():
        expect_duplicate(patient(many, topic, dedup_id=key), first)
    expect_duplicate(patient(many, 'content', 'x'), content)
    for topic in ('a', 'b', 'c', 'd'):
        expect_stored(push(many, topic, dedup_id='new'), 50)


def waits_for(answer):
    assert answer.status == 201, answer
    assert answer.json()['id'].startswith('dly_')
    return answer.json()['id']


@pytest.mark.parametrize('end', ['stop', 'kill'])
def test_ids_of_messages_that_wait_outlive_the_process(many, end):
    many.request('PUT', '/opq/topics/content', {'dedup': 'content'})
    many.request('PUT', '/opq/topics/short', {'dedup_window': '100ms'})
    firsts = {}
    for topic in ('a', 'b', 'c', 'd', 'short'):
        for number in range(300):  # more than travel at once
            delay = '1h' if number % 2 else '3h'
            firsts[topic, str(number)] = waits_for(
                push(many, topic, dedup_id=str(number), delay=delay))
    content = waits_for(push(many, 'content', 'x', delay='1h'))
    plain = waits_for(push(many, 'content', 'y', delay='1h', dedup_id='y'))
    many.request('DELETE', f'/opq/delayed/{firsts["a", "7"]}')
    time.sleep(0.4)  # the window of `short`
    getattr(many, end)()
    many.start()
    for (topic, key), first in firsts.items():
        answer = patient(many, topic, dedup_id=key, delay='1h')
        if topic == 'short':
            assert waits_for(answer) != first
            continue
        assert answer.status == 202, (topic, key, answer)
        assert answer.json() == {'id': first, 'topic': topic,
                                 'duplicate': True}
    answer = patient(many, 'content', 'x')
    assert (answer.status, answer.json()['id']) == (202, content)
    answer = patient(many, 'content', 'other', dedup_id='y')
    assert (answer.status, answer.json()['id']) == (202, plain)
    expect_stored(push(many, 'a', dedup_id='new'), 0)


def test_an_id_stays_when_its_message_was_handed_on_and_read_back(many):
    many.request('PUT', '/opq/topics/content', {'dedup': 'content'})
    first = waits_for(push(many, 'content', 'x', delay='300ms'))
    wait_until(lambda: end_of(many, 'content') == 1, 'it is handed on')
    many.kill()
    many.start()
    answer = patient(many, 'content', 'x')
    assert (answer.status, answer.json()['id']) == (202, first)


def test_while_ids_are_read_pushes_with_one_wait_and_others_do_not(serve):
    opq = serve('--shards=1', '--drain=2s', '--memory=256m',
                '--batch-count-max=8000')
    items = [{'topic': 'long', 'url': NOWHERE, 'message': '',
              'dedup_id': str(number)} for number in range(8000)]
    body = json.dumps(items)
    for start in range(5):
        answer = opq.request(
            'POST', '/opq/batch', body.replace('"dedup_id": "',
                                               f'"dedup_id": "{start}-'),
            {'Content-Type': 'application/json'})
        assert answer.status == 201
    opq.stop()
    opq.start()
    expect_stored(push(opq, 'long'), 40000)
    expect_stored(push(opq, 'other', dedup_id='1'), 0)
    answer = push(opq, 'long', dedup_id='0-0')
    if answer.status == 503:  # but when it was read already
        assert answer.headers['retry-after'] == '1'
        assert 'try again' in answer.json()['detail']
    assert patient(opq, 'long', dedup_id='0-0').status == 202
    assert patient(opq, 'long', dedup_id='4-7999').status == 202
    assert opq.get('/opq/info').json()['now']['dedup_ids'] == 40001


class Producers:
    """Clients that push the same ids again and again, whatever happens, and
    keep what they are answered."""

    def __init__(self, opq, topics, ids):
        self.opq = opq
        self.topics = topics
        self.ids = ids
        self.lock = threading.Lock()
        self.seen = collections.defaultdict(set)  # of (topic, id): numbers
        self.created = collections.Counter()      # 201 of (topic, id)
        self.other = collections.Counter()        # other answers, by status
        self.ending = False
        self.threads = [threading.Thread(target=self._run, args=(number,))
                        for number in range(8)]
        for thread in self.threads:
            thread.start()

    def _run(self, number):
        turn = number
        while not self.ending:
            topic = self.topics[turn % len(self.topics)]
            key = f'id{turn // len(self.topics) % self.ids}'
            turn += 1
            try:
                answer = push(self.opq, topic, key, dedup_id=key)
            except (OSError, ValueError, AssertionError):
                continue
            except Exception:  # http.client's, of a broken connection
                continue
            with self.lock:
                if answer.status in (201, 202):
                    self.seen[topic, key].add(answer.json()['seq'])
                    self.created[topic, key] += answer.status == 201
                else:
                    self.other[answer.status] += 1

    def count(self):
        with self.lock:
            return sum(self.created.values())

    def end(self):
        self.ending = True
        for thread in self.threads:
            thread.join(PATIENCE_S)


def test_kill_9_never_makes_a_second_of_an_id(many):
    topics = ['k0', 'k1', 'k2', 'k3', 'k4']
    ids = 400
    producers = Producers(many, topics, ids)
    try:
        for wanted in (100, 400, 900, 1400):
            wait_until(lambda: producers.count() >= wanted,
                       f'{wanted} are stored', 4 * PATIENCE_S)
            many.kill()
            many.start()
        wait_until(lambda: len(producers.seen) == len(topics) * ids,
                   'all are answered', 4 * PATIENCE_S)
    finally:
        producers.end()
    assert set(producers.other) <= {503}, producers.other
    for (topic, key), numbers in producers.seen.items():
        assert len(numbers) == 1, (topic, key, numbers)
        assert producers.created[topic, key] <= 1
    for topic in topics:
        # One of each: none was stored without its id being known after.
        assert end_of(many, topic) == ids, topic
        kept = {}
        start = 0
        while start < ids:
            page = many.get(f'/opq/topics/{topic}/messages?from={start}'
                            '&limit=100').json()
            for message in page['messages']:
                kept[message['dedup_id']] = message['seq']
            start += 100
        assert len(kept) == ids
        for key, number in kept.items():
            assert producers.seen[topic, key] == {number}


def test_of_many_clients_at_once_one_is_stored(many):
    clients = 40
    for round_number in range(5):
        topic = f'race{round_number}'
        connections = [RawConnection(many.port) for _ in range(clients)]
        body = json.dumps({'topic': topic, 'url': NOWHERE, 'message': 'm',
                           'dedup_id': 'one'})
        request = ('POST /opq/push HTTP/1.1\r\nHost: opq\r\n'
                   'Content-Type: application/json\r\n'
                   f'Content-Length: {len(body)}\r\n\r\n{body}')
        for connection in connections:
            connection.send(request)
        answers = [connection.read_response() for connection in connections]
        for connection in connections:
            connection.close()
        statuses = collections.Counter(answer.status for answer in answers)
        assert statuses == {201: 1, 202: clients - 1}
        assert len({answer.json()['id'] for answer in answers}) == 1
        assert end_of(many, topic) == 1


# --- expected numbers ---------------------------------------------------------


def test_only_the_expected_number_is_stored(many):
    for topic in ('a', 'b', 'c', 'd'):
        answer = push(many, topic, expect_seq=1)
        assert answer.status == 412
        assert answer.headers['content-type'] == 'application/problem+json'
        assert answer.json()['next_seq'] == 0
        assert '0' in answer.json()['detail']
        # What it may have been made for is not there.
        assert many.get(f'/opq/topics/{topic}').status == 404
        expect_stored(push(many, topic, expect_seq=0), 0)
        assert push(many, topic, expect_seq=0).json()['next_seq'] == 1
        form = many.push(topic, NOWHERE, 'm', {'Opq-Expect-Seq': '7'})
        assert form.status == 412
        assert form.body.startswith(b'PreconditionFailed: ')
        assert b' 1,' in form.body
        assert many.push(topic, NOWHERE, 'm',
                         {'Opq-Expect-Seq': '1'}).status == 201
        assert end_of(many, topic) == 2


def test_items_of_a_batch_expect_one_after_the_other(many):
    numbers = (0, 1, 1, 3, 2)
    answer = many.request('POST', '/opq/batch', [
        {'topic': 't', 'url': NOWHERE, 'message': 'm', 'expect_seq': number}
        for number in numbers])
    assert answer.status == 207
    results = answer.json()
    assert [result.get('seq') for result in results] == [0, 1, None, None, 2]
    assert [result.get('status') for result in results] == [
        None, None, 412, 412, None]
    assert results[2]['next_seq'] == 2
    assert results[3]['next_seq'] == 2


def test_of_those_that_expect_one_number_one_gets_it(many):
    def write(number):
        """As a writer does that appends to what it has read."""
        stored = []
        while len(stored) < 20:
            known = stored[-1] + 1 if stored else 0
            while True:
                answer = push(many, 't', str(number), expect_seq=known)
                if answer.status == 201:
                    assert answer.json()['seq'] == known
                    stored.append(known)
                    break
                assert answer.status == 412
                known = answer.json()['next_seq']
        return stored

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        stored = list(pool.map(write, range(4)))
    assert sorted(sum(stored, [])) == list(range(80))
    for number, numbers in enumerate(stored):
        for sequence in numbers:
            kept = many.get(f'/opq/topics/t/messages/{sequence}').json()
            assert kept['body'] == str(number)


def test_a_push_sent_again_is_a_duplicate_whatever_it_expects(opq):
    first = expect_stored(push(opq, 't', dedup_id='one', expect_seq=0), 0)
    expect_duplicate(push(opq, 't', dedup_id='one', expect_seq=0), first)

"""Dead letters as their owners see them: listed, sent again, dropped.

SPDX-License-Identifier: MIT
"""

import collections
import json
import resource
import subprocess
import threading
import urllib.parse

import pytest
from harness import (BINARY, PATIENCE_S, Answer, Sink, Terminal, run_cli,
                     wait_until)

# Of a topic of many letters: in order, each waits for the disk by itself.
QUICK = {'order': 'none', 'concurrency': 64}
FAILING = ('--retry-first=10ms', '--retry-max=20ms', '--drain=2s')


def create(opq, topic, **settings):
    answer = opq.request('PUT', f'/opq/topics/{topic}', settings)
    assert answer.status in (200, 201), answer


def make_letters(opq, receiver, topic, count, first=0, **members):
    """Letters with the bodies first, first + 1, ..., in that order. (So many
    5xx would open the breaker, and letters would be made at its pace.)"""
    script, receiver.script = receiver.script, lambda request: 422
    members = {'retries': 0, 'url': receiver.url(), **members}
    for start in range(first, first + count, 500):
        answer = opq.request('POST', '/opq/batch', [
            {'topic': topic, 'message': str(number), **members}
            for number in range(start, min(start + 500, first + count))])
        assert answer.status == 201, answer
    opq.wait_delivered(topic, opq.topic(topic)['end'])
    receiver.script = script
    receiver.clear()


def query(**filters):
    """Names that are Python's own end with an underscore here."""
    return urllib.parse.urlencode(
        {name.rstrip('_'): value for name, value in filters.items()})


def pages(opq, **filters):
    """All letters, page by page."""
    found = []
    cursor = {}
    while True:
        answer = opq.get(f'/opq/dlq?{query(**filters, **cursor)}')
        assert answer.status == 200, answer
        page = answer.json()
        found += page['letters']
        if page['next'] is None:
            return found
        cursor = {'cursor': page['next']}


def bodies(found):
    return [int(letter['body']) for letter in found]


def change(opq, method, path, **filters):
    """Retry or drop, as often as there is more; the counts in all."""
    total = collections.Counter()
    cursor = {}
    while True:
        answer = opq.request(method, f'{path}?{query(**filters, **cursor)}')
        assert answer.status == 200, answer
        counts = answer.json()
        cursor = {'cursor': counts.pop('next')}
        more = counts.pop('more')
        assert counts.pop('looked') >= counts['matched']
        total.update(counts)
        if not more:
            assert cursor['cursor'] is None
            return dict(total)


def retry(opq, **filters):
    return change(opq, 'POST', '/opq/dlq/retry', **filters)


def drop(opq, **filters):
    return change(opq, 'DELETE', '/opq/dlq', **filters)


@pytest.fixture
def failing(serve):
    return serve(*FAILING, '--shards=2')


@pytest.fixture
def refusing():
    """The URL of a target that refuses many in little time."""
    sink = Sink('--fail', '422')
    yield sink.url
    sink.stop()


# --- lists --------------------------------------------------------------------

@pytest.mark.parametrize('limit', [1, 3, 1000])
def test_pages_are_complete_and_in_order(failing, receiver, limit):
    opq = failing
    names = [f't{number:02}' for number in range(7)]
    for name in reversed(names):
        make_letters(opq, receiver, name, 4)
    found = pages(opq, limit=limit)
    assert [(letter['topic'], letter['seq']) for letter in found] == [
        (name, sequence) for name in names for sequence in range(4)]
    assert bodies(found) == [0, 1, 2, 3] * 7
    assert {letter['dead']['reason'] for letter in found} == {
        'retries_exhausted'}
    assert pages(opq, limit=limit, topic='t03') == found[12:16]
    assert pages(opq, limit=limit, topic='t03.dlq') == found[12:16]


def test_more_topics_than_are_found_at_once(failing, receiver):
    opq = failing
    receiver.script = lambda request: 500
    names = sorted(f't{number}' for number in range(150))
    for name in names:
        opq.push_json(name, receiver.url(), '1', retries=0)
    for name in names:
        opq.wait_delivered(name, 1)
    assert [letter['topic'] for letter in pages(opq, limit=1000)] == names
    assert [letter['topic'] for letter in pages(opq, limit=64)] == names
    receiver.script = lambda request: 200
    assert retry(opq, all='yes') == {'matched': 150, 'sent': 150}
    assert pages(opq) == []


def test_filters(failing, receiver):
    opq = failing
    statuses = {'/a': 500, '/b': 502, '/c': 404}
    receiver.script = lambda request: statuses[request.path]
    for number, path in enumerate(['/a', '/b', '/c', '/a']):
        opq.push_json('t', receiver.url(path), str(number), retries=0)
    create(opq, 'u', permanent_status='404')
    opq.push_json('u', receiver.url('/c'), '4')
    opq.push_json('u', 'http://127.0.0.1:1/', '5', retries=0)
    opq.wait_delivered('u', 2)
    opq.wait_delivered('t', 4)
    assert bodies(pages(opq, status=500)) == [0, 3]
    assert bodies(pages(opq, status='500-599')) == [0, 1, 3]
    assert bodies(pages(opq, status=404)) == [2, 4]
    assert bodies(pages(opq, status=0)) == [5]
    assert bodies(pages(opq, reason='permanent_status')) == [4]
    assert bodies(pages(opq, class_='connection_refused')) == [5]
    assert bodies(pages(opq, class_='http_4xx', topic='t')) == [2]
    assert bodies(pages(opq, subscription='s')) == []
    assert bodies(pages(opq, topic='t', seq=2)) == [2]
    at = [letter['dead']['at'] for letter in pages(opq, topic='t')]
    assert at == sorted(at)
    since = bodies(pages(opq, topic='t', from_=at[2]))
    assert since == [number for number in range(4) if at[number] >= at[2]]
    until = bodies(pages(opq, topic='t', to=at[2]))
    assert until == [number for number in range(4) if at[number] < at[2]]


@pytest.mark.parametrize('method, path, status', [
    ('GET', '/opq/dlq?topic=no', 404),
    ('GET', '/opq/dlq?topic=no.dlq', 404),
    ('GET', '/opq/dlq?topic=no%20', 400),
    ('GET', '/opq/dlq?topic=t', 200),
    ('GET', '/opq/dlq?status=5xx', 400),
    ('GET', '/opq/dlq?seq=1', 400),
    ('GET', '/opq/dlq?limit=1001', 400),
    ('GET', '/opq/dlq?limit=0', 200),
    ('GET', '/opq/dlq?cursor=x', 400),
    ('GET', '/opq/dlq?cursor=x:y', 400),
    ('GET', '/opq/dlq?cursor=x:1', 200),
    ('GET', '/opq/dlq?topic=t&cursor=x.dlq:1', 400),
    ('GET', '/opq/dlq?topic=t&cursor=t.dlq:1', 200),
    ('GET', '/opq/dlq?reason=', 400),
    ('GET', '/opq/dlq?from=soon', 400),
    ('GET', '/opq/dlq?all=yes', 400),
    ('GET', '/opq/dlq?wrong=1', 400),
    ('DELETE', '/opq/dlq', 400),
    ('DELETE', '/opq/dlq?all=no', 400),
    ('DELETE', '/opq/dlq?all=yes', 200),
    ('DELETE', '/opq/dlq?topic=t', 200),
    ('DELETE', '/opq/dlq?topic=t&seq=0', 404),
    ('DELETE', '/opq/dlq?limit=1', 400),
    ('POST', '/opq/dlq/retry', 400),
    ('POST', '/opq/dlq/retry?seq=1', 400),
    ('POST', '/opq/dlq/retry?topic=no', 404),
    ('POST', '/opq/dlq/retry?cursor=t.dlq:1', 400),
    ('GET', '/opq/dlq/retry', 405),
    ('POST', '/opq/dlq', 405),
])
def test_requests_that_are_wrong_or_about_nothing(
        shared_opq, method, path, status):
    create(shared_opq, 't')
    assert shared_opq.request(method, path).status == status


# --- sending again ------------------------------------------------------------

def test_letters_are_messages_again(failing, receiver):
    opq = failing
    receiver.script = lambda request: 500
    url = receiver.url('/x')
    pushed = opq.push_json('t', url, 'hello', headers={'X-A': 'b'},
                           retries=0, key='k', priority=3, label='l',
                           dedup_id='once', ttl='10h')
    opq.wait_delivered('t', 1)
    letter, = pages(opq)
    receiver.script = lambda request: 200
    receiver.clear()
    assert opq.topic('t')['dead'] == 1
    assert retry(opq, topic='t', seq=letter['seq']) == {
        'matched': 1, 'sent': 1}
    opq.wait_delivered('t', 2)
    assert pages(opq) == []
    assert opq.topic('t')['dead'] == 0
    request, = receiver.requests
    assert request.body == b'hello'
    assert request.headers['webhook-id'] == pushed['id']
    assert request.headers['x-a'] == 'b'
    assert request.attempt == 1
    message = opq.get('/opq/topics/t/messages/1').json()
    assert 'dead' not in message and 'topic' not in message
    assert 'dedup_id' not in message
    first = opq.get('/opq/topics/t/messages/0').json()
    for name in ('pushed_at', 'key', 'priority', 'label', 'retries',
                 'expires_at', 'url', 'id'):
        assert message[name] == first[name], name


def test_letter_that_fails_again_is_one_again(failing, receiver):
    opq = failing
    make_letters(opq, receiver, 't', 1)
    receiver.script = lambda request: 503
    assert retry(opq, topic='t') == {'matched': 1, 'sent': 1}
    opq.wait_delivered('t', 2)
    letter, = pages(opq)
    assert letter['dead']['status'] == 503
    assert letter['dead']['seq'] == 1
    assert opq.topic('t')['dead'] == 1


def test_time_that_is_over_is_not_counted_again(failing, receiver):
    opq = failing
    create(opq, 't', paused=True)
    opq.push_json('t', receiver.url(), 'x', ttl='1ms')
    opq.request('POST', '/opq/topics/t/resume')
    letter, = wait_until(lambda: pages(opq))
    assert letter['dead']['reason'] == 'expired'
    assert retry(opq, reason='expired') == {'matched': 1, 'sent': 1}
    assert receiver.wait(1)[0].body == b'x'
    assert 'expires_at' not in opq.get('/opq/topics/t/messages/1').json()


def test_only_what_is_meant_is_sent(failing, receiver):
    opq = failing
    script = collections.defaultdict(lambda: 200, {'/a': 500, '/b': 404})
    receiver.script = lambda request: script[request.path]
    for number in range(30):
        opq.push_json('t', receiver.url('/a' if number % 3 else '/b'),
                      str(number), retries=0)
    opq.wait_delivered('t', 30)
    script.clear()
    receiver.clear()
    assert retry(opq, topic='t', status=404) == {'matched': 10, 'sent': 10}
    opq.wait_delivered('t', 40)
    assert [int(request.body) for request in receiver.requests] == list(
        range(0, 30, 3))
    assert bodies(pages(opq)) == [number for number in range(30)
                                  if number % 3]


def test_letters_of_a_deleted_topic_make_it_again(failing, receiver):
    opq = failing
    make_letters(opq, receiver, 't', 2)
    assert opq.request('DELETE', '/opq/topics/t').status == 204
    assert retry(opq, topic='t.dlq') == {'matched': 2, 'sent': 2}
    opq.wait_delivered('t', 2)
    assert sorted(request.body for request in receiver.requests) == [
        b'0', b'1']


def test_large_bodies_go_along(serve, receiver):
    opq = serve(*FAILING, '--body-buffer=16k', '--shards=2')
    receiver.script = lambda request: 500
    large = bytes(range(256)) * 1000
    answer = opq.request(
        'POST', f'/opq/push?topic=t&url={receiver.url()}&retries=0', large,
        {'Content-Type': 'application/octet-stream'})
    assert answer.status == 201, answer
    opq.wait_delivered('t', 1)
    receiver.script = lambda request: 200
    receiver.clear()
    assert opq.request('DELETE', '/opq/topics/t').status == 204
    assert retry(opq, all='yes') == {'matched': 1, 'sent': 1}
    assert receiver.wait(1)[0].body == large
    opq.wait_delivered('t', 1)
    opq.stop()
    assert run_cli('verify', str(opq.data)).returncode == 0


def test_two_at_once_send_each_letter_once(failing, receiver):
    opq = failing
    make_letters(opq, receiver, 't', 2000)
    counts = []

    def work():
        counts.append(retry(opq, topic='t')['sent'])
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 2000
    opq.wait_delivered('t', 4000)
    assert sorted(int(request.body) for request in receiver.requests) == list(
        range(2000))


def test_what_cannot_be_stored_stays(serve, receiver):
    opq = serve(*FAILING, '--shards=1',
                command=['env', '--ignore-signal=XFSZ'])
    make_letters(opq, receiver, 't', 20)
    _, hard = resource.prlimit(opq.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(opq.pid, resource.RLIMIT_FSIZE, (0, hard))
    answer = opq.request('POST', '/opq/dlq/retry?topic=t')
    assert answer.status in (500, 503, 507)
    problem = answer.json()
    assert problem['sent'] == 0 and problem['more'] is True
    assert problem['next'].startswith('t.dlq:')
    resource.prlimit(opq.pid, resource.RLIMIT_FSIZE, (hard, hard))
    wait_until(lambda: opq.get('/readyz').status == 200)
    assert bodies(pages(opq)) == list(range(20))
    sent = []

    def all_are_sent():
        answer = opq.request('POST', '/opq/dlq/retry?topic=t')
        sent.append(answer.json()['sent'])
        return answer.status == 200
    wait_until(all_are_sent, 'room')
    assert sum(sent) == 20
    assert pages(opq) == []
    opq.wait_delivered('t', 40)


# --- dropping -----------------------------------------------------------------

def test_dropped_letters_are_gone_for_good(serve, receiver):
    opq = serve(*FAILING, '--shards=2')
    for name in ('t', 'u'):
        make_letters(opq, receiver, name, 10)
    for number in (2, 3, 7):
        assert drop(opq, topic='t', seq=number) == {
            'matched': 1, 'dropped': 1}
        opq.kill()  # it was durable when it was answered
        opq.start()
    assert opq.request('DELETE', '/opq/dlq?topic=t&seq=3').status == 404
    assert bodies(pages(opq, topic='t')) == [0, 1, 4, 5, 6, 8, 9]
    assert opq.topic('t')['dead'] == 7
    assert drop(opq, topic='u') == {'matched': 10, 'dropped': 10}
    opq.kill()
    opq.start()
    assert pages(opq, topic='u') == []
    assert opq.topic('u.dlq')['oldest'] == 10
    assert drop(opq, all='yes') == {'matched': 7, 'dropped': 7}
    assert pages(opq) == []
    assert receiver.requests == []


@pytest.mark.parametrize('kill', [True, False])
def test_any_number_of_holes(serve, receiver, kill):
    """More holes than a cursor has ranges, made in one call and one by one."""
    opq = serve(*FAILING, '--shards=2')
    statuses = {'/a': 500, '/b': 404}
    receiver.script = lambda request: statuses[request.path]
    for start in range(0, 1200, 400):
        answer = opq.request('POST', '/opq/batch', [
            {'topic': 't', 'message': str(number), 'retries': 0,
             'url': receiver.url('/a' if number % 2 else '/b')}
            for number in range(start, start + 400)])
        assert answer.status == 201
    opq.wait_delivered('t', 1200)
    assert drop(opq, status=404) == {'matched': 600, 'dropped': 600}
    left = set(range(1, 1200, 2))
    if kill:
        opq.kill()
        opq.start()
    assert sorted(bodies(pages(opq))) == sorted(left)
    assert opq.topic('t')['dead'] == 600
    assert opq.topic('t.dlq')['oldest'] > 0
    receiver.script = lambda request: 200
    receiver.clear()
    found = pages(opq, limit=1000)
    for letter in found[::3]:
        assert retry(opq, topic='t', seq=[
            one['seq'] for one in pages(opq, limit=1000)
            if one['body'] == letter['body']][0]) == {
                'matched': 1, 'sent': 1}
        left.remove(int(letter['body']))
    assert sorted(bodies(pages(opq))) == sorted(left)
    assert retry(opq, all='yes') == {'matched': 400, 'sent': 400}
    assert pages(opq) == []
    opq.wait_delivered('t', 1800)
    assert sorted(int(request.body) for request in receiver.requests) == list(
        range(1, 1200, 2))


def test_more_letters_than_a_call_looks_at(failing, receiver, refusing):
    opq = failing
    create(opq, 't', **QUICK)
    make_letters(opq, receiver, 't', 12_000, url=refusing)
    answer = opq.request('DELETE', '/opq/dlq?topic=t&reason=expired').json()
    assert answer['more'] is True
    assert answer['matched'] == 0
    assert answer['next'].startswith('t.dlq:')
    assert drop(opq, topic='t', reason='retries_exhausted') == {
        'matched': 12_000, 'dropped': 12_000}
    assert opq.topic('t')['dead'] == 0


def test_topic_of_letters_that_is_deleted_meanwhile(failing, receiver):
    opq = failing
    make_letters(opq, receiver, 't', 3000)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(
        opq.request('POST', '/opq/dlq/retry?topic=t')))
    thread.start()
    receiver.wait(1)
    assert opq.request('DELETE', '/opq/topics/t.dlq').status == 204
    thread.join()
    assert answers[0].status in (200, 404)
    assert pages(opq) == []
    assert opq.get('/opq/dlq?topic=t').json()['letters'] == []


def test_stop_during_a_job_loses_nothing(serve, receiver):
    opq = serve(*FAILING, '--shards=2')
    make_letters(opq, receiver, 't', 5000)
    thread = threading.Thread(target=lambda: opq.request(
        'POST', '/opq/dlq/retry?topic=t'))
    thread.start()
    receiver.wait(1)
    assert opq.stop() == 0
    thread.join()
    opq.start()
    assert opq.topic('t')['end'] + opq.topic('t')['dead'] == 10_000


def test_kill_during_a_job_loses_nothing(serve, receiver):
    opq = serve(*FAILING, '--shards=2')
    make_letters(opq, receiver, 't', 3000)

    def work():
        with pytest.raises(OSError):
            opq.request('POST', '/opq/dlq/retry?topic=t')
    thread = threading.Thread(target=work)
    gate = threading.Event()
    receiver.then(Answer(200, gate=gate))
    thread.start()
    receiver.wait(1)
    opq.kill()
    gate.set()
    thread.join()
    opq.start()
    retry(opq, all='yes')
    opq.wait_delivered('t', opq.topic('t')['end'])
    assert {int(request.body) for request in receiver.requests} == set(
        range(3000))
    assert opq.topic('t')['dead'] == 0


# --- the command --------------------------------------------------------------

def test_command_lists(failing, receiver):
    opq = failing
    done = opq.run('dlq')
    assert done.returncode == 0
    assert done.stdout.split() == ['TOPIC', 'SEQ', 'DEAD-SINCE', 'REASON',
                                   'FAILS', 'CLASS', 'ENDPOINT', 'DETAIL']
    make_letters(opq, receiver, 't', 1205)
    make_letters(opq, receiver, 'u', 2)
    lines = opq.run('dlq', 'list').stdout.splitlines()
    assert len(lines) == 1208
    assert lines[1].split()[:2] == ['t', '0']
    assert 'http_4xx 422' in lines[1]
    assert lines[-1].split()[:2] == ['u', '1']
    done = opq.run('dlq', 'list', '--topic=t', '--limit', '1003', '--json')
    assert [json.loads(line)['seq'] for line in done.stdout.splitlines()
            ] == list(range(1003))
    done = opq.run('dlq', '--topic', 'u', '--seq=1', '--json')
    assert json.loads(done.stdout)['body'] == '1'
    assert opq.run('dlq', '--status', '404', '--json').stdout == ''


def test_command_sends_and_drops(failing, receiver, refusing):
    opq = failing
    create(opq, 't', **QUICK)
    make_letters(opq, receiver, 't', 11_000, url=refusing)
    make_letters(opq, receiver, 'u', 5)
    done = opq.run('dlq', 'retry', '--topic=u', '--seq', '3')
    assert (done.returncode, done.stdout) == (0, '1 matched, sent: 1\n')
    assert done.stderr == ''
    done = opq.run('dlq', 'retry', '--topic=u', '--json')
    assert json.loads(done.stdout) == {'matched': 4, 'sent': 4}
    opq.wait_delivered('u', 10)
    done = opq.run('dlq', 'drop', '--topic=t', '--class=http_4xx')
    assert (done.returncode, done.stdout) == (
        0, '11000 matched, dropped: 11000\n')
    assert opq.run('dlq', 'drop', '--all').stdout == '0 matched, dropped: 0\n'


def test_command_shows_how_far_it_is(failing, receiver):
    opq = failing
    make_letters(opq, receiver, 't', 20)
    make_letters(opq, receiver, 'u', 3)
    terminal = Terminal()
    done = subprocess.run(
        [BINARY, 'dlq', 'drop', '--topic=t', '--url', opq.url],
        stdout=subprocess.PIPE, stderr=terminal.theirs, text=True, check=True,
        timeout=PATIENCE_S)
    assert done.stdout == '20 matched, dropped: 20\n'
    shown = terminal.read()
    assert shown.rstrip().split('\r')[-1] == (
        f'[{"#" * 30}] 20 of 20, 20 dropped')


@pytest.mark.parametrize('arguments, code', [
    (['burn'], 64), (['list', 'x'], 64), (['list', '--limit=x'], 64),
    (['list', '--all'], 64), (['drop', '--limit=1'], 64), (['--wrong'], 64),
    (['drop'], 1), (['retry', '--topic=none'], 1),
    (['drop', '--status=x'], 1), (['--help'], 0)])
def test_command_lines(shared_opq, arguments, code):
    assert shared_opq.run('dlq', *arguments).returncode == code


# --- topics -------------------------------------------------------------------

def test_topics_of_letters_say_so(failing, receiver):
    opq = failing
    make_letters(opq, receiver, 't', 3)
    create(opq, 'u')
    kinds = {topic['name']: topic['kind']
             for topic in opq.get('/opq/topics').json()['topics']}
    assert kinds == {'t': 'messages', 't.dlq': 'dead_letters',
                     'u': 'messages'}
    assert opq.topic('t')['dead'] == 3
    assert opq.topic('u')['dead'] == 0
    dead = opq.topic('t.dlq')
    assert (dead['state'], dead['lag']) == ('kept', 3)
    assert '/opq/dlq' in dead['because']
    message = opq.get('/opq/topics/t.dlq/messages/1').json()
    assert message['state'] == 'dead'
    assert 'retries_exhausted' in message['because']
    drop(opq, topic='t', seq=1)
    message = opq.get('/opq/topics/t.dlq/messages/1').json()
    assert message['state'] == 'delivered'
    assert 'dropped' in message['because']

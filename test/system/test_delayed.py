"""Delayed messages, as their users see them: when they come, in what order,
after restarts and kills, cancelled, listed, large, on a full disk.

OPQ_TORTURE=1 adds a million of them, and prints what they cost.

SPDX-License-Identifier: MIT
"""

import collections
import datetime
import http.client
import json
import os
import random
import resource
import threading
import time

import harness
import pytest
from growth import disk_of
from harness import wait_until

TORTURE = os.environ.get('OPQ_TORTURE', '') not in ('', '0')


def info(opq):
    return opq.get('/opq/info').json()


def waiting(opq):
    return info(opq)['now']['delayed']


def buckets(opq):
    """Folders of what was or is delayed."""
    return (opq.data / 'topics').glob('.opq.delayed.*')


def when(text):
    """RFC 3339 to Unix seconds."""
    return datetime.datetime.fromisoformat(text.replace('Z', '+00:00')) \
        .timestamp()


def push_many(opq, url, pushes):
    """Push (topic, text, delay) by batches; return the answers."""
    answers = []
    for at in range(0, len(pushes), 500):
        answer = opq.request('POST', '/opq/batch', [
            {'topic': topic, 'url': url, 'message': text, 'delay': delay}
            for topic, text, delay in pushes[at:at + 500]])
        assert answer.status == 201, answer
        answers += answer.json()
    return answers


def pages(opq, **parameters):
    """All messages of the list."""
    found = []
    cursor = None
    while True:
        query = '&'.join(f'{name}={value}' for name, value in {
            **parameters, **({'cursor': cursor} if cursor else {})}.items())
        page = opq.get(f'/opq/delayed?{query}')
        assert page.status == 200, page
        found += page.json()['delayed']
        cursor = page.json()['next']
        if cursor is None:
            return found


# --- pushes -----------------------------------------------------------------

def test_each_form_of_push_may_be_delayed(opq, receiver):
    url = receiver.url()
    before = time.time()
    form = opq.push('d', url, 'form', headers={'Opq-Delay': '300ms'})
    raw = opq.request(
        'POST', f'/opq/push?topic=d&delay=400ms&url={url}', b'raw',
        {'Content-Type': 'text/x-test'})
    soon = datetime.datetime.fromtimestamp(
        before + 2, datetime.timezone.utc).isoformat()
    answer = opq.request('POST', '/opq/push', {
        'topic': 'd', 'url': url, 'message': 'json', 'not_before': soon})
    for one in (form, raw, answer):
        assert one.status == 201, one
        assert one.headers['opq-id'].startswith('dly_')
        assert one.headers['opq-topic'] == 'd'
        assert one.headers['opq-durability'] == 'disk'
        assert 'opq-seq' not in one.headers
    assert 0.2 < when(form.headers['opq-due']) - before < 10
    assert abs(when(answer.headers['opq-due']) - before - 2) < 0.01
    assert answer.json() == {
        'id': answer.headers['opq-id'], 'topic': 'd',
        'due': answer.headers['opq-due'], 'durability': 'disk'}
    came = receiver.wait(3)
    assert [one.sequence for one in came] == [0, 1, 2]
    assert came[1].body == b'raw'
    assert came[1].headers['content-type'] == 'text/x-test'
    assert came[2].body == b'json'
    assert [one.headers['webhook-id'] for one in came] == \
        [one.headers['opq-id'] for one in (form, raw, answer)]
    assert time.time() >= before + 2


def test_a_time_that_is_over_does_not_delay(opq, receiver):
    answer = opq.push_json('d', receiver.url(), 'x',
                           not_before='2020-01-01T00:00:00Z')
    assert answer['seq'] == 0
    assert opq.push_json('d', receiver.url(), 'y', delay='0s')['seq'] == 1
    receiver.wait(2)
    assert waiting(opq) == 0


def test_a_year_ahead(serve, receiver):
    opq = serve('--shards=2')
    answer = opq.push_json('d', receiver.url(), 'x', delay='366d')
    assert opq.request('POST', '/opq/push', {
        'topic': 'd', 'url': receiver.url(), 'message': 'y',
        'delay': '367d'}).status == 400
    for end in (opq.stop, opq.kill):
        end()
        opq.start()
        assert waiting(opq) == 1
        found = opq.get(f'/opq/messages/{answer["id"]}').json()
        assert found['state'] == 'delayed'
        assert found['due'] == found['until'] == answer['due']
        assert found['because'] == 'is not due yet'
        assert abs(when(answer['due']) - time.time() - 366 * 86400) < 300
    assert opq.request('DELETE',
                       f'/opq/messages/{answer["id"]}').status == 204
    assert waiting(opq) == 0
    assert receiver.requests == []


# --- when -------------------------------------------------------------------

def test_thousands_come_in_time(serve):
    count = 10000 if TORTURE else 3000
    opq = serve('--shards=2')
    sink = harness.Sink()
    rng = random.Random(5)
    try:
        # So far ahead that all are pushed before the first is due.
        pushes = [(f't{index % 50}', str(index),
                   f'{5000 + rng.randrange(5000)}ms')
                  for index in range(count)]
        push_many(opq, sink.url + '/', pushes)
        wait_until(lambda: info(opq)['since_start']['delayed_handed_on'] ==
                   count, 'all are handed on')
        figures = info(opq)['since_start']
        print({name: value for name, value in figures.items()
               if name.startswith('delayed_')})
        # Noisy machines are late, but not as a rule.
        assert figures['delayed_late_p50_ms'] < 1000 * harness.SLOWNESS
        assert figures['delayed_late_p99_ms'] < 5000 * harness.SLOWNESS
        wait_until(lambda: info(opq)['since_start']['delivered'] == count,
                   'all are delivered')
    finally:
        sink.stop()


def test_none_comes_early_and_they_come_in_order(opq, receiver):
    rng = random.Random(1)
    delays = [rng.randrange(500, 2500) for _ in range(200)]
    answers = push_many(opq, receiver.url(),
                        [('d', str(delay), f'{delay}ms') for delay in delays])
    due = {answer['id']: when(answer['due']) for answer in answers}
    offset = time.time() - time.monotonic()
    last = 0
    for one in receiver.wait(len(delays)):
        mine = due.pop(one.headers['webhook-id'])
        assert one.at + offset >= mine - 0.02
        assert mine >= last
        last = mine
    assert not due


# --- across restarts --------------------------------------------------------

def test_any_number_of_shards_has_them(serve, receiver):
    opq = serve('--shards=2')
    answers = push_many(opq, receiver.url(),
                        [(f't{index % 7}', str(index), f'{index % 9}h')
                         for index in range(9, 99)])
    delayed = [answer for answer in answers if 'due' in answer]
    assert len(delayed) == 80
    gone = delayed[::8]
    for answer in gone:
        assert opq.request(
            'DELETE', f'/opq/messages/{answer["id"]}').status == 204
    ids = {answer['id'] for answer in delayed} - \
        {answer['id'] for answer in gone}
    for shards in (3, 1, 5, 2):
        opq.stop()
        opq.arguments = [f'--shards={shards}']
        opq.start()
        wait_until(lambda: waiting(opq) == len(ids), 'what waits')
        assert {one['id'] for one in pages(opq, limit=7)} == ids


def kills(serve, sink, rounds, count):
    """Kill again and again while messages are pushed, handed on, and
    cancelled. Returns what was answered."""
    opq = serve('--shards=2', '--retry-first=20ms', '--retry-max=100ms',
                '--drain=5s', '--segment-size=64k')
    rng = random.Random(11)
    answered = {}
    for turn in range(rounds):
        pushes = [(f't{rng.randrange(20)}', f'{turn}-{index}',
                   f'{rng.randrange(0, 1500)}ms') for index in range(count)]
        stop = threading.Timer(rng.uniform(0.1, 1.5), opq.kill)
        stop.start()
        for at in range(0, count, 20):
            try:
                answer = opq.request('POST', '/opq/batch', [
                    {'topic': topic, 'url': sink.url(), 'message': text,
                     'delay': delay}
                    for topic, text, delay in pushes[at:at + 20]])
            except (OSError, http.client.HTTPException):
                break
            if answer.status != 201:
                break
            for push, one in zip(pushes[at:at + 20], answer.json()):
                answered[push[1]] = one['id']
        stop.join()
        opq.wait()
        opq.start()
    wait_until(lambda: waiting(opq) == 0, 'nothing waits')
    return opq, answered


def test_kills_lose_none(serve, receivers):
    target = receivers()
    rounds = 30 if TORTURE else 5
    opq, answered = kills(serve, target, rounds, 300)
    assert len(answered) > 100

    def all_came():
        with target.changed:
            return {one.body.decode() for one in target.requests} >= \
                set(answered)
    wait_until(all_came, 'all that was answered')
    wait_until(lambda: all(
        opq.topic(f't{index}')['lag'] == 0 for index in range(20)
        if opq.get(f'/opq/topics/t{index}').status == 200), 'no lag')
    ids = collections.defaultdict(set)
    with target.changed:
        for one in target.requests:
            ids[one.body.decode()].add(one.headers['webhook-id'])
    for text, found in ids.items():
        assert len(found) == 1, (text, found)
        if text in answered and answered[text].startswith('dly_'):
            assert found == {answered[text]}
    opq.stop()
    assert not TORTURE or any(
        not one.name.endswith('_log') and not (one / '0.msg').exists()
        for one in buckets(opq)), 'none was given back'
    verified = harness.run_cli('verify', str(opq.data))
    assert verified.returncode == 0, verified.stdout


# --- cancelling, listing ----------------------------------------------------

def test_cancelling_races_with_handing_on(opq, receiver):
    rng = random.Random(2)
    pushes = [('d', str(index), f'{rng.randrange(1000, 3000)}ms')
              for index in range(300)]
    answers = push_many(opq, receiver.url(), pushes)
    went = {}
    at = [when(answer['due']) + rng.uniform(-0.03, 0.03)
          for answer in answers]

    def cancel(part):
        for index in part:
            time.sleep(max(0, at[index] - time.time()))
            answer = opq.request(
                'DELETE', f'/opq/messages/{answers[index]["id"]}')
            went[index] = answer.status
    order = sorted(range(300), key=lambda index: at[index])
    threads = [threading.Thread(target=cancel, args=(order[at::3],))
               for at in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert set(went.values()) <= {204, 409}
    kept = {str(index) for index, status in went.items() if status == 409}
    assert kept and len(kept) < 300
    receiver.wait(len(kept))
    wait_until(lambda: waiting(opq) == 0, 'nothing waits')
    opq.wait_delivered('d', len(kept))
    bodies = [one.body.decode() for one in receiver.requests]
    assert sorted(bodies) == sorted(kept)
    for index, status in went.items():
        found = opq.get(f'/opq/messages/{answers[index]["id"]}')
        # Its hour may be over by now.
        assert found.status in (200, 404)
        if found.status == 200:
            assert found.json()['state'] == \
                ('cancelled' if status == 204 else 'handed_on')
            assert found.json()['because'].startswith(
                'was cancelled' if status == 204 else 'was handed on')


def test_the_list_has_all_once(opq):
    url = 'http://127.0.0.1:9/'
    answers = push_many(opq, url, [
        (f't{index % 3}', str(index), f'{1 + index % 5}h')
        for index in range(500)])
    found = pages(opq, limit=37)
    assert sorted(one['id'] for one in found) == \
        sorted(answer['id'] for answer in answers)
    hours = [when(one['due']) // 3600 for one in found]
    assert hours == sorted(hours)
    some = pages(opq, topic='t1', limit=100)
    assert {one['topic'] for one in some} == {'t1'}
    assert len(some) == 167
    middle = answers[2]['due']
    early = pages(opq, to=middle, limit=1000)
    late = pages(opq, **{'from': middle}, limit=1000)
    assert all(when(one['due']) < when(middle) for one in early)
    assert all(when(one['due']) >= when(middle) for one in late)
    assert len(early) + len(late) == 500
    nothing = opq.get('/opq/delayed?limit=0').json()
    assert nothing == {'delayed': [], 'total': 500, 'next': None}
    for wrong in ('limit=1001', 'from=x', 'to=1.x', 'cursor=5', 'cursor=-',
                  'topic=a/b', 'other=1', 'limit=1&limit=1'):
        assert opq.get(f'/opq/delayed?{wrong}').status == 400, wrong


def test_what_is_over_is_given_back_while_its_hour_runs(serve):
    opq = serve('--shards=2', '--segment-size=64k')
    count = 1000
    assert opq.request('PUT', '/opq/topics/d', {}).status == 201
    assert opq.request('POST', '/opq/topics/d/pause').status == 200
    for number in range(3):
        answers = push_many(opq, 'http://127.0.0.1:9/', [
            ('d', f'{index}'.ljust(1000, '.'), '1s')
            for index in range(count)])
        wait_until(lambda end=(number + 1) * count:
                   opq.topic('d')['end'] == end, 'all handed on')
    wait_until(lambda: sum(map(disk_of, buckets(opq))) < 700 << 10,
               'room')
    for method in ('GET', 'DELETE'):
        path = f'/opq/messages/{answers[0]["id"]}'
        assert opq.request(method, path).status == 404, method
    later = push_many(opq, 'http://127.0.0.1:9/', [
        ('d', f'{index}', '1m') for index in range(5)])
    for end in (opq.stop, opq.kill):
        found = pages(opq, limit=2)
        assert [one['id'] for one in found] == [one['id'] for one in later]
        end()
        opq.start()
        assert waiting(opq) == 5
    assert opq.request(
        'DELETE', f'/opq/messages/{later[0]["id"]}').status == 204
    assert waiting(opq) == 4
    assert opq.topic('d')['end'] == 3 * count
    assert opq.stop() == 0
    done = harness.run_cli('verify', '--data', str(opq.data))
    assert done.returncode == 0, done.stdout + done.stderr


def test_unknown_ids_are_404(opq):
    known = opq.push_json('d', 'http://127.0.0.1:9/', 'x', delay='1h')['id']
    for wrong in ('x', 'dly_0123456789abcdef-0', known + '9', known[:-1],
                  'msg_' + known[4:], 'd' * 300):
        for method in ('GET', 'DELETE'):
            answer = opq.request(method, f'/opq/messages/{wrong}')
            assert answer.status == 404, (method, wrong, answer)
    assert opq.request('PUT', f'/opq/messages/{known}').status == 405
    assert opq.request('DELETE', f'/opq/messages/{known}', b'x').status == 400
    assert waiting(opq) == 1


def test_own_topics_are_left_alone(opq):
    opq.push_json('d', 'http://127.0.0.1:9/', 'x', delay='1h')
    due = pages(opq)[0]['due']
    own = f'.opq.delayed.{int(when(due)) // 3600}'
    for method, rest in (('DELETE', ''), ('PUT', '?paused=yes'),
                         ('POST', '/purge'), ('POST', '/pause')):
        answer = opq.request(method, f'/opq/topics/{own}{rest}')
        assert answer.status in (403, 404), answer
    assert opq.push(own, 'http://127.0.0.1:9/', 'x').status == 400
    assert opq.get('/opq/topics').json()['topics'] == []
    assert waiting(opq) == 1


def test_the_subcommand_lists_and_cancels(opq):
    ids = [opq.push_json('d', 'http://127.0.0.1:9/', 'x', delay=f'{n}h')['id']
           for n in (1, 2, 3)]
    listed = opq.run('delayed')
    assert listed.returncode == 0
    lines = listed.stdout.splitlines()
    assert lines[0].split() == ['DUE', 'ID', 'TOPIC', 'TARGET']
    assert [line.split()[1] for line in lines[1:]] == ids
    assert opq.run('delayed', 'cancel', ids[0], ids[1]).returncode == 0
    left = opq.run('delayed', 'list', '--json', '--topic', 'd')
    assert [json.loads(line)['id'] for line in left.stdout.splitlines()] == \
        ids[2:]
    failed = opq.run('delayed', 'cancel', 'nothing')
    assert failed.returncode != 0
    assert opq.run('delayed', 'burn').returncode == 64


# --- duplicates and conditions ----------------------------------------------

@pytest.mark.parametrize('shards', [1, 3])
def test_a_duplicate_of_a_delayed_push_has_its_id(serve, receiver, shards):
    opq = serve(f'--shards={shards}')

    def push(**members):
        return opq.request('POST', '/opq/push', {
            'topic': 'd', 'url': receiver.url(), 'message': 'x', **members})
    first = push(delay='2s', dedup_id='a')
    assert first.status == 201
    for again in (push(delay='2s', dedup_id='a'), push(dedup_id='a')):
        assert again.status == 202
        assert again.headers['opq-id'] == first.headers['opq-id']
        assert again.headers['opq-duplicate'] == 'true'
        assert 'opq-seq' not in again.headers
        assert again.json() == {'id': first.headers['opq-id'], 'topic': 'd',
                                'duplicate': True}
    # And one that is not delayed before one that is.
    plain = push(dedup_id='b')
    again = push(delay='1h', dedup_id='b')
    assert again.status == 202
    assert again.headers['opq-id'] == plain.headers['opq-id']
    assert again.headers['opq-seq'] == plain.headers['opq-seq']
    assert waiting(opq) == 1
    assert [one.headers['webhook-id'] for one in receiver.wait(2)] == \
        [plain.headers['opq-id'], first.headers['opq-id']]
    # Handed on, it is known as before.
    after = push(dedup_id='a')
    assert after.status == 202
    assert after.headers['opq-id'] == first.headers['opq-id']
    time.sleep(0.5)  # until it is noted as handed on
    opq.kill()
    opq.start()
    wait_until(lambda: push(dedup_id='a').status == 202, 'it is known')
    assert push(dedup_id='a').headers['opq-id'] == first.headers['opq-id']
    opq.wait_delivered('d', 2)
    assert opq.topic('d')['end'] == 2


def test_a_delayed_push_may_expect_a_number(opq, receiver):
    wrong = opq.request('POST', '/opq/push', {
        'topic': 'd', 'url': receiver.url(), 'message': 'x', 'delay': '1h',
        'expect_seq': 3})
    assert wrong.status == 412
    assert waiting(opq) == 0
    right = opq.request('POST', '/opq/push', {
        'topic': 'd', 'url': receiver.url(), 'message': 'x', 'delay': '1h',
        'expect_seq': 0})
    assert right.status == 201
    # Its topic comes into being when it is handed on.
    assert opq.get('/opq/topics/d').status == 404


# --- large bodies, full disks -----------------------------------------------

def test_a_large_body_comes_whole(serve, receiver):
    opq = serve('--body-size-max=16m', '--body-buffer=64k', '--shards=2')
    body = random.Random(3).randbytes(3 << 20)
    pushed = [opq.request(
        'POST', f'/opq/push?topic=big&delay={delay}&url={receiver.url()}',
        body, {'Content-Type': 'application/x-test'})
        for delay in ('1s', '2s', '3d')]
    assert [answer.status for answer in pushed] == [201] * 3
    opq.kill()
    opq.start()
    came = receiver.wait(2)
    for one, answer in zip(came, pushed):
        assert one.body == body
        assert one.headers['webhook-id'] == answer.headers['opq-id']
    opq.wait_delivered('big', 2)
    opq.stop()
    verified = harness.run_cli('verify', str(opq.data))
    assert verified.returncode == 0, verified.stdout
    # Deleting what they waited in does not take them away.
    opq.start()
    assert opq.request('POST', '/opq/replay', {'topic': 'big', 'cmd': 0}) \
        .status == 201
    assert receiver.wait(4)[3].body == body


def test_a_full_disk_makes_them_wait(serve, receiver):
    opq = serve('--shards=2', '--retry-first=20ms',
                command=['env', '--ignore-signal=XFSZ'])
    _, hard = resource.prlimit(opq.pid, resource.RLIMIT_FSIZE)
    answers = push_many(opq, receiver.url(),
                        [('d', str(index), '1500ms') for index in range(50)])
    resource.prlimit(opq.pid, resource.RLIMIT_FSIZE, (0, hard))
    time.sleep(max(0, when(answers[-1]['due']) - time.time()) + 0.5)
    assert len(receiver.requests) == 0
    assert waiting(opq) == 50
    late = opq.get(f'/opq/messages/{answers[1]["id"]}').json()
    assert late['state'] == 'delayed' and 'until' not in late
    assert late['because'].startswith('is due, and is ')
    failed = opq.request('DELETE', f'/opq/messages/{answers[0]["id"]}')
    assert failed.status in (409, 500, 503, 507)
    resource.prlimit(opq.pid, resource.RLIMIT_FSIZE,
                     (resource.RLIM_INFINITY, hard))
    came = receiver.wait(50)
    assert {one.body.decode() for one in came} == \
        {str(index) for index in range(50)}
    ids = {answer['id'] for answer in answers}
    assert {one.headers['webhook-id'] for one in came} <= ids
    wait_until(lambda: waiting(opq) == 0, 'nothing waits')


# --- many -------------------------------------------------------------------

def rss_mib(opq):
    with open(f'/proc/{opq.pid}/status', encoding='ascii') as file:
        for line in file:
            if line.startswith('VmRSS'):
                return int(line.split()[1]) / 1024
    raise AssertionError('no VmRSS')


def size_mib(folder):
    total = 0
    for path, _, names in os.walk(folder):
        total += sum(os.stat(os.path.join(path, name)).st_blocks * 512
                     for name in names)
    return total / 1048576


def push_for_bench(opq, count, delay_of, topics=200):
    """Push so many, by batches on four connections; what is refused for a
    while is pushed again."""
    failures = []

    def push_some(indices):
        while indices:
            answer = opq.request('POST', '/opq/batch', [
                {'topic': f't{index % topics}', 'url': 'http://127.0.0.1:9/',
                 'message': f'message {index}', 'delay': delay_of(index)}
                for index in indices])
            assert answer.status in (201, 207), answer
            results = answer.json()
            assert all(one.get('status', 503) == 503 for one in results)
            indices = [index for index, one in zip(indices, results)
                       if 'status' in one]
            if indices:
                time.sleep(0.05)

    def work(part):
        try:
            for at in part:
                push_some(list(range(at, min(at + 1000, count))))
        except Exception as error:  # pylint: disable=broad-except
            failures.append(error)
    starts = list(range(0, count, 1000))
    threads = [threading.Thread(target=work, args=(starts[at::4],))
               for at in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not failures, failures


@pytest.mark.skipif(not TORTURE, reason='long: OPQ_TORTURE=1')
@harness.measures_memory
def test_a_million_of_them(serve):
    """What a million cost: all in the coming hours, then all in one hour."""
    count = 1000000
    for name, delay_of in (
            ('over a year', lambda index: f'{2 + index % 8000}h'),
            ('in one hour', lambda index: f'{7200 + index % 60}s')):
        opq = serve('--shards=2', name=name.replace(' ', '-'))
        before = rss_mib(opq)
        start = time.monotonic()
        push_for_bench(opq, count, delay_of)
        print(f'{name}: {count} pushed in {time.monotonic() - start:.0f} s, '
              f'memory {before:.0f} -> {rss_mib(opq):.0f} MiB')
        opq.stop()
        print(f'  disk {size_mib(opq.data / "topics"):.0f} MiB')
        start = time.monotonic()
        opq.start()
        print(f'  restart {time.monotonic() - start:.2f} s, '
              f'memory {rss_mib(opq):.0f} MiB')
        assert waiting(opq) == count
        opq.kill()
        start = time.monotonic()
        opq.start()
        print(f'  after a kill {time.monotonic() - start:.2f} s')
        assert waiting(opq) == count
        opq.stop()


@pytest.mark.skipif(not TORTURE, reason='long: OPQ_TORTURE=1')
@harness.measures_memory
def test_a_million_handed_on(serve):
    """A million due within two minutes: how late they are, and the memory."""
    count = 1000000
    opq = serve('--shards=2')
    lead = 240000
    begin = time.monotonic()

    def delay_of(index):
        spent = int((time.monotonic() - begin) * 1000)
        return f'{max(0, lead - spent) + index % 120000}ms'
    push_for_bench(opq, count, delay_of)
    spent = time.monotonic() - begin
    print(f'pushed in {spent:.0f} s, memory {rss_mib(opq):.0f} MiB')
    assert spent * 1000 < lead
    most = 0
    end = time.monotonic() + 900
    while waiting(opq) > 0 and time.monotonic() < end:
        most = max(most, rss_mib(opq))
        time.sleep(1)
    figures = info(opq)['since_start']
    print(f'handed on {figures["delayed_handed_on"]}, late p50 '
          f'{figures["delayed_late_p50_ms"]} p99 '
          f'{figures["delayed_late_p99_ms"]} max '
          f'{figures["delayed_late_max_ms"]} ms, memory at most '
          f'{most:.0f} MiB')
    assert figures['delayed_handed_on'] == count

"""Replays beside live delivery: a part of the log once more.

SPDX-License-Identifier: MIT
"""

import datetime
import json
import re
import subprocess
import threading
import time
import urllib.parse

import pytest
from harness import BINARY, PATIENCE_S, Answer, Terminal, wait_until


def begin(opq, status=201, **parameters):
    answer = opq.request(
        'POST', '/opq/replays?' + urllib.parse.urlencode(parameters))
    assert answer.status == status, answer
    return answer.json()


def replay(opq, one):
    answer = opq.get(f'/opq/replays/{one["id"]}')
    assert answer.status == 200, answer
    return answer.json()


def wait_done(opq, one):
    wait_until(lambda: replay(opq, one)['state'] == 'done', 'it is done')
    return replay(opq, one)


def fill(opq, receiver, count, topic='t'):
    for number in range(count):
        opq.push_json(topic, receiver.url(), str(number))
    opq.wait_delivered(topic, count)
    receiver.clear()


def replayed(receiver, one):
    return [request.sequence for request in receiver.requests
            if request.headers.get('opq-replay') == one['id']]


def test_range_is_delivered_once_more(opq, receiver):
    fill(opq, receiver, 20)
    one = begin(opq, topic='t', **{'from': 5}, to=9)
    assert (one['from'], one['end']) == (5, 10)
    shown = wait_done(opq, one)
    assert replayed(receiver, one) == [5, 6, 7, 8, 9]
    assert shown['delivered'] == 5
    assert shown['left'] == 0
    assert opq.topic('t')['delivered'] == 20
    first = receiver.requests[0]
    assert first.headers['webhook-id'].endswith('-5')


def test_live_delivery_goes_on_meanwhile(opq, receivers, receiver):
    fill(opq, receiver, 10)
    other = receivers(lambda request: Answer(200, delay_s=0.05))
    one = begin(opq, topic='t', url=other.url('/again'))
    for number in range(10, 20):
        opq.push_json('t', receiver.url(), str(number))
    opq.wait_delivered('t', 20)
    assert receiver.sequences('t') == list(range(10, 20))
    wait_done(opq, one)
    assert replayed(other, one) == list(range(10))
    assert {request.path for request in other.requests} == {'/again'}


def test_times_and_rates(opq, receiver):
    fill(opq, receiver, 3)
    time.sleep(0.05)
    middle = time.time()
    for number in range(3, 12):
        opq.push_json('t', receiver.url(), str(number))
    opq.wait_delivered('t', 12)
    receiver.clear()
    stamp = time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(middle))
    one = begin(opq, topic='t', rate='4/1s', order='none', **{
        'from': f'{stamp}.{int(middle % 1 * 1000):03}Z'})
    wait_done(opq, one)
    assert sorted(replayed(receiver, one)) == list(range(3, 12))
    at = [request.at for request in receiver.requests]
    assert at[-1] - at[0] >= 1.0  # 4 at once, 5 more at 4 a second


def test_pace_of_the_pushes_is_kept(opq, receiver):
    for number in range(3):
        opq.push_json('t', receiver.url(), str(number))
        time.sleep(0.3)
    opq.wait_delivered('t', 3)
    receiver.clear()
    one = begin(opq, topic='t', pace='original')
    assert one['pace'] == 'original'
    wait_done(opq, one)
    at = [request.at for request in receiver.requests]
    assert replayed(receiver, one) == [0, 1, 2]
    for earlier, later in zip(at, at[1:]):
        assert 0.25 <= later - earlier < 5


def test_dry_run_does_nothing(opq, receiver):
    fill(opq, receiver, 7)
    told = begin(opq, 200, topic='t', dry_run=1, **{'from': 2})
    size = told.pop('bytes')
    assert told == {'topic': 't', 'from': 2, 'end': 7, 'messages': 5,
                    'first': 2, 'last': 6, 'counted_to': 7, 'complete': True,
                    'dry_run': True}
    assert 5 * 50 < size <= opq.topic('t')['bytes']
    assert opq.get('/opq/replays').json() == {'replays': []}
    assert receiver.requests == []


def test_what_fails_in_it_is_given_up_and_touches_nothing(opq, receiver):
    fill(opq, receiver, 6)
    receiver.script = lambda request: (
        503 if request.sequence == 2 and 'opq-replay' in request.headers
        else 200)
    one = begin(opq, topic='t', retries=1)
    shown = wait_done(opq, one)
    assert replayed(receiver, one) == [0, 1, 2, 2, 3, 4, 5]
    assert shown['given_up'] == 1
    assert opq.get('/opq/dlq').json()['letters'] == []


def test_pause_resume_cancel(opq, receiver):
    fill(opq, receiver, 30)
    gate = threading.Event()
    receiver.script = lambda request: Answer(gate=gate)
    one = begin(opq, topic='t')
    receiver.wait(1)
    answer = opq.request('POST', f'/opq/replays/{one["id"]}/pause')
    assert answer.json()['state'] == 'paused'
    gate.set()
    wait_until(lambda: replay(opq, one)['position'] == 1)
    assert len(receiver.requests) == 1
    assert opq.request(
        'POST', f'/opq/replays/{one["id"]}/resume').status == 200
    receiver.wait(3)
    listed = opq.get('/opq/replays').json()['replays']
    assert [each['id'] for each in listed] == [one['id']]
    assert opq.request(
        'DELETE', f'/opq/replays/{one["id"]}').status == 204
    assert opq.get(f'/opq/replays/{one["id"]}').status == 404
    assert opq.get('/opq/replays').json() == {'replays': []}


@pytest.mark.parametrize('end', ['stop', 'kill'])
def test_it_goes_on_after_a_restart(serve, receiver, end):
    opq = serve('--retry-first=20ms', '--retry-max=50ms', '--shards=3')
    fill(opq, receiver, 40)
    receiver.script = lambda request: Answer(200, delay_s=0.02)
    one = begin(opq, topic='t')
    receiver.wait(10)
    if end == 'stop':
        opq.stop()
    else:
        opq.kill()
    opq.start()
    wait_done(opq, one)
    numbers = replayed(receiver, one)
    assert sorted(set(numbers)) == list(range(40))
    assert len(numbers) <= (40 if end == 'stop' else 41)


def test_as_a_subscription_gets_it(opq, receiver):
    answer = opq.request('PUT', '/opq/topics/news/subscriptions/odd', {
        'url': receiver.url('/odd'), 'filter': 'label = "odd"'})
    assert answer.status == 201, answer
    for number in range(8):
        answer = opq.request('POST', '/opq/push', {
            'topic': 'news', 'message': str(number),
            'label': 'odd' if number % 2 else 'even'})
        assert answer.status == 201, answer
    receiver.wait(4)
    one = begin(opq, topic='news', subscription='odd', **{'from': 2})
    wait_done(opq, one)
    assert replayed(receiver, one) == [3, 5, 7]
    names = opq.get('/opq/topics/news/subscriptions').json()
    assert [each['name'] for each in names['subscriptions']] == ['odd']


@pytest.mark.parametrize(('parameters', 'status'), [
    ({}, 400),
    ({'topic': 't', 'pace': '0x'}, 400),
    ({'topic': 't', 'pace': '1001x'}, 400),
    ({'topic': 't', 'pace': 'x'}, 400),
    ({'topic': 't', 'only': 'delivered'}, 400),
    ({'topic': 't', 'nonsense': '1'}, 400),
    ({'topic': 't', 'rate': 'fast'}, 400),
    ({'topic': 't', 'kind': 'push'}, 400),
    ({'topic': 't', 'retries': 'forever'}, 400),
    ({'topic': 't', 'from': '1', 'from_time': '1'}, 400),
    ({'topic': 't', 'url': 'ftp://example.org/'}, 400),
    ({'topic': 't.dlq'}, 400),
    ({'topic': '.opq.x'}, 400),
    ({'topic': 't', 'from': '99'}, 416),
    ({'topic': 't', 'from': '3', 'to': '1'}, 416),
    ({'topic': 'none'}, 404),
    ({'topic': 't', 'subscription': 'none'}, 404),
])
def test_refusals(opq, receiver, parameters, status):
    fill(opq, receiver, 5)
    answer = opq.request(
        'POST', '/opq/replays?' + urllib.parse.urlencode(parameters))
    assert answer.status == status, answer
    assert answer.headers['content-type'] == 'application/problem+json'
    assert opq.get('/opq/replays').json() == {'replays': []}


def test_parameters_come_in_a_body_too(opq, receiver):
    fill(opq, receiver, 9)
    answer = opq.request('POST', '/opq/replays?topic=t', {
        'from': 2, 'to': '5', 'rate': '100/1s', 'concurrency': 2,
        'order': 'none', 'headers': {'X-Again': 'yes'}})
    assert answer.status == 201, answer
    one = answer.json()
    wait_done(opq, one)
    assert sorted(replayed(receiver, one)) == [2, 3, 4, 5]
    assert {request.headers['x-again'] for request in receiver.requests} == {
        'yes'}


def test_unix_times(opq, receiver):
    fill(opq, receiver, 3)
    time.sleep(0.05)
    middle = time.time()
    for number in range(3, 6):
        opq.push_json('t', receiver.url(), str(number))
    opq.wait_delivered('t', 6)
    told = begin(opq, 200, topic='t', dry_run=1, from_time=f'{middle:.3f}')
    assert (told['from'], told['end']) == (3, 6)
    told = begin(opq, 200, topic='t', dry_run=1, to_time=f'{middle:.3f}')
    assert (told['from'], told['end']) == (0, 3)


def test_it_is_signed_as_its_topic_is(serve, receiver, tmp_path):
    secrets = tmp_path / 'secrets'
    secrets.write_text('shop whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n')
    secrets.chmod(0o600)
    opq = serve(f'--secrets={secrets}')
    answer = opq.request('PUT', '/opq/topics/t', {'secret': 'shop'})
    assert answer.status in (200, 201), answer
    fill(opq, receiver, 2)
    one = begin(opq, topic='t')
    wait_done(opq, one)
    assert replayed(receiver, one) == [0, 1]
    assert all(request.headers['webhook-signature'].startswith('v1,')
               for request in receiver.requests)


def test_subscription_is_not_sent_what_is_not_its_own(opq, receiver):
    answer = opq.request('PUT', '/opq/topics/t/subscriptions/s', {
        'url': receiver.url('/s')})
    assert answer.status == 201, answer
    for url in (receiver.url('/own'), None):
        members = {'topic': 't', 'message': 'm'}
        if url:
            members['url'] = url
        assert opq.request('POST', '/opq/push', members).status == 201
    receiver.wait(2)
    receiver.clear()
    one = begin(opq, topic='t', subscription='s')
    wait_done(opq, one)
    assert [(request.path, request.sequence)
            for request in receiver.requests] == [('/s', 1)]
    receiver.clear()
    one = begin(opq, topic='t')  # those of the topic alone
    wait_done(opq, one)
    assert [(request.path, request.sequence)
            for request in receiver.requests] == [('/own', 0)]


def test_only_subscriptions_that_deliver(opq, receiver):
    fill(opq, receiver, 1)
    for name, settings in (('pull', {'kind': 'pull'}),
                           ('mirror', {'kind': 'mirror',
                                       'url': receiver.url('/m')})):
        answer = opq.request('PUT', f'/opq/topics/t/subscriptions/{name}',
                             settings)
        assert answer.status == 201, answer
        begin(opq, 409, topic='t', subscription=name)


def test_replay_does_not_count_as_a_subscription(opq, receiver):
    fill(opq, receiver, 2)
    receiver.script = lambda request: Answer(503)
    begin(opq, topic='t')
    answer = opq.request('POST', '/opq/push', {'topic': 't', 'message': 'x'})
    assert answer.status == 400, answer
    assert opq.topic('t')['subscriptions'] == []


def test_a_url_that_is_not_allowed_is_refused(serve):
    opq = serve('--targets=public')
    opq.push_json('t', 'http://8.8.8.8:9/', 'x')
    told = begin(opq, 400, topic='t', url='http://127.0.0.1:9/x')
    assert told['detail'] == 'url points to an address that is not allowed'
    assert opq.get('/opq/replays').json() == {'replays': []}


# --- the subcommand ----------------------------------------------------------


def test_command_starts_and_watches(opq, receiver):
    fill(opq, receiver, 12)
    done = opq.run('replays', 'start', 't', 'from=2', 'to=9', 'rate=20/1s',
                   '--watch', '--json')
    assert (done.returncode, done.stderr) == (0, ''), done
    shown = json.loads(done.stdout)
    assert (shown['state'], shown['delivered']) == ('done', 8)
    assert replayed(receiver, shown) == list(range(2, 10))
    done = opq.run('replays')
    assert done.returncode == 0
    head, row = done.stdout.splitlines()
    assert head.split() == ['ID', 'TOPIC', 'STATE', 'FROM', 'END', 'LEFT',
                            'SENT', 'GIVEN', 'UP', 'URL']
    assert row.split() == [shown['id'], 't', 'done', '2', '10', '0', '8', '0',
                           '-']
    done = opq.run('replays', 'show', shown['id'])
    assert re.search(r'(?m)^state +done$', done.stdout)
    assert opq.run('replays', 'cancel', shown['id']).returncode == 0
    assert opq.run('replays', 'list', '--json').stdout == ''
    done = opq.run('replays', 'show', shown['id'], '--watch')
    assert done.returncode == 1
    assert 'not known' in done.stderr


def test_command_pauses_and_resumes(opq, receiver):
    fill(opq, receiver, 3)
    gate = threading.Event()
    receiver.script = lambda request: Answer(gate=gate)
    done = opq.run('replays', 'start', 't')
    assert done.returncode == 0
    identity = re.search(r'(?m)^id +(\S+)$', done.stdout).group(1)
    assert opq.run('replays', 'pause', identity).returncode == 0
    assert replay(opq, {'id': identity})['state'] == 'paused'
    done = opq.run('replays', 'resume', identity, '--json')
    assert json.loads(done.stdout)['state'] == 'running'
    gate.set()
    assert opq.run('replays', 'show', identity, '--watch').returncode == 0
    assert replay(opq, {'id': identity})['state'] == 'done'


def test_command_tells_what_is_wrong(opq):
    for arguments in (['start'], ['show'], ['cancel', 'x', 'y'], ['nonsense'],
                      ['pause', 'x', '--watch'], ['list', 'x']):
        done = opq.run('replays', *arguments)
        assert done.returncode == 64, (arguments, done)
        assert 'start TOPIC' in done.stderr
    done = opq.run('replays', 'start', 'none')
    assert done.returncode == 1
    assert 'topic: not known' in done.stderr
    done = opq.run('replays', 'start', 'none', 'pace')
    assert 'pace must be' in done.stderr


@pytest.mark.parametrize('name', ['no', 'a%20b', 'a' * 300, '.opq.x'])
def test_an_id_that_none_can_have_is_not_known(shared_opq, name):
    for method, more in (('GET', ''), ('DELETE', ''), ('POST', '/pause')):
        answer = shared_opq.request(method, f'/opq/replays/{name}{more}')
        assert answer.status == 404, answer
        assert answer.json()['detail'] == 'replay: not known'


def test_command_shows_how_far_it_is_on_a_terminal(opq, receiver):
    fill(opq, receiver, 6)
    terminal = Terminal()
    subprocess.run(
        [BINARY, 'replays', '--url', opq.url, 'start', 't', '--watch'],
        stdout=subprocess.DEVNULL, stderr=terminal.theirs, check=True,
        timeout=PATIENCE_S)
    last = terminal.read().rstrip().split('\r')[-1]
    assert last.startswith(f'[{"#" * 30}] 6 of 6, 6 sent, 0 given up, done')


# --- only what failed --------------------------------------------------------


def fill_with_failures(opq, receiver, count, failing, topic='t'):
    answer = opq.request('PUT', f'/opq/topics/{topic}', {'retries': 0})
    assert answer.status in (200, 201), answer
    receiver.script = lambda request: (
        500 if request.sequence in failing else 200)
    fill(opq, receiver, count, topic)
    wait_until(lambda: len(opq.get(
        f'/opq/dlq?topic={topic}&limit=1000').json()['letters']) ==
        len(failing), 'all are dead letters')
    receiver.script = lambda request: None


@pytest.mark.parametrize('shards', [1, 3])
def test_only_what_failed(serve, receiver, shards):
    opq = serve('--retry-first=10ms', f'--shards={shards}')
    for topic in ('t', 'u', 'v'):
        fill_with_failures(opq, receiver, 30, {2, 3, 11, 28}, topic)
        receiver.clear()
        one = begin(opq, topic=topic, only='failed')
        assert one['only'] == 'failed'
        shown = wait_done(opq, one)
        assert replayed(receiver, one) == [2, 3, 11, 28]
        assert shown['delivered'] == 4
        receiver.clear()
        one = begin(opq, topic=topic, only='failed', **{'from': 3}, to=11,
                    order='none')
        wait_done(opq, one)
        assert sorted(replayed(receiver, one)) == [3, 11]


def test_only_what_failed_is_live_letters_only(opq, receiver):
    fill_with_failures(opq, receiver, 10, {1, 4, 7})
    letters = opq.get('/opq/dlq?topic=t').json()['letters']
    dropped = [one['seq'] for one in letters if one['dead']['seq'] == 4][0]
    assert opq.request(
        'DELETE', f'/opq/dlq?topic=t&seq={dropped}').status == 200
    one = begin(opq, topic='t', only='failed')
    wait_done(opq, one)
    assert replayed(receiver, one) == [1, 7]


def test_only_what_failed_of_nothing(opq, receiver):
    fill(opq, receiver, 5)
    one = begin(opq, topic='t', only='failed')
    assert wait_done(opq, one)['delivered'] == 0
    assert receiver.requests == []


def test_only_what_failed_of_a_subscription(opq, receiver):
    for name in ('a', 'b'):
        answer = opq.request('PUT', f'/opq/topics/t/subscriptions/{name}', {
            'url': receiver.url(f'/{name}'), 'retries': 0})
        assert answer.status == 201, answer
    receiver.script = lambda request: (
        500 if (request.path, request.sequence) in {('/a', 1), ('/b', 3)}
        else 200)
    for number in range(5):
        answer = opq.request('POST', '/opq/push',
                             {'topic': 't', 'message': str(number)})
        assert answer.status == 201, answer
    wait_until(lambda: len(opq.get('/opq/dlq').json()['letters']) == 2)
    receiver.wait(10)
    receiver.script = lambda request: None
    receiver.clear()
    one = begin(opq, topic='t', only='failed', subscription='b')
    assert one['subscription'] == 'b'
    wait_done(opq, one)
    assert [(request.path, request.sequence)
            for request in receiver.requests] == [('/b', 3)]


# --- counts and the end ------------------------------------------------------


@pytest.mark.parametrize('end', ['stop', 'kill'])
def test_counts_outlive_a_restart(serve, receiver, end):
    opq = serve('--retry-first=10ms', '--retry-max=20ms')
    fill(opq, receiver, 10)
    receiver.script = lambda request: 500 if request.sequence == 3 else 200
    one = begin(opq, topic='t', retries=1)
    wait_until(lambda: 'finished_at' in replay(opq, one), 'its end is noted')
    shown = replay(opq, one)
    if end == 'stop':
        opq.stop()
    else:
        # The note of its end is stored by then.
        wait_until(lambda: opq.push('other', receiver.url()).status == 201)
        opq.kill()
    opq.start()
    again = replay(opq, one)
    assert (again['delivered'], again['given_up']) == (9, 1)
    for member in ('state', 'created_at', 'finished_at', 'from', 'end'):
        assert again[member] == shown[member]


def test_counts_of_one_in_the_middle_outlive_a_stop(serve, receiver):
    opq = serve('--drain=2s')
    fill(opq, receiver, 10)
    one = begin(opq, topic='t', rate='4/10s')
    receiver.wait(4)
    wait_until(lambda: replay(opq, one)['delivered'] == 4)
    opq.stop()
    opq.start()
    wait_until(lambda: replay(opq, one)['delivered'] >= 8)
    assert replayed(receiver, one)[:8] == list(range(8))


def test_eta_is_by_the_rate(opq, receiver):
    fill(opq, receiver, 12)
    one = begin(opq, topic='t', rate='2/60s')
    receiver.wait(2)
    shown = wait_until(lambda: replay(opq, one)['position'] == 2 and
                       replay(opq, one))
    eta = datetime.datetime.fromisoformat(shown['eta'].replace('Z', '+00:00'))
    left = (eta - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    assert 290 < left < 301  # 10 messages, 2 a minute
    opq.request('POST', f'/opq/replays/{one["id"]}/pause')
    assert 'eta' not in replay(opq, one)


def test_dry_run_counts_what_would_be_sent(serve, receiver):
    opq = serve('--retry-first=10ms', '--shards=3')
    fill_with_failures(opq, receiver, 200, {5, 50, 150})
    told = begin(opq, 200, topic='t', dry_run=1, only='failed')
    assert (told['messages'], told['first'], told['last']) == (3, 5, 150)
    told = begin(opq, 200, topic='t', dry_run=1, only='failed', to=49)
    assert (told['messages'], told['first'], told['last']) == (1, 5, 5)
    told = begin(opq, 200, topic='t', dry_run=1, filter='label = "no"')
    assert (told['messages'], told['bytes'], told['first']) == (0, 0, None)
    assert told['complete'] and told['counted_to'] == 200
    answer = opq.request('PUT', '/opq/topics/t/subscriptions/s',
                         {'url': receiver.url('/s')})
    assert answer.status == 201, answer
    for _ in range(4):
        answer = opq.request('POST', '/opq/push',
                             {'topic': 't', 'message': 'to s'})
        assert answer.status == 201, answer
    told = begin(opq, 200, topic='t', dry_run=1, subscription='s')
    assert (told['messages'], told['first'], told['last']) == (4, 200, 203)
    told = begin(opq, 200, topic='t', dry_run=1)
    assert told['messages'] == 200
    told = begin(opq, 200, topic='t', dry_run=1, url=receiver.url('/all'))
    assert told['messages'] == 204


def test_dry_run_counts_bodies_in_files(serve, receiver):
    opq = serve('--body-size-max=4m')
    size = 3 << 20
    answer = opq.request(
        'POST', f'/opq/push?topic=t&url={receiver.url()}', b'x' * size,
        {'Content-Type': 'application/octet-stream'})
    assert answer.status == 201, answer
    told = begin(opq, 200, topic='t', dry_run=1)
    assert size < told['bytes'] < size + 1000


def fill_slowly(opq, receiver, count, gap_s):
    for number in range(count):
        opq.push_json('t', receiver.url(), str(number))
        time.sleep(gap_s)
    opq.wait_delivered('t', count)
    receiver.clear()


def test_pace_may_be_some_times_as_fast(opq, receiver):
    fill_slowly(opq, receiver, 3, 1.0)
    one = begin(opq, topic='t', pace='4x')
    assert one['pace'] == '4x'
    wait_done(opq, one)
    at = [request.at for request in receiver.requests]
    for earlier, later in zip(at, at[1:]):
        assert 0.2 <= later - earlier < 0.9


def test_pause_makes_no_burst_of_a_pace(opq, receiver):
    fill_slowly(opq, receiver, 5, 0.4)
    one = begin(opq, topic='t', pace='original')
    receiver.wait(1)
    path = f'/opq/replays/{one["id"]}'
    assert opq.request('POST', path + '/pause').status == 200
    time.sleep(1.2)
    assert opq.request('POST', path + '/resume').status == 200
    wait_done(opq, one)
    assert replayed(receiver, one) == [0, 1, 2, 3, 4]
    at = [request.at for request in receiver.requests]
    assert at[1] - at[0] > 1.0
    for earlier, later in zip(at[1:], at[2:]):
        assert later - earlier >= 0.3


# --- the log changes under it ------------------------------------------------


def test_retention_takes_messages_away_under_it(serve, receiver):
    opq = serve('--segment-count=10', '--checkpoint-interval=100ms')
    fill(opq, receiver, 60)
    one = begin(opq, topic='t', rate='1/1s')
    receiver.wait(1)
    answer = opq.request('PUT', '/opq/topics/t', {'retain_count': 15})
    assert answer.status == 200, answer
    wait_until(lambda: opq.topic('t')['oldest'] >= 40, 'retention')
    answer = opq.request('POST', f'/opq/replays/{one["id"]}/pause')
    assert answer.status == 200, answer
    oldest = opq.topic('t')['oldest']
    one2 = begin(opq, topic='t')  # and one of what is left
    shown = wait_done(opq, one2)
    assert shown['delivered'] == 60 - oldest
    opq.request('POST', f'/opq/replays/{one["id"]}/resume')
    wait_until(lambda: replay(opq, one)['position'] > oldest)
    numbers = replayed(receiver, one)
    assert len(numbers) < oldest
    assert numbers == sorted(numbers)


def test_purge_ends_it(opq, receiver):
    fill(opq, receiver, 20)
    one = begin(opq, topic='t', rate='1/10s')
    receiver.wait(1)
    assert opq.request('POST', '/opq/topics/t/purge').status == 200
    shown = wait_done(opq, one)
    assert shown['left'] == 0
    wait_until(lambda: 'finished_at' in replay(opq, one))


def test_deleting_its_topic_takes_it_along(opq, receiver):
    fill(opq, receiver, 20)
    one = begin(opq, topic='t', rate='1/10s')
    receiver.wait(1)
    assert opq.request('DELETE', '/opq/topics/t').status == 204
    assert opq.get(f'/opq/replays/{one["id"]}').status == 404
    assert opq.get('/opq/replays').json() == {'replays': []}


def test_all_shards_have_theirs(serve, receiver):
    opq = serve('--shards=3', '--drain=2s')
    begun = {}
    for number in range(6):
        topic = f't{number}'
        fill(opq, receiver, 4, topic)
        begun[topic] = begin(opq, topic=topic)
    listed = opq.get('/opq/replays').json()['replays']
    assert {one['id']: one['topic'] for one in listed} == {
        one['id']: topic for topic, one in begun.items()}
    for one in begun.values():
        wait_done(opq, one)
        assert opq.request('DELETE', f'/opq/replays/{one["id"]}').status == 204
    assert opq.get('/opq/replays').json() == {'replays': []}

"""Messages whose delivery ends without success: dead letters and callbacks.

SPDX-License-Identifier: MIT
"""

import base64
import json
import resource
import signal
import threading
import time

import pytest
from harness import Answer, run_cli, wait_until


def create(opq, topic, **settings):
    answer = opq.request('PUT', f'/opq/topics/{topic}', settings)
    assert answer.status in (200, 201), answer


def messages(opq, topic):
    """All messages of a topic; none when it is not there."""
    answer = opq.get(f'/opq/topics/{topic}/messages?limit=1000')
    return answer.json()['messages'] if answer.status == 200 else []


def letters(opq, topic, count):
    """Wait for so many dead letters of a topic."""
    found = wait_until(
        lambda: len(messages(opq, f'{topic}.dlq')) >= count and
        messages(opq, f'{topic}.dlq'), f'{count} dead letters of {topic}')
    assert len(found) == count, found
    return found


def refuse(receiver, *numbers, status=500):
    """Fail messages by their text, "number"."""
    texts = {str(number).encode() for number in numbers}
    receiver.script = lambda request: status if request.body in texts else 200


def push_all(opq, topic, url, count, **members):
    for number in range(count):
        opq.push_json(topic, url, str(number), **members)


# --- why ----------------------------------------------------------------------

@pytest.mark.parametrize('retries', [0, 2])
@pytest.mark.parametrize('of_message', [True, False])
def test_retries_are_used_up(opq, receiver, retries, of_message):
    refuse(receiver, 1)
    create(opq, 't', retries=5 if of_message else retries)
    more = {'retries': retries} if of_message else {}
    push_all(opq, 't', receiver.url('/a'), 3, **more)
    opq.wait_delivered('t', 3)
    assert receiver.sequences('t') == [0] + [1] * (retries + 1) + [2]
    letter, = letters(opq, 't', 1)
    assert letter['body'] == '1'
    assert letter['url'] == receiver.url('/a')
    assert letter['topic'] == 't'
    assert letter['id'] == receiver.of_topic('t')[1].headers['webhook-id']
    dead = letter['dead']
    assert dead['id'] == letter['id']
    assert dead['delivered'] is False
    assert dead['reason'] == 'retries_exhausted'
    assert dead['topic'] == 't'
    assert dead['seq'] == 1
    assert dead['attempts'] == retries + 1
    assert dead['class'] == 'http_5xx'
    assert dead['status'] == 500
    assert dead['endpoint'] == receiver.url('')
    assert dead['head'].startswith('HTTP/1.1 500 ')
    assert dead['at'] >= letter['pushed_at']


def test_statuses_that_are_permanent(opq, receiver):
    create(opq, 't', permanent_status='400,410-412')
    receiver.then(Answer(411), Answer(404), Answer(404), Answer(400))
    push_all(opq, 't', receiver.url(), 3)
    opq.wait_delivered('t', 3)
    assert receiver.sequences('t') == [0, 1, 1, 1, 2]
    first, second = letters(opq, 't', 2)
    assert first['dead']['reason'] == 'permanent_status'
    assert (first['dead']['status'], first['dead']['attempts']) == (411, 1)
    assert (second['dead']['status'], second['dead']['attempts']) == (400, 3)


def test_target_that_aborts(opq, receiver):
    abort = {'webhook-delivery': 'abort-message'}
    receiver.then(Answer(500), Answer(503, abort))
    push_all(opq, 't', receiver.url(), 2)
    opq.wait_delivered('t', 2)
    letter, = letters(opq, 't', 1)
    assert letter['dead']['reason'] == 'abort_message'
    assert letter['dead']['attempts'] == 2
    assert 'webhook-delivery: abort-message' in letter['dead']['head']
    assert receiver.sequences('t') == [0, 0, 1]


@pytest.mark.parametrize('kept', [True, False])
def test_time_that_passes_while_paused(opq, receiver, kept):
    create(opq, 't', paused=True, expired='dead' if kept else 'drop')
    opq.push_json('t', receiver.url(), 'old', ttl='1ms')
    opq.push_json('t', receiver.url(), 'new', ttl='1h')
    assert opq.request('POST', '/opq/topics/t/resume').status == 200
    opq.wait_delivered('t', 2)
    assert [request.body for request in receiver.requests] == [b'new']
    if kept:
        letter, = letters(opq, 't', 1)
        assert letter['dead']['reason'] == 'expired'
        assert letter['dead']['attempts'] == 0
        assert 'class' not in letter['dead']
    else:
        assert messages(opq, 't.dlq') == []


def test_time_that_passes_while_the_target_is_down(opq, receivers, receiver):
    gone = receivers()
    gone.close()
    told = receiver.url('/told')
    opq.push_json('t', gone.url(), 'x', ttl='300ms', failure_callback=told)
    opq.push_json('t', receiver.url(), 'y')
    opq.wait_delivered('t', 2)
    letter, = letters(opq, 't', 1)
    dead = letter['dead']
    assert dead['reason'] == 'expired'
    assert dead['attempts'] > 1
    assert dead['class'] == 'connection_refused'
    assert dead['status'] == 0
    word = wait_until(lambda: receiver.of_topic('opq.callbacks'))[0]
    assert (word.path, word.headers['content-type']) == ('/told',
                                                         'application/json')
    assert opq.topic('opq.callbacks')['settings']['order'] == 'none'
    done = opq.get('/opq/topics/t/messages/0').json()
    assert (done['state'], 'dead letter' in done['because']) == ('delivered',
                                                                 True)


def test_time_that_passes_in_line_for_a_slot(serve, receiver):
    opq = serve('--in-flight=1', '--drain=2s', '--shards=1')
    gate = threading.Event()
    receiver.then(Answer(200, gate=gate))
    opq.push_json('first', receiver.url(), '1')
    receiver.wait(1)
    opq.push_json('second', receiver.url(), '2', ttl='400ms')
    wait_until(lambda: opq.topic('second')['state'] == 'waiting')
    letter, = letters(opq, 'second', 1)  # it does not wait for the slot
    assert letter['dead']['reason'] == 'expired'
    gate.set()
    opq.wait_delivered('first', 1)
    assert len(receiver.requests) == 1


# --- attempts -----------------------------------------------------------------

def test_failed_attempts_are_shown(opq, receiver):
    receiver.then(Answer(500), Answer(503, delay_s=0.05),
                  Answer(raw=b'nonsense\r\n\r\n', close=True))
    receiver.script = lambda request: 404
    opq.push_json('t', receiver.url(), 'x', retries=19)
    opq.push_json('t', receiver.url(), 'y', retries=0)

    def three():
        shown = opq.get('/opq/topics/t/messages/0').json()
        log = shown.get('attempts_log', [])
        return len(log) >= 4 and log
    log = wait_until(three)
    assert [attempt['status'] for attempt in log[:4]] == [500, 503, 0, 404]
    assert [attempt['class'] for attempt in log[:4]] == [
        'http_5xx', 'http_5xx', 'protocol_error', 'http_4xx']
    assert log[1]['duration_ms'] >= 50
    assert log[0]['at'] <= log[1]['at'] <= log[2]['at']
    behind = opq.get('/opq/topics/t/messages/1').json()
    assert 'attempts_log' not in behind
    first, second = letters(opq, 't', 2)
    assert first['dead']['attempts'] == 20
    log = first['dead']['attempts_log']
    assert [attempt['status'] for attempt in log] == [404] * 16
    assert log[-1]['at'] <= first['dead']['at']
    assert len(second['dead']['attempts_log']) == 1


def test_log_of_attempts_begins_anew_at_a_start(serve, receiver):
    opq = serve('--retry-first=20ms', '--retry-max=50ms', '--drain=2s')
    gate = threading.Event()
    receiver.then(Answer(500), Answer(501), Answer(502, gate=gate))
    receiver.script = lambda request: 503
    opq.push_json('t', receiver.url(), 'x', retries=4)
    receiver.wait(3)
    opq.signal(signal.SIGTERM)
    gate.set()
    assert opq.wait() == 0
    opq.start()
    letter, = letters(opq, 't', 1)
    assert letter['dead']['attempts'] == 5
    assert [attempt['status'] for attempt in letter['dead']['attempts_log']
            ] == [503, 503]


# --- callbacks ----------------------------------------------------------------

def test_callbacks_say_how_it_ended(opq, receiver):
    receiver.script = lambda request: {
        '/good': Answer(202, {'X-One': '1'}, b'\xffyes'),
        '/bad': Answer(500, {'X-One': '2'}, b'no'),
    }.get(request.path, 200)
    create(opq, 't', retries=1)
    told = {'callback': receiver.url('/told'),
            'failure_callback': receiver.url('/failed')}
    good = opq.push_json('t', receiver.url('/good'), 'x', **told)
    bad = opq.push_json('t', receiver.url('/bad'), 'y', **told)
    wait_until(lambda: len(receiver.of_topic('opq.callbacks')) == 2)
    words = {request.path: request
             for request in receiver.of_topic('opq.callbacks')}
    assert sorted(words) == ['/failed', '/told']
    said = words['/told']
    assert said.method == 'POST'
    said = json.loads(said.body)
    assert said['id'] == good['id']
    assert said['delivered'] is True
    assert (said['topic'], said['seq'], said['attempts']) == ('t', 0, 1)
    assert said['status'] == 202
    assert base64.b64decode(said['body_base64']) == b'\xffyes'
    assert ['X-One', '1'] in said['headers']
    assert 'reason' not in said
    said = json.loads(words['/failed'].body)
    assert said['id'] == bad['id']
    assert said['delivered'] is False
    assert said['reason'] == 'retries_exhausted'
    assert (said['status'], said['attempts']) == (500, 2)
    assert base64.b64decode(said['body_base64']) == b'no'
    assert ['X-One', '2'] in said['headers']


def test_callbacks_are_kept_for_a_target_that_is_down(serve, receivers):
    opq = serve('--retry-first=20ms', '--retry-max=50ms')
    target = receivers()
    told = receivers(lambda request: 503)
    for number in range(5):
        opq.push_json('t', target.url(), 'x', callback=told.url(f'/{number}'))
    opq.wait_delivered('t', 5)
    told.wait(1)
    opq.kill()
    told.script = lambda request: 200
    told.clear()
    opq.start()
    wait_until(lambda: {request.path for request in told.requests} ==
               {f'/{number}' for number in range(5)}, 'all callbacks')


# --- what holds ---------------------------------------------------------------

def test_lane_waits_until_the_letter_is_stored(serve, receiver):
    opq = serve('--retry-first=20ms', '--retry-max=50ms', '--drain=2s',
                command=['env', '--ignore-signal=XFSZ'])
    refuse(receiver, 0)
    create(opq, 't', retries=0)
    gate = threading.Event()
    receiver.then(Answer(500, gate=gate))
    push_all(opq, 't', receiver.url(), 2)
    receiver.wait(1)
    _, hard = resource.prlimit(opq.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(opq.pid, resource.RLIMIT_FSIZE, (0, hard))
    gate.set()
    wait_until(lambda: opq.get('/readyz').status == 503)
    wait_until(lambda: opq.topic('t')['state'] == 'settling')
    assert 1 not in receiver.sequences('t')
    assert opq.topic('t')['delivered'] == 0
    resource.prlimit(opq.pid, resource.RLIMIT_FSIZE, (hard, hard))
    opq.wait_delivered('t', 2)
    letter, = letters(opq, 't', 1)
    assert letter['body'] == '0'
    assert receiver.sequences('t')[-1] == 1


def test_delivered_message_is_not_sent_again_for_its_callback(serve, receiver):
    """The callback cannot be stored: that is tried again, nothing else."""
    opq = serve('--retry-first=20ms', '--retry-max=50ms', '--drain=2s',
                command=['env', '--ignore-signal=XFSZ'])
    gate = threading.Event()
    receiver.then(Answer(200, gate=gate))
    opq.push_json('t', receiver.url(), 'x', callback=receiver.url('/told'))
    receiver.wait(1)
    _, hard = resource.prlimit(opq.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(opq.pid, resource.RLIMIT_FSIZE, (0, hard))
    gate.set()
    wait_until(lambda: opq.get('/readyz').status == 503)
    opq.get('/opq/topics/t/messages?from=1&wait=300ms')  # it tries again
    assert opq.topic('t')['state'] == 'settling'
    resource.prlimit(opq.pid, resource.RLIMIT_FSIZE, (hard, hard))
    wait_until(lambda: receiver.of_topic('opq.callbacks'), 'the callback')
    assert receiver.sequences('t') == [0]
    opq.wait_delivered('t', 1)


def test_server_stops_while_a_letter_cannot_be_stored(serve, receiver):
    opq = serve('--retry-first=20ms', '--retry-max=50ms', '--drain=2s',
                command=['env', '--ignore-signal=XFSZ'])
    create(opq, 't', retries=0)
    receiver.script = lambda request: 500
    opq.push_json('t', receiver.url(), 'x')
    letters(opq, 't', 1)
    _, hard = resource.prlimit(opq.pid, resource.RLIMIT_FSIZE)
    gate = threading.Event()
    receiver.then(Answer(500, gate=gate))
    opq.push_json('t', receiver.url(), 'y')
    receiver.wait(2)
    resource.prlimit(opq.pid, resource.RLIMIT_FSIZE, (0, hard))
    gate.set()
    wait_until(lambda: opq.get('/readyz').status == 503)
    opq.signal(signal.SIGTERM)
    assert opq.wait() in (0, 74)
    opq.start()
    assert [letter['body'] for letter in letters(opq, 't', 2)] == ['x', 'y']


@pytest.mark.parametrize('kill', [False, True])
def test_attempts_are_known_after_a_restart(serve, receiver, kill):
    opq = serve('--retry-first=20ms', '--retry-max=50ms', '--drain=2s')
    create(opq, 't', retries=5)
    seen = []
    hold = threading.Event()

    def script(request):
        seen.append(request.attempt)
        if len(seen) == 4:
            hold.wait(10)
        return 500
    receiver.script = script
    opq.push_json('t', receiver.url(), 'x')
    wait_until(lambda: len(seen) == 4)
    if kill:
        opq.kill()
        hold.set()
    else:
        hold.set()
        opq.stop()
    opq.start()
    letter, = letters(opq, 't', 1)
    assert letter['dead']['attempts'] == 6
    # What was in flight when it was killed is sent again, and counted once.
    assert seen == ([1, 2, 3, 4, 4, 5, 6] if kill else [1, 2, 3, 4, 5, 6])


def test_letters_outlive_a_kill(serve, receiver):
    opq = serve('--retry-first=20ms', '--retry-max=50ms', '--shards=2')
    create(opq, 't', retries=0, order='none')
    receiver.script = lambda request: 500
    push_all(opq, 't', receiver.url(), 50)
    wait_until(lambda: len(messages(opq, 't.dlq')) > 10)
    opq.kill()
    opq.start()
    opq.wait_delivered('t', 50)
    found = {letter['body'] for letter in messages(opq, 't.dlq')}
    assert found == {str(number) for number in range(50)}


def test_producers_cannot_push_dead_letters(opq, receiver):
    answer = opq.request('POST', '/opq/push', {
        'topic': 'x.dlq', 'url': receiver.url(), 'message': 'x'})
    assert answer.status == 400
    assert 'reserved' in answer.json()['detail']
    assert opq.get('/opq/topics').json()['topics'] == []


def test_letters_of_a_long_name(opq, receiver):
    name = 'n' * 128
    create(opq, name, retries=0)
    receiver.script = lambda request: 500
    opq.push_json(name, receiver.url(), 'x')
    opq.wait_delivered(name, 1)
    dead, = [topic['name'] for topic in opq.get('/opq/topics').json()
             ['topics'] if topic['name'].endswith('.dlq')]
    assert len(dead) == 128
    assert messages(opq, dead)[0]['topic'] == name


# --- large bodies -------------------------------------------------------------

def push_large(opq, topic, url, body, **members):
    more = ''.join(f'&{name}={value}' for name, value in members.items())
    answer = opq.request('POST', f'/opq/push?topic={topic}&url={url}{more}',
                         body, {'Content-Type': 'application/octet-stream'})
    assert answer.status == 201, answer


def test_letter_keeps_a_large_body_when_its_topic_is_deleted(serve, receiver):
    opq = serve('--retry-first=20ms', '--body-buffer=16k', '--shards=2')
    create(opq, 't', retries=0)
    receiver.script = lambda request: 500
    push_large(opq, 't', receiver.url(), b'a' * 100_000)
    letter, = letters(opq, 't', 1)
    assert letter['body_size'] == 100_000
    opq.wait_delivered('t', 1)
    assert opq.request('DELETE', '/opq/topics/t').status == 204
    opq.stop()
    assert run_cli('verify', str(opq.data)).returncode == 0


def test_message_in_line_at_an_open_breaker_expires_in_time(serve, receivers):
    """Nothing would be sent there for a second and more."""
    opq = serve('--retry-first=5s', '--retry-max=10s', '--drain=2s')
    create(opq, 'free', order='none', retries=100)
    for number in range(40):
        opq.push_json('free', 'http://127.0.0.1:1/', str(number))
    wait_until(lambda: 'breaker' in opq.get(
        '/opq/topics/free/messages/39').json()['because'], 'it is open')
    begun = time.monotonic()
    opq.push_json('free', 'http://127.0.0.1:1/', 'late', ttl='300ms')
    letters = wait_until(lambda: opq.get(
        '/opq/dlq?topic=free').json()['letters'], 'its letter', patience_s=4)
    assert 0.25 <= time.monotonic() - begun < 4
    assert [one['dead']['reason'] for one in letters] == ['expired']
    assert letters[0]['dead']['seq'] == 40

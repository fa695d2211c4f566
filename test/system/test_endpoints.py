"""What a target that is out, comes back, or has too much, is sent.

Endpoints are per shard, so where it is counted there is one shard.

SPDX-License-Identifier: MIT
"""

import json
import threading
import time
import urllib.parse

import pytest
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
    assert len(never_failed) > 4


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


# --- through the API --------------------------------------------------------

def endpoint_of(receiver):
    return receiver.url().rpartition('/')[0]


def look(opq, receiver):
    """What the API says of a receiver's endpoint; None: nothing."""
    name = urllib.parse.quote(endpoint_of(receiver), safe='')
    answer = opq.get(f'/opq/endpoints?endpoint={name}')
    if answer.status == 404:
        return None
    assert answer.status == 200, answer
    return answer.json()['endpoints'][0]


def wait_state(opq, receiver, state):
    def there():
        one = look(opq, receiver)
        return one if one is not None and one['state'] == state else None
    return wait_until(there, f'it is {state}')


def say(opq, word, receiver, **parameters):
    query = urllib.parse.urlencode({'endpoint': receiver.url(), **parameters})
    return opq.request('POST', f'/opq/endpoints/{word}?{query}')


def because(opq, topic, sequence=0):
    return opq.get(f'/opq/topics/{topic}/messages/{sequence}').json()


def test_states_of_a_target_that_is_out_and_comes_back(serve, receivers):
    target = Target()
    target.delay_s = 0
    receiver = receivers(target)
    opq = serve('--shards=3', '--retry-first=20ms', '--retry-max=300ms',
                '--drain=2s')
    assert look(opq, receiver) is None
    push_all(opq, receiver, topics=12, each=3)
    found = wait_state(opq, receiver, 'open')
    assert found['endpoint'] == endpoint_of(receiver)
    assert found['until'].endswith('Z') and found['window'] >= 1
    assert found['failures'] >= 5 and found['backlog'] == 36
    assert found['topics'] == 12 and len(found['shards']) > 1
    assert found['last_error']['class'] == 'connection_reset'
    assert 'status' not in found['last_error']
    assert found['latency']['p99_ms'] >= found['latency']['p50_ms'] > 0
    assert found['rate'] is None
    page = opq.get('/opq/endpoints?state=open').json()
    assert [one['endpoint'] for one in page['endpoints']] in (
        [], [endpoint_of(receiver)])
    assert opq.get('/opq/endpoints?state=held').json()['endpoints'] == []

    def told():
        for topic in range(12):
            one = because(opq, f't{topic}')
            if one['because'].startswith('waits, since the breaker of '):
                return one
        return None
    one = wait_until(told, 'a message waits for the breaker')
    assert f'{endpoint_of(receiver)} is open until 2' in one['because']
    assert one['until'] > one['pushed_at']

    target.answer = lambda at_once: Answer(200)
    assert_delivered_in_order(opq, receiver, 12, 3)
    found = look(opq, receiver)
    assert found['state'] == 'closed' and found['failures'] == 0
    assert found['backlog'] == found['topics'] == 0
    assert found['last_error']['class'] == 'connection_reset'  # of the past


def test_hold_is_shown_and_reset_ends_it(serve, receivers):
    receiver = receivers(lambda request: Answer(
        503 if request.attempt == 1 and request.topic == 'a' else 200,
        {'Retry-After': '3600'}))
    opq = serve('--shards=1', '--drain=2s')
    assert opq.push('a', receiver.url()).status == 201
    receiver.wait(1)
    found = wait_state(opq, receiver, 'held')
    assert found['last_error'] == {'class': 'http_5xx', 'status': 503,
                                   'at': found['last_error']['at']}
    assert found['backing_off'] == 1
    assert opq.push('b', receiver.url()).status == 201
    assert 'asked for a pause until' in because(opq, 'a')['because']
    answer = say(opq, 'reset', receiver)
    assert answer.status == 200, answer
    assert answer.json() == {'endpoint': endpoint_of(receiver), 'woken': 1,
                             'backlog': 2, 'shards': [0]}
    opq.wait_delivered('a', 1)
    opq.wait_delivered('b', 1)
    assert look(opq, receiver)['state'] == 'closed'


def test_reset_lets_what_backs_off_go_at_once(serve, receivers):
    target = Target()
    target.delay_s = 0
    receiver = receivers(target)
    opq = serve('--shards=3', '--retry-first=600s', '--retry-max=600s',
                '--drain=2s')
    push_all(opq, receiver, topics=9, each=4)
    wait_until(lambda: sum(opq.topic(f't{number}')['attempts']
                           for number in range(9)) >= 9, 'all failed')
    assert look(opq, receiver)['backing_off'] == 9
    target.answer = lambda at_once: Answer(200)
    answer = say(opq, 'reset', receiver).json()
    assert answer['woken'] == 9 and answer['backlog'] == 36
    assert_delivered_in_order(opq, receiver, 9, 4)


def test_release_keeps_to_its_rate_and_ends_by_itself(serve, receivers):
    target = Target()
    target.delay_s = 0
    receiver = receivers(target)
    opq = serve('--shards=3', '--retry-first=600s', '--retry-max=600s',
                '--drain=2s')
    push_all(opq, receiver, topics=12, each=10)
    wait_until(lambda: sum(opq.topic(f't{number}')['attempts']
                           for number in range(12)) >= 12, 'all failed')
    target.answer = lambda at_once: Answer(200)
    target.begin()
    first = len(receiver.requests)
    begun = time.monotonic()
    answer = say(opq, 'release', receiver, rate='60/1s')
    assert answer.status == 200, answer
    told = answer.json()
    assert told['backlog'] == 120 and told['woken'] == 12
    assert told['rate'] == '60/1s'
    assert 2 <= told['eta_s'] <= 4
    found = look(opq, receiver)
    assert found['rate'] == '60/1s' and found['eta_s'] <= told['eta_s']
    assert any('which is released at 60/1s' in because(opq, f't{number}', 9)
               ['because'] or 'behind' in because(opq, f't{number}', 9)
               for number in range(12))
    assert_delivered_in_order(opq, receiver, 12, 10)
    took = time.monotonic() - begun
    assert took >= 120 / 60 * 0.9
    # A token may go 20 ms early, on each shard.
    arrivals = [one.at - begun for one in receiver.requests[first:]]
    assert len(arrivals) == 120
    for index, at in enumerate(arrivals):
        assert index <= 60 * at + 3 * 3 + 3
    wait_until(lambda: look(opq, receiver)['rate'] is None, 'it ended')
    begun = time.monotonic()
    push_all(opq, receiver, topics=12, each=10)
    for topic in range(12):
        opq.wait_delivered(f't{topic}', 20)


def test_release_can_be_ended(serve, receivers):
    target = Target()
    target.delay_s = 0
    receiver = receivers(target)
    opq = serve('--shards=2', '--retry-first=600s', '--retry-max=600s',
                '--drain=2s')
    push_all(opq, receiver, topics=4, each=50)
    wait_until(lambda: sum(opq.topic(f't{number}')['attempts']
                           for number in range(4)) >= 4, 'all failed')
    target.answer = lambda at_once: Answer(200)
    assert say(opq, 'release', receiver, rate='1/1h').json()['eta_s'] > 3600
    answer = say(opq, 'release', receiver, rate='0').json()
    assert answer['rate'] is None and 'eta_s' not in answer
    assert_delivered_in_order(opq, receiver, 4, 50)
    assert look(opq, receiver)['rate'] is None


def test_list_is_given_by_pages_in_order(serve, receivers):
    several = [receivers() for _ in range(5)]
    opq = serve('--shards=3', '--drain=2s')
    for number, receiver in enumerate(several):
        for topic in range(3):
            assert opq.push(f't{number}-{topic}',
                            receiver.url()).status == 201
    for number in range(5):
        for topic in range(3):
            opq.wait_delivered(f't{number}-{topic}', 1)
    names = sorted(endpoint_of(one) for one in several)
    found, after, pages = [], '', 0
    while after is not None:
        page = opq.get('/opq/endpoints?limit=2&after='
                       + urllib.parse.quote(after, safe='')).json()
        found += [one['endpoint'] for one in page['endpoints']]
        after = page['next']
        pages += 1
    assert found == names and pages == 3
    page = opq.get('/opq/endpoints?state=closed').json()
    assert [one['endpoint'] for one in page['endpoints']] == names
    assert page['next'] is None


@pytest.mark.parametrize('method, path, status', [
    ('GET', '?state=shut', 400),
    ('GET', '?limit=1001', 400),
    ('GET', '?endpoint=gopher://x', 400),
    ('GET', '?endpoint=http://127.0.0.1:1', 404),
    ('POST', '/reset', 400),
    ('POST', '/reset?endpoint=http://127.0.0.1:1', 404),
    ('POST', '/reset?endpoint=http://127.0.0.1:1&rate=1', 400),
    ('POST', '/release?endpoint=http://127.0.0.1:1', 400),
    ('POST', '/release?endpoint=http://127.0.0.1:1&rate=much', 400),
    ('POST', '/release?endpoint=http://127.0.0.1:1&rate=1/2d', 400),
    ('POST', '/release?endpoint=http://127.0.0.1:1&rate=5/1s', 404),
    ('GET', '/reset', 405),
])
def test_calls_that_are_wrong_are_told_so(opq, method, path, status):
    answer = opq.request(method, '/opq/endpoints' + path)
    assert answer.status == status, answer
    assert answer.json()['detail']


def test_subcommand_lists_shows_resets_and_releases(serve, receivers):
    target = Target()
    target.delay_s = 0
    receiver = receivers(target)
    opq = serve('--shards=2', '--retry-first=600s', '--retry-max=600s',
                '--drain=2s')
    push_all(opq, receiver, topics=3, each=2)
    wait_until(lambda: (look(opq, receiver) or {}).get('backing_off') == 3,
               'all failed')
    name = endpoint_of(receiver)
    listed = opq.run('endpoints').stdout.splitlines()
    assert len(listed) == 2 and listed[0].startswith('ENDPOINT ')
    assert listed[1].split()[:2] == [name, 'closed']
    assert listed[1].endswith(' connection_reset')
    assert opq.run('endpoints', '--state', 'open').stdout.count('\n') == 1
    done = opq.run('endpoints', 'list', '--json')
    assert json.loads(done.stdout)['backlog'] == 6
    done = opq.run('endpoints', 'show', receiver.url(), '--json')
    assert json.loads(done.stdout)['endpoint'] == name
    assert '\nbacklog' in opq.run('endpoints', 'show', name).stdout
    done = opq.run('endpoints', 'release', name, '--rate', '1/1h', '--json')
    assert json.loads(done.stdout)['woken'] == 3
    assert ' 1/1h ' in opq.run('endpoints').stdout
    done = opq.run('endpoints', 'release', name, '--rate', '0')
    assert done.returncode == 0 and '\nbacklog' in done.stdout
    target.answer = lambda at_once: Answer(200)
    assert opq.run('endpoints', 'reset', name).returncode == 0
    assert_delivered_in_order(opq, receiver, 3, 2)
    done = opq.run('endpoints', 'reset', 'http://127.0.0.1:1')
    assert done.returncode == 1
    assert done.stderr == 'opq endpoints: 404 endpoint: not known\n'
    for wrong in (['reset'], ['release', name], ['list', '--rate', '1'],
                  ['show', name, '--state', 'open'], ['close', name]):
        assert opq.run('endpoints', *wrong).returncode == 64, wrong


def test_endpoint_concurrency_bounds_a_topic_at_each_endpoint(serve,
                                                              receivers):
    slow, other = Target(), Target()
    gate = threading.Event()
    slow.answer = lambda at_once: Answer(200, gate=gate)
    other.answer = lambda at_once: Answer(200)
    slow.delay_s = other.delay_s = 0
    one, two = receivers(slow), receivers(other)
    opq = serve('--shards=1', '--drain=2s')
    answer = opq.request('PUT', '/opq/topics/a', {
        'order': 'none', 'endpoint_concurrency': 3})
    assert answer.status == 201
    for number in range(40):
        assert opq.push('a', one.url(), number).status == 201
        assert opq.push('a', two.url(), number).status == 201
    two.wait(40)  # those behind are not held up
    one.wait(3)
    found = look(opq, one)
    assert found['in_flight'] == 3 and found['waiting'] == 0
    told = because(opq, 'a', 78)
    assert told['state'] == 'waiting'
    assert told['because'] == ('waits, since as many messages as may be are '
                               f'on their way to {endpoint_of(one)}')
    assert len(one.requests) == 3
    gate.set()
    one.wait(40)
    opq.wait_delivered('a', 80)
    assert opq.topic('a')['lag'] == 0


def test_endpoint_concurrency_of_a_subscription(serve, receivers):
    gate = threading.Event()
    receiver = receivers(lambda request: Answer(200, gate=gate))
    opq = serve('--shards=1', '--drain=2s')
    for name, bound in (('one', 1), ('two', 2)):
        answer = opq.request(
            'PUT', f'/opq/topics/t/subscriptions/{name}',
            {'url': receiver.url(f'/{name}'), 'order': 'none',
             'endpoint_concurrency': bound})
        assert answer.status == 201, answer
    for number in range(10):
        assert opq.push('t', '', number).status == 201
    receiver.wait(3)
    found = look(opq, receiver)
    assert found['in_flight'] == 3 and found['backlog'] == 20
    paths = sorted(request.path for request in receiver.requests)
    assert paths == ['/one', '/two', '/two']
    gate.set()
    receiver.wait(20)


def test_a_place_that_is_not_used_goes_to_the_next(opq, receiver):
    gate = threading.Event()
    receiver.script = lambda request: Answer(200, gate=gate)
    answer = opq.request('PUT', '/opq/topics/t', {
        'order': 'none', 'endpoint_concurrency': 1})
    assert answer.status == 201
    opq.push_json('t', receiver.url())
    receiver.wait(1)
    for _ in range(3):
        opq.push_json('t', receiver.url(), ttl='200ms')
    opq.push_json('t', receiver.url())
    over = time.monotonic() + 0.25
    wait_until(lambda: time.monotonic() > over)  # while they wait for a place
    gate.set()
    receiver.wait(2)
    opq.wait_delivered('t', 5)
    assert receiver.sequences('t') == [0, 4]
    assert opq.topic('t')['dead'] == 3

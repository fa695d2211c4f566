"""Subscriptions: each has every message of a topic, a cursor and a delivery of
its own.

SPDX-License-Identifier: MIT
"""

import collections
import json
import re
import threading
import time

import pytest
from harness import NO_URL, ROOT, Answer, run_cli, wait_until


def subscribe(opq, topic, name, status=201, **settings):
    answer = opq.request(
        'PUT', f'/opq/topics/{topic}/subscriptions/{name}', settings)
    assert answer.status == status, answer
    return answer.json()


def show(opq, topic, name):
    answer = opq.get(f'/opq/topics/{topic}/subscriptions/{name}')
    assert answer.status == 200, answer
    return answer.json()


def push(opq, topic, message, **members):
    answer = opq.request('POST', '/opq/push', {
        'topic': topic, 'message': message, **members})
    assert answer.status == 201, answer
    return answer.json()['seq']


def wait_done(opq, topic, name, sequence):
    wait_until(lambda: show(opq, topic, name)['delivered'] >= sequence,
               f'{topic}/{name} delivered up to {sequence}')


def post(opq, topic, name, action, status=200):
    answer = opq.request(
        'POST', f'/opq/topics/{topic}/subscriptions/{name}/{action}')
    assert answer.status == status, answer
    return answer


def paths(receiver, path):
    """The sequences that came to a path, in order."""
    with receiver.changed:
        return [one.sequence for one in receiver.requests if one.path == path]


def told(answer, status=400):
    assert answer.status == status, answer
    return answer.json()['detail']


# --- pushes ------------------------------------------------------------------


def test_push_without_a_url_needs_a_subscription(opq, receiver):
    refusal = NO_URL
    bodies = [
        ('topic=t', 'application/x-www-form-urlencoded'),
        ('{"topic":"t","message":1}', 'application/json'),
    ]
    for body, kind in bodies:
        answer = opq.request('POST', '/opq/push', body, {'Content-Type': kind})
        assert answer.status == 400
        assert refusal in answer.body.decode()
    raw = opq.request('POST', '/opq/push?topic=t', 'raw',
                      {'Content-Type': 'text/plain'})
    assert (raw.status, raw.body) == (400, b'BadRequest: ' + refusal.encode()
                                      + b'\n')
    assert opq.get('/opq/topics/t').status == 404  # nor was it made
    subscribe(opq, 't', 's', url=receiver.url('/s'))
    for body, kind in bodies:
        answer = opq.request('POST', '/opq/push', body, {'Content-Type': kind})
        assert answer.status == 201
    assert opq.request('POST', '/opq/push?topic=t', 'raw',
                       {'Content-Type': 'text/plain'}).status == 201
    receiver.wait(3)
    assert paths(receiver, '/s') == [0, 1, 2]
    assert receiver.requests[0].form() == [('topic', 't')]
    # The last subscription takes it away.
    assert opq.request('DELETE', '/opq/topics/t/subscriptions/s').status == 204
    assert opq.push('t', '').status == 400
    assert opq.topic('t')['end'] == 3


def test_batch_is_looked_at_item_by_item(opq, receiver):
    subscribe(opq, 'with', 's', url=receiver.url('/s'))
    answer = opq.request('POST', '/opq/batch', [
        {'topic': 'with', 'message': 'a'},
        {'topic': 'without', 'message': 'b'},
        {'topic': 'without', 'message': 'c', 'url': receiver.url('/c')},
        {'topic': 'without', 'message': 'd'},
    ])
    assert answer.status == 207
    results = answer.json()
    assert results[0]['seq'] == 0
    assert results[2]['seq'] == 0
    for index in (1, 3):
        assert results[index] == {'title': 'Bad Request', 'status': 400,
                                  'detail': NO_URL}


def test_message_with_a_url_is_not_the_subscriptions(opq, receiver):
    subscribe(opq, 't', 's', url=receiver.url('/s'))
    opq.push_json('t', receiver.url('/own'), 'a')
    push(opq, 't', 'b')
    receiver.wait(2)
    wait_done(opq, 't', 's', 2)
    assert paths(receiver, '/own') == [0]
    assert paths(receiver, '/s') == [1]


# --- delivery ----------------------------------------------------------------


def test_each_subscription_gets_each_message_once_and_in_order(opq, receiver):
    for name in ('a', 'b'):
        subscribe(opq, 't', name, url=receiver.url(f'/{name}'))
    for number in range(50):
        push(opq, 't', f'm{number}')
    for name in ('a', 'b'):
        wait_done(opq, 't', name, 50)
        assert paths(receiver, f'/{name}') == list(range(50))
    ids = {one.headers['webhook-id'] for one in receiver.requests}
    assert len(ids) == 50
    topic = opq.topic('t')
    assert topic['subscriptions'] == ['a', 'b']
    assert (topic['delivered'], topic['lag']) == (50, 0)


def test_failing_subscription_holds_nobody_else(opq, receiver):
    receiver.script = lambda request: 503 if request.path == '/bad' else 200
    subscribe(opq, 't', 'bad', url=receiver.url('/bad'))
    subscribe(opq, 't', 'good', url=receiver.url('/good'))
    for number in range(20):
        push(opq, 't', str(number))
    opq.push_json('t', receiver.url('/own'), 'own')
    wait_done(opq, 't', 'good', 21)
    opq.wait_delivered('t', 21)
    assert paths(receiver, '/good') == list(range(20))
    assert paths(receiver, '/own') == [20]
    assert set(paths(receiver, '/bad')) == {0}
    bad = show(opq, 't', 'bad')
    assert (bad['delivered'], bad['lag']) == (0, 21)
    assert bad['last_error']['status'] == 503
    assert bad['state'] in ('backoff', 'sending', 'ready', 'waiting')
    assert 'message 0' in bad['because']
    message = opq.get('/opq/topics/t/messages/0').json()
    assert message['state'] == 'waiting'
    assert '1 of 2' in message['because']
    by_name = {one['name']: one for one in message['subscriptions']}
    assert by_name['good']['state'] == 'delivered'
    assert by_name['bad']['state'] in ('retrying', 'in_flight')
    assert by_name['bad']['last_error']['status'] == 503


def test_settings_of_a_subscription_are_its_own(opq, receiver):
    subscribe(opq, 't', 'a', url=receiver.url('/a'),
              headers={'X-Team': 'billing'})
    subscribe(opq, 't', 'b', url=receiver.url('/b'))
    push(opq, 't', 'x', headers={'X-Team': 'push', 'X-Other': '1'})
    receiver.wait(2)
    by_path = {one.path: one for one in receiver.requests}
    assert by_path['/a'].headers['x-team'] == 'billing'
    assert by_path['/b'].headers['x-team'] == 'push'
    assert by_path['/a'].headers['x-other'] == '1'
    subscribe(opq, 't', 'a', 200, headers={})
    assert show(opq, 't', 'a')['settings']['headers'] == {}
    push(opq, 't', 'y')
    receiver.wait(4)
    assert show(opq, 't', 'b')['settings']['url'] == receiver.url('/b')


def test_dead_letters_of_one_do_not_touch_the_other(opq, receiver):
    receiver.script = lambda request: 500 if request.path == '/bad' else 200
    subscribe(opq, 't', 'bad', url=receiver.url('/bad'), retries=2)
    subscribe(opq, 't', 'good', url=receiver.url('/good'))
    for number in range(3):
        push(opq, 't', str(number))
    wait_done(opq, 't', 'bad', 3)
    wait_done(opq, 't', 'good', 3)
    assert paths(receiver, '/good') == [0, 1, 2]
    assert paths(receiver, '/bad') == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    page = opq.get('/opq/topics/t.dlq/messages').json()
    letters = [one['dead'] for one in page['messages']]
    assert [one['seq'] for one in letters] == [0, 1, 2]
    assert {one['subscription'] for one in letters} == {'bad'}
    assert {one['attempts'] for one in letters} == {3}


# --- filters -----------------------------------------------------------------


@pytest.mark.parametrize('text,passing', [
    ('header:X-Team = "billing"', [0]),
    ('key = "k1"', [1]),
    ('label = "red"', [2]),
    ('json:$.order.total = 7', [3]),
    ('json:$.order.sku ^= "A-"', [3, 4]),
    ('json:$.order.sku ^= "A-" and json:$.order.total != 7', [4]),
])
def test_filter_lets_through_what_it_says(opq, receiver, text, passing):
    subscribe(opq, 't', 'some', url=receiver.url('/some'), filter=text)
    subscribe(opq, 't', 'all', url=receiver.url('/all'))
    push(opq, 't', 'x', headers={'X-Team': 'billing'})
    push(opq, 't', 'x', key='k1')
    push(opq, 't', 'x', label='red')
    push(opq, 't', {'order': {'sku': 'A-1', 'total': 7}})
    push(opq, 't', {'order': {'sku': 'A-2', 'total': 8}})
    push(opq, 't', {'order': {'sku': 'B-1', 'total': 9}})
    wait_done(opq, 't', 'some', 6)
    wait_done(opq, 't', 'all', 6)
    assert paths(receiver, '/some') == passing
    assert paths(receiver, '/all') == list(range(6))
    assert show(opq, 't', 'some')['settings']['filter'] == text


def test_bad_settings_are_refused_with_the_place(opq):
    path = '/opq/topics/t/subscriptions/s'
    detail = told(opq.request('PUT', path, {
        'url': 'http://127.0.0.1:1/', 'filter': 'key = "a" or'}))
    assert 'at byte 9: expected' in detail
    detail = told(opq.request('PUT', path, {
        'url': 'http://127.0.0.1:1/',
        'headers': {'X-A': '${secret:not a name}'}}))
    assert 'X-A: a secret is named' in detail
    assert 'need one' in told(opq.request('PUT', path, {}))
    assert 'need one' in told(opq.request('PUT', path, {'kind': 'mirror'}))
    assert 'start must be' in told(opq.request('PUT', path, {
        'url': 'http://127.0.0.1:1/', 'start': 'soon'}))
    assert 'given twice' in told(opq.request('PUT', path + '?start=new', {
        'url': 'http://127.0.0.1:1/', 'start': 'new'}))
    assert 'retain_age is a setting of topics' in told(
        opq.request('PUT', path, {'retain_age': '1d'}))
    told(opq.request('PUT', path, {
        'url': 'http://127.0.0.1:1/', 'start': 5}), 416)
    told(opq.request('PUT', '/opq/topics/t/subscriptions/a%20b',
                     {'url': 'http://127.0.0.1:1/'}))
    assert 'kind must be pull' in told(opq.request(
        'PUT', '/opq/topics/t.dlq/subscriptions/s',
        {'url': 'http://127.0.0.1:1/'}))
    told(opq.request('PUT', '/opq/topics/.opq.x/subscriptions/s',
                     {'url': 'http://127.0.0.1:1/'}), 403)
    # None of them left a topic.
    assert opq.get('/opq/topics').json()['topics'] == []


def test_kind_cannot_change(opq, receiver):
    subscribe(opq, 't', 's', url=receiver.url())
    told(opq.request('PUT', '/opq/topics/t/subscriptions/s',
                     {'kind': 'pull'}), 409)
    assert show(opq, 't', 's')['settings']['kind'] == 'push'
    subscribe(opq, 't', 's', 200, kind='push', concurrency=3)
    assert show(opq, 't', 's')['settings']['concurrency'] == 3
    told(opq.request('PUT', '/opq/topics/t/subscriptions/s', {'url': ''}))


# --- places ------------------------------------------------------------------


def test_start_at_each_place(opq, receiver):
    subscribe(opq, 't', 'first', url=receiver.url('/first'))
    for number in range(4):
        push(opq, 't', str(number))
    wait_done(opq, 't', 'first', 4)
    time.sleep(0.01)
    middle = time.time()
    time.sleep(0.01)
    for number in range(4, 8):
        push(opq, 't', str(number))
    text = time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(middle))
    starts = {'new': 'new', 'oldest': 'oldest', 'seq': 6,
              'time': f'{text}.{int(middle * 1000) % 1000:03}Z'}
    for name, start in starts.items():
        subscribe(opq, 't', name, url=receiver.url(f'/{name}'), start=start)
    push(opq, 't', '8')
    expected = {'first': 0, 'new': 8, 'oldest': 0, 'seq': 6, 'time': 4}
    for name, begin in expected.items():
        wait_done(opq, 't', name, 9)
        assert paths(receiver, f'/{name}') == list(range(begin, 9)), name
    # It counts only when it makes the subscription.
    subscribe(opq, 't', 'seq', 200, start='oldest')
    push(opq, 't', '9')
    wait_done(opq, 't', 'seq', 10)
    assert paths(receiver, '/seq') == [6, 7, 8, 9]


def test_replay_moves_the_cursor_of_one(opq, receiver):
    for name in ('a', 'b'):
        subscribe(opq, 't', name, url=receiver.url(f'/{name}'))
    for number in range(5):
        push(opq, 't', str(number))
    for name in ('a', 'b'):
        wait_done(opq, 't', name, 5)
    assert post(opq, 't', 'a', 'replay?to=3').json()['name'] == 'a'
    wait_until(lambda: paths(receiver, '/a') == [0, 1, 2, 3, 4, 3, 4])
    post(opq, 't', 'a', 'replay?to=oldest')
    wait_until(lambda: len(paths(receiver, '/a')) == 12)
    assert paths(receiver, '/b') == [0, 1, 2, 3, 4]
    problem = post(opq, 't', 'a', 'replay?to=6', 416).json()
    assert (problem['oldest'], problem['end']) == (0, 5)
    post(opq, 't', 'a', 'replay', 400)
    post(opq, 't', 'nobody', 'replay?to=0', 404)


# --- life --------------------------------------------------------------------


def test_pause_and_resume(opq, receiver):
    for name in ('a', 'b'):
        subscribe(opq, 't', name, url=receiver.url(f'/{name}'))
    assert post(opq, 't', 'a', 'pause').json()['paused'] is True
    for number in range(3):
        push(opq, 't', str(number))
    wait_done(opq, 't', 'b', 3)
    assert paths(receiver, '/a') == []
    paused = show(opq, 't', 'a')
    assert (paused['state'], paused['lag']) == ('paused', 3)
    assert 'the subscription is paused' in paused['because']
    post(opq, 't', 'a', 'resume')
    wait_done(opq, 't', 'a', 3)
    assert paths(receiver, '/a') == [0, 1, 2]
    post(opq, 't', 'nobody', 'pause', 404)
    post(opq, 'nobody', 'a', 'pause', 404)


def test_list_is_by_name(opq, receiver):
    for name in ('c', 'a', 'b'):
        subscribe(opq, 't', name, url=receiver.url())
    listed = opq.get('/opq/topics/t/subscriptions').json()['subscriptions']
    assert [one['name'] for one in listed] == ['a', 'b', 'c']
    assert listed[0] == show(opq, 't', 'a')
    assert opq.get('/opq/topics/nobody/subscriptions').status == 404
    assert opq.get('/opq/topics/t/subscriptions/nobody').status == 404
    # A subscription is no topic.
    assert opq.get('/opq/topics').json()['total'] == 1
    assert opq.get('/opq/info').json()['now']['topics'] == 1


def test_delete_while_in_flight(opq, receiver):
    gate = threading.Event()
    receiver.script = lambda request: (
        Answer(gate=gate) if request.path == '/slow' else 200)
    subscribe(opq, 't', 'slow', url=receiver.url('/slow'))
    subscribe(opq, 't', 'other', url=receiver.url('/other'))
    push(opq, 't', 'a')
    receiver.wait(2)
    path = '/opq/topics/t/subscriptions/slow'
    assert opq.request('DELETE', path).status == 204
    assert opq.request('DELETE', path).status == 404
    gate.set()
    push(opq, 't', 'b')
    wait_done(opq, 't', 'other', 2)
    assert paths(receiver, '/slow') == [0]
    # One of the same name is another.
    subscribe(opq, 't', 'slow', url=receiver.url('/again'), start='oldest')
    wait_done(opq, 't', 'slow', 2)
    assert paths(receiver, '/again') == [0, 1]


def test_delete_the_topic_with_them(opq, receiver):
    gate = threading.Event()
    receiver.script = lambda request: Answer(gate=gate)
    for name in ('a', 'b'):
        subscribe(opq, 't', name, url=receiver.url(f'/{name}'))
    push(opq, 't', 'x')
    receiver.wait(2)
    assert opq.request('DELETE', '/opq/topics/t').status == 204
    gate.set()
    assert opq.get('/opq/topics/t/subscriptions').status == 404
    opq.push_json('t', receiver.url('/own'), 'x')
    assert opq.topic('t')['subscriptions'] == []
    opq.wait_delivered('t', 1)
    opq.stop()
    opq.start()
    assert opq.topic('t')['subscriptions'] == []


@pytest.mark.parametrize('end', ['stop', 'kill'])
@pytest.mark.parametrize('order', ['topic', 'none'])
def test_restart_keeps_cursors(opq, receiver, end, order):
    bad = {3, 7}
    mended = threading.Event()
    receiver.script = lambda request: (
        500 if request.path == '/b' and request.sequence in bad
        and not mended.is_set() else 200)
    subscribe(opq, 't', 'a', url=receiver.url('/a'))
    subscribe(opq, 't', 'b', url=receiver.url('/b'), order=order)
    for number in range(20):
        push(opq, 't', str(number))
    wait_done(opq, 't', 'a', 20)
    left = 2 if order == 'none' else 17
    wait_until(lambda: show(opq, 't', 'b')['lag'] == left)
    settings = show(opq, 't', 'b')['settings']
    if end == 'stop':
        opq.stop()
    else:
        # The commit of another change takes with it what was noted.
        subscribe(opq, 't', 'a', 200, concurrency=2)
        opq.kill()
    with receiver.changed:
        counts = collections.Counter(
            (one.path, one.sequence) for one in receiver.requests)
    mended.set()
    opq.start()
    wait_done(opq, 't', 'b', 20)
    assert show(opq, 't', 'a')['delivered'] == 20
    assert show(opq, 't', 'b')['settings'] == settings
    with receiver.changed:
        again = collections.Counter(
            (one.path, one.sequence) for one in receiver.requests) - counts
    if order == 'none':
        assert set(again) == {('/b', 3), ('/b', 7)}
    else:
        assert set(again) == {('/b', number) for number in range(3, 20)}


def test_making_one_is_durable_when_it_is_answered(opq, receiver):
    opq.push_json('t', receiver.url('/own'), 'x')
    opq.wait_delivered('t', 1)
    subscribe(opq, 't', 's', url=receiver.url('/s'), start='oldest',
              kind='mirror')
    subscribe(opq, 'fresh', 's', url=receiver.url('/f'))
    opq.kill()
    opq.start()
    wait_done(opq, 't', 's', 1)
    assert paths(receiver, '/s') == [0]
    assert show(opq, 'fresh', 's')['settings']['url'] == receiver.url('/f')


# --- mirrors -----------------------------------------------------------------


def test_mirror_gets_all_and_never_matters(opq, receiver):
    receiver.script = lambda request: (
        Answer(status=500) if request.path == '/mirror' else 200)
    subscribe(opq, 't', 'm', kind='mirror', url=receiver.url('/mirror'))
    subscribe(opq, 't', 's', url=receiver.url('/s'))
    for number in range(10):
        push(opq, 't', str(number))
    opq.push_json('t', receiver.url('/own'), 'own')
    wait_done(opq, 't', 'm', 11)
    wait_done(opq, 't', 's', 11)
    # Each once, whatever came of it, and those with a URL as well.
    assert paths(receiver, '/mirror') == list(range(11))
    assert paths(receiver, '/s') == list(range(10))
    assert opq.get('/opq/topics/t.dlq').status == 404


def test_mirror_gets_a_share(opq, receiver):
    subscribe(opq, 't', 'm', kind='mirror', url=receiver.url('/mirror'),
              share='25%')
    opq.request('POST', '/opq/batch', [
        {'topic': 't', 'url': receiver.url('/own'), 'message': str(number)}
        for number in range(400)])
    wait_done(opq, 't', 'm', 400)
    assert 60 <= len(paths(receiver, '/mirror')) <= 140


# --- retention ---------------------------------------------------------------


def test_retention_keeps_what_a_subscription_needs(serve, receiver):
    opq = serve('--retry-first=20ms', '--retry-max=100ms', '--drain=2s',
                '--segment-count=10', '--checkpoint-interval=100ms')
    opq.request('PUT', '/opq/topics/t', {'retain_count': 10})
    subscribe(opq, 't', 'holds', url=receiver.url('/h'), paused=True)
    subscribe(opq, 't', 'mirror', kind='mirror', url=receiver.url('/m'),
              paused=True)
    for number in range(60):
        push(opq, 't', str(number))
    assert opq.topic('t')['oldest'] == 0
    post(opq, 't', 'holds', 'resume')
    wait_done(opq, 't', 'holds', 60)
    push(opq, 't', 'more')

    def dropped():
        return opq.topic('t')['oldest'] > 0
    wait_until(dropped)
    mirror = show(opq, 't', 'mirror')
    assert mirror['delivered'] == mirror['oldest'] > 0


# --- 410 ---------------------------------------------------------------------


def test_410_pauses_the_subscription(opq, receiver):
    gone = threading.Event()
    gone.set()
    receiver.script = lambda request: (
        410 if request.path == '/gone' and gone.is_set() else 200)
    subscribe(opq, 't', 'gone', url=receiver.url('/gone'), retries=3)
    subscribe(opq, 't', 'good', url=receiver.url('/good'))
    push(opq, 't', 'a')
    push(opq, 't', 'b')
    wait_done(opq, 't', 'good', 2)
    wait_until(lambda: show(opq, 't', 'gone')['paused'])
    assert paths(receiver, '/gone') == [0]
    assert 'subscription_paused' in opq.log()
    paused = show(opq, 't', 'gone')
    assert paused['settings']['paused'] is True
    assert paused['last_error']['status'] == 410
    opq.kill()
    opq.start()
    assert show(opq, 't', 'gone')['paused'] is True
    assert paths(receiver, '/gone') == [0]
    gone.clear()
    post(opq, 't', 'gone', 'resume')
    wait_done(opq, 't', 'gone', 2)
    assert paths(receiver, '/gone') == [0, 0, 1]
    # A topic's own delivery goes on.
    receiver.then(410)
    opq.push_json('own', receiver.url('/own'), 'x')
    opq.wait_delivered('own', 1)
    assert opq.topic('own')['paused'] is False


# --- many --------------------------------------------------------------------


def test_two_hundred_subscriptions(opq, receiver):
    for number in range(200):
        subscribe(opq, 't', f's{number}', url=receiver.url(f'/{number}'))
    for number in range(3):
        push(opq, 't', str(number))
    receiver.wait(600)
    for number in range(200):
        wait_done(opq, 't', f's{number}', 3)
        assert paths(receiver, f'/{number}') == [0, 1, 2]
    for number in range(200, 256):
        subscribe(opq, 't', f's{number}', url=receiver.url('/more'))
    answer = opq.request('PUT', '/opq/topics/t/subscriptions/one-more',
                         {'url': receiver.url()})
    assert 'as many' in told(answer, 409)


def test_many_shards(serve, receiver):
    opq = serve('--shards=3', '--drain=2s')
    for topic in range(9):
        for name in ('a', 'b'):
            subscribe(opq, f't{topic}', name,
                      url=receiver.url(f'/{topic}{name}'))
    for number in range(5):
        for topic in range(9):
            assert push(opq, f't{topic}', str(number)) == number
            assert opq.push(f'u{topic}', '').status == 400
    for topic in range(9):
        for name in ('a', 'b'):
            wait_done(opq, f't{topic}', name, 5)
            assert paths(receiver, f'/{topic}{name}') == list(range(5))
    assert opq.get('/opq/topics').json()['total'] == 9


# --- documents ---------------------------------------------------------------


def test_documents_have_the_table(opq):
    printed = run_cli('subscription-settings-table').stdout
    rows = re.findall(r'(?m)^\| `(\w+)` \| (.*?) \| (.*?) \| (.*) \|$', printed)
    assert printed in (ROOT / 'doc/http-api.md').read_text()
    with open(ROOT / 'src/admin/openapi.json', encoding='utf-8') as file:
        schemas = json.load(file)['components']['schemas']
    described = schemas['SubscriptionSettings']['properties']
    assert list(described) == [row[0] for row in rows]
    for name, wanted, _, words in rows:
        assert described[name]['description'] == f'{words} ({wanted})'
    shown = subscribe(opq, 't', 's', url='http://127.0.0.1:1/', paused=True)
    assert list(shown['settings']) == list(described)


def test_a_filter_may_have_its_conditions_on_lines(opq, receiver):
    answer = opq.request('PUT', '/opq/topics/lines/subscriptions/s', {
        'url': receiver.url(), 'filter': 'label = "a"\nkey exists\n'})
    assert answer.status == 201, answer
    for label, key in (('a', 'k'), ('b', 'k')):
        assert opq.request('POST', '/opq/push', {
            'topic': 'lines', 'message': label, 'label': label,
            'key': key}).status == 201
    assert opq.request('POST', '/opq/push', {
        'topic': 'lines', 'message': 'no key', 'label': 'a'}).status == 201
    wait_until(lambda: opq.get('/opq/topics/lines/subscriptions/s')
               .json()['delivered'] == 3)
    assert [one.body for one in receiver.requests] == [b'a']
    opq.stop()
    opq.start()
    shown = opq.get('/opq/topics/lines/subscriptions/s').json()
    assert shown['settings']['filter'] == 'label = "a"\nkey exists\n'


def test_headers_of_webhooks_are_the_servers_own(opq, receiver):
    answer = opq.request('PUT', '/opq/topics/t/subscriptions/s', {
        'url': receiver.url(), 'headers': {'webhook-x': '1'}})
    assert answer.status == 400, answer


def test_a_url_that_is_not_allowed_is_refused(serve):
    server = serve('--targets=public')
    path = '/opq/topics/t/subscriptions/s'
    for kind in ['push', 'mirror']:
        refused = server.request('PUT', path, {
            'kind': kind, 'url': 'http://127.0.0.1:9/x'})
        assert refused.status == 400, refused
        assert refused.json()['detail'] == (
            'url points to an address that is not allowed')
    assert server.get('/opq/topics/t').status == 404  # nothing was made
    made = server.request('PUT', path, {'url': 'http://8.8.8.8:9/x'})
    assert made.status == 201, made
    changed = server.request('PUT', path, {'url': 'http://10.0.0.1/x'})
    assert changed.status == 400, changed
    assert server.request('POST', path + '/pause').status == 200


@pytest.mark.parametrize('settings', [
    {'order': 'topic'},
    {'order': 'none', 'concurrency': 4},
    {'order': 'none', 'endpoint_concurrency': 1},
    {'order': 'none', 'concurrency': 4, 'batch': '5,1ms'}])
def test_another_url_is_that_of_what_waits_as_well(opq, receivers, settings):
    """Also of what is at the old one at that moment, when that fails."""
    gate = threading.Event()
    old = receivers(lambda request: Answer(503, gate=gate))
    new = receivers()
    subscribe(opq, 't', 's', 201, url=old.url('/old'), **settings)
    for number in range(30):
        push(opq, 't', f'{number}\n')
    old.wait(1)
    wait_until(lambda: show(opq, 't', 's')['state'] == 'sending')
    subscribe(opq, 't', 's', 200, url=new.url('/new'))
    gate.set()
    wait_done(opq, 't', 's', 30)
    assert {request.path for request in old.requests} == {'/old'}
    assert {request.path for request in new.requests} == {'/new'}
    assert len(old.requests) <= 5


@pytest.mark.parametrize('settings', [
    {'order': 'topic'}, {'order': 'key'}, {'order': 'none'},
    {'order': 'none', 'batch': '1,1ms'}])
def test_another_filter_is_that_of_what_waits_as_well(opq, receiver, settings):
    receiver.script = lambda request: 503
    subscribe(opq, 't', 's', 201, url=receiver.url(), **settings)
    for number in range(30):
        push(opq, 't', '', key='k', label=str(number % 2))
    receiver.wait(2)
    subscribe(opq, 't', 's', 200, filter='label = "1"', paused=True)
    wait_until(lambda: show(opq, 't', 's')['in_flight'] == 0)
    receiver.clear()
    receiver.script = lambda request: None
    subscribe(opq, 't', 's', 200, paused=False)
    wait_done(opq, 't', 's', 30)
    assert sorted(receiver.sequences('t')) == list(range(1, 30, 2))

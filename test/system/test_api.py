"""The calls that look in and change topics.

SPDX-License-Identifier: MIT
"""

import base64
import json
import threading
import time

import pytest
from harness import Answer, RawConnection, wait_until


def problem(answer, status):
    """Check that an answer is a problem; return it."""
    assert answer.status == status, answer
    assert answer.headers['content-type'] == 'application/problem+json'
    document = answer.json()
    assert document['status'] == status
    return document


@pytest.fixture
def held(opq, receivers):
    """A topic 'held' whose first message is in flight until `go` is set."""
    go = threading.Event()
    target = receivers(lambda request: Answer(200, gate=go))
    for number in range(3):
        opq.push_json('held', target.url(), f'm{number}')
    target.wait(1)
    yield opq, target, go
    go.set()


def test_health_and_readiness(opq):
    assert opq.get('/healthz').json() == {'status': 'alive'}
    assert opq.get('/readyz').json() == {'status': 'ready'}
    assert opq.get('/opq/info').json()['now']['disk_free'] > 0


def test_info_tells_version_limits_and_figures(opq, receiver):
    before = opq.get('/opq/info').json()
    assert before['name'] == 'opq'
    assert before['limits']['topic_name_max'] == 128
    assert before['limits']['body_size_max'] == 1 << 20
    assert before['durability'] == 'disk'
    assert before['now']['topics'] == 0
    opq.push_json('a', receiver.url(), 'x')
    opq.push_json('b', receiver.url(), 'x')
    opq.wait_delivered('a', 1)
    opq.wait_delivered('b', 1)
    after = opq.get('/opq/info').json()
    assert after['now']['topics'] == 2
    assert after['since_start']['pushes'] == 2
    assert after['since_start']['delivered'] == 2
    assert after['since_start']['commits'] >= 1


def test_free_space_is_that_of_a_shard_that_has_looked(serve, receiver):
    opq = serve('--shards=4')
    opq.push_json('a', receiver.url(), 'x')
    assert opq.get('/opq/info').json()['now']['disk_free'] > 0


def test_every_problem_has_the_members_that_it_should(opq):
    for data in ('GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n',
                 'PATCH /healthz HTTP/1.1\r\nHost: a\r\n\r\n',
                 'GET /opq/push HTTP/1.1\r\nHost: a\r\n\r\n',
                 'GET /healthz HTTP/1.1\r\n\r\n', 'nonsense\r\n\r\n',
                 'GET /healthz HTTP/2.0\r\nHost: a\r\n\r\n',
                 'POST /opq/batch HTTP/1.1\r\nHost: a\r\n'
                 'Content-Length: 1\r\n\r\nx',
                 'POST /opq/push HTTP/1.1\r\nHost: a\r\n'
                 'Content-Length: 99999999\r\n\r\n'):
        answer = opq.exchange(data)
        document = problem(answer, answer.status)
        assert set(document) == {'type', 'title', 'status', 'detail'}, data
        assert all(document.values())


def test_unknown_paths_are_404(opq):
    for path in ('/', '/opq', '/opq/', '/opq/topics/', '/opq/topics/a/',
                 '/opq/topics/a/unknown', '/opq/topics/a/messages/',
                 '/opq/topics/a/messages/0/x', '//opq/topics', '/healthz/'):
        problem(opq.get(path), 404)


def test_wrong_methods_are_405_and_say_what_is_allowed(opq):
    for method, path, allowed in (
            ('POST', '/healthz', 'GET, HEAD'),
            ('DELETE', '/opq/topics', 'GET, HEAD'),
            ('POST', '/opq/topics/a', 'GET, HEAD, PUT, DELETE'),
            ('GET', '/opq/topics/a/pause', 'POST'),
            ('PUT', '/opq/topics/a/messages', 'GET, HEAD')):
        answer = opq.request(method, path)
        assert answer.status == 405
        assert answer.headers['allow'] == allowed


def test_head_is_get_without_a_body(opq):
    with opq.connect() as connection:
        connection.send('HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n')
        answer = connection.read_response(head_only=True)
        assert answer.status == 200
        assert int(answer.headers['content-length']) > 0
        connection.send('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n')
        assert connection.read_response().json() == {'status': 'alive'}


def test_topics_without_a_name_or_with_a_bad_one(opq):
    problem(opq.get('/opq/topics/nobody'), 404)
    problem(opq.get('/opq/topics/..'), 400)
    problem(opq.get('/opq/topics/' + 'a' * 129), 400)
    problem(opq.get('/opq/topics/a%2Fb'), 400)
    problem(opq.request('DELETE', '/opq/topics/nobody'), 404)
    for word in ('pause', 'resume', 'purge'):
        problem(opq.request('POST', f'/opq/topics/nobody/{word}'), 404)
    problem(opq.get('/opq/topics/nobody/messages'), 404)
    problem(opq.get('/opq/topics/nobody/messages/0'), 404)


def test_topics_are_listed_by_name_page_by_page(serve, receiver):
    opq = serve('--shards=3')
    names = sorted(f't-{number:03}' for number in range(25))
    for name in reversed(names):
        opq.push_json(name, receiver.url(), 'x')
    listed, after, pages = [], None, 0
    while True:
        query = '/opq/topics?limit=10' + (f'&after={after}' if after else '')
        page = opq.get(query).json()
        assert page['total'] == 25
        listed += [topic['name'] for topic in page['topics']]
        pages += 1
        after = page['next']
        if after is None:
            break
    assert listed == names
    assert pages == 3
    assert opq.get('/opq/topics?after=t-024').json()['topics'] == []
    assert opq.get('/opq/topics?limit=0').json()['total'] == 25


@pytest.mark.parametrize('shards', [1, 2])
@pytest.mark.parametrize('limit', [1, 2, 6, 7, 8])
def test_no_page_of_topics_is_the_last_too_early(serve, shards, limit):
    opq = serve(f'--shards={shards}')
    names = [f't-{number}' for number in range(7)]
    for name in names:
        assert opq.request('PUT', f'/opq/topics/{name}', {}).status == 201
    listed, after = [], ''
    while after is not None:
        page = opq.get(f'/opq/topics?limit={limit}&after={after}').json()
        assert 1 <= len(page['topics']) <= limit
        listed += [topic['name'] for topic in page['topics']]
        after = page['next']
    assert listed == names


def test_bad_queries_are_refused(opq, receiver):
    opq.push_json('a', receiver.url(), 'x')
    for path in ('/opq/topics?limit=1001', '/opq/topics?limit=x',
                 '/opq/topics?colour=blue', '/opq/topics?limit=1&limit=2',
                 '/opq/topics?limit=%zz', '/opq/topics/a?limit=1',
                 '/opq/topics/a/messages?from=-1',
                 '/opq/topics/a/messages?from=0&from_time=0',
                 '/opq/topics/a/messages?from_time=yesterday',
                 '/opq/topics/a/messages?wait=61s',
                 '/opq/topics/a/messages?wait=soon',
                 '/opq/topics/a/messages/0?wait=1s'):
        problem(opq.get(path), 400)
    problem(opq.request('POST', '/opq/topics/a/purge?before=x'), 400)


def test_figures_of_a_delivered_topic(opq, receiver):
    for number in range(4):
        opq.push_json('a', receiver.url(), f'm{number}')
    opq.wait_delivered('a', 4)
    topic = wait_until(
        lambda: (lambda t: t if t['state'] == 'idle' else None)(
            opq.topic('a')), 'idle')
    assert (topic['oldest'], topic['end'], topic['delivered']) == (0, 4, 4)
    assert topic['lag'] == 0
    assert topic['in_flight'] == 0
    assert topic['attempts'] == 0
    assert topic['oldest_undelivered_age_ms'] is None
    assert topic['because'] == 'everything is delivered'
    assert topic['since_start'] == {'delivered': 4, 'attempts': 4,
                                    'failed': 0}
    assert topic['bytes'] > 0


def test_message_in_flight_and_those_behind_it(held):
    opq, target, _ = held
    topic = opq.topic('held')
    assert topic['state'] == 'sending'
    assert topic['lag'] == 3
    assert topic['in_flight'] == 1
    assert topic['oldest_undelivered_age_ms'] >= 0
    first = opq.get('/opq/topics/held/messages/0').json()
    assert first['state'] == 'in_flight'
    assert f'127.0.0.1:{target.port}' in first['because']
    third = opq.get('/opq/topics/held/messages/2').json()
    assert third['state'] == 'waiting'
    assert third['behind'] == 0
    assert third['because'].startswith('waits behind message 0, which is '
                                       'being sent to')


def test_delivered_messages_say_so(held):
    opq, _, go = held
    go.set()
    opq.wait_delivered('held', 3)
    for number in range(3):
        message = opq.get(f'/opq/topics/held/messages/{number}').json()
        assert message['state'] == 'delivered'


def test_retried_message_tells_its_failure(serve, receivers):
    opq = serve('--retry-first=30s')
    target = receivers(lambda request: Answer(503, body=b'busy'))
    opq.push_json('r', target.url(), 'x')
    opq.push_json('r', target.url(), 'y')
    target.wait(1)
    message = wait_until(
        lambda: (lambda m: m if m['state'] == 'retrying' else None)(
            opq.get('/opq/topics/r/messages/0').json()), 'retrying')
    assert message['attempts'] == 1
    assert message['last_error']['class'] == 'http_5xx'
    assert message['last_error']['status'] == 503
    assert message['endpoint'] == f'http://127.0.0.1:{target.port}'
    assert message['until'] in message['because']
    assert message['until'].endswith('Z')
    assert 'http_5xx 503' in message['because']
    behind = opq.get('/opq/topics/r/messages/1').json()
    assert behind['state'] == 'waiting'
    assert behind['behind'] == 0
    assert 'http_5xx 503' in behind['because']
    topic = opq.topic('r')
    assert topic['state'] == 'backoff'
    assert topic['attempts'] == 1


def test_refused_connection_has_its_class(serve, receivers):
    opq = serve('--retry-first=30s')
    target = receivers()
    url = target.url()
    target.close()
    opq.push_json('r', url, 'x')
    message = wait_until(
        lambda: (lambda m: m if m['state'] == 'retrying' else None)(
            opq.get('/opq/topics/r/messages/0').json()), 'retrying')
    assert message['last_error']['class'] == 'connection_refused'
    assert 'status' not in message['last_error']


def test_pause_holds_and_resume_delivers(opq, receiver):
    opq.push_json('p', receiver.url(), 'first')
    opq.wait_delivered('p', 1)
    answer = opq.request('POST', '/opq/topics/p/pause')
    assert answer.status == 200
    assert answer.json()['paused'] is True
    opq.push_json('p', receiver.url(), 'second')
    message = opq.get('/opq/topics/p/messages/1').json()
    assert message['state'] == 'paused'
    assert message['because'] == 'waits, since the topic is paused'
    assert opq.topic('p')['state'] == 'paused'
    assert receiver.sequences('p') == [0]
    answer = opq.request('POST', '/opq/topics/p/resume')
    assert answer.json()['settings']['paused'] is False
    receiver.wait(2)
    opq.wait_delivered('p', 2)


def test_pause_survives_a_restart(serve, receiver):
    opq = serve()
    opq.push_json('p', receiver.url(), 'x')
    opq.wait_delivered('p', 1)
    opq.request('POST', '/opq/topics/p/pause')
    opq.push_json('p', receiver.url(), 'y')
    opq.kill()
    opq.start()
    assert opq.topic('p')['state'] == 'paused'
    assert opq.topic('p')['lag'] == 1
    opq.request('POST', '/opq/topics/p/resume')
    opq.wait_delivered('p', 2)


def test_settings_are_set_in_three_ways_and_kept(serve):
    opq = serve()
    answer = opq.request('PUT', '/opq/topics/s',
                         {'retain_age': '7d', 'retain_count': 1000,
                          'paused': True})
    assert answer.status == 201
    answer = opq.request('PUT', '/opq/topics/s?timeout=1500ms&discard=old')
    assert answer.status == 200
    answer = opq.request('PUT', '/opq/topics/s',
                         headers={'Opq-Retain-Bytes': '64m'})
    wanted = {'paused': True, 'timeout': '1500ms', 'retain_age': '7d',
              'retain_bytes': 64 << 20, 'retain_count': 1000,
              'discard': 'old'}
    shown = answer.json()['settings']
    assert {name: shown[name] for name in wanted} == wanted
    assert opq.stop() == 0
    opq.start()
    assert opq.topic('s')['settings'] == shown
    # What is shown can be given back.
    answer = opq.request('PUT', '/opq/topics/t', shown)
    assert answer.json()['settings'] == shown


def test_largest_settings_can_be_given_back(opq):
    path = '/opq/topics/s'
    largest = (1 << 63) - 1
    answer = opq.request('PUT', f'{path}?retain_count={largest}'
                         f'&retain_bytes={largest}')
    shown = answer.json()['settings']
    assert shown['retain_count'] == shown['retain_bytes'] == largest
    assert opq.request('PUT', path, shown).json()['settings'] == shown
    for name in ('retain_count', 'retain_bytes'):
        problem(opq.request('PUT', f'{path}?{name}={largest + 1}'), 400)
        problem(opq.request('PUT', path, {name: largest + 1}), 400)
    assert opq.topic('s')['settings'] == shown


def test_bad_settings_are_refused_whole(opq):
    for body in ({'colour': 'blue'}, {'paused': 'perhaps'},
                 {'retain_age': '1w'}, {'retain_count': -1},
                 {'retain_count': 1.5}, {'retain_bytes': None},
                 {'discard': ['old']}, ['paused'],
                 {'retain_count': 5, 'timeout': 'soon'}):
        problem(opq.request('PUT', '/opq/topics/s', body), 400)
    problem(opq.request('PUT', '/opq/topics/s', '{"paused":true'), 400)
    problem(opq.request('PUT', '/opq/topics/s', '{"a":1,"a":2}'), 400)
    problem(opq.request('PUT', '/opq/topics/s?colour=blue'), 400)
    problem(opq.request('PUT', '/opq/topics/s', 'x' * 20000), 400)
    problem(opq.get('/opq/topics/s'), 404)


def test_purge_drops_and_goes_on_with_the_numbers(opq, receiver):
    opq.request('PUT', '/opq/topics/p', {'paused': True})
    for number in range(10):
        opq.push_json('p', receiver.url(), f'm{number}')
    answer = opq.request('POST', '/opq/topics/p/purge?before=4')
    assert answer.status == 200
    assert answer.json()['oldest'] == 4
    assert answer.json()['delivered'] == 4
    gone = problem(opq.get('/opq/topics/p/messages/3'), 404)
    assert gone['state'] == 'dropped'
    assert (gone['oldest'], gone['end']) == (4, 10)
    assert opq.request('POST', '/opq/topics/p/purge').json()['lag'] == 0
    assert opq.push_json('p', receiver.url(), 'next')['seq'] == 10
    opq.request('POST', '/opq/topics/p/resume')
    opq.wait_delivered('p', 11)
    assert receiver.sequences('p') == [10]


def test_deleted_topic_is_gone_and_begins_anew(serve, receiver):
    opq = serve()
    opq.push_json('d', receiver.url(), 'x')
    opq.wait_delivered('d', 1)
    first = opq.get('/opq/topics/d/messages/0').json()['id']
    answer = opq.request('DELETE', '/opq/topics/d')
    assert (answer.status, answer.body) == (204, b'')
    problem(opq.get('/opq/topics/d'), 404)
    assert opq.get('/opq/topics').json()['total'] == 0
    opq.kill()
    opq.start()
    problem(opq.get('/opq/topics/d'), 404)
    pushed = opq.push_json('d', receiver.url(), 'y')
    assert pushed['seq'] == 0
    assert pushed['id'] != first


def test_delete_while_a_message_is_in_flight(held):
    opq, _, go = held
    assert opq.request('DELETE', '/opq/topics/held').status == 204
    go.set()
    problem(opq.get('/opq/topics/held'), 404)


def test_messages_are_read_from_a_sequence_in_pages(opq, receiver):
    for number in range(25):
        opq.push_json('m', receiver.url(), f'text {number}')
    place, texts = 0, []
    while True:
        page = opq.get(f'/opq/topics/m/messages?from={place}&limit=10').json()
        assert (page['oldest'], page['end']) == (0, 25)
        if not page['messages']:
            break
        for message in page['messages']:
            assert message['seq'] == len(texts)
            texts.append(message['body'])
        place = page['next']
    assert texts == [f'text {number}' for number in range(25)]
    assert place == 25
    beyond = problem(opq.get('/opq/topics/m/messages?from=26'), 416)
    assert (beyond['oldest'], beyond['end']) == (0, 25)


def test_messages_show_form_text_and_bytes(opq, receiver):
    answer = opq.push('m', receiver.url('/a?b=c'), 'h\u00e9 & +',
                      headers={'X-One': '1'}, colour='blue')
    assert answer.status == 201
    odd = bytes(range(256))
    raw = opq.request(
        'POST', f'/opq/push?topic=m&url={receiver.url()}', odd,
        {'Content-Type': 'application/x-odd', 'Opq-Forward-X-Two': '2'})
    assert raw.status == 201
    form, binary = opq.get('/opq/topics/m/messages').json()['messages']
    assert form['kind'] == 'form'
    assert form['id'] == answer.headers['opq-id']
    assert form['url'] == receiver.url('/a?b=c')
    assert {'name': 'message', 'value': 'h\u00e9 & +'} in form['fields']
    assert {'name': 'colour', 'value': 'blue'} in form['fields']
    assert {'name': 'X-One', 'value': '1'} in form['headers']
    assert binary['kind'] == 'raw'
    assert binary['content_type'] == 'application/x-odd'
    assert base64.b64decode(binary['body_base64']) == odd
    assert 'body' not in binary
    assert {'name': 'X-Two', 'value': '2'} in binary['headers']


def test_messages_are_found_by_time(opq, receiver):
    opq.push_json('m', receiver.url(), 'early')
    pushed_at = opq.get('/opq/topics/m/messages/0').json()['pushed_at']
    begin = time.time()
    wait_until(lambda: time.time() > begin + 0.01)
    between = time.time()
    wait_until(lambda: time.time() > between + 0.01)
    opq.push_json('m', receiver.url(), 'late')

    def read(at):
        page = opq.get(f'/opq/topics/m/messages?from_time={at}').json()
        return [message['body'] for message in page['messages']]
    assert read('0') == ['early', 'late']
    assert read(pushed_at) == ['early', 'late']
    assert read(f'{between:.3f}') == ['late']
    assert read('2100-01-01T00:00:00Z') == []


def test_page_ends_by_bytes_with_at_least_one_message(opq, receiver):
    text = 'x' * 700_000
    for _ in range(4):
        opq.push_json('big', receiver.url(), text)
    page = opq.get('/opq/topics/big/messages?limit=100').json()
    assert 1 <= len(page['messages']) < 4
    assert page['next'] == len(page['messages'])
    assert all(message['body'] == text for message in page['messages'])


def test_long_poll_is_woken_by_a_push(opq, receiver):
    opq.push_json('w', receiver.url(), 'x')
    with opq.connect() as connection:
        connection.send('GET /opq/topics/w/messages?from=1&wait=60s HTTP/1.1'
                        '\r\nHost: a\r\n\r\n')
        # The next request of the connection is answered behind it.
        connection.send('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n')
        opq.push_json('w', receiver.url(), 'awaited')
        page = connection.read_response().json()
        assert [message['body'] for message in page['messages']] == [
            'awaited']
        assert page['next'] == 2
        assert connection.read_response().json() == {'status': 'alive'}


def test_long_poll_ends_empty_by_its_time(opq, receiver):
    opq.push_json('w', receiver.url(), 'x')
    begin = time.monotonic()
    page = opq.get('/opq/topics/w/messages?from=1&wait=200ms').json()
    assert time.monotonic() - begin >= 0.2
    assert page['messages'] == []
    assert page['next'] == 1


def test_long_poll_ends_when_the_topic_is_deleted(opq, receiver):
    opq.push_json('w', receiver.url(), 'x')
    with opq.connect() as connection:
        connection.send('GET /opq/topics/w/messages?from=1&wait=60s HTTP/1.1'
                        '\r\nHost: a\r\n\r\n')
        wait_until(lambda: opq.get('/opq/info').json()['now']['connections']
                   >= 2)
        assert opq.request('DELETE', '/opq/topics/w').status == 204
        problem(connection.read_response(), 404)


def test_long_poll_of_a_client_that_went_is_cleaned_up(serve, receiver):
    opq = serve('--shards=2')
    for name in ('w0', 'w1', 'w2', 'w3'):
        opq.push_json(name, receiver.url(), 'x')
    request = 'GET /opq/topics/{}/messages?from=1&wait=60s HTTP/1.1\r\n' \
              'Host: a\r\n\r\n'
    for round_number in range(20):
        with RawConnection(opq.port) as connection:
            connection.send(request.format(f'w{round_number % 4}'))
            if round_number % 2:
                connection.reset()
    wait_until(lambda: opq.get('/opq/info').json()['now']['connections'] == 1)
    for name in ('w0', 'w1', 'w2', 'w3'):
        opq.push_json(name, receiver.url(), 'y')
        opq.wait_delivered(name, 2)


def test_long_poll_does_not_hold_up_a_stop(opq, receiver):
    opq.push_json('w', receiver.url(), 'x')
    opq.wait_delivered('w', 1)
    with opq.connect() as connection:
        connection.send('GET /opq/topics/w/messages?from=1&wait=60s HTTP/1.1'
                        '\r\nHost: a\r\n\r\n')
        wait_until(lambda: opq.get('/opq/info').json()['now']['connections']
                   >= 2)
        begin = time.monotonic()
        assert opq.stop() == 0
        assert time.monotonic() - begin < 20
        page = connection.read_response().json()
        assert page['messages'] == []


def test_unknown_messages_are_404_and_say_why(opq, receiver):
    opq.push_json('m', receiver.url(), 'x')
    later = problem(opq.get('/opq/topics/m/messages/1'), 404)
    assert later['state'] == 'unknown'
    assert later['end'] == 1
    problem(opq.get('/opq/topics/m/messages/first'), 404)
    problem(opq.get('/opq/topics/m/messages/99999999999999999999'), 404)


def test_without_admin_only_info_and_health_are_served(serve, receiver):
    opq = serve('-admin=no')
    opq.push_json('a', receiver.url(), 'x')
    receiver.wait(1)
    for path in ('/opq/topics', '/opq/topics/a', '/opq/topics/a/messages'):
        problem(opq.get(path), 404)
    problem(opq.request('DELETE', '/opq/topics/a'), 404)
    for path in ('/healthz', '/readyz', '/opq/info', '/openapi.json'):
        assert opq.get(path).status == 200


def test_read_after_restart_is_what_was_pushed(serve, receiver):
    opq = serve()
    for number in range(50):
        opq.push_json('m', receiver.url(), f'text {number}')
    before = opq.get('/opq/topics/m/messages').body
    assert opq.stop() == 0
    opq.start()
    after = opq.get('/opq/topics/m/messages')
    assert json.loads(after.body)['messages'] == json.loads(before)['messages']


def test_purge_listens_to_all_that_is_said_or_refuses(opq, receiver):
    for number in range(4):
        opq.push_json('p', receiver.url(), f'm{number}')
    opq.wait_delivered('p', 4)
    purge = '/opq/topics/p/purge'
    form = {'Content-Type': 'application/x-www-form-urlencoded'}
    for answer in (opq.request('POST', purge, {'before': 2}),
                   opq.request('POST', purge, 'before=2', form),
                   opq.request('POST', purge, headers={'Opq-Before': '2'}),
                   opq.request('POST', f'{purge}?befor=2'),
                   opq.request('POST', f'{purge}?before=2&before=3')):
        problem(answer, 400)
    assert opq.topic('p')['oldest'] == 0
    assert opq.request('POST', f'{purge}?before=2').json()['oldest'] == 2


@pytest.mark.parametrize('method, word', [
    ('DELETE', ''), ('POST', '/pause'), ('POST', '/resume')])
def test_calls_without_parameters_refuse_any(opq, receiver, method, word):
    opq.push_json('p', receiver.url(), 'x')
    path = f'/opq/topics/p{word}'
    for answer in (opq.request(method, f'{path}?before=1'),
                   opq.request(method, path, {'before': 1}),
                   opq.request(method, path, headers={'Opq-Before': '1'})):
        problem(answer, 400)
    assert opq.topic('p')['end'] == 1
    assert opq.topic('p')['paused'] is False
    assert opq.request(method, path, '').status in (200, 204)


def test_setting_given_twice_or_unknown_is_refused_wherever_it_is(opq):
    path = '/opq/topics/s'
    for target, body, headers in (
            (f'{path}?timeout=1s', {'timeout': '1s'}, None),
            (path, {'timeout': '1s'}, {'Opq-Timeout': '2s'}),
            (f'{path}?retain_age=1d', None, {'opq-retain-AGE': '2d'}),
            (path, None, {'Opq-Retain-Ag': '2d'}),
            (path, None, {'Opq-' + 'a' * 100: '2d'})):
        problem(opq.request('PUT', target, body, headers), 400)
    with opq.connect() as connection:
        connection.send(f'PUT {path} HTTP/1.1\r\nHost: a\r\nOpq-Timeout: 1s'
                        '\r\nOpq-Timeout: 2s\r\n\r\n')
        problem(connection.read_response(), 400)
    problem(opq.get(path), 404)


def test_topics_of_opqs_own_are_not_changed(opq):
    for method, path in (('PUT', ''), ('DELETE', ''), ('POST', '/pause'),
                         ('POST', '/resume'), ('POST', '/purge')):
        problem(opq.request(method, f'/opq/topics/.opq.x{path}'), 403)
    problem(opq.get('/opq/topics/.opq.x'), 404)
    problem(opq.get('/opq/topics?internal=maybe'), 400)
    assert opq.get('/opq/topics?internal=yes').json()['total'] == 0

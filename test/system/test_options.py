"""Options of a push: given in each form, read back from the log.

The topics are paused, so that nothing acts on what is asked for.

SPDX-License-Identifier: MIT
"""

import json
import time
import urllib.parse
from datetime import datetime

import pytest
from harness import run_cli

FORM = 'application/x-www-form-urlencoded'
TARGET = 'http://127.0.0.1:9/'

# name, as given, as shown
TEXTS = [
    ('key', 'customer-7', 'customer-7'),
    ('label', 'bl\u00e4u', 'bl\u00e4u'),
    ('dedup_id', 'd 1', 'd 1'),
    ('collapse', 'c', 'c'),
    ('flow_key', 'f', 'f'),
    ('retry_schedule', '5s,1m,1d', '5s,1m,1d'),
    ('callback', 'http://127.0.0.1:9/done', 'http://127.0.0.1:9/done'),
    ('failure_callback', 'https://h/failed?x=y', 'https://h/failed?x=y'),
]
NUMBERS = [('priority', 9, 9), ('retries', 0, 0), ('retries', 1000000, 1000000)]
SHOWN = {name for name, _, _ in TEXTS + NUMBERS} | {
    'not_before', 'expires_at', 'topic', 'dead'}


def header_of(name):
    return 'Opq-' + name.replace('_', '-').title()


def by_header(opq, topic, name, value):
    return opq.push(topic, TARGET, 'm', headers={
        header_of(name): str(value).encode('utf-8')})


def by_form_field(opq, topic, name, value):
    return opq.push(topic, TARGET, 'm', **{header_of(name): value})


def by_query(opq, topic, name, value):
    query = urllib.parse.urlencode(
        {'topic': topic, 'url': TARGET, name: value})
    return opq.request('POST', f'/opq/push?{query}', b'm',
                       {'Content-Type': 'application/x-odd'})


def by_member(opq, topic, name, value):
    return opq.request('POST', '/opq/push', {
        'topic': topic, 'url': TARGET, 'message': 'm', name: value})


def by_item(opq, topic, name, value):
    return opq.request('POST', '/opq/batch', [
        {'topic': topic, 'url': TARGET, 'message': 'm', name: value}])


def by_head_of_batch(opq, topic, name, value):
    query = urllib.parse.urlencode({name: value})
    return opq.request('POST', f'/opq/batch?{query}', [
        {'topic': topic, 'url': TARGET, 'message': 'm'}])


WAYS = [by_header, by_form_field, by_query, by_member, by_item,
        by_head_of_batch]


def pause(opq, topic):
    answer = opq.request('PUT', f'/opq/topics/{topic}', {'paused': True})
    assert answer.status in (200, 201), answer


def options_of(message):
    return {name: value for name, value in message.items() if name in SHOWN}


def read(opq, topic, sequence=0):
    answer = opq.get(f'/opq/topics/{topic}/messages?from={sequence}')
    assert answer.status == 200, answer
    return answer.json()['messages'][0]


def milliseconds(text):
    return round(datetime.fromisoformat(
        text.replace('Z', '+00:00')).timestamp() * 1000)


@pytest.mark.parametrize('way', WAYS)
def test_every_option_is_read_back(shared_opq, way):
    for index, (name, value, shown) in enumerate(TEXTS + NUMBERS):
        if way is by_head_of_batch and name == 'dedup_id':
            continue
        topic = f'{way.__name__}-{index}'
        pause(shared_opq, topic)
        answer = way(shared_opq, topic, name, value)
        assert answer.status == 201, (name, answer)
        message = read(shared_opq, topic)
        assert options_of(message) == {name: shown}
        assert message['headers'] == [] or name not in str(message['headers'])
        assert [field['name'] for field in message.get('fields', [])] in (
            [], ['message'])
        one = shared_opq.get(f'/opq/topics/{topic}/messages/0').json()
        assert options_of(one) == {name: shown}


@pytest.mark.parametrize('way', WAYS)
def test_the_end_of_a_message_is_read_back(shared_opq, way):
    topic = f'ttl-{way.__name__}'
    pause(shared_opq, topic)
    assert way(shared_opq, topic, 'ttl', '90s').status == 201
    message = read(shared_opq, topic)
    assert set(options_of(message)) == {'expires_at'}
    assert (milliseconds(message['expires_at']) -
            milliseconds(message['pushed_at'])) == 90000


@pytest.mark.parametrize('way', WAYS)
def test_a_time_that_is_past_does_not_delay(shared_opq, way):
    topic = f'past-{way.__name__}'
    pause(shared_opq, topic)
    assert way(shared_opq, topic, 'not_before',
               '2001-01-01T00:00:00Z').status == 201
    assert way(shared_opq, topic, 'delay', '0s').status == 201
    for sequence in (0, 1):
        assert options_of(read(shared_opq, topic, sequence)) == {}


@pytest.mark.parametrize('way', WAYS)
def test_mistaken_options_are_refused_by_name(shared_opq, way):
    year = 366 * 24 * 3600
    for name, value in (
            ('delay', f'{year + 1}s'), ('delay', 'soon'),
            ('not_before', int(time.time()) + year + 60),
            ('not_before', 'tomorrow'), ('ttl', 0), ('key', 'k' * 257),
            ('priority', 10), ('retries', 1000001), ('retries', -1),
            ('retry_schedule', '5s,'), ('retry_schedule', '25h'),
            ('label', '\u0085' * 200), ('callback', 'nowhere'),
            ('failure_callback', 'ftp://h/'), ('expect_seq', 'next')):
        answer = way(shared_opq, 'refused', name, value)
        late = way is by_head_of_batch and name.endswith('callback')
        if way is by_item or late:
            assert answer.status == 207, (name, value, answer)
            result, = answer.json()
            assert result['status'] == 400
            assert result['detail'].startswith(name), result
        else:
            assert answer.status == 400, (name, value, answer)
            assert name in answer.body.decode(), (name, value, answer)
    assert shared_opq.get('/opq/topics/refused').status == 404


def test_a_callback_must_be_an_allowed_address(serve):
    opq = serve('--targets=public')
    for name in ('callback', 'failure_callback'):
        answer = by_member(opq, 't', name, 'http://127.0.0.1/')
        assert answer.status == 400, answer
    opq = serve('--deny-net=192.0.2.0/24', name='other')
    for name in ('callback', 'failure_callback'):
        answer = by_member(opq, 't', name, 'http://192.0.2.7/')
        assert answer.status == 400, answer
        assert answer.json()['detail'].startswith(name)


def test_what_excludes_one_another_is_refused(shared_opq):
    for headers, why in (
            ({'Opq-Delay': '1s', 'Opq-Not-Before': '1'}, 'delay'),
            ({'Opq-Dedup-Id': 'a', 'Idempotency-Key': 'b'}, 'dedup_id')):
        answer = shared_opq.push('x', TARGET, 'm', headers=headers)
        assert answer.status == 400, answer
        assert why in answer.body.decode()
    for name in ('dedup_id', 'expect_seq'):
        answer = by_head_of_batch(shared_opq, 'x', name, '1')
        assert answer.status == 400, answer
        assert answer.headers['content-type'] == 'application/problem+json'
        assert answer.json()['detail'].startswith(name)
    answer = shared_opq.request('POST', '/opq/batch', [
        {'topic': 'x', 'url': TARGET}], {'Idempotency-Key': 'k'})
    assert answer.status == 400, answer
    assert shared_opq.get('/opq/topics/x').status == 404


def test_topics_of_the_server_take_no_pushes(shared_opq):
    for way in WAYS:
        answer = way(shared_opq, '.opq.delayed', 'key', 'k')
        body = answer.body.decode()
        assert answer.status == (207 if 'batch' in way.__name__ or
                                 way is by_item else 400), answer
        assert 'topic is reserved' in body
    assert shared_opq.get('/opq/topics/.opq.delayed').status == 404


def test_options_are_not_delivered(opq, receiver):
    answer = opq.push(
        'd', receiver.url(), 'm',
        headers={'Idempotency-Key': 'i', 'Opq-Key': 'k', 'X-Own': 'o',
                 'Opq-Forward-Idempotency-Key': 'theirs'},
        **{'Opq-Label': 'l', 'Opq-Retries': '3', 'label': 'mine'})
    assert answer.status == 201, answer
    request, = receiver.wait(1)
    assert dict(request.form()) == {'topic': 'd', 'url': receiver.url(),
                                    'message': 'm', 'label': 'mine'}
    names = {name.lower() for name, _ in request.fields}
    assert not names & {'opq-key', 'opq-label', 'opq-retries'}
    assert request.headers['x-own'] == 'o'
    assert request.headers['idempotency-key'] == 'theirs'
    message = read(opq, 'd')
    assert options_of(message) == {'key': 'k', 'label': 'l', 'retries': 3,
                                   'dedup_id': 'i'}


def test_options_of_a_large_body_are_kept_and_dumped(serve):
    opq = serve('--body-size-max=8m')
    pause(opq, 'big')
    body = b'x' * (2 << 20)
    query = urllib.parse.urlencode({
        'topic': 'big', 'url': TARGET, 'key': 'k', 'ttl': '1h',
        'priority': 3})
    answer = opq.request('POST', f'/opq/push?{query}', body,
                         {'Content-Type': 'application/x-odd'})
    assert answer.status == 201, answer
    message = read(opq, 'big')
    assert message['body_omitted'] is True
    assert message['body_size'] == len(body)
    assert set(options_of(message)) == {'key', 'priority', 'expires_at'}
    assert opq.stop() == 0
    done = run_cli('dump', 'big', '0', '--data', str(opq.data))
    assert done.returncode == 0, done
    dumped = json.loads(done.stdout)
    assert options_of(dumped) == options_of(message)
    assert run_cli('verify', str(opq.data)).returncode == 0


def test_options_survive_a_kill(serve):
    opq = serve()
    pause(opq, 'k')
    for index in range(20):
        answer = by_member(opq, 'k', 'key', f'k{index}')
        assert answer.status == 201, answer
    opq.kill()
    opq.start()
    page = opq.get('/opq/topics/k/messages').json()
    assert [one['key'] for one in page['messages']] == [
        f'k{index}' for index in range(20)]

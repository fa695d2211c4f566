"""The server's own events: as a stream, and to a webhook.

SPDX-License-Identifier: MIT
"""

import json
import re
import signal
import subprocess
import time

import pytest
from harness import (BINARY, PATIENCE_S, Answer, EventStream, run_cli,
                     wait_until)

TYPES = ('endpoint.down', 'endpoint.recovered', 'message.dead', 'topic.slow',
         'disk.low', 'disk.ok', 'record.quarantined', 'server.started')


class Notices(EventStream):
    """Events of the server, each checked for its form."""

    def __init__(self, opq, query='', last=None):
        super().__init__(opq, f'/opq/events{query}', last)
        assert self.status == 200, self.headers
        assert self.headers['content-type'] == 'text/event-stream'

    def next(self):
        event = super().next()
        if event is None or event['event'] == 'lost':
            return event and json.loads(event['data'])
        data = json.loads(event['data'])
        assert data['type'] == event['event']
        assert data['id'] == int(event['id'])
        assert data['type'] in TYPES
        assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z',
                            data['at'])
        assert isinstance(data['data'], dict)
        return data


def endpoint(target):
    return target.url('').rstrip('/')


def test_first_one_says_that_the_server_has_started(opq):
    with Notices(opq, '?from=0') as events:
        first = events.next()
    assert first['type'] == 'server.started'
    assert first['subject'] == 'opq'
    assert first['data'] == {'version': first['data']['version'],
                             'smooth': False}
    assert 'repeated' not in first
    ids = first['id']
    opq.stop()
    opq.start()
    with Notices(opq, last=ids) as events:  # of the process before
        again = events.next()
    assert again['type'] == 'server.started' and again['id'] > ids


def test_dead_message_is_told(opq, receivers):
    target = receivers(lambda request: 500)
    with Notices(opq) as events:
        opq.push_json('t', target.url(), 'x', retries=0)
        event = events.next()
    assert (event['type'], event['subject']) == ('message.dead', 't')
    assert event['data'] == {
        'seq': 0, 'reason': event['data']['reason'], 'attempts': 1,
        'class': 'http_5xx', 'status': 500, 'endpoint': endpoint(target)}


def test_endpoint_is_down_and_recovers(serve, receivers):
    opq = serve('--shards=1', '--retry-first=20ms', '--retry-max=50ms')
    target = receivers()
    port = int(target.url().split(':')[2].split('/')[0])
    url = target.url()
    target.close()
    with Notices(opq, '?types=endpoint.down,endpoint.recovered') as events:
        opq.push_json('t', url, 'x')
        down = events.next()
        assert down['type'] == 'endpoint.down'
        assert down['subject'] == f'http://127.0.0.1:{port}'
        assert down['data']['class'] == 'connection_refused'
        assert down['data']['failures'] >= 5
        receivers(port=port)
        back = events.next()
        assert (back['type'], back['subject']) == ('endpoint.recovered',
                                                   down['subject'])
        assert back['id'] > down['id']


def test_slow_topic_is_told_once_until_it_is_not(opq, receivers):
    target = receivers(lambda request: 500)
    opq.request('PUT', '/opq/topics/t', {'slow_after': '200ms'})
    opq.request('PUT', '/opq/topics/u', {'slow_after': '1h'})
    with Notices(opq, '?types=topic.slow') as events:
        begun = time.monotonic()
        opq.push_json('u', target.url(), 'x')
        opq.push_json('t', target.url(), 'x')
        opq.push_json('t', target.url(), 'y')
        event = events.next()
        assert time.monotonic() - begun >= 0.2
    assert (event['type'], event['subject']) == ('topic.slow', 't')
    assert event['data']['seq'] == 0
    assert event['data']['lag'] >= 1
    assert event['data']['age_ms'] >= event['data']['slow_after_ms'] == 200
    assert event['data']['paused'] is False


def test_paused_topic_gets_slow_too(opq, receiver):
    opq.request('PUT', '/opq/topics/t', {'slow_after': '200ms',
                                         'paused': True})
    with Notices(opq, '?topic=t') as events:
        opq.push_json('t', receiver.url(), 'x')
        event = events.next()
    assert event['type'] == 'topic.slow'
    assert event['data']['paused'] is True


def test_slow_subscription_is_told_by_its_topic(opq, receivers):
    target = receivers(lambda request: 500)
    opq.request('PUT', '/opq/topics/t/subscriptions/s', {
        'url': target.url(), 'slow_after': '100ms'})
    with Notices(opq, '?topic=t') as events:
        opq.request('POST', '/opq/push', {'topic': 't', 'message': 'x'})
        assert events.next()['subject'] == 't/s'


def test_filters_and_ids(opq, receivers):
    target = receivers(lambda request: 500)
    for name in ('a', 'b', 'c'):
        opq.push_json(name, target.url(), 'x', retries=0)
        wait_until(lambda name=name: opq.topic(name)['lag'] == 0)
    with Notices(opq, '?types=message.dead&from=0') as events:
        got = [events.next() for _ in range(3)]
    assert [one['subject'] for one in got] == ['a', 'b', 'c']
    assert [one['id'] for one in got] == sorted({one['id'] for one in got})
    with Notices(opq, '?topic=b&from=0') as events:
        assert events.next() == got[1]
    with Notices(opq, last=got[1]['id']) as events:
        assert events.next() == got[2]
    with Notices(opq, f'?from={got[0]["id"]}') as events:
        assert events.next() == got[0]


def test_what_is_wrong_is_refused(opq):
    for query, word in (('types=disk.full', 'types must be'),
                        ('types=', 'types must be'),
                        ('types=disk.low,', 'types must be'),
                        ('topic=a/b', 'a topic is'),
                        ('from=x', 'from must be'),
                        ('form=1', 'unknown parameter')):
        answer = opq.get(f'/opq/events?{query}')
        assert answer.status == 400, query
        assert word in answer.json()['detail']
    assert opq.request('GET', '/opq/events', None,
                       {'Last-Event-ID': 'x'}).status == 400
    assert opq.request('POST', '/opq/events').status == 405
    with opq.connect() as connection:
        connection.send('HEAD /opq/events HTTP/1.1\r\nHost: h\r\n\r\n')
        assert connection.read_head()[0] == 200


def test_one_of_a_kind_in_a_while_and_the_rest_counted(serve, receivers):
    opq = serve('--shards=2')
    target = receivers(lambda request: 404)
    opq.request('PUT', '/opq/topics/t', {'retries': 0})
    with Notices(opq, '?types=message.dead') as events:
        for number in range(20):
            opq.push_json('t', target.url(), str(number))
        first = events.next()
        begun = time.monotonic()
        second = events.next()
        assert time.monotonic() - begun > 5
    assert first['data']['seq'] == 0 and 'repeated' not in first
    assert second['data']['seq'] == 19
    assert second['repeated'] == 18


def kill_many(opq, target, names):
    items = [{'topic': name, 'url': target.url(), 'message': 'x',
              'retries': 0} for name in names]
    answer = opq.request('POST', '/opq/batch', items)
    assert answer.status == 201, answer


def test_who_comes_too_late_is_told_how_many_are_lost(serve, receivers):
    """Twice 760 events are more than the 1,000 that are kept."""
    opq = serve('--shards=1')
    target = receivers(lambda request: 404)
    with Notices(opq, '?from=0') as events:
        started = events.next()['id']
    for letter in 'ab':
        time.sleep(0 if letter == 'a' else 10.1)  # room for more kinds
        with Notices(opq, '?types=message.dead') as events:
            for first in range(0, 760, 95):
                names = {f'{letter}{first + number}' for number in range(95)}
                kill_many(opq, target, names)
                assert {events.next()['subject'] for _ in names} == names
    with Notices(opq, last=started) as events:
        assert events.next() == {'lost': 2 * 760 - 1000}
        assert events.next()['id'] == started + 2 * 760 - 999
    opq.kill()  # stopping with 3,000 topics takes long


def test_stop_ends_a_stream(serve):
    opq = serve('--drain=30s')
    with Notices(opq) as events:
        begun = time.monotonic()
        opq.signal(signal.SIGTERM)
        while events.next() is not None:
            pass
        assert time.monotonic() - begun < 10
    assert opq.wait() == 0


def test_clients_that_go_leave_nothing(opq, receivers):
    target = receivers(lambda request: 500)
    for _ in range(30):
        with Notices(opq):
            pass
    wait_until(lambda: opq.get('/opq/info').json()['now'][
        'connections'] <= 1)
    opq.push_json('t', target.url(), 'x', retries=0)
    wait_until(lambda: opq.topic('t')['lag'] == 0)


# --- the webhook -------------------------------------------------------------


def test_events_go_to_a_webhook(serve, receivers):
    hook = receivers()
    target = receivers(lambda request: 500)
    opq = serve(f'--events-url={hook.url("/hook")}')
    opq.push_json('t', target.url(), 'x', retries=0)
    hook.wait(2)
    got = [json.loads(one.body) for one in hook.requests]
    assert [one['type'] for one in got] == ['server.started', 'message.dead']
    assert hook.requests[0].path == '/hook'
    assert hook.requests[0].headers['content-type'] == 'application/json'
    assert opq.topic('opq.events')['end'] == 2
    with Notices(opq, '?from=0') as events:
        assert [events.next() for _ in got] == got


def test_webhook_that_fails_makes_no_events(serve, receivers):
    hook = receivers(lambda request: 500)
    opq = serve(f'--events-url={hook.url()}', '--retry-first=10ms',
                '--retry-max=20ms', '--shards=1')
    opq.request('PUT', '/opq/topics/opq.events',
                {'retries': 3, 'slow_after': '100ms'})
    wait_until(lambda: opq.get('/opq/topics/opq.events.dlq').status == 200)
    hook.script = lambda request: Answer(200)
    target = receivers(lambda request: 500)
    opq.push_json('t', target.url(), 'x', retries=0)
    wait_until(lambda: opq.topic('opq.events')['end'] == 2)
    opq.wait_delivered('opq.events', 2)
    with Notices(opq, '?from=0') as events:
        types = [events.next()['type'] for _ in range(2)]
    assert types == ['server.started', 'message.dead']
    assert opq.topic('opq.events')['end'] == 2


def test_webhook_is_not_told_that_it_is_down(serve, receivers):
    hook = receivers()
    url = hook.url()
    hook.close()
    opq = serve(f'--events-url={url}', '--retry-first=10ms',
                '--retry-max=20ms', '--shards=1')
    with Notices(opq, '?types=endpoint.down&from=0') as events:
        assert url.startswith(events.next()['subject'])
    assert opq.topic('opq.events')['end'] == 1


@pytest.mark.parametrize('url', ['nonsense', 'ftp://127.0.0.1/', 'http://'])
def test_wrong_webhook_is_refused(tmp_path, url):
    done = run_cli('--data', str(tmp_path / 'data'), '--port=0',
                   f'--events-url={url}')
    assert done.returncode != 0
    assert 'events_url: ' in done.stderr


# --- the command -------------------------------------------------------------


def test_command_prints_events(opq, receivers):
    target = receivers(lambda request: 404)
    opq.push_json('t', target.url(), 'x', retries=0)
    wait_until(lambda: opq.topic('t')['lag'] == 0)
    lines = opq.run('events', '--from', '0', '-n', '2').stdout.splitlines()
    assert [line.split()[1] for line in lines] == ['server.started',
                                                   'message.dead']
    assert '"status":404' in lines[1]
    done = opq.run('events', '--from', '0', '-n', '1', '--json', '--types',
                   'message.dead', '--topic', 't')
    assert json.loads(done.stdout)['subject'] == 't'
    wrong = opq.run('events', '--types', 'x')
    assert wrong.returncode == 1 and 'types must be' in wrong.stderr
    assert opq.run('events', '-n', '0').returncode == 64


def test_command_goes_on_over_restarts(serve, receivers):
    """A smooth one, then a kill and a start at the same port."""
    opq = serve('--shards=1')
    target = receivers(lambda request: 404)
    with subprocess.Popen([BINARY, 'events', '--url', opq.url, '--from', '0',
                           '--json'], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as command:
        def read():
            event = json.loads(command.stdout.readline())
            return event['type'], event['subject']
        assert read() == ('server.started', 'opq')
        opq.signal(signal.SIGHUP)
        assert read() == ('server.started', 'opq')
        opq.push_json('t', target.url(), 'x', retries=0)
        assert read() == ('message.dead', 't')
        port = opq.port
        opq.kill()
        assert 'trying again' in command.stderr.readline()
        opq.start(f'-port={port}')
        assert read() == ('server.started', 'opq')
        opq.push_json('u', target.url(), 'x', retries=0)
        while read() != ('message.dead', 'u'):
            pass  # that of `t` may come once more, after a kill
        command.send_signal(signal.SIGINT)
        assert command.wait(PATIENCE_S) == -signal.SIGINT
        assert 'may be missing' in command.stderr.read()


def test_command_ends_when_it_is_refused(serve):
    opq = serve('--admin=no')
    done = opq.run('events')
    assert done.returncode == 1 and '404' in done.stderr
    assert opq.stop() == 0
    done = opq.run('events')
    assert done.returncode == 2

"""Pull subscriptions: clients read, acknowledge, and stream a topic's messages.

SPDX-License-Identifier: MIT
"""

import json
import os
import resource
import threading
import time

import pytest
import sanitizer
from harness import BINARY, SLOWNESS, EventStream, wait_until


def subscribe(opq, topic, name, **settings):
    answer = opq.request('PUT', f'/opq/topics/{topic}/subscriptions/{name}',
                         {'kind': 'pull', **settings})
    assert answer.status in (200, 201), answer
    return answer.json()


def path_of(topic, name, call=''):
    return f'/opq/topics/{topic}/subscriptions/{name}{call}'


def show(opq, topic, name):
    answer = opq.get(path_of(topic, name))
    assert answer.status == 200, answer
    return answer.json()


def push(opq, topic, message, **members):
    answer = opq.request('POST', '/opq/push', {
        'topic': topic, 'message': message, **members})
    assert answer.status == 201, answer
    return answer.json()['seq']


def pull(opq, topic, name, query=''):
    answer = opq.get(path_of(topic, name, f'/messages{query}'))
    assert answer.status == 200, answer
    return answer.json()


def numbers(page):
    return [one['seq'] for one in page['messages']]


def ack(opq, topic, name, query, status=200):
    answer = opq.request('POST', path_of(topic, name, f'/ack?{query}'))
    assert answer.status == status, answer
    return answer.json()


class Events(EventStream):
    """Messages that are followed."""

    def next(self):
        """The next message; None at the end of the stream."""
        event = super().next()
        if event is None:
            return None
        assert event['event'] == 'message'
        data = json.loads(event['data'])
        assert data['seq'] == int(event['id'])
        return data

    def take(self, count):
        return [self.next()['seq'] for _ in range(count)]


# --- reading and acknowledging -----------------------------------------------


def test_messages_stay_until_they_are_acknowledged(opq, receiver):
    made = subscribe(opq, 't', 'c')
    assert made['state'] == 'pull'
    assert made['because'] == 'everything is acknowledged'
    for number in range(5):
        push(opq, 't', f'm{number}')
    opq.push_json('t', receiver.url(), 'with a url')  # it gets those, too
    page = pull(opq, 't', 'c')
    assert numbers(page) == list(range(6))
    assert page['messages'][0]['body'] == 'm0'
    assert (page['next'], page['cursor'], page['end']) == (6, 0, 6)
    assert numbers(pull(opq, 't', 'c')) == list(range(6))
    assert numbers(pull(opq, 't', 'c', '?limit=2')) == [0, 1]
    assert numbers(pull(opq, 't', 'c', '?from=4')) == [4, 5]
    shown = ack(opq, 't', 'c', 'seq=2')
    assert (shown['delivered'], shown['lag']) == (3, 3)
    assert 'message 3 waits for a client' in shown['because']
    assert numbers(pull(opq, 't', 'c')) == [3, 4, 5]
    assert numbers(pull(opq, 't', 'c', '?from=0')) == [3, 4, 5]
    ack(opq, 't', 'c', 'seq=0')  # it was; nothing goes back
    assert show(opq, 't', 'c')['delivered'] == 3
    one = opq.get('/opq/topics/t/messages/4').json()['subscriptions'][0]
    assert (one['name'], one['state']) == ('c', 'waiting')
    assert ack(opq, 't', 'c', 'seq=5')['lag'] == 0
    assert numbers(pull(opq, 't', 'c')) == []


def test_single_ones_are_acknowledged_in_any_order(opq):
    subscribe(opq, 't', 'c')
    for number in range(10):
        push(opq, 't', str(number))
    shown = ack(opq, 't', 'c', 'seqs=1,9,5')
    assert (shown['delivered'], shown['lag']) == (0, 7)
    assert numbers(pull(opq, 't', 'c')) == [0, 2, 3, 4, 6, 7, 8]
    ack(opq, 't', 'c', 'seqs=0')
    assert show(opq, 't', 'c')['delivered'] == 2
    ack(opq, 't', 'c', 'seq=4')
    assert show(opq, 't', 'c')['delivered'] == 6
    ack(opq, 't', 'c', 'seqs=7,8,6,6')
    assert show(opq, 't', 'c')['delivered'] == 10


def test_too_many_gaps_are_refused(opq):
    subscribe(opq, 't', 'c')
    opq.request('POST', '/opq/batch', [{'topic': 't', 'message': 'x'}] * 300)
    row = ','.join(str(number) for number in range(1, 257, 2))
    assert ack(opq, 't', 'c', f'seqs={row}')['lag'] == 300 - 128
    assert 'at most 128 ranges' in ack(opq, 't', 'c', 'seqs=299', 409)['detail']
    assert show(opq, 't', 'c')['lag'] == 300 - 128
    ack(opq, 't', 'c', 'seqs=0')
    ack(opq, 't', 'c', 'seqs=299')
    assert show(opq, 't', 'c')['delivered'] == 2


def test_wrong_calls_are_refused(opq, receiver):
    subscribe(opq, 't', 'c')
    push(opq, 't', 'x')
    assert opq.request('PUT', path_of('t', 'p'),
                       {'url': receiver.url()}).status == 201
    for query in ('', 'seq=x', 'seq=0&seqs=0', 'seqs=', 'seqs=1,,2', 'seq=-1',
                  'seq=18446744073709551615', 'seq=0&sync=maybe', 'up=1',
                  'seqs=' + ','.join(['0'] * 1001)):
        ack(opq, 't', 'c', query, 400)
    problem = ack(opq, 't', 'c', 'seq=1', 416)
    assert (problem['oldest'], problem['end']) == (0, 1)
    ack(opq, 't', 'c', 'seqs=0,7', 416)
    assert show(opq, 't', 'c')['delivered'] == 0
    ack(opq, 't', 'p', 'seq=0', 409)
    ack(opq, 't', 'nobody', 'seq=0', 404)
    ack(opq, 'nobody', 'c', 'seq=0', 404)
    for name, status in (('p', 409), ('nobody', 404), ('a%20b', 400)):
        for call in ('/messages', '/events'):
            answer = opq.get(path_of('t', name, call))
            assert answer.status == status, (name, call, answer)
    assert opq.get(path_of('t', 'c', '/messages?from=2')).status == 416
    assert opq.get(path_of('t', 'c', '/messages?wait=61s')).status == 400
    assert opq.get(path_of('t', 'c', '/events?from=2')).status == 416
    assert opq.get('/opq/topics/nobody/events').status == 404


def test_filter_leaves_messages_out_and_holds_nothing(opq):
    subscribe(opq, 't', 'c', filter='label = "red"')
    for number in range(20):
        push(opq, 't', str(number), label='red' if number % 3 == 1 else 'blue')
    red = [1, 4, 7, 10, 13, 16, 19]
    page = pull(opq, 't', 'c')
    assert numbers(page) == red
    assert page['cursor'] == 1  # what was before it is none of this one's
    ack(opq, 't', 'c', 'seqs=' + ','.join(map(str, red)))
    assert show(opq, 't', 'c')['delivered'] == 20
    push(opq, 't', 'x', label='blue')
    assert numbers(pull(opq, 't', 'c')) == []
    assert show(opq, 't', 'c')['lag'] == 0


def test_filter_that_lets_little_pass(opq):
    subscribe(opq, 't', 'c', filter='label = "red"')
    for _ in range(5):
        opq.request('POST', '/opq/batch',
                    [{'topic': 't', 'message': 'x', 'label': 'blue'}] * 1000)
    push(opq, 't', 'needle', label='red')
    page = pull(opq, 't', 'c', '?limit=1')
    assert numbers(page) == [5000]
    assert page['cursor'] == 5000


def test_long_poll_waits_for_the_next_message(opq):
    subscribe(opq, 't', 'c', filter='label = "red"')
    pages = []

    def wait():
        pages.append(pull(opq, 't', 'c', '?wait=30s'))
    thread = threading.Thread(target=wait)
    thread.start()
    push(opq, 't', 'x')
    push(opq, 't', 'y', label='red')
    thread.join()
    assert numbers(pages[0]) == [1]
    begun = time.monotonic()
    assert numbers(pull(opq, 't', 'c', '?from=2&wait=200ms')) == []
    assert time.monotonic() - begun >= 0.2


def test_client_that_goes_while_it_waits_harms_nothing(opq):
    subscribe(opq, 't', 'c')
    for _ in range(10):
        with opq.connect() as connection:
            connection.send(f'GET {path_of("t", "c", "/messages?wait=30s")} '
                            'HTTP/1.1\r\nHost: h\r\n\r\n')
    push(opq, 't', 'x')
    assert numbers(pull(opq, 't', 'c')) == [0]


def test_paused_gives_nothing(opq):
    subscribe(opq, 't', 'c', paused=True)
    push(opq, 't', 'x')
    assert numbers(pull(opq, 't', 'c')) == []
    assert show(opq, 't', 'c')['state'] == 'paused'
    assert opq.request('POST', path_of('t', 'c', '/resume')).status == 200
    assert numbers(pull(opq, 't', 'c')) == [0]


def test_deletion_ends_what_waits(opq):
    subscribe(opq, 't', 'c')
    answers = []
    thread = threading.Thread(target=lambda: answers.append(
        opq.get(path_of('t', 'c', '/messages?wait=30s'))))
    thread.start()
    wait_until(lambda: opq.get('/opq/info').json()['now']['connections'] >= 2)
    assert opq.request('DELETE', '/opq/topics/t').status == 204
    thread.join()
    assert answers[0].status == 404


@pytest.mark.parametrize('end', ['stop', 'kill'])
def test_restart_keeps_what_was_acknowledged(opq, end):
    subscribe(opq, 't', 'c')
    for number in range(20):
        push(opq, 't', str(number))
    for number in (3, 7, 11):
        ack(opq, 't', 'c', f'seqs={number}')
    ack(opq, 't', 'c', 'seq=1')
    if end == 'stop':
        opq.stop()
    else:
        opq.kill()
    opq.start()
    left = [number for number in range(2, 20) if number not in (3, 7, 11)]
    assert numbers(pull(opq, 't', 'c')) == left
    assert show(opq, 't', 'c')['delivered'] == 2


def test_acknowledging_without_a_sync(opq):
    subscribe(opq, 't', 'c')
    push(opq, 't', 'x')
    push(opq, 't', 'y')
    assert ack(opq, 't', 'c', 'seq=0&sync=none')['delivered'] == 1
    opq.kill()  # the process, not the machine
    opq.start()
    assert numbers(pull(opq, 't', 'c')) == [1]


def test_retention_keeps_what_is_not_acknowledged(serve):
    opq = serve('--segment-count=10', '--checkpoint-interval=100ms')
    opq.request('PUT', '/opq/topics/t', {'retain_count': 10})
    subscribe(opq, 't', 'c')
    for number in range(50):
        push(opq, 't', str(number))
    assert opq.topic('t')['oldest'] == 0
    ack(opq, 't', 'c', 'seq=49')
    push(opq, 't', 'x')
    wait_until(lambda: opq.topic('t')['oldest'] > 0)
    subscribe(opq, 't', 'c', hold='no')
    oldest = opq.topic('t')['oldest']
    for number in range(50):
        push(opq, 't', str(number))
    wait_until(lambda: opq.topic('t')['oldest'] > oldest)


def test_dead_letters_are_pulled(opq, receiver):
    receiver.script = lambda request: 500
    opq.request('PUT', '/opq/topics/t', {'retries': 0})
    opq.push_json('t', receiver.url(), 'x')
    wait_until(lambda: opq.get('/opq/topics/t.dlq').status == 200)
    subscribe(opq, 't.dlq', 'look', start='oldest')
    page = pull(opq, 't.dlq', 'look')
    assert page['messages'][0]['dead']['topic'] == 't'


# --- events ------------------------------------------------------------------


def test_events_of_a_topic_follow_it(opq, receiver):
    for number in range(3):
        opq.push_json('t', receiver.url(), str(number))
    with Events(opq, '/opq/topics/t/events') as new, \
            Events(opq, '/opq/topics/t/events?from=1') as old:
        assert new.status == 200
        assert new.headers['content-type'] == 'text/event-stream'
        assert new.headers['cache-control'] == 'no-store'
        assert old.take(2) == [1, 2]
        for number in range(3, 6):
            opq.push_json('t', receiver.url(), f'line\n{number}')
        assert new.take(2) == [3, 4]
        assert old.take(3) == [3, 4, 5]
        last = new.next()
        assert last['body'] == 'line\n5'
    with Events(opq, '/opq/topics/t/events', last=3) as again:
        assert again.take(2) == [4, 5]
    opq.wait_delivered('t', 6)
    assert receiver.sequences('t') == list(range(6))  # reading moves nothing


def test_events_of_a_subscription(opq):
    subscribe(opq, 't', 'c', filter='label = "red"')
    for number in range(6):
        push(opq, 't', str(number), label='red' if number % 2 else 'blue')
    ack(opq, 't', 'c', 'seqs=3')
    with Events(opq, path_of('t', 'c', '/events')) as events:
        assert events.take(2) == [1, 5]
        push(opq, 't', 'x', label='red')
        assert events.take(1) == [6]
    with Events(opq, path_of('t', 'c', '/events'), last=1) as events:
        assert events.take(2) == [5, 6]
    ack(opq, 't', 'c', 'seq=5')
    with Events(opq, path_of('t', 'c', '/events'), last=0) as events:
        assert events.take(1) == [6]
    assert show(opq, 't', 'c')['delivered'] == 6


def test_stream_ends_with_its_topic_and_with_the_server(opq, receiver):
    opq.push_json('t', receiver.url(), 'x')
    opq.push_json('u', receiver.url(), 'x')
    with Events(opq, '/opq/topics/t/events') as one, \
            Events(opq, '/opq/topics/u/events') as other:
        assert opq.request('DELETE', '/opq/topics/t').status == 204
        assert one.next() is None
        begun = time.monotonic()
        assert opq.stop() == 0
        assert time.monotonic() - begun < 10
        assert other.next() is None
    assert other.comments >= 1


def waiting(opq, path, found, streams=1):
    """A request that waits, in a thread; its answer is appended."""
    thread = threading.Thread(target=lambda: found.append(opq.get(path)))
    thread.start()
    wait_until(lambda: opq.get('/opq/info').json()['now']['connections']
               >= streams + 2)
    return thread


def test_what_waits_ends_with_its_subscription(opq):
    subscribe(opq, 't', 'c')
    subscribe(opq, 't', 'other')
    push(opq, 't', 'x')
    ack(opq, 't', 'c', 'seq=0')
    found = []
    begun = time.monotonic()
    with Events(opq, path_of('t', 'c', '/events')) as stream, \
            Events(opq, path_of('t', 'other', '/events')) as other:
        assert other.take(1) == [0]
        thread = waiting(opq, path_of('t', 'c', '/messages?wait=60s'), found,
                         streams=2)
        assert opq.request('DELETE', path_of('t', 'c')).status == 204
        assert stream.next() is None
        thread.join()
        push(opq, 't', 'y')
        assert other.take(1) == [1]
    assert time.monotonic() - begun < 12 * SLOWNESS
    assert found[0].status == 404
    assert 'subscription' in found[0].json()['detail']


def test_change_of_the_filter_is_for_those_who_wait_too(opq):
    """What the old filter left out would be taken as read."""
    subscribe(opq, 't', 'c', filter='label = "red"')
    found = []
    with Events(opq, path_of('t', 'c', '/events')) as stream:
        thread = waiting(opq, path_of('t', 'c', '/messages?wait=60s'), found)
        subscribe(opq, 't', 'c', filter='label = "blue"')
        push(opq, 't', 'x', label='blue')
        thread.join()
        assert found[0].json()['cursor'] == 0
        assert numbers(pull(opq, 't', 'c')) == [0]
        assert stream.take(1) == [0]


def test_pause_and_resume_reach_those_who_wait(opq):
    subscribe(opq, 't', 'c')
    begun = time.monotonic()
    with Events(opq, path_of('t', 'c', '/events')) as stream:
        push(opq, 't', 'x')
        assert stream.take(1) == [0]
        assert opq.request('POST', path_of('t', 'c', '/pause')).status == 200
        push(opq, 't', 'y')
        found = []
        thread = waiting(opq, path_of('t', 'c', '/messages?wait=60s'), found)
        assert opq.request('POST', path_of('t', 'c', '/resume')).status == 200
        assert stream.take(1) == [1]
        thread.join()
        assert numbers(pull(opq, 't', 'c')) == [0, 1]
    assert time.monotonic() - begun < 12 * SLOWNESS


def usage(opq):
    """Memory in MiB, processor time in seconds."""
    with open(f'/proc/{opq.pid}/statm', encoding='ascii') as file:
        pages = int(file.read().split()[1])
    with open(f'/proc/{opq.pid}/stat', encoding='ascii') as file:
        ticks = file.read().rsplit(')', 1)[1].split()[11:13]
    return (pages * resource.getpagesize() / (1 << 20),
            sum(map(int, ticks)) / os.sysconf('SC_CLK_TCK'))


def test_slow_clients_hold_neither_memory_nor_a_stop(serve, receiver):
    opq = serve('--shards=2', '--drain=60s')
    for number in range(100):
        opq.push_json('t', receiver.url(), 'x' * 100_000)
    opq.wait_delivered('t', 100)
    before = usage(opq)[0]
    streams = [Events(opq, '/opq/topics/t/events?from=0') for _ in range(50)]

    def filled():
        """Nothing more is read for them."""
        used = usage(opq)[1]
        time.sleep(1)
        return usage(opq)[1] - used < 0.2
    wait_until(filled)
    if sanitizer.kind_of(BINARY) is None:
        assert usage(opq)[0] - before < 50 * 0.6
    assert streams[7].take(100) == list(range(100))
    begun = time.monotonic()
    assert opq.stop() == 0
    assert time.monotonic() - begun < 15 * SLOWNESS
    for stream in streams:
        stream.connection.close()


def test_head_of_a_stream_ends(opq, receiver):
    opq.push_json('t', receiver.url(), 'x')
    answer = opq.request('HEAD', '/opq/topics/t/events?from=0')
    assert (answer.status, answer.body) == (200, b'')
    answer = opq.request('GET', '/opq/topics/t/events',
                         headers={'Last-Event-ID': 'x'})
    assert answer.status == 400


def test_slow_client_gets_all_and_slows_no_other(opq, receiver):
    text = 'x' * 100_000
    for number in range(60):
        opq.push_json('t', receiver.url(), text)
    with Events(opq, '/opq/topics/t/events?from=0') as slow, \
            Events(opq, '/opq/topics/t/events?from=0') as fast:
        assert fast.take(60) == list(range(60))
        assert slow.take(60) == list(range(60))


def test_message_larger_than_a_stream_may_hold(opq, receiver):
    text = '\u0001' * 700_000  # six bytes each in JSON
    answer = opq.request('POST', f'/opq/push?topic=t&url={receiver.url()}',
                         text, {'Content-Type': 'text/plain'})
    assert answer.status == 201
    with Events(opq, '/opq/topics/t/events?from=0') as events:
        assert events.next()['body'] == text


def test_clients_that_go_leave_nothing(serve, receiver):
    opq = serve('--shards=3')
    for topic in range(4):
        opq.push_json(f't{topic}', receiver.url(), 'x')
        for _ in range(5):
            with Events(opq, f'/opq/topics/t{topic}/events?from=0') as events:
                assert events.take(1) == [0]
    wait_until(
        lambda: opq.get('/opq/info').json()['now']['connections'] <= 2)
    for topic in range(4):
        assert opq.request('DELETE', f'/opq/topics/t{topic}').status == 204


def test_many_shards(serve):
    opq = serve('--shards=3')
    for topic in range(6):
        subscribe(opq, f't{topic}', 'c')
        for number in range(4):
            push(opq, f't{topic}', str(number))
    for topic in range(6):
        assert numbers(pull(opq, f't{topic}', 'c')) == [0, 1, 2, 3]
        with Events(opq, path_of(f't{topic}', 'c', '/events')) as events:
            assert events.take(4) == [0, 1, 2, 3]
        ack(opq, f't{topic}', 'c', 'seqs=1,2')
        assert numbers(pull(opq, f't{topic}', 'c')) == [0, 3]


# --- the subcommands ---------------------------------------------------------


def test_subcommands(opq, receiver):
    done = opq.run('subscriptions', 'set', 't', 'c', 'kind=pull',
                   'filter=label = "red"')
    assert done.returncode == 0, done
    done = opq.run('subscriptions', 'set', 't', 'p', 'start=oldest',
                   f'url={receiver.url()}', 'headers={"X-A":"1"}')
    assert done.returncode == 0, done
    for number in range(4):
        push(opq, 't', f'm{number}', label='red' if number % 2 else 'blue')
    receiver.wait(4)
    listed = opq.run('subscriptions', 't')
    assert [line.split()[:2] for line in listed.stdout.splitlines()] == [
        ['NAME', 'KIND'], ['c', 'pull'], ['p', 'push']]
    lines = opq.run('subscriptions', 'list', 't', '--json').stdout.splitlines()
    assert [json.loads(line)['name'] for line in lines] == ['c', 'p']
    for _ in range(2):
        shown = opq.run('pull', 't', 'c')
        assert [line.split()[0] for line in shown.stdout.splitlines()] == [
            '1', '3']
        assert shown.stdout.splitlines()[0].endswith('m1')
    once = opq.run('pull', 't', 'c', '-n', '1', '--ack', '--json')
    assert json.loads(once.stdout)['seq'] == 1
    assert opq.run('pull', 't', 'c', '--ack').stdout.split()[0] == '3'
    assert opq.run('pull', 't', 'c').stdout == ''
    assert show(opq, 't', 'c')['lag'] == 0
    assert opq.run('subscriptions', 'pause', 't', 'p').returncode == 0
    assert show(opq, 't', 'p')['paused'] is True
    assert opq.run('subscriptions', 'resume', 't', 'p').returncode == 0
    assert opq.run('subscriptions', 'replay', 't', 'p', '2').returncode == 0
    receiver.wait(6)
    member = opq.run('subscriptions', 'show', 't', 'p').stdout
    assert 'delivered' in member
    assert opq.run('subscriptions', 'rm', 't', 'p').returncode == 0
    failed = opq.run('subscriptions', 'show', 't', 'p')
    assert failed.returncode == 1
    assert 'not known' in failed.stderr
    assert opq.run('subscriptions', 'walk', 't', 'p').returncode == 64
    assert opq.run('pull', 't').returncode == 64

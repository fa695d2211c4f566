"""How each operation of openapi.json is walked: calls, and what they need.

An operation that has no walk here fails test_openapi.py, and so does a declared
parameter or status that no call of the walk has.

SPDX-License-Identifier: MIT
"""

import itertools
import urllib.parse

from harness import Receiver, wait_until

FORM = 'application/x-www-form-urlencoded'
MULTIPART = 'multipart/form-data; boundary=b'
EVENT = 'application/cloudevents+json'
EVENTS = 'application/cloudevents-batch+json'
INTERNAL = '.opq.own'
BEGINNING = '2020-01-01T00:00:00Z'
MANY_FIELDS = {f'X-{number}': 'a' for number in range(101)}
HUGE = {'Content-Length': str(99 << 20)}
OPTIONS = {
    'key': 'k', 'priority': 5, 'retries': 3, 'ttl': '1h', 'label': 'l',
    'retry_schedule': '1s,5s', 'dedup_id': 'd', 'collapse': 'c',
    'flow_key': 'f', 'timeout': '5s', 'headers': {'X-A': '1'}}
LONG_URL = 'http://127.0.0.1:9/' + 'a' * 8300


class World:
    """A server, a target that accepts, one that does not; and what is in it.

    The methods without leading words make a thing that no other call has, and
    give its name.
    """

    def __init__(self, opq, receiver, failing, folder):
        self.opq = opq
        self.folder = folder
        self.good = receiver.url()
        self.bad = receiver.url('/bad')    # a dead letter at once
        self.failing = failing.url()       # a retry after the other
        self.receivers = []                # those of one call alone
        self.numbers = itertools.count()

    def close(self):
        for receiver in self.receivers:
            receiver.close()

    def name(self, kind='t'):
        return f'{kind}-{next(self.numbers)}'

    def file(self, text):
        path = self.folder / self.name('file')
        path.write_text(text)
        return str(path)

    def done(self, method, path, body=None):
        """A call of the preparation, which must succeed."""
        answer = self.opq.request(method, path, body)
        assert answer.status < 300, (method, path, answer)
        return answer

    def push(self, topic, url, **members):
        url = {'url': url} if url else {}
        said = {} if 'message_base64' in members else {'message': 'hello'}
        body = {'topic': topic, **said, **url, **members}
        return self.done('POST', '/opq/push', body).json()

    def topic(self):
        """With messages of each kind and all options; one is delivered."""
        name = self.name()
        path = f'/opq/topics/{name}'
        self.done('PUT', f'{path}/subscriptions/all', {'kind': 'pull'})
        self.push(name, self.good)
        self.opq.wait_delivered(name, 1)
        self.done('POST', f'{path}/pause')
        self.push(name, self.good, **OPTIONS, callback=self.good,
                  failure_callback=self.good)
        self.push(name, self.good, message_base64='/w==')
        answer = self.opq.push(name, self.good, 'a form', more=b'\xff')
        assert answer.status == 201, answer
        # A body that goes through a file, and a header that is not UTF-8.
        answer = self.opq.request(
            'POST', f'/opq/push?topic={name}', 'x' * 70000,
            {'Content-Type': 'text/plain', 'Opq-Url': self.good,
             'Opq-Forward-X-B': b'\xff'})
        assert answer.status == 201, answer
        return name

    def failing_topic(self):
        """Whose first message is tried again and again."""
        name = self.name()
        self.push(name, self.failing)
        self.push(name, self.failing)
        wait_until(lambda: self.opq.topic(name).get('last_error'), 'a failure')
        return name

    def dead(self):
        """A topic with a dead letter."""
        name = self.name()
        self.done('PUT', f'/opq/topics/{name}', {'permanent_status': '400'})
        self.push(name, self.bad)
        wait_until(lambda: self.opq.topic(name)['dead'] == 1, 'a dead letter')
        return name

    def dead_of_subscription(self):
        """A topic with a dead letter of its subscription `one`."""
        name = self.name()
        self.done('PUT', f'/opq/topics/{name}/subscriptions/one',
                  {'url': self.bad, 'permanent_status': '400'})
        self.push(name, None)
        wait_until(lambda: self.opq.topic(name)['dead'] == 1, 'a dead letter')
        return name

    def retried_letter(self):
        """Whose second message was a dead letter of a subscription."""
        name = self.dead_of_subscription()
        self.done('POST', f'/opq/dlq/retry?topic={name}')
        return name

    def failing_subscription(self):
        """Whose first message is tried again and again."""
        name = self.name()
        self.done('PUT', f'/opq/topics/{name}/subscriptions/one',
                  {'url': self.failing})
        self.push(name, None)
        self.push(name, None)
        path = f'/opq/topics/{name}/subscriptions/one'
        wait_until(lambda: 'last_error' in self.opq.get(path).json(),
                   'a failure')
        return name

    def broken_endpoint(self):
        """The URL of an endpoint that fails, with what is for it."""
        receiver = Receiver(lambda request: 503)
        self.receivers.append(receiver)
        name = self.name()
        for _ in range(2):
            self.push(name, receiver.url())
        wait_until(lambda: self.opq.topic(name).get('last_error'), 'a failure')
        return receiver.url()

    def released_endpoint(self):
        url = self.broken_endpoint()
        self.done('POST', '/opq/endpoints/release?' + urllib.parse.urlencode(
            {'endpoint': url, 'rate': '1/1d'}))
        return url

    def subscription(self, kind='push', settings=None):
        """A topic with a subscription `one` and messages of it."""
        name = self.name()
        url = {} if kind == 'pull' else {'url': self.good}
        self.done('PUT', f'/opq/topics/{name}/subscriptions/one',
                  {'kind': kind, **url, **(settings or {})})
        for _ in range(3):
            self.push(name, None)
        return name

    def held_subscription(self):
        return self.subscription(settings={'paused': True})

    def pull(self):
        return self.subscription('pull')

    def no_sender(self):
        """A topic whose message has no URL of its own."""
        return self.subscription('pull')

    def delayed(self):
        return self.push(self.name(), self.good, delay='1h', **OPTIONS)['id']

    def handed_on(self):
        """A message that was delayed, and is in its topic."""
        name = self.name()
        pushed = self.push(name, self.good, delay='1ms')
        wait_until(lambda: self.opq.get(f'/opq/topics/{name}').status == 200
                   and self.opq.topic(name)['delivered'] == 1, 'the delayed')
        return pushed['id']

    def cron(self, **members):
        return {'cron': '0 0 1 1 *', 'topic': self.name(), 'url': self.good,
                'message': 'x', **members}

    def schedule(self):
        name = self.name('s')
        self.done('PUT', f'/opq/schedules/{name}', self.cron())
        return name

    def replay(self):
        """One of a topic that has a lot of it left."""
        answer = self.done('POST', '/opq/replays', {
            'topic': self.topic(), 'url': self.good, 'rate': '1/1d',
            'from': 0})
        return answer.json()['id']

    def done_replay(self):
        name = self.name()
        self.push(name, self.good)
        self.opq.wait_delivered(name, 1)
        answer = self.done('POST', '/opq/replays', {'topic': name})
        replay = answer.json()['id']
        wait_until(lambda: 'finished_at' in self.opq.get(
            f'/opq/replays/{replay}').json(), 'the end of a replay')
        return replay

    def letter(self):
        """A topic of dead letters."""
        return f'{self.dead()}.dlq'

    def value(self, wanted):
        """What a call of the table has: as it is, or made now."""
        if isinstance(wanted, dict):
            return {name: self.value(one) for name, one in wanted.items()}
        return wanted(self) if callable(wanted) else wanted


class Call:
    """A request, and the status that it must get."""

    def __init__(self, status, path=None, query=None, **rest):
        self.status = status
        self.path = path or {}
        self.query = query or {}
        self.headers = rest.pop('headers', {})
        self.body = rest.pop('body', None)
        self.content_type = rest.pop('type', None)  # of the body
        self.needs = rest.pop('needs', None)  # made before
        self.note = rest.pop('note', '')  # why it is refused
        assert not rest, rest


class Walk:
    """All calls of an operation."""

    def __init__(self, *calls, **how):
        self.calls = calls
        # What a parameter of an unknown name is answered with.
        self.unknown = how.pop('unknown', 400)
        # The command that does the same, each with what it is given; None
        # and why: those are for programs.
        self.command = how.pop('command', None)
        # Statuses that no call can have: what they need is elsewhere tested.
        self.elsewhere = {500, 503, 507} | set(how.pop('elsewhere', ()))
        # It changes nothing that is on the disk, or tells so of each item.
        self.in_memory = how.pop('in_memory', False)
        assert not how, how


def topic(make=World.topic, **more):
    return {'topic': make, **more}


def subscription(make=World.held_subscription, name='one'):
    return {'topic': make, 'subscription': name}


NOBODY = {'topic': 'nobody'}
NO_SUBSCRIPTION = {'topic': World.topic, 'subscription': 'nobody'}
NO_SCHEDULE = {'schedule': 'nobody'}
NO_REPLAY = {'replay': 'replay-0000000000000000'}
OWN = {'topic': INTERNAL}
OWN_SUBSCRIPTION = {'topic': INTERNAL, 'subscription': 'one'}
ABSENT = {'id': 'dly_0'}
SETTINGS = {
    'paused': 'yes', 'order': 'key', 'concurrency': '2',
    'endpoint_concurrency': '2', 'timeout': '5s', 'retries': '5',
    'retry_schedule': '1s', 'permanent_status': '400', 'rate': '9/1s',
    'flow_rate': '9/1s', 'expired': 'drop', 'secret': 'a', 'batch': '2,1ms',
    'batch_format': 'json', 'cloudevents': 'structured',
    'cloudevents_source': '/here', 'cloudevents_type': 'a.b',
    'slow_after': '5m'}
TOPIC_SETTINGS = {
    **SETTINGS, 'dedup_window': '1m', 'dedup': 'content', 'retain_age': '7d',
    'retain_bytes': '1g', 'retain_count': '10', 'discard': 'old'}
SUBSCRIPTION_SETTINGS = {
    **SETTINGS, 'url': lambda world: world.good, 'kind': 'mirror',
    'filter': 'key = "a"', 'headers': '{"X-A": "1"}', 'share': '50%',
    'hold': 'no'}
BATCH_OPTIONS = {
    'topic': World.name, 'url': lambda world: world.good, 'sync': 'none',
    'timeout': '5s', 'method': 'PUT', 'content_type': 'text/x', 'ttl': '1h',
    'key': 'k', 'priority': '1', 'retries': '1', 'retry_schedule': '1s',
    'label': 'l', 'collapse': 'c', 'flow_key': 'f',
    'callback': lambda world: world.good,
    'failure_callback': lambda world: world.good}
TARGET = {'topic': World.name, 'url': lambda world: world.good}
PUSH_OPTIONS = {**BATCH_OPTIONS, 'dedup_id': 'd', 'expect_seq': '0'}
LETTERS = {
    'seq': '0', 'status': '400', 'reason': 'permanent_status',
    'class': 'http_4xx', 'from': BEGINNING, 'to': '2100-01-01T00:00:00Z'}


def push_body(world, **members):
    return {'topic': world.name(), 'url': world.good, 'message': 'x', **members}


def event(world, **members):
    return {'specversion': '1.0', 'id': world.name(), 'source': '/a',
            'type': 'b', 'time': BEGINNING, 'extra': 1, **members}


def twice(world):
    """A push that was made already."""
    body = push_body(world, dedup_id='d')
    world.done('POST', '/opq/push', body)
    return body


def letters_cursor(world):
    """Where a list goes on behind its first page."""
    world.dead()
    world.dead()
    return world.done('GET', '/opq/dlq?limit=1').json()['next']


def delayed_cursor(world):
    world.delayed()
    world.delayed()
    return world.done('GET', '/opq/delayed?limit=1').json()['next']


def letters_walk(command):
    """Of both changes of dead letters."""
    return Walk(
        Call(200, query={'topic': World.dead, **LETTERS}),
        Call(200, query={'all': 'yes', 'cursor': letters_cursor,
                         'subscription': 'nobody'}),
        Call(404, query=NOBODY),
        Call(404, query={'topic': World.dead, 'seq': '77'}),
        Call(400, note='which ones?'),
        Call(400, query={'all': 'perhaps'}),
        Call(400, query={'all': 'yes'}, body={'topic': 'a'}),
        command=(command, '--topic', World.dead))


WALKS = {
    'push': Walk(
        Call(201, body=push_body),
        Call(201, body=push_body, headers={'Idempotency-Key': 'i'}),
        Call(201, body=lambda world: push_body(world, delay='1h')),
        Call(201, body=lambda world: push_body(
            world, message={'n': [1]}, sync='none', timeout='9s', method='PUT',
            not_before=BEGINNING, ttl=60, key='k', priority=1, retries=2,
            retry_schedule='1s', label='l', dedup_id='d', collapse='c',
            flow_key='f', callback=world.good, failure_callback=world.good,
            expect_seq=0, headers={'X-A': 'b'})),
        Call(201, query=PUSH_OPTIONS, body='raw', type='text/markdown'),
        Call(201, query={'topic': World.name, 'delay': '1h',
                         'url': lambda world: world.good},
             body='raw', type='text/markdown'),
        Call(201, query={'topic': World.name, 'not_before': '0',
                         'url': lambda world: world.good}, body='x',
             type='text/plain', headers={'Accept': 'application/json'}),
        Call(201, type=FORM, body=lambda world:
             f'topic={world.name()}&url={world.good}&message=1'),
        Call(201, type=MULTIPART, body=lambda world: '\r\n'.join(
            ['--b', 'Content-Disposition: form-data; name="topic"', '',
             world.name(), '--b', 'Content-Disposition: form-data; name="url"',
             '', world.good, '--b--', ''])),
        Call(201, type=EVENT, query=TARGET, body=event),
        Call(201, type=EVENTS, query=TARGET, body=lambda world: [
            event(world), event(world, data_base64='AA==')]),
        Call(207, type=EVENTS, query=TARGET, note='one is none',
             body=lambda world: [event(world), {'id': 'x'}]),
        Call(202, body=twice),
        Call(202, body='x', type='text/plain', query={
            'topic': lambda world: twice(world)['topic'], 'dedup_id': 'd',
            'url': lambda world: world.good}),
        Call(400, body={'topic': 'a'}, note='nobody to send it to'),
        Call(400, body=lambda world: push_body(world, colour='blue')),
        Call(400, body='x', type='text/plain'),
        Call(400, body=lambda world: push_body(world, topic=INTERNAL)),
        Call(412, body=lambda world: push_body(world, expect_seq=9)),
        Call(412, query={'topic': World.name, 'expect_seq': '9',
                         'url': lambda world: world.good}, body='x',
             type='text/plain'),
        Call(413, headers=HUGE, type='text/plain'),
        Call(414, body=lambda world: push_body(world, url=LONG_URL)),
        Call(431, body=push_body, headers=MANY_FIELDS),
        command=('push', World.name, lambda world: world.good, 'hello')),
    'batch': Walk(
        Call(201, body=lambda world: [push_body(world), push_body(
            world, delay='1h'), twice(world)]),
        Call(201, type='application/x-ndjson',
             body=lambda world: '{"message":1}\n{"message":2}',
             query=BATCH_OPTIONS),
        Call(201, body=lambda world: [push_body(world)],
             query={'delay': '1h'}),
        Call(201, body=lambda world: [push_body(world)],
             query={'not_before': BEGINNING}),
        Call(207, body=lambda world: [push_body(world), {'topic': 'a'},
                                      push_body(world, expect_seq=9)]),
        Call(400, body='[', type='application/json'),
        Call(201, type=EVENTS, query=TARGET,
             body=lambda world: [event(world), event(world, data=[1])]),
        Call(400, body=lambda world: [push_body(world)],
             query={'dedup_id': 'd'}, note='of one message'),
        Call(413, headers=HUGE, type='application/json'),
        Call(431, body=[], headers=MANY_FIELDS),
        in_memory=True, command=('batch', lambda world: world.file(
            f'{{"topic":"b","url":"{world.good}","message":1}}\n'
            f'{{"topic":"b","url":"{world.good}","delay":"1h"}}\n'))),
    'replay': Walk(
        Call(201, body={'topic': World.topic, 'cmd': 0}),
        Call(201, query={'topic': World.topic, 'cmd': '1'}),
        Call(201, headers={'Opq-Topic': World.topic, 'Opq-Cmd': '1'}),
        Call(201, type=FORM, body=lambda world: f'topic={world.topic()}&cmd=0'),
        Call(201, type=MULTIPART, body=lambda world: '\r\n'.join(
            ['--b', 'Content-Disposition: form-data; name="topic"', '',
             world.topic(), '--b',
             'Content-Disposition: form-data; name="cmd"', '', '0', '--b--',
             ''])),
        Call(400, body={'topic': World.topic}),
        Call(400, query={'cmd': 'x', 'topic': World.topic}),
        Call(404, body={'topic': 'nobody', 'cmd': 0}),
        Call(404, query={'topic': 'nobody', 'cmd': '0'}),
        Call(415, body='x', type='text/plain'),
        Call(416, body={'topic': World.topic, 'cmd': 99}),
        Call(416, query={'topic': World.topic, 'cmd': '99'}),
        Call(431, headers=MANY_FIELDS),
        command=('replay', World.topic, '0')),
    'listTopics': Walk(
        Call(200),
        Call(200, query={'limit': '1', 'after': 'a', 'internal': 'yes'}),
        Call(400, query={'limit': '1001'}),
        Call(400, query={'internal': 'perhaps'}),
        command=('topics',)),
    'getTopic': Walk(
        Call(200, topic()), Call(200, topic(World.failing_topic)),
        Call(200, topic(World.dead)), Call(200, topic(World.letter)),
        Call(200, topic(World.dead_of_subscription)),
        Call(200, topic(World.subscription)),
        Call(404, NOBODY), Call(400, {'topic': '..'}),
        command=('topics', World.topic)),
    'setTopic': Walk(
        Call(200, topic(), body={'order': 'key', 'retries': 4}),
        Call(201, topic(World.name), query=TOPIC_SETTINGS),
        Call(201, topic(World.name), headers={'Opq-Timeout': '5s'}),
        Call(400, topic(World.name), body={'colour': 'blue'}),
        Call(400, topic(World.name), body={'timeout': 'soon'}),
        Call(400, topic(World.name), body={'kind': 'pull'}),
        Call(403, OWN),
        Call(409, topic(World.name),
             body={'batch': '2,1ms', 'cloudevents': 'binary'}),
        command=('set', World.topic, 'order=key')),
    'deleteTopic': Walk(
        Call(204, topic()), Call(404, NOBODY), Call(400, {'topic': '..'}),
        Call(403, OWN),
        command=('delete', World.topic)),
    'pauseTopic': Walk(
        Call(200, topic()), Call(404, NOBODY), Call(400, {'topic': '..'}),
        Call(400, topic(), body={'paused': True}), Call(403, OWN),
        command=('pause', World.topic)),
    'resumeTopic': Walk(
        Call(200, topic()), Call(404, NOBODY), Call(400, {'topic': '..'}),
        Call(400, topic(), body={'paused': True}), Call(403, OWN),
        command=('resume', World.topic)),
    'purgeTopic': Walk(
        Call(200, topic()), Call(200, topic(), {'before': '1'}),
        Call(404, NOBODY), Call(400, topic(), {'before': 'x'}),
        Call(400, topic(), headers={'Opq-Before': '1'}), Call(403, OWN),
        command=('purge', World.topic, '--before', '1')),
    'listMessages': Walk(
        Call(200, topic()),
        Call(200, topic(), {'from': '1', 'limit': '2', 'wait': '1ms'}),
        Call(200, topic(), {'from_time': BEGINNING}),
        Call(200, topic(World.letter)),
        Call(404, NOBODY), Call(416, topic(), {'from': '99'}),
        Call(400, topic(), {'from': '0', 'from_time': BEGINNING}),
        Call(400, topic(), {'wait': '61s'}),
        command=('tail', World.topic)),
    'getMessage': Walk(
        *(Call(200, topic(seq=str(number))) for number in range(5)),
        Call(200, topic(World.failing_topic, seq='0')),
        Call(200, topic(World.failing_topic, seq='1')),
        Call(200, topic(World.failing_subscription, seq='0')),
        Call(200, topic(World.failing_subscription, seq='1')),
        Call(200, topic(World.retried_letter, seq='1')),
        Call(200, topic(World.letter, seq='0')),
        Call(200, topic(World.subscription, seq='0')),
        Call(404, topic(seq='99')), Call(404, {**NOBODY, 'seq': '0'}),
        Call(400, {'topic': '..', 'seq': '0'}),
        command=('message', World.topic, '0')),
    'getMessageCommand': Walk(
        *(Call(200, topic(seq=str(number))) for number in range(4)),
        Call(200, topic(World.letter, seq='0')),
        Call(404, topic(seq='99')), Call(404, {**NOBODY, 'seq': '0'}),
        Call(400, {'topic': '..', 'seq': '0'}),
        Call(409, topic(World.no_sender, seq='0')),
        command=('message', World.topic, '0', '--curl')),
    'streamTopic': Walk(
        Call(200, topic(), {'from': '0'}),
        Call(200, topic(), headers={'Last-Event-ID': '0'}),
        Call(404, NOBODY), Call(416, topic(), {'from': '99'}),
        Call(400, topic(), {'from': 'x'}),
        command=(None, 'tail -f waits for pages instead')),
    'streamEvents': Walk(
        Call(200, {}, {'from': '0'}),
        Call(200, {}, {'types': 'server.started', 'from': '0'}),
        Call(200, {}, headers={'Last-Event-ID': '0'}),
        Call(200, {}, {'topic': World.dead, 'from': '0'}),
        Call(400, {}, {'topic': '..'}),
        Call(400, {}, {'types': 'x'}), Call(400, {}, {'from': 'x'}),
        command=(None, 'opq events follows a stream, which has no end')),
    'listSubscriptions': Walk(
        Call(200, topic(World.subscription)), Call(200, topic()),
        Call(404, NOBODY), Call(400, {'topic': '..'}),
        command=('subscriptions', World.subscription)),
    'getSubscription': Walk(
        Call(200, subscription()), Call(200, subscription(World.pull)),
        Call(404, NO_SUBSCRIPTION), Call(404, {**NOBODY, 'subscription': 'a'}),
        Call(400, {'topic': '..', 'subscription': 'a'}),
        command=('subscriptions show', World.subscription, 'one')),
    'putSubscription': Walk(
        Call(200, subscription(), body={'order': 'none', 'retries': 2}),
        Call(201, subscription(name='two'), body=lambda world: {
            'url': world.good, 'start': 'oldest', 'headers': {'X-A': '1'}}),
        Call(201, subscription(World.name), query=SUBSCRIPTION_SETTINGS),
        Call(201, subscription(name='two'),
             query={'kind': 'pull', 'start': 'new'}),
        Call(400, subscription(name='two'), body={'kind': 'push'},
             note='without a URL'),
        Call(400, subscription(), body={'colour': 'blue'}),
        Call(403, OWN_SUBSCRIPTION, body={'kind': 'pull'}),
        Call(409, subscription(), body={'kind': 'pull'}),
        Call(416, subscription(name='two'),
             body={'kind': 'pull', 'start': '99'}),
        command=('subscriptions set', World.subscription, 'one', 'order=key')),
    'deleteSubscription': Walk(
        Call(204, subscription()), Call(404, NO_SUBSCRIPTION),
        Call(400, {'topic': '..', 'subscription': 'a'}),
        Call(403, OWN_SUBSCRIPTION),
        command=('subscriptions rm', World.subscription, 'one')),
    'pauseSubscription': Walk(
        Call(200, subscription()), Call(404, NO_SUBSCRIPTION),
        Call(400, subscription(), body={'paused': True}),
        Call(403, OWN_SUBSCRIPTION),
        command=('subscriptions pause', World.subscription, 'one')),
    'resumeSubscription': Walk(
        Call(200, subscription()), Call(404, NO_SUBSCRIPTION),
        Call(400, subscription(), body={'paused': True}),
        Call(403, OWN_SUBSCRIPTION),
        command=('subscriptions resume', World.subscription, 'one')),
    'replaySubscription': Walk(
        Call(200, subscription(), {'to': 'oldest'}),
        Call(200, subscription(), {'to': BEGINNING}),
        Call(404, NO_SUBSCRIPTION, {'to': 'new'}),
        Call(400, subscription(), note='where to?'),
        Call(400, subscription(), {'to': 'x'}),
        Call(403, OWN_SUBSCRIPTION, {'to': 'new'}),
        Call(416, subscription(), {'to': '99'}),
        command=('subscriptions replay', World.subscription, 'one', 'oldest')),
    'pullMessages': Walk(
        Call(200, subscription(World.pull)),
        Call(200, subscription(World.pull),
             {'from': '1', 'limit': '1', 'wait': '1ms'}),
        Call(404, NO_SUBSCRIPTION),
        Call(400, subscription(World.pull), {'limit': 'x'}),
        Call(409, subscription()),
        Call(416, subscription(World.pull), {'from': '99'}),
        command=('pull', World.pull, 'one')),
    'ackMessages': Walk(
        Call(200, subscription(World.pull), {'seq': '1', 'sync': 'none'}),
        Call(200, subscription(World.pull), {'seqs': '0,2'}),
        Call(404, NO_SUBSCRIPTION, {'seq': '0'}),
        Call(400, subscription(World.pull), note='which ones?'),
        Call(400, subscription(World.pull), {'seq': 'x'}),
        Call(403, OWN_SUBSCRIPTION, {'seq': '0'}),
        Call(409, subscription(), {'seq': '0'}),
        Call(416, subscription(World.pull), {'seq': '99'}),
        command=('pull', World.pull, 'one', '--ack')),
    'pullEvents': Walk(
        Call(200, subscription(World.pull)),
        Call(200, subscription(World.pull), {'from': '1'}),
        Call(200, subscription(World.pull), headers={'Last-Event-ID': '0'}),
        Call(404, NO_SUBSCRIPTION),
        Call(400, subscription(World.pull), {'from': 'x'}),
        Call(409, subscription()),
        Call(416, subscription(World.pull), {'from': '99'}),
        command=(None, 'pull -f waits for pages instead')),
    'listSchedules': Walk(
        Call(200),
        Call(200, query={'limit': '1', 'after': 'a'}),
        Call(400, query={'limit': '1001'}),
        command=('schedules',)),
    'getSchedule': Walk(
        Call(200, {'schedule': World.schedule}), Call(404, NO_SCHEDULE),
        Call(400, {'schedule': '.x'}),
        command=('schedules show', World.schedule)),
    'setSchedule': Walk(
        Call(200, {'schedule': World.schedule}, body=World.cron),
        Call(201, {'schedule': World.name}, body=lambda world: world.cron(
            zone='Europe/Berlin', missed='once', paused=True, key='k',
            retries=1)),
        Call(400, {'schedule': World.name},
             body=lambda world: world.cron(cron='never')),
        Call(400, {'schedule': World.name},
             body=lambda world: world.cron(colour='blue')),
        Call(413, {'schedule': World.name},
             body=lambda world: world.cron(message='x' * 70000)),
        Call(414, {'schedule': World.name},
             body=lambda world: world.cron(url=LONG_URL)),
        command=('schedules set', World.name, '--cron', '@daily', World.name,
                 lambda world: world.good)),
    'deleteSchedule': Walk(
        Call(204, {'schedule': World.schedule}), Call(404, NO_SCHEDULE),
        Call(400, {'schedule': '.x'}),
        command=('schedules rm', World.schedule)),
    'pauseSchedule': Walk(
        Call(200, {'schedule': World.schedule}), Call(404, NO_SCHEDULE),
        Call(400, {'schedule': World.schedule}, body={'a': 1}),
        command=('schedules pause', World.schedule)),
    'resumeSchedule': Walk(
        Call(200, {'schedule': World.schedule}), Call(404, NO_SCHEDULE),
        Call(400, {'schedule': World.schedule}, body={'a': 1}),
        command=('schedules resume', World.schedule)),
    'runSchedule': Walk(
        Call(201, {'schedule': World.schedule}), Call(404, NO_SCHEDULE),
        Call(400, {'schedule': World.schedule}, body={'a': 1}),
        command=('schedules run', World.schedule)),
    'info': Walk(Call(200), unknown=200, command=('info',)),
    'metrics': Walk(Call(200), unknown=200,
                    command=(None, 'for Prometheus')),
    'health': Walk(Call(200), unknown=200,
                   command=(None, 'for what keeps it alive')),
    'ready': Walk(Call(200), unknown=200,
                  command=(None, 'for what sends it clients')),
    'openapi': Walk(Call(200), unknown=200,
                    command=(None, 'for generators')),
    'listDelayed': Walk(
        Call(200),
        Call(200, query={'topic': 'a', 'limit': '1', 'from': BEGINNING,
                         'to': '2100-01-01T00:00:00Z'}),
        Call(200, query={'limit': '1', 'cursor': delayed_cursor}),
        Call(400, query={'from': 'x'}), Call(400, query={'cursor': 'x'}),
        command=('delayed',)),
    'getDelayed': Walk(
        Call(200, {'id': World.delayed}), Call(200, {'id': World.handed_on}),
        Call(404, ABSENT), command=('delayed show', World.delayed),
        elsewhere=[400]),
    'cancelDelayed': Walk(
        Call(204, {'id': World.delayed}), Call(404, ABSENT),
        Call(400, {'id': World.delayed}, body={'a': 1}),
        Call(409, {'id': World.handed_on}),
        command=('delayed cancel', World.delayed)),
    'listDeadLetters': Walk(
        Call(200, query={'topic': World.dead}),
        Call(200, query={'topic': World.dead_of_subscription}),
        Call(200, query={'topic': World.dead, 'limit': '5', **LETTERS}),
        Call(200, query={'cursor': letters_cursor, 'subscription': 'one'}),
        Call(404, query=NOBODY), Call(400, query={'status': 'x'}),
        Call(400, query={'limit': '1001'}),
        command=('dlq', '--topic', World.dead)),
    'dropDeadLetters': letters_walk('dlq drop'),
    'retryDeadLetters': letters_walk('dlq retry'),
    'listEndpoints': Walk(
        Call(200, query={'endpoint': World.broken_endpoint}),
        Call(200, query={'endpoint': World.released_endpoint}),
        Call(200, query={'state': 'closed', 'limit': '1', 'after': 'a'}),
        Call(404, query={'endpoint': 'http://127.0.0.1:1'}),
        Call(400, query={'state': 'odd'}),
        command=('endpoints',)),
    'resetEndpoint': Walk(
        Call(200, query={'endpoint': World.broken_endpoint}),
        Call(404, query={'endpoint': 'http://127.0.0.1:1'}),
        Call(400, note='which one?'), Call(400, query={'endpoint': 'x'}),
        in_memory=True,
        command=('endpoints reset', World.broken_endpoint)),
    'releaseEndpoint': Walk(
        Call(200, query={'rate': '9/1s', 'endpoint': World.broken_endpoint}),
        Call(404, query={'endpoint': 'http://127.0.0.1:1', 'rate': '1/1s'}),
        Call(400, query={'endpoint': 'http://127.0.0.1:1'}),
        Call(400, query={'endpoint': 'http://127.0.0.1:1', 'rate': 'x'}),
        in_memory=True,
        command=('endpoints release', World.broken_endpoint, '--rate', '0')),
    'listReplays': Walk(
        Call(200, needs=World.replay), command=('replays',),
        elsewhere=[400]),
    'beginReplay': Walk(
        Call(200, query={'topic': World.topic, 'dry_run': '1'}),
        Call(201, body={'topic': World.topic, 'from': 1, 'to': 2}),
        Call(201, body={
            'topic': World.subscription, 'subscription': 'one',
            'from_time': BEGINNING, 'to_time': 4102444800, 'pace': '2x',
            'filter': 'key absent', 'headers': {'X-A': '1'}, 'retries': 1,
            'order': 'none', 'concurrency': 2, 'timeout': '5s',
            'rate': '9/1s', 'retry_schedule': '1s', 'permanent_status': '400',
            'secret': 'a', 'url': lambda world: world.good}),
        Call(200, body={'topic': World.dead, 'only': 'failed', 'dry_run': 1}),
        Call(201, query={
            'topic': World.topic, 'from': '0', 'to': '1',
            'pace': 'original', 'url': lambda world: world.good,
            'filter': 'key = "k"', 'headers': '{"X-A": "1"}',
            'order': 'none', 'concurrency': '2', 'timeout': '5s',
            'rate': '9/1s', 'retries': '1', 'retry_schedule': '1s',
            'permanent_status': '400', 'secret': 'a'}),
        Call(201, query={'topic': World.topic, 'from_time': BEGINNING,
                         'to_time': '2100-01-01T00:00:00Z'}),
        Call(201, query={'topic': World.subscription, 'subscription': 'one'}),
        Call(201, query={'topic': World.dead, 'only': 'failed'}),
        Call(400, note='of which topic?'),
        Call(400, body={'topic': World.topic, 'colour': 'blue'}),
        Call(404, body=NOBODY),
        Call(409, query={'topic': World.pull, 'subscription': 'one'}),
        Call(416, body={'topic': World.topic, 'from': 99}),
        command=('replays start', World.topic)),
    'getReplay': Walk(
        Call(200, {'replay': World.replay}),
        Call(200, {'replay': World.done_replay}), Call(404, NO_REPLAY),
        command=('replays show', World.replay), elsewhere=[400]),
    'cancelReplay': Walk(
        Call(204, {'replay': World.replay}), Call(404, NO_REPLAY),
        Call(400, {'replay': World.replay}, body={'a': 1}),
        command=('replays cancel', World.replay)),
    'pauseReplay': Walk(
        Call(200, {'replay': World.replay}), Call(404, NO_REPLAY),
        Call(400, {'replay': World.replay}, body={'a': 1}),
        command=('replays pause', World.replay)),
    'resumeReplay': Walk(
        Call(200, {'replay': World.replay}), Call(404, NO_REPLAY),
        Call(400, {'replay': World.replay}, body={'a': 1}),
        command=('replays resume', World.replay)),
    'reload': Walk(
        Call(200), Call(400, query={'colour': 'blue'}),
        in_memory=True, command=('reload',), elsewhere=[409]),
}

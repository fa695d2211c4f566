"""Everything at once: pushes of all forms, settings, subscriptions, schedules,
dead letters, delays and replays, in random order, at targets that misbehave,
across SIGTERM and SIGKILL. Nothing may crash, and when the targets behave again
all that is left is delivered.

OPQ_RANDOM_SEED and OPQ_RANDOM_ROUNDS make it another, or a longer one.

SPDX-License-Identifier: MIT
"""

import http.client
import json
import os
import random
import threading
import urllib.parse

from harness import Answer, wait_until

SEED = int(os.environ.get('OPQ_RANDOM_SEED', '7'))
ROUNDS = int(os.environ.get('OPQ_RANDOM_ROUNDS', '3'))
OPERATIONS = 150  # of a worker in a round
WORKERS = 4

TOPICS = ['a', 'b', 'c', 'd.e']
SUBSCRIPTIONS = ['s', 't', 'u']
KEYS = ['k1', 'k2', 'k3', 'ключ']
SETTINGS = {
    'order': ['topic', 'key', 'none'],
    'concurrency': [0, 1, 2, 8],
    'retries': [0, 1, 3, 'forever'],
    'retry_schedule': ['', '1ms', '5ms,20ms'],
    'permanent_status': ['', '404', '400-499'],
    'rate': ['0', '50/1s', '1/50ms'],
    'flow_rate': ['0', '50/1s'],
    'expired': ['dead', 'drop'],
    'batch': ['0', '2,1ms', '10,50ms', '3,5ms'],
    'batch_format': ['ndjson', 'json'],
    'timeout': ['0s', '100ms'],
    'secret': ['', 'one', 'one,two', 'none'],
}
TOPIC_SETTINGS = {
    'dedup': ['id', 'content'],
    'dedup_window': ['0s', '1s'],
    'retain_count': [0, 0, 20],
    'discard': ['new', 'old'],
}
SUBSCRIPTION_SETTINGS = {
    'filter': ['', 'label = "x"', 'key = "k1"'],
    'share': ['100%', '50%'],
    'hold': ['auto', 'yes', 'no'],
}
HARMLESS = {'rate': '0', 'flow_rate': '0', 'paused': 'no', 'timeout': '0s',
            'retry_schedule': '1ms', 'secret': ''}


class Worker:
    """Does random things to a server, and looks at each answer."""

    def __init__(self, server, receiver, seed):
        self.server = server
        self.url = receiver.url
        self.random = random.Random(seed)
        self.done = []  # for people

    def some(self, settings, share=0.2):
        return {name: self.random.choice(values)
                for name, values in settings.items()
                if self.random.random() < share}

    def request(self, method, path, body=None, headers=None):
        answer = self.server.request(method, path, body, headers,
                                     patience_s=30)
        self.done.append((method, path, body, answer.status))
        assert answer.status != 500 and answer.status < 600, (
            method, path, body, answer)
        return answer

    def query(self, **values):
        return urllib.parse.urlencode(
            {name: value for name, value in values.items()
             if value is not None})

    def message(self):
        pick = self.random.choice
        push = {'topic': pick(TOPICS), 'message': {'n': pick(range(1000))}}
        if self.random.random() < 0.6:
            push['url'] = self.url('/' + pick(['x', 'y', 'z?a=b']))
        for name, values in {
                'key': KEYS, 'label': ['x', 'y'], 'priority': range(10),
                'ttl': ['1ms', '50ms', '1h'], 'retries': [0, 1, 5],
                'delay': ['1ms', '100ms', '1s', '1h'],
                'retry_schedule': ['1ms,2ms'], 'collapse': ['c1', 'c2'],
                'dedup_id': ['d%d' % pick(range(20))],
                'flow_key': ['f1', 'f2'], 'expect_seq': range(5),
                'sync': ['none'], 'method': ['PUT', 'DELETE'],
                'timeout': ['50ms'],
                'callback': [self.url('/callback')],
                'failure_callback': [self.url('/callback')]}.items():
            if self.random.random() < 0.15:
                push[name] = pick(list(values))
        return push

    def push(self):
        self.request('POST', '/opq/push', self.message())

    def push_many(self):
        self.request('POST', '/opq/batch', [
            self.message() for _ in range(self.random.randrange(1, 40))])

    def push_large(self):
        push = self.message()
        push.pop('message')
        if 'url' not in push:
            push['url'] = self.url('/large')
        size = self.random.choice([10000, 100000, 400000])
        self.request('POST', '/opq/push?' + self.query(**push),
                     b'x' * size, {'Content-Type': 'text/plain'})

    def topic(self):
        topic = self.random.choice(TOPICS)
        act = self.random.random()
        if act < 0.1:
            self.request('DELETE', f'/opq/topics/{topic}')
        elif act < 0.6:
            self.request('PUT', f'/opq/topics/{topic}',
                         self.some(SETTINGS) | self.some(TOPIC_SETTINGS))
        elif act < 0.7:
            self.request('POST', f'/opq/topics/{topic}/pause')
        elif act < 0.8:
            self.request('POST', f'/opq/topics/{topic}/resume')
        elif act < 0.85:
            self.request('POST', f'/opq/topics/{topic}/purge')
        else:
            self.request('POST', '/opq/replay', {
                'topic': topic, 'cmd': self.random.randrange(60)})

    def subscription(self):
        topic = self.random.choice(TOPICS)
        name = self.random.choice(SUBSCRIPTIONS)
        path = f'/opq/topics/{topic}/subscriptions/{name}'
        act = self.random.random()
        if act < 0.15:
            self.request('DELETE', path)
        elif act < 0.5:
            self.request('PUT', path, {
                'url': self.url(f'/{name}'),
                'kind': {'s': 'push', 't': 'mirror', 'u': 'pull'}[name],
                'start': self.random.choice(['new', 'oldest']),
                **self.some(SETTINGS), **self.some(SUBSCRIPTION_SETTINGS)})
        elif act < 0.7:
            self.request('POST', path + self.random.choice(
                ['/pause', '/resume']))
        elif act < 0.8:
            self.request('POST', path + '/replay?to=' + self.random.choice(
                ['oldest', 'new', '3', '2020-01-01T00:00:00Z']))
        elif act < 0.9:
            self.request('GET', path + '/messages?limit=5')
        else:
            self.request('POST', path + '/ack?' + self.random.choice(
                ['seq=3', 'seqs=1,5,9', 'seqs=2']))

    def dead_letters(self):
        query = self.query(
            topic=self.random.choice([None, *TOPICS]),
            reason=self.random.choice([None, 'expired']), all='yes')
        act = self.random.random()
        if act < 0.5:
            self.request('POST', '/opq/dlq/retry?' + query)
        elif act < 0.7:
            self.request('DELETE', '/opq/dlq?' + query)
        else:
            self.request('GET', '/opq/dlq?limit=10')

    def delayed(self):
        answer = self.request('GET', '/opq/delayed?limit=20')
        if answer.status == 200 and answer.json()['delayed']:
            one = self.random.choice(answer.json()['delayed'])
            path = f'/opq/messages/{one["id"]}'
            self.request('GET', path)
            if self.random.random() < 0.5:
                self.request('DELETE', path)

    def schedule(self):
        path = f'/opq/schedules/{self.random.choice("pq")}'
        act = self.random.random()
        if act < 0.4:
            self.request('PUT', path, self.message() | {
                'cron': self.random.choice(['* * * * * *', '@every 1s',
                                            '@hourly'])})
        elif act < 0.6:
            self.request('DELETE', path)
        else:
            self.request('POST', path + self.random.choice(
                ['/pause', '/resume', '/run', '/run']))

    def endpoint(self):
        query = self.query(endpoint=self.url('/'))
        act = self.random.random()
        if act < 0.3:
            self.request('GET', '/opq/endpoints')
        elif act < 0.7:
            self.request('POST', '/opq/endpoints/reset?' + query)
        else:
            self.request('POST', '/opq/endpoints/release?rate='
                         + self.random.choice(['0', '100/1s', '1000/1s'])
                         + '&' + query)

    def look(self):
        topic = self.random.choice(TOPICS)
        self.request('GET', self.random.choice([
            '/opq/topics', f'/opq/topics/{topic}', '/opq/info',
            f'/opq/topics/{topic}/subscriptions',
            f'/opq/topics/{topic}/messages?limit=20',
            f'/opq/topics/{topic}/messages/3']))

    def work(self, count):
        acts = ([self.push] * 8 + [self.push_many] * 2 + [self.push_large]
                + [self.topic] * 3 + [self.subscription] * 4
                + [self.dead_letters, self.delayed, self.schedule,
                   self.endpoint, self.look])
        for _ in range(count):
            self.random.choice(acts)()


def misbehave(chance):
    """A script for a receiver."""
    lock = threading.Lock()

    def answer(_):
        with lock:
            what = chance.random()
            if what < 0.6:
                return 200
            return chance.choice([
                404, 500, 503, 410, Answer(200, delay_s=0.02),
                Answer(500, {'webhook-delivery': 'abort-message'}),
                Answer(200, delay_s=0.3), Answer(reset=True),
                Answer(429, {'Retry-After': '0'}),
                Answer(200, body=b'x' * 40000),
                Answer(raw=b'HTTP/1.1 200 OK\r\nContent-Le'), Answer(raw=b'?')])
    return answer


def run(workers, server, may_end):
    """Let them work at once; an end of the server may cut them off."""
    failures = []

    def work(worker):
        try:
            worker.work(OPERATIONS)
        except (OSError, http.client.HTTPException, json.JSONDecodeError):
            if not may_end.is_set():
                failures.append(f'cut off after {worker.done[-3:]}')
        except AssertionError as problem:
            failures.append(str(problem))

    threads = [threading.Thread(target=work, args=(worker,))
               for worker in workers]
    for thread in threads:
        thread.start()
    return threads, failures


def settle(server):
    """Take away what holds deliveries back, then wait for them."""
    for name in ['p', 'q']:
        server.request('DELETE', f'/opq/schedules/{name}')
    names = [topic['name'] for topic in server.get('/opq/topics')
             .json()['topics'] if topic['kind'] == 'messages']
    paths = [f'/opq/topics/{name}' for name in names]
    for name in names:
        for one in server.get(f'/opq/topics/{name}/subscriptions').json()[
                'subscriptions']:
            if one['settings']['kind'] != 'pull':
                paths.append(f'/opq/topics/{name}/subscriptions/{one["name"]}')
    for path in paths:
        answer = server.request('PUT', path, HARMLESS)
        assert answer.status == 200, (path, answer)
    for one in server.get('/opq/endpoints').json()['endpoints']:
        server.request('POST', '/opq/endpoints/reset?endpoint='
                       + urllib.parse.quote(one['endpoint'], safe=''))
    left = []

    def done():
        left[:] = [one for one in (server.get(path).json() for path in paths)
                   if one['lag'] > 0 or one['in_flight'] > 0]
        return not left
    try:
        wait_until(done, 'all delivered', 30)
    except AssertionError:
        raise AssertionError(f'wedged: {left}') from None


def test_whatever_happens_in_whatever_order(tmp_path, serve, receivers):
    chance = random.Random(SEED)
    secrets = tmp_path / 'secrets'
    secrets.write_text('one whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n'
                       'two whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n')
    secrets.chmod(0o600)
    receiver = receivers()
    server = serve('--retry-first=2ms', '--retry-max=50ms', '--drain=2s',
                   '--shards=2', '--segment-size=64k', '--timeout=500ms',
                   '--checkpoint-interval=300ms', '--body-buffer=16384',
                   f'--secrets={secrets}', '--disk-reserve=0',
                   '--retry-after-max=100ms')
    for _ in range(ROUNDS):
        receiver.script = misbehave(random.Random(chance.random()))
        may_end = threading.Event()
        workers = [Worker(server, receiver, chance.random())
                   for _ in range(WORKERS)]
        threads, failures = run(workers, server, may_end)
        how = chance.choice(['settle', 'stop', 'kill'])
        if how != 'settle':
            may_end.wait(chance.uniform(0.5, 2.5))
            may_end.set()
            if how == 'stop':
                code = server.stop()
                assert code in (0, 3), server.explain()
            else:
                server.kill()
        for thread in threads:
            thread.join()
        assert not failures, (how, failures, server.explain())
        if how != 'settle':
            server.start()
        assert server.alive(), server.explain()
    receiver.script = lambda _: None
    settle(server)

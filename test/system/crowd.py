"""Producers and a receiver that use all of delivery at once, for
test_crash_delivery.py, and the moments at which the server is killed.

    Story      what was pushed, what the answers said
    Producer   a thread that pushes, one push or batch at a time
    Watcher    a thread that reads how far deliveries have come
    Target     a receiver that accepts, refuses and is slow, as the messages
               say, and remembers which requests prove what
    Moment     when to kill: after so many events of a kind

A message says what becomes of it: {"word": its name, "mood": "ok", "slow",
"refuse" (accepted at the third attempt) or "poison" (never)}.

SPDX-License-Identifier: MIT
"""

import datetime
import http.client
import json
import random
import signal
import socket
import threading
import time

from harness import Answer, RawConnection, Receiver, wait_until

RETRIES = 2  # of what is never accepted
REFUSALS = 2
SLOW_S = 0.03
KEYS = [f'k{number}' for number in range(6)]
# Few messages are under way at once, so that a cursor can say all there is to
# say about them: it has 128 ranges.
OUTSTANDING_MAX = 48

TOPICS = {
    'keyed': {'order': 'key', 'concurrency': 8},
    'free': {'order': 'none', 'concurrency': 16},
    'strict': {},
    'late': {'order': 'none', 'concurrency': 16},
    'once': {'order': 'key', 'concurrency': 8},
    'fan': {},
}
STUBBORN = {'retries': RETRIES, 'retry_schedule': '10ms,20ms'}
SUBSCRIPTIONS = {
    'all': {'order': 'key', 'concurrency': 8},
    'red': {'filter': 'label = "red" and json:$.word exists'},
    'lump': {'batch': '10,20ms'},
    'heap': {'batch': '10,20ms', 'order': 'none', 'concurrency': 4},
}
# Routes: where deliveries go, and what order they have.
ORDERS = {**{name: settings.get('order', 'topic')
             for name, settings in TOPICS.items() if name != 'fan'},
          **{f'fan/{name}': settings.get('order', 'topic')
             for name, settings in SUBSCRIPTIONS.items()}}
MOMENTS = ('received', 'answered', 'refused', 'dying', 'due', 'batch',
           'pushing', 'pushed', 'duplicate')


def make_topics(opq, url):
    for topic, settings in TOPICS.items():
        answer = opq.request('PUT', f'/opq/topics/{topic}', settings)
        assert answer.status == 201, answer
    for name, settings in SUBSCRIPTIONS.items():
        answer = opq.request('PUT', f'/opq/topics/fan/subscriptions/{name}', {
            'url': f'{url}/fan/{name}', **STUBBORN, **settings})
        assert answer.status == 201, answer


def when(text):
    """RFC 3339 to Unix seconds."""
    return datetime.datetime.fromisoformat(text.replace('Z', '+00:00')) \
        .timestamp()


class Moment:
    """Kills the server when so many events of a kind have happened."""

    def __init__(self, opq, kind, count):
        self.opq = opq
        self.kind = kind
        self.count = count
        self.lock = threading.Lock()
        self.over = threading.Event()

    def event(self, kind):
        with self.lock:
            if kind != self.kind or self.over.is_set():
                return
            self.count -= 1
            if self.count <= 0:
                self.opq.signal(signal.SIGKILL)
                self.over.set()

    def __str__(self):
        return f'{self.count} of {self.kind}'


class Push:
    """A message that somebody pushes."""

    def __init__(self, word, topic, rng, url):
        self.word = word
        self.topic = topic
        self.mood = rng.choices(('ok', 'slow', 'refuse', 'poison'),
                                (80, 7, 9, 4))[0]
        self.key = rng.choice(KEYS) if rng.random() < 0.85 else None
        self.label = rng.choice(('red', 'blue'))
        self.delay_s = rng.randrange(40, 900) / 1000 if topic == 'late' else 0
        self.begun = None   # Unix seconds, before it was pushed
        self.answer = None  # of the push that was stored
        self.repeats = []   # answers that said it is a duplicate
        self.json = {'topic': topic, 'label': self.label,
                     'message': {'word': word, 'mood': self.mood}}
        if topic != 'fan':
            self.json['url'] = f'{url}/{topic}'
            if self.mood == 'poison':
                self.json.update(STUBBORN)
        if self.key and topic != 'late':
            self.json['key'] = self.key
        if self.delay_s:
            self.json['delay'] = f'{round(self.delay_s * 1000)}ms'
        if topic == 'once':
            self.json['dedup_id'] = word

    @property
    def routes(self):
        if self.topic != 'fan':
            return [self.topic]
        return [f'fan/{name}' for name in SUBSCRIPTIONS
                if name != 'red' or self.label == 'red']


class Story:
    """What is known of all rounds."""

    def __init__(self):
        self.lock = threading.Lock()
        self.pushes = {}          # of a word
        self.again = []           # pushes with an id that were not answered
        self.answered = set()     # words that are answered and not delivered
        self.seen = set()
        self.passed = []          # (epoch, route, cursor) as the server said
        self.refused = 0
        self.unanswered = 0
        self.epoch = 0

    def taken(self, push, result):
        """A push was answered 201."""
        with self.lock:
            assert push.answer is None, (push.json, push.answer, result)
            push.answer = result
            if push.word not in self.seen and not push.delay_s:
                self.answered.add(push.word)

    def came(self, words):
        with self.lock:
            self.seen.update(words)
            self.answered.difference_update(words)

    def outstanding(self):
        with self.lock:
            return len(self.answered)


class Producer(threading.Thread):
    """Pushes until the server is gone, or it is told to stop."""

    def __init__(self, story, opq, target, name, seed):
        super().__init__(daemon=True)
        self.story = story
        self.opq = opq
        self.target = target
        self.url = target.url('')
        self.name = name
        self.rng = random.Random(seed)
        self.number = 0
        self.stopping = threading.Event()
        self.failed = None
        self.under_way = []

    def run(self):
        try:
            with RawConnection(self.opq.port) as connection:
                while not self.stopping.is_set():
                    self.step(connection)
        except (OSError, EOFError):
            pass  # the server is gone
        except Exception as error:  # pylint: disable=broad-except
            self.failed = error
        with self.story.lock:
            self.story.unanswered += len(self.under_way)
            self.story.again += [push for push in self.under_way
                                 if push.topic == 'once']

    def next_push(self):
        rng, story = self.rng, self.story
        topic = rng.choices(list(TOPICS), (4, 3, 1, 3, 3, 3))[0]
        if topic == 'once':
            with story.lock:
                if story.again:
                    return story.again.pop()
                known = [push for push in story.pushes.values()
                         if push.topic == 'once' and push.answer]
            if known and rng.random() < 0.3:
                return rng.choice(known)  # once more, though it was answered
        self.number += 1
        push = Push(f'{self.name}-{self.number}', topic, rng, self.url)
        with story.lock:
            story.pushes[push.word] = push
        push.begun = time.time()
        return push

    def step(self, connection):
        while self.story.outstanding() > OUTSTANDING_MAX:
            if self.stopping.wait(0.002) or not self.opq.alive():
                return
        batch = self.rng.random() < 0.15
        pushes = [self.next_push() for _ in range(8 if batch else 1)]
        pushes = list({push.word: push for push in pushes}.values())
        body = json.dumps([push.json for push in pushes] if batch
                          else pushes[0].json)
        self.under_way = pushes
        connection.send(
            f'POST /opq/{"batch" if batch else "push"} HTTP/1.1\r\nHost: x\r\n'
            f'Content-Type: application/json\r\n'
            f'Content-Length: {len(body)}\r\n\r\n{body}')
        self.target.event('pushing')
        answer = connection.read_response()
        results = answer.json()
        if not batch or answer.status not in (201, 207):
            results = [{'status': answer.status, **results}] * len(pushes)
        self.under_way = []
        for push, result in zip(pushes, results):
            self.take(push, result)

    def take(self, push, result):
        story = self.story
        if 'duplicate' in result:
            with story.lock:
                push.repeats.append(result)
            self.target.event('duplicate')
        elif 'id' in result:
            story.taken(push, result)
            self.target.event('pushed')
        else:
            # 500: the disk was cut off.
            assert result['status'] in (500, 503, 507), (push.json, result)
            with story.lock:
                story.refused += 1
                if push.topic == 'once':
                    story.again.append(push)


class Watcher(threading.Thread):
    """Reads cursors: what they have passed must not come again."""

    def __init__(self, story, opq):
        super().__init__(daemon=True)
        self.story = story
        self.opq = opq
        self.stopping = threading.Event()

    def run(self):
        try:
            while not self.stopping.wait(0.02):
                shown = [(topic['name'], topic['delivered']) for topic in
                         self.opq.get('/opq/topics').json()['topics']
                         if topic['name'] in ORDERS]
                shown += [(f'fan/{one["name"]}', one['delivered'])
                          for one in self.opq.get(
                              '/opq/topics/fan/subscriptions'
                          ).json()['subscriptions']]
                self.story.passed += [(self.story.epoch, *one)
                                      for one in shown]
        except (OSError, http.client.HTTPException):
            pass  # the server is gone


class Target(Receiver):
    """Answers as messages say; what came is in `requests`, each with `epoch`,
    `wall` (Unix seconds), `messages` and `status` besides."""

    def __init__(self, story):
        self.story = story
        self.moment = None
        super().__init__(self.decide)

    def decide(self, request):
        request.wall = time.time()
        request.epoch = self.story.epoch
        request.messages = messages_of(request)
        moods = {one['mood'] for one in request.messages}
        refuses = 'poison' in moods or (
            'refuse' in moods and request.attempt <= REFUSALS)
        request.status = 500 if refuses else 200
        self.story.came([one['word'] for one in request.messages])
        self.tell(request, 'received')
        return Answer(request.status,
                      delay_s=SLOW_S if 'slow' in moods else 0)

    def event(self, kind):
        moment = self.moment
        if moment is not None:
            moment.event(kind)

    def tell(self, request, kind):
        self.event(kind)
        if kind == 'received':
            return
        if request.status == 500:
            self.event('dying' if request.attempt > RETRIES else 'refused')
        if request.path == '/late':
            self.event('due')
        if len(request.messages) > 1:
            self.event('batch')

    def _answer(self, one, answer):
        goes_on = super()._answer(one, answer)
        # The requests of a connection are handled by one thread.
        request = next(request for request in reversed(self.requests)
                       if request.thread is threading.current_thread())
        self.tell(request, 'answered')
        return goes_on

    @staticmethod
    def _read(file, number):
        request = Receiver._read(file, number)
        if request is not None:
            request.thread = threading.current_thread()
        return request

    def wait_quiet(self):
        """Until all that was sent here by a process that is dead was read:
        connections not yet accepted are, too, once this last one is."""
        with socket.create_connection(('127.0.0.1', self.port)) as last:
            def accepted():
                with self.changed:
                    return last.getsockname() in [
                        peer_of(one) for one in self.sockets]
            wait_until(accepted, 'the last connection')
        wait_until(lambda: not self.sockets, 'the end of all connections')


def peer_of(one):
    """The address at the other end of a socket, if there still is one."""
    try:
        return one.getpeername()
    except OSError:
        return None


def messages_of(request):
    """[{seq, id, word, mood}] of a request."""
    if 'opq-batch' in request.headers:
        found = [json.loads(line) for line in request.body.splitlines()]
        assert len(found) == int(request.headers['opq-batch'])
        assert request.sequence == found[0]['seq']
        assert int(request.headers['opq-seq-last']) == found[-1]['seq']
        return [{'seq': one['seq'], 'id': one['id'], **one['json']}
                for one in found]
    return [{'seq': request.sequence, 'id': request.headers['webhook-id'],
             **json.loads(request.body)}]

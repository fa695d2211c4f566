"""kill -9 and power cuts with all of delivery in use at once: ordering keys,
no order, delays, ids against duplicates, dead letters, subscriptions with
filters, batches; receivers that refuse and are slow (crowd.py).

When the server has been killed for the last time, everything settles. Then

    what the answers said is what the topics hold, each id once;
    every message that is stored came wherever it should, or is a dead letter;
    in each lane first deliveries ascend, and Opq-Prev-Seq names the message
    before;
    nothing is repeated but what was in flight at a kill. A message was
    surely not in flight when its answer had been read: when a later request
    came on the same connection, or when the cursor, as shown, had passed it;
    nothing delayed came early.

OPQ_TORTURE=1 makes the rounds many.

SPDX-License-Identifier: MIT
"""

import collections
import json
import re
import time

import pytest
from crowd import (MOMENTS, ORDERS, RETRIES, TOPICS, Moment, Producer, Story,
                   Target, Watcher, make_topics, when)
from harness import PATIENCE_S, Server, wait_until
from mounts import mounted
from test_crash import SMALL, TORTURE, no_file_system, seeded

ROUNDS = 80 if TORTURE else len(MOMENTS) + 1
CUTS = 20 if TORTURE else 2
PRODUCERS = 4
# How many events of a kind may be waited for.
COUNTS = {'received': (1, 600), 'answered': (1, 600), 'pushing': (1, 400),
          'pushed': (1, 400), 'refused': (1, 60), 'dying': (1, 10),
          'due': (1, 60), 'batch': (1, 20), 'duplicate': (1, 40)}


# --- rounds -------------------------------------------------------------------

class Play:
    """Rounds of one test."""

    def __init__(self, opq, rng):
        self.opq = opq
        self.rng = rng
        self.story = Story()
        self.target = Target(self.story)
        self.threads = []
        self.kills = []  # Unix seconds, of moments after each

    def begin(self, moment, name):
        self.target.moment = moment
        self.threads = [
            Producer(self.story, self.opq, self.target, f'{name}{number}',
                     self.rng.random()) for number in range(PRODUCERS)]
        self.threads.append(Watcher(self.story, self.opq))
        for thread in self.threads:
            thread.start()

    def end(self):
        for thread in self.threads:
            thread.stopping.set()
        for thread in self.threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
            failed = getattr(thread, 'failed', None)
            if failed:
                raise failed

    def mark(self):
        """After a kill: a new epoch begins when all that had been sent before
        it was read."""
        self.target.moment = None
        self.kills.append(time.time())
        self.target.wait_quiet()
        self.story.epoch += 1

    def kill_while(self, kind, count, name):
        """Push until the moment has come, which kills the server."""
        moment = Moment(self.opq, kind, count)
        self.begin(moment, name)
        came = moment.over.wait(2 * PATIENCE_S)
        if came:
            self.opq.wait()
        self.end()
        assert came, f'it never came: {moment}; {self.opq.explain()}'
        self.mark()

    def cut_while(self, system, count, name):
        """The power goes after so many deliveries."""
        self.begin(None, name)
        came = len(self.target.requests)
        wait_until(lambda: len(self.target.requests) >= came + count,
                   'deliveries')
        system.cut()
        self.opq.kill()
        self.end()
        self.mark()
        system.umount()
        assert system.mount() is None

    def kill_while_starting(self):
        """A recovery that is itself killed is no different."""
        lines = self.opq.log().count('\n')
        self.opq.start(ready=False)
        wanted = lines + self.rng.randrange(1, 6)
        wait_until(lambda: self.opq.log().count('\n') >= wanted
                   or self.opq.listening.is_set(), 'lines in the log')
        self.opq.kill()
        self.mark()

    def settle(self):
        """A last round that nothing kills, then wait for all there is."""
        self.begin(None, 'last')
        came = len(self.target.requests)
        wait_until(lambda: len(self.target.requests) > came + 200,
                   'deliveries after the last start')
        self.end()
        wait_until(self.settled, 'the end of all deliveries', 2 * PATIENCE_S)

    def settled(self):
        opq = self.opq
        if opq.get('/opq/info').json()['now']['delayed'] > 0:
            return False
        shown = [opq.topic(name) for name in TOPICS]
        shown += opq.get('/opq/topics/fan/subscriptions').json()[
            'subscriptions']
        return all(one['lag'] == 0 and one['in_flight'] == 0 for one in shown)


def log_of(opq, topic):
    """All messages of a topic."""
    found, start = [], 0
    while True:
        answer = opq.get(f'/opq/topics/{topic}/messages?limit=1000'
                         f'&from={start}')
        if answer.status == 404:
            return []
        page = answer.json()
        found += page['messages']
        start = page['next']
        if start >= page['end']:
            return found


# --- what must be so ----------------------------------------------------------

Came = collections.namedtuple(
    'Came', 'place epoch route seq id word attempt status connection previous '
    'wall batch')


class Check:
    """All that was pushed, stored and delivered, side by side."""

    def __init__(self, play):
        self.story = play.story
        self.kills = play.kills
        self.stored = {topic: log_of(play.opq, topic) for topic in TOPICS}
        self.letters = {topic: log_of(play.opq, f'{topic}.dlq')
                        for topic in TOPICS}
        self.came = collections.defaultdict(list)  # of (route, seq)
        self.order = []                            # as they came
        self.words = collections.defaultdict(list)
        self.last_of = {}  # place of the last request, of a connection
        for place, request in enumerate(play.target.requests):
            self.last_of[request.connection] = place
            for one in request.messages:
                entry = Came(
                    place, request.epoch, request.path[1:], one['seq'],
                    one['id'], one['word'], request.attempt, request.status,
                    request.connection, request.headers.get('opq-prev-seq'),
                    request.wall, len(request.messages) > 1)
                self.order.append(entry)
                self.words[entry.word].append(entry)
                self.came[entry.route, entry.seq].append(entry)

    def all(self, repeats_only_what_was_in_flight):
        self.answers()
        self.delivered()
        self.dead_letters()
        self.lanes()
        self.delays()
        self.repeats(repeats_only_what_was_in_flight)

    def answers(self):
        """What was answered is stored, where and as the answer said; nothing
        is stored twice but what is handed on when it is due."""
        places = collections.defaultdict(list)
        for topic, messages in self.stored.items():
            assert [one['seq'] for one in messages] == list(
                range(len(messages)))
            for one in messages:
                push = self.story.pushes[word_of(one)]
                assert push.topic == topic
                assert one.get('key') == push.json.get('key')
                places[push.word].append(one)
        for word, push in self.story.pushes.items():
            found = places[word]
            answer = push.answer
            if push.topic != 'late':
                assert len(found) <= 1, f'{word} is stored twice: {found}'
            assert len({one['id'] for one in found}) <= 1, found
            for told in [answer, *push.repeats]:
                if told is None:
                    continue
                assert found, f'{word} is lost; {push.json} {told}'
                assert found[0]['id'] == told['id']
                assert push.delay_s or found[0]['seq'] == told['seq']
        asked = [push for push in self.story.pushes.values() if push.repeats]
        assert asked, 'no push was a duplicate'

    def delivered(self):
        dead = {(one['dead'].get('subscription'), topic, one['dead']['seq'])
                for topic, messages in self.letters.items()
                for one in messages}
        for topic, messages in self.stored.items():
            for one in messages:
                push = self.story.pushes[word_of(one)]
                for route in push.routes:
                    entries = self.came[route, one['seq']]
                    for entry in entries:
                        assert (entry.word, entry.id) == (push.word, one['id'])
                    name = route.partition('/')[2] or None
                    accepted = any(entry.status == 200 for entry in entries)
                    is_dead = (name, topic, one['seq']) in dead
                    assert accepted or is_dead, f'{route} {one}: lost'
                    assert is_dead == (push.mood == 'poison'), (one, entries)
        for (route, seq), entries in self.came.items():
            topic = route.partition('/')[0]
            stored = entries and self.stored[topic][seq]
            assert not stored or route in self.story.pushes[
                word_of(stored)].routes, f'{route} {stored}: not for it'

    def dead_letters(self):
        """Each says what it is, and comes again only with an attempt."""
        counts = collections.Counter()
        for topic, messages in self.letters.items():
            for one in messages:
                dead = one['dead']
                name = dead.get('subscription')
                route = f'{topic}/{name}' if name else topic
                stored = self.stored[topic][dead['seq']]
                assert one['id'] == dead['id'] == stored['id']
                assert word_of(one) == word_of(stored)
                assert dead['reason'] == 'retries_exhausted', one
                assert dead['attempts'] > RETRIES
                counts[route, dead['seq']] += 1
        for (route, seq), count in counts.items():
            last = [entry for entry in self.came[route, seq]
                    if entry.attempt > RETRIES]
            assert count <= len(last), f'{route} {seq}: {count} dead letters'
            assert len({entry.epoch for entry in last}) >= count
        assert counts, 'nothing died'

    def lanes(self):
        for route, order in ORDERS.items():
            lanes = collections.defaultdict(list)
            topic = route.partition('/')[0]
            for one in self.stored[topic]:
                push = self.story.pushes[word_of(one)]
                if route in push.routes:
                    lanes[lane_of(order, push)].append(one['seq'])
            for lane, members in lanes.items():
                self.lane(route, lane, members)

    def lane(self, route, lane, members):
        firsts = sorted(self.came[route, seq][0] for seq in members)
        numbers = [entry.seq for entry in firsts]
        if lane is not None:
            assert numbers == members, f'{route} {lane}: out of order'
        before = dict(zip(members[1:], members))
        for seq in members:
            for entry in self.came[route, seq]:
                if entry.batch:
                    continue  # Opq-Prev-Seq is of its first message
                if lane is None:
                    assert entry.previous is None, entry
                elif entry.previous is not None:
                    assert int(entry.previous) == before.get(seq), entry
                else:
                    # Not known: it is the first, or the first since a start.
                    assert seq not in before or not any(
                        other.epoch == entry.epoch and other < entry
                        for other in self.came[route, before[seq]]), entry
        if route == 'strict':
            assert all(int(entry.previous or -1) == seq - 1
                       for seq in members for entry in self.came[route, seq])

    def delays(self):
        count = 0
        for push in self.story.pushes.values():
            if not push.delay_s or push.answer is None:
                continue
            due = when(push.answer['due'])
            assert due >= push.begun + push.delay_s - 0.001
            entries = self.words[push.word]
            assert min(entry.wall for entry in entries) >= due, (push.json,
                                                                 entries)
            assert {entry.id for entry in entries} == {push.answer['id']}
            # Once more in its topic for each kill that it was handed on
            # before, at most.
            last = max(entry.wall for entry in entries)
            kills = [at for at in self.kills if due <= at <= last]
            copies = {entry.seq for entry in entries}
            assert len(copies) <= 1 + len(kills), (entries, kills)
            count += 1
        assert count, 'nothing was delayed'

    def repeats(self, in_flight_only):
        repeated = 0
        for (route, seq), entries in self.came.items():
            accepted = None
            for entry in entries:
                if accepted is not None:
                    repeated += 1
                    assert entry.epoch > accepted.epoch, (
                        f'twice in one life: {accepted} {entry}')
                    if in_flight_only and self.proven(accepted):
                        self.show(route, accepted, entry)
                        raise AssertionError(f'{route} {seq}: its answer had '
                                             'been read')
                if entry.status == 200:
                    accepted = entry
        if in_flight_only:
            self.cursors()
        print(f'{len(self.story.pushes)} pushed, {len(self.order)} deliveries,'
              f' {repeated} repeated, {self.story.unanswered} not answered, '
              f'{self.story.refused} refused, {self.story.epoch} kills, '
              f'{sum(map(len, self.letters.values()))} dead letters, '
              f'{len(self.stored["late"])} delayed')

    def proven(self, entry):
        """Whether the server had read its answer, surely."""
        return self.last_of[entry.connection] > entry.place

    def show(self, route, first, last):
        """What came of a route in between."""
        for entry in self.order:
            if entry.route == route and first.place <= entry.place <= (
                    last.place):
                print(f'{entry} proven={self.proven(entry)}')
        for at in self.story.passed:
            if at[1] == route:
                print(at)

    def cursors(self):
        """What a cursor had passed in an epoch does not come in a later one."""
        highest = collections.defaultdict(int)  # of (route, epoch)
        for epoch, route, cursor in self.story.passed:
            at = (route, epoch)
            highest[at] = max(highest[at], cursor)
        assert highest, 'no cursor was seen'
        for (route, epoch), cursor in highest.items():
            for entry in self.order:
                assert (entry.route != route or entry.epoch <= epoch
                        or entry.seq >= cursor), (
                    f'the cursor had been at {cursor}: {entry}')


def word_of(message):
    return json.loads(message['body'])['word']


def lane_of(order, push):
    """The lane of a message; None: it is free."""
    if order == 'topic':
        return 'all'
    return push.key if order == 'key' and 'key' in push.json else None


# --- tests --------------------------------------------------------------------

@pytest.mark.parametrize('shards', [1, 2])
def test_kill_9_with_all_of_delivery_in_use(serve, shards):
    rng = seeded('delivery')
    opq = serve(f'--shards={shards}', *SMALL)
    play = Play(opq, rng)
    make_topics(opq, play.target.url(''))
    moments = list(MOMENTS) if shards == 2 or TORTURE else ['received']
    rng.shuffle(moments)
    for number in range(ROUNDS if len(moments) > 1 else 2):
        kind = moments[number % len(moments)]
        play.kill_while(kind, rng.randrange(*COUNTS[kind]), f'k{number}-')
        if rng.random() < 0.3:
            play.kill_while_starting()
        opq.start()
    play.settle()
    Check(play).all(True)
    assert opq.stop() == 0, opq.explain()
    assert set(re.findall(r'quarantined=(\d+)', opq.log())) == {'0'}
    play.target.close()


@pytest.mark.parametrize('kind', ['ext4', 'xfs'])
def test_power_cut_with_all_of_delivery_in_use(tmp_path, kind):
    rng = seeded('delivery cut')
    with mounted(tmp_path, kind, 400) as system:
        if isinstance(system, str):
            no_file_system(system)
        opq = Server(system.path / 'data', '--shards=2', *SMALL)
        play = Play(opq, rng)
        try:
            opq.start()
            make_topics(opq, play.target.url(''))
            for number in range(CUTS):
                play.cut_while(system, rng.randrange(100, 600), f'c{number}-')
                opq.start()
            play.settle()
            Check(play).all(False)
            assert opq.stop() == 0, opq.explain()
        finally:
            if opq.alive():
                opq.kill()
            play.target.close()

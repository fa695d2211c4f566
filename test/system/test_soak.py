"""A server at full load for long: nothing grows, nothing is lost.

Pushes on connections that are kept, in order, by key and without order, some
delayed, some refused for a while or for ever, some to a target that is sick at
times; subscriptions, replays, retention, dead letters that are dropped; smooth
restarts. After the first of these one process goes on, so that what it does not
give back would be seen: the last quarter of the time is held against the
second. More restarts follow, after which there may be no more than before.

OPQ_SOAK_SECONDS says how long; `make soak` takes an hour.

SPDX-License-Identifier: MIT
"""

import json
import os
import re
import statistics
import time

from growth import disk_of, files_of, memory_of
from harness import PATIENCE_S, SLOWNESS, measures_memory, run_cli, wait_until
from soak import Target, is_dead
from steady import Steady
from test_restart import restart

SECONDS = float(os.environ.get('OPQ_SOAK_SECONDS', '20'))
SAMPLE_S = max(0.5, SECONDS / 240)
RESTARTS = (0.04, 0.08, 0.12, 0.16)  # of the time
RESTARTS_AFTER = 3
LAG_MAX = 5000  # messages; with more of them pushes pause

# What may be more in the last quarter than in the second: so many times, and
# so much besides.
MORE = {
    'memory': (1.1, 8 << 20),
    'disk': (1.15, 48 << 20),
    'files': (1.25, 64),  # connections to targets come and go
    'p50_ms': (2, 20 * SLOWNESS),
    'p99_ms': (3, 200 * SLOWNESS),
}

KEPT = {'retain_count': 2000}
TOPICS = {
    **{f'plain{number}': {} for number in range(6)},
    'keyed': {'order': 'key', 'concurrency': 16},
    'free': {'order': 'none', 'concurrency': 32},
    'late': {'order': 'none', 'concurrency': 32},
    'dead': {'order': 'none', 'concurrency': 16, 'retries': 1,
             'retry_schedule': '20ms'},
    'sick': {'order': 'key', 'concurrency': 32},
    'fan': {},
}
SUBSCRIPTIONS = {
    'all': {'order': 'key', 'concurrency': 16},
    'loose': {'order': 'none', 'concurrency': 16},
}


def make(opq, target):
    for name, settings in TOPICS.items():
        assert opq.request('PUT', f'/opq/topics/{name}', {
            **KEPT, **settings}).status == 201
    for name, settings in SUBSCRIPTIONS.items():
        assert opq.request('PUT', f'/opq/topics/fan/subscriptions/{name}', {
            'url': target.url(f'/{name}'), **settings}).status == 201


def fields_of(target, sick):
    """How each topic is pushed to, and where to."""
    def to(path, more=''):
        return f'Opq-Url: {target.url(path)}\r\n{more}'
    return {
        **{name: to('/strict') for name in TOPICS if name.startswith('plain')},
        'keyed': to('/flaky', 'Opq-Key: k{n}\r\n'),
        'free': to('/flaky'),
        'late': to('/flaky', 'Opq-Delay: 1s\r\n'),
        'dead': to('/dead'),
        'sick': f'Opq-Url: {sick.url("/sick")}\r\nOpq-Key: k{{n}}\r\n',
        'fan': 'Opq-Key: k{n}\r\n',
    }


class Soak:
    """The server, and what goes on around it."""

    def __init__(self, opq):
        self.opq = opq
        self.target = Target()
        self.sick = Target()
        make(opq, self.target)
        self.steady = Steady(
            opq.port, '',
            list(TOPICS), plain=48, pipelined=8, depth=4, slow=2,
            fields=fields_of(self.target, self.sick), tally=True)
        self.samples = []
        self.longest_s = 0
        self.dropped = 0
        self.rounds = 0

    def lag(self):
        """Of all topics and subscriptions."""
        page = self.opq.get('/metrics').body.decode()
        return int(re.search(r'(?m)^opq_lag_messages (\d+)$', page).group(1))

    def work(self):
        """What an operator does now and then."""
        opq = self.opq
        self.rounds += 1
        self.steady.hold(self.lag() > LAG_MAX)
        self.sick.sick(self.rounds % 20 < 3)
        answer = opq.request('DELETE', '/opq/dlq?topic=dead')
        assert answer.status == 200, answer
        self.dropped += answer.json()['dropped']
        for one in opq.get('/opq/replays').json()['replays']:
            if one['state'] == 'done':
                assert opq.request(
                    'DELETE', f'/opq/replays/{one["id"]}').status == 204
        end = opq.topic('plain0')['end']
        answer = opq.request('POST', '/opq/replays', {
            'topic': 'plain0', 'from': max(end - 50, 0), 'retries': 0,
            'url': self.target.url('/replay')})
        # What it asks for may not be kept any more, or there is nothing yet.
        assert answer.status in (201, 416), answer

    def look(self, at):
        opq = self.opq
        push = self.steady.mark()
        self.longest_s = max(self.longest_s, push['longest_s'])
        self.samples.append({
            'at': at, 'memory': memory_of(opq), 'files': len(files_of(opq)),
            'disk': disk_of(opq.data), 'count': push['count'],
            'p50_ms': push['p50_s'] * 1000, 'p99_ms': push['p99_s'] * 1000})

    def run(self):
        """For SECONDS, then some restarts more."""
        begun = time.monotonic()
        restarts = [share * SECONDS for share in RESTARTS]
        at = 0
        while at < SECONDS:
            if restarts and at >= restarts[0]:
                restarts.pop(0)
                restart(self.opq)
            self.work()
            self.look(at)
            time.sleep(SAMPLE_S)
            at = time.monotonic() - begun

    def end(self):
        """Stop pushing, wait for all deliveries; what the pusher has to say."""
        self.sick.sick(False)
        self.steady.hold(False)
        result = self.steady.stop()
        opq = self.opq
        wait_until(lambda: opq.get('/opq/info').json()['now'][
            'delayed'] == 0 and self.lag() == 0, 'the rest', 8 * PATIENCE_S)
        return result


def middle(samples, name):
    return statistics.median(one[name] for one in samples)


def judge(samples):
    """What has grown, in words."""
    count = len(samples)
    # While pushes pause there are no figures of them.
    second = [one for one in samples[count // 4:count // 2] if one['count']]
    last = [one for one in samples[3 * count // 4:] if one['count']]
    grown = []
    for name, (times, besides) in MORE.items():
        before, after = middle(second, name), middle(last, name)
        print(f'{name}: {before:.1f} in the second quarter, {after:.1f} in '
              'the last')
        if after > before * times + besides:
            grown.append(f'{name}: {before} and {after}')
    return grown


def check_all_came(soak, result):
    """Each push that was answered was delivered, or became a dead letter."""
    opq = soak.opq
    came = {**soak.target.result()['next'], **soak.sick.result()['next']}
    ends = {**result['ends'], 'late': result['delayed']['late']}
    for name, end in ends.items():
        assert opq.topic(name)['end'] == end, name
        places = [place for place in came if place.startswith(f'{name}/')]
        assert len(places) == (len(SUBSCRIPTIONS) if name == 'fan' else 1)
        for place in places:
            assert came[place] == end, place
    dead = sum(is_dead(number) for number in range(ends['dead']))
    assert opq.topic('dead.dlq')['end'] == dead


@measures_memory
def test_nothing_grows_at_full_load(serve):
    opq = serve('--shards=2', '--retry-first=20ms', '--retry-max=200ms',
                '--segment-size=256k', '--memory=16m', '--journal-size=32m',
                '--journal-file-size=4m', '--batch-size-max=1m',
                '--body-memory=4m', '--checkpoint-interval=1s',
                # Slow senders need 9 s for a head, more where little runs.
                '--head-timeout=60s')
    soak = Soak(opq)
    soak.run()
    grown = judge(soak.samples)
    memory, files = (middle(soak.samples[-3:], name)
                     for name in ('memory', 'files'))
    for _ in range(RESTARTS_AFTER):
        restart(opq)
    result = soak.end()
    pushes = sum(one['count'] for one in soak.samples)
    longest_s = max(soak.longest_s, result['longest_s'])
    print(f'{SECONDS:.0f} s, {pushes} pushes, longest '
          f'{longest_s * 1000:.0f} ms, {soak.dropped} dead letters '
          f'dropped, memory {memory / (1 << 20):.1f} MiB and '
          f'{memory_of(opq) / (1 << 20):.1f} after {RESTARTS_AFTER} restarts')
    assert result['wrong'] == [] and result['gaps'] == []
    for target in (soak.target, soak.sick):
        told = target.result()
        assert (told['repeated'], told['wrong'], told['missing']) == (
            [], [], []), told
    check_all_came(soak, result)
    assert grown == [], json.dumps(soak.samples[::max(len(soak.samples) // 40,
                                                      1)])
    assert memory_of(opq) < memory * MORE['memory'][0] + MORE['memory'][1]
    assert len(files_of(opq)) < files + MORE['files'][1]
    assert opq.stop() == 0
    done = run_cli('verify', '--data', str(opq.data))
    assert done.returncode == 0, done.stdout + done.stderr
    for one in (soak.target, soak.sick):
        one.close()

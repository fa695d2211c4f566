"""What a message costs, in figures that a busy machine does not change:
instructions in user space (callgrind, epoll) and system calls (strace, both
back ends).

Each work is done by a server of its own, one that does the same without the
work is subtracted, and the rest divided by the messages: start, warm-up and
stop are not in the figures. Batches depend on the client alone: one
connection, and what follows is sent when all before it was answered. Nothing
that goes by the clock falls into a run (the settings below).

The figures are compared with those of cost.json. One that is more than a tenth
above fails; one that is more than a tenth below is told in a warning, so that
what was gained is kept. After a change that is meant to cost:

    OPQ_COST_WRITE=1 /usr/bin/python3 -m pytest test/system/test_cost.py

writes cost.json anew; the commit says why.

SPDX-License-Identifier: MIT
"""

import json
import os
import pathlib
import re
import urllib.parse
import warnings

import pytest
from certificates import Authority
from harness import BINARY, PATIENCE_S, ROOT, wait_until

BASELINE = ROOT / 'test/system/cost.json'
WRITE = os.environ.get('OPQ_COST_WRITE') == '1'
RISE_MAX = 1.10
FALL_MAX = 0.90
SLOW = 4 * PATIENCE_S

# Commits are never handed to a thread, however slow the disk is, and nothing
# is done because time has passed.
SETTINGS = ('--shards=1', '--sync-inline-max=1s', '--checkpoint-interval=1h',
            '--cursor-interval=1m', '--disk-reserve=0')

# Exchanges of a run. Those of many messages make few calls, so that there
# must be many for a dozen calls more or less at the start not to matter. What
# is sent at once fits into one receive (16 KiB): two may come in one turn of
# the loop or in two.
SINGLES = 1600
PIPELINES = 320
PIPELINE = 12  # of 1 KB
BATCHES = 320
BATCH = 64  # of 128 B
INSTRUCTIONS_SHARE = 4  # a part of these are enough to count instructions

# Of each work: what is done, what of it is subtracted, messages of `SINGLES`
# and so on that are left.
WORKS = {
    'push': (['single'], [], SINGLES),
    'push_pipelined': (['pipelined'], [], PIPELINES * PIPELINE),
    'batch': (['batch'], [], BATCHES * BATCH),
    'delivery': (['single', 'deliver'], ['single'], SINGLES),
}

# The main thread looks for a signal now and then, whatever was done.
IDLE_CALLS = ('total', 'rt_sigtimedwait')


TEXT = 'abcdefghijklmnopqrstuvwxyz' * 40


def usual_build():
    """Whether the binary was built as `make build` does."""
    path = pathlib.Path(BINARY).parent / 'meson-info/intro-buildoptions.json'
    if not path.exists():
        return False
    options = {option['name']: option['value']
               for option in json.loads(path.read_text('utf-8'))}
    return (options['buildtype'] == 'debugoptimized' and
            options['b_sanitize'] == 'none' and
            not options['b_coverage'] and not options['check_slow'])


pytestmark = pytest.mark.skipif(
    not usual_build(), reason='figures are those of a usual build')


def request(path, kind, body):
    return (f'POST {path} HTTP/1.1\r\nHost: localhost\r\n'
            f'Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n'
            f'{body}').encode()


def one_receive(data):
    assert len(data) <= 16384
    return data


class Work:
    """A server's life, and what is done in it."""

    def __init__(self, opq, receiver, share):
        self.opq = opq
        self.receiver = receiver
        self.share = share  # one part in so many is done
        self.connection = opq.connect(patience_s=SLOW)
        self.push = self.form('cost')
        self.batch_push = self.items('cost')

    def form(self, topic):
        body = urllib.parse.urlencode({
            'topic': topic, 'url': self.receiver.url(),
            'message': TEXT[:1024]})
        return request('/opq/push', 'application/x-www-form-urlencoded', body)

    def items(self, topic):
        item = json.dumps({'topic': topic, 'url': self.receiver.url(),
                           'message': TEXT[:128]}, separators=(',', ':'))
        return request('/opq/batch', 'application/x-ndjson',
                       f'{item}\n' * BATCH)

    def exchange(self, requests, count=1):
        self.connection.send(requests)
        for _ in range(count):
            assert self.connection.read_response().status == 201

    def tell(self, topic, command):
        assert self.opq.request('POST', f'/opq/topics/{topic}/{command}',
                                patience_s=SLOW).status < 300

    def warm(self):
        """Everything once. No message but those of the work is left to be
        delivered, and none before the work is over."""
        for topic in ('warm', 'cost'):
            self.exchange(self.form(topic))
            self.receiver.wait(1, SLOW)
            self.receiver.clear()
            self.tell(topic, 'pause')
        self.exchange(self.form('warm') * PIPELINE, PIPELINE)
        self.exchange(self.items('warm'))

    def single(self):
        for _ in range(SINGLES // self.share):
            self.exchange(self.push)

    def pipelined(self):
        for _ in range(PIPELINES // self.share):
            self.exchange(one_receive(self.push * PIPELINE), PIPELINE)

    def batch(self):
        for _ in range(BATCHES // self.share):
            self.exchange(one_receive(self.batch_push))

    def deliver(self):
        self.tell('cost', 'resume')
        self.receiver.wait(SINGLES // self.share, SLOW)


def callgrind(out):
    return ['valgrind', '--tool=callgrind', '-q',
            f'--callgrind-out-file={out}']


def strace(out):
    # -D: the server is our child, for signals and its exit code.
    return ['strace', '-D', '-f', '-qq', '-c', '-U', 'calls,name', '-o',
            str(out)]


def read_callgrind(out):
    text = out.read_text('utf-8')
    return {'instructions': int(re.search(r'(?m)^summary: (\d+)', text)[1])}


def read_strace(out):
    text = wait_until(lambda: out.exists() and ' total\n' in out.read_text()
                      and out.read_text(), 'the counts of strace')
    calls = re.findall(r'(?m)^ *(\d+) (\w+)$', text)
    return {name: int(count) for count, name in calls
            if name not in IDLE_CALLS}


TOOLS = {
    'instructions': (callgrind, read_callgrind, 'epoll', INSTRUCTIONS_SHARE),
    'calls_epoll': (strace, read_strace, 'epoll', 1),
    'calls_uring': (strace, read_strace, 'uring', 1),
}


# A wait for what a send leads to is cut short when that takes long, as it may
# under strace: one call more, which is counted whether it was made or not.
AT_MOST = {('calls_uring', 'push'): 3.05, ('calls_uring', 'delivery'): 2.1}


@pytest.fixture(scope='module')
def authority(tmp_path_factory):
    """Reading the system's would cost more than all the rest."""
    return Authority(tmp_path_factory.mktemp('cost') / 'tls')


@pytest.fixture
def count(serve, receivers, authority, tmp_path):
    """A function that lives a server's life under a tool and counts."""
    def run(tool, phases):
        command, read, backend, share = TOOLS[tool]
        name = '-'.join(['start', *phases])
        out = tmp_path / f'{name}.out'
        receiver = receivers()
        opq = serve(f'--io={backend}', f'--ca-file={authority.file}',
                    *SETTINGS, name=name, ready=False, command=command(out))
        opq.wait_ready(SLOW)
        work = Work(opq, receiver, share)
        work.warm()
        for phase in phases:
            getattr(work, phase)()
        work.connection.close()
        assert opq.stop(SLOW) == 0, opq.explain()
        receiver.close()
        return read(out)
    return run


def per_message(count, tool):
    """{work: {what: of a message}}"""
    counted = {}

    def of(phases):
        key = tuple(phases)
        if key not in counted:
            counted[key] = count(tool, phases)
        return counted[key]

    costs = {}
    for work, (phases, without, messages) in WORKS.items():
        more, less = of(phases), of(without)
        messages //= TOOLS[tool][3]
        costs[work] = {name: (more.get(name, 0) - less.get(name, 0)) / messages
                       for name in more.keys() | less.keys()}
        spare = AT_MOST.get((tool, work), 0) - sum(costs[work].values())
        costs[work]['waits cut short'] = max(spare, 0)
    return costs


def differences(tool, costs):
    """What rose or fell too much, as lines of text."""
    known = json.loads(BASELINE.read_text('utf-8'))[tool]
    risen, fallen = [], []
    for work, parts in costs.items():
        cost, before = sum(parts.values()), known[work]
        largest = sorted(parts.items(), key=lambda part: -abs(part[1]))
        line = (f'{tool} of {work}: {cost:.3f} a message, {before:.3f} in '
                f'{BASELINE.name}: {100 * (cost / before - 1):+.1f} % ('
                + ', '.join(f'{name} {value:.3f}'
                            for name, value in largest[:6]) + ')')
        if cost > before * RISE_MAX:
            risen.append(line)
        elif cost < before * FALL_MAX:
            fallen.append(line)
    return risen, fallen


def renew(tool, costs):
    known = (json.loads(BASELINE.read_text('utf-8'))
             if BASELINE.exists() else {})
    known[tool] = {work: round(sum(parts.values()), 4)
                   for work, parts in costs.items()}
    BASELINE.write_text(json.dumps(known, indent=2, sort_keys=True) + '\n')


@pytest.mark.parametrize('tool', TOOLS)
def test_a_message_costs_no_more_than_before(tool, count):
    costs = per_message(count, tool)
    if WRITE:
        renew(tool, costs)
    risen, fallen = differences(tool, costs)
    if fallen:
        warnings.warn('\n'.join(['cheaper than before; renew cost.json:',
                                 *fallen]))
    assert not risen, '\n'.join(risen)

"""Rows about what lies on disk: backlogs, memory, restarts, slow syncs.

SPDX-License-Identifier: MIT
"""

import json
import os
import statistics
import time

from contest import contest
from processes import free_port
from report import latency
from rows_push import KB, rate

TOPICS = 1000          # that the large backlog is spread over
MEMORY_MB_MAX = 128
START_S_MAX = 3
SLOW_MS = (1, 5)       # by how much longer each sync takes
SINK_LATE_S = 0.3      # of the tail row's run: then its dead target wakes up


def backlog(bench, report):
    """A large backlog against none; memory and a start with it."""
    big = bench.settings.big
    with bench.opq() as empty, bench.opq() as full:
        for server in (empty, full):
            server.make_topics('push', 1)
            server.prime(topic='push', size=128)
        full.make_topics('big', TOPICS)
        outcome = fill_by_stages(bench, report, empty, full, big)
        stored = full.stored('big-')
        report.add(f'durable push, 128 B, 64 connections, backlog of '
                   f'{stored:,}', rate(outcome, 'full'),
                   f'without: {rate(outcome, "empty")}',
                   outcome.ratio('full', 'empty'), at_least=0.95)
        deliver_from(bench, report, empty, full, stored)
        empty.kill()
        memory(bench, report, full)
        restart(bench, report, full)


def fill_by_stages(bench, report, empty, full, big):
    """Compare pushes at each stage; the outcome of the last one."""
    stages = (0, big // 100, big // 10, big // 3, big)
    options = {'connections': 64, 'size': 128, 'topic': 'push'}
    outcome = None
    for stage in stages:
        full.fill('big', TOPICS, stage, size=128, batch=100)
        last = stage == big
        seconds = bench.settings.seconds if last else bench.settings.glance_s
        sides = {
            name: lambda server=server, seconds=seconds: server.load(
                seconds, **options)
            for name, server in (('empty', empty), ('full', full))}
        outcome = contest(
            bench.settings.rounds if last else bench.settings.glances,
            **sides)
        for name, series in (('full', 'with backlog'),
                             ('empty', 'without, in the same minute')):
            report.point('backlog', series, stage,
                         outcome.median(name, 'cpu_us'))
            report.point('backlog-rate', series, stage, outcome.median(name))
    return outcome


def deliver_from(bench, report, empty, full, stored):
    drained = bench.settings.drained
    names = empty.make_topics('fresh', drained)
    empty.fill('fresh', drained, drained * (stored // TOPICS), size=128,
               batch=100)
    big_names = [f'big-{index}' for index in range(drained)]
    outcome = contest(bench.settings.rounds,
                      empty=lambda: empty.drain(names),
                      full=lambda: full.drain(big_names))
    report.add(f'delivery of {drained} topics, 128 B, out of a backlog of '
               f'{stored:,} in {TOPICS:,}', rate(outcome, 'full'),
               'with these topics alone: ' + rate(outcome, 'empty'),
               outcome.ratio('full', 'empty'), at_least=0.95)


def memory(bench, report, server):
    """Leave a tenth undelivered, push a little, and look."""
    for topic in server.topics('big-'):
        end, kept = topic['end'], topic['end'] - topic['oldest']
        server.ask('POST', '/opq/replay',
                   f'topic={topic["name"]}&cmd={end - kept // 10}')
    server.load(connections=64, size=128, topic='push')
    resident_mb = server.memory_mb()
    waiting, stored = server.lag('big-'), server.stored('')
    report.add(f'memory with {stored:,} messages stored, {waiting:,} of them '
               f'undelivered in {TOPICS:,} topics', f'{resident_mb:.0f} MB',
               f'the target: {MEMORY_MB_MAX} MB', resident_mb / MEMORY_MB_MAX,
               at_most=1.0, more='resident, after pushes at full rate')


def restart(bench, report, server):
    """kill -9 in the midst of pushes, and how long until it is ready."""
    stored = server.stored('')
    times = []
    for _ in range(bench.settings.restarts):
        load = bench.load_in_background(
            server.url, 3 * bench.settings.seconds, connections=64, size=128,
            topic='big', topics=TOPICS)
        time.sleep(bench.settings.seconds)
        server.kill()
        load.communicate()
        times.append(server.start())
    report.add(f'start to /readyz with {stored:,} messages in {TOPICS:,} '
               'topics, after kill -9 amid pushes',
               f'{statistics.median(times):.2f} s',
               f'the target: {START_S_MAX} s', max(times) / START_S_MAX,
               at_most=1.0, more=f'the slowest of {len(times)} counts: '
               f'{max(times):.2f} s')


def tail(bench, report):
    """The slowest pushes while all that may get in the way does: checkpoints
    twice a second, segments of 4 MiB, retention, and a dead target that comes
    back with a backlog. Beside it a server that has none of that."""
    target = free_port()
    seconds = bench.settings.tail_s
    options = {'connections': 64, 'size': KB, 'topic': 'push', 'topics': 2}
    with bench.opq() as calm, bench.opq(
            '--checkpoint-interval', '500ms', '--segment-size', '4m',
            '--retry-first', '100ms', '--retry-max', '200ms') as busy:
        calm.make_topics('push', 2)
        busy.make_topics('push', 2, retain_bytes='8m', discard='old')
        busy.make_topics('late', 16, paused='no')
        for server in (calm, busy):
            server.prime(**options)

        def push_busy():
            busy.fill('late', 16, busy.stored('late-')
                      + bench.settings.tail_backlog, size=KB,
                      target=f'http://127.0.0.1:{target}/')
            load = bench.load_in_background(busy.url, seconds, **options)
            time.sleep(seconds * SINK_LATE_S)
            sink = bench.start_sink(target)
            figures = figures_of(load)
            figures['late'] = busy.lag('late-')
            bench.end(sink)
            return figures

        outcome = contest(bench.settings.rounds, busy=push_busy,
                          calm=lambda: calm.load(seconds, 0, **options))
        dropped = sum(topic['oldest'] for topic in busy.topics('push-'))
    report.add('p99.9 of pushes during checkpoints, segment rolls, retention '
               'and the recovery of a target, 1 KB, 64 connections',
               f'{outcome.median("busy", "p999_us"):,.0f} us',
               f'its own p50: {outcome.median("busy", "p50_us"):,.0f} us',
               outcome.ratio('busy', 'busy', 'p999_us', 'p50_us'), at_most=10,
               more=f'{dropped:,} messages dropped by retention; without all '
               f'of that {latency(outcome, "calm")}')


def figures_of(load):
    """The figures of a generator in the background, at its end."""
    return json.loads(load.communicate()[0])


def slow(bench, report):
    """Disks whose sync takes longer, as those of clouds do."""
    binary = os.path.join(bench.tools, 'opq_slow')
    with bench.opq(binary=binary, SLOW_SYNC_US='0') as quick, \
            bench.opq(binary=binary, SLOW_SYNC_US='1000') as slower, \
            bench.opq(binary=binary, SLOW_SYNC_US='5000') as slowest:
        servers = {'0': quick, '1': slower, '5': slowest}
        names = {}
        for name, server in servers.items():
            server.make_topics('push', 1)
            server.prime(topic='push', connections=256)
            names[name] = server.make_topics('drain', 64)
            server.fill('drain', 64, bench.settings.slow_backlog, size=KB,
                        connections=256, pipeline=4)
        slow_pushes(bench, report, servers)
        outcome = contest(bench.settings.rounds, **{
            name: lambda name=name, server=server: server.drain(
                names[name], bench.settings.glance_s)
            for name, server in servers.items()})
        for delay in SLOW_MS:
            report.add('delivery of a backlog, 64 topics, 1 KB, each sync '
                       f'{delay} ms slower', rate(outcome, str(delay)),
                       f'without: {rate(outcome, "0")}',
                       outcome.ratio(str(delay), '0'),
                       more='syncs must not hold deliveries up')


def slow_pushes(bench, report, servers):
    outcomes = {}
    for connections in (64, 256):
        outcomes[connections] = contest(
            bench.settings.rounds, write=lambda: bench.bare_write(4 * KB),
            **{name: lambda server=server, connections=connections:
               server.load(connections=connections, size=KB, topic='push')
               for name, server in servers.items()})
    for delay in SLOW_MS:
        name = str(delay)
        for connections, outcome in outcomes.items():
            sync_us = delay * 1000 + outcome.median('write', 'p50_us')
            report.add(f'p99 of durable pushes, 1 KB, {connections} '
                       f'connections, each sync {delay} ms slower',
                       f'{outcome.median(name, "p99_us"):,.0f} us',
                       f'one such sync: {sync_us:,.0f} us',
                       outcome.median(name, 'p99_us') / sync_us, at_most=3,
                       more=f'{rate(outcome, name)}, p50 '
                       f'{outcome.median(name, "p50_us"):,.0f} us; without '
                       f'the delay {rate(outcome, "0")}')
        report.add(f'durable push, 1 KB, 256 connections, each sync {delay} '
                   'ms slower', rate(outcomes[256], name),
                   f'64 connections: {rate(outcomes[64], name)}',
                   outcomes[256].median(name) / outcomes[64].median(name),
                   more='4 when only the size of batches counts')


ROWS = {'backlog': backlog, 'tail': tail, 'slow': slow}

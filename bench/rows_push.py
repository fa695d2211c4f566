"""Rows about pushes: rates, latencies and costs beside references.

Each function takes the bench and the report, starts servers of its own, and
adds rows. Topics are paused, so that nothing is delivered meanwhile.

SPDX-License-Identifier: MIT
"""

from contest import contest
from report import cost, latency

SIZES = (128, 1024, 2048)
KB = 1024
DISK = 256 * KB  # of a write that shows what the disk can take
TARGETS = {  # of the ratio to nginx: (connections, size)
    (64, 128): 1.0, (64, 1024): 0.95, (64, 2048): 0.9,
    (256, 128): 1.25, (256, 1024): 1.2, (256, 2048): 1.1,
}
PERCENTILES = ((50, 'p50_us'), (90, 'p90_us'), (99, 'p99_us'),
               (99.9, 'p999_us'), (99.99, 'p9999_us'))


def rate(outcome, name):
    return f'{outcome.median(name):,.0f}/s'


def note_points(report, outcome, connections, size, names):
    """What the plots need of one comparison."""
    for name, series in names.items():
        if size == KB:
            report.point('connections', series, connections,
                         outcome.median(name))
        if connections == 64:
            report.point('size', series, size, outcome.median(name))
        if (connections, size) == (64, KB):
            for percentile, key in PERCENTILES:
                report.point('latency', series, percentile,
                             outcome.median(name, key))


def push(bench, report):
    """64 and 256 connections beside nginx; 64 beside the bare loop, too."""
    with bench.opq() as server:
        server.make_topics('push', 1)
        server.prime(topic='push', connections=256, size=2048)
        for size in SIZES:
            for connections in (64, 256):
                push_cell(bench, report, server, connections, size)


def push_cell(bench, report, server, connections, size):
    options = {'connections': connections, 'size': size, 'topic': 'push'}
    sides = {'nginx': lambda: bench.load_name('nginx', **options),
             'opq': lambda: server.load(**options)}
    names = {'opq': 'OPQ, durable', 'nginx': 'nginx 204'}
    if connections == 64:
        sides['bare'] = lambda: bench.load_name('bare', **options)
        names['bare'] = 'bare loop'
    outcome = contest(bench.settings.rounds, **sides)
    report.add(f'durable push, {size} B, {connections} connections',
               rate(outcome, 'opq'), f'nginx 204: {rate(outcome, "nginx")}',
               outcome.ratio('opq', 'nginx'),
               at_least=TARGETS[connections, size],
               more=f'{latency(outcome, "opq")}; {cost(outcome, "opq")}; '
               f'{outcome.median("opq", "disk_mb_s"):.0f} MB/s to the disk')
    if connections == 64:
        report.add(f'(the load generator at a bare loop, {size} B)',
                   rate(outcome, 'bare'),
                   f'nginx 204: {rate(outcome, "nginx")}',
                   outcome.ratio('bare', 'nginx'),
                   more='nothing stored: what the generator and a server '
                   'reach at most on these cores')
    note_points(report, outcome, connections, size, names)


def one(bench, report):
    """One connection: latency beside one bare write."""
    with bench.opq() as server:
        server.make_topics('push', 1)
        server.prime(topic='push', connections=1)
        for size in SIZES:
            options = {'connections': 1, 'size': size, 'topic': 'push'}
            outcome = contest(
                bench.settings.rounds,
                write=lambda size=size: bench.bare_write(size),
                opq=lambda options=options: server.load(**options),
                nginx=lambda options=options: bench.load_name(
                    'nginx', **options))
            report.add(f'durable push, {size} B, 1 connection: p50',
                       f'{outcome.median("opq", "p50_us"):.0f} us',
                       'bare durable write: '
                       f'{outcome.median("write", "p50_us"):.0f} us',
                       outcome.ratio('opq', 'write', 'p50_us'), at_most=1.5,
                       more=f'{rate(outcome, "opq")}, '
                       f'{cost(outcome, "opq")}; nginx 204: '
                       f'{outcome.median("nginx", "p50_us"):.0f} us')
            note_points(report, outcome, 1, size,
                        {'opq': 'OPQ, durable', 'nginx': 'nginx 204'})


def sweep(bench, report):
    """More points for the plots; no rows."""
    cells = [(4, KB), (16, KB), (1024, KB), (64, 8 * KB), (64, 32 * KB)]
    with bench.opq() as server:
        server.make_topics('push', 1)
        server.prime(topic='push', connections=256)
        for connections, size in cells:
            options = {'connections': connections, 'size': size,
                       'topic': 'push', 'seconds': bench.settings.glance_s}
            outcome = contest(
                bench.settings.glances,
                nginx=lambda options=options: bench.load_name(
                    'nginx', **options),
                opq=lambda options=options: server.load(**options),
                bare=lambda options=options: bench.load_name(
                    'bare', **options))
            note_points(report, outcome, connections, size,
                        {'opq': 'OPQ, durable', 'nginx': 'nginx 204',
                         'bare': 'bare loop'})


def redis(bench, report):
    """Redis with the same promise, one request at a time and pipelined."""
    with bench.opq() as server:
        server.make_topics('push', 1)
        server.prime(topic='push')
        for pipeline, least in ((1, 1.6), (16, 1.0)):
            count = int(bench.settings.redis_count * (1 + pipeline / 8))
            outcome = contest(
                bench.settings.rounds,
                redis=lambda count=count, pipeline=pipeline: bench.load_redis(
                    count, KB, pipeline),
                opq=lambda pipeline=pipeline: server.load(
                    connections=64, size=KB, topic='push', pipeline=pipeline))
            how = f', pipelined {pipeline}' if pipeline > 1 else ''
            report.add(f'durable push, 1 KB, 64 connections{how}',
                       rate(outcome, 'opq'),
                       f'Redis XADD, AOF always: {rate(outcome, "redis")}',
                       outcome.ratio('opq', 'redis'), at_least=least,
                       more=latency(outcome, 'opq'))
            if pipeline == 1:
                report.add('CPU of a durable push, 1 KB, 64 connections',
                           f'{outcome.median("opq", "cpu_us"):.1f} us',
                           'Redis XADD, AOF always: '
                           f'{outcome.median("redis", "cpu_us"):.1f} us',
                           outcome.ratio('opq', 'redis', 'cpu_us'),
                           at_most=0.5, more='user and system time')


def batch(bench, report):
    """POST /opq/batch of 100: messages a second."""
    with bench.opq() as server:
        server.make_topics('push', 1)
        server.prime(topic='push', batch=100, size=128, connections=16)
        for size in (128, KB):
            outcome = contest(
                bench.settings.rounds, write=lambda: bench.bare_write(DISK),
                opq=lambda size=size: server.load(
                    connections=16, size=size, topic='push', batch=100))
            messages = outcome.median('opq') * 100
            target = {'ratio': messages / 1e6, 'at_least': 1.0,
                      'reference': 'the target: 1,000,000 messages/s'}
            report.add(f'POST /opq/batch of 100, {size} B, 16 connections',
                       f'{messages:,.0f} messages/s',
                       more=f'{latency(outcome, "opq")}; '
                       f'{outcome.median("opq", "cpu_us") / 100:.2f} us CPU '
                       'a message; '
                       f'{outcome.median("opq", "disk_mb_s"):.0f} MB/s to the '
                       'disk, where bare writes of 256 KiB alone reach '
                       f'{DISK / outcome.median("write", "p50_us"):.0f}',
                       **(target if size == 128 else {}))


def forms(bench, report):
    """Other bodies than urlencoded forms."""
    targets = {'multipart': 0.8, 'json': None, 'raw': None}
    with bench.opq() as server:
        server.make_topics('push', 1)
        server.prime(topic='push')
        outcome = contest(bench.settings.rounds, **{
            form: lambda form=form: server.load(
                connections=64, size=KB, topic='push', form=form)
            for form in ('urlencoded', *targets)})
    for form, least in targets.items():
        report.add(f'{form} push, 1 KB, 64 connections', rate(outcome, form),
                   f'urlencoded: {rate(outcome, "urlencoded")}',
                   outcome.ratio(form, 'urlencoded'), at_least=least,
                   more=cost(outcome, form))


def topics(bench, report):
    """Many topics against one."""
    with bench.opq() as server:
        counts = (1, 10, 100, 1000)
        for count in counts:
            server.make_topics(f'of{count}', count)
        server.prime(topic='of1000', topics=1000)

        def side(count, **options):
            return lambda: server.load(connections=64, size=KB, topics=count,
                                       topic=f'of{count}', **options)

        outcome = contest(bench.settings.rounds, one=side(1), many=side(1000))
        report.add('durable push, 1 KB, 64 connections, 1,000 topics',
                   rate(outcome, 'many'), f'1 topic: {rate(outcome, "one")}',
                   outcome.ratio('many', 'one'), at_least=0.8,
                   more=f'{cost(outcome, "many")}; with 1 topic '
                   f'{cost(outcome, "one")}')
        glances = contest(bench.settings.glances, **{
            str(count): side(count, seconds=bench.settings.glance_s)
            for count in counts})
        for count in counts:
            report.point('topics', 'OPQ', count,
                         glances.median(str(count), 'cpu_us'))


def shards(bench, report):
    """Two shards against one; half of the pushes reach the wrong one when
    there is one topic."""
    with bench.opq('--shards', '1') as single, \
            bench.opq('--shards', '2') as double:
        for server in (single, double):
            for count in (1, 64):
                server.make_topics(f'of{count}', count)
            server.prime(topic='of64', topics=64)
        for connections, count in ((64, 64), (256, 64), (64, 1)):
            options = {'connections': connections, 'size': KB,
                       'topics': count, 'topic': f'of{count}'}
            outcome = contest(
                bench.settings.rounds,
                single=lambda options=options: single.load(**options),
                double=lambda options=options: double.load(**options))
            what = (f'{count} topics' if count > 1 else
                    '1 topic: half of the pushes arrive on the other shard')
            report.add(f'shards=2, 1 KB, {connections} connections, {what}',
                       rate(outcome, 'double'),
                       f'shards=1: {rate(outcome, "single")}',
                       outcome.ratio('double', 'single'),
                       more=f'{cost(outcome, "double")}, shards=1 '
                       f'{cost(outcome, "single")}')


def https_push(bench, report):
    """TLS against plain HTTP, on connections that are kept."""
    with bench.opq() as plain, bench.opq(secure=True) as secure:
        for server in (plain, secure):
            server.make_topics('push', 1)
            server.prime(topic='push')
        options = {'connections': 64, 'size': KB, 'topic': 'push'}
        outcome = contest(bench.settings.rounds,
                          plain=lambda: plain.load(**options),
                          secure=lambda: secure.load(**options))
        report.add('HTTPS push, keep-alive, 1 KB, 64 connections',
                   rate(outcome, 'secure'),
                   f'plain HTTP: {rate(outcome, "plain")}',
                   outcome.ratio('secure', 'plain'), at_least=0.7,
                   more=f'{cost(outcome, "secure")}; plain '
                   f'{cost(outcome, "plain")}; the generator encrypts on '
                   'these cores, too')


ROWS = {
    'push': push, 'one': one, 'sweep': sweep, 'redis': redis, 'batch': batch,
    'forms': forms, 'topics': topics, 'shards': shards,
    'https-push': https_push,
}

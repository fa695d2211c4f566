"""GET /metrics: that Prometheus reads it, that it is true, that it is bounded,
and that it holds nobody up. And the alerts and the dashboard that go with it.

What is read here goes through a parser of our own, which is strict; promtool,
which is Prometheus's, looks at the page as a whole.

SPDX-License-Identifier: MIT
"""

import collections
import http.client
import json
import math
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest
from harness import Answer, PATIENCE_S, ROOT, SLOWNESS, run_cli, wait_until

TOP_MAX = 100
LABELS = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(,|$)')
SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)')
NUMBER = re.compile(r'\d+(\.\d+)?')


def unescape(text):
    return re.sub(r'\\(.)', lambda found: {'n': '\n'}.get(found[1], found[1]),
                  text)


def read_labels(text):
    labels = {}
    at = 0
    while at < len(text):
        found = LABELS.match(text, at)
        assert found, f'not labels: {text!r}'
        assert found[1] not in labels
        labels[found[1]] = unescape(found[2])
        at = found.end()
    return labels


class Page:
    """A page of metrics, parsed: the format, and what is promised besides."""

    def __init__(self, text):
        self.text = text
        self.types = {}
        self.samples = {}  # {(name, ((label, value), ...)): number}
        assert text.endswith('\n')
        family = None
        for line in text[:-1].split('\n'):
            words = line.split(' ', 3)
            if words[:2] == ['#', 'HELP']:
                family = words[2]
                assert family not in self.types, f'{family} is there twice'
                assert words[3]
            elif words[:2] == ['#', 'TYPE']:
                assert words[2] == family, 'TYPE does not follow its HELP'
                self.types[family] = words[3]
            else:
                self.read_sample(family, line)

    def read_sample(self, family, line):
        found = SAMPLE.fullmatch(line)
        assert found, f'not a sample: {line!r}'
        name, labels, number = found.groups()
        kinds = (('_bucket', '_sum', '_count')
                 if self.types[family] == 'histogram' else ('',))
        assert name in [family + kind for kind in kinds], line
        assert NUMBER.fullmatch(number), line
        key = (name, tuple(read_labels(labels or '').items()))
        assert key not in self.samples, f'twice: {line}'
        self.samples[key] = float(number)

    def get(self, name, **labels):
        return self.samples[(name, tuple(labels.items()))]

    def sum(self, name):
        return sum(self.of(name).values())

    def of(self, name):
        """{((label, value), ...): number}"""
        return {labels: number for (one, labels), number
                in self.samples.items() if one == name}

    def by(self, name, label):
        return {dict(labels)[label]: number
                for labels, number in self.of(name).items()}

    def histogram(self, name):
        """[(bound, cumulated count)], as promised: rising, +Inf the count."""
        buckets = [(float(dict(labels)['le']), count)
                   for labels, count in self.of(f'{name}_bucket').items()]
        counts = [count for _, count in buckets]
        assert buckets == sorted(buckets) and counts == sorted(counts)
        assert buckets[-1] == (math.inf, self.get(f'{name}_count'))
        return buckets


def scrape(opq):
    answer = opq.get('/metrics')
    assert answer.status == 200, answer
    assert answer.headers['content-type'] == (
        'text/plain; version=0.0.4; charset=utf-8')
    return Page(answer.body.decode())


def scrape_until(opq, look, what):
    """Scrape until `look` finds what it wants in a page; return that page."""
    def page():
        one = scrape(opq)
        return one if look(one) else None
    return wait_until(page, what)


def promtool(*arguments, **options):
    """Prometheus's own word; it is installed by tools/setup."""
    assert shutil.which('promtool'), (
        'promtool is missing: tools/setup installs it, with prometheus')
    return subprocess.run(['promtool', *map(str, arguments)], check=False,
                          capture_output=True, text=True, timeout=PATIENCE_S,
                          **options)


def assert_prometheus_likes(page):
    said = promtool('check', 'metrics', input=page.text)
    assert said.returncode == 0 and said.stdout + said.stderr == '', said


def table_names():
    """Names of metrics.def, as the program tells them."""
    printed = run_cli('metrics-table').stdout
    names = re.findall(r'(?m)^\| `(\w+)` \| (\w+) ', printed)
    assert len(names) > 60
    return dict(names)


# --- the page ---------------------------------------------------------------

def test_prometheus_reads_an_empty_server_and_one_in_use(opq, receiver):
    assert_prometheus_likes(scrape(opq))
    receiver.script = lambda request: 500 if request.topic == 'bad' else 200
    opq.push_json('good', receiver.url(), 'x')
    opq.push_json('bad', receiver.url(), 'x')
    opq.push_json('late', receiver.url(), 'x', delay='1h')
    opq.request('PUT', '/opq/topics/good/subscriptions/one',
                {'url': receiver.url()})
    receiver.wait(3)
    page = scrape(opq)
    assert_prometheus_likes(page)
    assert page.types == table_names()


def test_the_document_has_the_table_of_the_program():
    table = run_cli('metrics-table').stdout
    assert table in (ROOT / 'doc/operations.md').read_text('utf-8')


def test_head_is_answered_and_admin_no_hides_it(opq, serve):
    head = opq.request('HEAD', '/metrics')
    assert head.status == 200 and head.body == b''
    assert opq.request('POST', '/metrics').status == 405
    assert serve('--admin=no', name='closed').get('/metrics').status == 404


def test_process_figures_are_those_of_the_kernel(serve):
    before_s = time.time()
    opq = serve('--shards=2')
    page = scrape(opq)
    proc = pathlib.Path(f'/proc/{opq.pid}')
    resident = int((proc / 'statm').read_text().split()[1]) * 4096
    assert page.get('opq_process_resident_memory_bytes') == pytest.approx(
        resident, rel=0.3)
    held = [opq.connect() for _ in range(50)]
    page = scrape_until(
        opq, lambda page: page.get('opq_server_connections') >= 51,
        '50 connections')
    files = len(list((proc / 'fd').iterdir()))
    assert abs(page.get('opq_process_open_fds') - files) <= 2
    for connection in held:
        connection.close()
    started_s = page.get('opq_process_start_time_seconds')
    assert before_s - 1 <= started_s <= time.time() + 1
    assert page.get('opq_uptime_seconds') < time.time() - before_s + 1
    assert page.get('opq_shards') == 2
    version = opq.get('/opq/info').json()['version']
    build = [dict(labels) for labels in page.of('opq_build_info')]
    assert [(one['version'], one['sync']) for one in build] == [
        (version, 'disk')]
    assert page.get('opq_disk_free_bytes') < page.get('opq_disk_size_bytes')


# --- the truth --------------------------------------------------------------

def answer_by_topic(request):
    """What a target does with the messages of a topic."""
    if request.topic.startswith('slow'):
        return Answer(200, delay_s=0.01)
    if request.topic.startswith('doomed'):
        return 503 if request.attempt == 1 else 404
    if request.topic.startswith('moved'):
        return 302 if request.attempt == 1 else 200
    return 200


class Load(threading.Thread):
    """Pushes, and remembers what was answered."""

    def __init__(self, opq, url, count):
        super().__init__()
        self.opq, self.url, self.count = opq, url, count
        self.answered = collections.Counter()
        self.stored = collections.Counter()  # by topic

    def push(self, kind, number, **members):
        topic = f'{kind}{number % 3}'
        answer = self.opq.request('POST', '/opq/push', {
            'topic': topic, 'url': self.url, 'message': 'x' * 100, **members})
        self.answered[answer.status] += 1
        if answer.status == 201:
            self.stored[topic] += 1

    def run(self):
        for number in range(self.count):
            self.push('good', number)
            self.push('slow', number)
            self.push('doomed', number, retries=1, retry_schedule='1ms')
            self.push('moved', number)
            half = number // 2
            self.push('good', half, dedup_id=f'{self.name}-{half}')
            self.push('good', number, expect_seq=10 ** 9)
            self.push('bad name/', number)


def of_kind(stored, kind):
    return sum(count for topic, count in stored.items()
               if topic.startswith(kind))


def assert_rises(before, after):
    """No counter ever goes back, nor does a histogram."""
    for (name, labels), number in before.samples.items():
        family = re.sub('_(bucket|sum|count)$', '', name)
        if (before.types.get(name) == 'counter' or
                before.types.get(family) == 'histogram'):
            assert after.samples[(name, labels)] >= number, (name, labels)


def settled(opq, delivered, dead):
    return scrape_until(
        opq, lambda page: page.get('opq_delivered_total') >= delivered and
        page.sum('opq_dead_letters_total') >= dead and
        page.get('opq_lag_messages') == 0, 'that all is delivered or dead')


def test_counters_under_load_are_what_happened(serve, receivers):
    opq = serve('--shards=2', '--retry-first=5ms', '--retry-max=20ms',
                '--checkpoint-interval=100ms')
    target = receivers(answer_by_topic)
    loads = [Load(opq, target.url(), 40) for _ in range(3)]
    for load in loads:
        load.start()
    pages = [scrape(opq)]
    while any(load.is_alive() for load in loads):
        pages.append(scrape(opq))
        assert_rises(pages[-2], pages[-1])
    answered = sum((load.answered for load in loads), collections.Counter())
    stored = sum((load.stored for load in loads), collections.Counter())
    dead = of_kind(stored, 'doomed')
    delivered = stored.total() - dead
    page = settled(opq, delivered, dead)
    assert_rises(pages[-1], page)
    assert len(pages) > 3
    assert_prometheus_likes(page)

    # Pushes.
    assert page.get('opq_pushes_total') == answered[201] == stored.total()
    assert page.get('opq_push_duplicates_total') == answered[202] > 0
    assert page.get('opq_pushes_refused_total',
                    reason='invalid') == answered[400] > 0
    assert page.get('opq_pushes_refused_total',
                    reason='condition') == answered[412] > 0
    assert page.sum('opq_pushes_refused_total') == (
        answered[400] + answered[412])
    # Deliveries.
    requests = collections.Counter(
        answer_by_topic(request) if request.topic[0] in 'dm' else 200
        for request in target.requests)
    assert page.get('opq_delivered_total') == delivered
    assert page.get('opq_attempts_total', **{'class': 'delivered'}) == (
        requests[200] == delivered and delivered)
    assert page.get('opq_attempts_total', **{'class': 'http_3xx'}) == (
        requests[302]) == of_kind(stored, 'moved')
    assert page.get('opq_attempts_total', **{'class': 'http_5xx'}) == (
        requests[503]) == dead
    assert page.get('opq_attempts_total', **{'class': 'http_4xx'}) == (
        requests[404]) == dead
    attempts = page.sum('opq_attempts_total')
    assert attempts == len(target.requests)
    assert page.get('opq_client_requests_total') == attempts
    assert page.get('opq_attempt_duration_seconds_count') == attempts
    slow = dict(page.histogram('opq_attempt_duration_seconds'))[0.008192]
    assert attempts - slow >= of_kind(stored, 'slow')
    # Dead letters.
    assert page.get('opq_dead_letters_total',
                    reason='retries_exhausted') == dead > 0
    assert page.get('opq_dead_letters_kept') == dead
    kept = page.by('opq_topic_dead_letters_kept', 'topic')
    assert kept == {f'{topic}.dlq': count for topic, count in stored.items()
                    if topic.startswith('doomed')}
    # The store.
    assert page.get('opq_appended_total') >= stored.total() + dead
    commits = page.histogram('opq_commit_duration_seconds')[-1][1]
    assert commits == page.get('opq_commits_total') > 0
    assert page.histogram('opq_commit_changes')[-1][1] == commits
    assert page.get('opq_commit_changes_sum') >= stored.total()
    wait_until(lambda: scrape(opq).get('opq_checkpoints_total') > 0,
               'a checkpoint')
    page = scrape(opq)
    assert page.get('opq_checkpoint_duration_seconds_count') == (
        page.get('opq_checkpoints_total'))
    # The same of /opq/info: one source.
    info = opq.get('/opq/info').json()['since_start']
    assert info['pushes'] == stored.total()
    assert info['delivered'] == delivered
    assert info['attempts'] == attempts
    assert info['pushes_refused'] == answered[400] + answered[412]


def test_what_waits_is_told_by_topic(serve, receivers):
    opq = serve('--shards=2', '--retry-first=1h', '--retry-max=1h')
    target = receivers(lambda request: 500)
    for number in range(5):
        opq.push_json('stuck', target.url(), f'{number}')
    opq.request('PUT', '/opq/topics/fan/subscriptions/pull', {'kind': 'pull'})
    opq.request('POST', '/opq/push', {'topic': 'fan', 'message': 'x'})
    opq.push_json('fan', target.url(), 'x')
    target.wait(2)
    before_s = time.monotonic()
    opq.push_json('late', target.url(), 'x', delay='1h')
    page = scrape_until(
        opq, lambda page: page.get('opq_messages_backing_off') == 2,
        'back-off')
    assert page.get('opq_lag_messages') == 5 + 2 + 1
    assert page.get('opq_lagging') == 3
    assert page.get('opq_topics') == 2
    assert page.get('opq_subscriptions') == 1
    assert page.get('opq_delayed_messages') == 1
    assert page.of('opq_topic_lag_messages') == {
        (('topic', 'stuck'),): 5,
        (('topic', 'fan'), ('subscription', 'pull')): 2,
        (('topic', 'fan'),): 1}
    first = page.get('opq_topic_oldest_age_seconds', topic='stuck')
    wait_until(lambda: scrape(opq).get('opq_topic_oldest_age_seconds',
                                       topic='stuck') >= first + 0.05,
               'that it gets older')
    page = scrape(opq)
    assert 0 < page.get('opq_topic_oldest_age_seconds', topic='stuck') < (
        time.monotonic() - before_s + 60)
    endpoint = target.url('')
    assert page.by('opq_endpoint_backlog_messages', 'endpoint') == {
        endpoint: 5 + 1}
    assert page.by('opq_endpoints', 'state') == {
        'closed': 1, 'half_open': 0, 'held': 0, 'open': 0}
    opq.stop()
    opq.start()
    page = scrape(opq)
    assert page.get('opq_lag_messages') == 8
    assert page.get('opq_pushes_total') == 0
    assert page.get('opq_topic_oldest_age_seconds', topic='stuck') > first


def test_an_endpoint_that_is_out_is_told(serve, receivers):
    opq = serve('--retry-first=1ms', '--retry-max=2ms')
    gone = receivers()
    gone.close()
    opq.push_json('a', gone.url(), 'x')
    page = scrape_until(
        opq, lambda page: page.get('opq_endpoints', state='open') == 1,
        'an open breaker')
    assert page.by('opq_endpoint_state', 'endpoint') == {gone.url(''): 3}
    assert page.get('opq_attempts_total',
                    **{'class': 'connection_refused'}) >= 5
    assert page.by('opq_endpoint_failures_in_a_row',
                   'endpoint')[gone.url('')] >= 5


def test_bounds_and_what_is_refused_at_them(serve, receiver):
    opq = serve('--pending-max=1', '--disk-reserve=1024g', '--shards=2',
                ready=False)
    wait_until(lambda: 'reserve' in opq.get('/readyz').body.decode()
               if opq.listening.wait(PATIENCE_S) else None, 'a low disk')
    page = scrape(opq)
    assert page.by('opq_pushes_pending_limit', 'shard') == {'0': 1, '1': 1}
    assert set(page.by('opq_journal_limit_bytes', 'shard').values()) == {
        256 << 20}
    assert set(page.by('opq_unflushed_limit_bytes', 'shard').values()) == {
        64 << 20}
    assert page.get('opq_disk_reserve_bytes') == 1 << 40
    for topic in ('a', 'b', 'c', 'd'):
        assert opq.push(topic, receiver.url(), 'x').status == 507
    page = scrape(opq)
    assert page.get('opq_disk_low') == 1
    assert page.get('opq_pushes_refused_total', reason='disk_full') == 4
    many = ''.join(json.dumps({'topic': 'a', 'url': receiver.url(),
                               'message': 'x'}) + '\n' for _ in range(5))
    opq.request('POST', '/opq/batch', many,
                {'Content-Type': 'application/x-ndjson'})
    large = opq.push('a', receiver.url(), 'x' * 3_000_000)
    assert large.status == 413  # by the server, before it is a push
    page = scrape(opq)
    assert page.sum('opq_pushes_refused_total') == 4 + 5
    assert page.get('opq_server_requests_refused_total') == 1


def test_a_smooth_restart_begins_counters_anew(opq, receiver):
    opq.push_json('a', receiver.url(), 'x')
    opq.wait_delivered('a', 1)
    before = scrape(opq)
    started_s = before.get('opq_process_start_time_seconds')
    assert before.get('opq_pushes_total') == 1
    kept = [opq.connect() for _ in range(5)]
    for connection in kept:
        connection.send('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n')
        assert connection.read_response().status == 200
    pid = opq.pid
    opq.signal(signal.SIGHUP)
    page = scrape_until(
        opq, lambda page:
        page.get('opq_process_start_time_seconds') > started_s,
        'another start')
    assert opq.alive() and opq.pid == pid
    assert page.get('opq_pushes_total') == 0
    assert page.get('opq_topics') == 1
    # Connections that were handed over are those of the new one.
    assert page.get('opq_server_connections') == len(kept) + 1
    for connection in kept:
        connection.close()
    scrape_until(opq, lambda page: page.get('opq_server_connections') == 1,
                 'that they are gone')


def test_schedules_and_replays_are_counted(opq, receiver):
    opq.request('PUT', '/opq/schedules/one', {
        'cron': '@every 1s', 'topic': 's', 'url': receiver.url(),
        'message': 'x'})
    opq.push_json('r', receiver.url(), 'x')
    opq.wait_delivered('r', 1)
    made = opq.request('POST', '/opq/replays', {'topic': 'r'})
    assert made.status == 201, made
    page = scrape_until(
        opq, lambda page: page.get('opq_replays', state='done') == 1,
        'a replay')
    assert page.get('opq_schedules') == 1
    wait_until(lambda: scrape(opq).get('opq_schedule_runs_total',
                                       outcome='stored') >= 1, 'a run')


# --- bounds -----------------------------------------------------------------

def push_batches(opq, items):
    for start in range(0, len(items), 500):
        body = '\n'.join(json.dumps(item) for item in items[start:start + 500])
        answer = opq.request('POST', '/opq/batch', body,
                             {'Content-Type': 'application/x-ndjson'})
        assert answer.status == 201, answer


def hostile_topic(number):
    """Names as odd as they may be: of all that is allowed, and long."""
    return f'-{number}._-{"Z" * 110 if number % 2 else "."}'


def test_series_are_bounded_with_many_topics_and_endpoints(serve, receivers):
    opq = serve('--shards=2', '--retry-first=1h', '--retry-max=1h',
                '--connect-timeout=100ms', '--dns-servers=127.0.0.1:9',
                '--drain=0s')
    target = receivers(lambda request: 404)
    items = [{'topic': hostile_topic(number), 'message': 'x', 'retries': 0,
              'url': target.url()} for number in range(300)]
    items += [{'topic': f't{number}', 'message': 'x',
               'url': f'http://X-{number}.~_.invalid:{number + 1}/'}
              for number in range(1000) for _ in range(1 + number % 3)]
    push_batches(opq, items)
    page = scrape_until(
        opq, lambda page: page.get('opq_dead_letters_kept') == 300,
        'dead letters')
    assert_prometheus_likes(page)
    assert page.get('opq_topics') == 1000 + 300 + 300
    lags = page.by('opq_topic_lag_messages', 'topic')
    assert len(lags) == TOP_MAX
    assert set(lags.values()) == {3}
    assert len(page.of('opq_topic_oldest_age_seconds')) <= TOP_MAX
    dead = page.by('opq_topic_dead_letters_kept', 'topic')
    assert len(dead) == TOP_MAX and set(dead.values()) == {1}
    for name in ('state', 'backlog_messages', 'in_flight', 'window',
                 'failures_in_a_row'):
        assert len(page.of(f'opq_endpoint_{name}')) == TOP_MAX
    assert page.sum('opq_endpoints') == 1001
    assert page.get('opq_lag_messages') == sum(
        1 + number % 3 for number in range(1000))
    sizes = collections.Counter(name for name, _ in page.samples)
    assert max(sizes.values()) <= TOP_MAX
    assert len(page.text) < 256 * 1024


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Pushing(threading.Thread):
    """One push after the other on a connection; how long each took."""

    def __init__(self, opq, url):
        super().__init__()
        self.opq, self.url = opq, url
        self.ending = threading.Event()
        self.took_s = []

    def run(self):
        connection = http.client.HTTPConnection('127.0.0.1', self.opq.port,
                                                timeout=PATIENCE_S)
        # The disk is not what is looked at.
        target = f'/opq/push?topic=live&sync=none&url={self.url}'
        while not self.ending.is_set():
            begun = time.perf_counter()
            connection.request('POST', target, b'x' * 100,
                               {'Content-Type': 'text/plain'})
            answer = connection.getresponse()
            answer.read()
            self.took_s.append(time.perf_counter() - begun)
            assert answer.status == 201
        connection.close()


def quiet_or_scraped(opq, url, scrapes):
    """p99 of pushes while a page is asked for again and again, or not; and
    how long each page took."""
    pushing = Pushing(opq, url)
    pushing.start()
    pages_s = []
    for _ in range(20):
        begun = time.perf_counter()
        if scrapes:
            opq.get('/metrics')
            pages_s.append(time.perf_counter() - begun)
        pushing.ending.wait(0.1)
    pushing.ending.set()
    pushing.join()
    return percentile(pushing.took_s, 0.99), pages_s


@pytest.mark.parametrize('shards', (1, 2))
def test_ten_thousand_topics_are_told_in_no_time(serve, receivers, shards,
                                                 record_property):
    opq = serve(f'--shards={shards}', '--retry-first=1h', '--retry-max=1h',
                '--drain=1s')
    target = receivers(lambda request: 200 if request.topic == 'live' else 500)
    push_batches(opq, [{'topic': f't{number}', 'url': target.url(),
                        'message': 'x'} for number in range(10_000)])
    scrape_until(opq, lambda page: page.get('opq_lagging') == 10_000, 'topics')
    quiet_s, _ = quiet_or_scraped(opq, target.url(), False)
    scraped_s, pages_s = quiet_or_scraped(opq, target.url(), True)
    median_s = percentile(pages_s, 0.5)
    told = (f'10,000 topics on {shards} shards: a page in '
            f'{1000 * median_s:.1f} ms (slowest {1000 * max(pages_s):.1f}), '
            f'p99 of pushes {1000 * quiet_s:.1f} ms quiet, '
            f'{1000 * scraped_s:.1f} ms meanwhile')
    print(told)
    record_property('figures', told)
    opq.kill()  # a checkpoint of all the folders would take longest of all
    assert median_s < 0.1 * SLOWNESS, told
    # What a page may take from a push at the worst, on a busy machine.
    assert scraped_s < quiet_s + 0.05 * SLOWNESS, told


# --- alerts and dashboard ---------------------------------------------------

RULES = ROOT / 'packaging/prometheus/opq.rules.yml'
RULES_TEST = ROOT / 'test/system/opq.rules_test.yml'
DASHBOARD = ROOT / 'packaging/grafana/opq.json'


def unknown_names(text):
    """Metrics that are named somewhere and that there are not."""
    known = set()
    for name, kind in table_names().items():
        known.add(name)
        if kind == 'histogram':
            known.update(f'{name}_{part}'
                         for part in ('bucket', 'sum', 'count'))
    named = set(re.findall(r'\bopq_\w+', text))
    assert len(named) > 15
    return named - known


def test_alerts_name_only_metrics_that_exist():
    assert unknown_names(RULES.read_text('utf-8')) == set()
    assert unknown_names(RULES_TEST.read_text('utf-8')) == set()
    assert unknown_names('opq_nonsense ' + RULES.read_text('utf-8')) == {
        'opq_nonsense'}


def test_alerts_are_good_rules_and_fire_when_they_should():
    for command, path in (('check', RULES), ('test', RULES_TEST)):
        said = promtool(command, 'rules', path)
        assert said.returncode == 0 and 'SUCCESS' in said.stdout, said


def test_each_alert_is_tested_both_ways():
    alerts = re.findall(r'(?m)^ +- alert: (\w+)$', RULES.read_text('utf-8'))
    tests = re.findall(r'alertname: (\w+)\n +eval_time: \S+\n'
                       r' +exp_alerts:( \[\])?',
                       RULES_TEST.read_text('utf-8'))
    assert len(set(alerts)) == len(alerts) > 10
    assert {name for name, none in tests if none} == set(alerts)
    assert {name for name, none in tests if not none} == set(alerts)


def panels():
    dashboard = json.loads(DASHBOARD.read_text('utf-8'))
    return dashboard, [panel for panel in dashboard['panels']
                       if panel['type'] != 'row']


def test_the_dashboard_names_only_metrics_that_exist():
    assert unknown_names(DASHBOARD.read_text('utf-8')) == set()


def test_the_dashboard_is_in_order():
    dashboard, shown = panels()
    ids = [panel['id'] for panel in dashboard['panels']]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in dashboard['panels']:
        place = panel['gridPos']
        cells = {(x, y) for x in range(place['x'], place['x'] + place['w'])
                 for y in range(place['y'], place['y'] + place['h'])}
        assert not cells & taken, f'{panel["title"]} lies over another'
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in shown:
        assert panel['description'] and panel['title'] and panel['targets']
        assert panel['fieldConfig']['defaults']['unit']
        assert panel['datasource']['uid'] == '${datasource}'
        for target in panel['targets']:
            assert 'instance=~"$instance"' in target['expr'], target


def test_prometheus_reads_every_query_of_the_dashboard(tmp_path):
    """As rules, since that is what promtool reads without a server."""
    queries = [target['expr'] for panel in panels()[1]
               for target in panel['targets']]
    rules = {'groups': [{'name': 'dashboard', 'rules': [
        {'record': f'a:b{number}', 'expr': query.replace(
            '$__rate_interval', '5m')}
        for number, query in enumerate(queries)]}]}
    (tmp_path / 'rules.yml').write_text(json.dumps(rules), 'utf-8')
    said = promtool('check', 'rules', tmp_path / 'rules.yml')
    assert said.returncode == 0, said
    assert f'{len(queries)} rules found' in said.stdout

"""Prometheus itself scrapes a server that is in use: it has nothing to say
against it, each panel of the dashboard shows something, and alerts fire.

SPDX-License-Identifier: MIT
"""

import http.client
import json
import re
import shutil
import subprocess
import threading
import urllib.parse

import pytest
from harness import PATIENCE_S, ROOT, wait_until

RULES = ROOT / 'packaging/prometheus/opq.rules.yml'
DASHBOARD = ROOT / 'packaging/grafana/opq.json'


class Prometheus:
    """A server of it on a port that the kernel chose."""

    def __init__(self, folder, port):
        program = shutil.which('prometheus')
        assert program, 'prometheus is missing: tools/setup installs it'
        (folder / 'prometheus.yml').write_text(json.dumps({
            'global': {'scrape_interval': '1s', 'evaluation_interval': '1s'},
            'rule_files': [str(RULES)],
            'scrape_configs': [{
                'job_name': 'opq',
                'static_configs': [{'targets': [f'127.0.0.1:{port}']}]}],
        }), 'utf-8')
        self.process = subprocess.Popen(
            [program, f'--config.file={folder / "prometheus.yml"}',
             f'--storage.tsdb.path={folder / "tsdb"}',
             '--web.listen-address=127.0.0.1:0'],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        self.port = None
        self.lines = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        wait_until(lambda: self.port, 'the port of Prometheus')
        wait_until(self.ready, 'Prometheus')

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)
            found = re.search(r'msg="Listening on" address=\S+:(\d+)', line)
            if found:
                self.port = int(found[1])
        self.process.stderr.close()

    def get(self, path):
        connection = http.client.HTTPConnection('127.0.0.1', self.port,
                                                timeout=PATIENCE_S)
        try:
            connection.request('GET', path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ready(self):
        assert self.process.poll() is None, ''.join(self.lines[-20:])
        return self.get('/-/ready')[0] == 200

    def ask(self, path):
        status, body = self.get(f'/api/v1/{path}')
        said = json.loads(body)
        assert status == 200 and said['status'] == 'success', said
        return said['data']

    def query(self, text):
        """[{'metric': labels, 'value': [at, text]}]"""
        return self.ask('query?' + urllib.parse.urlencode(
            {'query': text}))['result']

    def close(self):
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        self.reader.join(PATIENCE_S)


@pytest.fixture
def watched(serve, tmp_path):
    """A server, and a Prometheus that scrapes it."""
    opq = serve('--retry-first=10ms', '--retry-max=50ms',
                '--checkpoint-interval=200ms')
    prometheus = Prometheus(tmp_path, opq.port)
    yield opq, prometheus
    prometheus.close()


class Traffic(threading.Thread):
    """Some of everything, until told to end."""

    def __init__(self, opq, url, gone):
        super().__init__()
        self.opq, self.url, self.gone = opq, url, gone
        self.ending = threading.Event()

    def run(self):
        opq = self.opq
        opq.request('PUT', '/opq/topics/fan/subscriptions/pull',
                    {'kind': 'pull'})
        opq.push_json('gone', self.gone, 'x')
        opq.push_json('late', self.url, 'x', delay='1h')
        number = 0
        while not self.ending.is_set():
            opq.push_json('good', self.url, 'x', dedup_id=f'{number}')
            opq.push('good', self.url, 'x',
                     {'Opq-Dedup-Id': f'{number}'})
            opq.push_json('bad', self.url, 'x', retries=0)
            opq.request('POST', '/opq/push', {'topic': 'fan', 'message': 'x'})
            opq.request('POST', '/opq/push', {'topic': 'no name/'})
            opq.request('GET', '/opq/topics')
            number += 1
            self.ending.wait(0.02)


def as_grafana_asks(text):
    return (text.replace('$__rate_interval', '10s').replace('$job', '.*')
            .replace('$instance', '.*'))


def silent(prometheus):
    """Queries of panels that show nothing now, or not what is to name it."""
    wrong = []
    for panel in json.loads(DASHBOARD.read_text('utf-8'))['panels']:
        for target in panel.get('targets', ()):
            found = prometheus.query(as_grafana_asks(target['expr']))
            wanted = set(re.findall(r'{{(\w+)}}', target['legendFormat']))
            wanted.discard('subscription')  # a topic itself has none
            named = all(wanted <= set(one['metric']) for one in found)
            numbers = [one['value'][1] for one in found]
            if not found or not named or 'NaN' in numbers:
                wrong.append((panel['title'], target['expr'], found[:2]))
    return wrong


def wait_shown(prometheus):
    left = []

    def look():
        left[:] = silent(prometheus)
        return not left
    try:
        wait_until(look)
    except AssertionError:
        raise AssertionError(f'nothing is shown by {left}') from None


def firing(prometheus):
    return {alert['labels']['alertname']
            for alert in prometheus.ask('alerts')['alerts']
            if alert['state'] == 'firing'}


def test_prometheus_reads_all_and_each_panel_shows_something(watched,
                                                             receivers):
    opq, prometheus = watched
    target = receivers(lambda request: 404 if request.topic == 'bad' else 200)
    gone = receivers()
    gone.close()
    traffic = Traffic(opq, target.url(), gone.url())
    traffic.start()
    try:
        wait_until(lambda: prometheus.query('up{job="opq"} == 1'), 'a scrape')
        wait_shown(prometheus)
        wait_until(lambda: 'OpqDeadLetters' in firing(prometheus), 'an alert')
        assert firing(prometheus) == {'OpqDeadLetters'}
    finally:
        traffic.ending.set()
        traffic.join()
    # It took every sample, and had no complaint.
    scraped = prometheus.ask('targets')['activeTargets'][0]
    assert scraped['health'] == 'up' and scraped['lastError'] == ''
    count = sum(not line.startswith('#') for line in
                opq.get('/metrics').body.decode().splitlines())
    taken = float(prometheus.query('scrape_samples_scraped')[0]['value'][1])
    assert abs(taken - count) <= 3
    kinds = prometheus.ask('metadata')
    assert kinds['opq_pushes_total'][0]['type'] == 'counter'
    assert kinds['opq_commit_changes'][0]['type'] == 'histogram'
    assert not [line for line in prometheus.lines
                if 'level=error' in line or 'component="scrape' in line]
    # It is gone: that is an alert, too, if a slower one.
    opq.kill()
    wait_until(lambda: prometheus.query(
        'ALERTS{alertname="OpqDown", alertstate="pending"}'), 'that it is down')

"""opq dev: a server to try things with.

SPDX-License-Identifier: MIT
"""

import http.client
import os
import re
import signal
import subprocess
import threading

import pytest
from harness import BINARY, PATIENCE_S, run_cli, wait_until


class Dev:
    def __init__(self, folder, *arguments):
        self.folder = folder
        self.process = subprocess.Popen(
            [BINARY, 'dev', *arguments], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
            env={'PATH': os.environ['PATH'], 'TMPDIR': str(folder)})
        self.lines = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    @property
    def text(self):
        return ''.join(self.lines)

    def wait(self, pattern):
        return wait_until(lambda: re.search(pattern, self.text, re.M),
                          f'{pattern}: {self.text}')

    def run(self, *arguments):
        return run_cli(*arguments, '--url', self.wait(r'^server +(\S+)$')[1])

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        self.reader.join(PATIENCE_S)
        return code


@pytest.fixture
def dev(tmp_path):
    made = []

    def make(*arguments):
        made.append(Dev(tmp_path, *arguments))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_prints_what_is_delivered_and_leaves_nothing(dev, tmp_path, number):
    one = dev()
    sink = one.wait(r'^receiver +(http\S+)')[1]
    one.wait(r'^  curl http')
    assert len(list(tmp_path.iterdir())) == 1
    done = one.run('push', 'hello', sink + 'hook', '{"n":1,"of":["a"]}')
    assert done.returncode == 0, done
    one.wait(r'^POST /hook  topic hello  seq 0  attempt 1')
    one.wait(r'^message = \{\n  "n": 1,\n  "of": \[\n    "a"\n  \]\n\}$')
    done = one.run('push', 'hello', sink, '{"x":2}', '--type',
                   'application/x+json', '--method=PUT')
    assert done.returncode == 0, done
    one.wait(r'^PUT /  topic hello  seq 1 .*application/x\+json, 7 bytes\n'
             r'\{\n  "x": 2\n\}$')
    assert '\033' not in one.text
    assert one.end(number) == 0
    assert not list(tmp_path.iterdir())


def test_the_command_to_try_works(dev):
    one = dev()
    command = one.wait(r'^  (curl .*)$')[1]
    done = subprocess.run(['sh', '-c', command], capture_output=True,
                          text=True, check=False, timeout=PATIENCE_S)
    assert done.stdout == 'success', done
    one.wait(r'^POST /  topic hello  seq 0')
    assert one.end() == 0


def test_flags_of_serve(dev, tmp_path):
    one = dev('--', '--batch-count-max=7', '--shards=1')
    done = one.run('info')
    assert re.search(r'^limits.batch_count_max +7$', done.stdout, re.M)
    assert one.end() == 0
    one = dev('--', '--no-such-flag')
    assert one.process.wait(PATIENCE_S) == 1
    one.wait('the server did not start')
    assert not list(tmp_path.iterdir())


def test_ends_when_the_server_does(dev, tmp_path):
    one = dev()
    one.wait(r'^  opq top')
    children = subprocess.run(
        ['ps', '-o', 'pid=', '--ppid', str(one.process.pid)],
        capture_output=True, text=True, check=True).stdout.split()
    assert len(children) == 1
    os.kill(int(children[0]), signal.SIGKILL)
    assert one.process.wait(PATIENCE_S) == 1
    one.wait('the server has ended')
    assert not list(tmp_path.iterdir())


def test_server_does_not_outlive_it(dev):
    one = dev()
    port = int(one.wait(r'^server +http://127\.0\.0\.1:(\d+)$')[1])
    one.process.kill()
    one.process.wait()

    def gone():
        connection = http.client.HTTPConnection('127.0.0.1', port)
        try:
            connection.request('GET', '/healthz')
            connection.getresponse()
        except OSError:
            return True
        finally:
            connection.close()
        return False
    wait_until(gone, 'the server ended')

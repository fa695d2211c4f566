"""opq top, on a terminal of our own.

SPDX-License-Identifier: MIT
"""

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

import pytest
from certificates import Authority
from harness import BINARY, PATIENCE_S, Answer, wait_until

ENTER = '\033[?1049h'
LEAVE = '\033[?1049l'


class Terminal:
    """A program on a terminal: its keys, and the pages it draws."""

    def __init__(self, *arguments, rows=30, columns=100):
        self.ours, self.theirs = pty.openpty()
        self.resize(rows, columns, tell=False)
        self.before = termios.tcgetattr(self.theirs)
        self.text = ''
        self.process = subprocess.Popen(
            [BINARY, *arguments], stdin=self.theirs, stdout=self.theirs,
            stderr=subprocess.PIPE, env={'PATH': os.environ['PATH']})

    def resize(self, rows, columns, tell=True):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ,
                    struct.pack('HHHH', rows, columns, 0, 0))
        if tell:  # the terminal is not the program's own, so by hand
            self.process.send_signal(signal.SIGWINCH)

    def read(self):
        while select.select([self.ours], [], [], 0)[0]:
            self.text += os.read(self.ours, 65536).decode()

    def page(self):
        """The lines of the last page that is whole."""
        self.read()
        pages = self.text.split('\033[H')[1:]
        whole = [page for page in pages if '\033[J' in page]
        if not whole:
            return []
        page = whole[-1].split('\033[J')[0]
        plain = re.sub(r'\033\[[0-9;?]*[A-Za-z]', '', page)
        return re.split(r'\r+\n', plain)

    def wait_line(self, pattern):
        def look():
            return next(filter(None, (re.search(pattern, line)
                                      for line in self.page())), None)
        return wait_until(look, f'a line like {pattern}: {self.page()}')

    def press(self, keys):
        os.write(self.ours, keys.encode())

    def end(self):
        """Wait for the end; the terminal must be as it was."""
        try:
            code = self.process.wait(PATIENCE_S)
            self.read()
            modes = termios.tcgetattr(self.theirs)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stderr.close()
            os.close(self.ours)
            os.close(self.theirs)
        assert self.text.count(ENTER) == self.text.count(LEAVE) > 0
        assert self.text.rstrip().endswith(LEAVE), self.text[-200:]
        assert '\033[?25h' in self.text.rpartition('\033[?25l')[2]
        assert modes == self.before
        return code


@pytest.fixture
def top(opq):
    made = []

    def make(*arguments, **options):
        made.append(Terminal('top', '--url', opq.url, '--interval=200ms',
                             *arguments, **options))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def test_figures_are_the_servers(opq, receivers, top):
    gone = receivers()
    gone.close()
    for _ in range(7):
        opq.push_json('stuck', gone.url(), 'x')
    for _ in range(3):
        opq.push_json('fine', receivers().url(), 'x')
    opq.wait_delivered('fine', 3)
    shown = top()
    shown.wait_line(r'^opq \S+ at http://127\.0\.0\.1:')
    shown.wait_line(r'^lag 7  oldest \d')
    shown.wait_line(r'^topics 2  connections \d')
    line = shown.wait_line(r'^stuck +7 .* backoff +message 0 is tried').string
    rows = [row.split()[0] for row in shown.page() if row[:5] in
            ('stuck', 'fine ')]
    assert rows == ['stuck', 'fine'], 'the greatest lag is first'
    assert len(line) <= 100
    shown.wait_line(fr'^{gone.url("")} +\S+ +\d+ +\d+ .*connection_refused')
    shown.press('q')
    assert shown.end() == 0


def test_rates_follow_what_happens(opq, receiver, top):
    shown = top()
    shown.wait_line(r'^pushed 0\.0/s')
    end = time.monotonic() + PATIENCE_S
    rate = 0
    while rate < 3 and time.monotonic() < end:
        opq.push_json('busy', receiver.url(), 'x')
        found = [re.match(r'pushed ([\d.]+)/s  delivered ([\d.]+)/s', line)
                 for line in shown.page()]
        rate = max([float(one[1]) for one in found if one] + [0])
    assert rate >= 3
    shown.wait_line(r'^pushed 0\.0/s  delivered 0\.0/s')
    shown.press('q')
    assert shown.end() == 0


def test_size_changes_are_followed(opq, receiver, top):
    for index in range(40):
        opq.push_json(f'topic-with-a-long-name-{index:02}', receiver.url())
    shown = top(rows=30, columns=100)
    wait_until(lambda: len(shown.page()) == 30, 'thirty lines')
    shown.resize(15, 40)
    wait_until(lambda: len(shown.page()) == 15, 'fifteen lines')
    assert max(map(len, shown.page())) == 40
    shown.resize(4, 10)
    wait_until(lambda: len(shown.page()) == 4, 'four lines')
    shown.resize(60, 120)
    wait_until(lambda: len(shown.page()) > 45, 'all of them')
    shown.press('q')
    assert shown.end() == 0


def test_keys(opq, receiver, top):
    for index in range(40):
        opq.push_json(f't{index:02}', receiver.url())
    opq.wait_delivered('t39', 1)
    shown = top(rows=20)

    def first():
        return next((line[:3] for line in shown.page()
                     if re.match(r't\d\d ', line)), None)
    wait_until(lambda: first() == 't00')
    shown.press('\033[B\033[B')
    wait_until(lambda: first() == 't02')
    shown.press('\033')  # in parts, as slow lines have it
    shown.press('[A')
    wait_until(lambda: first() == 't01')
    shown.press('\033[6~' * 9)
    shown.wait_line(r'^t39 ')
    shown.press('\033[5~' * 9)
    wait_until(lambda: first() == 't00')
    for name in ('pushes', 'failures', 'name', 'lag'):
        shown.press('s')
        shown.wait_line(fr's sort \({name}\)')
    shown.press('p')
    shown.wait_line(r'PAUSED')
    opq.push_json('one-more', receiver.url())
    time.sleep(0.5)
    assert any(line.startswith('topics 40 ') for line in shown.page())
    shown.press('p')
    shown.wait_line(r'^topics 41 ')
    shown.press('q')
    assert shown.end() == 0


@pytest.mark.parametrize('number', [
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT,
    signal.SIGSEGV, signal.SIGABRT])
def test_terminal_is_given_back_when_a_signal_ends_it(top, number):
    shown = top()
    shown.wait_line(r'^topics 0 ')
    shown.process.send_signal(number)
    code = shown.end()
    assert code == (-number if number in (signal.SIGSEGV, signal.SIGABRT)
                    else 0)


def test_server_may_go_and_come_back(opq, receiver, top):
    opq.push_json('t', receiver.url())
    port = opq.port
    shown = top()
    shown.wait_line(r'^topics 1 ')
    opq.stop()
    shown.wait_line(r'NO ANSWER')
    opq.start(f'-port={port}')
    wait_until(lambda: shown.page() and 'NO ANSWER' not in shown.page()[0],
               'it is back')
    shown.wait_line(r'^topics 1 ')
    shown.press('q')
    assert shown.end() == 0


def hanging(opq, receivers, hangs, tls=None):
    """A server that is `opq`, until it hangs."""
    def script(request):
        if hangs.is_set():
            return Answer(hang=True)
        return Answer(body=opq.get(request.path).body)
    return receivers(script, tls=tls)


@pytest.mark.parametrize('secure', [False, True])
def test_keys_are_heard_while_the_server_hangs(opq, receivers, secure,
                                               tmp_path):
    authority = Authority(tmp_path / 'ca') if secure else None
    hangs = threading.Event()
    server = hanging(opq, receivers, hangs, secure and authority.server(
        'here', 'IP:127.0.0.1'))
    shown = Terminal('top', '--url', server.url(''), '--interval=100ms',
                     *(['--ca-file', str(authority.file)] if secure else []))
    shown.wait_line(r'^topics 0 ')
    hangs.set()
    asked = len(server.requests)
    server.wait(asked + 2)  # the second at the latest gets no answer
    begun = time.monotonic()
    shown.press('q')
    assert shown.end() == 0
    assert time.monotonic() - begun < 1


def test_keys_are_heard_while_nobody_accepts(opq):
    """Its queue is full: a connection comes to no end."""
    with socket.create_server(('127.0.0.1', 0), backlog=0) as listener:
        url = f'http://127.0.0.1:{listener.getsockname()[1]}'
        shown = Terminal('top', '--url', url, '--interval=100ms')
        for _ in range(3):
            with listener.accept()[0] as one:
                path = one.recv(65536).split()[1].decode()
                one.sendall(Answer(body=opq.get(path).body,
                                   close=True).encode())
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        shown.wait_line(r'NO ANSWER')
        time.sleep(0.5)  # it connects again
        begun = time.monotonic()
        shown.press('q')
        assert shown.end() == 0
        assert time.monotonic() - begun < 1
        for one in waiting:
            one.close()


def test_plain_print_without_a_terminal(opq, receiver):
    opq.push_json('t', receiver.url())
    opq.wait_delivered('t', 1)
    for arguments in ([], ['--once']):
        done = opq.run('top', '--interval=100ms', *arguments)
        assert done.returncode == 0, done
        assert '\033' not in done.stdout
        assert re.search(r'^topics 1  connections \d', done.stdout, re.M)
        assert re.search(r'^t +0 +0ms +0\.0 ', done.stdout, re.M)
    shown = json.loads(opq.run('top', '--json').stdout)
    assert shown['info']['now']['topics'] == 1
    assert [topic['name'] for topic in shown['topics']] == ['t']
    assert len(shown['endpoints']) == 1
    assert opq.run('top', '--interval=1ms').returncode == 64
    opq.stop()
    assert opq.run('top').returncode == 2


def test_terminal_is_given_back_while_it_stands_still(top):
    shown = top()
    shown.wait_line(r'^topics 0 ')
    stat = f'/proc/{shown.process.pid}/stat'

    def state():
        with open(stat, encoding='ascii', errors='replace') as file:
            return file.read().rpartition(')')[2].split()[0]
    shown.process.send_signal(signal.SIGTSTP)
    wait_until(lambda: state() == 'T', 'it stands still')
    shown.read()
    assert shown.text.endswith(LEAVE)
    assert termios.tcgetattr(shown.theirs) == shown.before
    pages = shown.text.count('\033[H')
    shown.process.send_signal(signal.SIGCONT)
    wait_until(lambda: shown.read() or shown.text.count('\033[H') > pages)
    assert termios.tcgetattr(shown.theirs) != shown.before
    shown.press('q')
    assert shown.end() == 0

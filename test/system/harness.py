"""What the system tests share: the server, receivers, bytes on a socket.

Tests get these through the fixtures of conftest.py, and import Answer and
wait_until from here.

SPDX-License-Identifier: MIT
"""

import errno
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

import pytest
import sanitizer

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BINARY = os.environ.get('OPQ_BINARY', str(ROOT / 'build/opq'))

# How long anything may take before a test gives up. Generous, since the
# machine may be busy; nothing waits this long but when it fails.
SLOWNESS = sanitizer.slowness_of(BINARY)
PATIENCE_S = float(os.environ.get('OPQ_TEST_PATIENCE', '30')) * SLOWNESS
# What a push is told that nobody would get.
NO_URL = 'url is missing or empty, and the topic has no subscription'


# On a test of how much memory the server uses.
measures_memory = pytest.mark.skipif(
    sanitizer.kind_of(BINARY) is not None,
    reason='sanitizers use memory of their own')


def wait_until(look, what='', patience_s=PATIENCE_S):
    """Ask `look` until it gives something true; return that."""
    end = time.monotonic() + patience_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f'it never came: {what or look}')
        time.sleep(0.005)


class Response:
    """An answer: status, fields in small letters, body."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f'<{self.status} {self.headers} {self.body[:400]!r}>'


class RawConnection:
    """A connection to a server, byte for byte."""

    def __init__(self, port, host='127.0.0.1', patience_s=PATIENCE_S,
                 tls=None):
        self.socket = socket.create_connection((host, port), patience_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname=host)
        self.file = self.socket.makefile('rb')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes)
                            else data.encode('latin-1'))
        return self

    def end(self):
        """End our side; the other may still answer."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def reset(self):
        """Close with a reset instead of in order."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                               b'\x01\0\0\0\0\0\0\0')
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def read_head(self):
        """Read a head; return (status, {name: value})."""
        line = self.file.readline()
        if not line:
            raise EOFError('the connection was closed')
        match = re.fullmatch(rb'HTTP/1\.1 (\d{3}) [^\r\n]*\r\n', line)
        assert match, f'not a status line: {line!r}'
        headers = {}
        while True:
            line = self.file.readline()
            assert line.endswith(b'\r\n'), f'not a field: {line!r}'
            if line == b'\r\n':
                return int(match.group(1)), headers
            name, value = line.decode('latin-1').split(':', 1)
            headers[name.lower()] = value.strip()

    def read_chunked(self):
        body = b''
        while True:
            size = int(self.file.readline().split(b';')[0], 16)
            body += self.file.read(size)
            assert self.file.readline() == b'\r\n'
            if size == 0:
                return body

    def read_response(self, head_only=False):
        """Read a whole answer; interim ones (1xx) are answers, too."""
        status, headers = self.read_head()
        if head_only or status < 200 or status in (204, 304):
            return Response(status, headers, b'')
        if headers.get('transfer-encoding') == 'chunked':
            return Response(status, headers, self.read_chunked())
        if 'content-length' in headers:
            size = int(headers['content-length'])
            body = self.file.read(size)
            assert len(body) == size, 'the body ends early'
            return Response(status, headers, body)
        return Response(status, headers, self.file.read())

    def read_all(self):
        """Read until the other side closes; a reset ends it, too."""
        data = b''
        try:
            while True:
                piece = self.file.read1(65536)
                if not piece:
                    return data
                data += piece
        except ConnectionResetError:
            return data

    def closed(self):
        """Wait for the other side to close; true when nothing came."""
        return self.read_all() == b''


class Server:
    """The real binary, serving from a directory of its own."""

    runs = []  # (server, process, reader) of each start, see crashes()

    def __init__(self, data, *arguments, environment=None, command=(),
                 tls=None):
        self.data = pathlib.Path(data)
        self.arguments = list(arguments)
        self.environment = dict(environment or {})
        self.command = list(command)  # to run it under something
        self.tls = tls  # an ssl.SSLContext, of its clients
        self.process = None
        self.port = None
        self.urls = []
        self.output = []  # lines of standard output and error
        self.listening = threading.Event()
        self.reader = None

    def start(self, *more, ready=True):
        """Start, or start again on the same directory."""
        assert self.process is None or self.process.poll() is not None
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith('OPQ_')}
        environment.update(self.environment)
        self.listening.clear()
        self.urls = []
        self.process = subprocess.Popen(
            [*self.command, BINARY, '-port', '0', '-data', str(self.data),
             *self.arguments, *more],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=environment)
        self._begin_reading()
        if ready:
            self.wait_ready()
        return self

    def _begin_reading(self):
        self.reader = threading.Thread(
            target=self._read, args=(self.process,), daemon=True)
        self.reader.start()
        Server.runs.append((self, self.process, self.reader))

    def _read(self, process):
        for line in process.stdout:
            text = line.decode('utf-8', 'replace').rstrip('\n')
            self.output.append(text)
            match = re.search(r'listening on (\S+)', text)
            if match:
                self.urls.append(match.group(1))
                found = re.match(r'https?://127\.0\.0\.1:(\d+)', match.group(1))
                if found:
                    self.port = int(found.group(1))
                    self.listening.set()
        self.listening.set()  # it ended; whoever waits finds out
        process.stdout.close()

    def wait_ready(self, patience_s=PATIENCE_S):
        self.listening.wait(patience_s)
        assert self.process.poll() is None and self.port, self.explain()

        def ready():
            assert self.process.poll() is None, self.explain()
            return self.request('GET', '/readyz').status == 200
        wait_until(ready, 'readiness', patience_s)
        return self

    def explain(self):
        text = '\n'.join(self.output[-40:])
        return f'exit {self.process.poll()}\n{text}\n{self.log()[-4000:]}'

    @property
    def url(self):
        return f'{"https" if self.tls else "http"}://127.0.0.1:{self.port}'

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        """The text of logs/system.log."""
        path = self.data / 'logs/system.log'
        return path.read_text('utf-8', 'replace') if path.exists() else ''

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, patience_s=PATIENCE_S):
        """Wait for its end; return the exit code."""
        code = self.process.wait(patience_s)
        self.reader.join(patience_s)
        return code

    @classmethod
    def crashes(cls):
        """Servers that crashed since this was last asked: a test that kills
        its servers would not see it. UBSan's word is in the output."""
        ended = [run for run in cls.runs if run[1].poll() is not None]
        cls.runs = [run for run in cls.runs if run not in ended]
        found = []
        for server, process, reader in ended:
            reader.join(PATIENCE_S)
            code = process.returncode
            if (code < 0 and code != -signal.SIGKILL) or any(
                    ': runtime error: ' in line for line in server.output):
                found.append(f'ended with {code}\n{server.explain()}')
        return found

    def stop(self, patience_s=PATIENCE_S):
        """SIGTERM; return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(patience_s)

    def kill(self):
        """SIGKILL: what was not durable is gone."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def connect(self, **options):
        options.setdefault('tls', self.tls)
        return RawConnection(self.port, **options)

    def exchange(self, data):
        """Send bytes on a connection of their own; return one answer."""
        with self.connect() as connection:
            return connection.send(data).read_response()

    def request(self, method, path, body=None, headers=None,
                patience_s=PATIENCE_S):
        """A request on a connection of its own. A dict is sent as JSON."""
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            headers.setdefault('Content-Type', 'application/json')
        if self.tls:
            connection = http.client.HTTPSConnection(
                '127.0.0.1', self.port, timeout=patience_s, context=self.tls)
        else:
            connection = http.client.HTTPConnection('127.0.0.1', self.port,
                                                    timeout=patience_s)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            fields = {name.lower(): value
                      for name, value in answer.getheaders()}
            return Response(answer.status, fields, answer.read())
        finally:
            connection.close()

    def get(self, path):
        return self.request('GET', path)

    def push(self, topic, url, message='', headers=None, **fields):
        """A push as the first OPQ's: an urlencoded form."""
        form = {'url': url, 'topic': topic, 'message': message, **fields}
        return self.request(
            'POST', '/opq/push', urllib.parse.urlencode(form),
            {'Content-Type': 'application/x-www-form-urlencoded',
             **(headers or {})})

    def push_json(self, topic, url, message='', **members):
        """A push as JSON; asserts that it was taken, returns the answer."""
        answer = self.request('POST', '/opq/push', {
            'topic': topic, 'url': url, 'message': message, **members})
        assert answer.status == 201, answer
        return answer.json()

    def topic(self, name):
        """The figures of a topic."""
        answer = self.get(f'/opq/topics/{name}')
        assert answer.status == 200, answer
        return answer.json()

    def wait_delivered(self, name, next_sequence, patience_s=PATIENCE_S):
        """Until the topic's cursor is at `next_sequence`."""
        wait_until(lambda: self.topic(name)['delivered'] >= next_sequence,
                   f'{name} delivered up to {next_sequence}', patience_s)

    def run(self, command, *arguments, **options):
        """A subcommand against this server; returns CompletedProcess."""
        return run_cli(command, '--url', self.url, *arguments, **options)


class EventStream:
    """A stream of server-sent events, parsed."""

    def __init__(self, opq, path, last=None):
        self.connection = opq.connect()
        field = f'Last-Event-ID: {last}\r\n' if last is not None else ''
        self.connection.send(f'GET {path} HTTP/1.1\r\nHost: h\r\n{field}\r\n')
        self.status, self.headers = self.connection.read_head()
        self.left = b''
        self.comments = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def _chunk(self):
        file = self.connection.file
        size = int(file.readline(), 16)
        data = file.read(size)
        assert file.readline() == b'\r\n'
        return data

    def next(self):
        """The next event as a dict; None at the end of the stream."""
        while True:
            while b'\n\n' not in self.left:
                data = self._chunk()
                if not data:
                    return None
                self.left += data
            block, _, self.left = self.left.partition(b'\n\n')
            if block.startswith(b':'):
                self.comments += 1
                continue
            return dict(line.split(': ', 1)
                        for line in block.decode().split('\n'))


def run_cli(*arguments, patience_s=PATIENCE_S, **options):
    """Run `opq` with arguments; returns CompletedProcess, output as text."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith('OPQ_')}
    options.setdefault('text', True)
    return subprocess.run([BINARY, *arguments], capture_output=True,
                          timeout=patience_s, check=False, env=environment,
                          **options)


def closed_port():
    """A port that nobody listens on."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        return listener.getsockname()[1]


def wait_failure(opq, topic, patience_s=2 * PATIENCE_S):
    """Wait for a failed attempt of message 0; return what is told of it."""
    def look():
        message = opq.get(f'/opq/topics/{topic}/messages/0').json()
        return message if 'last_error' in message else None
    return wait_until(look, f'a failure of {topic}', patience_s)


def subcommands():
    """Names of the subcommands that `opq help` lists."""
    return re.findall(r'^  (?!opq )([a-z]+) +[a-z]', run_cli('help').stdout,
                      re.M)


class Terminal:
    """A terminal that a subcommand prints to: `theirs`, its descriptor."""

    def __init__(self):
        self.ours, self.theirs = os.openpty()

    def read(self):
        """All that was printed; once, when the subcommand has ended."""
        shown = b''
        os.close(self.theirs)
        with open(self.ours, 'rb', buffering=0) as file:
            try:
                while piece := file.read(65536):
                    shown += piece
            except OSError as error:  # so a terminal ends that nobody has
                assert error.errno == errno.EIO, error
        return shown.decode()


class Sink:
    """`opq sink` on a free port."""

    def __init__(self, *arguments, tls=None):
        self.tls = tls  # an ssl.SSLContext, of its clients
        self.process = subprocess.Popen(
            [BINARY, 'sink', '--port', '0', *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        line = self.process.stdout.readline()
        self.url = re.fullmatch(r'sink listening on (https?://\S+)\n',
                                line).group(1)

    def stats(self):
        host = self.url.partition('://')[2]
        connection = (
            http.client.HTTPConnection(host, timeout=PATIENCE_S)
            if self.tls is None else
            http.client.HTTPSConnection(host, timeout=PATIENCE_S,
                                        context=self.tls))
        connection.request('GET', '/sink/stats')
        stats = json.loads(connection.getresponse().read())
        connection.close()
        return stats

    def stop(self):
        """SIGINT; return (exit code, what it printed)."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        text, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, text


class Answer:
    """How a receiver answers a request."""

    def __init__(self, status=200, headers=None, body=b'', **how):
        self.status = status
        self.headers = dict(headers or {})
        self.body = body
        self.delay_s = how.pop('delay_s', 0)    # before the answer
        self.gate = how.pop('gate', None)       # an Event to wait for first
        self.reset = how.pop('reset', False)    # reset instead of answering
        self.close = how.pop('close', False)    # close after (or instead)
        self.hang = how.pop('hang', False)      # never answer
        self.drip_s = how.pop('drip_s', None)   # between bytes of the answer
        self.raw = how.pop('raw', None)         # these bytes instead
        assert not how, f'unknown: {how}'

    def encode(self):
        if self.raw is not None:
            return self.raw
        fields = {'Content-Length': str(len(self.body)), **self.headers}
        if self.close:
            fields['Connection'] = 'close'
        lines = [f'HTTP/1.1 {self.status} Because']
        lines += [f'{name}: {value}' for name, value in fields.items()]
        return '\r\n'.join([*lines, '', '']).encode('latin-1') + self.body


class Received:
    """A request that came to a receiver."""

    def __init__(self, start_line, fields, body, connection):
        self.method, self.target, self.version = start_line.split(' ')
        self.fields = fields  # [(name, value)] as they came
        self.headers = {name.lower(): value for name, value in fields}
        self.body = body
        self.connection = connection  # number of its connection, from 0
        self.at = time.monotonic()

    @property
    def path(self):
        return self.target.split('?')[0]

    @property
    def topic(self):
        return self.headers.get('opq-topic')

    @property
    def sequence(self):
        return int(self.headers['opq-seq'])

    @property
    def attempt(self):
        return int(self.headers['opq-attempt'])

    def form(self):
        """Fields of an urlencoded body: [(name, value)]."""
        return urllib.parse.parse_qsl(self.body.decode('latin-1'),
                                      keep_blank_values=True,
                                      strict_parsing=bool(self.body),
                                      encoding='utf-8')

    def __repr__(self):
        return f'<{self.method} {self.target} {self.fields} {self.body!r}>'


class Receiver:
    """A target: records what comes, answers as it is told.

    `script` is called with each request (a Received) and gives an Answer, a
    status, or None for 200; it may be replaced at any time. Answers given to
    then() are used first, one each.
    """

    def __init__(self, script=None, tls=None, host='127.0.0.1', port=0,
                 listener=None):
        self.script = script or (lambda request: None)
        self.tls = tls  # an ssl.SSLContext
        self.requests = []
        self.answers = []
        self.changed = threading.Condition()
        self.closing = threading.Event()
        self.connections = 0
        self.sockets = set()
        self.socket = listener or socket.create_server((host, port),
                                                       backlog=1024)
        self.port = self.socket.getsockname()[1]
        self.accepting = threading.Thread(target=self._accept, daemon=True)
        self.accepting.start()

    def url(self, path='/sink'):
        scheme = 'https' if self.tls else 'http'
        return f'{scheme}://127.0.0.1:{self.port}{path}'

    def then(self, *answers):
        """Answer the next requests so, in order."""
        with self.changed:
            self.answers.extend(answers)
        return self

    def wait(self, count, patience_s=PATIENCE_S):
        """Wait for `count` requests in all; return them."""
        with self.changed:
            came = self.changed.wait_for(
                lambda: len(self.requests) >= count, patience_s)
            assert came, f'{len(self.requests)} of {count} came'
            return list(self.requests)

    def of_topic(self, topic):
        with self.changed:
            return [request for request in self.requests
                    if request.topic == topic]

    def sequences(self, topic):
        return [request.sequence for request in self.of_topic(topic)]

    def clear(self):
        with self.changed:
            self.requests.clear()

    def close(self):
        """Stop listening and cut what is open: the port refuses then."""
        self.closing.set()
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.accepting.join()
        self.socket.close()
        with self.changed:
            for one in list(self.sockets):
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _accept(self):
        while not self.closing.is_set():
            try:
                one, _ = self.socket.accept()
            except OSError:
                return
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.changed:
                number = self.connections
                self.connections += 1
                self.sockets.add(one)
            threading.Thread(target=self._serve, args=(one, number),
                             daemon=True).start()

    def _serve(self, one, number):
        plain = one
        try:
            if self.tls:
                one = self.tls.wrap_socket(one, server_side=True)
            with one.makefile('rb') as file:
                while self._serve_one(one, file, number):
                    pass
        except (OSError, ValueError, EOFError):
            pass
        finally:
            with self.changed:
                self.sockets.discard(plain)
            one.close()

    def _serve_one(self, one, file, number):
        request = self._read(file, number)
        if request is None:
            return False
        with self.changed:
            self.requests.append(request)
            answer = self.answers.pop(0) if self.answers else None
            self.changed.notify_all()
        if answer is None:
            answer = self.script(request)
        if answer is None or isinstance(answer, int):
            answer = Answer(answer or 200)
        return self._answer(one, answer)

    @staticmethod
    def _read(file, number):
        line = file.readline()
        if not line:
            return None
        fields = []
        while True:
            field = file.readline()
            if field in (b'\r\n', b''):
                break
            name, value = field.decode('latin-1').split(':', 1)
            fields.append((name, value.strip()))
        size = 0
        for name, value in fields:
            assert name.lower() != 'transfer-encoding', 'OPQ sends lengths'
            if name.lower() == 'content-length':
                size = int(value)
        body = file.read(size)
        if len(body) < size:
            raise EOFError
        return Received(line.decode('latin-1').rstrip('\r\n'), fields, body,
                        number)

    def _answer(self, one, answer):
        if answer.gate is not None:
            answer.gate.wait(PATIENCE_S)
        if answer.delay_s:
            self.closing.wait(answer.delay_s)
        if answer.hang:
            self.closing.wait()
            return False
        if answer.reset:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                           b'\x01\0\0\0\0\0\0\0')
            return False
        data = answer.encode()
        if answer.drip_s is None:
            one.sendall(data)
        else:
            for at in range(len(data)):
                one.sendall(data[at:at + 1])
                self.closing.wait(answer.drip_s)
        return not answer.close

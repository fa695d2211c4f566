"""The processes of a bench run: OPQ, its references, the load generator.

`Bench` starts what does not change during a run: the sink, nginx, Redis, the
bare loop. `bench.opq()` starts a server with a directory of its own, which is
removed when the server ends; `Opq` is what can be asked of it.

SPDX-License-Identifier: MIT
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse

NGINX = """
daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_max_body_size 16m;
  client_body_buffer_size 64k;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  upstream sink {{ server 127.0.0.1:{sink}; keepalive 256;
                   keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{nginx} reuseport backlog=4096;
    location / {{ return 204; }}
  }}
  server {{ listen 127.0.0.1:{tls} ssl reuseport backlog=4096;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    location / {{ return 204; }}
  }}
  server {{ listen 127.0.0.1:{proxy} backlog=4096;
    location / {{ proxy_pass http://sink; proxy_http_version 1.1;
                  proxy_set_header Connection ""; }}
  }}
}}
"""

PORTS = ('sink', 'nginx', 'proxy', 'tls', 'redis', 'bare')
START_S = 60    # for a process to listen
PIPELINED = 64  # requests that change topics
FILL_S = 10     # of one run of the generator that fills a backlog
PATIENCE_S = 60  # with a server that says 503: it is busy
LISTEN_S = 0.002


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def wait_port(port):
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(('127.0.0.1', port), 1).close()
            return
        except OSError:
            time.sleep(LISTEN_S)
    raise SystemExit(f'nothing listens on port {port}')


def cpu_s(process):
    """User and system seconds that a process has used so far."""
    with open(f'/proc/{process.pid}/stat', encoding='ascii') as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


class Bench:
    """The processes of one run, and the load they get."""

    def __init__(self, binary, folder, settings, flags=()):
        self.binary = binary
        self.tools = os.path.join(os.path.dirname(binary), 'bench')
        self.folder = folder
        self.settings = settings
        self.flags = list(flags)  # of every OPQ
        self.certificate = os.path.join(folder, 'sink.pem')
        self.key = os.path.join(folder, 'sink.key')
        self.processes = []
        self.port = {name: free_port() for name in PORTS}
        self.redis = None
        self.generator_mb = 0  # largest resident size that it had
        self.notes = []        # what went otherwise than it should

    def note(self, words):
        print('  ' + words, file=sys.stderr)
        self.notes.append(words)

    def start(self, *command, **environment):
        name = os.path.join(self.folder, os.path.basename(command[0]) + '.log')
        with open(name, 'ab') as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log,
                env={**os.environ, **environment})
        self.processes.append(process)
        return process

    def end(self, process, number=signal.SIGTERM):
        """Stop a process and forget it; returns its exit code."""
        process.send_signal(number)
        try:
            code = process.wait(START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        self.processes.remove(process)
        return code

    def start_references(self):
        subprocess.run(
            ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
             'ec_paramgen_curve:prime256v1', '-nodes', '-days', '3', '-subj',
             '/CN=sink', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout',
             self.key, '-out', self.certificate],
            check=True, stderr=subprocess.DEVNULL)
        config = os.path.join(self.folder, 'nginx.conf')
        with open(config, 'w', encoding='utf-8') as file:
            file.write(NGINX.format(dir=self.folder, key=self.key,
                                    certificate=self.certificate, **self.port))
        self.start_sink(self.port['sink'])
        self.start('/usr/sbin/nginx', '-c', config, '-p', self.folder)
        self.start(os.path.join(self.tools, 'bare_loop'),
                   str(self.port['bare']))
        self.redis = self.start(
            'redis-server', '--port', str(self.port['redis']), '--appendonly',
            'yes', '--appendfsync', 'always', '--save', '', '--dir',
            self.folder)
        for name in ('nginx', 'tls', 'proxy', 'bare', 'redis'):
            wait_port(self.port[name])

    def start_sink(self, port):
        sink = self.start(self.binary, 'sink', '--port', str(port))
        wait_port(port)
        return sink

    @contextlib.contextmanager
    def opq(self, *flags, binary=None, secure=False, **environment):
        """A server with an empty directory, which goes with it. It is killed:
        a stop in order would write what is removed the next moment."""
        if secure:
            flags += ('--tls-cert', self.certificate, '--tls-key', self.key)
        server = Opq(self, binary or self.binary, flags, environment, secure)
        try:
            server.start()
            yield server
        finally:
            server.remove()

    def stop(self):
        for process in list(self.processes):
            if process.poll() is None:
                self.end(process)

    def url(self, name):
        return f'http://127.0.0.1:{self.port[name]}'

    def load_command(self, url, seconds, warmup_s, options):
        command = [self.binary, 'bench', 'push', '--json', '--url', url,
                   '--duration', f'{int(seconds * 1000)}ms',
                   '--warmup', f'{int(warmup_s * 1000)}ms']
        if url.startswith('https:'):
            command += ['--ca-file', self.certificate]
        options = {'target': self.url('sink') + '/in', **options}
        for name, value in options.items():
            command += ['--' + name, str(value)]
        return command

    def load(self, url, seconds=None, warmup_s=None, **options):
        """Run the load generator; give its figures, of stored pushes only."""
        seconds = self.settings.seconds if seconds is None else seconds
        warmup_s = self.settings.warmup_s if warmup_s is None else warmup_s
        process = subprocess.Popen(
            self.load_command(url, seconds, warmup_s, options),
            stdout=subprocess.PIPE)
        figures = json.load(process.stdout)
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.generator_mb = max(self.generator_mb, usage.ru_maxrss / 1024)
        if figures['refused'] or figures['broken']:
            words = ' '.join(f'{key}={value}' for key, value in options.items())
            self.note(f'generator {words}: {figures["refused"]} refused '
                      f'(status {figures["last_status"]}), '
                      f'{figures["broken"]} broken connections')
        stored = max(0, figures['answers'] - figures['refused'])
        figures['rate'] = max(1, stored) / max(figures['seconds'], 1e-3)
        return figures

    def load_name(self, name, **options):
        """As load(), against a reference."""
        return self.load(self.url(name), **options)

    def load_in_background(self, url, seconds, **options):
        return subprocess.Popen(
            self.load_command(url, seconds, 0, options),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def load_redis(self, count, size, pipeline):
        """XADD with AOF always, 64 connections: rate, and CPU for each."""
        before_s = cpu_s(self.redis)
        out = subprocess.run(
            ['redis-benchmark', '-p', str(self.port['redis']), '-c', '64',
             '-n', str(count), '-P', str(pipeline), '-q', '--csv', 'XADD',
             'bench', 'MAXLEN', '~', '1000', '*', 'message', 'x' * size],
            stdout=subprocess.PIPE, check=True, text=True).stdout
        fields = out.strip().splitlines()[-1].split(',')
        return {'rate': float(fields[1].strip('"')),
                'cpu_us': (cpu_s(self.redis) - before_s) / count * 1e6}

    def bare_write(self, size):
        """Microseconds of one durable write of that size, and no more."""
        out = subprocess.run(
            [os.path.join(self.tools, 'bare_write'),
             os.path.join(self.folder, 'bare.write'), str(size),
             str(self.settings.bare_writes)],
            stdout=subprocess.PIPE, check=True).stdout
        return json.loads(out)


class Opq:
    """A server that is measured."""

    def __init__(self, bench, binary, flags, environment, secure=False):
        self.bench = bench
        self.binary = binary
        self.flags = flags
        self.environment = environment
        self.port = free_port()
        self.data = tempfile.mkdtemp(prefix='data-', dir=bench.folder)
        self.tls = ssl.create_default_context(
            cafile=bench.certificate) if secure else None
        self.process = None
        self.connection = None

    def start(self):
        """Start, and return the seconds until it said that it is ready."""
        begun = time.monotonic()
        self.process = self.bench.start(
            self.binary, '--port', str(self.port), '--data', self.data,
            '--disk-reserve', '0', *self.bench.flags, *self.flags,
            **self.environment)
        while time.monotonic() < begun + START_S:
            try:
                if self.request('GET', '/readyz')[0] == 200:
                    return time.monotonic() - begun
            except (OSError, http.client.HTTPException):
                if self.process.poll() is not None:
                    break
            time.sleep(LISTEN_S)
        raise SystemExit(f'opq {" ".join(self.flags)} does not get ready; '
                         f'exit code {self.process.poll()}')

    def kill(self):
        code = self.bench.end(self.process, signal.SIGKILL)
        self.process = None
        if code != -signal.SIGKILL:
            self.bench.note(f'opq had ended by itself with {code}')

    def remove(self):
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.data, ignore_errors=True)

    @property
    def url(self):
        scheme = 'https' if self.tls else 'http'
        return f'{scheme}://127.0.0.1:{self.port}'

    def connect(self):
        """A connection for requests one after the other."""
        if self.tls:
            return http.client.HTTPSConnection('127.0.0.1', self.port,
                                               timeout=60, context=self.tls)
        return http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)

    def request(self, method, path, body=None):
        """One request, with a form or without a body, on a connection that
        is kept; (status, body)."""
        for attempt in range(2):
            if self.connection is None:
                self.connection = self.connect()
            try:
                self.connection.request(
                    method, path, body,
                    {'Content-Type': 'application/x-www-form-urlencoded'}
                    if body is not None else {})
                answer = self.connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                self.connection.close()
                self.connection = None
                if attempt:
                    raise

    def ask(self, method, path, body=None):
        """A request that must succeed, in time; its answer's JSON."""
        until = time.monotonic() + PATIENCE_S
        status, answer = self.request(method, path, body)
        while status == 503 and time.monotonic() < until:
            time.sleep(0.1)
            status, answer = self.request(method, path, body)
        if not 200 <= status < 300:
            raise SystemExit(f'{method} {path}: {status} {answer[:200]!r}')
        return json.loads(answer) if answer[:1] in (b'{', b'[') else None

    def ask_all(self, method, paths):
        """As ask(), many without a body, pipelined; nothing of the answers."""
        again = []
        with contextlib.closing(self.connect()) as connection:
            connection.connect()
            peer, answers = connection.sock, connection.sock.makefile('rb')
            for begin in range(0, len(paths), PIPELINED):
                some = paths[begin:begin + PIPELINED]
                peer.sendall(b''.join(
                    f'{method} {path} HTTP/1.1\r\nHost: a\r\n'
                    'Content-Length: 0\r\n\r\n'.encode() for path in some))
                for path in some:
                    status = int(answers.readline().split()[1])
                    fields = http.client.parse_headers(answers)
                    answers.read(int(fields.get('Content-Length', 0)))
                    if status == 503:
                        again.append(path)
                    elif not 200 <= status < 300:
                        raise SystemExit(f'{method} {path}: {status}')
        for path in again:
            self.ask(method, path)

    def push(self, topic, url):
        self.ask('POST', '/opq/push',
                 urllib.parse.urlencode({'topic': topic, 'url': url}))

    def make_topics(self, prefix, count, **settings):
        """Topics as `opq bench` names them, paused unless told otherwise."""
        query = urllib.parse.urlencode({'paused': 'yes', **settings})
        names = [f'{prefix}-{index}' for index in range(count)]
        self.ask_all('PUT', [f'/opq/topics/{name}?{query}' for name in names])
        return names

    def pause(self, names, action='pause'):
        self.ask_all('POST', [f'/opq/topics/{name}/{action}' for name in names])

    def resume(self, names):
        self.pause(names, 'resume')

    def topics(self, prefix=''):
        topics, after = [], ''
        while after is not None:
            page = self.ask('GET', f'/opq/topics?limit=1000{after}')
            topics += page['topics']
            after = '&after=' + page['next'] if page['next'] else None
        return [topic for topic in topics if topic['name'].startswith(prefix)]

    def lag(self, prefix=''):
        """Messages not delivered of topics whose name begins so."""
        return sum(topic['lag'] for topic in self.topics(prefix))

    def waiting(self, names):
        """The smallest lag among these topics."""
        names = set(names)
        return min(topic['lag'] for topic in self.topics()
                   if topic['name'] in names)

    def stored(self, prefix):
        return sum(topic['end'] - topic['oldest']
                   for topic in self.topics(prefix))

    def delivered(self):
        """Messages delivered since the server started."""
        return self.ask('GET', '/opq/info')['since_start']['delivered']

    def cpu_s(self):
        return cpu_s(self.process)

    def written_bytes(self):
        """What it has written to disks so far."""
        with open(f'/proc/{self.process.pid}/io', encoding='ascii') as file:
            for line in file:
                if line.startswith('write_bytes'):
                    return int(line.split()[1])
        return 0

    def memory_mb(self):
        with open(f'/proc/{self.process.pid}/status', encoding='ascii') as file:
            for line in file:
                if line.startswith('VmRSS'):
                    return int(line.split()[1]) / 1024
        return 0.0

    def load(self, seconds=None, warmup_s=None, **options):
        """As Bench.load(), with the CPU time that each push cost, and what
        the disk had to take."""
        settings = self.bench.settings
        seconds = settings.seconds if seconds is None else seconds
        warmup_s = settings.warmup_s if warmup_s is None else warmup_s
        before_s = self.cpu_s()
        before_bytes = self.written_bytes()
        begun_s = time.monotonic()
        figures = self.bench.load(self.url, seconds, warmup_s, **options)
        figures['disk_mb_s'] = (self.written_bytes() - before_bytes) / (
            time.monotonic() - begun_s) / 1e6
        pushes = figures['rate'] * (seconds + warmup_s)
        figures['cpu_us'] = (self.cpu_s() - before_s) / pushes * 1e6
        return figures

    def prime(self, **options):
        """Push for a while, so that files and memory are there."""
        self.bench.load(self.url, self.bench.settings.prime_s, 0, **options)

    def fill(self, prefix, topics, count, **options):
        """Push to topics of that prefix until they hold so many messages, and
        let the disk have them, for what is measured next is not to wait."""
        batch = options.get('batch', 1)
        rate, tries = 0, 0
        while True:
            left = count - self.stored(prefix + '-')
            if left <= 0:
                os.sync()
                return
            tries += 1
            if tries > 100:
                raise SystemExit(f'{prefix}: {left} messages are missing')
            seconds = min(FILL_S, left / rate) if rate else 0.3
            figures = self.bench.load(
                self.url, max(0.02, seconds), 0,
                topic=prefix, topics=topics, **options)
            rate = figures['rate'] * batch

    def drain(self, names, seconds=None):
        """Let paused topics with a backlog go for a while: deliveries a
        second. They must not run dry meanwhile."""
        seconds = self.bench.settings.drain_s if seconds is None else seconds
        self.resume(names)
        begun, before = time.monotonic(), self.delivered()
        time.sleep(seconds)
        count, ended = self.delivered() - before, time.monotonic()
        self.pause(names)
        if not self.waiting(names):
            self.bench.note(f'{names[0]}: its backlog ran dry')
        return {'rate': max(1, count) / (ended - begun)}

"""One file in an empty root; and the image, made as its Dockerfile says, with a
clean system in the place of the one it names.

SPDX-License-Identifier: MIT
"""

import json
import pathlib
import re
import shutil
import signal
import subprocess

import clean_root
import pytest

# No environment of ours; the path is for what enters.
BARE = ('env', '-i', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin')
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def instructions(path):
    """Give (word, text) of each instruction."""
    text = '\n'.join(line for line in path.read_text('utf-8').splitlines()
                     if not line.startswith('#'))
    for line in text.replace('\\\n', ' ').splitlines():
        if line.strip():
            word, rest = line.split(None, 1)
            yield word, rest.strip()


@pytest.fixture(scope='module')
def dockerfile():
    return list(instructions(ROOT / 'packaging/docker/Dockerfile'))


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """The source tarball, unpacked."""
    folder = tmp_path_factory.mktemp('source')
    subprocess.run([ROOT / 'tools/dist', folder / 'opq.tar.gz'], check=True)
    subprocess.run(['tar', '-C', folder, '-xzf', folder / 'opq.tar.gz'],
                   check=True)
    return next(folder.glob('opq-*'))


@pytest.fixture(scope='module')
def image(dockerfile, source, pristine, tmp_path_factory):
    """A folder that holds what the image would hold."""
    folder = tmp_path_factory.mktemp('build')
    root = clean_root.Chroot(clean_root.copy(pristine, folder / 'root'))
    try:
        # Its lists of packages are those of the system that it names.
        for word, text in dockerfile:
            if word == 'RUN':
                root.with_network('sh', '-c', f'cd /source 2>/dev/null; {text}')
            elif (word, text) == ('COPY', '. .'):
                clean_root.copy(source, root.folder / 'source')
        assert ('COPY', '--from=build /image /') in dockerfile
        made = clean_root.copy(root.folder / 'image', folder / 'image')
    finally:
        root.close()
    (made / 'proc').mkdir()
    return made


class Contained(clean_root.Chroot):
    """A container of the image: its user, its environment."""

    def __init__(self, folder, dockerfile):
        said = dict(dockerfile)
        self.user, self.environment = said['USER'], said['ENV'].split()
        self.program = json.loads(said['ENTRYPOINT'])[0]
        super().__init__(folder)

    def command(self, *arguments):
        return [*BARE, *self.environment, *self.entered('--net')[:-2],
                'chroot', f'--userspec={self.user}', str(self.folder),
                self.program, *arguments]


def serve_and_push(command):
    """Serve, with all processes begun by `command`; push, and see it come."""
    servers = []

    def begin(*arguments):
        servers.append(subprocess.Popen(
            command(*arguments), stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        line = servers[-1].stdout.readline()
        found = re.search(r'listening on (?:http://\S+:(\d+))', line)
        assert found, line
        return found.group(1)

    def say(*arguments):
        return clean_root.run(*command(*arguments))

    try:
        port = begin('--port', '0', '--insecure-open')
        sink = begin('sink', '--port', '0', '--until', '1')
        url = f'http://127.0.0.1:{port}'
        say('push', 'orders', f'http://localhost:{sink}/hook', 'hello',
            '--url', url)
        assert servers[1].wait(clean_root.PATIENCE_S) == 0
        table = say('topics', '--url', url)
        assert re.search(r'(?m)^orders\s', table), table
        yield url, say
        assert clean_root.end(servers[0]) == 0
    finally:
        for server in servers:
            clean_root.end(server, signal.SIGKILL)
            server.stdout.close()


def test_one_file_is_enough(image, tmp_path):
    empty = tmp_path / 'empty'
    empty.mkdir()
    shutil.copy(image / 'usr/bin/opq', empty)
    assert 'INTERP' not in clean_root.run('readelf', '-lW', str(empty / 'opq'))

    root = clean_root.Chroot(empty)
    try:
        def inside(*arguments):
            return [*BARE, *root.apart(), '/opq', *arguments]
        assert clean_root.run(*inside('version')).startswith('opq ')
        for url, say in serve_and_push(inside):
            assert 'orders' in say('topics', '--url', url)
    finally:
        root.close()
    assert sorted(path.name for path in empty.iterdir()) \
        == ['opq', 'opq-data']


def test_the_image_serves_and_holds_nothing_else(image, dockerfile):
    files = [path for path in image.rglob('*') if path.is_file()
             and 'zoneinfo' not in path.parts]
    assert sorted(str(path.relative_to(image)) for path in files) \
        == ['usr/bin/opq', 'usr/lib/ssl/cert.pem']
    size = (image / 'usr/bin/opq').stat().st_size
    print(f'the image: {size >> 10} KiB of program')
    root = Contained(image, dockerfile)
    try:
        done = subprocess.run(root.command(), text=True, capture_output=True,
                              check=False, timeout=clean_root.PATIENCE_S)
        assert done.returncode == 78
        assert '--insecure-open allows it' in done.stderr
        for url, say in serve_and_push(root.command):
            say('schedules', 'set', 'daily', '--cron', '0 9 * * *', '--zone',
                'Asia/Shanghai', 'orders', 'http://127.0.0.1:9/', '--url', url)
            assert 'Asia/Shanghai' in say('schedules', '--url', url)
        assert (image / 'data/topics/orders').stat().st_uid == 65532
    finally:
        root.close()


def test_the_tarball_builds(source):
    done = subprocess.run(['make', 'build'], cwd=source, text=True,
                          capture_output=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert clean_root.run(str(source / 'build/opq'), 'version') \
        .startswith('opq ')

"""What packages are made of: the unit, the settings file, the source tarball.

The packages themselves are tested by `make test-package`.

SPDX-License-Identifier: MIT
"""

import hashlib
import os
import re
import subprocess
import tarfile

import pytest
from harness import BINARY, PATIENCE_S, ROOT

UNITS = ROOT / 'packaging/systemd'
EXPOSURE_MAX = 1.5  # of 10, by systemd's own reckoning

in_checkout = pytest.mark.skipif(not (ROOT / '.git').exists(),
                                 reason='only a checkout has commits')


def run(*command, check=True):
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith('OPQ_')}
    return subprocess.run(command, capture_output=True, text=True, check=check,
                          timeout=PATIENCE_S, cwd=ROOT, env=environment)


def version():
    return re.search(r"version: '(.*)',",
                     (ROOT / 'meson.build').read_text('utf-8')).group(1)


# --- the unit ---------------------------------------------------------------

def test_the_units_have_no_mistake(tmp_path):
    """Nor words that this systemd does not know."""
    for name in ('opq.service', 'opq.socket'):
        text = (UNITS / name).read_text('utf-8')
        # The program is not installed here.
        (tmp_path / name).write_text(text.replace('/usr/bin/opq', BINARY),
                                     'utf-8')
    done = run('systemd-analyze', 'verify', '--man=no',
               str(tmp_path / 'opq.service'), str(tmp_path / 'opq.socket'),
               check=False)
    ours = [line for line in (done.stdout + done.stderr).splitlines()
            if 'opq.' in line]
    assert not ours, ours


def test_the_service_is_shut_in():
    done = run('systemd-analyze', 'security', '--offline=yes', '--no-pager',
               str(UNITS / 'opq.service'))
    figure = re.search(r'exposure level for opq\.service: ([\d.]+)',
                       done.stdout)
    assert figure, done.stdout + done.stderr
    assert float(figure.group(1)) <= EXPOSURE_MAX


# --- the settings file ------------------------------------------------------

def settings_file(path, *given):
    run('tools/settings-file', BINARY, str(path), *given)
    return path.read_text('utf-8')


def check(path):
    return run(BINARY, '--config', str(path), '--check-config', check=False)


def test_the_settings_file_has_every_setting_and_its_default(tmp_path):
    path = tmp_path / 'opq.conf'
    text = settings_file(path, 'data=/var/lib/opq')
    table = (ROOT / 'src/server/config.def').read_text('utf-8')
    names = re.findall(r'^SETTING\((\w+),', table, re.M)
    assert re.findall(r'^#?(\w+) =', text, re.M) == names
    assert re.findall(r'^(\w+) = (.*)', text, re.M) \
        == [('data', '/var/lib/opq')]
    assert check(path).returncode == 0
    # With the marks of comments gone, it says what was so anyhow.
    path.write_text(re.sub(r'^#(?=\w+ =)', '', text, flags=re.M), 'utf-8')
    done = check(path)
    assert done.returncode == 0, done.stderr


def test_a_settings_file_with_an_unknown_setting_is_not_made(tmp_path):
    done = run('tools/settings-file', BINARY, str(tmp_path / 'opq.conf'),
               'date=/var/lib/opq', check=False)
    assert done.returncode != 0
    assert 'no such setting: date' in done.stderr
    assert not (tmp_path / 'opq.conf').exists()


# --- the source tarball -----------------------------------------------------

@in_checkout
def test_a_commit_gives_the_same_bytes_each_time(tmp_path):
    digests = set()
    for name in ('one.tar.gz', 'two.tar.gz'):
        run('tools/dist', str(tmp_path / name), 'HEAD^{commit}')
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).digest())
    assert len(digests) == 1
    tracked = run('git', 'ls-tree', '-r', '-z', '--name-only', 'HEAD').stdout
    with tarfile.open(tmp_path / 'one.tar.gz') as tar:
        files = [one.name for one in tar.getmembers() if not one.isdir()]
    assert sorted(files) == sorted(
        f'opq-{version()}/{name}' for name in tracked.split('\0') if name)


@in_checkout
def test_a_tarball_of_no_commit_is_not_made(tmp_path):
    done = run('tools/dist', str(tmp_path / 'no.tar.gz'), 'no-such-commit',
               check=False)
    assert done.returncode == 1
    assert 'no commit no-such-commit' in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_package_has_the_version_of_the_program():
    first = (ROOT / 'packaging/debian/changelog').read_text('utf-8') \
        .splitlines()[0]
    assert first.startswith(f'opq ({version()}-')
    assert run(BINARY, 'version').stdout == f'opq {version()}\n'

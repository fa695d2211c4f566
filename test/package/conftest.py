"""The package that is tested, and clean systems to put it in.

OPQ_PACKAGES names the folder where tools/deb has left it, and where the clean
system is kept.

SPDX-License-Identifier: MIT
"""

import os
import pathlib
import subprocess

import clean_root
import pytest


@pytest.fixture(scope='session')
def folder():
    return pathlib.Path(os.environ['OPQ_PACKAGES'])


@pytest.fixture(scope='session')
def package(folder):
    found = sorted(folder.glob('opq_*_*.deb'))
    assert len(found) == 1, found
    return found[0]


def with_version(package, suffix, folder):
    """The same package with a higher version."""
    made = folder / f'opq{suffix}.deb'
    unpacked = folder / suffix
    subprocess.run(['dpkg-deb', '-R', package, unpacked], check=True)
    control = unpacked / 'DEBIAN/control'
    lines = [f'{line}{suffix}' if line.startswith('Version:') else line
             for line in control.read_text('utf-8').splitlines()]
    control.write_text('\n'.join(lines) + '\n', 'utf-8')
    subprocess.run(['dpkg-deb', '--root-owner-group', '-b', unpacked, made],
                   check=True, stdout=subprocess.DEVNULL)
    return made


@pytest.fixture(scope='session')
def newer(package, tmp_path_factory):
    return with_version(package, '+newer', tmp_path_factory.mktemp('newer'))


@pytest.fixture(scope='session')
def newest(package, tmp_path_factory):
    return with_version(package, '+newest', tmp_path_factory.mktemp('newest'))


@pytest.fixture(scope='session')
def pristine(folder):
    return clean_root.pristine(folder)


@pytest.fixture
def chroot(pristine, tmp_path):
    root = clean_root.Chroot(clean_root.copy(pristine, tmp_path / 'root'))
    yield root
    root.remove()


@pytest.fixture
def booted(pristine, tmp_path, package):
    """A running system that has what the package depends on."""
    root = clean_root.Chroot(clean_root.copy(pristine, tmp_path / 'root'))
    try:
        prepare(root, package)
    finally:
        root.close()
    root = clean_root.Booted(tmp_path / 'root')
    yield root
    root.remove()


def prepare(root, package):
    """Install what the package depends on, but not the package."""
    wanted = subprocess.run(['dpkg-deb', '-f', package, 'Depends'], text=True,
                            check=True, capture_output=True).stdout
    names = [one.split('|')[0].split()[0] for one in wanted.split(',')]
    root.with_network('apt-get', '-q', 'update')
    root.with_network('apt-get', '-q', '-y', '--no-install-recommends',
                      'install', *names)

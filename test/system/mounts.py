"""File systems of their own, in image files: to be cut off, and to be full.

SPDX-License-Identifier: MIT
"""

import contextlib
import fcntl
import os
import shutil
import subprocess

from harness import wait_until

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN: _IOR('X',125)
NO_LOG_FLUSH = 2       # what is not on the device is gone


def why_not(kind):
    """Why file systems of this kind cannot be mounted here; None: they can."""
    if os.geteuid() != 0:
        return 'mounting file systems needs root'
    for program in (f'mkfs.{kind}', 'mount', 'umount'):
        path = os.environ.get('PATH', '') + ':/usr/sbin:/sbin'
        if shutil.which(program, path=path) is None:
            return f'{program} is not installed'
    return None


def run(*arguments):
    environment = dict(os.environ)
    environment['PATH'] += ':/usr/sbin:/sbin'
    return subprocess.run([str(word) for word in arguments],
                          capture_output=True, text=True, check=False,
                          env=environment)


class FileSystem:
    """An image file, mounted at `path`."""

    def __init__(self, folder, kind, size_mib):
        self.image = folder / f'{kind}.img'
        self.path = folder / kind
        self.path.mkdir()
        with open(self.image, 'wb') as image:
            image.truncate(size_mib << 20)
        made = run(f'mkfs.{kind}', '-q', self.image)
        assert made.returncode == 0, made
        self.mounted = False

    def mount(self):
        """Mount it; returns what went wrong, or None."""
        done = run('mount', '-o', 'loop', self.image, self.path)
        self.mounted = done.returncode == 0
        return None if self.mounted else done.stderr.strip()

    def cut(self):
        """As when the power goes: nothing more reaches the device, what the
        file system had not written is lost."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, NO_LOG_FLUSH.to_bytes(4, 'little'))
        finally:
            os.close(folder)

    def umount(self):
        """Unmount, once those that have files open there have gone."""
        def gone():
            return run('umount', self.path).returncode == 0
        if self.mounted:
            wait_until(gone, f'{self.path} unmounted')
            self.mounted = False

    def free(self):
        """Bytes that are free to anybody."""
        figures = os.statvfs(self.path)
        return figures.f_bavail * figures.f_frsize


@contextlib.contextmanager
def mounted(folder, kind, size_mib):
    """A mounted file system; gives why there is none as a text instead."""
    reason = why_not(kind)
    if reason is not None:
        yield reason
        return
    system = FileSystem(folder, kind, size_mib)
    try:
        reason = system.mount()
        yield system if reason is None else f'cannot mount {kind}: {reason}'
    finally:
        if system.mounted and run('umount', system.path).returncode != 0:
            run('umount', '-l', system.path)
        system.image.unlink()

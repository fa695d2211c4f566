"""A Debian system in a folder: made by debootstrap, entered, booted.

Two ways in, both without a network of the machine's unless asked for:

    Chroot  only processes that the test starts, as in a container
    Booted  systemd as process 1 of namespaces of its own, as on a machine

Needs root. Where packages come from is what apt of this machine says.

SPDX-License-Identifier: MIT
"""

import os
import pathlib
import shutil
import signal
import subprocess
import time

PATIENCE_S = 300
CODENAME = 'bookworm'
PACKAGES = 'systemd,systemd-sysv,dbus,curl,iproute2,logrotate,procps'
ENVIRONMENT = ('env', '-i', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin',
               'DEBIAN_FRONTEND=noninteractive', 'LC_ALL=C.UTF-8')

# What a boot finds: a root of its own, devices that harm nobody, its cgroups.
BEFORE_INIT = '''
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs dev
for name in null zero full random urandom tty; do
    touch "dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
mkdir dev/pts dev/shm old
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs tmpfs sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
ip link set lo up
pivot_root . old
umount -l /old
rmdir /old
exec env -i container=opq-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    /lib/systemd/systemd --system --log-target=console
'''


def run(*command, check=True, patience_s=PATIENCE_S):
    """Run; return what it printed, or None when it failed and may."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=patience_s, check=False)
    if done.returncode != 0:
        assert not check, f'{done.returncode} of {command}:\n{done.stdout}'
        return None
    return done.stdout


def end(process, number=signal.SIGTERM):
    """Signal what nsenter has begun, which waits for it; return its code."""
    found = run('pgrep', '-P', str(process.pid), check=False) or ''
    for one in found.split():
        os.kill(int(one), number)
    return process.wait(PATIENCE_S)


def mirror():
    """Where apt of this machine gets Debian from."""
    found = run('apt-get', 'indextargets', '--format', '$(REPO_URI)',
                'Created-By: Packages', f'Codename: {CODENAME}')
    assert found, f'apt of this machine knows no {CODENAME}'
    return found.splitlines()[0]


def pristine(folder):
    """A clean system; made once, and then kept."""
    made = pathlib.Path(folder) / f'clean-{CODENAME}'
    if not (made / 'complete').exists():
        shutil.rmtree(made, ignore_errors=True)
        run('debootstrap', '--variant=minbase', f'--include={PACKAGES}',
            CODENAME, str(made), mirror(), patience_s=1800)
        (made / 'complete').touch()
    return made


def copy(made, target):
    run('cp', '-a', '--reflink=auto', str(made), str(target))
    return pathlib.Path(target)


class Root:
    """A system in a folder, and how it is entered."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.process = None  # holds the namespaces

    def apart(self):
        """The words before a command that is to run inside."""
        raise NotImplementedError

    def run(self, *command, **options):
        return run(*self.apart(), *ENVIRONMENT, *command, **options)

    def start(self, *command):
        """Begin a process, whose output goes into a file inside."""
        log = self.folder / 'opt' / f'{pathlib.Path(command[0]).name}.log'
        with log.open('wb') as output:
            process = subprocess.Popen(
                [*self.apart(), *ENVIRONMENT, *command],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        return process

    def install(self, package):
        """Install a package from a file, as a newcomer does."""
        inside = self.folder / 'opt' / package.name
        shutil.copy(package, inside)
        return self.run('apt-get', '-q', '-y', '--no-install-recommends',
                        'install', f'/opt/{package.name}')

    def wait(self, look, what):
        """Ask until it gives something true; return that."""
        end = time.monotonic() + PATIENCE_S
        while True:
            found = look()
            if found:
                return found
            assert time.monotonic() < end, f'it never came: {what}'
            time.sleep(0.05)

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def remove(self):
        """Close, and give back the room."""
        self.close()
        shutil.rmtree(self.folder)


class Chroot(Root):
    """Processes see the folder as their root, and no network but their own.
    There is a /proc where the folder has room for it."""

    def __init__(self, folder):
        super().__init__(folder)
        self.process = subprocess.Popen(
            ['unshare', '--net', '--mount', '--pid', '--fork', '--kill-child',
             'sh', '-c',
             'if [ -d "$1/proc" ]; then mount -t proc proc "$1/proc"; fi; '
             'ip link set lo up && exec sleep infinity', 'sh', str(folder)],
            stdin=subprocess.DEVNULL)
        self.inside = None
        self.inside = self.wait(self.child, 'namespaces')
        self.wait(lambda: run('nsenter', '-t', self.inside, '--net', 'ip',
                              'address', 'show', 'dev', 'lo', 'up'),
                  'loopback')

    def child(self):
        found = run('pgrep', '-P', str(self.process.pid), check=False)
        return found and found.split()[0]

    def entered(self, *more):
        return ('nsenter', '-t', self.inside, '--mount', '--pid', *more,
                'chroot', str(self.folder))

    def apart(self):
        return self.entered('--net')

    def with_network(self, *command):
        """Run inside, but with the machine's network: for apt."""
        return run(*self.entered(), *ENVIRONMENT, *command)


class Booted(Root):
    """A system that systemd runs."""

    def __init__(self, folder):
        super().__init__(folder)
        log = self.folder.parent / 'boot.log'
        with log.open('wb') as output:
            self.process = subprocess.Popen(
                ['unshare', '--mount', '--pid', '--uts', '--ipc', '--net',
                 '--cgroup', '--fork', '--kill-child', 'bash', '-c',
                 BEFORE_INIT, 'bash', str(folder)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.init = self.wait(self.child, 'process 1')
        self.wait(self.is_up, f'the end of the boot, see {log}')

    def child(self):
        assert self.process.poll() is None, 'it did not boot'
        found = run('pgrep', '-P', str(self.process.pid), '-x', 'systemd',
                    check=False)
        return found and found.split()[0]

    def is_up(self):
        return self.run('systemctl', 'is-system-running', check=False) \
            is not None

    def apart(self):
        return ('nsenter', '-t', self.init, '--mount', '--pid', '--uts',
                '--ipc', '--net', '--cgroup', '--wdns=/')

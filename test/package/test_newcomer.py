"""A newcomer's path: install the package on a clean system, start, push, see it
delivered, look at it, upgrade, remove, purge.

SPDX-License-Identifier: MIT
"""

import json
import re

import clean_root

SERVER = 'http://127.0.0.1:8999'


def start_sink(root):
    """Begin a receiver; return its process and port."""
    sink = root.start('/usr/bin/opq', 'sink', '--port', '0', '--print')
    log = root.folder / 'opt/opq.log'
    port = root.wait(lambda: re.search(r'listening on http://[^:]*:(\d+)',
                                       log.read_text('utf-8')), 'the sink')
    return sink, port.group(1), log


def push_and_see(root):
    """Push with curl; wait until it was delivered; look at it."""
    root.wait(lambda: root.run('curl', '-sf', f'{SERVER}/readyz',
                               check=False), 'readiness')
    sink, port, log = start_sink(root)
    said = root.run('curl', '-si', f'{SERVER}/opq/push', '-d', 'topic=orders',
                    '-d', f'url=http://127.0.0.1:{port}/hook',
                    '-d', 'message=hello')
    assert said.startswith('HTTP/1.1 201 ') and said.endswith('success')
    root.wait(lambda: 'message=hello' in log.read_text('utf-8'), 'delivery')
    root.wait(lambda: lag(root) == 0, 'that it is known as delivered')
    clean_root.end(sink)
    table = root.run('opq', 'topics')
    assert re.search(r'(?m)^orders\s', table), table


def lag(root):
    said = root.run('curl', '-sf', f'{SERVER}/opq/topics/orders')
    return json.loads(said)['lag']


def kept_and_purged(root):
    """Remove, and find the messages there; purge, and find nothing."""
    data, log = root.folder / 'var/lib/opq', root.folder / 'var/log/opq'
    root.run('dpkg', '--remove', 'opq')
    assert not (root.folder / 'usr/bin/opq').exists()
    assert (data / 'topics/orders').is_dir()
    assert (log / 'system.log').exists()
    assert (root.folder / 'etc/opq/opq.conf').exists()
    root.run('dpkg', '--purge', 'opq')
    assert not data.exists() and not log.exists()
    assert not (root.folder / 'etc/opq').exists()
    assert not (root.folder / 'etc/logrotate.d/opq').exists()


def test_without_systemd(chroot, package):
    """As in a container: no service, only processes that somebody starts."""
    chroot.with_network('apt-get', '-q', 'update')
    inside = chroot.folder / 'opt' / package.name
    inside.write_bytes(package.read_bytes())
    chroot.with_network('apt-get', '-q', '-y', '--no-install-recommends',
                        'install', f'/opt/{package.name}')
    assert chroot.run('dpkg', '--verify', 'opq') == ''
    assert chroot.run('stat', '-c', '%U:%G %a', '/var/lib/opq',
                      '/var/log/opq', '/etc/opq/opq.conf').splitlines() \
        == ['opq:opq 750', 'opq:opq 750', 'root:root 644']
    assert 'the settings are right' in chroot.run(
        'opq', '--config', '/etc/opq/opq.conf', '--check-config')

    server = chroot.start('setpriv', '--reuid=opq', '--regid=opq',
                          '--clear-groups', '--no-new-privs', 'opq',
                          '--config', '/etc/opq/opq.conf')
    push_and_see(chroot)
    assert clean_root.end(server) == 0
    kept_and_purged(chroot)


def service(root, name):
    return root.run('systemctl', 'show', '--value', '-p', name,
                    'opq.service').strip()


PUSH_AND_PUSH = '''
until [ -e /opt/enough ]; do
    curl -s -o /dev/null -w '%{http_code}\\n' -d topic=busy -d message=x \\
        -d url=http://127.0.0.1:9/ "$1/opq/push" || echo failed
done
'''


def upgrade(root, newer):
    """Upgrade, while somebody pushes; no push may fail."""
    before = service(root, 'MainPID')
    pushes = root.start('/bin/sh', '-c', PUSH_AND_PUSH, 'sh', SERVER)
    codes = root.folder / 'opt/sh.log'
    root.wait(lambda: '201' in codes.read_text('utf-8'), 'a push')
    said = root.install(newer)
    pushed = codes.read_text('utf-8').count('201')
    root.wait(lambda: codes.read_text('utf-8').count('201') > pushed,
              'a push to the new version')
    (root.folder / 'opt/enough').touch()
    assert pushes.wait() == 0
    assert set(codes.read_text('utf-8').split()) == {'201'}
    assert f'restarted smoothly, process {before} goes on' in said
    assert service(root, 'MainPID') == before
    assert service(root, 'ActiveState') == 'active'
    assert root.run('readlink', f'/proc/{before}/exe').strip() \
        == '/usr/bin/opq'
    assert root.run('dpkg-query', '-W', '-f', '${Version}',
                    'opq').endswith('+newer')


def keep_the_old(root, package):
    """A version that refuses the settings does not end the one that runs."""
    settings = root.folder / 'etc/opq/opq.conf'
    right = settings.read_text('utf-8')
    settings.write_text(right + 'no_such_setting = 1\n', 'utf-8')
    before = service(root, 'MainPID')
    said = root.install(package)
    assert 'unknown setting no_such_setting' in said
    assert 'the old version goes on' in said
    assert service(root, 'MainPID') == before
    assert root.run('curl', '-sf', f'{SERVER}/readyz') is not None
    settings.write_text(right, 'utf-8')


def rotate(root):
    """The log goes on in a new file."""
    log = root.folder / 'var/log/opq/system.log'
    root.run('logrotate', '-f', '/etc/logrotate.d/opq')
    assert log.with_name('system.log.1').exists()
    root.wait(log.exists, 'the new log file')


def activate(root):
    """The sockets, when they are asked for."""
    assert root.run('systemctl', 'is-enabled', 'opq.socket',
                    check=False) is None
    root.run('systemctl', 'stop', 'opq.service')
    root.run('systemctl', 'enable', '--now', 'opq.socket')
    assert service(root, 'ActiveState') == 'inactive'
    assert lag(root) == 0  # the connection waited for the server
    root.wait(lambda: service(root, 'ActiveState') == 'active', 'readiness')


def test_under_systemd(booted, package, newer, newest):
    booted.install(package)
    assert service(booted, 'ActiveState') == 'active'
    assert service(booted, 'UnitFileState') == 'enabled'
    push_and_see(booted)
    about = json.loads(booted.run('curl', '-sf', f'{SERVER}/opq/info'))
    print('under systemd:', about['io'], booted.run(
        'systemd-analyze', 'security', '--no-pager',
        'opq.service').splitlines()[-1])

    before = service(booted, 'MainPID')
    booted.run('systemctl', 'reload', 'opq.service')
    booted.wait(lambda: service(booted, 'ActiveState') == 'active', 'readiness')
    assert service(booted, 'MainPID') == before

    upgrade(booted, newer)
    keep_the_old(booted, newest)
    assert lag(booted) == 0
    push_and_see(booted)
    rotate(booted)
    booted.run('systemctl', 'restart', 'opq.service')
    assert service(booted, 'Result') == 'success'
    assert lag(booted) == 0
    activate(booted)

    kept = booted.folder / 'var/lib/opq'
    booted.run('dpkg', '--remove', 'opq')
    assert service(booted, 'ActiveState') == 'inactive'
    assert booted.run('systemctl', 'is-active', 'opq.socket',
                      check=False) is None
    assert (kept / 'topics/orders').is_dir()
    booted.install(package)
    assert lag(booted) == 0  # what was kept is found again
    booted.run('systemctl', 'stop', 'opq.service')
    kept_and_purged(booted)

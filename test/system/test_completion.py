"""What completes commands of opq, in the shells themselves.

SPDX-License-Identifier: MIT
"""

import os
import pathlib
import pty
import re
import select
import subprocess
import time

import pytest
from harness import BINARY, PATIENCE_S, Answer, run_cli, subcommands

FOLDER = str(pathlib.Path(BINARY).resolve().parent)

BASH = '''
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_opq
printf '%s\\n' "${COMPREPLY[@]}"
'''

FISH = '''
source $argv[1]
complete -C $argv[2]
'''


def environment(home, **more):
    return {'PATH': f'{FOLDER}:{os.environ["PATH"]}', 'HOME': str(home),
            'LC_ALL': 'C.UTF-8', **more}


@pytest.fixture(params=['bash', 'fish'])
def complete(request, tmp_path):
    """A function that gives what a line may be completed to."""
    script = tmp_path / 'script'
    done = run_cli('completion', request.param)
    assert done.returncode == 0, done
    script.write_text(done.stdout)

    def ask(line, **more):
        command = (
            ['bash', '--norc', '-c', BASH, 'bash', script, *line.split(' ')]
            if request.param == 'bash' else
            ['fish', '--no-config', '-c', FISH, script, line])
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S,
            check=True, cwd=tmp_path, env=environment(
                tmp_path, **more, XDG_CONFIG_HOME=str(tmp_path)))
        assert not done.stderr, done
        lines = done.stdout.splitlines()
        return {line.split('\t')[0] for line in lines} - {''}

    return ask


def test_subcommands(complete):
    every = complete('opq ')
    assert set(subcommands()) | {'serve', 'help', 'version'} <= every
    assert complete('opq subscr') == {'subscriptions'}


def test_flags_are_those_that_a_subcommand_takes(complete):
    assert {'--json', '--url', '--help', '--from-time'} <= complete(
        'opq tail --')
    assert '--from-time' not in complete('opq topics --')
    assert {'--connections', '--duration'} <= complete('opq bench push --')
    assert {'--retry-first', '--check-config'} <= complete('opq serve --')
    for flag in complete('opq push --'):
        done = run_cli('push', flag)
        assert 'unknown option' not in done.stderr, flag


def test_words_behind_a_subcommand(complete):
    assert complete('opq dlq ') == {'list', 'retry', 'drop'}
    assert complete('opq schedules re') == {'resume'}
    assert complete('opq completion --json z') == {'zsh'}


def test_topics_come_from_the_server(complete, opq):
    for topic in ('orders', 'orders-eu', 'mail'):
        assert opq.request('PUT', f'/opq/topics/{topic}').status == 201
    asked = {'OPQ_URL': opq.url}
    assert complete('opq tail ord', **asked) == {'orders', 'orders-eu'}
    assert complete('opq subscriptions show m', **asked) == {'mail'}
    assert complete('opq dlq retry --topic ma', **asked) == {'mail'}


def test_topics_without_a_server_are_none_and_soon(complete, receivers):
    silent = receivers()
    silent.script = lambda request: Answer(hang=True)
    begun = time.monotonic()
    assert not complete('opq tail x', OPQ_URL=silent.url(''))
    assert time.monotonic() - begun < PATIENCE_S / 2
    silent.close()
    assert not complete('opq tail x', OPQ_URL=silent.url(''))


def test_names_of_files(complete, tmp_path):
    (tmp_path / 'pushes.ndjson').write_text('')
    assert 'pushes.ndjson' in complete('opq batch push')
    assert 'pushes.ndjson' in complete('opq push --file push')


def test_zsh_completes_on_a_terminal(opq, tmp_path):
    assert opq.request('PUT', '/opq/topics/orders').status == 201
    (tmp_path / '_opq').write_text(run_cli('completion', 'zsh').stdout)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execvpe('zsh', ['zsh', '-f', '-i'],
                   environment(tmp_path, OPQ_URL=opq.url, TERM='dumb',
                               PS1='> ', ZDOTDIR=str(tmp_path)))
    said = ''

    def wait(pattern):
        nonlocal said
        end = time.monotonic() + PATIENCE_S
        while not re.search(pattern, said):
            assert time.monotonic() < end, f'no {pattern}: {said!r}'
            if select.select([terminal], [], [], 0.1)[0]:
                said += os.read(terminal, 65536).decode()

    def type_in(text):
        nonlocal said
        said = ''
        os.write(terminal, text.encode())

    try:
        type_in('fpath=($PWD $fpath); autoload -Uz compinit; '
                'compinit -u -D; echo rea""dy\n')
        wait('ready')
        for line, wanted in (('opq subscr\t', 'opq subscriptions '),
                             ('opq tail or\t', 'opq tail orders'),
                             ('opq dlq ret\t', 'opq dlq retry'),
                             ('opq tail --from-t\t', '--from-time')):
            type_in(line)
            wait(re.escape(wanted))
            type_in('\x15')  # Ctrl-U: away with the line
    finally:
        os.close(terminal)
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_what_is_no_shell(opq):
    assert run_cli('completion', 'tcsh').returncode == 64
    assert run_cli('completion').returncode == 64
    assert opq.run('completion', 'topics').stdout == ''

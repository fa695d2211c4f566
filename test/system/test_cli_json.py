"""Each subcommand that reads gives valid JSON with --json, and says how to use
it with --help.

SPDX-License-Identifier: MIT
"""

import json
import re

import pytest
from harness import run_cli, subcommands, wait_until

# A subcommand with words that make it read; what is in {} is filled in.
READERS = {
    'info': [[]],
    'stats': [[]],
    'top': [['--interval=100ms']],
    'topics': [[], ['t']],
    'message': [['t', '0']],
    'tail': [['t'], ['t', '--since=1h']],
    'delayed': [[], ['list'], ['show', '{delayed}']],
    'endpoints': [[], ['show', '{endpoint}']],
    'schedules': [[], ['show', 's']],
    'subscriptions': [['t'], ['list', 't'], ['show', 't', 'p']],
    'pull': [['t', 'p', '-n', '2']],
    'replays': [[], ['show', '{replay}']],
    'dlq': [[], ['list', '--limit=1']],
    'apply': [['--dry-run', '{file}']],
    'reload': [[]],
}

# Those that change, and what makes them do it.
CHANGERS = {
    'push': [['t', '{endpoint}/x', 'text']],
    'batch': [['{batch}']],
    'set': [['t', 'concurrency=1']],
    'pause': [['t']],
    'resume': [['t']],
    'replay': [['t', '0']],
    'purge': [['t']],
    'delete': [['t']],
}

# Not of a server, or without an end; they have tests of their own.
OTHERS = {'verify', 'dump', 'sink', 'bench', 'dev', 'completion', 'repair',
          'export', 'import', 'grep', 'token', 'events'}


@pytest.fixture
def filled(serve, receiver, tmp_path):
    """A server that has one of each, and how to name them."""
    opq = serve('--retry-first=10ms')
    opq.request('PUT', '/opq/topics/t/subscriptions/p?kind=pull')
    opq.request('PUT', '/opq/topics/d', {'retries': 0})
    opq.request('PUT', '/opq/schedules/s', {
        'cron': '@yearly', 'topic': 't', 'url': receiver.url()})
    receiver.script = lambda request: 500 if request.topic == 'd' else 200
    for _ in range(3):
        opq.push_json('t', receiver.url(), 'x')
        opq.push_json('d', receiver.url(), 'x')
    later = opq.push_json('t', receiver.url(), 'x', delay='1h')
    opq.wait_delivered('t', 3)
    wait_until(lambda: len(opq.get('/opq/dlq').json()['letters']) == 3)
    replay = opq.request('POST', '/opq/replays?topic=t').json()
    (tmp_path / 'opq.conf').write_text('[topic other]\norder = none\n')
    (tmp_path / 'batch').write_text(json.dumps({
        'topic': 't', 'url': receiver.url(), 'message': 'x'}) + '\n')
    return opq, {'delayed': later['id'], 'endpoint': receiver.url(''),
                 'replay': replay['id'], 'file': tmp_path / 'opq.conf',
                 'batch': tmp_path / 'batch'}


def values(text):
    """The JSON values of an output: one, or one on each line."""
    try:
        return [json.loads(text)]
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines()]


def test_each_is_in_a_list_here():
    assert set(subcommands()) <= set(READERS) | set(CHANGERS) | OTHERS


def test_json_is_valid(filled):
    opq, names = filled
    for command, calls in [*READERS.items(), *CHANGERS.items()]:
        for words in calls:
            words = [word.format(**names) for word in words]
            done = opq.run(command, *words, '--json')
            assert done.returncode == 0, done
            found = values(done.stdout)
            assert command in CHANGERS or found, done
            assert all(isinstance(one, (dict, list)) for one in found), done


def test_fractions_are_as_short_as_the_server_says_them(filled):
    opq, names = filled
    for words in (['endpoints'], ['endpoints', 'show', names['endpoint']],
                  ['top', '--interval=100ms']):
        text = opq.run(*words, '--json').stdout
        assert '"mean_ms":' in text, text
        assert not re.search(r'\d\.\d{8}', text), text


def test_without_it_there_are_words(filled):
    opq, names = filled
    for command, calls in READERS.items():
        for words in calls:
            words = [word.format(**names) for word in words]
            done = opq.run(command, *words)
            assert done.returncode == 0, done
            assert done.stdout.strip(), done
            assert not done.stdout.startswith(('{', '[')), done


@pytest.mark.parametrize('command', subcommands())
def test_help(command):
    done = run_cli(command, '--help')
    assert done.returncode == 0, done
    assert done.stdout.startswith(f'usage: opq {command} '), done
    done = run_cli(command, '--no-such-option-there-is')
    assert done.returncode == 64, done
    assert 'usage: opq' in done.stderr, done

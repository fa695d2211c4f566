"""Settings of topics: each over the API, after a restart, in the documents.

SPDX-License-Identifier: MIT
"""

import json
import re

import pytest
from harness import ROOT, run_cli

# Each setting with a value that is not its default, as it is shown.
VALUES = {
    'paused': True,
    'order': 'key',
    'concurrency': 12,
    'endpoint_concurrency': 4,
    'timeout': '1500ms',
    'retries': 5,
    'retry_schedule': '5s,1m,10m',
    'permanent_status': '400,404,410-499',
    'rate': '100/1s',
    'flow_rate': '5/1m',
    'expired': 'drop',
    'dedup_window': '1h',
    'dedup': 'content',
    'secret': 'shop,shop-2',
    'batch': '100,50ms',
    'batch_format': 'json',
    'cloudevents': 'structured',
    'cloudevents_type': 'shop.order',
    'cloudevents_source': '/shop/7',
    'retain_age': '7d',
    'retain_bytes': 64 << 20,
    'retain_count': 1000,
    'discard': 'old',
    'slow_after': '90s',
}


def rows_of(command):
    """The table of settings that the program prints: name to columns."""
    printed = run_cli(command)
    assert printed.returncode == 0
    found = re.findall(r'(?m)^\| `(\w+)` \| (.*?) \| (.*?) \| (.*) \|$',
                       printed.stdout)
    return {name: columns for name, *columns in found}, printed.stdout


@pytest.fixture(name='table', scope='module')
def fixture_table():
    return rows_of('topic-settings-table')[0]


def told(answer):
    assert answer.status == 400, answer
    return answer.json()['detail']


def text_of(value):
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    return str(value)


def test_each_setting_is_set_kept_and_given_back(serve, table):
    assert list(VALUES) == list(table)
    opq = serve()
    for name, value in VALUES.items():
        path = f'/opq/topics/{name}'
        answer = opq.request('PUT', path, {name: value})
        assert answer.status == 201, (name, answer)
        shown = answer.json()['settings']
        assert list(shown) == list(VALUES)
        changed = {key for key in shown if shown[key] == VALUES[key]}
        assert changed == {name}
    assert opq.request('PUT', '/opq/topics/all', VALUES).status == 201
    assert opq.stop() == 0
    opq.start()
    for name, value in VALUES.items():
        shown = opq.topic(name)['settings']
        assert shown[name] == value
        assert sum(shown[key] == VALUES[key] for key in shown) == 1
    assert opq.topic('all')['settings'] == VALUES
    # What is shown can be given back, the defaults too.
    opq.request('PUT', '/opq/topics/plain')
    plain = opq.topic('plain')['settings']
    answer = opq.request('PUT', '/opq/topics/all', plain)
    assert answer.json()['settings'] == plain
    assert opq.kill() != 0
    opq.start()
    assert opq.topic('all')['settings'] == plain


def test_each_setting_is_taken_from_headers_and_by_the_command(opq):
    for name, value in VALUES.items():
        header = 'Opq-' + name.replace('_', '-').title()
        answer = opq.request('PUT', '/opq/topics/h',
                             headers={header: text_of(value)})
        assert answer.status in (200, 201), (name, answer)
    assert opq.topic('h')['settings'] == VALUES
    done = opq.run('set', 'c', *(f'{name}={text_of(value)}'
                                 for name, value in VALUES.items()))
    assert done.returncode == 0, done
    assert opq.topic('c')['settings'] == VALUES


def test_empty_value_takes_a_list_away(opq):
    path = '/opq/topics/e'
    lists = ('retry_schedule', 'permanent_status', 'secret')
    opq.request('PUT', path, {name: VALUES[name] for name in lists})
    answer = opq.request('PUT', path, {name: '' for name in lists})
    assert [answer.json()['settings'][name] for name in lists] == [''] * 3


def test_refusal_says_what_is_wanted(opq, table):
    for name, (wanted, _, _) in table.items():
        detail = told(opq.request('PUT', '/opq/topics/r', {name: 'n/a\x7f'}))
        assert detail == f'{name} must be {wanted}'
    for name in table:
        for value, word in ((None, 'null'), ([1], 'an array')):
            detail = told(opq.request('PUT', '/opq/topics/r', {name: value}))
            assert detail == f'{name} must not be {word}'
    assert told(opq.request('PUT', '/opq/topics/r', {'paused': {}}))
    assert opq.get('/opq/topics/r').status == 404


def test_all_that_is_wrong_is_said_at_once(opq, receiver):
    path = '/opq/topics/w'
    answer = opq.request('PUT', f'{path}?colour=blue&retries=many', {
        'order': 'key', 'timeout': 'soon', 'rate': None, 'url': 'http://a/',
        'odd\nname "x"': 1}, {'Opq-Retries': '5', 'Opq-Time-Out': '1s'})
    errors = answer.json()['errors']
    assert told(answer) == errors[0]
    assert [error.partition(' must')[0] for error in errors] == [
        'unknown setting: time_out; did you mean timeout?',
        'unknown setting: colour',
        'retries is given twice', 'timeout', 'rate',
        'url is a setting of subscriptions, not of topics',
        'unknown setting: odd\nname "x"']
    assert opq.get(path).status == 404
    # Of one there is an array as well, and of very many a part.
    answer = opq.request('PUT', path, {'order': 'x'})
    assert answer.json()['errors'] == [told(answer)]
    answer = opq.request('PUT', path, {f'x{n}': n for n in range(300)})
    assert len(answer.json()['errors']) == 64
    answer = opq.request('PUT', f'{path}?retries=%x&order=key', '{')
    assert [error[:12] for error in answer.json()['errors']] == [
        'the query is', 'the body mus']
    # Subscriptions and replays take settings in the same way.
    answer = opq.request('PUT', f'{path}/subscriptions/s', {
        'start': 'somewhere', 'filter': '=', 'timeout': 'soon'})
    assert [error.partition(' must')[0] for error in answer.json()['errors']
            ] == ['filter', 'timeout', 'start']
    answer = opq.request('POST', '/opq/replays', {
        'from': 'x', 'retries': 'forever', 'colour': 1, 'only': 'some'})
    assert [error.partition(' must')[0] for error in answer.json()['errors']
            ] == ['from', 'retries', 'unknown parameter: colour', 'only',
                  'topic is missing']
    done = opq.run('set', 'w', 'retries=many', 'order=odd')
    assert done.returncode == 1
    assert [line.partition(' must')[0]
            for line in done.stderr.splitlines()] == [
        'opq set: 400 retries', 'opq set: 400 order']


def test_unknown_setting_is_answered_with_the_nearest(opq):
    path = '/opq/topics/u'
    detail = told(opq.request('PUT', path, {'retain_agee': '1d'}))
    assert detail == 'unknown setting: retain_agee; did you mean retain_age?'
    detail = told(opq.request('PUT', path, headers={'Opq-Time-Out': '1s'}))
    assert detail == 'unknown setting: time_out; did you mean timeout?'
    detail = told(opq.request('PUT', f'{path}?colour=blue'))
    assert detail == 'unknown setting: colour'
    detail = told(opq.request('PUT', path, {'url': 'http://127.0.0.1/'}))
    assert detail == 'url is a setting of subscriptions, not of topics'
    done = opq.run('set', 'u', 'retrys=5')
    assert done.returncode == 1
    assert 'did you mean retries?' in done.stderr


def test_documents_have_the_table():
    rows, table = rows_of('topic-settings-table')
    assert table in (ROOT / 'doc/http-api.md').read_text()
    with open(ROOT / 'src/admin/openapi.json', encoding='utf-8') as file:
        schemas = json.load(file)['components']['schemas']
    described = schemas['Settings']['properties']
    assert list(described) == list(rows)
    for name, (wanted, default, words) in rows.items():
        assert described[name]['description'] == f'{words} ({wanted})'
        assert (text_of(described[name]['default']) or 'none') == default
        if 'enum' in described[name]:
            assert re.split(', | or ', wanted) == described[name]['enum']

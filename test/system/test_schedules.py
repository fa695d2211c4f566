"""Schedules through the real binary: runs, pause, restarts, kills.

SPDX-License-Identifier: MIT
"""

import datetime
import json
import time

import pytest
from harness import NO_URL, wait_until

EVERY_SECOND = '* * * * * *'
NEVER_SOON = '0 0 29 2 *'


def put(opq, name, url, cron=EVERY_SECOND, **members):
    """Put a schedule that pushes into the topic of its name."""
    answer = opq.request('PUT', f'/opq/schedules/{name}', {
        'cron': cron, 'topic': name, 'url': url, 'message': name, **members})
    assert answer.status in (200, 201), answer
    return answer


def get(opq, name):
    answer = opq.get(f'/opq/schedules/{name}')
    assert answer.status == 200, answer
    return answer.json()


def problem(answer, status):
    assert answer.status == status, answer
    assert answer.headers['content-type'] == 'application/problem+json'
    return answer.json()['detail']


def dues_of(opq, topic):
    """The Unix seconds at which the runs in a topic were due, by their ids."""
    end = opq.topic(topic)['end']
    return [int(opq.get(f'/opq/topics/{topic}/messages/{number}')
                .json()['id'].removeprefix(f'sch_{topic}_')) / 1000
            for number in range(end)]


def test_a_schedule_runs_every_second(opq, receiver):
    assert put(opq, 'tick', receiver.url()).status == 201
    for request in receiver.wait(3):
        assert request.body == b'tick'
        assert request.headers['opq-topic'] == 'tick'
        assert request.headers['webhook-id'].startswith('sch_tick_')
    dues = dues_of(opq, 'tick')
    assert dues == sorted(set(dues))
    assert all(due == int(due) for due in dues)
    shown = wait_until(lambda: get(opq, 'tick')['runs'] >= 3 and
                       get(opq, 'tick'))
    assert shown['paused'] is False and shown['zone'] == 'UTC'
    assert shown['missed'] == 'skip' and shown['refused'] == 0
    assert shown['next_at'] > shown['last_due_at'] > shown['since']


def test_a_definition_is_shown_as_it_was_put(opq, receiver):
    definition = {
        'cron': '30 2 * * MON-FRI', 'zone': 'Europe/Berlin', 'topic': 'a',
        'url': receiver.url(), 'message': {'n': [1, 2]}, 'missed': 'once',
        'headers': {'X-A': '1'}, 'method': 'PUT', 'timeout': '5s'}
    answer = opq.request('PUT', '/opq/schedules/nightly', definition)
    assert answer.status == 201
    shown = answer.json()
    assert shown == get(opq, 'nightly')
    assert shown['definition'] == definition
    assert shown['cron'] == '30 2 * * MON-FRI'
    assert shown['topic'] == 'a' and shown['url'] == receiver.url()
    assert shown['last_run_at'] is None and shown['runs'] == 0
    local = datetime.datetime.fromisoformat(shown['next_local'])
    assert (local.hour, local.minute) in ((2, 30), (3, 0))
    assert local.timestamp() == datetime.datetime.fromisoformat(
        shown['next_at'].replace('Z', '+00:00')).timestamp()
    put(opq, 'nightly', receiver.url(), NEVER_SOON)
    assert get(opq, 'nightly')['zone'] == 'UTC'


def test_run_now_runs_a_paused_schedule_too(opq, receiver):
    put(opq, 'a', receiver.url(), NEVER_SOON, paused=True, method='PUT',
        headers={'X-A': 'b'})
    before = get(opq, 'a')
    assert before['paused'] is True and before['next_at'] is None
    ids = set()
    for number in range(3):
        answer = opq.request('POST', '/opq/schedules/a/run')
        assert answer.status == 201, answer
        assert answer.json()['topic'] == 'a'
        assert answer.json()['seq'] == number
        ids.add(answer.json()['id'])
    assert len(ids) == 3
    requests = receiver.wait(3)
    assert requests[0].method == 'PUT'
    assert requests[0].headers['x-a'] == 'b'
    shown = get(opq, 'a')
    assert shown['runs'] == 3 and shown['paused'] is True
    assert shown['last_due_at'] is None


def test_pause_holds_runs_and_resume_goes_on(opq, receiver):
    put(opq, 'tick', receiver.url())
    receiver.wait(1)
    answer = opq.request('POST', '/opq/schedules/tick/pause')
    assert answer.status == 200 and answer.json()['next_at'] is None
    opq.wait_delivered('tick', opq.topic('tick')['end'])
    end = opq.topic('tick')['end']
    put(opq, 'clock', receiver.url())  # what a second is, by runs
    wait_until(lambda: len(receiver.of_topic('clock')) >= 3)
    assert opq.topic('tick')['end'] == end
    answer = opq.request('POST', '/opq/schedules/tick/resume')
    assert answer.status == 200 and answer.json()['paused'] is False
    wait_until(lambda: opq.topic('tick')['end'] > end)
    first = dues_of(opq, 'tick')[end]
    resumed = datetime.datetime.fromisoformat(
        answer.json()['since'].replace('Z', '+00:00')).timestamp()
    assert first > resumed


def test_schedules_are_listed_page_by_page(serve, receiver):
    opq = serve('--shards=3')
    names = sorted(f's-{number:02}' for number in range(12))
    for name in reversed(names):
        put(opq, name, receiver.url(), NEVER_SOON)
    listed, after = [], ''
    while after is not None:
        page = opq.get(f'/opq/schedules?limit=5&after={after}').json()
        assert page['total'] == 12
        assert len(page['schedules']) <= 5
        listed += [schedule['id'] for schedule in page['schedules']]
        after = page['next']
    assert listed == names
    assert 'definition' not in page['schedules'][0]
    assert opq.get('/opq/schedules?limit=0').json() == {
        'schedules': [], 'total': 12, 'next': None}


def test_a_deleted_schedule_runs_no_more(opq, receiver):
    put(opq, 'tick', receiver.url())
    receiver.wait(1)
    assert opq.request('DELETE', '/opq/schedules/tick').status == 204
    problem(opq.get('/opq/schedules/tick'), 404)
    problem(opq.request('DELETE', '/opq/schedules/tick'), 404)
    end = opq.topic('tick')['end']
    put(opq, 'clock', receiver.url())
    wait_until(lambda: len(receiver.of_topic('clock')) >= 3)
    assert opq.topic('tick')['end'] <= end + 1  # one that was under way
    assert opq.get('/opq/topics?internal=yes').json()['total'] == 3


def test_topics_of_schedules_are_hidden_and_not_delivered(opq, receiver):
    put(opq, 'a', receiver.url(), NEVER_SOON)
    opq.push_json('b', receiver.url(), 'x')
    opq.wait_delivered('b', 1)
    listed = opq.get('/opq/topics').json()
    assert [topic['name'] for topic in listed['topics']] == ['b']
    assert listed['total'] == 1
    assert opq.get('/opq/info').json()['now']['topics'] == 1
    listed = opq.get('/opq/topics?internal=yes').json()
    assert [topic['name'] for topic in listed['topics']] == [
        '.opq.schedule.a', 'b']
    topic = opq.topic('.opq.schedule.a')
    assert topic['state'] == 'internal' and topic['delivered'] == 0
    assert len(receiver.requests) == 1
    for method, path in (('DELETE', ''), ('POST', '/purge'),
                         ('POST', '/pause'), ('PUT', '')):
        problem(opq.request(method, f'/opq/topics/.opq.schedule.a{path}'), 403)


def test_what_is_wrong_is_refused(opq, receiver):
    good = {'cron': '@daily', 'topic': 't', 'url': receiver.url()}

    def refused(status=400, path='a', **members):
        return problem(opq.request('PUT', f'/opq/schedules/{path}', {
            name: value for name, value in {**good, **members}.items()
            if value is not None}), status)

    assert 'cron is missing' in refused(cron=None)
    assert 'cron' in refused(cron='61 * * * *')
    assert 'never comes' in refused(cron='0 0 31 6 *')
    assert 'zone' in refused(zone='Europe/Atlantis')
    assert 'zone' in refused(zone='../../etc/passwd')
    assert 'missed' in refused(missed='twice')
    assert 'topic' in refused(topic=None)
    assert 'url' in refused(url='ftp://x/')
    assert 'colour' in refused(colour='red')
    assert 'id' in refused(path='.a')
    assert 'id' in refused(path='a' * 65)
    assert 'too large' in refused(413, message='x' * 70000)
    problem(opq.request('PUT', '/opq/schedules/a', 'nonsense'), 400)
    problem(opq.request('PUT', '/opq/schedules/a?paused=yes',
                        json.dumps(good)), 400)
    problem(opq.request('PUT', '/opq/schedules/a', json.dumps(good),
                        {'Opq-Topic': 'x'}), 400)
    problem(opq.request('POST', '/opq/schedules/a/run', 'x'), 400)
    for path in ('pause', 'resume', 'run'):
        problem(opq.request('POST', f'/opq/schedules/a/{path}'), 404)
    assert opq.get('/opq/schedules').json()['total'] == 0
    assert opq.get('/opq/topics?internal=yes').json()['total'] == 0


@pytest.mark.parametrize('shards', [1, 3])
def test_what_nobody_would_get_is_refused_as_a_push_is(serve, shards):
    opq = serve(f'--shards={shards}')
    opq.request('PUT', '/opq/topics/there', {})
    for topic in ('there', 'nowhere', 'a', 'b', 'c'):
        push = {'topic': topic, 'message': 'x'}
        for url in ({}, {'url': ''}):
            said = problem(opq.request('POST', '/opq/push', {**push, **url}),
                           400)
            assert said == problem(opq.request(
                'PUT', '/opq/schedules/a',
                {'cron': '@daily', **push, **url}), 400)
            assert 'url is missing' in said
    assert opq.get('/opq/schedules').json()['total'] == 0
    assert opq.get('/opq/topics?internal=yes').json()['total'] == 1
    opq.request('PUT', '/opq/topics/there/subscriptions/s',
                {'kind': 'pull'})
    assert opq.request('PUT', '/opq/schedules/a', {
        'cron': '@daily', 'topic': 'there'}).status == 201
    assert opq.request('POST', '/opq/schedules/a/run').status == 201


def test_what_is_of_one_message_is_refused(opq, receiver):
    good = {'cron': '@daily', 'topic': 't', 'url': receiver.url()}
    for name, value in (('expect_seq', 0), ('Expect-Seq', '7'),
                        ('not_before', int(time.time()) + 3600),
                        ('not_before', 1), ('Not-Before', 1)):
        said = problem(opq.request('PUT', '/opq/schedules/a', {
            **good, name: value}), 400)
        assert name.lower().replace('-', '_') in said, said
        assert 'a schedule runs many times' in said
    assert opq.get('/opq/schedules').json()['total'] == 0


def test_a_run_with_a_delay_is_a_delayed_message(serve, receiver):
    opq = serve('--shards=3')
    for name in ('a', 'b', 'c', 'd'):
        put(opq, name, receiver.url(), NEVER_SOON, delay='1s')
        answer = opq.request('POST', f'/opq/schedules/{name}/run')
        assert answer.status == 201
        told = answer.json()
        assert set(told) == {'id', 'topic', 'due', 'durability'}
        assert told['topic'] == name and told['id'].startswith('dly_')
        shown = opq.get(f'/opq/messages/{told["id"]}').json()
        assert shown['state'] == 'delayed' and shown['due'] == told['due']
        if name == 'd':
            assert opq.request(
                'DELETE', f'/opq/messages/{told["id"]}').status == 204
    received = receiver.wait(3)
    assert sorted(request.body for request in received) == [b'a', b'b', b'c']
    for request in received:
        assert request.headers['webhook-id'].startswith('sch_')
    assert get(opq, 'a')['runs'] == 1


def test_runs_that_nobody_would_get_any_more_are_counted(serve):
    opq = serve('--shards=3')
    names = ('a', 'b', 'c', 'd')
    for name in names:
        path = f'/opq/topics/{name}/subscriptions/s'
        assert opq.request('PUT', path, {'kind': 'pull'}).status == 201
        assert opq.request('PUT', f'/opq/schedules/{name}', {
            'cron': EVERY_SECOND, 'topic': name}).status == 201
        assert opq.request('DELETE', path).status == 204
    for name in names:
        shown = wait_until(lambda name=name: get(opq, name)['refused'] >= 2 and
                           get(opq, name))
        assert shown['error'] == NO_URL
        assert 'retries' not in shown and shown['next_at']
        answer = opq.request('POST', f'/opq/schedules/{name}/run')
        assert shown['error'] == problem(answer, 400)
    # Another definition has not failed yet.
    assert opq.request('PUT', '/opq/schedules/a', {
        'cron': NEVER_SOON, 'topic': 'a', 'url': 'http://127.0.0.1:9/'}
        ).status == 200
    assert 'error' not in get(opq, 'a')


def test_a_restart_keeps_schedules(serve, receiver):
    opq = serve('--shards=2')
    for name in ('a', 'b', 'c', 'd'):
        put(opq, name, receiver.url(), NEVER_SOON, zone='Asia/Tokyo')
    opq.request('POST', '/opq/schedules/b/pause')
    opq.request('POST', '/opq/schedules/c/run')
    put(opq, 'tick', receiver.url())
    wait_until(lambda: get(opq, 'tick')['runs'] >= 1)
    before = {name: get(opq, name) for name in ('a', 'b', 'c', 'd')}
    assert opq.stop() == 0
    opq.start('--shards=3')
    assert {name: get(opq, name) for name in before} == before
    runs = get(opq, 'tick')['runs']
    wait_until(lambda: get(opq, 'tick')['runs'] > runs)


def test_missed_runs_are_skipped_or_made_once(serve, receiver):
    opq = serve()
    put(opq, 'once', receiver.url(), missed='once')
    put(opq, 'skip', receiver.url(), missed='skip')
    wait_until(lambda: get(opq, 'once')['runs'] and get(opq, 'skip')['runs'])
    assert opq.stop() == 0
    ended = time.time()
    wait_until(lambda: time.time() > ended + 3)  # so that times pass
    end = {name: len(receiver.of_topic(name)) for name in ('once', 'skip')}
    opq.start()
    wait_until(lambda: all(opq.topic(name)['end'] >= end[name] + 3
                           for name in end))
    once = dues_of(opq, 'once')[end['once']:]
    skip = dues_of(opq, 'skip')[end['skip']:]
    assert once[0] <= ended + 1     # the first that was missed,
    assert once[1] > ended + 2      # for all of them
    assert skip[0] > ended + 2


def test_a_kill_loses_no_schedule_and_no_run_of_once(serve, receiver):
    opq = serve('--shards=2')
    names = [f's{number}' for number in range(6)]
    for name in names:
        put(opq, name, receiver.url(), missed='once')
    for round_ in range(5):
        end = {name: len(receiver.of_topic(name)) for name in names}
        wait_until(lambda: all(len(receiver.of_topic(name)) > end[name]
                               for name in names))
        # Kills are spread over the second.
        wait_until(lambda at=0.2 * round_: at <= time.time() % 1 < at + 0.2)
        shown = {name: get(opq, name) for name in names}
        opq.kill()
        opq.start()
        for name in names:
            now = get(opq, name)
            assert now['definition'] == shown[name]['definition']
            assert now['runs'] >= shown[name]['runs']
    for name in names:
        runs = wait_until(lambda name=name: get(opq, name)['runs'])
        end = opq.topic(name)['end']
        assert end >= runs - 1
        opq.wait_delivered(name, end)
        ids = [opq.get(f'/opq/topics/{name}/messages/{seq}').json()['id']
               for seq in range(end)]
        # What is there twice is a run that a kill kept from being noted.
        assert len(ids) - len(set(ids)) <= 5
        dues = [int(text.rsplit('_', 1)[1]) for text in ids]
        assert dues == sorted(dues)


@pytest.mark.parametrize('zone', ['UTC', 'Nowhere/Land'])
def test_a_system_without_zones_has_utc(serve, receiver, tmp_path, zone):
    opq = serve(environment={'TZDIR': str(tmp_path / 'empty')})
    answer = opq.request('PUT', '/opq/schedules/a', {
        'cron': '@daily', 'zone': zone, 'topic': 'a', 'url': receiver.url()})
    assert answer.status == (201 if zone == 'UTC' else 400)


def test_a_zone_that_went_away_stops_its_schedules_alone(serve, receiver,
                                                         tmp_path):
    opq = serve()
    put(opq, 'a', receiver.url(), zone='Europe/Berlin')
    put(opq, 'b', receiver.url())
    assert opq.stop() == 0
    opq.environment['TZDIR'] = str(tmp_path / 'empty')
    opq.start()
    assert 'Europe/Berlin' in get(opq, 'a')['error']
    assert get(opq, 'a')['next_at'] is None
    end = len(receiver.of_topic('b'))
    wait_until(lambda: len(receiver.of_topic('b')) > end)
    assert opq.stop() == 0
    del opq.environment['TZDIR']
    opq.start()
    wait_until(lambda: get(opq, 'a')['next_at'])


def test_the_subcommand_does_all_of_it(opq, receiver):
    done = opq.run('schedules', 'set', 'night', '--cron', '30 2 * * MON',
                   '--zone', 'Europe/Berlin', '--missed', 'once', '--paused',
                   '--type', 'text/x', '--method', 'PUT', '--header', 'X-A: b',
                   '--option', 'timeout=5s', 'a', receiver.url(), 'hello')
    assert done.returncode == 0, done
    assert '30 2 * * MON' in done.stdout
    assert get(opq, 'night')['definition'] == {
        'cron': '30 2 * * MON', 'zone': 'Europe/Berlin', 'missed': 'once',
        'paused': True, 'content_type': 'text/x', 'method': 'PUT',
        'headers': {'X-A': 'b'}, 'timeout': '5s', 'topic': 'a',
        'url': receiver.url(), 'message': 'hello'}
    listed = opq.run('schedules').stdout.splitlines()
    assert listed[0].split()[:3] == ['ID', 'CRON', 'ZONE']
    assert listed[1].startswith('night') and listed[1].endswith('paused')
    assert opq.run('schedules', 'resume', 'night').returncode == 0
    assert get(opq, 'night')['paused'] is False
    assert opq.run('schedules', 'pause', 'night').returncode == 0
    done = opq.run('schedules', 'run', 'night', '--json')
    assert json.loads(done.stdout)['topic'] == 'a'
    assert receiver.wait(1)[0].body == b'hello'
    done = opq.run('schedules', 'show', 'night', '--json')
    assert json.loads(done.stdout) == get(opq, 'night')
    done = opq.run('schedules', 'list', '--json')
    assert json.loads(done.stdout)['id'] == 'night'
    assert opq.run('schedules', 'rm', 'night').returncode == 0
    assert opq.get('/opq/schedules').json()['total'] == 0


def test_the_subcommand_takes_a_file_and_says_what_is_wrong(
        opq, receiver, tmp_path):
    path = tmp_path / 'schedule.json'
    definition = {'cron': '@daily', 'topic': 'a', 'url': receiver.url()}
    path.write_text(json.dumps(definition))
    assert opq.run('schedules', 'set', 'a', '--file',
                   str(path)).returncode == 0
    assert get(opq, 'a')['definition'] == definition
    assert opq.run('schedules', 'set', 'b', '--file', '-',
                   input=json.dumps(definition)).returncode == 0
    done = opq.run('schedules', 'set', 'c', '--cron', '61 * * * *', 'a',
                   receiver.url())
    assert done.returncode == 1 and 'minute' in done.stderr
    done = opq.run('schedules', 'show', 'nobody')
    assert done.returncode == 1 and '404' in done.stderr
    for wrong in (('show',), ('fly', 'a'), ('set', 'a'), ('rm', 'a', 'b'),
                  ('set', 'a', '--header', 'x', 't', 'u')):
        assert opq.run('schedules', *wrong).returncode == 64, wrong

"""CloudEvents over HTTP: taken in both modes and in batches, and delivered as
such.

SPDX-License-Identifier: MIT
"""

import base64
import hmac
import json
import subprocess

import pytest
from harness import PATIENCE_S, ROOT, Answer

VERIFY = ROOT / 'test/verify'

STRUCTURED = 'application/cloudevents+json'
BATCH = 'application/cloudevents-batch+json'


def event(**members):
    return {'specversion': '1.0', 'id': '1', 'source': '/shop',
            'type': 'order.made', **members}


def headers_of(attributes, content_type=None):
    headers = {f'ce-{name}': value for name, value in attributes.items()}
    if content_type:
        headers['Content-Type'] = content_type
    return headers


def without(attributes, name):
    return {key: value for key, value in attributes.items() if key != name}


def send(opq, body, headers, topic='t', url=None, **parameters):
    query = '&'.join(f'{name}={value}' for name, value in {
        'topic': topic, **({'url': url} if url else {}), **parameters}.items())
    return opq.request('POST', f'/opq/push?{query}', body, headers)


def send_structured(opq, body, **how):
    if isinstance(body, dict):
        body = json.dumps(body)
    return send(opq, body, {'Content-Type': STRUCTURED}, **how)


def messages(opq, topic='t'):
    answer = opq.get(f'/opq/topics/{topic}/messages?from=0')
    assert answer.status == 200, answer
    return answer.json()['messages']


def end(opq, topic='t'):
    answer = opq.get(f'/opq/topics/{topic}')
    return answer.json()['end'] if answer.status == 200 else 0


# --- in ----------------------------------------------------------------------

def test_structured_event_is_delivered_byte_for_byte(opq, receiver):
    body = (' {"specversion" : "1.0", "id":"\\u0031","source":"/s",\r\n'
            '"type":"t", "data":{"b":1, "a":[ 2 ]}} ')
    kind = 'application/cloudevents+json; charset=UTF-8'
    answer = send(opq, body, {'Content-Type': kind}, url=receiver.url())
    assert answer.status == 201, answer
    # A push in JSON may name the type, and then is looked at as well.
    opq.push_json('t', receiver.url(), event(), content_type=STRUCTURED)
    one, two = receiver.wait(2)
    assert one.body == body.encode()
    assert one.headers['content-type'] == kind
    assert json.loads(two.body) == event()
    assert two.headers['content-type'] == STRUCTURED


@pytest.mark.parametrize('kind', [
    'application/json', 'application/x-www-form-urlencoded', 'text/xml', None])
def test_binary_event_is_delivered_with_its_headers(opq, receiver, kind):
    body = b'{"topic":"no",\xff&url=none'
    attributes = {'specversion': '1.0', 'id': '"a b"', 'source': '/s%20%C3%A4',
                  'Type': 't', 'myext': '7'}
    answer = send(opq, body, headers_of(attributes, kind), url=receiver.url())
    assert answer.status == 201, answer
    got = receiver.wait(1)[0]
    assert got.body == body
    assert got.headers.get('content-type') == kind
    assert [field for field in got.fields
            if field[0].lower().startswith('ce-')] == [
        (f'ce-{name}', value) for name, value in attributes.items()]


def test_topic_and_url_may_be_headers(opq, receiver):
    answer = opq.request('POST', '/opq/push', 'x', {
        **headers_of(event()), 'Opq-Topic': 't', 'Opq-Url': receiver.url(),
        'Opq-Label': 'l', 'Accept': 'application/json'})
    assert answer.status == 201, answer
    assert answer.json()['topic'] == 't'
    got = receiver.wait(1)[0]
    assert got.headers['ce-type'] == 'order.made'
    assert messages(opq)[0]['label'] == 'l'


def test_large_binary_event_goes_through_a_file(serve, receiver):
    opq = serve('--body_buffer=64k')
    body = b'\x00\xff' * 200_000
    answer = send(opq, body, headers_of(event(), 'application/octet-stream'),
                  url=receiver.url())
    assert answer.status == 201, answer
    got = receiver.wait(1)[0]
    assert got.body == body
    assert got.headers['ce-id'] == '1'


def test_large_structured_event_is_looked_at(serve, receiver):
    opq = serve('--body_buffer=64k')
    large = event(data='x' * 300_000)
    assert send_structured(opq, large, url=receiver.url()).status == 201
    assert json.loads(receiver.wait(1)[0].body) == large
    refused = send_structured(opq, without(large, 'id'), url=receiver.url())
    assert refused.status == 400
    assert b'id is missing' in refused.body


def malformed():
    """(what is sent, the attribute that is named, what is said of it)."""
    for name in ('specversion', 'id', 'source', 'type'):
        yield without(event(), name), name, 'is missing'
        yield event(**{name: ''}), name, 'must not be empty'
        yield event(**{name: None}), name, 'is missing'
        yield event(**{name: 1}), name, 'must be a string'
    yield event(specversion='0.3'), 'specversion', 'must be 1.0'
    yield event(Subject='s'), 'Subject', 'is no name'
    yield event(my_ext='s'), 'my_ext', 'is no name'
    yield event(subject={}), 'subject', 'must be a string'
    yield event(ext=[1]), 'ext', 'must be a string, a boolean or an integer'
    yield event(data=1, data_base64='AA=='), 'data_base64', 'excludes'
    yield event(data_base64='A'), 'data_base64', 'must be base64'
    yield event(datacontenttype=''), 'datacontenttype', 'media type'
    yield event(partitionkey='k' * 257), 'partitionkey', '1 to 256 bytes'


def test_what_is_no_valid_structured_event_is_refused(opq, receiver):
    url = receiver.url()
    bodies = [(json.dumps(body), f'CloudEvents attribute {name}', why)
              for body, name, why in malformed()]
    for body in ('', '[]', '"x"', '{', json.dumps(event()) + 'x',
                 json.dumps([event()])):
        bodies.append((body, 'the CloudEvent', 'must be a JSON object'))
    for body, name, why in bodies:
        answer = send_structured(opq, body, url=url)
        assert answer.status == 400, (body, answer)
        assert name in answer.body.decode() and why in answer.body.decode(), (
            body, answer)
        in_json = opq.request('POST', '/opq/push', json.dumps({
            'topic': 't', 'url': url, 'message': body,
            'content_type': STRUCTURED}), {'Content-Type': 'application/json'})
        assert in_json.status == 400, (body, in_json)
        assert in_json.json()['detail'].startswith(name)
    assert end(opq) == 0
    assert receiver.requests == []


def test_what_is_no_valid_binary_event_is_refused(opq, receiver):
    cases = [(without(event(), name), name, 'is missing')
             for name in ('id', 'source', 'type')]
    cases += [(event(**{name: ''}), name, 'must not be empty')
              for name in ('specversion', 'id', 'source', 'type')]
    cases += [
        (event(specversion='2.0'), 'specversion', 'must be 1.0'),
        (event(**{'my-ext': '1'}), 'my-ext', 'is no name'),
        (event(type='%FF'), 'type', 'must be UTF-8'),
        (event(data='x'), 'data', 'is no header'),
        (event(datacontenttype='text/plain'), 'datacontenttype',
         'is no header'),
        (event(ID='1'), 'id', 'is given twice'),
    ]
    for attributes, name, why in cases:
        answer = send(opq, 'x', headers_of(attributes, 'text/plain'),
                      url=receiver.url())
        assert answer.status == 400, (attributes, answer)
        assert f'CloudEvents attribute {name} {why}' in answer.body.decode()
    assert end(opq) == 0


@pytest.mark.parametrize('path', ['/opq/push', '/opq/batch'])
def test_batch_of_events_is_a_batch(opq, receiver, path):
    body = ('[{"specversion":"1.0","id":"a","source":"/s","type":"t"},\n'
            ' {"specversion":"1.0","id":"b","source":"/s","type":"t",'
            '"data":[1,  2]}]')
    answer = opq.request(
        'POST', f'{path}?topic=t&url={receiver.url()}&label=l', body,
        {'Content-Type': BATCH})
    assert answer.status == 201, answer
    assert [item['seq'] for item in answer.json()] == [0, 1]
    got = receiver.wait(2)
    assert [one.headers['content-type'] for one in got] == [STRUCTURED] * 2
    assert got[0].body == body[1:body.index(',\n')].encode()
    assert got[1].body == body[body.index('\n') + 2:-1].encode()
    assert [one['label'] for one in messages(opq)] == ['l', 'l']


def test_batch_tells_of_each_event_what_is_wrong(opq, receiver):
    def post(body):
        return opq.request(
            'POST', f'/opq/push?topic=t&url={receiver.url()}',
            body if isinstance(body, str) else json.dumps(body),
            {'Content-Type': BATCH})

    answer = post([event(), without(event(), 'type'), 7, event(id='2')])
    assert answer.status == 207
    results = answer.json()
    assert [results[0]['seq'], results[3]['seq']] == [0, 1]
    assert results[1]['detail'] == 'CloudEvents attribute type is missing'
    assert results[2]['detail'] == 'the CloudEvent must be a JSON object'
    assert results[1]['status'] == results[2]['status'] == 400
    # What is no array is refused whole.
    for body in (event(), '', json.dumps(event()) * 2, '[' + json.dumps(
            event()), json.dumps([event()]) + ']'):
        assert post(body).status == 400, body
    empty = post([])
    assert (empty.status, empty.json()) == (201, [])
    assert end(opq) == 2


def test_partitionkey_is_the_key_of_a_push_that_has_none(opq, receiver):
    url = receiver.url()
    send_structured(opq, event(partitionkey='kä'), url=url)
    send(opq, 'x', headers_of(event(partitionkey='k%C3%A4')), url=url)
    send_structured(opq, event(partitionkey='other'), url=url, key='own')
    send_structured(opq, event(), url=url)
    opq.request('POST', f'/opq/push?topic=t&url={url}',
                json.dumps([event(partitionkey='1'), event(partitionkey='2')]),
                {'Content-Type': BATCH})
    assert [one.get('key') for one in messages(opq)] == [
        'kä', 'kä', 'own', None, '1', '2']


def test_duplicates_are_known_by_source_and_id(opq, receiver):
    url = receiver.url()
    assert opq.request('PUT', '/opq/topics/t',
                       {'dedup': 'cloudevents'}).status == 201
    first = send_structured(opq, event(id='ä'), url=url)
    assert (first.status, first.headers['opq-seq']) == (201, '0')
    again = send(opq, 'other', headers_of(event(id='%C3%A4', type='u')),
                 url=url)
    assert (again.status, again.headers['opq-seq']) == (202, '0')
    assert again.headers['opq-duplicate'] == 'true'
    # Where one ends and the other begins counts.
    assert send_structured(opq, event(source='/sho', id='pä'),
                           url=url).status == 201
    assert send_structured(opq, event(source='/other', id='ä'),
                           url=url).status == 201
    # A dedup_id of its own goes before; what is no event has none.
    assert send_structured(opq, event(id='ä'), url=url,
                           dedup_id='x').status == 201
    for _ in range(2):
        assert send(opq, 'x', {'Content-Type': 'text/plain'},
                    url=url).status == 201
    opq.kill()
    opq.start()
    answer = send_structured(opq, event(id='ä'), url=url)
    assert (answer.status, answer.headers['opq-seq']) == (202, '0')
    assert end(opq) == 6


def test_duplicates_with_large_bodies_are_known(serve, receiver):
    opq = serve('--body_buffer=64k')
    opq.request('PUT', '/opq/topics/t', {'dedup': 'cloudevents'})
    for number, (name, status) in enumerate([('1', 201), ('1', 202),
                                             ('2', 201)]):
        body = bytes([number]) * 200_000
        answer = send(opq, body, headers_of(event(id=name)),
                      url=receiver.url())
        assert answer.status == status, answer
    assert [one.body[:1] for one in receiver.wait(2)] == [b'\x00', b'\x02']


def test_filter_on_an_attribute_holds_in_both_modes(opq, receiver):
    assert opq.request('PUT', '/opq/topics/t/subscriptions/s', {
        'url': receiver.url(), 'filter': 'ce:type ^= "order."'}).status == 201
    for name, kind in [('1', 'order.made'), ('2', 'user.made')]:
        assert send_structured(opq, event(id=name, type=kind)).status == 201
        assert send(opq, 'x', headers_of(
            event(id=name, type=kind))).status == 201
    assert send(opq, 'x', {'Content-Type': 'text/plain'}).status == 201
    assert send_structured(opq, event(type='order.last')).status == 201
    got = receiver.wait(3)
    assert [one.sequence for one in got] == [0, 1, 5]


def test_event_survives_kill_9_and_is_delivered(opq, receiver):
    receiver.script = lambda request: Answer(503)
    send_structured(opq, event(id='a'), url=receiver.url('/a'), topic='a')
    send(opq, b'\x00\xff', headers_of(event(id='b'), 'image/png'),
         url=receiver.url('/b'), topic='b')
    opq.kill()
    receiver.script = lambda request: None
    opq.start()
    opq.wait_delivered('a', 1)
    opq.wait_delivered('b', 1)
    last = {one.path: one for one in receiver.requests}
    assert json.loads(last['/a'].body) == event(id='a')
    assert last['/b'].body == b'\x00\xff'
    assert last['/b'].headers['ce-id'] == 'b'
    assert last['/b'].headers['content-type'] == 'image/png'


# --- out ---------------------------------------------------------------------

def create(opq, topic='t', **settings):
    answer = opq.request('PUT', f'/opq/topics/{topic}', settings)
    assert answer.status == 201, answer
    return answer.json()['settings']


def attributes_of(request):
    return {name[3:]: value for name, value in request.headers.items()
            if name.startswith('ce-')}


def test_setting_is_off_until_it_is_set(opq, receiver):
    assert create(opq)['cloudevents'] == 'off'
    opq.push('t', receiver.url(), 'x')
    got = receiver.wait(1)[0]
    assert attributes_of(got) == {}
    assert got.form()[0] == ('message', 'x')


@pytest.mark.parametrize('mode', ['structured', 'binary'])
def test_any_message_becomes_an_event(opq, receiver, mode):
    create(opq, cloudevents=mode)
    url = receiver.url()
    opq.push_json('t', url, {'a': [1, 'ä']}, key='kö y')
    opq.push('t', url, 'a b')
    send(opq, b'\x00\xff', {'Content-Type': 'image/png'}, url=url)
    ours = ['specversion', 'id', 'type', 'source', 'time']
    for one, data, kind, subject in zip(receiver.wait(3), [
            {'a': [1, 'ä']}, None, b'\x00\xff'], [
            'application/json', 'application/x-www-form-urlencoded',
            'image/png'], ['kö y', None, None]):
        if mode == 'structured':
            got = json.loads(one.body)
            assert one.headers['content-type'] == STRUCTURED
            assert attributes_of(one) == {}
            assert got['datacontenttype'] == kind
            body = base64.b64decode(got.pop('data_base64', '')) or got['data']
        else:
            got = attributes_of(one)
            assert one.headers['content-type'] == kind
            body = one.body
            if 'json' in kind:
                body = json.loads(body)
            elif 'form' in kind:
                body = body.decode()
            if 'subject' in got:
                assert got['subject'] == 'k%C3%B6%20y'
                got['subject'] = 'kö y'
        if data is None:
            assert body.startswith('message=a+b&topic=t&url=')
        else:
            assert body == data
        assert got['specversion'] == '1.0'
        assert got['id'] == one.headers['webhook-id']
        assert got['source'] == '/topics/t'
        assert got['type'] == 'opq.message'
        assert got.get('subject') == subject
        assert set(got) - {'subject', 'data', 'datacontenttype'} == set(ours)
        shown = messages(opq)[one.sequence]
        assert got['time'] == shown['pushed_at']


def test_type_and_source_are_settings(opq, receiver):
    create(opq, cloudevents='binary', cloudevents_type='shop.order',
           cloudevents_source='urn:ä')
    opq.push_json('t', receiver.url(), 1)
    got = attributes_of(receiver.wait(1)[0])
    assert (got['type'], got['source']) == ('shop.order', 'urn:%C3%A4')


def test_event_keeps_its_mode_where_that_is_asked_for(opq, receiver):
    raw = b' {"specversion":"1.0","id":"1","source":"/s","type":"t"}\n'
    create(opq, 's', cloudevents='structured')
    create(opq, 'b', cloudevents='binary')
    send(opq, raw, {'Content-Type': STRUCTURED}, topic='s',
         url=receiver.url('/s'))
    send(opq, 'x', headers_of(event(id='"q%41"'), 'a/b'), topic='b',
         url=receiver.url('/b'))
    got = {one.path: one for one in receiver.wait(2)}
    assert got['/s'].body == raw
    assert attributes_of(got['/b'])['id'] == '"q%41"'
    assert got['/b'].headers['content-type'] == 'a/b'
    assert got['/b'].body == b'x'


@pytest.mark.parametrize('members, kind, body', [
    ({'data': {'a': 1}}, 'application/json', b'{"a": 1}'),
    ({'data': 'text'}, 'application/json', b'"text"'),
    ({'data': '<ä/>', 'datacontenttype': 'text/xml'}, 'text/xml',
     '<ä/>'.encode()),
    ({'data_base64': 'AP8=', 'datacontenttype': 'image/png'}, 'image/png',
     b'\x00\xff'),
    ({}, None, b''),
], ids=['json', 'string', 'text', 'bytes', 'nothing'])
def test_modes_are_changed_both_ways(opq, receiver, members, kind, body):
    """Structured to binary, and what that is back to structured."""
    create(opq, 'b', cloudevents='binary')
    create(opq, 's', cloudevents='structured')
    whole = event(subject='ä "b" %', myext='7', dataschema='urn:x', **members)
    send_structured(opq, whole, topic='b', url=receiver.url())
    binary = receiver.wait(1)[0]
    assert attributes_of(binary) == {
        'specversion': '1.0', 'id': '1', 'source': '/shop',
        'type': 'order.made', 'subject': '%C3%A4%20%22b%22%20%25',
        'myext': '7', 'dataschema': 'urn:x'}
    assert binary.headers.get('content-type') == kind
    assert binary.body == body
    send(opq, binary.body,
         {name: value for name, value in binary.headers.items()
          if name.startswith('ce-') or name == 'content-type'},
         topic='s', url=receiver.url())
    back = receiver.wait(2)[1]
    assert back.headers['content-type'] == STRUCTURED
    if 'data' in members and 'datacontenttype' not in members:
        whole['datacontenttype'] = 'application/json'
    assert json.loads(back.body) == whole


def test_subscriptions_choose_for_themselves(opq, receiver):
    for name in ('off', 'structured', 'binary'):
        assert opq.request('PUT', f'/opq/topics/t/subscriptions/{name}', {
            'url': receiver.url(f'/{name}'), 'cloudevents': name,
        }).status == 201
    send_structured(opq, event(data=1))
    got = {one.path: one for one in receiver.wait(3)}
    assert json.loads(got['/off'].body) == event(data=1)
    assert got['/off'].body == got['/structured'].body
    assert got['/binary'].body == b'1'
    assert attributes_of(got['/binary']) == event()


def test_body_in_a_file_is_sent_in_binary_mode(serve, receiver):
    opq = serve('--body_buffer=64k')
    create(opq, cloudevents='structured')
    body = bytes(range(256)) * 1000
    send(opq, body, {'Content-Type': 'image/png'}, url=receiver.url())
    got = receiver.wait(1)[0]
    assert got.body == body
    assert got.headers['content-type'] == 'image/png'
    assert attributes_of(got)['type'] == 'opq.message'


def test_batch_is_an_array_of_events(opq, receiver):
    create(opq, cloudevents='structured', batch='10,50ms', paused=True)
    url = receiver.url()
    send_structured(opq, event(id='a', data=1), url=url)
    send(opq, 'x', headers_of(event(id='b'), 'text/plain'), url=url)
    opq.push_json('t', url, {'c': 1})
    opq.request('POST', '/opq/topics/t/resume')
    got = receiver.wait(1)[0]
    assert got.headers['content-type'] == BATCH
    assert got.headers['opq-batch'] == '3'
    events = json.loads(got.body)
    assert events[0] == event(id='a', data=1)
    assert events[1] == event(id='b', data='x', datacontenttype='text/plain')
    assert events[2]['id'] == messages(opq)[2]['id']
    assert events[2]['data'] == {'c': 1}
    opq.wait_delivered('t', 3)


def test_binary_events_and_batches_exclude_one_another(opq, receiver):
    path = '/opq/topics/t'
    refused = opq.request('PUT', path, {'cloudevents': 'binary', 'batch': 5})
    assert refused.status == 409
    assert 'cloudevents=binary' in refused.json()['detail']
    assert opq.get(path).status == 404
    create(opq, batch='5,1ms')
    assert opq.request('PUT', path, {'cloudevents': 'binary'}).status == 409
    assert opq.request('PUT', path, {'cloudevents': 'binary',
                                     'batch': '0'}).status == 200
    assert opq.request('PUT', path, {'batch': '5'}).status == 409
    shown = opq.topic('t')['settings']
    assert (shown['cloudevents'], shown['batch']) == ('binary', '0')
    sub = f'{path}/subscriptions/s'
    how = {'url': receiver.url(), 'cloudevents': 'binary'}
    assert opq.request('PUT', sub, {**how, 'batch': 5}).status == 409
    assert opq.get(sub).status == 404
    assert opq.request('PUT', sub, how).status == 201
    assert opq.request('PUT', sub, {'batch': 5}).status == 409


@pytest.mark.parametrize('mode', ['structured', 'binary'])
def test_signature_is_of_the_body_that_is_sent(serve, receiver, tmp_path,
                                               mode):
    key = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
    path = tmp_path / 'secrets'
    path.write_text(f'shop {key}\n')
    path.chmod(0o600)
    opq = serve(f'--secrets={path}')
    create(opq, cloudevents=mode, secret='shop')
    opq.push_json('t', receiver.url(), {'a': 1})
    send_structured(opq, event(data='x', datacontenttype='text/plain'),
                    url=receiver.url())
    for one in receiver.wait(2):
        content = (f'{one.headers["webhook-id"]}.'
                   f'{one.headers["webhook-timestamp"]}.').encode() + one.body
        digest = hmac.digest(base64.b64decode(key[6:]), content, 'sha256')
        assert one.headers['webhook-signature'] == (
            'v1,' + base64.b64encode(digest).decode())


def test_command_that_repeats_a_delivery_has_the_event(opq, receiver):
    create(opq, cloudevents='structured', paused=True)
    opq.push_json('t', receiver.url(), {'a': 1})
    answer = opq.get('/opq/topics/t/messages/0/curl')
    assert answer.status == 200, answer
    command = answer.body.decode()
    assert f'Content-Type: {STRUCTURED}' in command
    assert '"type":"opq.message"' in command


def test_repeats_are_the_same_event_over_kill_9(opq, receiver):
    create(opq, cloudevents='structured')
    receiver.script = lambda request: Answer(503)
    opq.push_json('t', receiver.url(), {'a': 1})
    first = receiver.wait(1)[0]
    opq.kill()
    receiver.script = lambda request: None
    opq.start()
    opq.wait_delivered('t', 1)
    last = receiver.requests[-1]
    assert last.body == first.body
    assert json.loads(last.body)['id'] == last.headers['webhook-id']


# --- by a library that is not ours -------------------------------------------

def library(*lines):
    """What the package cloudevents says to each line."""
    assert (VERIFY / 'node_modules/cloudevents').is_dir(), \
        'the library is not there: "make system" brings it'
    done = subprocess.run(['node', 'cloudevents.mjs'], cwd=VERIFY,
                          input='\n'.join(map(json.dumps, lines)),
                          capture_output=True, text=True, check=True,
                          timeout=PATIENCE_S)
    return [json.loads(line) for line in done.stdout.splitlines()]


def as_line(request):
    return {'headers': request.headers,
            'body_base64': base64.b64encode(request.body).decode()}


def test_events_of_a_library_are_taken_and_read_by_it(opq, receiver):
    events = [event(id=str(number), time='2026-01-02T03:04:05.678Z', **members)
              for number, members in enumerate([
                  {'data': {'a': [1, 'ä']}, 'subject': 's'},
                  {'data': 'text', 'datacontenttype': 'text/plain'},
                  {'partitionkey': 'k'},
              ])]
    modes = ['binary', 'structured']
    made = library(*[{'event': one, 'mode': mode}
                     for mode in modes for one in events])
    for out in ['off', *modes]:
        create(opq, out, cloudevents=out)
        for one in made:
            answer = send(opq, one.get('body', '').encode(), one['headers'],
                          topic=out, url=receiver.url())
            assert answer.status == 201, answer
        opq.wait_delivered(out, len(made))
        read = library(*map(as_line, receiver.of_topic(out)))
        for got, sent in zip(read, events * 2, strict=True):
            for name, value in sent.items():
                assert got[name] == value, (out, got)


@pytest.mark.parametrize('mode', ['structured', 'binary'])
def test_what_is_made_an_event_is_read_by_a_library(opq, receiver, mode):
    create(opq, cloudevents=mode)
    url = receiver.url()
    opq.push_json('t', url, {'a': 1}, key='k')
    opq.push_json('t', url, 'text')
    opq.push('t', url, 'form')
    send(opq, b'\x00\xff\x01', {'Content-Type': 'image/png'}, url=url)
    requests = receiver.wait(4)
    read = library(*map(as_line, requests))
    for got, one in zip(read, requests, strict=True):
        assert got['id'] == one.headers['webhook-id'], got
        assert got['type'] == 'opq.message'
        assert got['source'] == '/topics/t'
    assert read[0]['data'] == {'a': 1}
    assert read[0]['subject'] == 'k'
    assert read[1]['data'] == 'text'
    assert read[2]['data'].startswith('message=form&')
    assert base64.b64decode(read[3]['data_base64']) == b'\x00\xff\x01'


def test_batch_is_read_by_a_library(opq, receiver):
    create(opq, cloudevents='structured', batch='10,50ms', paused=True)
    for number in range(3):
        opq.push_json('t', receiver.url(), {'n': number})
    opq.request('POST', '/opq/topics/t/resume')
    read, = library(as_line(receiver.wait(1)[0]))
    assert [one['data'] for one in read] == [{'n': 0}, {'n': 1}, {'n': 2}]
    assert [one['id'] for one in read] == [
        one['id'] for one in messages(opq)]

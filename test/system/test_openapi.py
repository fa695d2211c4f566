"""openapi.json against the running server, the sources and the documents.

Every operation is walked (see walks.py): calls that succeed, that are refused,
that are about nothing; what is answered must be as it is described.

SPDX-License-Identifier: MIT
"""

import json
import re
import urllib.parse

import pytest
from conftest import serving
from harness import (PATIENCE_S, ROOT, Answer, RawConnection, Receiver,
                     Response, run_cli)
from schemas import KEYWORDS, Schemas
from walks import WALKS, World

METHODS = ('get', 'put', 'post', 'delete', 'patch', 'options', 'trace')
DOCUMENT = json.loads((ROOT / 'src/admin/openapi.json').read_text())
SCHEMAS = Schemas(DOCUMENT)


class Operation:
    """An operation of the document."""

    def __init__(self, path, method, node):
        self.path = path
        self.method = method.upper()
        self.node = node
        self.name = node.get('operationId', f'{method} {path}')
        shared = DOCUMENT['paths'][path].get('parameters', [])
        self.parameters = [SCHEMAS.resolve(one)
                           for one in shared + node.get('parameters', [])]
        self.responses = {int(status): SCHEMAS.resolve(one)
                          for status, one in node['responses'].items()}

    def named(self, place):
        """Its parameters in `path`, `query` or `header`: name to schema. An
        object of the query that is exploded is a parameter for each member."""
        found = {}
        for one in self.parameters:
            if one['in'] != place:
                continue
            schema = SCHEMAS.resolve(one['schema'])
            if place == 'query' and schema.get('type') == 'object':
                assert (one['style'], one['explode']) == ('form', True)
                found.update(schema['properties'])
            else:
                found[one['name']] = one['schema']
        return found

    def pattern(self):
        return re.sub(r'\\{\w+\\}', '[^/]+', re.escape(self.path))


OPERATIONS = {one.name: one for one in (
    Operation(path, method, item[method])
    for path, item in DOCUMENT['paths'].items()
    for method in METHODS if method in item)}
each_operation = pytest.mark.parametrize('name', list(OPERATIONS))


def walks_of(name):
    if name not in WALKS:
        pytest.fail(f'{name} has no walk: add one to walks.py')
    return WALKS[name]


@pytest.fixture(name='world', scope='module')
def fixture_world(tmp_path_factory):
    folder = tmp_path_factory.mktemp('walks')
    receiver = Receiver(lambda request: 400 if request.path == '/bad' else 200)
    failing = Receiver(lambda request: 404)  # which opens no breaker
    for start in serving(folder):
        opq = start('--drain=1s', '--retry-first=20ms', '--retry-max=1m',
                    '--body-buffer=64k')
        world = World(opq, receiver, failing, folder)
        yield world
    world.close()
    receiver.close()
    failing.close()


# --- the document -----------------------------------------------------------


def nodes(node):
    """Each object of the document, with itself."""
    if isinstance(node, dict):
        yield node
        for one in node.values():
            yield from nodes(one)
    elif isinstance(node, list):
        for one in node:
            yield from nodes(one)


def schemas_of(node):
    """Each schema that stands somewhere, and those in it."""
    if isinstance(node, list):
        for one in node:
            yield from schemas_of(one)
    elif isinstance(node, dict):
        for name, one in node.items():
            if name == 'schema':
                yield from schema_and_parts(one)
            elif name == 'schemas':
                for schema in one.values():
                    yield from schema_and_parts(schema)
            else:
                yield from schemas_of(one)


def schema_and_parts(schema):
    yield schema
    for part in [*schema.get('properties', {}).values(),
                 *schema.get('allOf', []), *schema.get('oneOf', [])]:
        yield from schema_and_parts(part)
    for name in ('items', 'additionalProperties'):
        if isinstance(schema.get(name), dict):
            yield from schema_and_parts(schema[name])


def test_document_is_openapi_in_its_form():
    text = (ROOT / 'src/admin/openapi.json').read_text()
    assert text == json.dumps(DOCUMENT, indent=1, ensure_ascii=False) + '\n'
    assert set(DOCUMENT) == {'openapi', 'info', 'paths', 'components',
                             'security', 'webhooks'}
    assert DOCUMENT['openapi'] == '3.1.0'
    assert {'title', 'version'} <= set(DOCUMENT['info'])
    for path, item in DOCUMENT['paths'].items():
        assert path.startswith('/')
        assert set(item) <= {'parameters', *METHODS}, path


def test_every_reference_leads_somewhere_and_all_is_referred_to():
    used = set()
    for node in nodes(DOCUMENT):
        if isinstance(node.get('$ref'), str):
            SCHEMAS.follow(node['$ref'])
            used.add('/'.join(node['$ref'].split('/')[:4]))
    used |= {f'#/components/securitySchemes/{name}'
             for one in DOCUMENT['security'] for name in one}
    made = {f'#/components/{kind}/{name}'
            for kind, those in DOCUMENT['components'].items()
            for name in those}
    assert made - used == set()


def test_schemas_are_of_keywords_that_are_checked():
    found = list(schemas_of(DOCUMENT))
    assert len(found) > 300
    for schema in found:
        assert set(schema) <= KEYWORDS, schema
        if 'properties' in schema:
            assert set(schema.get('required', [])) <= set(schema['properties'])
        if 'default' in schema:
            assert SCHEMAS.faults(schema, schema['default']) == [], schema


@each_operation
def test_operation_is_described(name):
    operation = OPERATIONS[name]
    node = operation.node
    assert set(node) <= {'operationId', 'summary', 'description', 'parameters',
                         'requestBody', 'responses', 'security'}
    assert node['operationId'] == name
    assert re.fullmatch('[a-z][A-Za-z]*', name) and node['summary']
    in_path = re.findall(r'\{(\w+)\}', operation.path)
    assert sorted(operation.named('path')) == sorted(in_path)
    assert len(set(in_path)) == len(in_path)
    for one in operation.parameters:
        assert set(one) <= {'name', 'in', 'required', 'description', 'schema',
                            'style', 'explode'}, one
        assert one['in'] in ('path', 'query', 'header')
        assert one.get('required', False) or one['in'] != 'path'
    keys = [(one['in'], one['name']) for one in operation.parameters]
    assert len(set(keys)) == len(keys)
    assert any(200 <= status < 300 for status in operation.responses)
    if operation.method != 'GET' and not walks_of(name).in_memory:
        assert {500, 503, 507} <= set(operation.responses)
    for response in operation.responses.values():
        assert set(response) <= {'description', 'content', 'headers'}
        assert response['description']


def test_no_operation_has_the_name_of_another():
    names = [item[method]['operationId']
             for item in DOCUMENT['paths'].values()
             for method in METHODS if method in item]
    assert len(set(names)) == len(names)


def test_every_walk_is_of_an_operation():
    assert set(WALKS) - set(OPERATIONS) == set()


# --- the walks --------------------------------------------------------------


def target_of(operation, path, query):
    """The request target; a parameter that was not given is missing."""
    target = operation.path
    for name, value in path.items():
        target = target.replace(f'{{{name}}}', urllib.parse.quote(value, ''))
    assert '{' not in target, target
    return target + ('?' + urllib.parse.urlencode(query) if query else '')


def read_stream(opq, target, headers):
    """The head of a stream and its first event, as the body."""
    with RawConnection(opq.port) as connection:
        fields = ''.join(f'{name}: {value}\r\n'
                         for name, value in headers.items())
        connection.send(f'GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n')
        status, fields = connection.read_head()
        if status != 200:
            size = int(fields['content-length'])
            return Response(status, fields, connection.file.read(size))
        body = b''
        while b'\n\n' not in body:
            size = int(connection.file.readline(), 16)
            body += connection.file.read(size)
            connection.file.readline()
        return Response(status, fields, body[:body.index(b'\n\n')])


def send(world, operation, call):
    """Make a call. Returns the answer, the body that was sent, the target."""
    if call.needs:
        call.needs(world)
    headers = world.value(call.headers)
    body = world.value(call.body)
    if isinstance(body, dict):
        body = {name: world.value(one) for name, one in body.items()}
    if call.content_type:
        headers['Content-Type'] = call.content_type
    target = target_of(operation, world.value(call.path),
                       world.value(call.query))
    if 'text/event-stream' in operation.responses[
            min(operation.responses)].get('content', {}):
        return read_stream(world.opq, target, headers), None, target
    answer = world.opq.request(operation.method, target, body, headers)
    return answer, body, target


def check_events(answer):
    """The first event of a stream is a message, or one of the server's."""
    lines = dict(line.split(': ', 1)
                 for line in answer.body.decode().splitlines())
    assert set(lines) == {'id', 'event', 'data'}
    data = json.loads(lines['data'])
    kind = 'Message' if lines['event'] == 'message' else 'Event'
    assert data['seq' if kind == 'Message' else 'id'] == int(lines['id'])
    assert SCHEMAS.faults({'$ref': f'#/components/schemas/{kind}'},
                          data) == []


def check_headers(response, answer):
    described = {name.lower(): one['schema']
                 for name, one in response.get('headers', {}).items()}
    for name, value in answer.headers.items():
        if name in ('date', 'server', 'content-type', 'content-length',
                    'connection', 'transfer-encoding', 'cache-control'):
            continue
        assert name in described, f'the header {name} is not described'
        schema = SCHEMAS.resolve(described[name])
        if schema['type'] == 'integer':
            value = int(value)
        assert SCHEMAS.faults(schema, value) == []


def check_answer(operation, answer):
    """What was answered is as it is described."""
    assert answer.status in operation.responses, answer
    response = operation.responses[answer.status]
    check_headers(response, answer)
    content = response.get('content', {})
    if not content:
        assert answer.body == b'' and 'content-type' not in answer.headers
        return
    kind = answer.headers['content-type'].split(';')[0]
    assert kind in content, answer
    schema = content[kind]['schema']
    if kind == 'text/event-stream':
        check_events(answer)
        return
    value = (answer.json() if kind.endswith('json')
             else answer.body.decode())
    faults = SCHEMAS.faults(schema, value)
    assert not faults, (faults, answer)
    if kind == 'application/problem+json':
        assert value['status'] == answer.status


def check_request(operation, call, body):
    """What was sent, and was taken, is as it is described."""
    described = operation.node.get('requestBody', {}).get('content', {})
    if body is None:
        return
    kind = (call.content_type or 'application/json').split(';')[0]
    assert kind in described or '*/*' in described, kind
    if kind.endswith('json') and not isinstance(body, str):
        assert SCHEMAS.faults(described[kind]['schema'], body) == [], body


@each_operation
def test_walk(world, name):
    operation = OPERATIONS[name]
    for call in walks_of(name).calls:
        answer, body, target = send(world, operation, call)
        assert answer.status == call.status, (call.note, body, answer)
        check_answer(operation, answer)
        if operation.method == 'GET':
            head = world.opq.request('HEAD', target, None,
                                     world.value(call.headers))
            assert (head.status, head.headers['content-type'], head.body) == (
                answer.status, answer.headers['content-type'], b'')
        if answer.status < 300 and not call.note:
            check_request(operation, call, body)


@each_operation
def test_walk_has_all_that_is_declared(name):
    operation, walk = OPERATIONS[name], walks_of(name)
    walked = {call.status for call in walk.calls}
    assert walked | walk.elsewhere >= set(operation.responses)
    assert not walked & walk.elsewhere, 'it can be walked'
    good = [call for call in walk.calls if call.status < 300]
    assert {call.status for call in good} == {
        status for status in operation.responses if status < 300}
    good = [call for call in good if not call.note]
    for place, given in (('query', lambda call: call.query),
                         ('header', lambda call: call.headers)):
        used = {parameter for call in good for parameter in given(call)}
        declared = set(operation.named(place))
        assert declared <= used, f'never in the {place}: {declared - used}'
        # Every control value may be a header; they are not listed once more.
        assert {one for one in used - declared
                if place == 'query' or not one.startswith(('Opq-', 'Accept'))
                } == set()
    required = [one['name'] for one in operation.parameters
                if one.get('required') and one['in'] == 'query']
    assert all(one in call.query for one in required for call in good)
    kinds = set(operation.node.get('requestBody', {}).get('content', {}))
    sent = {(call.content_type or 'application/json').split(';')[0]
            for call in good if call.body is not None}
    assert kinds - {'*/*'} <= sent, f'never sent: {kinds - sent}'


def all_query_names():
    return {name for one in OPERATIONS.values() for name in one.named('query')}


@each_operation
def test_undeclared_parameters_are_refused(world, name):
    operation = OPERATIONS[name]
    walk = walks_of(name)
    call = next(one for one in walk.calls if one.status < 300)
    path = world.value(call.path)
    query = world.value(call.query)
    with world.opq.connect() as connection:
        for unknown in sorted({'colour'} | all_query_names() -
                              set(operation.named('query'))):
            target = target_of(operation, path, {**query, unknown: '1'})
            head = f'{operation.method} {target} HTTP/1.1\r\nHost: a\r\n'
            body = json.dumps(world.value(call.body)) if call.body else ''
            connection.send(f'{head}Content-Type: application/json\r\n'
                            f'Content-Length: {len(body)}\r\n\r\n{body}')
            answer = connection.read_response()
            assert answer.status == walk.unknown, (unknown, answer)
            check_answer(operation, answer)


@each_operation
def test_wrong_path_is_refused(world, name):
    """A wrong segment of a path, whatever else is right."""
    operation = OPERATIONS[name]
    call = walks_of(name).calls[0]
    for parameter, schema in operation.named('path').items():
        schema = SCHEMAS.resolve(schema)
        if SCHEMAS.faults(schema, 'a b/c') == []:
            continue
        path = {**world.value(call.path), parameter: 'a b/c'}
        answer = world.opq.request(operation.method, target_of(
            operation, path, world.value(call.query)))
        assert answer.status in (400, 404), (parameter, answer)
        check_answer(operation, answer)


@pytest.mark.parametrize('path', list(DOCUMENT['paths']))
def test_other_methods_are_refused_and_the_declared_named(world, path):
    declared = {method.upper() for method in DOCUMENT['paths'][path]
                if method in METHODS}
    declared |= {'HEAD'} if 'GET' in declared else set()
    target = re.sub(r'\{\w+\}', '0', path)
    for method in {'GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'PATCH', 'OPTIONS',
                   'TRACE', 'BREW'} - declared:
        answer = world.opq.request(method, target)
        assert answer.status == 405, (method, answer)
        assert set(answer.headers['allow'].split(', ')) == declared
        if method != 'HEAD':
            assert SCHEMAS.faults({'$ref': '#/components/schemas/Problem'},
                                  answer.json()) == []
    if 'HEAD' in declared and not path.endswith('/events'):
        assert world.opq.request('HEAD', target).body == b''


def test_served_document_is_that_of_the_source(world):
    assert world.opq.get('/openapi.json').json() == DOCUMENT


# --- sources, documents, commands -------------------------------------------


def plain(path):
    """A path whose parameters have no names."""
    return re.sub(r'\{\w*\}', '{}', path)


DECLARED = {(one.method, plain(one.path)) for one in OPERATIONS.values()}


def routes_of_api():
    text = (ROOT / 'src/admin/api.c').read_text()
    words = dict(re.findall(r'#define (\w+) ((?:\w+ )?"[^"]*")', text))
    table = re.search(r'(?s)struct route routes\[\] = \{(.*?)\n\};', text)

    def spell(expression):
        return ''.join(quoted if quoted is not None and not word else
                       spell(words[word]) for quoted, word in re.findall(
                           r'"([^"]*)"|(\w+)', expression))
    return {(method, spell(path)) for path, method in re.findall(
        r'\{((?:\w+\s*)?(?:"[^"]*")?),\s*HTTP_METHOD_(\w+),', table.group(1))}


def test_routes_of_the_server_are_declared():
    routes = routes_of_api()
    assert len(routes) > 40
    text = (ROOT / 'src/queue/listener.c').read_text()
    taken = re.findall(r'\{\{"(/[^"]*)", \d+\}, \w+\}', text)
    assert len(taken) >= 3
    assert routes | {('POST', path) for path in taken} == DECLARED


def documented():
    """The calls that doc/http-api.md names: (method, path). A table may say
    what all its paths are behind, and a path where the last one ended."""
    text = (ROOT / 'doc/http-api.md').read_text()
    found, prefix, method, last = set(), '', None, ''
    for line in text.splitlines():
        if not line.startswith('|'):
            prefix = ''
        behind = re.search(r'call, behind `([^`]*)`', line)
        if behind:
            prefix = behind.group(1)
            continue
        for said, path in re.findall(
                r'`(?:(GET|PUT|POST|DELETE)(?: |(?=`)))?'
                r'((?:/|\.\.\./)[^`?\s]*)?(?:\?[^`]*)?`', line):
            if not path.startswith('.../') and (not said or
                                                not prefix + path):
                continue
            method = said or method
            if path.startswith('.../'):
                last = last.rsplit('/', 1)[0] + path[3:]
            else:
                last = prefix + path
            found.add((method, plain(last)))
    return found


def test_page_names_every_operation_and_no_other():
    found = documented()
    assert DECLARED - found == set()
    assert found - DECLARED == set()


def settings_of(scope):
    """Names of the settings of settings.def that a scope has."""
    text = (ROOT / 'src/queue/settings.def').read_text()
    rows = re.findall(r'\nSETTING\((\w+), \w+,\s+[\w.]+,\s+"\w+",\s+(\w+),',
                      text)
    assert len(rows) == text.count('\nSETTING(')
    return {name for name, of in rows if of in (scope, 'BOTH')}


def test_schemas_have_every_setting():
    schemas = DOCUMENT['components']['schemas']
    assert settings_of('TOPIC') == set(schemas['Settings']['properties'])
    assert settings_of('SUBSCRIPTION') == set(
        schemas['SubscriptionSettings']['properties'])


def test_settings_of_a_replay_are_those_of_a_subscription(world):
    shown = world.opq.get(f'/opq/replays/{world.replay()}').json()['settings']
    assert shown.pop('kind') == 'replay'
    assert set(shown) == settings_of('SUBSCRIPTION') - {'kind'}
    assert SCHEMAS.faults(
        {'$ref': '#/components/schemas/SubscriptionSettings'}, shown) == []


@pytest.fixture(name='between', scope='module')
def fixture_between(world):
    """Stands between the commands and the server, and sees what is asked."""
    def forward(request):
        answer = world.opq.request(
            request.method, request.target, request.body or None,
            {name: value for name, value in request.fields
             if name.lower() not in ('host', 'connection', 'content-length')})
        asked.append((request.method, request.path, answer.status))
        fields = {'Content-Type': answer.headers['content-type']} \
            if answer.body else {}
        return Answer(answer.status, fields, answer.body)
    asked = []
    receiver = Receiver(forward)
    receiver.asked = asked
    yield receiver
    receiver.close()


@each_operation
def test_command_does_it(world, between, name):
    command = walks_of(name).command
    assert command, f'{name}: which command does it?'
    if command[0] is None:
        assert len(command) == 2 and command[1]
        return
    words = command[0].split()
    assert re.search(rf'(?m)^  {words[0]} +\w', run_cli('help').stdout)
    usage = run_cli(words[0], '--help')
    assert usage.returncode == 0
    assert all(word in usage.stdout for word in words)
    for form in ([], ['--json']):
        arguments = [world.value(one) for one in command[1:]]
        between.asked.clear()
        done = run_cli(*words, '--url', between.url(''), *form, *arguments,
                       patience_s=PATIENCE_S)
        assert done.returncode == 0, done
        operation = OPERATIONS[name]
        assert any(method == operation.method and status < 300 and
                   re.fullmatch(operation.pattern(), path)
                   for method, path, status in between.asked), between.asked

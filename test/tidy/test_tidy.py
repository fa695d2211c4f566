"""Each rule of tools/tidy fires on what it refuses, and on nothing else.

A small good tree is made for each test; the test spoils it in one way and
expects exactly the findings that belong to it.

SPDX-License-Identifier: MIT
"""

import pathlib
import subprocess
import textwrap

import pytest

TIDY = pathlib.Path(__file__).resolve().parents[2] / 'tools' / 'tidy'
SPDX = 'SPDX-License-Identifier: MIT'


def c_text(body):
    return f'/* A file of a test.\n *\n * {SPDX}\n */\n' + textwrap.dedent(body)


def header_text(guard, body):
    return c_text(f'#ifndef {guard}\n#define {guard}\n\n'
                  f'{textwrap.dedent(body)}\n#endif\n')


GOOD_HEADER = header_text('OPQ_LOG_SEGMENT_H', '''\
    #include "base/err.h"

    enum { SEGMENT_ROWS = 4 };

    struct segment {
        int rows[SEGMENT_ROWS]; /* counts */
        void (*done)(void *context, int rows);
    };

    /* Write it down.
     *
     * Errors: ERR_IO  the disk said no
     */
    MUST_CHECK enum err segment_write(struct segment *segment,
                                      const char *text);

    /* Twice of it. */
    static inline int segment_twice(int value)
    {
        return value * 2;
    }
    ''')

GOOD_SOURCE = c_text('''\
    #include "log/segment.h"

    #include "base/err.h"

    #include <string.h>

    static const struct segment none = {.rows = {1, 2}};

    static int helper(int value)
    {
        const char *text = "a // no comment, and strcpy(in, text)";
        return value + (int)strlen(text) + none.rows[0];
    }

    enum err segment_write(struct segment *segment, const char *text)
    {
        char copy[SEGMENT_ROWS];
        struct segment other = {.done = segment->done};
        other.done(copy, helper((int)strlen(text)));
        return ERR_OK;
    }
    ''')

GOOD_TREE = {
    'src/base/err.h': header_text('OPQ_BASE_ERR_H', '''\
        #define MUST_CHECK __attribute__((warn_unused_result))
        enum err { ERR_OK, ERR_IO };
        '''),
    'src/log/segment.h': GOOD_HEADER,
    'src/log/segment.c': GOOD_SOURCE,
    'src/log/meson.build': f"# Sources.\n# {SPDX}\nfiles('segment.c')\n",
    'README.md': '# A project\n',
}

IN_SEGMENT = 'src/log/segment.c'


@pytest.fixture(name='tree')
def make_tree(tmp_path):
    for name, text in GOOD_TREE.items():
        put(tmp_path, name, text)
    return tmp_path


def put(tree, name, text):
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(text, bytes):
        path.write_bytes(text)
    else:
        path.write_text(text, encoding='utf-8')


def run_tidy(tree):
    """Return (exit status, findings, last line)."""
    done = subprocess.run([TIDY, tree], capture_output=True, text=True,
                          check=False)
    assert done.stderr == ''
    *findings, last = done.stdout.splitlines()
    return done.returncode, findings, last


def expect(tree, *wanted):
    """Expect findings with these texts, each once, and no others."""
    status, findings, last = run_tidy(tree)
    assert len(findings) == len(wanted), findings
    for text in wanted:
        assert sum(text in finding for finding in findings) == 1, findings
    assert last == f'{len(wanted)} findings'
    assert status == (1 if wanted else 0)


def line_of(text, part):
    return text[:text.index(part)].count('\n') + 1


def add_to_source(tree, code):
    """Append code to the good source; return the line it begins at."""
    put(tree, IN_SEGMENT, GOOD_SOURCE + '\n' + textwrap.dedent(code))
    return GOOD_SOURCE.count('\n') + 2


def test_a_good_tree_has_no_findings(tree):
    expect(tree)


def test_the_checked_in_tree_is_what_runs_by_default():
    done = subprocess.run([TIDY, '--help'], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 2
    assert 'usage' in done.stderr


@pytest.mark.parametrize('folder, target, allowed', [
    ('base', 'sys/io.h', False),
    ('sys', 'http/parse.h', False),
    ('http', 'log/record.h', False),
    ('log', 'http/parse.h', False),
    ('store', 'http/parse.h', False),
    ('queue', 'log/record.h', False),
    ('queue', 'admin/api.h', False),
    ('admin', 'log/record.h', False),
    ('admin', 'server/config.h', False),
    ('cli', 'queue/lane.h', False),
    ('cli', 'admin/api.h', False),
    ('server', 'cli/push.h', False),
    ('log', 'local.h', False),
    ('store', 'log/record.h', True),
    ('queue', 'store/store.h', True),
    ('server', 'admin/api.h', True),
    ('cli', 'log/record.h', True),
    ('base', 'base/str.h', True),
])
def test_includes_go_down_only(tree, folder, target, allowed):
    put(tree, f'src/{folder}/odd.h',
        header_text(f'OPQ_{folder.upper()}_ODD_H', f'#include "{target}"\n'))
    if allowed:
        expect(tree)
    else:
        expect(tree, f'src/{folder}/odd.h:8: {folder} must not include '
               f'{target}')


def test_a_folder_without_a_level_is_refused(tree):
    put(tree, 'src/misc/odd.h', header_text('OPQ_MISC_ODD_H', ''))
    expect(tree, 'src/misc/odd.h:1: folder misc has no level')


@pytest.mark.parametrize('left, right', [
    ('listener', 'lane'), ('recorder', 'deliverer'), ('lane', 'recorder'),
    ('deliverer', 'listener')])
def test_two_halves_of_the_pipeline_are_strangers(tree, left, right):
    put(tree, f'src/queue/{left}.h', header_text(
        f'OPQ_QUEUE_{left.upper()}_H', f'#include "queue/{right}.h"\n'))
    expect(tree, f'queue/{left} must not know queue/{right}')


def test_header_cycle_is_refused(tree):
    put(tree, 'src/sys/a.h',
        header_text('OPQ_SYS_A_H', '#include "sys/b.h"\n'))
    put(tree, 'src/sys/b.h',
        header_text('OPQ_SYS_B_H', '#include "sys/a.h"\n'))
    expect(tree, 'src/sys/a.h:1: headers include each other: '
           'sys/a.h, sys/b.h',
           'src/sys/a.h:1: modules include each other: sys/a, sys/b')


def test_module_cycle_through_sources_is_refused(tree):
    for own, other in (('a', 'b'), ('b', 'c'), ('c', 'a')):
        put(tree, f'src/sys/{own}.h',
            header_text(f'OPQ_SYS_{own.upper()}_H', ''))
        put(tree, f'src/sys/{own}.c', c_text(
            f'#include "sys/{own}.h"\n\n#include "sys/{other}.h"\n'))
    put(tree, 'src/sys/meson.build',
        f"# Sources.\n# {SPDX}\nfiles('a.c', 'b.c', 'c.c')\n")
    expect(tree, 'modules include each other: sys/a, sys/b, sys/c')


def test_parts_of_a_module_are_no_cycle(tree):
    put(tree, 'src/log/segment_read.h', header_text(
        'OPQ_LOG_SEGMENT_READ_H', '#include "log/segment.h"\n'))
    put(tree, IN_SEGMENT, GOOD_SOURCE.replace(
        '#include "base/err.h"',
        '#include "base/err.h"\n#include "log/segment_read.h"'))
    expect(tree)


def test_own_header_comes_first(tree):
    put(tree, IN_SEGMENT, GOOD_SOURCE.replace(
        '#include "log/segment.h"\n',
        '#include <stdio.h>\n#include "log/segment.h"\n'))
    expect(tree, f'{IN_SEGMENT}:1: log/segment.h must be included first')


def test_exported_function_needs_the_prefix(tree):
    line = add_to_source(tree, '''\
        int other_name(void)
        {
            return 1;
        }
        ''')
    expect(tree, f'{IN_SEGMENT}:{line}: other_name() must begin with '
           'segment_')


def test_prototype_needs_the_prefix(tree):
    put(tree, 'src/log/segment.h', GOOD_HEADER.replace(
        'segment_twice', 'twice'))
    line = line_of(GOOD_HEADER, 'static inline')
    expect(tree, f'src/log/segment.h:{line}: twice() must begin with')


def test_part_of_a_module_may_use_its_prefix(tree):
    put(tree, 'src/log/segment_read.h', header_text(
        'OPQ_LOG_SEGMENT_READ_H', '''\
        /* Named after the whole. */
        int segment_peek(void);
        /* Named after the part. */
        int segment_read_next(void);
        /* Named after neither. */
        int other_read(void);
        '''))
    expect(tree, 'other_read() must begin with segment_read_')


def test_known_exception_to_the_prefix(tree):
    put(tree, 'src/base/buf.h', header_text('OPQ_BASE_BUF_H', '''\
        /* Known. */
        int reader_left(void);
        /* Unknown. */
        int writer_left(void);
        '''))
    expect(tree, 'writer_left() must begin with buf_')


def test_prototype_needs_a_contract(tree):
    put(tree, 'src/log/segment.h', GOOD_HEADER.replace(
        '/* Twice of it. */\n', ''))
    line = line_of(GOOD_HEADER, '/* Twice')
    expect(tree, f'src/log/segment.h:{line}: segment_twice() has no contract')


def test_prototype_with_an_error_is_must_check(tree):
    put(tree, 'src/log/segment.h', GOOD_HEADER.replace('MUST_CHECK ', ''))
    expect(tree, 'segment_write() returns enum err: MUST_CHECK')


def test_an_error_given_as_a_value_needs_no_check(tree):
    put(tree, 'src/log/segment.h', GOOD_HEADER.replace(
        '/* Twice of it. */', '''/* Why it failed. */
enum err segment_err(const struct segment *segment);

/* Twice of it. */'''))
    expect(tree)


def test_guard_names_folder_and_module(tree):
    put(tree, 'src/log/segment.h', GOOD_HEADER.replace(
        'OPQ_LOG_SEGMENT_H', 'SEGMENT_H'))
    expect(tree, 'src/log/segment.h:1: guard must be OPQ_LOG_SEGMENT_H')


def test_missing_guard_is_refused(tree):
    put(tree, 'src/log/other.h', c_text('enum { OTHER };\n'))
    expect(tree, 'src/log/other.h:1: guard must be OPQ_LOG_OTHER_H')


@pytest.mark.parametrize('call', [
    'strcpy', 'strcat', 'sprintf', 'gets', 'strtok', 'atoi', 'alloca',
    'system', 'popen', 'rand', 'assert', 'open', 'read', 'write', 'socket',
    'fsync', 'mmap', 'rename', 'time', 'fopen'])
def test_banned_call_names_what_to_use(tree, call):
    line = add_to_source(tree, f'''\
        static void act(void)
        {{
            {call}(1);
        }}
        ''') + 2
    status, findings, _ = run_tidy(tree)
    assert status == 1
    assert len(findings) == 1
    assert findings[0].startswith(f'{IN_SEGMENT}:{line}: {call}(): ')
    assert len(findings[0].split('(): ')[1]) > 5


@pytest.mark.parametrize('folder', ['sys', 'cli'])
def test_kernel_calls_are_made_where_they_belong(tree, folder):
    put(tree, f'src/{folder}/meson.build',
        f"# Sources.\n# {SPDX}\nfiles('odd.c')\n")
    put(tree, f'src/{folder}/odd.c', c_text('''\
        static int act(void)
        {
            return open("a", 0) + fsync(1) + close(1);
        }
        '''))
    expect(tree)


@pytest.mark.parametrize('code', [
    'sink.write(1);', 'sink->open(1);', 'my_read(1);', '/* read(1) */',
    '(void)"system(1)";', 'static_assert(1, "");'])
def test_what_only_looks_like_a_banned_call(tree, code):
    add_to_source(tree, f'static void act(void)\n{{\n    {code}\n}}\n')
    expect(tree)


def test_sleep_in_a_test_is_refused(tree):
    put(tree, 'test/unit/meson.build',
        f"# Tests.\n# {SPDX}\nunit_tests = ['test_a']\n")
    put(tree, 'test/unit/test_a.c', c_text('''\
        static void act(void)
        {
            usleep(1000);
        }
        '''))
    expect(tree, 'test/unit/test_a.c:7: usleep(): use waiting')


def function_of(line_count):
    """A function whose body has so many lines, its braces included."""
    return ('static void act(int value)\n{\n'
            + '    value++;\n' * (line_count - 2) + '}\n')


def test_function_of_70_lines_is_allowed(tree):
    add_to_source(tree, function_of(70))
    expect(tree)


def test_function_of_71_lines_is_refused(tree):
    line = add_to_source(tree, function_of(71))
    expect(tree, f'{IN_SEGMENT}:{line}: act() has 71 lines, at most 70')


def test_six_parameters_are_allowed_and_seven_refused(tree):
    line = add_to_source(tree, '''\
        static void six(int a, int b, int c, int d, int e, int (*f)(int, int))
        {
        }
        static void seven(int a, int b, int c, int d, int e, int f, int g)
        {
        }
        ''')
    expect(tree, f'{IN_SEGMENT}:{line + 3}: seven() has 7 parameters')


def nested(depth):
    text = ''.join(f'{"    " * i}if (a) {{\n' for i in range(1, depth + 1))
    text += ''.join(f'{"    " * i}}}\n' for i in range(depth, 0, -1))
    return 'static void act(int a)\n{\n' + text + '}\n'


def test_nesting_of_four_is_allowed_and_five_refused(tree):
    add_to_source(tree, nested(4))
    expect(tree)
    line = add_to_source(tree, nested(5))
    expect(tree, f'{IN_SEGMENT}:{line}: act() is nested 5 deep')


def test_initialisers_are_no_nesting(tree):
    add_to_source(tree, '''\
        static void act(int a)
        {
            if (a) {
                for (;;) {
                    if (a) {
                        if (a) {
                            int b[1][1] = {{1}};
                            use((struct c){1}, &(struct c){2});
                            return (struct c){.b = {2}};
                        }
                    }
                }
            }
        }
        ''')
    expect(tree)


def test_line_of_81_characters_is_refused(tree):
    line = add_to_source(tree, '/* ' + 'ä' * 74 + ' */\n')
    expect(tree)
    add_to_source(tree, '/* ' + 'ä' * 75 + ' */\n')
    expect(tree, f'{IN_SEGMENT}:{line}: 81 characters, at most 80')


def test_file_of_901_lines_is_refused(tree):
    rest = 900 - GOOD_SOURCE.count('\n')
    put(tree, IN_SEGMENT, GOOD_SOURCE + '\n' * rest)
    expect(tree)
    put(tree, IN_SEGMENT, GOOD_SOURCE + '\n' * (rest + 1))
    expect(tree, f'{IN_SEGMENT}:901: 901 lines, at most 900')


def test_file_of_python_of_901_lines_is_refused(tree):
    put(tree, 'tools/helper.py', f'# Helps.\n# {SPDX}\n' + '\n' * 898)
    expect(tree)
    put(tree, 'tools/helper.py', f'# Helps.\n# {SPDX}\n' + '\n' * 899)
    expect(tree, 'tools/helper.py:901: 901 lines, at most 900')


def test_line_comment_is_refused(tree):
    line = add_to_source(tree, 'static int a; // private\n')
    expect(tree, f'{IN_SEGMENT}:{line}: use /* */ for comments')


@pytest.mark.parametrize('mark', ['TO' 'DO', 'FIX' 'ME', 'XX' 'X', 'HA' 'CK'])
def test_mark_of_something_left_is_refused(tree, mark):
    put(tree, 'README.md', f'# A project\n\n{mark}: later\n')
    expect(tree, 'README.md:3: a mark of something left')


def test_variable_array_is_refused(tree):
    line = add_to_source(tree, '''\
        static void act(int size)
        {
            char good[ROWS * 2];
            char fine[sizeof(size)];
            char bad[size + 1];
            good[size] = fine[size] + bad[size];
        }
        ''')
    expect(tree, f'{IN_SEGMENT}:{line + 4}: array of variable size [size + 1]')


def test_recursion_is_refused(tree):
    line = add_to_source(tree, '''\
        static int act(int value)
        {
            return value > 0 ? act(value - 1) : 0;
        }
        ''')
    expect(tree, f'{IN_SEGMENT}:{line}: recursion: act')


def test_mutual_recursion_is_refused(tree):
    add_to_source(tree, '''\
        static int pong(int value);
        static int ping(int value)
        {
            return value > 0 ? pong(value - 1) : 0;
        }
        static int pong(int value)
        {
            return ping(value);
        }
        ''')
    expect(tree, 'recursion: ping, pong')


@pytest.mark.parametrize('name, text', [
    ('src/log/other.h', f'#ifndef A\n/* {SPDX} */\n'),
    ('tools/helper.py', f'import os\n# {SPDX}\n'),
    ('Makefile', f'all:\n# {SPDX}\n'),
])
def test_first_line_says_what_a_file_is(tree, name, text):
    put(tree, name, text)
    _, findings, _ = run_tidy(tree)
    assert f'{name}:1: first line must be a comment: what it is' in findings


def test_licence_is_said_once(tree):
    put(tree, 'tools/helper.py', '# Helps.\n')
    expect(tree, f'tools/helper.py:1: one line must say {SPDX}')
    put(tree, 'tools/helper.py', f'# Helps.\n# {SPDX}\n# {SPDX}\n')
    expect(tree, f'tools/helper.py:1: one line must say {SPDX}')


@pytest.mark.parametrize('name, where', [
    ('src/log/extra.c', 'src/log/meson.build'),
    ('test/unit/test_extra.c', 'test/unit/meson.build'),
    ('test/fuzz/fuzz_extra.c', 'test/fuzz/meson.build'),
])
def test_file_that_is_not_built_is_refused(tree, name, where):
    put(tree, name, c_text('static int a;\n'))
    expect(tree, f'{name}:1: not listed in {where}')


def test_source_that_is_listed_twice_is_refused(tree):
    listed = (tree / 'src/log/meson.build').read_text()
    put(tree, 'src/log/meson.build', listed + "# 'segment.c'\n")
    expect(tree, 'src/log/segment.c:1: listed 2 times in src/log/meson.build')


@pytest.mark.parametrize('text', [
    'see /ho' 'me/someone/notes', 'in /wo' 'rk/main', '/ro' 'ot/x',
    'written to /tm' 'p/result', 'at 10.' '1.2.3:8080'])
def test_what_one_machine_has_is_refused(tree, text):
    put(tree, 'README.md', f'# A project\n{text}\n')
    expect(tree, 'README.md:2: ')


def test_big_file_is_refused(tree):
    put(tree, 'logo.png', bytes(256 * 1024))
    expect(tree)
    put(tree, 'logo.png', bytes(256 * 1024 + 1))
    expect(tree, 'logo.png:1: 262145 bytes, at most 262144')


def test_bytes_that_are_not_text_are_refused(tree):
    put(tree, 'notes', b'\xff\xfe')
    expect(tree, 'notes:1: not UTF-8')


def test_what_was_built_is_not_looked_at(tree):
    put(tree, 'build/object', b'\xff')
    put(tree, 'build-asan/object', b'\xff')
    expect(tree)


def test_corpus_may_hold_any_bytes(tree):
    put(tree, 'test/fuzz/corpus/url/1', b'\xff \r\n')
    expect(tree)


def test_blanks_and_missing_newline_are_refused(tree):
    put(tree, 'notes', b'a \nb')
    expect(tree, 'notes:1: blanks at the end', 'notes:2: no newline')


def test_carriage_return_is_refused(tree):
    put(tree, 'README.md', b'# A\r\n')
    expect(tree, 'README.md:1: carriage return')


def test_scripts_are_executable_and_others_are_not(tree):
    put(tree, 'tools/run', f'#!/bin/sh\n# Runs.\n# {SPDX}\n')
    expect(tree, 'tools/run:1: #! but not executable')
    (tree / 'tools/run').chmod(0o755)
    expect(tree)
    (tree / 'README.md').chmod(0o755)
    expect(tree, 'README.md:1: executable without #!')


def test_ratio_of_tests_when_it_is_on(tree, tmp_path_factory):
    """The constant is off now; a copy with it on refuses a bare tree."""
    text = TIDY.read_text(encoding='utf-8')
    assert 'TEST_RATIO_ENFORCED = ' in text
    copy = tmp_path_factory.mktemp('tool') / 'tidy'
    copy.write_text(text.replace('TEST_RATIO_ENFORCED = False',
                                 'TEST_RATIO_ENFORCED = True'),
                    encoding='utf-8')
    copy.chmod(0o755)
    done = subprocess.run([copy, tree], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 1
    assert 'lines of tests for' in done.stdout
    put(tree, 'test/system/test_a.py', f'"""Tests.\n\n{SPDX}\n"""\n'
        + '\n' * 400)
    done = subprocess.run([copy, tree], capture_output=True, text=True,
                          check=False)
    assert done.stdout == '0 findings\n'

"""The node as a process of its own, as a robot runs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('rclpy')

from ros_ood_monitor.ros.parameters.command_line import asks_for_help
from tests.ros.harness import (
    ACTIVE,
    image,
    normal_frame,
    peer,
    strange_frame,
    values,
    wait_until,
)

pytestmark = pytest.mark.usefixtures('ros')

NODE = [sys.executable, '-m', 'ros_ood_monitor.ros.monitor_node', '--ros-args']


@contextlib.contextmanager
def _process(
    log: Path, *parameters: str, command: Sequence[str] = NODE
) -> Iterator[subprocess.Popen[bytes]]:
    command = [*command, *(word for p in parameters for word in ('-p', p))]
    with log.open('wb') as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ.copy())
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(60.0)


def _wait_for_words(log: Path, words: str) -> None:
    wait_until(lambda: words in log.read_text(), f'{words!r} in the log')


def test_two_processes_score_alert_and_clear(tiny_bundle: Path, tmp_path: Path) -> None:
    log = tmp_path / 'log'
    # a best-effort subscription may lose the very first frame, before it knows the camera
    parameters = (
        f'model.bundle:={tiny_bundle}',
        'input.reliability:=reliable',
        'alert.stale_after:=60.0',
    )
    with _process(log, *parameters) as process, peer() as me:
        me.wait_for_state(ACTIVE)
        states = []
        for k, kind in enumerate('nn' + 'ssss' + 'n' * 20):
            # small enough for the default shared-memory segment: nothing is lost at best effort
            rgb = normal_frame(k, 120, 160) if kind == 'n' else strange_frame(120, 160)
            states.append(values(me.publish_and_wait(image(rgb, stamp=10.0 + 0.1 * k)))['state'])
        assert states[:6] == ['NORMAL'] * 2 + ['SUSPECT'] * 2 + ['ALERT'] * 2
        assert states[-1] == 'NORMAL'
        process.send_signal(signal.SIGINT)
        assert process.wait(60.0) == 0
        me.wait_for_alert('STALE')
    said = log.read_text()
    assert 'ALERT: 3 frames in a row over the threshold' in said
    assert 'Traceback' not in said


INT, TERM = signal.SIGINT, signal.SIGTERM


@pytest.mark.parametrize(
    'numbers',
    [(INT,), (TERM,), (INT,) * 2, (TERM,) * 2, (INT,) * 5, (INT, TERM), (TERM, INT)],
    ids=lambda numbers: '-'.join(number.name for number in numbers),
)
def test_signals_end_it_with_zero_and_without_a_traceback(
    tiny_bundle: Path, tmp_path: Path, numbers: tuple[signal.Signals, ...]
) -> None:
    log = tmp_path / 'log'
    with _process(log, f'model.bundle:={tiny_bundle}') as process:
        _wait_for_words(log, 'monitoring /image')
        for number in numbers:
            process.send_signal(number)
        assert process.wait(60.0) == 0
    said = log.read_text()
    assert 'Traceback' not in said
    assert 'never retrieved' not in said


def test_ctrl_c_again_and_again_until_it_is_gone_changes_nothing(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    log = tmp_path / 'log'
    with _process(log, f'model.bundle:={tiny_bundle}') as process:
        _wait_for_words(log, 'monitoring /image')
        end = time.monotonic() + 60.0
        while process.poll() is None:
            process.send_signal(INT)
            assert time.monotonic() < end
            time.sleep(0.002)
        assert process.returncode == 0
    assert 'Traceback' not in log.read_text()


@pytest.mark.parametrize('number', [INT, TERM])
def test_signal_while_it_is_still_loading_ends_it_in_silence(
    tmp_path: Path, number: signal.Signals
) -> None:
    # a module that takes its time, in the place of one that the node loads
    (tmp_path / 'cv2.py').write_text(
        "print('loading', flush=True)\nimport time\ntime.sleep(60.0)\n"
    )
    code = f'import sys; sys.path.insert(0, {str(tmp_path)!r}); '
    code += 'from ros_ood_monitor.ros.main import main; sys.exit(main())'
    log = tmp_path / 'log'
    with _process(log, command=[sys.executable, '-c', code]) as process:
        _wait_for_words(log, 'loading')
        process.send_signal(number)
        assert process.wait(60.0) == 0
    assert log.read_text() == 'loading\n'


@pytest.mark.parametrize('word', ['-h', '--help'])
@pytest.mark.parametrize('module', ['main', 'monitor_node'])
def test_help_says_what_it_is_and_where_the_parameters_are_told(word: str, module: str) -> None:
    done = subprocess.run(
        [sys.executable, '-m', f'ros_ood_monitor.ros.{module}', word],
        capture_output=True,
        text=True,
        timeout=60.0,
        check=True,
    )
    assert done.stderr == ''
    for words in ('usage: ood_monitor_node', '--ros-args', 'model.bundle', 'ood_monitor params'):
        assert words in done.stdout


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (
            ['-p', 'model.bundle:=X'],
            'got -p model.bundle:=X; write ood_monitor_node --ros-args -p model.bundle:=X',
        ),
        (['--foo'], 'got --foo; ood_monitor_node --help tells what there is'),
        (['--ros-args', '-p', 'a:=b', '--', 'x'], 'got x; ood_monitor_node --help tells what'),
    ],
    ids=['without --ros-args', 'no such option', 'after --'],
)
def test_arguments_that_nobody_reads_are_refused(words: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, '-m', 'ros_ood_monitor.ros.main', *words],
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith('ood_monitor_node: error: unknown arguments: expected none outside')
    assert said in line


def test_help_for_ros_is_not_ours() -> None:
    assert not asks_for_help(['ood_monitor_node', '--ros-args', '-h'])
    assert asks_for_help(['ood_monitor_node', '--ros-args', '-r', 'a:=b', '--', '-h'])


def test_signal_ends_a_node_that_could_not_configure(tmp_path: Path) -> None:
    log = tmp_path / 'log'
    with _process(log, 'model.bundle:=/no/such/bundle') as process:
        _wait_for_words(log, 'bundle not found')
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60.0) == 0
    assert log.read_text().count('bundle not found') == 1


def test_parameter_that_is_not_allowed_ends_it_with_one_line(tmp_path: Path) -> None:
    log = tmp_path / 'log'
    with _process(log, 'model.threads:=0') as process:
        assert process.wait(60.0) == 1
    assert log.read_text().splitlines() == [
        "ood_monitor_node: error: parameter 'model.threads' must lie in 1 to 64, got 0"
    ]


SLOW = """
import sys, time
from ros_ood_monitor.ros.monitor_node import OodMonitorNode
from ros_ood_monitor.ros.process.run import run_node
def open_monitor(settings):
    print('opening', flush=True)
    time.sleep(600.0)
sys.exit(run_node(lambda: OodMonitorNode(open_monitor=open_monitor)))
"""


@pytest.mark.parametrize('numbers', [(INT,), (INT, TERM, INT)], ids=len)
def test_signals_during_a_configure_that_does_not_come_back_end_it_with_zero(
    tmp_path: Path, numbers: tuple[signal.Signals, ...]
) -> None:
    log = tmp_path / 'log'
    command = [sys.executable, '-c', SLOW, '--ros-args']
    with _process(log, 'model.bundle:=any', command=command) as process:
        _wait_for_words(log, 'opening')
        for number in numbers:
            process.send_signal(number)
        assert process.wait(60.0) == 0
    said = log.read_text()
    assert 'Traceback' not in said
    assert said.splitlines()[-1] == (
        'ood_monitor_node: ended with a transition or a snapshot that has not come back'
    )


ACTIVATING = """
import sys, time
from ros_ood_monitor.ros.monitor_node import OodMonitorNode
from ros_ood_monitor.ros.process.run import run_node
class Node(OodMonitorNode):
    def on_activate(self, state):
        print('activating', flush=True)
        time.sleep(0.4)
        return super().on_activate(state)
sys.exit(run_node(Node))
"""


@pytest.mark.parametrize('numbers', [(INT,), (INT, INT), (INT, TERM)], ids=len)
def test_signals_during_an_activation_let_it_end_first(
    tiny_bundle: Path, tmp_path: Path, numbers: tuple[signal.Signals, ...]
) -> None:
    log = tmp_path / 'log'
    command = [sys.executable, '-c', ACTIVATING, '--ros-args']
    with _process(log, f'model.bundle:={tiny_bundle}', command=command) as process:
        _wait_for_words(log, 'activating')
        for number in numbers:
            process.send_signal(number)
        assert process.wait(60.0) == 0
    said = log.read_text()
    assert 'monitoring /image' in said  # and not left in between
    assert 'Traceback' not in said
    assert 'has not come back' not in said


FORM = (
    'parameter file cannot be used: expected a node name, under it ros__parameters, under that '
    'the parameters, got '
)


@pytest.mark.parametrize(
    ('content', 'got'),
    [
        (None, 'no such file'),
        ('ood_monitor: [', 'Sequences can only be values and not keys in params. Error at line 1'),
        ('ood_monitor:\n  model: 3\n', 'Cannot have a value before ros__parameters at line 2'),
        ('folder', 'a folder'),
    ],
    ids=['missing', 'no YAML', 'no parameters', 'folder'],
)
def test_parameter_file_that_is_none_ends_it_with_one_line(
    tmp_path: Path, content: str | None, got: str
) -> None:
    path, log = tmp_path / 'given.yaml', tmp_path / 'log'
    if content == 'folder':
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    with _process(log, command=[*NODE, '--params-file', str(path)]) as process:
        assert process.wait(60.0) == 1
    example = 'config/monitor.param.yaml is one'
    assert log.read_text().splitlines() == [
        f'ood_monitor_node: error: {FORM}{got}; {example}: {path}'
    ]


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['-p', 'model.bundle'], "ROS does not start: couldn't parse parameter override rule"),
        (
            ['--colour'],
            "unknown ROS arguments: expected such as -p, -r and --params-file, got ['--",
        ),
        (['-r', '__node:=a b'], 'ROS does not start: '),
    ],
)
def test_ros_arguments_that_are_wrong_end_it_with_one_line(
    tmp_path: Path, words: list[str], said: str
) -> None:
    log = tmp_path / 'log'
    with _process(log, command=[*NODE, *words]) as process:
        assert process.wait(60.0) == 1
    (line,) = log.read_text().splitlines()
    assert line.startswith(f'ood_monitor_node: error: {said}')

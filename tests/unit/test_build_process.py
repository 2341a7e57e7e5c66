"""A build beside what serves: it tells how far it is, may die, and dies with its starter."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
from itertools import pairwise
import os
from pathlib import Path
import queue
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed')

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.engines.build_process import BuildProcess, PROGRESS
from ros_ood_monitor.engines.cache import read_engines
from tests.tiny_bundle import make_tiny_bundle

DEADLINE_S = 300.0  # it runs at the lowest priority, beside other tests


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


@pytest.fixture
def arguments(tiny: Bundle, tmp_path: Path) -> list[str]:
    return [str(tiny.path), '--library', 'tensorrt_rtx', '--cache', str(tmp_path)]


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def is_gone(pid: int) -> bool:
    with contextlib.suppress(OSError, IndexError):
        return Path(f'/proc/{pid}/stat').read_text().rsplit(') ', 1)[1].startswith('Z')
    return True


def test_it_builds_at_the_lowest_priority_and_tells_how_far_it_is(
    arguments: list[str], tmp_path: Path
) -> None:
    ends: queue.Queue[str] = queue.Queue()
    build = BuildProcess(arguments, on_end=ends.put)
    assert os.getpriority(os.PRIO_PROCESS, build.pid) == 19
    assert ends.get(timeout=DEADLINE_S) == ''
    assert build.progress == 'scorer, 100 %'
    assert len(read_engines(tmp_path)) == 1


def test_lines_for_programs_name_each_part_and_never_repeat(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['build-engine', '--progress', *arguments]) == 0
    said = capsys.readouterr()
    told = [line for line in said.out.splitlines() if PROGRESS.fullmatch(line)]
    assert (told[0], told[-1]) == ('progress backbone 0', 'progress scorer 100')
    assert all(a != b for a, b in pairwise(told))
    assert said.err == ''


def test_why_there_is_no_engine_is_told_in_the_words_of_the_command(
    arguments: list[str], tmp_path: Path
) -> None:
    ends: queue.Queue[str] = queue.Queue()
    BuildProcess([*arguments, '--compute-capability', '8.7'], on_end=ends.put)
    assert ends.get(timeout=DEADLINE_S).startswith('tensorrt_rtx does not build for 8.7')


def test_a_build_that_is_killed_says_by_what(arguments: list[str], tmp_path: Path) -> None:
    ends: queue.Queue[str] = queue.Queue()
    build = BuildProcess(arguments, on_end=ends.put)
    os.kill(build.pid, signal.SIGKILL)
    assert ends.get(timeout=DEADLINE_S) == 'the build was ended by signal 9'
    assert read_engines(tmp_path) == []


def test_stopping_ends_even_a_build_that_hangs_and_tells_nobody(
    arguments: list[str], tmp_path: Path
) -> None:
    ends: queue.Queue[str] = queue.Queue()
    build = BuildProcess(arguments, on_end=ends.put)
    os.kill(build.pid, signal.SIGSTOP)
    build.stop()
    assert is_gone(build.pid)
    assert ends.empty()
    assert list(tmp_path.iterdir()) == []


def test_a_build_ends_where_its_starter_was_killed(arguments: list[str], tmp_path: Path) -> None:
    script = (
        'import os, signal, sys, time\n'
        'from ros_ood_monitor.engines.build_process import BuildProcess\n'
        'build = BuildProcess(sys.argv[1:], on_end=print)\n'
        'os.kill(build.pid, signal.SIGSTOP)\n'
        'print(build.pid, flush=True)\n'
        'time.sleep(60)\n'
    )
    command = [sys.executable, '-c', script, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.kill()
    assert not is_gone(pid)
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: is_gone(pid))
    assert read_engines(tmp_path) == []

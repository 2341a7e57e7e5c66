from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import platform
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip('rclpy')

from rclpy.node import Node

from ros_ood_monitor.ros.diagnostics.model_status import memory_mib
from ros_ood_monitor.ros.process.run import Spinner, tune_malloc
from ros_ood_monitor.ros.process.worker import Worker
from tests.ros.harness import wait_until

pytestmark = pytest.mark.usefixtures('ros')


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node('spun')
    yield made
    made.destroy_node()


def test_spinner_goes_on_after_a_callback_has_raised(
    node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    calls: list[int] = []

    def fail_at_first() -> None:
        calls.append(1)
        if len(calls) <= 3:
            msg = 'a fault in a callback'
            raise RuntimeError(msg)

    node.create_timer(0.01, fail_at_first)
    spinner = Spinner(node)
    wait_until(lambda: len(calls) >= 8, 'calls after the failing ones')
    assert spinner.stop()
    said = capfd.readouterr().err
    assert 'a callback failed, the node goes on' in said
    assert 'a fault in a callback' in said


def test_spinner_ends_with_the_traceback_where_nothing_but_failures_comes(node: Node) -> None:
    ends: list[str | None] = []

    def always_fail() -> None:
        msg = 'hopeless'
        raise RuntimeError(msg)

    spinner = Spinner(node, ends.append)
    spinner._executor.spin_once = always_fail
    node.create_timer(0.01, lambda: None)  # wakes the real spin_once that is running
    wait_until(lambda: ends, 'the end')
    assert 'RuntimeError: hopeless' in (ends[0] or '')
    assert spinner.stop()


def test_spinner_waits_for_the_callback_in_work(node: Node) -> None:
    entered, leave = threading.Event(), threading.Event()
    left: list[bool] = []

    def work() -> None:
        entered.set()
        assert leave.wait(60.0)
        left.append(True)

    node.create_timer(0.01, work)
    spinner = Spinner(node)
    assert entered.wait(60.0)
    assert spinner.stop(timeout=0.1) is False
    leave.set()
    wait_until(lambda: left, 'the callback to come back')
    assert spinner.stop()


def test_worker_waits_for_the_work_that_runs_and_not_for_what_it_cancels(node: Node) -> None:
    worker = Worker(node, 'work')
    leave = threading.Event()
    entered = threading.Event()
    worker.submit(lambda: (entered.set(), leave.wait(60.0)))
    queued = worker.submit(pytest.fail)
    assert entered.wait(60.0)
    assert not worker.close(0.01)
    assert queued.cancelled()
    assert worker.is_busy
    leave.set()
    start = time.monotonic()
    assert worker.close(60.0)
    assert time.monotonic() - start < 20.0
    wait_until(lambda: not worker.is_busy, 'the work to be crossed off')


STOPPED = """
import signal, sys, threading, time
from ros_ood_monitor.ros.process.stop_signal import StopSignal
stop = StopSignal()
def be_interrupted():
    time.sleep(0.2)  # the main thread waits by now
    for number in (signal.SIGTERM, signal.SIGINT) * 50:
        signal.pthread_kill(threading.get_ident(), number)
threading.Thread(target=be_interrupted).start()
stop.wait()
event = stop.as_event()
stop.now()
sys.exit(0 if event.wait(10.0) else 1)
"""


def test_signals_end_a_wait_whichever_thread_they_interrupt() -> None:
    subprocess.run([sys.executable, '-c', STOPPED], check=True, timeout=60.0)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='mallopt is a function of glibc')
def test_malloc_is_tuned_on_glibc() -> None:
    assert tune_malloc() is True


def test_resident_memory_of_this_process_is_plausible() -> None:
    assert 10.0 < memory_mib() < 100_000.0


DOMAINS = """
from ros_ood_monitor.ros.process.own_domain import free_domain, take_domain
import os, subprocess, sys
taken = [free_domain() for _ in range(15)]
if len(sys.argv) == 1:
    taken.append(take_domain())
    assert os.environ['ROS_DOMAIN_ID'] == str(taken[-1])
    assert os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    subprocess.run([sys.executable, __file__, 'again'], check=True)
print(*taken)
"""


def test_domains_of_processes_that_live_are_never_the_same(tmp_path: Path) -> None:
    script = tmp_path / 'script.py'
    script.write_text(DOMAINS)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60.0, check=True
    )
    taken = [int(word) for word in done.stdout.split()]
    assert len(taken) == 31
    assert len(set(taken)) == 31
    assert set(taken) <= set(range(1, 102))
    assert int(os.environ['ROS_DOMAIN_ID']) not in taken

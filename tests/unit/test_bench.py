"""The benchmark: complete JSON, honest arithmetic; no test here depends on how fast it ran."""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
from pathlib import Path
import re
from typing import Any

import cv2
import numpy as np
import pytest

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.cli import bench as verb
from ros_ood_monitor.errors import EngineError, ParameterError
from ros_ood_monitor.evaluation.speed import machine
from ros_ood_monitor.evaluation.speed.benchmark import benchmark, GOALS, GOALS_WITH_MAP, Settings
from ros_ood_monitor.evaluation.speed.benchmark_text import to_text
from ros_ood_monitor.evaluation.speed.fresh import import_facts, monitor_process, UNWANTED
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.speed.timing import interleave, ratio, summary
from tests.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


@pytest.fixture(scope='module')
def facts(bundle: Bundle) -> dict[str, Any]:
    return benchmark(bundle, settings=Settings.quick())


def test_every_turn_is_a_burst_and_rounds_alternate_their_order() -> None:
    calls: list[str] = []
    contenders = {name: lambda k, n=name: calls.append(f'{n}{k}') for name in 'ab'}
    times = interleave(contenders, rounds=2, burst=2, warm_up=1)
    warm_up, first, second = calls[:2], calls[2:8], calls[8:]
    assert warm_up == ['a0', 'b0']
    assert first == ['a0', 'a0', 'a1', 'b0', 'b0', 'b1']  # a turn begins with one uncounted call
    assert second == ['b2', 'b2', 'b3', 'a2', 'a2', 'a3']
    assert {name: values.shape for name, values in times.items()} == {'a': (2, 2), 'b': (2, 2)}


def test_ratio_is_taken_inside_a_round_so_that_a_slow_phase_cancels() -> None:
    fast = np.array([[1.0, 1.0], [10.0, 10.0], [1.0, 1.0]])  # the machine was busy in round two
    found = ratio(1.5 * fast, fast)
    assert (found.median, found.low, found.high) == (1.5, 1.5, 1.5)
    lone = np.array([[3.0, 3.0], [2.0, 2.0], [2.0, 1.0]])
    found = ratio(lone, np.ones((3, 2)))
    assert found.median == 2.0
    assert found.of_minima == 1.0


def test_summary_of_one_hundred_calls_by_hand() -> None:
    found = summary(np.arange(101.0).reshape(1, 101))
    assert found == {'min': 0.0, 'p50': 50.0, 'p90': 90.0, 'p99': 99.0, 'n': 101}


@pytest.mark.parametrize(('rounds', 'burst'), [(0, 5), (3, 0)])
def test_no_round_or_no_burst_is_refused(rounds: int, burst: int) -> None:
    with pytest.raises(ParameterError, match='at least 1'):
        interleave({}, rounds=rounds, burst=burst, warm_up=0)


def test_facts_are_complete_and_finite(facts: dict[str, Any], bundle: Bundle) -> None:
    assert set(facts) == {
        'bundle', 'engine', 'gpu', 'settings', 'context', 'times_ms', 'ratios', 'precisions',
        'process', 'imports',
    }  # fmt: skip
    assert facts['bundle']['digest'] == bundle.digest
    assert facts['gpu'] is facts['process']['gpu_mib'] is None
    assert 'of the GPU' not in to_text(facts)
    on_gpu = {**facts, 'process': {**facts['process'], 'gpu_mib': 250.0}}
    assert '; 250 MiB of the GPU\n' in to_text(on_gpu)
    assert set(facts['ratios']) == {goal.name for goal in GOALS}
    for goal in GOALS:
        found = facts['ratios'][goal.name]
        assert found['goal_at_most'] == goal.at_most
        assert found['met'] == (found['median'] <= goal.at_most)
        assert 0.0 < found['low'] <= found['median'] <= found['high'] < math.inf
    calls = Settings.quick().rounds * Settings.quick().burst
    for times in facts['times_ms'].values():
        assert times['n'] == calls
        assert 0.0 < times['min'] <= times['p50'] <= times['p90'] <= times['p99']
    assert {'cpu', 'cores', 'load_average', 'versions'} <= set(facts['context'])


def test_precisions_are_timed_beside_each_other(tmp_path: Path) -> None:
    both = make_tiny_bundle(tmp_path / 'tiny', precisions=('fp32', 'cpu-int8'))
    facts = benchmark(both, precision='cpu-int8', settings=Settings.quick())
    assert facts['engine']['precision'] == 'cpu-int8'
    assert list(facts['precisions']) == ['fp32', 'cpu-int8']
    assert facts['precisions']['fp32']['ratio']['median'] == 1.0
    assert facts['precisions']['cpu-int8']['ratio']['of_minima'] > 0.0
    text = to_text(facts)
    assert re.search(r'^cpu-int8 +\d', text, re.MULTILINE)
    assert f'ready after {facts["process"]["ready_s"]:.2f} s' in text


def test_an_engine_that_is_not_there_is_refused(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match='no engine of this bundle is built for tensorrt'):
        benchmark(bundle, engine='tensorrt', settings=Settings.quick())


def test_facts_survive_json_and_name_no_path(facts: dict[str, Any], bundle: Bundle) -> None:
    text = json.dumps(facts, allow_nan=False)
    assert json.loads(text) == facts
    assert str(bundle.path) not in text


def test_a_scorer_with_a_map_may_cost_more_and_nothing_else_may(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / 'tiny', maps=True)
    ratios = benchmark(bundle, settings=Settings.quick())['ratios']
    goals = {goal.name: goal.at_most for goal in GOALS_WITH_MAP}
    assert {name: found['goal_at_most'] for name, found in ratios.items()} == goals
    changed = {goal.name for goal in GOALS if goals[goal.name] != goal.at_most}
    assert changed == {'(backbone + scorer) / backbone'}


def test_text_shows_every_ratio_with_its_goal(facts: dict[str, Any]) -> None:
    text = to_text(facts)
    for goal in GOALS:
        line = next(line for line in text.splitlines() if line.startswith(goal.name))
        assert f'<= {goal.at_most:.2f}' in line
        assert line.endswith('met' if facts['ratios'][goal.name]['met'] else 'NOT MET')


def test_text_warns_where_the_machine_was_busy(facts: dict[str, Any]) -> None:
    for high, warns in ((1.05, False), (1.2, True)):
        ratios = {name: {**r, 'low': 1.0, 'high': high} for name, r in facts['ratios'].items()}
        assert ('the machine was busy' in to_text({**facts, 'ratios': ratios})) == warns


def test_opencv_has_its_threads_back(bundle: Bundle) -> None:
    before = cv2.getNumThreads()
    benchmark(bundle, settings=Settings.quick())
    assert cv2.getNumThreads() == before


def test_a_bundle_with_maps_is_measured_with_them(tmp_path: Path) -> None:
    mapped = make_tiny_bundle(tmp_path / 'tiny', maps=True)
    assert benchmark(mapped, settings=Settings.quick())['times_ms']['bare']['p50'] > 0.0


def test_neither_the_import_nor_help_loads_torch_rclpy_or_matplotlib() -> None:
    found = import_facts(1)
    assert set(found) == {'import ros_ood_monitor', 'ood_monitor --help'}
    for facts in found.values():
        assert not set(UNWANTED) & set(facts['heavy'])
        assert facts['modules'] > 0
    assert set(found['import ros_ood_monitor']['heavy']) <= {'numpy'}


def test_monitor_process_holds_memory_and_no_module_of_other_rooms(bundle: Bundle) -> None:
    found = monitor_process(bundle.path, 'fp32', engine='onnxruntime', frames=3)
    assert 1.0 < found['interpreter_mib'] < found['ready_mib'] <= found['peak_mib']
    assert found['end_mib'] <= found['peak_mib']
    assert set(found['heavy']) == {'cv2', 'numpy', 'onnxruntime'}


_CUDA = """
free = [900 * 2**20, 650 * 2**20]
cudaSetDevice = lambda index: (0,) if index == 3 else (101,)
cudaMemGetInfo = lambda: (0, free.pop(0), 1000 * 2**20)
"""


def test_memory_that_a_gpu_lacks_afterwards_is_told(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'cuda' / 'bindings').mkdir(parents=True)
    for name, text in (('__init__', ''), ('bindings/__init__', ''), ('bindings/runtime', _CUDA)):
        (tmp_path / 'cuda' / f'{name}.py').write_text(text)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    found = monitor_process(
        bundle.path, 'fp32', engine='onnxruntime', frames=1, device=3, on_gpu=True
    )
    assert found['gpu_mib'] == 250.0


def test_a_board_tells_its_name_and_power_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {'board', 'power_mode'} <= context().keys()
    (tmp_path / 'model').write_bytes(b'NVIDIA Jetson Orin NX Engineering Reference\0')
    tool = tmp_path / 'nvpmodel'
    tool.write_text('#!/bin/sh\n[ "$1" = -q ] && printf "NV Power Mode: MAXN\\n0\\n"\n')
    tool.chmod(0o755)
    monkeypatch.setattr(machine, '_BOARD', tmp_path / 'model')
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    found = context()
    assert found['board'] == 'NVIDIA Jetson Orin NX Engineering Reference'
    assert found['power_mode'] == 'NV Power Mode: MAXN 0'
    tool.write_text('#!/bin/sh\nexit 1\n')
    (tmp_path / 'model').unlink()
    assert context()['power_mode'] is context()['board'] is None


def test_versions_of_what_runs_on_a_gpu_are_told_where_it_is_installed() -> None:
    pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed')
    import tensorrt_rtx

    assert context()['versions']['tensorrt_rtx'] == tensorrt_rtx.__version__
    assert 'tensorrt' not in context()['versions'] or importlib.util.find_spec('tensorrt')


def test_a_failure_in_the_other_process_names_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r'exit code 1: .*bundle not found'):
        monitor_process(tmp_path / 'absent', 'fp32', engine='onnxruntime', frames=1)


def test_the_verb_prints_tables_and_writes_json(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    verb.add_parser(parser.add_subparsers())
    target = tmp_path / 'bench.json'
    argv = ['bench', str(bundle.path), '--quick', '--repeats', '2', '--json', str(target)]
    args = parser.parse_args(argv)
    assert args.run(args) == 0
    assert 'monitor process:' in capsys.readouterr().out
    assert json.loads(target.read_text())['settings']['rounds'] == 2

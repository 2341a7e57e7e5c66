"""Which engine is opened, in which order, and what is said about those that are not."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import built as engines_built
from ros_ood_monitor.engines import open_engine, trt_engine, trt_library
from ros_ood_monitor.engines.build import graph_digests
from ros_ood_monitor.engines.built import find_built, missing_library
from ros_ood_monitor.engines.cache import EngineFiles, Identity, write_engine
from ros_ood_monitor.engines.cuda import Device
from ros_ood_monitor.engines.target import gpu_facts
from ros_ood_monitor.engines.trt_library import Library
from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.monitor import Monitor
from tests.tiny_bundle import make_tiny_bundle

ORIN = Device(0, 'Orin', '8.7', '12.6', 7620, 8, is_integrated=True)
PLANS = {'backbone': b'a', 'scorer': b'b'}


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


def built(cache: Path, bundle: Bundle, **changes: Any) -> EngineFiles:
    identity = Identity(
        onnx=graph_digests(bundle, 'fp32'),
        precision='fp32',
        library='tensorrt',
        version='10.3.0',
        target=gpu_facts(ORIN),
    )
    return write_engine(cache, dataclasses.replace(identity, **changes), PLANS, {})


@pytest.fixture
def on_an_orin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer as a Jetson does; what runs there is not touched."""
    monkeypatch.setattr(engines_built, 'find_device', lambda _index: ORIN)
    monkeypatch.setattr(engines_built, 'load_library', lambda name: Library(name, None, '10.3.0'))


def test_auto_takes_onnxruntime_where_nothing_was_built_and_says_why(
    bundle: Bundle, tmp_path: Path
) -> None:
    facts = open_engine(bundle, cache=tmp_path).describe()
    assert facts['engine'] == 'onnxruntime'
    assert facts['device'] == 'cpu'
    expected = 'auto; not tensorrt or tensorrt_rtx: no engine of this bundle is built'
    assert facts['chosen'] == expected


def test_auto_says_why_an_engine_that_was_built_is_not_taken(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_gpu(_index: int) -> Device:
        msg = 'no GPU'
        raise EngineError(msg)

    built(tmp_path, bundle)
    monkeypatch.setattr(engines_built, 'find_device', without_gpu)
    facts = open_engine(bundle, cache=tmp_path).describe()
    assert facts['engine'] == 'onnxruntime'
    assert 'not tensorrt: no GPU' in facts['chosen']
    assert 'not tensorrt_rtx: no engine of this bundle is built' in facts['chosen']


def test_an_engine_that_was_asked_for_is_not_replaced_by_another(
    bundle: Bundle, tmp_path: Path
) -> None:
    expected = rf'build-engine {bundle.path} --library tensorrt --precision fp32'
    with pytest.raises(EngineError, match=expected):
        open_engine(bundle, 'tensorrt', precision='fp32', cache=tmp_path)
    assert open_engine(bundle, 'onnxruntime').describe()['chosen'] == 'asked for'


def test_a_provider_that_onnxruntime_lacks_is_refused(bundle: Bundle) -> None:
    import onnxruntime

    if 'CUDAExecutionProvider' in onnxruntime.get_available_providers():
        pytest.skip('this ONNX Runtime has it')
    with pytest.raises(EngineError, match=r'has no CUDAExecutionProvider: .*onnxruntime-gpu'):
        open_engine(bundle, 'onnxruntime-cuda')


@pytest.mark.usefixtures('on_an_orin')
def test_the_engine_that_was_built_last_for_this_device_is_taken(
    bundle: Bundle, tmp_path: Path
) -> None:
    built(tmp_path, bundle, target={'gpu': 'Xavier', 'compute_capability': '7.2'})
    fits = built(tmp_path, bundle)
    built(tmp_path, bundle, version='10.7.0')
    built(tmp_path, bundle, onnx={'backbone': 'of another', 'scorer': 'bundle'})
    built(tmp_path, bundle, library='tensorrt_rtx')
    assert find_built(bundle, 'tensorrt', cache=tmp_path) == fits


@pytest.mark.usefixtures('on_an_orin')
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            {'version': '10.7.0'},
            r'built by tensorrt 10\.7\.0 for Orin, 8\.7, 7 GiB, 8 SM, this is 10\.3\.0 on Orin',
        ),
        (
            {'target': gpu_facts(dataclasses.replace(ORIN, memory_mib=62840, multiprocessors=16))},
            r'for Orin, 8\.7, 61 GiB, 16 SM, this is 10\.3\.0 on Orin, 8\.7, 7 GiB, 8 SM',
        ),
        (
            {'target': {'gpu': 'Xavier', 'compute_capability': '7.2'}},
            r'built by tensorrt 10\.3\.0 for Xavier, 7\.2, this is 10\.3\.0 on Orin, 8\.7, 7 GiB',
        ),
    ],
)
def test_an_engine_of_another_version_or_device_is_named_with_the_cure(
    bundle: Bundle, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    built(tmp_path, bundle, **change)
    with pytest.raises(EngineError, match=rf'{message}.*; build it again: ood_monitor '):
        find_built(bundle, 'tensorrt', cache=tmp_path)


@pytest.mark.usefixtures('on_an_orin')
def test_the_command_that_mends_is_whole_and_keeps_what_was_built_for(
    bundle: Bundle, tmp_path: Path
) -> None:
    cache = tmp_path / 'of engines'
    options = {'batch': [1, 3, 3], 'tf32': True, 'workspace_mib': 256}
    built(cache, bundle, version='10.7.0', options=options)
    told = f'--device 1 --cache {str(cache)!r}'
    with pytest.raises(EngineError) as failed:
        find_built(bundle, 'tensorrt', device=1, cache=cache)
    assert str(failed.value).endswith(
        f'ood_monitor build-engine {bundle.path} --library tensorrt --precision fp32 '
        f'--batch 1 3 3 --tf32 --workspace 256 {told}'
    )
    with pytest.raises(EngineError) as failed:
        find_built(bundle, 'tensorrt_rtx', device=1, cache=cache)
    assert str(failed.value).endswith(
        f'build it: ood_monitor build-engine {bundle.path} --library tensorrt_rtx {told}'
    )
    fits = built(cache, bundle, options=options)
    (fits.folder / 'scorer.plan').write_bytes(b'')
    found = find_built(bundle, 'tensorrt', device=1, cache=cache)
    with pytest.raises(EngineError, match=r'--batch 1 3 3 .*--device 1 --cache .* --force: '):
        found.plan('scorer')


@pytest.mark.usefixtures('on_an_orin')
def test_of_engines_of_rtx_the_newest_that_is_for_this_gpu_is_taken(
    bundle: Bundle, tmp_path: Path
) -> None:
    def of_rtx(meant: str, age: float) -> EngineFiles:
        target = {'compute_capabilities': meant}
        made = built(tmp_path, bundle, library='tensorrt_rtx', target=target)
        os.utime(made.folder / 'facts.json', (1e9 - age, 1e9 - age))
        return made

    of_rtx('8.6', 0.0)
    with pytest.raises(EngineError, match=r'for 8\.6, this is 10\.3\.0 on Orin, 8\.7, .*; build'):
        find_built(bundle, 'tensorrt_rtx', cache=tmp_path)
    portable = of_rtx('portable', 2.0)
    assert find_built(bundle, 'tensorrt_rtx', cache=tmp_path) == portable
    both = of_rtx('8.6 8.7', 1.0)
    assert find_built(bundle, 'tensorrt_rtx', cache=tmp_path) == both


@pytest.mark.usefixtures('on_an_orin')
def test_auto_goes_on_where_the_bindings_of_a_library_raise_and_says_why(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nullptr(*_args: Any, **_more: Any) -> None:
        msg = 'pybind11::init(): factory function returned nullptr'
        raise TypeError(msg)

    built(tmp_path, bundle)
    monkeypatch.setattr(trt_engine, 'TrtEngine', nullptr)
    facts = open_engine(bundle, cache=tmp_path).describe()
    assert facts['engine'] == 'onnxruntime'
    assert 'not tensorrt: tensorrt fails: TypeError: pybind11::init()' in facts['chosen']
    with pytest.raises(EngineError, match='tensorrt fails: TypeError'):
        open_engine(bundle, 'tensorrt', cache=tmp_path)


@pytest.mark.parametrize(
    ('served', 'packages', 'expected'),
    [
        (12060, ['tensorrt-cu13'], 'CUDA 12, tensorrt-cu13 wants CUDA 13: update the driver, or'),
        (13000, ['tensorrt-cu12'], 'CUDA 13, tensorrt-cu12 wants CUDA 12: look at dmesg'),
        (12060, [], 'the driver serves CUDA 12: see whether tensorrt is built for that'),
        (0, [], 'no NVIDIA driver answers'),
    ],
)
def test_driver_and_library_are_told_where_they_disagree(
    monkeypatch: pytest.MonkeyPatch, served: int, packages: list[str], expected: str
) -> None:
    cuda = SimpleNamespace(cudaDriverGetVersion=lambda: (0, served))
    monkeypatch.setattr(trt_library, 'cudart', lambda: cuda)
    monkeypatch.setattr(trt_library, '_is_distributed', packages.__contains__)
    assert expected in trt_library.agreement('tensorrt')


@pytest.mark.usefixtures('on_an_orin')
def test_a_precision_that_a_library_does_not_run_is_refused_and_nothing_is_missed(
    tmp_path: Path,
) -> None:
    bundle = make_tiny_bundle(tmp_path / 'tiny', precisions=('cpu-int8', 'trt-int8', 'fp32'))
    cache = tmp_path / 'cache'
    for library, precision in (('tensorrt', 'cpu-int8'), ('tensorrt_rtx', 'trt-int8')):
        with pytest.raises(EngineError, match=rf"{library} does not run '{precision}': expected"):
            find_built(bundle, library, precision=precision, cache=cache)
        assert missing_library(bundle, library, precision=precision, cache=cache) is None
    built(cache, bundle, precision='cpu-int8', onnx=graph_digests(bundle, 'cpu-int8'))
    fits = built(cache, bundle, precision='trt-int8', onnx=graph_digests(bundle, 'trt-int8'))
    assert find_built(bundle, 'tensorrt', cache=cache) == fits


@pytest.mark.usefixtures('on_an_orin')
def test_an_engine_of_rtx_is_for_any_device_that_its_library_knows(
    bundle: Bundle, tmp_path: Path
) -> None:
    portable = {'compute_capabilities': 'portable'}
    fits = built(tmp_path, bundle, library='tensorrt_rtx', target=portable)
    assert find_built(bundle, 'tensorrt_rtx', cache=tmp_path) == fits


def test_a_monitor_keeps_to_the_precision_of_its_engine(tmp_path: Path) -> None:
    both = make_tiny_bundle(tmp_path / 'tiny', precisions=('fp32', 'cpu-int8'))
    monitor = Monitor.from_bundle(both, engine='onnxruntime', precision='cpu-int8')
    assert monitor.precision == monitor.engine.precision == 'cpu-int8'
    point = both.calibration('cpu-int8').operating_point
    assert monitor.threshold == point.trigger
    with pytest.raises(EngineError, match=r"wrong precision: expected 'cpu-int8', got 'fp32'"):
        monitor.take_engine(open_engine(both, 'onnxruntime', precision='fp32'))
    monitor.close()


def test_onnxruntime_stands_in_only_where_it_is_let_and_says_for_what(
    bundle: Bundle, tmp_path: Path
) -> None:
    opened = open_engine(bundle, 'tensorrt_rtx', cache=tmp_path, stand_in=True)
    facts = opened.describe()
    assert facts['engine'] == 'onnxruntime'
    assert facts['chosen'].startswith('asked for; not tensorrt_rtx: no engine of this bundle is')


@pytest.mark.parametrize(
    ('engine', 'changes', 'expected'),
    [
        ('tensorrt', None, 'tensorrt'),
        ('tensorrt_rtx', None, 'tensorrt_rtx'),
        ('onnxruntime', None, None),
        ('tensorrt', {}, None),  # it is there
        ('tensorrt', {'version': '10.7.0'}, 'tensorrt'),  # of another version
    ],
)
def test_what_is_missing_is_what_building_would_mend(
    bundle: Bundle,
    tmp_path: Path,
    on_an_orin: None,
    engine: str,
    changes: dict[str, Any] | None,
    expected: str | None,
) -> None:
    if changes is not None:
        built(tmp_path, bundle, **changes)
    assert missing_library(bundle, engine, cache=tmp_path) == expected


def test_auto_misses_the_engine_of_an_installed_library_where_there_is_a_gpu(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_gpu(_index: int) -> Device:
        msg = 'no GPU'
        raise EngineError(msg)

    installed = {'tensorrt_rtx'}
    monkeypatch.setattr(engines_built, 'find_device', lambda _index: ORIN)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: name in installed or None)
    assert missing_library(bundle, 'auto', cache=tmp_path) == 'tensorrt_rtx'
    installed.clear()
    assert missing_library(bundle, 'auto', cache=tmp_path) is None
    installed.add('tensorrt')
    monkeypatch.setattr(engines_built, 'find_device', without_gpu)
    assert missing_library(bundle, 'auto', cache=tmp_path) is None

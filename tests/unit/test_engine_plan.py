"""
What the library is asked for, read back from its own objects, and what its failures become.

``tensorrt_rtx`` plays ``tensorrt`` where the latter's way is meant: it has the same calls, and
takes timings without keeping any. What a build with timings gains only a GPU can tell.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed')

import tensorrt_rtx as trt

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.engines.build_options import BuildOptions
from ros_ood_monitor.engines.plan import build_plan, Plan
from ros_ood_monitor.engines.trt_library import Library, load_library, make_log
from ros_ood_monitor.errors import EngineError
from tests.tiny_bundle import make_tiny_bundle

SHIPPED = Path(__file__).resolve().parents[2] / 'models' / 'lunar_orbit'
RTX = load_library('tensorrt_rtx')
TENSORRT = dataclasses.replace(RTX, name='tensorrt')
CONFIG, PROFILE = 'create_builder_config', 'create_optimization_profile'
NO_TIMINGS = pytest.mark.filterwarnings(
    'ignore:.*Timing cache operations are no-ops:DeprecationWarning'  # true of tensorrt_rtx
)


@pytest.fixture(scope='module')
def scorer(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny').scorer()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Keep the objects that the builder is given: the last of each kind."""
    kept: dict[str, Any] = {}

    def keep(name: str) -> None:
        make = getattr(trt.Builder, name)

        def method(builder: Any) -> Any:
            kept[name] = make(builder)
            return kept[name]

        monkeypatch.setattr(trt.Builder, name, method)

    keep(CONFIG)
    keep(PROFILE)
    return kept


def build(
    graph: bytes,
    library: Library = RTX,
    *,
    part: str = 'scorer',
    timings: Path | None = None,
    **options: Any,
) -> Plan:
    return build_plan(graph, library, part=part, options=BuildOptions(**options), timings=timings)


def test_products_of_the_scorer_are_never_rounded_those_of_the_backbone_if_it_is_asked_for(
    scorer: bytes, asked: dict[str, Any]
) -> None:
    for part, tf32, expected in (
        ('scorer', False, False),
        ('scorer', True, False),
        ('backbone', False, False),
        ('backbone', True, True),
    ):
        build(scorer, part=part, tf32=tf32)
        assert asked[CONFIG].get_flag(trt.BuilderFlag.TF32) is expected


def test_the_profile_holds_least_usual_and_most_pictures(
    scorer: bytes, asked: dict[str, Any]
) -> None:
    plan = build(scorer, batch=(1, 2, 5))
    assert asked[PROFILE].get_shape('blocks_0') == [(1, 8), (2, 8), (5, 8)]
    assert plan.tensors['blocks_0'] == (-1, 8)
    assert asked[CONFIG].num_optimization_profiles == 1
    assert build(scorer, batch=(5, 5, 5)).tensors['blocks_0'] == (5, 8)
    assert asked[CONFIG].num_optimization_profiles == 0


def test_only_rtx_is_asked_for_kernels_that_a_cuda_graph_can_capture(
    scorer: bytes, asked: dict[str, Any]
) -> None:
    for library in (RTX, TENSORRT):
        build(scorer, library)
        flag = trt.BuilderFlag.REQUIRE_USER_ALLOCATION
        assert asked[CONFIG].get_flag(flag) is library.is_rtx


def test_scratch_memory_is_bounded_where_that_is_asked_for(
    scorer: bytes, asked: dict[str, Any]
) -> None:
    kind = trt.MemoryPoolType.WORKSPACE
    build(scorer)
    assert asked[CONFIG].get_memory_pool_limit(kind) > 2**30
    build(scorer, workspace_mib=64)
    assert asked[CONFIG].get_memory_pool_limit(kind) == 64 * 2**20


def test_the_scorer_of_the_shipped_bundle_builds_and_gives_score_and_map() -> None:
    bundle = Bundle.load(SHIPPED)
    backbone = build(bundle.backbone(), part='backbone')
    given = backbone.tensors
    plan = build_plan(bundle.scorer(), RTX, part='scorer', options=BuildOptions(), given=given)
    assert {name: shape for name, shape in plan.tensors.items() if name not in given} == {
        'raw_score': (1,),
        'patch_score': (1, 28, 28),
    }


@NO_TIMINGS
def test_timings_are_kept_for_the_next_build_which_takes_them(
    scorer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    take = trt.IBuilderConfig.create_timing_cache

    def create(config: Any, content: bytes) -> Any:
        taken.append(content)
        return take(config, content)

    monkeypatch.setattr(trt.IBuilderConfig, 'create_timing_cache', create)
    file = tmp_path / 'timing.cache'
    build(scorer, RTX, timings=file)
    assert not file.exists()
    build(scorer, TENSORRT, timings=file)
    kept = file.read_bytes()
    assert kept
    build(scorer, TENSORRT, timings=file)
    assert taken == [b'', kept]


def raising(*_args: Any, **_more: Any) -> Any:
    msg = 'no cache today'
    raise RuntimeError(msg)


@NO_TIMINGS
@pytest.mark.parametrize(
    ('name', 'answer'),
    [
        ('create_timing_cache', lambda _config, _content: None),
        ('set_timing_cache', lambda _config, _cache, ignore_mismatch: False),
        ('get_timing_cache', lambda _config: None),
        ('create_timing_cache', raising),
        ('set_timing_cache', raising),
        ('get_timing_cache', raising),
    ],
)
def test_timings_that_cannot_be_used_cost_no_build(
    scorer: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    answer: Callable[..., Any],
) -> None:
    monkeypatch.setattr(trt.IBuilderConfig, name, answer)
    assert build(scorer, TENSORRT, timings=tmp_path / 'timing.cache').content


@NO_TIMINGS
def test_timings_of_another_device_are_replaced_by_new_ones(
    scorer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = trt.IBuilderConfig.create_timing_cache

    def create(config: Any, content: bytes) -> Any:
        return known(config, b'') if content == b'' else None

    monkeypatch.setattr(trt.IBuilderConfig, 'create_timing_cache', create)
    file = tmp_path / 'timing.cache'
    file.write_bytes(b'of another device')
    build(scorer, TENSORRT, timings=file)
    assert file.read_bytes() not in (b'', b'of another device')


@pytest.mark.parametrize(
    ('said', 'message'),
    [
        (
            'Could not find any implementation for node conv due to insufficient workspace',
            r'cannot build the scorer: its scratch memory is too small: .* larger --workspace',
        ),
        (
            'Requested amount of GPU memory (1024 bytes) could not be allocated.',
            r'cannot build the scorer: there is not enough memory: .*end other programs',
        ),
        ('Error Code 2: OutOfMemory (no further information)', 'there is not enough memory'),
        ('Internal Error', 'cannot build the scorer: .*Internal Error'),
    ],
)
def test_a_build_that_fails_for_want_of_memory_says_what_helps(
    scorer: bytes, monkeypatch: pytest.MonkeyPatch, said: str, message: str
) -> None:
    def fail(_builder: Any, _network: Any, _config: Any) -> None:
        log = make_log(RTX)
        for line in (said, *['Error Code 10: Internal Error'] * 4):
            log.log(trt.ILogger.Severity.ERROR, line)

    monkeypatch.setattr(trt.Builder, 'build_serialized_network', fail)
    with pytest.raises(EngineError, match=message):
        build(scorer)


def nullptr(*_args: Any) -> Any:
    msg = 'pybind11::init(): factory function returned nullptr'
    raise TypeError(msg)  # as the bindings do where driver and library disagree


@pytest.mark.parametrize(
    ('of', 'name', 'doing'),
    [
        (trt, 'Builder', 'starting to build'),
        (trt.OnnxParser, 'parse', 'reading the backbone'),
        (trt.Builder, 'build_serialized_network', 'building the backbone'),
    ],
)
def test_errors_of_the_bindings_reach_people_as_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    of: Any,
    name: str,
    doing: str,
) -> None:
    bundle = make_tiny_bundle(tmp_path / 'tiny')
    monkeypatch.setattr(of, name, nullptr)
    assert main(['build-engine', str(bundle.path), '--cache', str(tmp_path / 'cache')]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f'ood_monitor: error: tensorrt_rtx failed while {doing}: pybind11')

"""
The engine on a GPU: it reproduces the goldens, in every batch, captured or not, and leaves.

Each test runs on a GPU where there is one, and on emulated ones (`tests.emulated_gpu`), which show
this project's logic alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import gc
from pathlib import Path

import numpy as np
import pytest

from ros_ood_monitor.alerting import make_logic
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines.build import build_engine, BuildOptions
from ros_ood_monitor.engines.cuda import cudart, find_device
from ros_ood_monitor.engines.ort_engine import OrtEngine
from ros_ood_monitor.engines.trt_engine import TrtEngine
from ros_ood_monitor.engines.trt_library import load_library
from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.monitor import Monitor, observe_together
from ros_ood_monitor.records import Frame
from tests.emulated_gpu import emulate, Machine
from tests.tiny_bundle import make_tiny_bundle

BATCH = (1, 2, 3)


def test_without_a_gpu_the_message_tells_what_to_look_at() -> None:
    pytest.importorskip('cuda.bindings', reason='cuda-bindings is not installed')
    try:
        find_device()
        message = r'there is no GPU 99: expected one of \[0'
    except EngineError:
        message = 'look at nvidia-smi'
    with pytest.raises(EngineError, match=message):
        find_device(99)


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(
        tmp_path_factory.mktemp('bundle') / 'tiny', precisions=('fp32', 'fp16')
    )


@pytest.fixture(scope='module')
def with_maps(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'maps', maps=True)


@pytest.fixture(
    params=[
        pytest.param('gpu', marks=pytest.mark.gpu),
        'emulated tensorrt',
        'emulated tensorrt_rtx eager',
        'emulated tensorrt integrated',
    ]
)
def machine(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machine | None]:
    """Provide a GPU; None where it is a real one."""
    if request.param == 'gpu':
        try:
            find_device()
            load_library()
        except EngineError as error:
            pytest.skip(f'needs a GPU: {error}')
        yield None
        return
    _, library, *more = request.param.split()
    emulated = emulate(monkeypatch, library, is_integrated='integrated' in more)
    emulated.is_eager = 'eager' in more
    yield emulated
    gc.collect()
    emulated.check()


@pytest.fixture
def open_trt(
    machine: Machine | None, bundle: Bundle, tmp_path: Path
) -> Iterator[Callable[..., TrtEngine]]:
    opened: list[TrtEngine] = []

    def open_(
        precision: str = 'fp32',
        *,
        capture: bool = True,
        of: Bundle = bundle,
        batch: tuple[int, int, int] = BATCH,
    ) -> TrtEngine:
        options = BuildOptions(batch=batch)
        files, _ = build_engine(of, precision=precision, options=options, cache=tmp_path)
        try:
            opened.append(TrtEngine(of, files, capture=capture))
        except EngineError as error:
            if 'UNSUPPORTED_CC' in str(error):
                pytest.skip(f'the library does not run on this GPU: {error}')
            raise
        return opened[-1]

    yield open_
    for engine in opened:
        engine.close()


@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_goldens_are_reproduced(
    bundle: Bundle, open_trt: Callable[..., TrtEngine], precision: str
) -> None:
    engine = open_trt(precision)
    engine.warm_up()
    result = bundle.verify(engine, precision)
    assert result.ok, result


def test_every_batch_gives_what_single_pictures_give(open_trt: Callable[..., TrtEngine]) -> None:
    engine = open_trt()
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 48, 3)).astype(np.uint8)
    single = np.concatenate([engine.infer(image[np.newaxis]).raw_score for image in images])
    for count in (1, 2, 3, 8):  # 8 go in turns of 3
        got = engine.infer(images[:count]).raw_score
        np.testing.assert_allclose(got, single[:count], rtol=1e-4)


def test_fewer_pictures_than_it_was_built_for_give_the_same_scores(
    open_trt: Callable[..., TrtEngine],
) -> None:
    images = np.random.default_rng(3).integers(0, 256, (3, 32, 48, 3)).astype(np.uint8)
    at_least_two, usual = open_trt(batch=(2, 2, 4)), open_trt()
    for count in (3, 1):
        got = at_least_two.infer(images[:count]).raw_score
        np.testing.assert_allclose(got, usual.infer(images[:count]).raw_score, rtol=1e-4)
    assert at_least_two.describe()['batch'] == '2 to 4'


def test_an_engine_of_one_batch_size_takes_any_number_of_pictures(
    with_maps: Bundle, open_trt: Callable[..., TrtEngine]
) -> None:
    images = np.random.default_rng(5).integers(100, 156, (5, 32, 48, 3)).astype(np.uint8)
    fixed, usual = open_trt(of=with_maps, batch=(2, 2, 2)), open_trt(of=with_maps)
    fixed.warm_up()
    assert fixed.describe()['batch'] == '2 to 2'
    for count in (1, 2, 5):
        got, wanted = fixed.infer(images[:count]), usual.infer(images[:count])
        np.testing.assert_allclose(got.raw_score, wanted.raw_score, rtol=1e-4)
        assert got.patch_score is not None
        np.testing.assert_allclose(got.patch_score, wanted.patch_score, rtol=1e-3, atol=1e-4)


def test_maps_are_those_of_onnxruntime_in_every_batch(
    with_maps: Bundle, open_trt: Callable[..., TrtEngine]
) -> None:
    images = np.random.default_rng(2).integers(100, 156, (5, 32, 48, 3)).astype(np.uint8)
    got, wanted = open_trt(of=with_maps).infer(images), OrtEngine(with_maps).infer(images)
    assert got.patch_score is not None
    assert wanted.patch_score is not None
    np.testing.assert_allclose(got.patch_score, wanted.patch_score, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(got.raw_score, wanted.raw_score, rtol=1e-4)


def test_cameras_share_a_call_and_every_batch_is_captured_beforehand(
    with_maps: Bundle, open_trt: Callable[..., TrtEngine]
) -> None:
    engine = open_trt(of=with_maps)
    engine.warm_up()
    assert engine.batch == 3
    assert list(engine._graphs) == [1, 2, 3]
    rng = np.random.default_rng(4)
    stream = [Frame(rng.integers(100, 156, (60, 90 + k, 3)).astype(np.uint8)) for k in range(3)]
    first, apart = Monitor(with_maps, engine), Monitor(with_maps, OrtEngine(with_maps))
    cameras = [
        first,
        *(
            first.another(
                make_logic(first.calibration.operating_point, first.calibration.raw_score)
            )
            for _ in range(2)
        ),
    ]
    for frame, got in zip(
        stream, observe_together(list(zip(cameras, stream, strict=True))), strict=True
    ):
        wanted = apart.observe(frame)
        assert got.raw_score == pytest.approx(wanted.raw_score, rel=1e-4)
        assert got.heatmap_peak == pytest.approx(wanted.heatmap_peak, rel=1e-3)


def test_a_captured_graph_computes_what_plain_calls_compute(
    machine: Machine | None, open_trt: Callable[..., TrtEngine]
) -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 48, 3)).astype(np.uint8)
    captured, plain = open_trt(), open_trt(capture=False)
    for _ in range(3):
        np.testing.assert_array_equal(
            captured.infer(images).raw_score, plain.infer(images).raw_score
        )
    assert plain.describe()['cuda_graph'] == 'no'
    if machine is not None:  # a library may refuse; `tests.bench.gpu` tells it of a real one
        assert captured.describe()['cuda_graph'] == 'yes'


def test_ten_openings_leave_nothing_on_the_gpu(open_trt: Callable[..., TrtEngine]) -> None:
    def free() -> int:
        runtime = cudart()
        runtime.cudaDeviceSynchronize()
        return int(runtime.cudaMemGetInfo()[1])

    open_trt().close()
    before = free()
    for _ in range(10):
        engine = open_trt()
        engine.warm_up()
        engine.close()
    assert before - free() < 2**20


def test_a_closed_engine_and_a_wrong_picture_are_refused(
    open_trt: Callable[..., TrtEngine],
) -> None:
    engine = open_trt()
    with pytest.raises(EngineError, match='engine input mismatch'):
        engine.infer(np.zeros((1, 31, 48, 3), np.uint8))
    engine.close()
    with pytest.raises(EngineError, match='closed'):
        engine.infer(np.zeros((1, 32, 48, 3), np.uint8))

"""ONNX Runtime: shapes are checked, batches equal singles, misfits are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ros_ood_monitor.bundle import Bundle, bundle_digest, write_bundle
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import EngineError
from tests.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


def shape(bundle: Bundle) -> tuple[int, int, int]:
    return (bundle.manifest.input_height, bundle.manifest.input_width, 3)


def test_a_batch_scores_like_its_frames_one_by_one(bundle: Bundle) -> None:
    engine = open_engine(bundle)
    batch = np.random.default_rng(0).integers(0, 256, (5, *shape(bundle)), dtype=np.uint8)
    together = engine.infer(batch).raw_score
    alone = [engine.infer(image[np.newaxis]).raw_score[0] for image in batch]
    assert together.dtype == np.float64
    assert np.allclose(together, alone, rtol=1e-5)


def test_inputs_of_another_shape_or_type_are_refused(bundle: Bundle) -> None:
    engine = open_engine(bundle)
    height, width, _ = shape(bundle)
    with pytest.raises(EngineError, match='engine input mismatch'):
        engine.infer(np.zeros((1, width, height, 3), np.uint8))
    with pytest.raises(EngineError, match='float32'):
        engine.infer(np.zeros((1, height, width, 3), np.float32))  # type: ignore[arg-type]


def test_engine_describes_itself(bundle: Bundle) -> None:
    facts = open_engine(bundle, threads=2).describe()
    assert facts['engine'] == 'onnxruntime'
    assert facts['precision'] == 'fp32'
    assert facts['threads'] == '2'


def test_a_width_that_does_not_fit_names_both_sides(bundle: Bundle, tmp_path: Path) -> None:
    copy = make_tiny_bundle(tmp_path / 'tiny')
    raw = copy.manifest.raw
    raw['features']['taps'][0]['channels'] += 1
    (copy.path / 'manifest.yaml').write_text(yaml.safe_dump({**raw, 'digest': bundle_digest(raw)}))
    with pytest.raises(EngineError, match=r'feature width mismatch at .* backbone gives \d+'):
        open_engine(Bundle.load(copy.path))


def test_a_model_that_is_none_is_refused() -> None:
    with pytest.raises(EngineError, match=r'ONNX Runtime .* refuses the model'):
        open_session(b'not a model')


def test_a_closed_engine_says_so(bundle: Bundle) -> None:
    engine = open_engine(bundle)
    engine.close()
    with pytest.raises(EngineError):
        engine.warm_up()


def test_threads_must_be_positive(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match='threads must be at least 1, got 0'):
        open_engine(bundle, threads=0)


@pytest.fixture(scope='module')
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('mapped') / 'tiny', maps=True)


def test_a_bundle_without_maps_gives_no_patch_score(bundle: Bundle) -> None:
    assert open_engine(bundle).infer(np.zeros((2, *shape(bundle)), np.uint8)).patch_score is None


def test_a_bundle_with_maps_gives_the_patch_score_beside_the_same_raw_score(
    bundle: Bundle, mapped: Bundle
) -> None:
    batch = np.random.default_rng(1).integers(120, 136, (3, *shape(mapped)), dtype=np.uint8)
    batch[1, 8:16, 20:28] = (255, 0, 0)
    reading = open_engine(mapped).infer(batch)
    assert np.allclose(reading.raw_score, open_engine(bundle).infer(batch).raw_score)
    assert reading.patch_score is not None
    assert (reading.patch_score.shape, reading.patch_score.dtype) == ((3, 8, 12), np.float32)
    # 4 input pixels a cell
    assert np.unravel_index(reading.patch_score.argmax(), (3, 8, 12))[0] == 1
    hot = reading.patch_score[1] > reading.patch_score[[0, 2]].max()
    assert np.argwhere(hot).tolist() == [[y, x] for y in (2, 3) for x in (5, 6)]


def test_a_map_that_the_backbone_does_not_give_is_refused(
    bundle: Bundle, mapped: Bundle, tmp_path: Path
) -> None:
    files = {name: mapped.read(name) for name in mapped.manifest.digests}
    files['backbone.fp32.onnx'] = bundle.backbone('fp32')
    broken = write_bundle(tmp_path / 'broken', manifest=mapped.manifest.raw, files=files)
    with pytest.raises(
        EngineError, match=r"at 'blocks_1_map': manifest says 12, backbone gives N"
    ):
        open_engine(broken)


@pytest.mark.parametrize('engine', ['onnxruntime', 'onnxruntime-cuda', 'onnxruntime-tensorrt'])
def test_a_gpu_that_is_named_is_the_providers_and_what_it_builds_is_kept(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """The providers are not here: what they are asked for is looked at, and a CPU answers."""
    import onnxruntime as ort

    asked: list[list[tuple[str, dict[str, str]]]] = []
    real = ort.InferenceSession

    class Session:
        def __init__(self, model: bytes, options: Any, providers: Any) -> None:
            asked.append(providers)
            self._session = real(model, options, providers=['CPUExecutionProvider'])

        def get_providers(self) -> list[str]:
            return [name for name, _ in asked[-1]]

        def __getattr__(self, name: str) -> Any:
            return getattr(self._session, name)

    known = [f'{name}ExecutionProvider' for name in ('Tensorrt', 'CUDA', 'CPU')]
    monkeypatch.setattr(ort, 'InferenceSession', Session)
    monkeypatch.setattr(ort, 'get_available_providers', lambda: known)
    for cache in ('one', 'one', 'two'):
        open_engine(bundle, engine, device=2, cache=tmp_path / cache).close()
    cpu, cuda = [('CPUExecutionProvider', {})], ('CUDAExecutionProvider', {'device_id': '2'})
    assert asked[1::2] == [cpu] * 3  # the scorer
    backbones = asked[::2]
    if engine == 'onnxruntime':
        assert backbones == [cpu] * 3
    elif engine == 'onnxruntime-cuda':
        assert backbones == [[cuda]] * 3
    else:
        assert [of[1] for of in backbones] == [cuda] * 3
        kept = [of[0][1] for of in backbones]
        assert all(of['device_id'] == '2' for of in kept)
        assert all(of['trt_engine_cache_enable'] == 'True' for of in kept)
        folders = [Path(of['trt_engine_cache_path']) for of in kept]
        assert [folder.parent.name for folder in folders] == ['one', 'one', 'two']
        assert folders[0] == folders[1]
        assert folders[0].is_dir()
        (tmp_path / 'file').touch()
        with pytest.raises(EngineError, match=r'engine cannot be written: .*; give --cache'):
            open_engine(bundle, engine, cache=tmp_path / 'file')
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == (
        ['one', 'two'] if engine.endswith('tensorrt') else []
    )

"""Frames in tiles: what the graph cuts, how it comes together, and the whole way to a bundle."""

# flake8: noqa: E402  (the trainer cannot be imported where torch is missing)

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import yaml

torch = pytest.importorskip('torch')

from ros_ood_monitor.cli.main import main
from ros_ood_monitor.cli.train_summary import summary
from ros_ood_monitor.engines.build import build_plan, BuildOptions
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.engines.trt_library import load_library
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.training.backbones import (
    BackboneTap,
    load_backbone,
    TappedBackbone,
    TiledBackbone,
    Tiles,
    tiles_of,
)
from ros_ood_monitor.training.detectors import fit_closed_form
from ros_ood_monitor.training.detectors.normalization import Normalization
from ros_ood_monitor.training.export.graphs import export_backbone, output_names, prove_backbone
from ros_ood_monitor.training.export.map_features import MapPlan
from ros_ood_monitor.training.export.scorer import CellScorer, highest_mean
from ros_ood_monitor.training.features.runners import OnnxRunner, TorchRunner
from ros_ood_monitor.training.precisions import convert
from ros_ood_monitor.training.remarks import remarks
from ros_ood_monitor.training.settings.train_settings import TrainSettings
from ros_ood_monitor.training.trainer import train, TrainResult

pytestmark = pytest.mark.usefixtures('exported_once')

TILES = Tiles(2, 3)
SIDE = 32  # of a tile, as the network sees it
FRAME = (128, 192)  # rows, columns: twice what all tiles have
SPOT = (104, 28)  # row, column of an anomaly: in the lower left tile


def noise(count: int, height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_parts_are_counted_by_rows_and_come_together_at_their_places() -> None:
    images = noise(2, 4, 9)
    parts = TILES.cut(images)
    assert parts.shape == (12, 2, 3, 3)
    assert np.array_equal(parts[7], images[1, 0:2, 3:6])  # the second picture's second part
    assert np.array_equal(parts[3], images[0, 2:4, 0:3])
    assert np.array_equal(TILES.together(parts.astype(np.float32)), images)
    pooled = np.arange(12, dtype=np.float32).reshape(12, 1)
    assert TILES.together(pooled).tolist() == [[2.5], [8.5]]


def test_the_graph_gives_what_the_parts_give_in_fp32_and_int8() -> None:
    whole = load_backbone('mobilenet_v2')
    backbone = TiledBackbone.of(whole, TILES)
    assert tiles_of(backbone) == TILES
    assert tiles_of(whole).count == 1
    taps, maps = whole.taps[:1], whole.taps[2:4]
    height, width = 2 * SIDE, 3 * SIDE
    onnx = export_backbone(backbone, taps, height, width, maps)
    images = noise(16, height, width)
    prove_backbone(open_session(onnx), backbone, taps, images[:3], maps)
    names = output_names(taps, maps)
    reference = open_session(onnx).run(names, {'image': images[:2]})
    assert reference[1].shape[1:3] == (2 * SIDE // 4, 3 * SIDE // 4)
    content = convert(onnx, 'cpu-int8', calibration_images=images)
    got = open_session(content, precision='cpu-int8').run(names, {'image': images[:2]})
    for ours, theirs in zip(got, reference, strict=True):
        assert ours.shape == theirs.shape
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.95
    # what a GPU computes features with
    run = TorchRunner(TappedBackbone(whole, taps), 'cpu', batch_size=7, tiles=TILES)
    assert run.batch_size == 1
    deployed = OnnxRunner(open_session(onnx), taps)(images[:2])
    assert run(images[:2]) == pytest.approx(deployed, rel=1e-3, abs=1e-4)


def test_a_size_without_equal_parts_or_that_the_network_does_not_take_is_refused() -> None:
    backbone = TiledBackbone.of(load_backbone('mobilenet_v2'), TILES)
    with pytest.raises(TrainingError, match=r'2x3 equal tiles: .* got 100x64 px'):
        backbone.check_size(64, 100)


@pytest.mark.parametrize('tiles', [(1, 1), (3, 1), (1, 2), (2, 3)])
def test_the_tile_with_the_highest_cells_is_the_local_score(tiles: tuple[int, int]) -> None:
    rows, columns = tiles
    grid = rows * 15, columns * 10  # 150 cells each, of which the highest two count
    maps = np.random.default_rng(0).normal(size=(4, *grid)).astype(np.float32)
    parts = [
        np.sort(part.reshape(4, -1), axis=1)[:, -2:].mean(axis=1)
        for band in np.split(maps, rows, axis=1)
        for part in np.split(band, columns, axis=2)
    ]
    expected = np.max(parts, axis=0)
    assert highest_mean(maps, tiles) == pytest.approx(expected)
    plan = MapPlan((BackboneTap('one', 2, 8),), (grid,), tiles)
    detector = fit_closed_form('mean_distance', np.eye(2, dtype=np.float32)).detector
    nothing = np.zeros(grid), np.ones(grid)
    cells = CellScorer(plan, [Normalization('none')], detector, *nothing, local=(1.0, 0.5))
    local = cells.local_term(torch.from_numpy(maps), 3.0).numpy()
    assert local == pytest.approx((expected - 1.0) * 6.0, rel=1e-5)


def test_a_coreset_out_of_range_is_refused_with_both_limits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ['train', '--data', str(tmp_path), '--out', str(tmp_path / 'out'), '--coreset']
    for size in ('7', '40000'):
        assert main([*args, size]) != 0
        assert f'expected 8 to 32768 points, got {size}' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*args, 'many'])
    assert "expected auto or 8 to 32768 points, got 'many'" in capsys.readouterr().err


def test_the_summary_tells_where_a_coreset_has_fewer_rows_than_were_asked_for(
    result: TrainResult,
) -> None:
    bundle = copy.copy(result.bundle)
    raw = copy.deepcopy(bundle.manifest.raw)
    raw['training']['settings']['coreset'] = 4096
    bundle.manifest = dataclasses.replace(bundle.manifest, raw=raw)
    lines = summary(dataclasses.replace(result, bundle=bundle))
    text = 'coreset    map 1500 points (0.37 MiB), all rows there are of 4096 asked for'
    assert text in lines


@pytest.mark.parametrize(
    ('tiles', 'match'),
    [
        ('2', "expected such as '2x3', got '2'"),
        ('0x2', "rows and columns of at least 1.*'0x2'"),
        ('2x-1', 'rows and columns'),
        ('9x9', 'too many tiles: expected at most 64, got 9x9 = 81'),
    ],
)
def test_tiles_that_are_none_are_refused_before_any_frame_is_read(tiles: str, match: str) -> None:
    with pytest.raises(TrainingError, match=match):
        TrainSettings(tiles=tiles).check()


# ---- the whole way --------------------------------------------------------------------------


def scene(index: int, *, spoilt: bool = False) -> npt.NDArray[np.uint8]:
    """Return noise on a gradient, with a red spot of 12 px where it is spoilt."""
    rng = np.random.default_rng(index)
    rows, columns = FRAME
    light = 70.0 + np.linspace(0.0, 60.0, columns)[None, :, None]
    rgb = light + rng.normal(0.0, 12.0, (rows, columns, 1)) + rng.normal(0.0, 2.0, 3)
    if spoilt:
        row, column = SPOT
        rgb[row - 6 : row + 6, column - 6 : column + 6] = (220, 20, 20)
    return np.clip(rgb, 0, 255).astype(np.uint8)


def write(folder: Path, pictures: list[npt.NDArray[np.uint8]]) -> Path:
    folder.mkdir(parents=True)
    for k, rgb in enumerate(pictures):
        assert cv2.imwrite(str(folder / f'{k:03d}.png'), rgb[..., ::-1])
    return folder


def settings(data: Path, **changes: Any) -> TrainSettings:
    options: dict[str, Any] = {
        'taps': ('blocks.0', 'blocks.2'),
        'density': 'mahalanobis',
        'map': ('blocks.1', 'blocks.2'),
        'map_density': 'knn',
        'coreset': 1500,
        'alpha': 0.05,
        'input_size': SIDE,
        'tiles': '2x3',
    }
    return TrainSettings((data,), **{**options, **changes})


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp('tiles') / 'normal', [scene(k) for k in range(105)])


@pytest.fixture(scope='module')
def result(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(settings(data), tmp_path_factory.mktemp('tiles_out') / 'bundle')


def test_monitor_finds_the_place_in_the_frame_and_the_frame_strange(result: TrainResult) -> None:
    manifest = result.bundle.manifest
    assert (manifest.input_height, manifest.input_width, manifest.tiles) == (64, 96, (2, 3))
    assert manifest.raw['map']['grid'] == [16, 24]
    monitor = _monitor(result)
    assert monitor.verify().ok
    normal = [monitor.observe_image(scene(k), stamp=k / 10.0) for k in range(300, 320)]
    seen = monitor.observe_image(scene(400, spoilt=True), stamp=3.0)
    assert seen.raw_score > monitor.threshold
    assert sum(one.raw_score > monitor.threshold for one in normal) <= 4
    heat = seen.heatmap
    assert heat is not None
    assert heat.shape == FRAME
    peak = np.unravel_index(int(heat.argmax()), heat.shape)
    assert np.abs(np.subtract(peak, SPOT)).max() <= 10
    region = seen.regions[0]
    assert region.left <= SPOT[1] < region.left + region.width
    assert region.top <= SPOT[0] < region.top + region.height


def _monitor(result: TrainResult) -> Monitor:
    return Monitor.from_bundle(result.bundle, engine='onnxruntime', health=False)


def test_thresholds_are_those_of_whole_frames_seen_in_tiles(
    result: TrainResult, data: Path
) -> None:
    monitor, split = _monitor(result), result.found.split
    files = sorted(data.iterdir())
    scores = []
    for row in split.calibration[:5]:
        rgb = cv2.imread(str(files[row]))[..., ::-1]
        scores.append(monitor.observe_image(np.ascontiguousarray(rgb), stamp=0.0).raw_score)
    held_out = result.bundle.calibration().raw_score
    assert all(np.abs(held_out - score).min() < 1e-4 for score in scores)


def test_inspect_and_training_say_what_a_frame_is_cut_into(
    result: TrainResult, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['inspect', str(result.bundle.path)]) == 0
    text = '96x64 in 2x3 tiles of 32x32, each a run of the backbone'
    assert text in capsys.readouterr().out
    assert any(text in line for line in summary(result))
    assert not any('tiles' in line for line in remarks(result.bundle, result.found))
    stored = yaml.safe_load((result.bundle.path / 'training.yaml').read_text())
    assert stored['tiles'] == '2x3'


def test_tensorrt_builds_the_cutting_with_a_batch_of_whole_frames(result: TrainResult) -> None:
    pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed')
    library = load_library('tensorrt_rtx')
    plan = build_plan(
        result.bundle.backbone(), library, part='backbone', options=BuildOptions(batch=(1, 2, 4))
    )
    assert plan.tensors['image'] == (-1, 64, 96, 3)
    assert plan.tensors['blocks_1_map'][1:3] == (16, 24)


def test_a_coreset_that_was_asked_for_gets_cells_enough_and_its_cost_is_told(
    result: TrainResult, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = result.bundle.manifest.raw['training']['map']
    assert facts['cells'] > 32 * len(result.found.split.fit)  # what is kept without one
    assert facts['facts']['coreset'] == 1500
    assert main(['inspect', str(result.bundle.path)]) == 0
    assert ': knn, 1500 cells, 0.366 MiB' in capsys.readouterr().out
    assert 'coreset    map 1500 points (0.37 MiB)' in summary(result)
    page = (result.bundle.path / 'report' / 'index.html').read_text()
    # 384 cells times 1500 points times 64 channels
    assert '1500 cells, 0.37 MiB in the scorer; 37 million multiplications a frame' in page


def test_frames_smaller_than_their_tiles_are_told_and_without_a_pixel_each_refused(
    result: TrainResult,
) -> None:
    bundle = copy.copy(result.bundle)
    health = {**(bundle.manifest.health or {}), 'sizes': [[48, 80], [192, 128]]}
    bundle.manifest = dataclasses.replace(bundle.manifest, health=health)
    line, shape = [line for line in remarks(bundle, result.found) if 'tiles' in line]
    assert shape.startswith('a tile of frames of 48x80 px is 16x40 px, the network sees it as 32')
    assert shape.endswith('--tiles 3x2 distorts less')
    assert line.startswith('frames of 48x80 px are smaller than the 96x64 px that 2x3 tiles have')
    TILES.check_frames(np.array([[192, 128], [3, 2]]))
    with pytest.raises(TrainingError, match=r'more tiles than pixels: 2x3 .* 3x2 px, got 2x2'):
        TILES.check_frames(np.array([[192, 128], [2, 2]]))

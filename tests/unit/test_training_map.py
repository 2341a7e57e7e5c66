"""The map: its features, what is normal at each place, and the whole way to a bundle."""

# flake8: noqa: E402  (the trainer cannot be imported where torch is missing)

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
import shutil
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import yaml

torch = pytest.importorskip('torch')

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.bundle.goldens import Goldens
from ros_ood_monitor.bundle.manifest import Tolerance
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.cli.train_summary import summary, warnings
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbones import BackboneTap, load_backbone
from ros_ood_monitor.training.detectors.normalization import Normalization
from ros_ood_monitor.training.export.graphs import (
    export_backbone,
    export_scorer,
    output_names,
    prove_backbone,
    prove_scorer,
)
from ros_ood_monitor.training.export.map_features import (
    CELLS_A_FRAME,
    map_taps,
    MapFeatures,
    MapPlan,
    places,
)
from ros_ood_monitor.training.export.scorer import CellScorer, highest_mean, Scorer
from ros_ood_monitor.training.features.runners import CellRunner, CellSampler
from ros_ood_monitor.training.fitting.tap import fit_density, FlowSettings
from ros_ood_monitor.training.maps.choice import best_of, cell_auroc, changed_cells
from ros_ood_monitor.training.maps.fit import fit_map_detector
from ros_ood_monitor.training.maps.places import statistics
from ros_ood_monitor.training.precisions import convert
from ros_ood_monitor.training.settings.densities import CLOSED_FORMS
from ros_ood_monitor.training.settings.train_settings import Resources, TrainSettings
from ros_ood_monitor.training.trainer import train, TrainResult

pytestmark = pytest.mark.usefixtures('exported_once')

FINE, COARSE = BackboneTap('fine', 4, 8), BackboneTap('coarse', 6, 16)
PLAN = MapPlan((FINE, COARSE), ((6, 8), (3, 4)))
FLOW = FlowSettings(couplings=2, whiten=False, steps=40)
SIZE = 64


def maps(count: int, *, plan: MapPlan = PLAN, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [
        torch.from_numpy(rng.normal(1.0, 0.5, value.shape).astype(np.float32))
        for value in plan.example(count)
    ]


def correlated(count: int, width: int, seed: int) -> npt.NDArray[np.float32]:
    mixing = np.random.default_rng(7).normal(size=(width, width)) / width
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, width)) @ mixing + 1.0).astype(np.float32)


def test_cells_are_local_means_on_the_finest_grid() -> None:
    fine, coarse = maps(2)
    cells = MapFeatures(PLAN)([fine, coarse]).numpy()
    assert cells.shape == (2, 6, 8, 10)
    assert cells[0, 2, 3, :4] == pytest.approx(fine[0, 1:4, 2:5].mean(dim=(0, 1)).numpy())
    # a corner has four neighbours, and nothing is padded
    assert cells[1, 0, 0, :4] == pytest.approx(fine[1, :2, :2].mean(dim=(0, 1)).numpy())
    # a stage that is constant stays so, whatever its grid
    even = MapFeatures(PLAN)([fine, torch.full_like(coarse, 3.0)]).numpy()
    assert even[..., 4:] == pytest.approx(3.0)


def test_one_cell_is_a_map_of_its_own() -> None:
    plan = MapPlan((FINE,), ((1, 1),))
    (one,) = maps(3, plan=plan)
    assert MapFeatures(plan)([one]).numpy() == pytest.approx(one.numpy())
    mean, std = statistics(np.random.default_rng(0).normal(5.0, 2.0, (60, 1, 1)), 1.0)
    assert mean[0, 0] == pytest.approx(5.0, abs=1.0)
    assert std[0, 0] == pytest.approx(2.0, abs=0.6)


def test_which_cells_are_sampled_depends_on_the_picture_alone() -> None:
    digest = bytes(range(32))
    chosen = places(digest, 784, 32)
    assert np.array_equal(chosen, places(np.frombuffer(digest, np.uint8), 784, 32))
    assert len(np.unique(chosen)) == 32
    assert not np.array_equal(chosen, places(bytes(32), 784, 32))
    assert places(digest, 5, 32).tolist() == [0, 1, 2, 3, 4]
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    sampler, given = CellSampler(PLAN), [value.numpy() for value in maps(3)]
    together = sampler(images, given)
    assert together.shape == (3, CELLS_A_FRAME * 10)
    alone = [sampler(images[k : k + 1], [g[k : k + 1] for g in given]) for k in range(3)]
    assert np.array_equal(together, np.concatenate(alone))


def test_every_place_has_its_own_normal_and_the_whole_map_stands_in_for_few_frames() -> None:
    rng = np.random.default_rng(1)
    place = np.zeros((8, 10))
    place[:, :3] = 6.0  # a bright border
    many = place + rng.normal(size=(400, 8, 10))
    mean, std = statistics(many, 1.0)
    z = (place + rng.normal(size=(200, 8, 10)) - mean) / std
    assert abs(z[:, :, 0].mean()) < 0.3
    assert abs(z[:, :, 9].mean()) < 0.3
    assert z.std() == pytest.approx(1.0, abs=0.25)
    few, _ = statistics(many[:2], 1.0)
    assert np.ptp(few) < 0.8 * np.ptp(mean)


def test_a_corner_in_which_nothing_moves_has_no_tiny_deviation() -> None:
    scores = np.random.default_rng(2).normal(size=(100, 9, 9))
    scores[:, :4, :4] = 0.0
    _, std = statistics(scores, 1.0)
    assert std.min() >= 0.2 * std.max()
    _, still = statistics(np.zeros((50, 4, 4)), 3.0)
    assert still == pytest.approx(np.full((4, 4), 0.03))


def test_patch_flow_is_a_density_and_starts_as_the_gaussian_of_its_components() -> None:
    narrow = correlated(3000, 6, 1)
    untrained = dataclasses.replace(FLOW, steps=0)
    detector, record = fit_map_detector('flow', narrow, narrow[:200], flow=untrained, seed=0)
    gaussian, _ = fit_density('mahalanobis', narrow, narrow[:200], settings=FLOW, seed=0)
    rows = torch.from_numpy(correlated(50, 6, 2)).double()
    # ActNorm takes its start from a batch, so that it is the same but for a little
    assert detector.score(rows).numpy() == pytest.approx(gaussian.score(rows).numpy(), abs=0.5)
    assert record.facts == {'components': 5}


def test_patch_flow_sees_what_lies_outside_of_its_components() -> None:
    rng = np.random.default_rng(3)
    wide = np.concatenate(
        [
            rng.normal(size=(4000, 128)) * np.geomspace(10.0, 0.5, 128),
            0.01 * rng.normal(size=(4000, 12)),
        ],
        axis=1,
    ).astype(np.float32)
    detector, record = fit_map_detector('flow', wide, wide[:200], flow=FLOW, seed=0)
    assert record.facts == {'components': 128}
    normal = torch.from_numpy(wide[:20]).double()
    strange = normal.clone()
    strange[:, 130] += 1.0
    assert float((detector.score(strange) - detector.score(normal)).min()) > 1000.0


@pytest.mark.parametrize('kind', ['flow', 'mahalanobis', 'pca_residual', 'knn'])
def test_runtime_reproduces_the_map_of_torch(kind: str) -> None:
    rows = correlated(600, PLAN.channels, 4)
    detector, _ = fit_map_detector(kind, rows, rows[:100], flow=FLOW, seed=0)
    rng = np.random.default_rng(5)
    place = rng.normal(0, 1, PLAN.grid) + detector.constant, rng.uniform(1.0, 2.0, PLAN.grid)
    norms = [Normalization('l2'), Normalization('none')]
    cells = CellScorer(PLAN, norms, detector, *place, local=(2.0, 0.5))
    pooled = BackboneTap('pooled', 5, 32)
    of_tap, _ = fit_density(
        'mahalanobis', correlated(300, 5, 6), correlated(50, 5, 7), settings=FLOW, seed=0
    )
    scorer = Scorer([of_tap], [0.0], [2.0], None, cells, 3.0)
    graph = export_scorer(copy.deepcopy(scorer).float(), [pooled])
    session = open_session(graph)
    given = [correlated(4, 5, 8), *(value.numpy() for value in maps(4, seed=9))]
    prove_scorer(session, scorer, [pooled], given, tolerance=Tolerance(1e-3, 1e-4, 1e-3))
    feed = dict(zip(output_names([pooled], PLAN.taps), given, strict=True))
    raw_score, patch_score = session.run(['raw_score', 'patch_score'], feed)
    alone = Scorer([of_tap], [0.0], [2.0])([torch.from_numpy(given[0]).double()])
    # 48 cells: the highest one is the local score
    local = (highest_mean(patch_score) - 2.0) / 0.5
    assert raw_score == pytest.approx(alone.numpy() + 3.0 * local, rel=1e-3, abs=1e-3)
    assert highest_mean(patch_score) == pytest.approx(patch_score.max(axis=(1, 2)))


def test_backbone_gives_its_maps_beside_pooled_features_in_every_precision() -> None:
    backbone = load_backbone('efficientnet_lite0')
    taps, wanted = backbone.select(['blocks.0']), backbone.select(['blocks.1', 'blocks.2'])
    images = np.random.default_rng(0).integers(0, 256, (16, SIZE, SIZE, 3), dtype=np.uint8)
    onnx = export_backbone(backbone, taps, SIZE, SIZE, wanted)
    prove_backbone(open_session(onnx), backbone, taps, images[:3], wanted)
    names = output_names(taps, wanted)
    assert names == ['blocks_0', 'blocks_1_map', 'blocks_2_map']
    reference = open_session(onnx).run(names, {'image': images[:2]})
    assert [value.shape for value in reference] == [(2, 16), (2, 16, 16, 24), (2, 8, 8, 40)]
    for precision in ('fp16', 'cpu-int8'):
        content = convert(onnx, precision, calibration_images=images)
        got = open_session(content, precision=precision).run(names, {'image': images[:2]})
        for ours, theirs in zip(got, reference, strict=True):
            assert (ours.dtype, ours.shape) == (np.float32, theirs.shape)
            correlation = np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]
            assert correlation > 0.97


def test_auto_takes_stages_of_8_and_16_px_and_none_deeper_than_what_is_scored() -> None:
    backbone = load_backbone('efficientnet_lite0')

    def names(wanted: Any, scored: Any = 'all') -> list[str]:
        return [tap.name for tap in map_taps(wanted, backbone, backbone.select(scored))]

    assert names('auto') == ['blocks.2', 'blocks.4']
    assert names('auto', ['blocks.0', 'blocks.1']) == ['blocks.1']
    assert names('none') == []
    assert names(['blocks.4', 'blocks.3']) == ['blocks.3', 'blocks.4']
    with pytest.raises(TrainingError, match='tap is unknown'):
        names(['blocks.99'])


def test_map_settings_are_refused_early() -> None:
    with pytest.raises(TrainingError, match=r"map density is unknown: expected one of .*'magic'"):
        TrainSettings(map_density='magic').check()
    with pytest.raises(TrainingError, match=r"map density is of a map: expected 'auto' .*'ppca'"):
        TrainSettings(map='none', map_density='ppca').check()


def test_changed_cells_are_those_that_a_defect_covers() -> None:
    sources = np.zeros((1, 40, 40, 3), np.uint8)
    made = sources.copy()
    made[0, 10:20, 20:40] = 200
    changed = changed_cells(made, sources, (4, 4))
    assert np.argwhere(changed[0] == 1.0).tolist() == [[1, 2], [1, 3]]
    assert cell_auroc(changed, changed) == 1.0
    assert np.isnan(cell_auroc(changed, np.zeros_like(changed)))


def test_the_map_is_a_gaussian_on_a_tie_and_where_nothing_can_be_judged() -> None:
    nan = float('nan')
    assert best_of({'flow': 0.7, 'mahalanobis': 0.8, 'knn': 0.9}) == 'knn'
    assert best_of({'flow': 0.8, 'mahalanobis': 0.8}) == 'mahalanobis'
    assert best_of({'flow': nan, 'mahalanobis': 0.6, 'knn': 0.7}) == 'knn'
    assert best_of({'flow': nan, 'mahalanobis': nan, 'knn': nan}) == 'mahalanobis'


# ---- the whole way --------------------------------------------------------------------------


def bordered(index: int) -> npt.NDArray[np.uint8]:
    """Return a noisy picture with a border that is bright in every frame."""
    rng = np.random.default_rng(index)
    rgb = rng.normal(90.0, 12.0, (SIZE, SIZE, 1)) + rng.normal(0.0, 2.0, 3)
    rgb[:, :12] = 235.0 + rng.normal(0.0, 3.0, (SIZE, 12, 1))
    return np.clip(rgb, 0, 255).astype(np.uint8)


def spoilt(index: int) -> npt.NDArray[np.uint8]:
    """Return such a picture with a red square around (44, 20)."""
    rgb = bordered(index)
    rgb[36:52, 12:28] = (220, 20, 20)
    return rgb


def write(folder: Path, pictures: list[npt.NDArray[np.uint8]]) -> Path:
    folder.mkdir(parents=True)
    for k, rgb in enumerate(pictures):
        assert cv2.imwrite(str(folder / f'{k:03d}.png'), rgb[..., ::-1])
    return folder


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp('map') / 'normal', [bordered(k) for k in range(110)])


def settings(data: Path, **changes: Any) -> TrainSettings:
    options: dict[str, Any] = {
        'taps': ('blocks.0', 'blocks.2'),
        'density': 'mahalanobis',
        'map': ('blocks.1', 'blocks.2'),
        'alpha': 0.05,
        'input_size': SIZE,
    }
    return TrainSettings((data,), **{**options, **changes})


@pytest.fixture(scope='module')
def result(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(settings(data), tmp_path_factory.mktemp('map_out') / 'bundle')


def test_the_map_peaks_at_the_defect_and_a_border_that_is_always_bright_is_normal(
    result: TrainResult,
) -> None:
    engine = open_engine(result.bundle)
    normal = engine.infer(np.stack([bordered(k) for k in range(500, 520)])).patch_score
    assert normal is not None
    assert normal.shape == (20, 16, 16)
    columns = normal.mean(axis=(0, 1))  # (16,): the border is three cells wide
    assert np.abs(columns).max() < 1.0, columns.round(2)
    assert normal.std() == pytest.approx(1.0, abs=0.4)
    reading = engine.infer(np.stack([spoilt(k) for k in range(600, 604)]))
    assert reading.patch_score is not None
    calibration = result.bundle.calibration().map
    assert calibration is not None
    for cells in reading.patch_score:
        row, column = np.unravel_index(int(cells.argmax()), cells.shape)
        assert 9 <= row <= 12
        assert 3 <= column <= 6
        assert cells.max() > calibration.threshold
    over = (normal > calibration.threshold).any(axis=(1, 2))
    assert over.mean() <= 0.25
    assert reading.raw_score.min() > result.bundle.calibration().operating_point.trigger


def test_the_bundle_says_what_its_map_is_and_holds_goldens_of_it(result: TrainResult) -> None:
    raw = result.bundle.manifest.raw
    assert [tap.name for tap in result.bundle.manifest.map_taps] == ['blocks.1', 'blocks.2']
    assert raw['map']['grid'] == [16, 16]
    assert raw['map']['density'] == 'mahalanobis'
    assert raw['outputs']['patch_score']['unit'] == 'z (of a cell at its place)'
    assert raw['training']['map']['statistics_frames'] == 11
    goldens = result.bundle.goldens()
    assert goldens.patch_score is not None
    verification = result.bundle.verify(open_engine(result.bundle))
    assert verification.ok
    assert 'map error' in str(verification)
    moved = dataclasses.replace(goldens, patch_score=goldens.patch_score + np.float32(0.5))
    engine = open_engine(result.bundle)
    tolerance = result.bundle.manifest.verify['fp32']
    found = moved.compare(
        engine,
        absolute=tolerance.absolute,
        relative=tolerance.relative,
        map_absolute=tolerance.map_absolute,
    )
    assert not found.ok
    assert found.map_error == pytest.approx(0.5, abs=0.01)


def test_goldens_without_maps_are_still_read_and_maps_of_another_number_refused() -> None:
    images = np.zeros((2, 8, 8, 3), np.uint8)
    plain = Goldens(images, np.zeros(2))
    assert Goldens.from_bytes(plain.to_bytes()).patch_score is None
    with pytest.raises(ValueError, match=r'a map \(gh, gw\) for each image'):
        Goldens(images, np.zeros(2), np.zeros((3, 2, 2), np.float32))


def test_equal_frames_give_an_equal_digest_whatever_the_workers_and_the_cache(
    result: TrainResult, data: Path, tmp_path: Path
) -> None:
    cache = tmp_path / 'cache'
    again = train(settings(data), tmp_path / 'a', resources=Resources(cache=cache, workers=3))
    assert again.bundle.digest == result.bundle.digest
    shutil.rmtree(tmp_path / 'a')
    read = {file: file.stat().st_mtime_ns for file in cache.rglob('rows.bin')}
    assert len(read) == 3  # features and cells; maps of validation frames; answers


def test_evaluate_finds_the_defects_by_their_masks(
    result: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / 'ood', [spoilt(k) for k in range(700, 706)])
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[36:52, 12:28] = 255
    write(tmp_path / 'masks', [np.repeat(mask[..., None], 3, axis=2)] * 6)
    write(tmp_path / 'id', [bordered(k) for k in range(800, 810)])
    arguments = ['--images', str(tmp_path / 'id'), '--ood', str(tmp_path / 'ood')]
    arguments += ['--masks', str(tmp_path / 'masks')]
    file = tmp_path / 'found.json'
    code = main(['evaluate', str(result.bundle.path), *arguments, '--json', str(file)])
    assert code == 0, capsys.readouterr().err
    assert yaml.safe_load(file.read_text())['pixel']['auroc'] > 0.95


def test_evidence_chooses_the_map_by_pasted_defects_and_both_precisions_have_one(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {'density': 'evidence', 'precisions': ('fp32', 'cpu-int8')}
    found = train(settings(data, **changes, flow=FLOW), tmp_path / 'bundle').found
    assert found.map_choice is not None
    assert set(found.map_choice) == {'flow', *CLOSED_FORMS}
    assert found.fitted_map is not None
    best = max(found.map_choice.values())
    assert found.map_choice[found.fitted_map.record.density] == best
    bundle = Bundle.load(tmp_path / 'bundle')
    for precision in bundle.manifest.precisions:
        assert bundle.calibration(precision).map is not None
        assert bundle.verify(open_engine(bundle, precision=precision), precision).ok
    page = (tmp_path / 'bundle' / 'report' / 'index.html').read_text()
    assert 'auroc of pasted defects, by cell' in page
    assert main(['inspect', str(tmp_path / 'bundle')]) == 0
    assert 'map          16x16 cells of blocks.1, blocks.2' in capsys.readouterr().out


def test_a_grid_too_coarse_for_evidence_takes_the_default_and_says_so(
    data: Path, tmp_path: Path
) -> None:
    coarse = settings(data, density='evidence', taps=('blocks.5',), map=('blocks.5',), flow=FLOW)
    made = train(coarse, tmp_path / 'bundle')
    assert made.found.fitted_map is not None
    assert made.found.fitted_map.plan.grid == (2, 2)
    assert made.found.fitted_map.record.density == 'mahalanobis'
    (line,) = [line for line in warnings(made) if 'not chosen' in line]
    assert 'no pasted defect covers half of one of the 2x2 cells' in line
    auroc = made.bundle.manifest.raw['training']['map']['auroc']
    assert set(auroc.values()) == {None}
    assert not any('AUROC on cells' in line for line in summary(made))


def test_cell_runner_is_told_from_that_of_another_detector() -> None:
    rows = correlated(100, PLAN.channels, 1)
    norms = [Normalization('l2')] * 2
    place = np.zeros(PLAN.grid), np.ones(PLAN.grid)
    names = set()
    for kind in ('ppca', 'pca_residual', 'mean_distance'):
        detector, _ = fit_map_detector(kind, rows, rows, flow=FLOW, seed=0)
        names.add(CellRunner(None, CellScorer(PLAN, norms, detector, *place)).name)
    assert len(names) == 3


def test_a_constant_picture_has_a_finite_map(result: TrainResult) -> None:
    engine = open_engine(result.bundle)
    for level in (0, 100, 255):
        reading = engine.infer(np.full((1, SIZE, SIZE, 3), level, np.uint8))
        assert reading.patch_score is not None
        assert np.isfinite(reading.patch_score).all()

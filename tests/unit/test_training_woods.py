"""What wild frames teach: the constraint, the head, and what is refused."""

# flake8: noqa: E402  (nothing of this can be imported where torch is missing)

from __future__ import annotations

from itertools import product
import json
from pathlib import Path
import shutil
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip('torch')

from ros_ood_monitor.bags import BagWriter
from ros_ood_monitor.bundle import Bundle, SKETCH
from ros_ood_monitor.bundle.sketch import FrameSketch
from ros_ood_monitor.cli import inspect as inspection
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.cli.train_summary import summary, warnings
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.metrics import auroc
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.training.detectors.woods import (
    _solve,
    boundary,
    DECAY,
    fit_woods,
    WoodsFit,
    WoodsParts,
)
from ros_ood_monitor.training.settings.config_file import settings_from, to_yaml
from ros_ood_monitor.training.settings.presets import FlowSettings
from ros_ood_monitor.training.settings.train_settings import Resources, TrainSettings
from ros_ood_monitor.training.trainer import train, TrainResult
from ros_ood_monitor.training.wild.data import hold_out
from ros_ood_monitor.training.wild.fitted_wild import chance_of
from tests.training_tools import scene, write_scenes

pytestmark = pytest.mark.usefixtures('exported_once')

Rows = npt.NDArray[np.float64]

WIDTHS = (8, 12)
ALPHA = 0.05
PERIOD = 251  # frames after which the scene comes back, with other noise
FRAMES = 120


def known(count: int, seed: int) -> Rows:
    return np.random.default_rng(seed).normal(size=(count, sum(WIDTHS))) * 0.1 + 1.0


def strange(count: int, seed: int) -> Rows:
    """Return rows that differ in one channel of each tap."""
    rows = known(count, seed)
    rows[:, [3, 15]] += 0.4
    return rows


def head(share: float, seed: int = 0) -> WoodsFit:
    """Fit the head to wild rows of which a share is strange."""
    rng = np.random.default_rng(seed)
    wild = np.concatenate(
        [known(400 - round(400 * share), seed + 1), strange(round(400 * share), seed + 2)]
    )
    wild = wild[rng.permutation(400)]
    _, fit, held = hold_out(np.zeros(400, np.int64))
    parts = WoodsParts(known(300, seed + 3), known(100, seed + 4), wild[fit], wild[held])
    return fit_woods(parts, WIDTHS, alpha=ALPHA)


def logits(found: WoodsFit, rows: Rows) -> Rows:
    pieces = np.split(rows, np.cumsum(WIDTHS)[:-1], axis=1)
    return np.asarray(
        sum(
            detector.score(torch.from_numpy(piece)).numpy()
            for detector, piece in zip(found.detectors, pieces, strict=True)
        )
    )


def test_a_tenth_of_strange_wild_frames_teaches_to_find_others_like_them() -> None:
    found = head(0.1)
    normal, other = logits(found, known(2000, 50)), logits(found, strange(500, 51))
    assert auroc(normal, other) > 0.99
    assert (other > 0).mean() > 0.9
    assert (normal > 0).mean() < 2 * ALPHA
    assert found.known_share <= ALPHA + 0.002


def test_wild_frames_without_anything_strange_leave_the_constraint_on_new_frames() -> None:
    over = [float((logits(head(0.0, seed), known(1000, 77)) > 0).mean()) for seed in range(3)]
    # 100 held-out frames set the boundary: a share of 0.05 +- 0.022
    assert np.mean(over) < ALPHA + 0.025
    assert max(over) < ALPHA + 4 * 0.022


def test_the_solution_is_that_of_a_search_over_all_weights_and_biases() -> None:
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(300, 1))
    wild = np.concatenate([rng.normal(size=(240, 1)), rng.normal(4.0, 0.5, size=(60, 1))])
    decay = DECAY

    def sigmoid(values: Rows) -> Rows:
        return 1.0 / (1.0 + np.exp(-np.clip(values, -500, 500)))

    def cost(weight: float, bias: float) -> float:
        return float(sigmoid(-(wild * weight + bias)).mean() + decay * weight**2)

    weight, bias, share = _solve(torch.from_numpy(normal), torch.from_numpy(wild), ALPHA, decay)
    assert share == pytest.approx(ALPHA, abs=2e-3)
    best = min(
        cost(w, b)
        for w, b in product(np.linspace(0, 8, 81), np.linspace(-40, 0, 201))
        if sigmoid(normal * w + b).mean() <= ALPHA
    )
    assert cost(float(weight[0]), bias) == pytest.approx(best, abs=5e-3)


def test_equal_rows_give_an_equal_head() -> None:
    first, second = head(0.2), head(0.2)
    for one, other in zip(first.detectors, second.detectors, strict=True):
        assert one.constant == other.constant
        assert torch.equal(one.get_buffer('weight'), other.get_buffer('weight'))


def test_features_that_are_not_finite_are_refused() -> None:
    parts = WoodsParts(known(60, 0), known(20, 1), known(40, 2), known(10, 3))
    broken = parts.wild.copy()
    broken[3, 4] = np.nan
    with pytest.raises(TrainingError, match='features of wild frames are not finite'):
        fit_woods(parts._replace(wild=broken), WIDTHS, alpha=ALPHA)


def test_the_boundary_is_the_highest_score_where_held_out_frames_are_few() -> None:
    scores = np.arange(10.0)
    assert boundary(scores, 0.5) == 5.0
    assert boundary(scores, 0.01) == 9.0


def test_chance_is_the_binomial_tail() -> None:
    stats = pytest.importorskip('scipy.stats')
    for over, count, share in ((0, 5, 0.1), (1, 5, 0.1), (3, 24, 0.05), (40, 4000, 0.01)):
        expected = stats.binom.sf(over - 1, count, share)
        assert chance_of(over, count, share=share) == pytest.approx(expected, rel=1e-9)
    assert chance_of(3, 4, share=1.0) == 1.0


@pytest.mark.parametrize('count', [50, 51, 333])
def test_a_quarter_of_the_wild_frames_is_held_out_all_along_the_stream(count: int) -> None:
    rule, fit, held = hold_out(np.zeros(count, np.int64))
    assert rule == 'block'
    assert sorted([*fit, *held]) == list(range(count))
    assert 0.2 <= len(held) / count < 0.3
    for quarter in np.array_split(np.arange(count), 4):
        assert np.isin(quarter, held).any()
        assert np.isin(quarter, fit).any()


def test_of_four_wild_sequences_one_is_held_out_whole() -> None:
    sequence = np.repeat([0, 1, 2, 3], [10, 20, 5, 30])
    rule, fit, held = hold_out(sequence)
    assert rule == 'sequence'
    assert set(sequence[held].tolist()) == {3}
    assert set(sequence[fit].tolist()) == {0, 1, 2}


def wild_bag(folder: Path) -> Path:
    """Write a recording in which every fourth frame shows a red square, and return it."""
    with BagWriter(folder) as bag:
        for k in range(FRAMES):
            rgb = scene(PERIOD + k)
            if k % 4 == 1:
                rgb[5:20, 5:20] = (255, 0, 0)
            message = bag.make(
                'sensor_msgs/msg/CompressedImage',
                header=bag.make_header(50.0 + 0.1 * k),
                format='png',
                data=cv2.imencode('.png', rgb[..., ::-1])[1].ravel(),
            )
            bag.write('/image', 'sensor_msgs/msg/CompressedImage', message, 50.0 + 0.1 * k)
    return folder


@pytest.fixture(scope='module')
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp('frames')
    return {
        'data': write_scenes(root / 'data', 2 * FRAMES),
        'wild': wild_bag(root / 'wild'),
        'clean': write_scenes(root / 'clean', FRAMES, first=PERIOD),
        'cache': root / 'cache',
    }


def settings(places: dict[str, Path], wild: str = '', **changes: Any) -> TrainSettings:
    options: dict[str, Any] = {
        'taps': ('blocks.0', 'blocks.1'),
        'alpha': ALPHA,
        'input_size': 64,
        'map': 'none',
        'flow': FlowSettings(steps=0),
        'wild': (places[wild],) if wild else (),
    }
    return TrainSettings((places['data'],), **{**options, **changes})


def fitted(places: dict[str, Path], out: Path, wild: str = '', **changes: Any) -> TrainResult:
    resources = Resources(cache=places['cache'], device='cpu')
    return train(settings(places, wild, **changes), out, name='woods', resources=resources)


@pytest.fixture(scope='module')
def plain(places: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return fitted(places, tmp_path_factory.mktemp('out') / 'plain')


@pytest.fixture(scope='module')
def woods(places: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    out = tmp_path_factory.mktemp('out') / 'woods'
    return fitted(places, out, 'wild', density='woods', map=('blocks.1',))


def red_square(index: int) -> npt.NDArray[np.uint8]:
    rgb = scene(index)
    rgb[7:22, 4:19] = (255, 0, 0)
    return rgb


def test_a_wild_bag_makes_a_bundle_that_finds_what_it_held(
    woods: TrainResult, places: dict[str, Path], tmp_path: Path
) -> None:
    bundle = Bundle.load(woods.bundle.path)
    assert {tap.density for tap in bundle.manifest.taps} == {'woods'}
    assert bundle.manifest.unit.startswith('logit')
    monitor = Monitor.from_bundle(bundle)
    normal = [monitor.observe_image(scene(k)).raw_score for k in range(600, 640)]
    other = [monitor.observe_image(red_square(k)).raw_score for k in range(600, 620)]
    assert min(other) > monitor.threshold
    assert np.mean(np.array(normal) > monitor.threshold) <= 3 * ALPHA
    monitor.close()


def test_with_woods_the_head_alone_makes_raw_score_and_the_map_stays(woods: TrainResult) -> None:
    session = open_session(woods.bundle.read('scorer.onnx'))
    rng = np.random.default_rng(0)
    given = {
        one.name: np.abs(rng.normal(size=[2, *one.shape[1:]])).astype(np.float32)
        for one in session.get_inputs()
    }
    (maps,) = (name for name in given if name.endswith('_map'))
    raw_score, patch_score = session.run(['raw_score', 'patch_score'], given)
    given[maps] = given[maps] * 3.0 + 1.0
    again, other = session.run(['raw_score', 'patch_score'], given)
    assert np.array_equal(raw_score, again)
    assert not np.allclose(patch_score, other)


def test_the_head_is_told_beside_the_detector_that_never_saw_wild_frames(
    woods: TrainResult,
) -> None:
    wild = woods.found.wild
    assert wild is not None
    assert wild.holds
    assert wild.has_learnt
    assert wild.head.wild_share > 0.2
    card = woods.bundle.manifest.raw['training']['wild']
    assert card['constraint_holds'] is True
    assert card['over_boundary']['woods']['wild'] == list(wild.head.wild)
    folder = Path(woods.bundle.path) / 'report'
    numbers = json.loads((folder / 'report.json').read_text(encoding='utf-8'))
    assert [row['density'] for row in numbers['wild_rows']] == ['auto', 'woods']
    assert numbers['wild_facts']['has learnt'] is True
    assert 'Wild frames' in (folder / 'index.html').read_text(encoding='utf-8')
    text = '\n'.join(summary(woods))
    assert f'of {wild.head.wild[1]} held-out wild frames' in text
    assert '(woods: its share in the logit)' in text
    assert 'it learnt from them' in '\n'.join(inspection.card(woods.bundle))


def test_wild_frames_of_the_scorer_are_frames_that_the_bundle_knows(woods: TrainResult) -> None:
    sketch = FrameSketch.from_bytes(woods.bundle.read(SKETCH))
    assert len(sketch.keys) == 3 * FRAMES


def test_a_clean_wild_set_does_no_harm_and_is_said_to_teach_nothing(
    plain: TrainResult, places: dict[str, Path], tmp_path: Path
) -> None:
    beside = fitted(places, tmp_path / 'beside', 'clean')
    assert beside.found.wild is not None
    assert beside.found.wild.holds
    assert not beside.found.wild.has_learnt
    # it is told beside the density, and changes nothing else
    for file in plain.bundle.manifest.digests:
        assert beside.bundle.read(file) == plain.bundle.read(file)
    assert 'wild' not in plain.bundle.manifest.raw['training']
    assert any('it learnt nothing' in line for line in warnings(beside))
    with pytest.raises(TrainingError, match=r'woods learnt nothing: \d of 30 held-out'):
        fitted(places, tmp_path / 'woods', 'clean', density='woods')
    assert not (tmp_path / 'woods').exists()


def test_wild_data_that_cannot_teach_is_refused(
    places: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scenes(tmp_path / 'few', 49, first=900)
    copies = tmp_path / 'copies'
    shutil.copytree(places['data'], copies)
    common = ['--data', str(places['data']), '--out', str(tmp_path / 'out'), '--quiet']
    common += ['--taps', 'blocks.0', '--input-size', '64', '--alpha', '0.05', '--map', 'none']
    common += ['--steps', '0', '--cache', str(places['cache'])]
    for wild, said in (
        (tmp_path / 'few', 'too few wild frames: expected at least 50 different ones, got 49'),
        (places['data'], 'wild data is training data, too'),
        (copies, 'wild data repeats the training data: 240 of 240 wild frames'),
        (tmp_path / 'nowhere', 'nowhere'),
    ):
        assert main(['train', *common, '--wild', str(wild)]) == 1
        assert said in capsys.readouterr().err
    assert main(['train', *common, '--density', 'woods']) == 1
    assert 'expected some with --wild, got none' in capsys.readouterr().err


def test_where_wild_frames_lie_is_in_no_settings_file(places: dict[str, Path]) -> None:
    one = settings(places, 'wild', density='woods')
    assert 'wild' not in to_yaml(one).replace('woods', '')
    assert settings_from({'wild': ['a', 'b']}).wild == ('a', 'b')
    with pytest.raises(TrainingError, match="'wild' has the wrong type: expected list"):
        settings_from({'wild': 'a'})

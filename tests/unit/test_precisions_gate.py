"""The gate: what a precision may do to the scores, and what it may not."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from ros_ood_monitor.calibration import Calibration
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.precisions import (
    golden_tolerance,
    judge,
    judge_worst,
    PrecisionScores,
    PrecisionVerdict,
)

FRAMES, PICTURES = 400, 300


def fp32(frames: int = FRAMES) -> PrecisionScores:
    rng = np.random.default_rng(6)
    trigger = Calibration.fit(rng.normal(size=500)).operating_point.trigger
    return PrecisionScores('fp32', rng.normal(size=frames), rng.normal(3, 1.5, PICTURES), trigger)


def changed(reference: PrecisionScores, **values: object) -> PrecisionScores:
    return dataclasses.replace(reference, precision='cpu-int8', **values)  # type: ignore[arg-type]


def test_the_reference_itself_passes_without_any_change() -> None:
    verdict = judge(fp32(), fp32())
    assert verdict.ok
    assert verdict.error_max == verdict.auroc_change == verdict.share_change == 0.0


def test_a_shift_that_the_own_calibration_takes_along_passes() -> None:
    reference = fp32()
    shifted = changed(
        reference,
        held_out=reference.held_out + 5.0,
        pseudo_ood=reference.pseudo_ood + 5.0,
        trigger=reference.trigger + 5.0,
    )
    verdict = judge(reference, shifted)
    assert verdict.ok
    assert verdict.shift == pytest.approx(5.0 / reference.held_out.std())
    assert verdict.auroc_change == verdict.share_change == 0.0


def test_the_same_shift_without_an_own_calibration_is_refused() -> None:
    reference = fp32()
    shifted = changed(
        reference, held_out=reference.held_out + 5.0, pseudo_ood=reference.pseudo_ood + 5.0
    )
    verdict = judge(reference, shifted)
    assert not verdict.ok
    assert len(verdict.refused) == 1
    assert 'over the trigger moves by +0.9' in verdict.refused[0]


def test_anomalies_that_stand_out_less_are_refused() -> None:
    reference = fp32()
    verdict = judge(reference, changed(reference, pseudo_ood=reference.pseudo_ood - 0.5))
    assert 'AUROC drops by 0.0' in verdict.refused[0]
    assert verdict.auroc_change < -0.01
    assert judge(reference, changed(reference, pseudo_ood=reference.pseudo_ood + 0.5)).ok


def test_the_kind_that_suffers_most_decides() -> None:
    reference = fp32()
    near = changed(reference, pseudo_ood=reference.pseudo_ood - 0.5)
    verdict = judge_worst({'far': (reference, reference), 'near': (reference, near)})
    assert verdict.kind == 'near'
    assert not verdict.ok
    assert 'AUROC on near' in str(verdict)
    assert verdict.reason.startswith('on near: AUROC drops by ')
    assert judge(reference, reference).reason == ''


def _few_frames(seed: int, loss: float, frames: int = 20) -> PrecisionVerdict:
    """Judge six kinds of 32 pictures, of which each precision sees the same with its own noise."""
    rng = np.random.default_rng(seed)
    known = rng.normal(size=frames)
    pairs = {}
    for kind in 'abcdef':
        strange = rng.normal(2.0, size=32)
        pairs[kind] = (
            PrecisionScores('fp32', known, strange, 9.0),
            PrecisionScores(
                'cpu-int8',
                known + rng.normal(0, 0.2, frames),
                strange - loss + rng.normal(0, 0.2, 32),
                9.0,
            ),
        )
    return judge_worst(pairs)


def test_a_drop_that_chance_explains_is_told_and_not_refused() -> None:
    verdicts = [_few_frames(seed, loss=0.0) for seed in range(40)]
    over = [verdict for verdict in verdicts if verdict.auroc_change < -0.01]
    assert len(over) > 10  # over the limit, on 20 frames, though nothing is lost
    assert all(verdict.within_chance for verdict in over if verdict.ok)
    assert sum(not verdict.ok for verdict in verdicts) <= 2
    told = next(verdict for verdict in over if verdict.ok)
    assert told.word == 'not established'
    assert str(told).startswith('cpu-int8: not established; ')
    assert f'its standard error is {told.auroc_error:.4f} on 20 frames and 32' in told.reason
    assert 'ood_monitor evaluate' in told.reason
    assert told.warning == f'cpu-int8: not established; {told.reason}'


def test_a_drop_of_seven_pairs_in_640_is_within_chance() -> None:
    known, strange = np.arange(20.0), np.arange(32.0) + 100.0
    moved = strange.copy()
    moved[:7] = 18.5  # below one known picture
    reference = PrecisionScores('fp32', known, strange, 99.0)
    verdict = judge(reference, changed(reference, pseudo_ood=moved), kinds=6)
    assert verdict.auroc_change == pytest.approx(-7 / 640)
    assert verdict.auroc_change < -0.01
    assert verdict.word == 'not established'
    assert verdict.ok


def test_a_large_loss_is_refused_on_few_frames_and_a_small_one_on_many() -> None:
    assert all(not _few_frames(seed, loss=1.0).ok for seed in range(10))
    small = [_few_frames(seed, loss=0.25, frames=2000) for seed in range(5)]
    assert all(not verdict.ok for verdict in small)
    assert all(-0.06 < verdict.auroc_change < -0.01 for verdict in small)


def test_a_refused_kind_counts_before_one_that_drops_more_by_chance() -> None:
    sure = fp32()
    surely = changed(sure, pseudo_ood=sure.pseudo_ood - 0.5)
    few = dataclasses.replace(sure, pseudo_ood=sure.pseudo_ood[:2])
    chance = changed(few, pseudo_ood=np.array([few.held_out[0], few.pseudo_ood[1]]))
    verdict = judge_worst({'chance': (few, chance), 'sure': (sure, surely)})
    assert judge(few, chance).auroc_change < judge(sure, surely).auroc_change
    assert judge(few, chance, kinds=2).within_chance
    assert (verdict.kind, verdict.ok) == ('sure', False)


def test_a_kind_that_is_not_established_counts_before_one_that_drops_less_surely() -> None:
    reference = fp32()
    few = dataclasses.replace(reference, pseudo_ood=reference.pseudo_ood[:2])
    chance = changed(few, pseudo_ood=np.array([few.held_out[0], few.pseudo_ood[1]]))
    verdict = judge_worst({'same': (reference, reference), 'chance': (few, chance)})
    assert (verdict.kind, verdict.word) == ('chance', 'not established')


def test_auroc_counts_the_frames_of_the_calibration_and_the_share_does_not() -> None:
    reference = fp32(frames=20)
    rng = np.random.default_rng(9)
    more = rng.normal(size=400)
    loss = {'pseudo_ood': reference.pseudo_ood - 0.2 + rng.normal(0, 0.2, PICTURES)}
    few = judge(reference, changed(reference, **loss))
    both = dataclasses.replace(reference, calibration=more)
    many = judge(both, changed(both, **loss))
    assert (few.auroc_frames, many.auroc_frames) == (20, 420)
    assert few.frames == many.frames == 20
    assert many.auroc_error < few.auroc_error
    over = changed(both, calibration=more + 50.0, pseudo_ood=reference.pseudo_ood + 60.0)
    assert judge(both, over).share_change == 0.0


def test_where_every_kind_is_told_apart_auroc_decides_nothing_and_a_large_error_is_warned_of() -> (
    None
):
    reference = dataclasses.replace(fp32(), pseudo_ood=np.full(50, 99.0))
    near = fp32()
    same = judge_worst({'far': (reference, reference)})
    assert same.saturated
    assert 'AUROC could decide nothing here' in same.reason
    assert 'saturated: decides nothing' in str(same)
    assert same.warning == ''
    rng = np.random.default_rng(1)
    rough = changed(reference, held_out=np.sort(reference.held_out)[rng.permutation(FRAMES)])
    blind = judge_worst({'far': (reference, rough)})
    assert blind.word == 'ok'
    assert re.search(r'decide nothing here \(raw_score error 1\.\d+ sigma\)', blind.warning)
    assert not judge_worst({'far': (reference, rough), 'near': (near, near)}).saturated


def test_a_share_that_falls_is_refused_like_one_that_rises() -> None:
    reference = dataclasses.replace(fp32(), trigger=1.0)  # about 16 % over it
    assert not judge(reference, changed(reference, trigger=1.5)).ok
    assert not judge(reference, changed(reference, trigger=0.5)).ok


def test_one_frame_of_few_is_no_reason_to_refuse_and_two_are() -> None:
    reference = fp32(frames=40)
    one, two = reference.held_out.copy(), reference.held_out.copy()
    calm = np.argsort(reference.held_out)[:2]
    one[calm[:1]] = two[calm] = reference.trigger + 0.01
    far = {'pseudo_ood': reference.pseudo_ood + 9.0}  # so that AUROC does not decide
    assert judge(reference, changed(reference, held_out=one, **far)).ok
    assert not judge(reference, changed(reference, held_out=two, **far)).ok


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    reference = fp32()
    broken = reference.pseudo_ood.copy()
    broken[:2] = bad
    verdict = judge(reference, changed(reference, pseudo_ood=broken))
    assert verdict.refused == ('2 scores are not finite',)


def test_other_pictures_and_a_broken_reference_are_errors() -> None:
    reference = fp32()
    with pytest.raises(TrainingError, match=r'expected scores \(n,\) of both, got \(400,\)'):
        judge(reference, changed(reference, held_out=reference.held_out[1:]))
    broken = dataclasses.replace(reference, held_out=np.full(FRAMES, np.nan))
    with pytest.raises(TrainingError, match="held-out frames in 'fp32' are not finite"):
        judge(broken, reference)


def test_a_verdict_reads_as_one_line() -> None:
    assert str(judge(fp32(), fp32())).startswith('fp32: ok; raw_score error 0.000 sigma')


def test_the_tolerance_of_goldens_covers_nearly_all_of_the_rounding_and_little_more() -> None:
    reference, rng = fp32(), np.random.default_rng(8)
    rounded = changed(
        reference,
        held_out=reference.held_out + rng.normal(0, 0.1, FRAMES) + 2.0,  # a shift is no scatter
        pseudo_ood=reference.pseudo_ood * (1 + rng.normal(0, 0.2, PICTURES)),
    )
    absolute, relative = golden_tolerance(reference, rounded, least=(0.01, 1e-4))
    error = np.abs(rounded.held_out - reference.held_out - 2.0)
    assert absolute < 0.4
    assert 0.97 < np.mean(error <= absolute) < 1.0
    allowed = absolute + relative * np.abs(rounded.pseudo_ood)
    within = np.abs(rounded.pseudo_ood - reference.pseudo_ood) <= allowed
    assert 0.97 < np.mean(within) < 1.0


def test_the_tolerance_of_goldens_is_never_under_that_of_the_reference() -> None:
    assert golden_tolerance(fp32(), fp32(), least=(0.01, 1e-4)) == (0.01, 1e-4)

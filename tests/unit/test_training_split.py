"""Parts are disjoint, contiguous, of the promised size; too few frames say how many are needed."""

from __future__ import annotations

import numpy as np
import pytest

from ros_ood_monitor.calibration import frames_needed
from ros_ood_monitor.errors import CalibrationError, TrainingError
from ros_ood_monitor.training.frames.split import check_count, smallest_alpha, Split, split_frames


def split(
    lengths: list[int], rule: str, *, alpha: float = 0.05, by_sequence: bool = True
) -> Split:
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    return split_frames(sequence, rule=rule, alpha=alpha, by_sequence=by_sequence, seed=0)


def runs(rows: np.ndarray) -> int:
    return 1 + int(np.count_nonzero(np.diff(rows) > 1))


@pytest.mark.parametrize('count', [495, 500, 617, 3001])
def test_blocks_are_disjoint_and_of_exact_size(count: int) -> None:
    parts = split([count], 'block', alpha=0.01)
    together = np.concatenate([parts.fit, parts.validation, parts.calibration])
    assert np.array_equal(np.sort(together), np.arange(count))
    assert len(parts.calibration) == count // 5
    assert len(parts.validation) == count // 10


def test_blocks_are_contiguous_and_spread_over_the_stream() -> None:
    parts = split([1000], 'block')
    assert runs(parts.calibration) == runs(parts.validation) == 10
    for part in (parts.fit, parts.validation, parts.calibration):
        assert part.min() < 110
        assert part.max() > 880


def test_the_fewest_frames_that_pass_support_alpha_exactly() -> None:
    parts = split([495], 'block', alpha=0.01)
    assert len(parts.calibration) == frames_needed(0.01) == 99


def test_sequences_stay_whole() -> None:
    lengths = [40, 55, 30, 60, 45, 50, 35, 42, 48, 52]
    parts = split(lengths, 'sequence')
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    owners = [set(sequence[rows]) for rows in (parts.fit, parts.validation, parts.calibration)]
    assert sum(len(owner) for owner in owners) == len(lengths)
    assert 0.55 < len(parts.fit) / sum(lengths) < 0.8


def test_auto_takes_sequences_for_bags_and_blocks_for_folders() -> None:
    lengths = [40] * 10
    assert split(lengths, 'auto', by_sequence=True).rule == 'sequence'
    assert split(lengths, 'auto', by_sequence=False).rule == 'block'


def test_auto_falls_back_to_blocks_where_sequences_are_too_few() -> None:
    assert split([300, 300], 'auto').rule == 'block'


def test_too_few_sequences_are_refused_where_they_were_asked_for() -> None:
    with pytest.raises(TrainingError, match='cannot split 2 sequences'):
        split([300, 300], 'sequence')


def test_too_few_frames_say_how_many_are_needed_and_which_alpha_fits() -> None:
    with pytest.raises(TrainingError, match=r'at least 495 \(99 of them.* 495, or use') as refusal:
        check_count(494, 0.01)
    advised = float(str(refusal.value).rpartition(' ')[2])
    check_count(494, advised)
    check_count(495, 0.01)


def test_hardly_any_frames_say_the_least() -> None:
    with pytest.raises(TrainingError, match=r'got 3; give at least 50$'):
        check_count(3, 0.2)


def test_hardly_any_frames_for_alpha_say_the_least_for_it_and_for_another() -> None:
    with pytest.raises(
        TrainingError, match=r'got 3; give at least 495, or 50 with --alpha 0\.091$'
    ):
        check_count(3, 0.01)
    check_count(50, 0.091)
    with pytest.raises(TrainingError):
        check_count(50, 0.09)


@pytest.mark.parametrize('held_out', [1, 10, 19, 30, 98, 1000])
def test_advised_alpha_is_supported_and_not_wasteful(held_out: int) -> None:
    alpha = smallest_alpha(held_out)
    assert frames_needed(alpha) <= held_out
    assert alpha <= 1.02 / (held_out + 1)


def test_unknown_rule_is_refused() -> None:
    with pytest.raises(TrainingError, match="'auto', 'sequence', 'block'"):
        split([500], 'random')


def test_alpha_outside_its_range_is_refused() -> None:
    with pytest.raises(CalibrationError, match='alpha'):
        check_count(1000, 1.5)

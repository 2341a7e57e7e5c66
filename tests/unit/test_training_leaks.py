"""Pictures that are fitted and held out at the same time are found."""

from __future__ import annotations

from collections.abc import Sequence
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('torch')

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbones import BackboneTap
from ros_ood_monitor.training.features.shard import Shard
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.frames.datasets import Dataset
from ros_ood_monitor.training.frames.selection import Selection
from ros_ood_monitor.training.frames.split import Split
from ros_ood_monitor.training.held_out.leaks import check_distinct, check_enough, check_leaks
from ros_ood_monitor.training.settings.train_settings import TrainSettings


def _table(folder: Path, sequences: Sequence[Sequence[int]]) -> FeatureTable:
    """Return a table whose pictures are told apart by a number."""
    shards = []
    for k, pictures in enumerate(sequences):
        shard = Shard(folder / str(k), 1)
        for position, picture in enumerate(pictures):
            thumb = np.random.default_rng(picture).integers(0, 256, (16, 16), dtype=np.uint8)
            shard.append(
                position=position,
                stamp=None,
                digest=hashlib.sha256(str(picture).encode()).digest(),
                size=(16, 16),
                health=np.zeros(9, np.float32),
                thumb=thumb,
                features=np.zeros(1, np.float32),
            )
        shard.finish([])
        shards.append(shard)
    return FeatureTable((BackboneTap('a', 1, 8),), shards)


def _split(fit: range, validation: range, calibration: range) -> Split:
    return Split('sequence', *(np.array(part) for part in (fit, validation, calibration)))


def test_a_recording_given_twice_under_two_names_is_refused(tmp_path: Path) -> None:
    table = _table(tmp_path, [range(20), range(100, 110), range(20)])
    split = _split(range(20), range(20, 30), range(30, 50))
    with pytest.raises(
        TrainingError,
        match=r"20 of 20 held-out frames of 'c' are also in 'a'; if that is one recording twice, "
        r'give it once; if different scenes look equal .*put all into one folder',
    ):
        check_leaks(table, split, ['a', 'b', 'c'])


def test_a_few_equal_frames_are_no_second_recording(tmp_path: Path) -> None:
    table = _table(tmp_path, [range(20), range(100, 110), [0, *range(200, 219)]])
    split = _split(range(20), range(20, 30), range(30, 50))
    repetition = check_leaks(table, split, ['a', 'b', 'c'])
    assert (repetition.distinct, repetition.frames, repetition.shared) == (49, 50, 1)
    assert repetition.twins == pytest.approx(1 / 30)


def test_a_scene_at_rest_inside_one_sequence_is_allowed(tmp_path: Path) -> None:
    table = _table(tmp_path, [[0] * 40 + [1] * 10])
    repetition = check_leaks(table, _split(range(35), range(35, 40), range(40, 50)), ['a'])
    assert repetition.distinct == 2
    assert repetition.twins == pytest.approx(5 / 15)


def test_one_picture_over_and_over_is_refused(tmp_path: Path) -> None:
    table = _table(tmp_path, [[3] * 60])
    with pytest.raises(TrainingError, match='all 60 frames show the same picture'):
        check_distinct(table)


def _dataset(folder: Path, count: int, **selection: Any) -> Dataset:
    folder.mkdir()
    for k in range(count):
        (folder / f'{k}.png').touch()
    return Dataset([folder], Selection(**selection))


def test_a_copied_recording_does_not_make_up_the_fewest_frames(tmp_path: Path) -> None:
    table = _table(tmp_path, [range(40), range(20), range(60, 80)])
    dataset = _dataset(tmp_path / 'data', 80)
    with pytest.raises(
        TrainingError, match=r'got 60 \(left out: 20 equal to another one\); give at least 95'
    ):
        check_enough(table, dataset, TrainSettings(alpha=0.05))
    check_enough(table, dataset, TrainSettings(alpha=0.09))


def test_too_few_frames_name_what_took_them_away(tmp_path: Path) -> None:
    table = _table(tmp_path, [range(30)])
    state = table.shards[0].state
    state.position, state.near_duplicates, state.skipped = (
        40,
        7,
        [(f'{name}.png', 'damaged') for name in 'abcde'],
    )
    selection = {'every': 2, 'start': 1.5, 'end': 60.0}
    dataset = _dataset(tmp_path / 'data', 100, **selection)
    with pytest.raises(
        TrainingError,
        match=r'got 30 \(left out: 60 by every 2 and the window from 1\.5 s to 60 s, '
        r'7 near-duplicates, 5 that did not decode: a\.png \(damaged\), b\.png \(damaged\), '
        r'c\.png \(damaged\) and 2 more\); ',
    ):
        check_enough(table, dataset, TrainSettings(selection=Selection(**selection)))

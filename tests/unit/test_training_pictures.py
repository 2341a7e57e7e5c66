"""The few pictures that a training keeps: whose they are, whatever stride the parts have."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip('torch')

from ros_ood_monitor.training.backbones import BackboneTap
from ros_ood_monitor.training.features.shard import Shard
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.frames.split import split_frames
from ros_ood_monitor.training.held_out.pictures import Pictures


def _picture(row: int) -> npt.NDArray[np.uint8]:
    """Return a picture that says which row it is."""
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0], image[..., 1] = divmod(row, 256)
    return image


def _row(image: npt.NDArray[np.uint8]) -> int:
    return int(image[0, 0, 0]) * 256 + int(image[0, 0, 1])


def _table(folder: Path, cameras: list[str]) -> FeatureTable:
    shard = Shard(folder, 1)
    for row, camera in enumerate(cameras):
        shard.append(
            position=row,
            stamp=row * 0.1,
            digest=row.to_bytes(32, 'little'),
            size=(32, 32),
            camera=camera,
            health=np.zeros(9, np.float32),
            thumb=np.zeros((16, 16), np.uint8),
            features=np.zeros(1, np.float32),
        )
        if shard.wants_image(row, camera):
            shard.keep_image(row, _picture(row), camera)
    shard.finish([])
    return FeatureTable([BackboneTap('a', 1, 8)], [shard])


@pytest.mark.parametrize(
    'cameras',
    [[''] * 720, ['/left', '/right'] * 320, ['/rear', *['/left'] * 22] * 28],
    ids=['images', 'two cameras', 'a rare camera'],
)
def test_pseudo_ood_is_made_from_validation_frames_of_every_camera(
    tmp_path: Path, cameras: list[str]
) -> None:
    table = _table(tmp_path, cameras)
    split = split_frames(table.sequence, rule='block', alpha=0.01, by_sequence=False, seed=0)
    reader: Any = SimpleNamespace(pictures=lambda _, rows: ((row, _picture(row)) for row in rows))
    pictures = Pictures.choose(reader, table, split, seed=0)
    assert [_row(image) for image in pictures.sources] == pictures.source_rows.tolist()
    assert len(set(pictures.source_rows) & set(split.validation)) == 32
    assert [_row(image) for image in pictures.golden[:2]] == pictures.source_rows[[0, 16]].tolist()
    ranges = [_row(image) for image in pictures.ranges]
    assert len(ranges) > 20
    assert set(ranges) <= set(split.fit)
    for rows in (pictures.source_rows.tolist(), ranges):
        shown = [cameras[row] for row in rows]
        of_each = [shown.count(name) for name in set(cameras)]
        there = [cameras.count(name) for name in set(cameras)]
        # as many of each, or all that a rare one has in this part
        assert min(of_each) >= (2 if min(there) == 28 else len(rows) // len(of_each) * 0.6)
    assert len(pictures.near(seed=0)['scar']) == 3 * 32

"""The example domain: the same seed gives the same frames, and masks tell the truth."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.lunar.anomalies import ANOMALIES
from ros_ood_monitor.lunar.dataset import LABELS, write_sequences
from ros_ood_monitor.lunar.orbit import make_orbit
from ros_ood_monitor.lunar.sequence import LunarFrame, render_sequence
from ros_ood_monitor.lunar.terrain import MOON_RADIUS_KM

pytest.importorskip('pyvista')
SIZE = (96, 64)


def render(seed: int, *, frames: int = 2, **options: Any) -> list[LunarFrame]:
    return list(render_sequence(seed, frames=frames, size=SIZE, **options))


def test_the_same_seed_gives_the_same_pixels_and_another_does_not() -> None:
    one, again, other = render(1), render(1), render(2)
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(one, again, strict=True))
    assert np.mean(np.abs(one[0].rgb.astype(int) - other[0].rgb.astype(int))) > 5.0


def test_frames_have_the_size_and_stamps_that_were_asked() -> None:
    frames = render(3, frames=3, rate_hz=4.0)
    assert [frame.stamp for frame in frames] == [0.0, 0.25, 0.5]
    assert frames[0].rgb.shape == (64, 96, 3)
    assert frames[0].rgb.dtype == np.uint8


def test_a_normal_sequence_has_no_mask() -> None:
    assert not any(frame.anomaly or frame.mask.any() for frame in render(4))


@pytest.mark.parametrize('kind', ANOMALIES)
def test_an_anomaly_is_seen_in_its_interval_and_nowhere_else(kind: str) -> None:
    frames = render(5, frames=8, rate_hz=2.0, anomaly=kind, interval=(1.0, 3.0))
    assert [bool(frame.mask.any()) for frame in frames[:2] + frames[6:]] == [False] * 4
    seen = [frame for frame in frames[2:6] if frame.anomaly]
    assert len(seen) >= 2
    assert {frame.anomaly for frame in seen} == {kind}


def test_an_anomaly_changes_nothing_but_what_its_mask_shows() -> None:
    normal = render(6, frames=4, rate_hz=2.0)
    odd = render(6, frames=4, rate_hz=2.0, anomaly='debris', interval=(0.5, 1.5))
    assert np.array_equal(normal[0].rgb, odd[0].rgb)
    assert np.array_equal(normal[3].rgb, odd[3].rgb)
    difference = np.abs(normal[1].rgb.astype(int) - odd[1].rgb.astype(int)).max(axis=-1)
    assert difference[odd[1].mask].mean() > 10 * max(difference[~odd[1].mask].mean(), 0.1)


def test_the_camera_flies_at_the_orbits_altitude() -> None:
    orbit = make_orbit(np.random.default_rng(7))
    centre = np.array([0.0, 0.0, 1737.4])
    for seconds in (0.0, 30.0, 300.0):
        pose = orbit.pose(seconds)
        height = float(np.linalg.norm(pose.position_km + centre)) - 1737.4
        assert height == pytest.approx(orbit.altitude_km)
        assert np.allclose(pose.axes @ pose.axes.T, np.eye(3))
        assert np.linalg.det(pose.axes) == pytest.approx(1.0)


def test_a_sequence_ends_before_the_sun_sets_over_the_ground_in_the_picture() -> None:
    assert len(render(3, rate_hz=2 / 300)) == 2
    for seed in range(100):
        orbit = make_orbit(np.random.default_rng([seed, 0]))
        pose = orbit.pose(300.0)
        ahead = 2 * orbit.altitude_km / MOON_RADIUS_KM
        up = pose.position_km + np.array([0.0, 0.0, MOON_RADIUS_KM])
        up = up / np.linalg.norm(up)
        level = pose.axes[2] - (pose.axes[2] @ up) * up
        under = np.cos(ahead) * up + np.sin(ahead) * level / np.linalg.norm(level)
        assert under @ orbit.sun > 0.0, seed


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'anomaly': 'ufo'}, r"expected one of \['blanket', 'debris', .*got 'ufo'"),
        ({'frames': 0}, 'at least 1 frame'),
        ({'rate_hz': 0.0}, 'positive rate'),
        ({'frames': 301, 'rate_hz': 1.0}, r'expected 300 s at most.*got 301 frames.*render more'),
        ({'frames': 60, 'rate_hz': 0.001}, 'got 60 frames at 0.001 Hz, 60000 s'),
        ({'anomaly': 'debris', 'interval': (2.0, 1.0)}, 'must not be empty'),
    ],
)
def test_values_outside_their_range_are_refused(options: dict[str, object], match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        render(1, **options)


def test_a_folder_of_sequences_has_a_row_for_every_picture(tmp_path: Path) -> None:
    out = write_sequences(tmp_path / 'set', sequences=2, frames=2, seed=8, size=SIZE)
    names = sorted(str(path.relative_to(out)) for path in out.rglob('*.jpg'))
    assert names[0] == 'seq_0008/frame_000000.jpg'
    with (out / LABELS).open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(f'{row["sequence"]}/{row["frame"]}' for row in rows) == names
    with pytest.raises(ParameterError, match='exists already'):
        write_sequences(out, sequences=1, frames=1)

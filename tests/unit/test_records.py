"""Records refuse what is no picture, and equality leaves the clock out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ros_ood_monitor.errors import DecodeError, EngineError
from ros_ood_monitor.records import AlertState, Frame, Observation, Reading, Region, State


@pytest.mark.parametrize(
    ('picture', 'match'),
    [
        (np.zeros((4, 4), np.uint8), r'expected \(height, width, 3\), got \(4, 4\)'),
        (np.zeros((4, 4, 4), np.uint8), 'shape mismatch'),
        (np.zeros((4, 4, 3), np.float32), 'expected uint8, got float32'),
        (np.zeros((0, 4, 3), np.uint8), 'at least 1x1 pixels, got 4x0'),
        ('picture.png', 'got str'),
    ],
)
def test_frame_refuses_what_is_no_picture(picture: object, match: str) -> None:
    with pytest.raises(DecodeError, match=match):
        Frame(picture)  # type: ignore[arg-type]


def test_frame_knows_width_and_height_of_non_square_pictures() -> None:
    frame = Frame(np.zeros((3, 7, 3), np.uint8))
    assert (frame.height, frame.width) == (3, 7)


def test_reading_refuses_shapes_that_disagree() -> None:
    with pytest.raises(EngineError, match='raw_score shape'):
        Reading(np.zeros((2, 1)))
    with pytest.raises(EngineError, match='patch_score shape'):
        Reading(np.zeros(2), np.zeros((3, 4, 4), np.float32))


def test_observations_are_equal_whatever_they_took() -> None:
    alert = AlertState(State.NORMAL, since=0.0, peak=0.0)
    one = Observation(1.0, 'left', 2.0, 0.5, 3.0, alert, latency_ms=10.0)
    assert one == dataclasses.replace(one, latency_ms=99.0)
    assert one != dataclasses.replace(one, raw_score=2.5)
    assert one.state is State.NORMAL
    # whichever NaN says that there was no answer
    first, second = (
        dataclasses.replace(one, raw_score=float('nan'), score=float('nan')) for _ in range(2)
    )
    assert first == second
    assert len({first, second, one}) == 2
    assert first != dataclasses.replace(first, score=0.5)


def test_alert_states_without_an_episode_are_equal_whichever_nan_says_so() -> None:
    first, second = (AlertState(State.NORMAL, since=float('nan'), peak=3.0) for _ in range(2))
    assert first == second
    assert len({first, second}) == 1
    assert first != AlertState(State.NORMAL, since=1.0, peak=3.0)
    assert first != AlertState(State.NORMAL, since=float('nan'), peak=4.0)
    assert first != 'NORMAL'


@pytest.mark.parametrize(
    ('state', 'count', 'said'),
    [
        (State.NORMAL, 0, 'like the training data again'),
        (
            State.NORMAL,
            1,
            "like the training data as a whole again; 1 region over the map's threshold",
        ),
        (
            State.NORMAL,
            2,
            "like the training data as a whole again; 2 regions over the map's threshold",
        ),
        (State.ALERT, 2, 'like the training data again'),
    ],
)
def test_a_normal_frame_with_a_region_is_normal_only_as_a_whole(
    state: State, count: int, said: str
) -> None:
    regions = (Region(1, 2, 3, 4, 12, 1.5),) * count
    alert = AlertState(state, reason='like the training data again')
    observed = Observation(0.0, '', 1.0, 0.5, 2.0, alert, regions=regions)
    assert observed.sentence == said


def test_regions_are_written_as_boxes_with_their_peaks() -> None:
    alert = AlertState(State.NORMAL)
    regions = (Region(1, 2, 30, 40, 900, 12.34567), Region(50, 60, 7, 8, 56, 1.0))
    seen = Observation(1.0, 'left', 2.0, 0.5, 3.0, alert, regions=regions)
    assert seen.regions_text == '1,2,30,40,12.35; 50,60,7,8,1'
    assert dataclasses.replace(seen, regions=()).regions_text == ''

"""Overlays: a colour is one value in every frame, what is normal is not covered, words fit."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.maps.caption import caption
from ros_ood_monitor.maps.colours import colour, ColourScale
from ros_ood_monitor.maps.overlay import annotated, overlay
from ros_ood_monitor.records import AlertState, Health, HealthFault, Observation, State

SCALE = ColourScale(normal=1.0, threshold=3.0)


def test_the_scale_has_the_threshold_in_its_middle_and_never_ends() -> None:
    values = [-5.0, 1.0, 2.0, 3.0, 5.0, 41.0, np.inf, np.nan]
    expected = [0.0, 0.0, 0.25, 0.5, 0.75, 0.975, 1.0, 0.0]
    assert SCALE.position(values).tolist() == pytest.approx(expected)
    assert np.all(np.diff(SCALE.position(np.linspace(1.0, 100.0, 500))) > 0.0)


@pytest.mark.parametrize(('normal', 'threshold'), [(1.0, 1.0), (2.0, 1.0), (np.nan, 1.0)])
def test_a_scale_without_room_is_refused(normal: float, threshold: float) -> None:
    with pytest.raises(ParameterError, match='a threshold over what is normal'):
        ColourScale(normal, threshold)


def test_a_value_has_one_colour_whatever_else_is_in_the_frame() -> None:
    quiet = np.full((4, 4), 1.7, dtype=np.float32)
    loud = quiet.copy()
    loud[0, 0] = 100.0
    assert (colour(quiet, SCALE)[1, 1] == colour(loud, SCALE)[1, 1]).all()


def test_colours_are_brighter_with_every_step_for_every_kind_of_colour_vision() -> None:
    ramp = np.interp(np.arange(64), [0, 32, 63], [1.0, 3.0, 12.0]).astype(np.float32)
    linear = (colour(ramp[np.newaxis], SCALE)[0] / 255.0) ** 2.2  # (64, 3)
    # Vienot, Brettel, Mollon 1999: what protanopes and deuteranopes see, in linear RGB
    seen = {
        'normal': np.eye(3),
        'protan': [[0.1124, 0.8876, 0], [0.1124, 0.8876, 0], [0.0040, -0.0040, 1]],
        'deutan': [[0.2928, 0.7072, 0], [0.2928, 0.7072, 0], [-0.0223, 0.0223, 1]],
    }
    for matrix in seen.values():
        luminance = linear @ np.asarray(matrix).T @ [0.2126, 0.7152, 0.0722]
        assert np.all(np.diff(luminance) > -1e-3)
        assert luminance[-1] > 0.6 > 0.1 > luminance[0]


def test_an_overlay_leaves_a_normal_picture_as_it_is() -> None:
    rgb = np.random.default_rng(4).integers(0, 256, (240, 330, 3), dtype=np.uint8)
    heat = np.full((240, 330), 1.2, dtype=np.float32)
    drawn = overlay(rgb, heat, SCALE)
    assert (drawn == rgb).all()
    assert not np.shares_memory(drawn, rgb)


def test_an_overlay_outlines_and_colours_what_is_over_the_threshold_only() -> None:
    rgb = np.full((240, 330, 3), 90, dtype=np.uint8)
    heat = np.full((240, 330), 1.0, dtype=np.float32)
    heat[100:140, 50:120] = 9.0
    drawn = overlay(rgb, heat, SCALE)
    changed = (drawn != rgb).any(axis=2)
    box = cv2.boundingRect(changed.astype(np.uint8))
    assert box == pytest.approx((49, 99, 72, 42))  # the outline's pen
    assert (drawn[100, 60] > 200).all()
    red, green, blue = drawn[120, 80].tolist()
    assert red > green > blue


def test_an_overlay_of_another_size_is_refused() -> None:
    with pytest.raises(ParameterError, match='map size mismatch'):
        overlay(np.zeros((5, 6, 3), np.uint8), np.zeros((6, 5), np.float32), SCALE)


@pytest.mark.parametrize('state', list(State))
@pytest.mark.parametrize(
    ('width', 'height'), [(1, 1), (64, 48), (320, 240), (640, 480), (90, 900)]
)
def test_a_caption_fits_and_hides_nothing(width: int, height: int, state: State) -> None:
    rgb = np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)
    drawn = caption(
        rgb, raw_score=123456.7, threshold=-8.25, score=0.9994, state=state, heatmap_peak=1234.5
    )
    times = drawn.shape[1] // width
    assert drawn.shape[1] >= 320
    bar = len(drawn) - times * height
    assert 10 <= bar <= 120
    assert (drawn[bar::times, ::times] == rgb).all()
    ground = (drawn[:bar] == (27, 39, 51)).all(axis=2)
    assert ground[:, -2:].all()  # the words end before the picture does
    assert ground[0].sum() > 0.5 * drawn.shape[1]
    assert (drawn[:bar] > 200).all(axis=2).sum() > 50  # there are words


def test_the_bar_tells_the_peak_where_there_is_a_map() -> None:
    rgb = np.zeros((480, 640, 3), dtype=np.uint8)
    told = {'raw_score': 1.0, 'threshold': 2.0, 'score': 0.5, 'state': State.NORMAL}
    without, low, high = (caption(rgb, heatmap_peak=peak, **told) for peak in (None, 0.25, 1.25))
    rights = [int(np.flatnonzero((bar > 200).any(axis=(0, 2)))[-1]) for bar in (without, low)]
    assert rights[1] > rights[0] + 60  # more words
    assert not np.array_equal(low, high)


def test_an_overlay_leaves_what_was_not_looked_at_as_it_is() -> None:
    heat = np.full((240, 330), 9.0, dtype=np.float32)
    heat[:, :100] = np.nan
    drawn = overlay(np.full((240, 330, 3), 77, dtype=np.uint8), heat, SCALE)
    assert (drawn[:, :95] == 77).all()
    assert (drawn[:, 105:] != 77).any(axis=2).all()


def _seen(hot: bool) -> Observation:
    heat = np.full((2, 3), 0.2, dtype=np.float32)
    heat[1, 2] = 5.0 if hot else 0.4

    def project(patches: npt.NDArray[np.float32], size: tuple[int, int]) -> Any:
        return cv2.resize(patches, size[::-1], interpolation=cv2.INTER_NEAREST)

    alert = AlertState(State.ALERT)
    return Observation(
        0.0, '', 9.0, 1.0, 3.0, alert, image_size=(400, 660), patch_score=heat, project=project
    )


def test_an_annotated_picture_has_the_map_on_it_and_words_above_it() -> None:
    rgb = np.random.default_rng(4).integers(0, 256, (400, 660, 3), dtype=np.uint8)
    words = caption(rgb, raw_score=9.0, threshold=3.0, score=1.0, state=State.ALERT)
    assert (annotated(rgb, _seen(hot=False)) == words).all()
    drawn = annotated(rgb, _seen(hot=True))
    changed = (drawn != words).any(axis=2)
    left, top, width, height = cv2.boundingRect(changed.astype(np.uint8))
    bar = len(words) - 400
    assert (left, top, width, height) == pytest.approx((440, bar + 200, 220, 200), abs=3)


@pytest.mark.parametrize(('size', 'shape'), [((400, 660), (200, 330)), ((3000, 2), (3000, 2))])
def test_an_annotated_picture_is_no_wider_than_asked_for(
    size: tuple[int, int], shape: tuple[int, int]
) -> None:
    rgb = np.zeros((*size, 3), dtype=np.uint8)
    drawn = annotated(rgb, _seen(hot=True), width=330)
    height, width = drawn.shape[:2]
    assert width == max(shape[1], shape[1] * -(-320 // shape[1]))
    assert 0 < height - shape[0] * (width // shape[1]) < 60


def test_an_annotated_picture_without_a_map_has_the_words_alone() -> None:
    rgb = np.random.default_rng(4).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    drawn = annotated(rgb, dataclasses.replace(_seen(hot=True), project=None))
    assert (drawn[-300:] == rgb).all()


def test_an_annotated_picture_that_is_not_usable_has_no_score() -> None:
    rgb = np.zeros((300, 400, 3), dtype=np.uint8)
    black = HealthFault('black', 0.0, 8.0, 'grey levels', blinds=True, text='the picture is black')
    noisy = dataclasses.replace(black, name='noise', blinds=False)
    plain = dataclasses.replace(_seen(hot=True), project=None)
    for health, score in (
        (Health((black,)), math.nan),
        (Health(lasting=('black',), is_blind=True), math.nan),
        (Health((noisy,)), 1.0),
    ):
        words = caption(rgb, raw_score=9.0, threshold=3.0, score=score, state=State.ALERT)
        assert (annotated(rgb, dataclasses.replace(plain, health=health)) == words).all()

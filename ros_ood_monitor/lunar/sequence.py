"""One camera sequence of the lunar domain, frame by frame, with what is odd in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.lunar.anomalies import check_kind, Drifter, flare, make_drifter
from ros_ood_monitor.lunar.ground import Background
from ros_ood_monitor.lunar.near_view import NearView
from ros_ood_monitor.lunar.orbit import make_orbit
from ros_ood_monitor.lunar.spacecraft import boom, rotation, station

__all__ = ['LunarFrame', 'render_sequence']

_SUPERSAMPLE = 2
_FLARE_VISIBLE = 12.0  # light over which a pixel belongs to a flare's mask
# beyond it the Sun sets for some seeds, and the camera looks past the ground that was made
_LONGEST_S = 300.0

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LunarFrame:
    """
    One rendered picture with its ground truth.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), uint8
        The picture.
    stamp : float
        Time since the sequence's start, in s.
    anomaly : str
        Kind of the anomaly in view; empty where all is normal.
    mask : ndarray of shape (height, width), bool
        Pixels of the anomaly.

    """

    rgb: npt.NDArray[np.uint8]
    stamp: float
    anomaly: str
    mask: npt.NDArray[np.bool_]


def render_sequence(
    seed: int,
    *,
    frames: int,
    rate_hz: float = 10.0,
    anomaly: str | None = None,
    interval: tuple[float, float] | None = None,
    size: tuple[int, int] = (320, 240),
) -> Iterator[LunarFrame]:
    """
    Render a sequence.

    Parameters
    ----------
    seed : int
        Fixes orbit, ground, Sun, station and noise.
    frames : int
        Number of pictures, at least 1; ``frames / rate_hz`` is 300 s at most.
    rate_hz : float, default 10.0
        Pictures a second.
    anomaly : {'blanket', 'debris', 'satellite', 'flare'}, optional
        What comes into view; nothing where it is not given.
    interval : tuple of float, optional
        First and last time at which it may be in view, in s; the whole sequence by default.
    size : tuple of int, default (320, 240)
        Width and height of the pictures, in px.

    Yields
    ------
    LunarFrame
        In the order of time.

    Raises
    ------
    ParameterError
        If a value is outside its range or pyvista is missing.

    """
    if frames < 1 or not rate_hz > 0.0 or min(size) < 16:
        msg = (
            'a sequence needs at least 1 frame, a positive rate and 16x16 px, '
            f'got {frames}, {rate_hz:g} Hz and {size[0]}x{size[1]}'
        )
        raise ParameterError(msg)
    if anomaly is not None:
        check_kind(anomaly)
    seconds = frames / rate_hz
    if seconds > _LONGEST_S:
        msg = (
            f'sequence is too long: expected {_LONGEST_S:g} s at most, for which the ground and '
            f'the Sun are made, got {frames} frames at {rate_hz:g} Hz, {seconds:g} s; '
            'render more sequences, each with a seed of its own'
        )
        raise ParameterError(msg)
    begin, end = interval or (0.0, seconds)
    if not begin < end:
        msg = f'anomaly interval must not be empty, got {begin:g} to {end:g} s'
        raise ParameterError(msg)
    rng = np.random.default_rng([seed, 0])
    odd_rng = np.random.default_rng([seed, 1])  # an anomaly changes nothing else of a sequence
    noise_rng = np.random.default_rng([seed, 2])
    width, height = (_SUPERSAMPLE * side for side in size)
    orbit = make_orbit(rng)
    background = Background(orbit, rng, seconds=seconds, width=width, height=height)
    place = _StationPlace(rng)
    bodies = {'station': station(), 'boom': boom()}
    drifter: Drifter | None = None
    if anomaly is not None and anomaly != 'flare':
        drifter = make_drifter(anomaly, odd_rng)
        bodies['foreign'] = drifter.parts
    flare_seed = int(odd_rng.integers(2**31))
    vignette = _vignette(*size)
    with NearView(
        bodies, sun=orbit.pose(seconds / 2).axes @ orbit.sun, width=width, height=height
    ) as near:
        for k in range(frames):
            stamp = k / rate_hz
            share = (stamp - begin) / (end - begin)
            odd = anomaly is not None and 0.0 <= share < 1.0
            poses = {'station': place.pose(stamp), 'boom': np.eye(4)}
            if odd and drifter is not None:
                poses['foreign'] = drifter.pose(share)
            rgb, cover, mask = near.render(poses, foreign='foreign')
            picture = background.render(orbit.pose(stamp)) * (1.0 - cover) + rgb * cover
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # (H, W, 3) float32
            seen = (
                cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) > 127
            )
            if odd and anomaly == 'flare':
                light = flare(*size, share, np.random.default_rng(flare_seed))
                small += light
                seen = light.max(axis=-1) > _FLARE_VISIBLE
            yield LunarFrame(
                rgb=_as_camera(small, vignette, noise_rng),
                stamp=stamp,
                anomaly=anomaly if odd and anomaly is not None and bool(seen.any()) else '',
                mask=seen,
            )


class _StationPlace:
    """Where the station hangs: held on one side, slowly drifting and turning."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._at = np.array([5.2, -0.9, 19.5]) + rng.uniform(-1.0, 1.0, 3) * (0.5, 0.4, 1.0)
        self._drift = rng.uniform(-0.01, 0.01, 3)
        self._attitude = (
            rotation((0, 1, 0), 0.25 + rng.uniform(-0.12, 0.12))
            @ rotation((0, 0, 1), rng.uniform(-0.1, 0.1))
            @ rotation((1, 0, 0), 0.5 + rng.uniform(-0.12, 0.12))
        )
        self._spin = rng.uniform(-0.002, 0.002)

    def pose(self, stamp: float) -> Matrix:
        matrix = rotation((0, 1, 0), self._spin * stamp) @ self._attitude
        matrix[:3, 3] = self._at + stamp * self._drift
        return matrix


def _vignette(width: int, height: int) -> npt.NDArray[np.float32]:
    columns, rows = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    return (1.0 - 0.16 * (columns**2 + rows**2))[..., None].astype(np.float32)


def _as_camera(
    picture: npt.NDArray[np.float32],
    vignette: npt.NDArray[np.float32],
    rng: np.random.Generator,
) -> npt.NDArray[np.uint8]:
    """Darken the corners and add read and shot noise."""
    shaded = picture * vignette
    noise = rng.standard_normal(shaded.shape, dtype=np.float32)
    noisy = shaded + noise * np.sqrt(1.5 + 0.012 * np.maximum(shaded, 0.0))
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)

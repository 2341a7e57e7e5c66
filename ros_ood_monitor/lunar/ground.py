"""The Moon and the stars behind it: rays against the sphere, texture looked up."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.lunar.orbit import FIELD_OF_VIEW_DEG, Orbit, Pose
from ros_ood_monitor.lunar.shading import bake_ground
from ros_ood_monitor.lunar.terrain import make_terrain, MOON_RADIUS_KM

__all__ = ['Background', 'pixel_rays']

_STARS = 900
_EXPOSURE = 3.2
_SIDE_KM = 390.0
_SPACING_KM = 0.4  # for pictures 480 px high: about a pixel of the nearest ground

Floats = npt.NDArray[np.float32]


def pixel_rays(width: int, height: int) -> Floats:
    """
    Give the direction of every pixel of the camera.

    Parameters
    ----------
    width, height : int
        Size of the picture, in px.

    Returns
    -------
    ndarray of shape (height, width, 3), float32
        Unit vectors: right, down, forward.

    """
    focal_px = 0.5 * height / math.tan(math.radians(FIELD_OF_VIEW_DEG) / 2)
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack(
        [
            (columns + 0.5 - width / 2) / focal_px,
            (rows + 0.5 - height / 2) / focal_px,
            np.ones((height, width)),
        ],
        axis=-1,
    )  # (H, W, 3)
    unit = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    return np.asarray(unit, np.float32)


class Background:
    """
    Ground and sky of one sequence.

    Parameters
    ----------
    orbit : Orbit
        The camera's way.
    rng : numpy.random.Generator
        Source of all randomness.
    seconds : float
        Length of the sequence: so far the ground reaches.
    width, height : int
        Size of the pictures, in px.

    """

    def __init__(
        self, orbit: Orbit, rng: np.random.Generator, *, seconds: float, width: int, height: int
    ) -> None:
        drift = seconds * orbit.ground_speed_km_s
        self._terrain = make_terrain(
            rng,
            x_range_km=(20.0, orbit.horizon_km + drift + 40.0),
            y_range_km=(-_SIDE_KM, _SIDE_KM),
            spacing_km=float(np.clip(_SPACING_KM * 480.0 / height, 0.2, 2.0)),
        )
        middle = orbit.pose(seconds / 2).position_km
        sharp = bake_ground(self._terrain, sun=orbit.sun, camera_km=middle, exposure=_EXPOSURE)
        # far ground covers many samples a pixel: it is looked up in a smaller picture
        size = (sharp.shape[1] // 4, sharp.shape[0] // 4)
        small = np.asarray(cv2.resize(sharp, size, interpolation=cv2.INTER_AREA), np.uint8)
        self._levels = [(sharp, 1.0), (small, 0.25)]
        self._rays = pixel_rays(width, height)
        directions = rng.standard_normal((_STARS, 3))
        self._stars = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        self._star_values = 60.0 + 195.0 * rng.random(_STARS) ** 4

    def render(self, pose: Pose) -> npt.NDArray[np.uint8]:
        """
        Draw what is behind the spacecraft.

        Parameters
        ----------
        pose : Pose
            Where the camera is.

        Returns
        -------
        ndarray of shape (height, width, 3), uint8
            RGB.

        """
        directions = self._rays @ pose.axes.astype(np.float32)  # (H, W, 3), Moon frame
        centre = np.array([0.0, 0.0, MOON_RADIUS_KM])
        origin = pose.position_km + centre  # from the Moon's centre
        along = directions.astype(np.float64) @ origin
        inside = along**2 - (origin @ origin - MOON_RADIUS_KM**2)
        distance = -along - np.sqrt(np.maximum(inside, 0.0))
        hits = (inside > 0.0) & (distance > 0.0)
        ground = origin + directions * np.where(hits, distance, 1.0)[..., None]
        up = ground / np.linalg.norm(ground, axis=-1, keepdims=True)
        x_km = MOON_RADIUS_KM * np.arctan2(up[..., 0], up[..., 2])
        y_km = MOON_RADIUS_KM * np.arcsin(np.clip(up[..., 1], -1.0, 1.0))
        column = (x_km - self._terrain.x_km[0]) / self._terrain.spacing_km
        row = (y_km - self._terrain.y_km[0]) / self._terrain.spacing_km
        # a pixel's footprint along the ground grows with distance over the sine of the view angle
        graze = np.maximum(-(directions * up).sum(-1), 0.02)
        footprint = distance * self._pixel_angle() / np.sqrt(graze) / self._terrain.spacing_km
        blur = np.clip((footprint - 1.0) / 2.0, 0.0, 1.0)[..., None]
        near, far = (self._look_up(level, scale, column, row) for level, scale in self._levels)
        picture = near * (1.0 - blur) + far * blur
        picture[~hits] = 0.0
        self._draw_stars(picture, pose, hits)
        return np.asarray(np.rint(picture), np.uint8)

    def _pixel_angle(self) -> float:
        return math.radians(FIELD_OF_VIEW_DEG) / int(self._rays.shape[0])

    @staticmethod
    def _look_up(
        level: npt.NDArray[np.uint8],
        scale: float,
        column: npt.NDArray[np.float64],
        row: npt.NDArray[np.float64],
    ) -> Floats:
        x, y = (((axis + 0.5) * scale - 0.5).astype(np.float32) for axis in (column, row))
        found = cv2.remap(level, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(found, np.float32)

    def _draw_stars(self, picture: Floats, pose: Pose, hits: npt.NDArray[np.bool_]) -> None:
        height, width = hits.shape
        focal_px = 0.5 * height / math.tan(math.radians(FIELD_OF_VIEW_DEG) / 2)
        seen = self._stars @ pose.axes.T  # (stars, 3) camera axes
        ahead = seen[:, 2] > 0.1
        columns = np.rint(width / 2 + focal_px * seen[ahead, 0] / seen[ahead, 2]).astype(int)
        rows = np.rint(height / 2 + focal_px * seen[ahead, 1] / seen[ahead, 2]).astype(int)
        for column, row, value in zip(columns, rows, self._star_values[ahead], strict=True):
            if 0 <= column < width and 0 <= row < height and not hits[row, column]:
                picture[row, column] = np.maximum(picture[row, column], value)

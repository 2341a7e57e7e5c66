"""Sunlight on the ground: reflectance of the lunar soil and shadows cast by relief, baked."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.lunar.orbit import surface_axes
from ros_ood_monitor.lunar.terrain import MOON_RADIUS_KM, Terrain

__all__ = ['bake_ground']

_AMBIENT = 0.012  # light scattered into shadows, as a share of full sunlight
_LUNAR_LAMBERT = 0.55  # share of the Lommel-Seeliger term
_SHADOW_REACH_PX = 70
_TINT = np.array([1.03, 1.0, 0.95], np.float32)  # soil is slightly warm

Floats = npt.NDArray[np.float32]


def bake_ground(
    terrain: Terrain,
    *,
    sun: npt.NDArray[np.float64],
    camera_km: npt.NDArray[np.float64],
    exposure: float,
) -> npt.NDArray[np.uint8]:
    """
    Shade the ground for one Sun and one camera position.

    The camera moves little against its distance while a sequence lasts, so one shading serves
    all of its frames.

    Parameters
    ----------
    terrain : Terrain
        The ground.
    sun : ndarray of shape (3,), float64
        Unit vector to the Sun, Moon frame.
    camera_km : ndarray of shape (3,), float64
        Where the ground is seen from, Moon frame.
    exposure : float
        Factor from reflected radiance to display value before the tone curve.

    Returns
    -------
    ndarray of shape (rows, columns, 3), uint8
        RGB texture over the terrain's grid.

    References
    ----------
    McEwen, 1991: the lunar-Lambert photometric function.

    """
    coarse = 16  # the sphere's axes change slowly: compute them on a coarse grid
    x = np.linspace(terrain.x_km[0], terrain.x_km[-1], terrain.x_km.size // coarse)
    y = np.linspace(terrain.y_km[0], terrain.y_km[-1], terrain.y_km.size // coarse)
    xx, yy = np.meshgrid(x, y)
    up, ahead, left = surface_axes(xx, yy)  # (coarse rows, coarse columns, 3)
    ground = MOON_RADIUS_KM * up - np.array([0.0, 0.0, MOON_RADIUS_KM])
    view = camera_km - ground
    view /= np.linalg.norm(view, axis=-1, keepdims=True)
    size = (terrain.x_km.size, terrain.y_km.size)

    def spread(values: npt.NDArray[np.float64]) -> Floats:
        resized = cv2.resize(values.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized, np.float32)  # (rows, columns)

    spacing = terrain.spacing_km
    slope_y, slope_x = np.gradient(terrain.height_km, spacing)
    norm = np.sqrt(1.0 + slope_x**2 + slope_y**2)
    sun_up, sun_ahead, sun_left = (spread(axis @ sun) for axis in (up, ahead, left))
    cos_sun = (sun_up - slope_x * sun_ahead - slope_y * sun_left) / norm
    cos_view = spread((up * view).sum(-1)) - slope_x * spread((ahead * view).sum(-1))
    cos_view = np.clip((cos_view - slope_y * spread((left * view).sum(-1))) / norm, 0.05, 1.0)
    flat = np.maximum(np.hypot(sun_ahead, sun_left), 1e-3)
    lit = _lit(terrain.height_km, spacing, sun, np.asarray(sun_up / flat, np.float32))
    cos_sun = np.clip(cos_sun, 0.0, 1.0) * lit
    seeliger = 2.0 * cos_sun / (cos_sun + cos_view)
    radiance = terrain.albedo * (_LUNAR_LAMBERT * seeliger + (1 - _LUNAR_LAMBERT) * cos_sun)
    radiance += _AMBIENT * terrain.albedo
    value = exposure * radiance
    value = (value * (1 + value / 4.0) / (1 + value)) ** (1 / 2.2)  # soft shoulder, then gamma
    rgb = np.clip(value[..., None] * _TINT, 0.0, 1.0)  # (rows, columns, 3)
    return np.asarray(np.rint(rgb * 255.0), np.uint8)


def _lit(
    height: Floats, spacing_km: float, sun: npt.NDArray[np.float64], tan_sun: Floats
) -> Floats:
    """Share of sunlight that relief towards the Sun leaves: 0 in cast shadow, 1 in the open."""
    direction = np.array([sun[1], sun[0]])  # rows go left, columns ahead
    direction /= np.linalg.norm(direction)
    steepest = np.full(height.shape, -1.0, np.float32)
    steps = np.unique(np.rint(np.geomspace(1, _SHADOW_REACH_PX, 24)).astype(int))
    for step in steps:
        dr, dc = (int(v) for v in np.rint(step * direction))
        here = height[_overlap(-dr), _overlap(-dc)]
        there = height[_overlap(dr), _overlap(dc)]
        distance = float(np.hypot(dr, dc)) * spacing_km
        drop = distance**2 / (2 * MOON_RADIUS_KM)
        target = steepest[_overlap(-dr), _overlap(-dc)]
        np.maximum(target, (there - here - drop) / distance, out=target)
    return np.asarray(np.clip((tan_sun - steepest) / 0.03 + 0.5, 0.0, 1.0), np.float32)


def _overlap(shift: int) -> slice:
    """Slice an axis to what stays inside after a shift: positive cuts the start."""
    return slice(shift, None) if shift >= 0 else slice(None, shift)

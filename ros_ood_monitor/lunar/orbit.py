"""The way of the camera around the Moon, and where the Sun stands: one smooth pose per time."""

from __future__ import annotations

from dataclasses import dataclass, field
import math

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.lunar.terrain import MOON_RADIUS_KM

__all__ = ['FIELD_OF_VIEW_DEG', 'Orbit', 'Pose', 'make_orbit', 'surface_axes']

FIELD_OF_VIEW_DEG = 46.0  # vertical
_GRAVITY_KM3_S2 = 4902.8

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pose:
    """
    Where the camera is at one time.

    Parameters
    ----------
    position_km : ndarray of shape (3,), float64
        In the Moon frame: origin on the sphere below the start, z up there, x ahead.
    axes : ndarray of shape (3, 3), float64
        Rows: right, down and forward of the picture, in the Moon frame.

    """

    position_km: Vector
    axes: Vector


@dataclass(frozen=True)
class Orbit:
    """
    A circular orbit with a camera that keeps its attitude to the ground below it.

    Parameters
    ----------
    altitude_km : float
        Height over the sphere.
    heading_deg : float
        Direction of flight, counted from the camera's azimuth to the left.
    depression_deg, roll_deg : float
        Attitude of the camera: down from the local horizontal, and about its axis.
    sun_azimuth_deg, sun_elevation_deg : float
        Where the Sun stands over the ground in the middle of the picture; azimuth from the
        camera's to the left.
    sway_deg, sway_period : float
        Amplitude and period (s) of the attitude's slow limit cycle.
    sway_phases : tuple of float
        One for each camera axis, in radians.

    """

    altitude_km: float
    heading_deg: float
    depression_deg: float
    roll_deg: float
    sun_azimuth_deg: float
    sun_elevation_deg: float
    sway_deg: float
    sway_period: float
    sway_phases: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0))

    @property
    def ground_speed_km_s(self) -> float:
        """Speed of the point below the camera, in km/s."""
        radius = MOON_RADIUS_KM + self.altitude_km
        return math.sqrt(_GRAVITY_KM3_S2 / radius) * MOON_RADIUS_KM / radius

    @property
    def horizon_km(self) -> float:
        """Distance along the ground to the horizon of a smooth sphere, in km."""
        return MOON_RADIUS_KM * math.acos(MOON_RADIUS_KM / (MOON_RADIUS_KM + self.altitude_km))

    @property
    def sun(self) -> Vector:
        """Direction to the Sun in the Moon frame, which hardly turns within minutes."""
        up, ahead, left = surface_axes(2.0 * self.altitude_km, 0.0)
        azimuth, elevation = map(math.radians, (self.sun_azimuth_deg, self.sun_elevation_deg))
        flat = math.cos(azimuth) * ahead + math.sin(azimuth) * left
        return np.asarray(math.cos(elevation) * flat + math.sin(elevation) * up)

    def pose(self, seconds: float) -> Pose:
        """Give the camera's pose this many seconds after the start."""
        heading = math.radians(self.heading_deg)
        angle = seconds * self.ground_speed_km_s / MOON_RADIUS_KM
        flight = np.array([math.cos(heading), math.sin(heading), 0.0])
        zenith = np.array([0.0, 0.0, 1.0])
        up = math.cos(angle) * zenith + math.sin(angle) * flight
        along = math.cos(angle) * flight - math.sin(angle) * zenith
        across = np.cross(up, along)
        ahead = math.cos(heading) * along - math.sin(heading) * across
        position = (MOON_RADIUS_KM + self.altitude_km) * up - MOON_RADIUS_KM * zenith
        right = np.cross(ahead, up)
        level = np.stack([right, -up, ahead])  # (3, 3) level camera: right, down, forward
        sway = [
            math.radians(self.sway_deg) * math.sin(2 * math.pi * seconds / period + phase)
            for period, phase in zip(
                (self.sway_period, 0.7 * self.sway_period, 1.3 * self.sway_period),
                self.sway_phases,
                strict=True,
            )
        ]
        tilt = _turn(0, -math.radians(self.depression_deg) + sway[0])
        roll = _turn(2, math.radians(self.roll_deg) + sway[2])
        return Pose(position, roll @ tilt @ _turn(1, sway[1]) @ level)


def make_orbit(rng: np.random.Generator) -> Orbit:
    """
    Draw one orbit of the domain: 75 to 110 km high, the Sun low and never in front.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.

    Returns
    -------
    Orbit
        The camera's way.

    """
    side = 1.0 if rng.random() < 0.5 else -1.0
    phases = rng.uniform(0.0, 2 * np.pi, 3)
    return Orbit(
        altitude_km=rng.uniform(75.0, 110.0),
        heading_deg=rng.uniform(-18.0, 18.0),
        depression_deg=rng.uniform(27.0, 31.0),
        roll_deg=rng.uniform(-5.0, 5.0),
        sun_azimuth_deg=side * rng.uniform(60.0, 125.0),
        sun_elevation_deg=rng.uniform(16.0, 36.0),
        sway_deg=rng.uniform(0.2, 0.5),
        sway_period=rng.uniform(25.0, 45.0),
        sway_phases=(float(phases[0]), float(phases[1]), float(phases[2])),
    )


def surface_axes(
    x_km: float | npt.NDArray[np.floating], y_km: float | npt.NDArray[np.floating]
) -> tuple[Vector, Vector, Vector]:
    """
    Give the local up, ahead and left directions of points on the sphere.

    Parameters
    ----------
    x_km, y_km : float or ndarray of one shape
        Ground coordinates as of ``Terrain``.

    Returns
    -------
    up, ahead, left : ndarray of shape (..., 3), float64
        Unit vectors in the Moon frame.

    """
    a, b = np.asarray(x_km) / MOON_RADIUS_KM, np.asarray(y_km) / MOON_RADIUS_KM
    a, b = np.broadcast_arrays(a, b)
    up = np.stack([np.sin(a) * np.cos(b), np.sin(b), np.cos(a) * np.cos(b)], axis=-1)
    ahead = np.stack([np.cos(a), np.zeros_like(a), -np.sin(a)], axis=-1)
    left = np.stack([-np.sin(a) * np.sin(b), np.cos(b), -np.cos(a) * np.sin(b)], axis=-1)
    return up, ahead, left


def _turn(axis: int, angle: float) -> Vector:
    """Rotate camera axes (as rows) about one of themselves."""
    c, s = math.cos(angle), math.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = s, -s
    return matrix

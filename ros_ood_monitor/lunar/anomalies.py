"""What the normal domain never shows: foreign bodies that drift past, and light in the lens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.lunar.spacecraft import CELLS, FOIL, GREY, Part, rotation, WHITE

__all__ = ['ANOMALIES', 'Drifter', 'flare', 'make_drifter']

ANOMALIES = ('blanket', 'debris', 'satellite', 'flare')
"""Kinds: a torn-off blanket, a loose tool bag with shards, a satellite, sunlight in the lens."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Drifter:
    """
    A foreign body that tumbles past the camera.

    Parameters
    ----------
    parts : list of Part
        Its surfaces, in m.
    start, end : ndarray of shape (3,), float64
        Way through the camera's axes (right, down, forward), in m.
    axis : tuple of float
        Axis of its tumbling.
    turns : float
        Turns between start and end.

    """

    parts: list[Part]
    start: npt.NDArray[np.float64]
    end: npt.NDArray[np.float64]
    axis: tuple[float, float, float]
    turns: float

    def pose(self, share: float) -> npt.NDArray[np.float64]:
        """
        Give the body's place.

        Parameters
        ----------
        share : float
            Time since it came into view, as a share of its stay, in [0, 1].

        Returns
        -------
        ndarray of shape (4, 4), float64
            From body to camera axes.

        """
        matrix = rotation(self.axis, 2 * np.pi * self.turns * share)
        matrix[:3, 3] = self.start + share * (self.end - self.start)
        return matrix


def make_drifter(kind: str, rng: np.random.Generator) -> Drifter:
    """
    Build a foreign body.

    Parameters
    ----------
    kind : {'blanket', 'debris', 'satellite'}
        What it is.
    rng : numpy.random.Generator
        Source of all randomness.

    Returns
    -------
    Drifter
        The body and its way.

    Raises
    ------
    ParameterError
        If there is no such body.

    """
    makers = {'blanket': _blanket, 'debris': _debris, 'satellite': _satellite}
    if kind not in makers:
        msg = f'foreign body is unknown: expected one of {sorted(makers)}, got {kind!r}'
        raise ParameterError(msg)
    axis = rng.standard_normal(3)
    depth = {'blanket': 4.5, 'debris': 4.0, 'satellite': 7.0}[kind] * rng.uniform(0.9, 1.2)
    side = 1.0 if rng.random() < 0.5 else -1.0
    height = rng.uniform(-0.16, 0.12)
    return Drifter(
        parts=makers[kind](rng),
        start=np.array([-0.42 * side, height, 1.0]) * depth,
        end=np.array([0.40 * side, height + rng.uniform(-0.1, 0.15), 1.05]) * depth,
        axis=(float(axis[0]), float(axis[1]), float(axis[2])),
        turns=rng.uniform(1.0, 2.2),
    )


def _blanket(rng: np.random.Generator) -> list[Part]:
    import pyvista as pv

    x, y = np.meshgrid(np.linspace(-1, 1, 46), np.linspace(-0.7, 0.7, 34))
    z = 0.22 * np.sin(2.1 * x + rng.uniform(0, 6)) * np.cos(2.7 * y + rng.uniform(0, 6))
    for scale in (5.0, 9.0, 17.0):
        angle, phase = rng.uniform(0, 6, 2)
        wave = np.sin(scale * (np.cos(angle) * x + np.sin(angle) * y) + phase)
        z += 0.5 / scale * np.abs(wave)
    sheet = pv.StructuredGrid(x * 0.62, y * 0.62, z * 0.62).extract_surface(
        algorithm='dataset_surface'
    )
    return [Part(sheet, FOIL, 1.0)]


def _debris(rng: np.random.Generator) -> list[Part]:
    import pyvista as pv

    bag = pv.ParametricSuperEllipsoid(
        xradius=0.34, yradius=0.22, zradius=0.24, n1=0.4, n2=0.4, u_res=40, v_res=40, w_res=40
    )
    parts = [
        Part(bag, '#b9bcc4', 0.3),
        Part(
            pv.ParametricTorus(ringradius=0.16, crosssectionradius=0.025).translate((0, 0.24, 0)),
            '#c33a2c',
        ),
        Part(pv.Box((-0.35, 0.35, -0.05, 0.05, 0.24, 0.25)), '#c33a2c'),
    ]
    for _ in range(9):
        shard = pv.Icosahedron(radius=rng.uniform(0.03, 0.09), center=(0, 0, 0))
        shard = shard.scale(rng.uniform(0.3, 1.6, 3), inplace=False)
        parts.append(Part(shard.translate(rng.uniform(-1.1, 1.1, 3), inplace=False), GREY, 0.7))
    return parts


def _satellite(rng: np.random.Generator) -> list[Part]:
    import pyvista as pv

    size = rng.uniform(0.45, 0.6)
    wing = rng.uniform(1.2, 1.6)
    dish = pv.Cone(
        center=(0, 0, -1.1 * size), direction=(0, 0, 1), height=0.5, radius=0.4, resolution=30
    )
    parts = [
        Part(_box((0, 0, 0), (size, size, 1.4 * size)), FOIL, 0.9),
        Part(_box((0, 0, 0.75 * size), (0.8 * size, 0.8 * size, 0.1)), GREY, 0.5),
        Part(dish, WHITE, 0.4),
    ]
    for side in (-1.0, 1.0):
        middle = side * (size / 2 + 0.12 + wing / 2)
        parts.append(Part(_box((middle, 0, 0), (wing, 0.03, 0.8 * size)), CELLS, 0.8))
        parts.append(Part(_box((side * size / 2, 0, 0), (0.3, 0.05, 0.05)), GREY))
    return parts


def _box(center: tuple[float, float, float], size: tuple[float, float, float]) -> Any:
    import pyvista as pv

    return pv.Cube(center=center, x_length=size[0], y_length=size[1], z_length=size[2])


def flare(width: int, height: int, share: float, rng: np.random.Generator) -> Floats:
    """
    Draw sunlight scattered in the lens: a veil, a core with a starburst, and ghosts.

    Parameters
    ----------
    width, height : int
        Size of the picture, in px.
    share : float
        Time since it began, as a share of its stay, in [0, 1].
    rng : numpy.random.Generator
        Source of the flare's place and shape; pass an equal one for every frame.

    Returns
    -------
    ndarray of shape (height, width, 3), float32
        Light to add, in units of 0 to 255.

    """
    corner = np.array([rng.choice([-0.1, 1.1]), -0.08])
    way = np.array([rng.uniform(-0.25, 0.25), 0.06])
    source = (corner + share * way) * (width, height)
    strength = np.sin(np.pi * np.clip(share, 0.0, 1.0)) ** 0.5
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    dx, dy = columns - source[0], rows - source[1]
    distance = np.hypot(dx, dy) / height
    spikes = 0.6 + 0.4 * np.cos(12 * np.arctan2(dy, dx) + rng.uniform(0, 6)) ** 6
    light = 60.0 * np.exp(-distance / 0.9) + 330.0 * spikes * np.exp(-distance / 0.22)
    rgb = light[..., None] * np.array([1.0, 0.95, 0.86])
    middle = np.array([width, height]) / 2
    for reach, size in ((0.5, 0.05), (0.95, 0.09), (1.35, 0.06), (1.7, 0.13)):
        ghost = source + reach * 1.2 * (middle - source)
        inside = np.hypot(columns - ghost[0], rows - ghost[1]) / height - size
        tint = rng.uniform(0.4, 1.0, 3)
        rgb += 34.0 * np.clip(-inside / 0.02, 0.0, 1.0)[..., None] * tint
    return np.asarray(strength * rgb, np.float32)


def check_kind(kind: str) -> None:
    """Refuse an unknown kind of anomaly with ParameterError."""
    if kind not in ANOMALIES:
        msg = f'anomaly is unknown: expected one of {list(ANOMALIES)}, got {kind!r}'
        raise ParameterError(msg)

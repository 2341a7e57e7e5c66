"""What the camera always has in view: the end of its own boom, and the station it flies beside."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ['Part', 'boom', 'rotation', 'station']

WHITE = '#d9d7d0'
FOIL = '#c8913a'
GREY = '#84868a'
DARK = '#2b2d31'
CELLS = '#1c2b57'

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Part:
    """
    One piece of a body with one surface.

    Parameters
    ----------
    mesh : pyvista.PolyData
        Its surface in the body's axes, in m.
    color : str
        Hex colour.
    gloss : float
        Strength of the highlight, 0 to 1.

    """

    mesh: Any
    color: str
    gloss: float = 0.2


def rotation(axis: tuple[float, float, float], angle: float) -> Matrix:
    """
    Give the matrix of a turn about an axis.

    Parameters
    ----------
    axis : tuple of float
        Direction; any length.
    angle : float
        In radians.

    Returns
    -------
    ndarray of shape (4, 4), float64
        Homogeneous rotation.

    """
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(4)
    matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return matrix


def station() -> list[Part]:
    """
    Build the station: a module with docking port, radiators, solar wings and a truss.

    Returns
    -------
    list of Part
        In the station's axes: x along the module, m.

    """
    import pyvista as pv

    def tube(radius: float, length: float, x: float, color: str, gloss: float = 0.2) -> Part:
        mesh = pv.Cylinder(
            center=(x, 0, 0), direction=(1, 0, 0), radius=radius, height=length, resolution=40
        )
        return Part(mesh, color, gloss)

    def box(
        x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], *a: Any
    ) -> Part:
        return Part(pv.Box((*x, *y, *z)), *a)

    nose = pv.Cone(center=(3.3, 0, 0), direction=(1, 0, 0), height=1.7, radius=1.9, resolution=40)
    parts = [
        tube(1.9, 5.0, 0.0, WHITE),
        tube(1.95, 0.25, -2.4, GREY, 0.5),
        tube(1.95, 0.25, 2.4, GREY, 0.5),
        tube(1.93, 0.12, 0.7, GREY, 0.5),
        Part(nose, FOIL, 0.8),
        tube(0.8, 1.0, 3.7, DARK, 0.4),
        tube(0.95, 0.15, 4.2, GREY, 0.6),
        tube(1.2, 1.4, -3.2, FOIL, 0.8),
        box((-0.9, 0.9), (1.85, 2.5), (-0.7, 0.7), FOIL, 0.8),
        box((-2.0, 1.8), (-0.06, 0.06), (1.9, 5.4), WHITE, 0.3),
        box((-2.0, 1.8), (-0.06, 0.06), (-5.4, -1.9), WHITE, 0.3),
    ]
    for side in (-1.0, 1.0):
        low, high = sorted((side * 2.6, side * 11.0))
        parts.append(box((-3.9, -2.6), (low, high), (-0.04, 0.04), CELLS, 0.6))
        parts += [
            box((-3.9, -2.6), (y - 0.03, y + 0.03), (-0.06, 0.06), GREY, 0.4)
            for y in np.linspace(low, high, 7)
        ]
        parts.append(
            box((-3.3, -3.2), (min(0.0, side * 11.0), max(0.0, side * 11.0)), (-0.1, 0.1), GREY)
        )
    for x in np.arange(-1.8, 2.0, 0.9):  # seams of the blankets
        parts.append(tube(1.915, 0.05, float(x), '#b4b1a8'))
    return parts


def boom() -> list[Part]:
    """
    Build the outer end of the spacecraft's own boom, a truss with a tool at its tip.

    Returns
    -------
    list of Part
        In the camera's axes: right, down, forward, m.

    """
    import pyvista as pv

    start, end = np.array([-2.6, 1.9, 2.2]), np.array([-0.75, 1.25, 5.2])
    along = (end - start) / np.linalg.norm(end - start)
    side = np.cross(along, [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side)
    other = np.cross(along, side)
    corners = [0.14 * (np.cos(a) * side + np.sin(a) * other) for a in 2 * np.pi * np.arange(3) / 3]

    def rod(a: Matrix, b: Matrix, radius: float) -> Any:
        return pv.Cylinder(
            center=tuple((a + b) / 2),
            direction=tuple(b - a),
            radius=radius,
            height=float(np.linalg.norm(b - a)),
            resolution=10,
        )

    rods = [Part(rod(start + c, end + c, 0.022), WHITE) for c in corners]
    bays = np.linspace(0.0, 1.0, 9)
    for low, high in pairwise(bays):
        for one, two in zip(corners, corners[1:] + corners[:1], strict=True):
            a, b = start + low * (end - start) + one, start + high * (end - start) + two
            rods.append(Part(rod(a, b, 0.012), GREY))
    tip = end + 0.15 * along
    return [
        *rods,
        Part(rod(end - 0.05 * along, tip + 0.1 * along, 0.16), FOIL, 0.8),
        Part(rod(tip + 0.1 * along, tip + 0.45 * along, 0.07), DARK, 0.5),
        Part(pv.Sphere(radius=0.11, center=tuple(tip + 0.5 * along)), GREY, 0.6),
    ]

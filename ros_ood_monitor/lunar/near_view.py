"""Bodies near the camera, drawn by VTK without a screen: colour, and what covers what."""

from __future__ import annotations

from collections.abc import Mapping
import ctypes
import os
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.lunar.orbit import FIELD_OF_VIEW_DEG
from ros_ood_monitor.lunar.spacecraft import Part
from ros_ood_monitor.packages import import_problem

__all__ = ['NearView']

_MOONSHINE = 0.45  # share of sunlight that the ground reflects onto the bodies

Pixels = npt.NDArray[np.uint8]


def _load_pyvista() -> Any:
    if not os.environ.get('DISPLAY'):
        # without a screen VTK would try X first, complain, and end in libraries that are missing
        os.environ.setdefault('VTK_DEFAULT_OPENGL_WINDOW', 'vtkEGLRenderWindow')
        try:
            ctypes.CDLL('libEGL.so.1')
        except OSError as error:
            msg = 'rendering without a screen needs EGL; on Debian and Ubuntu: apt install libegl1'
            raise ParameterError(msg) from error
    try:
        import pyvista as pv
    except ImportError as error:
        msg = f'rendering needs {import_problem(error)}'
        raise ParameterError(msg) from error
    return pv


class NearView:
    """
    A window without a screen onto named bodies in the camera's axes.

    Parameters
    ----------
    bodies : mapping of str to list of Part
        What can be shown; each body has its own pose.
    sun : ndarray of shape (3,), float64
        Direction to the Sun in the camera's axes.
    width, height : int
        Size of the pictures, in px.

    Raises
    ------
    ParameterError
        If pyvista cannot be imported or, without a screen, EGL is not installed.

    """

    def __init__(
        self,
        bodies: Mapping[str, list[Part]],
        *,
        sun: npt.NDArray[np.float64],
        width: int,
        height: int,
    ) -> None:
        pv = _load_pyvista()
        self._plotter = pv.Plotter(off_screen=True, window_size=[width, height], lighting='none')
        self._plotter.background_color = pv.Color('black')
        light = pv.Light(position=tuple(100.0 * sun), focal_point=(0, 0, 0), intensity=1.0)
        light.positional = False
        self._plotter.add_light(light)
        # sunlit ground fills the shadows from below
        fill = pv.Light(position=(0, 100, 20), focal_point=(0, 0, 0), intensity=_MOONSHINE)
        fill.positional = False
        self._plotter.add_light(fill)
        self._actors: dict[str, list[tuple[Any, Part]]] = {
            name: [(self._add(part), part) for part in parts] for name, parts in bodies.items()
        }
        camera = self._plotter.camera
        camera.position, camera.focal_point, camera.up = (0, 0, 0), (0, 0, 1), (0, -1, 0)
        camera.view_angle = FIELD_OF_VIEW_DEG
        camera.clipping_range = (0.3, 120.0)

    def __enter__(self) -> NearView:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._plotter.close()

    def _add(self, part: Part) -> Any:
        return self._plotter.add_mesh(
            part.mesh,
            color=part.color,
            ambient=0.08,
            diffuse=0.95,
            specular=part.gloss,
            specular_power=25.0,
            smooth_shading=part.mesh.n_cells > 60 and part.mesh.n_cells != 80,
            split_sharp_edges=True,
            render=False,
            reset_camera=False,
        )

    def render(
        self, poses: Mapping[str, npt.NDArray[np.float64]], *, foreign: str | None = None
    ) -> tuple[Pixels, npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """
        Draw the bodies that have a pose.

        Parameters
        ----------
        poses : mapping of str to ndarray of shape (4, 4)
            From body to camera axes; bodies without a pose are hidden.
        foreign : str, optional
            The body whose visible pixels are wanted.

        Returns
        -------
        rgb : ndarray of shape (height, width, 3), uint8
            Colours; black where nothing is.
        cover : ndarray of shape (height, width, 1), float32
            Share of each pixel that a body covers, in [0, 1].
        mask : ndarray of shape (height, width), bool
            Where the foreign body is and nothing stands before it.

        """
        for name, actors in self._actors.items():
            for actor, _ in actors:
                actor.visibility = name in poses
                if name in poses:
                    actor.user_matrix = poses[name]
        rgba = self._draw(alpha=True)
        cover = rgba[..., 3:].astype(np.float32) / 255.0
        if foreign is None or foreign not in poses:
            return rgba[..., :3], cover, np.zeros(rgba.shape[:2], bool)
        flat = self._draw_flat(foreign)
        return rgba[..., :3], cover, (flat[..., 0] > 128) & (flat[..., 1] < 128)

    def _draw(self, *, alpha: bool = False) -> Pixels:
        self._plotter.render()
        shot = self._plotter.screenshot(return_img=True, transparent_background=alpha)
        return np.asarray(shot, np.uint8)

    def _draw_flat(self, foreign: str) -> Pixels:
        """Draw the foreign body red and the others green, without light."""
        for name, actors in self._actors.items():
            for actor, _ in actors:
                actor.prop.lighting = False
                actor.prop.color = 'red' if name == foreign else 'lime'
        flat = self._draw()
        for actors in self._actors.values():
            for actor, part in actors:
                actor.prop.lighting = True
                actor.prop.color = part.color
        return flat

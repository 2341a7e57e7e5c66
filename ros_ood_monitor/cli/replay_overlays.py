"""Pictures of the frames in an alert, for ``ood_monitor replay --overlays``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
import re

from ros_ood_monitor.atomic import new_file
from ros_ood_monitor.errors import DecodeError, ParameterError
from ros_ood_monitor.images import encode_jpeg
from ros_ood_monitor.maps.overlay import annotated
from ros_ood_monitor.records import Frame, Observation, State

__all__ = ['Overlays']


class Overlays:
    """
    Writes a JPEG of every frame in ALERT, with the heat-map on it and words above it.

    Files are named after cameras and stamps; one whose name is taken has its number behind that.

    Parameters
    ----------
    folder : str
        Where to; made where it is missing. An empty one, for pictures of two runs in one folder
        would be taken for those of one.
    camera_in_name : bool
        Whether files are named after cameras, too.

    Raises
    ------
    ParameterError
        If the folder cannot be made, or holds something.

    """

    def __init__(self, folder: str, *, camera_in_name: bool = False) -> None:
        self._folder = Path(folder)
        self._camera_in_name = camera_in_name
        self._frame: Frame | None = None
        self.count = 0
        expected = 'overlays: expected a new or an empty folder'
        if self._folder.exists() and not self._folder.is_dir():
            msg = f'{expected}, got a file; name a folder: {folder}'
            raise ParameterError(msg)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            held = sum(1 for _ in self._folder.iterdir())
        except OSError as error:
            msg = f'{expected}, got {error.strerror}; name another one: {folder}'
            raise ParameterError(msg) from error
        if held:
            msg = (
                f'{expected}, got one that holds {held} file{"" if held == 1 else "s"}; empty it, '
                f'or name another one: {folder}'
            )
            raise ParameterError(msg)

    def take(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Pass frames on, each to be answered before the next one."""
        for frame in frames:
            self._frame = frame
            yield frame

    def follow(self, observations: Iterable[Observation]) -> Iterator[Observation]:
        """
        Pass observations on, and write pictures on the way.

        Parameters
        ----------
        observations : iterable of Observation
            The answers to the frames of `take`.

        Yields
        ------
        Observation
            Each of them.

        Raises
        ------
        ParameterError
            If a picture cannot be written.

        """
        for observation in observations:
            if observation.state is State.ALERT and self._frame is not None:
                self._write(self._frame, observation)
            yield observation

    def _write(self, frame: Frame, observation: Observation) -> None:
        camera = re.sub(r'[^\w.-]+', '_', frame.camera).strip('._')
        name = f'{camera}_' if camera and self._camera_in_name else ''
        path = self._folder / f'{name}{frame.stamp:.6f}.jpg'
        self.count += 1
        if path.exists():  # drivers repeat stamps, and clocks are set back
            path = path.with_stem(f'{path.stem}_{self.count}')
        try:
            with new_file(path) as aside:
                aside.write_bytes(encode_jpeg(annotated(frame.rgb, observation), 90))
        except (OSError, DecodeError) as error:
            msg = f'cannot write overlay: {getattr(error, "strerror", None) or error}: {path}'
            raise ParameterError(msg) from error

"""A bag as the page shows it: scores of every frame, and small pictures at any time."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
import contextlib
from dataclasses import dataclass, field
import os
from pathlib import Path
import tempfile
from typing import Any, BinaryIO, Final

import cv2
import numpy as np

from ros_ood_monitor.bags import BagReader
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.camera_names import camera_names
from ros_ood_monitor.engines import Engine
from ros_ood_monitor.evaluation.bags.html_page.curves import decimated
from ros_ood_monitor.evaluation.bags.labels import bag_name
from ros_ood_monitor.images import encode_jpeg
from ros_ood_monitor.json_values import finite
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import Frame
from ros_ood_monitor.replay import replay

__all__ = ['Recording', 'read_recording']

_MOST_PICTURES: Final = 10_000  # some 15 kB each, in a temporary file
_WIDTH: Final = 480  # px
_QUALITY: Final = 75


@dataclass(eq=False)
class Camera:
    """
    The frames of one camera.

    Parameters
    ----------
    name, topic : str
        Its names.
    stamp, raw_score : array of float
        Of every frame; no scores without a bundle.
    shown : array of int
        Places of the frames that there are pictures of.
    offsets : list of (int, int)
        Where these lie in the file of pictures, and how long they are.

    """

    name: str
    topic: str
    stamp: array[float] = field(default_factory=lambda: array('d'))
    raw_score: array[float] = field(default_factory=lambda: array('d'))
    shown: array[int] = field(default_factory=lambda: array('q'))
    offsets: list[tuple[int, int]] = field(default_factory=list)
    next_picture: float = -np.inf


class Recording:
    """
    Frames of a bag, ready to be looked at.

    Parameters
    ----------
    bag : Path
        Where it lies.
    cameras : list of Camera
        Its cameras.
    threshold : float or None
        On raw_score; None without a bundle.
    start : float
        Stamp of the bag's first image, from which ``time: bag`` of labels counts, in s.
    pictures : file
        Their JPEGs, end to end.

    """

    def __init__(
        self,
        bag: Path,
        cameras: list[Camera],
        threshold: float | None,
        start: float,
        pictures: BinaryIO,
    ) -> None:
        self.bag = bag
        self.cameras = cameras
        self.threshold = threshold
        self.start = start
        self._pictures = pictures

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget the pictures."""
        self._pictures.close()

    @property
    def name(self) -> str:
        """Return the name of the bag, as labels have it."""
        return bag_name(self.bag)

    def picture(self, camera: int, place: int) -> bytes | None:
        """Return the JPEG of a frame that is shown; None where there is no such frame."""
        if not 0 <= camera < len(self.cameras):
            return None
        offsets = self.cameras[camera].offsets
        if not 0 <= place < len(offsets):
            return None
        start, size = offsets[place]
        return self._read(start, size)

    def _read(self, start: int, size: int) -> bytes:
        # one read at a place: threads share the file
        return os.pread(self._pictures.fileno(), size, start)

    def facts(self) -> dict[str, Any]:
        """Return what the page needs, as plain values; times in s from `start`."""
        start, cameras = self.start, []
        for camera in self.cameras:
            stamp, score = np.array(camera.stamp), np.array(camera.raw_score)
            chosen = decimated(score) if score.size else np.empty(0, np.int64)
            shown = np.array(camera.shown, np.int64)
            cameras.append(
                {
                    'name': camera.name,
                    'topic': camera.topic,
                    'shown': np.round(stamp[shown] - start, 6).tolist(),
                    'scores': finite(score[shown].tolist()) if score.size else [],
                    'x': np.round(stamp[chosen] - start, 4).tolist(),
                    'y': finite(score[chosen].tolist()),
                    'period': float(np.median(np.diff(stamp))) if stamp.size > 1 else 0.1,
                }
            )
        ends = [max(camera.stamp) for camera in self.cameras if camera.stamp]
        return {
            'bag': self.name,
            'start': start,
            'duration': max(ends) - start,
            'threshold': self.threshold,
            'cameras': cameras,
        }


def read_recording(
    bag: Path,
    bundle: Bundle | None = None,
    engine: Engine | None = None,
    *,
    topics: list[str] | None = None,
    on_frame: Callable[[], object] = lambda: None,
) -> Recording:
    """
    Read a bag once: keep every score, and pictures of up to 10,000 frames evenly in time.

    Parameters
    ----------
    bag : Path
        The bag.
    bundle, engine : Bundle, Engine
        What scores frames; without them there are no scores.
    topics : list of str, optional
        Image topics; all of them by default.
    on_frame : callable
        Called after each frame.

    Returns
    -------
    Recording
        The frames; pictures lie in a temporary file without a name.

    Raises
    ------
    BagError
        If the bag cannot be read or has no frame.
    ParameterError
        If a topic is not an image topic of it.
    EngineError
        If a frame cannot be scored.

    """
    with contextlib.ExitStack() as stack:
        pictures = stack.enter_context(tempfile.TemporaryFile())
        start, cameras = _read(bag, bundle, engine, topics, on_frame, pictures)
        pictures.flush()
        stack.pop_all()  # open as long as the recording is
    threshold = None if bundle is None or engine is None else Monitor(bundle, engine).threshold
    seen = [camera for camera in cameras if camera.stamp]
    return Recording(bag, seen, threshold, start, pictures)


def _read(
    bag: Path,
    bundle: Bundle | None,
    engine: Engine | None,
    topics: list[str] | None,
    on_frame: Callable[[], object],
    pictures: BinaryIO,
) -> tuple[float, list[Camera]]:
    with BagReader(bag) as reader:
        frames = reader.frames(topics)
        chosen = [topic.name for topic in reader.choose(topics)]
        cameras = [Camera(*pair) for pair in zip(camera_names(chosen), chosen, strict=True)]
        by_name = {camera.name: camera for camera in cameras}
        every = reader.duration * len(cameras) / _MOST_PICTURES

        def kept() -> Iterator[Frame]:
            for frame in frames:
                _keep(by_name[frame.camera], frame, pictures, every)
                on_frame()
                yield frame

        if bundle is None or engine is None:
            for _ in kept():
                pass
        else:
            for seen in replay(lambda _: Monitor(bundle, engine), kept()):
                by_name[seen.camera].raw_score.append(seen.raw_score)
        return reader.origin, cameras


def _keep(camera: Camera, frame: Frame, pictures: BinaryIO, every: float) -> None:
    camera.stamp.append(frame.stamp)
    if frame.stamp < camera.next_picture <= frame.stamp + every:
        return
    camera.next_picture = frame.stamp + every
    scale = min(1.0, _WIDTH / frame.width)
    size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    small = np.asarray(cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    jpeg = encode_jpeg(small, _QUALITY)
    camera.offsets.append((pictures.tell(), len(jpeg)))
    camera.shown.append(len(camera.stamp) - 1)
    pictures.write(jpeg)

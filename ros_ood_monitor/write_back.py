"""What the monitor says of a bag, written into another one as the node would have published it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
import shutil
import tempfile
from types import TracebackType
from typing import Any, Final

import numpy as np

from ros_ood_monitor.alerting.running_episode import RunningEpisode
from ros_ood_monitor.atomic import sync
from ros_ood_monitor.bags import BagWriter, PendingFrame
from ros_ood_monitor.errors import BagError, DecodeError
from ros_ood_monitor.images import encode_jpeg
from ros_ood_monitor.maps.overlay import annotated
from ros_ood_monitor.records import AlertState, Frame, Observation, State
from ros_ood_monitor.statuses import alert_status, observation_status, Status

__all__ = ['WriteBack']

_NODE: Final = 'ood_monitor'
_FLOAT: Final = 'std_msgs/msg/Float32'
_ARRAY: Final = 'diagnostic_msgs/msg/DiagnosticArray'
_COMPRESSED: Final = 'sensor_msgs/msg/CompressedImage'
_OVERLAY_WIDTH, _OVERLAY_QUALITY = 640, 80  # as the node's parameters are by default
_NAN: Final = float('nan')


class WriteBack:
    """
    Writes scores, observations, alerts and overlays of a bag, beside its pictures if wanted.

    Topics and messages are those of a node ``/ood_monitor``; headers are the images' own, log
    times those at which the images were recorded. The bag is there whole or not at all.

    Parameters
    ----------
    path : Path or str
        A folder to make, or one file that ends in ``.mcap``; must not exist.
    bundle : str
        Which bundle judges.
    cameras : sequence of str
        Names of the cameras; of several each has its own topics, as with the node.
    with_images : bool, default False
        Whether the pictures are copied, byte for byte.

    Raises
    ------
    BagError
        If the target exists or cannot be written.

    """

    def __init__(
        self,
        path: Path | str,
        *,
        bundle: str,
        cameras: Sequence[str],
        with_images: bool = False,
    ) -> None:
        self.path = Path(path)
        self._bundle, self._with_images = bundle, with_images
        self._several = len(cameras) > 1
        self._told = {camera: _Told() for camera in cameras}
        self._received: tuple[PendingFrame, Frame] | None = None
        self.count = 0
        self._aside: Path | None = None
        folder = self.path
        if self.path.suffix.lower() == '.mcap':
            if self.path.exists():
                msg = f'bag exists and is not overwritten; choose another name: {path}'
                raise BagError(msg)
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                made = tempfile.mkdtemp(prefix=f'.{self.path.name}.', dir=self.path.parent)
            except OSError as error:
                raise self._failed(error) from error
            self._aside = Path(made)
            folder = self._aside / 'bag'
        try:
            self._writer = BagWriter(folder)
        except BaseException:
            self._drop()
            raise

    def __enter__(self) -> WriteBack:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._writer.__exit__(kind, error, trace)
            if self._aside is not None and kind is None:
                (file,) = (self._aside / 'bag').glob('*.mcap')
                file.rename(self.path)
                sync(self.path.parent)
        except OSError as problem:
            raise self._failed(problem) from problem
        finally:
            self._drop()

    def take(self, received: Iterable[tuple[PendingFrame, Frame]]) -> Iterator[Frame]:
        """
        Pass frames on, each to be answered before the next one.

        Parameters
        ----------
        received : iterable of (PendingFrame, Frame)
            What `BagReader.received_frames` gives.

        Yields
        ------
        Frame
            The frames.

        """
        for message, frame in received:
            self._received = message, frame
            yield frame

    def follow(self, observations: Iterable[Observation]) -> Iterator[Observation]:
        """
        Pass observations on, and write them on the way.

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
        BagError
            If the bag cannot be written.

        """
        for observation in observations:
            if self._received is not None:
                self._write(*self._received, observation)
            yield observation

    def _write(self, message: PendingFrame, frame: Frame, observation: Observation) -> None:
        camera, header = observation.camera, message.header
        if self._with_images:
            self._put(message, message.topic, message.type, message.data)
        prefix = f'/{_NODE}/{camera}' if self._several else f'/{_NODE}'
        score = self._writer.make(_FLOAT, data=observation.judged_score)
        self._put(message, f'{prefix}/score', _FLOAT, score)
        status = observation_status(
            observation,
            name=self._name('observation', camera),
            bundle=self._bundle,
            latency_ms=_NAN,  # of the robot, which nobody knows any more
        )
        self._put_statuses(message, f'/{_NODE}/observation', header, [status])
        if self._told[camera].takes(observation, self._name('alert', camera), self._bundle):
            told = [one.status for one in self._told.values() if one.status is not None]
            self._put_statuses(message, f'/{_NODE}/alert', header, told)
        drawn = annotated(frame.rgb, observation, width=_OVERLAY_WIDTH)
        with suppress(DecodeError):  # no JPEG is so large: the rest is told all the same
            jpeg = np.frombuffer(encode_jpeg(drawn, _OVERLAY_QUALITY), np.uint8)
            picture = self._writer.make(_COMPRESSED, header=header, format='jpeg', data=jpeg)
            self._put(message, f'{prefix}/overlay/compressed', _COMPRESSED, picture)
        self.count += 1

    def _name(self, what: str, camera: str) -> str:
        return f'{_NODE}: {what} {camera}' if self._several else f'{_NODE}: {what}'

    def _put(self, message: PendingFrame, topic: str, kind: str, content: Any) -> None:
        try:
            self._writer.write(topic, kind, content, message.log_time, log_ns=message.log_ns)
        except BagError as error:
            raise self._failed(error) from error

    def _put_statuses(
        self, message: PendingFrame, topic: str, header: Any, statuses: Sequence[Status]
    ) -> None:
        make = self._writer.make
        made = [
            make(
                'diagnostic_msgs/msg/DiagnosticStatus',
                level=status.level,
                name=status.name,
                message=status.message,
                hardware_id=status.hardware_id,
                values=[
                    make('diagnostic_msgs/msg/KeyValue', key=key, value=value)
                    for key, value in status.values.items()
                ],
            )
            for status in statuses
        ]
        self._put(message, topic, _ARRAY, make(_ARRAY, header=header, status=made))

    def _failed(self, error: OSError) -> BagError:
        why = error.__cause__ or error  # of a BagError, which names the path aside
        words = getattr(why, 'strerror', None) or why
        return BagError(f'cannot write bag: {words}; nothing is left of it: {self.path}')

    def _drop(self) -> None:
        if self._aside is not None:
            with suppress(OSError):
                shutil.rmtree(self._aside)


class _Told:
    """What was said of one camera in ``~/alert``."""

    def __init__(self) -> None:
        self._episode = RunningEpisode()
        self._state: State | None = None
        self.status: Status | None = None

    def takes(self, observation: Observation, name: str, bundle: str) -> bool:
        """Take an observation; return whether its state is news."""
        alert: AlertState = observation.alert
        self._episode.on_frame(observation.stamp)
        self._episode.on_alert(alert)
        if alert.state is self._state and not alert.changed:
            return False
        self._state = alert.state
        self.status = alert_status(
            alert,
            name=name,
            camera=observation.camera,
            bundle=bundle,
            peak=self._episode.peak,
            duration=self._episode.duration(),
        )
        if alert.state is State.NORMAL:
            self._episode.end()
        return True

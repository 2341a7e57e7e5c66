"""A bag as frames: what a camera node would have received, without ROS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Iterator, Sequence
import contextlib
from dataclasses import dataclass
import heapq
import logging
import math
from pathlib import Path
import struct
from types import TracebackType
from typing import Any, Final, NamedTuple

from ros_ood_monitor.ahead import in_order
from ros_ood_monitor.bags.files import (
    decompress_message,
    find_files,
    require_libraries,
    StorageFile,
)
from ros_ood_monitor.bags.mcap_stream import RawMessage
from ros_ood_monitor.camera_names import camera_names
from ros_ood_monitor.decode import decode_compressed, decode_image
from ros_ood_monitor.errors import BagError, DecodeError, OodMonitorError, ParameterError
from ros_ood_monitor.records import Frame

__all__ = ['BagReader', 'PendingFrame', 'SkippedFrame', 'TopicInfo']

_IMAGE: Final = 'sensor_msgs/msg/Image'
_COMPRESSED: Final = 'sensor_msgs/msg/CompressedImage'
_MAX_LOGGED: Final = 5  # skipped frames of one reader

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TopicInfo:
    """A topic of the bag: its name, its type with three parts, messages in the files present."""

    name: str
    type: str
    count: int


class SkippedFrame(NamedTuple):
    """A frame that could not be decoded: its topic, its log time in s, and why."""

    topic: str
    log_time: float
    reason: str


class PendingFrame:
    """
    A frame as it is stored; ``str`` gives its topic and log time.

    Parameters
    ----------
    message : RawMessage
        Its message.
    kind : str
        Type of the message.
    camera : str
        Name of its camera.
    typestore : rosbags.typesys.Typestore
        Knows the type.

    """

    def __init__(self, message: RawMessage, kind: str, camera: str, typestore: Any) -> None:
        self.topic = message.topic
        self.log_time = message.log_time / 1e9
        self.log_ns = message.log_time
        self.type = kind
        self._message = message
        self._camera, self._typestore = camera, typestore

    def __str__(self) -> str:
        return f'{self.topic} at {self.log_time:.6f} s'

    @property
    def data(self) -> bytes:
        """Return the serialised message."""
        return bytes(decompress_message(self._message.data))

    @property
    def header(self) -> Any:
        """Return the header of a message that `decode` could read."""
        return self._typestore.deserialize_cdr(self.data, self.type).header

    def decode(self) -> Frame:
        """
        Return the frame; may run in any thread.

        Raises
        ------
        DecodeError, BagError
            If its message holds no picture.

        """
        return _to_frame(self._message, self.type, self._camera, self._typestore)


class BagReader:
    """
    Reads the frames of a rosbag2 (MCAP or SQLite3, any compression, folder or single file).

    Damage that leaves something to read does not stop it, and is never silent: missing and
    damaged files are logged as warnings and kept in ``missing_files`` and ``damaged_files``,
    frames that do not decode in ``skipped``. Memory does not grow with the bag; a bag that is
    compressed as a whole needs room for one of its files in the temporary folder.

    Parameters
    ----------
    path : Path or str
        A bag's folder, or one ``.mcap`` or ``.db3`` file.

    Attributes
    ----------
    missing_files : list of str
        Names that ``metadata.yaml`` lists and the folder lacks.
    damaged_files : dict of str to str
        What is wrong, by name of the file: truncated, unreadable.
    skipped : list of SkippedFrame
        Frames that did not decode, filled while ``frames`` runs.

    Raises
    ------
    BagError
        If there is no such bag, nothing in it can be read, or a bag library is not installed.

    """

    def __init__(self, path: Path | str) -> None:
        require_libraries()
        self.path = Path(path)
        self.missing_files: list[str] = []
        self.damaged_files: dict[str, str] = {}
        self.skipped: list[SkippedFrame] = []
        self._stack = contextlib.ExitStack()
        files, self.missing_files = find_files(self.path)
        if self.missing_files:
            _log.warning(
                'bag is incomplete: %d of %d files in its metadata.yaml are missing (%s): %s',
                len(self.missing_files),
                len(self.missing_files) + len(files),
                ', '.join(self.missing_files),
                self.path,
            )
        self._files = self._scan(files)

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files that an unfinished ``frames`` has open."""
        self._stack.close()

    def topics(self) -> list[TopicInfo]:
        """List the topics of the files that are there, by name."""
        types: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for file in self._files:
            for name, (kind, count) in file.topics.items():
                types.setdefault(name, kind)
                counts[name] += count
        return [TopicInfo(name, types[name], counts[name]) for name in sorted(types)]

    @property
    def image_topics(self) -> list[TopicInfo]:
        """Topics with pictures; empty where the bag has none."""
        return [t for t in self.topics() if t.type in (_IMAGE, _COMPRESSED)]

    @property
    def start(self) -> float:
        """Log time of the first message, in s; NaN for a bag without messages."""
        starts = [f.start for f in self._files if f.topics and f.end >= f.start]
        return min(starts) / 1e9 if starts else math.nan

    @property
    def end(self) -> float:
        """Log time of the last message, in s; NaN for a bag without messages."""
        ends = [f.end for f in self._files if f.topics and f.end >= f.start]
        return max(ends) / 1e9 if ends else math.nan

    @property
    def duration(self) -> float:
        """From the first to the last message, in s."""
        return self.end - self.start

    def frames(self, topics: Sequence[str] | None = None, *, every: int = 1) -> Iterator[Frame]:
        """
        Decode the frames of some cameras in order of log time.

        ``Frame.stamp`` is the header's stamp; where a driver left that at zero, the log time.
        ``Frame.camera`` comes from the topic, see `camera_name`. A frame that does not decode
        is added to ``skipped``, logged (the first few) and left out.

        Parameters
        ----------
        topics : sequence of str, optional
            Image topics to read; all of them by default.
        every : int
            Take each topic's first frame and then every n-th.

        Yields
        ------
        Frame
            The next frame.

        Raises
        ------
        BagError
            If the bag has no image topic, or not one frame on it that decodes.
        ParameterError
            If a topic is not an image topic of this bag, or ``every`` is less than 1.

        """
        return (frame for _, frame in self.logged_frames(topics, every=every))

    def logged_frames(
        self, topics: Sequence[str] | None = None, *, every: int = 1, workers: int = 0
    ) -> Iterator[tuple[float, Frame]]:
        """
        Decode like `frames`, ahead of the caller where that is wanted, and tell log times.

        Parameters
        ----------
        topics, every
            As for `frames`.
        workers : int, default 0
            Threads that decode, four frames each at most; 0 decodes in the calling thread.

        Yields
        ------
        tuple of (float, Frame)
            Log time in s, and the next frame.

        Raises
        ------
        BagError, ParameterError
            As for `frames`.

        """
        received = self.received_frames(topics, every=every, workers=workers)
        return ((message.log_time, frame) for message, frame in received)

    def received_frames(
        self, topics: Sequence[str] | None = None, *, every: int = 1, workers: int = 0
    ) -> Iterator[tuple[PendingFrame, Frame]]:
        """
        Decode like `logged_frames`, and give what each frame came in.

        Parameters
        ----------
        topics, every, workers
            As for `logged_frames`.

        Yields
        ------
        tuple of (PendingFrame, Frame)
            The message, and the next frame.

        Raises
        ------
        BagError, ParameterError
            As for `frames`.

        """
        pending = self.pending(topics, every=every)  # refuses what is wrong now, not when iterated
        return self._frames(pending, workers)

    def pending(
        self,
        topics: Sequence[str] | None = None,
        *,
        every: int = 1,
        start: float | None = None,
        end: float | None = None,
    ) -> Iterator[PendingFrame]:
        """
        Give the frames of some cameras in order of log time, not decoded yet.

        Parameters
        ----------
        topics : sequence of str, optional
            Image topics to read; all of them by default.
        every : int
            Take each topic's first frame and then every n-th.
        start, end : float, optional
            Window of log time, in s from the bag's first message; ``end`` is outside.

        Yields
        ------
        PendingFrame
            The next frame, whether it decodes or not.

        Raises
        ------
        BagError
            If the bag has no image topic.
        ParameterError
            If a topic is not an image topic of this bag, or ``every`` is less than 1.

        """
        chosen = self._choose(topics)
        if every < 1:
            msg = f'every out of range: expected at least 1, got {every}'
            raise ParameterError(msg)
        return self._pending(chosen, every, start, end)

    def _pending(
        self, chosen: dict[str, str], every: int, start: float | None, end: float | None
    ) -> Iterator[PendingFrame]:
        from rosbags.typesys import get_typestore, Stores

        # the two image messages are the same in every ROS 2 distribution
        typestore = get_typestore(Stores.ROS2_JAZZY)
        cameras = dict(zip(chosen, camera_names(list(chosen)), strict=True))
        seen: Counter[str] = Counter()
        for message in self.messages(chosen):
            time = message.log_time / 1e9 - self.start
            if start is not None and time < start:
                continue
            if end is not None and time >= end:
                break  # in order of log time
            seen[message.topic] += 1
            if (seen[message.topic] - 1) % every:
                continue
            yield PendingFrame(message, chosen[message.topic], cameras[message.topic], typestore)

    def _frames(
        self, pending: Iterator[PendingFrame], workers: int
    ) -> Iterator[tuple[PendingFrame, Frame]]:
        decoded = 0
        first_skipped = len(self.skipped)
        topics: dict[str, None] = {}
        for message, frame in in_order(_decoded, pending, workers=workers):
            topics[message.topic] = None
            if not isinstance(frame, Frame):
                self.skipped.append(SkippedFrame(message.topic, message.log_time, str(frame)))
                # a camera that fails always must not flood the log; `skipped` has them all
                level = logging.WARNING if len(self.skipped) <= _MAX_LOGGED else logging.DEBUG
                _log.log(level, 'frame skipped: %s: %s', message, frame)
                continue
            decoded += 1
            yield message, frame
        if not decoded:
            failed = self.skipped[first_skipped:]
            why = (
                f'all {len(failed)} are damaged, first: {failed[0].reason}' if failed else 'empty'
            )
            names = ', '.join(topics) or 'its image topics'
            msg = f'bag has no frame to read on {names} ({why}): {self.path}'
            raise BagError(msg)

    def _scan(self, paths: list[Path]) -> list[StorageFile]:
        files: list[StorageFile] = []
        first_error: BagError | None = None
        for path in paths:
            try:
                file = StorageFile.scan(path)
            except BagError as error:
                first_error = first_error or error
                self.damaged_files[path.name] = str(error)
                continue
            if file.problem:
                self.damaged_files[path.name] = file.problem
            files.append(file)
        if not files and first_error is not None:
            raise first_error
        for name, problem in self.damaged_files.items():
            _log.warning('bag is damaged: %s: %s', name, problem)
        return files

    def _choose(self, topics: Sequence[str] | None) -> dict[str, str]:
        """Return type by topic."""
        images = {t.name: t.type for t in self.image_topics}
        if not images:
            found = ', '.join(f'{t.name} ({t.type})' for t in self.topics()) or 'none at all'
            msg = (
                f'bag has no image topic: expected {_IMAGE} or {_COMPRESSED}, '
                f'got {found}: {self.path}'
            )
            raise BagError(msg)
        if topics is None:
            return images
        for topic in topics:
            if topic not in images:
                msg = (
                    f'no such image topic: expected one of {", ".join(images)}, '
                    f'got {topic!r}: {self.path}'
                )
                raise ParameterError(msg)
        return {topic: images[topic] for topic in topics}

    def backward_steps(self, topics: Sequence[str] | None = None) -> dict[str, int]:
        """
        Count how often the log time of a topic runs backwards in the order of recording.

        Frames are given in order of log time all the same.

        Parameters
        ----------
        topics : sequence of str, optional
            Image topics; all of them by default.

        Returns
        -------
        dict of str to int
            By name of the file, where there is one; files without an index are left out.

        """
        chosen = set(self._choose(topics))
        steps = {file.path.name: file.backward_steps(chosen) for file in self._files}
        return {name: count for name, count in steps.items() if count}

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """
        Read messages as they are stored, in order of log time.

        A file is opened only when its first message is due. Damage ends a file and not the bag:
        it is logged as a warning and kept in ``damaged_files``.

        Parameters
        ----------
        topics : collection of str
            Names of topics of any type; a name that the bag lacks yields nothing.

        Yields
        ------
        RawMessage
            Log time in ns, topic, and serialised bytes; these are compressed where the bag
            compresses each message, see `decompress_message`.

        """
        streams, wanted = [], set(topics)
        for file in self._files:
            stream = self._file_messages(file, wanted)
            self._stack.enter_context(contextlib.closing(stream))
            streams.append(stream)
        for message in heapq.merge(*streams, key=lambda message: message.log_time):
            if message.topic:
                yield message

    def _file_messages(
        self, file: StorageFile, topics: set[str]
    ) -> Generator[RawMessage, None, None]:
        # a mark at the file's start, so that merging opens the file no earlier than that
        yield RawMessage(file.start, '', b'')
        try:
            yield from file.messages(topics)
        except BagError as error:
            self.damaged_files[file.path.name] = str(error)
            _log.warning('bag is damaged: %s', error)


def _decoded(message: PendingFrame) -> tuple[PendingFrame, Frame | OodMonitorError]:
    """Return a frame, or why there is none."""
    try:
        return message, message.decode()
    except (DecodeError, BagError) as error:
        return message, error


def _to_frame(message: RawMessage, kind: str, camera: str, typestore: Any) -> Frame:
    """Deserialise and decode one message."""
    from rosbags.serde import SerdeError

    data = decompress_message(message.data)
    try:
        image = typestore.deserialize_cdr(data, kind)
    except (SerdeError, ValueError, IndexError, AssertionError, struct.error) as error:
        what = f'{type(error).__name__}: {error}'
        msg = f'message is no {kind}: {len(data)} bytes do not deserialise ({what})'
        raise DecodeError(msg) from error
    stamp = image.header.stamp.sec + image.header.stamp.nanosec * 1e-9
    if kind == _IMAGE:
        encoding = image.encoding
        rgb = decode_image(
            image.data,
            encoding=image.encoding,
            height=image.height,
            width=image.width,
            step=image.step,
            is_bigendian=bool(image.is_bigendian),
        )
    else:
        encoding = image.format
        rgb = decode_compressed(image.data, format=image.format)
    return Frame(
        rgb,
        stamp=stamp if stamp else message.log_time / 1e9,
        camera=camera,
        encoding=encoding,
    )

"""A bag as frames: what a camera node would have received, without ROS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
import contextlib
from functools import cached_property, partial
import logging
from pathlib import Path
from typing import Final, NamedTuple

from ros_ood_monitor.ahead import map_ahead
from ros_ood_monitor.bags.first_images import FirstImages, look_at_first
from ros_ood_monitor.bags.messages import MessageReader, TopicInfo
from ros_ood_monitor.bags.pending import COMPRESSED_IMAGE, IMAGE, PendingFrame
from ros_ood_monitor.camera_names import camera_names
from ros_ood_monitor.errors import BagError, DecodeError, OodMonitorError, ParameterError
from ros_ood_monitor.records import Frame

__all__ = ['BagReader', 'SkippedFrame']

_MAX_LOGGED: Final = 5  # skipped frames of one reader

_log = logging.getLogger(__name__)


class SkippedFrame(NamedTuple):
    """A frame that could not be decoded: its topic, its log time in s, and why."""

    topic: str
    log_time: float
    reason: str


def _as_it_is(frame: Frame) -> Frame:
    return frame


class BagReader(MessageReader):
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
    skipped : list of SkippedFrame
        Frames that did not decode, filled while ``frames`` runs.

    Raises
    ------
    BagError
        If there is no such bag, nothing in it can be read, or a bag library cannot be imported.

    """

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self.skipped: list[SkippedFrame] = []
        self._told_of_depth = False

    @property
    def image_topics(self) -> list[TopicInfo]:
        """Topics with pictures; empty where the bag has none."""
        return [t for t in self.topics() if t.type in (IMAGE, COMPRESSED_IMAGE)]

    @property
    def origin(self) -> float:
        """Return the stamp of the bag's first image, whatever is read of it, in s; NaN without."""
        return self._first.origin

    @property
    def depth_topics(self) -> dict[str, str]:
        """Return encodings of image topics of distances, which are read if asked for only."""
        return self._first.depth

    @cached_property
    def _first(self) -> FirstImages:
        topics = [t for t in self.image_topics if t.count]
        types = {t.name: t.type for t in topics}
        with contextlib.closing(self._pending(types, 1, None, None)) as frames:
            return look_at_first(frames, {t.name: t.count for t in topics})

    def choose(self, topics: Sequence[str] | None = None) -> list[TopicInfo]:
        """
        Tell which topics `frames` reads.

        Parameters
        ----------
        topics : sequence of str, optional
            Image topics asked for; by default all but those of depth, which are logged.

        Returns
        -------
        list of TopicInfo
            Each once, in the order asked for.

        Raises
        ------
        BagError
            If the bag has no image topic, or only ones of depth and none is asked for.
        ParameterError
            If a topic is not an image topic of this bag.

        """
        images = {t.name: t for t in self.image_topics}
        if not images:
            found = ', '.join(f'{t.name} ({t.type})' for t in self.topics()) or 'none at all'
            msg = (
                f'bag has no image topic: expected {IMAGE} or {COMPRESSED_IMAGE}, '
                f'got {found}: {self.path}'
            )
            raise BagError(msg)
        if topics is None:
            return self._without_depth(images)
        for topic in topics:
            if topic not in images:
                msg = (
                    f'no such image topic: expected one of {", ".join(images)}, '
                    f'got {topic!r}: {self.path}'
                )
                raise ParameterError(msg)
        return [images[topic] for topic in dict.fromkeys(topics)]

    def _without_depth(self, images: dict[str, TopicInfo]) -> list[TopicInfo]:
        depth = ', '.join(f'{name} ({form})' for name, form in self.depth_topics.items())
        chosen = [topic for name, topic in images.items() if name not in self.depth_topics]
        if not chosen:
            msg = (
                f'bag has no camera topic: {depth} looks like depth; name the topic to read it '
                f'all the same: {self.path}'
            )
            raise BagError(msg)
        if depth and not self._told_of_depth:
            _log.warning('depth is no camera and left out unless named: %s: %s', depth, self.path)
            self._told_of_depth = True
        return chosen

    def backward_steps(self, topics: Sequence[str] | None = None) -> dict[str, int]:
        """
        Count how often the log time of a topic runs backwards in the order of recording.

        Files follow each other as the bag's metadata lists them, without one as their names do.
        Frames are given in order of log time all the same.

        Parameters
        ----------
        topics : sequence of str, optional
            Image topics; all but those of depth by default.

        Returns
        -------
        dict of str to int
            By name of the file in which it does; files without an index are left out.

        """
        chosen = {topic.name for topic in self.choose(topics)}
        last: dict[str, int] = {}
        steps = {file.path.name: file.backward_steps(chosen, last) for file in self._files}
        return {name: count for name, count in steps.items() if count}

    def frames(self, topics: Sequence[str] | None = None, *, every: int = 1) -> Iterator[Frame]:
        """
        Decode the frames of some cameras in order of log time.

        ``Frame.stamp`` is the header's stamp; where a driver left that at zero, the log time.
        ``Frame.camera`` comes from the topic, see `camera_name`. A frame that does not decode
        is added to ``skipped``, logged (the first few) and left out.

        Parameters
        ----------
        topics : sequence of str, optional
            Image topics to read; all but those of depth by default.
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
        return (frame for _, frame in self.received_frames(topics, every=every))

    def received_frames(
        self,
        topics: Sequence[str] | None = None,
        *,
        every: int = 1,
        workers: int = 0,
        prepare: Callable[[Frame], Frame] = _as_it_is,
        through: Callable[[Iterator[PendingFrame]], Iterator[PendingFrame]] = iter,
    ) -> Iterator[tuple[PendingFrame, Frame]]:
        """
        Decode like `frames`, ahead of the caller where that is wanted; tell what they came in.

        Parameters
        ----------
        topics, every
            As for `frames`.
        workers : int, default 0
            Threads that decode, four frames each at most; 0 decodes in the calling thread.
        prepare : callable
            What is done with a frame right after, in the same thread: `Preprocessor.ahead`.
        through : callable
            Frames that are not decoded yet pass through it, such as `Pace.through`.

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
        return self._frames(through(pending), workers, prepare)

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
            Image topics to read; all but those of depth by default.
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
        chosen = {topic.name: topic.type for topic in self.choose(topics)}
        if every < 1:
            msg = f'every out of range: expected at least 1, got {every}'
            raise ParameterError(msg)
        return self._pending(chosen, every, start, end)

    def _pending(
        self, chosen: dict[str, str], every: int, start: float | None, end: float | None
    ) -> Generator[PendingFrame, None, None]:
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
        self,
        pending: Iterator[PendingFrame],
        workers: int,
        prepare: Callable[[Frame], Frame],
    ) -> Iterator[tuple[PendingFrame, Frame]]:
        work = partial(_decoded, prepare=prepare)
        decoded = 0
        first_skipped = len(self.skipped)
        topics: dict[str, None] = {}
        for message, frame in map_ahead(work, pending, workers=workers):
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


def _decoded(
    message: PendingFrame, prepare: Callable[[Frame], Frame]
) -> tuple[PendingFrame, Frame | OodMonitorError]:
    """Return a frame, or why there is none."""
    try:
        return message, prepare(message.decode())
    except (DecodeError, BagError) as error:
        return message, error

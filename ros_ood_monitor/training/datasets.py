"""
Frames to train on: folders of image files and rosbag2 recordings, one frame at a time.

A *sequence* is what was recorded in one go: a bag, or a folder that holds image files itself.
Frames come in a fixed order (arguments as given, names in natural order, bags by time), because
held-out parts are cut along it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import DecodeError, TrainingError
from ros_ood_monitor.images import read_image
from ros_ood_monitor.training.sources import find_sources

__all__ = ['Dataset', 'SequenceFrame', 'Skipped']


@dataclass(frozen=True, eq=False)
class SequenceFrame:
    """
    A frame, and the sequence it belongs to.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), uint8
        The picture.
    sequence : int
        Index of its sequence in ``Dataset.sequences``.
    stamp : float or None
        Time of the image in s, where it has one.

    """

    rgb: npt.NDArray[np.uint8]
    sequence: int
    stamp: float | None


@dataclass(frozen=True)
class Skipped:
    """A frame that could not be decoded: its name, and why."""

    name: str
    reason: str


class Dataset:
    """
    The frames below some folders and in some bags.

    Parameters
    ----------
    paths : sequence of Path or str
        Folders, searched recursively for images and bags, and bags; see
        `ros_ood_monitor.training.sources.find_sources`.
    topics : sequence of str, optional
        Image topics of the bags; all of them by default.
    every : int, default 1
        Take each sequence's first frame and then every n-th.

    Attributes
    ----------
    sequences : list of str
        Names of the sequences, relative to the argument that they came with.
    skipped : list of Skipped
        Frames that did not decode, filled while `frames` runs.
    missing : list of str
        Files that a bag's metadata names and its folder lacks, and damaged ones.

    Raises
    ------
    TrainingError
        If a path does not exist, cannot be read, or holds neither images nor bags, or if two bags
        share some of their files.

    """

    def __init__(
        self,
        paths: Sequence[Path | str],
        *,
        topics: Sequence[str] | None = None,
        every: int = 1,
    ) -> None:
        if every < 1:
            msg = f'every out of range: expected at least 1, got {every}'
            raise TrainingError(msg)
        if not paths:
            msg = 'no data: expected at least one folder or bag, got none'
            raise TrainingError(msg)
        self.skipped: list[Skipped] = []
        self.missing: list[str] = []
        self._topics = list(topics) if topics else None
        self._every = every
        self._sources = find_sources(paths)
        self.sequences = [source.name for source in self._sources]

    @property
    def has_only_bags(self) -> bool:
        """Whether every sequence is a bag."""
        return all(source.bag is not None for source in self._sources)

    def count(self) -> int:
        """
        Return how many frames `frames` would try to read, without decoding one.

        Returns
        -------
        int
            An upper bound: frames that do not decode are counted.

        Raises
        ------
        BagError
            If a bag cannot be read.

        """
        total = 0
        for source in self._sources:
            if source.bag is None:
                total += -(-len(source.files) // self._every)
                continue
            from ros_ood_monitor.bags import BagReader

            with BagReader(source.bag) as reader:
                reader.frames(self._topics)  # refuses unknown topics; decodes nothing yet
                counts = [
                    topic.count
                    for topic in reader.image_topics
                    if self._topics is None or topic.name in self._topics
                ]
            total += sum(-(-count // self._every) for count in counts)
        return total

    def frames(self) -> Iterator[SequenceFrame]:
        """
        Decode the frames, one at a time.

        Yields
        ------
        SequenceFrame
            The next frame that decodes.

        Raises
        ------
        BagError
            If a bag cannot be read or has no image topic.
        ParameterError
            If a topic is not one of the bag's.

        """
        self.skipped.clear()
        self.missing.clear()
        for index, source in enumerate(self._sources):
            if source.bag is not None:
                yield from self._bag_frames(index, source.bag)
            else:
                yield from self._file_frames(index, source.files)

    def _file_frames(self, index: int, files: list[Path]) -> Iterator[SequenceFrame]:
        for file in files[:: self._every]:
            try:
                rgb = read_image(file)
            except DecodeError as error:
                name = f'{self.sequences[index]}/{file.name}'
                self.skipped.append(Skipped(name, str(error).removesuffix(f': {file}')))
                continue
            yield SequenceFrame(rgb, index, None)

    def _bag_frames(self, index: int, bag: Path) -> Iterator[SequenceFrame]:
        from ros_ood_monitor.bags import BagReader

        with BagReader(bag) as reader:
            for frame in reader.frames(self._topics, every=self._every):
                yield SequenceFrame(frame.rgb, index, frame.stamp)
            name = self.sequences[index]
            self.missing += [f'{name}/{file}' for file in reader.missing_files]
            self.missing += [
                f'{name}/{file} ({why})' for file, why in reader.damaged_files.items()
            ]
            self.skipped += [
                Skipped(f'{name} {skipped.topic} at {skipped.log_time:.6f} s', skipped.reason)
                for skipped in reader.skipped
            ]

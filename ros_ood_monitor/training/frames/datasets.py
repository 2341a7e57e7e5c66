"""
Frames to train on, not decoded yet: folders of image files and rosbag2 recordings.

A *sequence* is what was recorded in one go: a bag, or a folder that holds image files itself.
Frames come in a fixed order (arguments as given, names in natural order, bags by time), because
held-out parts are cut along it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from itertools import count
import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

from ros_ood_monitor.errors import DecodeError, TrainingError
from ros_ood_monitor.images import read_image
from ros_ood_monitor.training.frames.reading import Item, Picture
from ros_ood_monitor.training.frames.selection import Selection
from ros_ood_monitor.training.frames.sources import find_sources, storage_files

__all__ = ['Dataset', 'FrameCounts']

_log = logging.getLogger(__name__)


class FrameCounts(NamedTuple):
    """
    How many frames there are, as far as it is known without reading one.

    Parameters
    ----------
    stored : int
        On the chosen topics and in the folders.
    most : int
        Taken of them at most: every n-th, and none of a bag that ends before the window.
    expected : int
        Taken of them in all likelihood: of a bag, the window's share.

    """

    stored: int
    most: int
    expected: int


class Dataset:
    """
    The frames below some folders and in some bags.

    Parameters
    ----------
    paths : sequence of Path or str
        Folders, searched recursively for images and bags, bags, and lists of image files; see
        `ros_ood_monitor.training.frames.sources.find_sources`.
    selection : Selection, optional
        Which frames are taken; all of them by default.

    Attributes
    ----------
    sequences : list of str
        Names of the sequences, relative to the argument that they came with.
    missing : dict of int to list of str
        Files that a bag's metadata names and its folder lacks, damaged ones, and those in which
        log time runs backwards, by sequence;
        filled when `items` comes to its end.

    Raises
    ------
    TrainingError
        If a path does not exist, cannot be read, or holds neither images nor bags, or if two bags
        share some of their files.

    """

    def __init__(self, paths: Sequence[Path | str], selection: Selection | None = None) -> None:
        if not paths:
            msg = 'no data: expected at least one folder or bag, got none'
            raise TrainingError(msg)
        self._selection = selection or Selection()
        self._selection.check()
        self.missing: dict[int, list[str]] = {}
        self._sources = find_sources(paths)
        selected = self._selection
        if (selected.start or selected.end is not None) and not any(s.bag for s in self._sources):
            _log.warning(
                'the window (--start, --end) is of bags, and the data holds none: every image is '
                'used; --every thins them'
            )
        self.sequences = [source.name for source in self._sources]

    @property
    def has_only_bags(self) -> bool:
        """Whether every sequence is a bag."""
        return all(source.bag is not None for source in self._sources)

    def folder(self, index: int) -> str | None:
        """
        Return the first folder below the argument that a sequence came with.

        Parameters
        ----------
        index : int
            Of the sequence.

        Returns
        -------
        str or None
            None for a bag, for what a list names, and where the images lie in no such folder.

        """
        source = self._sources[index]
        if source.bag is not None or not source.root.is_dir():
            return None
        return next(iter(Path(source.name).parts[1:]), None)

    @property
    def has_one_camera(self) -> bool:
        """Return whether every bag gives the frames of one topic only."""
        return all(
            len(self._bag_counts(source.bag)[0]) == 1
            for source in self._sources
            if source.bag is not None
        )

    def count(self) -> int:
        """
        Return how many frames `items` would give, without reading one.

        Returns
        -------
        int
            An upper bound: frames that do not decode, and a bag's outside of the window, count.

        Raises
        ------
        BagError
            If a bag cannot be read.
        ParameterError
            If a topic is not one of a bag's.

        """
        return self.counts.most

    @cached_property
    def counts(self) -> FrameCounts:
        """Return what is known of the number of frames; raises what `count` raises."""
        every = self._selection.every
        stored = most = expected = 0
        for source in self._sources:
            numbers, share = [len(source.files)], 1.0
            if source.bag is not None:
                numbers, share = self._bag_counts(source.bag)
            for number in numbers:
                inside = math.ceil(number * share)
                stored += number
                most += -(-number // every) if inside else 0
                expected += -(-inside // every)
        return FrameCounts(stored, most, expected)

    def items(
        self, index: int, position: int = 0, *, only: Collection[int] | None = None
    ) -> Iterator[Item]:
        """
        Give the frames of a sequence, not decoded yet.

        Parameters
        ----------
        index : int
            Of the sequence.
        position : int, default 0
            First position that is wanted.
        only : collection of int, optional
            Positions that are wanted; all of them by default.

        Yields
        ------
        Item
            The next frame.

        Raises
        ------
        BagError
            If a bag cannot be read or has no image topic.
        ParameterError
            If a topic is not one of the bag's.

        """
        source = self._sources[index]
        if source.bag is not None:
            found = self._bag_items(index, source.bag)
        else:
            files = source.files[:: self._selection.every]
            found = (
                Item(k, f'{source.name}/{file.name}', partial(_read, file))
                for k, file in enumerate(files)
            )
        for item in found:
            if item.position >= position and (only is None or item.position in only):
                yield item

    def fingerprint(self, index: int) -> dict[str, Any]:
        """
        Return what a sequence's frames depend on: files, their sizes and times, and the selection.

        Parameters
        ----------
        index : int
            Of the sequence.

        Returns
        -------
        dict
            Plain values.

        """
        source = self._sources[index]
        files = (
            source.files if source.bag is None else sorted(map(Path, storage_files(source.bag)))
        )
        selection = asdict(self._selection)
        selection['topics'] = sorted(self._selection.topics)
        return {
            'files': [[file.name, *_size_and_time(file)] for file in files],
            'selection': selection,
        }

    def _bag_counts(self, bag: Path) -> tuple[list[int], float]:
        """Return the frames of each chosen topic, and the window's share of the bag's time."""
        from ros_ood_monitor.bags import BagReader

        with BagReader(bag) as reader:
            numbers = [topic.count for topic in reader.choose(self._topics)]
            return numbers, self._selection.share(reader.duration)

    @property
    def _topics(self) -> list[str] | None:
        return list(self._selection.topics) or None

    def _bag_items(self, index: int, bag: Path) -> Iterator[Item]:
        from ros_ood_monitor.bags import BagReader

        name = self.sequences[index]
        selection = self._selection
        with BagReader(bag) as reader:
            pending = reader.pending(
                self._topics, every=selection.every, start=selection.start, end=selection.end
            )
            for position, frame in zip(count(), pending, strict=False):
                yield Item(position, f'{name} {frame}', partial(_decode, frame), frame.topic)
            steps = reader.backward_steps(self._topics)
            self.missing[index] = [
                *(f'{name}/{file}' for file in reader.missing_files),
                *(f'{name}/{file} ({why})' for file, why in reader.damaged_files.items()),
                *(
                    f'{name}/{file} (log time runs backwards {number} time'
                    f'{"" if number == 1 else "s"}; its frames are used in order of log time)'
                    for file, number in steps.items()
                ),
            ]


def _read(file: Path) -> Picture:
    try:
        return Picture(read_image(file), None)
    except DecodeError as error:
        raise DecodeError(str(error).removesuffix(f': {file}')) from error


def _decode(pending: Any) -> Picture:
    frame = pending.decode()
    return Picture(frame.rgb, frame.stamp)


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        facts = file.stat()
    except OSError:
        return -1, -1  # told when it is read
    return facts.st_size, facts.st_mtime_ns

"""A bag as messages: its files as one stream, damaged and missing ones left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Generator, Iterator
import contextlib
from dataclasses import dataclass
import heapq
import logging
import math
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from ros_ood_monitor.bags.files import find_files
from ros_ood_monitor.bags.libraries import require_libraries
from ros_ood_monitor.bags.mcap_stream import RawMessage
from ros_ood_monitor.bags.storage import StorageFile
from ros_ood_monitor.errors import BagError

__all__ = ['MessageReader', 'TopicInfo']

_Reader = TypeVar('_Reader', bound='MessageReader')

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TopicInfo:
    """
    A topic of the bag: its name, its type with three parts, messages in the files present.

    Of several types it is the one of most messages; the count is of all.
    """

    name: str
    type: str
    count: int


class MessageReader:
    """
    Reads the messages of a rosbag2, whatever their types.

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

    Raises
    ------
    BagError
        If there is no such bag, nothing in it can be read, or a bag library cannot be imported.

    """

    def __init__(self, path: Path | str) -> None:
        require_libraries()
        self.path = Path(path)
        self.missing_files: list[str] = []
        self.damaged_files: dict[str, str] = {}
        self._open: set[contextlib.ExitStack] = set()
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
        for name, kinds in self._types().items():
            held = [f'{kind}: {number}' for kind, number in kinds.items() if number]
            if len(held) > 1:
                _log.warning(
                    'topic has messages of %d types (%s), of which the most are read: %s: %s',
                    len(held), ', '.join(held), name, self.path,
                )  # fmt: skip

    def __enter__(self: _Reader) -> _Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files that unfinished passes of ``messages`` have open."""
        for streams in tuple(self._open):
            streams.close()

    def topics(self) -> list[TopicInfo]:
        """List the topics of the files that are there, by name."""
        return [
            TopicInfo(name, max(kinds, key=kinds.__getitem__), kinds.total())
            for name, kinds in sorted(self._types().items())
        ]

    def _types(self) -> dict[str, Counter[str]]:
        """Return the number of messages by topic and type."""
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for file in self._files:
            for name, kinds in file.topics.items():
                for kind, number in kinds.items():
                    found[name][kind] += number  # 0, too: a topic without messages is one
        return found

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
        wanted = set(topics)
        with contextlib.ExitStack() as stack:
            streams = [
                stack.enter_context(contextlib.closing(self._file_messages(file, wanted)))
                for file in self._files
            ]
            self._open.add(stack)
            try:
                for message in heapq.merge(*streams, key=lambda message: message.log_time):
                    if message.topic:
                        yield message
            finally:
                self._open.discard(stack)

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

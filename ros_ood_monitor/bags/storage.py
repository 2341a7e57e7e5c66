"""
One file of a bag, read as a stream of messages in order of log time.

``rosbags`` reads it; ``mcap`` takes over where that cannot: files without an index, above all
truncated ones.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Generator, Iterator
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ros_ood_monitor.bags.mcap_stream import full_type, RawMessage, sorted_by_log_time, stream_mcap
from ros_ood_monitor.bags.order import backward_steps
from ros_ood_monitor.bags.plain import plain_file
from ros_ood_monitor.errors import BagError

__all__ = ['StorageFile']

_NO_TIME: Final = 2**63 - 1
_SCHEMALESS: Final = '__schemaless__'  # as rosbags calls a type that it does not find


@dataclass(frozen=True)
class StorageFile:
    """
    One storage file and what a look into it has found.

    Parameters
    ----------
    path : Path
        The file.
    topics : dict of str to dict of str to int
        Number of messages by topic and type.
    start, end : int
        Log time of the first and of the last message, in ns.
    problem : str
        What is wrong with the file although it can be read in part; empty where nothing is.
    indexed : bool
        False where it has to be read from front to back.

    """

    path: Path
    topics: dict[str, Counter[str]]
    start: int
    end: int
    problem: str = ''
    indexed: bool = True

    @classmethod
    def scan(cls, path: Path) -> StorageFile:
        """
        Look into a file.

        Raises
        ------
        BagError
            If it is empty, foreign, or too damaged to read a message from.

        """
        with plain_file(path) as (plain, kind):
            try:
                found = cls._scan_indexed(path, plain, kind)
            except Exception as error:
                if kind != 'mcap':
                    msg = (
                        f'cannot read {kind} file, it is damaged or truncated: {error}; '
                        f"'.recover' of sqlite3 may save some: {path}"
                    )
                    raise BagError(msg) from error
                return cls._scan_stream(path, plain, str(error) or type(error).__name__)
            # the index may leave out channels, or schemas: rosbags then knows of none
            named = [kind_of for kinds in found.topics.values() for kind_of in kinds]
            if kind == 'mcap' and (not named or any(_SCHEMALESS in one for one in named)):
                return cls._scan_stream(path, plain, 'no channel or schema in its index')
            return found

    @classmethod
    def _scan_indexed(cls, path: Path, plain: Path, kind: str) -> StorageFile:
        topics: defaultdict[str, Counter[str]] = defaultdict(Counter)
        with _rosbags_storage(plain, kind) as storage:
            for connection in storage.connections:
                encoding = connection.ext.serialization_format
                kind_of = full_type(connection.msgtype, encoding)
                topics[connection.topic][kind_of] += connection.msgcount
            facts = storage.metadata
            wal = path.with_name(path.name + '-wal')
            problem = ''
            if kind == 'sqlite3' and wal.is_file() and wal.stat().st_size > 0:
                problem = (
                    f'messages still in {wal.name!r} are not read: the recorder was not closed; '
                    'open the bag once with sqlite3 to merge them'
                )
            # an index names chunks, and each of these the places of its messages
            indexed = kind != 'mcap' or (
                bool(storage.chunks)
                and all(chunk.message_index_offsets for chunk in storage.chunks)
            )
            end = facts.end_time - 1 if facts.message_count else 0
            return cls(path, topics, facts.start_time, end, problem, indexed)

    @classmethod
    def _scan_stream(cls, path: Path, plain: Path, reason: str) -> StorageFile:
        topics: defaultdict[str, Counter[str]] = defaultdict(Counter)
        start, end, count, stops = _NO_TIME, 0, 0, list[str]()
        try:
            for message, kind_of in stream_mcap(plain, stops):
                at = message.log_time
                topics[message.topic][kind_of] += 1
                start, end, count = min(start, at), max(end, at), count + 1
        except Exception as error:  # noqa: BLE001  # foreign bytes end a file, never a run
            stops.append(str(error) or type(error).__name__)
        if not count and stops:
            msg = (
                f"cannot read mcap file, no message in it is whole ({reason}); 'mcap recover' may "
                f'save some: {path}'
            )
            raise BagError(msg)
        problem = (
            f'file is truncated or damaged ({stops[0]}): {count} messages read; '
            "'mcap recover' may save more"
            if stops
            else ''
        )
        return cls(path, topics, start, end, problem, indexed=False)

    def backward_steps(self, topics: set[str], last: dict[str, int]) -> int:
        """
        Count how often log time runs backwards, see `order.backward_steps`.

        Parameters
        ----------
        topics : set of str
            Topics that count.
        last : dict of str to int
            Log time in ns of each topic's last message so far, which this file takes on.

        Returns
        -------
        int
            0 where it cannot be told, such as in a damaged file.

        """
        if topics.isdisjoint(self.topics) or not self.indexed:
            return 0
        try:
            with plain_file(self.path) as (plain, kind):
                return backward_steps(plain, kind, topics, last)
        except Exception:  # noqa: BLE001, whatever a damaged file raises: reading it tells of it
            return 0

    def messages(self, topics: set[str]) -> Iterator[RawMessage]:
        """
        Read the messages of some topics in order of log time.

        Raises
        ------
        BagError
            If the file turns out to be damaged half-way.

        """
        if topics.isdisjoint(self.topics):
            return
        at = self.start
        with (
            plain_file(self.path) as (plain, kind),
            contextlib.closing(  # not left to the garbage collector
                _read_indexed(plain, kind, topics)
                if self.indexed
                else _read_streamed(plain, topics)
            ) as source,
        ):
            try:
                for message in source:
                    at = message.log_time
                    yield message
            except Exception as error:
                seconds = (at - self.start) / 1e9
                msg = (
                    f'file is damaged: reading stops {seconds:.3f} s after its first message: '
                    f'{error}: {self.path}'
                )
                raise BagError(msg) from error


@contextlib.contextmanager
def _rosbags_storage(path: Path, kind: str) -> Iterator[Any]:
    """Open one storage file with rosbags, whatever its name ends in."""
    from rosbags.rosbag2 import Reader

    storage = Reader.STORAGE_PLUGINS['.mcap' if kind == 'mcap' else '.db3'](path)
    storage.open()
    try:
        yield storage
    finally:
        storage.close()


def _read_indexed(path: Path, kind: str, topics: set[str]) -> Generator[RawMessage, None, None]:
    with _rosbags_storage(path, kind) as storage:
        connections = [c for c in storage.connections if c.topic in topics]
        for connection, log_time, data in storage.messages(connections):
            yield RawMessage(log_time, connection.topic, data)


def _read_streamed(path: Path, topics: set[str]) -> Generator[RawMessage, None, None]:
    with contextlib.closing(stream_mcap(path, [])) as stream:
        yield from sorted_by_log_time(message for message, _ in stream if message.topic in topics)

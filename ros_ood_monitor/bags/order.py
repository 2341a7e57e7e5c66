"""Whether messages lie in a storage file in the order of their log times; no message is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
import sqlite3
import struct
from typing import Any, BinaryIO, Final

__all__ = ['backward_steps']

_INDEX_HEAD: Final = struct.Struct('<BQHI')  # opcode, length, channel, bytes of its entries
_INDEX_ENTRY: Final = struct.Struct('<QQ')  # log time in ns, offset inside of the chunk
_MESSAGE_INDEX: Final = 0x07


def backward_steps(path: Path, kind: str, topics: Collection[str], last: dict[str, int]) -> int:
    """
    Count how often the log time of a topic runs backwards in the order of recording.

    A recorder writes messages as they come, so its clock was set back where it does, or two
    recordings were joined.

    Parameters
    ----------
    path : Path
        A storage file that is not compressed as a whole.
    kind : str
        ``mcap`` (with a summary) or ``sqlite3``.
    topics : collection of str
        Topics that count, each by itself.
    last : dict of str to int
        Log time in ns of each topic's last message in the files before; afterwards, in this one.

    Returns
    -------
    int
        Over all of these topics.

    """
    count = 0
    for topic, time in (_in_mcap if kind == 'mcap' else _in_sqlite)(path, set(topics)):
        count += time < last.get(topic, 0)
        last[topic] = time
    return count


def _in_sqlite(path: Path, topics: set[str]) -> Iterator[tuple[str, int]]:
    with closing(sqlite3.connect(f'{path.resolve().as_uri()}?mode=ro', uri=True)) as database:
        names = dict(database.execute('SELECT id, name FROM topics'))
        for number, time in database.execute(
            'SELECT topic_id, timestamp FROM messages ORDER BY id'
        ):
            if names.get(number) in topics:
                yield names[number], time


def _in_mcap(path: Path, topics: set[str]) -> Iterator[tuple[str, int]]:
    from mcap.reader import make_reader

    with path.open('rb') as file:
        summary = make_reader(file).get_summary()
        if summary is None:
            return
        for chunk in sorted(summary.chunk_indexes, key=lambda chunk: chunk.chunk_start_offset):
            found = sorted(
                (offset, channel.topic, time)
                for channel in summary.channels.values()
                if channel.topic in topics
                for time, offset in _index(file, chunk, channel.id)
            )
            yield from ((topic, time) for _, topic, time in found)


def _index(file: BinaryIO, chunk: Any, channel: int) -> list[tuple[int, int]]:
    """Return the log times of a channel in a chunk, and where they lie in it."""
    place = chunk.message_index_offsets.get(channel)
    if place is None:
        return []
    file.seek(place)
    opcode, _, found, size = _INDEX_HEAD.unpack(file.read(_INDEX_HEAD.size))
    if opcode != _MESSAGE_INDEX or found != channel:
        return []  # a damaged index is told by whoever reads the messages
    return list(_INDEX_ENTRY.iter_unpack(file.read(size - size % _INDEX_ENTRY.size)))

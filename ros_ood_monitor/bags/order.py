"""Whether messages lie in a storage file in the order of their log times; no message is read."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import closing
from pathlib import Path
import sqlite3
import struct
from typing import Any, BinaryIO, Final

__all__ = ['backward_steps']

_INDEX_HEAD: Final = struct.Struct('<BQHI')  # opcode, length, channel, bytes of its entries
_INDEX_ENTRY: Final = struct.Struct('<QQ')  # log time in ns, offset inside of the chunk
_MESSAGE_INDEX: Final = 0x07


def backward_steps(path: Path, kind: str, topics: Collection[str]) -> int:
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

    Returns
    -------
    int
        Over all of these topics.

    """
    return (_in_mcap if kind == 'mcap' else _in_sqlite)(path, set(topics))


def _backward(times: Iterable[int]) -> int:
    count, last = 0, 0
    for time in times:
        count += time < last
        last = time
    return count


def _in_sqlite(path: Path, topics: set[str]) -> int:
    with closing(sqlite3.connect(f'{path.resolve().as_uri()}?mode=ro', uri=True)) as database:
        ids = [
            number
            for number, name in database.execute('SELECT id, name FROM topics')
            if name in topics
        ]
        query = 'SELECT timestamp FROM messages WHERE topic_id = ? ORDER BY id'
        return sum(_backward(time for (time,) in database.execute(query, [k])) for k in ids)


def _in_mcap(path: Path, topics: set[str]) -> int:
    from mcap.reader import make_reader

    with path.open('rb') as file:
        summary = make_reader(file).get_summary()
        if summary is None:
            return 0
        chunks = sorted(summary.chunk_indexes, key=lambda chunk: chunk.chunk_start_offset)
        return sum(
            _backward(time for chunk in chunks for time in _times(file, chunk, channel.id))
            for channel in summary.channels.values()
            if channel.topic in topics
        )


def _times(file: BinaryIO, chunk: Any, channel: int) -> list[int]:
    """Return the log times of a channel in a chunk, as they were written."""
    place = chunk.message_index_offsets.get(channel)
    if place is None:
        return []
    file.seek(place)
    opcode, _, found, size = _INDEX_HEAD.unpack(file.read(_INDEX_HEAD.size))
    if opcode != _MESSAGE_INDEX or found != channel:
        return []  # a damaged index is told by whoever reads the messages
    entries = [
        (offset, time)
        for time, offset in _INDEX_ENTRY.iter_unpack(file.read(size - size % _INDEX_ENTRY.size))
    ]
    return [time for _, time in sorted(entries)]

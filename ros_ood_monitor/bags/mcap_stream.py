"""
MCAP read from front to back, without its index.

For files that have none: those of a recorder that was killed, and those written without chunks.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
import heapq
import io
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ['RawMessage', 'full_type', 'sorted_by_log_time', 'stream_mcap']

# messages are put in order within a window of this many bytes
_REORDER_BYTES: Final = 32 * 2**20


class RawMessage(NamedTuple):
    """One message as the file holds it: log time in ns, topic, serialised bytes."""

    log_time: int
    topic: str
    data: bytes


def full_type(name: str, encoding: str) -> str:
    """Spell a type with its three parts, and name an encoding that is not ROS 2's."""
    full = '/msg/'.join(name.split('/')) if name.count('/') == 1 else name
    return full if encoding == 'cdr' else f'{full} ({encoding})'


class _WholeReads(io.BufferedReader):
    """A file that reports its end in the middle of a record, which ``mcap`` takes for data."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if size is not None and len(data) < size:
            msg = f'ends in the middle of a record of {size} bytes'
            raise EOFError(msg)
        return data


def stream_mcap(path: Path, stops: list[str]) -> Generator[tuple[RawMessage, str], None, None]:
    """
    Read an MCAP from front to back as far as it goes.

    Parameters
    ----------
    path : Path
        The file.
    stops : list of str
        Gets the reason where reading stops before the file's regular end.

    Yields
    ------
    message : RawMessage
        The next message, in the file's order.
    type : str
        Its type, see ``full_type``.

    """
    from mcap.records import Channel, Chunk, McapRecord, Message, Schema
    from mcap.stream_reader import breakup_chunk, StreamReader

    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    with _WholeReads(io.FileIO(path)) as file:
        # a record cannot be longer than the file: a damaged length must not become an allocation
        limit = path.stat().st_size
        records = StreamReader(file, emit_chunks=True, record_size_limit=limit).records
        while True:
            try:
                record = next(records)
                parts: list[McapRecord] = [record]
                if isinstance(record, Chunk):
                    parts = breakup_chunk(record, validate_crc=True)
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001  # whatever a parser meets in foreign bytes
                stops.append(str(error) or type(error).__name__)
                return
            for part in parts:
                if isinstance(part, Schema):
                    schemas[part.id] = part
                elif isinstance(part, Channel):
                    channels[part.id] = part
                elif isinstance(part, Message) and part.channel_id in channels:
                    channel = channels[part.channel_id]
                    schema = schemas.get(channel.schema_id)
                    name = full_type(schema.name if schema else '?', channel.message_encoding)
                    yield RawMessage(part.log_time, channel.topic, part.data), name


def sorted_by_log_time(messages: Iterator[RawMessage]) -> Iterator[RawMessage]:
    """Sort by log time within a window of bounded size, so that memory stays bounded."""
    heap: list[tuple[int, int, RawMessage]] = []
    held = 0
    for count, message in enumerate(messages):
        heapq.heappush(heap, (message.log_time, count, message))
        held += len(message.data)
        while held > _REORDER_BYTES and len(heap) > 1:
            first = heapq.heappop(heap)[2]
            held -= len(first.data)
            yield first
    while heap:
        yield heapq.heappop(heap)[2]

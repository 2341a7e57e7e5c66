"""Marker topics: what an operator or a script said while the bag was recorded."""

from __future__ import annotations

from collections.abc import Iterator
import struct
from typing import Any, Final, NamedTuple

from ros_ood_monitor.bags.messages import MessageReader
from ros_ood_monitor.bags.plain import decompress_message
from ros_ood_monitor.errors import BagError

__all__ = ['MARKER_TYPES', 'Marked', 'marked_stretches']

MARKER_TYPES: Final = ('std_msgs/msg/Bool', 'std_msgs/msg/String')


class Marked(NamedTuple):
    """A stretch of log time in s that a topic marks, its end outside, and what it is called."""

    start: float
    end: float
    kind: str


def marked_stretches(bag: MessageReader, topic: str, *, kind: str) -> Iterator[Marked]:
    """
    Read the stretches that a topic marks.

    A stretch begins with ``true`` or a text, and lasts until the topic says ``false``, nothing
    (an empty text) or another text; one that is not ended lasts to the end of the bag, infinitely,
    and one that ends in the moment in which it begins is none.

    Parameters
    ----------
    bag : MessageReader
        The bag.
    topic : str
        Its marker topic, one of `MARKER_TYPES`.
    kind : str
        What a stretch is called where the topic tells no more than true.

    Yields
    ------
    Marked
        The next stretch, in order of log time.

    Raises
    ------
    BagError
        If the bag lacks the topic, it is of another type, or a message does not deserialise.

    """
    from rosbags.serde import SerdeError
    from rosbags.typesys import get_typestore, Stores

    found = {info.name: info.type for info in bag.topics()}
    of_type = found.get(topic)
    if of_type not in MARKER_TYPES:
        got = f'{topic!r} of type {of_type}' if of_type else f'no topic {topic!r}'
        fitting = [name for name, one in found.items() if one in MARKER_TYPES]
        here = f'; it has {", ".join(fitting)}' if fitting else ''
        msg = (
            f'bag has no such marker topic: expected {" or ".join(MARKER_TYPES)}, '
            f'got {got}{here}: {bag.path}'
        )
        raise BagError(msg)
    typestore: Any = get_typestore(Stores.ROS2_JAZZY)
    since, now = 0.0, ''
    for message in bag.messages([topic]):
        try:
            value = typestore.deserialize_cdr(decompress_message(message.data), of_type).data
        except (SerdeError, ValueError, IndexError, AssertionError, struct.error) as error:
            msg = f'marker at {message.log_time / 1e9:.6f} s is no {of_type} ({error}): {bag.path}'
            raise BagError(msg) from error
        said = value.strip() if isinstance(value, str) else kind * bool(value)
        if said == now:
            continue
        time = message.log_time / 1e9
        if now and time > since:
            yield Marked(since, time, now)
        since, now = time, said
    if now:
        yield Marked(since, float('inf'), now)

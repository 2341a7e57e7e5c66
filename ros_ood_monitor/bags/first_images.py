"""What the first image of each topic tells of a bag, without decoding one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import math
import re
from typing import Final, NamedTuple

from ros_ood_monitor.bags.pending import PendingFrame
from ros_ood_monitor.errors import BagError, DecodeError

__all__ = ['FirstImages', 'look_at_first']

_NUMBERS: Final = ('16uc1', '16sc1', '32fc1', '64fc1')
"""Encodings of one channel without colours: distances, unless somebody says otherwise."""

_TRIES: Final = 10  # a topic whose messages are all damaged is not followed to the bag's end


class FirstImages(NamedTuple):
    """
    What the first images tell.

    Parameters
    ----------
    origin : float
        Stamp of the first image of all that deserialises, in s; NaN where none does.
    depth : dict of str to str
        Encoding by topic, of topics that hold distances instead of a camera's pictures.

    """

    origin: float
    depth: dict[str, str]


def look_at_first(frames: Iterable[PendingFrame], topics: Mapping[str, int]) -> FirstImages:
    """
    Look at the first image of each topic that deserialises, among its first ten.

    Parameters
    ----------
    frames : iterable of PendingFrame
        In order of log time.
    topics : mapping of str to int
        Messages by image topic, of each at least one.

    Returns
    -------
    FirstImages
        What they tell.

    """
    origin, depth = math.nan, dict[str, str]()
    left = {topic: min(_TRIES, count) for topic, count in topics.items()}
    for frame in frames:
        if frame.topic in left or math.isnan(origin):
            try:
                facts = frame.facts()
            except (DecodeError, BagError):
                left[frame.topic] = left.get(frame.topic, 0) - 1
                if left[frame.topic] < 1:
                    del left[frame.topic]
            else:
                if math.isnan(origin):
                    origin = facts.stamp
                if left.pop(frame.topic, 0) and _is_depth(frame.topic, facts.encoding):
                    depth[frame.topic] = facts.encoding
        if not left and not math.isnan(origin):
            break
    return FirstImages(origin, depth)


def _is_depth(topic: str, encoding: str) -> bool:
    """Tell distances from pictures; thermal cameras send mono16, as some depth cameras do."""
    form = encoding.strip().lower()
    if form in _NUMBERS or 'compresseddepth' in form:
        return True
    return form.startswith('mono16') and 'depth' in re.split('[/_]', topic.lower())

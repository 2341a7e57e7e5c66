"""What a camera is called after its topic; the same in the node as in a replayed bag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
import re
from typing import Final

__all__ = ['camera_name', 'camera_names']

_TRANSPORTS: Final = frozenset({'compressed', 'raw', 'republished'})


def camera_name(topic: str) -> str:
    """
    Name the camera that a topic belongs to.

    Parts that name the transport (``compressed``) and the picture (``image``, ``image_raw``,
    ``image_rect_color``) are left out: ``/front/left/image_raw/compressed`` is ``front_left``.
    """
    parts = _parts(topic)
    whole = list(parts)
    if len(parts) > 1 and parts[-1] in _TRANSPORTS:
        parts.pop()
    if len(parts) > 1 and re.fullmatch(r'image(_\w+)?', parts[-1]):
        parts.pop()
    return '_'.join(parts or whole)


def camera_names(topics: Sequence[str]) -> list[str]:
    """Name each topic's camera; topics that would share a name keep all their parts."""
    names = [camera_name(topic) for topic in topics]
    shared = Counter(names)
    return [
        name if shared[name] == 1 else '_'.join(_parts(topic))
        for topic, name in zip(topics, names, strict=True)
    ]


def _parts(topic: str) -> list[str]:
    return [part for part in topic.split('/') if part and part != '~']

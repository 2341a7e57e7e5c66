"""What a camera is called after its topic; the same in the node as in a replayed bag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
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
    """
    Name each topic's camera, no two alike.

    Topics that would share a name keep all their parts: ``/cam/image`` and ``/cam/image_raw`` are
    ``cam_image`` and ``cam_image_raw``. Where these run together, parts are told by a double
    underscore, which the names of ROS do without: ``/a/b`` and ``/a_b`` are ``a__b`` and ``a_b``.
    """
    names = [camera_name(topic) for topic in topics]
    for longer in _LONGER:
        held = Counter(names)
        names = [
            name if held[name] == 1 else longer(topic)
            for topic, name in zip(topics, names, strict=True)
        ]
    return names


def _parts(topic: str) -> list[str]:
    return [part for part in topic.split('/') if part and part != '~']


_LONGER: Final[tuple[Callable[[str], str], ...]] = (
    lambda topic: '_'.join(_parts(topic)),
    lambda topic: '__'.join(_parts(topic)),
    str,  # other writers of MCAP have topics such as 'cam' beside '/cam'
)
"""Ways to tell the cameras of topics apart, each for those that the one before does not."""

"""What is done with shards, and what a process does before the first of them."""

from __future__ import annotations

from collections.abc import Callable
import logging
from typing import Any, NamedTuple, Protocol, TypeVar

import cv2

__all__ = ['Lost', 'Work', 'settle']

_Shard = TypeVar('_Shard', contravariant=True)
_Result = TypeVar('_Result', covariant=True)


class Work(Protocol[_Shard, _Result]):
    """
    What is done with shards.

    It travels to other processes, shards and results between them. The same shard gives the same
    result every time: it may be done twice where a process died.
    """

    def open(self) -> Any:
        """Return what a process holds between shards, such as an engine."""
        ...

    def run(self, shard: _Shard, held: Any, on_frame: Callable[[], object]) -> _Result:
        """Return what came of a shard; ``on_frame`` is called after each frame."""
        ...


class Lost(NamedTuple):
    """In the place of a result: why there is none, in words."""

    reason: str


def settle() -> None:
    """Make a process one of many: what is to be told is in results, and cores are for shards."""
    logging.getLogger('ros_ood_monitor').setLevel(logging.ERROR)
    cv2.setNumThreads(1)

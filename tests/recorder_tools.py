"""A node in a few lines for tests of the recorder: frames, answers, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from pathlib import Path
import threading
import time
from typing import Any

import numpy as np

from ros_ood_monitor.recorder import Limits, Message, Recorder
from ros_ood_monitor.records import AlertState, Observation, State
from tests.bag_tools import IMAGE, image_bytes, image_message, STORE

NODE = '/robot/ood_monitor'
STRING = 'std_msgs/msg/String'
TRIGGER = 5.0


class Robot:
    """Feeds a recorder as the node does; 10 Hz of image time a camera."""

    def __init__(self, folder: Path | None, **limits: Any) -> None:
        self.limits = Limits(
            folder=folder, **{'before': 0.5, 'after': 0.5, 'min_free': 0, **limits}
        )
        self.now = 0.0  # of the recorder's clock
        self.recorder = Recorder(
            NODE,
            limits=lambda: self.limits,
            about=lambda: {'bundle': {'name': 'tiny'}},
            clock=lambda: self.now,
        )
        self.state = State.NORMAL
        self.frames = 0

    def change(self, **limits: Any) -> None:
        self.limits = dataclasses.replace(self.limits, **limits)

    def see(
        self,
        stamp: float,
        state: State = State.NORMAL,
        *,
        camera: str = 'front',
        serialize: Callable[[], bytes] | None = None,
        content: int = 0,
    ) -> None:
        """Take a frame and its answer; its pixels are ``picture(10 * stamp)``."""
        index = round(10 * stamp)
        alert = AlertState(state, changed=state is not self.state, since=stamp, reason=state.value)
        self.state = state
        raw_score = 10.0 + index if state is State.ALERT else 1.0
        topic = f'/{camera}/image_raw'
        serialize = serialize or (lambda: image_bytes(index, stamp))
        message = Message(topic, IMAGE, content or len(serialize()), serialize)
        self.recorder.take(
            camera, message, Observation(stamp, camera, raw_score, 0.5, TRIGGER, alert, 1.0)
        )
        self.recorder.note(Message(f'{NODE}/observation', STRING, 20, text))
        self.frames += 1
        self.now += 0.1

    def drive(self, start: float, end: float, state: State = State.NORMAL, **how: Any) -> None:
        """See frames from start on, up to end."""
        for k in range(round(10 * start), round(10 * end)):
            self.see(k / 10, state, **how)

    def stop(self) -> list[Path]:
        """Stop and return the folders that are there now."""
        assert self.recorder.stop(20.0, 'the test is over')
        assert 'record' not in {thread.name for thread in threading.enumerate()}
        assert self.limits.folder is not None
        return sorted(self.limits.folder.iterdir())


def text() -> bytes:
    """Return a std_msgs/msg/String that says alert."""
    return b'\x00\x01\x00\x00\x06\x00\x00\x00alert\x00'


def wait_for(condition: Callable[[], Any], what: str, timeout: float = 20.0) -> None:
    """Poll until the condition holds; fail with words after the deadline."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f'waited in vain for: {what}'
        time.sleep(0.002)


def large_image(stamp: float) -> bytes:
    """Return a picture of 60 KB as CDR: several of them make a chunk of an MCAP."""
    rgb = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)
    return bytes(STORE.serialize_cdr(image_message(rgb, stamp), IMAGE))

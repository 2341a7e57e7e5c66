"""Bags for tests, written by the bag libraries themselves rather than by the code under test."""

from __future__ import annotations

from collections.abc import Iterable
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

STORE = get_typestore(Stores.ROS2_JAZZY)
IMAGE = 'sensor_msgs/msg/Image'
STRING = 'std_msgs/msg/String'
TOPIC = '/front/image_raw'
SIZE = (6, 8)  # rows, columns

Pixels = npt.NDArray[np.uint8]


def picture(index: int) -> Pixels:
    """Return a picture that no other index has, (6, 8, 3)."""
    return np.random.default_rng(index).integers(0, 256, (*SIZE, 3), np.uint8)


def image_message(rgb: Pixels, stamp: float = 0.0, *, encoding: str = 'rgb8') -> Any:
    """Build a sensor_msgs/msg/Image with padded rows."""
    height, width, _ = rgb.shape
    step = 3 * width + 5
    rows = np.full((height, step), 0xAB, np.uint8)
    rows[:, : 3 * width] = rgb.reshape(height, -1)
    types = STORE.types
    sec, nanosec = divmod(round(stamp * 1e9), 10**9)
    time = types['builtin_interfaces/msg/Time'](sec=sec, nanosec=nanosec)
    header = types['std_msgs/msg/Header'](stamp=time, frame_id='optical')
    return types[IMAGE](
        header=header, height=height, width=width, encoding=encoding, is_bigendian=0,
        step=step, data=rows.reshape(-1),
    )  # fmt: skip


def image_bytes(index: int, stamp: float = 0.0, *, encoding: str = 'rgb8') -> bytes:
    """Return the same for ``picture(index)``, serialised."""
    message = image_message(picture(index), stamp, encoding=encoding)
    return bytes(STORE.serialize_cdr(message, IMAGE))


def write_bag(
    path: Path,
    messages: Iterable[tuple[str, str, float, bytes]],
    *,
    storage: str = 'mcap',
    compression: str = 'none',
) -> Path:
    """Write (topic, type, log time in s, serialised message) with rosbags."""
    writer = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
    writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
    connections: dict[str, Any] = {}
    with writer:
        for topic, kind, time, data in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], round(time * 1e9), data)
    return path


def frames_bag(path: Path, count: int = 6, *, start: int = 0, **how: str) -> Path:
    """Write ``picture(start)`` and so on at 10 Hz, stamped 0.5 s before their log time."""
    return write_bag(
        path,
        (
            (TOPIC, IMAGE, 10.5 + 0.1 * i, image_bytes(i, 10.0 + 0.1 * i))
            for i in range(start, start + count)
        ),
        **how,
    )


def write_mcap(
    path: Path,
    messages: Iterable[tuple[str, float, bytes]],
    *,
    kind: str = IMAGE,
    encoding: str = 'cdr',
    profile: str = 'ros2',
    **options: Any,
) -> Path:
    """Write one MCAP file of (topic, log time in s, bytes) with the MCAP library."""
    from mcap.writer import Writer as McapWriter

    buffer = io.BytesIO()
    writer = McapWriter(buffer, **options)
    writer.start(profile=profile, library='test')
    schema = writer.register_schema(kind, 'ros2msg', b'uint8[] data')
    channels: dict[str, int] = {}
    for topic, time, data in messages:
        if topic not in channels:
            channels[topic] = writer.register_channel(topic, encoding, schema)
        stamp = round(time * 1e9)
        writer.add_message(channels[topic], stamp, data, stamp)
    writer.finish()
    path.write_bytes(buffer.getvalue())
    return path

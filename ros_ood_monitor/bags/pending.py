"""A frame as a bag stores it, and how it is decoded."""

from __future__ import annotations

import struct
from typing import Any, Final

from ros_ood_monitor.bags.mcap_stream import RawMessage
from ros_ood_monitor.bags.plain import decompress_message
from ros_ood_monitor.decode import decode_compressed, decode_image
from ros_ood_monitor.errors import DecodeError
from ros_ood_monitor.records import Frame

__all__ = ['COMPRESSED_IMAGE', 'IMAGE', 'PendingFrame']

IMAGE: Final = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE: Final = 'sensor_msgs/msg/CompressedImage'


class PendingFrame:
    """
    A frame as it is stored; ``str`` gives its topic and log time.

    Parameters
    ----------
    message : RawMessage
        Its message.
    kind : str
        Type of the message.
    camera : str
        Name of its camera.
    typestore : rosbags.typesys.Typestore
        Knows the type.

    """

    def __init__(self, message: RawMessage, kind: str, camera: str, typestore: Any) -> None:
        self.topic = message.topic
        self.log_time = message.log_time / 1e9
        self.log_ns = message.log_time
        self.type = kind
        self._message = message
        self._camera, self._typestore = camera, typestore

    def __str__(self) -> str:
        return f'{self.topic} at {self.log_time:.6f} s'

    @property
    def data(self) -> bytes:
        """Return the serialised message."""
        return bytes(decompress_message(self._message.data))

    @property
    def header(self) -> Any:
        """Return the header of a message that `decode` could read."""
        return self._typestore.deserialize_cdr(self.data, self.type).header

    def decode(self) -> Frame:
        """
        Return the frame; may run in any thread.

        Raises
        ------
        DecodeError, BagError
            If its message holds no picture.

        """
        return _to_frame(self._message, self.type, self._camera, self._typestore)


def _to_frame(message: RawMessage, kind: str, camera: str, typestore: Any) -> Frame:
    """Deserialise and decode one message."""
    from rosbags.serde import SerdeError

    data = decompress_message(message.data)
    try:
        image = typestore.deserialize_cdr(data, kind)
    except (SerdeError, ValueError, IndexError, AssertionError, struct.error) as error:
        what = f'{type(error).__name__}: {error}'
        msg = f'message is no {kind}: {len(data)} bytes do not deserialise ({what})'
        raise DecodeError(msg) from error
    stamp = image.header.stamp.sec + image.header.stamp.nanosec * 1e-9
    if kind == IMAGE:
        encoding = image.encoding
        rgb = decode_image(
            image.data,
            encoding=image.encoding,
            height=image.height,
            width=image.width,
            step=image.step,
            is_bigendian=bool(image.is_bigendian),
        )
    else:
        encoding = image.format
        rgb = decode_compressed(image.data, format=image.format)
    return Frame(
        rgb,
        stamp=stamp if stamp else message.log_time / 1e9,
        camera=camera,
        encoding=encoding,
    )

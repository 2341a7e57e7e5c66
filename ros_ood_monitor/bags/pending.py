"""A frame as a bag stores it, and how it is decoded."""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple

from ros_ood_monitor.bags.mcap_stream import RawMessage
from ros_ood_monitor.bags.plain import decompress_message
from ros_ood_monitor.decode import decode_compressed, decode_image
from ros_ood_monitor.errors import DecodeError
from ros_ood_monitor.records import Frame

__all__ = ['COMPRESSED_IMAGE', 'IMAGE', 'PendingFrame']

IMAGE: Final = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE: Final = 'sensor_msgs/msg/CompressedImage'


class ImageFacts(NamedTuple):
    """Time of an image in s, and its encoding (of a compressed one its format)."""

    stamp: float
    encoding: str


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

    def facts(self) -> ImageFacts:
        """
        Return what the message says of its picture, which may not decode for all that.

        Raises
        ------
        DecodeError, BagError
            If it does not deserialise.

        """
        return _facts(_read(self.data, self.type, self._typestore), self._message, self.type)

    def decode(self) -> Frame:
        """
        Return the frame; may run in any thread.

        Raises
        ------
        DecodeError, BagError
            If its message holds no picture.

        """
        image = _read(self.data, self.type, self._typestore)
        return _to_frame(image, _facts(image, self._message, self.type), self.type, self._camera)


def _read(data: bytes, kind: str, typestore: Any) -> Any:
    """Deserialise one message."""
    from rosbags.serde import SerdeError

    try:
        return typestore.deserialize_cdr(data, kind)
    except (SerdeError, ValueError, IndexError, AssertionError, struct.error) as error:
        what = f'{type(error).__name__}: {error}'
        msg = f'message is no {kind}: {len(data)} bytes do not deserialise ({what})'
        raise DecodeError(msg) from error


def _facts(image: Any, message: RawMessage, kind: str) -> ImageFacts:
    stamp = image.header.stamp.sec + image.header.stamp.nanosec * 1e-9
    encoding = image.encoding if kind == IMAGE else image.format
    # a driver may leave the stamp at zero
    return ImageFacts(stamp if stamp else message.log_time / 1e9, encoding)


def _to_frame(image: Any, facts: ImageFacts, kind: str, camera: str) -> Frame:
    if kind == IMAGE:
        rgb = decode_image(
            image.data,
            encoding=image.encoding,
            height=image.height,
            width=image.width,
            step=image.step,
            is_bigendian=bool(image.is_bigendian),
        )
    else:
        rgb = decode_compressed(image.data, format=image.format)
    return Frame(rgb, stamp=facts.stamp, camera=camera, encoding=facts.encoding)

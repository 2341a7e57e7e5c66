"""A bag written aside and renamed: it is there whole or not at all."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
import shutil
import tempfile
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.atomic import sync, sync_tree
from ros_ood_monitor.bags.libraries import require_libraries
from ros_ood_monitor.bags.plain import URI_MARKS
from ros_ood_monitor.errors import BagError, ParameterError
from ros_ood_monitor.images import encode_jpeg
from ros_ood_monitor.records import Frame

__all__ = ['BagWriter']

STORAGES: Final = ('mcap', 'sqlite3')
COMPRESSIONS: Final = ('none', 'message', 'file', 'chunk')
_COMPRESSED: Final = 'sensor_msgs/msg/CompressedImage'
_IMAGE: Final = 'sensor_msgs/msg/Image'


class BagWriter:
    """
    Writes a rosbag2 folder that ROS 2 Jazzy and later play.

    The files grow in a temporary folder beside the target, which takes the target's name when
    the writer is closed. An error, a full disk or an exception in the ``with`` block leaves
    nothing behind. The same input gives the same bytes, as long as the version of ``rosbags``
    (which the MCAP header names) and of SQLite are the same. Chunks carry no checksum.

    Parameters
    ----------
    path : Path or str
        Folder to make; must not exist.
    storage : str
        ``mcap`` or ``sqlite3``.
    compression : str
        ``none``, ``message`` (each on its own), ``file``, or ``chunk`` (inside an MCAP); zstd.

    Raises
    ------
    BagError
        If the target exists, its folder cannot be written, or a bag library cannot be imported.
    ParameterError
        If an option is unknown.

    """

    def __init__(
        self, path: Path | str, *, storage: str = 'mcap', compression: str = 'none'
    ) -> None:
        if storage not in STORAGES:
            msg = f'unknown storage: expected one of {", ".join(STORAGES)}, got {storage!r}'
            raise ParameterError(msg)
        allowed = COMPRESSIONS if storage == 'mcap' else COMPRESSIONS[:-1]
        if compression not in allowed:
            msg = (
                f'unknown compression for {storage}: expected one of {", ".join(allowed)}, '
                f'got {compression!r}'
            )
            raise ParameterError(msg)
        require_libraries()
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
        from rosbags.typesys import get_typestore, Stores

        self.path = Path(path)
        if self.path.exists():
            msg = f'bag exists and is not overwritten; remove it or choose another name: {path}'
            raise BagError(msg)
        if storage == 'sqlite3' and URI_MARKS.intersection(str(self.path.absolute())):
            marks = ' '.join(sorted(URI_MARKS))
            msg = f'sqlite3 bags cannot have {marks} in their path; choose mcap: {path}'
            raise BagError(msg)
        self.typestore = get_typestore(Stores.ROS2_JAZZY)
        self._connections: dict[tuple[str, str], Any] = {}
        self._errors = _write_errors()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._aside = Path(
                tempfile.mkdtemp(prefix=f'.{self.path.name}.', dir=self.path.parent)
            )
        except OSError as error:
            raise self._failed(error) from error
        # the storage file takes its name from its folder
        self._writer: Any = Writer(
            self._aside / self.path.name,
            version=9,
            storage_plugin=StoragePlugin[storage.upper()],
        )
        mode = 'STORAGE' if compression == 'chunk' else compression.upper()
        self._writer.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)
        try:
            self._writer.open()
        except self._errors as error:
            self.abort()
            raise self._failed(error) from error

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def make(self, msgtype: str, **fields: Any) -> Any:
        """
        Build a message of one of ROS 2's standard types.

        Parameters
        ----------
        msgtype : str
            Type with three parts, such as ``std_msgs/msg/Float32``.
        **fields
            All its fields.

        Raises
        ------
        BagError
            If the type or a field is unknown.

        """
        try:
            return self.typestore.types[msgtype](**fields)
        except (KeyError, TypeError) as error:
            msg = f'cannot build message of type {msgtype!r}: {error}'
            raise BagError(msg) from error

    def make_header(self, stamp: float, frame_id: str = '') -> Any:
        """
        Build a ``std_msgs/msg/Header`` from a stamp in s.

        Raises
        ------
        BagError
            If the stamp is not finite.

        """
        sec, nanosec = divmod(_nanoseconds(stamp), 10**9)
        time = self.make('builtin_interfaces/msg/Time', sec=sec, nanosec=nanosec)
        return self.make('std_msgs/msg/Header', stamp=time, frame_id=frame_id)

    def write(
        self, topic: str, msgtype: str, message: Any, stamp: float, *, log_ns: int | None = None
    ) -> None:
        """
        Write one message.

        Parameters
        ----------
        topic : str
            Its topic.
        msgtype : str
            Its type with three parts.
        message : object or bytes
            A message built by ``make``, or one serialised already (CDR).
        stamp : float
            Log time, in s.
        log_ns : int, optional
            The same in ns, where it is known to the last of them.

        Raises
        ------
        BagError
            If the disk is full, the message does not fit its type, or the bag is closed; what
            has been written is then removed.

        """
        if self._writer is None:
            msg = f'bag is closed: {self.path}'
            raise BagError(msg)
        try:
            key = (topic, msgtype)
            if key not in self._connections:
                self._connections[key] = self._writer.add_connection(
                    topic, msgtype, typestore=self.typestore
                )
            if not isinstance(message, (bytes, bytearray, memoryview)):
                message = self.typestore.serialize_cdr(message, msgtype)
            time = _nanoseconds(stamp) if log_ns is None else log_ns
            self._writer.write(self._connections[key], time, message)
        except self._errors as error:
            self.abort()
            raise self._failed(error) from error

    def write_jpeg(
        self,
        topic: str,
        image: npt.NDArray[np.uint8] | bytes,
        stamp: float,
        *,
        frame_id: str = '',
        quality: int = 90,
    ) -> None:
        """
        Write one frame as ``sensor_msgs/msg/CompressedImage``.

        Parameters
        ----------
        topic : str
            Its topic; by convention it ends in ``/compressed``.
        image : ndarray of shape (height, width, 3), uint8, or bytes
            RGB pixels, or a JPEG file, which is stored as it is.
        stamp : float
            Header stamp and log time, in s.
        frame_id : str
            Coordinate frame of the camera.
        quality : int
            JPEG quality for pixels, 1 to 100.

        Raises
        ------
        BagError
            As for ``write``.
        DecodeError
            If the pixels are no RGB picture.

        """
        if not isinstance(image, bytes):
            image = encode_jpeg(Frame(image).rgb, quality)
        message = self.make(
            _COMPRESSED,
            header=self.make_header(stamp, frame_id),
            format='jpeg',
            data=np.frombuffer(image, np.uint8),
        )
        self.write(topic, _COMPRESSED, message, stamp)

    def write_image(
        self,
        topic: str,
        rgb: npt.NDArray[np.uint8],
        stamp: float,
        *,
        frame_id: str = '',
    ) -> None:
        """
        Write one frame as ``sensor_msgs/msg/Image`` in ``rgb8``.

        Parameters
        ----------
        topic : str
            Its topic.
        rgb : ndarray of shape (height, width, 3), uint8
            Pixels.
        stamp : float
            Header stamp and log time, in s.
        frame_id : str
            Coordinate frame of the camera.

        Raises
        ------
        BagError
            As for ``write``.
        DecodeError
            If the pixels are no RGB picture.

        """
        frame = Frame(rgb)
        message = self.make(
            _IMAGE,
            header=self.make_header(stamp, frame_id),
            height=frame.height,
            width=frame.width,
            encoding='rgb8',
            is_bigendian=0,
            step=frame.width * 3,
            data=np.ascontiguousarray(rgb).reshape(-1),  # (H * W * 3,)
        )
        self.write(topic, _IMAGE, message, stamp)

    def close(self) -> None:
        """
        Finish the bag and give it its name.

        Raises
        ------
        BagError
            If it cannot be finished; what has been written is then removed.

        """
        if self._writer is None:
            return
        try:
            self._writer.close()
            self._writer = None
            folder = self._aside / self.path.name
            sync_tree(folder)  # evidence must outlive a power cut
            folder.rename(self.path)
            sync(self.path.parent)
        except self._errors as error:
            raise self._failed(error) from error
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop what has been written."""
        writer, self._writer = self._writer, None
        if writer is not None:
            # a full disk refuses the last flush too; the files go anyway
            with contextlib.suppress(*self._errors):
                writer.abort()
        shutil.rmtree(self._aside, ignore_errors=True)

    def _failed(self, error: BaseException) -> BagError:
        reason = getattr(error, 'strerror', None) or str(error) or type(error).__name__
        return BagError(f'cannot write bag: {reason}; nothing is left of it: {self.path}')


def _write_errors() -> tuple[type[Exception], ...]:
    """Name what the library raises on a full disk or on a message that does not fit."""
    import sqlite3
    import struct

    from rosbags.rosbag2 import WriterError
    from rosbags.serde import SerdeError
    from rosbags.typesys import TypesysError

    return (
        OSError, sqlite3.Error, struct.error, WriterError, SerdeError, TypesysError,
        TypeError, ValueError, KeyError, AttributeError, AssertionError,
    )  # fmt: skip


def _nanoseconds(stamp: float) -> int:
    if not math.isfinite(stamp):
        msg = f'stamp of a message must be finite, got {stamp}'
        raise BagError(msg)
    # whole seconds first: the product with 1e9 would lose the last 100 ns of today's stamps
    whole = math.floor(stamp)
    return whole * 10**9 + round((stamp - whole) * 1e9)

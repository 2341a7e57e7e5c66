"""
Files and messages without their compression.

What a file is (MCAP, SQLite, compressed as a whole) is read from its first bytes, so a single
file needs no ``metadata.yaml`` beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from pathlib import Path
import tempfile
from typing import Final

from ros_ood_monitor.errors import BagError

__all__ = ['URI_MARKS', 'decompress_message', 'plain_file']

_MCAP_MAGIC: Final = b'\x89MCAP0\r\n'
_SQLITE_MAGIC: Final = b'SQLite format 3\x00'
_ZSTD_MAGIC: Final = b'\x28\xb5\x2f\xfd'  # never the start of a CDR message (0x00 0x00..0x0b)
_ROS1_MAGIC: Final = b'#ROSBAG V'
URI_MARKS: Final = frozenset('#?%')
"""Characters that end or change a path in an URI."""


def decompress_message(data: bytes) -> bytes:
    """
    Undo per-message compression, where there is any.

    Raises
    ------
    BagError
        If the compressed bytes are damaged.

    """
    if not data.startswith(_ZSTD_MAGIC):
        return data
    import zstandard

    stream = zstandard.ZstdDecompressor().decompressobj()
    try:
        plain = stream.decompress(data)
    except zstandard.ZstdError as error:
        msg = f'compressed message is damaged: {error}'
        raise BagError(msg) from error
    if not stream.eof:
        msg = f'compressed message is truncated: zstd stream does not end in {len(data)} bytes'
        raise BagError(msg)
    return plain


@contextlib.contextmanager
def plain_file(path: Path) -> Iterator[tuple[Path, str]]:
    """Give a file and its kind; one compressed as a whole is decompressed beside the way."""
    kind = _kind_of(path)
    if kind == 'sqlite3' and URI_MARKS.intersection(str(path)):
        # rosbags opens databases by an URI in which it does not quote the path
        with tempfile.TemporaryDirectory(prefix='ros_ood_monitor-') as folder:
            link = Path(folder) / 'linked.db3'
            link.symlink_to(path.resolve())
            yield link, kind
        return
    if kind != 'zstd':
        yield path, kind
        return
    import zstandard

    with tempfile.TemporaryDirectory(prefix='ros_ood_monitor-') as folder:
        plain = Path(folder) / 'plain'
        try:
            with path.open('rb') as packed, plain.open('wb') as file:
                zstandard.ZstdDecompressor().copy_stream(packed, file)
        except (OSError, zstandard.ZstdError) as error:
            msg = (
                f'cannot decompress into {folder!r}: {error}; set TMPDIR to a larger disk: {path}'
            )
            raise BagError(msg) from error
        try:
            kind = _kind_of(plain)
        except BagError as error:
            reason = str(error).removesuffix(f': {plain}')
            msg = f'compressed file is truncated or holds no bag: {reason}: {path}'
            raise BagError(msg) from error
        yield plain, kind


def _kind_of(path: Path) -> str:
    """Name what a file is by its first bytes."""
    try:
        with path.open('rb') as file:
            head = file.read(16)
    except OSError as error:
        msg = f'cannot open file: {error.strerror}: {path}'
        raise BagError(msg) from error
    for magic, kind in ((_MCAP_MAGIC, 'mcap'), (_SQLITE_MAGIC, 'sqlite3'), (_ZSTD_MAGIC, 'zstd')):
        if head.startswith(magic):
            return kind
    if not head:
        msg = f'file is empty: expected mcap or sqlite3, got 0 bytes: {path}'
    elif head.startswith(_ROS1_MAGIC):
        msg = f'bag is a ROS 1 bag: expected rosbag2; convert it with rosbags-convert: {path}'
    else:
        got = head.hex(' ')
        msg = f'file is no rosbag2 storage: expected mcap or sqlite3, got bytes {got}: {path}'
    raise BagError(msg)

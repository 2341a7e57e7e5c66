"""
The files a bag is made of, each read as a stream of messages in order of log time.

What a file is (MCAP, SQLite, compressed as a whole, messages compressed one by one) is read from
its first bytes, so a single file needs no ``metadata.yaml`` beside it. ``rosbags`` reads the
files; ``mcap`` takes over where it cannot: files without an index, above all truncated ones.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from dataclasses import dataclass
from pathlib import Path
import re
import tempfile
from typing import Any, Final

import yaml

from ros_ood_monitor.bags.mcap_stream import full_type, in_order, RawMessage, stream_mcap
from ros_ood_monitor.bags.order import backward_steps
from ros_ood_monitor.errors import BagError

__all__ = [
    'URI_MARKS',
    'StorageFile',
    'decompress_message',
    'find_files',
    'is_bag',
    'require_libraries',
]

_MCAP_MAGIC: Final = b'\x89MCAP0\r\n'
_SQLITE_MAGIC: Final = b'SQLite format 3\x00'
_ZSTD_MAGIC: Final = b'\x28\xb5\x2f\xfd'  # never the start of a CDR message (0x00 0x00..0x0b)
_ROS1_MAGIC: Final = b'#ROSBAG V'
_SUFFIXES: Final = ('.mcap', '.db3', '.mcap.zstd', '.db3.zstd')
_METADATA_KEY: Final = 'rosbag2_bagfile_information'
URI_MARKS: Final = frozenset('#?%')
"""Characters that end or change a path in an URI."""
_NO_TIME: Final = 2**63 - 1


def require_libraries() -> None:
    """
    Fail early, and with the way out, where the bag libraries are not installed.

    Raises
    ------
    BagError
        If ``rosbags``, ``mcap`` or ``zstandard`` cannot be imported.

    """
    try:
        import mcap  # noqa: F401
        import rosbags.rosbag2  # noqa: F401
        import zstandard  # noqa: F401
    except ImportError as error:
        msg = (
            f'reading and writing bags needs the package {error.name!r}, which is not installed; '
            "run: pip install '.[bags]' in the clone"
        )
        raise BagError(msg) from error


def is_bag(path: Path) -> bool:
    """
    Tell whether a path looks like a bag, without reading one.

    Parameters
    ----------
    path : Path
        Anything.

    Returns
    -------
    bool
        True for a storage file by its name, and for a folder with one or with a bag's metadata.

    """
    if path.is_file():
        return path.name.endswith(_SUFFIXES)
    if not path.is_dir():
        return False
    metadata = path / 'metadata.yaml'
    if metadata.is_file():
        with metadata.open('rb') as file:  # data sets of images have a metadata.yaml, too
            if _METADATA_KEY.encode() in file.read(4096):
                return True
    return any(child.name.endswith(_SUFFIXES) for child in path.iterdir())


def find_files(path: Path) -> tuple[list[Path], list[str]]:
    """
    List the storage files of a bag in the order of its metadata.

    Parameters
    ----------
    path : Path
        A bag's folder, or one storage file of it.

    Returns
    -------
    files : list of Path
        Files that are there; at least one.
    missing : list of str
        Names in ``metadata.yaml`` that are not there.

    Raises
    ------
    BagError
        If there is nothing to read.

    """
    if path.is_file():
        return [path], []
    if not path.is_dir():
        msg = f'bag does not exist: expected a rosbag2 folder or one .mcap or .db3 file: {path}'
        raise BagError(msg)
    metadata = path / 'metadata.yaml'
    if not metadata.exists():
        files = sorted((f for f in path.iterdir() if f.name.endswith(_SUFFIXES)), key=_natural)
        if not files:
            msg = (
                'folder is no bag: expected a metadata.yaml or files that end in '
                f'{", ".join(_SUFFIXES)}: {path}'
            )
            raise BagError(msg)
        return files, []
    names = _read_metadata(metadata)
    # old recorders wrote the folder's name before the file's
    files = [path / Path(name).name for name in names]
    missing = [file.name for file in files if not file.is_file()]
    files = [file for file in files if file.is_file()]
    if not files:
        msg = (
            f'bag has no data: none of the {len(missing)} files in its metadata.yaml is there '
            f'({", ".join(missing)}): {path}'
        )
        raise BagError(msg)
    return files, missing


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


@dataclass(frozen=True)
class StorageFile:
    """
    One storage file and what a look into it has found.

    Parameters
    ----------
    path : Path
        The file.
    topics : dict of str to (str, int)
        Type and number of messages by topic.
    start, end : int
        Log time of the first and of the last message, in ns.
    problem : str
        What is wrong with the file although it can be read in part; empty where nothing is.
    indexed : bool
        False where it has to be read from front to back.

    """

    path: Path
    topics: dict[str, tuple[str, int]]
    start: int
    end: int
    problem: str = ''
    indexed: bool = True

    @classmethod
    def scan(cls, path: Path) -> StorageFile:
        """
        Look into a file.

        Raises
        ------
        BagError
            If it is empty, foreign, or too damaged to read a message from.

        """
        with _plain_file(path) as (plain, kind):
            try:
                found = cls._scan_indexed(path, plain, kind)
            except Exception as error:
                if kind != 'mcap':
                    msg = f'cannot read {kind} file, it is damaged or truncated: {error}: {path}'
                    raise BagError(msg) from error
                return cls._scan_stream(path, plain, str(error))
            if kind == 'mcap' and not found.topics:
                # the index may leave channels out, and rosbags then finds none
                return cls._scan_stream(path, plain, 'no channel in its index')
            return found

    @classmethod
    def _scan_indexed(cls, path: Path, plain: Path, kind: str) -> StorageFile:
        topics: dict[str, tuple[str, int]] = {}
        with _rosbags_storage(plain, kind) as storage:
            for connection in storage.connections:
                encoding = connection.ext.serialization_format
                kind_of = full_type(connection.msgtype, encoding)
                count = topics.get(connection.topic, ('', 0))[1]
                topics[connection.topic] = (kind_of, count + connection.msgcount)
            facts = storage.metadata
            wal = path.with_name(path.name + '-wal')
            problem = ''
            if kind == 'sqlite3' and wal.is_file() and wal.stat().st_size > 0:
                problem = (
                    f'messages still in {wal.name!r} are not read: the recorder was not closed; '
                    'open the bag once with sqlite3 to merge them'
                )
            indexed = kind != 'mcap' or bool(storage.chunks)
            end = facts.end_time - 1 if facts.message_count else 0
            return cls(path, topics, facts.start_time, end, problem, indexed)

    @classmethod
    def _scan_stream(cls, path: Path, plain: Path, reason: str) -> StorageFile:
        topics: dict[str, tuple[str, int]] = {}
        start, end, count, stops = _NO_TIME, 0, 0, list[str]()
        for message, kind_of in stream_mcap(plain, stops):
            topics[message.topic] = (kind_of, topics.get(message.topic, ('', 0))[1] + 1)
            start, end, count = min(start, message.log_time), max(end, message.log_time), count + 1
        if not count and stops:
            msg = f'cannot read mcap file, no message in it is whole: {reason}: {path}'
            raise BagError(msg)
        problem = (
            f'file is truncated or damaged ({stops[0]}): {count} messages read' if stops else ''
        )
        return cls(path, topics, start, end, problem, indexed=False)

    def backward_steps(self, topics: set[str]) -> int:
        """
        Count how often log time runs backwards, see `order.backward_steps`.

        Parameters
        ----------
        topics : set of str
            Topics that count.

        Returns
        -------
        int
            0 where it cannot be told, such as in a damaged file.

        """
        if topics.isdisjoint(self.topics) or not self.indexed:
            return 0
        try:
            with _plain_file(self.path) as (plain, kind):
                return backward_steps(plain, kind, topics)
        except Exception:  # noqa: BLE001, whatever a damaged file raises: reading it tells of it
            return 0

    def messages(self, topics: set[str]) -> Iterator[RawMessage]:
        """
        Read the messages of some topics in order of log time.

        Raises
        ------
        BagError
            If the file turns out to be damaged half-way.

        """
        if topics.isdisjoint(self.topics):
            return
        at = self.start
        with _plain_file(self.path) as (plain, kind):
            source = (
                _read_indexed(plain, kind, topics)
                if self.indexed
                else in_order(m for m, _ in stream_mcap(plain, []) if m.topic in topics)
            )
            try:
                for message in source:
                    at = message.log_time
                    yield message
            except Exception as error:
                seconds = (at - self.start) / 1e9
                msg = (
                    f'file is damaged: reading stops {seconds:.3f} s after its first message: '
                    f'{error}: {self.path}'
                )
                raise BagError(msg) from error


def _read_metadata(path: Path) -> list[str]:
    """Return the file names in a bag's metadata."""
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
        facts = content[_METADATA_KEY]
        names = [str(name) for name in facts['relative_file_paths']]
        form = str(facts.get('compression_format') or 'zstd')
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        what = f'{type(error).__name__}: {error}'
        msg = f'cannot read the metadata of the bag: {what}: {path}'
        raise BagError(msg) from error
    if form != 'zstd':
        msg = f"unknown compression: expected 'zstd', got {form!r}: {path}"
        raise BagError(msg)
    if not names:
        msg = f'bag has no data: relative_file_paths is empty: {path}'
        raise BagError(msg)
    return names


@contextlib.contextmanager
def _plain_file(path: Path) -> Iterator[tuple[Path, str]]:
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


@contextlib.contextmanager
def _rosbags_storage(path: Path, kind: str) -> Iterator[Any]:
    """Open one storage file with rosbags, whatever its name ends in."""
    from rosbags.rosbag2 import Reader

    storage = Reader.STORAGE_PLUGINS['.mcap' if kind == 'mcap' else '.db3'](path)
    storage.open()
    try:
        yield storage
    finally:
        storage.close()


def _read_indexed(path: Path, kind: str, topics: set[str]) -> Iterator[RawMessage]:
    with _rosbags_storage(path, kind) as storage:
        connections = [c for c in storage.connections if c.topic in topics]
        for connection, log_time, data in storage.messages(connections):
            yield RawMessage(log_time, connection.topic, data)


def _natural(path: Path) -> list[int | str]:
    """Sort key that puts ``bag_2`` before ``bag_10``."""
    return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', path.name)]

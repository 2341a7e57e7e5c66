"""Which files a bag is made of; none of its storage files is opened."""

from __future__ import annotations

from pathlib import Path
import re
from typing import Final

import yaml

from ros_ood_monitor.errors import BagError

__all__ = ['STORAGE_SUFFIXES', 'find_files', 'is_bag']

STORAGE_SUFFIXES: Final = ('.mcap', '.db3', '.mcap.zstd', '.db3.zstd')
_METADATA_KEY: Final = 'rosbag2_bagfile_information'


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
        return path.name.endswith(STORAGE_SUFFIXES)
    if not path.is_dir():
        return False
    metadata = path / 'metadata.yaml'
    if metadata.is_file():
        with metadata.open('rb') as file:  # data sets of images have a metadata.yaml, too
            if _METADATA_KEY.encode() in file.read(4096):
                return True
    return any(child.name.endswith(STORAGE_SUFFIXES) for child in path.iterdir())


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
        files = sorted(
            (f for f in path.iterdir() if f.name.endswith(STORAGE_SUFFIXES)), key=_natural
        )
        if not files:
            msg = (
                'folder is no bag: expected a metadata.yaml or files that end in '
                f'{", ".join(STORAGE_SUFFIXES)}: {path}'
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


def _read_metadata(path: Path) -> list[str]:
    """Return the file names in a bag's metadata."""
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
        facts = content[_METADATA_KEY]
        names = [str(name) for name in facts['relative_file_paths']]
        form = str(facts.get('compression_format') or 'zstd')
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        what = f'{type(error).__name__}: {" ".join(str(error).split())}'
        msg = f'cannot read the metadata of the bag: {what}: {path}'
        raise BagError(msg) from error
    if form != 'zstd':
        msg = f"unknown compression: expected 'zstd', got {form!r}: {path}"
        raise BagError(msg)
    if not names:
        msg = f'bag has no data: relative_file_paths is empty: {path}'
        raise BagError(msg)
    return names


def _natural(path: Path) -> list[int | str]:
    """Sort key that puts ``bag_2`` before ``bag_10``."""
    return [int(part) if part.isdecimal() else part for part in re.split(r'(\d+)', path.name)]

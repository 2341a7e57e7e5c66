"""
Where training frames lie: the sequences below some folders, each file in one of them only.

A file that two arguments reach, or a link to it, is used once: twice, it could be fitted and held
out at the same time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
import logging
import os
from pathlib import Path

from ros_ood_monitor.bags.files import find_files, is_bag
from ros_ood_monitor.errors import BagError, ParameterError, TrainingError
from ros_ood_monitor.images import image_files, natural_key
from ros_ood_monitor.recorder import Recording

__all__ = ['Source', 'few', 'find_sources', 'storage_files']

_LIST_SUFFIX = '.txt'
# fmt: off
_ANOMALOUS = frozenset((
    'abnormal', 'abnormals', 'anomalies', 'anomalous', 'anomaly', 'bad', 'broken', 'defect',
    'defective', 'defects', 'fail', 'faulty', 'novel', 'ood', 'outlier', 'outliers',
))
# fmt: on
_EXPECTED = 'a bag, a folder of bags or of images, or a .txt list of them'
_FEW = 3  # names in a message
_MADE = (('manifest.yaml', 'scorer.onnx'), ('snapshot.yaml',))  # what bundles, snapshots hold

_log = logging.getLogger(__name__)


@dataclass
class Source:
    """
    One sequence.

    Parameters
    ----------
    name : str
        Relative to the argument that it came with.
    root : Path
        That argument.
    files : list of Path
        Its images, in natural order; empty for a bag.
    bag : Path or None
        Its bag.

    """

    name: str
    root: Path
    files: list[Path] = field(default_factory=list)
    bag: Path | None = None


def find_sources(paths: Iterable[Path | str]) -> list[Source]:
    """
    Find the sequences below some folders.

    What is left out is logged as a warning: files found again, images in a bag's folder, and those
    in bundles (a report's figures) and snapshots.

    Parameters
    ----------
    paths : iterable of Path or str
        Bags (a folder with a ``metadata.yaml`` or storage files, or one storage file), folders
        that are searched recursively for bags and images, or lists: a ``.txt`` file with one
        image, bag or folder a line, relative to the list; ``#`` starts a comment.

    Returns
    -------
    list of Source
        In the order of the arguments; of each its bags, then its folders with images.

    Raises
    ------
    TrainingError
        If a path does not exist, cannot be read, or holds neither images nor bags, or if two bags
        share some of their files.

    """
    found = _each_once([source for path in paths for source in _find(Path(path))])
    labels = sorted({part for s in found for part in Path(s.name).parts if _is_label(part)})
    if labels:
        _log.warning(
            'training takes every frame as normal, also those in folders named %s; '
            'leave out what shows anomalies',
            ', '.join(map(repr, labels)),
        )
    unmarked = [s.name for s in found if s.bag is not None and _is_unmarked(s.bag)]
    if unmarked:
        _log.warning(
            '%s of alerts that nobody has marked as in-distribution will be trained on as normal '
            '(%s); give their folder to --add instead',
            _count(len(unmarked), 'recording'),
            few(unmarked),
        )
    return found


def few(names: Sequence[str]) -> str:
    """Return the first names of many, for one line."""
    shown = ', '.join(names[:_FEW])
    return shown if len(names) <= _FEW else f'{shown} and {len(names) - _FEW} more'


def _is_unmarked(bag: Path) -> bool:
    try:
        return Recording.load(bag).mark != 'id'
    except BagError:  # no recording of the node's
        return False


def _is_label(name: str) -> bool:
    return name.casefold().split('.')[0] in _ANOMALOUS


def _find(root: Path) -> list[Source]:
    """Return the sequences of one argument: a list's, itself a bag, or what is below it."""
    if root.is_file() and root.suffix.lower() == _LIST_SUFFIX:
        return _listed(root)
    try:
        if not root.exists():
            msg = f'data not found: expected {_EXPECTED}, got nothing there: {root}'
            raise TrainingError(msg)
        bags = _bags(root)
        files = image_files(root)
    except OSError as error:
        msg = f'data cannot be listed ({error.strerror or error}): {root}'
        raise TrainingError(msg) from error
    except ParameterError as error:
        if not bags:
            msg = f'{error}; expected {_EXPECTED}'
            raise TrainingError(msg) from error
        files = []
    name = Path(root.name or root.resolve().name)
    sources = [Source((name / bag.relative_to(root)).as_posix(), root, bag=bag) for bag in bags]
    made = _made(files, root)
    inside = set(bags) | made
    used = [file for file in files if inside.isdisjoint(file.parents)]
    by_folder: dict[Path, Source] = {}
    for file in used:
        folder = file.parent
        if folder not in by_folder:
            by_folder[folder] = Source((name / folder.relative_to(root)).as_posix(), root)
        by_folder[folder].files.append(file)
    if bags and used:
        both = f'{_count(len(bags), "bag")} and {_count(len(used), "image file")}'
        _log.warning('data holds bags and images: %s, all of them are used: %s', both, root)
    in_made = sum(not made.isdisjoint(file.parents) for file in files)
    if in_made:
        said = (
            f'{_count(in_made, "image file")} inside of bundles or snapshots '
            f'({few(sorted(map(str, made)))}), which are figures and no frames'
        )
        if not sources and not used:
            msg = f'no training data: expected {_EXPECTED}, got {said}; give frames: {root}'
            raise TrainingError(msg)
        _log.warning('not used: %s', said)
    if len(used) + in_made < len(files):
        _log.warning(
            'not used: %s inside of bag folders; to train on images, move them out: %s',
            _count(len(files) - len(used) - in_made, 'image file'),
            root,
        )
    return [*sources, *by_folder.values()]


def _made(files: Sequence[Path], root: Path) -> set[Path]:
    """Return the folders at and below a root that this package wrote: bundles and snapshots."""
    folders = {file.parent for file in files}
    folders |= {parent for folder in folders for parent in folder.parents}
    return {
        folder
        for folder in folders
        if (folder == root or root in folder.parents)
        and any(all((folder / name).is_file() for name in names) for names in _MADE)
    }


def _listed(list_file: Path) -> list[Source]:
    """Return the sequences that a list names, in its order; images by the folder they are in."""
    try:
        lines = list_file.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        msg = f'list of images cannot be read ({error}): {list_file}'
        raise TrainingError(msg) from error
    sources: list[Source] = []
    by_folder: dict[Path, Source] = {}
    for number, line in enumerate(lines, 1):
        text = line.partition('#')[0].strip()
        if not text:
            continue
        path = list_file.parent / text
        if path.is_dir() or is_bag(path):
            sources += _find(path)
        elif not path.is_file():
            msg = f'line {number} of the list names nothing that is there: {path}'
            raise TrainingError(msg)
        else:
            folder = path.parent
            if folder not in by_folder:
                by_folder[folder] = Source(f'{list_file.stem}/{folder.name}', list_file)
                sources.append(by_folder[folder])
            by_folder[folder].files.append(path)
    if not sources:
        msg = f'list of images is empty: {list_file}'
        raise TrainingError(msg)
    return sources


def _bags(root: Path) -> list[Path]:
    """Return the bags at and below a path, in natural order; none is searched for another."""
    if is_bag(root):
        return [root]
    if not root.is_dir():
        return []
    found: list[Path] = []
    for place, folders, _ in os.walk(root, onerror=_refuse):
        inner = [Path(place, name) for name in folders if not name.startswith('.')]
        bags = [path for path in inner if is_bag(path)]
        found += bags
        folders[:] = [path.name for path in inner if path not in bags]
    return sorted(found, key=natural_key)


def _refuse(error: OSError) -> None:
    raise error


def _each_once(sources: Sequence[Source]) -> list[Source]:
    """Drop what another source has, and warn once."""
    parts = {k: storage_files(s.bag) for k, s in enumerate(sources) if s.bag is not None}
    first: dict[str, Path] = {}  # real path of an image -> the argument that gave it
    again: Counter[tuple[str, Path, Path]] = Counter()
    kept = []
    for k, source in enumerate(sources):
        if source.bag is not None:
            owner = _owner(k, parts)
            if owner == k:
                kept.append(source)
            else:
                again['bag', source.root, sources[owner].root] += 1
            continue
        files = []
        for file in source.files:
            real = os.path.realpath(file)
            if real in first:
                again['image file', source.root, first[real]] += 1
            else:
                first[real] = source.root
                files.append(file)
        if files:
            kept.append(Source(source.name, source.root, files))
    if again:
        told = [
            f'{_count(number, what)} below {str(root)!r} '
            + ('more than once' if root == other else f'and below {str(other)!r}')
            for (what, root, other), number in again.items()
        ]
        _log.warning('data was found more than once and is used once: %s', '; '.join(told))
    return kept


def storage_files(bag: Path) -> frozenset[str]:
    """
    Return what is read of a bag.

    Parameters
    ----------
    bag : Path
        Its folder or file.

    Returns
    -------
    frozenset of str
        Real paths of its storage files.

    """
    try:
        files, _ = find_files(bag)
    except BagError:  # told when it is read
        files = [bag]
    return frozenset(os.path.realpath(file) for file in files)


def _owner(k: int, parts: dict[int, frozenset[str]]) -> int:
    """Return the bag that stands for bag k: a larger one that holds it, or the first equal one."""
    for other, files in parts.items():
        if parts[k] < files or (parts[k] == files and other < k):
            return other
        if parts[k] & files and not files <= parts[k]:
            shared = min(parts[k] & files)
            msg = f'two bags share a file but not all of theirs; give one of them only: {shared}'
            raise TrainingError(msg)
    return k


def _count(number: int, noun: str) -> str:
    return f'{number} {noun}{"" if number == 1 else "s"}'

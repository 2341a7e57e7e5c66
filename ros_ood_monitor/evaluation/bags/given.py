"""The bags of an evaluation and their labels, looked at before anything is scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ros_ood_monitor.bags import BagReader
from ros_ood_monitor.bags.markers import marked_stretches
from ros_ood_monitor.errors import BagError, ParameterError
from ros_ood_monitor.evaluation.bags.labels import (
    ALL_ID,
    ALL_OOD,
    bag_name,
    for_bag,
    KIND,
    Label,
    labels_beside,
    read_labels,
)

__all__ = ['FailedBag', 'Given', 'LabelChoice', 'count_frames', 'list_bags', 'read_markers']


class FailedBag(NamedTuple):
    """A bag that could not be evaluated: its name, where it lies, and why."""

    name: str
    path: Path
    error: str


@dataclass(frozen=True)
class LabelChoice:
    """
    Where labels come from.

    Parameters
    ----------
    file : Path or None
        One file for all bags; where there is none, each bag's own (`labels_beside`).
    topic : str
        Marker topic in the bags, in the place of a file; empty for none.
    all_id, all_ood : tuple of Path
        Bags that show nothing foreign, and bags that show nothing else.

    """

    file: Path | None = None
    topic: str = ''
    all_id: tuple[Path, ...] = ()
    all_ood: tuple[Path, ...] = ()


class Given(NamedTuple):
    """A bag to evaluate; ``labels`` is None where its markers have yet to be read."""

    name: str
    path: Path
    labels: tuple[Label, ...] | None


def list_bags(bags: Sequence[Path], choice: LabelChoice) -> list[Given]:
    """
    Bring bags and labels together; no bag is opened.

    Parameters
    ----------
    bags : sequence of Path
        Bags with labels; those of ``choice.all_id`` and ``choice.all_ood`` are added.
    choice : LabelChoice
        Where labels come from.

    Returns
    -------
    list of Given
        Each bag once, in the order given.

    Raises
    ------
    ParameterError
        If there is no bag, one is said to be all this and all that, labels are missing, or a
        file of labels is wrong.

    """
    whole = {path.resolve(): ALL_ID for path in choice.all_id}
    both = [path for path in choice.all_ood if path.resolve() in whole]
    if both:
        msg = f'bag is all in-distribution and all out-of-distribution at once: {both[0]}'
        raise ParameterError(msg)
    whole |= {path.resolve(): ALL_OOD for path in choice.all_ood}
    different: dict[Path, Path] = {}
    for path in (*bags, *choice.all_id, *choice.all_ood):
        different.setdefault(path.resolve(), path)
    paths = list(different.values())
    if not paths:
        msg = 'evaluation needs at least one bag, got none'
        raise ParameterError(msg)
    names = _names(paths)
    there = [path for path in paths if path.exists()]  # scoring the others says that they are not
    files = {} if choice.topic else _files(there, whole, choice.file)
    shared = Counter(files.values())
    labels = {file: read_labels(file) for file in shared}
    given = []
    for name, path in zip(names, paths, strict=True):
        mine = whole.get(path.resolve())
        if mine is None and path in files:
            file = files[path]
            alone = shared[file] == 1
            mine = for_bag(labels[file], name, own=bag_name(path), alone=alone, path=file)
        elif mine is None and path not in there:
            mine = ()
        given.append(Given(name, path, mine))
    return given


def _files(
    paths: list[Path], whole: dict[Path, tuple[Label, ...]], file: Path | None
) -> dict[Path, Path]:
    """Return the file of labels of each bag that needs one."""
    found = {path: file or labels_beside(path) for path in paths if path.resolve() not in whole}
    missing = [str(path) for path, one in found.items() if one is None]
    if missing:
        more = f' and {len(missing) - 3} more' if len(missing) > 3 else ''
        msg = (
            f'{len(missing)} of {len(paths)} bags have no labels: expected labels.yaml in the '
            'bag or beside it; or use --labels, --label-topic, --all-id or --all-ood: '
            f'{", ".join(missing[:3])}{more}'
        )
        raise ParameterError(msg)
    return {path: one for path, one in found.items() if one is not None}


def _names(paths: list[Path]) -> list[str]:
    """Return the bags' own names, or the paths as given where two names are the same."""
    own = [bag_name(path) for path in paths]
    shared = Counter(own)
    return [
        name if shared[name] == 1 else str(path) for name, path in zip(own, paths, strict=True)
    ]


def count_frames(path: Path, topics: Sequence[str] | None, every: int) -> int:
    """
    Count the frames of a bag that are to be scored, for the estimate of the end.

    Parameters
    ----------
    path : Path
        The bag.
    topics : sequence of str or None
        Image topics; None for all but those of depth.
    every : int
        Of each topic's frames, every n-th.

    Returns
    -------
    int
        0 where the bag cannot be read: scoring it says why.

    """
    try:
        with BagReader(path) as bag:
            chosen = bag.choose(topics)
    except (BagError, ParameterError, OSError):
        return 0
    return sum(-(-one.count // every) for one in chosen)


def read_markers(path: Path, topic: str) -> tuple[Label, ...]:
    """
    Read the labels of a bag from its marker topic.

    Parameters
    ----------
    path : Path
        The bag.
    topic : str
        Its marker topic; see `marked_stretches`.

    Returns
    -------
    tuple of Label
        In log time.

    Raises
    ------
    BagError
        If the bag has no such topic.

    """
    with BagReader(path) as bag:
        return tuple(
            Label(start, end, kind, time='log')
            for start, end, kind in marked_stretches(bag, topic, kind=KIND)
        )

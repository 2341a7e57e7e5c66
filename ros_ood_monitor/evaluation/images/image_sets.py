"""Which pictures an evaluation compares: the in-distribution folder, the others, what is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.images.boxes import BoxFolder
from ros_ood_monitor.evaluation.images.folders import list_folder
from ros_ood_monitor.evaluation.images.masks import MaskFolder
from ros_ood_monitor.evaluation.images.mvtec import mvtec_layout
from ros_ood_monitor.evaluation.images.truth import part_of, Truth

__all__ = ['ImageSets', 'find_image_sets']


@dataclass(frozen=True, eq=False)
class ImageSets:
    """
    Folders of pictures, the in-distribution one first.

    Parameters
    ----------
    folders : tuple of Path
        The folders.
    files : tuple of list of Path
        The pictures of each.
    truths : tuple of Truth or None
        What is known about the places of the anomalies in each folder but the first.

    """

    folders: tuple[Path, ...]
    files: tuple[list[Path], ...]
    truths: tuple[Truth | None, ...]

    @property
    def names(self) -> list[str]:
        """Return the folders' own names, or the paths as given where two names are the same."""
        short = [folder.resolve().name for folder in self.folders]
        return short if len(set(short)) == len(short) else list(map(str, self.folders))


def find_image_sets(
    images: str | Path,
    ood: Sequence[str | Path] = (),
    masks: str | Path | None = None,
    boxes: str | Path | None = None,
) -> ImageSets:
    """
    Find the pictures of an evaluation, and their masks or boxes.

    Parameters
    ----------
    images : str or Path
        Folder of in-distribution pictures; or a category in the MVTec layout, which has others.
    ood : sequence of str or Path
        Folders of other pictures; beside those of a category.
    masks, boxes : str or Path, optional
        Folder of masks or of box files. A category has masks of its own kinds, but none of the
        folders that are given beside it.

    Returns
    -------
    ImageSets
        At least two folders, with at least one file each.

    Raises
    ------
    ParameterError
        If there is no other folder, one is missing, is a bag or holds no picture, a file is in
        two of them, or a mask or box file is missing.

    """
    if masks is not None and boxes is not None:
        msg = f'evaluation takes masks or boxes, got both: {masks} and {boxes}'
        raise ParameterError(msg)
    given = masks if boxes is None else boxes
    root = None if given is None else Path(given)
    known, others = Path(images), [Path(one) for one in ood]
    layout = mvtec_layout(known)
    kinds: tuple[Path, ...] = ()
    if layout is not None:
        known, kinds = layout.good, layout.kinds
        others = [*kinds, *others]
    if not others:
        msg = (
            'evaluation needs at least one out-of-distribution folder, or images in the MVTec '
            f"layout ('test/good' and 'test/<kind>'), got neither: {images}"
        )
        if layout is not None:
            msg = (
                "'test' holds no folder of anomalous pictures beside 'good', and none was given; "
                f'give one as out-of-distribution: {known.parent}'
            )
        raise ParameterError(msg)
    folders = (known, *others)
    files = tuple(list_folder(folder) for folder in folders)
    _refuse_overlap(folders, files)
    kind = MaskFolder if boxes is None else BoxFolder
    truths: list[Truth | None] = []
    for folder, held in zip(others, files[1:], strict=True):
        place = root
        if root is None and layout is not None and folder in kinds:
            place = layout.masks
        pictures = [str(file.relative_to(folder)) for file in held]
        truths.append(None if place is None else kind(part_of(place, folder), pictures))
    return ImageSets(folders, files, tuple(truths))


def _refuse_overlap(folders: Sequence[Path], files: Sequence[list[Path]]) -> None:
    known = {file.resolve() for file in files[0]}
    for folder, held in zip(folders[1:], files[1:], strict=True):
        shared = sum(file.resolve() in known for file in held)
        if shared:
            msg = (
                f'{shared} files are in-distribution and out-of-distribution at once; '
                f'give folders that do not contain each other: {folders[0]} and {folder}'
            )
            raise ParameterError(msg)
    owner: dict[Path, Path] = {}
    for folder, held in zip(folders[1:], files[1:], strict=True):
        resolved = [file.resolve() for file in held]
        twice = [owner[file] for file in resolved if file in owner]
        if twice:
            msg = (
                f'{len(twice)} files are in two out-of-distribution folders; '
                f'give folders that do not contain each other: {twice[0]} and {folder}'
            )
            if twice[0].resolve() == folder.resolve():
                msg = (
                    'out-of-distribution folders must differ, got one twice (a category in the '
                    f'MVTec layout brings its own); leave it out: {folder}'
                )
            raise ParameterError(msg)
        owner |= dict.fromkeys(resolved, folder)

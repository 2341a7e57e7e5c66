"""
Folders in the layout of the MVTec anomaly detection data set, which many others have, too.

::

    train/good/*.png                      what a bundle is trained on; not read here
    test/good/*.png                       in-distribution
    test/<kind>/*.png                     anomalous
    ground_truth/<kind>/*_mask.png        their masks

References
----------
Bergmann, Fauser, Sattlegger, Steger (2019), MVTec AD: a comprehensive real-world dataset for
unsupervised anomaly detection, CVPR.

"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.images import natural_key

__all__ = ['MvtecLayout', 'mvtec_layout']


@dataclass(frozen=True)
class MvtecLayout:
    """
    The parts of one category.

    Parameters
    ----------
    good : Path
        In-distribution test pictures.
    kinds : tuple of Path
        One folder of anomalous pictures for each kind, in natural order; there may be none.
    masks : Path or None
        Folder of masks, where there is one.

    """

    good: Path
    kinds: tuple[Path, ...]
    masks: Path | None


def mvtec_layout(folder: Path) -> MvtecLayout | None:
    """
    Return the parts of a category, or nothing where the folder has another layout.

    Parameters
    ----------
    folder : Path
        The category's folder.

    Returns
    -------
    MvtecLayout or None
        Its parts.

    Raises
    ------
    ParameterError
        If it is the folder of several categories.

    """
    test = folder / 'test'
    if not (test / 'good').is_dir():
        categories = sorted(path.parents[1].name for path in folder.glob('*/test/good'))
        if categories:
            msg = (
                f'evaluation takes one category at a time, got a folder of {len(categories)}; '
                f'give one of them, such as {folder / categories[0]}'
            )
            raise ParameterError(msg)
        return None
    kinds = [
        path
        for path in test.iterdir()
        if path.is_dir() and path.name != 'good' and not path.name.startswith('.')
    ]
    masks = folder / 'ground_truth'
    return MvtecLayout(
        good=test / 'good',
        kinds=tuple(sorted(kinds, key=lambda path: natural_key(Path(path.name)))),
        masks=masks if masks.is_dir() else None,
    )

"""
How features lie on the unit sphere: tolerance and uniformity.

**Tolerance** is how alike pictures of one class look to a backbone, **uniformity** how evenly it
spreads all pictures over the sphere. The sign of uniformity here is such that more is more even:
it is minus Wang and Isola's loss, as the paper on feature density estimation prints it.

References
----------
Wang, Isola (2020), Understanding contrastive representation learning through alignment and
uniformity on the hypersphere, arXiv:2005.10242 (uniformity, with the other sign).
Wang, Liu (2021), Understanding the behaviour of contrastive loss, arXiv:2012.09740 (tolerance).
Cook, Lavoie, Waslander (2024), Feature density estimation for out-of-distribution detection via
normalizing flows, arXiv:2402.06537 (both beside the AUROC of a detector).

"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import TrainingError

__all__ = ['tolerance', 'uniformity']

_SHARPNESS = 2.0
_BLOCK = 512


def tolerance(directions: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """
    Return the mean over classes of the mean cosine between two pictures of the class.

    A picture is not paired with itself, and classes of one picture are left out. With S the sum
    of the n directions f of a class, all its pairs cost one pass over them:
    ``(|S|^2 - sum |f|^2) / (n (n - 1))``.

    Parameters
    ----------
    directions : ndarray of shape (n, D), float32
        Features of unit length.
    labels : ndarray of shape (n,), int64
        Class of each.

    Returns
    -------
    float
        In [-1, 1]; 1 where every class is one point.

    Raises
    ------
    TrainingError
        If no class has two pictures, or a feature is not finite.

    References
    ----------
    Wang, Liu (2021), arXiv:2012.09740, section 4.2.

    """
    _, counts = np.unique(labels, return_counts=True)
    cosines = []
    # stable, so that equal inputs are summed in equal order
    for members in np.split(np.argsort(labels, kind='stable'), np.cumsum(counts)[:-1]):
        n = len(members)
        if n > 1:
            own = directions[members].astype(np.float64)  # (n, D)
            total = own.sum(axis=0)  # (D,)
            cosines.append(float(total @ total - np.square(own).sum()) / (n * (n - 1)))
    if not cosines:
        msg = f'tolerance needs a class of at least 2 pictures, got {len(counts)} classes of 1'
        raise TrainingError(msg)
    return _finite(float(np.mean(cosines)), 'tolerance')


def uniformity(directions: npt.NDArray[np.float32], *, block: int = _BLOCK) -> float:
    """
    Return ``-log mean exp(-2 |f_i - f_j|^2)`` over all pairs of different pictures.

    Memory is that of one block of pairs, time grows with the square of the pictures.

    Parameters
    ----------
    directions : ndarray of shape (n, D), float32
        Features of unit length.
    block : int, default 512
        Pictures on either side of a block of pairs.

    Returns
    -------
    float
        0 where all pictures are one point; about 4 where all are at right angles.

    Raises
    ------
    TrainingError
        If there are fewer than two pictures, or a feature is not finite.

    References
    ----------
    Wang, Isola (2020), arXiv:2005.10242, equation of L_uniform with t = 2.

    """
    count = len(directions)
    if count < 2:
        msg = f'uniformity needs at least 2 pictures, got {count}'
        raise TrainingError(msg)
    scaled = _SHARPNESS * np.square(directions).sum(axis=1)  # (n,)
    total = 0.0
    for i in range(0, count, block):
        rows = (2.0 * _SHARPNESS) * directions[i : i + block]  # (a, D)
        for j in range(i, count, block):
            power = rows @ directions[j : j + block].T  # (a, b); in place from here on
            power -= scaled[i : i + block, np.newaxis]
            power -= scaled[j : j + block]  # -2 |f_i - f_j|^2
            np.exp(np.minimum(power, 0.0, out=power), out=power)
            # each pair once, none of a picture with itself
            pairs = np.triu(power, k=1) if i == j else power
            total += float(pairs.sum(dtype=np.float64))
    count_of_pairs = count * (count - 1) / 2
    with np.errstate(divide='ignore'):
        return _finite(float(-np.log(total / count_of_pairs)), 'uniformity')


def _finite(value: float, what: str) -> float:
    if not np.isfinite(value):
        msg = f'{what} is not finite: got {value}; check the features'
        raise TrainingError(msg)
    return value

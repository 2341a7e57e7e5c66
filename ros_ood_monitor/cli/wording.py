"""Phrases that several verbs share."""

from __future__ import annotations

__all__ = ['NO_NLL', 'choice_text', 'count', 'density_text', 'no_ros']

NO_NLL = frozenset({'mean_distance', 'pca_residual', 'knn', 'vim', 'woods'})
"""Kinds of density, as manifests name them, whose score is a distance or logits, no nll."""


def count(number: int, noun: str) -> str:
    """Return a number with its noun: 1 frame, 2 frames."""
    return f'{number} {noun}{"" if number == 1 else "s"}'


def density_text(density: str, step: int | None, *, gaussian: bool = True) -> str:
    """
    Name what scores a tap.

    Parameters
    ----------
    density : str
        Kind of density.
    step : int or None
        Optimiser step that was chosen, where it is known.
    gaussian : bool, default True
        Whether the flow starts as a Gaussian.

    Returns
    -------
    str
        A flow at step 0 is called what it is: the Gaussian that it starts as.

    """
    if density != 'flow' or step is None:
        return density
    return f'flow: step {step}' + (' = Gaussian' if step == 0 and gaussian else '')


def choice_text(
    density: str,
    start: str,
    gain: float,
    standard_error: float,
    *,
    is_default: bool,
    of: int = 0,
    blind: bool = False,
) -> str:
    """
    Say what evidence chose, and what its lead is worth.

    Parameters
    ----------
    density, start : str
        The detector that was taken, and the first of its taps.
    gain, standard_error : float
        Its AUROC over the default's, and the error of that.
    is_default : bool
        Whether it is the default.
    of : int, default 0
        Candidates, where that is known.
    blind : bool, default False
        Whether none of them is better than chance.

    Returns
    -------
    str
        A sentence.

    """
    if blind:
        return 'the default: none is better than chance by its error'
    if is_default:
        return 'the default: none is better'
    return (
        f'{density} from {start} on, {f"the best of {of}, " if of else ""}'
        f'better than the default by {gain:.3f} +- {standard_error:.3f}'
        + (', which is within chance' if gain < standard_error else '')
    )


def no_ros(what: str, error: ImportError) -> str:
    """
    Return what is said where ROS cannot be imported.

    Parameters
    ----------
    what : str
        What cannot be done.
    error : ImportError
        What the import raised.

    Returns
    -------
    str
        What is missing or why it does not load, and what to do.

    """
    is_missing = isinstance(error, ModuleNotFoundError)
    reason = f'{error.name!r} is missing' if is_missing else ' '.join(str(error).split())
    return (
        f'{what} needs ROS 2 ({reason}): source its setup.bash, or run make demo in the clone, '
        'which makes a virtual environment with it'
    )

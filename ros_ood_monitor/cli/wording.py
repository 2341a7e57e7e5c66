"""Phrases that several verbs share."""

from __future__ import annotations

__all__ = ['NO_NLL', 'choice_text', 'count', 'density_text']

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
    density: str, start: str, gain: float, standard_error: float, *, is_default: bool
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

    Returns
    -------
    str
        A sentence.

    """
    if is_default:
        return 'the default: none is better'
    return (
        f'{density} from {start} on, better than the default by {gain:.3f} +- '
        f'{standard_error:.3f}' + (', which is within chance' if gain < standard_error else '')
    )

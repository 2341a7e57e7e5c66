"""Values of options, refused by the parser with the option's name before anything is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Callable
import math

__all__ = ['at_least', 'not_negative', 'positive', 'share']


def at_least(least: int) -> Callable[[str], int]:
    """
    Return a converter for whole numbers with a lower limit.

    Parameters
    ----------
    least : int
        The smallest number allowed.

    Returns
    -------
    callable
        For the ``type`` of an argument.

    """

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            msg = f'expected a whole number of at least {least}, got {text!r}'
            raise argparse.ArgumentTypeError(msg)
        return value

    return convert


def share(text: str) -> float:
    """Return a number between 0 and 1, both excluded."""
    return _number(text, 0.0, 1.0, 'a number between 0 and 1')


def positive(text: str) -> float:
    """Return a finite number over 0."""
    return _number(text, 0.0, math.inf, 'a number over 0')


def not_negative(text: str) -> float:
    """Return a finite number of at least 0."""
    return _number(text, math.nextafter(0.0, -1.0), math.inf, 'a number of at least 0')


def _number(text: str, low: float, high: float, expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low < value < high:
        msg = f'expected {expected}, got {text!r}'
        raise argparse.ArgumentTypeError(msg)
    return value

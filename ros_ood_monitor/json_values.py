"""Plain values to and from files: JSON has no name for a number that is not finite."""

from __future__ import annotations

from collections.abc import Mapping
import math
from typing import Any

__all__ = ['finite', 'number_at']


def finite(value: Any) -> Any:
    """
    Replace numbers that are not finite by None.

    Parameters
    ----------
    value : mapping, list, tuple or plain value
        Gone through to its last value.

    Returns
    -------
    dict, list or plain value
        The same; keys of mappings are text, and tuples are lists, as JSON has them.

    """
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number_at(facts: Mapping[str, Any], key: str) -> float:
    """
    Return a number that a file need not hold.

    Parameters
    ----------
    facts : mapping
        What was read of it.
    key : str
        Name of the number.

    Returns
    -------
    float
        NaN where there is none, or something else.

    """
    value = facts.get(key)
    return float(value) if isinstance(value, (int, float)) else math.nan

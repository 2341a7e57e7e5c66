"""Pieces of markup that several sections of the page share."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from ros_ood_monitor.html_parts import (
    data_url,
)

__all__ = ['figure', 'flatten', 'grid']


def flatten(values: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """
    Return nested settings with dotted names.

    Parameters
    ----------
    values : mapping
        Plain values and mappings of them.
    prefix : str
        What the names begin with.

    Returns
    -------
    dict of str to any
        One level deep.

    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f'{prefix}{key}.'))
        else:
            flat[f'{prefix}{key}'] = value
    return flat


def figure(figures: Mapping[str, bytes], name: str, caption: str = '') -> str:
    """Return a drawn figure with its caption; nothing where it was not drawn."""
    if name not in figures:
        return ''
    source = data_url(figures[name], 'image/png')
    alt = escape(caption or name.removesuffix('.png').replace('_', ' '), quote=True)
    words = f'<figcaption>{escape(caption)}</figcaption>' if caption else ''
    return f'<figure><img alt="{alt}" src="{source}">{words}</figure>'


def grid(figures: Mapping[str, bytes], prefix: str) -> str:
    """Return all figures whose names begin alike, side by side."""
    inner = ''.join(figure(figures, name) for name in figures if name.startswith(prefix))
    return f'<div class="grid">{inner}</div>' if inner else ''

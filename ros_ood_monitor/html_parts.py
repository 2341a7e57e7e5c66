"""Pieces of HTML pages that need nothing but themselves: the look, tables, sections."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
import math
from typing import Any, Final

__all__ = [
    'STYLE',
    'Cells',
    'Markup',
    'Number',
    'bullets',
    'data_url',
    'number',
    'page_head',
    'pairs',
    'sections',
    'table',
]

STYLE: Final = """
:root{color-scheme:light dark;--ink:#1c2430;--dim:#5b6675;--line:#d7dce3;--paper:#fff;
--tint:#f4f6f9}
@media(prefers-color-scheme:dark){
:root{--ink:#e4e8ee;--dim:#9aa6b5;--line:#39424e;--paper:#14181d;
--tint:#1d2329}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:66rem;padding:1.2rem;font:16px/1.5 system-ui,sans-serif;
color:var(--ink);background:var(--paper)}
h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.2rem;margin:2.2rem 0 .5rem;
border-bottom:1px solid var(--line)}
p{max-width:46rem}.dim,figcaption{color:var(--dim);font-size:.9rem}
code{overflow-wrap:anywhere;font-size:.88em}
.verdict{font-size:1.08rem;border-left:4px solid #0072B2;
padding:.5rem .9rem;background:var(--tint)}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;margin:.5rem 0}
th,td{padding:.25rem .7rem .25rem 0;text-align:left;border-bottom:1px solid var(--line);
vertical-align:top}
td:last-child:not(.n){overflow-wrap:anywhere}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.bad{color:#c0392b;font-weight:600}
.warn{border-left:4px solid #E69F00;padding:.3rem .9rem;background:var(--tint)}
figure{margin:.5rem 0}img{max-width:100%;height:auto;background:#fff;border-radius:4px}
.grid{display:grid;gap:.8rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr))}
nav a{margin-right:.9rem;color:inherit}
@media print{nav{display:none}body{max-width:none;padding:0;font-size:11pt}
figure,tr{break-inside:avoid}h2{break-after:avoid}
.grid{grid-template-columns:1fr 1fr}.wide{overflow:visible}}
"""
"""Light and dark as the reader likes it, and for paper."""

Cells = Sequence[Any]
"""Of a row; what is no `Markup` is text."""


class Number(str):
    """Text of a number."""

    __slots__ = ()


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def page_head(title: str, style: str = STYLE, *more: str) -> str:
    """Return the beginning of a page up to its body; ``more`` is markup for its head."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'{"".join(more)}<title>{escape(title)}</title><style>{style}</style></head>'
    )


def sections(parts: Iterable[tuple[str, str, str]]) -> tuple[str, str]:
    """
    Return links to the sections of a page, and the sections.

    Parameters
    ----------
    parts : iterable of (str, str, str)
        Anchor, title and markup of each; one without markup is left out.

    Returns
    -------
    tuple of str
        Markup of both.

    """
    shown = [(anchor, title, body) for anchor, title, body in parts if body]
    links = ''.join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title, _ in shown)
    bodies = ''.join(
        f'<section id="{anchor}"><h2>{escape(title)}</h2>{body}</section>'
        for anchor, title, body in shown
    )
    return links, bodies


def bullets(lines: Iterable[str]) -> str:
    """Return lines of text as a list."""
    return f'<ul>{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>'


def data_url(content: bytes, kind: str) -> str:
    """Return a file as an address that holds it, such as for ``image/png``."""
    return f'data:{kind};base64,{base64.b64encode(content).decode("ascii")}'


def table(head: Sequence[str], rows: Iterable[Cells]) -> str:
    """Return a table; columns of `Number` stand to the right, an empty head is left out."""
    body = [list(row) for row in rows]
    columns = list(zip(*body, strict=True)) or [()] * len(head)
    right = [bool(cells) and all(isinstance(cell, Number) for cell in cells) for cells in columns]
    lines = ''.join(_line(row, right, 'td') for row in body)
    top = f'<thead>{_line(head, right, "th")}</thead>' if head else ''
    return f'<div class="wide"><table>{top}<tbody>{lines}</tbody></table></div>'


def _line(cells: Cells, right: Sequence[bool], tag: str) -> str:
    inner = ''.join(
        f'<{tag}{" class=n" if to_right else ""}>'
        f'{cell if isinstance(cell, Markup) else escape(str(cell))}</{tag}>'
        for cell, to_right in zip(cells, right, strict=True)
    )
    return f'<tr>{inner}</tr>'


def number(value: float | None, form: str = '.3f', unit: str = '') -> Number:
    """Return a number as text; a dash for what is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Number('–')  # noqa: RUF001
    if isinstance(value, float) and math.isinf(value):
        return Number(value)
    return Number(format(value, form) + unit)


def pairs(values: Mapping[str, Any]) -> str:
    """Return names and values as a table; nothing without any."""
    return table((), values.items()) if values else ''

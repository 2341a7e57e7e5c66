"""What an engine is built for: how many pictures, and in which of a bundle's precisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ros_ood_monitor.errors import EngineError

__all__ = ['PRECISIONS', 'BuildOptions', 'check_precision', 'pick_precision']

PRECISIONS: Final = {
    'tensorrt': ('fp32', 'fp16', 'trt-int8'),
    'tensorrt_rtx': ('fp32', 'fp16'),  # its int8 is for weights of matrix products alone
}
"""Which of a bundle's precisions a library runs."""


@dataclass(frozen=True)
class BuildOptions:
    """
    What an engine is built for.

    Parameters
    ----------
    batch : tuple of int
        Least, usual and largest number of pictures in one call.
    tf32 : bool
        Whether the backbone's fp32 products may be rounded to TF32; the scorer's never are.
    workspace_mib : int
        Most scratch memory; 0 for as much as there is.
    compute_capabilities : tuple of str
        For ``tensorrt_rtx``: such as ``8.6``; empty for all that it makes portable engines for.
        Their order, and naming one twice, means nothing.

    """

    batch: tuple[int, int, int] = (1, 1, 1)
    tf32: bool = False
    workspace_mib: int = 0
    compute_capabilities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        named = tuple(sorted(set(self.compute_capabilities)))
        object.__setattr__(self, 'compute_capabilities', named)

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> BuildOptions:
        """Return the options that gave a card; what it lacks is as by default."""
        values = dict(card)
        if 'batch' in values:
            values['batch'] = tuple(values['batch'])
        return cls(**values)

    def check(self) -> None:
        """
        Refuse values outside their ranges.

        Raises
        ------
        EngineError
            If one is outside its range.

        """
        least, usual, most = self.batch
        if not 1 <= least <= usual <= most:
            msg = f'batch must be 1 <= MIN <= OPT <= MAX, got {least} {usual} {most}'
            raise EngineError(msg)
        if self.workspace_mib < 0:
            msg = f'workspace must be at least 0 MiB, got {self.workspace_mib}'
            raise EngineError(msg)

    def card(self) -> dict[str, Any]:
        """Return what of it decides the engine, as plain values."""
        return {
            'batch': list(self.batch),
            'tf32': self.tf32,
            'workspace_mib': self.workspace_mib,
        }


def pick_precision(library: str, held: Sequence[str]) -> str:
    """
    Return the precision that an engine is built in where none is named.

    Parameters
    ----------
    library : {'tensorrt', 'tensorrt_rtx'}
        What builds and runs it.
    held : sequence of str
        What the bundle has.

    Returns
    -------
    str
        fp16 if the bundle has it, else its first one that the library runs.

    Raises
    ------
    EngineError
        If the library runs none of them.

    """
    runs = PRECISIONS[library]
    for precision in ('fp16', *held):
        if precision in held and precision in runs:
            return precision
    msg = (
        f'{library} runs none of the precisions of this bundle: expected one of {list(runs)}, '
        f'got {list(held)}; train with --precisions fp16'
    )
    raise EngineError(msg)


def check_precision(library: str, precision: str) -> None:
    """
    Refuse a precision that a library does not run.

    Parameters
    ----------
    library : {'tensorrt', 'tensorrt_rtx'}
        What builds and runs it.
    precision : str
        One of the bundle's.

    Raises
    ------
    EngineError
        If it does not run it.

    """
    runs = PRECISIONS[library]
    if precision not in runs:
        msg = f'{library} does not run {precision!r}: expected one of {list(runs)}'
        raise EngineError(msg)

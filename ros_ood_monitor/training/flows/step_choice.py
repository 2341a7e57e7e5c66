"""The weights of the optimiser step that is taken, and of those that may still be."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any, Final

import torch

from ros_ood_monitor.training.flows.fit_record import Look

__all__ = ['Candidate', 'Candidates', 'LastStep']

_MOST_BYTES: Final = 2**28  # over a hundred looks at the default flow of 1280 channels


@dataclass(frozen=True, eq=False)
class Candidate:
    """A look, and the weights that gave it."""

    look: Look
    weights: dict[str, torch.Tensor]

    @classmethod
    def of(cls, look: Look, flow: Any) -> Candidate:
        """Copy the weights of a flow."""
        return cls(look, {key: value.detach().clone() for key, value in flow.named_parameters()})

    @property
    def bytes(self) -> int:
        """Return what the weights take."""
        return sum(value.nbytes for value in self.weights.values())


class Candidates:
    """
    The weights that may still be chosen.

    The earliest look within one standard error of the lowest is lower than all before it, so only
    such looks are kept. How far it may be above the lowest is known at the end, as its standard
    error is; only where the weights of all take over 256 MiB, those go that are two of the present
    ones above it.
    """

    def __init__(self) -> None:
        self._kept: list[Candidate] = []
        self.best = Look(-1, math.inf, 0.0, math.inf)

    def offer(self, look: Look, flow: Any) -> None:
        """Take a look into account."""
        if look.nll < self.best.nll:
            self.best = look
            self._kept.append(Candidate.of(look, flow))
            if sum(kept.bytes for kept in self._kept) > _MOST_BYTES:
                self._kept = [kept for kept in self._kept if self._is_near(kept.look, 2.0)]

    def choose(self) -> Candidate:
        """Return the earliest one within one standard error of the lowest."""
        return next(kept for kept in self._kept if self._is_near(kept.look, 1.0))

    def _is_near(self, look: Look, errors: float) -> bool:
        return look.nll <= self.best.nll + errors * self.best.standard_error


class LastStep(Candidates):
    """The weights of the last look, whatever it says."""

    def offer(self, look: Look, flow: Any) -> None:
        """Take a look into account."""
        if look.nll < self.best.nll:
            self.best = look
        self._kept = []  # before the copy: two of a wide flow may not fit
        self._kept = [Candidate.of(look, flow)]

    def choose(self) -> Candidate:
        """Return the last one."""
        return self._kept[0]

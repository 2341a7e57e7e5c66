"""
Training a flow in optimiser steps, and choosing one of them on in-distribution frames alone.

Of all looks at the held-out nll, the *earliest* one within one standard error of the lowest is
taken, and step 0 is a candidate: more training than the held-out frames can tell from less makes a
flow worse at telling out-of-distribution frames apart. Where there are probes (pictures that are
surely not the training condition), training goes on beyond its stop for a while, so that this can
be seen; it changes nothing about what is taken.

A *brake* is the same remedy as Unleashing Mask's for classifiers, without labels: the nll of the
trained flow with a few of the couplings' weights dropped at random is a level that the nll of a
batch then oscillates around. It looks at no held-out frame, and so is for training to the last
step; with early stopping it only offers more steps to choose from.

References
----------
Breiman, Friedman, Olshen, Stone (1984), Classification and Regression Trees (the one standard
error rule).

"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import copy
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.metrics import auroc
from ros_ood_monitor.training.fit_record import FitRecord, Look
from ros_ood_monitor.training.flows import flow_from_settings, initialize
from ros_ood_monitor.training.masks import draw_scores, fold_masks, top_masks
from ros_ood_monitor.training.presets import FlowSettings
from ros_ood_monitor.training.rows import chunks, Rows, spread
from ros_ood_monitor.training.unmask import flooded

__all__ = ['judge', 'train_flow']

_STILL = 1e-3  # of the median deviation: a channel that varies less is as good as constant
_NAMED = 5
_BRAKE_KEEP = 0.965  # of the weights of the couplings
_FIT_ROWS = 1024  # that a look sees of the fit part: told, never decides


def train_flow(
    fit: Rows,
    held_out: Rows,
    *,
    settings: FlowSettings,
    seed: int,
    probes: Rows | None = None,
    name: str = '',
    on_progress: Callable[[int, float], None] | None = None,
) -> tuple[Any, FitRecord]:
    """
    Train a flow.

    Parameters
    ----------
    fit, held_out : Rows
        Normalised features to fit to, and those that choose the step.
    settings : FlowSettings
        How it is built and trained.
    seed : int
        Of permutations, weights and batches, unless the settings have one.
    probes : Rows, optional
        Normalised features of pictures that are surely not the training condition.
    name : str
        Of the tap, for messages.
    on_progress : callable, optional
        Called with the step and the held-out nll at each look up to the stop.

    Returns
    -------
    tuple of nflows.flows.base.Flow and FitRecord
        The flow at the step that was taken, and what happened.

    Raises
    ------
    TrainingError
        If loss, gradient or held-out nll is not finite, or there is too little to fit to.

    """
    trainer = _Trainer(fit, settings, seed if settings.seed is None else settings.seed, name)
    total = settings.total_steps(len(fit))
    looks: list[Look] = []
    candidates = _Last() if settings.choose == 'last' else _Candidates()
    while True:
        if trainer.step % settings.check_every == 0 or trainer.step == total:
            look = trainer.look(fit, held_out, probes)
            looks.append(look)
            candidates.offer(look, trainer.flow)
            if on_progress is not None:
                on_progress(look.step, look.nll)
            stale = sum(1 for other in looks if other.step > candidates.best.step)
            if trainer.step >= total:
                break
            if stale >= settings.patience and settings.choose != 'last':
                break
        trainer.advance()
    facts: dict[str, float | int] = {}
    if settings.brake_steps:
        level = trainer.brake(fit)
        end = trainer.step + settings.brake_steps
        facts = {'brake': round(level, 4), 'brake_from': trainer.step}
        while trainer.step < end:
            trainer.advance()
            if trainer.step % settings.check_every == 0 or trainer.step == end:
                looks.append(trainer.look(fit, held_out, probes))
                candidates.offer(looks[-1], trainer.flow)
    stop, reason = trainer.step, ''
    if probes is not None:
        more, reason = _evidence(trainer, fit, held_out, probes)
        looks += more
    chosen = candidates.choose()
    trainer.flow.load_state_dict(chosen.weights, strict=False)  # buffers are as they were
    error = candidates.best.standard_error
    record = FitRecord(
        'flow', looks, chosen.look.step, stop, error, trainer.gaussian, reason, facts
    )
    return trainer.flow, record


def judge(
    nll: Callable[[torch.Tensor], torch.Tensor],
    step: int,
    held_out: Rows,
    *,
    fit: Rows,
    probes: Rows | None,
) -> Look:
    """
    Look at a density.

    Parameters
    ----------
    nll : callable
        Features (k, D), float32, to their nll (k,).
    step : int
        Optimiser step.
    held_out, fit : Rows
        Normalised features; of the fit part 1024 at most, spread evenly.
    probes : Rows or None
        Normalised features of pictures that are surely not the training condition.

    Returns
    -------
    Look
        Either nll may be infinite or NaN; that is for the caller to refuse.

    """
    values = _nll_of(nll, held_out)
    mean, error = float(values.mean()), float(values.std(correction=0)) / math.sqrt(len(values))
    fit_nll = float(_nll_of(nll, fit[spread(len(fit), _FIT_ROWS)]).mean())
    if probes is None or not bool(torch.isfinite(values).all()):
        return Look(step, mean, error, fit_nll)
    probed = _nll_of(nll, probes)  # (m,)
    comparable = bool(torch.isfinite(probed).all())
    told_apart = auroc(values.double().numpy(), probed.double().numpy()) if comparable else None
    return Look(step, mean, error, fit_nll, told_apart)


def _nll_of(nll: Callable[[torch.Tensor], torch.Tensor], rows: Rows) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([nll(torch.from_numpy(chunk)) for chunk in chunks(rows)])  # (n,)


def _evidence(
    trainer: _Trainer, fit: Rows, held_out: Rows, probes: Rows
) -> tuple[list[Look], str]:
    """Train beyond the stop; a failure there ends the evidence, not the training."""
    looks: list[Look] = []
    try:
        for _ in range(trainer.settings.evidence_steps):
            trainer.advance()
            if trainer.step % trainer.settings.check_every == 0:
                looks.append(trainer.look(fit, held_out, probes))
    except TrainingError as error:
        return looks, str(error)
    return looks, ''


class _Trainer:
    """A flow, its optimiser and its batches."""

    def __init__(self, fit: Rows, settings: FlowSettings, seed: int, name: str) -> None:
        if len(fit) < 2:
            msg = f'a flow needs at least 2 frames to fit to, got {len(fit)}; give more frames'
            raise TrainingError(msg)
        self.settings = settings
        self.step = 0
        self._level: float | None = None
        self._seed = seed
        self._fit = fit
        self._of_tap = f' of tap {name!r}' if name else ''
        self._batches = self._rows(torch.Generator().manual_seed(seed))
        self._next = next(self._batches)
        width = fit[np.arange(1)].shape[1]
        self.flow = flow_from_settings(settings, width, seed=seed)
        # as published, ActNorm takes its start from the first batch
        published = settings.architecture != 'coupling'
        self.gaussian = initialize(self.flow, fit[self._next] if published else fit)
        self._optimizer = torch.optim.Adam(
            self.flow.parameters(),
            lr=settings.learning_rate,
            betas=(settings.adam_beta1, 0.999),
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def advance(self) -> None:
        """Make one optimiser step."""
        inputs = torch.from_numpy(self._fit[self._next])  # (batch, D)
        self._next = next(self._batches)
        self._optimizer.zero_grad(set_to_none=True)
        loss = -self.flow.log_prob(inputs).mean()
        self._check(float(loss.detach()), 'loss')
        (loss if self._level is None else flooded(loss, self._level)).backward()
        norm = torch.nn.utils.clip_grad_norm_(
            self.flow.parameters(), self.settings.gradient_clip or math.inf
        )
        self._check(float(norm), 'norm of the gradient')
        self._optimizer.step()
        self.step += 1

    def brake(self, fit: Rows) -> float:
        """
        Let no step from here on go below the nll of the flow with some weights dropped.

        Parameters
        ----------
        fit : Rows
            Normalised features; 1024 at most are looked at.

        Returns
        -------
        float
            That nll, in nats.

        """
        masked = copy.deepcopy(self.flow)
        fold_masks(masked, top_masks(draw_scores(masked, seed=self._seed), _BRAKE_KEEP))
        rows = fit[spread(len(fit), _FIT_ROWS)]  # (k, D)
        self._level = float(_nll_of(lambda inputs: -masked.log_prob(inputs), rows).mean())
        self._check(self._level, 'nll with weights dropped')
        return self._level

    def look(self, fit: Rows, held_out: Rows, probes: Rows | None) -> Look:
        """Return the look at this step."""
        look = judge(
            lambda rows: -self.flow.log_prob(rows), self.step, held_out, fit=fit, probes=probes
        )
        self._check(look.nll, 'held-out nll')
        self._check(look.fit_nll, 'nll of the fit part')
        return look

    def _check(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            msg = (
                f'{what}{self._of_tap} is not finite at step {self.step}: got {value}'
                f'{self._constant_channels()}; {self._cures()}'
            )
            raise TrainingError(msg)

    def _cures(self) -> str:
        """Return what may help; nothing that is in force already."""
        settings = self.settings
        cures = [f'lower flow.learning_rate (now {settings.learning_rate:g})']
        if not settings.gradient_clip:
            cures.append('clip the gradient (flow.gradient_clip: 1.0)')
        if not (settings.clamp or settings.architecture == 'coupling'):
            cures.append('clamp the log-scales (flow.clamp: true)')
        return ', '.join([*cures, 'take other --taps']) + ', or --density mahalanobis'

    def _constant_channels(self) -> str:
        """Name channels that hardly vary, which a flow stretches without end."""
        rows = self._fit[spread(len(self._fit), _FIT_ROWS)]  # (k, D)
        deviation = rows.std(axis=0)  # (D,)
        still = np.flatnonzero(deviation <= _STILL * float(np.median(deviation)))
        if not still.size:
            return ''
        more = f' and {still.size - _NAMED} more' if still.size > _NAMED else ''
        named = ', '.join(str(channel) for channel in still[:_NAMED])
        return f' (nearly constant channels: {named}{more})'

    def _rows(self, generator: torch.Generator) -> Iterator[npt.NDArray[np.int64]]:
        size = self.settings.batch_size
        while True:
            order = torch.randperm(len(self._fit), generator=generator).numpy()
            # in passes every frame has its turn; else each batch is drawn from all frames anew
            last = len(order) if self.settings.passes else 1
            for start in range(0, last, size):
                yield order[start : start + size]


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A look, and the weights that gave it."""

    look: Look
    weights: dict[str, torch.Tensor]

    @classmethod
    def of(cls, look: Look, flow: Any) -> _Candidate:
        return cls(look, {key: value.detach().clone() for key, value in flow.named_parameters()})


class _Candidates:
    """
    The weights that may still be chosen.

    The earliest look within one standard error of the lowest is lower than all before it, so only
    such looks are kept; and of those, none that is two standard errors above the lowest.
    """

    def __init__(self) -> None:
        self._kept: list[_Candidate] = []
        self.best = Look(-1, math.inf, 0.0, math.inf)

    def offer(self, look: Look, flow: Any) -> None:
        """Take a look into account."""
        if look.nll < self.best.nll:
            self.best = look
            self._kept = [kept for kept in self._kept if self._is_near(kept.look, 2.0)]
            self._kept.append(_Candidate.of(look, flow))

    def choose(self) -> _Candidate:
        """Return the earliest one within one standard error of the lowest."""
        return next(kept for kept in self._kept if self._is_near(kept.look, 1.0))

    def _is_near(self, look: Look, errors: float) -> bool:
        return look.nll <= self.best.nll + errors * self.best.standard_error


class _Last(_Candidates):
    """The weights of the last look, whatever it says."""

    def offer(self, look: Look, flow: Any) -> None:
        """Take a look into account."""
        if look.nll < self.best.nll:
            self.best = look
        self._kept = []  # before the copy: two of a wide flow may not fit
        self._kept = [_Candidate.of(look, flow)]

    def choose(self) -> _Candidate:
        """Return the last one."""
        return self._kept[0]

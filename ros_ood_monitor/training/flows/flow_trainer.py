"""One optimiser step of a flow after the other, and what may be wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
import copy
import math

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.flows.assembly import flow_from_settings, initialize
from ros_ood_monitor.training.flows.fit_record import Look
from ros_ood_monitor.training.flows.looks import judge, LOOKED_AT, nll_of
from ros_ood_monitor.training.rows import Rows, spread
from ros_ood_monitor.training.settings.presets import FlowSettings
from ros_ood_monitor.training.unmask.descent import flooded
from ros_ood_monitor.training.unmask.masks import draw_scores, fold_masks, top_masks

__all__ = ['FlowTrainer']

_STILL = 1e-3  # of the median deviation: a channel that varies less is as good as constant
_NAMED = 5
_BRAKE_KEEP = 0.965  # of the weights of the couplings


class FlowTrainer:
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
        rows = fit[spread(len(fit), LOOKED_AT)]  # (k, D)
        self._level = float(nll_of(lambda inputs: -masked.log_prob(inputs), rows).mean())
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
        rows = self._fit[spread(len(self._fit), LOOKED_AT)]  # (k, D)
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

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

from collections.abc import Callable
from typing import Any

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.flows.fit_record import FitRecord, Look
from ros_ood_monitor.training.flows.flow_trainer import FlowTrainer
from ros_ood_monitor.training.flows.step_choice import Candidates, LastStep
from ros_ood_monitor.training.rows import Rows
from ros_ood_monitor.training.settings.presets import FlowSettings

__all__ = ['train_flow']


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
    trainer = FlowTrainer(fit, settings, seed if settings.seed is None else settings.seed, name)
    total = settings.total_steps(len(fit))
    looks: list[Look] = []
    candidates = LastStep() if settings.choose == 'last' else Candidates()
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


def _evidence(
    trainer: FlowTrainer, fit: Rows, held_out: Rows, probes: Rows
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

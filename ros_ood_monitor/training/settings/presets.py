"""
How flows are built and trained, by name.

======================  =============  ==================  =====================================
setting                 ``default``    ``realnvp``         ``fde_paper``
======================  =============  ==================  =====================================
architecture            coupling       realnvp             glow
hidden layer            64             1024                as wide as the features
couplings               4              4                   10
whitening before them   yes            no                  no
log-scales              soft clamp 3   soft clamp 3        as they come
Adam's learning rate    1e-4           1e-4                1e-5
Adam's betas            0.5, 0.999     0.5, 0.999          0.9, 0.999
weight decay, clip      1e-4, 1.0      1e-4, 1.0           none, none
frames a step           256            256                 250
length                  2000 steps     100 passes          one pass
which step is taken     the earliest within one standard   the last
                        error of the lowest held-out nll
======================  =============  ==================  =====================================

References
----------
Cook, Lavoie, Waslander (2024), Feature Density Estimation for Out-of-Distribution Detection via
Normalizing Flows, arXiv:2402.06537 (``fde_paper``: everything but the data is as published).
Lotfi et al. (2025), MedOODFlow, arXiv:2502.11638 (``realnvp``: the flow and its optimiser; the
batch size and the rule for the step are ours).

"""

from __future__ import annotations

from dataclasses import dataclass, fields
import math
from typing import Any

from ros_ood_monitor.errors import TrainingError

__all__ = ['ARCHITECTURES', 'CHOICES', 'PRESETS', 'FlowSettings']

ARCHITECTURES = ('coupling', 'realnvp', 'glow')
"""How a flow is put together."""

CHOICES = ('one_standard_error', 'last')
"""Rules for the optimiser step that is taken."""

PRESETS: dict[str, dict[str, Any]] = {
    'default': {},
    'realnvp': {
        'architecture': 'realnvp',
        'hidden': 1024,
        'whiten': False,
        'passes': 100,
    },
    'fde_paper': {
        'architecture': 'glow',
        'hidden': 0,
        'couplings': 10,
        'whiten': False,
        'clamp': False,
        'passes': 1,
        'batch_size': 250,
        'learning_rate': 1e-5,
        'adam_beta1': 0.9,
        'weight_decay': 0.0,
        'gradient_clip': 0.0,
        'choose': 'last',
        'evidence_steps': 60,
        'seed': 1,
    },
}
"""What each preset changes of the defaults."""


@dataclass(frozen=True)
class FlowSettings:
    """
    How flows are built and trained.

    Parameters
    ----------
    name : str
        Preset that the settings started from.
    architecture : {'coupling', 'realnvp', 'glow'}
        How the flow is put together; the last two as published.
    hidden : int
        Width of the hidden layers; 0 for that of the features.
    couplings : int
        Number of coupling steps.
    mixing : {'permutation', 'lu'}
        How the halves are mixed in ``coupling``.
    whiten : bool
        Whether a fixed whitening map comes first in ``coupling``.
    clamp : bool
        Whether log-scales are softly clamped to (-3, 3); ``coupling`` always does.
    steps : int
        Largest number of optimiser steps, where ``passes`` is 0.
    passes : int
        Largest number of passes over the fit part, each frame once a pass.
    batch_size : int
        Frames a step; all of them where there are fewer.
    learning_rate, adam_beta1, weight_decay : float
        Of Adam, whose other beta is 0.999.
    gradient_clip : float
        Largest norm of the gradient; 0 for no limit.
    check_every : int
        Steps between two looks at the held-out nll.
    patience : int
        Looks without a new best after which training stops, unless the last step is taken.
    choose : {'one_standard_error', 'last'}
        Which step is taken.
    evidence_steps : int
        Steps beyond the stop, made only where there are probes to look at; the step that is taken
        does not depend on them. With a patience, over-training shows before the stop already.
    brake_steps : int
        Steps behind the stop with the nll held at that of the flow with some weights dropped
        (Unleashing Mask without labels); they are candidates as all others are.
    seed : int or None
        Of permutations, weights and batches; None for that of the training.

    """

    name: str = 'default'
    architecture: str = 'coupling'
    hidden: int = 64
    couplings: int = 4
    mixing: str = 'permutation'
    whiten: bool = True
    clamp: bool = True
    steps: int = 2000
    passes: int = 0
    batch_size: int = 256
    learning_rate: float = 1e-4
    adam_beta1: float = 0.5
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    check_every: int = 20
    patience: int = 10
    choose: str = 'one_standard_error'
    evidence_steps: int = 0
    brake_steps: int = 0
    seed: int | None = None

    @classmethod
    def preset(cls, name: str = 'default', **changes: Any) -> FlowSettings:
        """
        Return a preset with some fields changed.

        Parameters
        ----------
        name : {'default', 'realnvp', 'fde_paper'}
            Where to start.
        **changes
            Fields to set. ``steps`` without ``passes`` puts steps in the place of passes.

        Returns
        -------
        FlowSettings
            Checked.

        Raises
        ------
        TrainingError
            If the preset or a field is unknown, or a value is outside its range.

        """
        if name not in PRESETS:
            msg = f'flow preset is unknown: expected one of {list(PRESETS)}, got {name!r}'
            raise TrainingError(msg)
        known = [field.name for field in fields(cls) if field.name != 'name']
        unknown = [key for key in changes if key not in known]
        if unknown:
            msg = f'flow setting is unknown: expected some of {known}, got {unknown[0]!r}'
            raise TrainingError(msg)
        if 'steps' in changes and 'passes' not in changes:
            changes['passes'] = 0
        settings = cls(name=name, **{**PRESETS[name], **changes})
        settings.check()
        return settings

    def check(self) -> None:
        """
        Refuse values outside their ranges.

        Raises
        ------
        TrainingError
            If one is outside its range.

        """
        for key, allowed in (('architecture', ARCHITECTURES), ('choose', CHOICES)):
            value = getattr(self, key)
            if value not in allowed:
                msg = f'flow setting {key} is unknown: expected one of {list(allowed)}'
                msg += f', got {value!r}'
                raise TrainingError(msg)
        least: dict[str, float] = {
            'couplings': 1,
            'batch_size': 1,
            'check_every': 1,
            'patience': 1,
        }
        for key in ('hidden', 'steps', 'passes', 'evidence_steps', 'brake_steps'):
            least[key] = 0
        for key in ('learning_rate', 'adam_beta1', 'weight_decay', 'gradient_clip'):
            least[key] = 0.0
        for key, low in least.items():
            value = getattr(self, key)
            if not low <= value < math.inf:  # also where it is NaN
                msg = f'flow setting {key} must be at least {low:g} and finite, got {value}'
                raise TrainingError(msg)
        if self.adam_beta1 >= 1.0:
            msg = f'flow setting adam_beta1 must be below 1, got {self.adam_beta1}'
            raise TrainingError(msg)
        if self.architecture != 'coupling' and self.whiten:
            msg = f'flow setting whiten goes with coupling only, got {self.architecture!r}'
            raise TrainingError(msg)
        if self.seed is not None and self.seed < 0:
            msg = f'flow setting seed must be at least 0, got {self.seed}'
            raise TrainingError(msg)

    def total_steps(self, frames: int) -> int:
        """
        Return the largest number of optimiser steps.

        Parameters
        ----------
        frames : int
            Number of frames in the fit part.

        Returns
        -------
        int
            ``steps``, or as many as the passes take.

        """
        return self.passes * math.ceil(frames / self.batch_size) if self.passes else self.steps

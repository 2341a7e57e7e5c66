"""Everything that decides what bundle a training gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ros_ood_monitor.calibration import frames_needed
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.fit import choose_density, FlowSettings
from ros_ood_monitor.training.split import SPLITS

__all__ = ['TrainSettings']

_INPUT_STEP = 32  # the backbone halves the picture five times


@dataclass(frozen=True)
class TrainSettings:
    """
    Everything that decides what bundle comes out.

    Parameters
    ----------
    data : sequence of Path or str
        Folders of images and bags.
    taps : sequence of str, or 'all'
        Stages of the backbone to score.
    density : {'auto', 'flow', 'mahalanobis'}
        Kind of density; ``auto`` chooses by a tap's width.
    alpha : float
        Share of held-out frames allowed over the trigger threshold.
    split : {'auto', 'sequence', 'block'}
        How frames are held out.
    seed : int
        Of everything random.
    flow : FlowSettings
        How flows are built and trained.
    topics : sequence of str
        Image topics of bags; empty for all of them.
    every : int
        Take each sequence's first frame and then every n-th.
    input_size : tuple of int
        Height and width of the network's input, in px.
    threads : int
        CPU threads of feature extraction and fitting.
    data_licence : str
        What the manifest says about the data.

    """

    data: Sequence[Path | str]
    taps: Sequence[str] | str = 'all'
    density: str = 'auto'
    alpha: float = 0.01
    split: str = 'auto'
    seed: int = 0
    flow: FlowSettings = field(default_factory=FlowSettings)
    topics: Sequence[str] = ()
    every: int = 1
    input_size: tuple[int, int] = (224, 224)
    threads: int = 1
    data_licence: str = 'not stated'

    def check(self) -> None:
        """
        Refuse settings outside their ranges before any work is done.

        Raises
        ------
        TrainingError
            If one is outside its range.
        CalibrationError
            If alpha is.

        """
        choose_density(self.density, 1)
        frames_needed(self.alpha)
        height, width = self.input_size
        if min(height, width) < _INPUT_STEP or height % _INPUT_STEP or width % _INPUT_STEP:
            msg = f'input size must be a multiple of {_INPUT_STEP} px, got {width}x{height}'
            raise TrainingError(msg)
        if self.split not in SPLITS:
            msg = f'split is unknown: expected one of {list(SPLITS)}, got {self.split!r}'
            raise TrainingError(msg)
        if self.threads < 1 or self.flow.steps < 0 or self.seed < 0:
            got = f'{self.threads}, {self.flow.steps} and {self.seed}'
            msg = f'threads must be at least 1, steps and seed at least 0, got {got}'
            raise TrainingError(msg)

    def card(self) -> dict[str, Any]:
        """
        Return the settings for the manifest; where the data lies is not one of them.

        Returns
        -------
        dict
            Plain values only.

        """
        return {
            'density': self.density,
            'alpha': self.alpha,
            'split': self.split,
            'seed': self.seed,
            'topics': list(self.topics),
            'every': self.every,
            'threads': self.threads,
            'flow': asdict(self.flow),
        }

"""What turns network inputs into features or scores: the deployed runtime, or torch on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.bundle.sketch import frame_digest
from ros_ood_monitor.training.backbones import BackboneTap, NOT_TILED, Tiles
from ros_ood_monitor.training.export.graphs import output_names
from ros_ood_monitor.training.export.map_features import MapFeatures, MapPlan, places
from ros_ood_monitor.training.export.scorer import CellScorer
from ros_ood_monitor.training.frames.reading import map_ahead, pool_size

__all__ = [
    'CellRunner',
    'CellSampler',
    'NoFeatures',
    'OnnxRunner',
    'Runner',
    'ScoringRunner',
    'TorchRunner',
    'cells_width',
    'run_all',
    'side_by_side',
]


class Runner(Protocol):
    """Network inputs to features."""

    name: str
    """What computes: features of another runner are not taken from the cache."""

    batch_size: int
    """Pictures it wants at once."""

    concurrent: bool
    """Whether calls may overlap, from several threads."""

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (n, width) features of all taps side by side for (n, h, w, 3) pictures."""
        ...


def cells_width(plan: MapPlan) -> int:
    """Return how many values are kept of the cells of a frame."""
    return min(plan.sampled, plan.grid[0] * plan.grid[1]) * plan.channels


class CellSampler:
    """
    Features of some cells of each frame, of the maps that a backbone gives.

    Parameters
    ----------
    plan : MapPlan
        What they are made of.

    """

    def __init__(self, plan: MapPlan) -> None:
        self.plan = plan
        self.cells = plan.grid[0] * plan.grid[1]
        self.count = cells_width(plan) // plan.channels
        self.name = f'{self.count} cells of {", ".join(tap.name for tap in plan.taps)}'
        self._features = MapFeatures(plan)

    def __call__(
        self, images: npt.NDArray[np.uint8], maps: Sequence[npt.NDArray[np.float32]]
    ) -> npt.NDArray[np.float32]:
        """Return the features (n, width) of cells, chosen by the pictures (n, h, w, 3)."""
        with torch.no_grad():
            cells = self._features([torch.from_numpy(grid) for grid in maps])
        rows = cells.reshape(len(images), self.cells, -1).numpy()  # (n, cells, channels)
        chosen = [
            row[places(frame_digest(image), self.cells, self.count)]
            for row, image in zip(rows, images, strict=True)
        ]
        return np.stack(chosen).reshape(len(images), -1)  # (n, width)


class NoFeatures:
    """Stands in for a backbone where frames are listed only."""

    name = 'no features'
    batch_size = 64
    concurrent = True

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (n, 0) for (n, h, w, 3) pictures."""
        return np.empty((len(images), 0), np.float32)


class OnnxRunner:
    """
    The exported backbone in the deployed runtime, one picture at a time as on the robot.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        The exported backbone.
    taps : sequence of BackboneTap
        Its outputs.
    sampler : CellSampler, optional
        For features of some cells behind those of the taps.

    """

    batch_size = 1
    concurrent = True

    def __init__(
        self, session: Any, taps: Sequence[BackboneTap], sampler: CellSampler | None = None
    ) -> None:
        self.name = _name_of_runtime(sampler)
        self._session = session
        self._sampler = sampler
        self._taps = len(taps)
        self._outputs = output_names(taps, () if sampler is None else sampler.plan.taps)

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (n, width) features of all taps side by side for (n, h, w, 3) pictures."""
        features = self._session.run(self._outputs, {'image': images})
        if self._sampler is None:
            return np.concatenate(features, axis=1)
        cells = self._sampler(images, features[self._taps :])
        return np.concatenate([*features[: self._taps], cells], axis=1)


def _name_of_runtime(sampler: CellSampler | None = None) -> str:
    import onnxruntime

    return f'onnxruntime {onnxruntime.__version__}' + (f', {sampler.name}' if sampler else '')


class CellRunner:
    """
    The exported backbone in the deployed runtime, and a scorer of cells that is not exported yet.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        The exported backbone.
    cells : CellScorer
        In float32.

    """

    batch_size = 1
    # the scorer's products may be rounded otherwise by another number of threads, which only the
    # main one has as the settings say
    concurrent = False

    def __init__(self, session: Any, cells: CellScorer) -> None:
        self.name = f'{_name_of_runtime()}, {cells.digest()}'
        self._session = session
        self._cells = cells
        self._outputs = output_names((), cells.plan.taps)

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (n, cells) scores for (n, h, w, 3) pictures."""
        maps = self._session.run(self._outputs, {'image': images})
        with torch.no_grad():
            patch_score = self._cells([torch.from_numpy(grid) for grid in maps])  # (n, gh, gw)
        return np.asarray(patch_score.reshape(len(images), -1).numpy(), np.float32)  # (n, cells)


class ScoringRunner:
    """
    Backbone and scorer in the deployed runtime, one picture at a time as on the robot.

    Parameters
    ----------
    backbone, scorer : onnxruntime.InferenceSession
        The exported graphs.
    name : str
        What tells this scorer from others.

    """

    batch_size = 1
    concurrent = True

    def __init__(self, backbone: Any, scorer: Any, name: str = '') -> None:
        self.name = f'{_name_of_runtime()}, scorer {name}'
        self._backbone = backbone
        self._scorer = scorer
        self._passed = [node.name for node in scorer.get_inputs()]
        self._made = [node.name for node in scorer.get_outputs()]

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (n, 1 + cells) for (n, h, w, 3) pictures: raw_score, then the map's cells."""
        passed = self._backbone.run(self._passed, {'image': images})
        made = self._scorer.run(self._made, dict(zip(self._passed, passed, strict=True)))
        return np.concatenate([scores.reshape(len(images), -1) for scores in made], axis=1)


class TorchRunner:
    """
    The backbone in torch on a device, for extraction on a GPU.

    Parameters
    ----------
    network : torch.nn.Module
        Pictures (n, h, w, 3) uint8 to one (n, channels) tensor per tap.
    device : str
        As torch names it.
    batch_size : int, default 64
        Pictures at once.
    sampler : CellSampler, optional
        For features of some cells behind those of the taps; the network gives its maps behind
        what is pooled.
    tiles : Tiles, optional
        Parts that the network sees a picture in.

    """

    concurrent = False

    def __init__(
        self,
        network: torch.nn.Module,
        device: str,
        *,
        batch_size: int = 64,
        sampler: CellSampler | None = None,
        tiles: Tiles = NOT_TILED,
    ) -> None:
        self.name = f'torch {torch.__version__} {torch.device(device).type}'
        if sampler is not None:
            self.name += f', {sampler.name}'
        self.batch_size = max(1, batch_size // tiles.count)
        self._tiles = tiles
        self._sampler = sampler
        self._network = network.to(device)
        self._device = device

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (n, width) features of all taps side by side for (n, h, w, 3) pictures."""
        parts = self._tiles.cut(images)  # (n * tiles, h, w, 3)
        with torch.no_grad():
            given = self._network(torch.from_numpy(parts).to(self._device))
            features = [self._tiles.together(value.float().cpu().numpy()) for value in given]
        if self._sampler is None:
            return np.concatenate(features, axis=1)
        taps = len(features) - len(self._sampler.plan.taps)
        cells = self._sampler(images, features[taps:])
        return np.concatenate([*features[:taps], cells], axis=1)


def side_by_side(run: Runner, workers: int) -> int:
    """
    Return how many calls of a runner are made at a time.

    Parameters
    ----------
    run : Runner
        The backbone.
    workers : int
        Threads beside the main one.

    Returns
    -------
    int
        0 where all are made in the calling thread.

    """
    return pool_size(workers) if run.concurrent else 0


def run_all(
    run: Runner, images: npt.NDArray[np.uint8], *, workers: int = 0
) -> npt.NDArray[np.float32]:
    """
    Run all pictures, in batches of the runner's size.

    Parameters
    ----------
    run : Runner
        The backbone.
    images : ndarray of shape (m, h, w, 3), uint8
        Network inputs, at least one.
    workers : int, default 0
        Threads beside the main one.

    Returns
    -------
    ndarray of shape (m, width), float32
        Features of all taps side by side.

    """
    size = run.batch_size
    batches = [images[start : start + size] for start in range(0, len(images), size)]
    features = map_ahead(run, batches, workers=side_by_side(run, workers))
    return np.concatenate(list(features))  # (m, width)

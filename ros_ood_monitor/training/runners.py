"""What turns network inputs into features: the deployed runtime, or torch on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.training.backbones import BackboneTap
from ros_ood_monitor.training.reading import in_order, pool_size

__all__ = ['OnnxRunner', 'Runner', 'TorchRunner', 'run_all', 'side_by_side']


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


class OnnxRunner:
    """
    The exported backbone in the deployed runtime, one picture at a time as on the robot.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        The exported backbone.
    taps : sequence of BackboneTap
        Its outputs.

    """

    batch_size = 1
    concurrent = True

    def __init__(self, session: Any, taps: Sequence[BackboneTap]) -> None:
        import onnxruntime

        self.name = f'onnxruntime {onnxruntime.__version__}'
        self._session = session
        self._outputs = [tap.output for tap in taps]

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (n, width) features of all taps side by side for (n, h, w, 3) pictures."""
        return np.concatenate(self._session.run(self._outputs, {'image': images}), axis=1)


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

    """

    concurrent = False

    def __init__(self, network: torch.nn.Module, device: str, *, batch_size: int = 64) -> None:
        self.name = f'torch {torch.__version__} {torch.device(device).type}'
        self.batch_size = batch_size
        self._network = network.to(device)
        self._device = device

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return (n, width) features of all taps side by side for (n, h, w, 3) pictures."""
        with torch.no_grad():
            features = self._network(torch.from_numpy(images).to(self._device))
            return torch.cat(list(features), dim=1).float().cpu().numpy()


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
    features = in_order(run, batches, workers=side_by_side(run, workers))
    return np.concatenate(list(features))  # (m, width)

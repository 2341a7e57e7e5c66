"""What runs a backbone: the runtime that is deployed, with its scorer too, or torch on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
import hashlib
import os

import torch

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbones import (
    Backbone,
    BackboneTap,
    TappedBackbone,
    TiledBackbone,
    tiles_of,
    TorchBackbone,
)
from ros_ood_monitor.training.export.map_features import MapPlan
from ros_ood_monitor.training.features.runners import (
    CellSampler,
    OnnxRunner,
    Runner,
    ScoringRunner,
    TorchRunner,
)
from ros_ood_monitor.training.settings.train_settings import Resources

__all__ = ['deployed_runner', 'feature_runner', 'scoring_runner']


def deployed_runner(
    onnx: bytes,
    taps: Sequence[BackboneTap],
    precision: str,
    *,
    threads: int,
    plan: MapPlan | None = None,
) -> OnnxRunner:
    """
    Return a backbone in the runtime that is deployed.

    Parameters
    ----------
    onnx : bytes
        Its graph.
    taps : sequence of BackboneTap
        Its outputs.
    precision : str
        Its precision.
    threads : int
        CPU threads.
    plan : MapPlan, optional
        For features of some cells.

    Returns
    -------
    OnnxRunner
        One picture at a time.

    """
    sampler = None if plan is None else CellSampler(plan)
    return OnnxRunner(open_session(onnx, threads=threads, precision=precision), taps, sampler)


def scoring_runner(
    onnx: bytes, scorer: bytes, precision: str, *, threads: int = 1
) -> ScoringRunner:
    """
    Return backbone and scorer in the runtime that is deployed.

    Parameters
    ----------
    onnx, scorer : bytes
        Their graphs.
    precision : str
        Of the backbone.
    threads : int, default 1
        CPU threads.

    Returns
    -------
    ScoringRunner
        One picture at a time.

    """
    return ScoringRunner(
        open_session(onnx, threads=threads, precision=precision),
        open_session(scorer, threads=threads),
        hashlib.sha256(scorer).hexdigest(),
    )


def feature_runner(
    backbone: Backbone,
    onnx: bytes,
    taps: Sequence[BackboneTap],
    plan: MapPlan | None,
    resources: Resources,
    threads: int,
) -> Runner:
    """
    Return what computes features: a GPU where torch has the network and sees one.

    Parameters
    ----------
    backbone : Backbone
        The network.
    onnx : bytes
        Its graph in float32, for where there is no GPU.
    taps : sequence of BackboneTap
        Its outputs.
    plan : MapPlan or None
        For features of some cells.
    resources : Resources
        Which device.
    threads : int
        CPU threads.

    Returns
    -------
    Runner
        By torch on the GPU, else by the runtime that is deployed.

    Raises
    ------
    TrainingError
        If a GPU is asked for, and torch sees none.

    """
    sampler = None if plan is None else CellSampler(plan)
    device = resources.device
    if device == 'auto':
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    tiles = tiles_of(backbone)
    network = backbone.whole if isinstance(backbone, TiledBackbone) else backbone
    if device == 'cuda' and isinstance(network, TorchBackbone):
        if not torch.cuda.is_available():
            msg = 'torch sees no GPU: expected one for --device cuda; use --device cpu'
            raise TrainingError(msg)
        # what torch's deterministic mode asks of cuBLAS, before anything uses it
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        maps = () if plan is None else plan.taps
        tapped = TappedBackbone(network, taps, maps)
        return TorchRunner(tapped, device, sampler=sampler, tiles=tiles)
    return deployed_runner(onnx, taps, 'fp32', threads=threads, plan=plan)

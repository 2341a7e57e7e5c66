"""The part of a backbone that labels are taught to, with a classifier behind it."""

from __future__ import annotations

from collections.abc import Mapping
import copy
from dataclasses import replace
import hashlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn, Tensor

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.metrics import auroc
from ros_ood_monitor.training.backbones import TorchBackbone
from ros_ood_monitor.training.backbones.base import Classifier
from ros_ood_monitor.training.features.frame_reader import FrameReader
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.labels.class_scores import class_scores, ClassMeans
from ros_ood_monitor.training.labels.unmasked import Aurocs, Images
from ros_ood_monitor.training.unmask.descent import Labelled

__all__ = ['LabelledNetwork', 'network_digest']

_BATCH: Final = 32  # pictures at a time through what is not trained


def network_digest(network: nn.Module) -> str:
    """Return the SHA-256 of all weights and buffers of a network, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


class LabelledNetwork(nn.Module):
    """
    The part of a backbone that is trained, and a classifier behind it.

    Both are always in evaluation mode: the statistics of layers that normalise stay those of the
    pretrained weights, as a few frames give no better ones.
    """

    def __init__(self, reader: FrameReader, part: str, classes: int) -> None:
        super().__init__()
        backbone = reader.backbone
        if not isinstance(backbone, TorchBackbone):
            msg = (
                'unmask trains a network of torch: expected a packaged or torchvision backbone, '
                f'got {backbone.name!r}; take one of those'
            )
            raise TrainingError(msg)
        last, deepest = backbone.taps[-1], backbone.select(reader.settings.taps)[-1]
        reader.settings.unmask.check_deepest(deepest.name, last.name)
        self.part = part
        self.source = replace(backbone, network=copy.deepcopy(backbone.network))
        self.linear = nn.Linear(last.channels, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.stage: nn.Module | None = None
        if part == 'all':
            self.stage = self.source.cut([last])
        elif part == 'block':
            self.stage = self.source.last_stage()
            if self.stage is None:
                msg = (
                    f'last stage of backbone {backbone.name!r} cannot be trained alone; take '
                    'unmask.part all or head'
                )
                raise TrainingError(msg)
            self.front = [self.source.cut([backbone.taps[-2]])]  # in a list: no part of this one
        else:
            self.front = [self.source.cut([last])]
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> LabelledNetwork:
        """Stay in evaluation mode."""
        del mode
        super().train(False)
        return self

    def learning(self) -> _Learning:
        """Return a context in which gradients are kept."""
        return _Learning(self)

    def pooled(self, inputs: Tensor) -> Tensor:
        """Return penultimate features (n, D) of what the trained part takes."""
        if self.stage is None:
            return inputs
        if inputs.dtype == torch.uint8:
            inputs = self.source.normalized(inputs)
        grid = self.stage(inputs)
        grid = grid if isinstance(grid, Tensor) else next(iter(grid))  # (n, D, gh, gw)
        features: Tensor = grid.mean(dim=(2, 3))
        return features

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (n, K) of what the trained part takes."""
        logits: Tensor = self.linear(self.pooled(inputs))
        return logits

    def before(self, pixels: Tensor) -> Tensor:
        """Return what the trained part takes, of normalised pixels (n, 3, h, w)."""
        if self.part == 'all':
            return pixels
        grid: Tensor = next(iter(self.front[0](pixels)))
        return grid if self.part == 'block' else grid.mean(dim=(2, 3))

    def inputs(
        self, reader: FrameReader, table: FeatureTable, rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[Any]:
        """Return what the trained part takes, of some frames."""
        found, batch = [], []
        for _, image in reader.pictures(table, rows):
            batch.append(image)
            if len(batch) == _BATCH:
                found.append(self._prepared(batch))
                batch = []
        return np.concatenate([*found, *([self._prepared(batch)] if batch else [])])

    def _prepared(self, images: list[Images]) -> npt.NDArray[Any]:
        stacked = np.stack(images)
        if self.part == 'all':
            return stacked
        with torch.no_grad():
            return self.before(self.source.normalized(torch.from_numpy(stacked))).numpy()

    def aurocs(self, fit: Labelled, held_out: Images, probes: Mapping[str, Images]) -> Aurocs:
        """Return the AUROC of every score, by kind of pseudo-OOD."""
        with torch.no_grad():
            features = np.concatenate(
                [
                    self.pooled(torch.from_numpy(fit.inputs[start : start + _BATCH])).numpy()
                    for start in range(0, len(fit), _BATCH)
                ]
            )
        means = ClassMeans.fit(features, fit.labels)

        def score(images: Images) -> dict[str, npt.NDArray[np.float64]]:
            return class_scores(
                self.source.normalized(torch.from_numpy(images)),
                lambda pixels: self.pooled(self.before(pixels)),
                self.linear,
                means,
                batch=_BATCH,
            )

        known, strange = score(held_out), {kind: score(made) for kind, made in probes.items()}
        return {
            name: {kind: auroc(values, strange[kind][name]) for kind in strange}
            for name, values in known.items()
        }

    def as_backbone(self, method: str) -> TorchBackbone:
        """Return the backbone with these weights, and the classifier."""
        source = self.source
        weight, bias = self.linear.weight.detach(), self.linear.bias.detach()
        classifier = Classifier(weight.double().numpy(), bias.double().numpy())
        if self.part == 'head':  # the network is as it was
            return replace(source, classifier=classifier)
        part = 'whole' if self.part == 'all' else 'last stage'
        return replace(
            source,
            classifier=classifier,
            weights=f'{source.weights}, {part} trained on labels of the data ({method})',
            # of what the taps need: a classifier that came with the weights may be anything
            weights_sha256=network_digest(source.cut([source.taps[-1]])),
        )


class _Learning:
    """The trained part of a network keeps gradients for a while."""

    def __init__(self, network: LabelledNetwork) -> None:
        self._network = network

    def __enter__(self) -> None:
        self._network.requires_grad_(True)

    def __exit__(self, *_: object) -> None:
        self._network.requires_grad_(False)

"""Any classifier of torchvision that has a spatial map: ``torchvision:<model>[:<weights>]``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import copy
from dataclasses import dataclass
import difflib
from pathlib import Path
from typing import Any

from torch import fx, nn, Tensor

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbones.base import BackboneTap, check_outputs
from ros_ood_monitor.training.backbones.packages import require
from ros_ood_monitor.training.backbones.stages import find_stages, Stage
from ros_ood_monitor.training.backbones.state_dicts import by_name, file_sha256, read_state_dict
from ros_ood_monitor.training.backbones.tapped import MapSource, TorchBackbone
from ros_ood_monitor.training.backbones.torchvision_weights import choose_weights, find_weights

__all__ = ['TorchvisionBackbone', 'known_models', 'load_torchvision', 'trunk']

_GREY_LEVELS = 255.0


@dataclass(frozen=True, eq=False, kw_only=True)
class TorchvisionBackbone(TorchBackbone):
    """
    A traced network with maps behind its stages.

    Parameters
    ----------
    stages : mapping of str to Stage
        By name of the tap.

    """

    stages: Mapping[str, Stage]

    def cut(self, taps: Sequence[BackboneTap]) -> MapSource:
        """Return the part of the network that some taps need; see `TorchBackbone.cut`."""
        return _Maps(self.network, [self.stages[tap.name] for tap in taps])

    def last_stage(self) -> nn.Module | None:
        """Return what makes the last map; see `TorchBackbone.last_stage`."""
        ends = [self.stages[tap.name] for tap in self.taps[-2:]]
        if [stage.layout for stage in ends] != ['nchw', 'nchw']:
            return None
        return _between(trunk(self.network, ends), *(stage.name for stage in ends))


class _Maps(MapSource):
    """The traced network up to its last stage."""

    def __init__(self, network: Any, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.maps = trunk(network, stages)
        self.stages = list(stages)

    def forward(self, x: Tensor) -> Iterator[Tensor]:
        found = self.maps(x)
        for stage in self.stages:
            grid = found[stage.name]
            if stage.layout == 'nhwc':
                yield grid.permute(0, 3, 1, 2)  # (N, channels, gh, gw)
            elif stage.layout == 'tokens':
                rows, columns = (side // stage.reduction for side in x.shape[2:])
                cells = grid[:, 1:].transpose(1, 2)  # (N, channels, gh * gw), without the class
                yield cells.reshape(-1, stage.channels, rows, columns)  # (N, channels, gh, gw)
            else:
                yield grid


def known_models() -> list[str]:
    """
    Return the classifiers of torchvision.

    Returns
    -------
    list of str
        Their names.

    """
    models = require('torchvision').models
    return [str(name) for name in models.list_models(module=models)]


def trunk(network: Any, stages: Sequence[Stage]) -> nn.Module:
    """
    Cut a network after the last of some stages.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode.
    stages : sequence of Stage
        At least one.

    Returns
    -------
    nn.Module
        Pixels to a dict of maps by the stages' names; it shares its weights with the network.

    """
    from torchvision.models.feature_extraction import create_feature_extractor

    wanted = {stage.node: stage.name for stage in stages}
    cut: nn.Module = create_feature_extractor(network, wanted, suppress_diff_warning=True)
    return cut.eval()


def _between(maps: Any, first: str, last: str) -> nn.Module | None:
    """Return the part of a traced network that makes one of its maps from another."""
    part = fx.GraphModule(maps, copy.deepcopy(maps.graph))
    (output,) = (node for node in part.graph.nodes if node.op == 'output')
    (pixels,) = (node for node in part.graph.nodes if node.op == 'placeholder')
    given, wanted = output.args[0][first], output.args[0][last]
    output.args = (wanted,)
    with part.graph.inserting_before(pixels):
        given.replace_all_uses_with(part.graph.placeholder('grid'))
    part.graph.eliminate_dead_code()
    if pixels.users:  # a path leads past the first map
        return None
    part.graph.erase_node(pixels)
    part.delete_all_unused_submodules()
    part.recompile()
    return part


def load_torchvision(spec: str, *, weights: Path | None = None) -> TorchvisionBackbone:
    """
    Load a classifier of torchvision without its classifier.

    Parameters
    ----------
    spec : str
        ``<model>`` or ``<model>:<weights>``, such as ``resnet50:IMAGENET1K_V2``.
    weights : Path, optional
        A state dict of that model, whose classifier may be another one; torchvision's own file by
        default. Preprocessing is that of the named weights in either case.

    Returns
    -------
    TorchvisionBackbone
        Frozen.

    Raises
    ------
    TrainingError
        If the model is unknown, has no spatial map, or the weights are missing or do not fit.

    """
    model, _, entry_name = spec.partition(':')
    models = known_models()
    if model not in models:
        close = difflib.get_close_matches(model, models, 8, 0.5)
        near = dict.fromkeys(
            [*close, *(name for name in models if name[:4] == model[:4]), *models]
        )
        msg = (
            f'model of torchvision is unknown: expected one such as {list(near)[:8]}, '
            f'got {model!r}'
        )
        raise TrainingError(msg)
    entry = choose_weights(model, entry_name)
    file = weights or find_weights(entry)
    given = read_state_dict(file)
    transforms = entry.transforms()
    side = int(transforms.crop_size[0])
    network = _build(model, entry)
    stages, fixed_size = find_stages(network, (side, side))
    taps = [BackboneTap(stage.name, stage.channels, stage.reduction) for stage in stages]
    check_outputs(taps, model)
    load_trunk(network, stages, given, file)
    return TorchvisionBackbone(
        name=f'torchvision:{model}',
        network=network,
        stages={stage.name: stage for stage in stages},
        taps=tuple(taps),
        mean=_grey_levels(transforms.mean),
        std=_grey_levels(transforms.std),
        input_size=(side, side),
        fixed_size=fixed_size,
        weights=weights.name if weights else f'torchvision {entry}',
        weights_sha256=file_sha256(file),
        licence='not stated' if weights else _licence(entry),
    )


def load_trunk(
    network: Any, stages: Sequence[Stage], given: Mapping[str, Tensor], file: Path
) -> None:
    """
    Fill the part of a network that its stages need, and freeze it.

    Parameters
    ----------
    network : nn.Module
        Changed in place.
    stages : sequence of Stage
        All of them.
    given : mapping of str to Tensor
        Of the file.
    file : Path
        For the message.

    Raises
    ------
    TrainingError
        If a tensor is missing, has another shape, or belongs to no part of the network.

    """
    inside = list(trunk(network, stages).state_dict())
    full = network.state_dict()
    parts = {name.split('.')[0] for name in inside}
    # heads that are there for training alone may be in the file or not
    unused = {name for name, _ in network.named_children()} - parts
    taken = by_name(given, {name: full[name] for name in inside}, file=file, unused=unused)
    network.load_state_dict(taken, strict=False)
    network.eval().requires_grad_(False)


def _build(model: str, entry: Any) -> Any:
    """Build a network the way its weights were trained, without any weights."""
    options: dict[str, Any] = {}
    if model in ('googlenet', 'inception_v3'):
        options = {'init_weights': False, 'transform_input': True}
    elif model.startswith('vit_'):
        options = {'image_size': int(entry.transforms().crop_size[0])}
    return require('torchvision').models.get_model(model, weights=None, **options).eval()


def _licence(entry: Any) -> str:
    return 'CC-BY-NC-4.0' if 'SWAG' in entry.name else 'BSD-3-Clause'


def _grey_levels(shares: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (round(_GREY_LEVELS * share, 6) for share in shares)
    return red, green, blue

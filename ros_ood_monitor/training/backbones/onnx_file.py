"""
A user's own network as a backbone: an ONNX file with named outputs, and its facts beside it.

``my_network.onnx`` has the facts in ``my_network.onnx.yaml``:

========================  =================================================================
``mean``, ``std``         three numbers each, in grey levels (0 to 255), in the order of ``color``
``color``                 ``rgb`` or ``bgr``
``layout``                of the input and of maps: ``nchw`` or ``nhwc``
``height``, ``width``     in px; only where the file leaves its input size open
``outputs``               names of the outputs to offer as taps; all of them by default
``output_layout``         of maps, where it differs from ``layout``
``weights``, ``licence``  where the weights come from, and what may be done with them
========================  =================================================================

An output of four axes is a map and gets mean pooled; one of two axes is taken as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbones.base import Backbone, BackboneTap, check_outputs
from ros_ood_monitor.training.backbones.onnx_facts import Facts, read_facts, read_model
from ros_ood_monitor.training.backbones.onnx_graph import Pool, wrap
from ros_ood_monitor.training.backbones.state_dicts import file_sha256
from ros_ood_monitor.training.onnx_files import to_bytes

__all__ = ['OnnxBackbone', 'load_onnx']


@dataclass(frozen=True, eq=False, kw_only=True)
class OnnxBackbone(Backbone):
    """
    A backbone that is an ONNX file.

    Parameters
    ----------
    model : onnx.ModelProto
        As it was read.
    facts : Facts
        What stands beside it.
    sources : mapping of str to str
        Output of the file by tap.
    axes : mapping of str to tuple of int
        Spatial axes by tap; empty where the output is pooled already.

    """

    model: Any
    facts: Facts
    sources: Mapping[str, str]
    axes: Mapping[str, tuple[int, ...]]

    def has_map(self, tap: BackboneTap) -> bool:
        """Tell whether an output is a map; see `Backbone.has_map`."""
        return bool(self.axes[tap.name])

    def graph(
        self,
        taps: Sequence[BackboneTap],
        height: int,
        width: int,
        maps: Sequence[BackboneTap] = (),
    ) -> bytes:
        """
        Return the graph from ``image`` (N, h, w, 3) uint8 to the features of some taps.

        Parameters
        ----------
        taps : sequence of BackboneTap
            Its pooled outputs.
        height, width : int
            Input size, in px.
        maps : sequence of BackboneTap
            Taps whose maps are outputs, too.

        Returns
        -------
        bytes
            An ONNX file.

        Raises
        ------
        TrainingError
            If the network takes no pictures of that size, or one picture at a time only.

        """
        self.check_size(height, width)
        pools = [
            Pool(
                self.sources[tap.name],
                tap.output,
                tap.channels,
                self.axes[tap.name],
                tap.map_output if tap in maps else '',
                tap in taps,
            )
            for tap in self.in_order([*taps, *maps])
        ]
        content = to_bytes(wrap(self.model, self.facts.preparation, pools, height, width))
        names = [*(tap.output for tap in taps), *(tap.map_output for tap in maps)]
        widths = [tap.channels for tap in (*taps, *maps)]
        pictures, why = _failure(content, names, widths, (height, width))
        if pictures == 1:
            rows, columns = self.input_size
            msg = (
                f'backbone {self.name!r} takes no pictures of {width}x{height} px ({why}); '
                f'set the input size to {columns}x{rows}, as its facts say'
            )
            raise TrainingError(msg)
        if pictures:
            msg = (
                f'backbone {self.name!r} takes one picture at a time only ({why}); '
                'export it with a dynamic batch axis'
            )
            raise TrainingError(msg)
        return content

    def features(
        self,
        taps: Sequence[BackboneTap],
        images: npt.NDArray[np.uint8],
        maps: Sequence[BackboneTap] = (),
    ) -> list[npt.NDArray[np.float32]]:
        """Compute features with the unchanged file; see `Backbone.features`."""
        session = open_session(self.model.SerializeToString())
        wanted = [*taps, *maps]
        sources = [self.sources[tap.name] for tap in wanted]
        # one by one: the file itself may have a fixed batch
        rows = [run_original(session, self.facts, image, sources) for image in images]
        values = [
            np.concatenate([np.asarray(row[k], np.float32) for row in rows])
            for k in range(len(wanted))
        ]
        axes = [self.axes[tap.name] for tap in wanted]
        count = len(taps)
        pooled = [
            value.mean(axis=spatial) if spatial else value
            for value, spatial in zip(values[:count], axes, strict=False)
        ]
        return pooled + [
            np.moveaxis(value, 1, -1) if spatial == (2, 3) else value
            for value, spatial in zip(values[count:], axes[count:], strict=True)
        ]


def run_original(
    session: Any, facts: Facts, image: npt.NDArray[np.uint8], outputs: Sequence[str]
) -> list[npt.NDArray[Any]]:
    """
    Run the unchanged file on one picture.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        The file.
    facts : Facts
        What stands beside it.
    image : ndarray of shape (h, w, 3), uint8
        RGB pixels.
    outputs : sequence of str
        Outputs of the file.

    Returns
    -------
    list of ndarray
        One per output, with a batch axis of 1.

    """
    prepared = facts.preparation
    mean, std = (np.array(three, np.float32) for three in (prepared.mean, prepared.std))
    x = (image.astype(np.float32) - mean) / std  # (h, w, 3)
    x = x[..., ::-1] if prepared.color == 'bgr' else x
    x = x.transpose(2, 0, 1) if prepared.layout == 'nchw' else x
    x = np.ascontiguousarray(x[np.newaxis], dtype=facts.dtype)  # (1, 3, h, w) or (1, h, w, 3)
    return list(session.run(list(outputs), {session.get_inputs()[0].name: x}))


def _failure(
    content: bytes, outputs: Sequence[str], widths: Sequence[int], size: tuple[int, int]
) -> tuple[int, str]:
    """Return of how many pictures a graph gives no features, of 1 and 2, and why; 0 of none."""
    pictures = 1
    try:
        session = open_session(content)
        for pictures in (1, 2):
            found = session.run(list(outputs), {'image': np.zeros((pictures, *size, 3), np.uint8)})
            for name, value, width in zip(outputs, found, widths, strict=True):
                if (value.shape[0], value.shape[-1]) != (pictures, width):
                    expected = f'expected {pictures} of width {width}'
                    return pictures, f'{expected}, got {name!r} of shape {value.shape}'
    except Exception as error:  # noqa: BLE001  (its exceptions share no public base)
        return pictures, str(error).strip().splitlines()[0]
    return 0, ''


def load_onnx(file: Path) -> OnnxBackbone:
    """
    Load an ONNX file with its facts.

    Parameters
    ----------
    file : Path
        The network; its facts lie beside it, in a file of the same name and ``.yaml``.

    Returns
    -------
    OnnxBackbone
        One tap per output.

    Raises
    ------
    TrainingError
        If the file or its facts cannot be read, or do not fit this package.
    EngineError
        If ONNX Runtime refuses the file.

    """
    model = read_model(file)
    facts = read_facts(file, model)
    height, width = facts.input_size
    session = open_session(model.SerializeToString())
    blank = np.zeros((height, width, 3), np.uint8)
    try:
        found = run_original(session, facts, blank, facts.outputs)
    except Exception as error:  # its exceptions share no public base
        msg = f'backbone takes no pictures of {width}x{height} px ({error}): {file}'
        raise TrainingError(msg) from error
    taps, axes = [], {}
    for name, value in zip(facts.outputs, found, strict=True):
        tap, spatial = _tap(name, value, facts, file)
        taps.append(tap)
        axes[name] = spatial
    check_outputs(taps, file.name, [tap for tap in taps if axes[tap.name]])
    return OnnxBackbone(
        name=file.stem,
        taps=tuple(taps),
        mean=facts.preparation.mean,
        std=facts.preparation.std,
        input_size=facts.input_size,
        fixed_size=facts.fixed_size,
        weights=facts.weights or file.name,
        weights_sha256=file_sha256(file),
        licence=facts.licence,
        model=model,
        facts=facts,
        sources={tap.name: name for tap, name in zip(taps, facts.outputs, strict=True)},
        axes=axes,
    )


def _tap(
    name: str, value: npt.NDArray[Any], facts: Facts, file: Path
) -> tuple[BackboneTap, tuple[int, ...]]:
    height, width = facts.input_size
    if value.dtype not in (np.float32, np.float16) or value.ndim not in (2, 4):
        msg = (
            f'output {name!r} cannot be pooled: expected float features of 4 axes or pooled ones '
            f'of 2, got {value.dtype} of shape {value.shape}; choose others by outputs: {file}'
        )
        raise TrainingError(msg)
    if value.ndim == 2:
        return BackboneTap(name, value.shape[1], max(height, width)), ()
    channels = value.shape[1 if facts.output_layout == 'nchw' else 3]
    axes = (2, 3) if facts.output_layout == 'nchw' else (1, 2)
    cells = value.shape[axes[0]] * value.shape[axes[1]]
    reduction = max(1, round(math.sqrt(height * width / cells)))
    return BackboneTap(name, channels, reduction), axes

"""
ONNX Runtime: on a CPU it is the embedded default, on a GPU a yardstick.

One thread and no spinning by default: on a busy robot a spinning second thread makes inference
several times slower, not faster (``docs/deployment.md``).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.engines.base import check_batch, reading_of
from ros_ood_monitor.engines.cache import cache_folder, prepare_cache
from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.packages import import_problem
from ros_ood_monitor.records import Reading

if TYPE_CHECKING:
    from ros_ood_monitor.bundle import Bundle

__all__ = ['OrtEngine', 'open_session']

CPU: Final = 'CPUExecutionProvider'
CUDA: Final = 'CUDAExecutionProvider'
TENSORRT: Final = 'TensorrtExecutionProvider'

_DEVICES = {
    CPU: 'cpu',
    CUDA: 'gpu, CUDA',
    TENSORRT: 'gpu, TensorRT',
}


def open_session(
    model: bytes,
    *,
    threads: int = 1,
    precision: str = 'fp32',
    provider: str = CPU,
    device: int = 0,
    cache: Path | None = None,
) -> Any:
    """
    Open an ONNX Runtime session the way a bundle is deployed.

    Parameters
    ----------
    model : bytes
        An ONNX file.
    threads : int, default 1
        Intra-op threads, at least 1; they sleep while they wait.
    precision : str, default 'fp32'
        What the model was made for. int8 products of any other file than ``cpu-int8`` are
        computed the exact way: on CPUs without VNNI the fast way overflows, and only that file's
        weights are narrow enough for it.
    provider : str, default 'CPUExecutionProvider'
        What ONNX Runtime runs it on.
    device : int, default 0
        The GPU, where it runs on one.
    cache : Path, optional
        Folder of built engines: TensorRT within ONNX Runtime builds one at the first call of each
        shape, and keeps it there.

    Returns
    -------
    onnxruntime.InferenceSession
        The session.

    Raises
    ------
    EngineError
        If ONNX Runtime is not installed or does not load, lacks the provider or refuses the
        model, or what it builds cannot be kept.

    """
    if threads < 1:
        msg = f'threads must be at least 1, got {threads}'
        raise EngineError(msg)
    try:
        import onnxruntime as ort
    except ImportError as error:
        msg = f'running ONNX files needs {import_problem(error)}'
        raise EngineError(msg) from error
    available = ort.get_available_providers()
    if provider not in available:
        msg = (
            f'ONNX Runtime {ort.__version__} has no {provider}: it has {available}; install a '
            'build that has it (onnxruntime-gpu in the place of onnxruntime), or take the engine '
            "'onnxruntime'"
        )
        raise EngineError(msg)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: they come as exceptions as well
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    if precision != 'cpu-int8':
        options.add_session_config_entry('session.x64quantprecision', '1')
    providers = _providers(ort, model, provider, device, cache)
    try:
        session = ort.InferenceSession(model, options, providers=providers)
    except Exception as error:  # its exceptions share no public base
        msg = f'ONNX Runtime {ort.__version__} refuses the model: {error}'
        raise EngineError(msg) from error
    if session.get_providers()[0] != provider:  # it falls back to the CPU without a word
        msg = f'ONNX Runtime cannot use {provider} here: it took {session.get_providers()[0]}'
        raise EngineError(msg)
    return session


def _providers(
    ort: Any, model: bytes, provider: str, device: int, cache: Path | None
) -> list[tuple[str, dict[str, str]]]:
    """Return the provider, and what takes the operators that it does not know, with options."""
    if provider == CPU:
        return [(CPU, {})]
    cuda = (CUDA, {'device_id': str(device)})
    if provider == CUDA:
        return [cuda]
    # its own names of what it keeps know neither weights nor versions
    text = f'{hashlib.sha256(model).hexdigest()} {ort.__version__} {device}'
    kept = cache_folder(cache)
    prepare_cache(kept)
    folder = kept / f'onnxruntime-{hashlib.sha256(text.encode()).hexdigest()[:24]}'
    folder.mkdir(exist_ok=True)
    keeps = {
        'device_id': str(device),
        'trt_engine_cache_enable': 'True',
        'trt_engine_cache_path': str(folder),
        'trt_timing_cache_enable': 'True',
        'trt_timing_cache_path': str(folder),
    }
    return [(provider, keeps), cuda]


class OrtEngine:
    """
    Backbone and scorer of a bundle as two ONNX Runtime sessions.

    Parameters
    ----------
    bundle : Bundle
        The bundle to run.
    precision : str, optional
        One of its precisions; the first one where it is not given.
    threads : int, default 1
        Intra-op threads.
    provider : str, default 'CPUExecutionProvider'
        What the backbone runs on; the scorer is small and stays on the CPU.
    device, cache
        GPU and folder of built engines; see `open_session`.
    chosen : str, default 'asked for'
        Why it is this engine.

    Raises
    ------
    EngineError
        If ONNX Runtime is missing, refuses a graph, or the two graphs do not fit together.

    """

    batch: Final = 1
    """On a CPU a batch takes what its pictures take one by one; what a GPU gains is not known."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        precision: str | None = None,
        threads: int = 1,
        provider: str = CPU,
        device: int = 0,
        cache: Path | None = None,
        chosen: str = 'asked for',
    ) -> None:
        manifest = bundle.manifest
        self.precision = bundle.precision(precision)
        self._provider = provider
        self._chosen = chosen
        self._threads = threads
        self._shape = (manifest.input_height, manifest.input_width, 3)
        self._backbone = open_session(
            bundle.backbone(precision),
            threads=threads,
            precision=self.precision,
            provider=provider,
            device=device,
            cache=cache,
        )
        self._scorer = open_session(bundle.scorer(), threads=threads)
        self._taken = [node.name for node in self._scorer.get_inputs()]
        self._made = [
            name
            for name in ('raw_score', 'patch_score')
            if name in {node.name for node in self._scorer.get_outputs()}
        ]
        self._check(bundle)

    def _check(self, bundle: Bundle) -> None:
        given = {output.name: output.shape[-1] for output in self._backbone.get_outputs()}
        taken = {node.name: node.shape[-1] for node in self._scorer.get_inputs()}
        for tap in bundle.manifest.taps:
            widths = given.get(tap.output), taken.get(tap.output)
            if widths != (tap.channels, tap.channels):
                msg = (
                    f'feature width mismatch at {tap.output!r}: manifest says {tap.channels}, '
                    f'backbone gives {widths[0]}, scorer expects {widths[1]}; '
                    f're-export the bundle: {bundle.path}'
                )
                raise EngineError(msg)
        # what else the scorer takes are maps of taps, (n, gh, gw, channels) each
        maps = {
            f'{tap.output}_map': tap.channels
            for tap in (*bundle.manifest.taps, *bundle.manifest.map_taps)
        }
        for name in sorted(taken.keys() - {tap.output for tap in bundle.manifest.taps}):
            stated, found = maps.get(name), given.get(name)
            if stated is None or not stated == found == taken[name]:
                msg = (
                    f'feature width mismatch at {name!r}: manifest says {stated}, backbone '
                    f'gives {found}, scorer expects {taken[name]}; re-export the bundle: '
                    f'{bundle.path}'
                )
                raise EngineError(msg)
        if 'raw_score' not in self._made:
            msg = f"scorer has no output 'raw_score'; re-export the bundle: {bundle.path}"
            raise EngineError(msg)

    def infer(self, batch: npt.NDArray[np.uint8]) -> Reading:
        """
        Score a batch of network inputs; see `Engine.infer`.

        Parameters
        ----------
        batch : ndarray of shape (n, height, width, 3), uint8
            RGB pixels at the bundle's input size.

        Returns
        -------
        Reading
            Scores of the n inputs.

        Raises
        ------
        EngineError
            If the shape does not fit or ONNX Runtime fails.

        """
        check_batch(batch, self._shape)
        try:
            # taps x (n, channels), and (n, gh, gw, channels) where the scorer takes maps
            features = self._backbone.run(self._taken, {'image': batch})
            raw_score, *patch_score = self._scorer.run(
                self._made, dict(zip(self._taken, features, strict=True))
            )  # (n,), and (n, gh, gw) where it makes one
        except Exception as error:  # its exceptions share no public base
            msg = f'ONNX Runtime failed: {error}'
            raise EngineError(msg) from error
        return reading_of(raw_score, *patch_score)

    def warm_up(self) -> None:
        """Run one grey picture."""
        self.infer(np.full((1, *self._shape), 127, dtype=np.uint8))

    def describe(self) -> dict[str, str]:
        """
        Return the facts that diagnostics show.

        Returns
        -------
        dict of str to str
            engine, version, device, precision, threads, chosen.

        """
        import onnxruntime as ort

        return {
            'engine': 'onnxruntime',
            'version': str(ort.__version__),
            'device': _DEVICES[self._provider],
            'precision': self.precision,
            'threads': str(self._threads),
            'chosen': self._chosen,
        }

    def close(self) -> None:
        """Drop both sessions and their arenas."""
        self._backbone = self._scorer = None

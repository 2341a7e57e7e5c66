"""
TensorRT on a GPU: backbone and scorer as one captured CUDA graph, replayed for every frame.

The two plans share memory: what the backbone writes is where the scorer reads. A graph is
captured once for each number of pictures that comes, from contexts of its own. Waiting for the GPU
costs no CPU.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import logging
from typing import Any, Final, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.engines.base import check_batch, reading_of
from ros_ood_monitor.engines.cache import EngineFiles, PARTS
from ros_ood_monitor.engines.contexts import Contexts
from ros_ood_monitor.engines.cuda import Buffer, call, cudart, find_device
from ros_ood_monitor.engines.trt_library import (
    agreement,
    ask,
    Library,
    load_library,
    make_log,
    NO_MEMORY,
)
from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.records import Reading

if TYPE_CHECKING:
    from ros_ood_monitor.bundle import Bundle

__all__ = ['TrtEngine', 'load_plan', 'plan_version']

_SCORES: Final = ('raw_score', 'patch_score')
"""What the scorer makes, the map only where the bundle has one."""

_CAPTURED: Final = 8
"""Largest batch that is captured beforehand; a larger one when it comes first."""

_BUILD: Final = 'build it on this device'

_FREE: Final = 'end other programs that use the GPU, or build it with a smaller --batch'

_logger = logging.getLogger(__name__)


class TrtEngine:
    """
    A bundle's engine on a GPU.

    Parameters
    ----------
    bundle : Bundle
        What it was built from.
    files : EngineFiles
        The built engine.
    device : int, default 0
        The GPU.
    capture : bool, default True
        Whether calls are captured as CUDA graphs; False enqueues each kernel anew.
    chosen : str, default 'asked for'
        Why it is this engine.

    Raises
    ------
    EngineError
        If library, driver, GPU or engine are missing or do not fit, or memory runs out.

    """

    def __init__(
        self,
        bundle: Bundle,
        files: EngineFiles,
        *,
        device: int = 0,
        capture: bool = True,
        chosen: str = 'asked for',
    ) -> None:
        identity = files.identity
        self.precision = identity.precision
        self._shape = (bundle.manifest.input_height, bundle.manifest.input_width, 3)
        self._library = load_library(identity.library)
        self._gpu = find_device(device)
        self._capture = capture
        self._chosen = chosen
        self._graphs: dict[int, Any] = {}
        self._buffers: dict[str, Buffer] = {}
        self._engines: dict[str, Any] = {}
        self._contexts: Contexts | None = None
        self._prepared: dict[int, dict[str, Any]] = {}  # contexts by number of pictures and part
        self._loader: Any = None
        self._made: list[str] = []
        self._stream: Any = None
        self._runtime = runtime = cudart()
        try:
            self._select()
            with contextlib.suppress(EngineError):  # costs a core while it waits, and no more
                call(
                    runtime.cudaSetDeviceFlags,
                    runtime.cudaDeviceScheduleBlockingSync,
                    doing='asking for quiet waiting',
                )
            self._log = make_log(self._library)
            self._loader = self._ask(self._library.module.Runtime, self._log, doing='starting')
            for part in PARTS:
                plan = files.plan(part)
                self._engines[part] = load_plan(
                    plan, self._library, self._loader, self._log, mend=files.mend
                )
            self._tensors = {
                part: _tensors(engine, self._library) for part, engine in self._engines.items()
            }
            self._least, self._most = self._batches()
            self._allocate(files.mend)
            self._contexts = Contexts(files, self._engines, self._library, self._gpu, self._log)
            self._prepared[self._least] = self._make_contexts(self._least)
            self._stream = call(
                runtime.cudaStreamCreateWithFlags,
                runtime.cudaStreamNonBlocking,
                doing='making a stream',
            )
        except BaseException:
            self.close()
            raise

    def infer(self, batch: npt.NDArray[np.uint8]) -> Reading:
        """
        Score a batch of network inputs; see `Engine.infer`.

        Parameters
        ----------
        batch : ndarray of shape (n, height, width, 3), uint8
            RGB pixels at the bundle's input size; more than the engine was built for go in turns,
            fewer are filled up.

        Returns
        -------
        Reading
            Scores of the n inputs.

        Raises
        ------
        EngineError
            If the shape does not fit or the GPU fails.

        """
        check_batch(batch, self._shape)
        if self._stream is None:
            msg = 'engine is closed; open it again'
            raise EngineError(msg)
        self._select()
        turns = [batch[k : k + self._most] for k in range(0, len(batch), self._most)]
        scores = [self._run(turn) for turn in turns]
        # (n,), and (n, gh, gw) where the scorer makes a map
        return reading_of(*(np.concatenate(each) for each in zip(*scores, strict=True)))

    @property
    def batch(self) -> int:
        """Return how many pictures it was built for at most: more go in turns."""
        return self._most

    def warm_up(self) -> None:
        """Run grey pictures, which compiles what is compiled late and captures each batch."""
        for count in range(self._least, max(self._least, min(self._most, _CAPTURED)) + 1):
            self.infer(np.full((count, *self._shape), 127, dtype=np.uint8))
        if self._contexts is not None:
            self._contexts.save()

    def describe(self) -> dict[str, str]:
        """
        Return the facts that diagnostics show.

        Returns
        -------
        dict of str to str
            engine, version, device, compute_capability, driver, precision, batch, cuda_graph,
            chosen.

        """
        return {
            'engine': self._library.name,
            'version': self._library.version,
            'device': self._gpu.name,
            'compute_capability': self._gpu.compute_capability,
            'driver': self._gpu.driver,
            'precision': self.precision,
            'batch': f'{self._least} to {self._most}',
            'cuda_graph': 'yes' if any(self._graphs.values()) else 'no',
            'chosen': self._chosen,
        }

    def close(self) -> None:
        """Give back everything on the GPU, in the order in which it is used."""
        runtime, stream = self._runtime, self._stream
        self._stream = None
        with contextlib.suppress(EngineError):  # a lost GPU; what is held is let go all the same
            self._select()
        if stream is not None:
            runtime.cudaStreamSynchronize(stream)
        for graph in self._graphs.values():
            if graph is not None:
                runtime.cudaGraphExecDestroy(graph)
        self._graphs.clear()
        self._prepared.clear()
        contexts, self._contexts = self._contexts, None
        if contexts is not None:
            contexts.close()
        self._engines.clear()
        self._loader = None
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers.clear()
        if stream is not None:
            runtime.cudaStreamDestroy(stream)

    # a call -------------------------------------------------------------------------------------

    def _run(self, batch: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        runtime = self._runtime
        image = self._buffers['image'].host
        assert image is not None
        np.copyto(image[: len(batch)], batch)
        count = max(len(batch), self._least)  # rows beyond the batch hold earlier pictures
        if count not in self._graphs:
            self._graphs[count] = self._prepare(count)
        graph = self._graphs[count]
        if graph is None:
            self._enqueue(count)
        else:
            call(runtime.cudaGraphLaunch, graph, self._stream, doing='running the engine')
        # not an event: cuda-bindings up to 12.9.0 lets no other thread run while it waits for one,
        # and the thread that sees a GPU hang must
        call(runtime.cudaStreamSynchronize, self._stream, doing='waiting for the engine')
        scores = []
        for name in self._made:
            score = self._buffers[name].host
            assert score is not None
            scores.append(score[: len(batch)].copy())  # (n,) or (n, gh, gw)
        return scores

    def _prepare(self, count: int) -> Any:
        """Run once outside of any capture, then capture; None where that is not to be."""
        if count not in self._prepared:
            self._prepared[count] = self._make_contexts(count)
        self._enqueue(count)
        runtime = self._runtime
        call(runtime.cudaStreamSynchronize, self._stream, doing='running the engine first')
        if not self._capture or not self._is_capturable(count):
            return None
        try:
            return self._captured(count)
        except EngineError as error:  # what was run before is right, and serves
            # as text: the error's frames would keep contexts alive where somebody keeps the record
            _logger.warning('calls of %d pictures are not captured: %s', count, str(error))
            return None

    def _is_capturable(self, count: int) -> bool:
        if not self._library.is_rtx:
            return True
        stream = int(self._stream)
        contexts = self._prepared[count].values()
        return all(context.is_stream_capturable(stream) for context in contexts)

    def _captured(self, count: int) -> Any:
        runtime, doing = self._runtime, 'capturing the engine'
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        call(runtime.cudaStreamBeginCapture, self._stream, mode, doing=doing)
        try:
            self._enqueue(count)
        except BaseException:
            _, graph = runtime.cudaStreamEndCapture(self._stream)
            if graph is not None:
                runtime.cudaGraphDestroy(graph)
            raise
        graph = call(runtime.cudaStreamEndCapture, self._stream, doing=doing)
        try:
            return call(runtime.cudaGraphInstantiate, graph, 0, doing=doing)
        finally:
            runtime.cudaGraphDestroy(graph)

    def _enqueue(self, count: int) -> None:
        self._buffers['image'].copy(count, self._stream, to_device=True)
        stream = int(self._stream)
        for part, context in self._prepared[count].items():
            doing = f'running the {part}'
            is_taken = self._ask(context.execute_async_v3, stream, doing=doing)
            self._expect(is_taken, f'a run of the {part}')
        for name in self._made:
            self._buffers[name].copy(count, self._stream, to_device=False)

    # preparations -------------------------------------------------------------------------------

    def _select(self) -> None:
        # the device is a thing of the thread, and configuring and scoring have one each
        call(self._runtime.cudaSetDevice, self._gpu.index, doing='choosing the GPU')

    def _batches(self) -> tuple[int, int]:
        """Return the least and the largest number of pictures that both parts take."""
        least, most = [], []
        for part, engine in self._engines.items():
            for name, is_input in self._tensors[part]:
                if is_input:
                    shape = tuple(engine.get_tensor_shape(name))
                    profile = engine.get_tensor_profile_shape(name, 0) if shape[0] == -1 else ()
                    limits = [*map(tuple, profile)] or [shape]  # least, usual and most
                    least.append(int(limits[0][0]))
                    most.append(int(limits[-1][0]))
        return max(least), min(most)

    def _allocate(self, mend: str) -> None:
        for part, engine in self._engines.items():
            for name, _ in self._tensors[part]:
                shape = (self._most, *tuple(engine.get_tensor_shape(name))[1:])
                dtype = _dtype(engine.get_tensor_dtype(name).name, name)
                known = self._buffers.get(name)
                if known is None:
                    self._buffers[name] = Buffer(
                        shape,
                        dtype,
                        on_host=name == 'image' or name in _SCORES,
                        is_mapped=self._gpu.is_integrated,
                    )
                elif known.row_bytes != int(np.prod(shape[1:])) * dtype.itemsize:
                    msg = f'backbone and scorer disagree about {name!r}; {_BUILD}: {mend}'
                    raise EngineError(msg)
        for name in ('image', 'raw_score'):
            if name not in self._buffers:
                msg = f'engine has no tensor {name!r}; re-export the bundle, then {mend}'
                raise EngineError(msg)
        self._made = [name for name in _SCORES if name in self._buffers]

    def _make_contexts(self, count: int) -> dict[str, Any]:
        """Return contexts, by part, that run a number of pictures and nothing else."""
        assert self._contexts is not None
        made = {}
        for part, engine in self._engines.items():
            made[part] = context = self._contexts.make(part)
            for name, is_input in self._tensors[part]:
                address = self._buffers[name].address
                self._expect(context.set_tensor_address(name, address), f'memory of {name}')
                if is_input:
                    shape = (count, *tuple(engine.get_tensor_shape(name))[1:])
                    self._expect(context.set_input_shape(name, shape), f'shape {shape} of {name}')
            missing = self._ask(context.infer_shapes, doing=f'preparing the {part}')
            self._expect(not missing, f'shapes of {missing}')
        return made

    def _ask(self, function: Callable[..., Any], *args: Any, doing: str) -> Any:
        return ask(function, *args, library=self._library, log=self._log, doing=doing)

    def _expect(self, is_well: Any, what: str) -> None:
        if not is_well:
            msg = f'{self._library.name} refuses {what}: {self._log.tail()}'
            raise EngineError(msg)


def load_plan(
    plan: bytes,
    library: Library,
    loader: Any,
    log: Any,
    *,
    mend: str = 'ood_monitor build-engine --force',
) -> Any:
    """
    Turn a plan into an engine, or say why it does not fit this device.

    Parameters
    ----------
    plan : bytes
        What `ros_ood_monitor.engines.build` built.
    library : Library
        What built it.
    loader : trt.Runtime
        Of this library.
    log : ILogger
        That the loader writes to.
    mend : str
        The command that builds it again.

    Returns
    -------
    trt.ICudaEngine
        Ready to make contexts.

    Raises
    ------
    EngineError
        If it is of another version, for another device, or no plan, or memory is short.

    """
    trt = library.module
    log.clear()
    if library.is_rtx:
        validity, why = loader.get_engine_validity(plan)
        if validity == trt.EngineValidity.INVALID:
            names = trt.EngineInvalidityDiagnostics.__members__.items()
            reasons = [name for name, flag in names if int(why) & int(flag.value)]
            said = ', '.join(reasons) or log.tail()
            what_now = _remedy(reasons, library, mend)
            msg = f'engine is not valid on this device: {said}; {what_now}'
            raise EngineError(msg)
    load = loader.deserialize_cuda_engine
    engine = ask(load, plan, library=library, log=log, doing='loading the engine')
    if engine is None and log.holds(NO_MEMORY):
        msg = f'engine does not load for want of memory: {log.tail()}; {_FREE}'
        raise EngineError(msg)
    if engine is None:
        built = '.'.join(map(str, plan_version(plan)))
        msg = (
            f'engine does not load: built by {library.name} {built}, this is {library.version}: '
            f'{log.tail()}; {_BUILD}: {mend}'
        )
        raise EngineError(msg)
    return engine


def _remedy(reasons: list[str], library: Library, mend: str) -> str:
    """Return what to do about an engine that RTX refuses; building it again is not always it."""
    if 'UNSUPPORTED_CC' in reasons:
        return f'{library.name} does not run on this GPU: take another engine'
    if {'OLD_CUDA_DRIVER', 'OLD_CUDA_RUNTIME'} & {*reasons}:
        return f'update the driver ({agreement(library.name)})'
    if 'INSUFFICIENT_GPU_MEMORY' in reasons:
        return _FREE
    if 'CUDA_ERROR' in reasons:
        return 'look at nvidia-smi and dmesg'
    return f'{_BUILD}: {mend}'


def plan_version(plan: bytes) -> tuple[int, ...]:
    """
    Return the version of the library that built a plan, as its header has it.

    Parameters
    ----------
    plan : bytes
        A plan.

    Returns
    -------
    tuple of int
        Major, minor and patch.

    """
    return tuple(plan[24:27])


def _tensors(engine: Any, library: Library) -> list[tuple[str, bool]]:
    kind = library.module.TensorIOMode.INPUT
    names = [engine.get_tensor_name(k) for k in range(engine.num_io_tensors)]
    return [(name, engine.get_tensor_mode(name) == kind) for name in names]


def _dtype(kind: str, name: str) -> np.dtype[Any]:
    known = {'FLOAT': np.float32, 'HALF': np.float16, 'UINT8': np.uint8}
    if kind not in known:
        msg = f'tensor {name!r} is {kind}: expected one of {list(known)}; re-export the bundle'
        raise EngineError(msg)
    return np.dtype(known[kind])

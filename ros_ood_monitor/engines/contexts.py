"""
Execution contexts of an engine's parts, a pair for each number of pictures, in one memory.

A captured graph is bound to shapes and addresses of the contexts that it was captured from, so
none of them is ever changed. They run one after another on one stream, and what they need while
running is theirs in turn. (NVIDIA, "Optimizing TensorRT-RTX Performance", limitations of CUDA
graphs: one execution context per captured graph, with user-managed memory that they share.)
"""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
from pathlib import Path
import re
from typing import Any

import numpy as np

from ros_ood_monitor.atomic import new_file
from ros_ood_monitor.engines.cache import EngineFiles
from ros_ood_monitor.engines.cuda import Buffer, Device
from ros_ood_monitor.engines.trt_library import ask, Library
from ros_ood_monitor.errors import EngineError

__all__ = ['Contexts']


class Contexts:
    """
    Makes execution contexts, and keeps what ``tensorrt_rtx`` compiles for them on the device.

    Parameters
    ----------
    files : EngineFiles
        The built engine; compiled kernels lie beside its plans, by GPU and driver.
    engines : mapping of str to ICudaEngine
        The loaded plans, by part.
    library : Library
        Which loaded them.
    gpu : Device
        The GPU.
    log : ILogger
        That the library writes to.

    Raises
    ------
    EngineError
        If there is not enough memory.

    """

    def __init__(
        self,
        files: EngineFiles,
        engines: Mapping[str, Any],
        library: Library,
        gpu: Device,
        log: Any,
    ) -> None:
        self._library = library
        self._log = log
        self._engines = dict(engines)
        self._caches: list[tuple[Path, Any]] = []
        self._kinds: dict[str, Any] = {}
        self._memory: Buffer | None = None
        if library.is_rtx:
            text = re.sub(
                '[^A-Za-z0-9.]+', '-', f'{gpu.name}-{gpu.compute_capability}-{gpu.driver}'
            )
            for k, (part, engine) in enumerate(engines.items()):
                path = files.folder / f'kernels.{k}.{text}.cache'
                self._kinds[part] = self._rtx_kind(engine, path)
        else:
            kind = library.module.ExecutionContextAllocationStrategy.USER_MANAGED
            self._kinds = dict.fromkeys(engines, kind)
        size = max(int(engine.device_memory_size_v2) for engine in engines.values())
        if size > 0:
            self._memory = Buffer((1, size), np.uint8, on_host=False, is_mapped=False)

    def make(self, part: str) -> Any:
        """
        Return a new context.

        Parameters
        ----------
        part : {'backbone', 'scorer'}
            Of which graph.

        Returns
        -------
        IExecutionContext
            Without shapes and addresses.

        Raises
        ------
        EngineError
            If the library makes none.

        """
        create = self._engines[part].create_execution_context
        context = ask(
            create, self._kinds[part], library=self._library, log=self._log, doing='preparing'
        )
        if context is None:
            msg = f'{self._library.name} makes no execution context: {self._log.tail()}'
            raise EngineError(msg)
        if self._memory is not None:
            context.set_device_memory(self._memory.address, self._memory.row_bytes)
        return context

    def save(self) -> None:
        """Write what was compiled; that it cannot be written only costs time at the next start."""
        for path, cache in self._caches:
            made = cache.serialize()
            if made is None:
                continue
            content = bytes(made)
            with contextlib.suppress(OSError):
                if path.exists() and path.read_bytes() == content:
                    continue
                with new_file(path) as file:
                    file.write_bytes(content)

    def close(self) -> None:
        """Let go of everything; the contexts that were made are of no use afterwards."""
        self._caches.clear()
        self._kinds.clear()
        self._engines.clear()
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.free()

    def _rtx_kind(self, engine: Any, path: Path) -> Any:
        trt = self._library.module
        config = engine.create_runtime_config()
        if config is None:
            msg = f'{self._library.name} makes no runtime configuration: {self._log.tail()}'
            raise EngineError(msg)
        config.set_execution_context_allocation_strategy(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        # by default better kernels come some time later, which a captured graph would never use
        config.dynamic_shapes_kernel_specialization_strategy = (
            trt.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        cache = config.create_runtime_cache()
        if cache is not None:  # without one everything is compiled at each start
            with contextlib.suppress(OSError):  # there is none yet
                cache.deserialize(path.read_bytes())
            config.set_runtime_cache(cache)
            self._caches.append((path, cache))
        return config

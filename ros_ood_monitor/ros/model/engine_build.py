"""The engine that is missing: built in a process of its own, then proven; no ROS in here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ros_ood_monitor.bundle.goldens import Verification
from ros_ood_monitor.engines import Engine, open_engine
from ros_ood_monitor.engines.build_process import BuildProcess
from ros_ood_monitor.engines.built import missing_library
from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.ros.model.open_monitor import engine_cache
from ros_ood_monitor.ros.parameters.settings import Settings

__all__ = ['EngineBuild', 'library_to_build']

_SERVES: Final = 'onnxruntime'


def library_to_build(monitor: Monitor, settings: Settings) -> str | None:
    """
    Return the library whose engine is to be built for a monitor that has none.

    Parameters
    ----------
    monitor : Monitor
        On the engine that serves meanwhile.
    settings : Settings
        Parameters of the node.

    Returns
    -------
    str or None
        None where ``model.build_if_missing`` is false, or building would change nothing.

    """
    if not settings.model_build_if_missing or monitor.engine.describe()['engine'] != _SERVES:
        return None
    return missing_library(
        monitor.bundle,
        settings.model_engine,
        precision=settings.model_precision or None,
        device=settings.model_device,
        cache=engine_cache(settings),
    )


class EngineBuild:
    """
    Builds an engine, opens it and proves it on the goldens, beside whatever serves meanwhile.

    It is of the precision that serves: thresholds are a precision's, and would otherwise move
    under a running alert.

    Parameters
    ----------
    monitor : Monitor
        What it is built for; only read.
    library : str
        What `library_to_build` returned.
    settings : Settings
        Parameters of the node.
    on_ready : callable
        Told from a thread of its own, once, that there is an engine, warm and proven, and how
        well it reproduces the goldens. Whoever is told closes it.
    on_failed : callable
        Told from that thread, once, why there is none.
    open_built : callable
        Opens what was built, as `open_engine` does.

    Raises
    ------
    OSError
        If no process can be started.

    """

    def __init__(
        self,
        monitor: Monitor,
        library: str,
        settings: Settings,
        *,
        on_ready: Callable[[EngineBuild, Engine, Verification], None],
        on_failed: Callable[[str], None],
        open_built: Callable[..., Engine] = open_engine,
    ) -> None:
        self.library = library
        self._bundle = monitor.bundle
        self._precision = monitor.precision
        self._settings = settings
        self._on_ready = on_ready
        self._on_failed = on_failed
        self._open_built = open_built
        self._state = ''
        self._is_stopped = False
        arguments = [str(monitor.bundle.path), '--library', library]
        arguments += ['--precision', monitor.precision, '--device', str(settings.model_device)]
        together = min(settings.input_batch, len(settings.input_topics))
        if together > 1:
            arguments += ['--batch', '1', str(together), str(together)]
        if settings.model_engine_cache:
            arguments += ['--cache', settings.model_engine_cache]
        self.process = BuildProcess(arguments, on_end=self._go_on)

    @property
    def status(self) -> str:
        """Return how far it is: a part and percent of it, ``opening``, ``done`` or ``failed``."""
        return self._state or self.process.progress or 'starting'

    def stop(self) -> None:
        """End it wherever it is; nobody is told any more, and an opened engine is closed."""
        self._is_stopped = True
        self.process.stop()

    def _go_on(self, problem: str) -> None:
        engine = None
        try:
            if problem:
                raise EngineError(problem)
            self._state = 'opening'
            engine = self._open()
            engine.warm_up()
            verification = self._bundle.verify(engine, self._precision)
            if not verification.ok:
                raise EngineError(str(verification))
        except Exception as error:  # noqa: BLE001, what serves goes on whatever a library raises
            if engine is not None:
                engine.close()
            self._state = 'failed'
            if not self._is_stopped:
                self._on_failed(str(error) or repr(error))
            return
        if self._is_stopped:
            engine.close()
            return
        self._state = 'done'
        self._on_ready(self, engine, verification)

    def _open(self) -> Engine:
        settings = self._settings
        return self._open_built(
            self._bundle,
            self.library,
            precision=self._precision,
            threads=settings.model_threads,
            device=settings.model_device,
            cache=engine_cache(settings),
        )

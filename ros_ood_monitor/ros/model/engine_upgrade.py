"""From the engine that serves to the one that was asked for, while frames go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ros_ood_monitor.bundle.goldens import Verification
from ros_ood_monitor.engines import Engine
from ros_ood_monitor.engines.build import check_can_run
from ros_ood_monitor.engines.trt_library import LIBRARIES
from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.ros.diagnostics.model_status import ModelFacts
from ros_ood_monitor.ros.model.engine_build import EngineBuild, library_to_build
from ros_ood_monitor.ros.parameters.settings import Settings

__all__ = ['EngineUpgrade']


class EngineUpgrade:
    """
    Has the missing engine built, and gives it to the monitors between two frames.

    Parameters
    ----------
    submit : callable
        Runs work between two lifecycle transitions, which open and close engines as well; raises
        RuntimeError where the node is ending.
    logger : object
        The node's.
    open_built : callable
        Opens what was built, as `open_engine` does.

    """

    def __init__(
        self,
        *,
        submit: Callable[[Callable[[], Any]], Any],
        logger: Any,
        open_built: Callable[..., Engine],
    ) -> None:
        self._submit = submit
        self._logger = logger
        self._open_built = open_built
        self._build: EngineBuild | None = None

    @property
    def status(self) -> str:
        """Return the library and how far its build is; empty where nothing is or was built."""
        build = self._build
        return '' if build is None else f'{build.library}: {build.status}'

    def start(self, monitors: Sequence[Monitor], settings: Settings, facts: ModelFacts) -> None:
        """
        Start building where the engine asked for is missing and `Settings` want it built.

        Parameters
        ----------
        monitors : sequence of Monitor
            All of a node, proven on the engine that serves meanwhile.
        settings : Settings
            Parameters of the node.
        facts : ModelFacts
            Told what becomes of it.

        """
        library = library_to_build(monitors[0], settings)
        asked = settings.model_engine
        if library is None:
            if asked in LIBRARIES and facts.engine['engine'] != asked:  # there, but of no use
                self._remark(facts, f'not on {asked} ({facts.engine["chosen"]})')
            return

        def on_ready(build: EngineBuild, engine: Engine, verification: Verification) -> None:
            def take() -> None:
                if build is not self._build:  # stopped meanwhile
                    engine.close()
                    return
                for monitor in monitors:
                    monitor.take_engine(engine)
                # the old engine goes with the last frame that is in work on it
                facts.engine, facts.verification = engine.describe(), str(verification)
                self._logger.info(f'{library} is built and goes on: {verification}')

            try:
                self._submit(take)
            except RuntimeError:
                engine.close()

        def on_failed(reason: str) -> None:
            self._remark(facts, f'not on {library}: {reason}')

        try:
            check_can_run(library, device=settings.model_device)
            self._build = EngineBuild(
                monitors[0],
                library,
                settings,
                on_ready=on_ready,
                on_failed=on_failed,
                open_built=self._open_built,
            )
        except EngineError as error:
            self._remark(facts, f'not on {library}: {error}')
            return
        except OSError as error:
            self._remark(facts, f'not on {library}: its build does not start: {error}')
            return
        self._logger.info(f'builds the engine of {library}, which takes over once it is proven')

    def stop(self) -> None:
        """End a build; one that has been taken over is not touched."""
        build, self._build = self._build, None
        if build is not None:
            build.stop()

    def _remark(self, facts: ModelFacts, remark: str) -> None:
        facts.remark = remark
        self._logger.warning(f'{remark}; {facts.engine["engine"]} goes on')

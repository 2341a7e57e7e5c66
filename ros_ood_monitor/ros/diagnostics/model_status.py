"""The node's status about its model on ``/diagnostics``."""

from __future__ import annotations

from dataclasses import dataclass, field
import math
import os
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus

from ros_ood_monitor.ros.messages.converters import key_values

__all__ = ['ModelFacts', 'memory_mib', 'model_status']


@dataclass
class ModelFacts:
    """
    What is known about the model that the node runs, or could not run.

    Parameters
    ----------
    bundle : str
        Name and digest; empty while there is none.
    path : str
        Where it was loaded from.
    engine : dict of str to str
        What the engine says about itself.
    verification : str
        How well the engine reproduces the goldens.
    false_alert_rate : str
        What is known of the rate of false alerts.
    problem : str
        Why configuring failed, or what the engine failed with; empty where all is well.
    remark : str
        Why it does not run on the engine that was asked for; empty where it does.

    """

    bundle: str = ''
    path: str = ''
    engine: dict[str, str] = field(default_factory=dict)
    verification: str = ''
    false_alert_rate: str = ''
    problem: str = ''
    remark: str = ''

    @property
    def sentence(self) -> str:
        """Return what is known of a model that runs."""
        engine = ' '.join(self.engine[key] for key in ('engine', 'version', 'precision'))
        return (
            f'{self.bundle}: {self.verification}; {engine} on {self.engine["device"]} '
            f'({self.engine["chosen"]}); false alerts per hour: {self.false_alert_rate}'
        )


def model_status(
    name: str, facts: ModelFacts, lifecycle_state: str, *, engine_build: str = ''
) -> DiagnosticStatus:
    """
    Return the status about what judges.

    Parameters
    ----------
    name : str
        The node's name.
    facts : ModelFacts
        The model, or why there is none.
    lifecycle_state : str
        Label of the lifecycle state.
    engine_build : str, default ''
        How far the build of a better engine is; empty where there is none.

    Returns
    -------
    diagnostic_msgs.msg.DiagnosticStatus
        ERROR where configuring, activating or the engine failed, STALE without a model, WARN where
        another engine was asked for and cannot be had, else OK.

    """
    if facts.problem:
        level, message = DiagnosticStatus.ERROR, facts.problem
    elif facts.remark:
        level, message = DiagnosticStatus.WARN, f'{facts.verification}; {facts.remark}'
    elif facts.bundle:
        level, message = DiagnosticStatus.OK, facts.verification
    else:
        level, message = DiagnosticStatus.STALE, 'not configured'
    values: dict[str, object] = {
        'lifecycle_state': lifecycle_state,
        'bundle': facts.bundle,
        'path': facts.path,
        **facts.engine,
        'verification': facts.verification,
        'engine_build': engine_build,
        'false_alert_rate': facts.false_alert_rate,
        'memory_mib': round(memory_mib(), 3),
    }
    return DiagnosticStatus(
        level=level,
        name=f'{name}: model',
        message=message,
        hardware_id='',
        values=key_values(values),
    )


def memory_mib() -> float:
    """
    Return the resident memory of this process.

    Returns
    -------
    float
        In MiB; NaN where the system does not tell.

    """
    try:
        pages = int(Path('/proc/self/statm').read_text(encoding='ascii').split()[1])
        return pages * os.sysconf('SC_PAGE_SIZE') / 2**20
    except (OSError, ValueError, IndexError):
        return math.nan

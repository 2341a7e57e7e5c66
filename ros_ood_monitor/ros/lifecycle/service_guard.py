"""
Makes a node's services answer whatever a peer asks.

rclpy raises what a service's callback raised out of the executor, and the peer waits for its
answer for ever. Its own parameter services do so for a request as simple as a parameter of an
unknown type.
"""

from __future__ import annotations

import functools
import inspect
import time
from typing import Any, Final

from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.node import Node

from ros_ood_monitor.ros.process.reason_throttle import ReasonThrottle

__all__ = ['guard_services']

_WARN_PERIOD_S: Final = 5.0


def guard_services(node: Node) -> None:
    """
    Give an answer in the place of every exception of a service's callback.

    A request to set parameters is answered with the reason, any other one with a response that
    holds what was filled in so far. The log tells a reason once a few seconds.

    Parameters
    ----------
    node : rclpy.node.Node
        The node; the services that it has now are wrapped in place. A coroutine is left as it
        is: it has to answer by itself.

    """
    failures = ReasonThrottle(_WARN_PERIOD_S)

    def guarded(service: Any) -> Any:
        callback, name = service.callback, str(service.srv_name)

        @functools.wraps(callback)
        def safe(request: Any, response: Any) -> Any:
            try:
                return callback(request, response)
            except Exception as error:  # noqa: BLE001, whatever it is, the peer gets its answer
                reason = f'{type(error).__name__}: {error}'
                if failures.accepts(name + reason, time.monotonic()):
                    node.get_logger().warning(f'a request of {name} failed: {reason}')
                _refuse(request, response, reason)
                return response

        return safe

    for service in node.services:
        if not inspect.iscoroutinefunction(service.callback):
            service.callback = guarded(service)


def _refuse(request: Any, response: Any, reason: str) -> None:
    result = SetParametersResult(successful=False, reason=reason)
    if isinstance(response, SetParametersAtomically.Response):
        response.result = result
    elif isinstance(response, SetParameters.Response):
        # one result a parameter: those before the failing one stand
        response.results = [
            *response.results,
            *([result] * (len(request.parameters) - len(response.results))),
        ]

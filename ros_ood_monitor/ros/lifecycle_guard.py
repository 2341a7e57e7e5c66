"""
Makes rclpy's lifecycle survive what it does not survive by itself (rclpy 7.1).

A callback's exception is swallowed without a log, a callback that returns None kills the executor
and leaves the state machine between two states, and a transition that is not possible now, which
any peer may request, is raised out of the executor.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
import traceback
from typing import Any, TypeVar

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

__all__ = ['guard_change_state', 'guarded']

_Node = TypeVar('_Node', bound=LifecycleNode)
_Callback = Callable[[_Node, LifecycleState], TransitionCallbackReturn]


def guarded(callback: _Callback[_Node]) -> _Callback[_Node]:
    """
    Make a transition callback log what goes wrong and always return a result.

    Parameters
    ----------
    callback : callable
        A method such as ``on_configure``.

    Returns
    -------
    callable
        The same; an exception or None becomes ``ERROR``, which leads to ``on_error``.

    """

    @functools.wraps(callback)
    def safe(self: _Node, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            result = callback(self, state)
        except Exception:  # noqa: BLE001, rclpy would drop it without a word
            self.get_logger().error(f'{callback.__name__} failed:\n{traceback.format_exc()}')
            return TransitionCallbackReturn.ERROR
        if not isinstance(result, TransitionCallbackReturn):
            self.get_logger().error(f'{callback.__name__} returned {result!r}, not a result')
            return TransitionCallbackReturn.ERROR
        return result

    return safe


def guard_change_state(node: LifecycleNode) -> None:
    """
    Make the node answer impossible transition requests instead of dying of them.

    Parameters
    ----------
    node : rclpy.lifecycle.LifecycleNode
        The node; its ``change_state`` service is wrapped in place.

    """
    service = node._service_change_state  # rclpy offers no public way
    callback = service.callback

    def safe(request: Any, response: Any) -> Any:
        try:
            return callback(request, response)
        except Exception as error:  # noqa: BLE001, whatever it is, the peer gets its answer
            what = request.transition.label or request.transition.id
            label = node._state_machine.current_state[1]
            node.get_logger().warning(
                f'transition {what!r} refused in state {label!r}: {_first_line(error)}'
            )
            response.success = False
            return response

    service.callback = safe


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

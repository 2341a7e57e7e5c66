"""
Makes rclpy's lifecycle survive what it does not survive by itself (rclpy 7.1).

A callback's exception is swallowed without a log, a callback that returns None kills the executor
and leaves the state machine between two states, and a transition that is not possible now, which
any peer may request, is raised out of the executor.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
import time
import traceback
from typing import Any, cast, Final, TypeVar
import weakref

from lifecycle_msgs.msg import State, Transition
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from ros_ood_monitor.ros.lifecycle.transitions import Transitions
from ros_ood_monitor.ros.process.reason_throttle import ReasonThrottle

__all__ = ['guard_change_state', 'guarded']

_WARN_PERIOD_S: Final = 5.0
_LABELS: Final = {
    Transition.TRANSITION_CREATE: 'create',
    Transition.TRANSITION_CONFIGURE: 'configure',
    Transition.TRANSITION_CLEANUP: 'cleanup',
    Transition.TRANSITION_ACTIVATE: 'activate',
    Transition.TRANSITION_DEACTIVATE: 'deactivate',
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN: 'shutdown of an unconfigured node',
    Transition.TRANSITION_INACTIVE_SHUTDOWN: 'shutdown of an inactive node',
    Transition.TRANSITION_ACTIVE_SHUTDOWN: 'shutdown of an active node',
    Transition.TRANSITION_DESTROY: 'destroy',
}
"""What requests that give only a number ask for."""

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


def guard_change_state(node: LifecycleNode, transitions: Transitions) -> None:
    """
    Make the node answer every transition request, and other requests meanwhile.

    The transition runs in the thread of ``transitions`` while the service's callback awaits it.
    A request that comes during a transition is refused, one that is impossible in the node's
    state likewise; the log tells a reason once a few seconds, however often a peer asks.

    Parameters
    ----------
    node : rclpy.lifecycle.LifecycleNode
        The node; its ``change_state`` service is wrapped in place.
    transitions : Transitions
        Where transitions run.

    """
    service = node._service_change_state  # rclpy offers no public way
    callback = service.callback
    refusals = ReasonThrottle(_WARN_PERIOD_S)

    async def safe(request: Any, response: Any) -> Any:
        try:
            _refuse_impossible(node, request.transition)
            return await transitions.run(lambda: callback(request, response))
        except Exception as error:  # noqa: BLE001, whatever it is, the peer gets its answer
            what = _name(request.transition)
            reason = f'refused in state {_state(node).label!r}: {_first_line(error)}'
            if refusals.accepts(reason, time.monotonic()):
                node.get_logger().warning(f'transition {what} {reason}')
            response.success = False
            return response

    service.callback = cast(Any, safe)
    # The lifecycle services share a group in which one callback at a time may be under way, one
    # that is awaiting included: get_state would wait for a slow configure.
    service.callback_group.entities.discard(weakref.ref(service))
    service.callback_group = ReentrantCallbackGroup()
    service.callback_group.add_entity(service)


def _refuse_impossible(node: LifecycleNode, wanted: Transition) -> None:
    if _state(node).state_id > State.PRIMARY_STATE_FINALIZED:
        msg = 'another transition is running; ask again after it'
        raise RuntimeError(msg)
    # asking rcl would do, but it logs a line of its own each time
    offered = {row[0]: row[1] for row in node._state_machine.available_transitions}
    if wanted.label not in offered.values() if wanted.label else wanted.id not in offered:
        named = (f'{label} ({number})' for number, label in offered.items())
        msg = f'expected one of {", ".join(named) or "none, its life is over"}'
        raise ValueError(msg)


def _name(wanted: Transition) -> str:
    """Return a transition as its request names it, by the label where it gives only a number."""
    if wanted.label:
        return repr(wanted.label)
    label = _LABELS.get(wanted.id)
    return f'{label!r} ({wanted.id})' if label else str(wanted.id)


def _state(node: LifecycleNode) -> LifecycleState:
    number, label = node._state_machine.current_state
    return LifecycleState(label, number)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

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
from typing import Any, cast, TypeVar
import weakref

from lifecycle_msgs.msg import State
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from ros_ood_monitor.ros.transitions import Transitions

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


def guard_change_state(node: LifecycleNode, transitions: Transitions) -> None:
    """
    Make the node answer every transition request, and other requests meanwhile.

    The transition runs in the thread of ``transitions`` while the service's callback awaits it.
    A request that comes during a transition is refused, one that is impossible in the node's
    state likewise.

    Parameters
    ----------
    node : rclpy.lifecycle.LifecycleNode
        The node; its ``change_state`` service is wrapped in place.
    transitions : Transitions
        Where transitions run.

    """
    service = node._service_change_state  # rclpy offers no public way
    callback = service.callback

    async def safe(request: Any, response: Any) -> Any:
        try:
            if node._state_machine.current_state[0] > State.PRIMARY_STATE_FINALIZED:
                msg = 'another transition is running; ask again after it'
                raise RuntimeError(msg)
            return await transitions.run(lambda: callback(request, response))
        except Exception as error:  # noqa: BLE001, whatever it is, the peer gets its answer
            what = request.transition.label or request.transition.id
            label = node._state_machine.current_state[1]
            node.get_logger().warning(
                f'transition {what!r} refused in state {label!r}: {_first_line(error)}'
            )
            response.success = False
            return response

    service.callback = cast(Any, safe)
    # The lifecycle services share a group in which one callback at a time may be under way, one
    # that is awaiting included: get_state would wait for a slow configure.
    service.callback_group.entities.discard(weakref.ref(service))
    service.callback_group = ReentrantCallbackGroup()
    service.callback_group.add_entity(service)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

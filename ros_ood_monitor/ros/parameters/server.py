"""The parameter table on a node: declared with descriptors, read, and guarded while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import difflib
import sys
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.ros.parameters.command_line import parameter_files
from ros_ood_monitor.ros.parameters.files import complaint
from ros_ood_monitor.ros.parameters.given import unknown_names, widen
from ros_ood_monitor.ros.parameters.qos_overrides import QOS_OVERRIDES
from ros_ood_monitor.ros.parameters.settings import Settings
from ros_ood_monitor.ros.parameters.spec import check_value, ParameterSpec, Value
from ros_ood_monitor.ros.parameters.table import PARAMETERS

__all__ = ['ParameterServer']


class ParameterServer:
    """
    Declares the table on a node and keeps what it says true.

    A change of a parameter that applies on configure is refused while the node is configured:
    otherwise ``ros2 param get`` would show a value that nothing uses.

    Parameters
    ----------
    node : rclpy.node.Node
        The node.
    is_unconfigured : callable
        Whether parameters that apply on configure may change now.
    is_active : callable
        Whether the node monitors, by the clock that ``use_sim_time`` chose.
    on_live : callable
        Given the settings as they would become by a live change; raises ParameterError to refuse
        them, and applies them otherwise.

    Raises
    ------
    ParameterError
        If a value from the command line or a file is not allowed.

    """

    def __init__(
        self,
        node: Node,
        *,
        is_unconfigured: Callable[[], bool],
        is_active: Callable[[], bool],
        on_live: Callable[[Settings], None],
    ) -> None:
        self._node = node
        self._is_unconfigured, self._is_active = is_unconfigured, is_active
        self._on_live = on_live
        # rclpy keeps what was given on the command line or in files here, declared or not
        self._given: dict[str, Any] = getattr(node, '_parameter_overrides', {})
        for name, value in widen({key: p.value for key, p in self._given.items()}).items():
            self._given[name] = _parameter(name, value)
        for spec in PARAMETERS:
            self._declare(spec)
        node.add_on_set_parameters_callback(self._on_set)

    def settings(self) -> Settings:
        """Return the values that hold now."""
        return Settings.read(lambda name: self._node.get_parameter(name).value)

    def warn_unknown(self) -> dict[str, str]:
        """
        Warn about every given name that is no parameter.

        Returns
        -------
        dict of str to str
            From the name to the parameter that was probably meant.

        """
        # a node declares names of its own (use_sim_time), and QoS overrides as topics appear
        overrides = (name for name in self._given if name.startswith(QOS_OVERRIDES))
        known = [*self._node._parameters, *overrides]
        found = unknown_names(self._given, known=known)
        unknown = {name: _override(name) or near for name, near in found.items()}
        for name, near in unknown.items():
            hint = f'; did you mean {near!r}?' if near else ''
            self._node.get_logger().warning(f'unknown parameter {name!r} is ignored{hint}')
        return unknown

    def warn_unused_files(self, cli_args: Sequence[str] = ()) -> list[str]:
        """
        Warn about every given parameter file that holds nothing for this node.

        Parameters
        ----------
        cli_args : sequence of str
            Arguments of the node beside those of the process.

        Returns
        -------
        list of str
            The warnings.

        """
        node = self._node.get_fully_qualified_name()
        files = dict.fromkeys([*parameter_files(sys.argv), *parameter_files(cli_args)])
        found = [text for text in (complaint(path, node) for path in files) if text]
        for text in found:
            self._node.get_logger().warning(text)
        return found

    def as_meant(self, changes: Sequence[Parameter]) -> list[Parameter]:
        """
        Return changes as they are meant, and refuse what means nothing here.

        rclpy answers an unknown name with its exception and ``alert.trigger 20`` with the names
        of its types; a change is read here as a value from a file is.

        Parameters
        ----------
        changes : sequence of rclpy.parameter.Parameter
            What was asked for, by ``ros2 param set`` say.

        Returns
        -------
        list of rclpy.parameter.Parameter
            The same, whole numbers for a parameter in floating point as such.

        Raises
        ------
        ParameterError
            If a name is unknown or a value is not allowed.

        """
        values = {change.name: change.value for change in changes}
        for name, near in unknown_names(values, known=self._node._parameters).items():
            hint = f'; did you mean {near!r}?' if near else ''
            msg = f'unknown parameter {name[:80]!r}{hint}'
            raise ParameterError(msg)
        values.update(widen(values))
        for spec in PARAMETERS:
            if spec.name in values:
                check_value(spec, values[spec.name])
        return [
            _parameter(c.name, values[c.name]) if values[c.name] is not c.value else c
            for c in changes
        ]

    def _declare(self, spec: ParameterSpec) -> None:
        try:
            default = _parameter(spec.name, spec.default).value
            self._node.declare_parameter(spec.name, default, _descriptor(spec))
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            given = self._given.get(spec.name)
            if given is not None:
                check_value(spec, given.value)  # says it in the form all our errors have
            raise ParameterError(str(error)) from error
        check_value(spec, self._node.get_parameter(spec.name).value)

    def _on_set(self, changes: list[Parameter]) -> SetParametersResult:
        specs = {spec.name: spec for spec in PARAMETERS}
        values = {change.name: change.value for change in changes if change.name in specs}
        try:
            if self._is_active() and any(change.name == 'use_sim_time' for change in changes):
                msg = "parameter 'use_sim_time' applies on activate: deactivate the node first"
                raise ParameterError(msg)
            for name, value in values.items():
                check_value(specs[name], value)
                if specs[name].applies == 'configure' and not self._is_unconfigured():
                    msg = (
                        f'parameter {name!r} applies on configure: let a transition in work end, '
                        'then deactivate and clean up the node first'
                    )
                    raise ParameterError(msg)
            if any(specs[name].applies == 'live' for name in values):
                self._on_live(
                    Settings.read(
                        lambda name: values.get(name, self._node.get_parameter(name).value)
                    )
                )
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)


def _override(name: str) -> str:
    """Return the QoS override that a name probably means; empty where it means none."""
    group, _, rest = name.partition('.')
    is_near = difflib.get_close_matches(group, [QOS_OVERRIDES.rstrip('.')])
    return QOS_OVERRIDES + rest if is_near else ''


def _parameter(name: str, value: Value) -> Parameter:
    return Parameter(name, value=list(value) if isinstance(value, tuple) else value)


def _descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=f'{spec.description} Unit: {spec.unit}.' if spec.unit else spec.description,
        additional_constraints=_constraint(spec),
        read_only=spec.applies == 'start',
    )
    # ROS refuses NaN wherever there is a range
    if spec.minimum is not None and spec.maximum is not None and not spec.is_left_to_bundle:
        if isinstance(spec.default, float):
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=spec.minimum, to_value=spec.maximum)
            ]
        else:
            descriptor.integer_range = [
                IntegerRange(from_value=int(spec.minimum), to_value=int(spec.maximum))
            ]
    return descriptor


def _constraint(spec: ParameterSpec) -> str:
    if spec.is_left_to_bundle and spec.constraint:
        return f'.nan or {spec.constraint}'
    return spec.constraint if spec.choices else ''

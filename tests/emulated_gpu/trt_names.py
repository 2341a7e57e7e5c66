"""Enumerations, shapes and failures as the bindings of TensorRT have them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import enum
import functools
from typing import Any

Severity = enum.IntEnum('Severity', 'INTERNAL_ERROR ERROR WARNING INFO VERBOSE', start=0)
DataType = enum.IntEnum('DataType', {'FLOAT': 0, 'HALF': 1, 'UINT8': 8})
TensorIOMode = enum.IntEnum('TensorIOMode', 'NONE INPUT OUTPUT', start=0)
Allocation = enum.IntEnum('Allocation', 'STATIC ON_PROFILE_CHANGE USER_MANAGED', start=0)
Specialization = enum.IntEnum('Specialization', 'LAZY EAGER NONE', start=0)
EngineValidity = enum.IntEnum('EngineValidity', 'VALID SUBOPTIMAL INVALID', start=0)
Diagnostics = enum.IntEnum('Diagnostics', {'VERSION_MISMATCH': 1, 'MALFORMED_ENGINE': 32})


class Dims:
    """A shape as pybind11 gives it: no tuple, and compared with none."""

    def __init__(self, shape: Sequence[int]) -> None:
        self._shape = tuple(shape)

    def __len__(self) -> int:
        return len(self._shape)

    def __getitem__(self, k: int) -> int:
        return self._shape[k]


def can_fail(answer: Any) -> Callable[[Any], Any]:
    """Make a method one that fails in its turn: it answers so, or raises that."""

    def wrap(body: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(body)
        def method(self: Any, *args: Any) -> Any:
            with self.machine.lock:
                if not self.machine.is_failing(f'{type(self).__name__}.{body.__name__}'):
                    return body(self, *args)
                self.log.log(Severity.ERROR, 'failed as it was told to')
                if isinstance(answer, Exception):
                    raise type(answer)(*answer.args)  # anew: it would keep frames alive
                return answer

        return method

    return wrap

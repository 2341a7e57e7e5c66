"""
The exception tree: every deliberate refusal of this package is one of these.

::

    OodMonitorError
      BundleError        (ValueError)    a bundle is damaged, incomplete, too new or does not fit
      EngineError        (RuntimeError)  an inference library is missing or computes something else
      DecodeError        (ValueError)    image bytes that are not the picture they claim to be
      CalibrationError   (ValueError)    the data cannot support the calibration that was asked for
      TrainingError      (ValueError)    frames or settings from which no bundle can be trained
      ParameterError     (ValueError)    a parameter or option outside what is allowed
      BagError           (OSError)       a bag that cannot be read or written

Messages follow one form: what, expected, got, next step; lower case, values quoted, path last.
"""

from __future__ import annotations

__all__ = [
    'BagError',
    'BundleError',
    'CalibrationError',
    'DecodeError',
    'EngineError',
    'OodMonitorError',
    'ParameterError',
    'TrainingError',
]


class OodMonitorError(Exception):
    """Root of every error this package raises on purpose."""


class BundleError(OodMonitorError, ValueError):
    """A bundle is damaged, incomplete, too new, or does not fit together."""


class EngineError(OodMonitorError, RuntimeError):
    """An inference library is missing, failed, or does not reproduce the goldens."""


class DecodeError(OodMonitorError, ValueError):
    """Image bytes are not the picture that their encoding and size claim."""


class CalibrationError(OodMonitorError, ValueError):
    """The held-out data cannot support the calibration that was asked for."""


class TrainingError(OodMonitorError, ValueError):
    """No bundle can be trained from these frames or with these settings."""


class ParameterError(OodMonitorError, ValueError):
    """A parameter or option is unknown or outside its range."""


class BagError(OodMonitorError, OSError):
    """A bag cannot be read or written."""

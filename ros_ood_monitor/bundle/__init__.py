"""
The portable artefact between trainer and robot: a folder, or a .zip of it.

It holds ``manifest.yaml``, ``scorer.onnx`` and for every precision ``backbone.<p>.onnx``,
``calibration.<p>.npz`` and ``goldens.<p>.npz``; from the trainer also ``training.yaml`` and
``trained_frames.bin``. Nothing in it is executable, nothing is pickled.
Every file's SHA-256 stands in the manifest, as does a digest of the manifest itself; all are
checked on loading.
"""

from __future__ import annotations

from ros_ood_monitor.bundle.bundle import Bundle, bundle_digest
from ros_ood_monitor.bundle.files import precision_files, SKETCH
from ros_ood_monitor.bundle.write import write_bundle

__all__ = ['SKETCH', 'Bundle', 'bundle_digest', 'precision_files', 'write_bundle']

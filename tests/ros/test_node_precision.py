"""The node runs the precision that its parameter names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('onnx')

from ros_ood_monitor.monitor import Monitor
from tests.ros.harness import image, normal_frame, peer, running_node, values
from tests.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.usefixtures('ros')


def test_the_node_scores_with_the_precision_of_its_parameter(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / 'tiny', precisions=('fp32', 'cpu-int8'))
    rgb = normal_frame()
    wanted = {
        precision: Monitor.from_bundle(bundle, precision=precision).observe_image(rgb, stamp=1.0)
        for precision in ('fp32', 'cpu-int8')
    }
    with running_node(model__bundle=str(bundle.path), model__precision='cpu-int8'), peer() as me:
        me.activate()
        got = float(values(me.publish_and_wait(image(rgb)))['raw_score'])
    assert np.isclose(got, wanted['cpu-int8'].raw_score, rtol=1e-5)
    assert not np.isclose(got, wanted['fp32'].raw_score, rtol=1e-5)

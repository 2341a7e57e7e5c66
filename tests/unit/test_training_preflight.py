"""What `train` refuses before it loads torch."""

from __future__ import annotations

from pathlib import Path
import re
import subprocess
import sys

import pytest

pytest.importorskip('onnx')

from ros_ood_monitor.errors import BundleError, TrainingError
from ros_ood_monitor.training.backbone_names import PACKAGED_TAPS
from ros_ood_monitor.training.frames.selection import Selection
from ros_ood_monitor.training.preflight import preflight
from ros_ood_monitor.training.settings.train_settings import TrainSettings
from tests.training_tools import write_scenes

CODE = """
import sys
sys.modules['torch'] = None  # so that it cannot be imported
from ros_ood_monitor.cli.main import main
for line in sys.stdin.read().splitlines():
    assert main(['train', *line.split()]) == 1, line
"""


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp('frames') / 'normal', 100)


def test_cheap_refusals_do_not_wait_for_torch(data: Path, tmp_path: Path) -> None:
    (tmp_path / 'bad.yaml').write_text('tapz: all\n')
    common = f'--data {data} --out {tmp_path / "bundle"} --alpha 0.05'
    refused = {
        f'{common} --taps blocks.1,b.9,c.9': "taps are unknown: .* head, got 'b.9', 'c.9'",
        f'{common} --name ../evil': r"must be a plain name, no path: .* got '\.\./evil'",
        f'{common} --taps blocks.9': "tap is unknown: expected all or some of blocks.0, .* 'blo",
        f'{common} --backbone mobilenet_v2 --taps blocks.1': 'all or some of features.0, ',
        f'{common} --precisions bf16': "precision is unknown: .* got 'bf16'",
        f'{common} --weights {tmp_path}/w.pt': 'weights cannot be read .No such file .*w.pt',
        f'{common} --backbone {tmp_path}/b.onnx': 'backbone cannot be read .No such file .*b.onnx',
        f'{common} --backbone resnet': "backbone is unknown: .*, FILE.onnx, got 'resnet'",
        f'{common} --every 2': r'got 50 \(left out: 50 by every 2\); give at least 95',
        f'{common} --start 3 --end 2': 'window is empty',
        f'{common} --start nan': 'window is empty: expected 0 <= start < end, got nan',
        f'{common} --seed {2**63}': r'seed out of range: expected below 2\*\*63, got 64 bits',
        f'{common} --config {tmp_path}/bad.yaml': "unknown: .*'tapz'; did you mean taps?",
        f'{common} --out /proc/bundle': 'output cannot be written',
        f'{common} --data {tmp_path}/nowhere': 'data not found: expected a bag, a folder of',
        common: "the package 'torch', which is not installed",
    }
    done = subprocess.run(
        [sys.executable, '-c', CODE],
        input='\n'.join(f'{line} --quiet' for line in refused),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert len(said) == len(refused)
    for line, message in zip(said, refused.values(), strict=True):
        assert re.search(message, line), line


def test_an_output_that_is_there_is_refused_before_the_frames_are_looked_for(
    tmp_path: Path,
) -> None:
    (tmp_path / 'bundle').mkdir()
    with pytest.raises(BundleError, match='--overwrite'):
        preflight(TrainSettings((tmp_path / 'nowhere',)), tmp_path / 'bundle')


def test_a_window_behind_the_end_of_a_bag_says_so(tmp_path: Path) -> None:
    bag = Path(__file__).resolve().parents[1] / 'bags' / 'lunar_orbit' / 'bag'
    pytest.importorskip('rosbags')
    settings = TrainSettings((bag,), selection=Selection(start=1e6))
    with pytest.raises(
        TrainingError, match=r'got 0 \(left out: \d+ by the window from 1e\+06 s\)'
    ):
        preflight(settings, tmp_path / 'bundle')


@pytest.mark.parametrize('name', ['efficientnet_lite0', 'mobilenet_v2'])
def test_the_taps_of_packaged_backbones_are_those_that_are_known_before(name: str) -> None:
    pytest.importorskip('torch')
    from ros_ood_monitor.training.backbones import load_backbone

    assert tuple(tap.name for tap in load_backbone(name).taps) == PACKAGED_TAPS[name]

"""Shards on Ray: what one process gives, whatever dies on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
import importlib.util
import json
import os
from pathlib import Path
import shutil
import signal
import socket
import sys
from typing import Any

import numpy as np
import pytest

from ros_ood_monitor.bags import BagWriter
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.errors import BagError, EngineError, ParameterError, TrainingError
from ros_ood_monitor.evaluation.bags.evaluate import evaluate_bags, Settings
from ros_ood_monitor.evaluation.bags.facts import facts
from ros_ood_monitor.evaluation.bags.given import LabelChoice
from ros_ood_monitor.evaluation.bags.runs import score_bags, Scoring
from ros_ood_monitor.evaluation.bags.scored import ScoredBag
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.shards import Local, RayCluster
from ros_ood_monitor.shards.on_ray import _check_size
from tests.tiny_bundle import make_tiny_bundle

FRAMES = 40
ON_RAY = RayCluster(jobs=2)


def need_ray() -> None:
    """Skip where Ray is not installed; it is not loaded, since settings come before that."""
    if importlib.util.find_spec('ray') is None:
        pytest.skip('Ray is not installed')


@pytest.fixture(scope='module')
def ray() -> Iterator[Any]:
    """One cluster of two cores for all tests of this file."""
    need_ray()
    with ON_RAY.session() as module:
        # workers do not have the folder of the tests in their path
        module.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield module


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


@pytest.fixture(scope='module')
def bags(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp('bags')
    return [record(root / name, seed) for seed, name in enumerate(('one', 'two', 'three'))]


def record(path: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    with BagWriter(path) as writer:
        for k in range(FRAMES):
            rgb = rng.integers(100, 156, (60, 90, 3), np.uint8)
            if 20 <= k < 30:
                rgb[..., 0] = 250
            writer.write_image('/front/image_raw', rgb, 1000.0 + 0.1 * k)
    (path / 'labels.yaml').write_text('- {start: 1002, end: 1003, kind: red}\n')
    return path


@dataclass(frozen=True)
class Killed(Scoring):
    """Scoring whose process is killed in the middle of bag ``two``: the first time, or always."""

    once: Path | None = None

    def run(self, bag: Path, *args: Any, on_frame: Any, **kwargs: Any) -> ScoredBag | BagError:
        frames = 0

        def count() -> None:
            nonlocal frames
            frames += 1
            if bag.name == 'two' and frames == FRAMES // 2:
                self.die()
            on_frame()

        return super().run(bag, *args, on_frame=count, **kwargs)

    def die(self) -> None:
        if self.once is not None:
            if self.once.exists():
                return
            self.once.touch()
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Growing(Scoring):
    """Scoring whose worker sees more of a bag than there was."""

    bag: Path = Path()

    def open(self) -> Any:
        (file,) = self.bag.glob('*.mcap')
        with file.open('ab') as end:
            end.write(b' ')
        return super().open()


class Failing(Scoring):
    """Scoring with an engine that fails."""

    def run(self, *_: Any, **__: Any) -> Any:
        msg = 'engine failed: on purpose'
        raise EngineError(msg)


def evaluated(scoring: Scoring, bags: list[Path], **how: Any) -> tuple[dict[str, Any], int]:
    settings = Settings(resamples=20, ignore_margin=0.5)
    found = evaluate_bags(scoring, bags, LabelChoice(), settings=settings, **how)
    figures = facts(found)
    for bag in figures['bags']:
        del bag['scored_in']
    return figures, found.kept


def test_a_worker_killed_in_the_middle_of_a_bag_changes_no_figure(
    ray: Any, bundle: Bundle, bags: list[Path], tmp_path: Path
) -> None:
    killed = tmp_path / 'killed'
    told: list[int] = []

    class Count:
        def __init__(self, total: int, _: str) -> None:
            assert total == 3 * FRAMES

        def __enter__(self) -> Any:
            return told.append

        def __exit__(self, *_: object) -> None:
            assert sum(told) == 3 * FRAMES

    store = tmp_path / 'store'
    local = evaluated(Scoring(bundle.path), bags)
    on_ray = evaluated(
        Killed(bundle.path, once=killed), bags, executor=ON_RAY, store=store, progress=Count
    )
    assert killed.exists()
    assert on_ray == local
    # what is kept is what one process keeps, and a second run takes it
    assert evaluated(Scoring(bundle.path), bags, store=store) == (local[0], 3)


def test_a_bag_that_kills_every_worker_costs_itself_only_and_a_bad_one_says_what_is_wrong(
    ray: Any, bundle: Bundle, bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / 'broken'
    shutil.copytree(bags[0], broken)
    for file in broken.glob('*.mcap'):
        file.write_bytes(file.read_bytes()[:20])
    scoring = Killed(bundle.path)
    opened = scoring.open()
    done = dict(score_bags([*bags, broken], scoring, opened, executor=ON_RAY))
    for bag in (bags[0], bags[2]):
        ((_, expected),) = score_bags([bag], Scoring(bundle.path), opened)
        found = done[bag]
        assert isinstance(found, ScoredBag)
        assert isinstance(expected, ScoredBag)
        assert found.raw_score.tobytes() == expected.raw_score.tobytes()
    assert f'died 3 times (out of memory?): {bags[1]}' in str(done[bags[1]])
    ((_, why),) = score_bags([broken], scoring, opened)
    assert str(done[broken]) == str(why)
    assert str(broken) in str(why)
    assert capsys.readouterr().out == ''  # which is for the tables


def test_a_worker_that_has_another_bundle_or_another_bag_is_refused(
    ray: Any, bundle: Bundle, bags: list[Path], tmp_path: Path
) -> None:
    place = tmp_path / 'bundle'
    shutil.copytree(bundle.path, place)
    scoring = Scoring(place)
    opened = scoring.open()
    shutil.rmtree(place)
    make_tiny_bundle(place, height=16, width=24)
    with pytest.raises(EngineError, match='would not give the same scores: expected digest'):
        list(score_bags(bags, scoring, opened, executor=ON_RAY))

    copy = tmp_path / 'copy'
    shutil.copytree(bags[0], copy)
    growing = Growing(bundle.path, bag=copy)
    ((_, found),) = score_bags([copy], growing, Scoring(bundle.path).open(), executor=ON_RAY)
    assert f'worker on {socket.gethostname()} sees other files than are here' in str(found)
    assert str(found).endswith(str(copy))


def test_an_error_of_the_work_ends_the_run_as_itself(
    ray: Any, bundle: Bundle, bags: list[Path]
) -> None:
    with pytest.raises(EngineError, match=r'^engine failed: on purpose$'):
        list(score_bags(bags, Failing(bundle.path), Scoring(bundle.path).open(), executor=ON_RAY))


def test_a_worker_that_does_not_see_the_folder_of_the_command_is_refused(
    ray: Any, bundle: Bundle, bags: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scoring = Scoring(bundle.path)
    opened = scoring.open()
    monkeypatch.setattr(Path, 'cwd', lambda: tmp_path / 'gone')
    with pytest.raises(ParameterError, match=r'does not see the folder of the command .*/gone$'):
        list(score_bags(bags, scoring, opened, executor=ON_RAY))


def test_the_verb_says_and_writes_on_ray_what_it_does_locally(
    ray: Any,
    bundle: Bundle,
    bags: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said, written = [], []
    for name, options in (('here', []), ('ray', ['--executor', 'ray', '--jobs', '2'])):
        file = tmp_path / f'{name}.json'
        command = ['evaluate', str(bundle.path), *map(str, bags), '--no-cache', *options]
        assert main([*command, '--json', str(file)]) == 0
        said.append(capsys.readouterr().out)
        found = json.loads(file.read_text())
        del found['made']  # the command differs
        for bag in found['bags']:
            del bag['scored_in']
        written.append(found)
    assert said[0] == said[1]
    assert written[0] == written[1]


def test_a_shard_for_which_no_machine_is_large_enough_is_refused_and_does_not_wait(
    ray: Any, bundle: Bundle, bags: list[Path]
) -> None:
    scoring, large = Scoring(bundle.path, threads=3), RayCluster(jobs=1, threads=3)
    with pytest.raises(ParameterError, match='expected 3 cores and 0 GPUs for a shard, got 2 and'):
        list(score_bags(bags, scoring, scoring.open(), executor=large))


@pytest.mark.parametrize(
    ('machines', 'threads', 'gpus', 'got'),
    [
        ([(32, 0), (8, 1)], 8, 1, ''),
        ([(32, 0), (2, 1)], 8, 1, 'got 32 and 0, 2 and 1;'),  # neither holds both
        ([(0, 0)], 8, 0, ''),  # a head: machines may join it
        ([(0, 0)], 8, 1, 'got 0 and 0;'),
        ([(0, 1), (4, 0)], 8, 1, 'got 4 and 0, 0 and 1;'),
        ([], 1, 0, 'got none;'),
    ],
)
def test_one_machine_must_have_the_cores_and_the_gpus_of_a_shard(
    machines: list[tuple[int, int]], threads: int, gpus: int, got: str
) -> None:
    class Cluster:
        @staticmethod
        def nodes() -> list[dict[str, Any]]:
            alive = [
                {'Alive': True, 'Resources': {'CPU': float(cores), 'GPU': float(held)}}
                for cores, held in machines
            ]
            return [{'Alive': False, 'Resources': {'CPU': 64.0, 'GPU': 8.0}}, *alive]

    if not got:
        _check_size(Cluster, threads=threads, gpus=gpus)
        return
    with pytest.raises(ParameterError, match=got):
        _check_size(Cluster, threads=threads, gpus=gpus)


# --- features of training ------------------------------------------------------------------------


class Means:
    """A runner whose features are means; its process is killed at some picture, once."""

    name, batch_size, concurrent = 'means', 1, True

    def __init__(self, once: Path | None = None) -> None:
        self.once, self.seen = once, 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.seen += len(images)
        if self.once is not None and self.seen == FRAMES // 2 and not self.once.exists():
            if self.once.parent.exists():
                self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return images.mean(axis=(1, 2)).astype(np.float32)  # (n, 3)


def test_features_by_workers_of_which_one_is_killed_are_those_of_this_process(
    ray: Any, bags: list[Path], tmp_path: Path
) -> None:
    pytest.importorskip('torch')
    from ros_ood_monitor.training.backbones import BackboneTap
    from ros_ood_monitor.training.features.extract import extract
    from ros_ood_monitor.training.features.sequence_shards import fill_elsewhere, SequenceWork
    from ros_ood_monitor.training.frames.datasets import Dataset

    dataset, preprocess, killed = Dataset(bags), Preprocessor(16, 16), tmp_path / 'killed'
    work = SequenceWork(dataset, partial(Means, killed), 'means', preprocess, width=3)
    found = {}
    told: list[int] = []
    for name, elsewhere in (('here', None), ('ray', partial(fill_elsewhere, work, ON_RAY))):
        with extract(
            dataset,
            Means(),
            preprocess,
            [BackboneTap('a', 3, 8)],
            backbone_sha256='b',
            cache=tmp_path / name,
            elsewhere=elsewhere,
            on_frame=told.append,
        ) as table:
            assert len(table) == 3 * FRAMES
        found[name] = {
            file.relative_to(tmp_path / name): file.read_bytes()
            for file in (tmp_path / name).rglob('*')
            if file.is_file()
        }
        assert sum(told) == 3 * FRAMES
        told.clear()
    assert killed.exists()
    assert found['ray'] == found['here']

    work = SequenceWork(dataset, Means, 'others', preprocess, width=3)
    with pytest.raises(TrainingError, match="expected 'others', got 'means'"):
        fill_elsewhere(work, ON_RAY, [tmp_path / f'{k}' for k in range(3)], told.append)


def test_a_sequence_of_which_processes_die_ends_the_training_by_its_name(
    bags: list[Path], tmp_path: Path
) -> None:
    pytest.importorskip('torch')
    from ros_ood_monitor.training.features.sequence_shards import fill_elsewhere, SequenceWork
    from ros_ood_monitor.training.frames.datasets import Dataset

    # its folder is not there, so that it dies anew at every try
    deadly = partial(Means, tmp_path / 'gone' / 'killed')
    work = SequenceWork(Dataset(bags), deadly, 'means', Preprocessor(16, 16), width=3)
    with pytest.raises(TrainingError, match=r'the process that read it died .*: one$'):
        fill_elsewhere(work, Local(1), [tmp_path / f'{k}' for k in range(3)], lambda _: None)


def test_workers_need_a_folder_for_features_and_the_runtime_that_is_deployed(
    tmp_path: Path,
) -> None:
    pytest.importorskip('torch')
    from ros_ood_monitor.training.features.frame_reader import FrameReader
    from ros_ood_monitor.training.settings.train_settings import Resources

    with pytest.raises(TrainingError, match='a folder that all of them see: --cache'):
        Resources(executor=ON_RAY)
    nothing: Any = None
    reader = FrameReader(
        *[nothing] * 7, resources=Resources(cache=tmp_path, executor=ON_RAY), plan=None
    )
    with pytest.raises(TrainingError, match='use --device cpu with --executor ray'):
        reader.all_frames(lambda _: None)


# --- no Ray to work on ---------------------------------------------------------------------------


@pytest.mark.parametrize('address', ['nonsense', 'ray://127.0.0.1:10001', 'host:', ':6379'])
def test_an_address_that_is_none_is_refused_before_ray_looks_for_it(address: str) -> None:
    need_ray()
    with pytest.raises(ParameterError, match='expected HOST:PORT'), RayCluster(address).session():
        pass


def test_a_port_at_which_nothing_listens_is_refused_at_once() -> None:
    need_ray()
    with socket.socket() as bound:
        bound.bind(('127.0.0.1', 0))
        address = f'127.0.0.1:{bound.getsockname()[1]}'
        with (
            pytest.raises(ParameterError, match=f'no Ray cluster answers .*: {address}$'),
            RayCluster(address).session(),
        ):
            pass


def test_without_ray_the_verb_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
    bundle: Bundle,
    bags: list[Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, 'ray', None)
    command = ['evaluate', str(bundle.path), str(bags[0]), '--executor', 'ray', '--no-cache']
    assert main(command) == 1
    said = capsys.readouterr().err
    assert said.count('\n') == 1
    assert 'run: pip install ray\n' in said


@pytest.mark.parametrize(
    ('options', 'why'),
    [
        (['--address', 'auto'], '--address is of a Ray cluster'),
        (['--executor', 'ray', '--address', 'auto', '--jobs', '2'], '--jobs is of this machine'),
    ],
)
def test_options_of_executors_that_contradict_each_other_are_refused(
    bundle: Bundle,
    bags: list[Path],
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    why: str,
) -> None:
    assert main(['evaluate', str(bundle.path), str(bags[0]), *options]) == 2
    assert why in capsys.readouterr().err

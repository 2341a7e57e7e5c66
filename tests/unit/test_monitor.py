"""The corridor: the same frames give the same observations, wherever they come from."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from ros_ood_monitor.alerting import ConsecutiveLogic
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.engines.base import reading_of
from ros_ood_monitor.engines.ort_engine import OrtEngine
from ros_ood_monitor.errors import BundleError, EngineError
from ros_ood_monitor.evaluation.bags.scoring import score_frames
from ros_ood_monitor.monitor import Monitor, observe_together
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.records import Frame, NetworkInput, Observation, Reading, State
from ros_ood_monitor.replay import replay, write_table
from tests.odd_engine import OddEngine, poisoned
from tests.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


def frames(count: int, *, odd: range, seed: int = 0) -> list[Frame]:
    """Grey noise as the tiny bundle knows it, red noise where ``odd``."""
    rng = np.random.default_rng(seed)
    made = []
    for k in range(count):
        rgb = rng.integers(96, 160, (60, 90, 3), dtype=np.uint8)
        if k in odd:
            rgb = rng.integers(0, 50, rgb.shape, dtype=np.uint8)
            rgb[..., 0] += 200
        made.append(Frame(rgb, stamp=50.0 + k / 10, camera='left'))
    return made


def run(bundle: Bundle, stream: list[Frame]) -> list[Observation]:
    monitor = Monitor.from_bundle(bundle)
    return [monitor.observe(frame) for frame in stream]


def test_an_engine_is_closed_where_the_bundle_cannot_be_monitored(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[OrtEngine] = []
    init = OrtEngine.__init__

    def seen(self: OrtEngine, *args: object, **kwargs: object) -> None:
        opened.append(self)
        init(self, *args, **kwargs)

    monkeypatch.setattr(OrtEngine, '__init__', seen)
    odd = dataclasses.replace(bundle.manifest, health={'black': 'dark'})
    monkeypatch.setattr(bundle, 'manifest', odd)
    with pytest.raises(BundleError, match='health'):
        Monitor.from_bundle(bundle)
    assert [engine._backbone for engine in opened] == [None]


def test_an_odd_stretch_raises_one_alert_that_clears(bundle: Bundle) -> None:
    seen = run(bundle, frames(40, odd=range(10, 20)))
    entered = [o.state for o in seen if o.alert.changed]
    assert entered == [State.SUSPECT, State.ALERT, State.NORMAL]
    alert = next(o for o in seen if o.state is State.ALERT)
    assert alert.stamp == pytest.approx(51.2)
    assert alert.raw_score > alert.threshold
    assert alert.score == 1.0


def test_two_runs_agree_in_everything_but_processing_time(bundle: Bundle) -> None:
    stream = frames(30, odd=range(5, 12))
    assert run(bundle, stream) == run(bundle, stream)


def test_stamp_and_camera_come_through_unchanged(bundle: Bundle) -> None:
    (first, *_) = run(bundle, frames(1, odd=range(0)))
    assert (first.stamp, first.camera) == (50.0, 'left')


def test_processing_time_is_taken_from_the_given_clock(bundle: Bundle) -> None:
    ticks = itertools.count(step=0.25)
    monitor = Monitor.from_bundle(bundle, clock=lambda: next(ticks))
    assert monitor.observe(frames(1, odd=range(0))[0]).latency_ms == 250.0


def test_what_was_resized_ahead_gives_the_same_and_counts_as_processing_time(
    bundle: Bundle,
) -> None:
    stream = frames(20, odd=range(8, 14))
    manifest = bundle.manifest
    fitting = Preprocessor(manifest.input_height, manifest.input_width)
    foreign = Preprocessor(manifest.input_height + 1, manifest.input_width)
    assert run(bundle, [fitting.ahead(frame) for frame in stream]) == run(bundle, stream)
    assert run(bundle, [foreign.ahead(frame) for frame in stream]) == run(bundle, stream)
    ticks = itertools.count(step=0.25)
    monitor = Monitor.from_bundle(bundle, clock=lambda: next(ticks))
    made = NetworkInput(fitting(stream[0].rgb), stream[0].rgb, 0.5)
    frame = dataclasses.replace(stream[0], network_input=made)
    assert monitor.observe(frame).latency_ms == 750.0


def test_another_alert_logic_can_be_given(bundle: Bundle) -> None:
    logic = ConsecutiveLogic(trigger=-1e9, release=-1e9, trigger_frames=1)
    monitor = Monitor.from_bundle(bundle, alert=logic)
    observation = monitor.observe(frames(1, odd=range(0))[0])
    assert observation.state is State.ALERT
    assert observation.threshold == monitor.threshold == -1e9


def test_monitors_of_two_cameras_share_all_but_their_alert_state(bundle: Bundle) -> None:
    left = Monitor.from_bundle(bundle)
    logic = ConsecutiveLogic(trigger=left.threshold, release=left.threshold, trigger_frames=1)
    right = left.another(logic)
    assert (right.engine, right.bundle) == (left.engine, left.bundle)
    assert (right.alert, left.alert is logic) == (logic, False)
    odd, *_ = frames(1, odd=range(1))
    seen = [right.observe(odd), left.observe(odd)]
    assert seen[0].raw_score == seen[1].raw_score
    assert [o.state for o in seen] == [State.ALERT, State.SUSPECT]


def test_an_answer_that_is_no_number_is_not_judged_and_told_at_the_desk_as_on_the_robot(
    bundle: Bundle, tmp_path: Path
) -> None:
    stream = [
        dataclasses.replace(frame, rgb=poisoned(frame.rgb)) if k in (4, 5, 9) else frame
        for k, frame in enumerate(frames(14, odd=range(8, 14)))
    ]
    engine = OddEngine(open_engine(bundle))
    seen = list(replay(Monitor(bundle, engine), stream))
    odd = [k for k, o in enumerate(seen) if not o.has_answer]
    assert odd == [k for k, o in enumerate(seen) if o.state is State.FAULT] == [4, 5, 9]
    assert not any(seen[k].is_judged for k in odd)
    # an alert needs its frames anew: a number is missing among them
    assert [o.state for o in seen[8:]] == [
        State.SUSPECT, State.FAULT, State.SUSPECT, State.SUSPECT, State.ALERT, State.ALERT,
    ]  # fmt: skip
    monitor = Monitor(bundle, engine)
    other = monitor.another(ConsecutiveLogic(trigger=1e9, release=1e9))
    calm = frames(14, odd=range(0))
    together = [
        observe_together([(monitor, one), (other, two)])
        for one, two in zip(stream, calm, strict=True)
    ]
    assert [(o.alert, repr(o.raw_score)) for o, _ in together] == [
        (o.alert, repr(o.raw_score)) for o in seen
    ]
    assert {two.state for _, two in together} == {State.NORMAL}
    table = tmp_path / 'table.csv'
    write_table(seen, table)
    assert [row.split(',')[2] for row in table.read_text().splitlines()[1:]].count('nan') == 3
    scored = score_frames(
        ((f.stamp, f) for f in stream), bundle, engine, path=tmp_path, cameras=('left',)
    )
    assert np.flatnonzero(~scored.judged).tolist() == odd
    assert "3 frames not judged: the engine's answer is not finite" in scored.facts.problems


def test_an_engine_without_an_answer_for_ten_frames_in_a_row_has_failed(bundle: Bundle) -> None:
    monitor = Monitor(bundle, OddEngine(open_engine(bundle)))
    good, *_ = frames(1, odd=range(0))
    odd = dataclasses.replace(good, rgb=poisoned(good.rgb))
    for frame in (*[odd] * 9, good, *[odd] * 9):
        monitor.observe(frame)
    with pytest.raises(EngineError, match=r'^no finite answer for 10 frames in a row; verify the'):
        monitor.observe(odd)
    monitor.reset()
    assert monitor.observe(odd).state is State.FAULT


def test_a_row_with_one_odd_cell_spoils_no_other() -> None:
    patches = np.zeros((3, 2, 2), np.float32)
    patches[1, 0, 1] = np.nan
    reading = reading_of(np.array([1.0, 2.0, -np.inf], np.float32), patches)
    np.testing.assert_array_equal(reading.raw_score, [1.0, np.nan, np.nan])
    with pytest.raises(EngineError, match='raw_score is not finite for 2 of 3 inputs'):
        reading.require_finite()


def test_reset_makes_the_next_frame_the_first(bundle: Bundle) -> None:
    monitor = Monitor.from_bundle(bundle)
    stream = frames(20, odd=range(20))
    first = [monitor.observe(frame) for frame in stream]
    monitor.reset()
    assert [monitor.observe(frame) for frame in stream] == first


def test_silence_and_fault_reach_the_alert_logic(bundle: Bundle) -> None:
    monitor = Monitor.from_bundle(bundle)
    monitor.observe(frames(1, odd=range(0))[0])
    assert monitor.check_silence(60.0).state is State.STALE
    assert monitor.fault('engine failed').state is State.FAULT
    assert monitor.state.reason == 'engine failed'


def test_an_engine_failure_leaves_the_alert_state(bundle: Bundle) -> None:
    monitor = Monitor.from_bundle(bundle)
    for frame in frames(5, odd=range(5)):
        before = monitor.observe(frame).alert
    monitor.close()
    with pytest.raises(EngineError):
        monitor.observe(frames(1, odd=range(0))[0])
    assert monitor.state == before


def test_monitor_verifies_its_own_engine(bundle: Bundle) -> None:
    assert Monitor.from_bundle(bundle).verify().ok


def test_a_zipped_bundle_gives_the_same_scores(bundle: Bundle, tmp_path: Path) -> None:
    import shutil

    archive = shutil.make_archive(str(tmp_path / 'tiny'), 'zip', bundle.path)
    stream = frames(6, odd=range(3, 6))
    assert run(Bundle.load(archive), stream) == run(bundle, stream)


@pytest.fixture(scope='module')
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'mapped', maps=True)


def test_a_bundle_with_maps_says_where(mapped: Bundle) -> None:
    monitor = Monitor.from_bundle(mapped)
    (frame,) = frames(1, odd=range(0))
    quiet = monitor.observe(frame)
    rgb = frame.rgb.copy()
    rgb[20:40, 50:80] = 255, 0, 0
    seen = monitor.observe(Frame(rgb, stamp=50.1, camera='left'))
    assert monitor.has_map
    assert (quiet.regions, quiet.image_size) == ((), (60, 90))
    assert quiet.heatmap_peak is not None
    assert quiet.heatmap_peak < 1.0
    (region,) = seen.regions
    assert region.peak == seen.heatmap_peak > 1.0
    assert region[:4] == (45, 15, 38, 30)  # the cells, 7.5 px each, that the square touches
    assert seen.heatmap is not None
    assert seen.heatmap is seen.heatmap  # made once
    assert (seen.heatmap.shape, seen.heatmap.dtype) == ((60, 90), np.float32)
    inside = seen.heatmap[15:45, 45:83]
    assert inside.max() == pytest.approx(region.peak, rel=0.05)
    assert seen.heatmap.sum() - inside.sum() < 0.1 * inside.sum()
    assert seen.patch_score is not None
    grid = seen.heatmap_at(seen.patch_score.shape)  # type: ignore[arg-type]
    assert grid is not None
    assert grid.max() == pytest.approx(region.peak, rel=1e-6)


def test_places_are_the_same_in_every_run_and_belong_to_equality(mapped: Bundle) -> None:
    stream = frames(12, odd=range(4, 9))
    first, second = run(mapped, stream), run(mapped, stream)
    assert first == second
    for one, other in zip(first, second, strict=True):
        assert (one.patch_score == other.patch_score).all()  # type: ignore[union-attr]
    assert any(o.regions for o in first)
    assert dataclasses.replace(first[5], regions=()) != second[5]
    assert dataclasses.replace(first[5], heatmap_peak=2.0) != second[5]


def test_an_observation_keeps_its_map_whatever_the_engine_does_next(mapped: Bundle) -> None:
    class Reusing:
        precision = 'fp32'
        patches = np.full((1, 8, 12), 200.0, np.float32)

        def infer(self, batch: object) -> Reading:
            return Reading(np.zeros(1), self.patches)

    monitor = Monitor(mapped, Reusing())  # type: ignore[arg-type]
    seen = monitor.observe(frames(1, odd=range(0))[0])
    Reusing.patches[:] = 0.0
    assert seen.heatmap is not None
    assert seen.heatmap.min() > 1.0


def test_a_bundle_without_maps_has_no_places(bundle: Bundle) -> None:
    monitor = Monitor.from_bundle(bundle)
    seen = monitor.observe(frames(1, odd=range(1))[0])
    assert not monitor.has_map
    assert (seen.regions, seen.heatmap, seen.heatmap_peak, seen.patch_score) == (
        (), None, None, None,
    )  # fmt: skip
    assert seen.heatmap_at((4, 4)) is None


def test_cameras_in_one_call_are_judged_as_each_is_alone(mapped: Bundle) -> None:
    def monitors() -> list[Monitor]:
        first = Monitor.from_bundle(mapped)
        logic = {'trigger': first.threshold, 'release': first.threshold, 'trigger_frames': 2}
        return [first, *(first.another(ConsecutiveLogic(**logic)) for _ in range(2))]

    def picture(k: int, camera: int) -> Frame:
        (frame,) = frames(1, odd=range(k in range(2, 9) and camera == 1), seed=3 * k + camera)
        rgb = frame.rgb[: 60 - 12 * camera, : 90 - 5 * camera]  # no two of one size
        return Frame(np.ascontiguousarray(rgb), stamp=frame.stamp + k / 10, camera=str(camera))

    together, apart = monitors(), monitors()
    seen = []
    for k in range(12):
        stream = [picture(k, camera) for camera in range(3)]
        answers = observe_together(list(zip(together, stream, strict=True)))
        for got, monitor, frame in zip(answers, apart, stream, strict=True):
            wanted = monitor.observe(frame)
            assert (got.camera, got.stamp) == (frame.camera, frame.stamp)
            assert got.raw_score == pytest.approx(wanted.raw_score, rel=1e-6)
            assert got.alert.state is wanted.alert.state
            assert (got.alert.changed, got.image_size) == (wanted.alert.changed, wanted.image_size)
            assert got.health_text == wanted.health_text
            assert got.patch_score is not None
            assert wanted.patch_score is not None
            np.testing.assert_allclose(got.patch_score, wanted.patch_score, rtol=1e-4, atol=1e-5)
            assert [region[:4] for region in got.regions] == [r[:4] for r in wanted.regions]
        seen.append([answer.state for answer in answers])
    assert {states[1] for states in seen} == {State.NORMAL, State.SUSPECT, State.ALERT}
    assert {state for states in seen for state in (states[0], states[2])} == {State.NORMAL}


def test_one_call_is_in_the_processing_time_of_each_and_its_failure_leaves_every_state(
    bundle: Bundle,
) -> None:
    ticks = itertools.count(step=0.25)
    first = Monitor.from_bundle(bundle, clock=lambda: next(ticks))
    logic = ConsecutiveLogic(trigger=first.threshold, release=first.threshold)
    pair = [first, first.another(logic)]
    stream = list(zip(pair, frames(2, odd=range(2)), strict=True))
    # two ticks as it starts, then one for each answer
    assert [o.latency_ms for o in observe_together(stream)] == [500.0, 500.0]
    before = [monitor.state for monitor in pair]
    first.engine.close()
    with pytest.raises(EngineError, match='ONNX Runtime failed'):
        observe_together(stream)
    assert [monitor.state for monitor in pair] == before


def test_cameras_of_two_bundles_share_no_call(bundle: Bundle, mapped: Bundle) -> None:
    pair = Monitor.from_bundle(bundle), Monitor.from_bundle(mapped)
    with pytest.raises(EngineError, match=r"camera 'left' belong to another bundle .* apart"):
        observe_together(list(zip(pair, frames(2, odd=range(0)), strict=True)))
    assert len(observe_together([(pair[0], frames(1, odd=range(0))[0])])) == 1

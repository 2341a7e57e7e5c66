"""Heat-maps and overlays: right in place and size, and nothing while nobody listens."""

from __future__ import annotations

import contextlib
from pathlib import Path
import threading
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.maps.overlay import annotated
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import Frame, Observation, Reading
from ros_ood_monitor.ros.outputs import pictures
from ros_ood_monitor.ros.outputs.pictures import heatmap_size, PictureThread
from tests.ros.harness import (
    BEST_EFFORT,
    compressed,
    image,
    normal_frame,
    Peer,
    peer,
    RELIABLE,
    running_node,
    UNCONFIGURED,
    values,
    wait_until,
)
from tests.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.usefixtures('ros')

HEATMAP, OVERLAY = 'ood_monitor/heatmap', 'ood_monitor/overlay/compressed'


@pytest.fixture(scope='module')
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the tiny bundle with a map: cells of 4 px of its 48x32 input."""
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'mapped', maps=True).path


def spotted(height: int = 60, width: int = 90) -> npt.NDArray[np.uint8]:
    """Grey noise with a red rectangle in the lower right quarter, (H, W, 3)."""
    rgb = normal_frame(height=height, width=width)
    rgb[height // 2 : height * 3 // 4, width // 2 : width * 3 // 4] = 255, 0, 0
    return rgb


class Viewer:
    """Subscribes to a topic of pictures while it is in use."""

    def __init__(self, me: Peer, node: Any, kind: Any, topic: str, profile: Any = RELIABLE):
        self.seen: list[Any] = []
        self._me, self._node, self._topic = me, node, topic
        self._count = node.count_subscribers(f'/{topic}')
        self._subscription = me.node.create_subscription(kind, topic, self.seen.append, profile)
        wait_until(lambda: self._heard() > self._count, f'the node to see a listener of {topic}')

    def _heard(self) -> int:
        return int(self._node.count_subscribers(f'/{self._topic}'))

    def close(self) -> None:
        self._me.node.destroy_subscription(self._subscription)
        wait_until(lambda: self._heard() == self._count, 'the node to see it go')

    def take(self, message: Any) -> Any:
        """Publish a frame and return the picture of it."""
        before = len(self.seen)
        self._me.publish_and_wait(message)

        def look() -> Any:
            # one of a frame before it may come as well: it is offered after the observation
            return [seen for seen in self.seen[before:] if seen.header == message.header]

        return wait_until(look, f'a picture on {self._topic}')[0]


@contextlib.contextmanager
def viewer(*given: Any) -> Any:
    made = Viewer(*given)
    try:
        yield made
    finally:
        made.close()


def heat_of(message: Image) -> npt.NDArray[np.float32]:
    assert message.encoding == '32FC1'
    assert message.step == 4 * message.width
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)


def rgb_of(message: CompressedImage) -> npt.NDArray[np.uint8]:
    assert message.format == 'jpeg'
    bgr = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def offline(bundle: Path, rgb: npt.NDArray[np.uint8], stamp: float) -> Observation:
    return Monitor.from_bundle(Bundle.load(bundle)).observe(Frame(rgb, stamp))


def test_heatmap_is_that_of_the_monitor_with_the_images_header(mapped: Path) -> None:
    with running_node(model__bundle=str(mapped)) as node, peer() as me:
        me.activate()
        with viewer(me, node, Image, HEATMAP) as view:
            frame = image(spotted(), stamp=12.25, frame_id='optical')
            message = view.take(frame)
    expected = offline(mapped, spotted(), 12.25)
    heat = heat_of(message)
    assert (heat == expected.heatmap).all()
    assert message.header == frame.header
    assert heat.max() > 1.0 > heat[:20, :40].max()
    said = values(me.observations[-1])
    assert float(said['heatmap_peak']) == expected.heatmap_peak
    ((*box, peak),) = [region.split(',') for region in said['regions'].split('; ')]
    (region,) = expected.regions
    assert tuple(map(int, box)) == region[:4]
    assert float(peak) == pytest.approx(region.peak, rel=1e-3)


@pytest.mark.parametrize(
    ('choice', 'image_size', 'expected'),
    [
        ('auto', (480, 640), (240, 320)),
        ('auto', (640, 480), (320, 240)),
        ('auto', (1080, 1920), (180, 320)),
        ('auto', (60, 90), (60, 90)),
        ('auto', (1, 5000), (1, 320)),
        ('grid', (480, 640), (14, 20)),
        ('input', (1080, 1920), (1080, 1920)),
    ],
)
def test_size_of_the_heatmap(
    choice: str, image_size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert heatmap_size(choice, (14, 20), image_size) == expected


def test_size_of_the_heatmap_follows_the_parameter_and_the_image(mapped: Path) -> None:
    with running_node(model__bundle=str(mapped)) as node, peer() as me:
        me.activate()
        with viewer(me, node, Image, HEATMAP, BEST_EFFORT) as view:
            sizes = []
            for choice in ('auto', 'grid', 'input'):
                (answer,) = node.set_parameters([Parameter('publish.heatmap_size', value=choice)])
                assert answer.successful
                for stamp, size in enumerate([(480, 360), (90, 120)], start=1):
                    frame = image(spotted(*size), stamp=float(stamp), encoding='bgr8')
                    heat = heat_of(view.take(frame))
                    sizes.append(heat.shape)
                    assert heat.max() > 1.0
    assert sizes == [(320, 240), (90, 120), (8, 12), (8, 12), (480, 360), (90, 120)]


def test_overlay_shows_map_and_words_at_the_width_asked_for(mapped: Path) -> None:
    parameters = {'publish__overlay_width': 400, 'publish__overlay_quality': 95}
    with running_node(model__bundle=str(mapped), **parameters) as node, peer() as me:
        me.activate()
        with viewer(me, node, CompressedImage, OVERLAY) as view:
            frame = image(spotted(480, 640), stamp=3.5)
            message = view.take(frame)
            wide = rgb_of(message)
            (answer,) = node.set_parameters([Parameter('publish.overlay_quality', value=5)])
            assert answer.successful
            small = view.take(image(spotted(480, 640), stamp=4.0))
            upright = rgb_of(view.take(image(spotted(400, 120), stamp=4.5)))
    assert message.header == frame.header
    expected = annotated(spotted(480, 640), offline(mapped, spotted(480, 640), 3.5), width=400)
    assert wide.shape == expected.shape
    assert np.abs(wide.astype(int) - expected).mean() < 6.0  # JPEG of noise
    assert len(small.data) < len(message.data) / 4
    assert upright.shape[1] == 360


def test_overlay_of_a_bundle_without_maps_is_the_picture_under_its_words(
    tiny_bundle: Path,
) -> None:
    with running_node(model__bundle=str(tiny_bundle)) as node, peer() as me:
        me.activate()
        with viewer(me, node, CompressedImage, OVERLAY) as view:
            drawn = rgb_of(view.take(image(spotted(240, 320), stamp=3.5)))
        assert 'heatmap_peak' not in values(me.observations[-1])
        assert node.count_publishers('/' + HEATMAP) == 0  # it is not even promised
    assert drawn.shape[0] > 240
    assert np.abs(drawn[-240:].astype(int) - spotted(240, 320)).mean() < 12.0


def test_nothing_is_made_while_nobody_listens(
    mapped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def noted(name: str, function: Any) -> Any:
        def run(*args: Any, **options: Any) -> Any:
            made.append(name)
            return function(*args, **options)

        return run

    monkeypatch.setattr(Observation, 'heatmap_at', noted('map', Observation.heatmap_at))
    monkeypatch.setattr(pictures, 'annotated', noted('overlay', annotated))
    with running_node(model__bundle=str(mapped)) as node, peer() as me:
        me.activate()
        stamps = iter(np.arange(10.0, 60.0, 0.1).tolist())

        def frames(count: int) -> None:
            for _ in range(count):
                me.publish_and_wait(image(spotted(), stamp=next(stamps)))

        frames(3)
        assert made == []
        with viewer(me, node, Image, HEATMAP) as view:  # a late one
            view.take(image(spotted(), stamp=next(stamps)))
        assert set(made) == {'map'}
        with viewer(me, node, CompressedImage, OVERLAY) as view:
            view.take(image(spotted(), stamp=next(stamps)))
        assert made.count('overlay') == 1
        threads = [t for t in threading.enumerate() if t.name == 'pictures']
        assert len(threads) == 1
        before = len(made)
        frames(3)
        assert len(made) == before
        assert me.change(Transition.TRANSITION_DEACTIVATE)
        threads[0].join(60.0)  # deactivating waits for a second only
        assert not threads[0].is_alive()


def test_a_slow_picture_holds_no_score_up_and_the_newest_comes_next(
    mapped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, leave = threading.Event(), threading.Event()
    offered: list[int] = []
    offer = PictureThread.offer

    def noted(self: PictureThread, index: int, message: Any, *answer: Any) -> None:
        offer(self, index, message, *answer)
        offered.append(message.header.stamp.sec)

    def slow(*args: Any, **options: Any) -> Any:
        entered.set()
        assert leave.wait(60.0)
        return annotated(*args, **options)

    monkeypatch.setattr(pictures, 'annotated', slow)
    monkeypatch.setattr(PictureThread, 'offer', noted)
    with running_node(model__bundle=str(mapped)) as node, peer() as me:
        me.activate()
        with viewer(me, node, CompressedImage, OVERLAY) as view:
            me.publish_and_wait(image(spotted(), stamp=1.0))
            assert entered.wait(60.0)
            for k in range(2, 8):
                me.publish_and_wait(image(spotted(), stamp=float(k)))
            assert view.seen == []
            wait_until(lambda: 7 in offered, 'the newest frame to be offered')
            leave.set()
            wait_until(lambda: len(view.seen) >= 2, 'two pictures')
            assert [m.header.stamp.sec for m in view.seen] == [1, 7]


def test_a_picture_that_fails_costs_nothing_but_itself(
    mapped: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fails = [True]

    def failing(*args: Any, **options: Any) -> Any:
        if fails[0]:
            msg = 'no such colour'
            raise RuntimeError(msg)
        return annotated(*args, **options)

    monkeypatch.setattr(pictures, 'annotated', failing)
    with running_node(model__bundle=str(mapped)) as node, peer() as me:
        me.activate()
        with viewer(me, node, CompressedImage, OVERLAY) as view:
            for k in range(3):
                me.publish_and_wait(image(spotted(), stamp=1.0 + k))
            said = [0]
            wait_until(lambda: 'no such colour' in _read(capfd, said), 'the error in the log')
            fails[0] = False
            view.take(image(spotted(), stamp=9.0))


def _read(capfd: pytest.CaptureFixture[str], kept: list[Any]) -> str:
    kept.append(capfd.readouterr().err)
    return ''.join(kept[1:])


@pytest.mark.parametrize('has_map', [False, True], ids=['bundle', 'engine'])
def test_maps_that_are_required_and_not_there_refuse_to_configure(
    mapped: Path, tiny_bundle: Path, has_map: bool
) -> None:
    path = mapped if has_map else tiny_bundle

    def without_maps(settings: Any) -> Monitor:
        bundle = Bundle.load(path)
        engine: Any = open_engine(bundle)
        infer = engine.infer
        engine.infer = lambda batch: Reading(infer(batch).raw_score)
        return Monitor(bundle, engine)

    options = {'open_monitor': without_maps} if has_map else {}
    parameters = {'model__bundle': str(path), 'publish__heatmap': 'required'}
    with running_node(**options, **parameters) as node, peer() as me:
        assert not me.change(Transition.TRANSITION_CONFIGURE)
        assert me.state() == UNCONFIGURED
        status, _ = me.wait_for_status('model', lambda s, _: s.level == DiagnosticStatus.ERROR)
        lack = 'the engine onnxruntime gives no map; take another model.engine'
        if not has_map:
            lack = 'the bundle has no map; take one with a map'
        assert status.message.endswith(
            f"parameter 'publish.heatmap' is required, but {lack}, or set auto: {path}"
        )
        node.set_parameters([Parameter('publish.heatmap', value='auto')])
        me.activate()  # the rest of it works
        with viewer(me, node, CompressedImage, OVERLAY) as view:
            view.take(image(spotted()))
        assert node.count_publishers('/' + HEATMAP) == 0


def test_heatmap_comes_and_goes_with_the_parameter_from_round_to_round(mapped: Path) -> None:
    with running_node(model__bundle=str(mapped)) as node, peer() as me:
        for choice, there in (('never', 0), ('required', 1), ('never', 0), ('auto', 1)):
            node.set_parameters([Parameter('publish.heatmap', value=choice)])
            me.activate()
            assert node.count_publishers('/' + HEATMAP) == there
            if there:
                with viewer(me, node, Image, HEATMAP) as view:
                    view.take(image(spotted()))
            assert me.change(Transition.TRANSITION_DEACTIVATE)
            assert me.change(Transition.TRANSITION_CLEANUP)


def test_each_of_several_cameras_has_pictures_of_its_own_under_remapped_names(
    mapped: Path,
) -> None:
    given = ['--ros-args', '-r', '~/left/heatmap:=/where']
    with (
        running_node(
            model__bundle=str(mapped), input__topics=['front/image', 'left/image'], cli_args=given
        ) as node,
        peer() as me,
        peer(topic='front/image') as front,
        peer(topic='left/image') as left,
    ):
        me.activate()
        with (
            viewer(me, node, Image, 'ood_monitor/front/heatmap') as ahead,
            viewer(me, node, Image, 'where') as aside,
            viewer(me, node, CompressedImage, 'ood_monitor/left/overlay/compressed') as drawn,
        ):
            front.publish(image(spotted(60, 90), stamp=1.0, frame_id='f'))
            left.publish(image(spotted(90, 60), stamp=2.0, frame_id='l'))
            wait_until(lambda: ahead.seen and aside.seen and drawn.seen, 'three pictures')
            assert [heat_of(m).shape for m in (ahead.seen[0], aside.seen[0])] == [
                (60, 90), (90, 60),
            ]  # fmt: skip
            assert ahead.seen[0].header.frame_id == 'f'
            assert drawn.seen[0].header.frame_id == aside.seen[0].header.frame_id == 'l'
            assert (len(ahead.seen), len(aside.seen), len(drawn.seen)) == (1, 1, 1)


def test_compressed_frames_have_pictures_too(mapped: Path) -> None:
    file = cv2.imencode('.png', spotted()[..., ::-1])[1].tobytes()
    parameters = {'model__bundle': str(mapped), 'input__transport': 'compressed'}
    with running_node(**parameters) as node, peer() as me:
        me.activate()
        with viewer(me, node, Image, HEATMAP) as view:
            heat = heat_of(view.take(compressed(file, kind='png')))
    assert (heat == offline(mapped, spotted(), 0.0).heatmap).all()


def test_node_and_replay_agree_about_places(mapped: Path) -> None:
    stream = [(normal_frame(k) if k % 3 else spotted(60 + k, 90), 5.0 + k / 10) for k in range(9)]
    with running_node(model__bundle=str(mapped)) as node, peer() as me:
        me.activate()
        with viewer(me, node, Image, HEATMAP) as view:
            online: list[tuple[DiagnosticArray, Image]] = []
            for rgb, stamp in stream:
                picture = view.take(image(rgb, stamp=stamp))
                online.append((me.observations[-1], picture))
    monitor = Monitor.from_bundle(Bundle.load(mapped))
    for (rgb, stamp), (message, picture) in zip(stream, online, strict=True):
        expected = monitor.observe(Frame(rgb, stamp))
        said = values(message)
        assert float(said['raw_score']) == expected.raw_score
        assert float(said['heatmap_peak']) == expected.heatmap_peak
        boxes = [region.rsplit(',', 1)[0] for region in said['regions'].split('; ') if region]
        assert boxes == [','.join(map(str, region[:4])) for region in expected.regions]
        assert (heat_of(picture) == expected.heatmap).all()

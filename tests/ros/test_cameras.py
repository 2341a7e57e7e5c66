"""Which cameras the parameters name; no ROS is needed for that."""

from __future__ import annotations

from typing import Any

import pytest

from ros_ood_monitor.camera_names import camera_names
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.ros.camera.cameras import Camera, cameras_of
from ros_ood_monitor.ros.parameters.settings import Settings


def _resolve(name: str) -> str:
    if ' ' in name:
        msg = 'failed to resolve name: topic name must not contain blanks, at /x/expand.c:73'
        raise RuntimeError(msg)
    return {'/rover/remapped/image': '/zed/left'}.get(f'/rover/{name}') or (
        name if name.startswith('/') else f'/rover/{name}'
    )


def _cameras(*topics: str, **changes: Any) -> tuple[Camera, ...]:
    return cameras_of(Settings.defaults(input_topics=topics, **changes), _resolve)


def _names(*topics: str) -> list[str]:
    return [camera.name for camera in _cameras(*topics)]


def test_one_camera_is_named_by_its_images_and_has_the_remapped_topic() -> None:
    assert _cameras('remapped/image') == (
        Camera('', 'remapped/image', '/zed/left', 'remapped/image'),
    )
    assert _cameras('image') == (Camera('', 'image', '/rover/image', 'image'),)


@pytest.mark.parametrize(
    ('topics', 'names'),
    [
        (['front/image_raw', 'rear/image_raw'], ['front', 'rear']),
        (['/rover/front/camera/image', '/rover/rear'], ['rover_front_camera', 'rover_rear']),
        (['left', 'right'], ['left', 'right']),
        (['front/image', 'image'], ['front', 'image']),
        (['~/front/image', '/a/b/rear/image/compressed'], ['front', 'a_b_rear']),
        (['/cam/image_raw', '/cam/image_rect'], ['cam_image_raw', 'cam_image_rect']),
        (['/a/b/image_raw', '/a_b/image_raw'], ['a__b__image_raw', 'a_b__image_raw']),
        (['/a/image', '/a/raw', '/a_image/image'], ['a__image', 'a_raw', 'a_image__image']),
    ],
)
def test_several_cameras_are_named_after_their_topics_as_in_a_replay(
    topics: list[str], names: list[str]
) -> None:
    assert _names(*topics) == names
    assert camera_names(topics) == names


def test_names_follow_the_topics_as_written_and_not_as_remapped() -> None:
    assert _names('remapped/image', 'rear/image') == ['remapped', 'rear']


def test_given_names_win() -> None:
    cameras = _cameras('a/image', 'b/image', input_cameras=('left', 'right'))
    assert [camera.name for camera in cameras] == ['left', 'right']
    (only,) = _cameras('a/image', input_cameras=('left',))
    assert only.name == 'left'


@pytest.mark.parametrize('entry', ['front/image', 'front/image/compressed'])
def test_compressed_images_are_on_the_topic_of_image_transport(entry: str) -> None:
    (camera,) = _cameras(entry, input_transport='compressed')
    assert camera.topic == '/rover/front/image/compressed'
    assert camera.entry == entry


@pytest.mark.parametrize(
    ('topics', 'cameras', 'message'),
    [
        ([], [''], r"'input.topics' must name a topic a camera, got \[\]"),
        (['a', ''], [''], r"'input.topics' must name a topic a camera, got \['a', ''\]"),
        (['a', '/rover/a'], [''], '/rover/a twice'),
        (['a b'], [''], "'input.topics' must name topics, got 'a b': failed to .* blanks$"),
        (['a', 'b'], ['left'], "a name for each of the 2 topics of 'input.topics', got"),
        (['a', 'b'], ['left', ''], "got '' in"),
        (['a', 'b'], ['left', 'left'], "got 'left' in"),
        (['a'], ['left eye'], "got 'left eye' in"),
        (['a'], ['left/eye'], "got 'left/eye' in"),
        (['a'], ['1'], "got '1' in"),
        (['1/image', '2/image'], [''], "name them in 'input.cameras'"),
    ],
)
def test_what_names_no_cameras_is_refused_with_what_was_expected(
    topics: list[str], cameras: list[str], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        _cameras(*topics, input_cameras=tuple(cameras))

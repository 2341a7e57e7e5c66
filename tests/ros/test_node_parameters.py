from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy')

from lifecycle_msgs.msg import Transition
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.ros.parameters.files import complaint
from ros_ood_monitor.ros.parameters.table import PARAMETERS
from tests.ros.harness import image, normal_frame, peer, running_node, values, wait_until

pytestmark = pytest.mark.usefixtures('ros')

ROOT = Path(__file__).resolve().parents[2]


def _set(node: Any, name: str, value: Any) -> Any:
    (result,) = node.set_parameters([Parameter(name, value=value)])
    return result


def test_every_row_of_the_table_is_declared_with_its_type_and_description() -> None:
    codes = {
        'bool': ParameterType.PARAMETER_BOOL,
        'integer': ParameterType.PARAMETER_INTEGER,
        'double': ParameterType.PARAMETER_DOUBLE,
        'string': ParameterType.PARAMETER_STRING,
        'string array': ParameterType.PARAMETER_STRING_ARRAY,
    }
    with running_node() as node:
        for spec in PARAMETERS:
            descriptor = node.describe_parameter(spec.name)
            assert descriptor.type == codes[spec.type_name]
            assert descriptor.description.startswith(spec.description)
            assert descriptor.read_only == (spec.applies == 'start')
        assert str(node.get_parameter('alert.trigger').value) == 'nan'


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('alert.triger', 7.0, "unknown parameter 'alert.triger'; did you mean 'alert.trigger'?"),
        ('qqqq', 7.0, "unknown parameter 'qqqq'"),
        ('x' * 100_000, 7.0, f"unknown parameter '{'x' * 80}'"),
        (
            'alert.stale_after',
            'soon',
            "parameter 'alert.stale_after' has the wrong type: expected double (such as 2.0), "
            "got 'soon'",
        ),
        ('alert.stale_after', 0, "parameter 'alert.stale_after' must lie in 0.05 to "),
        (
            'record.folder',
            '~no_such_user/x',
            "parameter 'record.folder' must be a path, got '~no_such_user/x': there is no such ",
        ),
        ('input.depth', 2.5, "parameter 'input.depth' has the wrong type: expected integer"),
    ],
    ids=['misspelt', 'unknown', 'long', 'text', 'range', 'home', 'fraction'],
)
def test_change_that_means_nothing_is_refused_in_our_words(
    name: str, value: Any, reason: str
) -> None:
    asked = Parameter(name, value=value).to_parameter_msg()
    with running_node(), peer() as me:
        (one,) = me.call(SetParameters, 'set_parameters', parameters=[asked]).results
        whole = me.call(SetParametersAtomically, 'set_parameters_atomically', parameters=[asked])
    assert not one.successful
    assert one.reason.startswith(reason)
    assert whole.result == one


def test_whole_number_is_taken_for_a_parameter_in_floating_point() -> None:
    asked = Parameter('alert.stale_after', value=3).to_parameter_msg()
    topic = Parameter('input.topics', value='/front').to_parameter_msg()
    with running_node() as node, peer() as me:
        answers = me.call(SetParameters, 'set_parameters', parameters=[asked, topic]).results
        got = [node.get_parameter(n).value for n in ('alert.stale_after', 'input.topics')]
    assert [answer.successful for answer in answers] == [True, True]
    assert repr(got) == "[3.0, ['/front']]"


def test_rendered_file_is_read_back_as_the_defaults() -> None:
    path = ROOT / 'config' / 'monitor.param.yaml'
    with running_node(cli_args=['--ros-args', '--params-file', str(path)]) as node:
        for spec in PARAMETERS:
            if spec.name != 'autostart':  # the harness sets it
                got = node.get_parameter(spec.name).value
                is_array = isinstance(spec.default, tuple)
                assert repr(tuple(got) if is_array else got) == repr(spec.default)


def test_unknown_names_are_warned_about_with_the_nearest_match(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / 'typo.yaml'
    path.write_text(
        '/**:\n  ros__parameters:\n    modle: {bundle: x}\n    alert: {triger_frames: 2}\n'
        '    threads: 2\n    use_sim_time: false\n    input: {camera: left}\n'
    )
    with running_node(cli_args=['--ros-args', '--params-file', str(path)]):
        pass
    said = capfd.readouterr().err
    assert "unknown parameter 'modle.bundle' is ignored; did you mean 'model.bundle'?" in said
    assert "did you mean 'alert.trigger_frames'?" in said
    assert "unknown parameter 'threads' is ignored; did you mean 'model.threads'?" in said
    assert "unknown parameter 'input.camera' is ignored; did you mean 'input.cameras'?" in said
    assert 'use_sim_time' not in said


def test_file_for_another_node_is_warned_about_and_named_where_the_bundle_is_missing(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / 'other.yaml'
    path.write_text('other_node:\n  ros__parameters:\n    model: {bundle: x}\n')
    with running_node(cli_args=['--ros-args', '--params-file', str(path)]), peer() as me:
        assert not me.change(Transition.TRANSITION_CONFIGURE)
        status, _ = me.wait_for_status('model', lambda s, _: 'not configured: ' in s.message)
    said = (
        "parameter file holds nothing for this node: expected the key '/**' or '/ood_monitor', "
        f"got 'other_node'; its parameters are ignored: {path}"
    )
    assert status.message.startswith("not configured: parameter 'model.bundle' is empty")
    assert status.message.endswith(f'; {said}')
    warned = [line for line in capfd.readouterr().err.splitlines() if '[WARN]' in line]
    assert [line.split(']: ')[-1] for line in warned].count(said) == 1


@pytest.mark.parametrize(
    ('key', 'is_ours'),
    [
        ('/**', True),
        ('/rover/ood_monitor', True),
        ('rover/ood_monitor', True),
        ('/*/ood_monitor', True),
        ('/**/ood_monitor', True),
        ('/rover/**', True),
        ('ood_monitor', False),
        ('/*', False),
        ('/rover/other', False),
        ('/rover/ood_monitor/deeper', False),
    ],
)
def test_key_of_a_parameter_file_is_matched_as_ros_matches_it(
    tmp_path: Path, key: str, is_ours: bool
) -> None:
    path = tmp_path / 'given.yaml'
    path.write_text(f'{key}:\n  ros__parameters:\n    model: {{threads: 3}}\n')
    with running_node('/rover', cli_args=['--ros-args', '--params-file', str(path)]) as node:
        assert (node.get_parameter('model.threads').value == 3) == is_ours
    assert (complaint(path, '/rover/ood_monitor') == '') == is_ours


def test_namespaces_over_the_node_name_are_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / 'given.yaml'
    path.write_text('rover:\n  ood_monitor:\n    ros__parameters:\n      model: {threads: 3}\n')
    with running_node('/rover', cli_args=['--ros-args', '--params-file', str(path)]) as node:
        assert node.get_parameter('model.threads').value == 3
    assert complaint(path, '/rover/ood_monitor') == ''
    assert "got 'rover/ood_monitor'" in complaint(path, '/ood_monitor')


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ('model.threads:=0', "'model.threads' must lie in 1 to 64, got 0"),
        ('model.threads:=two', "'model.threads' has the wrong type: expected integer"),
        ('input.topics:=3', "'input.topics' has the wrong type: expected string array (such as "),
        ('input.cameras:=[1, 2]', "(such as ['']), got [1, 2]"),
        ('input.transport:=smoke', "'input.transport' must be one of ['raw', 'compressed']"),
        ('alert.stale_after:=.nan', "'alert.stale_after' must lie in 0.05 to 3600 s, got nan"),
        ('input.max_rate_hz:=0.5', '(2 s), which is 1 Hz, got 0.5: no alert could be raised'),
    ],
)
def test_value_that_is_not_allowed_stops_the_start_with_a_reason(given: str, message: str) -> None:
    with (
        pytest.raises(ParameterError) as caught,
        running_node(cli_args=['--ros-args', '-p', given]),
    ):
        pass
    assert message in str(caught.value)


def test_whole_number_is_taken_for_a_double() -> None:
    with running_node(cli_args=['--ros-args', '-p', 'alert.trigger:=5']) as node:
        assert node.get_parameter('alert.trigger').value == 5.0


@pytest.mark.parametrize(
    ('given', 'names', 'topics'),
    [
        ('input.topics:=/front/image', [''], ['/front/image']),
        ('input.topics:=[/a/image, /b/image]', [''], ['/a/image', '/b/image']),
        ('input.cameras:=left', ['left'], ['image']),
        ('input.cameras:=[]', [''], ['image']),
    ],
)
def test_arrays_of_strings_are_taken_as_people_write_them(
    given: str, names: list[str], topics: list[str]
) -> None:
    with running_node(cli_args=['--ros-args', '-p', given]) as node:
        assert node.get_parameter('input.cameras').value == names
        assert node.get_parameter('input.topics').value == topics


def test_empty_sequence_in_a_file_leaves_the_cameras_to_their_topics(tmp_path: Path) -> None:
    path = tmp_path / 'given.yaml'
    path.write_text('/**:\n  ros__parameters:\n    input:\n      cameras: []\n      depth: 3\n')
    with running_node(cli_args=['--ros-args', '--params-file', str(path)]) as node:
        assert node.settings.input_cameras == ('',)
        assert node.settings.input_depth == 3


def test_start_parameters_are_read_only() -> None:
    with running_node() as node:
        result = _set(node, 'process.tune_malloc', False)
        assert not result.successful
        assert 'read-only' in result.reason


def test_configure_parameters_change_only_while_unconfigured(tiny_bundle: Path) -> None:
    with running_node() as node, peer() as me:
        assert _set(node, 'model.bundle', str(tiny_bundle)).successful
        assert me.change(Transition.TRANSITION_CONFIGURE)
        result = _set(node, 'model.bundle', 'another')
        assert not result.successful
        assert 'applies on configure' in result.reason
        assert node.get_parameter('model.bundle').value == str(tiny_bundle)
        assert me.change(Transition.TRANSITION_CLEANUP)
        assert _set(node, 'model.bundle', 'another').successful


def test_thresholds_change_while_active(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with running_node(model__bundle=str(tiny_bundle)) as node, peer() as me:
        me.activate()
        point = Bundle.load(tiny_bundle).calibration().operating_point
        first = values(me.publish_and_wait(image(normal_frame(), stamp=1.0)))
        assert float(first['threshold']) == point.trigger
        assert first['state'] == 'NORMAL'
        assert _set(node, 'alert.trigger', -100.0).successful
        second = values(me.publish_and_wait(image(normal_frame(), stamp=1.1)))
        assert float(second['threshold']) == -100.0
        assert second['state'] == 'SUSPECT'
        assert _set(node, 'health.frames', 4).successful
    said = capfd.readouterr().err
    assert said.count('alert.trigger is -100, held-out scores lie between') == 1


def test_frames_further_apart_than_half_of_stale_after_are_refused_in_either_parameter() -> None:
    with running_node(alert__stale_after=2.0) as node:
        refused = _set(node, 'input.max_rate_hz', 0.9)
        assert not refused.successful
        assert refused.reason.endswith("set 'alert.stale_after' to at least 2.22222 s first")
        assert _set(node, 'alert.stale_after', 2.22222).successful
        assert _set(node, 'input.max_rate_hz', 0.9).successful
        assert _set(node, 'alert.stale_after', 4.0).successful
        assert _set(node, 'input.max_rate_hz', 0.5).successful
        assert not _set(node, 'alert.stale_after', 2.0).successful
        assert node.settings.alert_stale_after == 4.0
        assert _set(node, 'input.max_rate_hz', 0.0).successful
        assert _set(node, 'alert.stale_after', 0.05).successful


def test_contradicting_thresholds_are_refused_while_active(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle)) as node, peer() as me:
        me.activate()
        result = _set(node, 'alert.release', 1e9)
        assert not result.successful
        assert 'at most the trigger threshold' in result.reason
        assert str(node.get_parameter('alert.release').value) == 'nan'


def test_shipped_bundle_is_found_by_its_name(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from ros_ood_monitor import share

    shutil.copytree(tiny_bundle, tmp_path / 'models' / 'shipped')
    monkeypatch.setattr(share, 'share_roots', lambda: [tmp_path])
    with running_node(model__bundle='shipped'), peer() as me:
        me.activate()
        wait_until(lambda: me.state() == 3, 'active')

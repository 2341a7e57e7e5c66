"""
The node's parameters: one table, from which everything else is derived.

The node declares them from here, ``config/monitor.param.yaml`` and ``docs/node.md`` are rendered
from here, and a test compares. Nothing in this file needs ROS.
"""

from __future__ import annotations

import math
from typing import Final

from ros_ood_monitor.alerting import LOGICS
from ros_ood_monitor.engines import ENGINES
from ros_ood_monitor.ros.parameters.spec import ParameterSpec

__all__ = ['PARAMETERS']

PARAMETERS: Final[tuple[ParameterSpec, ...]] = (
    ParameterSpec(
        'model.bundle',
        '',
        'Folder or .zip of the bundle, or the name of one that is shipped in models/. '
        'Must be given.',
    ),
    ParameterSpec(
        'model.engine',
        'auto',
        'Inference library; auto takes tensorrt or tensorrt_rtx where an engine was built for '
        'this device, else onnxruntime. See docs/engines.md.',
        choices=ENGINES,
    ),
    ParameterSpec(
        'model.precision',
        '',
        "One of the bundle's precisions; empty takes that of the engine built last, or the "
        "bundle's first one.",
    ),
    ParameterSpec(
        'model.threads',
        1,
        'CPU threads of the engine. More than one slows inference down where other processes '
        'are busy.',
        minimum=1,
        maximum=64,
    ),
    ParameterSpec(
        'model.device',
        0,
        'GPU of a tensorrt engine, as CUDA counts.',
        minimum=0,
        maximum=63,
    ),
    ParameterSpec(
        'model.engine_cache',
        '',
        'Folder of built engines; empty takes $OOD_MONITOR_ENGINES, or ood_monitor/engines in the '
        "user's cache.",
    ),
    ParameterSpec(
        'model.build_if_missing',
        False,
        'Start on onnxruntime where the TensorRT engine asked for is not there, build it in a '
        'process of its own, and go on with it once it reproduces the goldens. The precision '
        'stays the same.',
    ),
    ParameterSpec(
        'input.topics',
        ('image',),
        'Image topics, one a camera, without /compressed; each may be remapped.',
    ),
    ParameterSpec(
        'input.cameras',
        # an empty sequence in a parameter file has no type, and ROS then forgets the default
        ('',),
        "Names of the cameras, in the order of input.topics; [''] names one camera by the "
        'frame_id of its images, and several after their topics.',
    ),
    ParameterSpec(
        'input.transport',
        'raw',
        'raw subscribes to sensor_msgs/Image on input.topics, compressed to '
        'sensor_msgs/CompressedImage on their /compressed.',
        choices=('raw', 'compressed'),
    ),
    ParameterSpec(
        'input.reliability',
        'best_effort',
        'Reliability that the subscription asks for. reliable receives nothing from a camera '
        'that offers best effort; diagnostics then say so.',
        choices=('best_effort', 'reliable'),
    ),
    ParameterSpec(
        'input.depth',
        5,
        'Queue of the subscription, for moments in which the process is not scheduled. Behind it '
        'the newest frame wins, whatever the depth.',
        unit='frames',
        minimum=1,
        maximum=1000,
    ),
    ParameterSpec(
        'input.max_rate_hz',
        0.0,
        'Highest rate at which frames of one camera are scored, the others are skipped; 0 scores '
        'all it can. At least two frames in alert.stale_after: frames left out are no silence.',
        unit='Hz',
        minimum=0.0,
        maximum=1000.0,
        applies='live',
    ),
    ParameterSpec(
        'input.max_wait',
        1.0,
        'Longest time for which a received frame waits for the engine; one that waited longer is '
        'counted as late and not scored; 0 sets no limit.',
        unit='s',
        minimum=0.0,
        maximum=3600.0,
        applies='live',
    ),
    ParameterSpec(
        'input.batch',
        0,
        'Most frames, one a camera, that go into one call of the engine, of those that wait when '
        'the call before has ended; 0 leaves it to the engine: as many as a TensorRT engine was '
        'built for, one on onnxruntime.',
        unit='frames',
        minimum=0,
        maximum=64,
        applies='live',
    ),
    ParameterSpec(
        'input.deadline_ms',
        0.0,
        'Image stamp to published score, or processing time where stamps are of another clock: an '
        'answer that took longer is published all the same, counted, and a WARN; 0 sets none.',
        unit='ms',
        minimum=0.0,
        maximum=60000.0,
        applies='live',
    ),
    ParameterSpec(
        'alert.logic',
        '',
        "How scores become alerts; empty takes the bundle's. With another one, what the bundle "
        'says of its rate of false alerts does not hold. See docs/tuning_alerts.md.',
        choices=('', *LOGICS),
    ),
    ParameterSpec(
        'alert.trigger',
        math.nan,
        'A raw_score over it counts toward an alert; .nan takes the threshold of the bundle.',
        unit='raw_score',
        applies='live',
    ),
    ParameterSpec(
        'alert.release',
        math.nan,
        'A raw_score under it counts toward the end of an alert; .nan takes the threshold of '
        'the bundle, or alert.trigger where that is lower.',
        unit='raw_score',
        applies='live',
    ),
    ParameterSpec(
        'alert.trigger_frames',
        0,
        'Consecutive frames that raise an alert; 0 takes the count of the bundle.',
        unit='frames',
        minimum=0,
        maximum=100000,
        applies='live',
    ),
    ParameterSpec(
        'alert.release_frames',
        0,
        'Consecutive frames that clear an alert; 0 takes the count of the bundle.',
        unit='frames',
        minimum=0,
        maximum=100000,
        applies='live',
    ),
    ParameterSpec(
        'alert.trigger_seconds',
        math.nan,
        'Time for which the frames that raise an alert must last, beside their count; .nan takes '
        'that of the bundle.',
        unit='s',
        applies='live',
    ),
    ParameterSpec(
        'alert.release_seconds',
        math.nan,
        'Time for which the frames that clear an alert must last, beside their count; .nan takes '
        'that of the bundle.',
        unit='s',
        applies='live',
    ),
    ParameterSpec(
        'alert.limit',
        math.nan,
        'Limit of the logics ewma (raw_score), cusum (standard deviations times s) and '
        'martingale (nats); .nan takes that of the bundle.',
        applies='live',
    ),
    ParameterSpec(
        'alert.time_constant',
        math.nan,
        'Time over which the logic ewma averages; .nan takes that of the bundle.',
        unit='s',
        applies='live',
    ),
    ParameterSpec(
        'alert.reference',
        math.nan,
        'Standard deviations that the logic cusum takes off every score, half of the least shift '
        'that matters; .nan takes those of the bundle.',
        applies='live',
    ),
    ParameterSpec(
        'alert.stale_after',
        2.0,
        'Time without a score, or between two image stamps, after which the state is STALE. At '
        'least two periods of input.max_rate_hz. Counted by /clock with use_sim_time.',
        unit='s',
        minimum=0.05,
        maximum=3600.0,
        applies='live',
    ),
    ParameterSpec(
        'health.enabled',
        True,
        'Check every frame before its score is judged; false judges black and frozen pictures, '
        'too. See docs/input_health.md.',
        applies='live',
    ),
    ParameterSpec(
        'health.ignore',
        ('',),
        "Names of checks that are not made, such as frozen for a simulator's camera; [''] makes "
        'all.',
        applies='live',
    ),
    ParameterSpec(
        'health.frames',
        3,
        'Consecutive frames that must fail a check until the fault lasts, and pass it until it is '
        'over.',
        unit='frames',
        minimum=1,
        maximum=1000,
        applies='live',
    ),
    ParameterSpec(
        'health.black',
        math.nan,
        'A picture whose brightest pixels (but for 0.1 %) are darker is black; .nan takes the '
        'limit of the bundle.',
        unit='grey levels',
        minimum=0.0,
        maximum=255.0,
        applies='live',
    ),
    ParameterSpec(
        'health.saturated',
        math.nan,
        'A picture with a larger share of white pixels is saturated; .nan takes the limit of the '
        'bundle.',
        minimum=0.0,
        maximum=1.0,
        applies='live',
    ),
    ParameterSpec(
        'health.frozen',
        math.nan,
        'A picture that stays the same for longer is frozen; .nan takes the limit of the bundle.',
        unit='s',
        minimum=0.0,
        maximum=3600.0,
        applies='live',
    ),
    ParameterSpec(
        'health.blurred',
        math.nan,
        'A picture of less sharpness warns; .nan takes the limit of the bundle.',
        minimum=0.0,
        maximum=10.0,
        applies='live',
    ),
    ParameterSpec(
        'health.noise',
        math.nan,
        'A picture with more noise warns; .nan takes the limit of the bundle.',
        unit='grey levels',
        minimum=0.0,
        maximum=255.0,
        applies='live',
    ),
    ParameterSpec(
        'publish.heatmap',
        'auto',
        'Topic ~/heatmap: auto has it where the bundle has a map; required refuses to configure '
        'without one; never has none.',
        choices=('auto', 'required', 'never'),  # YAML would read off as false
    ),
    ParameterSpec(
        'publish.heatmap_size',
        'auto',
        'Size of ~/heatmap: auto is that of the image, shrunk to 320x240 at most, since larger '
        'messages need fastdds.xml; grid one pixel a cell; input that of the image.',
        choices=('auto', 'grid', 'input'),
        applies='live',
    ),
    ParameterSpec(
        'publish.overlay_width',
        640,
        'Wider images are shrunk to it for ~/overlay/compressed; narrower ones than 320 are '
        'enlarged by a whole factor, for the words to have room.',
        unit='px',
        minimum=320,
        maximum=8192,
        applies='live',
    ),
    ParameterSpec(
        'publish.overlay_quality',
        80,
        'JPEG quality of ~/overlay/compressed.',
        minimum=1,
        maximum=100,
        applies='live',
    ),
    ParameterSpec(
        'snapshot.folder',
        '',
        'Folder in which the service ~/snapshot makes one for each request; empty takes '
        'ood_monitor in $ROS_HOME or ~/.ros.',
        applies='live',
    ),
    ParameterSpec(
        'snapshot.max_disk',
        1024,
        "Most that this node's snapshots take there; the oldest are removed. 0 sets no limit.",
        unit='MiB',
        minimum=0,
        maximum=100000000,
        applies='live',
    ),
    ParameterSpec(
        'record.folder',
        '',
        'Folder in which every ALERT is recorded as a bag with a summary; empty records none.',
        applies='live',
    ),
    ParameterSpec(
        'record.before',
        5.0,
        'Image time that a recording holds from before the first frame in ALERT.',
        unit='s',
        minimum=0.0,
        maximum=3600.0,
        applies='live',
    ),
    ParameterSpec(
        'record.after',
        5.0,
        'Image time that it holds from behind the last one; an alert that begins in it extends '
        'the recording.',
        unit='s',
        minimum=0.0,
        maximum=3600.0,
        applies='live',
    ),
    ParameterSpec(
        'record.max_duration',
        60.0,
        'Longest image time from the first frame in ALERT on; the rest of an alert that is longer '
        'is not recorded.',
        unit='s',
        minimum=1.0,
        maximum=86400.0,
        applies='live',
    ),
    ParameterSpec(
        'record.max_disk',
        2048,
        "Most that this node's recordings take; the oldest are removed, those that somebody has "
        'marked never. 0 sets no limit.',
        unit='MiB',
        minimum=0,
        maximum=100000000,
        applies='live',
    ),
    ParameterSpec(
        'record.max_memory',
        256,
        'Most memory of frames that are kept or wait for the disk. Where it is short the oldest '
        'frames before an alert go first, and newest ones during it.',
        unit='MiB',
        minimum=1,
        maximum=1000000,
        applies='live',
    ),
    ParameterSpec(
        'autostart',
        True,
        'Configure and activate by itself at start; false leaves both to a lifecycle manager.',
        applies='start',
    ),
    ParameterSpec(
        'process.tune_malloc',
        True,
        'Keep freed frame buffers in the process (glibc) instead of mapping each one anew: '
        'less CPU and latency for up to 256 MB of memory that is not given back.',
        applies='start',
    ),
)
"""Every parameter, in the order of files and tables."""

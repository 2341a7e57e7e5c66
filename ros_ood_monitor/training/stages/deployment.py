"""What a bundle holds of every precision, computed the way the robot computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import copy
from dataclasses import dataclass

from ros_ood_monitor.bundle.manifest import Tolerance
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.training.export.graphs import (
    export_scorer,
    output_names,
    prove_backbone,
    prove_scorer,
)
from ros_ood_monitor.training.export.scorer import Scorer
from ros_ood_monitor.training.features.frame_reader import FrameReader
from ros_ood_monitor.training.held_out.deployed import deploy, Deployed
from ros_ood_monitor.training.held_out.pictures import Pictures
from ros_ood_monitor.training.held_out.rate import held_out_rates, HeldOutRate
from ros_ood_monitor.training.held_out.verdicts import judge_all, score_for_gate, shipped
from ros_ood_monitor.training.precisions import PrecisionVerdict
from ros_ood_monitor.training.stages.features import Features
from ros_ood_monitor.training.stages.held_out import HeldOut
from ros_ood_monitor.training.stages.model import Model
from ros_ood_monitor.training.stages.run import Run

__all__ = ['Deployment', 'deploy_model']

_RELATIVE_TOLERANCE = 1e-4
_MAP_TOLERANCE = 0.01  # deviations of a cell, root mean square over a map


@dataclass(frozen=True, eq=False)
class Deployment:
    """
    The precisions, and which of them may be shipped.

    Parameters
    ----------
    scorer_onnx : bytes
        The scorer, the same for all of them.
    deployed : mapping of str to Deployed
        Every precision, the reference first; refused ones too.
    verdicts : sequence of PrecisionVerdict
        Of all but the reference.
    tolerances : mapping of str to Tolerance
        Of the goldens of those that are shipped.
    rates : mapping of str to HeldOutRate
        What held-out sequences say of false alerts per hour, by precision; empty where nobody
        asked.

    """

    scorer_onnx: bytes
    deployed: Mapping[str, Deployed]
    verdicts: Sequence[PrecisionVerdict]
    tolerances: Mapping[str, Tolerance]
    rates: Mapping[str, HeldOutRate]

    @property
    def precisions(self) -> list[str]:
        """Return what is shipped, in the order in which it was asked for."""
        return list(self.tolerances)


def deploy_model(run: Run, features: Features, held_out: HeldOut, model: Model) -> Deployment:
    """
    Export the model; convert, calibrate and judge every precision.

    Parameters
    ----------
    run : Run
        The training.
    features : Features
        Of all frames.
    held_out : HeldOut
        The parts, and pseudo-OOD.
    model : Model
        What scores frames.

    Returns
    -------
    Deployment
        With one precision that is shipped at least.

    Raises
    ------
    TrainingError
        If every precision is refused, or one cannot be made.
    EngineError
        If ONNX Runtime computes anything else than torch.

    """
    reader, settings = model.reader, run.settings
    table, split, pictures = features.table, held_out.split, held_out.pictures
    with run.watch.part('export'):
        run.progress.note('exporting the scorer')
        scorer = model.scorer(features, held_out)
        scorer_onnx = export_scorer(copy.deepcopy(scorer).float(), reader.taps)
    # from here on everything is computed the way the robot computes it
    deployed: dict[str, Deployed] = {}
    for precision in dict.fromkeys(['fp32', *settings.precisions]):
        run.progress.note(f'calibrating {precision}')
        with run.watch.part('calibration' if precision == 'fp32' else precision):
            deployed[precision] = deploy(precision, reader, scorer_onnx, table, split, pictures)
    with run.watch.part('gate'):
        deployed = score_for_gate(deployed, seed=settings.seed, workers=run.resources.workers)
    with run.watch.part('checks'):
        tolerance = _check_parity(reader, scorer, scorer_onnx, deployed['fp32'], pictures)
        verdicts, tolerances = judge_all(deployed, tolerance)
        precisions = shipped(settings.precisions, verdicts)
    rates: dict[str, HeldOutRate] = {}
    if settings.false_alerts_per_hour is not None:
        with run.watch.part('rate'):
            candidates = {precision: deployed[precision] for precision in precisions}
            rates = held_out_rates(candidates, table, split, reader.dataset, settings)
        deployed |= {name: deployed[name].at(rate.point) for name, rate in rates.items()}
    kept = {precision: tolerances[precision] for precision in precisions}
    return Deployment(scorer_onnx, deployed, verdicts, kept, rates)


def _check_parity(
    reader: FrameReader,
    scorer: Scorer,
    scorer_onnx: bytes,
    reference: Deployed,
    pictures: Pictures,
) -> Tolerance:
    """Prove the exported graphs against what they were exported from; return the tolerance."""
    tolerance = Tolerance(
        max(0.01 * float(reference.raw_score.std()), 1e-6), _RELATIVE_TOLERANCE, _MAP_TOLERANCE
    )
    session = open_session(reader.onnx)
    prove_backbone(session, reader.backbone, reader.taps, pictures.golden, reader.maps)
    seen = session.run(output_names(reader.taps, reader.maps), {'image': pictures.golden})
    prove_scorer(open_session(scorer_onnx), scorer, reader.taps, seen, tolerance=tolerance)
    return tolerance

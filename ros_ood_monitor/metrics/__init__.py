"""
How well raw_score tells out-of-distribution pictures from in-distribution ones.

Out-of-distribution (OOD) is the positive class and a higher raw_score is the more anomalous one,
always: nothing is fitted and no sign is chosen, so a detector that is the wrong way round gets an
AUROC under 0.5. Equal scores count as what they are, neither order nor luck.

"FPR95" is two numbers in the literature, and they are not the same:

==================== ================================== ==================================
function             held fixed                         reported
==================== ================================== ==================================
`fpr95_id_positive`  95 % of in-distribution accepted   share of OOD accepted (missed)
`fpr95_ood_positive` 95 % of OOD flagged                share of in-distribution flagged
==================== ================================== ==================================
"""

from __future__ import annotations

from ros_ood_monitor.metrics.bootstrap import (
    aupr_interval,
    auroc_interval,
    check_bootstrap,
    Interval,
    middle,
)
from ros_ood_monitor.metrics.comparison import auroc_difference, auroc_error, Difference
from ros_ood_monitor.metrics.curves import (
    aupr,
    auroc,
    fpr95_id_positive,
    fpr95_ood_positive,
    share_over,
)

__all__ = [
    'Difference',
    'Interval',
    'aupr',
    'aupr_interval',
    'auroc',
    'auroc_difference',
    'auroc_error',
    'auroc_interval',
    'check_bootstrap',
    'fpr95_id_positive',
    'fpr95_ood_positive',
    'middle',
    'share_over',
]

"""What a durable write costs here: by engine and by way, and against what else one could use.

    from fuaio.bench import Ours, Plan, Way, measure, render, scratch_file

    ours = [Ours("io_uring", way) for way in (Way.WRITE_THEN_FLUSH, Way.FUA)]
    with scratch_file("/var/tmp", 64 << 20) as target:
        print(render(measure(target, Plan(contestants=ours))))

Only ratios of one run say something: devices, and what else a machine does, change.
"""

from fuaio.bench._observe import observe
from fuaio.bench._ours import Ours, Way
from fuaio.bench._peers import peers
from fuaio.bench._plot import PlotError, plot
from fuaio.bench._record import Latencies, Machine, Result, Run, Sample
from fuaio.bench._run import DEPTHS, QEMU, Plan, measure
from fuaio.bench._table import render
from fuaio.bench._target import Target, TargetError, block_device, scratch_file
from fuaio.bench._trial import try_out
from fuaio.bench._work import Answer, Contestant, Pattern, Released, Work

__all__ = [
    "DEPTHS",
    "QEMU",
    "Answer",
    "Contestant",
    "Latencies",
    "Machine",
    "Ours",
    "Pattern",
    "Plan",
    "PlotError",
    "Released",
    "Result",
    "Run",
    "Sample",
    "Target",
    "TargetError",
    "Way",
    "Work",
    "block_device",
    "measure",
    "observe",
    "peers",
    "plot",
    "render",
    "scratch_file",
    "try_out",
]

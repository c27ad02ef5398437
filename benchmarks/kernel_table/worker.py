"""What the computing process does: it measures rates, cases and peaks, as it is asked to.

In: orders, each a name, what it is about, and other arguments. Out: notes (the contender that it is at, and a
text), then an answer. See `benchmarks.meter.workers`, which starts it; `processes` asks.
"""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.kernel_table.contenders import contenders
from benchmarks.kernel_table.measuring import DeviceLostError, Report, measure, peak_growth, reason
from benchmarks.kernel_table.operation import Case
from benchmarks.kernel_table.rates import MachineRates, machine_rates
from benchmarks.kernel_table.records import CaseRecord
from benchmarks.meter.measure.clocks import device
from benchmarks.meter.measure.memory import peak_probe
from benchmarks.meter.workers import Orders


def serve(orders: Orders, threads: str) -> None:
    """Carry out orders, as long as somebody gives them, on so many threads."""
    torch.set_num_threads(int(threads))
    for name, subject, *others in orders:

        def report(contender: str, what: str, subject: Any = subject) -> None:
            orders.note((contender, f"{subject}: {contender} {what}"))

        try:
            answer = _ORDERS[name](report, subject, *others)
        except DeviceLostError as error:
            orders.give_up(str(error))
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the next case may well run
            orders.fail(reason(error))
        else:
            orders.answer(answer)


def _rates(_report: Report, dtypes: tuple[str, ...]) -> MachineRates:
    return machine_rates(dtypes)


def _measure(report: Report, case: Case, excluded: dict[str, str], seconds: float) -> CaseRecord:
    return measure(case, excluded, seconds, report)


def _peaks(report: Report, case: Case, names: list[str]) -> dict[str, int]:
    probe = peak_probe()
    makers = contenders(case, device())
    peaks = {}
    for name in names:
        report(name, "memory")
        peaks[name] = peak_growth(case, makers[name], probe)
    return peaks


_ORDERS: dict[str, Callable[..., Any]] = {"rates": _rates, "measure": _measure, "peaks": _peaks}

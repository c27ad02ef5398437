"""Processes that die, hang or fail, and the cases that go on without them."""

import math
import os
import signal
import time

import pytest

from benchmarks.kernel_table.processes import ComputeProcess, ComputeProcesses, ContenderLostError
from benchmarks.kernel_table.records import CaseRecord, ContenderResult
from benchmarks.kernel_table.run import Limits, run
from benchmarks.meter.workers import OrderFailedError
from tests.benchmarks.kernel_table.small_cases import RATES, SMALL, SSD, STEP


def test_a_process_that_dies_is_reported_and_replaced(capfd):
    process = ComputeProcess(1, print)
    try:
        assert process.ask("peaks", STEP, [], timeout_s=100) == {}
        os.kill(process._worker.pid, signal.SIGKILL)
        with pytest.raises(ContenderLostError, match="the process died, exit code -9"):
            process.ask("peaks", STEP, [], timeout_s=100)
        with pytest.raises(OrderFailedError, match="KeyError: 'nobody'"):
            process.ask("peaks", STEP, ["nobody"], timeout_s=100)
        assert process.ask("peaks", STEP, ["torch"], timeout_s=100)["torch"] >= 0
        assert f"{STEP}: torch memory" in capfd.readouterr().out
        with pytest.raises(ContenderLostError, match="no answer in time"):
            process.ask("peaks", STEP, [], timeout_s=0)
    finally:
        process.stop()


class Answering:
    """A process with prepared answers; an error is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def ask(self, *order, timeout_s):
        assert timeout_s > 0
        self.asked.append(order)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def last_table(tested, times, memory, deadline=math.inf):
    (*_, table) = run(tested, ComputeProcesses(times, memory), Limits(1.0, deadline), {"device": "cpu"})
    return table


def test_a_contender_that_kills_its_process_is_left_out_when_the_case_is_tried_again():
    measured = CaseRecord(
        STEP,
        {"hf": ContenderResult(failed="it died"), "torch": ContenderResult(0.0, [1.0])},
        baseline="torch",
    )
    times = Answering(RATES, ContenderLostError("it died", "hf"), measured)
    table = last_table([STEP], times, Answering({"torch": 5}))
    assert times.asked[2] == ("measure", STEP, {"hf": "it died"}, 1.0)
    assert table.records[0].results["torch"].peak_bytes == 5
    assert table.left == 0


def test_a_case_that_fails_as_a_whole_is_a_record_and_the_next_one_runs():
    times = Answering(
        RATES,
        ContenderLostError("it hangs", ""),
        OrderFailedError("ValueError: no"),
        CaseRecord(STEP, {"torch": ContenderResult(0.0, [1.0])}, baseline="torch"),
    )
    table = last_table([SSD, SMALL[2], STEP], times, Answering(OrderFailedError("cannot reset the peak")))
    assert [record.failed for record in table.records] == ["it hangs", "ValueError: no", ""]
    assert table.records[2].results["torch"].peak_bytes is None
    assert [record.troubled for record in table.records] == [True, True, False]


def test_no_case_is_started_after_the_deadline():
    table = last_table([SSD, STEP], Answering(RATES), Answering(), deadline=time.monotonic())
    assert (table.records, table.left) == ([], 2)

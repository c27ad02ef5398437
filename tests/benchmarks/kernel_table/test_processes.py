"""Processes that die, hang or fail, and the cases that go on without them."""

import math
import time

import pytest

from benchmarks.kernel_table.records import Record, Result
from benchmarks.kernel_table.run import Limits, Workers, run
from benchmarks.kernel_table.worker import RequestFailedError, Worker, WorkerLostError
from tests.benchmarks.kernel_table.small_cases import RATES, SMALL, SSD, STEP


def test_a_process_that_dies_is_said_to_and_replaced(capfd):
    worker = Worker(1, print)
    try:
        assert worker.ask("peaks", STEP, [], timeout_s=100) == {}
        worker._process.kill()
        with pytest.raises(WorkerLostError, match="the process died, exit code -9"):
            worker.ask("peaks", STEP, [], timeout_s=100)
        with pytest.raises(RequestFailedError, match="KeyError: 'nobody'"):
            worker.ask("peaks", STEP, ["nobody"], timeout_s=100)
        assert worker.ask("peaks", STEP, ["torch"], timeout_s=100)["torch"] >= 0
        assert f"{STEP}: torch memory" in capfd.readouterr().out
        with pytest.raises(WorkerLostError, match="no answer in time"):
            worker.ask("peaks", STEP, [], timeout_s=0)
    finally:
        worker.stop()


class Answering:
    """A worker with prepared answers; an error is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def ask(self, *request, timeout_s):
        assert timeout_s > 0
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def last_table(tested, times, memory, deadline=math.inf):
    (*_, table) = run(tested, Workers(times, memory), Limits(1.0, deadline), {"device": "cpu"})
    return table


def test_a_contender_that_kills_its_process_is_left_out_when_the_case_is_tried_again():
    measured = Record(STEP, {"hf": Result(failed="it died"), "torch": Result(0.0, [1.0])}, baseline="torch")
    times = Answering(RATES, WorkerLostError("it died", "hf"), measured)
    table = last_table([STEP], times, Answering({"torch": 5}))
    assert times.asked[2] == ("measure", STEP, {"hf": "it died"}, 1.0)
    assert table.records[0].results["torch"].peak_bytes == 5
    assert table.left == 0


def test_a_case_that_fails_as_a_whole_is_a_record_and_the_next_one_runs():
    times = Answering(
        RATES,
        WorkerLostError("it hangs", ""),
        RequestFailedError("ValueError: no"),
        Record(STEP, {"torch": Result(0.0, [1.0])}, baseline="torch"),
    )
    table = last_table([SSD, SMALL[2], STEP], times, Answering(RequestFailedError("cannot reset the peak")))
    assert [record.failed for record in table.records] == ["it hangs", "ValueError: no", ""]
    assert table.records[2].results["torch"].peak_bytes is None
    assert [record.troubled for record in table.records] == [True, True, False]


def test_no_case_is_started_after_the_deadline():
    table = last_table([SSD, STEP], Answering(RATES), Answering(), deadline=time.monotonic())
    assert (table.records, table.left) == ([], 2)

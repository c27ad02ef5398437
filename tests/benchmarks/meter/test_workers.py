"""Worker processes for real: what they answer, how they end, and that nothing outlives the parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.meter.workers import Guard, OrderFailedError, WorkerLostError, WorkerProcess, kill_group

ROOT = Path(__file__).parents[3]
FILE = """
import os
import signal
import subprocess
import sys


def serve(orders, *arguments):
    print("started", flush=True)
    for name, *details in orders:
        if name == "arguments":
            orders.answer([*arguments, *details])
        elif name == "notes":
            for note in details:
                orders.note(note)
            orders.answer("done")
        elif name == "skip":
            orders.skip("not here")
        elif name == "fail":
            orders.fail("no such number")
        elif name == "give up":
            orders.note("the last note")
            orders.give_up("the device is gone")
        elif name == "die":
            orders.note("about to die")
            os._exit(7)
        elif name == "hang":
            orders.note("about to hang")
            signal.pause()
        elif name == "start":
            sleeper = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
            orders.answer(sleeper.pid)
        elif name == "fork":
            line = orders.line()
            pid = os.fork()
            if pid == 0:
                orders.close()
                line.answer("hello")
                while True:
                    try:
                        line.answer(line.take())
                    except EOFError:
                        os._exit(0)
            line.close()
            orders.answer(pid)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "work.py"
    path.write_text(FILE)
    return path


@pytest.fixture
def worker(file):
    with WorkerProcess(file, "one", "two", environment=os.environ) as process:
        assert process.line.answer(60) is None
        yield process


def is_gone(pid):
    """Whether a process has ended; what is not our child is cleared away by whoever adopts it."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def wait_until_gone(pid):
    deadline = time.monotonic() + 60
    while not is_gone(pid):
        assert time.monotonic() < deadline, f"{pid} lives on"
        time.sleep(0.01)


def test_an_order_has_notes_and_an_answer(worker):
    notes = []
    assert worker.line.ask("arguments", "three", timeout_s=60) == ["one", "two", "three"]
    assert worker.line.ask("notes", "a", "b", timeout_s=60, told=notes.append) == "done"
    assert notes == ["a", "b"]


def test_a_failure_costs_its_own_order_only(worker):
    with pytest.raises(OrderFailedError, match="no such number") as failed:
        worker.line.ask("fail", timeout_s=60)
    with pytest.raises(OrderFailedError, match="not here") as skipped:
        worker.line.ask("skip", timeout_s=60)
    assert (failed.value.skipped, skipped.value.skipped) == (False, True)
    assert worker.usable
    assert worker.line.ask("arguments", timeout_s=60) == ["one", "two"]


@pytest.mark.parametrize(
    ("order", "timeout_s", "said"),
    [
        ("die", 60, ("its process ended; out of memory?", "ended", "about to die")),
        ("give up", 60, ("the device is gone", "gave up", "the last note")),
        ("hang", 1, ("no answer within 1 s", "silent", "about to hang")),
    ],
)
def test_a_lost_worker_says_what_it_was_at(worker, order, timeout_s, said):
    with pytest.raises(WorkerLostError) as lost:
        worker.line.ask(order, timeout_s=timeout_s)
    assert (str(lost.value), lost.value.cause, lost.value.note) == said
    assert not worker.usable
    assert order != "die" or worker.exit_code(60) == 7


def test_a_process_that_ended_is_not_waited_for(tmp_path):
    file = tmp_path / "broken.py"
    file.write_text("raise ValueError('no such file')")
    log = tmp_path / "log"
    with log.open("wb") as printed:
        process = WorkerProcess(file, environment=os.environ, log=printed)
    with process, pytest.raises(WorkerLostError, match="ended"):
        process.line.answer(60)
    assert "no such file" in log.read_text()


def test_a_forked_child_has_a_line_of_its_own(worker):
    line, pid = worker.line.ask_for_line("fork", timeout_s=60)
    assert line.answer(60) == "hello"
    assert line.ask("a", "b", timeout_s=60) == ("a", "b")
    assert worker.line.ask("arguments", timeout_s=60) == ["one", "two"]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerLostError, match="ended"):
        line.ask("c", timeout_s=60)
    assert worker.usable


def test_a_line_that_is_closed_ends_the_child(worker):
    line, pid = worker.line.ask_for_line("fork", timeout_s=60)
    line.close()
    wait_until_gone(pid)


def test_the_end_takes_everything_that_was_started(worker):
    started = worker.line.ask("start", timeout_s=60)
    worker.end()
    assert worker.exit_code(60) == -signal.SIGKILL
    wait_until_gone(started)


PARENT = """
import os, signal, sys
from pathlib import Path
from benchmarks.meter.workers import WorkerProcess

signal.signal(signal.SIGINT, signal.default_int_handler)  # in a background job it is ignored
worker = WorkerProcess(Path(sys.argv[1]), environment=os.environ)
worker.line.answer(60)
started = worker.line.ask("start", timeout_s=60)
try:
    print(worker.pid, started, flush=True)
    worker.line.ask("hang", timeout_s=60)
finally:
    print("interrupted", flush=True)
    worker.end()
"""


@pytest.fixture
def parent(file):
    """A process with a worker that hangs, and the pids of the worker and of what it started."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(file)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout.readline() == "started\n"
        yield process, [int(pid) for pid in process.stdout.readline().split()]
        kill_group(process.pid)


def test_nothing_outlives_a_parent_that_is_killed(parent):
    process, pids = parent
    assert len(pids) == 2
    process.kill()
    for pid in pids:
        wait_until_gone(pid)


def test_ctrl_c_is_the_parents_alone(parent):
    """A terminal sends it to the whole foreground group, which the worker is not in."""
    process, pids = parent
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout.read().split() == ["interrupted"]
    for pid in pids:
        wait_until_gone(pid)


def test_a_guard_that_ended_kills_nobody():
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True) as process:
        Guard(process.pid).end()
        assert process.poll() is None
        kill_group(process.pid)
    kill_group(process.pid)

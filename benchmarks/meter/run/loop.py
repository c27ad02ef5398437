"""The loop of a run: commit by commit, cell by cell.

In: a suite, and the choices of the command line. Out: result files, lines on the screen, and a report of what
is done, what failed and what is left.
"""

import time
from collections import deque
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from textwrap import indent
from typing import Any

from asv import util
from asv.console import log

from benchmarks.meter.asv_plugins import records
from benchmarks.meter.run.estimate import Estimate
from benchmarks.meter.run.plan import Cell, Step, plan, selected_cells
from benchmarks.meter.run.progress import Display, State, display, duration
from benchmarks.meter.run.results import CommitResults, ran
from benchmarks.meter.run.session import Session, error_line
from benchmarks.meter.run.suite import Suite

_FILES_TO_LEARN_FROM = 3
_UNKNOWN_CACHE_S = 300.0


@dataclass(frozen=True, slots=True)
class Choices:
    """What to run of a suite, and for how long.

    Attributes:
        again: also measure cells that have a result.
        retry_failed: also run cells that failed in an earlier run.
        deadline: when to stop, on the clock of `time.monotonic`. A cell that might not be done by then is not
            started, except the first.
        launch_method: how asv starts the processes of benchmarks; None for that of the configuration.
        show_stderr: print what the benchmarks print.
    """

    again: bool = False
    retry_failed: bool = False
    deadline: float = float("inf")
    launch_method: str | None = None
    show_stderr: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """The state of a run.

    Attributes:
        cells: how many were selected, in all commits together.
        left: how many of these are not done.
        failures: a line for each cell that failed, in this run or an earlier one, and for each commit that
            could not be built.
        out_of_time: whether the deadline ended the run.
    """

    cells: int
    left: int
    failures: list[str]
    out_of_time: bool


@dataclass(slots=True)
class _Job:
    """One commit in one environment.

    Attributes:
        steps: those that are left.
        at_hand: the rounds and groups of cells that were measured together in this run. The samples of those
            of their cells that are left are stored in this process.
    """

    commit: str
    env: Any
    results: CommitResults
    steps: deque[Step]
    at_hand: set[tuple[int, tuple[Cell, ...]]] = field(default_factory=set)


class SuiteRun:
    """One run over the cells of a suite that have no result yet.

    Args:
        suite: commits and benchmarks.
        choices: what to run of the suite, and for how long.
        uninterrupted: a context manager that holds back Ctrl-C while results are written.
    """

    def __init__(self, suite: Suite, choices: Choices, uninterrupted: AbstractContextManager[object]) -> None:
        self._suite = suite
        self._choices = choices
        self._uninterrupted = uninterrupted
        self._cells = [cell for _, _, cell in selected_cells(suite.benchmarks)]
        self._estimate = Estimate(_known_seconds(suite))
        self._cache_seconds: dict[str, float] = {}
        self._errors: dict[tuple[str, Cell | None], str] = {}
        self._out_of_time = False
        self._jobs = [self._job(env, commit) for commit in suite.commits for env in suite.environments]
        total = len(plan(suite.benchmarks, {}, ())) * len(self._jobs)
        self._state = State(total, done=total - sum(len(job.steps) for job in self._jobs))

    def measure(self) -> None:
        """Run until all cells are done, or until the deadline.

        Raises:
            KeyboardInterrupt: on Ctrl-C; the finished cells are saved.
            UserError: if the suites cannot be imported.
        """
        self._state.left = self._left()
        screen = display(self._state)
        for job in self._jobs:
            if not job.steps:
                continue
            self._out_of_time = time.monotonic() >= self._choices.deadline
            if not self._out_of_time and self._install(job):
                with screen:
                    self._measure(job, screen)
            if self._out_of_time:
                return

    def report(self) -> Report:
        """Return the state of the run up to now."""
        failures = [
            f"{job.commit[:8]} {cell}: {self._errors.get((job.commit, cell), 'failed in an earlier run')}"
            for job in self._jobs
            for cell in self._cells
            if cell in job.results.records and job.results.records[cell].outcome == "failed"
        ]
        unbuilt = [f"{commit[:8]}: {error}" for (commit, cell), error in self._errors.items() if cell is None]
        left = sum(len({step.cell for step in job.steps}) for job in self._jobs)
        return Report(len(self._cells) * len(self._jobs), left, unbuilt + failures, self._out_of_time)

    def _job(self, env: Any, commit: str) -> _Job:
        suite, choices = self._suite, self._choices
        stored = suite.results(env, commit)
        notes = records.read_notes(suite.results_file(env, commit))
        results = CommitResults(stored, suite.conf.results_dir, suite.benchmarks, notes, self._uninterrupted)
        held_back = {"n/a"} if choices.retry_failed else {"n/a", "failed"}
        done = {} if choices.again else results.records
        return _Job(commit, env, results, deque(plan(suite.benchmarks, done, held_back)))

    def _install(self, job: _Job) -> bool:
        """Build and install the commit, unless it is installed; return False if it cannot be built."""
        started = time.monotonic()
        installed = job.env.installed_commit_hash
        try:
            job.env.install_project(self._suite.conf, self._suite.repo, job.commit)
        except util.ProcessError as error:
            self._errors[job.commit, None] = f"cannot be built: {error}"
            return False
        log.flush()
        if installed != job.commit:
            job.results.set_build_seconds(time.monotonic() - started)
        return True

    def _measure(self, job: _Job, screen: Display) -> None:
        conf = self._suite.conf
        method = self._choices.launch_method or conf.launch_method
        with Session(job.env, conf.benchmark_dir, method, job.steps, self._uninterrupted) as session:
            try:
                while job.steps:
                    step = job.steps[0]
                    if not self._fits(job, session, step):
                        self._out_of_time = True
                        return
                    told = self._run(job, session, screen, step) if _is_worth_a_round(job, step) else ""
                    job.steps.popleft()
                    self._state.done += 1
                    self._state.left = self._left()
                    if told:
                        screen.end(told)
            finally:
                job.results.save()

    def _fits(self, job: _Job, session: Session, step: Step) -> bool:
        """Whether a step will surely be done before the deadline.

        The first step of a run is always tried, or else nothing might ever be measured. A step whose samples
        an earlier one took is done, because the samples are lost when this process ends.
        """
        left = self._choices.deadline - time.monotonic()
        if (step.round, step.together) in job.at_hand:
            return True
        if not self._state.outcomes:
            return left > 0
        needed = self._estimate.careful(step)
        if session.lacks_cache(step):
            needed += self._careful_cache_seconds(job, session, step)
        return needed <= left

    def _careful_cache_seconds(self, job: _Job, session: Session, step: Step) -> float:
        known = job.results.cache_seconds(step.cache_key)
        if known is None and step.cache_key is not None:
            known = self._cache_seconds.get(step.cache_key)
        return min(session.cache_timeout(step), _UNKNOWN_CACHE_S) if known is None else known

    def _run(self, job: _Job, session: Session, screen: Display, step: Step) -> str:
        """Run one step; return the line that says how it ended."""
        self._state.current = str(step.cell)
        screen.begin()
        session.prepare(step)
        self._cache_seconds |= session.cache_seconds
        job.results.set_cache_seconds(session.cache_seconds)
        started_at, started = datetime.now(UTC), time.monotonic()
        result = session.measure(step, job.results.number(step))
        seconds = time.monotonic() - started
        outcome = job.results.add(step, result, started_at, seconds).outcome
        self._state.outcomes[outcome] += 1
        value = job.results.describe(step)
        if outcome == "failed":
            self._errors[job.commit, step.cell] = error_line(result)
            value = f"failed: {error_line(result)}"
        else:
            job.at_hand.add((step.round, step.together))
            self._estimate.learn(step, seconds)
        printed = f"\n{indent(result.stderr, '  ')}" if result.stderr and self._choices.show_stderr else ""
        of_rounds = f", round {step.round} of {step.rounds}" if step.rounds > 1 else ""
        return f"{job.commit[:8]} {step.cell} {value}, {seconds:.1f} s{of_rounds}{printed}"

    def _left(self) -> str:
        seconds, guess = self._estimate.total(chain.from_iterable(job.steps for job in self._jobs))
        if seconds is None:
            return "time left unknown"
        return f"{'maybe ' if guess else ''}{duration(seconds)} left"


def _is_worth_a_round(job: _Job, step: Step) -> bool:
    """Whether to run a step: not the later rounds of a cell whose first round gave no number."""
    return step.round == 1 or job.results.records[step.cell].outcome == "measured"


def _known_seconds(suite: Suite) -> dict[Cell, float]:
    """The seconds of a round of each cell in its last run, from the newest result files of this machine."""
    folder = suite.results_file(suite.environments[0], suite.commits[0]).parent
    files = sorted(folder.glob("*-*.json"), key=lambda file: file.stat().st_mtime)
    known: dict[Cell, float] = {}
    for file in files[-_FILES_TO_LEARN_FROM:]:
        cells = ran(records.read_notes(file)).items()
        known |= {cell: it["seconds"] / it["rounds"] for cell, it in cells if it["outcome"] != "failed"}
    return known

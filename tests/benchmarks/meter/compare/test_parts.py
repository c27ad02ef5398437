"""The order of things in a comparison, its words and its exit codes, with workers that are made up."""

import itertools
import json
import math
import random
import threading
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks.meter.compare import __main__ as command
from benchmarks.meter.compare import duel, report
from benchmarks.meter.compare.builds import Build
from benchmarks.meter.compare.duel import (
    FEWEST_ROUNDS,
    MOST_ROUNDS,
    SCREENING_ROUNDS,
    UNSETTLED,
    USUAL_ROUNDS,
    CellComparison,
    ComparedCell,
    Comparison,
)
from benchmarks.meter.compare.errors import CellError
from benchmarks.meter.measure.statistics import NO_DIFFERENCE

ONE, OTHER = ComparedCell("one", (), None, "seconds"), ComparedCell("other", (), None, "seconds")
KNOWN = {
    cell.benchmark: {"name": cell.benchmark, "unit": cell.unit, "params": [], "compared": True}
    for cell in (ONE, OTHER)
}


class MadeUpSampler(duel.CellSampler):
    def __init__(self, value, log=None):
        self._value = value
        self._log = [] if log is None else log

    def _sampled(self, count):
        self._log.append(self._value)
        if isinstance(self._value, CellError):
            raise self._value
        return [self._value] * count

    def close(self):
        pass


class MadeUpWorker:
    benchmarks = KNOWN

    def __init__(self, value, on_gpu=False, opening=str):
        self._value, self.on_gpu, self._opening = value, on_gpu, opening

    def open(self, name, _index):
        self._opening(name)
        return MadeUpSampler(self._value)


class MadeUpWorkers:
    def __init__(self, workers):
        self._workers = workers

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def running(self):
        if isinstance(self._workers, Exception):
            raise self._workers
        return self._workers


class Silent:
    def expect(self, count):
        pass

    def start(self, name):
        pass

    def finish(self):
        pass


@pytest.fixture
def compared(monkeypatch, tmp_path):
    """A function of workers, one pair a round: their comparison, yet to be run."""

    def compare(pairs):
        pairs = iter(pairs)
        monkeypatch.setattr(duel, "CommitWorkers", lambda *_: MadeUpWorkers(next(pairs)))
        builds = [Build(side, side, tmp_path) for side in ("base", "HEAD")]
        return Comparison(*builds, tmp_path, min_effect=0.02, budget_s=0)

    return compare


def run(comparison):
    comparison.run(lambda _: [ONE, OTHER], Silent())
    return comparison.results


SLOWER = [MadeUpWorker(1.0), MadeUpWorker(2.0)]


def failing(count):
    return MadeUpWorker(CellError(f"no {count}"))


@pytest.mark.parametrize(
    ("pair", "outcome"),
    [
        ([MadeUpWorker(1.0), failing(2)], "lost"),
        ([failing(1), MadeUpWorker(2.0)], "new"),
        ([failing(1), failing(2)], "failed"),
        (SLOWER, "measured"),
    ],
)
def test_a_failing_sample_counts_for_its_own_side(compared, pair, outcome):
    found = run(compared([pair] * (SCREENING_ROUNDS + FEWEST_ROUNDS)))
    assert {result.outcome for result in found.values()} == {outcome}


def interrupting(name, error=KeyboardInterrupt):
    def opening(opened):
        if opened == name:
            raise error

    return [MadeUpWorker(1.0), MadeUpWorker(2.0, opening=opening)]


def test_what_was_confirmed_before_ctrl_c_stays_so(compared):
    pairs = [SLOWER] * (SCREENING_ROUNDS + FEWEST_ROUNDS - 1)
    comparison = compared([*pairs, interrupting("other")])
    with pytest.raises(KeyboardInterrupt):
        run(comparison)
    one, other = comparison.results[ONE], comparison.results[OTHER]
    assert (one.confirmed, one.rounds, one.verdict(0.02)) == (True, FEWEST_ROUNDS, "slower")
    assert (other.confirmed, other.rounds, other.verdict(0.02)) == (False, SCREENING_ROUNDS, NO_DIFFERENCE)


def rounds_of(*ratios, noise=0.0):
    """One round of eight turns for each ratio; noise is the factor that turns are off, up and down."""
    head = tuple(ratio * (1 + noise) ** (-1) ** turn for ratio in ratios for turn in range(8))
    blocks = tuple(number for number in range(len(ratios)) for _ in range(8))
    return CellComparison(ONE, base=(1.0,) * len(head), head=head, blocks=blocks, screened=ratios[0])


@pytest.mark.parametrize(
    ("result", "clear"),
    [
        (rounds_of(1.2), False),  # one pair of processes may be luck
        (rounds_of(1.2, 1.15), True),
        (rounds_of(0.8, 0.85), True),
        (rounds_of(1.2, 1.01), False),  # the interval holds both
        (rounds_of(1.2, 0.99), True),  # contradicts itself: no difference
        (replace(rounds_of(1.2), screened=0.9), True),
        (rounds_of(1.01, 1.01), True),  # too little to matter
        (rounds_of(1.03, 1.03, noise=0.02), False),  # close to what matters: not after two rounds
        (rounds_of(1.03, 1.03, 1.03, 1.03, noise=0.02), True),
        (rounds_of(1.03, 1.03, 1.03, 1.03, noise=0.1), False),
        (CellComparison(ONE, "lost"), True),
    ],
)
def test_what_is_clear_needs_no_further_round(result, clear):
    assert result.is_clear(0.02) == clear


def workers_at(*ratios):
    """For each ratio a pair of workers whose HEAD takes so much more."""
    return [[MadeUpWorker(1.0), MadeUpWorker(ratio)] for ratio in ratios]


@pytest.mark.parametrize(
    ("confirming", "verdict"),
    [
        ([1.2, 1.2], "slower"),
        ([0.9], NO_DIFFERENCE),
        ([1.2, 1.01, 1.2, 1.2], "slower"),
        ([1.01, 1.2, 1.01, 1.01] * (MOST_ROUNDS // 4), UNSETTLED),
    ],
)
def test_rounds_go_on_until_all_is_clear(compared, confirming, verdict):
    found = run(compared(workers_at(*[1.1] * SCREENING_ROUNDS, *confirming)))
    assert {(result.rounds, result.verdict(0.02)) for result in found.values()} == {
        (len(confirming), verdict)
    }


class NoisyWorker(MadeUpWorker):
    """Slower by a percent more or less than its like, as processes are, and by 3 % from sample to sample."""

    def __init__(self, value, draw):
        super().__init__(value * math.exp(draw.gauss(0, 0.01)))
        self._noise = draw

    def open(self, *_):
        return NoisySampler(self._value, self._noise)


class NoisySampler(MadeUpSampler):
    def __init__(self, value, draw):
        super().__init__(value)
        self._noise = draw

    def _sampled(self, count):
        return [self._value * math.exp(self._noise.gauss(0, 0.03))] * count


@pytest.mark.parametrize(
    ("slow_down", "called"), [(1.0, {NO_DIFFERENCE: 100}), (1.1, {"slower": 100}), (0.9, {"faster": 100})]
)
def test_of_noisy_processes_the_truth_is_told(compared, slow_down, called):
    draw = random.Random(0)
    said = Counter()
    for _ in range(50):
        pairs = ([NoisyWorker(1.0, draw), NoisyWorker(slow_down, draw)] for _ in itertools.count())
        said.update(result.verdict(0.02) for result in run(compared(pairs)).values())
    assert said == called


def test_only_what_is_not_clear_yet_is_measured_again(compared):
    opened = []
    pairs = [
        [MadeUpWorker(1.0), MadeUpWorker(1.2, opening=opened.append)]
        for _ in range(SCREENING_ROUNDS + USUAL_ROUNDS)
    ]
    found = run(compared(pairs))
    assert {result.verdict(0.02) for result in found.values()} == {"slower"}
    assert len(opened) == 2 * (SCREENING_ROUNDS + FEWEST_ROUNDS)


def test_what_is_unsettled_is_shown():
    unsettled = replace(rounds_of(*[1.03] * MOST_ROUNDS, noise=0.1), confirmed=True)
    assert not report.worse([unsettled], 0.02)
    assert UNSETTLED in shown([unsettled])
    assert f"1 cells: 1 {UNSETTLED}, 0 {NO_DIFFERENCE}." in shown([unsettled])


def test_a_large_change_is_looked_at_again_however_noisy_it_is():
    assert rounds_of(1.06, noise=0.2).stands_out(0.02)
    assert not rounds_of(1.04, noise=0.2).stands_out(0.02)
    assert not rounds_of(1.06, noise=0.2).stands_out(0.07)


def meeting():
    """Two workers' opening, and whether they were ever in it at the same time."""
    both, met = threading.Barrier(2), []

    def opening(_):
        try:
            both.wait(timeout=0.1)
            met.append(True)
        except threading.BrokenBarrierError:
            both.reset()

    return opening, met


def test_on_a_gpu_one_commit_is_set_up_after_the_other(compared):
    opening, met = meeting()
    run(compared([[MadeUpWorker(1.0, True, opening) for _ in range(2)]] * SCREENING_ROUNDS))
    assert not met


def test_on_a_cpu_both_are_set_up_at_once(compared):
    both = threading.Barrier(2, timeout=60)
    run(compared([[MadeUpWorker(1.0, opening=lambda _: both.wait()) for _ in range(2)]] * SCREENING_ROUNDS))


def test_which_commit_comes_first_is_drawn(compared):
    draw, openings, samples = random.Random(0), [], set()
    for _ in range(20):
        log = []
        duel._block_size([MadeUpSampler(1.0, log), MadeUpSampler(2.0, log)], draw)
        samples.add(tuple(log))
    assert samples == {(1.0, 2.0), (2.0, 1.0)}
    pair = [MadeUpWorker(1.0, True, lambda _, side=side: openings.append(side)) for side in ("base", "head")]
    comparison = compared([pair])
    for _ in range(20):
        base, head = comparison._opened(ONE, pair)
        assert (base.sample(1), head.sample(1)) == ([1.0], [1.0])
    assert set(zip(openings[::2], openings[1::2], strict=True)) == {("base", "head"), ("head", "base")}


def test_a_difference_is_what_every_round_found_as_the_first_stage_did():
    rounds = tuple(number for number in range(4) for _ in range(8))
    slower = CellComparison(
        ONE, base=(1.0,) * 32, head=(1.1,) * 32, blocks=rounds, confirmed=True, screened=1.05
    )
    assert slower.verdict(0.02) == "slower"
    assert replace(slower, screened=0.95).verdict(0.02) == NO_DIFFERENCE
    assert replace(slower, head=(1.1,) * 24 + (0.999,) * 8).verdict(0.02) == NO_DIFFERENCE
    assert replace(slower, head=(0.9,) * 32, screened=0.97).verdict(0.02) == "faster"


def test_any_unit_can_be_shown():
    cell = replace(ONE, unit="joules")
    blocks = (0,) * 8 + (1,) * 8
    result = CellComparison(cell, base=(3.0,) * 16, head=(6.0,) * 16, blocks=blocks, confirmed=True)
    assert result.verdict(0.02) == "larger"
    assert replace(result, cell=ONE).verdict(0.02) == "slower"
    text = shown([result])
    assert "3 joules" in text
    assert "6 joules" in text


def shown(results):
    console = Console(width=200)
    with console.capture() as capture:
        console.print(report.rendered(results, 0.02, show_all=False))
    return capture.get()


def test_how_closely_a_cell_is_known_takes_two_processes():
    noisy = (1.0, 1.01, 0.99, 1.0, 1.02, 1.0, 1.0, 1.0)
    once = CellComparison(ONE, base=noisy, head=noisy[::-1], blocks=(0,) * 8)
    twice = CellComparison(OTHER, base=noisy * 2, head=noisy[::-1] * 2, blocks=(0,) * 8 + (1,) * 8)
    known = f"half are known within {twice.ratio().relative_error:.1%}"
    assert shown([once]).strip() == "1 cells: 1 no difference seen."
    assert shown([once, twice]).strip() == (
        f"2 cells: 2 no difference seen; of those measured in more than one process (1), {known}."
    )


@pytest.fixture
def commanded(compared, monkeypatch, tmp_path):
    """A function of workers, one pair a round: the command's exit code, and what --out has of each cell."""

    def run_command(pairs, *arguments):
        comparison = compared(pairs)
        monkeypatch.setattr(command, "Comparison", lambda *_, **__: comparison)
        monkeypatch.setattr(command, "build", lambda revision: Build(revision, "0" * 40, tmp_path))
        monkeypatch.chdir(tmp_path)
        (tmp_path / "asv.conf.json").write_text('{"version": 1, "project": "p", "repo": "."}')
        out = tmp_path / "new" / "out.json"
        code = command.main(["--base", "base", "--out", str(out), *arguments])
        assert not list(out.parent.glob("*.partial"))
        return code, {cell["benchmark"]: cell for cell in json.loads(out.read_text())["cells"]}

    return run_command


def test_workers_that_cannot_be_started_again_leave_what_is_known(commanded, capsys):
    code, cells = commanded([SLOWER] * SCREENING_ROUNDS + [CellError("no memory to start with")])
    assert code == 2
    assert {cell["outcome"] for cell in cells.values()} == {"measured"}
    printed = capsys.readouterr()
    assert "no memory to start with" in printed.err
    assert "2 cells" in printed.out


def test_results_are_written_before_they_are_printed(commanded, monkeypatch, tmp_path):
    def rendered(*_, **__):
        assert (tmp_path / "new" / "out.json").exists()
        return ""

    monkeypatch.setattr(report, "rendered", rendered)
    code, cells = commanded([SLOWER] * (SCREENING_ROUNDS + FEWEST_ROUNDS))
    assert code == 1
    assert {cell["verdict"] for cell in cells.values()} == {"slower"}


def test_markdown_has_stdout_to_itself_and_the_same_exit_code(commanded, capsys):
    code, _ = commanded([SLOWER] * (SCREENING_ROUNDS + FEWEST_ROUNDS), "--format", "markdown")
    printed = capsys.readouterr()
    assert code == 1
    assert printed.out.startswith("**2 of 2 cells got worse.** `HEAD` (`00000000`) against `base`")
    assert "HEAD (00000000) against base (00000000)" in printed.err

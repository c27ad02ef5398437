"""`python -m benchmarks.experiments.verdict`: how often does a comparison of commits say the truth?

Compares equal commits, and commits with planted slow-downs, by `benchmarks.meter.compare` and by stock
`asv continuous`, on a fixed set of cells; prints the shares of right and wrong answers. Ctrl-C keeps what is
done, and the same command goes on with the rest.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.experiments.verdict import planting
from benchmarks.experiments.verdict.experiment import EQUAL, PLANTED, Trial, read, run, schedule
from benchmarks.experiments.verdict.report import table


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    trials = {
        Trial("meter", EQUAL): options.equal,
        Trial("asv", EQUAL): options.stock_equal,
        **{Trial("meter", size): options.planted for size in PLANTED},
        **{Trial("asv", size): options.stock_planted for size in PLANTED},
    }
    done = Counter(Trial(trial["method"], trial["planted"]) for trial in read(options.out))
    left = schedule(trials, done)
    interrupted = bool(left) and _run(left, options.out)
    print(table(read(options.out)) if options.out.exists() else "nothing measured yet")
    return 130 if interrupted else 0


def _run(left: list[Trial], out: Path) -> bool:
    """Make the trials under a progress bar; whether Ctrl-C ended them."""
    out.parent.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with TemporaryDirectory(prefix="verdict-") as scratch, Progress(*columns) as bar:
        task = bar.add_task("cloning", total=len(left))
        try:
            clone = Path(scratch, "clone")
            planting.clone(clone)
            for number, result in enumerate(run(left, clone), start=1):
                with out.open("a") as lines:
                    lines.write(json.dumps(result) + "\n")
                bar.update(
                    task, completed=number, description=f"{result['method']}, {result['planted']:+.0%}"
                )
        except KeyboardInterrupt:
            return True
    return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.verdict", description=__doc__)
    parser.add_argument("--equal", type=int, default=40, help="trials with equal commits (default: 40)")
    parser.add_argument("--planted", type=int, default=3, help="trials of each slow-down (default: 3)")
    parser.add_argument("--stock-equal", type=int, default=6, help="the same of asv continuous (default: 6)")
    parser.add_argument(
        "--stock-planted", type=int, default=2, help="the same of asv continuous (default: 2)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs", "verdict.jsonl"), help="where trials are kept"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

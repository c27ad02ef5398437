"""The process that holds one commit: it imports the suites once and forks a child for each cell.

Started by `servers.py`, with the commit's packages first on its import path. Its orders (see
`benchmarks.meter.workers`): list the benchmarks, run a `setup_cache`, open a cell, wait until its process is
gone. An opened cell is a forked child that sets the benchmark up, says so, and then gives one block of
samples each time it is asked, until its line closes. Everything that is measured goes through the
benchmark's own asv type, so any type works.

Nothing of the meter is imported here: `benchmarks` may be that of another project, or of another commit.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pickle
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from asv_runner._aux import update_sys_path
from asv_runner.benchmarks._base import _get_first_attr
from asv_runner.benchmarks.mark import SkipNotImplemented
from asv_runner.discovery import disc_benchmarks, get_benchmark_from_name

if TYPE_CHECKING:
    from benchmarks.meter.workers import Orders

ONE_SAMPLE = {"number": 1, "repeat": 1, "warmup_time": 0}


def serve(orders: Orders, suites: str, packages: str) -> None:
    """Carry out orders; suites lie in the folder `suites`, the commit's packages in `packages`."""
    _check_origin(Path(packages))
    update_sys_path(suites)
    benchmarks = {benchmark.name: benchmark for benchmark in disc_benchmarks(suites)}
    for order, *details in orders:
        if order == "list":
            orders.answer([_described(benchmark) for benchmark in benchmarks.values()])
        elif order == "wait":
            orders.answer(_gone(*details))
        else:
            orders.answer(_forked(orders, suites, order, *details))


def _forked(orders: Orders, suites: str, order: str, name: str, folder: str) -> int:
    """The pid of a child that carries out an order and answers over a line of its own."""
    line = orders.line()
    pid = os.fork()
    if pid == 0:
        orders.close()  # the worker's alone, so that its end shows
        _become_child(line, suites, order, name, folder)
    line.close()
    return pid


def _check_origin(packages: Path) -> None:
    """Stop if some other copy of a package would be measured instead of the commit's.

    Raises:
        ImportError: if Python finds a package of `packages` elsewhere.
    """
    for package in (path.parent for path in packages.glob("*/__init__.py")):
        spec = importlib.util.find_spec(package.name)
        if spec is None or spec.origin is None or Path(spec.origin).parent.resolve() != package.resolve():
            raise ImportError(f"{package.name} would come from {spec and spec.origin}, not from the commit")


def _described(benchmark: Any) -> dict[str, Any]:
    sources = benchmark._attr_sources  # noqa: SLF001 - asv_runner's own look-up of attributes goes there
    return {
        "name": benchmark.name,
        "type": benchmark.type,
        "unit": getattr(benchmark, "unit", "unit"),
        "version": benchmark.version,
        "params": benchmark.params,
        "param_names": benchmark.param_names,
        "setup_cache_key": benchmark.setup_cache_key,
        "timeout": benchmark.timeout,
        "compared": _get_first_attr(sources, "compared", True),
    }


def _become_child(line: Orders, suites: str, order: str, name: str, folder: str) -> NoReturn:
    """Run in the child: do the order in `folder`, then end the process without the parent's clean-up."""
    status = 1
    try:
        os.chdir(folder)
        if order == "setup_cache":
            _set_up_cache(suites, name)
            line.answer(None)
        elif order == "on_gpu":
            line.answer(_is_on_gpu())
        else:
            _serve_samples(line, suites, name)
        status = 0
    except (EOFError, BrokenPipeError):
        pass
    except BaseException:  # noqa: BLE001 - whatever ends a cell is the coordinator's to tell
        with contextlib.suppress(OSError):
            line.fail(traceback.format_exc())
    finally:
        sys.stderr.flush()
        os._exit(status)


def _set_up_cache(suites: str, name: str) -> None:
    cache = get_benchmark_from_name(suites, name).do_setup_cache()
    Path("cache.pickle").write_bytes(pickle.dumps(cache))


def _serve_samples(line: Orders, suites: str, name: str) -> None:
    # asv's `-a`: whatever the type does by default, one call of it now takes one sample.
    benchmark = get_benchmark_from_name(suites, name, extra_params=ONE_SAMPLE)
    cached = Path("cache.pickle")
    benchmark.set_cache(pickle.loads(cached.read_bytes()) if cached.exists() else None)
    if benchmark.do_setup():
        line.skip("setup raised NotImplementedError")
        return
    try:
        line.answer(_samples(benchmark, 1))
        while True:
            (count,) = line.take()
            line.answer(_samples(benchmark, count))
    except SkipNotImplemented as reason:
        line.skip(str(reason))
    finally:
        benchmark.do_teardown()


def _samples(benchmark: Any, count: int) -> list[float]:
    """`count` samples: of the meter's types at one go, lest a GPU idle between them; of others singly."""
    if not hasattr(benchmark, "take"):
        return [_value(benchmark.do_run()) for _ in range(count)]
    benchmark._attr_sources[0].repeat = count  # noqa: SLF001 - there asv_runner puts what `-a` says
    return list(benchmark.do_run()["samples"])


def _value(result: Any) -> float:
    return float(result["samples"][0] if isinstance(result, dict) else result)


def _gone(pid: int) -> int:
    """The child's pid, when it has ended and been cleared away."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    return pid


def _is_on_gpu() -> bool:
    """Whether torch computes on a GPU; only for children, since no fork survives CUDA's initialization."""
    try:
        import torch
    except (ImportError, OSError):
        return False
    return torch.cuda.is_available()

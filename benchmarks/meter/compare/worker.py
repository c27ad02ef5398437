"""The process that holds one commit: it imports the suites once and forks a child for each cell.

Started by `servers.py` as a script, with the commit's packages first on its import path. It takes orders
over a socket: list the benchmarks, run a `setup_cache`, open a cell, wait until its process is gone. An
opened cell is a forked child that sets the benchmark up, says so, and then gives one block of samples each
time it is asked, until the connection closes. Everything that is measured goes through the benchmark's own
asv type, so any type works.
"""

import contextlib
import importlib.util
import os
import pickle
import sys
import traceback
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

from asv_runner._aux import update_sys_path
from asv_runner.benchmarks._base import _get_first_attr
from asv_runner.benchmarks.mark import SkipNotImplemented
from asv_runner.discovery import disc_benchmarks, get_benchmark_from_name

ONE_SAMPLE = {"number": 1, "repeat": 1, "warmup_time": 0}


def main() -> None:
    """Serve the orders that come over the socket `argv[2]` until it closes; suites lie in `argv[1]`."""
    suites, address, packages = sys.argv[1:]
    _check_origin(Path(packages))
    update_sys_path(suites)
    benchmarks = {benchmark.name: benchmark for benchmark in disc_benchmarks(suites)}
    with Client(address) as orders, contextlib.suppress(EOFError, KeyboardInterrupt):
        orders.send(os.getpid())
        while True:
            order, *details = orders.recv()
            if order == "list":
                orders.send([_described(benchmark) for benchmark in benchmarks.values()])
            elif order == "wait":
                orders.send(_gone(*details))
            elif os.fork() == 0:
                orders.close()  # the worker's alone, so that its end shows
                _become_child(suites, address, order, *details)


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


def _become_child(suites: str, address: str, order: str, name: str, folder: str) -> None:
    """Run in the child: do the order in `folder`, then end the process without the parent's clean-up."""
    status = 1
    with Client(address) as coordinator:
        try:
            coordinator.send(os.getpid())
            os.chdir(folder)
            if order == "setup_cache":
                _set_up_cache(coordinator, suites, name)
            elif order == "on_gpu":
                coordinator.send(("ready", _is_on_gpu()))
            else:
                _serve_samples(coordinator, suites, name)
            status = 0
        except (EOFError, BrokenPipeError, KeyboardInterrupt):
            pass
        except BaseException:  # noqa: BLE001 - whatever ends a cell is the coordinator's to tell
            with contextlib.suppress(OSError):
                coordinator.send(("failed", traceback.format_exc()))
        finally:
            sys.stderr.flush()
            os._exit(status)


def _set_up_cache(coordinator: Connection, suites: str, name: str) -> None:
    cache = get_benchmark_from_name(suites, name).do_setup_cache()
    Path("cache.pickle").write_bytes(pickle.dumps(cache))
    coordinator.send(("ready", None))


def _serve_samples(coordinator: Connection, suites: str, name: str) -> None:
    # asv's `-a`: whatever the type does by default, one call of it now takes one sample.
    benchmark = get_benchmark_from_name(suites, name, extra_params=ONE_SAMPLE)
    cached = Path("cache.pickle")
    benchmark.set_cache(pickle.loads(cached.read_bytes()) if cached.exists() else None)
    if benchmark.do_setup():
        coordinator.send(("skipped", "setup raised NotImplementedError"))
        return
    try:
        coordinator.send(("ready", _samples(benchmark, 1)))
        while True:
            coordinator.send(_samples(benchmark, coordinator.recv()))
    except SkipNotImplemented as reason:
        coordinator.send(("skipped", str(reason)))
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
    """Whether torch computes on a GPU; only for children, since no fork survives CUDA's initialisation."""
    try:
        import torch
    except (ImportError, OSError):
        return False
    return torch.cuda.is_available()


if __name__ == "__main__":
    main()

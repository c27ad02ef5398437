"""The numbers in docs/counting.md and docs/paper.md are those of the code and of the paper's data."""

from pathlib import Path

import pytest
from transformers import Mamba2Config, MambaConfig

from perfmamba.components import COMPONENTS, OTHER, PAPER_LABELS
from perfmamba.profiling.counts import SSD_FORMS, Count, count, dimensions
from perfmamba.report.paper import paper_table1

DOCS = Path(__file__).parents[2] / "docs"
SIZES = {
    1: dimensions(MambaConfig(hidden_size=768, num_hidden_layers=24, vocab_size=50280)),
    2: dimensions(
        Mamba2Config(
            hidden_size=768, num_heads=24, state_size=128, num_hidden_layers=24, n_groups=1, vocab_size=50288
        )
    ),
}
PAPER = paper_table1()
SHARED_COLUMNS = ("latency_ms", "memory_gb")


def counted(kind: int, seqlen: int, form: str = "chunked", mode: str = "prefill") -> dict[str, Count]:
    """Whole-model counts by component at the paper's batch of 8."""
    return count(SIZES[kind], batch=8, seqlen=seqlen, ssd_form=form, mode=mode).totals()


def gflop(kind: int, seqlen: int, component: str) -> float:
    return counted(kind, seqlen)[component].flops / 1e9


def gigabytes(kind: int, seqlen: int, component: str, element_bytes: int) -> float:
    return counted(kind, seqlen)[component].moved_bytes(element_bytes=element_bytes) / 1e9


def column(name: str, kind: int, seqlen: int) -> dict[str, float]:
    return {component: getattr(PAPER[seqlen, component, kind], name) for component in COMPONENTS}


def share(name: str, component: str, kind: int, seqlen: int) -> str:
    values = column(name, kind, seqlen)
    return f"{100 * values[component] / sum(values.values()):.0f} %"


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("component", COMPONENTS)
def test_flops_table_of_the_paper_page(component):
    cells = [
        f"{value:,.2f}"
        for kind in (1, 2)
        for value in (PAPER[2048, component, kind].flops_g, gflop(kind, 2048, component))
    ]
    assert row(PAPER_LABELS[component], *cells) in paper_page()


@pytest.mark.parametrize("seqlen", [64, 512, 2048])
def test_throughput_table_of_the_paper_page(seqlen):
    cells = [
        f"{gflop(kind, seqlen, component) / PAPER[seqlen, component, kind].latency_ms:.1f}"
        for component in ("in_proj", "out_proj")
        for kind in (1, 2)
    ]
    assert row(str(seqlen), *cells) in paper_page()


def rate(gigabytes: float, milliseconds: float) -> str:
    return f"{gigabytes:.2f} GB in {milliseconds:.2f} ms would be {gigabytes / milliseconds * 1e3:,.0f} GB/s"


def statements() -> list[str]:
    one_layer = gflop(1, 2048, "in_proj") / 24
    half_width = 24 * 8 * 2048 * 2 * (768 + 1) * 1536 / 1e9
    norm, state_space = PAPER[2048, "norm", 2], PAPER[2048, "ssm", 2]
    printed_rise = PAPER[2048, "in_proj", 2].flops_g / PAPER[2048, "in_proj", 1].flops_g
    rise = gflop(2, 2048, "in_proj") / gflop(1, 2048, "in_proj")
    memory = [sum(column("memory_gb", kind, 2048).values()) for kind in (1, 2)]
    scan_latency, scan_memory = ([share(name, "ssm", k, 2048) for k in (1, 2)] for name in SHARED_COLUMNS)
    components = [counted(2, 2048)[component].flops for component in COMPONENTS]
    scan_flops = 100 * components[COMPONENTS.index("ssm")] / sum(components)
    conv_latency = [share("latency_ms", "conv", 1, seqlen) for seqlen in (2048, 64)]
    return [
        f"one layer is {one_layer:.2f} GFLOP",
        f"24 x 16,384 x 2 x (768 + 1) x 1536 = {half_width:.2f} GFLOP",
        f"a {printed_rise:.0f}-fold rise",
        f"{100 * (rise - 1):.1f} % more",
        f"{share('flops_g', 'ssm', 2, 2048)} of Mamba-2's FLOPs; counted, it is {scan_flops:.0f} %",
        (
            f"{PAPER[64, 'in_proj', 2].memory_gb:.2f} GB at 64 tokens and "
            f"{PAPER[512, 'in_proj', 2].memory_gb:.2f} GB at 512"
        ),
        f"add up to {memory[0]:.1f} GB (Mamba-1) and {memory[1]:.1f} GB (Mamba-2)",
        rate(state_space.memory_gb, state_space.latency_ms),
        f"{100 * state_space.io_gbps / 1555:.1f} % of the card's 1,555 GB/s",
        rate(gigabytes(2, 2048, "ssm", 4), state_space.latency_ms),
        rate(gigabytes(2, 2048, "norm", 4), norm.latency_ms),
        f"{scan_latency[0]} (Mamba-1) and {scan_latency[1]} (Mamba-2) of the latency",
        f"{scan_memory[0]} and {scan_memory[1]} of the memory",
        f"{conv_latency[0]} of Mamba-1's latency at 2048 tokens and {conv_latency[1]} at 64",
    ]


@pytest.mark.parametrize("statement", statements())
def test_statements_of_the_paper_page(statement):
    assert statement in " ".join(paper_page().split())


def paper_page() -> str:
    return (DOCS / "paper.md").read_text(encoding="utf-8")


def counting_page() -> str:
    return (DOCS / "counting.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("form", SSD_FORMS)
def test_forms_table_of_the_counting_page(form):
    cells = [f"{counted(2, seqlen, form)['ssm'].flops / 1e9:,.1f}" for seqlen in (64, 512, 2048)]
    assert row(f"`{form}`", *cells) in counting_page()


@pytest.mark.parametrize("component", [*COMPONENTS, OTHER])
def test_example_of_the_counting_page(component):
    cells = []
    for kind in (1, 2):
        prefill, decode = counted(kind, 2048)[component], counted(kind, 1, mode="decode")[component]
        cells += [
            f"{prefill.flops / 1e9:,.2f}",
            f"{prefill.moved_bytes(element_bytes=2) / 1e9:,.2f}",
            f"{decode.flops / 1e6:,.1f}",
            f"{decode.moved_bytes(element_bytes=2) / 1e6:,.1f}",
        ]
    assert row(f"`{component}`", *cells) in counting_page()


def test_default_scan_per_token_of_the_counting_page():
    per_token = counted(2, 2048)["ssm"].flops / (24 * 8 * 2048)
    assert f"`chunked`, is {per_token / 1e6:.3f} with its elementwise part" in counting_page()

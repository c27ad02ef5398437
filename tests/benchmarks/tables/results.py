"""Results of the suites as asv stores them, and the tables that a page makes of them."""

from benchmarks.tables import suites
from tests.benchmarks.meter.site.project import Project, definition

MODELS = ["mamba-130m", "mamba2-130m"]
COMPONENTS = ["norm", "in_proj", "conv", "ssm", "out_proj", "other"]
LABELS = ["RMSNorm", "Gated MLP", "Conv. Transform", "State Space", "Final Linear", "other"]
LENGTHS = [64, 2048]
RATIOS = [0.0, 0.5, 0.9]
SAMPLES = [1.1e-3, 0.9e-3, 1e-3]


def made_project(path):
    """Two commits and the definitions of the suites, no results."""
    project = Project(path)
    project.commit()
    project.commit()
    component = {"model": MODELS, "component": COMPONENTS, "batch": [1, 8], "seqlen": LENGTHS}
    pair = {
        "model": ["mamba2-130m"],
        "backend": ["hf", "torch"],
        "configuration": ["pruned", "masked"],
        "batch": [8],
        "seqlen": LENGTHS,
        "ratio": RATIOS,
    }
    project.define(
        definition(suites.COMPONENT_TIME, component),
        definition(suites.COMPONENT_MEMORY, component, unit="bytes"),
        definition(suites.PAIRED_TIME, pair, kind="paired"),
        definition(suites.PAIRED_MEMORY, pair, unit="bytes", kind="paired"),
    )
    return project


def component_results(lengths=LENGTHS, batch=8):
    """Component number i takes i + 1 ms and i + 1 MB, twice as much in Mamba-2."""
    size = {
        (model, component, batch, seqlen): (index + 1) * (1 + MODELS.index(model))
        for model in MODELS
        for index, component in enumerate(COMPONENTS)
        for seqlen in lengths
    }
    return {
        suites.COMPONENT_TIME: {cell: [size[cell] * sample for sample in SAMPLES] for cell in size},
        suites.COMPONENT_MEMORY: {cell: [size[cell] * 1e6] for cell in size},
    }


def pair_note(benchmark, ratio, measured, verdict):
    """The note of one ratio at 64 tokens; `measured` is pruned / dense with its bounds."""
    value, low, high = measured
    return {
        "kind": "pair",
        "benchmark": benchmark,
        "params": ["'mamba2-130m'", "'hf'", "'pruned'", "8", "64", str(ratio)],
        "variant_axis": "ratio",
        "baseline": "0.0",
        "variant": str(ratio),
        "measure": "memory" if benchmark == suites.PAIRED_MEMORY else "time",
        "ratio": value,
        "low": low,
        "high": high,
        "confidence": 0.99,
        "verdict": verdict,
    }


def tables(made):
    """The texts of the cells of each table of results, by its caption."""
    folded = {figure for details in made.iter("details") for figure in details.iter("figure")}
    return {
        text(figure[0]): [[text(cell) for cell in row] for row in figure.iter("tr")]
        for figure in made.iter("figure")
        if figure not in folded
    }


def measured(row):
    """A row of Table 1 with two models, without what is counted: time, share and memory of each."""
    return [row[0], *(row[index] for model in (1, 6) for index in (model + 3, model + 4, model + 1))]


def text(made):
    return "".join(made.itertext())


PRUNED = ("mamba2-130m", "hf", "pruned", 8)


def paired_results(*variants):
    """Mamba-2 with r of its states removed takes 1 - r / 4 of the time and 1 - r / 2 of the memory."""
    grid = [
        (*variant, seqlen, ratio)
        for variant in variants or (PRUNED,)
        for seqlen in LENGTHS
        for ratio in RATIOS
    ]
    return {
        suites.PAIRED_TIME: {cell: [sample * (1 - cell[-1] / 4) for sample in SAMPLES] for cell in grid},
        suites.PAIRED_MEMORY: {cell: [1e9 * (1 - cell[-1] / 2)] * 3 for cell in grid},
    }

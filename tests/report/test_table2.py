"""Table 2 from asv's result files: what is read, and what the table makes of it."""

import json
from itertools import product

import pytest

from benchmarks.meter.measure import statistics
from perfmamba.cli import main
from perfmamba.errors import InputError
from perfmamba.report.decode import decode_tables
from perfmamba.report.pairs import NO_DIFFERENCE, Setting, read_pairs
from perfmamba.report.paper import paper_table2
from perfmamba.report.table2 import table2

NAMES = ["model", "backend", "configuration", "batch", "seqlen", "ratio"]
DECODE_NAMES = ["model", "backend", "configuration", "mode", "batch", "seqlen", "ratio"]
TIME, MEMORY = "pruning.StateSize.paired_prefill", "pruning.StateSize.paired_memory"
STEP = "pruning.DecodeStateSize.paired_step"
STEP_SECONDS = {("1", "0.0"): 0.01, ("1", "0.5"): 0.008, ("8", "0.0"): 0.04, ("8", "0.5"): None}
"""By batch and ratio."""
SETTING = Setting("mamba2-130m", "hf", "pruned", "prefill", 8, 512)


def pair(
    benchmark=TIME,
    ratio=0.5,
    relative=0.8,
    *,
    model="mamba2-130m",
    backend="hf",
    configuration="pruned",
    seqlen=512,
    verdict="faster",
):
    params = [f"'{model}'", f"'{backend}'", f"'{configuration}'", "8", str(seqlen), str(ratio)]
    return {
        "kind": "pair",
        "benchmark": benchmark,
        "params": params,
        "variant_axis": "ratio",
        "baseline": "0.0",
        "variant": str(ratio),
        "measure": "time" if benchmark == TIME else "memory",
        "ratio": relative,
        "low": relative - 0.1,
        "high": relative + 0.1,
        "confidence": 0.99,
        "verdict": verdict,
    }


@pytest.fixture
def results(tmp_path):
    """A function that writes the results of a commit, and gives asv's folder."""

    def write(*pairs, date=1, commit="a" * 40, machine="box"):
        folder = tmp_path / machine
        folder.mkdir(exist_ok=True)
        definitions = {name: {"param_names": NAMES} for name in (TIME, MEMORY)}
        definitions[STEP] = {"param_names": DECODE_NAMES}
        (folder / "benchmarks.definitions").write_text(json.dumps(definitions))
        result = {
            "date": date,
            "commit_hash": commit,
            "result_columns": ["result", "params", "version"],
            "results": {name: _results(name, pairs) for name in {made["benchmark"] for made in pairs}},
        }
        (folder / f"{commit[:8]}-env.json").write_text(json.dumps(result))
        lines = [{"kind": "versions"}, {"kind": "cell", "benchmark": TIME, "params": []}, *pairs]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{commit[:8]}-env.notes.jsonl").write_text(text + '{"kind": "pai')
        return tmp_path

    return write


def _results(benchmark, pairs):
    """What asv stores of a benchmark: steps as above; else a second for each variant, none of the dense."""
    noted = [made["params"] for made in pairs if made["benchmark"] == benchmark]
    axes = [list(dict.fromkeys(values)) for values in zip(*noted, strict=True)]
    if benchmark == STEP:
        axes[-1] = ["0.0", "0.5"]
        return [[STEP_SECONDS[cell[4], cell[6]] for cell in product(*axes)], axes, "1"]
    return [[1.0 if [*cell] in noted else float("nan") for cell in product(*axes)], axes, "1"]


def test_a_pair_is_read_with_what_it_is_of(results):
    (read,) = read_pairs(results(pair()))
    assert (read.setting, read.ratio, read.measure) == (SETTING, 0.5, "time")
    assert (read.relative, read.low, read.high) == (0.8, pytest.approx(0.7), pytest.approx(0.9))
    assert not read.is_undecided


def test_undecided_is_what_the_meter_calls_so(results):
    (read,) = read_pairs(results(pair(verdict=statistics.NO_DIFFERENCE)))
    assert read.is_undecided
    assert NO_DIFFERENCE == statistics.NO_DIFFERENCE


def test_the_newest_commit_that_has_a_cell_counts(results):
    results(pair(relative=0.5), pair(ratio=0.9, relative=0.4), date=2, commit="b" * 40)
    folder = results(pair(relative=0.9), pair(ratio=0.9, relative=0.9), date=1, commit="c" * 40)
    results(pair(relative=0.7), date=3, commit="a" * 40)
    found = {read.ratio: (read.relative, read.commit[0]) for read in read_pairs(folder)}
    assert found == {0.5: (0.7, "a"), 0.9: (0.4, "b")}


def test_savings_are_those_of_the_pairs(results):
    undecided = pair(MEMORY, 0.9, 1.05, verdict=NO_DIFFERENCE)
    (table,) = table2(read_pairs(results(pair(), pair(MEMORY), pair(ratio=0.9, relative=1.25), undecided)))
    half, most = table.records()
    assert (half["seqlen"], half["ratio"]) == (512, 0.5)
    assert half["speedup"] == pytest.approx(1 / 0.8)
    assert (half["speedup_low"], half["speedup_high"]) == (pytest.approx(1 / 0.9), pytest.approx(1 / 0.7))
    assert half["memory_saved_percent"] == pytest.approx(20)
    low, high = half["memory_saved_low_percent"], half["memory_saved_high_percent"]
    assert (low, high) == (pytest.approx(10), pytest.approx(30))
    assert (half["speedup_verdict"], half["memory_verdict"]) == ("faster", "smaller")
    assert (most["speedup_verdict"], most["memory_verdict"]) == ("slower", "no difference")


def test_one_table_has_every_backend_and_configuration_of_a_model(results):
    pairs = read_pairs(
        results(pair(configuration="masked"), pair(backend="torch"), pair(), pair(ratio=0.9), pair(seqlen=64))
    )
    (table,) = table2(pairs)
    assert table.title == "Table 2: what removing states saves in a prefill of mamba2-130m, batch 8"
    assert [row[:4] for row in table.rows] == [
        (64, "hf", "pruned", 0.5),
        (512, "hf", "pruned", 0.5),
        (512, "hf", "pruned", 0.9),
        (512, "hf", "masked", 0.5),
        (512, "torch", "pruned", 0.5),
    ]
    assert table.sections == {0, 1, 3, 4}
    assert "pruned: states removed; masked: states zeroed, and still computed." in table.notes


def test_every_model_has_a_table(results):
    small, large = table2(read_pairs(results(pair(model="mamba2-130m-2layers"), pair())))[::-1]
    assert (len(small.rows), len(large.rows)) == (1, 1)
    assert "mamba2-130m-2layers, batch 8" in small.title


def test_a_quantity_that_was_not_measured_is_empty(results):
    (table,) = table2(read_pairs(results(pair())))
    (row,) = table.records()
    assert (row["memory_saved_percent"], row["memory_verdict"]) == (None, None)


def test_the_paper_stands_beside_it(results):
    pairs = read_pairs(results(pair(), pair(ratio=0.45), pair(configuration="masked")))
    (table,) = table2(pairs, against_paper=True)
    ours, half, zeroed = table.records()
    for row in (ours, zeroed):
        assert (row["speedup_paper"], row["memory_saved_paper_percent"]) == (None, None)
    printed = paper_table2()[512, 0.5]
    assert (half["speedup_paper"], half["memory_saved_paper_percent"]) == printed
    assert printed == (1.05, 4.79)


def test_the_paper_has_six_lengths_and_five_ratios():
    assert len(paper_table2()) == 30
    assert max(saving.speedup for saving in paper_table2().values()) == 1.14


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        (None, "choose a machine with --machine; it has box, other"),
        ("third", "no results of machine 'third'"),
    ],
)
def test_of_several_machines_one_is_chosen(results, machine, message):
    results(pair(relative=0.3), machine="other")
    folder = results(pair())
    with pytest.raises(InputError, match=message):
        read_pairs(folder, machine)
    (read,) = read_pairs(folder, "other")
    assert read.relative == 0.3
    assert read_pairs(folder / "other") == (read,)


def test_what_cannot_be_read_is_one_error(results, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_pairs(tmp_path / "nowhere")
    with pytest.raises(InputError, match="it has none"):
        read_pairs(tmp_path)
    folder = results()
    with pytest.raises(InputError, match="has no results of pruned models; measure some with"):
        read_pairs(folder)
    (folder / "box" / "aaaaaaaa-env.json").write_text('{"date": ')
    with pytest.raises(InputError, match=r"aaaaaaaa-env\.json cannot be read"):
        read_pairs(folder)


def step(batch, relative=0.8, configuration="pruned"):
    params = ["'mamba2-130m-2layers'", "'torch'", f"'{configuration}'", "'decode'", str(batch), "64", "0.5"]
    return pair(relative=relative) | {"benchmark": STEP, "params": params}


def test_a_decode_step_has_rates_and_room(results):
    (table,) = decode_tables(read_pairs(results(step(1), step(8), pair())), memory_gb=1)
    dense, half, *many = table.records()
    assert (dense["tokens_per_s"], half["tokens_per_s"]) == (100, 125)
    assert (half["speedup"], half["speedup_low"]) == (pytest.approx(1.25), pytest.approx(1 / 0.9))
    assert [row["tokens_per_s"] for row in many] == [200, None]
    # two layers: 1536 channels of 128 or 64 states and 1792 or 1664 windows of four inputs, in float32
    assert dense["state_bytes"] == 2 * 4 * (1536 * 128 + 1792 * 4)
    assert half["state_bytes"] == 2 * 4 * (1536 * 64 + 1664 * 4)
    assert dense["sequences"] == (10**9 - weight_bytes(128)) // dense["state_bytes"]
    assert half["sequences"] == (10**9 - weight_bytes(64)) // half["state_bytes"]
    assert table.sections == {0, 2}


@pytest.mark.parametrize(("bridge", "entries"), [("lstsq", 64 + 128), ("balanced", 128 + 128)])
def test_a_bridge_caches_windows_of_all_that_it_projects(results, bridge, entries):
    (table,) = decode_tables(read_pairs(results(step(1, configuration=bridge))), memory_gb=1)
    dense, half = table.records()
    assert dense["state_bytes"] == 2 * 4 * (1536 * 128 + 1792 * 4)
    assert half["state_bytes"] == 2 * 4 * (1536 * 64 + (1536 + entries) * 4)
    assert bridge in table.title


def weight_bytes(states):
    """By hand: embedding, two layers with in_proj, convolution, norms and out_proj, the last norm."""
    channels = 1536 + 2 * states
    layer = 768 * (1536 + channels + 24) + 5 * channels + 3 * 24 + 1536 + 1536 * 768 + 768
    return 4 * (50288 * 768 + 2 * layer + 768)


def test_each_table_says_where_the_other_is(results):
    with pytest.raises(InputError, match="no decode step of a pruned model; measure some with"):
        decode_tables(read_pairs(results(pair())), memory_gb=40)
    with pytest.raises(InputError, match="`perfmamba table decode` shows steps"):
        table2(read_pairs(results(step(1))))
    with pytest.raises(InputError, match="--memory 0: give a number of gigabytes above 0"):
        decode_tables(read_pairs(results(step(1))), memory_gb=0)


def test_the_decode_command_prints_it(results, capsys):
    main(["table", "decode", str(results(step(1))), "--format", "csv"])
    assert capsys.readouterr().out.splitlines()[2].startswith("1,0.5,125.0,1.25,")


def test_the_command_prints_it(results, capsys):
    main(["table", "2", str(results(pair())), "--against", "paper", "--format", "csv"])
    header, row = capsys.readouterr().out.splitlines()
    assert header.startswith("seqlen,backend,configuration,ratio,speedup")
    assert row.startswith("512,hf,pruned,0.5,1.25,")


def test_the_command_ends_with_one_line_where_there_is_nothing(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["table", "2", str(tmp_path)])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1

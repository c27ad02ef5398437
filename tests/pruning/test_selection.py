"""Algorithm 1: how many states stay, and which."""

from decimal import Decimal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perfmamba.errors import InputError
from perfmamba.pruning.selection import kept_count, select, select_highest
from tests.pruning.activities import activity_of, layer_activity

NAN = float("nan")


def chosen(rows, ratio, **options):
    values = torch.tensor(rows, dtype=torch.float64)
    return select_highest([values], ratio=ratio, score="some", **options)


@pytest.mark.parametrize(
    ("states", "ratio", "expected"),
    [
        (128, 0.0, 128),
        (128, 0.1, 115),
        (128, 0.3, 89),
        (128, 0.5, 64),
        (128, 0.7, 38),
        (128, 0.9, 12),
        (128, 0.999, 1),
        (10, 0.9, 1),  # 10 (1 - 0.9) is 0.99... in floating point
        (10, 0.8, 2),  # 10 (1 - 0.8) is 1.9999999999999996
        (16, 0.9, 1),
        (1, 0.5, 1),
    ],
)
def test_the_count_of_the_paper(states, ratio, expected):
    assert kept_count(states, ratio) == expected


@given(st.integers(1, 300), st.decimals("0", "0.999", places=3))
def test_the_count_is_exact_for_the_ratio_as_written(states, ratio):
    exact = int(states * (Decimal(1) - ratio))  # both are short decimals: no rounding
    assert kept_count(states, float(ratio)) == max(1, exact)


@given(st.integers(1, 300), st.floats(0, 0.99), st.sampled_from([1, 4, 8, 16]))
def test_alignment_rounds_up_and_never_above_all(states, ratio, align):
    exact, aligned = kept_count(states, ratio), kept_count(states, ratio, align=align)
    assert exact <= aligned <= states
    assert aligned - exact < align
    assert aligned % align == 0 or aligned == states


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratio": 1.0}, "ratio 1.0: give the share of states to remove, at least 0 and below 1"),
        ({"ratio": -0.1}, "ratio -0.1: give the share"),
        ({"ratio": NAN}, "ratio nan: give the share"),
        ({"ratio": 0.5, "align": 0}, "align 0: give a whole number of at least 1"),
    ],
)
def test_wrong_numbers_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        kept_count(16, **arguments)


def test_the_highest_stay_in_their_order():
    selection = chosen([[3.0, 9.0, 1.0, 7.0], [0.4, 0.1, 0.3, 0.2]], 0.5)
    assert selection.kept[0].tolist() == [[1, 3], [0, 2]]
    assert selection.kept[0].dtype == torch.int64
    assert (selection.states, selection.count, selection.ties) == (4, 2, 0)


def test_ties_go_to_the_lower_index_and_are_counted():
    selection = chosen([[5.0, 2.0, 2.0, 2.0], [2.0, 2.0, 1.0, 0.0]], 0.5)
    assert selection.kept[0].tolist() == [[0, 1], [0, 1]]
    assert selection.ties == 3  # the three of the first group; the second is cut where scores differ
    assert chosen([[1.0] * 4], 0.0).ties == 0


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=7, max_size=7), min_size=1, max_size=3), st.integers(1, 7)
)
def test_the_cut_is_that_of_a_plain_sort(rows, count):
    selection = chosen(rows, 1 - count / 8)
    kept = selection.count
    ties = 0
    for row, indices in zip(rows, selection.kept[0].tolist(), strict=True):
        assert indices == sorted(sorted(range(7), key=lambda s: (-row[s], s))[:kept])
        stay, go = {row[s] for s in indices}, {row[s] for s in range(7) if s not in indices}
        ties += sum(value in stay & go for value in row)
    assert selection.ties == ties


def test_alignment_says_what_it_changed():
    rows = [list(range(128))]
    assert chosen(rows, 0.3, align=16).alignment == "96 of 128 states are kept, not 89: a multiple of 16"
    assert chosen(rows, 0.5, align=16).alignment is None
    assert chosen(rows, 0.3).alignment is None


def test_layers_are_ranked_by_themselves_with_the_score_asked_for():
    activity = activity_of(
        layer_activity([0.1], output=[[9.0, 8.0, 7.0, 6.0]], magnitude=[[1.0, 2.0, 3.0, 4.0]]),
        layer_activity([0.1], output=[[0.1, 0.2, 0.3, 0.4]], magnitude=[[4.0, 3.0, 2.0, 1.0]]),
    )
    selection = select(activity, ratio=0.5)
    assert [kept.tolist() for kept in selection.kept] == [[[0, 1]], [[2, 3]]]
    assert (selection.score, selection.ratio) == ("output", 0.5)
    other = select(activity, ratio=0.25, score="magnitude")
    assert [kept.tolist() for kept in other.kept] == [[[1, 2, 3]], [[0, 1, 2]]]
    once, again = (select(activity, ratio=0.5, score="random", seed=seed).kept[0] for seed in (1, 2))
    assert not once.equal(again)


@pytest.mark.parametrize("wrong", [NAN, float("inf")])
def test_scores_that_are_not_finite_are_refused_with_their_layer(wrong):
    good = torch.zeros(1, 3)
    with pytest.raises(InputError, match="score output: layer 1 has values that are not finite"):
        select_highest([good, torch.tensor([[0.0, wrong, 1.0]])], ratio=0.5, score="output")

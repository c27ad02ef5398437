"""Calibration data of every kind: the tokens they give, and what is refused."""

import re
import sys
import types
from itertools import islice

import numpy as np
import pytest
import torch

from perfmamba.errors import InputError
from perfmamba.models.tokenizing import text_encoder
from perfmamba.pruning.calibration import open_calibration, token_batches


def no_encoder():
    raise AssertionError


def opened(source, *, vocabulary=300, seqlen=4, seed=0, encoder=no_encoder):
    return open_calibration(str(source), vocabulary=vocabulary, seqlen=seqlen, seed=seed, encoder=encoder)


def sequences(source, **options):
    return [sequence.tolist() for sequence in opened(source, **options).sequences]


def bytes_encoder():
    return text_encoder("mamba2-130m", vocabulary=256)


@pytest.fixture
def data_sets(monkeypatch):
    """The package datasets, as far as it is used: gives what is put in by name, config and split."""
    held = {}

    def load_dataset(name, config, *, split, streaming):
        assert streaming
        if (name, config, split) not in held:
            message = f"{name} is nowhere\nsecond line"
            raise ConnectionError(message)
        return held[name, config, split]

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return held


def test_text_is_cut_into_sequences_without_the_rest(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("abcdefghij", encoding="utf-8")
    calibration = opened(path, encoder=bytes_encoder)
    assert (calibration.name, calibration.encoder, calibration.warning) == ("words.txt", "bytes", None)
    assert [bytes(sequence.tolist()) for sequence in calibration.sequences] == [b"abcd", b"efgh"]


def test_bytes_for_a_model_of_words_come_with_a_warning(tmp_path):
    (tmp_path / "words.txt").write_text("abcdefghij", encoding="utf-8")
    calibration = opened(tmp_path / "words.txt", vocabulary=1000, encoder=bytes_encoder)
    assert "every byte is a token: right for a model of bytes only" in calibration.warning


def test_an_array_of_one_dimension_is_cut(tmp_path):
    np.save(tmp_path / "tokens.npy", np.arange(11, dtype=np.uint16))
    assert sequences(tmp_path / "tokens.npy") == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_rows_of_two_dimensions_are_sequences_as_they_are(tmp_path):
    np.save(tmp_path / "tokens.npy", np.arange(6, dtype=np.int32).reshape(2, 3))
    assert sequences(tmp_path / "tokens.npy") == [[0, 1, 2], [3, 4, 5]]


def test_a_folder_gives_its_arrays_in_order_of_their_names(tmp_path):
    np.save(tmp_path / "b.npy", np.arange(4, 8))
    np.save(tmp_path / "a.npy", np.arange(5))
    np.save(tmp_path / "c.npy", np.arange(2))  # less than a sequence
    (tmp_path / "notes.txt").write_text("not tokens")
    assert sequences(tmp_path) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert opened(tmp_path).name == tmp_path.name


def test_random_tokens_are_seeded_endless_and_come_with_a_warning():
    calibration = opened("random", seed=1, vocabulary=7)
    assert "not for choosing the states of a trained model" in calibration.warning
    assert calibration.name == "random tokens (seed 1)"
    first = torch.stack(list(islice(calibration.sequences, 100)))
    assert first.shape == (100, 4)
    assert set(first.flatten().tolist()) == set(range(7))
    assert first.equal(torch.stack(list(islice(opened("random", seed=1, vocabulary=7).sequences, 100))))
    assert not first.equal(torch.stack(list(islice(opened("random", seed=2, vocabulary=7).sequences, 100))))


def test_a_data_set_gives_its_token_ids_or_its_text(data_sets):
    data_sets["some/ids", None, "train"] = [{"input_ids": [1, 2, 3]}, {"input_ids": [4, 5]}]
    data_sets["some/words", "small", "test"] = [{"text": "abc"}, {"text": "def"}]
    assert sequences("hub:some/ids") == [[1, 2, 3, 4]]
    calibration = opened("hub:some/words:small:test", encoder=bytes_encoder)
    assert (calibration.name, calibration.encoder) == ("hub:some/words:small:test", "bytes")
    assert [bytes(sequence.tolist()) for sequence in calibration.sequences] == [b"abc\n", b"def\n"]


def test_a_data_set_that_cannot_be_used_is_said(data_sets):
    data_sets["some/pictures", None, "train"] = [{"image": 0, "label": 1}]
    data_sets["some/none", None, "train"] = []
    with pytest.raises(InputError, match="has image, label; a column input_ids or text is needed"):
        opened("hub:some/pictures")
    with pytest.raises(InputError, match="has no rows; a column input_ids"):
        opened("hub:some/none")
    with pytest.raises(
        InputError, match=r"cannot get the data set hub:a/b:c: a/b is nowhere; check hub:OWNER"
    ):
        opened("hub:a/b:c")
    for source in ("hub:", "hub::a", "hub:a/b:c:train[:10]"):
        with pytest.raises(InputError, match=re.escape(f"no data set {source!r}: give hub:OWNER/NAME[")):
            opened(source)


def test_without_datasets_its_absence_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"the package datasets is needed; pip install 'perfmamba\[data\]'"):
        opened("hub:a/b")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(8), r"some\.npy holds float64 in 1 dimensions; token ids are integers"),
        (np.zeros((2, 2, 2), np.int64), "holds int64 in 3 dimensions"),
        (np.array([1, 2, 3, 300]), r"some\.npy holds the token 300; this model knows 0 to 299"),
        (np.array([1, 2, -3, 4]), "holds the token -3; this model knows 0 to 299"),
        (np.arange(3), r"some\.npy holds less than one sequence of 4 tokens"),
        (np.zeros((3, 0), np.int64), "holds less than one sequence of 4 tokens"),
        (np.array([{}] * 4), r"some\.npy is not readable as a \.npy array"),
    ],
)
def test_arrays_that_are_not_tokens_are_refused(tmp_path, array, message):
    np.save(tmp_path / "some.npy", array)
    with pytest.raises(InputError, match=message):
        sequences(tmp_path / "some.npy")


def test_files_that_are_no_arrays_are_refused(tmp_path):
    (tmp_path / "text.npy").write_text("not an array")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").touch()
    with pytest.raises(InputError, match=r"text\.npy is not readable as a \.npy array"):
        sequences(tmp_path / "text.npy")
    with pytest.raises(InputError, match=r"absent\.npy is not readable as a \.npy array"):
        sequences(tmp_path / "absent.npy")
    with pytest.raises(InputError, match="the folder empty holds no token arrays"):
        opened(tmp_path / "empty")
    with pytest.raises(InputError, match=r"empty\.txt holds less than one sequence of 4 tokens"):
        sequences(tmp_path / "empty.txt", encoder=bytes_encoder)
    with pytest.raises(InputError, match=r"no calibration data '.*absent': give a text file, a \.npy file"):
        opened(tmp_path / "absent")
    with pytest.raises(InputError, match="seqlen 0: give a number of at least 1"):
        opened("random", seqlen=0)


def batches(rows, **options):
    return [batch.tolist() for batch in token_batches(map(torch.tensor, rows), **options)]


def test_batches_are_full_but_for_the_last():
    rows = [[1, 1], [2, 2], [3, 3], [4, 4], [5, 5]]
    assert batches(rows, tokens=100, batch=2) == [rows[:2], rows[2:4], rows[4:]]
    assert batches(rows, tokens=7, batch=2) == [rows[:2], rows[2:3]]
    assert batches([[1], [2], [3, 3], [4]], tokens=100, batch=2) == [[[1], [2]], [[3, 3]], [[4]]]


def test_batches_need_a_sequence_and_a_size():
    with pytest.raises(InputError, match="tokens 1: less than one sequence of the calibration data has"):
        batches([[1, 1]], tokens=1, batch=2)
    with pytest.raises(InputError, match="batch 0: give a number of at least 1"):
        batches([[1, 1]], tokens=10, batch=0)

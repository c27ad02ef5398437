"""Text to token ids: by the tokenizer in a folder, or by bytes."""

import io

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from perfmamba.errors import InputError
from perfmamba.models import tokenizing
from perfmamba.models.tokenizing import encoded_blocks, text_blocks, text_encoder

WORDS = ["<unk>", "the", "cat", "sat"]


@pytest.fixture
def folder(tmp_path):
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<unk>").save_pretrained(tmp_path / "cats")
    return tmp_path / "cats"


def test_the_tokenizer_of_the_folder_is_used_without_special_tokens(folder):
    encoder = text_encoder(str(folder), vocabulary=4)
    assert encoder.name == "tokenizer of cats"
    assert encoder.encode("the cat\nsat the dog") == [1, 2, 3, 1, 0]


@pytest.mark.parametrize("source", ["mamba2-130m", "folder"])
def test_without_a_tokenizer_bytes_are_tokens(tmp_path, source):
    encoder = text_encoder(str(tmp_path) if source == "folder" else source, vocabulary=256)
    assert encoder.name == "bytes"
    assert encoder.encode("aü") == [97, 0xC3, 0xBC]


def test_bytes_need_a_vocabulary(tmp_path):
    with pytest.raises(InputError, match="has no tokenizer, and a vocabulary of 255 is too small for bytes"):
        text_encoder(str(tmp_path), vocabulary=255)


def test_a_broken_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="the tokenizer in cats cannot be loaded: "):
        text_encoder(str(folder), vocabulary=4)


def test_a_tokenizer_that_cannot_be_downloaded_is_said(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="cannot get the tokenizer of 'nobody/nothing' from the hub: "):
        text_encoder("nobody/nothing", vocabulary=256)


@pytest.mark.parametrize("block", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    "text", ["", "one", "one two  three\nfour\r\n five", " lead", "trail ", "x" * 20, "a b" + "c" * 20 + " d"]
)
def test_blocks_are_the_text_and_start_where_words_do(monkeypatch, block, text):
    monkeypatch.setattr(tokenizing, "BLOCK_CHARACTERS", block)
    blocks = list(text_blocks(io.StringIO(text, newline="")))
    assert "".join(blocks) == text
    assert "" not in blocks
    if block >= len("three") + 2 and "x" not in text and "c" not in text:
        assert [word for part in blocks for word in part.split()] == text.split()


def test_a_file_gives_the_tokens_of_its_text(monkeypatch, folder, tmp_path):
    monkeypatch.setattr(tokenizing, "BLOCK_CHARACTERS", 16)
    path = tmp_path / "cats.txt"
    path.write_text("the cat sat\n" * 50, encoding="utf-8")
    blocks = list(encoded_blocks(path, text_encoder(str(folder), vocabulary=4)))
    assert len(blocks) > 10
    assert [token for block in blocks for token in block] == [1, 2, 3] * 50


def test_what_is_not_text_is_refused(tmp_path):
    path = tmp_path / "binary.bin"
    path.write_bytes(b"some text \xff\xfe")
    encoder = text_encoder("mamba2-130m", vocabulary=256)
    with pytest.raises(InputError, match=r"binary\.bin is not UTF-8 text \(invalid start byte at byte 10\)"):
        list(encoded_blocks(path, encoder))
    with pytest.raises(InputError, match=r"cannot read .*absent: No such file"):
        list(encoded_blocks(tmp_path / "absent", encoder))

"""`perfmamba perplexity`: how well models predict a text."""

from pathlib import Path
from typing import TYPE_CHECKING

from perfmamba.commands.loading import let_threads_sleep, loaded_models
from perfmamba.commands.options import (
    Backend,
    Device,
    Dtype,
    Format,
    Models,
    SequenceLength,
    Tokenizer,
    TrustRemoteCode,
)
from perfmamba.errors import InputError
from perfmamba.table import Column, Table
from perfmamba.terminal import progress_bar, show_table

if TYPE_CHECKING:
    from perfmamba.evaluation.perplexity import TextScore


def perplexity(
    models: Models,
    /,
    *,
    text: Path,
    seqlen: SequenceLength = 1024,
    stride: int = 512,
    tokenizer: Tokenizer = None,
    backend: Backend = "torch",
    device: Device = None,
    dtype: Dtype = "float32",
    format: Format = "text",
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Measure how well models predict a text: bits per byte and per token, and perplexity.

    Args:
        text: A UTF-8 text.
        stride: Tokens by which the window of seqlen tokens moves on; each token is predicted from at least
            seqlen - stride tokens before it.
    """
    let_threads_sleep()
    from perfmamba.evaluation.perplexity import text_score
    from perfmamba.models.tokenizing import encoded_blocks, text_encoder

    if not text.is_file():
        raise InputError(f"--text {text}: no such file")
    rows = []
    for source, loaded in loaded_models(
        models, backend=backend, device=device, dtype=dtype, trust_remote_code=trust_remote_code
    ):
        encoder = text_encoder(tokenizer or source, vocabulary=int(loaded.model.config.vocab_size))
        total = sum(map(len, encoded_blocks(text, encoder)))
        with progress_bar(loaded.name, total) as bar:
            score = text_score(
                loaded.model, text, encoder, seqlen=seqlen, stride=stride, on_tokens=bar.advance
            )
        rows.append((loaded.name, encoder.name, score))
    show_table(_table(rows, text, seqlen, stride), format)


def _table(scored: list[tuple[str, str, "TextScore"]], text: Path, seqlen: int, stride: int) -> Table:
    columns = (
        Column("model", "Model"),
        Column("bits_per_byte", "Bits/byte", ".4f"),
        Column("bits_per_token", "Bits/token", ".4f"),
        Column("nats_per_token", "Nats/token", ".4f"),
        Column("perplexity", "Perplexity", ",.2f"),
        Column("tokens", "Tokens", ",d"),
        Column("bytes", "Bytes", ",d"),
        Column("encoder", "Tokens from"),
    )
    rows = tuple(
        (
            name,
            score.bits_per_byte,
            score.bits_per_token,
            score.nats_per_token,
            score.perplexity,
            score.tokens,
            score.bytes,
            encoder,
        )
        for name, encoder, score in scored
    )
    return Table(
        title=f"Prediction of {text.name}",
        columns=columns,
        rows=rows,
        notes=(
            f"Windows of {seqlen} tokens that move on by {stride}; each token is predicted once.",
            "Bits per byte compare any two models; the other numbers only models with the same tokenizer.",
        ),
    )

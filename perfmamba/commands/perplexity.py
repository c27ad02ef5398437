"""`perfmamba perplexity`: how well models predict a text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from perfmamba.commands import Switch, show
from perfmamba.commands.choices import Backend
from perfmamba.commands.loading import loaded_models
from perfmamba.errors import InputError
from perfmamba.table import Column, Table, TableFormat, render

if TYPE_CHECKING:
    from perfmamba.evaluation.perplexity import TextScore


def perplexity(
    models: Annotated[list[str], Parameter(negative="")],
    /,
    *,
    text: Path,
    seqlen: int = 1024,
    stride: int = 512,
    tokenizer: str | None = None,
    backend: Backend = "torch",
    device: str | None = None,
    dtype: str = "float32",
    format: TableFormat = "text",  # noqa: A002  # the option's name
    trust_remote_code: Annotated[bool, Switch] = False,
) -> None:
    """Predict every token of a text, and say how surprising it was: bits per byte and per token, perplexity.

    Args:
        models: Checkpoint folders, hub ids or published shapes, pruned ones too.
        text: A UTF-8 text.
        seqlen: Tokens that the model sees at once.
        stride: Tokens that this window moves on by; a token is predicted from seqlen - stride or more others.
        tokenizer: Folder or hub id of a tokenizer; by default the model's own, and bytes if it has none.
        backend: What runs the convolutions and scans.
        device: cpu, cuda or cuda:INDEX; by default the GPU if there is one.
        dtype: float32, bfloat16 or float16.
        format: text, markdown, latex, csv, html or json.
        trust_remote_code: Let transformers run Python files that a checkpoint brings.
    """
    from perfmamba.commands.bars import counting
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
        with counting(loaded.name, total) as advance:
            score = text_score(loaded.model, text, encoder, seqlen=seqlen, stride=stride, on_tokens=advance)
        rows.append((loaded.name, encoder.name, score))
    show(render(_table(rows, text, seqlen, stride), format))


def _table(scored: list[tuple[str, str, "TextScore"]], text: Path, seqlen: int, stride: int) -> Table:
    columns = (
        Column("model", "Model"),
        Column("bits_per_byte", "Bits/byte", ".4f"),
        Column("bits_per_token", "Bits/token", ".4f"),
        Column("nats_per_token", "Nats/token", ".4f"),
        Column("perplexity", "Perplexity", ",.2f"),
        Column("tokens", "Tokens", ",d"),
        Column("bytes", "Bytes", ",d"),
        Column("encoder", "Made by"),
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
            "Perplexity and numbers per token compare models of one tokenizer, bits per byte all.",
        ),
    )

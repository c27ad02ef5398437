"""Options that several verbs have: the type, the choices and the help of each, said once."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from perfmamba.commands import choices
from perfmamba.table import TableFormat

Several = Parameter(
    consume_multiple=True, negative="", show_default=lambda values: " ".join(map(str, values))
)
"""An option that takes one or more values."""

Switch = Parameter(negative="", show_default=False)
"""An option that is given or not."""

# Models, and how they are loaded

Model = Annotated[
    str, Parameter(help="A published shape (seeded random weights), a checkpoint folder, or a hub id.")
]
Models = Annotated[
    list[str],
    Parameter(
        negative="",
        help="Published shapes (seeded random weights), checkpoint folders, or hub ids; pruned too.",
    ),
]
_BACKEND_HELP = (
    "What runs the convolutions and scans: hf (transformers' own code in torch), mamba_ssm (the official "
    "kernels), torch or triton (ours), or reference (ours, sequential)."
)
Backend = Annotated[choices.Backend, Parameter(help=_BACKEND_HELP)]
Backends = Annotated[
    tuple[choices.Backend, ...],
    Several,
    Parameter(
        help=f"{_BACKEND_HELP} Several are measured side by side; by default transformers chooses.",
        show_default=False,
    ),
]
Device = Annotated[str | None, Parameter(help="cpu, cuda or cuda:INDEX; by default the GPU if there is one.")]
DtypeName = Literal["float32", "bfloat16", "float16"]
Dtype = Annotated[DtypeName, Parameter(help="The dtype of the weights.")]
Layers = Annotated[
    int | None, Parameter(help="Keep only the first blocks of each model, for small machines.")
]
Seed = Annotated[int, Parameter(help="Seeds everything that is drawn at random.")]
TrustRemoteCode = Annotated[
    bool, Switch, Parameter(help="Let transformers run Python files that a checkpoint brings.")
]

# Text and calibration data

Tokenizer = Annotated[
    str | None,
    Parameter(help="Folder or hub id of the tokenizer for text; by default the model's own, or bytes."),
]
CALIBRATION_HELP = (
    "What to calibrate on: a text file, a .npy file or folder of token arrays, "
    "hub:OWNER/NAME[:CONFIG[:SPLIT]], or random."
)
Tokens = Annotated[int, Parameter(help="How many tokens of the calibration data to use at most.")]
Batch = Annotated[int, Parameter(help="Sequences at once.")]
SequenceLength = Annotated[int, Parameter(help="Tokens that the model sees at once.")]

# Recall

Pairs = Annotated[int, Parameter(help="Recall: key-value pairs in a sequence; each key is asked for once.")]
Length = Annotated[int, Parameter(help="Recall: tokens in a sequence.")]
Samples = Annotated[int, Parameter(help="Recall: sequences to measure with.")]

# What is printed and written

Format = Annotated[TableFormat, Parameter(help="How the table is printed.")]
Against = Annotated[Literal["paper"] | None, Parameter(help="Put the paper's numbers beside ours.")]
Force = Annotated[bool, Switch, Parameter(help="Replace what perfmamba wrote there before.")]
AsvFolder = Annotated[
    Path, Parameter(help="Where asv keeps its results, or the folder of one machine in there.")
]
Machine = Annotated[str | None, Parameter(help="The machine whose results to show, if there are several.")]

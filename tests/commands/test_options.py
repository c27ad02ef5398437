"""Options that several verbs have mean the same, and say the same, everywhere."""

from typing import get_args

import pytest
from cyclopts import App

from perfmamba.cli import app
from perfmamba.commands import options
from perfmamba.commands.table import table_1
from perfmamba.commands.verbs import VERBS
from perfmamba.models import DTYPES

SHARED = (
    "--device",
    "--seed",
    "--layers",
    "--trust-remote-code",
    "--tokenizer",
    "--tokens",
    "--batch",
    "--force",
    "--pairs",
    "--length",
    "--samples",
    "--machine",
)


def commands(parent):
    for name in parent:
        if not name.startswith("-"):
            yield parent[name]
            yield from commands(parent[name])


@pytest.fixture(scope="module")
def helps():
    """The help texts of each option, over all verbs but `table 1`, whose options choose from results."""
    found = {}
    for command in commands(app):
        if command.default_command in {None, table_1}:
            continue
        for argument in command.assemble_argument_collection(parse_docstring=True):
            for name in argument.names:
                found.setdefault(name, set()).add(argument.parameter.help)
    return found


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_option_has_one_help_text(helps, name):
    (text,) = helps[name]
    assert text


def test_every_option_has_a_help_text(helps):
    assert not [name for name, texts in helps.items() if not all(texts)]


def test_dtypes_are_those_of_the_package():
    assert get_args(options.DtypeName) == tuple(DTYPES)


def test_the_help_of_a_verb_is_its_docstring():
    for name, verb in VERBS.items():
        if not isinstance(verb, App):
            assert app[name].help.splitlines()[0] == verb.__doc__.splitlines()[0]

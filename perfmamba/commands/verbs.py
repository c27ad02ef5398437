"""The list of all verbs, in the order in which they are used."""

from collections.abc import Callable

from cyclopts import App

from perfmamba.commands.activity import activity
from perfmamba.commands.parse import parse
from perfmamba.commands.perplexity import perplexity
from perfmamba.commands.profile import profile
from perfmamba.commands.prune import prune
from perfmamba.commands.recall import recall
from perfmamba.commands.study import study
from perfmamba.commands.table import table

VERBS: dict[str, App | Callable[..., None]] = {
    "profile": profile,
    "parse": parse,
    "table": table,
    "activity": activity,
    "prune": prune,
    "recall": recall,
    "perplexity": perplexity,
    "study": study,
}

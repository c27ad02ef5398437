"""Import time: what a user waits before a command does anything."""

from importlib.util import find_spec

MODULES = ("perfmamba", "perfmamba.cli")


class ImportTime:
    """Wall time to import a module in a fresh interpreter."""

    params = (MODULES,)
    param_names = ("module",)
    repeat = 3
    version = "1"

    def setup(self, module):
        if find_spec(module) is None:
            raise NotImplementedError(f"this commit has no {module}")

    def timeraw_import(self, module):
        return f"import {module}"

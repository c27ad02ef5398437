"""Import time: what a user waits before a command does anything."""

from importlib import import_module

MODULES = ("perfmamba", "perfmamba.cli")


class ImportTime:
    """Wall time to import a module in a fresh interpreter."""

    params = (MODULES,)
    param_names = ("module",)
    repeat = 3
    version = "1"

    def setup(self, module: str) -> None:
        try:
            import_module(module)
        except ImportError as error:
            raise NotImplementedError(str(error)) from error

    def timeraw_import(self, module: str) -> str:
        return f"import {module}"

"""A git repository in which asv is run for real."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Repository:
    """A folder under git, or one to become so; commands in it see an empty home directory and no terminal."""

    path: Path
    home: Path

    @property
    def variables(self):
        """What commands find in the environment beside this process's own."""
        return {"HOME": str(self.home)}

    def run(self, *command, **variables):
        """Run a command; stdout and stderr together."""
        return subprocess.run(
            command,
            cwd=self.path,
            env={**os.environ, **self.variables, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )

    def git(self, *arguments):
        """What git prints."""
        done = self.run("git", "-c", "user.name=test", "-c", "user.email=test@example.org", *arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout.strip()

    def asv(self, *arguments, code=0, **variables):
        """What asv prints on its way to an exit code."""
        done = self.run(sys.executable, "-m", "asv", *arguments, **variables)
        assert done.returncode == code, done.stdout
        return done.stdout

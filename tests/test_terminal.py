"""What goes to stdout and stderr, and the progress bar where there is a terminal and where there is none."""

import os
import pty
import re
import subprocess
import sys

import pytest

from perfmamba.errors import InputError
from perfmamba.terminal import exit_codes, progress_bar

BAR = """
from perfmamba.terminal import progress_bar
with progress_bar("[red] wine", 3, done=1, keep={keep}) as bar:
    bar.advance()
    bar.note("step 2")
    bar.tell("one [bold] line", style="red")
    {then}
"""


def on_a_terminal(code):
    """The exit code and what a terminal is sent."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=theirs, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    sent = b""
    try:
        while block := os.read(ours, 4096):
            sent += block
    except OSError:  # Linux's end of a terminal
        pass
    os.close(ours)
    return process.wait(), sent.decode()


def test_without_a_terminal_lines_and_the_last_state_of_a_kept_bar_are_printed(capsys):
    with progress_bar("[red] wine", 3, done=1, keep=True) as bar:
        bar.tell("one [bold] line")
        bar.advance()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("one [bold] line\n")
    assert "[red] wine" in printed.err
    assert "3/3" in printed.err


def test_without_a_terminal_a_bar_that_goes_leaves_nothing(capsys):
    with progress_bar("wine", 3) as bar:
        bar.reach(2)
        bar.describe("vinegar")
    assert not capsys.readouterr().err.strip()


def test_a_long_line_is_not_wrapped(capsys):
    line = " ".join(["word"] * 50)
    with progress_bar("", 1) as bar:
        bar.tell(line)
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("then", ["pass", "raise KeyboardInterrupt", "raise ValueError"])
def test_a_terminal_is_left_clean(then):
    code, sent = on_a_terminal(BAR.format(keep=False, then=then))
    assert (code == 0) == (then == "pass")
    assert sent.count("\x1b[?25l") == sent.count("\x1b[?25h") == 1  # the cursor is hidden, and shown again
    assert "one [bold] line" in sent
    assert "[red] wine" in sent
    assert "step 2" in re.sub(r"\x1b\[[0-9;]*m", "", sent)


def test_errors_end_a_command_with_code_2_and_one_line(capsys):
    with pytest.raises(SystemExit) as stop, exit_codes("tool"):
        raise InputError("a wrong\n value")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "tool: a wrong value\n"


def test_ctrl_c_ends_a_command_with_code_130(capsys):
    with pytest.raises(SystemExit) as stop, exit_codes("tool", on_interrupt=lambda: "half is done"):
        raise KeyboardInterrupt
    assert stop.value.code == 130
    assert capsys.readouterr().err == "half is done\n"


def test_other_errors_are_not_hidden():
    with pytest.raises(ValueError, match="a mistake of ours"), exit_codes("tool"):
        raise ValueError("a mistake of ours")

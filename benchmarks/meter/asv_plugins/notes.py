"""Notes: what a benchmark process says about a cell beyond its samples.

In: keywords. Out: one line of JSON in the file that `METER_NOTES` names, for whoever started the process to
collect; nothing without that variable, so a suite runs the same under plain asv.
"""

import json
import os

NOTES_VARIABLE = "METER_NOTES"


def note(kind: str, **fields: object) -> None:
    """Append one line, `{"kind": kind, **fields}`, to the file that METER_NOTES names, if any.

    One write to a file opened for appending: lines of several processes never mix.

    Raises:
        ValueError: if a number in `fields` is not finite.
        TypeError: if a value in `fields` is none that JSON can hold.
    """
    line = json.dumps({"kind": kind, **fields}, allow_nan=False) + "\n"
    path = os.environ.get(NOTES_VARIABLE)
    if not path:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)

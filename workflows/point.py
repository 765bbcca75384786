"""`python -m workflows.point '["KEY=VALUE", …]' COMMAND…`: becomes COMMAND with `--set KEY=VALUE` for each."""

import json
import os
import sys
from collections.abc import Sequence


def command(point: str, rest: Sequence[str]) -> list[str]:
    """Return the command of a point."""
    return [*rest, *(word for override in json.loads(point) for word in ("--set", str(override)))]


if __name__ == "__main__":
    line = command(sys.argv[1], sys.argv[2:])
    os.execvp(line[0], line)

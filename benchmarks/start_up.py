"""What it costs to start the command line, in CPU seconds, beside Python itself and beside importing torch.

    python benchmarks/start_up.py [--rounds 10]

Goals are for a quiet core of about 3 GHz: look at the ratio to Python where another is at work. What "wheel" stands
behind is started without `site`, whose hook for editable installs, as `make setup` makes one, takes as long as Python.
"""

import argparse
import os
import resource
import subprocess
import sys
import sysconfig
from pathlib import Path

COMPLETION = {"_TRMCTL_COMPLETE": "bash_complete", "COMP_WORDS": "trmctl sub", "COMP_CWORD": "1"}
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import click": ["-c", "import click"],
    "trmctl --help": ["-m", "trmctl", "--help"],
    "trmctl --help, wheel": ["-S", "-m", "trmctl", "--help"],
    "completion, wheel": ["-S", "-m", "trmctl"],
    "trmctl validate": ["-m", "trmctl", "validate", "-c", "configs/arc-demo.yaml"],
    "trmctl render": ["-m", "trmctl", "render", "-c", "configs/arc-demo.yaml"],
    "import torch": ["-c", "import torch"],
}
PATHS = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), sysconfig.get_paths()["purelib"]])}
GOALS = {
    "trmctl --help, wheel": "at most 0.15 s, better 0.06",
    "completion, wheel": "at most 0.15 s, better 0.06",
    "trmctl render": "at most 0.45 s",
}


def main() -> None:
    """Print a line per command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            times[name].append(cpu_seconds(command, COMPLETION if "completion" in name else {}))
    found = {name: min(seconds) for name, seconds in times.items()}
    bare = found["python -c pass"]
    for name, seconds in found.items():
        print(f"{name:20} {seconds:6.3f} CPU s  {seconds / bare:6.1f} x python  {GOALS.get(name, '')}".rstrip())


def cpu_seconds(command: list[str], variables: dict[str, str]) -> float:
    """Return the CPU time of one run of Python with these arguments, and environment variables more."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *command], check=True, env=os.environ | PATHS | variables, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()

"""What it costs to start the command line, in CPU seconds, beside Python itself and beside importing torch.

python benchmarks/start_up.py [--rounds 5]
"""

import argparse
import resource
import subprocess
import sys

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "trmctl --help": ["-m", "trmctl", "--help"],
    "trmctl validate": ["-m", "trmctl", "validate", "-c", "configs/arc-demo.yaml"],
    "trmctl render": ["-m", "trmctl", "render", "-c", "configs/arc-demo.yaml"],
    "import torch": ["-c", "import torch"],
}
GOALS = {"trmctl --help": "at most 0.25 s", "trmctl render": "at most 0.45 s"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    found = {name: min(cpu_seconds(command) for _ in range(rounds)) for name, command in COMMANDS.items()}
    bare = found["python -c pass"]
    for name, seconds in found.items():
        print(f"{name:18} {seconds:6.3f} CPU s  {seconds / bare:6.1f} x python  {GOALS.get(name, '')}".rstrip())


def cpu_seconds(command: list[str]) -> float:
    """Return the CPU time of one run of Python with these arguments."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()

"""Every benchmark, and one table of what came of them: `make bench`.

    python benchmarks [--only train_step,voting] [--baseline DIR]

Each script runs by itself and prints its own figures; most also leave ratios for the table. A ratio is that of the
fastest rounds, its spread the least and the greatest of the rounds: how far a single look could be off. `--baseline`
names a checkout of the reference implementation, which `train_step` then measures beside the plain rendering.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import RECORD, table

HERE = Path(__file__).parent
OPTIONS = {"train_step": ["--compile"], "evaluation": ["--compile"], "scaling": ["--measure"]}
NOT_ALONE = {"__main__", "common", "plain", "plain_data", "reference", "fewer_steps"}
"""What is no benchmark, and one that takes hours (`docs/performance.md` has what came of it)."""


def main() -> None:
    """Run the scripts, print the table; exit 1 if one failed, or does not reach what it must."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names of scripts, separated by commas")
    parser.add_argument("--baseline", type=Path, help="folder with the reference implementation")
    options = parser.parse_args()
    names = [path.stem for path in sorted(HERE.glob("*.py")) if path.stem not in NOT_ALONE]
    wanted = [one for one in options.only.split(",") if one]
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        parser.error(f"--only: there is no {', '.join(unknown)}; there are {', '.join(names)}")
    baseline = ["--baseline", str(options.baseline.absolute())] if options.baseline else []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lines.jsonl"
        file.touch()
        failed = []
        for name in wanted or names:
            print(f"== {name}", flush=True)
            more = [*OPTIONS.get(name, []), *(baseline if name == "train_step" else [])]
            command = [sys.executable, str(HERE / f"{name}.py"), *more]
            if subprocess.run(command, env=os.environ | {RECORD: str(file)}).returncode:
                failed.append(name)
        lines = [json.loads(line) for line in file.read_text().splitlines()]
    summary(lines)
    for name in failed:
        print(f"{name} failed", file=sys.stderr)
    sys.exit(bool(failed))


def summary(lines: list[dict[str, Any]]) -> None:
    """Print a line for every ratio."""
    rows = []
    for line in lines:
        ratios = sorted(plain / ours for ours, plain in zip(line["ours"], line["plain"], strict=True))
        ratio = min(line["plain"]) / min(line["ours"])
        spread = f"{number(ratios[0])} to {number(ratios[-1])}" if len(ratios) > 1 else ""
        goals = [f"{goal:.3g}x" if goal else "" for goal in (line["must"], line["stretch"])]
        rows.append((
            f"{line['area']}: {line['what']}", *(amount(min(line[side]), line["unit"]) for side in ("ours", "plain")),
            f"{number(ratio)}x", spread, *goals, verdict(ratio, line["must"], line["stretch"]),
        ))  # fmt: skip
    table(("ours against plain", "ours", "plain", "ratio", "spread", "must", "stretch", ""), rows)


def verdict(ratio: float, must: float | None, stretch: float | None) -> str:
    """Say what was reached."""
    if stretch is not None and ratio >= stretch:
        return "stretch"
    if must is None:
        return ""
    return "must" if ratio >= must else "missed"


def number(ratio: float) -> str:
    """Return a ratio with as many digits as it means something with."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def amount(value: float, unit: str) -> str:
    """Return a time or a size that can be read."""
    if unit == "B":
        return f"{value / 2**20:.1f} MiB"
    if value >= 1:
        return f"{value:.2f} s"
    return f"{1e3 * value:.3g} ms" if value >= 1e-3 else f"{1e6 * value:.3g} us"


if __name__ == "__main__":
    main()

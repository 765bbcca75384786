"""Packs the chart into dist/: the same bytes wherever and whenever that is done. `make chart`.

Helm writes the time and the mode of every file into the package, and a checkout sets both anew.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TIME = 315_532_800
"""1980, as in packages of Python; `SOURCE_DATE_EPOCH` says otherwise."""


def package(chart: Path, folder: Path) -> Path:
    """Pack a chart into `folder`; return the package."""
    import helm_python

    time = int(os.environ.get("SOURCE_DATE_EPOCH", TIME))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / chart.name
        shutil.copytree(chart, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
            os.utime(path, (time, time))
        return Path(helm_python.package(copy, destination=folder))


def main(arguments: list[str]) -> int:
    """Pack the chart; the argument is where to, else dist/."""
    import helm_python

    made = package(ROOT / "helm" / "trm", Path(arguments[0] if arguments else ROOT / "dist"))
    print(f"{made}  {helm_python.digest(made)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m workflows.keep RUN.yaml FOLDER`: copies a run's files out of its store, for who wants them elsewhere."""

import sys
from pathlib import Path

from trmkit.spec.load import load
from trmkit.store.fetch import Fetch
from trmkit.store.layout import RunDirectory, store_key
from trmkit.store.open import open_store
from trmkit.store.take import take_files
from workflows.entry import exit_code

PATIENCE = 300.0
"""Seconds to wait for a store that does not answer."""


def main(run_file: str, folder: str) -> int:
    """Bring the files, verified; say which."""
    run = load(run_file)
    for line in take_files(
        Fetch(open_store(run.storage), PATIENCE), store_key(run, RunDirectory.of(run)), Path(folder)
    ):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(*sys.argv[1:])))

"""`python -m workflows.compare RUN.yaml POINTS NAME`: puts the runs of a sweep side by side on a page in the store."""

import json
import sys
from pathlib import Path

from trmkit.errors import StoreError
from trmkit.spec.load import load
from trmkit.store.fetch import Fetch
from trmkit.store.layout import SWEEPS, RunDirectory, store_key
from trmkit.store.open import open_store
from trmkit.store.take import take_files
from workflows.children import run as run_child
from workflows.entry import exit_code
from workflows.outputs import OUTPUTS, leave

PATIENCE = 300.0
"""Seconds to wait for a store that does not answer."""


def main(run_file: str, points: str, name: str, folder: str = OUTPUTS) -> int:
    """Fetch every run that left something, compare them, publish the page. Returns 1 when there is nothing."""
    store, found = open_store(load(run_file).storage), []
    for point in json.loads(points):
        run = load(run_file, json.loads(point))
        directory = RunDirectory.of(run)
        try:
            take_files(Fetch(store, PATIENCE), store_key(run, directory), directory.root)
        except StoreError as error:
            print(f"left out {point}: {error.message}", file=sys.stderr)
        else:
            found.append(str(directory.root))
    if not found:
        print("error: no run of the sweep left anything", file=sys.stderr)
        return 1
    page = Path("compare.html").absolute()
    code = run_child([sys.executable, "-m", "trainer", "compare", *found, "--page", str(page)])
    if code == 0:
        key = f"{SWEEPS}/{name}/compare.html"
        store.upload(key, page)
        print(f"page: {store.url}/{key}")
        leave({"page": f"{store.url}/{key}"}, folder)
    return code


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(*sys.argv[1:])))

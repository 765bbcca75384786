"""`python -m workflows.answer RUN.yaml VARIANTS SEEDS NAME`: writes the answer of a ladder and puts it in the store."""

import sys
from pathlib import Path

from trmkit.ladder import rungs, take_results, variants_of
from trmkit.spec.load import load
from trmkit.store.layout import SWEEPS
from trmkit.store.open import open_store
from workflows.children import run as run_child
from workflows.entry import exit_code
from workflows.outputs import OUTPUTS, leave

PAGE, OTHERS = "ladder.html", ("report.json", "report.md")


def main(run_file: str, variants: str, seeds: str, name: str, folder: str = OUTPUTS) -> int:
    """Fetch what every rung left, write the answer, publish it. Returns the trainer's exit code."""
    for line in take_results(run_file, [], rungs(load(run_file), variants_of(variants, run_file), int(seeds))):
        print(line, file=sys.stderr)
    out = Path(PAGE).absolute().parent
    options = ["--variants", variants, "--seeds", seeds, "--out", str(out)]
    code = run_child([sys.executable, "-m", "trainer", "ladder", run_file, *options])
    if code == 0:
        store = open_store(load(run_file).storage)
        for file in (*OTHERS, PAGE):
            store.upload(f"{SWEEPS}/{name}/{file}", out / file)
        print(f"page: {store.url}/{SWEEPS}/{name}/{PAGE}")
        leave({"page": f"{store.url}/{SWEEPS}/{name}/{PAGE}"}, folder)
    return code


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(*sys.argv[1:])))

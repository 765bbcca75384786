"""`python -m workflows.step STAGE RUN.yaml`: a stage of the trainer as a step that leaves its outputs for the next."""

import json
import sys
from pathlib import Path

from trmkit.spec.load import load
from trmkit.spec.run import RunFile
from trmkit.stages import STAGES
from trmkit.store.layout import RunDirectory
from workflows.children import run as run_child
from workflows.entry import exit_code
from workflows.outputs import OUTPUTS, leave


def main(stage: str, run_file: str, folder: str = OUTPUTS) -> int:
    """Run the stage; return its exit code."""
    run = load(run_file)
    code = run_child(command(stage, run_file, run))
    if code == 0:
        leave(outputs(stage, run), folder)
    return code


def command(stage: str, run_file: str, run: RunFile) -> list[str]:
    """Return what the stage executes: with as many processes as the pod has GPUs, where it uses them."""
    uses = next(one for one in STAGES if one.name == stage)
    processes = run.cluster.gpus_per_node if uses.accelerated else 0
    launcher = ["-m", "trainer.launch", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    return [sys.executable, *launcher, "-m", "trainer", stage, run_file]


def outputs(stage: str, run: RunFile) -> dict[str, object]:
    """Return what the stage tells the steps after it."""
    directory = RunDirectory.of(run)
    if stage == "evaluate":
        scored = json.loads(directory.evaluation.read_bytes())
        metric = run.evaluate.best_metric
        return {"step": scored["step"], "metric": metric, "value": scored["sets"]["test"][metric]}
    if stage == "report":
        return {"report": directory.report}
    return {"data": Path(run.storage.data).absolute()}


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(*sys.argv[1:])))

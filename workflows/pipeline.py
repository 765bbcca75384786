"""build → features → train → evaluate → report as a WorkflowTemplate, and the small Workflow that runs it for a run.

The template is the same for every run: it is installed once. What differs comes as parameters, among them what the
run file asks of each step's pod. The steps features, for runs that read text, and train are ordinary containers that
submit a job and follow it: a Resource template could not tell a retried pod from a failed job, and would leave the job
behind when it is ended.
"""

from typing import Any

from hera.workflows import DAG, Artifact, NoneArchiveStrategy, Parameter, Task, WorkflowTemplate

from trmkit.render.base import WORKFLOW
from trmkit.render.pod import RUN_FILE, WORK
from trmkit.render.workflow import ARTIFACTS, IMAGE, NOTIFY_SECRET, PIPELINE, READS_TEXT, RUN, TRMCTL_IMAGE, patch
from trmkit.stages import STAGES
from workflows.parts import SUBMIT, common, given, notify, step

OUTPUTS = {
    "build": ("data",),
    "features": ("job", "phase"),
    "train": ("job", "phase"),
    "evaluate": ("step", "metric", "value"),
    "report": ("report",),
}
OPTIONAL = ("features",)
"""Steps that not every run has; to what comes after, one that is skipped counts as done."""
KEPT = ("eval.json", "report.html", "metrics.jsonl")
"""Files that the step `keep` hands to the cluster's artifact repository, so that Argo's own pages show them."""


def pipeline_template() -> dict[str, Any]:
    """Return the WorkflowTemplate."""
    parameters = [
        Parameter(name=RUN, description="ConfigMap with the run file"),
        Parameter(name=IMAGE, value="trm:latest", description="image of the trainer"),
        Parameter(name=TRMCTL_IMAGE, value="trmctl:latest", description="image of trmctl"),
        Parameter(name=NOTIFY_SECRET, value="trm-notify", description="Secret with a webhook's `url`, if there is one"),
        Parameter(name=ARTIFACTS, value="false", description="hand the results to the artifact repository, too"),
        Parameter(name=READS_TEXT, value="false", description="whether the run has the stage features"),
        *(Parameter(name=patch(stage.name), value="{}") for stage in STAGES if not stage.is_job),
    ]
    with WorkflowTemplate(entrypoint="pipeline", arguments=parameters, **common(PIPELINE)) as template:  # type: ignore[arg-type]
        for stage in STAGES:
            if stage.is_job:
                command = [*SUBMIT, "--stages", stage.name]
                step(stage.name, command, image=TRMCTL_IMAGE, outputs=OUTPUTS[stage.name], account=WORKFLOW)
            else:
                command = ["python", "-m", "workflows.step", stage.name, RUN_FILE]
                step(stage.name, command, image=IMAGE, outputs=OUTPUTS[stage.name], patch=patch(stage.name))
        keep()
        notify()
        with DAG(name="pipeline"):
            for stage in STAGES:
                wanted = f"{given(READS_TEXT)} == true" if stage.name in OPTIONAL else None
                Task(name=stage.name, template=stage.name, depends=" && ".join(stage.after) or None, when=wanted)
            wanted = f"{given(ARTIFACTS)} == true"
            Task(name="keep", template="keep", depends=STAGES[-1].name, when=wanted)
    found: dict[str, Any] = template.to_dict()
    return found


def keep() -> None:
    """Add the step that fetches the results from the store and hands them to the artifact repository."""
    container = step(
        "keep", ["python", "-m", "workflows.keep", RUN_FILE, f"{WORK}/kept"], image=IMAGE, patch=patch(STAGES[-1].name)
    )
    container.outputs = [
        Artifact(name=name.replace(".", "-"), path=f"{WORK}/kept/{name}", archive=NoneArchiveStrategy(), optional=True)
        for name in KEPT
    ]

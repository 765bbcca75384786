"""One run file trained at many points of a grid, side by side, and compared: a WorkflowTemplate."""

from typing import Any

from hera.workflows import DAG, Parameter, Task, WorkflowTemplate

from trmkit.render.base import WORKFLOW
from trmkit.render.pod import RUN_FILE
from trmkit.render.workflow import IMAGE, NOTIFY_SECRET, POINTS, RUN, SWEEP, TRMCTL_IMAGE, patch
from workflows.parts import SUBMIT, common, given, notify, step


def sweep_template() -> dict[str, Any]:
    """Return the WorkflowTemplate. Each point is a job of its own; one that fails does not keep the others from it."""
    parameters = [
        Parameter(name=RUN, description="ConfigMap with the run file"),
        Parameter(name=POINTS, description="JSON list of points, each a JSON list of KEY=VALUE"),
        Parameter(name=IMAGE, value="trm:latest", description="image of the trainer"),
        Parameter(name=TRMCTL_IMAGE, value="trmctl:latest", description="image of trmctl"),
        Parameter(name=NOTIFY_SECRET, value="trm-notify", description="Secret with a webhook's `url`, if there is one"),
        Parameter(name=patch("report"), value="{}"),
    ]
    with WorkflowTemplate(entrypoint="sweep", arguments=parameters, **common(SWEEP)) as template:  # type: ignore[arg-type]
        step(
            "point",
            ["python", "-m", "workflows.point", "{{inputs.parameters.set}}", *SUBMIT],
            image=TRMCTL_IMAGE,
            inputs=[Parameter(name="set")],
            outputs=("job", "phase"),
            account=WORKFLOW,
        )
        step(
            "compare",
            ["python", "-m", "workflows.compare", RUN_FILE, given(POINTS), "{{workflow.name}}"],
            image=IMAGE,
            outputs=("page",),
            patch=patch("report"),
        )
        notify()
        with DAG(name="sweep", fail_fast=False):
            Task(
                name="point",
                template="point",
                with_param=given(POINTS),
                arguments=[Parameter(name="set", value="{{item}}")],
            )
            Task(name="compare", template="compare", depends="point.Succeeded || point.Failed || point.Errored")
    found: dict[str, Any] = template.to_dict()
    return found

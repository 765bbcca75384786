"""One run file trained at many points of a grid, side by side, and compared: a WorkflowTemplate."""

from collections.abc import Sequence
from typing import Any

from hera.workflows import DAG, Parameter, Task, WorkflowTemplate

from trmkit.render.base import WORKFLOW
from trmkit.render.pod import RUN_FILE
from trmkit.render.workflow import IMAGE, NOTIFY_SECRET, POINTS, RUN, SWEEP, TRMCTL_IMAGE, patch
from workflows.parts import SUBMIT, common, given, notify, step


def sweep_template() -> dict[str, Any]:
    """Return the WorkflowTemplate. Each point is a job of its own; one that fails does not keep the others from it."""
    command = ["python", "-m", "workflows.compare", RUN_FILE, given(POINTS), "{{workflow.name}}"]
    return fan_out(SWEEP, "sweep", [], "compare", command)


def fan_out(name: str, title: str, more: Sequence[Parameter], last: str, command: Sequence[str]) -> dict[str, Any]:
    """Return a WorkflowTemplate that trains every point, then puts them together by `command` in a step `last`."""
    parameters = [
        Parameter(name=RUN, description="ConfigMap with the run file"),
        Parameter(name=POINTS, description="JSON list of points, each a JSON list of KEY=VALUE"),
        Parameter(name=IMAGE, value="trm:latest", description="image of the trainer"),
        Parameter(name=TRMCTL_IMAGE, value="trmctl:latest", description="image of trmctl"),
        Parameter(name=NOTIFY_SECRET, value="trm-notify", description="Secret with a webhook's `url`, if there is one"),
        Parameter(name=patch("report"), value="{}"),
        *more,
    ]
    with WorkflowTemplate(entrypoint=title, arguments=parameters, **common(name)) as template:  # type: ignore[arg-type]
        step(
            "point",
            ["python", "-m", "workflows.point", "{{inputs.parameters.set}}", *SUBMIT],
            image=TRMCTL_IMAGE,
            inputs=[Parameter(name="set")],
            outputs=("job", "phase"),
            account=WORKFLOW,
        )
        step(
            last,
            command,
            image=IMAGE,
            outputs=("page",),
            patch=patch("report"),
        )
        notify()
        with DAG(name=title, fail_fast=False):
            Task(
                name="point",
                template="point",
                with_param=given(POINTS),
                arguments=[Parameter(name="set", value="{{item}}")],
            )
            Task(name=last, template=last, depends="point.Succeeded || point.Failed || point.Errored")
    found: dict[str, Any] = template.to_dict()
    return found

"""An ablation ladder: one run file, trained for every rung and seed, and the answer of it all: a WorkflowTemplate."""

from typing import Any

from hera.workflows import Parameter

from trmkit.render.pod import RUN_FILE
from trmkit.render.workflow import LADDER, SEEDS, VARIANTS
from workflows.parts import given
from workflows.sweep import fan_out


def ladder_template() -> dict[str, Any]:
    """Return the WorkflowTemplate. A rung that fails does not keep the others from theirs; the answer says so."""
    more = [
        Parameter(name=VARIANTS, value="all", description="rungs, with commas between them"),
        Parameter(name=SEEDS, value="3", description="seeds of each, from the run file's on"),
    ]
    command = ["python", "-m", "workflows.answer", RUN_FILE, given(VARIANTS), given(SEEDS), "{{workflow.name}}"]
    return fan_out(LADDER, "ladder", more, "answer", command)

"""The CustomResourceDefinition of `TrmRun`: the schema of its spec and status, made from the sections themselves."""

from typing import Any

from trmkit import __version__
from trmkit.render.names import DOMAIN, VERSION
from trmkit.render.rules import LONGEST, WIDEST, rules
from trmkit.render.structural import Rule, Structural, with_rules
from trmkit.spec.base import Section
from trmkit.spec.explain import describe, sections
from trmkit.spec.trmrun import API_VERSION, KIND, TrmRunSpec
from trmkit.spec.trmrun_status import TrmRunStatus

PLURAL, SINGULAR, SHORT = "trmruns", "trmrun", "trm"
NAME = f"{PLURAL}.{DOMAIN}"
"""Name of the definition itself."""
DESCRIPTION = (
    "A training of a Tiny Recursive Model: a run file, and what is to be done about it while it runs. The controller"
    " makes its job, starts it again where that helps, and says here how it goes."
)
COLUMNS = (
    ("Phase", "string", ".status.phase", 0),
    ("Step", "integer", ".status.step", 0),
    ("Metric", "number", ".status.metric.value", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Progress", "string", ".status.progress", 1),
    ("ETA", "string", ".status.eta", 1),
    ("Checkpoint", "integer", ".status.checkpoint.step", 1),
    ("Restarts", "integer", ".status.restarts", 1),
    ("Job", "string", ".status.job.name", 1),
    ("Message", "string", ".status.message", 1),
)
"""What `kubectl get trm` shows: title, type, place, and 1 for what `-o wide` shows alone."""
SHORT_NAME = Rule(
    "size(self.metadata.name) <= 63", "metadata.name: at most 63 characters; it is a label of the run's job"
)


def definition() -> dict[str, Any]:
    """Return the CustomResourceDefinition."""
    group, version = API_VERSION.split("/")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": NAME,
            "labels": {"app.kubernetes.io/name": "trm"},
            "annotations": {VERSION: __version__},
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": SINGULAR,
                "shortNames": [SHORT],
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column(*one) for one in COLUMNS],
                    "schema": {"openAPIV3Schema": schema()},
                }
            ],
        },
    }


def column(name: str, kind: str, place: str, priority: int) -> dict[str, Any]:
    """Return a column of `kubectl get`."""
    return {"name": name, "type": kind, "jsonPath": place, **({"priority": priority} if priority else {})}


def schema() -> dict[str, Any]:
    """Return the structural schema of a whole TrmRun."""
    whole = {
        "description": DESCRIPTION,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": f"`{API_VERSION}`.", "type": "string"},
            "kind": {"description": f"`{KIND}`.", "type": "string"},
            "metadata": {"type": "object"},
            "spec": of_section(TrmRunSpec),
            "status": of_section(TrmRunStatus),
        },
    }
    return with_rules(whole, [SHORT_NAME])


def of_section(section: type[Section]) -> dict[str, Any]:
    """Return the structural schema of a section."""
    found = section.model_json_schema()
    describe(found, section)
    for below in sections(section):
        if below.__name__ in found.get("$defs", {}):
            describe(found["$defs"][below.__name__], below)
    made = Structural(found.pop("$defs", {}), rules, LONGEST, WIDEST).of(found)
    return with_rules(made, rules(section.__name__))

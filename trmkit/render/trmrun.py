"""A run file as a TrmRun. Only what it says itself: what is filled in later depends on where it goes."""

from typing import Any

from trmkit.errors import SpecError
from trmkit.render.names import job_name
from trmkit.spec.load import Said
from trmkit.spec.trmrun import API_VERSION, KIND, NAME


def trmrun(said: Said, name: str | None = None, namespace: str | None = None) -> dict[str, Any]:
    """Return the TrmRun of a file that is a run file or a TrmRun already; its own name and namespace come last.

    SpecError: an object cannot have this name.
    """
    if name is not None and not NAME.fullmatch(name):
        raise SpecError(
            f"{name!r} is no name of a TrmRun", next="use lower-case letters, digits and dashes, at most 63"
        )
    body = said.around or {}
    metadata = body.get("metadata") or {}
    place = namespace or said.run.cluster.namespace
    about = {
        **metadata,
        "name": name or metadata.get("name") or job_name(said.run),
        **({"namespace": place} if place else {}),
    }
    around = {key: value for key, value in (body.get("spec") or {}).items() if key != "run"}
    run = as_json(said.given, said.run.model_dump(mode="json"))
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": about, "spec": {"run": run, **around}}


def as_json(given: Any, resolved: Any) -> Any:
    """Return what is given with quantities such as `cpu: 0.5` as text, which is how Kubernetes takes a fraction."""
    if isinstance(given, dict) and isinstance(resolved, dict):
        return {key: as_json(value, resolved.get(key)) for key, value in given.items()}
    if isinstance(given, list) and isinstance(resolved, list):
        return [as_json(one, other) for one, other in zip(given, resolved, strict=True)]
    return resolved if isinstance(given, float) and isinstance(resolved, str) else given

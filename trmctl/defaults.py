"""What a namespace says for runs that do not say it themselves: the ConfigMap `trm-defaults`, which the chart makes.

It holds a part of a run file under `defaults.yaml`. A key that the run file or the profile gives wins; what is taken is
part of the resolved run file, so the run is the same wherever and whenever it is rendered again.
"""

from collections.abc import Callable, Mapping
from typing import Any

from trmctl.cluster import CONFIG_MAP, Cluster
from trmkit.errors import ClusterForbiddenError, SpecError
from trmkit.render.base import DEFAULTS, DEFAULTS_KEY, DEFAULTS_KEYS
from trmkit.spec.base import Section
from trmkit.spec.cluster import ClusterSection
from trmkit.spec.run import RunFile
from trmkit.spec.storage import StorageSection

SECTIONS: dict[str, type[Section]] = {"cluster": ClusterSection, "storage": StorageSection}
Parts = Mapping[str, Section]
"""Sections of a run file of which only some keys were given (`model_fields_set`)."""


def with_defaults(cluster: Cluster, run: RunFile, say: Callable[[str], None]) -> RunFile:
    """Return the run file with the namespace's defaults where it gives no value; say what was taken.

    SpecError: the defaults are wrong. What may not be read is not there.
    """
    namespace = run.cluster.namespace or cluster.namespace
    try:
        parts = defaults(cluster, namespace)
    except ClusterForbiddenError:
        return run
    missing: dict[str, dict[str, Any]] = {
        name: {key: getattr(part, key) for key in part.model_fields_set - getattr(run, name).model_fields_set}
        for name, part in parts.items()
    }
    taken = [f"{name}.{key}={value}" for name, keys in missing.items() for key, value in sorted(keys.items())]
    if taken:
        say(f"defaults  {', '.join(taken)} (of {place(namespace)})")
    return changed(run, missing)


def defaults(cluster: Cluster, namespace: str) -> Parts:
    """Return the defaults of a namespace; none: it has none. SpecError: they are wrong."""
    found = cluster.get(CONFIG_MAP, DEFAULTS, namespace)
    text = ((found or {}).get("data") or {}).get(DEFAULTS_KEY)
    return {} if text is None else parsed(text, place(namespace))


def place(namespace: str) -> str:
    """Return what a person calls the defaults of a namespace."""
    return f"ConfigMap {DEFAULTS} in namespace {namespace}"


def parsed(text: str, where: str) -> Parts:
    """Return the defaults in a text. SpecError: they have a key that is none, or a value that it cannot have."""
    from trmkit.spec.yaml_read import parse, plain

    found = plain(parse(text, where))
    sections = {} if found is None else found
    if not isinstance(sections, dict) or not all(isinstance(keys or {}, dict) for keys in sections.values()):
        raise SpecError(f"{where}: it is no part of a run file", next="as in cluster: {queue: batch}")
    for name, keys in sections.items():
        wrong = set(keys or {}) - set(DEFAULTS_KEYS.get(name, ()))
        if name not in DEFAULTS_KEYS or wrong:
            known = [f"{section}.{key}" for section, keys in DEFAULTS_KEYS.items() for key in keys]
            raise SpecError(
                f"{where}: {name}{'.' if wrong else ''}{', '.join(sorted(wrong))}: a namespace cannot decide that",
                next=f"keys there: {', '.join(known)}",
            )
    return {name: part(name, keys or {}, where) for name, keys in sections.items()}


def part(name: str, keys: Mapping[str, Any], where: str) -> Section:
    """Return a section with these keys. SpecError: one has a value that it cannot have; `where` is who gave it."""
    from pydantic import ValidationError

    try:
        return SECTIONS[name].model_validate(dict(keys))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(one) for one in first["loc"])
        raise SpecError(f"{where}: {name}.{key}: {first['msg']}", next=f"trmctl explain {name}") from None


def changed(run: RunFile, keys: Mapping[str, Mapping[str, Any]]) -> RunFile:
    """Return the run file with these values, which count as given by it from then on."""
    sections = {name: getattr(run, name).model_copy(update=dict(values)) for name, values in keys.items() if values}
    return run.model_copy(update=sections) if sections else run

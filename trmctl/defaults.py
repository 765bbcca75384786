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
from trmkit.spec.run import RunFile


def with_defaults(cluster: Cluster, run: RunFile, say: Callable[[str], None]) -> RunFile:
    """Return the run file with the namespace's defaults where it gives no value; say what was taken.

    SpecError: the defaults are wrong. What may not be read is not there.
    """
    namespace = run.cluster.namespace or cluster.namespace
    try:
        found = cluster.get(CONFIG_MAP, DEFAULTS, namespace)
    except ClusterForbiddenError:
        return run
    text = ((found or {}).get("data") or {}).get(DEFAULTS_KEY)
    if text is None:
        return run
    where = f"ConfigMap {DEFAULTS} in namespace {namespace}"
    said = checked(text, where)
    missing: dict[str, dict[str, Any]] = {
        name: {key: value for key, value in keys.items() if key not in getattr(run, name).model_fields_set}
        for name, keys in said.items()
    }
    taken = [f"{name}.{key}={value}" for name, keys in missing.items() for key, value in keys.items()]
    if taken:
        say(f"defaults  {', '.join(taken)} (of {where})")
    return merged(run, missing, where)


def checked(text: str, where: str) -> dict[str, dict[str, Any]]:
    """Return section, key and value of the defaults. SpecError: they have a key that is none."""
    from trmkit.spec.yaml_read import parse, plain

    found = plain(parse(text, where))
    sections = found if isinstance(found, dict) else {}
    for name, keys in sections.items():
        wrong = set(keys or {}) - set(DEFAULTS_KEYS.get(name, ()))
        if name not in DEFAULTS_KEYS or wrong:
            known = [f"{section}.{key}" for section, keys in DEFAULTS_KEYS.items() for key in keys]
            raise SpecError(
                f"{where}: {name}{'.' if wrong else ''}{', '.join(sorted(wrong))}: a namespace cannot decide that",
                next=f"keys there: {', '.join(known)}",
            )
    return {name: dict(keys or {}) for name, keys in sections.items()}


def merged(run: RunFile, said: Mapping[str, Mapping[str, Any]], where: str) -> RunFile:
    """Return the run file with these values. SpecError: one of them can be none; `where` is who said it."""
    from pydantic import ValidationError

    changes: dict[str, Section] = {}
    for name, keys in said.items():
        section: Section = getattr(run, name)
        try:
            part = type(section).model_validate(dict(keys))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(one) for one in first["loc"])
            raise SpecError(f"{where}: {name}.{key}: {first['msg']}", next=f"trmctl explain {name}.{key}") from None
        if keys:
            changes[name] = section.model_copy(update={key: getattr(part, key) for key in keys})
    return run.model_copy(update=changes) if changes else run

"""Run file to all of its objects: a ConfigMap with the resolved run file, and the job that reads it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

from trmkit import __version__
from trmkit.hints import hints
from trmkit.render.beside import beside, split
from trmkit.render.fabric import FABRICS
from trmkit.render.names import BESIDE, RUN_FILE_KEY, SPEC_HASH, STORE, TTL, VERSION, NamedRun
from trmkit.render.names import STAGES as ONLY
from trmkit.render.pod import given
from trmkit.render.pytorchjob import pytorchjob
from trmkit.render.trainjob import trainjob
from trmkit.spec.features import HASH
from trmkit.spec.load import dump
from trmkit.spec.run import RunFile
from trmkit.stages import NAMES

Backend = Literal["pytorchjob", "trainjob"]
KINDS = {"pytorchjob": pytorchjob, "trainjob": trainjob}


def render(
    run: RunFile, backend: Backend, *, namespace: str | None = None, stages: Sequence[str] = NAMES
) -> list[dict[str, Any]]:
    """Return the objects of a run, in the order in which they are made. Pure: equal arguments give equal objects.

    They are a ConfigMap and a job; and both again for the job that scores, of a run with `evaluate.mode: job`.
    `namespace` goes where the run file names none. SpecError: the run file asks for what this backend cannot give.
    """
    own, others = split(run, stages)
    named = NamedRun.of(run, stages)
    found = _pair(named, backend, namespace, own, stages)
    if others:
        second = beside(run)
        found += _pair(NamedRun.of(second, others), backend, namespace, others, others, {BESIDE: named.job})
    return found


def _pair(
    named: NamedRun, backend: Backend, namespace: str | None, stages: Sequence[str], asked: Sequence[str],
    labels: Mapping[str, str] = MappingProxyType({}),
) -> list[dict[str, Any]]:  # fmt: skip
    """Return a job that does `stages` and its ConfigMap; of the run as a whole, the stages `asked` for are noted."""
    about, of_config = job_metadata(named, namespace), metadata(named, namespace)
    for one in (about, of_config) if labels else ():
        one["labels"] = {**one["labels"], **labels}
    config = configmap(named.run, of_config)
    if tuple(asked) != NAMES:
        about["annotations"] = {**about.get("annotations", {}), ONLY: ",".join(asked)}
    job = KINDS[backend](named, about, stages)
    digest = content_hash([config, job])
    for found in (config, job):
        found["metadata"]["annotations"] = {
            SPEC_HASH: digest,
            VERSION: __version__,
            **found["metadata"].get("annotations", {}),
        }
    return [config, job]


def configmap(run: RunFile, about: dict[str, Any]) -> dict[str, Any]:
    """Return the ConfigMap with the resolved run file; its text is the one kept beside the checkpoints."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {RUN_FILE_KEY: dump(run)}}


def metadata(named: NamedRun, namespace: str | None) -> dict[str, Any]:
    """Return name, place and labels of an object of the run."""
    place = given(namespace=named.run.cluster.namespace or namespace)
    return {"name": named.job, **place, "labels": named.labels}


def job_metadata(named: NamedRun, namespace: str | None) -> dict[str, Any]:
    """Return the metadata of the job, by which Kueue finds its queue and we the run's store."""
    run, about = named.run, metadata(named, namespace)
    queue = {"kueue.x-k8s.io/queue-name": run.cluster.queue, "kueue.x-k8s.io/priority-class": run.cluster.priority}
    store = run.storage.remote and f"{run.storage.remote.rstrip('/')}/{run.name}/{named.id}"
    ttl = None if run.cluster.ttl_seconds is None else str(run.cluster.ttl_seconds)
    notes = given(**{STORE: store, TTL: ttl})
    return {**about, "labels": {**about["labels"], **given(**queue)}, **given(annotations=notes)}


def content_hash(objects: Sequence[dict[str, Any]]) -> str:
    """Return 16 hex digits that name what is rendered."""
    text = json.dumps(objects, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def remarks(run: RunFile) -> list[str]:
    """Return what a person should know before this run goes to a cluster; nothing of it is an error."""
    cluster, found = run.cluster, []
    kept = any(run.storage.path.startswith(volume.mount_path) for volume in cluster.volumes if volume.kind == "pvc")
    if run.storage.remote is None and not kept:
        found.append(
            "nothing is kept: storage.remote is null and storage.path is no volume, so results end with their pods"
            " and a pod that is started again begins at the first step"
        )
    if "@sha256:" not in cluster.image:
        found.append(f"cluster.image: {cluster.image} is a tag, which may mean another image tomorrow; name a digest")
    if cluster.fabric != "none" and FABRICS[cluster.fabric].note:
        found.append(f"cluster.fabric: {cluster.fabric}: {FABRICS[cluster.fabric].note}")
    if cluster.nodes > 1 and cluster.queue is None and cluster.gang == "none":
        found.append(
            f"cluster.nodes: {cluster.nodes} pods are not scheduled as one: if there is room for some, they wait"
            " for the rest; name a Kueue queue in cluster.queue, or a cluster.gang"
        )
    saving = run.storage.stop_seconds + 10
    if run.storage.remote is not None and cluster.grace_seconds < saving:
        found.append(
            f"cluster.grace_seconds: {cluster.grace_seconds} is less than storage.stop_seconds + 10 = {saving:g}:"
            " the last checkpoint may not get out of a pod that is told to stop"
        )
    return [*found, *scoring_remarks(run), *hints(run), *reading_remarks(run)]


def scoring_remarks(run: RunFile) -> list[str]:
    """Return what a person should know of the job that scores the checkpoints of another."""
    if run.evaluate.mode != "job":
        return []
    found = [
        "evaluate.mode: job: a second job with one pod scores checkpoints, and the end; it has its GPU as long as the"
        " run trains, also while that waits"
    ]
    if run.storage.remote is None:
        found.append(
            "evaluate.mode: job: the two jobs meet in storage.path, so its claim has to be one that several machines"
            " mount (ReadWriteMany)"
        )
    return found


def reading_remarks(run: RunFile) -> list[str]:
    """Return what a person should know before pods of this run read texts."""
    section, cluster = run.features, run.cluster
    if section is None or section.reader == HASH:
        return []
    if section.is_folder:
        here = any(PurePosixPath(section.reader).is_relative_to(one.mount_path) for one in cluster.volumes)
        return [] if here else [f"features.reader: {section.reader} is in no volume of cluster.volumes"]
    if "HF_HOME" in cluster.env:
        return []
    return [
        f"features.reader: {section.reader} is fetched into /tmp by every pod that reads; name a volume in"
        " cluster.env.HF_HOME to fetch it once, and give HF_TOKEN by cluster.secret_env if it has a licence to accept"
    ]

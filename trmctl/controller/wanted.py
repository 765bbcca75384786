"""From a TrmRun to the job it asks for."""

from collections.abc import Callable

from trmctl import pods as p
from trmctl.cluster import Cluster, Object
from trmctl.controller.look import FINAL
from trmctl.controller.seen import Wanted, asked
from trmctl.defaults import Parts, changed
from trmctl.submission import Submission, choose
from trmkit.errors import SpecError
from trmkit.render import names
from trmkit.render.beside import beside, split
from trmkit.render.objects import Backend, render
from trmkit.spec.run import RunFile
from trmkit.spec.trmrun import TrmRunSpec, read
from trmkit.stages import FOLLOW, NAMES


def wanted(cluster: Cluster, body: Object, parts: Parts) -> Wanted:
    """Return what a TrmRun asks for; `parts` are the defaults of its namespace. SpecError: its spec is wrong.

    ClusterMissingError: the cluster serves no such kind of job.
    """
    spec = read(body)
    spec = spec.model_copy(update={"run": effective(spec, parts)})
    run, known = spec.run, (body.get("status") or {}).get("job") or {}
    named, own = names.NamedRun.of(run), str(p.about(body).get("namespace", ""))
    if run.cluster.namespace not in (None, own):  # whoever may make TrmRuns here need not be allowed anything there
        raise SpecError(
            f"spec.run.cluster.namespace: {run.cluster.namespace} is not {own}, where this TrmRun is",
            next="leave it out, or make the TrmRun there",
        )
    if spec.pipeline:
        from trmkit.render.workflow import for_pipeline, pipeline_name

        for_pipeline(run)
        kind, job = "Workflow", pipeline_name(named.job)
    else:
        backend = {"PyTorchJob": "pytorchjob", "TrainJob": "trainjob"}.get(known.get("kind", ""))
        backend = backend or choose(cluster, run)
        kind, job = ("PyTorchJob" if backend == "pytorchjob" else "TrainJob"), named.job
    second = "" if spec.pipeline or not split(run, NAMES)[1] else names.NamedRun.of(beside(run), (FOLLOW.name,)).job
    store = f"{run.storage.remote.rstrip('/')}/{run.name}/{named.id}" if run.storage.remote else ""
    return Wanted(spec, kind, job, named.id, store, asked(body.get("spec") or {}), second)


def effective(spec: TrmRunSpec, parts: Parts) -> RunFile:
    """Return the run file as it is run: with the namespace's defaults, and the TrmRun's count of attempts."""
    run = spec.run
    missing = {
        name: {key: getattr(part, key) for key in part.model_fields_set - getattr(run, name).model_fields_set}
        for name, part in parts.items()
    }
    if spec.attempts.limit is not None:
        missing.setdefault("cluster", {})["restarts"] = spec.attempts.limit
    return changed(run, missing)


def submission(asked_for: Wanted, body: Object, *, final: bool = False) -> Submission:
    """Return the objects of a TrmRun's job, which carry its name; `final`: only the stages after training."""
    namespace, run = str(p.about(body).get("namespace", "")), asked_for.spec.run
    if asked_for.kind == "Workflow":
        from trmkit.render.workflow import pipeline

        config, job = pipeline(run, namespace=namespace)
        others: list[Object] = []
    else:
        backend: Backend = "trainjob" if asked_for.kind == "TrainJob" else "pytorchjob"
        stages = tuple(FINAL.split(",")) if final else NAMES
        config, job, *others = render(run, backend, namespace=namespace, stages=stages)
    mark = marker(asked_for, body)
    second = Submission(beside(run), mark(others[0]), mark(others[1]), namespace) if others else None
    return Submission(run, mark(config), mark(job), namespace, second)


def marker(asked_for: Wanted, body: Object) -> Callable[[Object], Object]:
    """Return what puts a TrmRun's name on an object, and has only us remove it when it is over.

    An operator that did so first would take what a run without a store has come to, before it was seen.
    """
    labels = {names.TRMRUN: p.name(body)}
    notes = {names.TRMRUN_UID: p.uid(body), names.WANTED: asked_for.hash}

    def mark(found: Object) -> Object:
        about = found["metadata"]
        more = {
            "labels": {**about.get("labels", {}), **labels},
            "annotations": {**about.get("annotations", {}), **notes},
        }
        marked = {**found, "metadata": {**about, **more}}
        if "spec" in found:
            marked["spec"] = {key: value for key, value in found["spec"].items() if key != "ttlStrategy"}
        if "runPolicy" in marked.get("spec", {}):
            policy = marked["spec"]["runPolicy"]
            marked["spec"]["runPolicy"] = {key: policy[key] for key in policy if key != "ttlSecondsAfterFinished"}
        return marked

    return mark

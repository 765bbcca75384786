"""`trmctl resubmit`."""

from typing import TYPE_CHECKING

import click

from trmctl.options import Place, cluster_options
from trmctl.output import talk
from trmctl.stores import PATIENCE
from trmctl.times import duration

if TYPE_CHECKING:
    from trmctl.cluster import Cluster, Kind
    from trmctl.submission import Submission
    from trmkit.render.objects import Backend
    from trmkit.spec.run import RunFile


@click.command("resubmit")
@click.argument("run")
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Change a key. May be given again.")
@click.option("--from-checkpoint", metavar="WHICH", help="last, best or a step: a new run begins with those weights.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", type=click.Choice(["client", "server"]), help="Change nothing.")
@click.option("--follow", is_flag=True, help="Follow it to its end; the exit code says how it ended.")
@click.option("--timeout", type=duration, metavar="DURATION", help="Wait no longer; the run goes on.")
@cluster_options
def command(
    run: str,
    overrides: tuple[str, ...],
    from_checkpoint: str | None,
    yes: bool,
    dry_run: str | None,
    follow: bool,
    timeout: float | None,
    where: Place,
) -> int:
    """Hand a run of the cluster in again.

    As it is, it goes on from its newest checkpoint. A changed key of the model, the data or the training makes it
    another run, which begins at the first step, or with the weights that --from-checkpoint names.

    \b
    Example:
      trmctl resubmit my-run
      trmctl resubmit my-run --set cluster.memory=32Gi
      trmctl resubmit my-run --from-checkpoint best --set train.lr=1e-5
    """
    from trmctl.commands.submit import How, hand_over
    from trmctl.submission import job_submission, pipeline_submission

    cluster = where.open()
    name, wanted = changed(cluster, run, overrides, from_checkpoint)
    if "-sweep-" in name.removeprefix(wanted.name):
        raise click.UsageError(f"{name} is a sweep: trmctl sweep with the same grid goes on with it")
    how = How(yes, dry_run, "replace", follow, follow, timeout, pause=where.wait)
    if name.endswith("-pipeline"):
        whole = pipeline_submission(cluster, wanted)
    else:
        whole = job_submission(cluster, wanted, *as_before(cluster, name))
    return hand_over(cluster, as_trmrun(cluster, run, whole), how)


def as_trmrun(cluster: "Cluster", text: str, wanted: "Submission") -> "Submission":
    """Return a submission as a TrmRun, where the run was one: the same one, unless it is another run now."""
    from trmctl import jobs
    from trmctl.cluster import TRMRUN
    from trmctl.commands.submit import kept
    from trmkit.errors import ClusterMissingError

    try:
        job = jobs.find(cluster, text)
    except ClusterMissingError:
        return wanted
    if job.kind != TRMRUN:
        return wanted
    around = {key: value for key, value in job.body["spec"].items() if key != "run"}
    return kept(cluster, wanted, around, job.name if job.child == wanted.name else None)


def as_before(cluster: "Cluster", name: str) -> "tuple[Backend | None, tuple[str, ...]]":
    """Return the kind of job and the stages that a run in the cluster had."""
    from trmctl.cluster import PYTORCHJOB, TRAINJOB
    from trmkit.render.names import STAGES
    from trmkit.stages import NAMES

    kinds: tuple[tuple[Kind, Backend], ...] = ((PYTORCHJOB, "pytorchjob"), (TRAINJOB, "trainjob"))
    for kind, backend in kinds:
        found = cluster.get(kind, name) if cluster.serves(kind) else None
        if found is not None:
            stages = (found["metadata"].get("annotations") or {}).get(STAGES)
            return backend, tuple(stages.split(",")) if stages else NAMES
    return None, NAMES


def changed(cluster: "Cluster", text: str, overrides: tuple[str, ...], which: str | None) -> tuple[str, "RunFile"]:
    """Return what a run in the cluster is called, and its changed run file. ClusterMissingError, StoreError: none."""
    from trmctl import jobs
    from trmkit.errors import ClusterConflictError, ClusterMissingError
    from trmkit.spec.load import loads

    try:
        job = jobs.find(cluster, text)
    except ClusterMissingError as missing:  # cancelled, perhaps: then its run file stayed
        try:
            name, content = jobs.find_run_text(cluster, text)
        except ClusterMissingError:
            raise missing from None
    else:
        if job.beside:
            raise click.UsageError(f"{job.name} goes with {job.beside}: trmctl resubmit {job.beside}")
        name, content = job.child, jobs.run_file(cluster, job)
        if not job.state().finished and not overrides and which is None:
            raise ClusterConflictError(
                f"{name} is not over: {job.state().phase}", next=f"trmctl cancel {name} --wait first, or change a key"
            )
    if content is None:
        raise ClusterMissingError(
            f"the run file of {name} is not in the cluster any more",
            next="trmctl fetch it from the store, then trmctl submit -c its run.yaml",
        )
    old = loads(content, f"ConfigMap {name}")
    extra = [f"train.init_from={checkpoint(old, which)}"] if which is not None else []
    return name, loads(content, f"ConfigMap {name}", [*extra, *overrides])


def checkpoint(run: "RunFile", which: str) -> str:
    """Return the address of a checkpoint of a run in its store. StoreError: it is not there."""
    from trmctl.stores import ask, opened
    from trmkit.errors import StoreError
    from trmkit.store.layout import CHECKPOINTS, run_id
    from trmkit.store.publish import checkpoints
    from trmkit.store.summary import read

    if which not in ("last", "best") and not which.isdigit():
        raise click.UsageError("--from-checkpoint: last, best or the number of a step")
    store, key = opened(run.storage), f"{run.name}/{run_id(run)}"
    talk(f"asking {store.url} (at most {PATIENCE:.0f} s)")
    known = ask(lambda: checkpoints(store, f"{key}/{CHECKPOINTS}"))
    step = int(which) if which.isdigit() else None
    if which == "best":
        summary = ask(lambda: read(store, key))
        step = summary.status.best_step if summary else None
    found = next((one for one in known if step is None or one.step == step), None)
    if found is None or (which == "best" and step is None):
        steps = ", ".join(str(one.step) for one in known) or "none"
        raise StoreError(f"{store.url}/{key}: there is no checkpoint {which!r}", next=f"the steps there are: {steps}")
    return f"{store.url}/{found.key}"

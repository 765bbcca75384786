"""`trmctl submit`."""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from trmctl.options import Place, cluster_options, run_file_options
from trmctl.output import data, plain, talk
from trmctl.times import duration

if TYPE_CHECKING:
    from trmctl.cluster import Cluster, Object
    from trmctl.jobs import Job
    from trmctl.submission import Submission
    from trmkit.render.objects import Backend
    from trmkit.spec.run import RunFile


@click.command("submit")
@run_file_options
@click.option(
    "--backend", type=click.Choice(["pytorchjob", "trainjob"]), help="Kind of job, instead of cluster.backend."
)
@click.option("--stages", metavar="A,B", help="Only these of build, features, train, evaluate, report.")
@click.option("--pipeline", is_flag=True, help="As an Argo pipeline: a pod for each stage.")
@click.option("--cron", metavar="SCHEDULE", help="With --pipeline: start it by the clock, as in '0 3 * * *'.")
@click.option("--artifacts", is_flag=True, help="With --pipeline: hand the results to the artifact repository, too.")
@click.option("--direct", is_flag=True, help="As a plain job, also where a controller would keep a TrmRun.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; off a terminal nothing is asked anyway.")
@click.option(
    "--dry-run", type=click.Choice(["client", "server"]), help="Change nothing: show the plan, or ask the server."
)
@click.option("--if-exists", type=click.Choice(["adopt", "fail", "replace"]), default="adopt", show_default=True)
@click.option("--wait", is_flag=True, help="Wait until the run is over; the exit code says how it ended.")
@click.option("--follow", is_flag=True, help="Wait, and show the log of the first worker meanwhile.")
@click.option("--timeout", type=duration, metavar="DURATION", help="Wait no longer; the run goes on.")
@click.option(
    "--on-signal",
    type=click.Choice(["leave", "delete"]),
    default="leave",
    show_default=True,
    help="What a signal does to the run that is waited for.",
)
@click.option("--outputs", type=click.Path(file_okay=False, path_type=Path), help="Write `job` and `phase` here.")
@click.option("-o", "--output", type=click.Choice(["name", "json", "yaml"]), default="name", show_default=True)
@cluster_options
def command(
    config: str, overrides: tuple[str, ...], backend: "Backend | None", stages: str | None, pipeline: bool,
    cron: str | None, artifacts: bool, direct: bool, yes: bool, dry_run: str | None, if_exists: str, wait: bool,
    follow: bool, timeout: float | None, on_signal: str, outputs: Path | None, output: str, where: Place,
) -> int:  # fmt: skip
    """Hand a run to a cluster.

    The plan is shown first, with what would keep the run from starting. The same run file submitted again is the same
    run: it is adopted, not started twice. Where the cluster has a controller, it is handed in as a TrmRun, and goes on
    being looked after. Ctrl-C while following detaches; the run goes on.

    \b
    Example:
      trmctl submit -c run.yaml --set cluster.nodes=2 --follow
      trmctl submit -c run.yaml --dry-run server
      trmctl submit -c run.yaml --pipeline --wait --timeout 2h
    """
    from trmctl import submission as s
    from trmkit.spec.load import load_said

    if cron and not pipeline:
        raise click.UsageError("--cron goes with --pipeline")
    waits = wait or follow
    ignored = {
        "--cron starts later: there is nothing to wait for": bool(cron) and waits,
        "--timeout goes with --wait or --follow": timeout is not None and not waits,
        "--on-signal delete goes with --wait or --follow": on_signal == "delete" and not waits,
        "--outputs goes with --wait or --follow": outputs is not None and not waits,
        "--stages and --backend are a pipeline's own business": pipeline and bool(stages or backend),
        "--artifacts goes with --pipeline": artifacts and not pipeline,
    }
    for words, wrong in ignored.items():
        if wrong:
            raise click.UsageError(words)
    said = load_said(config, overrides)
    cluster, run = opened(said.run, where)
    around = {key: value for key, value in ((said.around or {}).get("spec") or {}).items() if key != "run"}
    pipeline = pipeline or bool(around.get("pipeline"))
    if pipeline:
        wanted = s.pipeline_submission(cluster, run, cron, artifacts=artifacts)
    else:
        wanted = s.job_submission(cluster, run, backend, *([s.check_stages(stages)] if stages else []))
    if not (direct or cron or artifacts or backend or stages):
        name = ((said.around or {}).get("metadata") or {}).get("name")
        wanted = kept(cluster, wanted, {**around, **({"pipeline": True} if pipeline else {})}, name)
    if around and wanted.trmrun is None:
        talk(f"note: {', '.join(around)}: only a TrmRun has these keys, and this is handed in as a plain job")
    how = How(yes, dry_run, if_exists, wait, follow, timeout, on_signal, outputs, output, where.wait)
    return hand_over(cluster, wanted, how)


def kept(cluster: "Cluster", wanted: "Submission", around: dict[str, Any], name: str | None = None) -> "Submission":
    """Return a submission as a TrmRun, where the cluster has such."""
    from trmctl.trmruns import served, trmrun

    if not served(cluster, wanted.namespace):
        return wanted
    return replace(wanted, trmrun=trmrun(wanted.run, name or wanted.name, wanted.namespace, around))


@dataclass(frozen=True)
class How:
    """The options of a submission that say nothing of the run."""

    yes: bool = False
    dry_run: str | None = None
    if_exists: str = "adopt"
    wait: bool = False
    follow: bool = False
    timeout: float | None = None
    on_signal: str = "leave"
    outputs: Path | None = None
    output: str = "name"
    pause: Callable[[float], None] = time.sleep
    """Waits so many seconds between two looks."""


def hand_over(cluster: "Cluster", wanted: "Submission", how: How) -> int:
    """Show the plan, ask, submit, and wait if that is asked for; return the exit code."""
    from trmctl import submission, trmruns

    show_plan(cluster, wanted)
    if how.dry_run == "client":
        return printed(wanted, how.output)
    if wanted.trmrun is not None:
        what, _ = trmruns.plan(cluster, wanted.trmrun, how.if_exists)
    else:
        what, _ = submission.plan(cluster, wanted, how.if_exists)
    if what != "adopt":
        checked(cluster, wanted, fresh=what == "create")
    if how.dry_run == "server":
        talk("the server would take it; nothing was changed")
        return printed(wanted, how.output)
    if not how.yes and sys.stdin.isatty():
        click.confirm("submit it?", abort=True, err=True)
    with signals():
        if wanted.trmrun is not None:
            job, done = trmruns.hand_in(cluster, wanted.trmrun, how.if_exists, talk)
        else:
            job, done = submission.submit(cluster, wanted, how.if_exists, talk)
        talk(f"{done}: {job.kind.kind} {job.name} in {job.namespace}")
        printed(wanted, how.output)
        if not (how.wait or how.follow):
            talk(f"next: trmctl logs -f {job.name}, trmctl status {job.name}, trmctl why {job.name}")
            return 0
        code = watch_over(cluster, job, how, wanted.beside if wanted.trmrun is None else None)
    leave_outputs(how.outputs, job, code)
    return code


def opened(run: "RunFile", where: Place) -> "tuple[Cluster, RunFile]":
    """Return the cluster, and the run file with what the profile and the namespace's defaults say and it does not."""
    from trmctl.defaults import with_defaults

    run = with_profile(run, where)
    cluster = where.open(run.cluster.namespace)
    return cluster, with_defaults(cluster, run, talk)


def with_profile(run: "RunFile", where: Place) -> "RunFile":
    """Return the run file with what the profile says and it does not, and in `-n`'s namespace. SpecError: the profile.

    What the profile says counts as said by the run file: the namespace's defaults do not change it.
    """
    from trmctl.defaults import changed, part

    profile = where.profile
    asked = {key: getattr(profile, key) for key in ("queue", "owner") if getattr(run.cluster, key) is None}
    if where.namespace and run.cluster.namespace is not None:
        asked["namespace"] = where.namespace
    stored = {"remote": profile.store} if run.storage.remote is None else {}
    said = {name: {key: value for key, value in keys.items() if value}
            for name, keys in (("cluster", asked), ("storage", stored))}  # fmt: skip
    for name, keys in said.items():
        part(name, keys, "the profile")
    return changed(run, said)


def show_plan(cluster: "Cluster", wanted: "Submission") -> None:
    """Say what would be made, where, and what a person should know of it."""
    from trmkit.render.objects import remarks
    from trmkit.store.layout import run_id

    run, asked = wanted.run, wanted.run.cluster
    each = f"{asked.gpus_per_node} x {asked.gpu_resource}, " if asked.gpus_per_node else ""
    lines = {
        "run": f"{run.name}/{run_id(run)}",
        "as": as_what(wanted),
        "in": f"namespace {wanted.namespace} of {cluster.where}",
        "pods": f"{asked.nodes}, each with {each}{asked.cpu} CPUs, {asked.memory}",
        **({"beside": beside_it(wanted.beside)} if wanted.beside is not None else {}),
        "image": asked.image,
        "store": run.storage.remote or "none",
        **({"queue": asked.queue} if asked.queue else {}),
    }
    for name, text in lines.items():
        talk(f"{name:>6}  {plain(text)}")
    for remark in remarks(run):
        talk(f"  note  {remark}")


def as_what(wanted: "Submission") -> str:
    """Return what a run would be in the cluster, in words."""
    job = f"{wanted.kind.kind} {wanted.name}"
    if wanted.trmrun is not None:
        return f"TrmRun {wanted.trmrun['metadata']['name']}, whose controller makes {job}"
    return f"{job}, with a ConfigMap of that name"


def beside_it(wanted: "Submission") -> str:
    """Return what the job beside another one is, in words."""
    asked = wanted.run.cluster
    gpu = f"{asked.gpus_per_node} x {asked.gpu_resource}, " if asked.gpus_per_node else ""
    return f"{wanted.kind.kind} {wanted.name} scores checkpoints, in one pod with {gpu}{asked.cpu} CPUs, {asked.memory}"


def checked(cluster: "Cluster", wanted: "Submission", *, fresh: bool) -> None:
    """Ask the server whether everything would be taken. ClusterRefusedError: something would not.

    What takes the place of another run is given that one's share of the quota, so the quota is only noted.
    """
    from trmctl.preflight import preflight
    from trmkit.errors import ClusterRefusedError

    second = wanted.beside.run if wanted.beside is not None else None
    objects = [wanted_as_object(wanted)] if wanted.trmrun is not None else objects_of(wanted)
    wrong, unknown = preflight(cluster, wanted.run, objects, wanted.namespace, second)
    if not fresh:
        unknown += [line for line in wrong if "quota" in line]
        wrong = [line for line in wrong if "quota" not in line]
    for line in unknown:
        talk(f"  note  not known: {line}")
    if wanted.trmrun is not None:
        from trmctl.doctor.controller import lease

        found = lease(cluster, wanted.namespace)
        if found.state != "ok":
            talk(f"  note  {found.message}; --direct hands in a plain job")
    if wrong:
        raise ClusterRefusedError(
            "\n".join([f"{wanted.name} would not start:", *(f"  {line}" for line in wrong)]),
            next="correct the run file or make what is missing; trmctl doctor -c shows the rest",
        )


def printed(wanted: "Submission", output: str) -> int:
    """Print the run: its name, or its objects."""
    if output == "name":
        click.echo(wanted.name if wanted.trmrun is None else wanted.trmrun["metadata"]["name"])
    elif wanted.trmrun is not None:
        data(wanted_as_object(wanted), output)
    else:
        data({"apiVersion": "v1", "kind": "List", "items": objects_of(wanted)}, output)
    return 0


def wanted_as_object(wanted: "Submission") -> "Object":
    """Return the TrmRun that would be handed in."""
    from trmctl.cluster import TRMRUN

    return {"apiVersion": TRMRUN.api_version, "kind": TRMRUN.kind, **(wanted.trmrun or {})}


def objects_of(wanted: "Submission") -> "list[Object]":
    """Return everything that would be made."""
    return [wanted.config, wanted.body, *(objects_of(wanted.beside) if wanted.beside is not None else ())]


@contextmanager
def signals() -> Iterator[None]:
    """Have SIGTERM end a `with` block through every `finally`."""

    def told(signum: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, told)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def watch_over(cluster: "Cluster", job: "Job", how: How, beside: "Submission | None" = None) -> int:
    """Follow the run to its end, that of the job beside it too; return the exit code.

    A signal leaves it running, or deletes it.
    """
    from trmctl.follow import follow
    from trmctl.submission import existing

    until = None if how.timeout is None else time.monotonic() + how.timeout

    def to_its_end(one: "Job") -> int:
        left = None if until is None else max(0.0, until - time.monotonic())
        if how.on_signal == "delete":
            return follow(cluster, one, talk, timeout=left, logs=how.follow, wait=how.pause, farewell="")
        return follow(cluster, one, talk, timeout=left, logs=how.follow, wait=how.pause)

    def to_the_end() -> int:
        code = to_its_end(job)
        second = existing(cluster, beside) if beside is not None and code == 0 else None
        return code if second is None else to_its_end(second)

    if how.on_signal == "leave":
        return to_the_end()
    try:
        code = to_the_end()
    except SystemExit:
        remove(cluster, job)
        raise
    if code == 130:
        remove(cluster, job)
    return code


def remove(cluster: "Cluster", job: "Job") -> None:
    """Delete the run, as was asked for should a signal come."""
    from trmctl import acting
    from trmctl.cluster import TRMRUN

    talk(f"deleting {job.name}; it saves and leaves")
    if job.kind == TRMRUN:
        acting.cancel(cluster, job)
    else:
        cluster.delete(job.kind, job.name, job.namespace)


def leave_outputs(folder: Path | None, job: "Job", code: int) -> None:
    """Write what a pipeline's next step may want to know."""
    if folder is None:
        return
    phase = {0: "Succeeded", 1: "Failed", 6: "Retryable"}.get(code, "Unknown")
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in {"job": job.name, "phase": phase}.items():
        (folder / name).write_text(value, encoding="utf-8")
    (folder / "result.json").write_text(json.dumps({"job": job.name, "phase": phase, "exit": code}), encoding="utf-8")

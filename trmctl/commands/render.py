"""`trmctl render`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trmctl.options import run_file_options
from trmctl.output import talk
from trmkit.errors import TrmError

if TYPE_CHECKING:
    from trmkit.render.objects import Backend


@click.command("render")
@run_file_options
@click.option(
    "--backend", type=click.Choice(["pytorchjob", "trainjob"]), help="Kind of job [default: cluster.backend]."
)
@click.option("-n", "--namespace", metavar="NAME", help="Namespace of the objects, where the run file names none.")
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write a file for each object here.")
@click.option(
    "--as",
    "form",
    type=click.Choice(["objects", "trmrun", "run"]),
    default="objects",
    show_default=True,
    help="The run's objects; or what -c names as a TrmRun, or as a run file.",
)
@click.option("--name", metavar="NAME", help="Name of the TrmRun [default: the one of the run's job].")
@click.option("--crd", is_flag=True, help="Print the definition of TrmRun, once for a cluster.")
@click.option("--base", is_flag=True, help="Print what a namespace needs once: service accounts and roles.")
@click.option("--runtime", is_flag=True, help="Print the ClusterTrainingRuntime of TrainJobs, once for a cluster.")
@click.option("--templates", is_flag=True, help="Print the WorkflowTemplates of pipelines, sweeps and ladders.")
def command(
    config: str,
    overrides: tuple[str, ...],
    backend: "Backend | None",
    namespace: str | None,
    output: str,
    out: Path | None,
    form: str,
    name: str | None,
    crd: bool,
    base: bool,
    runtime: bool,
    templates: bool,
) -> None:
    """Print the Kubernetes objects of a run.

    They are a ConfigMap with the run file, and the job that reads it. No cluster is asked: `cluster.backend: auto`
    gives a PyTorchJob here, where `submit` takes what the cluster serves.

    With --as trmrun it is one TrmRun with the keys that the run file gives, for the controller; with --as run the run
    file that a TrmRun holds. Comments are lost both ways.

    \b
    Example:
      trmctl render -c run.yaml --set cluster.nodes=2 | kubectl apply -f -
      trmctl render -c run.yaml --backend trainjob --out manifests/
      trmctl render -c run.yaml --as trmrun | kubectl apply --server-side -f -
    """
    if form == "run":
        run_file(config, overrides, output)
        return
    objects = [*(base_objects(namespace) if base else ()), *(workflow_templates(namespace) if templates else ())]
    objects += [*([training_runtime()] if runtime else ()), *([run_definition()] if crd else ())]
    if not objects and form == "trmrun":
        objects = [run_as_object(config, overrides, name, namespace)]
    elif not objects:
        objects = run_objects(config, overrides, backend, namespace)
    if out is None:
        click.echo(text(objects, output), nl=False)
        return
    out.mkdir(parents=True, exist_ok=True)
    for found in objects:
        path = out / f"{found['kind'].lower()}-{found['metadata']['name']}.{output}"
        path.write_text(text([found], output), encoding="utf-8")
        click.echo(str(path))


def run_objects(
    config: str, overrides: tuple[str, ...], backend: "Backend | None", namespace: str | None
) -> list[dict[str, Any]]:
    """Return the objects of a run; what a person should know of them goes to stderr."""
    from trmkit.render.objects import remarks, render
    from trmkit.spec.load import load

    run = load(config, overrides)
    chosen: Backend = backend or ("trainjob" if run.cluster.backend == "trainjob" else "pytorchjob")
    objects = render(run, chosen, namespace=namespace)
    for remark in remarks(run):
        talk(f"note: {remark}")
    return objects


def run_as_object(config: str, overrides: tuple[str, ...], name: str | None, namespace: str | None) -> dict[str, Any]:
    """Return the TrmRun of a file."""
    from trmkit.render.trmrun import trmrun
    from trmkit.spec.load import load_said

    return trmrun(load_said(config, overrides), name, namespace)


def run_file(config: str, overrides: tuple[str, ...], output: str) -> None:
    """Print the run file of a file: the keys that are given."""
    from trmkit.spec.load import load_said
    from trmkit.spec.yaml_write import write

    given = load_said(config, overrides).given
    click.echo(text([given], output) if output == "json" else write(given), nl=False)


def run_definition() -> dict[str, Any]:
    """Return the definition of TrmRun."""
    from trmkit.render.crd import definition

    return definition()


def base_objects(namespace: str | None) -> list[dict[str, Any]]:
    """Return what a namespace needs once."""
    from trmkit.render.base import base

    return base(namespace or "default")


def training_runtime() -> dict[str, Any]:
    """Return the runtime of TrainJobs."""
    from trmkit.render.runtime import runtime

    return runtime()


def workflow_templates(namespace: str | None) -> list[dict[str, Any]]:
    """Return the WorkflowTemplates. TrmError: Hera is not installed."""
    try:
        from workflows.pipeline import pipeline_template
        from workflows.sweep import sweep_template
    except ImportError:
        raise TrmError("the package hera is not installed", next="pip install 'trmctl[cluster]'") from None
    objects = [pipeline_template(), sweep_template()]
    for found in objects if namespace is not None else ():
        found["metadata"]["namespace"] = namespace
    return objects


def text(objects: list[dict[str, Any]], form: str) -> str:
    """Return objects as a YAML stream, or as JSON: one object, or a List as kubectl takes it."""
    if form == "json":
        import json

        whole = objects[0] if len(objects) == 1 else {"apiVersion": "v1", "kind": "List", "items": objects}
        return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    from trmkit.render.text import write_all

    return write_all(objects)

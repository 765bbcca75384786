"""`trmctl validate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from trmctl import output as out
from trmctl.options import output_option, run_file_options
from trmkit.errors import SpecError


@click.command("validate")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@run_file_options
@click.option("--manifests", is_flag=True, help="Check the Kubernetes objects of the run, or those in PATHS.")
@output_option("table", "yaml", "json", "name")
def command(paths: tuple[Path, ...], config: str, overrides: tuple[str, ...], manifests: bool, output: str) -> None:
    """Check a run file; say everything that is wrong with it at once.

    -o yaml prints the resolved run file: every key with its value. -o name prints NAME/RUN-ID.

    With --manifests the objects that would go to a cluster are checked, for both kinds of job, or files and folders of
    YAML: typed models of the operators, what their webhooks refuse, what is taken and does not run, PodSecurity.

    \b
    Example:
      trmctl validate -c run.yaml --set train.lr=3e-4
      trmctl validate -c run.yaml --manifests
      trmctl validate --manifests manifests/
    """
    if manifests:
        check_manifests(from_files(paths) if paths else rendered(config, overrides))
        return
    if paths:
        raise click.UsageError("PATHS go with --manifests; a run file is given with -c")
    from trmkit.hints import hints
    from trmkit.spec.load import dump, load
    from trmkit.store.layout import run_id

    run = load(config, overrides)
    for hint in hints(run):
        out.talk(f"note: {hint}")
    if output == "yaml":
        click.echo(dump(run), nl=False)
    elif output == "json":
        out.data(run.model_dump(mode="json"), "json")
    elif output == "name":
        click.echo(f"{run.name}/{run_id(run)}")
    else:
        click.echo(f"ok: {run.name} ({run_id(run)})")


Found = list[tuple[str, dict[str, Any]]]
"""Where an object is from, and the object."""


def rendered(config: str, overrides: Sequence[str]) -> Found:
    """Return the objects of a run, as every kind of job that it can be."""
    from trmkit.render.objects import KINDS, render
    from trmkit.spec.load import load

    run = load(config, overrides)
    wanted = [run.cluster.backend] if run.cluster.backend != "auto" else list(KINDS)
    found: Found = []
    for backend in wanted:
        try:
            found += [(f"{config} as {backend}", one) for one in render(run, backend)]  # type: ignore[arg-type]
        except SpecError as error:
            if len(wanted) == 1 or backend == "pytorchjob":
                raise
            out.talk(f"note: not as {backend}: {error.message}")
    return found


def from_files(paths: Sequence[Path]) -> Found:
    """Return the objects in YAML files and in folders of them. SpecError: one cannot be read."""
    import yaml

    files = [file for path in paths for file in (sorted(path.rglob("*.y*ml")) if path.is_dir() else [path])]
    found: Found = []
    for file in files:
        if file.name == "kustomization.yaml":
            continue
        try:
            documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise SpecError(f"{file}: is not YAML: {error}") from None
        found += [(str(file), one) for document in documents for one in objects_of(document, file)]
    return found


def objects_of(document: Any, file: Path) -> list[dict[str, Any]]:
    """Return the objects of one YAML document; a List has several, an empty one none."""
    if document is None:
        return []
    if not isinstance(document, dict) or "kind" not in document or not isinstance(document.get("metadata", {}), dict):
        raise SpecError(f"{file}: holds something that is no Kubernetes object", next="leave that file out")
    if document["kind"] == "List":
        return [one for item in document.get("items") or () for one in objects_of(item, file)]
    return [{"metadata": {}, **document}]


def check_manifests(found: Found) -> None:
    """Say what is wrong with objects. SpecError: something is."""
    from trmctl.typed import typed_problems
    from trmkit.render.check import problems

    wrong = [
        f"{origin}: {one['kind']} {one['metadata'].get('name')}: {line}"
        for origin, one in found
        for line in [*problems(one), *typed_problems(one)]
    ]
    if wrong:
        raise SpecError("\n".join([f"{len(wrong)} things are wrong", *(f"  {line}" for line in wrong)]))
    for origin, one in found:
        click.echo(f"ok: {origin}: {one['kind']} {one['metadata'].get('name')}")

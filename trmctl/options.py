"""The options that several commands share."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trmctl.times import duration

if TYPE_CHECKING:
    from trmctl.cluster import Cluster, Opener
    from trmctl.profiles import Profile

F = TypeVar("F", bound=Callable[..., object])


def run_file_options(function: F) -> F:
    """Add `-c/--config` and `--set`: arguments `config` and `overrides`."""
    config = click.option("-c", "--config", metavar="FILE", default="run.yaml", show_default=True, help="The run file.")
    override = click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        help="Change a key, as in --set train.lr=3e-4. May be given again.",
    )
    return config(override(function))


def output_option(*formats: str) -> Callable[[F], F]:
    """Add `-o/--output`: argument `output`; the first format is the default."""
    return click.option(
        "-o", "--output", type=click.Choice(formats), default=formats[0], show_default=True, help="How to print."
    )


def workflow_options(function: F) -> F:
    """Add how a workflow of many runs is handed in: `parallel`, `yes`, `dry_run`, `if_exists`, `follow`, `timeout`."""
    for option in reversed(
        (
            click.option(
                "--parallel", type=click.IntRange(1), default=4, show_default=True, help="Runs at the same time."
            ),
            click.option("-y", "--yes", is_flag=True, help="Do not ask; off a terminal nothing is asked anyway."),
            click.option("--dry-run", type=click.Choice(["client", "server"]), help="Change nothing."),
            click.option(
                "--if-exists", type=click.Choice(["adopt", "fail", "replace"]), default="adopt", show_default=True
            ),
            click.option("--follow", is_flag=True, help="Follow it to its end; the exit code says how it ended."),
            click.option("--timeout", type=duration, metavar="DURATION", help="Wait no longer; the runs go on."),
        )
    ):
        function = option(function)
    return function


runs_option = click.option(
    "--runs", metavar="FOLDER", default="runs", show_default=True, help="Where runs live (`storage.path`)."
)
"""Adds `--runs`: argument `runs`."""

publish_option = click.option(
    "--publish", is_flag=True, help="Ask the run's store for what is newer there, and publish what comes of it."
)
"""Adds `--publish`: argument `publish`."""


@dataclass(frozen=True)
class Doors:
    """The ways to the outside that tests replace: `trmctl.cli.main` takes them, click's context carries them."""

    open_cluster: "Opener | None" = None
    """None: `trmctl.kube.open_cluster`, imported when it is used."""
    wait: Callable[[float], None] = time.sleep
    """Lets so many seconds pass."""


@dataclass(frozen=True)
class Place:
    """Where a command works: what `-n`, `--context` and `--profile` say, and how a cluster is opened."""

    context: str | None
    namespace: str | None
    profile: "Profile"
    doors: Doors

    def wait(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.doors.wait(seconds)

    def open(self, namespace: str | None = None) -> "Cluster":
        """Return the cluster; `namespace` counts where no option names one. ClusterUnreachableError: there is none."""
        wanted = self.namespace or namespace or self.profile.namespace
        if self.doors.open_cluster is not None:
            return self.doors.open_cluster(self.context, wanted)
        from trmctl.kube import open_cluster

        return open_cluster(self.context, wanted)

    def inside(self) -> "Cluster":
        """Return the cluster this process runs in, under its pod's account. ClusterUnreachableError: none."""
        if self.doors.open_cluster is not None:
            return self.open()
        from trmctl.kube import open_inside

        return open_inside(self.namespace)

    def glance(self, seconds: float = 2.0) -> "Cluster":
        """Return the cluster for quick questions, each given up after `seconds`: somebody waits for the answer."""
        if self.doors.open_cluster is not None:
            return self.open()
        from trmctl.client.patience import Patience
        from trmctl.kube import open_cluster

        quick = Patience(seconds / 2, seconds, seconds, contact=seconds / 2, webhook=seconds / 2)
        return open_cluster(self.context, self.namespace or self.profile.namespace, quick)


def place(context: str | None = None, namespace: str | None = None, profile: str | None = None) -> Place:
    """Return the place that options mean. SpecError: the profile."""
    from trmctl.profiles import profile as read

    found = read(profile)
    current = click.get_current_context(silent=True)
    doors = current.find_root().obj if current else None
    return Place(context or found.context, namespace, found, doors or Doors())


def cluster_options(function: F) -> F:
    """Add `-n`, `--context` and `--profile`: argument `where`, a `Place`."""

    @functools.wraps(function)
    def command(*args: Any, namespace: str | None, context: str | None, profile: str | None, **kwargs: Any) -> object:
        return function(*args, where=place(context, namespace, profile), **kwargs)

    for option in (
        click.option("--profile", envvar="TRM_PROFILE", metavar="NAME", help="Of config.toml; see docs/cluster.md."),
        click.option("--context", envvar="TRM_CONTEXT", metavar="NAME", help="Context of the kubeconfig."),
        click.option("-n", "--namespace", envvar="TRM_NAMESPACE", metavar="NAME", help="Namespace of the cluster."),
    ):
        command = option(command)
    return command  # type: ignore[return-value]

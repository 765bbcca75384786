"""The options that several commands share."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

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


runs_option = click.option(
    "--runs", metavar="FOLDER", default="runs", show_default=True, help="Where runs live (`storage.path`)."
)
"""Adds `--runs`: argument `runs`."""

publish_option = click.option(
    "--publish", is_flag=True, help="Ask the run's store for what is newer there, and publish what comes of it."
)
"""Adds `--publish`: argument `publish`."""


@dataclass(frozen=True)
class Place:
    """Where a command works: what `-n`, `--context` and `--profile` say, and how a cluster is opened."""

    context: str | None
    namespace: str | None
    profile: "Profile"
    opener: "Opener | None"
    """None: the real one. Tests hand their own to `trmctl.cli.main`."""

    def open(self, namespace: str | None = None) -> "Cluster":
        """Return the cluster; `namespace` counts where no option names one. ClusterUnreachableError: there is none."""
        wanted = self.namespace or namespace or self.profile.namespace
        if self.opener is not None:
            return self.opener(self.context, wanted)
        from trmctl.kube import open_cluster

        return open_cluster(self.context, wanted)


def place(context: str | None = None, namespace: str | None = None, profile: str | None = None) -> Place:
    """Return the place that options mean. SpecError: the profile."""
    from trmctl.profiles import profile as read

    found = read(profile)
    current = click.get_current_context(silent=True)
    return Place(context or found.context, namespace, found, current.find_root().obj if current else None)


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

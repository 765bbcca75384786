"""`trmctl doctor`."""

from dataclasses import asdict

import click

from trmctl.options import Place, cluster_options, output_option
from trmctl.output import data, table
from trmctl.stores import check_url


@click.command("doctor")
@click.option("-c", "--config", metavar="FILE", help="Look at what this run file needs, too.")
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Change a key of it.")
@click.option("--store", metavar="URL", envvar="TRM_STORE", help="Try this store, instead of storage.remote.")
@click.option("--in-cluster", is_flag=True, help="From inside a pod, under an account that may only look.")
@cluster_options
@output_option("table", "json", "yaml")
def command(
    config: str | None, overrides: tuple[str, ...], store: str | None, in_cluster: bool, where: Place, output: str
) -> int:
    """Check everything that a run needs of a cluster.

    All checks are made, and each ends in a line: API, kinds and their versions, operators, rights, PodSecurity, quota,
    queue, GPUs, secrets, store with timing, clocks, Prometheus, Argo. The exit code is 1 if one failed. From inside a
    cluster the store of the namespace's defaults is tried, unless another is named.

    \b
    Example:
      trmctl doctor -n research
      trmctl doctor -c run.yaml -o json
      trmctl doctor --in-cluster --store s3://models/runs
    """
    from trmctl.doctor.checks import Doctor
    from trmctl.doctor.finding import Finding
    from trmctl.doctor.store import store_findings
    from trmkit.errors import ClusterUnreachableError
    from trmkit.spec.storage import StorageSection

    run = None
    storage = StorageSection(remote=check_url(store)) if store else None
    if config is not None:
        from trmctl.commands.submit import with_profile
        from trmkit.spec.load import load

        url = [f"storage.remote={check_url(store)}"] if store else []
        run = with_profile(load(config, [*overrides, *url]), where)
        storage = run.storage
    findings: list[Finding] = []
    try:
        cluster = where.inside() if in_cluster else where.open(run.cluster.namespace if run else None)
        doctor = Doctor(cluster, run, only_look=in_cluster)
        findings += doctor.findings()
        if in_cluster and storage is None:  # from elsewhere its address may mean nothing
            storage = doctor.store
    except ClusterUnreachableError as error:
        findings.append(Finding("API server", "failed", error.message, error.next))
    findings += store_findings(storage)
    if output == "table":
        rows = [(one.check, one.state, one.message + (f"\n-> {one.next}" if one.next else "")) for one in findings]
        table(("CHECK", "STATE", "FOUND"), rows)
    else:
        data({"findings": [asdict(one) for one in findings]}, output)
    if findings[0].state == "failed" and findings[0].check == "API server":
        return 3
    return int(any(one.state == "failed" for one in findings))

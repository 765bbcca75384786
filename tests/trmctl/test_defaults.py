"""What a namespace and a profile say for runs that do not say it themselves."""

from pathlib import Path

import pytest

from tests.trmctl.conftest import GOOD, Run
from tests.trmctl.fake_cluster import FakeCluster
from trmctl.cluster import CONFIG_MAP, LOCAL_QUEUE, PYTORCHJOB, SECRET, SERVICE_ACCOUNT
from trmkit.errors import ClusterForbiddenError
from trmkit.render.names import job_name
from trmkit.spec.load import dump, loads

NAME = job_name(loads(GOOD))


def config_text(cluster: FakeCluster) -> str:
    return str(cluster.see(CONFIG_MAP, NAME)["data"]["run.yaml"])


DEFAULTS_TEXT = """\
cluster: {image: "registry.example/trm:2", queue: shared, service_account: trm-trainer, image_pull_secrets: [pull]}
storage: {remote: "s3://team/runs", endpoint_url: "http://s3.example:8333"}
"""


def with_namespace_defaults(text: str = DEFAULTS_TEXT) -> FakeCluster:
    cluster = FakeCluster()
    cluster.put(LOCAL_QUEUE, {"metadata": {"name": "shared"}})
    cluster.put(LOCAL_QUEUE, {"metadata": {"name": "batch"}})
    cluster.put(SECRET, {"metadata": {"name": "pull"}})
    cluster.put(SERVICE_ACCOUNT, {"metadata": {"name": "trm-trainer"}})
    cluster.put(CONFIG_MAP, {"metadata": {"name": "trm-defaults"}, "data": {"defaults.yaml": text}})
    return cluster


def test_a_namespace_gives_what_neither_run_file_nor_profile_do(trmctl: Run, tmp_path: Path) -> None:
    cluster = with_namespace_defaults()
    result = trmctl("submit", "--set", "cluster.service_account=null", cluster=cluster)
    assert result.code == 0
    assert "cluster.image=registry.example/trm:2" in result.err
    run = loads(config_text(cluster))
    assert (run.cluster.image, run.cluster.queue) == ("registry.example/trm:2", "shared")
    assert run.cluster.image_pull_secrets == ("pull",)
    assert run.cluster.service_account is None  # null, where it is said, is said
    assert (run.storage.remote, run.storage.endpoint_url) == ("s3://team/runs", "http://s3.example:8333")

    (tmp_path / "config.toml").write_text('default = "lab"\n[profiles.lab]\nqueue = "batch"\nowner = "ada"\n')
    cluster = with_namespace_defaults()
    assert trmctl("submit", cluster=cluster).code == 0
    run = loads(config_text(cluster))
    assert (run.cluster.queue, run.cluster.owner) == ("batch", "ada")
    assert cluster.see(PYTORCHJOB, NAME)["metadata"]["labels"]["trm.dev/owner"] == "ada"


def test_a_resolved_run_file_is_not_changed_by_defaults(trmctl: Run) -> None:
    Path("resolved.yaml").write_text(dump(loads(GOOD)), encoding="utf-8")
    cluster = with_namespace_defaults()
    result = trmctl("submit", "-c", "resolved.yaml", cluster=cluster)
    assert result.code == 0
    assert "defaults" not in result.err
    assert config_text(cluster) == dump(loads(GOOD))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cluster: {nodes: 8}", "cluster.nodes: a namespace cannot decide that"),
        ("train: {}", "train: a namespace cannot decide that"),
        ("cluster: {queue: A_B}", "cluster.queue"),
        ("cluster: {queue: a, queue: b}", "trm-defaults"),
        ("storage: {remote: 's3://x'}", "storage.remote"),
    ],
)
def test_defaults_that_are_wrong_are_refused_and_say_where_they_are(trmctl: Run, text: str, words: str) -> None:
    result = trmctl("submit", cluster=with_namespace_defaults(text))
    assert result.code == 2
    assert words in result.err
    assert "ConfigMap trm-defaults in namespace team" in result.err


def test_a_run_file_differs_from_its_run_in_what_it_says_and_not_in_defaults(trmctl: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('default = "lab"\n[profiles.lab]\nowner = "ada"\n')
    cluster = with_namespace_defaults()
    assert trmctl("submit", cluster=cluster).code == 0
    for second in ([], [NAME]):
        same = trmctl("diff", "run.yaml", *second, cluster=cluster)
        assert same.out == ""
        assert "the run files say the same" in same.err
        assert "cluster.image=registry.example/trm:2" in same.err, "what is taken is said"
    Path("other.yaml").write_text(GOOD + "cluster: {memory: 1Gi}\n", encoding="utf-8")
    for pair in (["other.yaml"], ["other.yaml", NAME], [NAME, "other.yaml"]):
        rows = trmctl("diff", *pair, cluster=cluster).out.splitlines()[1:]
        assert [row.split()[0] for row in rows] == ["cluster.memory"]
    alone = trmctl("diff", "run.yaml", "other.yaml", cluster=cluster)
    assert [row.split()[0] for row in alone.out.splitlines()[1:]] == ["cluster.memory"]
    assert "defaults" not in alone.err, "no cluster is asked about two files"


def test_defaults_that_may_not_be_read_are_not_there(trmctl: Run) -> None:
    cluster = FakeCluster()
    cluster.fail("get", CONFIG_MAP, ClusterForbiddenError("no"))
    assert trmctl("submit", cluster=cluster).code == 0


def test_an_owner_that_can_be_no_label_is_refused(trmctl: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('default = "lab"\n[profiles.lab]\nowner = "ada@example"\n')
    result = trmctl("submit", cluster=FakeCluster())
    assert result.code == 2
    assert "the profile: cluster.owner" in result.err

"""The real client against a real socket: what it sends, what it makes of answers, and that faults change nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.trmctl.api_server import ApiServer, Fault, problem
from trmctl.client.answers import Answer, error
from trmctl.client.patience import Patience
from trmctl.cluster import CONFIG_MAP, JOBSET, NODE, POD, PYTORCHJOB, Cluster, Object
from trmctl.kube import KubeCluster, open_cluster
from trmkit.errors import (
    ClusterConflictError,
    ClusterForbiddenError,
    ClusterMissingError,
    ClusterNotConfiguredError,
    ClusterNotReadyError,
    ClusterRefusedError,
    ClusterUnreachableError,
)
from trmkit.render.names import SPEC_HASH

QUICK = Patience(connect=1.0, read=0.5, total=8.0, contact=2.0, webhook=8.0, quiet=0.5, first=0.01, longest=0.1)
WEBHOOK = (
    'Internal error occurred: failed calling webhook "validator.pytorchjob.training-operator.kubeflow.org": failed to '
    'call webhook: Post "https://training-operator.kubeflow.svc:443/x?timeout=10s": connect: connection refused'
)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as made:
        yield made


def connect(url: str, said: list[str] | None = None, patience: Patience = QUICK) -> KubeCluster:
    """Return a client of a server."""
    from kubernetes import client

    settings = client.Configuration()
    settings.host = url
    settings.retries = False
    say = (lambda text: None) if said is None else said.append
    return KubeCluster(client.ApiClient(settings), "team", f"test ({url})", patience, say)


def job(name: str = "a", hash: str = "cafe") -> Object:
    return {"metadata": {"name": name, "annotations": {SPEC_HASH: hash}}, "spec": {"size": 1}}


FAULTS = [
    Fault("", "", 429, headers=(("Retry-After", "0"),)),
    Fault("", "", 429),
    Fault("", "", 500),
    Fault("", "", 500, after=True),
    Fault("", "", 503),
    Fault("", "", 409),
    Fault("", "", "reset"),
    Fault("", "", "reset", after=True),
    Fault("", "", "hang"),
    Fault("", "", "hang", after=True),
]


def names_of(cluster: Cluster) -> list[str]:
    return [one["metadata"]["name"] for one in cluster.list(PYTORCHJOB)]


def followed(cluster: Cluster) -> list[str]:
    """Follow a log as who follows does: a silent end is the end of a connection, not of the log."""
    found: list[str] = []
    while not found:
        found = list(cluster.log("p", "pytorch", follow=True))
    return found


CALLS: dict[str, tuple[str, str, Callable[[KubeCluster], object], object]] = {
    "serves": ("GET", "/apis/kubeflow", lambda c: c.serves(PYTORCHJOB), True),
    "get": ("GET", "/there", lambda c: (c.get(PYTORCHJOB, "there") or {})["spec"], {"size": 1}),
    "list": ("GET", "limit=", names_of, ["there"]),
    "create": ("POST", "pytorchjobs", lambda c: c.create(PYTORCHJOB, job("new"))["metadata"]["name"], "new"),
    "apply": ("PATCH", "pytorchjobs", lambda c: c.apply(PYTORCHJOB, job("new"))["spec"], {"size": 1}),
    "patch": (
        "PATCH",
        "there",
        lambda c: c.patch(PYTORCHJOB, "there", {"spec": {"x": 2}})["spec"],
        {"size": 1, "x": 2},
    ),
    "delete": ("DELETE", "there", lambda c: c.delete(PYTORCHJOB, "there"), True),
    "log": ("GET", "/log", lambda c: list(c.log("p", "pytorch")), ["one", "two"]),
    "follow": ("GET", "/log", lambda c: followed(c), ["one", "two"]),
    "allowed": ("POST", "selfsubject", lambda c: c.allowed("get", POD), True),
    "server": ("GET", "/version", lambda c: c.server()[0], "v1.36.2"),
    "watch": (
        "GET",
        "watch=",
        lambda c: [x.object["metadata"]["name"] for x in c.watch(PYTORCHJOB, seconds=0.2)],
        ["there"],
    ),
}


@pytest.mark.parametrize(
    "fault", FAULTS, ids=lambda f: f"{f.what}{'-done' if f.after else ''}{'-told' * bool(f.headers)}"
)
@pytest.mark.parametrize("call", CALLS)
def test_a_fault_at_any_call_changes_nothing_of_its_outcome(call: str, fault: Fault, server: ApiServer) -> None:
    method, where, ask, expected = CALLS[call]
    server.put(PYTORCHJOB, job("there"))
    server.put(POD, {"metadata": {"name": "p"}})
    server.backend.logs["p"] = ["one", "two"]
    server.faults.append(Fault(method, where, fault.what, fault.after, fault.headers))
    assert ask(connect(server.url)) == expected
    assert server.faults == []
    wanted = {"create": ["there", "new"], "apply": ["there", "new"], "delete": []}.get(call, ["there"])
    assert server.backend.names(PYTORCHJOB) == wanted
    made = [one for one in server.backend.mutations if one[0] in ("create", "delete")]
    assert len(made) == (call in ("create", "delete"))


def test_five_faults_in_a_row_are_waited_out_and_the_third_said(server: ApiServer) -> None:
    server.faults += [Fault("POST", "pytorchjobs", what) for what in (500, 503, 429, "reset", 500)]
    said: list[str] = []
    assert connect(server.url, said).create(PYTORCHJOB, job())["metadata"]["name"] == "a"
    assert [text for text in said if text.startswith("waiting for the cluster")]
    assert len(server.backend.mutations) == 1


def test_waiting_has_an_end(server: ApiServer) -> None:
    server.faults += [Fault("GET", "", 500, text="etcd is sad")] * 500
    began = time.monotonic()
    with pytest.raises(ClusterUnreachableError, match="etcd is sad"):
        connect(server.url, patience=Patience(read=0.2, total=0.5, first=0.01, longest=0.05)).get(PYTORCHJOB, "a")
    assert time.monotonic() - began < 60


def test_a_server_that_was_never_reached_is_given_up_soon() -> None:
    with pytest.raises(ClusterUnreachableError, match="list pytorchjobs") as raised:
        connect("http://127.0.0.1:9", patience=Patience(contact=0.2, first=0.01)).list(PYTORCHJOB)
    assert raised.value.exit_code == 3


def test_an_operator_that_is_down_is_said_and_waited_for(server: ApiServer) -> None:
    text = problem(500, "InternalError", WEBHOOK)
    server.faults += [Fault("POST", "pytorchjobs", 500, text=text)] * 4
    said: list[str] = []
    patience = Patience(total=0.001, webhook=8.0, first=0.01, longest=0.05)
    assert connect(server.url, said, patience).create(PYTORCHJOB, job())
    assert said == ["waiting for the cluster: the Training Operator is down or starting"]
    server.faults += [Fault("POST", "pytorchjobs", 500, text=text)] * 100
    with pytest.raises(ClusterUnreachableError, match="the Training Operator is down"):
        connect(server.url, [], Patience(webhook=0.1, first=0.01)).create(PYTORCHJOB, job("b"))


def test_a_name_that_is_taken_is_a_conflict_whatever_its_content(server: ApiServer) -> None:
    server.put(PYTORCHJOB, job())
    with pytest.raises(ClusterConflictError):
        connect(server.url).create(PYTORCHJOB, job())
    server.faults.append(Fault("POST", "pytorchjobs", 500))
    with pytest.raises(ClusterConflictError):
        connect(server.url).create(PYTORCHJOB, job(hash="beef"))


def test_without_a_hash_an_object_is_ours_if_it_says_what_we_said(server: ApiServer) -> None:
    plain: Object = {"metadata": {"name": "c"}, "data": {"k": ["v"]}}
    server.faults.append(Fault("POST", "configmaps", "reset", after=True))
    assert connect(server.url).create(CONFIG_MAP, plain)["metadata"]["uid"]
    server.faults.append(Fault("POST", "configmaps", "reset"))
    with pytest.raises(ClusterConflictError):
        connect(server.url).create(CONFIG_MAP, {**plain, "data": {"k": ["w"]}})


def test_many_who_create_one_name_at_once_make_one(server: ApiServer) -> None:
    def one(_: int) -> bool:
        try:
            return bool(connect(server.url).create(PYTORCHJOB, job()))
        except ClusterConflictError:
            return False

    with ThreadPoolExecutor(16) as pool:
        assert any(pool.map(one, range(64)))
    assert server.backend.mutations == [("create", "pytorchjobs", "a")]


def test_a_dry_run_says_so_and_checks_fields(server: ApiServer) -> None:
    cluster = connect(server.url)
    cluster.create(PYTORCHJOB, job(), dry_run=True)
    cluster.apply(PYTORCHJOB, job(), dry_run=True)
    assert server.backend.mutations == []
    assert all("dryRun=All" in path and "fieldValidation=Strict" in path for _, path in server.requests)


def test_lists_come_in_pages_and_again_when_these_grow_too_old(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trmctl.kube.PAGE", 10)
    for number in range(25):
        server.put(PYTORCHJOB, {"metadata": {"name": f"j{number}", "labels": {"even": str(number % 2)}}})
    cluster = connect(server.url)
    assert len(cluster.list(PYTORCHJOB)) == 25
    assert len(server.requests) == 3
    assert len(cluster.list(PYTORCHJOB, labels="even=0")) == 13
    server.compacted = 10_000
    found = cluster.list(PYTORCHJOB)
    assert len(found) == 25
    assert found[0]["kind"] == "PyTorchJob"
    assert "limit" not in server.requests[-1][1]


def watched(server: ApiServer, seconds: float = 1.0) -> list[tuple[str, str]]:
    cluster = connect(server.url)
    return [(one.type, one.object["metadata"]["name"]) for one in cluster.watch(PYTORCHJOB, seconds=seconds)]


def test_a_watch_goes_on_over_bookmarks_ends_cuts_and_versions_that_are_too_old(server: ApiServer) -> None:
    def too_old() -> None:
        server.put(PYTORCHJOB, {**job("b"), "spec": {"size": 3}})
        server.compacted = server.backend._counter

    server.watch_ends_after = 1
    server.put(PYTORCHJOB, job("a"))
    server.backend.script = [
        lambda: server.put(PYTORCHJOB, job("b")),
        lambda: server.faults.append(Fault("GET", "watch=", "reset")),
        lambda: server.put(PYTORCHJOB, {**job("b"), "spec": {"size": 2}}),
        too_old,
        lambda: server.remove(PYTORCHJOB, "a"),
    ]
    assert watched(server) == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "b"), ("MODIFIED", "b"), ("DELETED", "a")]


def test_what_went_away_while_nobody_watched_is_told_after_listing_again(server: ApiServer) -> None:
    def unseen() -> None:
        server.remove(PYTORCHJOB, "a")
        server.compacted = server.backend._counter

    server.put(PYTORCHJOB, job("a"))
    server.backend.script = [unseen]
    assert watched(server, 0.5) == [("ADDED", "a"), ("DELETED", "a")]


def test_ports_and_logs_of_pods_are_read(server: ApiServer) -> None:
    server.put(POD, {"metadata": {"name": "p"}})
    server.backend.ports[("p", 9400, "/metrics")] = "trm_train_step 1\n"
    cluster = connect(server.url)
    assert cluster.read_port("p", 9400, "/metrics") == "trm_train_step 1\n"
    assert server.requests[-1][1] == "/api/v1/namespaces/team/pods/p:9400/proxy/metrics"
    server.faults.append(Fault("GET", "proxy", 503, text="error trying to reach service"))
    with pytest.raises(ClusterUnreachableError):
        cluster.read_port("p", 9400, "/metrics")
    server.backend.logs["p"] = ["one"]
    assert list(cluster.log("p", "c", since=5.2, tail=3, stamps=True)) == ["2026-01-01T12:00:00Z one"]
    query = server.requests[-1][1]
    assert all(part in query for part in ("container=c", "sinceSeconds=5", "tailLines=3", "timestamps=true"))
    with pytest.raises(ClusterMissingError):
        list(cluster.log("nobody", "c", follow=True))


def test_a_kind_that_comes_later_is_seen(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = connect(server.url)
    server.backend.served -= {PYTORCHJOB}
    assert not cluster.serves(PYTORCHJOB)
    server.backend.served |= {PYTORCHJOB}
    assert not cluster.serves(PYTORCHJOB), "it is asked again too soon"
    monkeypatch.setattr("trmctl.kube.NOT_SERVED_FOR", -1.0)
    assert cluster.serves(PYTORCHJOB)
    server.backend.served -= {PYTORCHJOB}
    assert cluster.serves(PYTORCHJOB), "what was there is not asked for again"


def test_kinds_namespaces_and_rights_are_asked_for(server: ApiServer) -> None:
    cluster = connect(server.url)
    assert cluster.serves(PYTORCHJOB)
    assert not cluster.serves(JOBSET)
    assert cluster.serves(POD)
    server.backend.denied = {("create", "pods/exec")}
    assert not cluster.allowed("create", POD, subresource="exec")
    assert cluster.list(NODE) == []
    assert server.requests[-1][1].startswith("/api/v1/nodes?")
    cluster.list(POD, "*")
    assert server.requests[-1][1].startswith("/api/v1/pods?")
    with pytest.raises(ClusterMissingError):
        cluster.list(JOBSET)
    assert abs(cluster.server()[1]) < 5


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (403, 'pods is forbidden: User "me" cannot list resource "pods" in API group ""', ClusterForbiddenError),
        (403, 'admission webhook "validator" denied the request: spec cannot be so', ClusterRefusedError),
        (403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest"', ClusterRefusedError),
        (403, "exceeded quota: team", ClusterRefusedError),
        (401, "Unauthorized", ClusterForbiddenError),
        (404, "not found", ClusterMissingError),
        (409, "already exists", ClusterConflictError),
        (400, 'container "pytorch" in pod "P" is waiting to start: ContainerCreating', ClusterNotReadyError),
        (400, 'previous terminated container "pytorch" in pod "P" not found', ClusterMissingError),
        (400, 'strict decoding error: unknown field "spec.x"', ClusterRefusedError),
        (422, "is invalid: metadata.name", ClusterRefusedError),
        (500, "etcdserver: request timed out", ClusterUnreachableError),
        (500, WEBHOOK, ClusterUnreachableError),
    ],
)
def test_answers_become_errors_that_say_what_to_do(status: int, message: str, kind: type[Exception]) -> None:
    for text in (problem(status, "", message), f'{{"message": {message!r}}}'.replace("'", '"'), message):
        found = error(Answer(status, text, {}), "ask")
        assert type(found) is kind
        assert found.next


def test_answers_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in str(error(Answer(500, "\x1b[31mred", {}), "ask"))


def kubeconfig(url: str, path: Path) -> None:
    path.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: lab
clusters: [{{name: c, cluster: {{server: "{url}"}}}}]
users: [{{name: u, user: {{token: canary-token}}}}]
contexts:
- {{name: lab, context: {{cluster: c, user: u, namespace: research}}}}
- {{name: other, context: {{cluster: c, user: u}}}}
"""
    )


def test_a_kubeconfig_says_where_and_who(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    kubeconfig(server.url, path)
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    cluster = open_cluster()
    assert (cluster.namespace, cluster.where) == ("research", f"lab ({server.url})")
    assert open_cluster("other").namespace == "default"
    assert open_cluster("other", "mine").namespace == "mine"
    assert cluster.get(PYTORCHJOB, "none") is None
    assert server.headers["Authorization"] == "Bearer canary-token"
    assert server.headers["User-Agent"].startswith("trmctl/")
    with pytest.raises(ClusterNotConfiguredError) as raised:
        open_cluster("nowhere")
    assert "nowhere" in str(raised.value)
    assert "canary" not in str(raised.value)


def test_a_log_that_is_followed_ends_when_the_connection_is_cut() -> None:
    """Half a line is left out: whoever goes on asks for it again."""
    import socket

    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\none\ntwo\n\r\n4\r\nhalf\r\n")
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    cluster = connect(f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert list(cluster.log("p", "c", follow=True)) == ["one", "two"]
    thread.join()
    listener.close()


def test_what_is_no_api_server_is_said_to_be_none() -> None:
    backend = ApiServer()
    backend.faults.append(Fault("GET", "", 200, text="<html>log in</html>"))
    with backend, pytest.raises(ClusterUnreachableError, match="no Kubernetes API server"):
        connect(backend.url).list(PYTORCHJOB)

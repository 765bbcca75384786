"""What tests of rights call a right is what an API server would ask for, by the requests that the real client sends."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.helm.guarded import Right, asked
from tests.trmctl.api_server import ApiServer, kind_of
from tests.trmctl.test_kube import connect
from trmctl.cluster import CONFIG_MAP, POD, Cluster
from trmkit.errors import ClusterError

BODY = {"metadata": {"name": "a", "annotations": {}}, "data": {"x": "y"}}
VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}
CALLS: dict[str, tuple[Callable[[Cluster], object], set[Right]]] = {
    "get": (lambda c: c.get(CONFIG_MAP, "a"), asked("get", CONFIG_MAP, "")),
    "list": (lambda c: c.list(CONFIG_MAP), asked("list", CONFIG_MAP, "")),
    "create": (lambda c: c.create(CONFIG_MAP, BODY), asked("create", CONFIG_MAP, "")),
    "patch": (lambda c: c.patch(CONFIG_MAP, "there", {"data": {}}), asked("patch", CONFIG_MAP, "")),
    "delete": (lambda c: c.delete(CONFIG_MAP, "there"), asked("delete", CONFIG_MAP, "")),
    "watch": (lambda c: [*c.watch(POD, seconds=0.1)], asked("watch", POD, "")),
    "log": (lambda c: [*c.log("p", "main")], asked("log", POD, "")),
    "read_port": (lambda c: c.read_port("p", 9400, "/metrics"), asked("get", POD, "proxy")),
}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """Return a server with one ConfigMap, and a pod with a log and a port."""
    with ApiServer() as made:
        made.put(CONFIG_MAP, {"metadata": {"name": "there"}})
        made.put(POD, {"metadata": {"name": "p"}})
        made.backend.logs["p"] = ["hello"]
        made.backend.ports[("p", 9400, "/metrics")] = "trm_train_step 1\n"
        yield made


def wanted(method: str, address: str) -> Right:
    """Return the right that an API server asks for before it answers a request."""
    url = urlsplit(address)
    kind, _, name, rest = kind_of(url.path)
    part = re.match(r"/(\w+)", rest)
    plural = f"{kind.plural}/{part[1]}" if part else kind.plural
    verb = VERBS.get(method) or ("watch" if "watch" in parse_qs(url.query) else "get" if name else "list")
    return kind.group, plural, verb


@pytest.mark.parametrize("name", CALLS)
def test_a_call_needs_the_rights_that_it_is_said_to_need(name: str, server: ApiServer) -> None:
    call, rights = CALLS[name]
    call(connect(server.url))
    assert {wanted(*request) for request in server.requests} == rights


def test_applying_is_a_patch_that_may_create(server: ApiServer) -> None:
    connect(server.url).apply(CONFIG_MAP, BODY)
    sent = {wanted(*request) for request in server.requests}
    assert sent | {("", "configmaps", "create")} == asked("apply", CONFIG_MAP, "")


def test_running_a_command_is_a_get_that_newer_servers_call_a_create(server: ApiServer) -> None:
    with suppress(ClusterError):  # this server speaks no web sockets
        connect(server.url).execute("p", "main", ["true"])
    sent = {wanted(*request) for request in server.requests}
    assert sent == {("", "pods/exec", "get")}
    assert asked("create", POD, "exec") == sent | {("", "pods/exec", "create")}

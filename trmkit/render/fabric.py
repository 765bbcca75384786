"""Fast networks between machines, as data: what a pod asks for, and what NCCL is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fabric:
    """What one kind of network needs. `cluster.resources`, `env` and `annotations` of a run file win over all of it."""

    resources: Mapping[str, str] = field(default_factory=dict)
    """Resources of the device plugin, per pod; their names differ between clusters."""
    env: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    """What the cluster must have that a pod cannot bring."""


FABRICS: Mapping[str, Fabric] = {
    "none": Fabric(),
    "ib": Fabric(
        resources={"rdma/ib": "1"},
        env={"NCCL_IB_DISABLE": "0", "NCCL_NET_GDR_LEVEL": "SYS"},
        note="the nodes must let containers lock memory (LimitMEMLOCK=infinity): IPC_LOCK is not asked for, because"
        " PodSecurity `restricted` forbids it",
    ),
    "roce": Fabric(
        resources={"rdma/rdma_shared_device_a": "1"},
        env={"NCCL_IB_DISABLE": "0", "NCCL_IB_GID_INDEX": "3", "NCCL_NET_GDR_LEVEL": "SYS"},
        note="name the secondary network in cluster.annotations (k8s.v1.cni.cncf.io/networks), and the device plugin's"
        " resource in cluster.resources where it is another; the nodes must let containers lock memory",
    ),
    "efa": Fabric(
        resources={"vpc.amazonaws.com/efa": "1", "hugepages-2Mi": "5120Mi"},
        env={"FI_PROVIDER": "efa", "FI_EFA_USE_DEVICE_RDMA": "1", "FI_EFA_FORK_SAFE": "1"},
        note="the image must hold libfabric and aws-ofi-nccl; give cluster.resources the number of adapters of the"
        " machine (p4d: 4, p5: 32)",
    ),
    "tcpx": Fabric(
        env={"NCCL_CROSS_NIC": "0", "NCCL_NET_GDR_LEVEL": "PIX", "NCCL_SOCKET_IFNAME": "eth0"},
        annotations={"networking.gke.io/default-interface": "eth0"},
        note="the cluster must inject the receive daemon and NCCL's plugin; name the GPU networks in"
        " cluster.annotations (networking.gke.io/interfaces)",
    ),
}
"""The names that `cluster.fabric` takes."""

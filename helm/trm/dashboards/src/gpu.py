"""The dashboard GPU: what the GPUs of runs do, by DCGM, joined to the runs by pod."""

from grafana_foundation_sdk.builders import dashboard, stat
from grafana_foundation_sdk.models import dashboard as model

from helm.trm.dashboards.src.parts import (
    BLUE,
    FIRING,
    GREEN,
    RED,
    YELLOW,
    Ask,
    Board,
    Column,
    choices,
    coloured,
    curves,
    mark,
    number,
    of,
    rows,
    thresholds,
)

GPU = "{{run}} {{pod}} GPU {{gpu}}"
BY = "by (namespace, run, pod, node, gpu)"
MIB = "* 1048576"
"""DCGM counts memory in MiB."""


def joined(metric: str) -> str:
    """Return the metric of the GPUs of the chosen runs, with the labels of the run.

    The rule `gpu:trm_run:info` knows which pod has which GPU, wherever Prometheus put the pod's name.
    """
    return f"({metric} * on (UUID, GPU_I_ID) group_left (namespace, run, user, pod, node) gpu:trm_run:info{{RUN}})"


def each(metric: str) -> str:
    """Return the metric, a series a GPU."""
    return f"max {BY} {joined(metric)}"


def gpu_board() -> dashboard.Dashboard:
    """Return the dashboard."""
    board = Board(
        "trm-gpu",
        "TRM / GPU",
        "The GPUs that runs have, by NVIDIA's DCGM exporter: work, memory, power, heat, links, errors, stragglers.",
        "now-3h",
    )
    board.row("Now", *((panel, 4, 4) for panel in numbers()))
    add_work(board)
    add_state(board)
    add_links(board)
    add_stragglers(board)
    return board.build(choices(), [mark("Alert", of("ALERTS", FIRING, "alertname"), "red")])


def numbers() -> list[stat.Panel]:
    """Return the row of large numbers, left to right."""
    gpus = number(
        "GPUs",
        "GPUs that the chosen runs use, by DCGM.",
        "none",
        Ask("count(gpu:trm_run:info{RUN})", "GPUs"),
        line=True,
    )
    tensor = number(
        "Tensor cores at work",
        "Part of the time, in the mean over the GPUs. What a training is bought for; below 5 % is waste.",
        "percentunit",
        Ask("avg(gpu:trm_tensor_active:ratio{RUN})", "tensor cores"),
        line=True,
    )
    active = number(
        "At work at all",
        "Part of the time with any work on the GPU, in the mean over the GPUs. High here and low beside: the work is "
        "not of "
        "the kind that tensor cores do.",
        "percentunit",
        Ask("avg(gpu:trm_graphics_active:ratio{RUN})", "any work"),
        line=True,
    )
    power = number(
        "Power of all", "Of all GPUs.", "watt", Ask(f"sum({each('DCGM_FI_DEV_POWER_USAGE')})", "power"), line=True
    )
    hottest = number(
        "Hottest",
        "The hottest GPU. Clocks fall near 85 °C.",
        "celsius",
        Ask(f"max({each('DCGM_FI_DEV_GPU_TEMP')})", "hottest"),
        line=True,
    )
    errors = number(
        "GPUs with new errors",
        "GPUs whose last Xid error came within half an hour. The table below has its number.",
        "none",
        Ask(
            f"count({each('(DCGM_FI_DEV_XID_ERRORS > 0 and changes(DCGM_FI_DEV_XID_ERRORS[30m]) > 0)')}) or vector(0)",
            "errors",
        ),
    )
    return [
        gpus.thresholds(thresholds((None, BLUE))),
        tensor.decimals(1).thresholds(thresholds((None, RED), (0.05, YELLOW), (0.2, GREEN))),
        active.decimals(1).thresholds(thresholds((None, RED), (0.2, YELLOW), (0.6, GREEN))),
        power,
        hottest.thresholds(thresholds((None, GREEN), (80, YELLOW), (87, RED))),
        errors.thresholds(thresholds((None, GREEN), (1, RED))),
    ]


def add_work(board: Board) -> None:
    """Add how busy the GPUs are, and with what."""
    asked = [
        (
            "Tensor cores",
            "Part of the time that the tensor cores work. Small models reach 5 to 40 %; a fall within a run is a slow "
            "machine or "
            "slow data.",
            "gpu:trm_tensor_active:ratio{RUN}",
        ),
        (
            "Any work",
            "Part of the time with any work (graphics engine active; the driver's utilisation where DCGM does not "
            "profile). Gaps "
            "are waiting: for data, for other machines, for a checkpoint.",
            "gpu:trm_graphics_active:ratio{RUN}",
        ),
        (
            "Memory bus",
            "Part of the time that data goes to or from the GPU's memory. Near 80 %: the memory is the limit, not the "
            "cores.",
            each("DCGM_FI_PROF_DRAM_ACTIVE"),
        ),
    ]
    board.row(
        "Work",
        *((curves(title, help, "percentunit", Ask(expr, GPU)).min(0).max(1), 8, 9) for title, help, expr in asked),
    )


def add_state(board: Board) -> None:
    """Add memory, power, heat and clocks."""
    memory = curves(
        "Memory in use",
        "Of each GPU, by the driver: with what PyTorch holds and does not use.",
        "bytes",
        Ask(f"{each('DCGM_FI_DEV_FB_USED')} {MIB}", GPU),
    )
    full = curves(
        "Memory in use, as a part",
        "Of what the GPU has. Much free memory: a larger batch would fit.",
        "percentunit",
        Ask(
            f"{each('DCGM_FI_DEV_FB_USED')} / ({each('DCGM_FI_DEV_FB_USED')} + {each('DCGM_FI_DEV_FB_FREE')})",
            GPU,
        ),
    )
    power = curves(
        "Power", "Of each GPU. Far below its limit: it waits.", "watt", Ask(each("DCGM_FI_DEV_POWER_USAGE"), GPU)
    )
    heat = curves(
        "Temperature",
        "Of the chip and of its memory. Clocks fall near 85 °C, and one hot GPU slows all machines of its run.",
        "celsius",
        Ask(each("DCGM_FI_DEV_GPU_TEMP"), GPU),
        Ask(each("DCGM_FI_DEV_MEMORY_TEMP"), GPU + " memory"),
    )
    clocks = curves(
        "Clock",
        "Of the cores. One below the others of its kind is throttled by heat or power.",
        "hertz",
        Ask(f"{each('DCGM_FI_DEV_SM_CLOCK')} * 1e6", GPU),
    )
    per_joule = curves(
        "Rows for a joule",
        "Rows of training, each counted once a supervision step, for the energy of the run's GPUs.",
        "none",
        Ask(
            "sum by (namespace, run) (run:trm_train_rows:rate5m{RUN}) / "
            f"sum by (namespace, run) {joined('DCGM_FI_DEV_POWER_USAGE')}"
        ),
    )
    board.row(
        "Memory, power and heat",
        (memory.min(0), 8, 8),
        (full.min(0).max(1), 8, 8),
        (per_joule.min(0), 8, 8),
        (power.min(0), 8, 8),
        (heat, 8, 8),
        (clocks, 8, 8),
    )


def add_links(board: Board) -> None:
    """Add what goes over the links, and errors."""
    sent = curves(
        "PCIe",
        "Bytes a second to (received) and from (sent) the GPU. Training whose data lies on the GPU needs little.",
        "Bps",
        Ask(each("DCGM_FI_PROF_PCIE_TX_BYTES"), GPU + " sent"),
        Ask(each("DCGM_FI_PROF_PCIE_RX_BYTES"), GPU + " received"),
    )
    nvlink = curves(
        "NVLink",
        "Bytes a second between the GPUs of a machine: the gradients. Empty where a machine has one GPU, or the "
        "exporter does "
        "not count DCGM_FI_PROF_NVLINK_TX_BYTES (it is not in its default list).",
        "Bps",
        Ask(each("DCGM_FI_PROF_NVLINK_TX_BYTES"), GPU + " sent"),
        Ask(each("DCGM_FI_PROF_NVLINK_RX_BYTES"), GPU + " received"),
    )
    errors = rows(
        "GPUs and their last error",
        "Xid of the last error since the driver started, 0 for none. 13, 31 and 43 are mostly the program's; 48, 63, "
        "64, 74, 79, "
        "94 and 95 mean the hardware: drain the machine. docs/runbooks/gpu-error.md says more.",
        [
            Column("run", "Run"),
            Column("node", "Machine"),
            Column("pod", "Pod"),
            Column("gpu", "GPU"),
            Column("modelName", "Model"),
            Column("Value", "Xid", "none", coloured((None, GREEN), (1, RED))),
        ],
        Ask(f"max by (namespace, run, pod, node, gpu, modelName) {joined('DCGM_FI_DEV_XID_ERRORS')}"),
    )
    errors.override_by_name("Xid", [model.DynamicConfigValue("noValue", "0")])
    board.row("Links and errors", (sent.min(0), 8, 8), (nvlink.min(0), 8, 8), (errors, 8, 8))


def add_stragglers(board: Board) -> None:
    """Add which GPU and which machine holds the others of its run up."""
    behind = curves(
        "Behind the others of its run",
        "Tensor cores at work, as a multiple of the median of the run's GPUs. All near 1 is well; one above the "
        "others has "
        "more work for each of its rows, one below waits or is throttled.",
        "none",
        Ask(
            "gpu:trm_tensor_active:ratio{RUN} / on (namespace, run) group_left () "
            "(quantile by (namespace, run) (0.5, gpu:trm_tensor_active:ratio{RUN}) > 0)",
            GPU,
        ),
    )
    slow = curves(
        "Slowest machine",
        "Own work of the slowest machine of a run, as a multiple of the median: the others wait for the rest.",
        "none",
        Ask("run:trm_own_work:max_over_median5m{RUN}"),
    )
    waits = curves(
        "Waiting for others, by machine",
        "Share of the time in the all-reduce. The machine that waits least is the one that the others wait for.",
        "percentunit",
        Ask(
            "max by (namespace, run, pod, node) (rate(trm_time_seconds_total{RUN, "
            'phase="all_reduce"}[$__rate_interval]))',
            "{{run}} {{node}} {{pod}}",
        ),
    )
    board.row("Stragglers", (behind.min(0), 8, 8), (slow.min(1), 8, 8), (waits.min(0).max(1), 8, 8))

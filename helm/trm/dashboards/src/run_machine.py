"""The lower half of the dashboard Run: what the machines do: speed, memory, checkpoints, store."""

from helm.trm.dashboards.src.parts import (
    GREEN,
    NOUGHT,
    RED,
    Ask,
    Board,
    answers,
    as_unit,
    curves,
    number,
    of,
    on_the_right,
    thresholds,
)

NODE = "{{run}} {{node}} {{pod}}"


def add_machine_rows(board: Board) -> None:
    """Add speed, where time goes, memory, and checkpoints."""
    add_speed(board)
    add_time(board)
    add_memory(board)
    add_checkpoints(board)
    add_store(board)


def add_speed(board: Board) -> None:
    """Add throughput and utilisation."""
    per_second = curves(
        "Rows a second",
        "Rows worked on by all machines, each counted once a supervision step. It falls during evaluations.",
        "ops",
        Ask("run:trm_train_rows:rate5m{RUN}"),
    )
    updates = curves(
        "Updates a second",
        "Updates of the weights; all machines make the same ones.",
        "ops",
        Ask("run:trm_train_updates:rate5m{RUN}"),
    )
    per_gpu = curves(
        "Rows a second and GPU",
        "The same for each GPU: it should stay as it was when a run gets more of them. Empty without GPUs.",
        "ops",
        Ask("run:trm_train_rows:rate5m{RUN} / (run:trm_machine_gpus:sum{RUN} > 0)"),
    )
    mfu = curves(
        "Model FLOPs utilisation",
        "Operations of the model a second, as a part of the peak of all machines. Published runs of small models: 5 "
        "to 40 %. "
        "Empty where no peak is known.",
        "percentunit",
        Ask(of("trm_train_mfu_ratio")),
    )
    flops = curves(
        "Operations a second",
        "Operations of the model's training steps on all machines, a multiply-add being two, and the peak of the "
        "devices.",
        "flops",
        Ask("run:trm_model_flops:rate5m{RUN}", "{{run}} done"),
        Ask("sum by (namespace, run, basis) (trm_machine_peak_flops{RUN})", "{{run}} peak ({{basis}})"),
        log=True,
    )
    board.row(
        "Speed",
        (per_second.min(0), 8, 8),
        (updates.min(0), 8, 8),
        (per_gpu.min(0), 8, 8),
        (mfu.min(0), 12, 7),
        (flops, 12, 7),
    )


def add_time(board: Board) -> None:
    """Add where the time of training goes, and which machine holds the others up."""
    split = curves(
        "Where the time of $run goes",
        "Share of the machines' time, in the mean over them. `all_reduce` is waiting for the slowest machine and "
        "sending "
        "gradients; `data` is waiting for rows; `other` should be nearly nothing.",
        "percentunit",
        Ask(
            "run:trm_time_seconds:rate5m{RUN} / on (namespace, run) group_left "
            "sum by (namespace, run) (run:trm_time_seconds:rate5m{RUN})",
            "{{phase}}",
        ),
        stacked=True,
    )
    parts = curves(
        "What an update of $run is made of",
        "Seconds of each part for one update, checkpoints and evaluations shared out over the updates.",
        "s",
        Ask(
            "run:trm_time_seconds:rate5m{RUN} / on (namespace, run) group_left run:trm_train_updates:rate5m{RUN}",
            "{{phase}}",
        ),
        stacked=True,
    )
    step = curves(
        "Time of an update, by machine",
        "Without checkpoints and evaluations. All machines finish together: see the next panel for who is late.",
        "s",
        Ask(of("trm_train_step_seconds", by="pod, node"), NODE),
    )
    own = curves(
        "Own work, by machine",
        "Share of the time that a machine works for itself (data, forward, backward, optimizer) and does not wait for "
        "others. The one highest up is the straggler.",
        "percentunit",
        Ask("machine:trm_own_work:ratio5m{RUN}", NODE),
    )
    stragglers = curves(
        "Stragglers",
        "Own work of the slowest machine, as a multiple of the median. 1: all alike. 1.2: the others wait a sixth of "
        "the "
        "time.",
        "none",
        Ask("run:trm_own_work:max_over_median5m{RUN}"),
    )
    split.repeat("run").repeat_direction("h").max_per_row(2)
    parts.repeat("run").repeat_direction("h").max_per_row(2)
    board.row("Where the time goes", (split.min(0).max(1), 24, 9))
    board.row("What an update is made of", (parts.min(0), 24, 9))
    board.row("Machines", (step.min(0), 8, 8), (own.min(0), 8, 8), (stragglers.min(1), 8, 8))


def add_memory(board: Board) -> None:
    """Add memory of machines and GPUs."""
    host = curves(
        "Memory",
        "Of each machine's container, and what it may use at most: beyond that it is killed (exit code 137).",
        "bytes",
        Ask(of("trm_memory_used_bytes", by="pod, node"), NODE + " used"),
        Ask(of("trm_memory_limit_bytes", how="min"), "{{run}} limit"),
    )
    gpu = curves(
        "GPU memory",
        "Of each machine's first process: in tensors (allocated), held by PyTorch (reserved), the most so far (peak), "
        "and "
        "what the GPU has. A peak far below it leaves room for a larger batch. Empty without GPUs.",
        "bytes",
        Ask(of("trm_gpu_memory_bytes", by="kind"), "{{run}} {{kind}}"),
        Ask(of("trm_gpu_memory_limit_bytes", how="min"), "{{run}} limit"),
    )
    board.row("Memory of machines and GPUs", (host.min(0), 12, 8), (gpu.min(0), 12, 8))


def add_checkpoints(board: Board) -> None:
    """Add how old checkpoints are, and what they take."""
    age = curves(
        "Age of the newest checkpoint",
        "A saw whose teeth are as long as the run file plans (the flat line). Above twice that, an alert fires.",
        "s",
        Ask("time() - " + of("trm_checkpoint_timestamp_seconds"), "{{run}} age"),
        Ask(of("trm_checkpoint_interval_seconds") + " > 0", "{{run}} planned"),
    )
    behind = curves(
        "Updates at risk",
        "Updates since the newest checkpoint: they would be made again.",
        "short",
        Ask(of("trm_train_step") + " - " + of("trm_checkpoint_step")),
    )
    saving = curves(
        "Time to save",
        "What saving the newest checkpoint took, and its size on the disk. Training stands still meanwhile.",
        "s",
        Ask(of("trm_checkpoint_duration_seconds"), "{{run}} time"),
        Ask(of("trm_checkpoint_bytes"), "{{run}} size"),
    )
    saving.override_by_regexp("/.* size/", [as_unit("bytes"), on_the_right()])
    saved = curves(
        "Checkpoints saved and failed",
        "Within the last hour. Failed ones: a full disk, a volume that went away.",
        "none",
        Ask(of("trm_checkpoint_saved_total", over="increase 1h"), "{{run}} saved"),
        Ask(
            of("trm_checkpoint_failures_total", over="increase 1h") + " or " + NOUGHT,
            "{{run}} failed",
        ),
    )
    board.row(
        "Checkpoints",
        (age.min(0), 6, 8),
        (behind.min(0), 6, 8),
        (saving.min(0), 6, 8),
        (saved.min(0), 6, 8),
    )


def add_store(board: Board) -> None:
    """Add how checkpoints get into the store."""
    up = number(
        "Store",
        "Whether the store answers. While it does not, training goes on and checkpoints wait on the pod's disk.",
        "none",
        Ask(of("trm_store_up", how="min")),
    )
    waiting = curves(
        "Waiting for the store",
        "Checkpoints that are not published yet, and their size. One or two are usual; more and more: the store is "
        "slower "
        "than the run saves, or away.",
        "bytes",
        Ask(of("trm_store_pending_bytes"), "{{run}} size"),
        Ask(of("trm_store_pending_checkpoints"), "{{run}} checkpoints"),
    )
    waiting.override_by_regexp("/.* checkpoints/", [as_unit("none"), on_the_right()])
    published = curves(
        "Since the last publication",
        "Time since the newest checkpoint arrived in the store, or publishing began: so much is lost with the pod's "
        "disk.",
        "s",
        Ask("time() - " + of("trm_store_published_timestamp_seconds")),
    )
    failures = curves(
        "Failed attempts to publish",
        "Within five minutes; each is tried again.",
        "none",
        Ask(of("trm_store_failures_total", over="increase 5m")),
    )
    up.mappings([answers()]).thresholds(thresholds((None, RED), (1, GREEN)))
    board.row(
        "On the way to the store",
        (up, 3, 8),
        (waiting.min(0), 7, 8),
        (published.min(0), 7, 8),
        (failures.min(0), 7, 8),
    )

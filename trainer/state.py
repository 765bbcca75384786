"""Everything that training changes: one update of it, and its way into and out of a checkpoint.

Legend: `G` rows over all processes (the global batch), `B` rows of this process.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer import optim
from trainer.checkpoint import Checkpoint, Files, understood
from trainer.clock import Clock
from trainer.data.feed import Feed
from trainer.data.store import Metadata
from trainer.dist import World, seed_all
from trainer.models import TrainableModel
from trainer.models import build as build_model
from trainer.models.base import Batch, Carry, Draws, SparseEmbedding
from trainer.optim.ema import WeightAverage
from trainer.optim.schedule import learning_rate
from trainer.optim.sign_sgd import SparseSignSGD
from trmkit.errors import CheckpointError, SpecError
from trmkit.spec.base import section_hash
from trmkit.spec.run import RunFile


def total_steps(run: RunFile, data: Metadata) -> int:
    """Return the updates of the whole training. SpecError: there would be none."""
    if run.train.steps is not None:
        return run.train.steps
    if run.train.tokens is not None:
        return math.ceil(run.train.tokens / (run.train.batch_size * data.seq_len))
    rows = (run.train.epochs or 0) * data.total_groups * data.mean_puzzle_examples
    if rows < run.train.batch_size:
        raise SpecError(
            f"train.epochs: {run.train.epochs} x {data.total_groups} groups x {data.mean_puzzle_examples:.3g} rows"
            f" do not fill one batch of {run.train.batch_size}",
            next="raise train.epochs, lower train.batch_size, or give train.steps instead",
        )
    return int(rows / run.train.batch_size)


def make_model(run: RunFile, data: Metadata, device: torch.device) -> TrainableModel:
    """Return the freshly initialised model of `run` for `data`, on `device`."""
    if device.type == "mps" and run.model.needs_float64:
        raise SpecError("model.loss_dtype: MPS has no float64", next="--set model.loss_dtype=float32")
    seed_all(run.seed)
    model = build_model(run.model, data.vocab_size, data.seq_len, data.num_puzzle_identifiers)
    return model.to(device)


@dataclass
class Update:
    """What one update reports, still on the device."""

    metrics: dict[str, Tensor]
    """Sums over this process's rows that became final, their `count`, and sums of losses over all its rows."""
    grad_norm: Tensor
    lr: float
    norms: dict[str, Tensor] = field(default_factory=dict)
    """Of an update that is looked at: `weight_norm`, `update_norm`, and `ema_gap`, where there is an average."""


class TrainState:
    """Model, average, optimizers, source of rows, rows being worked on, and how many updates were made."""

    def __init__(self, run: RunFile, model: TrainableModel, feed: Feed, world: World, total: int) -> None:
        self.run, self.model, self.feed, self.world, self.total = run, model, feed, world, total
        self.step = 0
        self.seconds = 0.0
        self.evaluated = 0
        self.best: dict[str, Any] | None = None
        self.clock = Clock.of(world.device)
        self.row_flops = 0
        """Operations of one supervised step of a row; 0: nobody has counted them."""
        share = run.train.batch_size // world.size
        if run.train.batch_size % (world.size * run.train.accumulate):
            raise SpecError(
                f"train.batch_size: {run.train.batch_size} cannot be divided over {world.size} processes"
                f" in {run.train.accumulate} parts",
                next="choose a batch size that is a multiple of both",
            )
        size = share // run.train.accumulate
        self.parts = [slice(at, at + size) for at in range(0, share, size)]
        self.optimizer = optim.build(model, run.train)
        tables = [module for module in model.modules() if isinstance(module, SparseEmbedding)]
        self.tables = [SparseSignSGD(table, run.train.puzzle_emb_weight_decay, world) for table in tables]
        self.ema = WeightAverage(model, run.train.ema) if run.train.ema else None
        self.carries: list[Carry | None] = [None] * len(self.parts)
        self.bad_step = torch.zeros((), dtype=torch.int64, device=world.device)

    def update(self, *, look: bool = False) -> Update:
        """Make one update of the weights; nothing waits for the device. Take its norms if somebody wants to `look`."""
        self.step += 1
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        metrics: dict[str, Tensor] = {}
        for call in range(self.model.calls_per_update):
            self._supervise((self.step - 1) * self.model.calls_per_update + call, metrics)
        with self.clock.phase("all_reduce"):
            grads = self._reduce_gradients()
        with self.clock.phase("optimizer"):
            norm = self._clip(grads)
            self.bad_step = torch.where((self.bad_step == 0) & ~torch.isfinite(norm), self.step, self.bad_step)
            lr = self._learning_rate(self.run.train.lr)
            weights = list(self.model.parameters())
            before = [p.detach().clone() for p in weights] if look else []
            self._move(lr)
            norms = look_at(before, weights, list(self.ema.shadow.values()) if self.ema else []) if look else {}
        return Update(metrics, norm, lr, norms)

    def _move(self, lr: float) -> None:
        """Change weights, puzzle tables and the average."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        frozen = self.step <= self.run.train.freeze.trunk_steps
        if not frozen:
            self.optimizer.step()
        for table in self.tables:
            table.step(self._learning_rate(self.run.train.puzzle_emb_lr))
        if self.ema and not frozen:
            self.ema.update()

    def _learning_rate(self, peak: float) -> float:
        cfg = self.run.train
        return learning_rate(
            self.step, peak=peak, warmup=cfg.warmup_steps, total=self.total, min_ratio=cfg.lr_min_ratio
        )

    def _supervise(self, call: int, metrics: dict[str, Tensor]) -> None:
        """Work one supervised step on every part of the batch and add up gradients and metrics."""
        total = self.run.train.batch_size
        first = self.world.rows(total).start
        with self.clock.phase("data"):
            batch = self.feed.next(self._free())
        for index, part in enumerate(self.parts):
            rows = slice(first + part.start, first + part.stop)
            with self.clock.phase("forward"):
                draws = Draws(self.run.seed, call, rows, total, self.world.device)
                step = self.model(self.carries[index], _cut(batch, part), draws)
            with self.clock.phase("backward"):
                (step.loss / total).backward()
            self.carries[index] = step.carry
            for name, value in {"loss": step.loss.detach(), **step.metrics}.items():
                metrics[name] = metrics[name] + value if name in metrics else value

    def _free(self) -> Tensor | None:
        carries = [carry for carry in self.carries if carry is not None]
        return torch.cat([carry["halted"] for carry in carries]) if carries else None

    def _reduce_gradients(self) -> list[Tensor]:
        """Sum the gradients over the processes and return them.

        One flat all-reduce rather than DDP: the loss is already divided by the global batch, the puzzle table lives
        outside autograd's parameters, and 7M gradients fit one message; rows that halt unevenly cannot make it hang.
        """
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        if self.world.size > 1:
            flat = torch.cat([grad.flatten() for grad in grads])
            self.world.sum(flat)
            parts = torch.split(flat, [grad.numel() for grad in grads])
            for grad, part in zip(grads, parts, strict=True):
                grad.copy_(part.view_as(grad))
        return grads

    def _clip(self, grads: list[Tensor]) -> Tensor:
        """Clip the gradients to `grad_clip`; return their norm before."""
        norm = joint_norm(grads)
        if self.run.train.grad_clip is not None:
            torch._foreach_mul_(grads, (self.run.train.grad_clip / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def capture(self) -> tuple[Files, Files]:
        """Return what the first process saves, and what every process saves of its own."""
        tensors, numbers = _optimizer_state(self.model, self.optimizer)
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "evaluated": self.evaluated,
            "best": self.best,
            "made_by": made_by(self.run),
            "batch_size": self.run.train.batch_size,
            "processes": self.world.size,
            "stream": self.feed.state(),
            "optimizer": numbers,
        }
        shared: Files = {
            "model.safetensors": self.model.state_dict(),
            "optimizer.safetensors": tensors,
            "state.json": state,
        }
        if self.ema:
            shared["ema.safetensors"] = dict(self.ema.shadow)
        rank = f"rank{self.world.rank}"
        return shared, {f"{rank}.safetensors": self._joined_carry() | _torch_rng(), f"{rank}.json": _other_rng()}

    def restore(self, checkpoint: Checkpoint) -> list[str]:
        """Go on from `checkpoint`; return what is not as it was, in words. CheckpointError: it makes no sense here."""
        with understood(checkpoint):
            return self._restore(checkpoint, checkpoint.json("state.json"))

    def _restore(self, checkpoint: Checkpoint, state: dict[str, Any]) -> list[str]:
        _refuse_another_experiment(self.run, state, checkpoint)
        device = str(self.world.device)
        load_weights(self.model, checkpoint.tensors("model.safetensors", device), checkpoint)
        _restore_optimizer(self.model, self.optimizer, checkpoint.tensors("optimizer.safetensors", device), state)
        self.step, self.seconds = _number(state, "step"), float(state["seconds"])
        self.evaluated, self.best = _number(state, "evaluated"), _best(state["best"])
        if self.step != checkpoint.step:
            raise ValueError(f"its state is of step {self.step}")
        self.feed.restore(state["stream"])
        return [*self._restore_average(checkpoint, device), *self._restore_rows(checkpoint, state)]

    def _restore_average(self, checkpoint: Checkpoint, device: str) -> list[str]:
        saved = "ema.safetensors" in checkpoint.files
        if self.ema:
            source = checkpoint.tensors("ema.safetensors" if saved else "model.safetensors", device)
            for name, shadow in self.ema.shadow.items():
                shadow.copy_(source[name])
            return [] if saved else ["the average of the weights starts now: there was none"]
        return ["dropped the average of the weights: train.ema is 0"] if saved else []

    def _joined_carry(self) -> dict[str, Tensor]:
        carries = [carry for carry in self.carries if carry is not None]
        return {f"carry/{name}": torch.cat([carry[name] for carry in carries]) for name in (carries or [{}])[0]}

    def _restore_rows(self, checkpoint: Checkpoint, state: dict[str, Any]) -> list[str]:
        dropped = []
        if state["batch_size"] == self.run.train.batch_size:
            rows = [checkpoint.tensors(f"rank{rank}.safetensors") for rank in range(state["processes"])]
            names = [name.removeprefix("carry/") for name in rows[0] if name.startswith("carry/")]
            mine = self.world.rows(state["batch_size"])
            whole = {name: torch.cat([part[f"carry/{name}"] for part in rows]) for name in names}
            if whole:
                self._refuse_another_carry(whole)
                whole = {name: value[mine] for name, value in whole.items()}
                here = {name: value.to(self.world.device) for name, value in whole.items()}
                self.carries = [_cut(here, part) for part in self.parts]
        else:
            sizes = f"the batch has {self.run.train.batch_size} rows, it had {state['batch_size']}"
            dropped.append(f"dropped the rows being worked on: {sizes}")
        if state["processes"] == self.world.size:
            rank = f"rank{self.world.rank}"
            _restore_rng(checkpoint.tensors(f"{rank}.safetensors"), checkpoint.json(f"{rank}.json"))
        else:
            dropped.append(
                f"dropped the state of the global random generators: there are {self.world.size} processes instead of"
                f" {state['processes']} (rows, data order and draws go on as they were)"
            )
        return dropped

    def _refuse_another_carry(self, carry: Carry) -> None:
        """ValueError: a tensor of `carry`, of all rows, is missing, or of another shape or type than the model's."""
        wanted = self.model.initial_carry(self.model.blank_batch(1, self.world.device)) or {}
        shapes = {name: (self.run.train.batch_size, *value.shape[1:], value.dtype) for name, value in wanted.items()}
        found = {name: (*value.shape, value.dtype) for name, value in carry.items()}
        if shapes != found:
            wrong = sorted(name for name in shapes | found if shapes.get(name) != found.get(name))[0]
            raise ValueError(f"the rows being worked on: {wrong} is {found.get(wrong)} instead of {shapes.get(wrong)}")


def joint_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the norm of all entries of `tensors` together."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))
    return norm


@torch.no_grad()
def look_at(before: list[Tensor], weights: Sequence[Tensor], average: list[Tensor]) -> dict[str, Tensor]:
    """Return the norms of an update that made the weights `before` into `weights`, whose average is `average`."""
    now = [p.detach() for p in weights]
    size = joint_norm(now)
    norms = {"weight_norm": size, "update_norm": joint_norm(torch._foreach_sub(now, before))}
    if average:
        norms["ema_gap"] = joint_norm(torch._foreach_sub(now, average)) / size.clamp(min=1e-12)
    return norms


def _number(state: dict[str, Any], name: str) -> int:
    value = state[name]
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} is {value!r}")
    return value


def _best(value: Any) -> dict[str, Any] | None:
    if value is None or (isinstance(value, dict) and _number(value, "step") >= 0 and float(value["value"]) >= 0):
        return value
    raise ValueError(f"best is {value!r}")


def made_by(run: RunFile) -> dict[str, str]:
    """Return what must be the same for a checkpoint to be gone on with."""
    names = {"model": section_hash(run.model), "data": section_hash(run.data), "seed": str(run.seed)}
    return names | {"train.optimizer": run.train.optimizer}


def _refuse_another_experiment(run: RunFile, state: dict[str, Any], checkpoint: Checkpoint) -> None:
    wrong = [name for name, value in made_by(run).items() if state["made_by"].get(name) != value]
    if wrong:
        raise CheckpointError(
            f"{checkpoint.path}: was made with another {', '.join(wrong)}",
            next="use the run file that it was made with, or another name to start anew",
        )


def load_weights(model: torch.nn.Module, tensors: dict[str, Tensor], checkpoint: Checkpoint) -> None:
    """Load `tensors` into `model`. CheckpointError: names or shapes are another model's."""
    wanted = {name: _kind(value) for name, value in model.state_dict().items()}
    found = {name: _kind(value) for name, value in tensors.items()}
    if wanted != found:
        differing = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
        raise CheckpointError(
            f"{checkpoint.path}: belongs to another model; {differing[0]} is {found.get(differing[0], 'missing')}"
            f" instead of {wanted.get(differing[0], 'absent')}, and {len(differing) - 1} more differ",
            next="use the run file that the checkpoint was made with",
        )
    model.load_state_dict(tensors)


def _kind(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"


def _cut(batch: Batch, part: slice) -> Batch:
    return {name: value[part] for name, value in batch.items()}


def _optimizer_state(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], dict[str, int]]:
    tensors, numbers = {}, {}
    for name, p in model.named_parameters():
        for key, value in optimizer.state.get(p, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{name}/{key}"] = value
            else:
                numbers[f"{name}/{key}"] = value
    return tensors, numbers


def _restore_optimizer(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], state: dict[str, Any]
) -> None:
    params = dict(model.named_parameters())
    for path, value in {**tensors, **state["optimizer"]}.items():
        name, _, key = path.rpartition("/")
        on_cpu = key == "step" and isinstance(value, Tensor)  # where torch keeps it, to read it without waiting
        moment = isinstance(value, Tensor) and key != "step"
        if moment and (value.shape != params[name].shape or not value.is_floating_point()):
            raise ValueError(f"{path} is {_kind(value)}, its weight is {_kind(params[name])}")
        optimizer.state[params[name]][key] = value.cpu() if on_cpu else value


def _torch_rng() -> dict[str, Tensor]:
    states = {"rng/torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["rng/cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        states["rng/mps"] = torch.mps.get_rng_state()
    return states


def _other_rng() -> dict[str, Any]:
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {"python": random.getstate(), "numpy": [kind, np.asarray(keys).tolist(), position, has_gauss, gauss]}


def _restore_rng(tensors: dict[str, Tensor], others: dict[str, Any]) -> None:
    torch.set_rng_state(tensors["rng/torch"])
    if torch.cuda.is_available() and "rng/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng/cuda"])
    if torch.backends.mps.is_available() and "rng/mps" in tensors:
        torch.mps.set_rng_state(tensors["rng/mps"])
    version, internal, gauss = others["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = others["numpy"]
    np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), *rest))

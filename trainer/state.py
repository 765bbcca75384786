"""Everything that training changes: one update of it, and its way into and out of a checkpoint.

Legend: `G` rows over all processes (the global batch), `B` rows of this process.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trainer import optim
from trainer.checkpoint import Checkpoint, Files, understood
from trainer.clock import Clock
from trainer.data.cutting import cut
from trainer.data.feed import Feed, Lane, parts_of
from trainer.data.store import Metadata
from trainer.depth import Depth, depth_at, pursue
from trainer.dist import World, seed_all
from trainer.generators import other_generators, restore_generators, torch_generators
from trainer.models import TrainableModel
from trainer.models import build as build_model
from trainer.models.base import Batch, Carry, Draws, SparseEmbedding
from trainer.moments import moments_of, restore_moments
from trainer.optim.ema import WeightAverage
from trainer.optim.schedule import learning_rate
from trainer.optim.sign_sgd import SparseSignSGD
from trainer.origin import load_weights, made_by, refuse_what_differs
from trainer.sharding import collected, fill, is_shared, locals_of, whole
from trmkit.errors import SpecError
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
    pursue(model, run)
    return model.to(device)


def make_twin(run: RunFile, data: Metadata, device: torch.device) -> TrainableModel:
    """Return a model to load the weights of `run` into, without touching the generators of this process."""
    with torch.random.fork_rng(devices=[]):
        return build_model(run.model, data.vocab_size, data.seq_len, data.num_puzzle_identifiers).to(device)


@dataclass
class Update:
    """What one update reports, still on the device."""

    metrics: dict[str, Tensor]
    """Sums over this process's rows that became final, their `count`, and sums of losses over all its rows."""
    grad_norm: Tensor
    lr: float
    row_flops: int
    """Operations of one supervised step of a row in this update; 0: nobody counts them."""
    norms: dict[str, Tensor] = field(default_factory=dict)
    """Of an update that is looked at: `weight_norm`, `update_norm`, and `ema_gap`, where there is an average."""


class TrainState:
    """Model, average, optimizers, source of rows, rows being worked on, and how many updates were made."""

    def __init__(
        self,
        run: RunFile,
        model: TrainableModel,
        feed: Feed,
        world: World,
        total: int,
        twin: Callable[[], TrainableModel] | None = None,
        reader: str = "",
    ) -> None:
        """Begin; of a model that is shared among the processes, `twin` makes a whole one to be scored.

        `reader` is the identity of what read the rows' text, if they have any.
        """
        self.run, self.model, self.feed, self.world, self.total = run, model, feed, world, total
        self.shared = any(is_shared(p) for p in model.parameters())
        """Whether every process holds a share of the weights, rather than all of them."""
        self._twin, self._reader = twin, reader
        self.step = 0
        self.seconds = 0.0
        self.evaluated = 0
        self.best: dict[str, Any] | None = None
        self.clock = Clock.of(world.device)
        self.count: Callable[[Depth | None], int] = lambda _: 0
        """Says what operations one supervised step of a row takes at some depth; 0: nobody counts them."""
        if run.train.batch_size % (world.size * run.train.accumulate):
            raise SpecError(
                f"train.batch_size: {run.train.batch_size} cannot be divided over {world.size} processes"
                f" in {run.train.accumulate} parts",
                next="choose a batch size that is a multiple of both",
            )
        self.parts = parts_of(feed.lanes, world.rank, world.size, run.train.accumulate)
        self.optimizer = optim.build(model, run.train)
        tables = [module for module in model.modules() if isinstance(module, SparseEmbedding)]
        self.tables = [SparseSignSGD(table, run.train.puzzle_emb_weight_decay, world) for table in tables]
        self.ema = WeightAverage(model, run.train.ema, warmup=run.train.ema_warmup) if run.train.ema else None
        self.carries: list[Carry | None] = [None] * len(self.parts)
        self.bad_step = torch.zeros((), dtype=torch.int64, device=world.device)

    def update(self, *, look: bool = False) -> Update:
        """Make one update of the weights; nothing waits for the device. Take its norms if somebody wants to `look`."""
        self.step += 1
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        metrics: dict[str, Tensor] = {}
        depth = depth_at(self.run, self.step, self.total)
        if depth is not None:
            self.model.deepen(*depth)
        for call in range(self.model.calls_per_update):
            self._supervise((self.step - 1) * self.model.calls_per_update + call, metrics)
        with self.clock.phase("all_reduce"):
            grads = self._reduce_gradients()
        with self.clock.phase("optimizer"):
            norm = self._clip(grads)
            self.bad_step = torch.where((self.bad_step == 0) & ~torch.isfinite(norm), self.step, self.bad_step)
            lr = self._learning_rate(self.run.train.lr)
            weights = locals_of(p.detach() for p in self.model.parameters())
            before = [p.clone() for p in weights] if look else []
            self._move(lr)
            average = locals_of(self.ema.shadow.values()) if self.ema else []
            norms = look_at(before, weights, average, self._norm) if look else {}
        return Update(metrics, norm, lr, self.count(depth), norms)

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
            self.ema.update(self.step - self.run.train.freeze.trunk_steps)

    def _learning_rate(self, peak: float) -> float:
        cfg = self.run.train
        return learning_rate(
            self.step, peak=peak, warmup=cfg.warmup_steps, total=self.total, min_ratio=cfg.lr_min_ratio
        )

    def _supervise(self, call: int, metrics: dict[str, Tensor]) -> None:
        """Work one supervised step on every part of the batch and add up gradients and metrics."""
        total = self.run.train.batch_size
        with self.clock.phase("data"):
            batches = [lane.source.next(self._free(index)) for index, lane in enumerate(self.feed.lanes)]
        for index, part in enumerate(self.parts):
            with self.clock.phase("forward"):
                draws = Draws(self.run.seed, call, part.numbers, total, self.world.device)
                step = self.model(self.carries[index], _cut(batches[part.lane], part.rows), draws)
            with self.clock.phase("backward"):
                (step.loss / total).backward()
            self.carries[index] = step.carry
            whole_loss = step.loss.detach() * self.model.calls_per_update  # an update's share of it is what was given
            for name, value in {"loss": whole_loss, **step.metrics}.items():
                metrics[name] = metrics[name] + value if name in metrics else value

    def _carries_of(self, lane: int) -> list[Carry]:
        both = zip(self.parts, self.carries, strict=True)
        return [carry for part, carry in both if part.lane == lane and carry is not None]

    def _free(self, lane: int) -> Tensor | None:
        carries = self._carries_of(lane)
        return torch.cat([carry["halted"] for carry in carries]) if carries else None

    def _reduce_gradients(self) -> list[Tensor]:
        """Sum the gradients over the processes and return them.

        One flat all-reduce rather than DDP: the loss is already divided by the global batch, the puzzle table lives
        outside autograd's parameters, and 7M gradients fit one message; rows that halt unevenly cannot make it hang.
        Where weights are shared, the backward pass has summed them, and every process has its share.
        """
        grads = locals_of(p.grad for p in self.model.parameters() if p.grad is not None)
        if self.world.size > 1 and not self.shared:
            flat = torch.cat([grad.flatten() for grad in grads])
            self.world.sum(flat)
            parts = torch.split(flat, [grad.numel() for grad in grads])
            for grad, part in zip(grads, parts, strict=True):
                grad.copy_(part.view_as(grad))
        return grads

    def _clip(self, grads: list[Tensor]) -> Tensor:
        """Clip the gradients to `grad_clip`; return their norm before."""
        norm = self._norm(grads)
        if self.run.train.grad_clip is not None:
            torch._foreach_mul_(grads, (self.run.train.grad_clip / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def _norm(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the norm of all entries of `tensors`, and of the other processes' shares of them."""
        norm = joint_norm(tensors)
        return self.world.sum(norm.square()).sqrt() if self.shared else norm

    @contextmanager
    def averaged(self) -> Iterator[TrainableModel]:
        """Yield the model with averaged weights, if there is an average, to be scored within a `with` block.

        Every process must call it. No second model is held, unless the weights are shared among the processes. It
        does not train meanwhile: dropout would change the scores, and draw what the next update is to draw.
        """
        if not self.shared:
            training = self.model.training
            with self.ema.in_place() if self.ema else nullcontext():
                try:
                    yield self.model.eval()
                finally:
                    self.model.train(training)
            return
        assert self._twin is not None
        model = self._twin()
        wanted = self.model.state_dict() | (self.ema.shadow if self.ema else {})
        for name, value in model.state_dict().items():
            value.copy_(whole(wanted[name]))
        yield model.eval()

    def capture(self) -> tuple[Files, Files]:
        """Return what the first process saves, and what every process saves of its own."""
        tensors, numbers = moments_of(self.model, self.optimizer)
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "evaluated": self.evaluated,
            "best": self.best,
            "made_by": made_by(self.run, self._reader),
            "batch_size": self.run.train.batch_size,
            "processes": self.world.size,
            "stream": self.feed.state(),
            "optimizer": numbers,
        }
        shared: Files = {
            "model.safetensors": collected(self.model.state_dict(), self.world),
            "optimizer.safetensors": collected(tensors, self.world),
            "state.json": state,
        }
        if self.ema:
            shared["ema.safetensors"] = collected(self.ema.shadow, self.world)
        rank = f"rank{self.world.rank}"
        return shared, {
            f"{rank}.safetensors": self._joined_carry() | torch_generators(),
            f"{rank}.json": other_generators(),
        }

    def restore(self, checkpoint: Checkpoint) -> list[str]:
        """Go on from `checkpoint`; return what is not as it was, in words. CheckpointError: it makes no sense here."""
        with understood(checkpoint):
            return self._restore(checkpoint, checkpoint.json("state.json"))

    def _restore(self, checkpoint: Checkpoint, state: dict[str, Any]) -> list[str]:
        refuse_what_differs(made_by(self.run, self._reader), state, checkpoint)
        device = "cpu" if self.shared else str(self.world.device)  # all of it may be more than a device has room for
        load_weights(self.model, checkpoint.tensors("model.safetensors", device), checkpoint)
        restore_moments(self.model, self.optimizer, checkpoint.tensors("optimizer.safetensors", device), state)
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
                fill(shadow, source[name])
            return [] if saved else ["the average of the weights starts now: there was none"]
        return ["dropped the average of the weights: train.ema is 0"] if saved else []

    def _joined_carry(self) -> dict[str, Tensor]:
        joined: dict[str, Tensor] = {}
        for index, lane in enumerate(self.feed.lanes):
            carries = self._carries_of(index)
            names: Carry = (carries or [{}])[0]
            joined |= {lane.prefix + name: torch.cat([carry[name] for carry in carries]) for name in names}
        return joined

    def _restore_rows(self, checkpoint: Checkpoint, state: dict[str, Any]) -> list[str]:
        dropped = []
        if state["batch_size"] == self.run.train.batch_size:
            rows = [checkpoint.tensors(f"rank{rank}.safetensors") for rank in range(state["processes"])]
            for index, lane in enumerate(self.feed.lanes):
                self._take_rows(index, lane, rows)
        else:
            sizes = f"the batch has {self.run.train.batch_size} rows, it had {state['batch_size']}"
            dropped.append(f"dropped the rows being worked on: {sizes}")
        if state["processes"] == self.world.size:
            rank = f"rank{self.world.rank}"
            restore_generators(checkpoint.tensors(f"{rank}.safetensors"), checkpoint.json(f"{rank}.json"))
        else:
            dropped.append(
                f"dropped the state of the global random generators: there are {self.world.size} processes instead of"
                f" {state['processes']} (rows, data order and draws go on as they were)"
            )
        return dropped

    def _take_rows(self, index: int, lane: Lane, saved: list[dict[str, Tensor]]) -> None:
        """Go on with the rows of a lane, out of what every process `saved`."""
        names = [name.removeprefix(lane.prefix) for name in saved[0] if name.startswith(lane.prefix)]
        whole = {name: torch.cat([part[lane.prefix + name] for part in saved]) for name in names}
        if whole:
            self._refuse_another_carry(whole, lane)
            mine = self.world.rows(lane.slots)
            here = {name: value[mine].to(self.world.device) for name, value in whole.items()}
            for number, part in enumerate(self.parts):
                if part.lane == index:
                    self.carries[number] = _cut(here, part.rows)

    def _refuse_another_carry(self, carry: Carry, lane: Lane) -> None:
        """ValueError: a tensor of `carry`, of all rows of a lane, is missing, or of another shape or type."""
        blank = self.model.blank_batch(1, self.world.device)
        wanted = self.model.initial_carry(blank if lane.side is None else cut(blank, lane.side)) or {}
        shapes = {name: (lane.slots, *value.shape[1:], value.dtype) for name, value in wanted.items()}
        found = {name: (*value.shape, value.dtype) for name, value in carry.items()}
        if shapes != found:
            wrong = sorted(name for name in shapes | found if shapes.get(name) != found.get(name))[0]
            raise ValueError(f"the rows being worked on: {wrong} is {found.get(wrong)} instead of {shapes.get(wrong)}")


def joint_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the norm of all entries of `tensors` together."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))
    return norm


@torch.no_grad()
def look_at(
    before: list[Tensor],
    weights: Sequence[Tensor],
    average: list[Tensor],
    norm: Callable[[Sequence[Tensor]], Tensor] = joint_norm,
) -> dict[str, Tensor]:
    """Return the norms of an update that made the weights `before` into `weights`, whose average is `average`."""
    now = [p.detach() for p in weights]
    size = norm(now)
    norms = {"weight_norm": size, "update_norm": norm(torch._foreach_sub(now, before))}
    if average:
        norms["ema_gap"] = norm(torch._foreach_sub(now, average)) / size.clamp(min=1e-12)
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


def _cut(batch: Batch, part: slice) -> Batch:
    return {name: value[part] for name, value in batch.items()}

"""A language model of the ladder, put together from the parts of its rung.

    e = E[x];  h = layers(e);  h = memory(h);  h = h + thoughts(h);  logits = E norm(h)

Legend: `B` rows, `T` tokens, `D` width, `V` kinds of tokens, `A` anchors, `Z` thoughts of each.
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.base import Batch, Carry, Draws, Step
from trainer.models.ladder.blocks import Attention, Block, Kept, Mixer, RMSNorm, Stack
from trainer.models.ladder.halting import Halting
from trainer.models.ladder.loop import Looped, Once
from trainer.models.ladder.memory import Bank, Memory, Remembered
from trainer.models.ladder.rungs import RUNGS
from trainer.models.ladder.sizes import SIZES
from trainer.models.ladder.ssm import Mamba2
from trainer.models.ladder.thought import Anchors, Thought, Thoughts, find_anchors
from trainer.models.layers import Embedding
from trainer.models.sight import KeysValues, Rotation, Sight, View
from trainer.models.text_step import PackedText, Pondered, positions_within, text_step
from trmkit.spec.ladder import LadderModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SCORING = 2305_16843
"""Seed of the sample of positions that texts are scored at."""


@dataclass
class Reading:
    """What is kept of the texts read so far."""

    most: int
    """Tokens there is room for."""
    rounds: int | None
    layers: list[Kept]
    """Of each layer; of looped ones, of each round after the other."""
    memory: Remembered | None
    offered: KeysValues | None
    """What tokens offer to thoughts."""
    told: Tensor | None
    """What the last anchor tells the tokens after it, [B, 1, D]."""
    sample: Tensor | None
    """The positions of its places, int64 [most]; None: 0, 1, 2 ..."""
    position: int = 0

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but `rows`."""
        for part in (*self.layers, self.memory, self.offered):
            if part is not None:
                part.keep(rows)
        self.told = None if self.told is None else self.told[rows]


class LadderLM(PackedText):
    """A rung of a size."""

    def __init__(self, cfg: LadderModel, vocab: int, cells: int) -> None:
        """Build for rows of `cells` tokens out of `vocab`."""
        super().__init__()
        self.cfg, self.rung, self.size = cfg, RUNGS[cfg.variant], SIZES[cfg.size]
        self.context, self._cells, self.dtype = cfg.longest, cells, DTYPES[cfg.forward_dtype]
        size, self.dropout = self.size, self.size.dropout if cfg.dropout is None else cfg.dropout
        self.embed_tokens = Embedding(vocab, size.width, std=0.02)
        self.backbone = self._backbone()
        scale = (2 * size.layers) ** -0.5
        self.memory = (
            Memory(size.width, size.heads, cfg.num_mem, cfg.segment, scale) if self.rung.memory == "segments" else None
        )
        self.thoughts = None if self.rung.thought == "none" else self._thoughts()
        self.norm = RMSNorm(size.width)
        self._rounds = cfg.max_K if self.rung.thought == "adaptive" else cfg.K
        self.cos: Tensor | None
        self.sin: Tensor | None
        if cfg.positions != "nope" and (self.rung.mixer == "attention" or self.thoughts is not None):
            most = max(self.context, cfg.position_range or 0, cells)
            width = size.width // size.heads
            frequencies = 1.0 / cfg.rope_theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
            angles = torch.outer(torch.arange(most, dtype=torch.float32), frequencies)
            self.register_buffer("cos", angles.cos(), persistent=False)
            self.register_buffer("sin", angles.sin(), persistent=False)
        else:
            self.register_buffer("cos", None)
            self.register_buffer("sin", None)

    def _backbone(self) -> Once | Looped:
        size, cfg = self.size, self.cfg
        looped = self.rung.depth == "looped"
        layers = (cfg.n_unique or max(1, size.layers // 2)) if looped else size.layers
        scale = (2 * layers * (cfg.n_unroll if looped else 1)) ** -0.5
        stack = Stack([self._block(scale) for _ in range(layers)])
        return Looped(stack, cfg) if looped else Once(stack)

    def _block(self, scale: float) -> Block:
        size = self.size
        if self.rung.mixer == "attention":
            mixer: nn.Module = Attention(size.width, size.heads, size.kv_heads, scale)
            return Block(mixer, size.width, size.inner, self.dropout, scale)
        mixer = Mamba2(size.width, size.state, size.mamba_head, scale, signed=self.cfg.negative_eigenvalues)
        return Block(mixer, size.width, size.mamba_inner, self.dropout, scale)

    def _thoughts(self) -> Thoughts:
        size, cfg = self.size, self.cfg
        adaptive = self.rung.thought == "adaptive"
        halting = Halting(size.width, cfg.halting, cfg.min_K, cfg.lambda_prior) if adaptive else None
        return Thoughts(
            size.width, size.heads, size.kv_heads, size.inner,
            each=cfg.thought_tokens, rounds=cfg.max_K if adaptive else cfg.K, halting=halting, dropout=self.dropout,
        )  # fmt: skip

    @property
    def rounds(self) -> int | None:
        """Rounds of the loop or of thinking while scoring; None: there is nothing recursive."""
        return self.backbone.rounds if self.thoughts is None else self._rounds

    @rounds.setter
    def rounds(self, value: int) -> None:
        if value < 1:
            raise ValueError(f"rounds: {value} is no number of rounds")
        if self.thoughts is not None:
            self._rounds = value
        elif isinstance(self.backbone, Looped):
            self.backbone.rounds = value
        else:
            raise ValueError(f"rounds: {self.cfg.variant} has no part that is gone through more than once")

    def undecayed(self) -> set[str]:
        """Return the names of the parameters that weight decay is not for."""
        vectors = ("embedding_weight", "initial", "A_log", "D", "dt_bias")
        return {name for name, p in self.named_parameters() if p.dim() < 2 or name.rpartition(".")[2] in vectors}

    def forward(self, carry: Carry | None, batch: Batch, draws: Draws | None = None) -> Step:
        """Work a step on packed rows."""
        documents = batch["documents"]
        positions = positions_within(documents)
        sample = self._sample(positions.shape[1], positions.device, draws)
        rotation, places = self._rotation(positions, sample), torch.arange(documents.shape[1], device=documents.device)
        attends = self.rung.mixer == "attention"
        sight = Sight(places[None], places, (documents, documents), first=0) if attends else None
        e = self._embed(batch["inputs"])
        h = self.backbone(e, View(sight, rotation, documents), draws)
        bank = None
        if self.memory is not None:
            h, bank = self.memory(h, positions, documents)
        pondered = Pondered(h.new_zeros(len(h), dtype=torch.float32), self._made(h))
        if self.thoughts is not None:
            anchors = find_anchors(positions, documents, batch["prompt_ends"], self.cfg.thought_stride)
            h, pondered = self._ponder(h, anchors, positions, documents, bank, sample)
        return text_step(self._logits(h), batch, pondered)

    def _made(self, h: Tensor) -> Tensor:
        """Return the rounds of rows without thoughts."""
        made = self.backbone.last if isinstance(self.backbone, Looped) else 1
        return torch.full((len(h),), float(made), device=h.device)

    def _embed(self, tokens: Tensor) -> Tensor:
        e: Tensor = self.embed_tokens(tokens, self.dtype)
        return F.dropout(e, self.dropout, self.training)

    def _logits(self, h: Tensor) -> Tensor:
        return F.linear(self.norm(h), self.embed_tokens.embedding_weight.to(h.dtype)).float()

    def _sample(self, count: int, device: torch.device, draws: Draws | None = None) -> Tensor | None:
        """Return `count` positions in order, out of the range, int64; None: they are 0, 1, 2 ...

        A step of training draws a sample that all rows of the update share. Scoring samples, too, as in arXiv
        2305.16843, for after training with gaps 0, 1, 2 ... would be another distribution: from a seed of its own,
        always the same positions for the same count, which is the room of a `Reading`, and the length of packed rows.
        """
        if self.cfg.positions != "randomized":
            return None
        drawn = draws.common if self.training and draws is not None else torch.Generator().manual_seed(SCORING)
        everywhere = torch.randperm(self.cfg.position_range or self.context, generator=drawn, device="cpu")
        return everywhere[:count].sort().values.to(device)

    def _rotation(self, positions: Tensor, sample: Tensor | None) -> Rotation | None:
        if self.cos is None or self.sin is None:
            return None
        turned = positions if sample is None else sample[positions]
        return self.cos[turned], self.sin[turned]

    def _ponder(
        self, h: Tensor, anchors: Anchors, positions: Tensor, documents: Tensor, bank: Bank | None,
        sample: Tensor | None,
    ) -> tuple[Tensor, Pondered]:  # fmt: skip
        """Return the tokens of packed rows after thinking, and what it cost."""
        assert self.thoughts is not None
        at, places = anchors.places, torch.arange(h.shape[1], device=h.device)
        offered = self.thoughts.offers(h, self._rotation(positions, sample))
        rounds = self.thoughts.rounds if self.training else self._rounds
        of = (documents.gather(1, at), documents)
        thought = self._think(offered, at, positions.gather(1, at), of, places, bank, rounds, sample)
        h = h + _of_tokens(torch.zeros_like(h[:, :1]), thought.told, anchors.of_tokens)
        count = anchors.valid.sum(1).clamp(min=1)
        cost, steps = (torch.where(anchors.valid, value, 0).sum(1) / count for value in (thought.ponder, thought.steps))
        return h, Pondered(cost, steps, self.cfg.lambda_ponder if self.thoughts.halting is not None else 0.0)

    def _think(
        self, offered: tuple[Tensor, Tensor], at: Tensor, positions: Tensor, documents: tuple[Tensor, Tensor] | None,
        places: Tensor, bank: Bank | None, rounds: int, sample: Tensor | None, first: int = 0,
    ) -> Thought:  # fmt: skip
        """Think at `at` [B, A], `positions` [B, A] in documents, about what tokens at `places` have `offered`.

        The first token that `bank` knows of is at the place `first`.
        """
        thoughts, (keys, values) = self.thoughts, offered
        assert thoughts is not None
        beside = None
        if bank is not None:
            vectors, each = bank.vectors.flatten(1, 2), bank.vectors.shape[2]
            rotation = self._rotation(bank.positions.repeat_interleave(each, 1), sample)
            known_keys, known_values = thoughts.offers(vectors, rotation)
            keys, values = torch.cat((known_keys, keys), 2), torch.cat((known_values, values), 2)
            beside = bank.shown(bank.of_tokens.gather(1, at - first))
        sight = Sight(at, places, documents, each=thoughts.each, window=self.cfg.local_window, beside=beside)
        rotation = self._rotation(positions.repeat_interleave(thoughts.each, 1), sample)
        like = values.new_empty(len(values), at.shape[1], self.size.width)
        found: Thought = thoughts(keys, values, sight, rotation, like, rounds)
        return found

    def start(self, rows: int, most: int) -> Reading:
        """Return an empty reading of `rows` texts with room for `most` tokens each."""
        if most > self.context:
            raise ValueError(f"{most} tokens are more than the context of {self.context}")
        like, dtype, size = self.embed_tokens.embedding_weight, self.dtype, self.size
        rounds = self.backbone.rounds or 1
        mixers = [cast(Mixer, layer.mixer) for layer in self.backbone.stack.layers]
        layers = [mixer.empty(rows, most, like, dtype) for _ in range(rounds) for mixer in mixers]
        offered = told = None
        if self.thoughts is not None:
            offered = KeysValues.empty(rows, size.kv_heads, most, size.width // size.heads, like, dtype)
            told = torch.zeros(rows, 1, size.width, dtype=dtype, device=like.device)
        memory = None if self.memory is None else self.memory.empty(rows, dtype)
        return Reading(most, self.rounds, layers, memory, offered, told, self._sample(most, like.device))

    @torch.no_grad()
    def read(self, tokens: Tensor, reading: Reading, *, prompt_ends: bool = False) -> Tensor:
        """Read `tokens` [B, T] after what was read; return logits [B, T, V] (float32).

        ValueError: there is no room for them.
        """
        first, end = reading.position, reading.position + tokens.shape[1]
        if end > reading.most:
            raise ValueError(f"{end} tokens are more than the {reading.most} there is room for")
        places = torch.arange(end, device=tokens.device)
        new = places[None, first:]
        sight = Sight(new, places, first=first) if self.rung.mixer == "attention" else None
        rotation = self._rotation(new, reading.sample)
        h = self.backbone.read(self._embed(tokens), View(sight, rotation, None), reading.layers)
        bank = None
        if self.memory is not None and reading.memory is not None:
            h, bank = self.memory.read(h, reading.memory)
        if self.thoughts is not None:
            h = self._think_on(h, reading, places, bank, prompt_ends=prompt_ends)
        reading.position = end
        return self._logits(h)

    def _think_on(self, h: Tensor, reading: Reading, places: Tensor, bank: Bank | None, *, prompt_ends: bool) -> Tensor:
        """Return tokens [B, T, D] that follow what was read, after thinking at the anchors among them."""
        assert self.thoughts is not None
        assert reading.offered is not None
        assert reading.told is not None
        first, end, stride = reading.position, len(places), self.cfg.thought_stride
        rotation = self._rotation(places[None, first:], reading.sample)
        offered = reading.offered.append(*self.thoughts.offers(h, rotation))
        found = [at for at in range(first, end) if (at + 1) % stride == 0 or (prompt_ends and at == end - 1)]
        told, number = reading.told, torch.zeros(1, end - first, dtype=torch.int64, device=h.device)
        if found:
            at = torch.tensor([found], device=h.device)
            rounds = reading.rounds or self._rounds
            thought = self._think(offered, at, at, None, places, bank, rounds, reading.sample, first)
            told = torch.cat((told, thought.told), 1)
            number = torch.searchsorted(at, places[None, first:], right=True)
            reading.told = told[:, -1:]
        return h + told.gather(1, number[..., None].expand(len(h), -1, h.shape[-1]))


def _of_tokens(before: Tensor, told: Tensor, number: Tensor) -> Tensor:
    """Return [B, T, D]: for each token what `number` [B, T] of `before` [B, 1, D] and `told` [B, A, D] says."""
    both = torch.cat((before, told), 1)
    return both.gather(1, number[..., None].expand(-1, -1, both.shape[-1]))


def build(cfg: LadderModel, vocab: int, cells: int, identifiers: int) -> LadderLM:
    """Build the model; draws its initial weights from torch's global generator."""
    return LadderLM(cfg, vocab, cells)

"""What language models have in common: the batch they are trained with, and how they are read token by token.

A batch of text has, besides `inputs` and `labels` [B, L] (int32; the label of a place is the token after it, so models
shift nothing): `documents` [B, L] (int32), the number of the document within its row that a place belongs to, growing
from 0, padding at the end being a document of its own; `prompt_ends` [B, L] (bool), true at the last token of a prompt;
and `label_weight` [B] (float32), what the loss of a label is multiplied with: in training 1 over the labels of its row,
0 for a row without any, so that the trainer's division by its rows gives the mean over rows of the mean over labels,
and every row counts alike. Documents do not see one another.

Legend: `B` rows, `L` places of a row, `T` tokens read at once, `V` kinds of tokens.
"""

from typing import Protocol

from torch import Tensor


class Reading(Protocol):
    """What a model keeps of the texts it has read so far, one text a row: a cache of keys and values, or a state."""

    position: int
    """Tokens read of every row."""

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but `rows` (int64, on the model's device), in that order."""


class TextModel(Protocol):
    """A language model as evaluators use it. It is also a `trainer.models.Model` and an `nn.Module`."""

    context: int
    """Most tokens it reads."""
    rounds: int | None
    """Times its recursive part is applied to what is read from now on (settable); None: it has no such part."""

    def start(self, rows: int, most: int) -> Reading:
        """Return an empty reading of `rows` texts with room for `most` tokens each. ValueError: `most` > `context`."""

    def read(self, tokens: Tensor, reading: Reading, *, prompt_ends: bool = False) -> Tensor:
        """Read `tokens` [B, T] (any integer type, T >= 1) after what was read; return logits [B, T, V] (float32).

        `prompt_ends` says that the last of them is the last of the prompt. The numbers are those of reading the whole
        text at once. Evaluation mode, no gradients.
        """

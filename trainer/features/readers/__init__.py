"""The readers of prompts. A reader is one line in `READERS` and one file beside this one.

Legend: n texts, S vectors of each, F numbers of a vector.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
import numpy.typing as npt

from trmkit.spec.features import HASH, FeaturesSection

if TYPE_CHECKING:  # the one without weights needs no torch
    import torch

Vectors = npt.NDArray[np.float16]

READERS = {
    HASH: "trainer.features.readers.hashing:HashReader",
    "llama": "trainer.features.readers.llama:LlamaReader",
}
"""Kind of reader -> its class. Every `features.reader` that is none of these names is a language model."""


class Reader(Protocol):
    """Makes vectors of texts. The vectors of a text do not depend on which others are read with it."""

    identity: str
    """What its vectors depend on besides the section: another model, or another version of it, is called otherwise."""

    def count(self, text: str) -> int:
        """Return how many tokens a text has."""

    def read(self, texts: Sequence[str]) -> Vectors:
        """Return what is kept of each text, [n, S, F]; vectors that a short one lacks are zeros behind the others."""


def identity_here(section: FeaturesSection) -> str | None:
    """Return the identity of a reader that needs nothing to be known; None: it is on the hub, or is not here."""
    if section.reader == HASH:
        from trainer.features.readers.hashing import IDENTITY

        return IDENTITY
    from trainer.features.readers.hub import content_of

    folder = Path(section.reader).expanduser()
    return content_of(folder) if folder.is_dir() else None


def open_reader(section: FeaturesSection, device: "torch.device | None" = None) -> Reader:
    """Return the reader of a run file, on `device`; what takes long to load is loaded when a text is read.

    SpecError: it does not fit the section, or cannot run here. DataError: it cannot be had.
    """
    module, name = READERS[section.reader if section.reader in READERS else "llama"].split(":")
    return cast(Reader, getattr(import_module(module), name)(section, device))

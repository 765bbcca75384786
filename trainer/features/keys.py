"""What names a prompt's vectors: everything they depend on, so that equal keys mean equal vectors anywhere.

Legend: N rows.
"""

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trainer.features.prompts import TEMPLATE, Prompt, fitted
from trainer.features.readers import Reader
from trmkit.spec.base import section_hash
from trmkit.spec.features import FeaturesSection

KEY_BYTES = 32
FORMAT = 1
"""Counted up whenever files of vectors are laid out in another way."""

Keys = npt.NDArray[np.uint8]
"""[N, 32]"""


def folder_name(section: FeaturesSection) -> str:
    """Return the name of the folder with the vectors of a section."""
    said = json.dumps([section_hash(section, version=FORMAT), TEMPLATE])
    return f"features-{hashlib.sha256(said.encode()).hexdigest()[:12]}"


def text_of(prompt: Prompt, section: FeaturesSection, reader: Reader) -> str:
    """Return the text of a prompt that `reader` is given."""
    return fitted(prompt, reader.count, section.max_length)


def key_of(text: str, section: FeaturesSection, reader: Reader) -> bytes:
    """Return the key of a text's vectors."""
    said = {
        "text": text,
        "template": TEMPLATE,
        "reader": reader.identity,
        "width": section.width,
        "pooling": section.pooling,
        "vectors": section.vectors,
        "max_length": section.max_length,
        "dtype": section.dtype,
        "quantize": section.quantize,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()


def as_array(keys: Sequence[bytes]) -> Keys:
    """Return keys as an array [N, 32]."""
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)


def as_words(keys: Keys) -> npt.NDArray[np.bytes_]:
    """Return keys [N, 32] as [N] values that sort and compare as a whole."""
    return np.ascontiguousarray(keys).view(f"S{KEY_BYTES}").reshape(-1)

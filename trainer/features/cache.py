"""Vectors on a disk, under keys that say what they are of, so that training needs neither reader nor prompts.

`<storage.data>/features-<12 hex>/` holds shards, `shard-<16 hex of its SHA-256>.safetensors` with uint8 `keys` [n, 32]
and float16 `vectors` [n, S, F], and `rows/<data set>/<16 hex of the reader's identity>/{train,test}.npy` with the key
of every row [N, 32]. None of these is ever changed, only more are added; whatever happens, what is there is whole.
Beside the keys, `reader` says whose are taken where no reader is at hand, and is the last to be written.
Legend: N rows of a split, n prompts of a shard, S vectors of a prompt, F numbers of each, B rows asked for.
"""

import hashlib
import io
import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from trainer.data import fingerprint
from trainer.features.keys import KEY_BYTES, Keys, as_array, as_words, folder_name
from trainer.features.readers import Vectors
from trmkit.errors import DataError
from trmkit.spec.features import FeaturesSection
from trmkit.store.local import sha256, write_whole

SHARD = re.compile(r"shard-([0-9a-f]{16})\.safetensors")
SHARD_BYTES = 64 << 20
"""Most bytes of vectors in a shard, unless a single prompt has more."""
SPLITS = ("train", "test")
READER = "reader"
"""File beside the keys of rows: identity of the reader that is the one to take, where none is at hand."""


@dataclass(frozen=True)
class Place:
    """Where the vectors of a section are, and the keys of the rows of one data set, of any readers."""

    folder: Path
    rows: Path

    @classmethod
    def of(cls, section: FeaturesSection, root: Path, data: Path) -> "Place":
        """Return the place below `root` for the data set in `data`, which is known by what is in it."""
        folder = root / folder_name(section)
        return cls(folder, folder / "rows" / f"{data.name}-{fingerprint(data)}")

    def shards(self) -> list[str]:
        """Return the names of the shards that are here."""
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted(path.name for path in found if SHARD.fullmatch(path.name))

    def keys_of(self, reader: str) -> dict[str, Path]:
        """Return the files with the keys of the rows of every split, made by the reader of this identity."""
        folder = self.rows / hashlib.sha256(reader.encode()).hexdigest()[:16]
        return {split: folder / f"{split}.npy" for split in SPLITS}

    def keys(self, reader: str) -> dict[str, Keys] | None:
        """Return the keys of the rows of every split, made by this `reader`; None: not all of them are here.

        DataError: a file is damaged.
        """
        paths = self.keys_of(reader)
        if not all(path.is_file() for path in paths.values()):
            return None
        return {split: _read_keys(path) for split, path in paths.items()}

    def write_keys(self, keys: dict[str, Keys], reader: str) -> None:
        """Write the keys of the rows, which come from the reader of this identity, when their shards are written."""
        for split, path in self.keys_of(reader).items():
            content = io.BytesIO()
            np.save(content, keys[split])
            write_whole(path, content.getvalue())

    def reader(self) -> str | None:
        """Return the identity of the reader to take where none is at hand; None: nothing is kept yet."""
        try:
            return (self.rows / READER).read_text(encoding="utf-8") or None
        except (OSError, UnicodeDecodeError):
            return None

    def name_reader(self, reader: str) -> None:
        """Say that the keys of this reader are the ones to take: the last thing to be written."""
        if self.reader() != reader:
            write_whole(self.rows / READER, reader)


def _read_keys(path: Path) -> Keys:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, str(error)) from error
    if found.dtype != np.uint8 or found.ndim != 2 or found.shape[1] != KEY_BYTES:
        raise _damaged(path, f"holds {found.dtype} {found.shape}")
    keys: Keys = found
    return keys


def write_shard(folder: Path, keys: list[bytes], vectors: Vectors) -> Path:
    """Write the vectors [n, S, F] of `keys`; returns the file."""
    content = save({"keys": np.array(as_array(keys)), "vectors": vectors})
    path = folder / f"shard-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
    write_whole(path, content)
    return path


class Shards:
    """The shards of a folder, mapped into memory."""

    def __init__(self, place: Place, section: FeaturesSection, *, verify: bool = True) -> None:
        """Open all of them; every byte is compared with the name unless another process did.

        DataError, naming the file: a shard is damaged.
        """
        self._shape = (section.vectors, section.width)
        self._vectors: list[Vectors] = []
        keys, shards, places = [np.empty((0, KEY_BYTES), np.uint8)], [np.empty(0, np.int32)], [np.empty(0, np.int64)]
        for number, name in enumerate(place.shards()):
            path = place.folder / name
            if verify and sha256(path)[:16] != name[6:22]:
                raise _damaged(path, "its content is not the one it is named after")
            some, vectors = _open(path, self._shape)
            self._vectors.append(vectors)
            keys.append(some)
            shards.append(np.full(len(some), number, np.int32))
            places.append(np.arange(len(some)))
        words = as_words(np.concatenate(keys))
        order = np.argsort(words, kind="stable")
        self._words = words[order]
        self._shards, self._places = np.concatenate(shards)[order], np.concatenate(places)[order]

    def find(self, keys: Keys) -> npt.NDArray[np.int64]:
        """Return where the vectors of `keys` [N] are, for `get`; -1 where they are not."""
        words = as_words(keys)
        if not len(self._words):
            return np.full(len(words), -1, np.int64)
        at = np.searchsorted(self._words, words).clip(max=len(self._words) - 1)
        return np.where(self._words[at] == words, at, -1)

    def get(self, found: npt.NDArray[np.int64]) -> Vectors:
        """Return the vectors [B, S, F] at the places `found` [B]."""
        out = np.empty((len(found), *self._shape), np.float16)
        shards, places = self._shards[found], self._places[found]
        for shard in np.unique(shards).tolist():
            here = np.flatnonzero(shards == shard)
            out[here] = self._vectors[shard][places[here]]
        return out


def _open(path: Path, shape: tuple[int, int]) -> tuple[Keys, Vectors]:
    """Return keys [n, 32] and vectors [n, S, F] of a shard, the latter mapped into memory: they may be many."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(length))
        arrays = {}
        for name, dtype in (("keys", np.uint8), ("vectors", np.float16)):
            about = header[name]
            arrays[name] = np.memmap(path, dtype, "r", 8 + length + about["data_offsets"][0], tuple(about["shape"]))
        keys, vectors = np.array(arrays["keys"]), arrays["vectors"]
    except (OSError, ValueError, KeyError, TypeError, struct.error, OverflowError) as error:
        raise _damaged(path, str(error)) from error
    if keys.shape != (len(vectors), KEY_BYTES) or vectors.shape[1:] != shape:
        raise _damaged(path, f"holds {keys.shape} keys and {vectors.shape} vectors")
    return keys, vectors


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        f"{path}: is damaged: {why}", next="delete the file; python -m trainer features RUN.yaml reads what it had anew"
    )


class Kept:
    """The vectors of every row of a split, as `trainer.data.store.Beside` has it."""

    def __init__(self, shards: Shards, keys: Keys, identity: str) -> None:
        """Take the vectors of the rows with `keys` [N], all in `shards`, made by the reader of this identity."""
        self._shards, self._found, self.identity = shards, shards.find(keys), identity

    def get(self, rows: npt.NDArray[np.int64]) -> Vectors:
        """Return the vectors of `rows` [B], float16 [B, S, F]."""
        return self._shards.get(self._found[rows])

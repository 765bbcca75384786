"""Models as files: what is in a folder, and why one cannot be had from the hub, in words that say what to do."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from trmkit.errors import DataError

SAMPLED = 1 << 20
"""Bytes at the beginning and at the end of each file of a model in a folder that its identity is made of."""
KEPT = (".json", ".safetensors", ".bin", ".model", ".txt", ".jinja")
LOCAL = "or set features.reader to a folder with its files"


def refusal(reader: str, what: str, error: Exception) -> DataError:
    """Return the error for `what` of `reader` that could not be loaded because of `error`."""
    names = {type(one).__name__ for one in _chain(error)}
    said = " ".join(str(one) for one in _chain(error)).lower()
    offline = names & {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectError", "ConnectionError"}
    if "GatedRepoError" in names or "gated repo" in said:
        return DataError(
            f"features.reader: {reader} is given only to those who accepted its licence",
            next=f"accept it at https://huggingface.co/{reader} and set HF_TOKEN to a token of that account; {LOCAL}",
        )
    if "RevisionNotFoundError" in names:
        return DataError(f"features.reader: {reader} has no such revision", next="correct features.revision")
    if "RepositoryNotFoundError" in names or "is not a valid model identifier" in said:
        return DataError(
            f"features.reader: the hub has no model {reader}, or shows it to others only",
            next=f"correct the id; if it is private, set HF_TOKEN; {LOCAL}",
        )
    if offline or "couldn't connect" in said or "offline mode" in said:
        return DataError(
            f"features.reader: {reader} is not on this machine, and the hub cannot be reached",
            next=f"where there is a network: hf download {reader}; then copy its HF_HOME here, {LOCAL}",
        )
    return DataError(
        f"features.reader: {what} of {reader} cannot be loaded: {_first_line(error)}",
        next="see that it is a model of the LLaMA architecture, with its tokenizer, and whole",
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def content_of(folder: Path) -> str:
    """Return a hash of a model in a folder: names and sizes of its files, and where they begin and end."""
    listed = []
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in KEPT):
        size = path.stat().st_size
        with path.open("rb") as file:
            digest = hashlib.sha256(file.read(SAMPLED))
            file.seek(max(SAMPLED, size - SAMPLED))
            digest.update(file.read(SAMPLED))
        listed.append((path.name, size, digest.hexdigest()))
    return f"folder-{hashlib.sha256(json.dumps(listed).encode()).hexdigest()}"

"""What a person should know of a run file that is right, wherever it runs."""

from trmkit.spec.features import HASH
from trmkit.spec.run import RunFile

MANY_VARIANTS = 16
"""Variants of each task from which on reading them all with a language model takes long."""


def hints(run: RunFile) -> list[str]:
    """Return what a person should know before this run starts; nothing of it is an error."""
    section, found = run.features, []
    if section is None or section.reader == HASH:
        return []
    variants = getattr(run.data, "num_aug", 0) + 1
    if variants > MANY_VARIANTS and not section.online:
        found.append(
            f"features: {section.reader} reads every pair in up to {variants:,} variants, each a prompt of its own;"
            " a lower data.num_aug takes less time and room"
        )
    if section.online:
        found.append(f"features.online: {section.reader} stays in memory while the run trains, beside the model")
    return found

"""The rungs of the ladder: what each is made of, and which one it is compared with."""

from typing import Literal, NamedTuple

from trmkit.spec.ladder import Variant


class Rung(NamedTuple):
    """The parts of a variant. All but `parent` are parts."""

    parent: Variant | None
    """The rung that lacks the one part this one adds or changes."""
    mixer: Literal["attention", "mamba2"] = "attention"
    """What tokens of a layer are mixed by."""
    depth: Literal["once", "looped"] = "once"
    """Whether layers with weights of their own follow each other, or fewer layers are gone through several times."""
    thought: Literal["none", "fixed", "adaptive"] = "none"
    """Thought vectors beside the tokens, with a fixed or a learned number of rounds."""
    memory: Literal["none", "segments"] = "none"
    """Memory vectors that take in a segment of tokens at a time."""
    positions: Literal["configured", "learned"] = "configured"
    """As `model.positions` says, or a learned vector for each absolute position."""
    block: Literal["llama", "gpt2"] = "llama"
    """RMS norms and SwiGLU without biases, or LayerNorm, GELU and biases."""


RUNGS: dict[Variant, Rung] = {
    "baseline": Rung(None),
    "shared_loop": Rung("baseline", depth="looped"),
    "latent": Rung("baseline", thought="fixed"),
    "act": Rung("latent", thought="adaptive"),
    "ssm": Rung("latent", thought="fixed", mixer="mamba2"),
    "ssm_mem": Rung("ssm", thought="fixed", mixer="mamba2", memory="segments"),
    "nano_absolute": Rung("baseline", positions="learned", block="gpt2"),
}
"""`nano_absolute` is a control, no rung: a whole GPT-2, of which the learned positions are of interest."""
CONTROLS: tuple[Variant, ...] = ("nano_absolute",)


def differing(variant: Variant) -> set[str]:
    """Return the names of the parts in which `variant` differs from its parent; of a rung without one, none."""
    rung = RUNGS[variant]
    if rung.parent is None:
        return set()
    parent = RUNGS[rung.parent]
    return {name for name in Rung._fields if name != "parent" and getattr(rung, name) != getattr(parent, name)}

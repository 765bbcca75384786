"""The sizes of the ladder, chosen so that the table of the seed is true.

Parameters of the baseline: `V D + N (2 D^2 + 2 g d D + 3 D I + 2 D) + D`, with the legend below; the embedding is also
the last layer. A Mamba-2 block has more weights than attention, so its SwiGLU is narrower: sizes stay comparable.
Legend: `D` width, `N` layers, `h` heads, `g` heads of keys, `d = D / h`, `I` inner width, `V` kinds of tokens.
"""

from typing import NamedTuple

from trmkit.spec.ladder import Size


class Measure(NamedTuple):
    """Width, depth and the rest of a size."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    """Inner width of the SwiGLU beside attention."""
    mamba_inner: int
    """The same beside a Mamba-2 mixer."""
    dropout: float
    state: int = 64
    """State of a channel of Mamba-2."""
    mamba_head: int = 64
    """Width of a head of Mamba-2."""


SIZES: dict[Size, Measure] = {
    "pico": Measure(64, 2, 4, 4, 160, 100, 0.1, state=16, mamba_head=32),
    "nano": Measure(512, 6, 8, 8, 1280, 896, 0.1),
    "50M": Measure(512, 8, 8, 8, 1280, 896, 0.1),
    "125M": Measure(768, 12, 12, 12, 2112, 1536, 0.1),
    "300M": Measure(1024, 24, 16, 16, 2048, 1280, 0.05),
    "350M": Measure(1024, 24, 16, 16, 2688, 1920, 0.05),
    "760M": Measure(1280, 36, 20, 20, 3328, 2432, 0.05),
    "1B": Measure(2048, 18, 16, 16, 5504, 4096, 0.05),
    "1B-16k": Measure(2048, 18, 16, 4, 6400, 0, 0.05),
}
"""`1B-16k` has grouped-query attention, and no Mamba-2 kin."""

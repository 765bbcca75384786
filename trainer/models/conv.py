"""Convolutions for grids: an encoder that halves the resolution three times, and a decoder that takes it back.

Legend: `B` rows, `C` channels, `H` x `W` pixels of a canvas, multiples of `STRIDE`.
"""

from itertools import pairwise
from math import gcd

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDE = 8
"""How many pixels of the canvas are one of the latent state, down and right."""
GROUPS = 32
"""Most groups of channels that are normalised together."""

Skips = tuple[Tensor, Tensor, Tensor]
"""What the encoder hands to the decoder: [B, b, H, W], [B, 2b, H/2, W/2] and [B, 4b, H/4, W/4]."""


class Conv(nn.Conv2d):
    """A convolution in the type of its input, that keeps the size or halves it; weights are float32."""

    def __init__(self, inputs: int, outputs: int, size: int = 3, stride: int = 1, *, bias: bool = False) -> None:
        super().__init__(inputs, outputs, size, stride, padding=size // 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.conv2d(x, self.weight.to(x.dtype), bias, self.stride, self.padding)


class Norm(nn.GroupNorm):
    """Group norm in float32, of as many groups as `GROUPS` and the channels allow: 16 for 48 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__(gcd(GROUPS, channels), channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape, in the type of `x`."""
        return super().forward(x.float()).to(x.dtype)


class ConvBlock(nn.Module):
    """Convolution, norm, GELU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv, self.norm = Conv(inputs, outputs, stride=stride), Norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        return F.gelu(self.norm(self.conv(x)))


class ResidualBlock(nn.Module):
    """Two convolutions, of which whole channels are dropped while training, added to what came in."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels)
        self.second, self.norm = Conv(channels, channels), Norm(channels)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        change = self.norm(self.second(self.first(x)))
        if self.dropout:
            change = F.dropout2d(change, self.dropout, self.training)
        return F.gelu(x + change)


def residual_blocks(channels: int, count: int, dropout: float) -> nn.Sequential:
    """Return `count` residual blocks."""
    return nn.Sequential(*(ResidualBlock(channels, dropout) for _ in range(count)))


class Encoder(nn.Module):
    """A stem at the canvas's resolution and three stages that halve it, each with residual blocks."""

    def __init__(self, inputs: int, base: int, latent: int, blocks: int, bottleneck: int, dropout: float) -> None:
        super().__init__()
        self.stem = ConvBlock(inputs, base)
        widths = (base, 2 * base, 4 * base, latent)
        self.downs = nn.ModuleList(
            nn.Sequential(ConvBlock(wide, narrow, stride=2), residual_blocks(narrow, blocks, dropout))
            for wide, narrow in pairwise(widths)
        )
        self.bottleneck = residual_blocks(latent, bottleneck, dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Skips]:
        """Map [B, inputs, H, W] to [B, latent, H/8, W/8], and what the decoder takes besides."""
        half, quarter, eighth = self.downs
        full = self.stem(x)
        halved = half(full)
        quartered = quarter(halved)
        return self.bottleneck(eighth(quartered)), (full, halved, quartered)


class Decoder(nn.Module):
    """Three stages that double the resolution, each joined by what the encoder had there, and a head."""

    def __init__(self, outputs: int, base: int, latent: int, blocks: int, dropout: float) -> None:
        super().__init__()
        stages = ((latent, 4 * base), (8 * base, 2 * base), (4 * base, base))
        self.ups = nn.ModuleList(
            nn.Sequential(ConvBlock(wide, narrow), residual_blocks(narrow, blocks, dropout)) for wide, narrow in stages
        )
        self.last, self.head = ConvBlock(2 * base, base), Conv(base, outputs, 1, bias=True)

    def forward(self, z: Tensor, skips: Skips) -> Tensor:
        """Map [B, latent, H/8, W/8] to [B, outputs, H, W]."""
        x = z
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            x = torch.cat((up(F.interpolate(x, scale_factor=2.0, mode="nearest")), skip), dim=1)
        outputs: Tensor = self.head(self.last(x))
        return outputs

"""The self-test: whether a trained model reads as it should, before anybody believes its scores."""

from typing import Any

import torch

from trainer.evaluators.algorithmic import Asked, Reader

TOLERANCE = 1e-3
"""Largest difference of logits, relative to their size: of float32 here, of bfloat16 a hundred times as much."""
ROWS = 4


@torch.no_grad()
def score(reader: Reader, asked: list[Asked], loose: bool) -> dict[str, Any]:
    """Return the checks with what each measured; `loose` is for arithmetic in bfloat16."""
    limit = TOLERANCE * (100 if loose else 1)
    model, tokenizer, device = reader.model, reader.tokenizer, reader.world.device
    prompt = reader.tokens(asked[0].items[0].prompt)
    rows = torch.tensor([prompt] * ROWS, device=device)
    changed = rows.clone()
    changed[:, -1] = tokenizer.end

    def whole(tokens: torch.Tensor) -> torch.Tensor:
        return model.read(tokens, model.start(ROWS, tokens.shape[1]), prompt_ends=True)

    def stepwise(tokens: torch.Tensor) -> torch.Tensor:
        reading, length = model.start(ROWS, tokens.shape[1]), tokens.shape[1]
        parts = [model.read(tokens[:, at : at + 1], reading, prompt_ends=at == length - 1) for at in range(length)]
        return torch.cat(parts, 1)

    once = whole(rows)
    size = float(once.abs().max().clamp(min=1e-6))
    text = " ".join(item.prompt + item.answer for one in asked for item in one.items[:1])
    checks: dict[str, tuple[float, float]] = {
        "cached_equals_whole": (float((stepwise(rows) - once).abs().max()) / size, limit),
        "no_look_ahead": (float((whole(changed)[:, :-1] - once[:, :-1]).abs().max()) / size, limit / 10),
        "same_twice": (float((whole(rows) - once).abs().max()), 0.0),
        "finite": (float((~torch.isfinite(once)).sum()), 0.0),
        "tokenizer_round_trip": (float(tokenizer.decode(tokenizer.encode(text)) != text), 0.0),
    }
    found = {name: {"value": value, "limit": most, "passed": value <= most} for name, (value, most) in checks.items()}
    return {"passed": all(one["passed"] for one in found.values()), "checks": found}

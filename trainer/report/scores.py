"""Scores beyond rows right and wrong as tables: votes, and checks of each answer."""

from typing import Any

CHECKS = {
    "paths": (
        "Paths",
        {
            "valid": "one line of path cells from start to goal, nothing else changed",
            "shortest": "and no other path is shorter",
            "exact": "and it is the path that is known",
        },
    ),
    "grids": (
        "Grids",
        {
            "exact": "cut where the answer says it ends, the grid is the truth",
            "shape": "it has the truth's size",
            "pixels": "part of the truth's cells that are right in it",
        },
    ),
    "rules": ("Rules", {"valid": "every rule and every given kept", "exact": "and it is the solution that is known"}),
}
"""Name in eval.json -> title, and check -> meaning."""

Row = tuple[str, str, list[str]]
"""Name, meaning, cells."""


def votes(test: dict[str, Any]) -> dict[str, Any] | None:
    """Return the table of pass@k: single pass, vote of the checkpoint, ensemble; each under a name of its own."""
    voting = test.get("voting")
    if voting is None:
        return None
    ks = list(voting["pass_at"])
    rows: list[Row] = []
    if voting["single_pass"]:
        rows.append(
            ("Single pass", "the answer to each task as it is, without any vote", _cells(voting["single_pass"], ks))
        )
    rows.append(("Vote of this checkpoint", f"{voting['ballots']:,} ballots", _cells(voting, ks)))
    if ensemble := test.get("ensemble"):
        steps = ", ".join(f"{step:,}" for step in ensemble["steps"])
        meaning = f"{ensemble['ballots']:,} ballots of the checkpoints {steps}; not the score of one model"
        rows.append(("Ensemble of checkpoints", meaning, _cells(ensemble, ks)))
    return {"ks": ks, "rows": rows, "tasks": voting["tasks"], "test_inputs": voting["test_inputs"]}


def checks(test: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a table for each sort of check that was made: title, and rows of name, meaning and share."""
    found = []
    for key, (title, meanings) in CHECKS.items():
        if key in test:
            intervals = test[key].get("intervals", {})
            rows = [
                (name, meaning, [_share(test[key][name], intervals.get(name))]) for name, meaning in meanings.items()
            ]
            found.append({"title": title, "rows": rows})
    if told := test.get("self_correction"):
        rows = [(f"attempt {n}", "", [_share(share, None)]) for n, share in enumerate(told["exact_by_attempt"], 1)]
        found.append({"title": "Right within so many attempts, told by the truth what was wrong", "rows": rows})
    return found


def _cells(scored: dict[str, Any], ks: list[str]) -> list[str]:
    return [_share(scored["pass_at"][k], scored["intervals"][k]) if k in scored["pass_at"] else "" for k in ks]


def _share(share: float, interval: dict[str, Any] | None) -> str:
    return f"{100 * share:.1f} %" + (f" ({range_of(interval)})" if interval else "")


def range_of(interval: dict[str, Any]) -> str:
    """Return an interval as `12.3–45.6`, in per cent."""
    return f"{100 * interval['low']:.1f}–{100 * interval['high']:.1f}"

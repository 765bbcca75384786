"""Tasks that were voted on, as pictures: demonstrations, truth, and the first answers with their votes."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from trainer.report.grids import draw

STATUSES = {
    "right": ("Right", "the truth has the most votes, for every test input"),
    "found": ("Found, not first", "the truth is among the answers for every test input, but not first for each"),
    "wrong": ("Wrong", "no answer is the truth, for a test input at least"),
}


def gallery(evaluation: dict[str, Any] | None) -> dict[str, Any]:
    """Return `tasks` with their pictures, `filters`: (status, title, meaning, how many of them), and `total`.

    `total` is the number of tasks that were scored, of which the gallery shows an even part.
    """
    kind = (evaluation or {}).get("grid", {}).get("kind", "")
    tasks = [_task(task, kind) for task in (evaluation or {}).get("gallery", [])]
    filters = [
        (status, title, meaning, sum(task["status"] == status for task in tasks))
        for status, (title, meaning) in STATUSES.items()
    ]
    voting = (evaluation or {}).get("sets", {}).get("test", {}).get("voting", {})
    return {"tasks": tasks, "filters": filters, "total": max(len(tasks), voting.get("tasks", 0))}


def status_of(task: dict[str, Any]) -> str:
    """Return `right`, `found` or `wrong`."""
    places = [test["place"] for test in task["tests"]]
    if all(place == 1 for place in places):
        return "right"
    return "found" if all(place is not None for place in places) else "wrong"


def same_tasks(evaluations: list[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """Return the tasks that every one of `evaluations` shows, and what each answered first: for a row of pictures.

    A task has its `name`, and under `tests`, for each test input, pictures as (caption, markup): the question, the
    truth, and the first answer of each evaluation. Runs whose questions are no tasks, as Sudokus, have none in common.
    """
    shown = [{task["task"]: task["tests"] for task in (found or {}).get("gallery", [])} for found in evaluations]
    common = [name for name, tests in shown[0].items() if all(_asked(one.get(name)) == _asked(tests) for one in shown)]
    return [
        {"name": name, "tests": [_answers(tests) for tests in zip(*(one[name] for one in shown), strict=True)]}
        for name in common
    ]


def _asked(tests: list[dict[str, Any]] | None) -> list[Any] | None:
    """Return questions and truths; tasks of one name may be other tasks."""
    return None if tests is None else [(test["question"], test["truth"]) for test in tests]


def _answers(tests: Sequence[dict[str, Any]]) -> list[tuple[str, Markup]]:
    question, truth = tests[0]["question"], tests[0]["truth"]
    pictures = [("test input", Markup(draw(question, "arc", "test input")))]
    pictures.append(("truth", Markup(draw(truth, "arc", "truth"))))
    for number, test in enumerate(tests, 1):
        first = test["answers"][0]["grid"] if test["answers"] else []
        right = " ✓" if first == truth else ""
        pictures.append((f"run {number}{right}", Markup(draw(first, "arc", f"answer of run {number}", truth=truth))))
    return pictures


def _task(task: dict[str, Any], kind: str) -> dict[str, Any]:
    status = status_of(task)
    return {
        "name": task["task"],
        "status": status,
        "title": STATUSES[status][0],
        "demonstrations": [
            (Markup(draw(question, kind, "input")), Markup(draw(answer, kind, "output")))
            for question, answer in task["demonstrations"]
        ],
        "tests": [_test(test, kind) for test in task["tests"]],
    }


def _test(test: dict[str, Any], kind: str) -> dict[str, Any]:
    truth = test["truth"]
    pictures = [
        ("test input", "", Markup(draw(test["question"], kind, "test input"))),
        ("truth", "", Markup(draw(truth, kind, "truth"))),
    ]
    for number, answer in enumerate(test["answers"], 1):
        right = " ✓" if answer["grid"] == truth else ""
        share = f"{answer['votes']} of {test['ballots']} votes, {100 * answer['confidence']:.0f} % sure"
        drawn = draw(answer["grid"], kind, f"answer {number}", truth=truth)
        pictures.append((f"answer {number}{right}", share, Markup(drawn)))
    place = test["place"]
    return {"pictures": pictures, "place": f"the truth is answer {place}" if place else "the truth got no vote"}

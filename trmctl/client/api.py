"""Requests to an API server: with timeouts, asked again where that may help, answers in one piece or line by line."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

from trmctl.client.answers import AGAIN, Answer, error
from trmctl.client.patience import Patience, Tries
from trmkit.errors import ClusterError, ClusterUnreachableError

JSON = "application/json"
Query = dict[str, str]
Settle = Callable[[Answer | None], dict[str, Any] | None]
"""Hears of every try that did not go well; may return the object that takes the answer's place."""


class GoneError(ClusterError):
    """A watch, or the next page of a list, begins at a version that is too old."""


class Api:
    """One API server. May be used by several threads."""

    def __init__(
        self, pool: Any, host: str, log_in: Callable[[], dict[str, str]], patience: Patience, say: Callable[[str], None]
    ) -> None:
        """Send through a `urllib3.PoolManager` that asks nothing again itself; `log_in` returns the headers for it."""
        self._pool = pool
        self._host = host
        self._log_in = log_in
        self._patience = patience
        self._say = say
        self._known = False
        self.requests = 0
        """Requests sent so far, repetitions too."""

    def ask(
        self,
        method: str,
        path: str,
        doing: str,
        query: Query | None = None,
        body: Any = None,
        *,
        content: str = JSON,
        settle: Settle | None = None,
        once: bool = False,
    ) -> Answer | dict[str, Any]:
        """Return the answer, whatever its status, or what `settle` says. ClusterUnreachableError: there is none."""
        tries = self.tries()
        while True:
            answer, why = self._once(method, path, query or {}, body, content, tries.timeout)
            if answer is not None and answer.status not in AGAIN:
                return answer
            settled = settle(answer) if settle else None
            if settled is not None:
                return settled
            if once or not tries.again(why, answer):
                raise error(answer or Answer(0, why, {}), doing)

    def text(self, path: str, doing: str, query: Query | None = None, *, once: bool = False) -> str:
        """Return the text that GET gives."""
        answer = self.ask("GET", path, doing, query, once=once)
        assert isinstance(answer, Answer)
        return good(answer, doing).text

    def object(
        self, method: str, path: str, doing: str, query: Query | None = None, body: Any = None, **how: Any
    ) -> dict[str, Any]:
        """Return the object that is answered. Raises what `error` makes of another answer."""
        answer = self.ask(method, path, doing, query, body, **how)
        return parsed(good(answer, doing).text, doing) if isinstance(answer, Answer) else answer

    def tries(self) -> Tries:
        """Return the tries of a new question."""
        return Tries(self._patience, self._known, self._say)

    def lines(self, path: str, doing: str, query: Query, quiet: float) -> Iterator[str]:
        """Yield the lines of an answer as they come; it ends when it ends, is cut, or says nothing for so long.

        GoneError: what is asked for is too old.
        """
        import urllib3

        tries = self.tries()
        while True:
            answer = None
            try:
                response = self._send("GET", path, query, None, JSON, quiet, whole=False)
                if response.status == 200:
                    break
                answer = _answer(response, bytes(response.read()))
                why = answer.message
            except urllib3.exceptions.ReadTimeoutError:
                return  # nothing was said: a log's first line comes with the head of the answer
            except (urllib3.exceptions.HTTPError, OSError) as problem:
                why = short(problem)
            if answer is not None and answer.status == 410:
                raise GoneError(f"{doing}: {why}")
            if answer is not None and answer.status not in AGAIN:
                raise error(answer, doing)
            if not tries.again(why, answer):
                raise error(answer or Answer(0, why, {}), doing)
        yield from _split(response)

    def headers(self) -> dict[str, str]:
        """Return what every request carries."""
        from trmkit import __version__

        return {"User-Agent": f"trmctl/{__version__}", "Accept": "application/json, */*", **self._log_in()}

    def _once(
        self, method: str, path: str, query: Query, body: Any, content: str, timeout: float
    ) -> tuple[Answer | None, str]:
        """Return the answer to one request and what is wrong with it; None: there is none."""
        import urllib3

        try:
            response = self._send(method, path, query, body, content, timeout, whole=True)
        except urllib3.exceptions.SSLError as problem:
            raise ClusterUnreachableError(
                f"{self._host}: {short(problem)}", next="check certificate-authority-data in the kubeconfig"
            ) from problem
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            return None, f"{self._host}: {short(problem)}"
        self._known = True
        answer = _answer(response, bytes(response.data))
        return answer, answer.message if answer.status >= 400 else ""

    def _send(
        self, method: str, path: str, query: Query, body: Any, content: str, timeout: float, *, whole: bool
    ) -> Any:
        import urllib3

        self.requests += 1
        return self._pool.request(
            method,
            self._host + path + (f"?{urlencode(query)}" if query else ""),
            body=None if body is None else json.dumps(body).encode(),
            headers={**self.headers(), "Content-Type": content},
            timeout=urllib3.Timeout(connect=min(self._patience.connect, timeout), read=timeout),
            preload_content=whole,
        )


def good(answer: Answer, doing: str) -> Answer:
    """Return an answer that says yes. Raises the error that it means."""
    if answer.status // 100 != 2:
        raise error(answer, doing)
    return answer


def parsed(text: str, doing: str) -> dict[str, Any]:
    """Return a JSON object. ClusterUnreachableError: it is none, so what answered is no API server."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ClusterUnreachableError(
            f"{doing}: what answers there is no Kubernetes API server", next="check the server in the kubeconfig"
        )
    return found


def short(problem: Exception) -> str:
    """Return why there was no answer, without the client's wrapping."""
    text = str(getattr(problem, "reason", None) or problem)
    return re.sub(r"^(<[^>]*>|HTTPS?Connection(Pool)?\([^)]*\)): ", "", text) or type(problem).__name__


def _answer(response: Any, content: bytes) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status, content.decode(errors="replace"), headers)


def _split(response: Any) -> Iterator[str]:
    """Yield lines; a connection that is cut ends them."""
    import urllib3

    rest = b""
    try:
        for piece in response.stream(amt=None if response.chunked else 65536):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line.decode(errors="replace")
    except (urllib3.exceptions.HTTPError, OSError):
        rest = b""  # half a line; whoever reads on asks for it again
    finally:
        response.close()
    if rest:
        yield rest.decode(errors="replace")

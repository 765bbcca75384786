"""`python -m workflows.notify NAME NAMESPACE STATUS SECONDS FAILURES`: tells the webhook in `NOTIFY_URL`, if any.

What is sent has a `text`, which Slack and its likes show, and the same in fields for programs. A webhook that fails
does not fail the pipeline: it is over by then.
"""

import json
import os
import sys
import urllib.error
import urllib.request

from trmkit.errors import StoreError
from trmkit.store.address import refuse_link_local

TIMEOUT = 15.0
"""Seconds."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else: the address was checked, the next one was not."""

    def redirect_request(self, *_: object) -> None:
        """Follow no redirect."""


def message(name: str, namespace: str, status: str, seconds: str, failures: str) -> dict[str, object]:
    """Return what is sent."""
    try:
        found = json.loads(failures or "[]")
        found = json.loads(found) if isinstance(found, str) else found  # Argo quotes what it puts in
        failed = [str(one.get("displayName", "?")) for one in found]
    except (ValueError, AttributeError, TypeError):
        failed = []
    took = f"{float(seconds):.0f} s" if seconds.replace(".", "", 1).isdigit() else seconds
    text = f"{namespace}/{name}: {status} after {took}" + (f"; failed: {', '.join(failed)}" if failed else "")
    return {"text": text, "workflow": name, "namespace": namespace, "status": status, "failed": failed}


def main(arguments: list[str]) -> int:
    """Send it; always 0."""
    content = message(*arguments)
    print(content["text"])
    url = os.environ.get("NOTIFY_URL", "")
    if not url.startswith(("http://", "https://")):
        return 0
    request = urllib.request.Request(url, json.dumps(content).encode(), {"Content-Type": "application/json"})
    try:
        refuse_link_local(url)
        with urllib.request.build_opener(NoRedirect).open(request, timeout=TIMEOUT) as answer:
            print(f"the webhook answered {answer.status}")
    except StoreError as error:
        print(f"the webhook was not called: {error.message}", file=sys.stderr)
    except (urllib.error.URLError, OSError) as error:
        print(f"the webhook was not reached: {getattr(error, 'reason', error)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

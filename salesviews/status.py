"""``salesviews status``: what the web server says of the pipeline, as text for a terminal."""

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

from salesviews.errors import SalesviewsError
from salesviews.settings import Settings

_TIMEOUT_S = 10.0


def fetch(settings: Settings) -> dict[str, Any]:
    """The answer of ``/api/status``: ``data`` and ``snapshot``.

    :raises SalesviewsError: if nothing answers, or something else does
    """
    url = f"{settings.url}/api/status"
    headers = {"Authorization": f"Bearer {settings.web_token}"} if settings.web_token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S) as response:
            body = json.load(response)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise SalesviewsError(
            f"No status at {url}: {reason}. Is it up (`salesviews up`), and do SALESVIEWS_HOST and SALESVIEWS_PORT "
            "name its web server? "
            "SALESVIEWS_WEB_TOKEN has to be the server's."
        ) from error
    if not isinstance(body, dict) or not isinstance(body.get("data"), dict):
        raise SalesviewsError(f"What answers at {url} is not a salesviews web server. Check SALESVIEWS_PORT.")
    return body


def text(body: dict[str, Any]) -> str:
    """The figures that an operator looks at first, one a line."""
    data = body["data"]
    snapshot = body.get("snapshot") or {}
    lines = [f"snapshot   {_snapshot(snapshot)}", f"lag        {_messages(data.get('lag', {}).get('messages'))}"]
    for name, group in (data.get("processors") or {}).items():
        members = len(group["members"])
        processes = f"{members} process{'' if members == 1 else 'es'}"
        lines.append(f"{name:<10} {group['state']}, {processes}, {_messages(group['lag'])} behind")
    kafka = data.get("kafka", {})
    lines.append(f"kafka      {'answers' if kafka.get('answers') else kafka.get('trouble')}")
    if missing := kafka.get("missing_topics"):
        lines.append(f"           topics that do not exist: {', '.join(missing)}")
    if failure := data.get("snapshot", {}).get("failure"):
        lines.append(f"failure    {failure['message']} (since {failure['since']}, {failure['attempts']} attempts)")
    tables = data.get("snapshot", {}).get("tables") or {}
    width = max(map(len, tables), default=0)
    lines += [
        f"{name:<{width}}  version {_count(at['version'])}, {_count(at['rows'])} rows" for name, at in tables.items()
    ]
    lines.append("versions   " + ", ".join(f"{name} {version}" for name, version in data.get("versions", {}).items()))
    return "\n".join(lines)


def _snapshot(snapshot: dict[str, Any]) -> str:
    if snapshot.get("id") is None:
        return "none yet"
    state = "caught up" if snapshot.get("caught_up") else "catching up"
    return f"{snapshot['id']}, {snapshot['age_ms'] / 1000:.1f} s old, {state} when it was made"


def _count(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"


def _messages(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,} message{'' if count == 1 else 's'}"

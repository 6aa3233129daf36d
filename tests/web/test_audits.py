"""The last audit as the web server follows it."""

from pathlib import Path

from salesviews.audit import audit_result
from salesviews.lake import Lake
from web.audits import AuditWatch


def test_the_last_audit_is_followed(tmp_path: Path) -> None:
    """Law: none before the first; then what the newest left beside the tables; a damaged one is none."""
    watch = AuditWatch(Lake(str(tmp_path)))
    watch.look()
    assert watch.last is None
    file = tmp_path / audit_result.FILE
    for holds in ("true", "false"):
        file.write_text(f'{{"holds": {holds}}}')
        watch.look()
        assert watch.last == {"holds": holds == "true"}
    file.write_text("{")
    watch.look()
    assert watch.last is None

"""What was logged, with everything in it: to look for what must not be there."""

import json

import pytest


def everything_logged(caplog: pytest.LogCaptureFixture) -> str:
    """Every log line with all that stands in it, but for what AWS's SDK says of itself."""
    lines = [vars(record) for record in caplog.records if not record.name.startswith(("boto", "urllib3"))]
    assert lines
    return caplog.text + json.dumps(lines, default=repr, ensure_ascii=False)

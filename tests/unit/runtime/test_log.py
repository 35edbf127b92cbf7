"""What becomes of what is logged."""

import io
import json
import logging

import pytest

from sd_runtime import log

FORGED = "a\n13:00:00 ready\x1b[31m\u2028b"


@pytest.fixture
def restored():
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, root.level = before


@pytest.mark.parametrize("plain", [True, False])
def test_what_a_client_chose_never_makes_a_line_of_its_own(restored, plain):
    stream = io.StringIO()
    log.configure("INFO", stream, plain=plain)
    logging.getLogger("x").info("job %s", FORGED, extra={"client_task": FORGED})
    written = stream.getvalue()
    assert written.count("\n") == 1
    assert "\x1b" not in written


def test_what_was_said_is_read_back(restored):
    stream = io.StringIO()
    log.configure("INFO", stream)
    logging.getLogger("x").info("job %s", FORGED, extra={"client_task": FORGED})
    entry = json.loads(stream.getvalue())
    assert (entry["message"], entry["client_task"]) == (f"job {FORGED}", FORGED)

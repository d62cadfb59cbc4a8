#!/usr/bin/env python3
"""Ask pip-audit about every locked dependency; a finding fails, unless `.ci/audit-waivers` names it with a reason.

An index that cannot be reached, or that does not serve vulnerabilities (as many mirrors), is printed and does not fail:
a build must not hang on somebody else's network. So one dependency is asked about first, and the others only if the
index knew it.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WAIVERS = ROOT / ".ci" / "audit-waivers"
LOCKS = ("requirements/base.txt", "requirements/dev.txt")
# How pip-audit and the HTTP client below it say that nobody answered.
UNREACHABLE = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|ServiceError|Could not connect|may be blocking"
)


def read_waivers(text: str) -> dict[str, str]:
    """Id and reason of each waiver.

    Raises:
        ValueError: a waiver gives no reason.
    """
    waivers: dict[str, str] = {}
    for line in text.splitlines():
        entry, _, reason = line.strip().partition(" ")
        if not entry or entry.startswith("#"):
            continue
        if not reason.strip():
            message = f"The waiver {entry} gives no reason."
            raise ValueError(message)
        waivers[entry] = reason.strip()
    return waivers


def judge(report: str, complaints: str, waivers: Mapping[str, str]) -> tuple[bool, list[str]]:
    """Whether the audit passes, and what to print.

    Args:
        report: the JSON that pip-audit wrote; empty if it did not come so far.
        complaints: its standard error.
        waivers: id and reason.
    """
    if not report.strip():
        if UNREACHABLE.search(complaints):
            reason = complaints.strip().splitlines()[-1][:200]
            return True, [f"NOTE: not audited, the vulnerability index cannot be reached: {reason}"]
        return False, [f"pip-audit failed:\n{complaints}"]
    if not answered(report):
        return True, ["NOTE: not audited, the index does not serve vulnerabilities"]
    dependencies = json.loads(report)["dependencies"]
    skipped = [dependency["name"] for dependency in dependencies if "skip_reason" in dependency]
    passes, lines, used = True, [], set()
    for dependency in dependencies:
        for finding in dependency.get("vulns", []):
            ids = [finding["id"], *finding.get("aliases", [])]
            where = f"{ids[0]} in {dependency['name']} {dependency['version']}"
            waived = next((name for name in ids if name in waivers), None)
            if waived:
                used.add(waived)
                lines.append(f"waived: {where}: {waivers[waived]}")
            else:
                passes = False
                repaired = ", ".join(finding.get("fix_versions", [])) or "no version yet"
                lines.append(f"FOUND: {where} ({', '.join(ids[1:]) or 'no alias'}); repaired in: {repaired}")
    lines += [f"NOTE: the index does not know {', '.join(skipped)}"] if skipped else []
    lines += [f"NOTE: the waiver {name} matches nothing any more" for name in sorted(set(waivers) - used)]
    return passes, [*lines, f"{len(dependencies) - len(skipped)} dependencies audited."]


def ask(*requirements: str) -> tuple[str, str]:
    """The JSON report of pip-audit on the texts of requirement files (empty if it made none), and its complaints."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{number}.txt") for number in range(len(requirements))]
        for file, text in zip(files, requirements, strict=True):
            file.write_text(text, encoding="utf-8")
        report = Path(folder, "report.json")
        options = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json"]
        places = ["--output", str(report), "--cache-dir", ".cache/pip-audit"]
        inputs = [part for file in files for part in ("--requirement", str(file))]
        command = [sys.executable, "-m", "pip_audit", *inputs, *options, *places]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return report.read_text(encoding="utf-8") if report.exists() else "", ran.stderr


def first_entry(text: str) -> str:
    """The first requirement of a lock file, with its hashes."""
    return next(entry for entry in re.split(r"\n(?=[A-Za-z0-9])", text) if "--hash" in entry)


def answered(report: str) -> bool:
    """Whether the index knew at least one of the dependencies."""
    return bool(report.strip()) and any("skip_reason" not in entry for entry in json.loads(report)["dependencies"])


def main() -> int:
    """Run pip-audit and print the verdict."""
    waivers = read_waivers(WAIVERS.read_text(encoding="utf-8"))
    locks = [(ROOT / lock).read_text(encoding="utf-8") for lock in LOCKS]
    report, complaints = ask(first_entry(locks[0]))
    if answered(report):
        report, complaints = ask(*locks)
    passes, lines = judge(report, complaints, waivers)
    print("\n".join(lines))
    return 0 if passes else 1


if __name__ == "__main__":
    sys.exit(main())

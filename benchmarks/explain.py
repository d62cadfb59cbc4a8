"""Plans of the hot statements, as prepared statements get them: generic, whatever the statistics say.

python -m benchmarks.explain          prints every plan against the database of DATABASE_URL
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).parent.parent
_NUMBERED = re.compile(r"\$(\d+)")
_PARAMETER = re.compile(r"%\((\w+)\)[sb]")


def statements() -> dict[str, str]:
    """The named statements, `jobs/commit` for `jobs/sql/commit.sql`."""
    return {
        f"{path.parent.parent.name}/{path.stem}": path.read_text(encoding="utf-8")
        for app in ("jobs", "events")
        for path in sorted((ROOT / app / "sql").glob("*.sql"))
    }


def plan(link: psycopg.Connection[Any], sql: str) -> dict[str, Any]:
    """The generic plan of a statement, as EXPLAIN's JSON."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found.group(1) not in names:
            names.append(found.group(1))
        return f"${names.index(found.group(1)) + 1}"

    text = _PARAMETER.sub(number, sql).replace("%%", "%")
    link.execute("set plan_cache_mode = force_generic_plan")
    link.execute(f"prepare explained as {text}")
    try:
        number_of = len(names) or len(set(_NUMBERED.findall(text)))
        arguments = f"({', '.join(['null'] * number_of)})" if number_of else ""
        row = link.execute(f"explain (format json) execute explained{arguments}").fetchone()
        if row is None:
            message = "EXPLAIN returned nothing"
            raise RuntimeError(message)
        found = row[0] if isinstance(row[0], list) else json.loads(row[0])
        return dict(found[0]["Plan"])
    finally:
        link.execute("deallocate explained")


def nodes(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """Every node of a plan, depth first."""
    return [tree] + [node for child in tree.get("Plans", []) for node in nodes(child)]


def sketch(tree: dict[str, Any], depth: int = 0) -> str:
    """A plan as indented text."""
    about = " ".join(
        str(tree[key])
        for key in ("Relation Name", "Index Name", "CTE Name", "Subplan Name", "Operation")
        if key in tree
    )
    line = f"{'  ' * depth}{tree['Node Type']} {about} rows={tree['Plan Rows']} cost={tree['Total Cost']}"
    return "\n".join([line, *(sketch(child, depth + 1) for child in tree.get("Plans", []))])


def main() -> None:
    """Print every plan."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as link:
        for name, sql in statements().items():
            print(f"== {name}\n{sketch(plan(link, sql))}\n")


if __name__ == "__main__":
    main()

"""Pages of rows that may be large: one that has enough bytes ends early, and nothing of it was written in vain."""

from collections.abc import Sequence

PAGE_BYTES = 4 * 1024 * 1024
"""So many bytes of JSON one page shows, and one row more. What is stored tells nothing: it is compressed."""


def walk(*, head: str, page: str, bodies: Sequence[str], row: str) -> str:
    """A statement that shows a page: its rows' `head`, their `bodies` as texts, and last the number of all its rows.

    `page`: a SELECT of the columns named in `head`, with its order and limit. `bodies`: large columns of a row `r`,
    which `row` (`from … r where …`) finds by the columns of `page`. It writes the bodies of one row after another and
    stops when it has enough: then it returns fewer rows than the page has.

    All parts are constants of the caller; values are parameters.
    """
    texts = ", ".join(f"r.{name}::text as {name}" for name in bodies)
    more = " + ".join(f"coalesce(octet_length(found.{name}), 0)" for name in bodies)
    # The inner `offset 0` keeps the planner, who knows nothing of the numbers, from finding all rows for each step.
    return f"""
with recursive page as materialized (
    select numbered.*, row_number() over () as number from ({page}) numbered
),
walk as (
    select 0::bigint as number, 0::bigint as bytes, {", ".join(f"null::text as {name}" for name in bodies)}
    union all
    select page.number, walk.bytes + {more}, found.*
    from walk
    cross join lateral (select * from page p where p.number = walk.number + 1 offset 0) page
    cross join lateral (select {texts} {row} offset 0) found
    where walk.bytes < {PAGE_BYTES}
)
select {head}, {", ".join(f"walk.{name}" for name in bodies)}, (select count(*) from page)
from page join walk using (number)
order by number
"""  # noqa: S608 - no part comes from a request

"""docs/operations.md lists the metrics that there are."""

from pathlib import Path

import pytest

from jobplatform import metrics

PAGE = Path(__file__).resolve().parents[3] / "docs" / "operations.md"


@pytest.mark.django_db
def test_the_page_lists_every_metric_with_its_labels_and_what_it_means() -> None:
    rows = [
        f"| `{family.name.removeprefix('jobplatform_')}{'_total' if family.type == 'counter' else ''}` | {family.type}"
        f" | {', '.join(f'`{label}`' for label in getattr(family, '_labelnames', ()))} | {family.documentation} |"
        for family in metrics.collect()
    ]
    head = "| metric | type | labels | what |\n|---|---|---|---|\n"
    listed = PAGE.read_text().partition(head)[2].partition("\n\n")[0].splitlines()

    assert listed == rows, "\n".join(rows)

"""docs/operations.md lists the metrics that there are."""

from pathlib import Path

import pytest
from prometheus_client.core import Metric

from jobplatform import chain_metrics, metrics

PAGE = Path(__file__).resolve().parents[3] / "docs" / "operations.md"


def row(family: Metric) -> str:
    return (
        f"| `{family.name.removeprefix('jobplatform_')}{'_total' if family.type == 'counter' else ''}` | {family.type}"
        f" | {', '.join(f'`{label}`' for label in getattr(family, '_labelnames', ()))} | {family.documentation} |"
    )


def listed(page: Path) -> list[str]:
    head = "| metric | type | labels | what |\n|---|---|---|---|\n"
    return page.read_text().partition(head)[2].partition("\n\n")[0].splitlines()


@pytest.mark.django_db
def test_the_page_lists_every_metric_with_its_labels_and_what_it_means() -> None:
    rows = [row(family) for family in metrics.collect()]

    assert listed(PAGE) == rows, "\n".join(rows)


@pytest.mark.django_db
def test_so_does_the_page_of_confirmations_with_those_of_the_chain() -> None:
    rows = [row(family) for family in chain_metrics.collect()]

    assert listed(PAGE.with_name("confirmations.md")) == rows, "\n".join(rows)

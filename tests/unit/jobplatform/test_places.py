"""What a data directory says of itself, and how far root believes it."""

from pathlib import Path

import pytest

from jobplatform.places import EmbeddedError, _state_of


@pytest.mark.parametrize(
    "state",
    [
        '{"home": "/etc"}',
        '{"home": "/var/lib/jobplatform/../../../etc"}',
        '{"sockets": "/root"}',
        '{"sockets": "/tmp/jobplatform-abcdefgh/../../etc"}',
        '{"sockets": "jobplatform-abcdefgh"}',
    ],
)
def test_root_gives_away_and_deletes_nothing_that_a_state_file_makes_up(tmp_path: Path, state: str) -> None:
    (tmp_path / "embedded.json").write_text(state)

    with pytest.raises(EmbeddedError, match="none of the platform's"):
        _state_of(tmp_path)


def test_what_was_chosen_is_remembered(tmp_path: Path) -> None:
    (tmp_path / "embedded.json").write_text(
        '{"home": "/var/lib/jobplatform/0123abcd-4567", "sockets": "/tmp/jobplatform-a_c45fgh"}'
    )

    assert set(_state_of(tmp_path)) == {"home", "sockets"}

"""Files that are ours alone, where somebody else may have been before."""

import stat
from pathlib import Path

import pytest

from jobplatform import private


@pytest.fixture
def treasure(tmp_path: Path) -> Path:
    """What somebody would like to have overwritten."""
    path = tmp_path / "treasure"
    path.write_text("gold")
    path.chmod(0o644)
    return path


def test_a_file_is_replaced_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "file"
    private.write(path, "one")
    private.write(path, "two")

    assert path.read_text() == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("planted", ["file", "file.new"])
def test_a_link_that_somebody_planted_is_replaced_and_not_followed(
    tmp_path: Path, treasure: Path, planted: str
) -> None:
    (tmp_path / planted).symlink_to(treasure)

    private.write(tmp_path / "file", "ours")

    assert treasure.read_text() == "gold"
    assert stat.S_IMODE(treasure.stat().st_mode) == 0o644
    assert (tmp_path / "file").read_text() == "ours"
    assert not (tmp_path / "file").is_symlink()


def test_nothing_is_appended_through_a_link(tmp_path: Path, treasure: Path) -> None:
    (tmp_path / "log").symlink_to(treasure)

    with pytest.raises(OSError, match="symbolic link"):
        private.append(tmp_path / "log")


def test_no_directory_is_made_private_or_written_to_through_a_link(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    (tmp_path / "logs").symlink_to(theirs)

    with pytest.raises(NotADirectoryError):
        private.directory(tmp_path / "logs")
    with pytest.raises(NotADirectoryError):
        private.write(tmp_path / "logs" / "file", "ours")

    assert stat.S_IMODE(theirs.stat().st_mode) == 0o755
    assert not any(theirs.iterdir())

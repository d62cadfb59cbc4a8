"""Text of the admin's pages: always escaped, readable without colour, bounded."""

import datetime as dt

import pytest

from jobplatform.backoffice import markup
from jobplatform.backoffice.markup import Look

NOW = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)
EVIL = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "< 0.1 ms"),
        (0.0042, "4.2 ms"),
        (0.25, "250 ms"),
        (0.9999, "1.00 s"),
        (1.25, "1.25 s"),
        (187, "3 min 07 s"),
        (18_120, "5 h 02 min"),
        (100_000, "1 d 03 h"),
        (-5, "< 0.1 ms"),
    ],
)
def test_a_duration_reads_like_a_sentence(seconds: float | None, text: str) -> None:
    assert markup.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "now"),
        (-45, "45 s ago"),
        (200, "in 3 min"),
        (-7200, "2 h ago"),
        (3 * 86_400, "in 3 d"),
        (-30 * 86_400, "2026-01-30 12:00"),
    ],
)
def test_a_moment_is_told_by_its_distance(seconds: float, text: str) -> None:
    assert markup.distance(NOW + dt.timedelta(seconds=seconds), NOW) == text


def test_a_moment_tells_the_exact_time_on_hover() -> None:
    assert 'title="2026-03-01 12:00:00.000 UTC"' in markup.moment(NOW, now=NOW)


def test_a_badge_says_its_word_beside_its_sign() -> None:
    badge = markup.badge("pending_approval", Look("ask", "approval"))

    assert "pending approval</span>" in badge
    assert 'aria-hidden="true">approval<' in badge


@pytest.mark.parametrize("made", [markup.badge(EVIL, Look("a", EVIL)), markup.code(EVIL), markup.words([EVIL] * 9)])
def test_what_is_shown_is_escaped(made: str) -> None:
    assert "<script>" not in made
    assert "&lt;script&gt;" in made


def test_control_characters_and_direction_marks_are_written_out() -> None:
    assert markup.visible("a\x1b[31m\u202eb\x00\n\t") == "a\\u001b[31m\\u202eb\\u0000\n\t"


def test_json_is_indented_and_cut() -> None:
    shown = markup.pretty({"a": "x" * 100}, limit=20)

    assert shown is not None
    assert shown.text == '{\n  "a": "xxxxxxxxxx'[:20]
    assert shown.cut == len('{\n  "a": "' + "x" * 100 + '"\n}') - 20


def test_nothing_is_shown_as_nothing() -> None:
    assert markup.pretty(None) is None
    assert [markup.brief(None), markup.brief({}), markup.brief([])] == ["", "", ""]


def test_a_brief_value_is_one_line() -> None:
    assert markup.brief({"a": 1, "b": "line\nline"}) == '{"a": 1, "b": "line\\nline"}'
    assert markup.brief("x" * 50, 10) == '"xxxxxxxx…'


@pytest.mark.parametrize(
    ("progress", "share"),
    [
        ({"done": 1, "total": 3}, 33),
        ({"done": 9, "total": 3}, 100),
        ({"done": -1, "total": 3}, 0),
        ({"done": 1, "total": 0}, None),
        ({"done": float("nan"), "total": 1}, None),
        ({"done": 1, "total": float("inf")}, None),
        ({"done": "<b>", "total": 3}, None),
        (None, None),
        ("60 %", None),
    ],
)
def test_a_share_is_told_only_where_there_is_one(progress: object, share: int | None) -> None:
    assert markup.share_of(progress) == share


def test_a_long_list_says_how_much_more_there_is() -> None:
    assert "+3" in markup.words("abcdef", 3)


def test_a_code_is_spoken_and_other_text_stays() -> None:
    assert markup.spoken("refused_too_often") == "refused too often"
    assert markup.spoken("see my_file.txt, please") == "see my_file.txt, please"
    assert markup.spoken("a\u202eb") == "a\\u202eb"


def test_an_object_becomes_names_and_values_in_one_level() -> None:
    evidence = {"nonce": 6, "said": "too_low", "block": {"number": 7, "hash": "0xab"}, "found": [1, 2], "why": None}

    assert markup.facts(evidence) == [
        ("nonce", "6"),
        ("said", "too low"),
        ("block, number", "7"),
        ("block, hash", "0xab"),
        ("found", "[1, 2]"),
        ("why", markup.NOTHING),
    ]
    assert markup.facts("no object") == []

import json

import pytest

from distlab.outcome.restored import bounds
from distlab.outcome.restored.bounds import NotRestoredError, number, parsed


def test_nan_is_none_and_control_characters_are_marks() -> None:
    assert parsed(b'{"a": NaN, "b": -Infinity}') == {"a": None, "b": None}
    assert parsed(json.dumps({"\x1b[2J": "\x07\u202ex\ty\n\ud800"})) == {
        "\ufffd[2J": "\ufffd\ufffdx\ty\n\ufffd"
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000, "deeper than 20"),
        ("[" * 21 + "1" + "]" * 21, "deeper than 20"),
        ("9" * 5_000, "no JSON"),
        (str(2**63), r"beyond 2\*\*63"),
        ("1e999", r"beyond 1e\+24"),
        ("1e25", r"beyond 1e\+24"),
        (json.dumps("x" * 100_001), "more than 100,000 characters"),
        (json.dumps([0] * 20_001), "more than 20,000 entries"),
        (b"\xff\xfe{", "no JSON"),
        ("{", "no JSON"),
    ],
)
def test_what_is_out_of_bounds_is_refused_in_a_line(text: str | bytes, told: str) -> None:
    with pytest.raises(NotRestoredError, match=told) as refused:
        parsed(text)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 200


def test_a_document_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_BYTES", 9)
    with pytest.raises(NotRestoredError, match="more than 9 bytes"):
        parsed("[" + " " * 9 + "]")


@pytest.mark.parametrize("text", ["", None, "x", "nan", "inf", "-1", "1e300"])
def test_a_tag_that_holds_no_number_is_another_one(text: str | None) -> None:
    assert number(text, 7) == 7


def test_a_tag_holds_a_number() -> None:
    assert number("2.5") == 2.5

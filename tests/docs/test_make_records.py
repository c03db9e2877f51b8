from pathlib import Path

from make_records import page

RECORDS = Path(__file__).parents[2] / "docs" / "records.md"


def test_the_page_says_what_the_schema_says() -> None:
    assert RECORDS.read_text() == page(), "make records writes it anew"

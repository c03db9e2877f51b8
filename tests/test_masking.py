import json

import pytest

from distlab import masking
from distlab.masking import learn, mask, masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://bob:S3cret@host:5000/a", "http://bob:***@host:5000/a"),
        ("postgresql+psycopg2://u:p@h/db", "postgresql+psycopg2://u:***@h/db"),
        ("http://:tok@host", "http://:***@host"),
        ("http://bob:a@b:c@host/x@y", "http://bob:***@host/x@y"),
        ("http://bob:S%2Fcret@host", "http://bob:***@host"),
        ("https://h/?a=1&token=abc&b=2", "https://h/?a=1&token=***&b=2"),
        ("postgresql://h/db?user=u&password=abc", "postgresql://h/db?user=u&password=***"),
        ("framework.env.HF_TOKEN=abc epochs=3", "framework.env.HF_TOKEN=*** epochs=3"),
        ("framework.env={A_SECRET: abc, B: 1}", "framework.env={A_SECRET: ***, B: 1}"),
        ("  AWS_SECRET_ACCESS_KEY: abc\n  B: c\n", "  AWS_SECRET_ACCESS_KEY: ***\n  B: c\n"),
        ('{"DB_PASSWORD": "abc"}', '{"DB_PASSWORD": "***"}'),
        ("TOKEN_PATHS=abc", "TOKEN_PATHS=***"),
        ("- framework.env.X_API_KEY='a b'", "- framework.env.X_API_KEY='***'"),
    ],
)
def test_a_secret_is_told_by_where_it_stands(text: str, shown: str) -> None:
    assert mask(text) == shown
    assert mask(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////a/mlruns/mlflow.db",
        "http://host:5000/#/experiments/1?compareRunsMode=CHART",
        "file:///tmp/a@b:c",
        "rank 0: epoch 1: loss 0.3, comparison_key: 1a2b",
        "http://bob@host",
        "tokens/s: 12",
        "12:30:01 the user bob@host asked",
        "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=FILE",
        '{"AWS_WEB_IDENTITY_TOKEN_FILE": "/run/token"}',
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask(text) == text


def test_a_learnt_secret_is_found_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_known", set())
    learn({"tracking": {"uri": "http://bob:S3cr%40et@host"}, "env": {"API_TOKEN": "t0ken-7"}})
    assert mask("bob, S3cr@et and S3cr%40et; t0ken-7") == "bob, *** and ***; ***"


def test_a_plain_word_is_not_looked_for_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """``http://bob:torch@host``: the name of the framework is no secret."""
    monkeypatch.setattr(masking, "_known", set())
    learn({"uri": "http://bob:torch@host"})
    assert mask("framework.name=torch http://bob:torch@host") == (
        "framework.name=torch http://bob:***@host"
    )


def test_plain_data_is_masked_by_name_and_by_text() -> None:
    data = {"env": {"MY_PASSWORD": "x", "EMPTY_TOKEN": ""}, "words": ["http://a:b@c", 3, None]}
    assert json.dumps(masked(data)) == json.dumps(
        {"env": {"MY_PASSWORD": "***", "EMPTY_TOKEN": ""}, "words": ["http://a:***@c", 3, None]}
    )

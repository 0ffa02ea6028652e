from __future__ import annotations

import pytest

from experiments.tracking.scrub import remember_secret, scrub, scrub_text

SECRET = "S3cr3tWord"


@pytest.mark.parametrize(
    "text",
    [
        f"mongodb://ann:{SECRET}@db.example:27017/runs?authSource=admin",
        f"mongodb+srv://ann:{SECRET}@cluster.example/x",
        f"mongodb://ann:p@ss/{SECRET}@db/x",
        f"https://{SECRET}@github.com/a/b.git",
        f"https://oauth2:{SECRET}@gitlab.com/a/b.git",
        f"connect with password={SECRET} now",
        f"https://host/x?user=1&api_key={SECRET}&y=2",
        f"weights=https://bucket.s3.example/w.npz?X-Amz-Signature={SECRET}#sha256=00",
        f"mongodb+srv://db.example/x?tlsCertificateKeyFilePassword={SECRET}",
        f"mongodb://db/x?authMechanismProperties=AWS_SESSION_TOKEN:{SECRET}",
        f"WANDB_TOKEN={SECRET}",
        f"Authorization: Bearer {SECRET}",
        "ghp_abcdefghijklmnopqrstuvwxyz0123S3cr3tWord",
        "hf_abcdefghijklmnopqrstuvwxyzS3cr3tWord",
    ],
)
def test_credentials_in_texts_are_hidden(text: str) -> None:
    assert SECRET not in scrub_text(text)
    assert "***" in scrub_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "git@github.com:a/b.git",
        "ssh://git@github.com/a/b.git",
        "mongodb://localhost:27017/x",
        "https://example.com/a@b",
        "agreement@1 0.5, see https://example.com and mail me@example.com",
        "train.loss=0.25, tokenizer=bpe",
    ],
)
def test_ordinary_texts_stay(text: str) -> None:
    assert scrub_text(text) == text


def test_a_long_text_without_blanks_takes_linear_time() -> None:
    assert len(scrub_text("x" * 2_000_000 + "://" + "y" * 2_000_000)) == 4_000_003


def test_nested_values_and_keys_that_name_secrets() -> None:
    value = {"a": [{"db_password": "x", "num_tokens": 3, "tokenizer": "bpe"}], "u": ("mongodb://a:b@c/d", 1)}
    expected = {"a": [{"db_password": "***", "num_tokens": 3, "tokenizer": "bpe"}], "u": ["mongodb://***@c/d", 1]}
    assert scrub(value) == expected


def test_a_remembered_secret_is_hidden_wherever_it_stands() -> None:
    assert "zebra-crossing" in scrub_text("a zebra-crossing b")
    remember_secret("zebra-crossing")
    remember_secret("ab")
    assert scrub_text("a zebra-crossing ab") == "a *** ab"

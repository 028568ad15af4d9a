"""Credentials of URLs are printed, logged and kept nowhere."""

import logging
import traceback
from pathlib import Path

import dagster as dg
import fsspec
import pytest
from fsspec import AbstractFileSystem

from conan_assets.redaction import redacted, redacted_of, without_credentials
from conan_assets.settings import SettingsError, load_settings
from conan_assets_tests.defs.conftest import programme, run

LOCATION = "refusing://key:s3cr/3t@bucket/docs?sig=t0k3n&part=1"
SECRETS = (b"s3cr/3t", b"t0k3n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://key:secret@bucket/docs", "s3://***@bucket/docs"),
        ("s3://key:se/cr+et@bucket/docs is gone", "s3://***@bucket/docs is gone"),
        ("https://token@host:8080/a", "https://***@host:8080/a"),
        ("(https://host/a.csv?sig=abc&b=c, 'x')", "(https://host/a.csv?*** 'x')"),
        ("URL('https://u:p@host/x?y=z')", "URL('https://***@host/x?***')"),
        ("simplecache::s3://k:s@bucket", "simplecache::s3://***@bucket"),
        ("https://host:8080/pkg@1.2", "https://host:8080/pkg@1.2"),
        ("https://host/pkg@1.2 and me@example.org", "https://host/pkg@1.2 and me@example.org"),
        ("/a/b?c", "/a/b?c"),
    ],
)
def test_user_password_and_query_of_a_url_are_hidden(text, expected):
    assert redacted(text) == expected
    assert redacted(expected) == expected


def test_an_error_about_a_url_shows_its_credentials_nowhere():
    text = redacted_of("bucket key:s3cr/3t@bucket refused t0k3n", LOCATION)
    assert not any(secret.decode() in text for secret in SECRETS)
    assert text.startswith("bucket ")


class Refusing(AbstractFileSystem):
    """A store that lets nobody in, and says so with all it was given."""

    protocol = "refusing"

    def info(self, path: str, **_: object) -> dict:
        raise PermissionError(f"refusing://{path} is not for you; LOCATION={LOCATION}")


@pytest.mark.filterwarnings("ignore:UPath 'refusing' filesystem not explicitly implemented")
def test_a_failing_run_keeps_no_credentials(tmp_path: Path, tiny_model, caplog, capfd):
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    sources = {"docs": {"kind": "pairs", "path": LOCATION}, "animals": {"kind": "pairs", "path": str(tmp_path)}}
    settings = programme(tmp_path, tiny_model, tmp_path / "home", sources=sources)
    with caplog.at_level(logging.DEBUG), dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        assert not run(settings, 'key:"raw_corpus"', raise_on_error=False, instance=instance).success
    printed = "".join(capfd.readouterr()) + caplog.text
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(b"refusing://***@bucket/docs?***" in content for content in kept.values())
    for secret in SECRETS:
        assert secret.decode() not in printed
        assert [path for path, content in kept.items() if secret in content] == []


SECRET_URL = "https://key:s3cr3t@host.invalid/docs?sig=t0k3n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "asset"),
    [
        ({"sources": {"animals": {"kind": "hub", "path": SECRET_URL}}}, "raw_corpus"),
        ({"sources": {"animals": {"kind": "hub", "path": "x/y", "revision": SECRET_URL}}}, "raw_corpus"),
        ({"base_model": {"model": SECRET_URL}}, "round_0/checkpoint"),
    ],
)
def test_no_setting_and_no_cause_of_an_error_shows_credentials(tmp_path, tiny_model, changes, asset, caplog, capfd):
    scored = {
        "suites": {"beir": {"animals": {"kind": "local", "dataset": "animals", "splits": ["test"]}}},
        "dev_metric": {"suite": "animals", "split": "test"},
    }
    settings = programme(tmp_path, tiny_model, tmp_path / "home", **scored, **changes)
    with caplog.at_level(logging.DEBUG), dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        assert not run(settings, f'key:"{asset}"', raise_on_error=False, instance=instance).success
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    told = kept.decode(errors="replace") + "".join(capfd.readouterr()) + caplog.text
    assert "s3cr3t" not in told
    assert "t0k3n" not in told
    assert "https://***@host.invalid/docs?***" in told


class WordedError(Exception):
    """Words itself anew each time."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __str__(self) -> str:
        return f"{self.url} refuses"


def fail_with(error: Exception, cause: Exception) -> None:
    with without_credentials():
        raise error from cause


def test_errors_and_their_causes_lose_their_credentials_and_keep_their_type():
    with pytest.raises(KeyError) as error:
        fail_with(KeyError(SECRET_URL), FileNotFoundError(2, "gone", SECRET_URL))
    assert "***" in str(error.value.__cause__)
    with pytest.raises(RuntimeError, match=r"WordedError: https://\*\*\*@host"):
        fail_with(WordedError(SECRET_URL), ValueError("plain"))
    with pytest.raises(ValueError, match="plain") as error:
        fail_with(ValueError("plain"), WordedError(SECRET_URL))
    assert "s3cr3t" not in "".join(traceback.format_exception(error.value))


def test_a_wrong_profile_shows_no_credentials(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(f"name: x\nsources: {{docs: {{kind: 'pairs', pat: '{LOCATION}'}}}}\n")
    with pytest.raises(SettingsError) as error:
        load_settings(str(tmp_path / "mine.yaml"), {})
    assert "docs" in str(error.value)
    assert not any(secret.decode() in str(error.value) for secret in SECRETS)

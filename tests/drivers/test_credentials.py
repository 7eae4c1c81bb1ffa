from pathlib import Path

import pytest

from tasks.drivers import Credentials, CredentialsFileError, CredentialsMissing


def _file(tmp_path: Path, text: str, name: str = "credentials.yaml", mode: int = 0o600) -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="latin-1")
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("credentials.yaml", "rack-1: {username: admin, password: geheim}"),
        ("credentials.toml", 'rack-1 = {username = "admin", password = "geheim"}'),
    ],
)
def test_an_entry_is_found_by_its_name(tmp_path: Path, name: str, text: str) -> None:
    credentials = Credentials.load(_file(tmp_path, text, name))
    found = credentials.get("rack-1", "node-1")
    assert found is not None
    assert (found.username, found.password.get_secret_value()) == ("admin", "geheim")
    assert "geheim" not in repr(found) + str(found) + repr(credentials)
    with pytest.raises(CredentialsMissing, match="node-1: there are no credentials named 'rack-2'"):
        credentials.get("rack-2", "node-1")


def test_who_names_none_gets_the_default() -> None:
    default = Credentials.load(None, "admin", "geheim").get(None, "node-1")
    assert default is not None
    assert default.password.get_secret_value() == "geheim"
    assert Credentials.load().get(None, "node-1") is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o610])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = _file(tmp_path, "a: {username: a, password: geheim}", mode=mode)
    with pytest.raises(CredentialsFileError, match=rf"mode {mode:04o}\); run `chmod 600 {path}`"):
        Credentials.load(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: {username: a, password: [geheim", "neither legal YAML nor TOML"),
        ("a: {username: a, pass: geheim}", "a.pass: Extra inputs are not permitted, a.password: Field required"),
        ("a: gehéim", "neither legal YAML nor TOML"),
        ("a: geheim", "is malformed: a: "),
        ("[geheim]", "is malformed"),
    ],
)
def test_a_malformed_file_is_told_without_what_stands_in_it(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(CredentialsFileError, match=reason) as caught:
        Credentials.load(_file(tmp_path, text))
    assert "geheim" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialsFileError, match=r"nowhere.yaml: cannot be read: No such file"):
        Credentials.load(tmp_path / "nowhere.yaml")


def test_an_empty_file_has_no_entries(tmp_path: Path) -> None:
    assert repr(Credentials.load(_file(tmp_path, ""))) == "Credentials()"

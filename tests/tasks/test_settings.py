from pathlib import Path

import pytest

from tasks.errors import SettingsError
from tasks.settings import load


@pytest.fixture(autouse=True)
def _nothing_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEETRING_BROKER_URL")


def test_with_nothing_set_everything_has_a_default_and_derived_urls_follow_the_broker(folder: Path) -> None:
    settings = load()
    assert settings.broker_url == "redis://127.0.0.1:6379/0"
    assert settings.lock_url == settings.result_url == settings.broker_url
    assert settings.identity_url == settings.database_url == "sqlite:///.fleetring/fleetring.db"


def test_the_environment_wins_over_the_users_file_which_wins_over_the_record_of_a_running_fleet(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a record, a user's file and a variable that disagree
    (folder / ".fleetring").mkdir()
    (folder / ".fleetring/running.toml").write_text('slots = 2\nsync_hold_off = 5\nbroker_url = "redis://recorded/0"\n')
    (folder / "fleetring.toml").write_text("slots = 3\nsync_hold_off = 6\n")
    monkeypatch.setenv("FLEETRING_SLOTS", "4")

    # When the settings are read
    settings = load()

    # Then each comes from the first place that has it
    assert (settings.slots, settings.sync_hold_off, settings.broker_url) == (4, 6.0, "redis://recorded/0")


@pytest.mark.parametrize(
    ("name", "value", "explanation"),
    [
        ("FLEETRING_SLOTS", "0", r"setting slots = '0' is impossible: .*greater than or equal to 1"),
        ("FLEETRING_INITIAL_SYNC_QUEUES", "0", r"setting initial_sync_queues = '0' is impossible: .*equal to 1"),
        ("FLEETRING_SLOTS", "many", r"setting slots = 'many' is impossible: .*valid integer"),
        ("FLEETRING_BROKER_URL", "amqp://host", r"setting broker_url = 'amqp://host/'.*redis"),
        (
            "FLEETRING_CONSUME",
            "actions,sync",
            r"setting consume = .*'actions', 'periodic', 'periodic-external' or 'initial-sync'",
        ),
        (
            "FLEETRING_BROKERURL",
            "redis://host",
            r"unknown setting FLEETRING_BROKERURL; did you mean FLEETRING_BROKER_URL",
        ),
        ("FLEETRING_SYNC_HOLD_OFF", "9999", r"sync_hold_off_cap \(3600.0\) must not be below sync_hold_off \(9999.0\)"),
    ],
)
def test_an_unknown_or_impossible_variable_is_named_with_its_value_and_what_is_legal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, explanation: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=explanation):
        load()


@pytest.mark.parametrize(
    ("text", "explanation"),
    [("slots = = 3", "is not valid TOML"), ("slot = 3", "unknown setting slot; did you mean FLEETRING_SLOTS")],
)
def test_a_mistake_in_the_users_file_is_named(folder: Path, text: str, explanation: str) -> None:
    (folder / "fleetring.toml").write_text(text)
    with pytest.raises(SettingsError, match=explanation):
        load()


def test_no_password_appears_in_an_error_or_in_the_text_of_the_settings(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given passwords in an address and of a BMC
    monkeypatch.setenv("FLEETRING_BMC_PASSWORD", "s3cret")
    monkeypatch.setenv("FLEETRING_BROKER_URL", "redis://:s3cret@host/0")
    text = repr(load())

    # When the address is impossible, too
    monkeypatch.setenv("FLEETRING_BROKER_URL", "amqp://user:s3cret@host/")
    with pytest.raises(SettingsError) as caught:
        load()

    # Then neither text shows them
    assert "s3cret" not in text
    assert "s3cret" not in str(caught.value)

import json
import time

import pytest

from tasks.cli.output import counted, moment, print_rows

ROWS = [
    {"name": "node-1 [spare]", "error": None, "age": 7.25, "seen": moment(0.0), "held": True},
    {"name": "n" * 300, "error": None, "age": None, "seen": None, "held": False},
]


def test_a_row_is_one_line_however_long_and_an_empty_column_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(counted(2, "node"), ROWS, as_json=False)
    title, header, first, second = capsys.readouterr().out.splitlines()
    assert title == "2 nodes"
    assert header.split() == ["name", "age", "seen", "held"]
    assert first.startswith("node-1 [spare]")
    assert second.split() == ["n" * 300, "no"]


def test_nothing_to_show_is_a_title_alone(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(counted(0, "lock"), [], as_json=False)
    assert capsys.readouterr().out == "0 locks\n"


def test_json_has_every_column_and_moments_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows("unseen", ROWS, as_json=True)
    first, second = json.loads(capsys.readouterr().out)
    assert first["seen"] == "1970-01-01T00:00:00+00:00"
    assert set(second) == set(ROWS[1])


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-0.2, "now"),
        (-90.4, "90 s ago"),
        (-130, "2 min ago"),
        (-8000, "2 h ago"),
        (86400 * 3, "in 3 d"),
        (45.3, "in 45 s"),
    ],
)
def test_a_moment_is_told_by_how_far_it_is(seconds: float, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_rows("", [{"at": moment(time.time() + seconds)}], as_json=False)
    assert capsys.readouterr().out.splitlines()[-1].strip() == told

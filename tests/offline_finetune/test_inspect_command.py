"""`quadloop inspect` as a user calls it."""

from __future__ import annotations

import json

import h5py
import pytest

from quadloop import main
from tests.offline_finetune.made_data import standing_states


def test_a_policy_says_what_it_is(write_policy, capsys) -> None:
    artifact = write_policy(stage="offline", std=0.25)
    assert main(["inspect", str(artifact.path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["stage"], said["sha256"]) == ("offline", artifact.sha256)
    assert said["std_at_rest"] == pytest.approx(0.25)


def test_a_directory_is_summed_up_by_session_with_a_page(write_made, tmp_path, capsys) -> None:
    write_made(60, session="morning", fell=True)
    write_made(80, session="noon")
    assert main(["inspect", str(tmp_path / "episodes"), "--out", str(tmp_path / "page"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {name: row["episodes"] for name, row in said["sessions"].items()} == {"morning": 1, "noon": 1}
    assert said["total"]["falls"] == 1
    page = (tmp_path / "page" / "index.html").read_text()
    assert "morning" in page
    assert "noon" in page
    assert (tmp_path / "page" / "logs.png").exists()
    assert [each["steps"] for episodes in json.loads((tmp_path / "page" / "episodes.json").read_text()).values() for each in episodes] == [
        60,
        80,
    ]


def test_people_get_a_table(write_made, write_policy, capsys) -> None:
    path = write_made(60)
    assert main(["inspect", str(path), "--policies", str(write_policy("standing").path)]) == 0
    out = capsys.readouterr().out
    assert "standing" in out  # its actions are all zero, and so is what that policy does
    assert "no time stamps" in out


@pytest.mark.parametrize(("terminal", "separator"), [(False, " "), (True, ": ")])
def test_nothing_is_cut_where_the_table_is_wider_than_the_terminal(write_made, capsys, monkeypatch, terminal, separator) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    session = "a-session-whose-name-is-longer-than-any-terminal-is-wide"
    assert main(["inspect", str(write_made(60, session=session))]) == 0
    said = capsys.readouterr().out
    assert session in said and "…" not in said
    assert f"session{separator}" in said


def test_a_released_recording_is_read_as_it_is(write_released, capsys) -> None:
    path = write_released(standing_states(60), session="august/am")
    for source, session in ((path, "am"), (path.parent, "am"), (path.parents[1], "am"), (path.parents[2], "august-am")):
        assert main(["inspect", str(source), "--json"]) == 0
        assert list(json.loads(capsys.readouterr().out)["sessions"]) == [session]  # as an import of it would call it


def test_a_damaged_log_is_named_and_the_others_are_read(write_made, tmp_path, capsys) -> None:
    (write_made(60).parent / "damaged.hdf5").write_bytes(b"no log")
    assert main(["inspect", str(tmp_path / "episodes"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["total"]["episodes"] == 1
    assert list(said["unreadable"]) == ["damaged.hdf5"]


def test_a_log_that_nobody_may_learn_from_is_no_recording_either_and_said_to_be_left_out(write_made, capsys) -> None:
    path = write_made(60)
    with h5py.File(path, "r+") as file:
        file["actions"][3, 4] = 40.0
    assert main(["inspect", str(path)]) == 1
    assert capsys.readouterr().err == f"quadloop: error: {path}: actions is not within -10 to 10; leave the log out\n"


def test_somebody_elses_file_is_neither_a_recording_nor_a_log(tmp_path, capsys) -> None:
    with h5py.File(tmp_path / "notes.hdf5", "w") as file:
        file["notes"] = 1
    assert main(["inspect", str(tmp_path / "notes.hdf5")]) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path}/notes.hdf5: not a readable released log (no 'states'); nor an episode log: not an episode log" in said
    assert said.count("\n") == 1


def test_a_log_that_was_cut_short_is_called_so(write_made, tmp_path, capsys) -> None:
    path = write_made(60)
    path.write_bytes(path.read_bytes()[:-1000])
    assert main(["inspect", str(path)]) == 1
    assert capsys.readouterr().err == f"quadloop: error: {path}: cut short; copy it again, or move it out of the folder\n"


@pytest.mark.parametrize("name", ["damaged.hdf5", "nothing.hdf5", "."])
def test_what_cannot_be_read_is_one_line(tmp_path, capsys, name) -> None:
    (tmp_path / "damaged.hdf5").write_bytes(b"no log")
    assert main(["inspect", str(tmp_path / name)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "hdf5" in error


def test_a_page_is_not_overwritten_without_force(write_made, tmp_path, capsys) -> None:
    arguments = ["inspect", str(write_made(60)), "--out", str(tmp_path / "page")]
    assert main(arguments) == 0
    assert main(arguments) == 1
    assert "exists" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0


def test_policies_with_the_same_file_name_are_told_apart(write_made, write_policy, tmp_path, capsys) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    right = write_policy("a/policy")
    wrong = write_policy("b/policy", mean=2.0)
    path = write_made(60)
    for order in ([right, wrong], [wrong, right]):
        assert main(["inspect", str(path), "--json", "--policies", *(str(artifact.path) for artifact in order)]) == 0
        assert json.loads(capsys.readouterr().out)["total"]["driven_by"] == {str(right.path): 1}


def test_a_remnant_beside_its_finished_log_is_not_counted(write_made, tmp_path, capsys) -> None:
    path = write_made(60)
    path.with_name(path.name + ".part").write_bytes(path.read_bytes())
    assert main(["inspect", str(tmp_path / "episodes"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["episodes"] == 1


def test_a_session_may_have_any_name(write_made, capsys) -> None:
    assert main(["inspect", str(write_made(60, session="x[/y]"))]) == 0
    assert "x[/y]" in capsys.readouterr().out


def test_a_policy_is_inspected_alone(write_policy, tmp_path, capsys) -> None:
    assert main(["inspect", str(write_policy().path), "--out", str(tmp_path / "page")]) != 0
    assert "--out" in capsys.readouterr().err


def test_an_out_that_is_a_file_is_refused_before_any_log_is_read(tmp_path, capsys):
    (tmp_path / "out").write_text("")
    assert main(["inspect", str(tmp_path / "no-such-log.hdf5"), "--out", str(tmp_path / "out"), "--force"]) == 1
    assert f"{tmp_path / 'out'} is a file" in capsys.readouterr().err

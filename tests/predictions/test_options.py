"""A word without effect is an error, and a word with one is in the help of its command."""

import argparse
from dataclasses import fields, replace

import pytest

from nacl_monai import audit, promise
from nacl_monai.audits.__main__ import main as audits
from nacl_monai.cli import flag
from nacl_monai.errors import SettingError
from nacl_monai.predictions import Options, options
from nacl_monai.predictions.options import Use
from nacl_monai.promises.__main__ import main as promises
from tests.predictions.conftest import exit_code

# Words that argparse takes for each row.
WORDS = {
    **{row.name: ["1"] for row in options.rows()},
    "ensemble": [],
    "activation": ["softmax"],
    "regions": ["all"],
    "region": ["all"],
    "shard": ["1/2"],
    "write": ["nifti"],
    "family": ["within"],
    "control": ["mean"],
    "chosen": ["all"],
    **{row.name: [] for row in options.rows() if isinstance(row.default, bool)},
}


def parsed(verb, row):
    """What a parser of a verb makes of a row's word, or None where it has no such word."""
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    options.add_options(parser, verb)
    found, rest = parser.parse_known_args([flag(row.name), *WORDS[row.name]])
    return None if rest else vars(found)


@pytest.mark.parametrize("use", Use, ids=lambda use: use.name.lower())
def test_each_row_is_used_or_refused(use):
    """The parser of a verb knows its words alone; of another kind of input they are refused."""
    verb = getattr(Use, use.name.partition("_")[0])
    used = {row.name for row in options.rows(use)}
    assert used <= {row.name for row in options.rows(verb)}
    for row in options.rows():
        arguments = parsed(verb, row)
        assert (arguments is None) == (row.name not in {known.name for known in options.rows(verb)})
        if arguments is not None and row.name not in used:
            with pytest.raises(SettingError, match=f"{flag(row.name)}: has no effect on"):
                options.options_of(use, arguments)


def test_words_that_travel_are_those_that_the_next_command_takes():
    """Each that is not the default, as a shell has it."""
    data = {"patients": "t.csv", "label_name": "(.+)_seg", "structures": ["a=1", "b=2"]}
    chosen = Options(**data, from_logits=True)

    assert chosen.words(Use.AUDIT) == [
        *("--patients", "t.csv", "--label-name", "(.+)_seg"),
        *("--from-logits", "--structures", "a=1", "b=2"),
    ]
    assert "--label-name" not in chosen.words(Use.PROMISE_APPLY)
    assert replace(chosen, patients=None, structures=()).words(Use.PROMISE_SUMS) == []
    assert all(Options().words(use) == [] for use in Use)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["promise", "a.npz", "b.npz", "--patients", "t.csv"], "--patients: has no effect on prom"),
        (
            ["promise", "a.npz", "--num-bins", "9"],
            "--num-bins: no such option of nacl-monai promise; ",
        ),
        (["promise", "--apply", "p.json", "new", "--family", "margin"], "--family: has no effect"),
        (["promise", "--apply", "p.json", "new", "--pairs", "t"], "--pairs: has no effect on new"),
        (
            ["triage", "p.json", "new", "--write", "nifti"],
            "--write: no such option of nacl-monai triage; ",
        ),
        (["calibrate", "run", "--folds", "3"], "--folds: has no effect on a run; leave it out"),
        (["calibrate", "p", "l", "--bundles", "b"], "--bundles: has no effect on a folder of pred"),
    ],
)
def test_word_without_effect_is_refused_before_anything_is_read(args, line, capsys):
    """Nothing of what it names is there."""
    main = promises if args[0] in ("promise", "triage") else audits
    assert exit_code(main, args) == 2
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("function", [audit, promise])
def test_python_has_the_options_of_the_command(function):
    """A word that is none, or has no effect, is refused with those that do."""
    with pytest.raises(SettingError, match="hue: is no option; choose from .*patient_pattern"):
        function("predictions", "labels", hue="red")
    with pytest.raises(SettingError, match="--budget: has no effect on a folder"):
        function("predictions", "labels", budget="5")


def test_every_row_has_a_verb_and_a_line_of_help():
    """And says what it means where nothing is said, in the help or by itself."""
    for row in fields(Options):
        if row.name not in ("members", "unnamed"):  # those of no command line
            assert row.metadata["uses"]
            assert row.metadata["help"][0].islower() or "dataset.json" in row.metadata["help"]
            assert row.metadata["group"] in options.GROUPS

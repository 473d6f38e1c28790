"""A bundle of one's own: looks at a dataset, chooses, and writes the folder from a template.

Files of the template whose names end in ``.j2`` are rendered by Jinja, all others are copied.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, StrictUndefined
from monai.bundle import ConfigParser

from nacl_monai.data.cases import LabeledCase, alike_in_two_sets, patients_of, split_unit
from nacl_monai.data.formats import Description, describe
from nacl_monai.data.splits import complete_split, split_by_folds, split_patients
from nacl_monai.data.survey import (
    Choice,
    Statements,
    choose_channels,
    choose_classes,
    choose_preprocessing,
    is_ct,
    survey,
)
from nacl_monai.errors import FOLDER_REMEDY, InputError, SettingError, check_no_code
from nacl_monai.files import check_folder, write_text
from nacl_monai.menus import DATASET_FILE, TEMPLATE, bundles_folder, dataset_names
from nacl_monai.output import written_folder

_RENDERED = ".j2"
_WIDTH = 105
PROPORTIONS = {"train": 70, "val": 10, "test": 20}


class NewBundle(NamedTuple):
    """A choice for a dataset.

    Attributes:
        folder: The bundle; None if there are faults, and nothing is written.
        choices: What its ``dataset.yaml`` says, and why.
        faults: What is wrong with the data, each in one line that names the file.
    """

    folder: Path | None
    choices: list[Choice]
    faults: list[InputError]


def new_bundle(
    name: str,
    dataset_dir: str | Path,
    bundles: str | Path = "bundles",
    template: str | Path | None = None,
    options: Statements | None = None,
) -> NewBundle:
    """Writes a bundle for a dataset of one's own.

    Args:
        name: The dataset's name, which the folder has.
        dataset_dir: The data, in one of `nacl_monai.data.formats.FORMATS`.
        bundles: The folder in which to make the bundle's.
        template: Folder of the template; by default that of the project.
        options: What is known of the data beside their files.

    Raises:
        SettingError: If the name cannot be used, or an option is wrong.
        InputError: If the bundle is there already, if there is no such template, or if the dataset as a
            whole cannot be used, as where MONAI would evaluate a name.
    """
    options = options or Statements()
    source = bundles_folder() / TEMPLATE if template is None else Path(template)
    target = Path(bundles) / name
    _check(name, target, source)
    description = describe(dataset_dir)
    faults: list[InputError] = []
    choices = _choose(description, str(dataset_dir), options, faults)
    if faults:
        return NewBundle(None, choices, faults)
    values = {
        "name": name,
        "title": " ".join(description.title.split()) or name,
        "format": description.format,
        "modality": options.modality or ", ".join(description.channels) or "unknown",
        "choices": choices,
        **{key: value for choice in choices for key, value in choice.keys.items()},
    }
    _write(source, target, values)
    return NewBundle(target, choices, faults)


def _check(name: str, target: Path, template: Path) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise SettingError(
            f"{name}: is not a name of a dataset; write letters, digits, - and _ alone"
        )
    if name in {"common", TEMPLATE, *dataset_names()} and not target.exists():
        raise SettingError(f"{name}: is the name of another bundle; choose another")
    check_folder(target.parent, "choose another --bundles")
    if target.exists():
        raise InputError(f"{target}: is already there; edit or remove it, or choose another name")
    if not (template / f"{DATASET_FILE}{_RENDERED}").is_file():
        raise InputError(
            f"{template}: is not a template, {DATASET_FILE}{_RENDERED} is not there; name one that is: "
            f"--from bundles/{TEMPLATE}"
        )


def _choose(
    description: Description, dataset_dir: str, options: Statements, faults: list[InputError]
) -> list[Choice]:
    """All choices; fewer where there are faults."""
    source = description.source
    check_no_code(source, [source.name])  # of a datalist; MONAI parses it in the next lines
    check_no_code(dataset_dir, [dataset_dir], FOLDER_REMEDY)
    config = {"cases": {**description.cases, "_mode_": "callable"}, "dataset_dir": dataset_dir}
    find = ConfigParser(config).get_parsed_content("cases")
    cases: list[LabeledCase] = find(report_fault=faults.append)
    tested = set(description.sets.get("test", ()))
    # Those who train decide on a window; a CT beside another modality is refused in any case.
    windowed = is_ct(description, options) and options.window is None
    sampled = [case["case"] for case in cases if windowed and case["case"] not in tested]
    found = survey(cases, faults.append, sampled, description.ignored)
    classes = choose_classes(description, found, faults.append) if found.cases else []
    if faults:
        return classes
    chosen = choose_cases(description, found.cases, options)
    _check_no_code(description, found.cases, options)
    return [
        chosen,
        choose_channels(description, found),
        *classes,
        choose_split(description, found.cases),
        *choose_preprocessing(description, found, options),
    ]


def _check_no_code(
    description: Description, cases: Sequence[LabeledCase], options: Statements
) -> None:
    """Refuses names that MONAI would evaluate in the new configuration."""
    source = description.source
    check_no_code(source, [description.title.strip(), *description.modalities])
    if description.sets or description.folds or options.patients is not None:
        check_no_code(options.patients or source, map(split_unit, cases))
    if options.patients is not None:
        check_no_code(options.patients, [case["case"] for case in cases])
    if options.patient_pattern is not None:
        where = Path("--patient-pattern")
        check_no_code(where, [options.patient_pattern], "begin it with (?:), which matches all")


def _write(source: Path, target: Path, values: Mapping[str, Any]) -> None:
    """Writes the bundle aside, which has its name as soon as it is complete."""
    environment = Environment(  # noqa: S701 - of YAML, JSON and Markdown, not of HTML
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"yaml": as_yaml, "comment": as_comment}
    with written_folder(target, "new", option="--bundles", replace=False) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        for file in sorted(folder.rglob(f"*{_RENDERED}")):
            text = environment.from_string(file.read_text(encoding="utf-8")).render(values)
            write_text(file.with_suffix(""), text)
            file.unlink()


def as_yaml(keys: Mapping[str, Any]) -> str:
    """Keys and values as YAML: each on one line, unless it is a component or holds some.

    Example:
        >>> print(as_yaml({"classes": ["background", "on"], "structures": {"on": [1]}}), end="")
        classes: [background, 'on']
        structures: {'on': [1]}
    """
    dump: Any = partial(yaml.safe_dump, sort_keys=False, allow_unicode=True, width=_WIDTH)
    return "".join(
        dump({key: value}, default_flow_style=None)
        if _holds_component(value)
        else f"{key}: {dump(value, default_flow_style=True).removesuffix('...' + chr(10))}"
        for key, value in keys.items()
    )


def _holds_component(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_holds_component, value.values()))
    return isinstance(value, list) and any(map(_holds_component, value))


def as_comment(text: str) -> str:
    """Text as lines of a comment, which no line break within it ends.

    Example:
        >>> print(as_comment("Nothing is cropped"))
        # Nothing is cropped.
    """
    line = " ".join(f"{text}.".split())  # at Unicode's line breaks too, which are YAML's
    return textwrap.fill(line, _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _by(function: str, **arguments: Any) -> dict[str, Any]:
    """A function of `nacl_monai.data` in a configuration, to be called later."""
    return {"_target_": f"nacl_monai.data.{function}", "_mode_": "callable", **arguments}


def choose_cases(
    description: Description, cases: Sequence[LabeledCase], options: Statements
) -> Choice:
    """How the cases are found, and the patient of each; the cases get theirs.

    Raises:
        InputError: If a case has no patient by the rule that is given.
    """
    names = [case["case"] for case in cases]
    people = patients_of(names, options.patient_pattern, options.patients)
    for case, patient in zip(cases, people, strict=False):
        case["patient"] = patient
    rule, number = {}, len(set(people))
    if options.patients is not None:
        why = f"Their {number} patients are those of {options.patients.name}"
        # As pairs, since MONAI would make a component of a mapping with a case "_target_".
        pairs = [[*pair] for pair in zip(names, people, strict=True)]
        rule = {"patient_of": _by("patient_by_table", patients=pairs)}
    elif people:
        why = f"Their {number} patients are in their names"
        rule = {"patient_of": _by("patient_by_pattern", pattern=options.patient_pattern)}
    else:
        why = "Nobody says whose they are, so each counts as a patient"
        if alike := alike_in_two_sets([name] for name in names):
            pair = " and ".join(alike)
            why += f"; {pair} begin alike, so pass --patient-pattern if one person's do"
    return Choice(
        f"{len(cases)} labeled cases in {description.format}. {why}",
        {"cases": {**description.cases, **rule}, "official_cases": len(cases)},
    )


def choose_split(description: Description, cases: Sequence[LabeledCase]) -> Choice:
    """The patients who train, validate and test; refuses what a training would refuse.

    Official test and validation sets and folds are kept, and the rest is drawn.

    Raises:
        InputError: If a patient is in two sets or folds, or in an official set with some cases alone, or
            there are too few patients.
    """
    unit_of = {case["case"]: split_unit(case) for case in cases}
    units = [*unit_of.values()]
    sets = {part: _official_units(description, part, unit_of) for part in description.sets}
    if description.folds and "val" not in sets:
        folds = [_units(description, fold, unit_of) for fold in description.folds]
        return _by_folds(units, folds, sets.get("test", []))
    if not sets:
        split_patients(units, PROPORTIONS, 0)
        return Choice(
            "No sets are given: 70, 10 and 20 % train, validate and test, drawn by split_seed",
            {"split_proportions": dict(PROPORTIONS), "draw_split": "@random_split"},
        )
    proportions = {part: size for part, size in PROPORTIONS.items() if part not in sets}
    complete_split(units, sets, proportions, 0)
    lost = ". The folds are left out, since who validates is given" if description.folds else ""
    arguments = {"proportions": "@split_proportions", "seed": "@split_seed"}
    draw = _by("complete_split", sets="@official_sets", **arguments)
    return Choice(
        f"The official sets are kept ({', '.join(sets)}); the others are drawn by split_seed{lost}",
        {"split_proportions": proportions, "official_sets": sets, "draw_split": draw},
    )


def _by_folds(units: Sequence[str], folds: list[list[str]], test: list[str]) -> Choice:
    for fold in range(len(folds)):
        split_by_folds(units, folds, fold, test)
    why = (
        "the fold validates, the others train, and the official test set is tested"
        if test
        else "the fold is tested, the next one validates, and the others train"
    )
    arguments = {"folds": "@official_folds", "fold": "@fold", "test": "@official_test"}
    keys: dict[str, Any] = {"folds": len(folds), "fold": 0}
    keys |= {"official_folds": folds, "official_test": test}
    keys |= {"split_proportions": PROPORTIONS, "draw_split": _by("split_by_folds", **arguments)}
    return Choice(f"One of {len(folds)} official folds, from 0: {why}", keys)


def _units(description: Description, names: Sequence[str], unit_of: Mapping[str, str]) -> list[str]:
    """The patients of some cases, or the cases where nobody knows them."""
    for name in names:
        if name not in unit_of:
            raise InputError(
                f"{description.source.parent}: a set or fold names the case {name}, which is not there; "
                "correct it"
            )
    return sorted({unit_of[name] for name in names})


def _official_units(description: Description, part: str, unit_of: Mapping[str, str]) -> list[str]:
    """The patients of an official set, which is refused if their other cases would enlarge it."""
    names = description.sets[part]
    units = _units(description, names, unit_of)
    case_of = {unit_of[name]: name for name in names}
    for name, unit in unit_of.items():
        if unit in case_of and name not in names:
            raise InputError(
                f"{description.source.parent}: the patient {unit} is in the official set {part} with "
                f"the case {case_of[unit]}, but not with {name}; remove one of the cases, or correct "
                "the patients"
            )
    return units

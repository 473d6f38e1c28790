"""Where the workflow is, and the words with which Snakemake runs it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import write_text
from nacl_monai.wheel import shipped

_FOLDER = "workflow"
_SNAKEFILE = "Snakefile"
# What tells a copy from the workflow of another project, which Snakemake's users call alike.
_OURS = "rules/exhibits.smk"


def workflow_folder() -> Path:
    """Returns the folder of the workflow: a copy in the working directory, or else the package's.

    Raises:
        InputError: If there is none.
    """
    own = Path(_FOLDER)
    return own if (own / _OURS).is_file() else shipped(_FOLDER)


def copy_workflow() -> Path:
    """Copies the package's workflow into the working directory, where it can be changed.

    Returns:
        The new folder.

    Raises:
        InputError: If there is one already, or if it cannot be written.
    """
    own, source = Path(_FOLDER), shipped(_FOLDER)
    if own.exists():
        raise InputError(f"{own}: is there already; move it away, or change it")
    for file in filter(Path.is_file, source.rglob("*")):
        write_text(own / file.relative_to(source), file.read_text(encoding="utf-8"))
    return own


def snakemake_words(
    profile: str,
    settings: Mapping[str, str | None],
    others: Sequence[str] = (),
    *,
    config: Sequence[str] = (),
    forcerun: Sequence[str] = (),
    elsewhere: Collection[str] = (),
) -> list[str]:
    """Returns the words behind ``snakemake``.

    Args:
        profile: One of the workflow's profiles, or a folder.
        settings: Keys of the workflow's configuration; those without a value stay as they are.
        others: Targets, and options of Snakemake.
        config: More of the workflow's configuration, ``key=value`` each. Snakemake heeds the last
            ``--config`` alone, and so it is joined with the settings.
        forcerun: More rules that are run again; the same holds for them.
        elsewhere: Keys that options of their names set in another way.

    Raises:
        InputError: If there is no such profile, or if a key is set twice.

    Example:
        >>> words = snakemake_words("local", {"seeds": "0 1", "losses": None}, ["table1"])
        >>> words[0], words[-2:]
        ('table1', ['--config', 'seeds=0 1'])
    """
    folder = workflow_folder()
    given = [f"{key}={value}" for key, value in settings.items() if value]
    keys = [pair.partition("=")[0] for pair in config]
    for key in keys:
        if settings.get(key) or key in elsewhere:
            raise SettingError(f"--config {key}: is set by --{key}, too; leave one of them out")
        if keys.count(key) > 1:
            raise SettingError(f"--config {key}: is set twice; leave one of them out")
    return [
        *others,  # in front, since some options take all words behind them
        *("--snakefile", str(folder / _SNAKEFILE)),
        *("--workflow-profile", str(_profile(profile, folder / "profiles"))),
        *("--forcerun", "render", *forcerun),
        *(["--config", *given, *config] if given or config else []),
    ]


def _profile(name: str, profiles: Path) -> Path:
    """The folder of a profile: by its name, or a folder of the user's."""
    for place in (profiles / name, Path(name)):
        if place.is_dir():
            return place.resolve()
    known = ", ".join(sorted(place.name for place in profiles.iterdir()))
    raise SettingError(f"--profile: there is no {name}; choose from: {known}, or name a folder")

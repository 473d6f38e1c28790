"""Commands in processes of their own that need not import their packages first."""

import multiprocessing
import os
import tempfile
from pathlib import Path
from subprocess import CompletedProcess

#: Imports once what the commands need; each of them is a fork of it.
PREPARED = multiprocessing.get_context("forkserver")
PREPARED.set_forkserver_preload(["snakemake.cli", "nacl_monai.paper.exhibits"])


def run_snakemake(command, cwd, environment):
    """Runs Snakemake as its command does.

    Returns:
        As of `subprocess.run`; what was printed to either stream is in ``stdout``, in its order.
    """
    with tempfile.TemporaryDirectory() as folder:
        printed = Path(folder) / "printed"
        arguments = (list(map(str, command)), str(cwd), dict(environment), printed)
        process = PREPARED.Process(target=_snakemake, args=arguments)
        process.start()
        process.join()
        return CompletedProcess(command, process.exitcode, printed.read_text(encoding="utf-8"), "")


def _snakemake(command, cwd, environment, printed):
    with printed.open("wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    from snakemake.cli import main

    main(command)

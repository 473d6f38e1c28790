"""MONAI Label 0.8.5 serves an exported bundle: its task, and its server with the app `monaibundle`."""

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager
from itertools import takewhile

import nibabel
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.hosts.conftest import BUNDLES, EACH, python_of, run


@pytest.fixture(scope="session")
def python():
    return python_of("label")


@EACH
def test_task_has_the_probabilities_of_the_bundle(
    python, bundle_of, image, tmp_path, check_probabilities, name
):
    """With its calibrator, in the process of the host."""
    file = tmp_path / "probabilities.npy"

    run(python, ROOT / "tests/hosts/label_task.py", bundle_of(name), image, file, cwd=tmp_path)

    check_probabilities(name, np.load(file))


@contextmanager
def serving(python, folder, studies, bundles):
    """The address of a server with these bundles, name → folder, as docs/infer.md starts it."""
    command = [str(python.with_name("monailabel"))]
    # As in an environment that is activated: its command looks for a Python there.
    options = {
        "cwd": folder,
        "env": {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"},
    }
    apps = ["apps", "--download", "--name", "monaibundle", "--output", "apps"]
    run(*command, *apps, **options)
    for name, bundle in bundles.items():
        shutil.copytree(bundle, folder / f"apps/monaibundle/model/{name}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = ["start_server", "--app", "apps/monaibundle", "--studies", str(studies)]
    start += ["--conf", "models", ",".join(bundles), "--conf", "zoo_source", "local"]
    start += ["--conf", "sam2", "false", "--host", "127.0.0.1", "--port", str(port)]
    log = folder / "server.log"
    with (
        log.open("w") as stream,
        subprocess.Popen(
            [*command, *start],
            **options,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as server,
        log.open() as lines,
    ):
        try:
            text = ""
            while "Application startup complete" not in text:
                text += lines.read()
                assert server.poll() is None, text
            yield f"http://127.0.0.1:{port}"
        finally:
            subprocess.run(["kill", "--", f"-{server.pid}"], check=False)
            server.wait()


def request(url, method="GET"):
    """The status and the body of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture(scope="module")
def server(python, bundle_of, image, tmp_path_factory):
    """The address of a server with all bundles, whose studies have a damaged image as well."""
    studies, folder = tmp_path_factory.mktemp("studies"), tmp_path_factory.mktemp("server")
    shutil.copyfile(image, studies / "patient.nii.gz")
    (studies / "damaged.nii.gz").write_bytes(image.read_bytes()[:999])
    with serving(python, folder, studies, {name: bundle_of(name) for name in BUNDLES}) as address:
        yield address


def check_label(server, name, image, expected, file):
    """The label that the server sends is that of MONAI's command, where the image is."""
    status, body = request(f"{server}/infer/{name}?image=patient&output=image", "POST")
    assert status == 200, body
    file.write_bytes(body)
    found = nibabel.load(file)
    np.testing.assert_allclose(found.affine, nibabel.load(image).affine, atol=1e-4)
    label = found.get_fdata()
    assert label.shape == expected.shape
    assert (label != expected).mean() < 1e-4  # where two classes are alike, rounding decides


@EACH
def test_server_sends_the_label(server, image, maps_of, tmp_path, name):
    """On the grid of the image, whose axes are stored otherwise than the network has them."""
    check_label(server, name, image, maps_of(name).label, tmp_path / "label.nii.gz")


def test_damaged_image_is_an_error_and_the_server_goes_on(server, image, maps_of, tmp_path):
    """The next image is segmented."""
    status, _ = request(f"{server}/infer/plain?image=damaged&output=image", "POST")

    assert status >= 500
    check_label(server, "plain", image, maps_of("plain").label, tmp_path / "label.nii.gz")


def test_training_is_refused_in_one_line(server):
    """With how to train; the server goes on."""
    status, body = request(f"{server}/train/plain", "POST")
    assert status == 200, body

    def task():
        return json.loads(request(f"{server}/train/")[1])

    list(
        takewhile(
            lambda status: status in ("SUBMITTED", "RUNNING"), iter(lambda: task()["status"], None)
        )
    )

    assert task()["status"] == "ERROR"
    lines = [line for line in task()["details"] if line.startswith("error: ")]
    assert len(lines) == 1
    assert re.search(
        r"run: a host cannot train this bundle, .*nacl-monai train DATASET DIR", lines[0]
    )
    assert not any("Traceback" in line for line in task()["details"])
    assert request(f"{server}/info/")[0] == 200

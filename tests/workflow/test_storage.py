"""Data are in object storage; runs are in a folder that all jobs see, their last file is stored."""

import os
import re
import shlex

import pytest
import yaml

pytest.importorskip("snakemake_executor_plugin_kubernetes", reason="needs the extra 'kubernetes'")
pytest.importorskip("snakemake_storage_plugin_s3", reason="needs the extra 'kubernetes'")

pytest.importorskip("moto", reason="needs moto[s3,server]")

import boto3
from moto.server import ThreadedMotoServer
from snakemake_executor_plugin_kubernetes import ExecutorSettings

from tests.forked import run_snakemake
from tests.workflow.test_snakefile import ROOT

PROFILE = ROOT / "workflow/profiles/kubernetes"
PREFIX = "s3://my-bucket/nacl"
#: The server asks for none in particular.
KEYS = {"SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "a", "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "b"}


@pytest.fixture(scope="module")
def address():
    """The address of a server on this machine that speaks S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(address):
    """A bucket with a file of ACDC in it."""
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    bucket = boto3.resource("s3", endpoint_url=address, **keys).create_bucket(Bucket="my-bucket")
    bucket.put_object(Key="nacl/data/acdc/training/patient001/Info.cfg", Body=b"ED: 1\n")
    yield bucket
    bucket.objects.delete()
    bucket.delete()


@pytest.fixture
def run(address, bucket, tmp_path):  # noqa: ARG001 - which must be there
    """Runs the workflow in an empty folder; returns what it printed."""

    def run(*words):
        words = [
            *words,
            *("--snakefile", ROOT / "workflow/Snakefile"),
            *("--default-storage-prefix", PREFIX, "--storage-s3-endpoint-url", address),
        ]
        environment = {**os.environ, **KEYS, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = run_snakemake(words, tmp_path, environment)
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    return run


def test_pod_reads_stored_data_and_leaves_its_run_on_the_claim(run):
    """The command of the image is called with the pod's copy of the data; only the page is sent back."""
    words = ["--workflow-profile", PROFILE, "--dry-run", "--printshellcmds", "table4", "report"]
    printed = run(*words, "--config", "datasets=acdc", "losses=nacl")

    local = f".snakemake/storage/s3/{PREFIX.removeprefix('s3://')}/data/acdc"
    commands = re.findall(
        r"^ *(nacl-monai (?:train|evaluate|calibrate) .*)$", printed, re.MULTILINE
    )
    assert {"train", "evaluate", "calibrate"} == {command.split()[1] for command in commands}
    for command in commands:
        assert local in shlex.split(command)
        assert "--cache_dir cache" in command  # of the pod, since a downloaded file is always new
    # Snakemake would run a job with a local file in no pod.
    for rule in ("experiment", "calibration"):
        for job in re.findall(rf"rule {rule}:.*?(?=\nrule |\Z)", printed, flags=re.DOTALL):
            inputs, record = (
                re.search(rf"{kind}: (.*)", job)[1].split(", ") for kind in ("input", "output")
            )
            for file in (*inputs, *record):
                assert re.fullmatch(rf"{PREFIX}/\S+ \(.* storage\)", file)
            assert re.search(r"gpu=1\b.*gpu_manufacturer=nvidia", job)
            here = record[0].removeprefix(f"{PREFIX}/").removesuffix(" (send to storage)")
            assert f"cp {here} .snakemake/storage/s3/{PREFIX[5:]}/{here}" in job
    assert f"output: {PREFIX}/runs/report/report.html (send to storage)" in printed
    assert "output: runs/report/table4.json" in printed


def test_pods_cannot_share_the_store_of_mlflow(run):
    """It is one file, which they would write at the same time."""
    words = ["--workflow-profile", PROFILE, "--dry-run", "table4", "--config", "tracking=mlflow"]
    with pytest.raises(AssertionError, match="error: tracking: pods cannot share the one file"):
        run(*words)


def test_settings_are_those_of_the_plugin():
    """By their names in the plugin; a volume is a claim and the place of runs in a pod."""
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    given = {key.removeprefix("kubernetes-") for key in profile if key.startswith("kubernetes-")}
    known = {name.replace("_", "-") for name in ExecutorSettings.__dataclass_fields__}

    assert given <= known
    assert profile["retries"] > 0


def test_head_mounts_the_claim_of_the_pods_where_they_do():
    """Its user may write there, and its words are those of the command."""
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    objects = {
        thing["kind"]: thing for thing in yaml.safe_load_all((PROFILE / "head.yaml").read_text())
    }
    spec = objects["Pod"]["spec"]
    (container,) = spec["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "runs"]

    claim = volume["persistentVolumeClaim"]["claimName"]
    assert claim == objects["PersistentVolumeClaim"]["metadata"]["name"]
    assert profile["kubernetes-persistent-volumes"] == [f"{claim}:{mounts['runs']}"]
    assert mounts["runs"] == f"{container['workingDir']}/runs"
    assert set(objects["Secret"]["stringData"]) == set(KEYS)
    words = container["args"][0].split()
    assert words[words.index("--container-image") + 1] == container["image"]
    assert words[words.index("--profile") + 1] == PROFILE.name


@pytest.mark.nightly
def test_grid_is_run_on_stored_data(run, bucket, tmp_path):
    """From phantoms in a bucket to a page in it, on this machine; only the pods are missing."""
    words = ["--workflow-profile", ROOT / "workflow/profiles/smoke", "--cores", 2]
    words += ["--default-storage-provider", "s3", "report", "--config"]
    printed = run(*words, "datasets=acdc", "losses=nacl", "networks=unet")

    keys = {thing.key for thing in bucket.objects.filter(Prefix="nacl/runs/smoke")}
    assert "nacl/runs/smoke/report/report.html" in keys
    assert any(key.startswith("nacl/runs/smoke/data/acdc/training/") for key in keys)
    assert "nacl/runs/smoke/acdc/unet_nacl_seed0/evaluation/evaluation.json" in keys
    assert not any(key.endswith(("model.pt", "cases.csv")) for key in keys)
    evaluated = [key for key in keys if key.endswith("_seed0/evaluation/evaluation.json")]
    assert printed.count("rule experiment:") == len(evaluated)
    run = tmp_path / "runs/smoke/acdc/unet_nacl_seed0"
    assert (run / "evaluation/evaluation.json").is_file()

"""The Slurm script and the Kubernetes manifest of the guide say what the programs understand."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.scripts.scripts
import yaml
from conftest import ROOT

from launch.cluster import parse

FOLDER = ROOT / "configs" / "cluster"


def test_the_slurm_script_is_one_and_its_command_is_understood() -> None:
    path = FOLDER / "slurm.sh"
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"python -m launch.cluster (.*) \"\$@\" &", text)
    values = {"$address:$port": "10.0.0.1:6379", "$SLURM_JOB_NUM_NODES": "4", "$workers": "15"}
    command = parse([values.get(word, word) for word in shlex.split(line)])
    assert (command.address, command.islands, command.workers) == ("10.0.0.1:6379", 4, 15)
    assert str(command.resume) == "auto"
    flags = re.findall(r" (--[\w-]+)", " ".join(re.findall(r"ray start(.*)", text)))
    assert {"--head", "--address", "--num-cpus"} <= set(flags)
    for flag in flags:
        assert f'"{flag}"' in Path(ray.scripts.scripts.__file__).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all((FOLDER / "kuberay.yaml").read_text(encoding="utf-8"))}


def test_the_manifest_has_what_kuberay_requires(documents: dict[str, Any]) -> None:
    job = documents["RayJob"]
    assert job["apiVersion"] == "ray.io/v1" and set(documents) == {"RayJob", "PersistentVolumeClaim", "NetworkPolicy"}
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    claims = {documents["PersistentVolumeClaim"]["metadata"]["name"]}
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        (container,) = pod["containers"]
        assert container["name"] and container["image"] and container["resources"]["limits"]
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        assert "/dev/shm" in {mount["mountPath"] for mount in container["volumeMounts"]}
        used = {v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "persistentVolumeClaim" in v}
        assert used <= claims
    assert all(g["minReplicas"] <= g["replicas"] <= g["maxReplicas"] for g in cluster["workerGroupSpecs"])


def test_the_manifest_places_one_island_on_each_machine(documents: dict[str, Any]) -> None:
    spec = documents["RayJob"]["spec"]
    words = shlex.split(spec["entrypoint"])
    assert words[:3] == ["python", "-m", "launch.cluster"]
    command = parse(words[3:])
    (islands,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    assert command.islands == islands["replicas"] and str(command.workers) == islands["rayStartParams"]["num-cpus"]
    assert spec["rayClusterSpec"]["rayVersion"] == ray.__version__
    assert f"ray=={ray.__version__}" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()

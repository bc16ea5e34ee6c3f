"""What no container engine or cluster runs here: the files of deployments/ parse, and what they name exists."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prefect.cli.deploy._models import PrefectYamlModel
from prefect.events.schemas.automations import AutomationCore
from prefect.flows import Flow
from prefect.settings import Settings
from prefect.settings.legacy import _get_settings_fields
from prefect.settings.models.flows import FlowsSettings
from prefect.utilities.importtools import import_object

from humwatch.flows.presets import load

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = ROOT / "deployments"
COMPOSE = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())
PREFECT_VARIABLES = set(_get_settings_fields(Settings))
OWN = {"HUMWATCH_LAKE", "HUMWATCH_SOURCES", "HUMWATCH_TIME_ZONE", "HUMWATCH_IMAGE", "HUMWATCH_NOTIFY_URLS"}


def values(name):
    return yaml.safe_load((DEPLOYMENTS / "kubernetes" / name).read_text())


def test_every_entrypoint_is_a_flow_and_every_parameter_one_of_its():
    text = yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text())
    deployments = PrefectYamlModel.model_validate(text).deployments
    assert len(deployments) == 5
    for deployment in deployments:
        flow = import_object(deployment.entrypoint)
        assert isinstance(flow, Flow)
        assert set(deployment.parameters) <= set(flow.parameters.properties)
        assert deployment.concurrency_limit.collision_strategy == "ENQUEUE"
        assert set(deployment.work_pool.job_variables["env"]) <= PREFECT_VARIABLES


def test_the_automation_is_one_of_prefect_and_waits_longer_than_any_run_between_heartbeats():
    (automation,) = yaml.safe_load((DEPLOYMENTS / "automations.yaml").read_text())["automations"]
    within = AutomationCore.model_validate(automation).trigger.within.total_seconds()
    # Of deployments, and of runs of the command line.
    (ours,) = re.findall(r'HEARTBEAT_FREQUENCY: "(\d+)"', (DEPLOYMENTS / "prefect.yaml").read_text())
    assert within > 1.5 * max(int(ours), FlowsSettings.model_fields["heartbeat_frequency"].default)


def test_the_image_copies_what_there_is_and_all_packages():
    text = (DEPLOYMENTS / "Containerfile").read_text()
    copied = [path for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for path in line.split()]
    assert {
        "humwatch",
        "storage",
        "tasks",
        "flows",
        "samples",
        "deployments",
        "pyproject.toml",
        "constraints.txt",
    } <= set(copied)
    assert all((ROOT / path).exists() for path in copied)


def test_compose_holds_no_secret_and_waits_for_what_is_healthy():
    services = COMPOSE["services"]
    for name, service in services.items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY", key):
                assert value.startswith("${"), f"{name}: {key}"
            if key.startswith("PREFECT_"):
                assert key in PREFECT_VARIABLES, f"{name}: {key}"
            if key.startswith("HUMWATCH_") and key not in OWN:
                assert is_setting(key, value), f"{name}: {key}"
        for other, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in services[other], f"{name} waits for {other}"
    wanted = set(re.findall(r"\$\{(\w+)", (DEPLOYMENTS / "compose.yaml").read_text()))
    offered = set(re.findall(r"^(\w+)=", (DEPLOYMENTS / "env.example").read_text(), re.MULTILINE))
    assert wanted <= offered | {"HUMWATCH_IMAGE"}


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is not installed")
def test_compose_is_understood(tmp_path):
    (tmp_path / "env").write_text("POSTGRES_PASSWORD=a\nAWS_ACCESS_KEY_ID=b\nAWS_SECRET_ACCESS_KEY=c\n")
    command = ["docker-compose", "-f", DEPLOYMENTS / "compose.yaml", "--env-file", tmp_path / "env", "config", "-q"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})
    assert ran.returncode == 0, ran.stderr


def test_kubernetes_values_name_settings_that_there_are():
    worker = values("prefect-worker-values.yaml")["worker"]
    for variable in worker["extraEnvVars"]:
        assert is_setting(variable["name"], variable["value"])
    dask = values("dask-values.yaml")
    for group in (dask["worker"], *dask["additional_worker_groups"]):
        assert group["threads_per_worker"] == 1
    assert worker["image"]["repository"] == dask["worker"]["image"]["repository"]


def is_setting(variable, value):
    section, _, key = variable.removeprefix("HUMWATCH_").lower().partition("__")
    return getattr(getattr(load(flags={section: {key: value}}), section), key) == value

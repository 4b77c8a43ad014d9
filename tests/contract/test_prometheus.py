"""The alerts speak of metrics that the services export, and Prometheus accepts the files."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from services.kernel import metrics
from services.kernel.settings import ROOT, SERVICES, Settings

FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "rules.yml"


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    return found


def exported() -> Iterator[str]:
    """Names of all series that the declared metrics can make."""
    assert metrics.READY  # importing the module is what declares them
    for family in REGISTRY.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        yield from (family.name + suffix for suffix in suffixes)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_rests_on_exported_metrics(rule: dict[str, Any]) -> None:
    named = set(re.findall(r"candor_\w+", rule["expr"]))
    assert named
    assert named <= set(exported())


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert rule["labels"]["severity"] in {"page", "ticket"}


def test_all_services_are_scraped_at_their_default_ports() -> None:
    configuration = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    scraped = {
        entry["labels"]["service"]: entry["targets"]
        for entry in configuration["scrape_configs"][0]["static_configs"]
    }
    settings = Settings(identifier_key=bytes(32), postgres_password="")
    assert scraped == {service: [f"127.0.0.1:{settings.port(service)}"] for service in SERVICES}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on the PATH")
@pytest.mark.parametrize(
    "command", [("check", "config", "prometheus.yml"), ("test", "rules", "rules_test.yml")]
)
def test_prometheus_accepts_it(command: tuple[str, ...]) -> None:
    result = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr

"""What is deployed with says what the programs do: settings, probes, limits, alerts."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("yaml", reason="manifests are YAML")
pytest.importorskip("uvicorn", reason="the proxy needs the extra 'proxy'")

import yaml
from apps.program import run

from midstream.apps.guides import all_guides
from midstream.apps.serving import AgentService
from midstream.apps.serving.counting import service_families
from midstream.stream.policies import load_policies
from midstream.stream.proxy import Proxy, ProxyLimits
from midstream.stream.telemetry import exposition

DEPLOY = Path(__file__).parent.parent / "wheels" / "deploy"
pytestmark = pytest.mark.skipif(not DEPLOY.is_dir(), reason="no wheels/deploy beside the tests")
KUBERNETES = DEPLOY / "kubernetes"


def manifest(name):
    return yaml.safe_load((KUBERNETES / f"{name}.yaml").read_text())


def settings():
    return tomllib.loads((KUBERNETES / "midstream.toml").read_text())["proxy"]


@pytest.fixture
def pod():
    return manifest("deployment")["spec"]["template"]["spec"]


def test_the_settings_are_settings_of_the_proxy(pod):
    (container,) = pod["containers"]
    command, option, path = container["args"]
    assert (command, option, path) == ("proxy", "--config", "/etc/midstream/midstream.toml")
    done = run(command, option, KUBERNETES / "midstream.toml", "--show-config")
    assert (done.status, done.err) == (0, "")
    shown = tomllib.loads(done.out)["proxy"]
    limits = shown.pop("limit")
    wanted = settings()
    assert limits == limits | wanted.pop("limit")
    assert {name: shown[name] for name in wanted} == wanted


def test_the_limits_are_limits_of_the_proxy_and_fit_into_the_memory(pod):
    limits = ProxyLimits(**settings()["limit"])
    stream = limits.max_held_bytes + limits.max_event_bytes
    memory = pod["containers"][0]["resources"]["limits"]["memory"]
    assert memory.endswith("Mi")
    # Beside what streams hold, there are the program and what is being judged.
    assert limits.max_streams * stream + limits.max_bodies_bytes <= 0.85 * int(memory[:-2]) * 2**20
    unit = (DEPLOY / "systemd" / "midstream-proxy.service").read_text()
    assert f"MemoryMax={memory[:-1]}" in unit


def test_the_rules_are_rules():
    done = run("rules", "lint", KUBERNETES / "rules.toml", "--strict")
    assert done.status == 0
    (policy,) = load_policies(KUBERNETES / "rules.toml")
    assert policy.action == "block"
    mounted = [rule for rule in settings()["rules"] if rule.startswith("/etc/midstream/")]
    generator = manifest("kustomization")["configMapGenerator"][0]
    assert [Path(rule).name for rule in mounted] == ["rules.toml"]
    assert generator["files"] == ["midstream.toml", "rules.toml"]


def test_a_pod_has_the_time_that_its_streams_have(pod):
    proxy = settings()
    grace_s = pod["terminationGracePeriodSeconds"]
    assert proxy["linger"] + proxy["drain"] + 10 <= grace_s
    ready = pod["containers"][0]["readinessProbe"]
    assert ready["periodSeconds"] * (ready["failureThreshold"] + 1) <= proxy["linger"]
    unit = (DEPLOY / "systemd" / "midstream-proxy.service").read_text()
    assert f"TimeoutStopSec={grace_s}\n" in unit


def test_it_is_asked_where_it_answers(pod):
    (container,) = pod["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == settings()["port"] == 8790
    paths = {name: container[name]["httpGet"]["path"] for name in container if "Probe" in name}
    assert paths == {
        "startupProbe": "/-/health",
        "livenessProbe": "/-/health",
        "readinessProbe": "/-/ready",
    }
    assert manifest("service")["spec"]["ports"][0]["targetPort"] == port["name"]
    recipe = (DEPLOY / "Containerfile").read_text()
    assert "HEALTH_URL=http://127.0.0.1:8790/-/health" in recipe
    assert "EXPOSE 8790" in recipe
    for name, value in re.findall(r"(MIDSTREAM_PROXY_\w+)=(\S+)", recipe):
        done = run("proxy", "--upstream", "http://x", "--show-config", env={name: value})
        assert name in done.out


def test_it_has_no_rights(pod):
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    # Else a Service's variables would be taken for settings that are none.
    assert pod["enableServiceLinks"] is False
    user = pod["securityContext"]["runAsUser"]
    assert f"USER {user}:{user}\n" in (DEPLOY / "Containerfile").read_text()


def test_the_manifests_are_about_each_other():
    kustomization = manifest("kustomization")
    files = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files
    deployment = manifest("deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    name = deployment["metadata"]["name"]
    assert manifest("horizontalpodautoscaler")["spec"]["scaleTargetRef"]["name"] == name
    for other, place in (
        ("service", lambda spec: spec["selector"]),
        ("poddisruptionbudget", lambda spec: spec["selector"]["matchLabels"]),
        ("networkpolicy", lambda spec: spec["podSelector"]["matchLabels"]),
    ):
        assert place(manifest(other)["spec"]) == labels, other


def test_every_metric_of_the_alerts_is_one_that_is_served():
    """Each name, and each label that is looked for."""
    proxy = Proxy("http://127.0.0.1:9")
    families = [*proxy._families(), *proxy.metrics.families(), *service_families(AgentService())]
    served = {line.split()[2] for line in exposition(families).splitlines() if line[2:6] == "HELP"}
    labels = {f"midstream_{family.name}": set(family.labels) for family in families}
    publish = (DEPLOY.parent.parent / "midstream" / "apps" / "publish.py").read_text()
    for name in re.findall(r'"(publish_streams\w*|publish_events\w*)"', publish):
        served.add(f"midstream_{name}")
    groups = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"]
    tested = (DEPLOY / "prometheus" / "rules_test.yml").read_text()
    seen = set()
    for rule in (rule for group in groups for rule in group["rules"]):
        for name, matchers in re.findall(r"(midstream_\w+)(?:\{([^}]*)\})?", rule["expr"]):
            base = name.removesuffix("_bucket")
            assert base in served, rule
            seen.add(base)
            for label in re.findall(r"(\w+)(?==~?\")", matchers):
                assert label in labels[base], (rule, label)
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert set(rule["annotations"]) == {"summary", "description"}
            assert rule["alert"] in tested
    assert len(seen) > 10


def test_what_alerts_count_is_zero_before_it_happens_first():
    """Of a series that first appears as 1, Prometheus sees no increase."""
    proxy = Proxy("http://127.0.0.1:9")
    families = [*proxy._families(), *proxy.metrics.families(), *service_families(AgentService())]
    text = exposition(families)
    groups = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"]
    seen = 0
    for rule in (rule for group in groups for rule in group["rules"] if "alert" in rule):
        for name, label, values in re.findall(
            r'(?:increase|rate)\((midstream_\w+)\{(\w+)=~?"([^"]*)"\}', rule["expr"]
        ):
            for value in values.split("|"):
                assert f'\n{name}{{{label}="{value}"}} 0\n' in text, rule
                seen += 1
    assert seen >= 10


def test_the_manual_says_what_to_do_about_each_alert():
    groups = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    (manual,) = [guide.path for guide in all_guides() if guide.topic == "operations"]
    assert set(re.findall(r"`(Midstream\w+)`", manual.read_text("utf-8"))) == alerts

"""The manifests of Kubernetes: as its schemas want them, and as our processes need them."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from click import Group
from kubernetes_validate.utils import ValidationError, validate

from docsgen.pages import page
from runtime.http.serve import DRAIN_SECONDS
from runtime.metrics.table import BY_NAME
from runtime.roles.table import roles
from runtime.settings import Settings
from scripts.cli import rollbook
from tests.unit.deploy import kustomize

# Of each, the oldest and the newest release of Kubernetes that has its schemas.
RELEASES = {"base": "1.30", "overlays/example": "1.37"}
# Their schemas belong to operators, not to Kubernetes.
OF_OPERATORS = {"ScaledObject", "PodMonitor"}
CONFIG = "/etc/rollbook"
SECRETS = "/run/secrets/rollbook"
SETTINGS = {f"ROLLBOOK_{name.upper()}" for name in Settings.__dataclass_fields__}
# Workload → the role that it logs in as; the console logs in nowhere.
PROJECTORS = ("projector-postgres", "projector-history", "projector-elasticsearch")
ROLES = {
    **dict.fromkeys(("topics", "read-models", "operations"), "operator"),
    **{name: name for name in ("handler", "queries", *PROJECTORS)},
    "commands": "client",
}

Object = dict[str, Any]


@pytest.fixture(scope="module", params=RELEASES)
def folder(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def objects(folder: str) -> list[Object]:
    command = kustomize.program()
    if command is None:
        pytest.skip(kustomize.MISSING)
    return kustomize.rendered(command, folder)


@pytest.fixture
def settings(objects: list[Object]) -> Object:
    """The settings of rollbook.toml."""
    [text] = [one["data"]["rollbook.toml"] for one in objects if one["kind"] == "ConfigMap"]
    return tomllib.loads(text)


def of(objects: list[Object], *kinds: str) -> Iterator[tuple[str, Object]]:
    """Yield the name and the spec of each object of these kinds."""
    for one in objects:
        if one["kind"] in kinds:
            yield one["metadata"]["name"], one["spec"]


def pods(objects: list[Object]) -> Iterator[tuple[str, Object, Object]]:
    """Yield the name of each workload, the spec of its pods, and their only container."""
    for name, spec in of(objects, "Deployment", "StatefulSet", "Job"):
        pod = spec["template"]["spec"]
        assert "initContainers" not in pod
        [container] = pod["containers"]
        yield name, pod, container


def labels(objects: list[Object]) -> dict[str, dict[str, str]]:
    """Return the labels of the pods of each workload."""
    found = of(objects, "Deployment", "StatefulSet", "Job")
    return {name: spec["template"]["metadata"]["labels"] for name, spec in found}


def parsed(arguments: list[str]) -> str:
    """Return the path of the command that these arguments call. Fails as the command would."""
    command: Any = rollbook
    context, path = command.make_context("rollbook", [], resilient_parsing=True), "rollbook"
    while isinstance(command, Group):
        name, command, arguments = command.resolve_command(context, arguments)
        path += f" {name}"
        rest = [] if isinstance(command, Group) else arguments
        context = command.make_context(
            name, list(rest), parent=context, resilient_parsing=isinstance(command, Group)
        )
    return path


def test_every_object_follows_the_schemas_of_kubernetes(folder: str, objects: list[Object]) -> None:
    """Unknown fields are refused as well: Kubernetes would ignore them."""
    for one in objects:
        if one["kind"] not in OF_OPERATORS:
            validate(one, RELEASES[folder], strict=True)
    handler = next(one for one in objects if one["kind"] == "StatefulSet")
    handler["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(ValidationError, match="livenesProbe"):
        validate(handler, RELEASES[folder], strict=True)
    del handler["spec"]["template"]["spec"]["containers"][0]["livenesProbe"]


def test_every_container_has_its_limits_and_no_privileges(objects: list[Object]) -> None:
    """As the Pod Security Standard `restricted` demands it, and more."""
    for name, pod, container in pods(objects):
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}, name
        # A limit of processor time would stop a handler in the middle of a transaction.
        assert set(container["resources"]["limits"]) == {"memory"}, name
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"], name
        assert not security["allowPrivilegeEscalation"], name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert not {"hostNetwork", "hostPID", "hostIPC", "sysctls"} & set(pod), name
        kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "secret", "emptyDir"}, name
        assert not any("hostPort" in port for port in container.get("ports", ())), name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name


def test_every_command_exists(objects: list[Object]) -> None:
    """Arguments are parsed by the real command line; a pod's name is a valid instance."""
    found = {
        name: parsed([one.replace("$(POD_NAME)", f"{name}-0") for one in container["args"]])
        for name, _, container in pods(objects)
    }
    assert found == {
        "topics": "rollbook topics ensure",
        "read-models": "rollbook projector prepare",
        "handler": "rollbook handler run",
        **dict.fromkeys(PROJECTORS, "rollbook projector run"),
        "commands": "rollbook serve commands",
        "queries": "rollbook serve queries",
        "operations": "rollbook serve queries",
        "console": "rollbook serve console",
    }
    with pytest.raises(Exception, match="No such"):
        parsed(["handler", "run", "--instances", "a"])


def test_every_setting_exists(objects: list[Object], settings: Object) -> None:
    """Also in the values, which `rollbook` itself checks."""
    settings |= {"kafka_sasl_username": "handler", "kafka_sasl_password": "made-up"}
    assert Settings(**settings).replication_factor == 3
    for name, _, container in pods(objects):
        for variable in container["env"]:
            known = {"POD_NAME", "ROLE", "PGUSER", "ROLLBOOK_CONFIG", *SETTINGS}
            assert variable["name"].removesuffix("_FILE") in known, (name, variable)
            # Without a file, a secret would be part of the manifest.
            assert not variable["name"].endswith("PASSWORD"), name


def test_every_pod_logs_in_as_its_role(objects: list[Object], settings: Object) -> None:
    """With the passwords of its role for the servers that it uses, and no others."""
    known, own = roles(Settings()), labels(objects)
    assert "@" not in settings["postgres_url"], "libpq would not use PGUSER"
    for name, pod, container in pods(objects):
        assert own[name].get("rollbook/role") == ROLES.get(name)
        variables = {one["name"]: one.get("value") for one in container["env"]}
        if name not in ROLES:
            assert set(variables) == {"ROLLBOOK_CONFIG"}
            continue
        order = list(variables.values())
        assert list(variables).index("ROLE") < order.index("$(ROLE)"), "it would stay unexpanded"
        role = known[ROLES[name]]
        stores = name != "topics" and {
            "postgres": role.postgres,
            "elasticsearch": role.elasticsearch,
        }
        uses = {"kafka": role.kafka, "registry": role.schemas, **(stores or {})}
        files = {one.split("_")[1].lower() for one in variables if one.endswith("PASSWORD_FILE")}
        assert files == {server for server, need in uses.items() if need}, name
        [secret] = [one["secret"] for one in pod["volumes"] if one["name"] == "secrets"]
        assert secret["secretName"] == f"rollbook-{role.name}"


def test_every_file_is_mounted(objects: list[Object], settings: Object) -> None:
    """Configuration and secrets where the settings say, and a folder that can be written."""
    for name, pod, container in pods(objects):
        volumes = {one["name"]: one for one in pod["volumes"]}
        mounts = {one["mountPath"]: volumes[one["name"]] for one in container["volumeMounts"]}
        assert len(mounts) == len(volumes), name
        assert "configMap" in mounts[CONFIG], name
        assert "emptyDir" in mounts[settings["state_directory"]], name
        variables = {one["name"]: one.get("value", "") for one in container["env"]}
        assert variables["ROLLBOOK_CONFIG"] == f"{CONFIG}/rollbook.toml"
        files = {value for key, value in variables.items() if key.endswith("_FILE")}
        assert all(value.startswith(f"{SECRETS}/") for value in files), name
        assert (SECRETS in mounts) == bool(files), name
        keys = settings["http_keys_file"].rpartition("/")[0]
        assert (keys in mounts) == ("http" in str(container.get("ports"))), name


def test_no_probe_ends_a_process_that_restores_or_rebuilds(
    objects: list[Object], settings: Object
) -> None:
    """They ask /livez, which answers meanwhile; only readiness may be refused."""
    metrics = int(settings["metrics_listen"].rpartition(":")[2])
    for name, pod, container in pods(objects):
        if name in ("topics", "read-models"):
            continue
        ports = {one["name"]: one["containerPort"] for one in container["ports"]}
        assert ports["metrics"] == metrics, name
        asked = {
            kind: (container[kind]["httpGet"]["path"], container[kind]["httpGet"]["port"])
            for kind in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        port = "http" if "http" in ports else "metrics"
        assert asked == {
            "startupProbe": ("/livez", port),
            "livenessProbe": ("/livez", port),
            "readinessProbe": ("/readyz", port),
        }, name
        if port == "http":
            assert container["args"][-1] == f"0.0.0.0:{ports['http']}", name
            leaves = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert pod["terminationGracePeriodSeconds"] > leaves + DRAIN_SECONDS, name


def test_only_what_needs_no_restore_is_scaled(objects: list[Object], settings: Object) -> None:
    """Never handlers, and no more projectors than there are partitions."""
    replicas = {name: spec.get("replicas") for name, spec in of(objects, "Deployment")}
    scaled = dict(of(objects, "HorizontalPodAutoscaler", "ScaledObject"))
    for name, spec in scaled.items():
        assert spec["scaleTargetRef"].get("kind", "Deployment") == "Deployment", name
        assert spec["scaleTargetRef"]["name"] == name, name
        assert replicas[name] is None, f"{name}: each update would undo what the autoscaler did"
    for name, spec in of(objects, "ScaledObject"):
        assert spec["maxReplicaCount"] == settings["partitions"], name
        [trigger] = spec["triggers"]
        [(metric, chosen)] = re.findall(r"rollbook_(\w+){(.+)}", trigger["metadata"]["query"])
        used = set(re.findall(r"(\w+)=", chosen)) - {"namespace"}  # which Prometheus adds
        assert used <= set(BY_NAME[metric].labels), name
        assert f'read_model="{name.removeprefix("projector-")}"' in chosen
    assert not {"handler", "operations", "console"} & set(scaled)
    [(_, handler)] = of(objects, "StatefulSet")
    assert 2 <= handler["replicas"] <= settings["partitions"]


def test_every_selector_finds_its_pods(objects: list[Object]) -> None:
    """Services, disruption budgets and network policies choose by labels: none by a wrong one."""
    workloads = labels(objects)

    def chosen(wanted: dict[str, str]) -> set[str]:
        return {name for name, own in workloads.items() if wanted.items() <= own.items()}

    for name, spec in of(objects, "Service"):
        assert chosen(spec["selector"]) == {name}
    budgets = {name: spec["selector"] for name, spec in of(objects, "PodDisruptionBudget")}
    of_budgets = {name: chosen(one["matchLabels"]) for name, one in budgets.items()}
    assert of_budgets == {
        "handler": {"handler"},
        "projector": {*PROJECTORS},
        "commands": {"commands"},
        "queries": {"queries"},
    }
    for _, spec in of(objects, "Deployment", "StatefulSet"):
        assert spec["selector"]["matchLabels"].items() <= (
            spec["template"]["metadata"]["labels"].items()
        )
    [policy] = [spec for name, spec in of(objects, "NetworkPolicy") if name == "http"]
    [expression] = policy["podSelector"]["matchExpressions"]
    assert set(expression["values"]) == {name for name, _ in of(objects, "Service")}


def test_metrics_have_the_labels_of_the_alerts(objects: list[Object]) -> None:
    """As deploy/prometheus/prometheus.yml labels the same processes in compose."""
    for _, spec in of(objects, "PodMonitor"):
        [endpoint] = spec["podMetricsEndpoints"]
        [process] = endpoint["relabelings"]
        assert process["targetLabel"] == "process"
        for name, own in labels(objects).items():
            assert own[spec["jobLabel"]] == "rollbook"
            joined = process["separator"].join(
                (own["app.kubernetes.io/component"], own.get("rollbook/read-model", ""))
            )
            found = re.fullmatch(process["regex"], joined)
            assert found
            assert found[1] == name


def test_the_page_names_every_workload_and_login(objects: list[Object]) -> None:
    text = page("docs/kubernetes.md").text
    created = re.search(r"for role in ([^;]+);", text)
    assert created
    secrets = {f"rollbook-{role}" for role in created[1].replace("\\", "").split()}
    for name, pod, _ in pods(objects):
        assert f"`{name}`" in text, name
        used = {one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one}
        assert used - {"rollbook-http-keys"} <= secrets, name

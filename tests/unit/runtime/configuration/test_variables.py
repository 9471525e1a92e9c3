"""A mistyped variable of the environment is not ignored."""

import pytest

from runtime.settings import load_settings
from schemas.errors import Misconfigured


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("ROLLBOOK_KAFKA_BOOTSTRAP_SERVER", "ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS"),
        ("ROLLBOOK_KAFKA_BOOTSTRAP", "ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS"),
        ("ROLLBOOK_KAFKA_BOOSTRAP_SERVERS", "ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS"),
        ("ROLLBOOK_PREFIXX", "ROLLBOOK_PREFIX"),
        ("ROLLBOOK_prefix", "ROLLBOOK_PREFIX"),
        ("ROLLBOOK_POSTGRES_PASSWORD_FILES", "ROLLBOOK_POSTGRES_PASSWORD_FILE"),
    ],
)
def test_a_near_miss_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, nearest: str
) -> None:
    """Commands meant for one registry would go to another. Its value is not printed."""
    monkeypatch.setenv(variable, "s3cret")
    with pytest.raises(Misconfigured, match=variable) as refused:
        load_settings()
    assert f"{nearest}?" in refused.value.next_step
    assert "s3cret" not in f"{refused.value}{refused.value.next_step}"


@pytest.mark.parametrize("variable", ["ROLLBOOK_COLOUR", "ROLLBOOK_REGISTRY_TIMEOUT"])
def test_another_unknown_variable_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str
) -> None:
    """It names the nearest setting if there is a similar one."""
    monkeypatch.setenv(variable, "s3cret")
    load_settings()
    assert f"{variable}, which is no setting" in caplog.text
    assert ("nearest is ROLLBOOK_REGISTRY_" in caplog.text) == ("REGISTRY" in variable)
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ROLLBOOK_SERVICE_HOST", "10.0.0.1"),
        ("ROLLBOOK_SERVICE_PORT", "80"),
        ("ROLLBOOK_SERVICE_PORT_HTTP", "80"),
        ("ROLLBOOK_KAFKA_SERVICE_HOST", "10.0.0.1"),
        ("ROLLBOOK_PORT", "tcp://10.0.0.1:80"),
        ("ROLLBOOK_REGISTRY_PORT", "tcp://10.0.0.1:80"),
        ("ROLLBOOK_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("ROLLBOOK_KAFKA_PORT_9092_TCP_ADDR", "10.0.0.1"),
        ("ROLLBOOK_PREFIX", "x"),
        ("ROLLBOOK_STACK", "x"),
        ("ROLLBOOK_CONFIG", ""),
        ("ROLLBOOK_TEST_DEEP", "1"),
        ("MY_ROLLBOOK_PREFIXX", "x"),
    ],
)
def test_settings_and_service_links_of_kubernetes_pass(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variable: str,
    value: str,
) -> None:
    """Kubernetes sets them in every pod of a namespace with a service called rollbook."""
    monkeypatch.setenv(variable, value)
    load_settings()
    assert caplog.text == ""

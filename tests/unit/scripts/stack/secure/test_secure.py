"""What the secure stack writes: certificates, logins, and what each server is told."""

import base64
import hashlib
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from cryptography import x509

from runtime.roles.kafka import Binding
from runtime.settings import Settings, load_settings
from schemas.errors import Misconfigured
from scripts.stack.access import is_secure
from scripts.stack.download.fetch import Artefacts
from scripts.stack.download.jdk import Jdk
from scripts.stack.native.programs import program_section
from scripts.stack.native.server_files import Site, configuration_files
from scripts.stack.native.servers import programs
from scripts.stack.places import DEFAULT_PORTS, choose_ports
from scripts.stack.record import StackRecord, plain_settings, write_private, write_record
from scripts.stack.secure import certificates, elasticsearch, kafka, registry
from scripts.stack.secure.certificates import ensure_certificates
from scripts.stack.secure.logins import (
    admin_settings,
    password,
    password_file,
    registry_login,
    rewrite_roles,
    write_role,
)
from scripts.stack.secure.roles import grant_roles
from scripts.stack.system import _urls_for_console, services_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a stack with its certificate authority."""
    ensure_certificates(tmp_path, [tmp_path / "kafka"], None)
    return tmp_path


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_each_server_has_a_certificate_of_one_authority(tmp_path: Path) -> None:
    """Its key is readable by its owner only; the authority's own is nowhere."""
    folders = [tmp_path / name for name in ("kafka", "postgres")]
    ensure_certificates(tmp_path, folders, None)
    (authority,) = x509.load_pem_x509_certificates((tmp_path / "ca.pem").read_bytes())
    for folder in folders:
        issued = x509.load_pem_x509_certificate((folder / "certificate.pem").read_bytes())
        issued.verify_directly_issued_by(authority)
        (name,) = issued.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        assert name.value == folder.name
        names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["localhost", folder.name]
        assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
        assert mode(folder / "key.pem") == 0o600
        assert b"BEGIN PRIVATE KEY" in (folder / "key.pem").read_bytes()
    held = [
        path for path in tmp_path.rglob("*") if path.is_file() and b"PRIVATE" in path.read_bytes()
    ]
    assert {path.parent.name for path in held} == {"kafka", "postgres"}


def test_certificates_are_replaced_when_one_is_missing_or_near_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise every start keeps them, and what trusts them."""
    folders = [tmp_path / "kafka", tmp_path / "postgres"]
    monkeypatch.setattr(certificates, "_VALID", timedelta(days=29))
    ensure_certificates(tmp_path, folders, None)
    short = (tmp_path / "ca.pem").read_bytes()
    monkeypatch.undo()
    ensure_certificates(tmp_path, folders, None)
    first = (tmp_path / "ca.pem").read_bytes()
    assert first != short
    issued = x509.load_pem_x509_certificate((folders[0] / "certificate.pem").read_bytes())
    assert issued.not_valid_after_utc > datetime.now(UTC) + timedelta(days=360)
    ensure_certificates(tmp_path, folders, None)
    assert (tmp_path / "ca.pem").read_bytes() == first
    (folders[1] / "key.pem").unlink()
    ensure_certificates(tmp_path, folders, None)
    assert (tmp_path / "ca.pem").read_bytes() != first


def test_the_settings_of_a_role_reach_every_server_encrypted(folder: Path) -> None:
    """With its name and password; the file names the password's file and is private itself."""
    secret = password(folder, "handler", "trial")
    password(folder, "handler")
    file = write_role(folder, DEFAULT_PORTS, "handler", "trial")
    settings = load_settings(config=str(file)).settings
    assert settings.prefix == "trial"
    assert settings.kafka_security_protocol == "sasl_ssl"
    assert settings.kafka_sasl_username == settings.elasticsearch_username == "trial-handler"
    assert settings.postgres_url.startswith("postgresql://trial-handler@127.0.0.1:15432/rollbook?")
    assert "sslmode=verify-full" in settings.postgres_url
    assert settings.registry_url.startswith("https://")
    assert settings.elasticsearch_url.startswith("https://")
    passwords = (settings.kafka_sasl_password, settings.postgres_password)
    assert {*passwords, settings.elasticsearch_password} == {secret}
    assert secret not in file.read_text(encoding="utf-8")
    assert mode(file) == mode(password_file(folder, "handler", "trial")) == 0o600


def test_the_login_at_the_registry_has_no_prefix(folder: Path) -> None:
    """All prefixes share its schemas, and it reads its logins only at its start."""
    secrets = {name: password(folder, name) for name in ("projector", "queries")}
    for role, name in (("projector-custom", "projector"), ("queries", "queries")):
        password(folder, role, "trial")
        file = write_role(folder, DEFAULT_PORTS, role, "trial")
        settings = load_settings(config=str(file)).settings
        assert (settings.registry_username, settings.registry_password) == (name, secrets[name])
        assert registry_login(role) == name


def test_the_operators_settings_are_the_default_of_every_command(folder: Path) -> None:
    """Those without a prefix. The administrator's have a file of their own."""
    for prefix in ("", "trial"):
        password(folder, "operator", prefix)
        write_role(folder, DEFAULT_PORTS, "operator", prefix)
    settings = load_settings(config=str(folder / "rollbook.toml")).settings
    assert (settings.kafka_sasl_username, settings.prefix) == ("operator", "")
    assert admin_settings(folder, DEFAULT_PORTS).kafka_sasl_username == "admin"


def test_the_roles_of_other_prefixes_follow_their_servers(folder: Path) -> None:
    """Servers that start again may have other ports."""
    for name in ("queries", "client"):
        password(folder, name)
    password(folder, "client", "trial")
    file = write_role(folder, DEFAULT_PORTS, "client", "trial")
    rewrite_roles(folder, {**DEFAULT_PORTS, "kafka": 20_001})
    assert load_settings(config=str(file)).settings.kafka_bootstrap_servers == "127.0.0.1:20001"


def test_a_plain_stack_has_no_roles(tmp_path: Path) -> None:
    write_record(tmp_path, StackRecord("native", DEFAULT_PORTS))
    assert not is_secure(tmp_path)
    with pytest.raises(Misconfigured, match="not a secure one"):
        grant_roles(tmp_path, Settings())
    write_private(tmp_path / "postgres.password", "made-up\n")
    assert plain_settings(tmp_path, DEFAULT_PORTS).postgres_password == "made-up"


def site(stack: Path, *, secure: bool) -> Site:
    """Return a site whose servers are not installed."""
    return Site(
        stack=stack,
        data=stack / "data",
        configuration=stack / "data" / "configuration",
        logs=stack / "logs",
        password_file=stack / "admin.password",
        java=Jdk(stack / "java", 25, "nowhere"),
        programs=Artefacts(stack, stack, stack, stack),
        ports=DEFAULT_PORTS,
        user=None,
        secure=secure,
    )


def test_no_program_has_a_password_among_its_arguments(tmp_path: Path) -> None:
    """Nor does supervisord's configuration: the broker's and the registry's are in their files."""
    found = site(tmp_path, secure=True)
    files = {path.name: text for path, text in configuration_files(found).items()}
    for name, file in (("kafka", "kafka.properties"), ("registry", "registry.properties")):
        assert password(tmp_path, name) in files[file]
    secrets = [path.read_text().strip() for path in tmp_path.rglob("*.password")]
    sections = [program_section(one, tmp_path, None) for one in programs(found)]
    assert not [secret for secret in secrets if any(secret in text for text in sections)]


def test_a_plain_stack_gets_nothing_of_a_secure_one(tmp_path: Path) -> None:
    names = {path.name for path in configuration_files(site(tmp_path, secure=False))}
    assert not names & {"registry.properties", "pg_hba.conf"}
    assert list(tmp_path.iterdir()) == []


def test_queries_only_read_and_the_console_calls_operations(tmp_path: Path) -> None:
    """On a secure stack; on a plain one, where no login is less than another, one service does."""
    write_record(tmp_path, StackRecord("native", DEFAULT_PORTS, secure=True))
    found = services_of(tmp_path)
    assert found["queries"] == ["serve", "queries"]
    assert found["operations"] == ["serve", "queries", "--operations"]
    ports = choose_ports({}, free=False, secure=True)
    urls = _urls_for_console(ports, secure=True)
    assert urls["ROLLBOOK_HTTP_QUERIES_URL"] == "https://127.0.0.1:18085"
    assert urls["ROLLBOOK_HTTP_COMMANDS_URL"] == "https://127.0.0.1:18082"
    write_record(tmp_path, StackRecord("native", DEFAULT_PORTS))
    assert "operations" not in services_of(tmp_path)
    urls = _urls_for_console(DEFAULT_PORTS, secure=False)
    assert urls["ROLLBOOK_HTTP_QUERIES_URL"] == "http://127.0.0.1:18083"
    with pytest.raises(Misconfigured):
        choose_ports({"operations": 20_000}, free=False)


def test_a_broker_gets_its_first_logins_from_a_file(tmp_path: Path) -> None:
    """One argument a line: on a command line, everybody could read the passwords."""
    assert kafka.first_logins(tmp_path).splitlines() == [
        "--add-scram",
        f"SCRAM-SHA-512=[name=kafka,iterations=4096,password={password(tmp_path, 'kafka')}]",
        "--add-scram",
        f"SCRAM-SHA-512=[name=admin,iterations=4096,password={password(tmp_path, 'admin')}]",
    ]


def test_an_entry_of_the_table_becomes_an_access_control_entry() -> None:
    acl = kafka._acl("handler", Binding("cluster", "kafka-cluster", "literal", "IdempotentWrite"))
    assert (acl.restype, acl.operation) == (ResourceType.BROKER, AclOperation.IDEMPOTENT_WRITE)
    acl = kafka._acl("x", Binding("transactional-id", "a-", "prefixed", "DescribeConfigs"))
    assert (acl.principal, acl.host, acl.name) == ("User:x", "*", "a-")
    assert acl.restype is ResourceType.TRANSACTIONAL_ID
    assert acl.resource_pattern_type is ResourcePatternType.PREFIXED
    assert acl.operation is AclOperation.DESCRIBE_CONFIGS


def test_elasticsearch_reads_users_and_roles_from_files(tmp_path: Path) -> None:
    """A login has the role of its name, the administrator every right; passwords are hashed."""
    conf = tmp_path / "elasticsearch"
    conf.mkdir()
    elasticsearch.write_admin(conf, None, "secret")
    role = {"cluster": [], "indices": [{"names": ["a"], "privileges": ["read"]}]}
    logins = {"x-queries": "first", "x-client": "unused"}
    elasticsearch.grant(conf, None, logins, {"x-queries": role})
    assert (conf / "users_roles").read_text() == "superuser:admin\nx-queries:x-queries\n"
    (line,) = (conf / "roles.yml").read_text().splitlines()
    name, _, body = line.partition(": ")
    assert (name, json.loads(body)) == ("x-queries", role)
    users = dict(line.split(":", 1) for line in (conf / "users").read_text().splitlines())
    assert set(users) == {"admin", "x-queries"}
    rounds, salt, key = users["x-queries"].removeprefix("{PBKDF2}").split("$")
    found = hashlib.pbkdf2_hmac("sha512", b"first", base64.b64decode(salt), int(rounds), 32)
    assert base64.b64decode(key) == found
    elasticsearch.revoke(conf, None, logins)
    assert (conf / "users_roles").read_text() == "superuser:admin\n"
    assert (conf / "roles.yml").read_text() == ""
    assert mode(conf / "users") == 0o600


def rules(properties: str) -> dict[tuple[str, str], str]:
    """Return method and path → the roles that may send it, as Quarkus reads its rules."""
    lines = dict(line.split("=", 1) for line in properties.splitlines())
    found = {}
    for name, path in lines.items():
        if name.endswith(".paths") and name != "quarkus.http.auth.permission.others.paths":
            rule = name.removesuffix(".paths")
            allowed = lines[f"quarkus.http.auth.policy.{lines[f'{rule}.policy']}.roles-allowed"]
            found[lines[f"{rule}.methods"], path] = allowed
    return found


def test_the_registry_permits_the_operator_alone_to_write(tmp_path: Path) -> None:
    """Everybody looks up; whatever has no rule is refused, and no password is written."""
    text = registry.properties(tmp_path, 18_443, tmp_path)
    found = rules(text)
    api = "/apis/ccompat/v7"
    assert found["POST", f"{api}/subjects/rollbook.UserEvent"] == "look-up,register"
    assert found["GET", f"{api}/schemas/ids/*"] == "look-up,register"
    assert found["POST", f"{api}/subjects/rollbook.UserEvent/versions"] == "register"
    assert found["PUT", f"{api}/config/rollbook.UserEvent"] == "register"
    writing = {key for key, roles in found.items() if roles == "register"}
    assert all(path.endswith("/versions") or method == "PUT" for method, path in writing)
    assert not {method for method, _ in found} & {"DELETE", "PATCH"}
    lines = text.splitlines()
    assert "quarkus.http.auth.permission.others.policy=deny" in lines
    roles = dict(line.rsplit(".", 1)[1].split("=") for line in lines if ".embedded.roles." in line)
    assert {name for name, role in roles.items() if role == "register"} == {'"operator"'}
    for name in ("operator", "handler", "admin"):
        assert password(tmp_path, name) not in text
    digest = hashlib.sha256(f"handler:Quarkus:{password(tmp_path, 'handler')}".encode()).hexdigest()
    assert f'quarkus.security.users.embedded.users."handler"={digest}' in lines

"""What librdkafka is told about brokers: how they are reached and how a client logs in."""

from typing import TYPE_CHECKING, Any

from runtime.configuration.kafka_options import parse_options

if TYPE_CHECKING:
    from runtime.settings import Settings


def connection_config(settings: "Settings") -> dict[str, Any]:
    """Return the options for connections and logins; `kafka_options` are among them.

    Secrets are those that were loaded: see `runtime.kafka.client_classes` for those that changed
    since.
    """
    optional = {
        "ssl.ca.location": settings.kafka_ssl_ca_location,
        "ssl.certificate.location": settings.kafka_ssl_certificate_location,
        "ssl.key.location": settings.kafka_ssl_key_location,
        "ssl.key.password": settings.kafka_ssl_key_password,
        "sasl.mechanism": settings.kafka_sasl_mechanism.upper(),
        "sasl.username": settings.kafka_sasl_username,
        "sasl.password": settings.kafka_sasl_password,
        # librdkafka requests the tokens by itself, and again before they expire.
        "sasl.oauthbearer.method": "oidc" if settings.kafka_oauth_token_url else "",
        "sasl.oauthbearer.token.endpoint.url": settings.kafka_oauth_token_url,
        "sasl.oauthbearer.client.id": settings.kafka_oauth_client_id,
        "sasl.oauthbearer.client.secret": settings.kafka_oauth_client_secret,
        "sasl.oauthbearer.scope": settings.kafka_oauth_scope,
    }
    given = {option: value for option, value in optional.items() if value}
    return {
        "security.protocol": settings.kafka_security_protocol,
        **given,
        **parse_options(settings.kafka_options),
    }


def option_error(settings: "Settings") -> str:
    """Return what librdkafka refuses about `kafka_options`, as a rule for the setting; or ''.

    Files and logins must have been checked before: whatever it refuses then is an option. Its
    message is repeated only about an unknown name, as others quote the value.
    """
    # Slow to import, and only needed with options.
    from confluent_kafka import KafkaException, Producer

    try:
        Producer(connection_config(settings) | {"log_level": 0})  # connects to nothing
    except KafkaException as error:
        why = error.args[0].str()
        unknown = why.startswith("No such configuration property")
        if unknown:
            return f"has an option that librdkafka does not know: {why.rpartition(' ')[2]}"
        named = [name for name in parse_options(settings.kafka_options) if name in why]
        return f"has a value that librdkafka refuses: {', '.join(named) or 'of an option'}"
    return ""

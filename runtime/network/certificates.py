"""When the certificates expire that the settings name.

Clients read the files of their certificates and authorities once, and a service its certificate: a
file that is replaced takes effect at the next start. The time is that of the file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runtime.settings import Settings

# Of a chain, the first certificate to expire breaks it. A file of authorities may hold an old one
# beside its successor, or all of a system: it is useless only once the last one has expired.
_OF_A_CHAIN: Final = ("http_tls_certificate", "kafka_ssl_certificate_location")
_OF_AUTHORITIES: Final = (
    "kafka_ssl_ca_location",
    "registry_ca_location",
    "elasticsearch_ca_location",
    "http_ca_location",
)
CERTIFICATES: Final = (*_OF_AUTHORITIES, *_OF_A_CHAIN)


def certificate_ends(settings: Settings) -> Mapping[str, float]:
    """Return setting → when what it names expires, in seconds since 1970.

    A setting without a value, or whose file has no certificate that can be read, is left out.
    """
    ends = {}
    for names, which in ((_OF_A_CHAIN, min), (_OF_AUTHORITIES, max)):
        for name in names:
            found = _ends(getattr(settings, name))
            if found:
                ends[name] = which(found)
    return ends


def _ends(file: str) -> list[float]:
    if not file:
        return []
    # Its import takes 30 ms.
    from cryptography.x509 import load_pem_x509_certificates

    try:
        found = load_pem_x509_certificates(Path(file).read_bytes())
    except (OSError, ValueError):  # `ssl.ca.location` may also be a folder
        return []
    return [one.not_valid_after_utc.timestamp() for one in found]

"""Network settings of the environment: proxies, exceptions from them, certificates. Bad values are refused.

We read HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY (lower-case names win), SSL_CERT_FILE, SSL_CERT_DIR and
SSLKEYLOGFILE. An error names the variable and never its value, which may hold a password.
"""

import ipaddress
import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx

from reproduce.errors import UserError

SCHEMES = ("http", "https")
_ENTRY = re.compile(r"(\*?\.)?(?P<host>[A-Za-z0-9_.-]+?)\.?(:(?P<port>\d{1,5}))?")


@dataclass(frozen=True)
class Proxy:
    """A proxy. variable: the environment variable that names it. url: http://host:port, without the user and password
    in `auth`.
    """

    variable: str
    url: str
    auth: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return f"Proxy({self.variable})"


@dataclass(frozen=True)
class Proxies:
    """All proxies. by_scheme: "http" or "https" -> its proxy. exceptions: the entries of NO_PROXY."""

    by_scheme: dict[str, Proxy]
    exceptions: tuple[str, ...] = ()

    def of(self, scheme: str, host: str, port: int | None) -> Proxy | None:
        """Find the proxy of an address; None where it is reached directly."""
        proxy = self.by_scheme.get(scheme)
        if proxy is None or any(_matches(entry, host.lower().rstrip("."), port or 0) for entry in self.exceptions):
            return None
        return proxy


def read_proxies() -> Proxies:
    """Read the proxies of the environment.

    Raises:
        UserError: a value cannot be used; the message names the variable.
    """
    every, exceptions = _proxy("all_proxy"), _exceptions()
    found = {scheme: _proxy(f"{scheme}_proxy") or every for scheme in SCHEMES}
    found = {} if "*" in exceptions else {scheme: proxy for scheme, proxy in found.items() if proxy is not None}
    return Proxies(found, exceptions)


def ssl_context() -> ssl.SSLContext:
    """Make the context that checks certificates: by SSL_CERT_FILE or SSL_CERT_DIR, else by certifi's authorities.

    Raises:
        UserError: a variable names something that is missing or cannot be read.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file and not Path(file).is_file():
        raise UserError("the environment variable SSL_CERT_FILE names no file: correct it, or unset it")
    if folder and not any(Path(part).is_dir() for part in folder.split(os.pathsep)):
        raise UserError("the environment variable SSL_CERT_DIR names no folder: correct it, or unset it")
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        names = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE") if os.environ.get(name)]
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        what = f"correct the environment variable {' or '.join(names)}, or unset it" if names else "reinstall certifi"
        raise UserError(f"certificates cannot be read ({reason}): {what}") from None


def check_network_environment() -> None:
    """Refuse variables that would break every client of this process, the Hub's too.

    Raises:
        UserError: the first bad variable.
    """
    read_proxies()
    ssl_context()


def _variable(name: str) -> tuple[str, str]:
    """(name of the variable that is set, its value); the lower-case name wins."""
    for known in (name, name.upper()):
        if os.environ.get(known):
            return known, os.environ[known]
    return name.upper(), ""


def _proxy(name: str) -> Proxy | None:
    variable, value = _variable(name)
    if not value:
        return None

    def refused(problem: str) -> UserError:
        return UserError(f"the environment variable {variable} {problem}; correct it, or unset it")

    if not value.isascii() or any(character <= " " for character in value):
        raise refused("holds a blank or a special character: it must be an address such as http://proxy:3128")
    scheme = value.partition("://")[0].lower() if "://" in value else "http"
    if scheme.startswith("socks"):
        raise refused("names a SOCKS proxy, which is not supported: it must be an address such as http://proxy:3128")
    if scheme != "http":
        raise refused("must be an address such as http://proxy:3128")
    try:
        url = httpx.URL(value if "://" in value else f"http://{value}")
        port, host = url.port or 80, url.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError):
        raise refused("is not a valid address: it must be one such as http://proxy:3128") from None
    if not host or not 0 < port < 65536:
        raise refused("is not a valid address: it must be one such as http://proxy:3128")
    auth = (url.username, url.password) if url.userinfo else None
    return Proxy(variable, f"http://{f'[{host}]' if ':' in host else host}:{port}", auth)


def _exceptions() -> tuple[str, ...]:
    variable, value = _variable("no_proxy")
    entries = tuple(entry.strip().lower() for entry in value.split(",") if entry.strip())
    for entry in entries:
        if entry != "*" and _network(entry) is None and not _ENTRY.fullmatch(entry):
            raise UserError(
                f"the environment variable {variable} holds an entry that is no host name, address or network (an IPv6 "
                "address has no brackets there, such as ::1); correct it, or unset it"
            )
    return entries


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _matches(entry: str, host: str, port: int) -> bool:
    network = _network(entry)
    if network is not None:
        try:
            return ipaddress.ip_address(host) in network
        except ValueError:
            return False
    found = _ENTRY.fullmatch(entry)
    if found["port"] is not None and int(found["port"]) != port:
        return False
    return host == found["host"] or host.endswith(f".{found['host']}")

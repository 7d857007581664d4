"""Decide which addresses pages may be read from: the public web, no local network and no metadata service of a cloud.

The addresses come from search results and redirects, which anyone may have written. `check_public` decides about a URL
with a name and about one with the number that a name resolves to. `connections.py` calls it for both.
"""

import ipaddress
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import httpx

from reproduce.tools.search.outcomes import Unusable

PORTS = {"http": 80, "https": 443}

_LOCAL_NAMES = tuple(
    (
        "local localhost localdomain internal intranet private corp home lan mail workgroup domain host arpa onion alt "
        "invalid"
    ).split()
)
"""Last labels that no public site has: RFC 6761, 6762 (appendix G), 7686, 8375, 9476, and names that ICANN keeps free.
"""

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: how a machine without IPv4 sees every IPv4 site
_MAPPED = IPv6Network("::ffff:0:0/96")
_GLOBAL_V6 = IPv6Network("2000::/3")  # RFC 4291: all that is given to sites so far
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
            "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3 "
            "168.63.129.16/32 "  # the platform services of Azure, on a public number
            "2001::/23 "  # protocols, Teredo (RFC 4380) among them, which holds an IPv4 address
            "2001:db8::/32 3fff::/20 "  # documentation
            "2002::/16"  # 6to4 (RFC 3056), which holds an IPv4 address
        ).split(),
    )
)
"""IANA's special-purpose registries, written out because `is_global` differs between versions of Python."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether the address belongs to the public internet.

    An address that holds an IPv4 address (mapped, NAT64) is as public as that one. Other transition forms and multicast
    are not public.
    """
    if isinstance(address, IPv6Address):
        if getattr(address, "scope_id", None):
            return False
        if address in _MAPPED or address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _GLOBAL_V6:
            return False
    ours = (network for network in _NOT_PUBLIC if isinstance(network, IPv4Network) == (address.version == 4))
    return address.is_global and not any(address in network for network in ours)


def check_public(url: str) -> None:
    """Refuse a URL that is no public web page.

    Raises:
        Unusable: the scheme or port is not one of the web, the URL names a user, the name belongs to a local network,
            or the number is not public.
    """
    try:
        parts = httpx.URL(url)  # the parser of what sends the request: both see the same host
        host, port = parts.raw_host.decode("ascii").lower().rstrip("."), parts.port
    except (httpx.InvalidURL, UnicodeError, ValueError):
        raise Unusable("bad address") from None
    if parts.scheme not in PORTS or not host or parts.userinfo:
        raise Unusable("bad address")
    if port not in (None, *PORTS.values()):
        raise Unusable("not a public address")
    try:
        public = is_public(ipaddress.ip_address(host))
    except ValueError:
        public = _public_name(host)
    if not public:
        raise Unusable("not a public address")


def _public_name(host: str) -> bool:
    labels = host.split(".")
    number = re.fullmatch(r"\d+|0x[0-9a-f]*", labels[-1])  # 127.1 and the like: no name ends so
    plain = all(re.fullmatch(r"[a-z0-9_-]{1,63}", label) for label in labels) and len(host) <= 253
    return plain and len(labels) > 1 and not number and labels[-1] not in _LOCAL_NAMES

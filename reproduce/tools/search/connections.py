"""Connections of httpcore that keep to the thread's time limit and, for pages, go to checked addresses only.

A name is resolved once; every address that it resolves to is checked, and the connection is made to one of these
numbers, so that a second look-up with another answer changes nothing. TLS and the Host header keep the name.

A proxy resolves names itself: then only the URL can be checked, not where it leads.
"""

import queue
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpcore
import httpx

from reproduce.network import Proxies, read_proxies, ssl_context
from reproduce.tools.search.deadline import seconds_left

MOST_ADDRESSES = 8  # of a name; all are checked, so many are tried

Check = Callable[[str], None]


class Connections:
    """Pools of connections: one for what is reached directly, one for each proxy of the environment.

    most: connections at a time. kept: of them, idle ones that are used again. check: `Backend`'s.
    UserError for a bad network environment (`reproduce.network`).
    """

    def __init__(self, most: int, kept: int, check: Check | None = None, proxies: Proxies | None = None):
        context = ssl_context()
        self.proxies = read_proxies() if proxies is None else proxies
        limits = dict(ssl_context=context, max_connections=most, max_keepalive_connections=kept)
        self._direct = httpcore.ConnectionPool(network_backend=Backend(check), **limits)
        self._proxied = {
            proxy: httpcore.ConnectionPool(
                proxy=httpcore.Proxy(proxy.url, auth=proxy.auth), network_backend=Backend(), **limits
            )
            for proxy in set(self.proxies.by_scheme.values())
        }

    def close(self) -> None:
        for pool in (self._direct, *self._proxied.values()):
            pool.close()

    @contextmanager
    def stream(self, method: str, url: httpx.URL, headers: dict, content: bytes | None) -> Iterator[httpcore.Response]:
        """The reply to a request, its body not yet read. Raises httpcore's errors, and what `check` raises."""
        proxy = self.proxies.of(url.scheme, url.raw_host.decode("ascii"), url.port)
        pool = self._direct if proxy is None else self._proxied[proxy]
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        host = {"Host": url.netloc.decode("ascii")}
        with pool.stream(method, target, headers=list((host | headers).items()), content=content) as response:
            yield response


class Backend(httpcore.NetworkBackend):
    """check: called with `http://<number>:<port>/` for every address that a name resolves to; raises to refuse."""

    def __init__(self, check: Check | None = None):
        self.check = check

    def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None) -> httpcore.NetworkStream:
        with _errors(httpcore.ConnectTimeout, httpcore.ConnectError):
            found = resolved(host, port)
        for _, address in found if self.check is not None else ():
            self.check(f"http://{_in_url(address[0])}:{port}/")
        found = found[:MOST_ADDRESSES]
        with _errors(httpcore.ConnectTimeout, httpcore.ConnectError):
            for left, (family, address) in zip(range(len(found), 0, -1), found, strict=True):
                sock = socket.socket(family, socket.SOCK_STREAM)
                try:
                    sock.settimeout(_share(seconds_left(), left))
                    sock.connect(address)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    return Stream(sock)
                except OSError:
                    sock.close()
                    if left == 1:
                        raise
        raise httpcore.ConnectError("the name has no address")


class Stream(httpcore.NetworkStream):
    """A socket, with TLS or without. Every wait is at most what is left of the thread's time limit."""

    def __init__(self, sock: socket.socket):
        self._sock = sock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _errors(httpcore.ReadTimeout, httpcore.ReadError):
            self._sock.settimeout(seconds_left())
            return self._sock.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _errors(httpcore.WriteTimeout, httpcore.WriteError):
            while buffer:
                self._sock.settimeout(seconds_left())
                buffer = buffer[self._sock.send(buffer) :]

    def close(self) -> None:
        self._sock.close()

    def start_tls(self, ssl_context, server_hostname=None, timeout=None) -> httpcore.NetworkStream:
        try:
            with _errors(httpcore.ConnectTimeout, httpcore.ConnectError):
                self._sock.settimeout(seconds_left())
                return Stream(ssl_context.wrap_socket(self._sock, server_hostname=server_hostname))
        except Exception:
            self.close()
            raise

    def get_extra_info(self, info: str):
        if info == "ssl_object" and isinstance(self._sock, ssl.SSLSocket):
            return self._sock
        if info == "is_readable":  # an idle connection that can be read was closed by the other end
            poll = select.poll()
            poll.register(self._sock, select.POLLIN)
            return bool(poll.poll(0))
        return None


def resolved(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple]]:
    """(family, socket address) of every address of a name, in the system's order.

    OSError if it has none, TimeoutError at the end of the thread's time limit, which the system's resolver ignores.
    """
    answer: queue.SimpleQueue = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, ValueError) as error:  # the second: a label that is too long
            answer.put(error)

    threading.Thread(target=ask, name="resolver", daemon=True).start()
    try:
        found = answer.get(timeout=seconds_left())
    except queue.Empty:
        raise TimeoutError("timeout") from None
    if isinstance(found, Exception):
        raise OSError("the name cannot be resolved") from None
    return [(family, address) for family, _, _, _, address in found if family in (socket.AF_INET, socket.AF_INET6)]


def _in_url(number: str) -> str:
    number = number.partition("%")[0]  # a link of this machine's own, and then never public
    return f"[{number}]" if ":" in number else number


def _share(seconds: float | None, among: int) -> float | None:
    return None if seconds is None else seconds / among


@contextmanager
def _errors(timeout: type[Exception], other: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise timeout("timeout") from None
    except (OSError, ValueError) as error:  # ValueError: a name that TLS does not take
        raise other(type(error).__name__) from None

"""Connections of httpcore that keep to the thread's time limit and, for pages, lead to checked addresses only.

A name is resolved once, every address that it resolves to is checked, and the connection goes to one of these numbers,
so a second look-up with another answer changes nothing. TLS and the Host header keep the name.

A proxy resolves names itself: then we can check only the URL, not where it leads.
"""

import queue
import socket
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
    """Pools of connections: one for direct connections, one for each proxy of the environment.

    Args:
        most: connections at a time.
        kept: how many idle ones are kept for reuse.
        check: as in `Backend`.
        proxies: None: those of the environment.

    Raises:
        UserError: the network environment is bad (`reproduce.network`).
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
        """Open the reply to a request; its body is not yet read. Raises httpcore's errors, and what `check` raises."""
        proxy = self.proxies.of(url.scheme, url.raw_host.decode("ascii"), url.port)
        pool = self._direct if proxy is None else self._proxied[proxy]
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        host = {"Host": url.netloc.decode("ascii")}
        with pool.stream(method, target, headers=list((host | headers).items()), content=content) as response:
            yield response


class Backend(httpcore.NetworkBackend):
    """Connects to checked addresses.

    check: called with `http://<number>:<port>/` for every address that a name resolves to; it raises to refuse one.
    """

    def __init__(self, check: Check | None = None):
        self.check = check

    def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None) -> httpcore.NetworkStream:
        with _errors(httpcore.ConnectTimeout, httpcore.ConnectError):
            found = resolved(host, port)
        for number in found if self.check is not None else ():
            self.check(f"http://{_in_url(number)}:{port}/")
        found = found[:MOST_ADDRESSES]
        for left, number in zip(range(len(found), 0, -1), found, strict=True):
            try:
                return Stream(httpcore.SyncBackend().connect_tcp(number, port, _share(seconds_left(), left)))
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if left == 1:
                    raise
        raise httpcore.ConnectError("the name has no address")


class Stream(httpcore.NetworkStream):
    """A stream of httpcore. Every wait is at most what is left of the thread's time limit."""

    def __init__(self, stream: httpcore.NetworkStream):
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, seconds_left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        sock = self.get_extra_info("socket")
        with _errors(httpcore.WriteTimeout, httpcore.WriteError):
            while buffer:  # httpcore's own loop would begin the limit anew with every part that is sent
                sock.settimeout(seconds_left())
                buffer = buffer[sock.send(buffer) :]

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, ssl_context, server_hostname=None, timeout=None) -> httpcore.NetworkStream:
        with _errors(httpcore.ConnectTimeout, httpcore.ConnectError):
            return Stream(self._stream.start_tls(ssl_context, server_hostname, seconds_left()))

    def get_extra_info(self, info: str):
        return self._stream.get_extra_info(info)


def resolved(host: str, port: int) -> list[str]:
    """List the numeric addresses of a name, in the system's order.

    Raises:
        OSError: it has none.
        TimeoutError: the thread's time limit is over, which the system's resolver ignores.
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
    return [address[0] for family, _, _, _, address in found if family in (socket.AF_INET, socket.AF_INET6)]


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

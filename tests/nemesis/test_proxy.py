"""The proxy passes on what it gets, and breaks, delays and holds back when it is told to."""

import socket
import threading
import time

import pytest

from nemesis.proxy import Proxy
from nemesis.proxyprocess import ProxyProcess


@pytest.fixture
def echo():
    """A port where every byte comes back."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection):
            with connection:
                try:
                    while data := connection.recv(4096):
                        connection.sendall(data)
                except OSError:
                    pass

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(echo):
    with Proxy(echo) as between:
        yield between


@pytest.fixture
def client(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connected:
        connected.sendall(b"hello")
        assert connected.recv(5) == b"hello"
        yield connected


def rest(client):
    """What comes before the connection ends."""
    read = b""
    try:
        while data := client.recv(4096):
            read += data
    except ConnectionError:
        pass
    return read


def test_a_cut_ends_a_connection_and_the_next_one_is_served(proxy, client):
    proxy.cut()
    assert rest(client) == b""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as again:
        again.sendall(b"x")
        assert again.recv(1) == b"x"


def test_a_cut_in_the_middle_of_a_message(proxy, client):
    proxy.cut(after_bytes=12)
    assert not proxy.wait_until_cut(0.0)
    client.sendall(b"0123456789")
    assert rest(client) == b"01"  # ten bytes went there, two came back
    assert proxy.wait_until_cut(10.0)


def test_delay_and_silence(proxy, client):
    proxy.delay(0.2)
    started_s = time.monotonic()
    client.sendall(b"a")
    assert client.recv(1) == b"a"
    assert time.monotonic() - started_s >= 0.4
    proxy.delay(0.0)
    proxy.swallow(True)
    client.sendall(b"b")
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(10)
    proxy.swallow(False)
    assert client.recv(1) == b"b"


def test_a_proxy_in_a_process_of_its_own_does_as_it_is_told(echo):
    with ProxyProcess(echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
        client.sendall(b"there")
        assert client.recv(16) == b"there"
        proxy.cut()
        assert proxy.wait_until_cut(10.0)
        assert client.recv(16) == b""


def test_a_proxy_that_is_gone_says_so_and_leaves_nothing(echo):
    with ProxyProcess(echo) as proxy:
        proxy._process.kill()
        with pytest.raises(ConnectionError, match="ended by itself"):
            proxy.wait_until_cut(10.0)
    assert not proxy._process.is_alive()

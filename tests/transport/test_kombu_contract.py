"""The private methods of kombu, Celery and Flower that the transport overrides or relies upon, by name.

A new minor version of kombu fails here, loudly, before it fails a worker: read the changed methods, adapt the
transport, then move the version.
"""

import inspect
from typing import Any

import kombu
import pytest
from celery.app import amqp as celery_amqp
from celery.concurrency.asynpool import AsynPool
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.consumer.tasks import Tasks
from celery.worker.request import Request
from flower.views import BaseHandler
from kombu import Connection as KombuConnection
from kombu import Producer
from kombu.asynchronous import Hub
from kombu.connection import ConnectionPool, PooledConnection
from kombu.pools import ProducerPool
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual

from tasks.transport import Connection, Outbox, SentinelTransport, Transport, UnsupportedKombu
from tasks.transport import channel as ours
from tasks.transport import transport as our_transport
from tasks.transport.poller import Poller
from tasks.transport.qos import QoS

OVERRIDDEN: dict[type, tuple[type, dict[str, list[str]]]] = {
    kombu_redis.Channel: (
        ours.Channel,
        {
            "__init__": ["self", "args", "kwargs"],
            "_get_message_priority": ["self", "message", "reverse"],
            "_inplace_augment_message": ["self", "message", "exchange", "routing_key"],
            "_put": ["self", "queue", "message", "kwargs"],
            "_get": ["self", "queue"],
            "_new_queue": ["self", "queue", "auto_delete", "kwargs"],
            "_has_queue": ["self", "queue", "kwargs"],
            "_size": ["self", "queue"],
            "_purge": ["self", "queue"],
            "_maybe_update_queues_expire": ["self", "client", "queue"],
            "_subscribe": ["self"],
            "_handle_message": ["self", "client", "r"],
            "_disconnect_pools": ["self"],
            "basic_consume": ["self", "queue", "args", "kwargs"],
            "basic_cancel": ["self", "consumer_tag"],
            "_basic_cancel": ["self", "consumer_tag"],
            "close": ["self"],
            "conn_or_acquire": ["self", "client"],
            "create_publish_batch": ["self", "max_size"],
            "encode_body": ["self", "body", "encoding"],
            "queue_delete": ["self", "queue", "if_unused", "if_empty", "kwargs"],
        },
    ),
    Producer: (
        Outbox,
        {
            "maybe_declare": ["self", "entity", "retry", "retry_policy"],
            "_publish": [
                "self",
                "body",
                "priority",
                "content_type",
                "content_encoding",
                "headers",
                "properties",
                "routing_key",
                "mandatory",
                "immediate",
                "exchange",
                "declare",
                "timeout",
                "confirm_timeout",
                "retry",
                "retry_policy",
            ],
        },
    ),
    virtual.QoS: (
        QoS,
        {
            "append": ["self", "message", "delivery_tag"],
            "ack": ["self", "delivery_tag"],
            "reject": ["self", "delivery_tag", "requeue"],
            "restore_unacked": ["self"],
        },
    ),
    kombu_redis.MultiChannelPoller: (
        Poller,
        {
            "__init__": ["self"],
            "on_poll_start": ["self"],
            "on_readable": ["self", "fileno"],
            "get": ["self", "callback", "timeout"],
        },
    ),
    kombu_redis.Transport: (
        Transport,
        {"__init__": ["self", "args", "kwargs"], "register_with_event_loop": ["self", "connection", "loop"]},
    ),
    KombuConnection: (
        Connection,
        {"get_transport_cls": ["self"], "__eqhash__": ["self"], "Pool": ["self", "limit", "kwargs"]},
    ),
}

RELIED_UPON: dict[Any, list[str]] = {
    kombu_redis.Channel: [
        "_receive", "_delete", "_close_clients", "_q_for_pri",
        "_flush_brpop_reauth", "_get_queue_expire", "_get_publish_topics", "active_queues", "_in_listen", "_in_poll",
    ],
    kombu_redis.MultiChannelPoller: ["_register", "_register_LISTEN", "_client_registered", "close", "discard"],
    virtual.QoS: ["_flush", "can_consume", "can_consume_max_estimate"],
    virtual.Transport: ["_deliver", "close_connection", "create_channel"],
    ConnectionPool: ["new"],
    KombuConnection: ["ensure", "_reraise_as_library_errors"],
    celery_amqp: ["_callback_publish_retry"],
    ProducerPool: ["Producer", "create_producer"],
    PooledConnection: ["_info"],
    Hub: ["add", "remove_writer", "call_later"],
    AsynPool: ["register_with_event_loop"],  # and what tests/transport/test_handout.py sets in motion
    Consumer: ["on_decode_error", "on_connection_error_after_connected"],
    Tasks: ["start", "stop", "shutdown"],
    Request: ["on_success", "on_failure", "reject"],
    state: ["task_ready", "reserved_requests", "should_stop", "should_terminate"],
    BaseHandler: ["get_broker"],
}  # fmt: skip

CASES = [(base, own, name) for base, (own, names) in OVERRIDDEN.items() for name in names]


def test_kombu_is_of_the_minor_version_that_the_overrides_were_written_for() -> None:
    assert kombu.VERSION[:2] == our_transport.KOMBU == (5, 7)


@pytest.mark.parametrize(("base", "own", "name"), CASES, ids=lambda case: getattr(case, "__name__", case))
def test_an_overridden_method_is_there_with_the_arguments_that_it_had(base: type, own: type, name: str) -> None:
    # Given a method that kombu calls
    theirs = getattr(base, name)

    # Then ours replaces it, and kombu has not changed its arguments
    assert getattr(own, name) is not theirs
    assert list(inspect.signature(theirs).parameters) == OVERRIDDEN[base][1][name]


@pytest.mark.parametrize("owner", RELIED_UPON, ids=lambda owner: owner.__name__)
def test_what_is_relied_upon_is_there(owner: Any) -> None:
    assert [name for name in RELIED_UPON[owner] if not hasattr(owner, name)] == []


@pytest.mark.parametrize("name", ["client", "subclient"])
def test_a_channel_makes_its_clients_as_kombu_does_and_finds_them_faster(name: str) -> None:
    assert getattr(ours.Channel, name).func is getattr(kombu_redis.Channel, name).func
    assert not hasattr(type(getattr(ours.Channel, name)), "__set__")  # else each use would call it


def test_kombu_lets_go_of_a_broken_connection_through_collect() -> None:
    # Given how kombu lets go of a connection; Celery calls it when the broker is lost
    source = inspect.getsource(KombuConnection.collect)

    # Then the transport may do it in its own way: that is why a running task survives
    assert "self._transport._collect" in source
    assert "collect(" in inspect.getsource(Consumer.on_connection_error_after_connected)


def test_another_minor_version_is_refused_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a kombu of tomorrow
    monkeypatch.setattr(our_transport, "KOMBU_VERSION", (5, 8, 0))

    # When a connection is opened, then the error says what to do
    with pytest.raises(UnsupportedKombu, match=r"kombu>=5\.7,<5\.8"):
        Transport(Connection("redis://127.0.0.1:1/0"))


@pytest.mark.parametrize(
    ("url", "transport"),
    [
        ("redis://127.0.0.1:6379/0", Transport),
        ("rediss://127.0.0.1:6379/0", Transport),
        ("redis+socket:///run/redis.sock", Transport),
        ("sentinel://a:26379;sentinel://b:26379", SentinelTransport),
        ("memory://", None),
    ],
)
def test_a_url_selects_the_transport(url: str, transport: type | None) -> None:
    # Given an ordinary URL
    connection = Connection(url)

    # When its class is looked up, at once and in a pool
    found = connection.get_transport_cls()
    pooled = connection.Pool(limit=1)

    # Then it is ours, except for other brokers, and the URL shows none of it
    assert found is transport if transport else not issubclass(found, Transport)
    assert isinstance(pooled.connection, Connection)
    assert connection.transport_cls in {"redis", "rediss", "sentinel", "memory"}


def test_tls_stays_the_default_of_rediss() -> None:
    assert Connection("rediss://127.0.0.1:6379/0").ssl

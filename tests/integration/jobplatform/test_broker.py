"""A broker that went away costs a worker no place for what it takes."""

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import redis.exceptions
from kombu import Connection

from jobplatform.broker import Channel, Transport
from tests.tunnel import Tunnel

PLACES = 1


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    with Tunnel(urlsplit(os.environ["BROKER_URL"]).path) as tunnel:
        yield tunnel


@pytest.fixture
def channel(tunnel: Tunnel) -> Iterator[Channel]:
    """A channel that has taken as many messages as it may."""
    options = {"socket_timeout": 0.2, "socket_connect_timeout": 0.2}
    url = f"redis://127.0.0.1:{tunnel.port}/15"
    with Connection(url, transport=Transport, transport_options=options) as link:
        channel = link.default_channel
        assert isinstance(channel, Channel)
        channel.client.flushdb()
        channel.basic_qos(0, PLACES, False)
        for name in ("first", "second"):
            link.SimpleQueue("places").put(name)
        yield channel


@pytest.mark.parametrize("say", ["basic_ack", "basic_reject"])
def test_a_message_whose_acknowledgement_is_lost_gives_its_place_free(
    channel: Channel, tunnel: Tunnel, say: str
) -> None:
    message = channel.basic_get("places", no_ack=False)
    assert message is not None
    assert not channel.qos.can_consume()
    tunnel.stall()
    with pytest.raises((redis.exceptions.RedisError, OSError)):
        getattr(channel, say)(message.delivery_tag)

    assert channel.qos.can_consume()

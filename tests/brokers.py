"""Real MQTT brokers, to be killed and started again, and somebody who listens to them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.ports import free_port


class Broker:
    """One broker in a folder that outlives it."""

    name = ""
    remedy = ""

    def __init__(self, folder: Path, access: str = "") -> None:
        found = shutil.which(self.name, path=f"{os.environ['PATH']}:/usr/sbin")
        if found is None:
            pytest.skip(f"{self.name} is not installed: {self.remedy}")
        self.folder, self._program, self.port = folder, found, free_port()
        folder.mkdir(exist_ok=True)
        self._config = folder / f"{self.name}.conf"
        self._config.write_text("\n".join(line.strip() for line in self.configuration(access).splitlines()))
        self.process: subprocess.Popen[bytes] | None = None

    def configuration(self, access: str) -> str:
        raise NotImplementedError

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            command = [self._program, "-c", str(self._config)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        until_s = monotonic() + 20
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert monotonic() < until_s, (self.folder / "log").read_text()
            sleep(0.05)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    @contextmanager
    def running(self) -> Iterator[Broker]:
        self.start()
        try:
            yield self
        finally:
            self.kill()


class Mosquitto(Broker):
    name = "mosquitto"
    remedy = "apt-get install mosquitto"

    def configuration(self, access: str) -> str:
        user = "user root" if os.getuid() == 0 else ""  # else it changes its user, and cannot write here
        return f"""
            listener {self.port} 127.0.0.1
            persistence true
            persistence_location {self.folder}/
            autosave_on_changes true
            autosave_interval 1
            max_queued_messages 0
            {user}
            """ + (access or "allow_anonymous true")


class Nats(Broker):
    name = "nats-server"
    remedy = "apt-get install nats-server"

    def configuration(self, _access: str) -> str:
        return f"""
            server_name: test
            listen: "127.0.0.1:{free_port()}"
            jetstream: {{ store_dir: "{self.folder}/jetstream" }}
            mqtt: {{ listen: "127.0.0.1:{self.port}", max_ack_pending: 1000 }}
            """


class Listener:
    """Hears all that is published, over restarts of the broker (a persistent session)."""

    def __init__(self, port: int, topic: str = "rhythmd/#") -> None:
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self.heard: list[tuple[str, dict, bool]] = []  # topic, message, whether it was retained
        self.client = paho.Client(CallbackAPIVersion.VERSION2, "listener", clean_session=False, protocol=paho.MQTTv311)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda *_: self.client.subscribe(topic, qos=1)
        self.client.on_message = self._on_message
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self._subscribed = threading.Event()
        self._port = port

    def _on_message(self, _client: object, _data: object, message) -> None:
        self.heard.append((message.topic, json.loads(message.payload), message.retain))

    def is_listening(self) -> bool:
        """Whether the broker keeps for it what it misses."""
        return self._subscribed.is_set()

    def __enter__(self) -> Listener:  # noqa: PYI034 typing.Self comes with Python 3.11
        self.client.connect_async("127.0.0.1", self._port)
        self.client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def of(self, part: str) -> list[dict]:
        return [message for topic, message, _ in list(self.heard) if part in topic]

    def alerts(self) -> list[tuple[str, str]]:
        """What opened and closed, in order, each once."""
        found = {message["message_id"]: (message["id"], message["state"]) for message in self.of("/alert/")}
        return list(found.values())

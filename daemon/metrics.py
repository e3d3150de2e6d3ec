"""What the daemon does, in numbers, for Prometheus: a page on this machine's loopback and nowhere else.

The judge room only sets numbers. A thread of its own writes the page when it is asked for, for one reader after the
other: whoever floods it or never reads keeps only the other readers waiting.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from daemon.messages import Alert, Beat, Status

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
READER_S = 2.0
"""A reader who falls silent for so long is shown out."""

POLL_S = 0.1  # how soon it ends

ENGINE_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)
READ_TO_SENT_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0)

COUNTED: tuple[tuple[str, str, Callable[[Status], float]], ...] = (
    ("frames", "Frames that came over the wire.", lambda status: status.link.frames),
    ("samples", "Samples that came over the wire.", lambda status: status.link.samples),
    ("lost_samples", "Samples lost, by sequence number.", lambda status: status.link.lost_samples),
    ("damaged_frames", "Frames that came damaged.", lambda status: status.link.damaged_frames),
    ("skipped_bytes", "Bytes that belonged to no frame.", lambda status: status.link.skipped_bytes),
    ("dropped_bytes", "Bytes thrown away because the daemon was behind.", lambda status: status.link.dropped_bytes),
    ("connections", "How often the port was opened.", lambda status: status.link.connections),
    ("patch_restarts", "Restarts of the patch.", lambda status: status.link.restarts),
)
COUNTED_ONCE: tuple[tuple[str, str, Callable[[Status], float]], ...] = (
    ("given_up_alerts", "Alerts that neither disk nor memory had room for.", lambda status: status.queues.given_up),
    ("slow_subscribers", "Subscribers that fell too far behind.", lambda status: status.queues.slow_subscribers),
    ("refused_connections", "Connections that came to nothing.", lambda status: status.queues.refused_connections),
    ("refused_requests", "Requests that the desk refused.", lambda status: status.queues.refused_requests),
)
MEASURED: tuple[tuple[str, str, Callable[[Status], float]], ...] = (
    ("port_open", "Whether the patch's port is open.", lambda status: status.port == "open"),
    ("silent", "Whether the port is open and nothing comes.", lambda status: status.silent),
    ("battery_low", "Whether the patch says so.", lambda status: status.battery_low),
    ("sample_age_seconds", "Since samples last came.", lambda status: _or_nan(status.sample_age_s)),
    ("unfit_seconds", "How long the signal has not been good.", lambda status: status.unfit_s),
    ("heart_rate_bpm", "Heart rate.", lambda status: _or_nan(status.heart_rate_bpm)),
    ("open_alerts", "Alerts that stand.", lambda status: len(status.open_alerts)),
    ("calling_alarms", "Alarms that nobody has answered.", lambda status: len(status.calling)),
)
MEASURED_ONCE: tuple[tuple[str, str, Callable[[Status], float]], ...] = (
    ("storage_failing", "Whether alerts are not on disk.", lambda status: bool(status.storage)),
    (
        "engine_failing",
        "Whether another engine runs than asked for.",
        lambda status: status.engine != status.engine_asked,
    ),
    ("uptime_seconds", "Since the daemon began.", lambda status: status.uptime_s),
)
"""The first table of each pair is of every patch, and says which; the second of the daemon as a whole."""


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


class Metrics:
    """The numbers. All but `collect` belong to the judge room, which never waits here."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._engine = self._histogram("engine_seconds", "One window through the network.", ENGINE_S)
        self._behind = self._histogram("read_to_sent_seconds", "From the port's read to published.", READ_TO_SENT_S)
        self._beats = Counter("rhythmd_beats", "Beats by class.", ("patch", "beat"), registry=self.registry)
        says, labels = "Alerts by kind and state.", ("patch", "kind", "state")
        self._alerts = Counter("rhythmd_alerts", says, labels, registry=self.registry)
        self._last: dict[str, tuple[Status, float]] = {}  # of each patch, and when it was made; replaced as a whole
        self.registry.register(self)

    def engine_took(self, seconds: float) -> None:
        self._engine.observe(seconds)

    def sent_after(self, seconds: float) -> None:
        self._behind.observe(seconds)

    def beat(self, beat: Beat) -> None:
        self._beats.labels(beat.patch, beat.beat).inc()

    def alert(self, alert: Alert) -> None:
        self._alerts.labels(alert.patch, alert.kind, alert.state).inc()

    def status(self, status: Status) -> None:
        self._last = {**self._last, status.patch: (status, monotonic())}

    def collect(self) -> Iterator[Metric]:
        """What the last statuses tell. Called by the thread that writes the page."""
        if not self._last:
            return
        told = list(self._last.values())
        for kind, table in ((CounterMetricFamily, COUNTED), (GaugeMetricFamily, MEASURED)):
            for name, says, of in table:
                family = kind(f"rhythmd_{name}", says, labels=("patch",))
                for status, _ in told:
                    family.add_metric((status.patch,), float(of(status)))
                yield family
        newest, made_s = max(told, key=lambda each: each[1])
        for name, says, of in COUNTED_ONCE:
            yield CounterMetricFamily(f"rhythmd_{name}", says, of(newest))
        for name, says, of in MEASURED_ONCE:
            yield GaugeMetricFamily(f"rhythmd_{name}", says, float(of(newest)))
        yield GaugeMetricFamily("rhythmd_status_age_seconds", "Since the daemon last told.", monotonic() - made_s)
        engine = GaugeMetricFamily("rhythmd_engine", "The engine in use.", labels=("engine", "model"))
        engine.add_metric((newest.engine, newest.model), 1)
        waiting = GaugeMetricFamily("rhythmd_waiting", "What waits, by queue.", labels=("patch", "queue"))
        says = "Technical conditions that stand."
        technical = GaugeMetricFamily("rhythmd_technical", says, labels=("patch", "kind"))
        for status, _ in told:
            waiting.add_metric((status.patch, "readings"), status.queues.readings)
            waiting.add_metric((status.patch, "windows"), status.queues.windows)
            for condition in status.technical:
                technical.add_metric((status.patch, condition), 1)
        waiting.add_metric(("", "unstored"), newest.queues.unstored)
        yield from (waiting, engine, technical)

    def _histogram(self, name: str, says: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"rhythmd_{name}", says, buckets=buckets, registry=self.registry)


class _Server(TCPServer):
    allow_reuse_address = True

    def __init__(self, port: int, metrics: Metrics) -> None:
        self.metrics = metrics
        super().__init__((LOOPBACK, port), _Page)

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader who went away is nobody's trouble."""


class _Page(BaseHTTPRequestHandler):
    server: _Server
    timeout = READER_S

    def do_GET(self) -> None:
        if self.path != "/metrics":
            self.send_error(404, "only /metrics")
            return
        page = generate_latest(self.server.metrics.registry)
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Who reads numbers is not written down."""


@contextmanager
def open_metrics(port: int) -> Iterator[Metrics]:
    """`port` 0: nobody is told. A port that is taken must not keep a monitor from starting."""
    metrics = Metrics()
    try:
        server = _Server(port, metrics) if port else None
    except OSError as error:
        log.warning("metrics.port: %s:%d: %s; it goes on without", LOOPBACK, port, error.strerror)
        server = None
    if server is None:
        yield metrics
        return
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,), name="metrics", daemon=True)
    thread.start()
    try:
        yield metrics
    finally:
        server.shutdown()
        server.server_close()

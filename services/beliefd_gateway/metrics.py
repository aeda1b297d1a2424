"""What Prometheus is told, made from `Live`, the hub and the recorder whenever it asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from beliefd_gateway.frames import WorkerView, broker_view, worker_views
from beliefd_gateway.live import Live
from beliefd_gateway.recorder import Recorder
from beliefd_gateway.streams import Hub

CONTENT_TYPE = CONTENT_TYPE_LATEST
WORKER_STATES = ("ready", "busy", "silent", "greeted", "leaving", "doomed", "lost", "unknown")


class GatewayMetrics(Collector):
    """Names follow Prometheus' own rules: base units, ``_total`` for what only grows. To be read on the event loop."""

    def __init__(self, live: Live, hub: Hub, recorder: Recorder) -> None:
        self._live = live
        self._hub = hub
        self._recorder = recorder
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(namespace="beliefd_gateway", registry=self._registry)

    def exposition(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        yield from self._broker()
        yield from self._workers(worker_views(self._live))
        yield from self._populations()
        yield from self._gateway()

    def _broker(self) -> Iterator[Metric]:
        broker = broker_view(self._live)
        yield GaugeMetricFamily("beliefd_broker_up", "1 while the broker answers.", broker.up)
        yield GaugeMetricFamily("beliefd_broker_ready", "1 while a worker takes work.", broker.ready)
        yield GaugeMetricFamily("beliefd_broker_epoch", "Starts of the broker on this data folder.", broker.epoch)
        yield GaugeMetricFamily("beliefd_broker_sessions", "Clients heard of in the last hour.", broker.sessions)
        yield GaugeMetricFamily(
            "beliefd_broker_open_requests", "Requests that have no answer yet.", broker.open_requests
        )
        counted = CounterMetricFamily("beliefd_broker_events", "What the broker counted, by kind.", labels=["kind"])
        for kind, count in (self._live.report.counters if self._live.report else {}).items():
            counted.add_metric([kind], count)
        yield counted

    def _workers(self, workers: list[WorkerView]) -> Iterator[Metric]:
        cpu = CounterMetricFamily("beliefd_worker_cpu_seconds", "CPU time of the worker process.", labels=["worker"])
        memory = GaugeMetricFamily("beliefd_worker_resident_bytes", "Resident memory.", labels=["worker"])
        restarts = CounterMetricFamily(
            "beliefd_worker_restarts", "Registrations after the first under this broker.", labels=["worker"]
        )
        batches = CounterMetricFamily("beliefd_worker_batches", "Batches run by the process.", labels=["worker"])
        steps = CounterMetricFamily("beliefd_worker_agent_steps", "Agents stepped by the process.", labels=["worker"])
        state = GaugeMetricFamily("beliefd_worker_state", "1 for the state it is in.", labels=["worker", "state"])
        for worker in workers:
            cpu.add_metric([worker.name], worker.cpu_s)
            memory.add_metric([worker.name], worker.rss_bytes)
            restarts.add_metric([worker.name], worker.restarts)
            batches.add_metric([worker.name], worker.batches)
            steps.add_metric([worker.name], worker.agent_steps)
            for name in {*WORKER_STATES, worker.state}:
                state.add_metric([worker.name, name], name == worker.state)
        yield from (cpu, memory, restarts, batches, steps, state)

    def _populations(self) -> Iterator[Metric]:
        agents = GaugeMetricFamily("beliefd_population_agents", "Agents alive.", labels=["population"])
        quarantined = GaugeMetricFamily(
            "beliefd_population_quarantined", "1 while it waits for an operator's release.", labels=["population"]
        )
        steps = CounterMetricFamily("beliefd_population_agent_steps", "Agents stepped.", labels=["population"])
        vfe = GaugeMetricFamily(
            "beliefd_population_vfe_nats", "Mean variational free energy, last interval.", labels=["population"]
        )
        entropy = GaugeMetricFamily(
            "beliefd_population_entropy_nats", "Mean entropy of beliefs, last sample.", labels=["population"]
        )
        for uid, info in self._live.populations.items():
            agents.add_metric([info.name], info.live)
            quarantined.add_metric([info.name], info.quarantined)
            steps.add_metric([info.name], self._live.agent_steps[uid])
            told = self._live.telemetry.get(uid)
            if told is not None:
                vfe.add_metric([info.name], told.vfe_mean)
            if uid in self._live.entropy_mean:
                entropy.add_metric([info.name], self._live.entropy_mean[uid])
        yield from (agents, quarantined, steps, vfe, entropy)

    def _gateway(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("beliefd_websocket_clients", "Clients that watch.", self._hub.clients)
        yield CounterMetricFamily(
            "beliefd_websocket_frames_skipped", "Frames passed over for newer ones.", self._hub.skipped_frames
        )
        yield GaugeMetricFamily("beliefd_ring_lag_events", "Events not in the database yet.", self._lag())
        yield GaugeMetricFamily(
            "beliefd_database_up", "1 while the database takes what is written.", self._recorder.trouble is None
        )
        rows = CounterMetricFamily("beliefd_database_rows_written", "Rows written, by table.", labels=["table"])
        for table, count in self._recorder.rows_written.items():
            rows.add_metric([table], count)
        yield rows

    def _lag(self) -> int:
        followed, recorded = self._live.cursor, self._recorder.cursor
        same = followed.ring_id == recorded.ring_id
        return max(followed.sequence - recorded.sequence, 0) if same else followed.sequence

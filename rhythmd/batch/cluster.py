"""Recordings shared out among the nodes of a Ray cluster.

Each node that is alive has as many workers as CPUs, each with an engine that it keeps open. A worker has one record at
a time, and what comes of it is written here: so nothing is written twice, and of a worker that is lost nothing is left.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil, floor
from time import monotonic, sleep
from typing import Any

from daemon.config import Config, ConfigError
from engines.errors import EngineError
from rhythmd.archive import Job, facts_of, place
from rhythmd.batch.processes import Done, Shared, one_line
from rhythmd.batch.worker import Opened, Reply, Worker
from rhythmd.evaluation.store import Maker
from rhythmd.recording import RecordError, name_of

LOOK_S = 0.2
LOOK_AT_NODES_S = 2.0
CONNECT_S = 10.0
FREE_CPU_S = 60.0
"""Without a worker for so long, it is said what is waited for."""

MOST_LOST = 3
"""A record that so many workers were lost with is what loses them."""


@contextmanager
def connected(address: str, cpus: int) -> Iterator[None]:
    """To the cluster at `address`, or one of this machine with so many CPUs, which ends with it. Raises ConfigError."""
    try:
        import ray
    except ImportError:
        raise ConfigError("--ray needs Ray: pip install 'rhythmd[ray]', here and on each node") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told that and where recordings are analysed
    options = {"num_cpus": cpus, "include_dashboard": False} if address == "local" else {}
    if address not in {"local", "auto"}:
        _look_for_it(address)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"--ray {address}: {_remedy(str(error), ray.__version__)}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _look_for_it(address: str) -> None:
    """Ray itself would look for minutes. Loopback it takes for the address by which others reach this machine."""
    from ray.util import get_node_ip_address

    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ConfigError(
            f"--ray {address}: give HOST:PORT of the cluster's head (`ray start --head` says it), auto or local"
        )
    try:
        there = get_node_ip_address() if host in {"localhost", "127.0.0.1"} else host
        socket.create_connection((there, int(port)), CONNECT_S).close()
    except OSError as error:
        raise ConfigError(
            f"--ray {address}: no cluster there ({error.strerror or error}); `ray start --head` starts one, "
            "--ray local needs none"
        ) from None


def _remedy(said: str, ours: str) -> str:
    versions = re.findall(r"(?:Ray|Python): ([\d.]+\w*)", said)
    if "ersion mismatch" in said and len(versions) >= 2:
        return (
            f"the cluster runs Ray {versions[0]} on Python {versions[1]}, this is Ray {ours} on Python "
            f"{platform.python_version()}; pip install ray=={versions[0]} in a Python {versions[1]} here"
        )
    if "ould not find any running Ray" in said:
        return "no cluster runs on this machine; start one (`ray start --head`), or --ray local"
    return f"Ray cannot connect ({one_line(said)[:200]}); is this machine a node of it (`ray start --address ADDRESS`)?"


def all_done(
    jobs: list[Job], shared: Shared, show: Callable[[float], object], tell: Callable[[str], object]
) -> Iterator[Done]:
    """As they are done. Must be connected. What is in work when it is stopped is left, and begun anew another time."""
    from ray.exceptions import RayError, RayTaskError

    crew = _Crew(jobs[0].config, tell)
    waiting = deque(jobs)
    working: dict[Any, tuple[_Hand, Job]] = {}
    lost: Counter[str] = Counter()
    hours = 0.0
    while (waiting or working) and not shared.stop.value:
        crew.look(len(waiting) + len(working))
        while waiting and crew.idle:
            hand, job = crew.idle.pop(), waiting.popleft()
            known = None if job.again else facts_of(job.directory, name_of(job.record))
            working[hand.actor.do.remote(replace(job, known=known))] = hand, job
        for answer in crew.wait(list(working)):
            hand, job = working.pop(answer)
            try:
                reply = crew.get(answer)
            except RayError as error:
                if isinstance(error, RayTaskError):
                    if not isinstance(error.cause, EngineError):
                        raise  # a bug in rhythmd: its trace says where
                    crew.leave_out(hand, str(error.cause))  # or it would break over one record after another
                crew.lost(hand)
                lost[job.record] += 1
                if lost[job.record] < MOST_LOST:
                    tell(f"{hand.node}: a worker was lost; {job.record} is done again")
                    waiting.appendleft(job)
                else:
                    yield job, None, f"{job.record}: {MOST_LOST} workers were lost with it, perhaps for want of memory"
                continue
            crew.free(hand)
            hours += reply.hours
            show(hours)
            yield _taken(job, reply)


def _taken(job: Job, reply: Reply) -> Done:
    if reply.outcome is None:
        return job, None, one_line(reply.wrong)
    try:
        if reply.outcome == "done":
            place(job, name_of(job.record), reply.results)
    except RecordError as error:
        return job, None, one_line(str(error))
    return job, reply.outcome, ""


def share_of_gpu(cpus: float, gpus: float) -> float:
    """Of one GPU, for each of a node's workers. So many fit on each that all find room: 4 for 6 hold 2 each, not 1.5.

    Ray counts in ten-thousandths.
    """
    return floor(1e4 / max(1, ceil(cpus / gpus))) / 1e4


@dataclass(frozen=True, slots=True, eq=False)
class _Hand:
    """A worker on a node."""

    node_id: str
    node: str
    actor: Any


class _Crew:
    """The workers of all nodes: those of a node that comes are opened, those of one that goes are gone."""

    def __init__(self, config: Config, tell: Callable[[str], object]) -> None:
        import ray

        self._ray = ray
        self._config = config
        self._maker = Maker.of(config)
        self._tell = tell
        self._hands: set[_Hand] = set()
        self._opening: dict[Any, _Hand] = {}
        self._known: set[_Hand] = set()  # that have been open
        self._refused: set[str] = set()  # nodes that judge otherwise, or not at all
        self._failed: Counter[str] = Counter()  # by node: workers that could not be opened
        self._looked_s = self._had_one_s = monotonic() - LOOK_AT_NODES_S
        self.idle: list[_Hand] = []

    def look(self, most: int) -> None:
        """Open workers where there are CPUs without, `most` in all. Raises ConfigError where there can be none."""
        now_s = monotonic()
        if now_s - self._looked_s < LOOK_AT_NODES_S:
            return
        self._looked_s = now_s
        nodes = [node for node in self._ray.nodes() if node["Alive"] and node["NodeID"] not in self._refused]
        counts = Counter(hand.node_id for hand in self._hands)
        cpus = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in nodes}
        places = range(max(cpus.values(), default=0))  # the first CPU of each node before the second of any
        free = [node for place in places for node in nodes if counts[node["NodeID"]] <= place < cpus[node["NodeID"]]]
        for node in free[: max(0, most - len(self._hands))]:
            self._open_on(node)
        if not self._hands:
            raise ConfigError("--ray: no node is left that could do it; once one is, the same command goes on")
        if len(self._opening) < len(self._hands):
            self._had_one_s = now_s
        elif now_s - self._had_one_s > FREE_CPU_S:
            self._tell("waiting for a free CPU on the cluster (`ray status` says who has them)")
            self._had_one_s = float("inf")  # said once

    def _open_on(self, node: dict[str, Any]) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cpus, gpus = node["Resources"]["CPU"], node["Resources"].get("GPU", 0)
        gpu = self._config.engine.backend != "onnxruntime" and gpus > 0
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        kind = self._ray.remote(Worker).options(
            num_cpus=1, num_gpus=share_of_gpu(cpus, gpus) if gpu else 0, scheduling_strategy=there
        )
        host = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        hand = _Hand(node["NodeID"], host, kind.remote(self._config, gpu=gpu, host=host))
        self._hands.add(hand)
        self._opening[hand.actor.open.remote()] = hand

    def wait(self, working: list[Any]) -> list[Any]:
        """Those of `working` that have an answer, after a short while at most."""
        asked = [*working, *self._opening]
        if not asked:  # until the nodes are looked at again
            sleep(LOOK_S)
        ready, _ = self._ray.wait(asked, timeout=LOOK_S)
        for answer in ready:
            if hand := self._opening.pop(answer, None):
                self._opened(hand, answer)
        return [answer for answer in ready if answer in working]

    def _opened(self, hand: _Hand, answer: Any) -> None:
        from ray.exceptions import RayError

        try:
            opened: Opened = self._ray.get(answer)
        except RayError as error:  # it was lost; or, the first time, there is no rhythmd that can be imported
            self.lost(hand)
            if hand in self._known:
                return
            self._failed[hand.node_id] += 1
            if self._failed[hand.node_id] == MOST_LOST:
                self.leave_out(hand, f"{one_line(str(error))[-200:]}; is rhythmd installed there, and does it import?")
            return
        if opened.maker == self._maker:
            self._known.add(hand)
            self.free(hand)
            return
        self.lost(hand)
        made = opened.maker and f"rhythmd {opened.maker.rhythmd} there has other sources or another model"
        self.leave_out(hand, opened.wrong or f"{made}; install the same as here")

    def free(self, hand: _Hand) -> None:
        """It may have a record; unless its node was left out meanwhile, over another of its workers."""
        if hand.node_id in self._refused:
            self.lost(hand)
        else:
            self.idle.append(hand)

    def leave_out(self, hand: _Hand, why: str) -> None:
        if hand.node_id not in self._refused:
            self._refused.add(hand.node_id)
            self._tell(f"{hand.node} is left out: {one_line(why)}")

    def get(self, answer: Any) -> Reply:
        reply: Reply = self._ray.get(answer)
        return reply

    def lost(self, hand: _Hand) -> None:
        """It answers no more; whether others of its node do, they are asked before they get a record."""
        self._hands.discard(hand)
        self._ray.kill(hand.actor)
        doubtful = [each for each in self.idle if each.node_id == hand.node_id]
        self.idle = [each for each in self.idle if each.node_id != hand.node_id]
        self._opening |= {each.actor.open.remote(): each for each in doubtful}

"""Acting on a Ray cluster: actors step shares of the environments, in one order, or as they come."""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from copy import deepcopy
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor, nn

from qframe.actions import ActionSpace
from qframe.envs import Envs, Episodes, FaultyEnvironment
from qframe.envs.protocol import Start, Step
from qframe.errors import RunError
from qframe.exploration import Exploration
from qframe.networks.normalization import NormalizedTrunk
from qframe.networks.protocol import Network
from qframe.training import ray_cluster
from qframe.training.actor import ActorParts, published_tensors
from qframe.training.episode_statistics import Finished
from qframe.training.observation_codec import Receiver
from qframe.training.observation_codec import Rows as Arrays
from qframe.training.protocol import CollectorProtocol
from qframe.training.ray_cluster import STARTING, Cluster, LostActor
from qframe.training.reward import RewardTransform
from qframe.training.worker import Rows

Order = Literal["fixed", "arrival"]
Message = dict[str, Any]
MOST_DEATHS = 3
"""Times that an actor may be lost in a row before one of its messages arrives."""


class RayCollector(CollectorProtocol):
    """Actors on a Ray cluster: each steps ``num_envs / actors`` environments on one CPU with a copy of the network.

    See "Distributed Prioritized Experience Replay", Horgan et al., 2018. An actor takes ``steps`` steps of its
    environments and sends them in one message; ``collect`` returns them step by step. With ``order="fixed"`` the
    learner takes one message of every actor, side by side, before the next: message m is acted with the network as it
    was when message m − ``lag`` had been taken, so equal seeds give equal runs, on one machine or several, and the
    steps are those of one process. With ``order="arrival"`` it takes messages as they come, and no two runs are equal.
    No actor is ever more than ``lag`` messages ahead.

    Each environment has the episode seeds and the rung of the ε-ladder that it has in one process. Statistics of
    observations are the learner's; those of rewards, and bonuses that learn, are each actor's own.

    An actor that dies, or takes longer than ``timeout``, is replaced by one that replays its running episodes up to
    the last message and sends the missing messages again, with the same networks.

    Args:
        envs: makes the environments, in the actors.
        network: gives action values.
        actors: number of actors, a divisor of ``envs.num_envs``.
        steps: steps of each environment in a message.
        lag: messages that the acting network is behind; 0 lets the actors wait for the learner.
        order: in which messages are taken, ``fixed`` or ``arrival``.
        address: of a running cluster, ``HOST:PORT`` or ``auto``; None starts one on this machine.
        cpus: CPUs that an actor reserves.
        resources: further resources that an actor reserves, by name.
        timeout: seconds that an actor may take for a message.
        exploration: turns greedy actions into behaviour, in all environments.
        action_space: turns indices into the actions of the environments.
        make_reward: makes the reward transform of a number of environments.
        seed: of the environments' episodes.
        stores_probability: see :class:`Collector`.
        stores_state: see :class:`Collector`.
        stores_value: see :class:`Collector`.

    Raises:
        ValueError: a number out of range, no such cluster, one that is too small, or environments that an actor cannot
            make.
    """

    makes_envs = True
    """Whether it makes the environments itself: ``envs`` are then ``Envs``, not ``Episodes``."""

    def __init__(
        self,
        envs: Envs,
        network: Network,
        *,
        actors: int,
        steps: int,
        lag: int,
        order: Order,
        address: str | None,
        cpus: float,
        resources: Mapping[str, float],
        timeout: float,
        exploration: Exploration,
        action_space: ActionSpace,
        make_reward: Callable[[int], RewardTransform],
        seed: int,
        stores_probability: bool = False,
        stores_state: bool = False,
        stores_value: bool = False,
    ) -> None:
        check_numbers(envs.num_envs, actors=actors, steps=steps, lag=lag, order=order, cpus=cpus, timeout=timeout)
        assert isinstance(network, nn.Module)
        self._steps, self._lag, self._is_fixed = steps, lag, order == "fixed"
        self._device = next(network.parameters()).device
        self._published = published_tensors(network)
        self._normalized = [part for part in network.modules() if isinstance(part, NormalizedTrunk)]
        self._actors: list[RemoteActor] = []
        self._cluster = Cluster(address, actors=actors, cpus=cpus, resources=resources)
        count = envs.num_envs // actors
        try:
            self._actors = [
                RemoteActor(
                    self._cluster, number,
                    ActorParts(
                        envs, deepcopy(network).cpu().requires_grad_(False), exploration, action_space,
                        make_reward(count), seed, number * count, count, stores_probability, stores_state,
                        stores_value,
                    ),
                    timeout,
                )
                for number in range(actors)
            ]  # fmt: skip
            for actor in self._actors:
                actor.begin()
        except BaseException as error:
            self.close()
            if isinstance(error, LostActor):
                remedy = "qframe must be installed on every machine of the cluster, which needs room for the actors"
                raise ValueError(f"an actor cannot start: {error}; {remedy}") from error
            raise
        self.envs = _RemoteEpisodes(envs, has_episode_seeds=all(a.has_episode_seeds for a in self._actors))
        self._has_begun, self._measured = False, time.monotonic()
        self._taken: list[tuple[RemoteActor, Message]] = []  # the messages of the steps in ``_ready``
        self._ready: deque[Rows] = deque()
        self._before: list[Arrays] = []  # the states of their actors' receivers before them
        self._returned = 0  # steps of these messages that ``collect`` has returned
        self._finished = Finished([], [], {key: [] for key in envs.log_info})

    def collect(self) -> TensorDict:
        while not self._ready:
            self._receive()
        rows = self._ready.popleft()
        self._returned += 1
        transitions = TensorDict(rows, [len(rows["env"])])
        for part in self._normalized:
            part.update_statistics(transitions["observation"].to(self._device))
        return transitions

    def _receive(self) -> None:
        """Take the next message: of every actor, or of the first that has one. Publish the network, and ask on."""
        self._has_begun = True
        self._cluster.check()
        for actor in self._actors:
            actor.learned = actor.taken
        self._ask(1)
        actors = self._actors if self._is_fixed else [self._first_to_answer()]
        self._taken = [(actor, actor.take()) for actor in actors]
        for _, message in self._taken:
            returns, lengths, infos = message["finished"]
            self._finished.returns.extend(returns)
            self._finished.lengths.extend(lengths)
            for key, numbers in infos.items():
                self._finished.infos[key].extend(numbers)
        self._ask(self._lag)
        self._before = [dict(actor.receiver.last) for actor, _ in self._taken]
        self._unpack(0)

    def _unpack(self, returned: int) -> None:
        """Make the steps of the messages just taken ready, all but those that were returned before."""
        parts = []
        for (actor, message), before in zip(self._taken, self._before, strict=True):
            actor.receiver.last = dict(before)
            parts.append(_by_step(actor.receiver.unpack(message), message["sizes"]))
        self._ready = deque([_joined(rows) for rows in zip(*parts, strict=True)][returned:])
        self._returned = returned

    def _ask(self, ahead: int) -> None:
        """Publish the network, and have every actor compute messages with it until it is so many ahead."""
        behind = [actor for actor in self._actors if actor.ahead < ahead]
        version = self._cluster.publish([tensor.cpu().numpy() for tensor in self._published]) if behind else None
        for actor in behind:
            while actor.ahead < ahead:
                actor.ask(version, self._steps)

    def _first_to_answer(self) -> "RemoteActor":
        """The actor whose message comes first; of several, that with the fewest messages taken."""
        actors = sorted(self._actors, key=lambda actor: actor.taken)
        for actor in actors:
            if actor.arrived:
                return actor
        while True:
            references = {actor.asked[0].answer: actor for actor in actors}
            reference = ray_cluster.first_ready([*references], min(actor.seconds_left for actor in self._actors))
            if reference is not None:
                return references[reference]
            for actor in self._actors:
                if actor.seconds_left <= 0:
                    actor.replace(f"did not answer within {actor.timeout:g} s")

    def take_episodes(self) -> Finished:
        finished = self._finished
        self._finished = Finished([], [], {key: [] for key in finished.infos})
        return finished

    def exploration_metrics(self) -> dict[str, float]:
        """The mean over actors of each metric."""
        found = [actor.report["metrics"] for actor in self._actors if actor.report is not None]
        return {key: float(np.mean([metrics[key] for metrics in found])) for key in (found[0] if found else {})}

    def faults(self) -> dict[str, int]:
        faults = Counter[str]()
        for actor in self._actors:
            faults.update({} if actor.report is None else actor.report["faults"])
        return dict(faults)

    def actor_metrics(self) -> dict[str, float]:
        seconds, self._measured = time.monotonic() - self._measured, time.monotonic()
        metrics: dict[str, float] = {}
        for number, actor in enumerate(self._actors):
            metrics[f"{number}/frames_per_second"], actor.frames = actor.frames / seconds, 0
            metrics[f"{number}/lag"], metrics[f"{number}/restarts"] = actor.lag, actor.restarts
        return metrics

    def can_resume(self) -> bool:
        self._receive_all()
        return all(actor.can_resume for actor in self._actors)

    def state_dict(self) -> dict[str, Any]:
        """The actors' states after all messages asked for, and the messages that are not yet returned."""
        self._receive_all()
        numbers = {id(actor): number for number, actor in enumerate(self._actors)}
        returns, lengths, infos = self._finished
        return {
            "actors": [actor.state for actor in self._actors],
            "running": [None if actor.state is None else actor.state["running"] for actor in self._actors],
            "arrived": [[_tensors(message) for message in actor.arrived] for actor in self._actors],
            "last": [_tensors(actor.receiver.last) for actor in self._actors],
            "reports": [actor.report for actor in self._actors],
            "taken": [(numbers[id(actor)], _tensors(message)) for actor, message in self._taken if self._ready],
            "before": [_tensors(last) for last in self._before if self._ready],
            "returned": self._returned,
            "messages": [actor.taken for actor in self._actors],
            "finished": [list(returns), list(lengths), {key: list(values) for key, values in infos.items()}],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``.

        Raises:
            RuntimeError: a step has already been taken.
            ValueError: the state has another number of actors.
        """
        if self._has_begun:
            raise RuntimeError("a state can only be loaded before the first step; build a new collector")
        saved = len(state["actors"]) if "actors" in state else "no"
        if saved != len(self._actors):
            raise ValueError(f"it has the state of {saved} actors, and collector.actors is {len(self._actors)}")
        for number, actor in enumerate(self._actors):
            actor.state, actor.taken = state["actors"][number], state["messages"][number]
            actor.arrived.extend(_arrays(message) for message in state["arrived"][number])
            actor.receiver.last = _arrays(state["last"][number])
            if "reports" in state:  # earlier versions have none
                actor.report = state["reports"][number]
        self._taken = [(self._actors[number], _arrays(message)) for number, message in state["taken"]]
        self._before = [_arrays(last) for last in state["before"]]
        if self._taken:
            self._unpack(state["returned"])
        self._finished = Finished(*state["finished"])

    def resume_episodes(self, running: Any) -> bool:
        loading = [actor.load() for actor in self._actors]
        found = [wait() for wait in loading]
        is_same = all(found)
        if not is_same:
            self.abandon_episodes()
        return is_same

    def abandon_episodes(self) -> None:
        """Abandon the running episodes; the steps not yet returned are their last ones."""
        self._receive_all()
        for actor in self._actors:
            actor.abandon()
            held = [message for owner, message in self._taken if owner is actor and self._ready]
            for message in [*held, *actor.arrived][-1:]:
                rows, last = message["rows"], slice(-message["sizes"][-1], None)
                ends = {("next", "truncated"): ~rows["next", "terminated"][last], ("next", "done"): True}
                for key, value in ends.items():
                    rows[key] = rows[key].copy()  # Ray's are read-only
                    rows[key][last] = value
        if self._ready:
            self._unpack(self._returned)

    def _receive_all(self) -> None:
        for actor in self._actors:
            while actor.asked:
                actor.receive()

    def close(self) -> None:
        """End the actors and leave the cluster, which ends with the run if it was started for it."""
        for actor in self._actors:
            actor.end()
        self._cluster.close()


class _Asked(NamedTuple):
    """A message that an actor was asked for."""

    version: Any  # of the network
    steps: int
    lag: int  # messages that the version is behind
    answer: Any


class RemoteActor:
    """An actor as the learner's process sees it: its last state, and the messages asked for since.

    Args:
        cluster: starts it.
        number: of the actor.
        parts: of its collector.
        timeout: seconds that it may take for a message.
    """

    def __init__(self, cluster: Cluster, number: int, parts: ActorParts, timeout: float) -> None:
        self._cluster, self._number, self._pickled, self.timeout = cluster, number, ray_cluster.pickled(parts), timeout
        self._actor = cluster.start()
        self.has_episode_seeds = self.can_resume = False
        self.state: dict[str, Any] | None = None
        """After the last message received; None before the first, or if it cannot be resumed."""
        self.report: dict[str, Any] | None = None
        """The last message's metrics."""
        self.receiver = Receiver()
        self.asked: deque[_Asked] = deque()
        self.arrived: deque[Message] = deque()
        self.taken = self.learned = 0
        """Messages taken so far, and those of them that were learned from."""
        self.frames = self.lag = self.restarts = 0
        self._deaths = 0  # since the last message
        self._since = time.monotonic()

    @property
    def ahead(self) -> int:
        """Messages asked for and not yet taken."""
        return len(self.asked) + len(self.arrived)

    @property
    def seconds_left(self) -> float:
        """Seconds in which the next message must arrive."""
        return max(0.0, self._since + self.timeout - time.monotonic())

    def begin(self) -> None:
        """Wait until the collector is made.

        Raises:
            LostActor: the actor died, or does not answer.
            ValueError: the collector cannot be made.
        """
        ray_cluster.check_versions(self._actor)
        try:
            found = ray_cluster.get(self._actor.begin.remote(self._pickled), STARTING)
        except (RunError, LostActor):
            raise
        except Exception as error:
            remedy = "the environment, and all that it needs, must be installed on every machine of the cluster"
            message = f"actor {self._number} cannot make its environments: {type(error).__name__}: {error}; {remedy}"
            raise ValueError(message) from error
        self.has_episode_seeds, self.can_resume = found["has_episode_seeds"], found["can_resume"]

    def ask(self, version: Any, steps: int) -> None:
        """Ask for a message of this many steps with a published network."""
        if not self.asked:
            self._since = time.monotonic()
        lag = self.taken + self.ahead - self.learned
        self.asked.append(_Asked(version, steps, lag, self._actor.collect.remote(version, steps)))

    def take(self) -> Message:
        """The next message."""
        while not self.arrived:
            self.receive()
        self.taken += 1
        message = self.arrived.popleft()
        self.lag = message["lag"]
        self.frames += sum(message["sizes"])
        return message

    def receive(self) -> None:
        """Wait for the next message; an actor that is lost meanwhile is replaced.

        Raises:
            FaultyEnvironment: its environments raised it, or it cannot be replaced.
        """
        while True:
            asked = self.asked[0]
            try:
                if ray_cluster.first_ready([asked.answer], self.seconds_left) is None:
                    raise LostActor(f"did not answer within {self.timeout:g} s (collector.timeout)")
                message = ray_cluster.get(asked.answer)
            except LostActor as lost:
                self.replace(str(lost))
            except RunError as error:
                raise FaultyEnvironment(f"actor {self._number}: {error}") from error
            else:
                break
        self.asked.popleft()
        self._deaths, self._since = 0, time.monotonic()
        self._note(message, asked.steps)
        self.arrived.append({**message, "lag": asked.lag})

    def abandon(self) -> None:
        """Abandon the running episodes."""
        self._note(ray_cluster.get(self._actor.abandon.remote()), 0)

    def load(self) -> Callable[[], bool]:
        """Load the state, and replay its episodes; call the result to wait for it, and to see if they are the same."""
        if self.state is None:
            return lambda: True
        receiver = Receiver(self.receiver.last)
        for message in self.arrived:
            receiver.unpack(message)
        answer = self._actor.load.remote(self.state, receiver.last)
        return lambda: ray_cluster.get(answer)

    def end(self) -> None:
        """End it at once."""
        ray_cluster.kill(self._actor)

    def replace(self, reason: str) -> None:
        """Put a new actor in the place of a lost one: it resumes from the last state, and repeats what is missing.

        Raises:
            FaultyEnvironment: it was lost too often, or its environments cannot resume.
            RunError: the cluster is too small by now.
        """
        while True:
            self._cluster.check(now=True)
            ray_cluster.kill(self._actor)
            self.restarts, self._deaths = self.restarts + 1, self._deaths + 1
            if self._deaths > MOST_DEATHS:
                raise FaultyEnvironment(f"actor {self._number} was lost {self._deaths} times in a row: it {reason}")
            if not self.can_resume:
                raise FaultyEnvironment(
                    f"actor {self._number} {reason}, and its environments cannot resume their episodes in another one"
                )
            if (fault := self._cluster.fault()) is not None:
                raise RunError(f"actor {self._number} {reason}: {fault}")
            try:
                self._actor = self._cluster.start()
                self.begin()
                if not self.load()():
                    raise FaultyEnvironment(f"actor {self._number} {reason}, and its replayed episodes differ")
            except LostActor as lost:
                reason = str(lost)
                continue
            self.asked = deque(a._replace(answer=self._actor.collect.remote(a.version, a.steps)) for a in self.asked)
            self._since = time.monotonic()
            return

    def _note(self, message: Message, steps: int) -> None:
        """Keep the state that a message ends with, with all actions of its running episodes."""
        state, before = message.pop("state"), self.state
        self.can_resume = message["can_resume"]
        self.report = {"metrics": message.pop("metrics"), "faults": message.pop("faults")}
        if state is not None and state["running"] is not None:
            played = state["running"]["played"]
            earlier = before["running"]["played"]["actions"] if before is not None and before["running"] else None
            new = played["actions"]
            actions = new if earlier is None else torch.cat([earlier, new])
            played["actions"] = actions[len(actions) - max(played["length"]) :]
        self.state = state


class _RemoteEpisodes(Episodes):
    """The environments that the actors step, as far as the runner reads them."""

    def __init__(self, envs: Envs, *, has_episode_seeds: bool) -> None:
        self.num_envs, self.log_info, self.has_episode_seeds = envs.num_envs, envs.log_info, has_episode_seeds
        self.episode = np.zeros(envs.num_envs, np.int64)

    def reset(self) -> Start:
        raise NotImplementedError("these environments run in actors")

    def step(self, action: Any) -> Step:
        raise NotImplementedError("these environments run in actors")

    def close(self) -> None:
        pass


def check_numbers(
    num_envs: int, *, actors: int, steps: int, lag: int, order: str, cpus: float, timeout: float
) -> None:
    """Check the numbers of a collector.

    Raises:
        ValueError: one is out of range.
    """
    for name, number, least in (("actors", actors, 1), ("steps", steps, 1), ("lag", lag, 0)):
        if number < least:
            raise ValueError(f"expected {name} of at least {least}, got {number}")
    for name, number in (("cpus", cpus), ("timeout", timeout)):
        if not 0 < number < float("inf"):
            raise ValueError(f"expected {name} above 0, got {number}")
    if order not in get_args(Order):
        raise ValueError(f"expected order to be one of {', '.join(get_args(Order))}, got {order!r}")
    if num_envs % actors:
        remedy = f"set env.num_envs to a multiple of {actors}"
        raise ValueError(f"{actors} actors cannot share {num_envs} environments equally; {remedy}")


def _by_step(rows: Arrays, sizes: list[int]) -> list[Arrays]:
    ends = np.cumsum([0, *sizes]).tolist()
    return [{key: leaf[first:end] for key, leaf in rows.items()} for first, end in pairwise(ends)]


def _joined(parts: tuple[Arrays, ...]) -> Rows:
    """One step of several actors, whose environments are in order."""
    return {key: torch.from_numpy(np.concatenate([part[key] for part in parts])) for key in parts[0]}


def _tensors(value: Any) -> Any:
    """A message with tensors in place of arrays, as checkpoints hold."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    return {key: _tensors(entry) for key, entry in value.items()} if isinstance(value, dict) else value


def _arrays(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.numpy()
    return {key: _arrays(entry) for key, entry in value.items()} if isinstance(value, dict) else value

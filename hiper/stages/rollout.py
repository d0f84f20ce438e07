"""Episodes: environments and a policy stepped together, active episodes only. A bad rollout is data, not a crash."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hiper.benchmarks.base import Benchmark, Info, TextEnvironment
from hiper.benchmarks.record import record_of
from hiper.config import Prompt
from hiper.errors import UserError
from hiper.plan_execute import ParsedTurn, carried_subgoal, parse, parse_plan, parse_react, parse_step, subgoals_of
from hiper.policies.base import Policy, RememberingPolicy, Request, Response, StreamingPolicy
from hiper.prompts import History, PromptBuilder, State, offered
from hiper.trajectory import Task, TokenSpan, Trajectory, Turn

log = logging.getLogger(__name__)

Watch = Callable[[Task, Turn], None]


@dataclass
class _Episode:
    """One running episode and what it has gathered."""

    task: Task
    group: int
    environment: TextEnvironment
    observation: str = ""
    info: Info | None = None
    subgoal: str | None = None
    plan: tuple[str, ...] = ()  # the subgoals of a blueprint
    place: int = 0  # of the current one in the plan
    spent: int = 0  # turns since it began
    history: History = field(default_factory=History)
    turns: list[Turn] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False
    failure: str | None = None
    planning: bool = False  # it ends when its blueprint is written

    @property
    def over(self) -> bool:
        return self.terminated or self.truncated or self.failure is not None or (self.planning and bool(self.plan))

    def begin(self, blueprint: Turn | None = None) -> None:
        """`blueprint`: the turn in which the plan was written, if the agent is not to write one."""
        try:
            observation, info = self.environment.reset(self.task)
        except UserError:
            raise  # a damaged game is a mistake to be mended: counted as a lost episode it would hide in the rates
        except Exception as error:
            self.fail("reset", error)
            return
        self._arrive(observation, info)
        if blueprint is not None and not self.over:
            self._follow(blueprint)

    def _follow(self, blueprint: Turn) -> None:
        self.turns.append(blueprint)
        self.plan, self.subgoal = subgoals_of(blueprint.subgoal_text), blueprint.subgoal

    def _arrive(self, observation: str, info: Info) -> None:
        self.observation, self.info = observation, info
        if not self.over and not offered(info.admissible_actions):
            self.fail("choice", ValueError("the environment offers no admissible action"))

    def fail(self, verb: str, error: Exception) -> None:
        self.failure = f"{verb}: {type(error).__name__}: {error}"
        log.warning("episode on %s broke at turn %d: %s", self.task.id, len(self.turns), self.failure)

    def request(self, prompts: PromptBuilder, fits: Callable[[str], bool]) -> Request:
        assert self.info is not None
        info = self.info
        actions = info.admissible_actions
        state = State(info.instruction, self.history, self.observation, self.subgoal, actions, self.plan)
        prompt, shortened = prompts.fit(state, fits)
        return Request(prompt, tuple(state.actions), self.subgoal, info.instruction, self.observation, shortened)

    def play(self, request: Request, response: Response, settings: Prompt) -> None:
        if settings.interface == "blueprint" and not self.plan:
            parsed = parse_plan(response.text, response.offsets, thinking=response.thinking)
            self._follow(_turn(self.observation, request, response, parsed, subgoals_of(parsed.subgoal)[0], 0.0))
            return
        parsed = READERS[settings.interface](response.text, response.offsets, thinking=response.thinking)
        try:
            answer, reward, self.terminated, self.truncated, info = self.environment.step(parsed.action)
        except UserError:
            raise
        except Exception as error:
            self.fail("step", error)
            return
        if parsed.switch:
            self._next()
        self.subgoal = self.plan[self.place] if self.plan else carried_subgoal(self.subgoal, parsed)
        self.turns.append(_turn(self.observation, request, response, parsed, self.subgoal, reward))
        self.history.add(self.observation, parsed.action)
        self.spent += 1
        if self.plan and self.spent == settings.subgoal_turns:
            self._next()
            self.subgoal = self.plan[self.place]
        self._arrive(answer, info)

    def _next(self) -> None:
        """Begin the next subgoal of the plan; the last one goes on."""
        self.place, self.spent = min(self.place + 1, max(0, len(self.plan) - 1)), 0

    def trajectory(self, prompts: PromptBuilder, fits: Callable[[str], bool]) -> Trajectory:
        won = self.info is not None and self.info.won
        last = self.request(prompts, fits).prompt if self.truncated and self.info is not None else None
        return Trajectory(
            task=self.task,
            group=self.group,
            turns=tuple(self.turns),
            won=won,
            terminated=self.terminated,
            truncated=self.truncated,
            last_prompt=last,
            failure=self.failure,
            info={
                "score": self.info.score if self.info else 0.0,
                "details": dict(self.info.details) if self.info else {},
                "instruction": self.info.instruction if self.info else "",
                "observation": self.observation,
            },
        )


READERS = {"plan_execute": parse, "react": parse_react, "blueprint": parse_step}  # of the answer that acts


def _span(span: tuple[int, int] | None) -> TokenSpan | None:
    return None if span is None else TokenSpan(*span)


def _turn(
    observation: str, request: Request, response: Response, parsed: ParsedTurn, subgoal: str | None, reward: float
) -> Turn:
    return Turn(
        observation=observation,
        prompt=request.prompt,
        response=response.text,
        switch=parsed.switch,
        subgoal=subgoal,
        subgoal_text=parsed.subgoal,
        action=parsed.action,
        valid=parsed.valid,
        reward=float(reward),  # a checkpoint that keeps turns holds plain numbers
        switch_span=_span(parsed.switch_span),
        subgoal_span=_span(parsed.subgoal_span),
        action_span=_span(parsed.action_span),
        generation=response.generation,
        shortened=request.shortened,
        problems=parsed.problems,
        admissible=request.admissible_actions,
    )


class Rollout:
    """Plays tasks with a policy; keeps one environment per parallel episode for the next call."""

    def __init__(self, benchmark: Benchmark, policy: Policy, prompt: Prompt) -> None:
        self.benchmark, self.policy, self.prompt = benchmark, policy, prompt
        self.prompts = PromptBuilder(prompt, record_of(benchmark.name).words)
        self.environments: list[TextEnvironment] = []

    def play(
        self,
        tasks: Sequence[Task],
        groups: Sequence[int],
        seed: Sequence[int],
        watch: Watch | None = None,
        blueprints: Sequence[Turn | None] | None = None,
    ) -> list[Trajectory]:
        """One trajectory per task, in order; `groups` [tasks] numbers the draws. Same arguments, same trajectories.

        `watch` is told of every turn as soon as it has been played. `blueprints` [tasks]: the turns in which the plans
        to follow were written; without them the policy writes each its own.
        """
        episodes = self._begun(tasks, groups, seed, blueprints or [None] * len(tasks))
        if isinstance(self.policy, StreamingPolicy):
            self._stream(self.policy, episodes, seed, watch)
        else:
            self._step_together(episodes, seed, watch)
        return [episode.trajectory(self.prompts, self.policy.fits) for episode in episodes]

    def plan(self, tasks: Sequence[Task], groups: Sequence[int], seed: Sequence[int]) -> list[Turn | None]:
        """Only the turn in which a blueprint is written, for each task; None where the episode broke before it."""
        episodes = self._begun(tasks, groups, seed, [None] * len(tasks))
        for episode in episodes:
            episode.planning = True
        if isinstance(self.policy, StreamingPolicy):
            self._stream(self.policy, episodes, seed, None)
        else:
            self._step_together(episodes, seed, None)
        return [episode.turns[0] if episode.turns else None for episode in episodes]

    def _begun(
        self, tasks: Sequence[Task], groups: Sequence[int], seed: Sequence[int], blueprints: Sequence[Turn | None]
    ) -> list[_Episode]:
        while len(self.environments) < len(tasks):
            self.environments.append(self.benchmark.environment())
        episodes = [
            _Episode(task, group, environment)
            for task, group, environment in zip(tasks, groups, self.environments, strict=False)
        ]
        for episode, blueprint in zip(episodes, blueprints, strict=True):
            episode.begin(blueprint)
        if isinstance(self.policy, RememberingPolicy):
            self.policy.begin(seed)
        return episodes

    def _step_together(self, episodes: Sequence[_Episode], seed: Sequence[int], watch: Watch | None) -> None:
        """All active episodes take their next turn at once."""
        turn = 0
        while active := [episode for episode in episodes if not episode.over]:
            requests = [episode.request(self.prompts, self.policy.fits) for episode in active]
            responses = self.policy.respond(requests, [*seed, turn])
            for episode, request, response in zip(active, requests, responses, strict=True):
                self._advance(episode, request, response, watch)
            turn += 1

    def _stream(
        self, policy: StreamingPolicy, episodes: Sequence[_Episode], seed: Sequence[int], watch: Watch | None
    ) -> None:
        """Each episode takes its next turn as soon as its own answer is there. A request's seed names its episode and
        turn, so that the order in which answers come does not matter."""
        waiting: dict[int, tuple[int, Request]] = {}

        def ask(number: int) -> None:
            request = episodes[number].request(self.prompts, policy.fits)
            waiting[policy.submit(request, [*seed, number, len(episodes[number].turns)])] = (number, request)

        try:
            for number, episode in enumerate(episodes):
                if not episode.over:
                    ask(number)
            while waiting:
                for ticket, response in policy.collect():
                    number, request = waiting.pop(ticket)
                    self._advance(episodes[number], request, response, watch)
                    if not episodes[number].over:
                        ask(number)
        finally:
            if waiting:
                policy.cancel()

    def _advance(self, episode: _Episode, request: Request, response: Response, watch: Watch | None) -> None:
        episode.play(request, response, self.prompt)
        if watch is not None and episode.failure is None:
            watch(episode.task, episode.turns[-1])

    def close(self) -> None:
        for environment in self.environments:
            environment.close()

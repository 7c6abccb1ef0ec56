"""What Prometheus is told of experiments. Only the leader's numbers move."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from serving.rollout.experiment.desired import desired
from serving.rollout.experiment.followed import followed
from serving.rollout.experiment.reconcile import Step
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Phase, State


class OperatorMetrics:
    """Metrics of all experiments, by name."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"sightline_experiment_{name}", text, ["experiment", *labels], registry=registry)

        self._phase = gauge("phase", "1 for the phase that the experiment is in", "phase")
        self._share = gauge("share", "Percent of users in the candidate")
        self._lift = gauge("lift", "Primary metric, candidate over stable, minus 1", "bound")
        self._difference = gauge("difference", "Primary metric, candidate minus stable: what is judged", "bound")
        self._users = gauge("users", "Users counted at the newest look", "arm")
        self._ratio_p = gauge("ratio_p", "Chance of arms' sizes as uneven as these, anytime-valid")
        self._guardrail = gauge("guardrail", "Newest value of a guardrail, and its limit", "guardrail", "kind")
        self._decisions = Counter(
            "sightline_experiment_decisions_total", "Decisions", ["experiment", "reason"], registry=registry
        )
        self._failures = Counter(
            "sightline_experiment_reconcile_failures_total",
            "Steps that could not be done, and are done again",
            ["experiment"],
            registry=registry,
        )
        self._notices = Counter(
            "sightline_experiment_notice_failures_total",
            "Notices that could not be given",
            ["way"],
            registry=registry,
        )
        self._leader = Gauge("sightline_operator_leader", "1 while this process leads", registry=registry)

    def stepped(self, name: str, before: State | None, spec: ExperimentSpec, step: Step) -> None:
        """A step was done."""
        state = step.state
        for phase in Phase:
            self._phase.labels(name, phase.value).set(phase is state.phase)
        want = desired(followed(spec, state)[0], state)
        self._share.labels(name).set(100 if want.everyone else want.share / 100)
        for entry in _new_entries(before, state):
            self._decisions.labels(name, entry).inc()
        if state.looks:
            self._show_look(name, state)
        for reading in state.readings:
            self._show_guardrail(name, reading.name, reading.value, reading.limit)

    def failed(self, name: str) -> None:
        """A turn could not be done."""
        self._failures.labels(name).inc()

    def gone(self, name: str) -> None:
        """Forget an experiment's gauges; what was counted stays counted."""
        gauges = (self._phase, self._share, self._lift, self._difference, self._users, self._ratio_p, self._guardrail)
        for metric in gauges:
            metric.remove_by_labels({"experiment": name})

    def notice_failed(self, way: str) -> None:
        """A notice could not be given."""
        self._notices.labels(way).inc()

    def leads(self, leading: bool) -> None:
        """Whether this process leads."""
        self._leader.set(leading)

    def _show_look(self, name: str, state: State) -> None:
        look = state.looks[-1]
        primary = look.primary
        lift = (primary.relative, primary.low, primary.high)
        difference = (primary.absolute, primary.absolute_low, primary.absolute_high)
        for metric, values in ((self._lift, lift), (self._difference, difference)):
            for bound, value in zip(("estimate", "low", "high"), values, strict=True):
                metric.labels(name, bound).set(float("nan") if value is None else value)
        for arm, users in zip(("stable", "candidate"), look.users, strict=True):
            self._users.labels(name, arm).set(users)
        self._ratio_p.labels(name).set(look.ratio_p)

    def _show_guardrail(self, name: str, guardrail: str, value: float | None, limit: float) -> None:
        self._guardrail.labels(name, guardrail, "value").set(float("nan") if value is None else value)
        self._guardrail.labels(name, guardrail, "limit").set(limit)


def _new_entries(before: State | None, after: State) -> list[str]:
    """Reasons of the log's lines that the step wrote; the log may be thinned at its beginning."""
    known = set(before.log) if before else set()
    return [entry.reason for entry in after.log if entry not in known]

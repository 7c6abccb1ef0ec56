"""`decide`, phase by phase: what each thing seen leads to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from serving.rollout.experiment.decide import begin, decide
from serving.rollout.experiment.desired import assignment, buckets, desired
from serving.rollout.experiment.evidence import Reading
from serving.rollout.experiment.observed import LOOKS, thinned
from serving.rollout.experiment.ports import CandidateState, Readiness
from serving.rollout.experiment.seen import Seen
from serving.rollout.experiment.state import Estimate, Look, Outcome, Phase, State
from serving.rollout.experiment.turn import LOG_FIRST, LOG_NEWEST
from tests.experiments_life.worlds import BUNDLE, NAME, START, UID, spec_of

HOST = "ranker-candidate:9000"
READY = CandidateState(Readiness.READY, HOST)
FINE = Reading("failures", 0.001, 0.01)
NOW = START + timedelta(hours=1)
SPEC = spec_of()


def look(outcome: Outcome = Outcome.PENDING, **changes: Any) -> Look:
    primary = Estimate(metric="clicks", stable=0.3, candidate=0.31, relative=0.033, low=0.01, high=0.05, level=0.95)
    made = {"at": NOW, "users": (900, 900), "exposed": (1000, 1000), "ratio_p": 0.5, "because": "so it is"}
    return Look(primary=primary, outcome=outcome, **{**made, **changes})


def state_in(phase: Phase, **changes: Any) -> State:
    """A state in the middle of a phase, as a step 12 minutes ago left it."""
    fields: dict[str, Any] = {
        "phase": phase,
        "started": SPEC,
        "bundle_id": BUNDLE.bundle_id,
        "contract_digest": BUNDLE.contract_digest,
        "predictor_host": HOST,
        "stable_identity": "v6",
        "warmed": True,
        "stepped_at": NOW - timedelta(minutes=12),
    }
    return begin(NAME, UID, START).model_copy(update=fields | changes)


def seen_in(state: State, **changes: Any) -> Seen:
    """All is well and as the state wants it."""
    published = assignment(NAME, UID, state.started or SPEC, state)
    return replace(Seen(candidate=READY, published=published, stable="v6", readings=(FINE,)), **changes)


SERVING = (Phase.SHADOW, Phase.RUNNING, Phase.WAITING, Phase.PROMOTING)
BREACH: dict[str, Any] = {"readings": (Reading("failures", 0.5, 0.01, breached=True),)}
DANGERS: list[tuple[str, dict[str, Any], Phase]] = [
    ("GuardrailBreached", BREACH, Phase.ROLLED_BACK),
    ("StableChanged", {"stable": "v7"}, Phase.ABORTED),
    ("Refused", {"refusal": "no such Deployment"}, Phase.ROLLED_BACK),
    ("MetricGuardrailBreached", {"look": look(breached=("failures",))}, Phase.ROLLED_BACK),
    ("SampleRatioMismatch", {"look": look(ratio_p=0.0005)}, Phase.ROLLED_BACK),
]


@pytest.mark.parametrize("phase", SERVING)
@pytest.mark.parametrize(("reason", "change", "end"), DANGERS, ids=[each[0] for each in DANGERS])
def test_each_danger_takes_users_back_from_every_phase_that_has_users(phase, reason, change, end):
    if reason == "MetricGuardrailBreached":
        margin = {"metric": {"name": "failures", "numerator": {"event": "x"}}, "margin": 0.1}
        spec = spec_of(metricGuardrails=[margin], guardrails=[{"name": "f", "kind": "failures", "limit": 0.01}])
    else:
        spec = SPEC
    state = state_in(phase, started=spec)
    decision = decide(spec, state, seen_in(state, **change), NOW)
    assert (decision.state.phase, decision.state.reason, decision.state.end) == (Phase.STOPPING, reason, end)
    assert [(each.reason, each.warning) for each in decision.events] == [(reason, True)]
    assert not desired(spec, decision.state).traffic
    assert desired(spec, decision.state).candidate, "the pods stay until transformers took notice"


def test_harm_ends_a_running_experiment_and_nothing_that_has_won():
    harm = {"look": look(Outcome.HARM)}
    state = state_in(Phase.RUNNING)
    assert decide(SPEC, state, seen_in(state, **harm), NOW).state.reason == "Harm"
    waits = state_in(Phase.WAITING, started=spec_of(promotion="manual"))
    assert decide(spec_of(promotion="manual"), waits, seen_in(waits, **harm), NOW).state.phase is Phase.WAITING


def test_a_broken_logger_comes_before_what_it_logged():
    state = state_in(Phase.RUNNING)
    both = look(Outcome.HARM, ratio_p=1e-9)
    assert decide(SPEC, state, seen_in(state, look=both), NOW).state.reason == "SampleRatioMismatch"


WON = look(Outcome.WIN)
POLICIES = [("report", Phase.STOPPING), ("manual", Phase.WAITING), ("automatic", Phase.PROMOTING)]


@pytest.mark.parametrize(("promotion", "phase"), POLICIES)
def test_a_win_leads_where_the_policy_says(promotion, phase):
    spec = spec_of(promotion=promotion)
    state = state_in(Phase.RUNNING, started=spec)
    after = decide(spec, state, seen_in(state, look=WON, hint="helm upgrade"), NOW).state
    assert after.phase is phase
    assert after.end is (Phase.WON if promotion == "report" else None)
    assert after.outcome is Outcome.WIN


NOT_CLEAR: list[tuple[str, dict[str, Any]]] = [
    ("a guardrail has no data", {"readings": (Reading("failures", None, 0.01),)}),
    ("a guardrail is not a number", {"readings": (Reading("failures", float("nan"), 0.01),)}),
    ("a guardrail was not read", {"readings": ()}),
    ("a guardrail has too few rankings", {"readings": (Reading("failures", None, 0.01, few=True),)}),
    ("a value is above its limit, not surely", {"readings": (Reading("failures", 0.02, 0.01),)}),
    ("Prometheus is away", {"blind": "guardrails: no answer"}),
    ("the candidate is not ready", {"candidate": CandidateState(Readiness.STARTING, HOST)}),
    ("the assignment is not in place", {"published": None}),
]


@pytest.mark.parametrize(("why", "change"), NOT_CLEAR, ids=[each[0] for each in NOT_CLEAR])
def test_no_stage_and_no_win_comes_while(why, change):
    ripe = {"stage_watched": 7200.0, "stage_looked": True, "looks": (look(),), "stage_exposed": (10, 10)}
    state = state_in(Phase.RUNNING, **ripe)
    assert decide(SPEC, state, seen_in(state), NOW).state.stage == 1
    assert decide(SPEC, state, seen_in(state, **change), NOW).state.stage == 0
    won = decide(SPEC, state, seen_in(state, look=WON, **change), NOW).state
    assert (won.phase, won.stage, won.outcome) == (Phase.RUNNING, 0, Outcome.WIN)
    # A crossing decides, whatever a later look says: the bounds are about the first one.
    assert decide(SPEC, won, seen_in(won, look=look()), NOW).state.phase is Phase.PROMOTING
    waits = state_in(Phase.WAITING)
    assert decide(SPEC, waits, seen_in(waits, **change), NOW).state.phase is Phase.WAITING


@pytest.mark.parametrize(
    "missing",
    [
        {"stage_watched": 1000.0},
        {"stage_looked": False},
        {"stage_exposed": (10, 1000)},
        {"looks": ()},
        {"paused": True},
    ],
)
def test_a_stage_wants_time_and_users_of_both_arms(missing):
    ripe = {"stage_watched": 7200.0, "stage_looked": True, "looks": (look(),), "stage_exposed": (10, 10)}
    spec = spec_of(paused=True) if missing.pop("paused", False) else SPEC
    if missing or spec.paused:
        state = state_in(Phase.RUNNING, started=spec, **{**ripe, **missing})
        assert decide(spec, state, seen_in(state), NOW).state.stage == 0


def test_time_counts_only_as_far_as_the_controllers_pace_watched_it():
    state = state_in(Phase.RUNNING, stepped_at=START)
    for now, seconds in ((START + timedelta(days=9), 4 * 720.0), (START - timedelta(days=9), 0.0)):
        after = decide(SPEC, state, seen_in(state), now).state
        assert after.watched == after.stage_watched == seconds
        assert after.stepped_at == now
    lost = decide(SPEC, state, seen_in(state, candidate=CandidateState(Readiness.STARTING)), NOW).state
    assert lost.watched == 0.0


@pytest.mark.parametrize("phase", [each for each in Phase if each.ended])
def test_an_end_is_final(phase):
    state = state_in(phase)
    everything = seen_in(state_in(Phase.RUNNING), look=WON, **BREACH, refusal="x", stable="v9")
    for spec in (SPEC, spec_of(aborted=True), spec_of(approved=True)):
        decision = decide(spec, state, everything, NOW)
        assert (decision.state, decision.events) == (state, ())
    want = desired(SPEC, state)
    assert (want.candidate, want.traffic, want.promote) == (False, False, False)


def test_every_phase_has_its_step():
    for phase in Phase:
        state = state_in(phase)
        assert isinstance(decide(SPEC, state, seen_in(state), NOW).state, State)


def test_a_revision_follows_each_change_and_nothing_else():
    state = state_in(Phase.SHADOW, started=spec_of(schedule__shadowShare=10), stage_watched=1e6)
    spec = spec_of(schedule__shadowShare=10)
    shares = []
    for _ in range(12):
        published = assignment(NAME, UID, spec, state)
        shares.append((state.revision, None if published is None else (published.share, published.everyone)))
        newest = look(Outcome.WIN if state.stage == 1 else Outcome.PENDING)
        seen = Seen(candidate=READY, published=published, stable="v6", readings=(FINE,), look=newest)
        state = decide(spec, state.model_copy(update={"stage_watched": 1e6}), seen, NOW).state
    assert list(dict.fromkeys(shares)) == [
        (1, (0, None)),
        (2, (500, None)),
        (3, (5000, None)),
        (4, (5000, "candidate")),
    ]


def test_promotion_begins_only_when_everybody_has_the_candidate():
    state = state_in(Phase.PROMOTING)
    not_yet = seen_in(state_in(Phase.RUNNING))
    assert not decide(SPEC, state, not_yet, NOW).state.promotion_begun
    begun = decide(SPEC, state, seen_in(state), NOW).state
    assert begun.promotion_begun
    assert desired(SPEC, begun).promote
    on = decide(spec_of(aborted=True), begun, seen_in(begun, **BREACH), NOW).state
    assert (on.phase, on.promotion_begun) == (Phase.PROMOTING, True)
    assert "spec.aborted is not followed" in on.message


def test_what_is_wanted_follows_the_spec_that_is_followed():
    edited = spec_of(schedule={"stages": [{"share": 1}]}, candidate__bundle="s3://models/ranker/8")
    state = state_in(Phase.RUNNING, stage=1)
    assert desired(edited, state).share == 5000
    published = assignment(NAME, UID, edited, state)
    assert published is not None
    assert published.arms[0].bundle == "s3://models/ranker/7"


def test_shares_in_buckets():
    assert [buckets(percent) for percent in (0.0, 0.001, 0.25, 5.0, 50.0)] == [0, 1, 25, 500, 5000]


def test_what_is_remembered_is_bounded_and_survives_json():
    full = look(secondary=(look().primary,) * 20, guardrails=(look().primary,) * 20)
    looks: tuple[Look, ...] = ()
    for minute in range(1000):
        looks = thinned((*looks, full.model_copy(update={"at": START + timedelta(minutes=minute)})))
    assert LOOKS // 2 <= len(looks) <= LOOKS
    assert [each.at for each in looks] == sorted(each.at for each in looks)
    assert looks[-1].at == START + timedelta(minutes=999)
    state = state_in(Phase.RUNNING, looks=looks, paused=False)
    for number in range(300):
        spec = spec_of(paused=number % 2 == 0)
        state = decide(spec, state, seen_in(state), NOW).state
    assert len(state.log) == LOG_FIRST + LOG_NEWEST
    text = state.model_dump_json(by_alias=True, exclude_defaults=True)
    assert State.model_validate_json(text) == state
    assert len(text) < 400_000, "a resource has 1.5 MB"

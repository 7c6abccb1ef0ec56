"""Before users: the model is free, the bundle verifies, the candidate is ready and warm."""

from __future__ import annotations

from serving.rollout.experiment.durations import length
from serving.rollout.experiment.lapses import credit, lasting, over
from serving.rollout.experiment.ports import Readiness
from serving.rollout.experiment.sentences import share, span
from serving.rollout.experiment.spec import ExperimentSpec
from serving.rollout.experiment.state import Phase, State
from serving.rollout.experiment.turn import Turn
from serving.rollout.statistics.winsor import Caps


def pending(turn: Turn) -> Turn:
    """Nothing exists yet."""
    seen, spec = turn.seen, turn.spec
    if seen.published is not None:
        return turn.stop(
            Phase.ABORTED,
            "StateLost",
            f"Users are divided already by revision {seen.published.revision} of this experiment, and its state is "
            "gone: its numbers cannot be continued. Start a new experiment.",
        )
    if spec.aborted:
        return turn.enter(Phase.ABORTED, "Aborted", "spec.aborted was set before anything was done.", end=Phase.ABORTED)
    if seen.rival is not None:
        return turn.enter(
            Phase.REJECTED,
            "AnotherExperiment",
            f"Experiment {seen.rival} has the users of model {spec.target.model}. One model has one experiment at a "
            "time: wait for its end, then create this one again.",
            warning=True,
            end=Phase.REJECTED,
        )
    if spec.paused:
        return turn.put(message="Paused before it began. Clear spec.paused to begin.")
    return turn.enter(
        Phase.PREPARING,
        "Started",
        f"The bundle {spec.candidate.bundle} is verified, then deployed beside {spec.target.name}.",
        started=spec,
    )


def preparing(turn: Turn) -> Turn:
    """The candidate is made, and no user meets it."""
    turn = _verified(turn)
    stopped = _hopeless(turn)
    if stopped is not None:
        return stopped
    if turn.state.bundle_id is None:
        return turn.put(message=f"Verifying {turn.spec.candidate.bundle}. {_unanswered(turn)}".strip())
    if not turn.ready:
        return _starting(turn, turn.seen.candidate.message or turn.seen.candidate.readiness)
    turn = turn.put(
        predictor_host=turn.seen.candidate.predictor_host or None,
        warmed=turn.state.warmed or turn.seen.warmed,
    )
    if caps_missing(turn.spec, turn.state):
        return _uncapped(turn)
    waits_for = _waits_for(turn)
    if not waits_for:
        return _first_users(turn.put(starting=None))
    if turn.seen.unanswered and not turn.state.warmed and turn.state.predictor_host is not None:
        return _starting(turn, waits_for)
    return turn.put(message=waits_for)


def caps_missing(spec: ExperimentSpec, state: State) -> bool:
    """Whether some metric has a cap that must still be read before the experiment."""
    return any(metric.capped for metric in spec.metrics()) and not (state.caps_read or state.caps)


def _verified(turn: Turn) -> Turn:
    seen = turn.seen
    if seen.caps is not None:
        turn = _capped(turn, seen.caps)
    if seen.bundle is None or turn.state.bundle_id is not None:
        return turn
    turn = turn.put(bundle_id=seen.bundle.bundle_id, contract_digest=seen.bundle.contract_digest)
    return turn.say("BundleVerified", f"Every byte of {turn.spec.candidate.bundle} was read: {seen.bundle.bundle_id}.")


def _capped(turn: Turn, caps: Caps) -> Turn:
    """A history that has nothing to cap by is no reason to wait: it would not come while users are on stable."""
    turn = turn.put(caps=dict(caps.largest), floors=dict(caps.least), caps_read=True)
    told = [f"{name} at most {cap:g}" for name, cap in caps.largest.items()]
    told += [f"{name} at least {cap:g}" for name, cap in caps.least.items()]
    said = f"By the time before, a user's numbers count like this: {', '.join(told) or 'all as they are'}."
    return turn.say("CapsRead", " ".join([said, *(f"{note}." for note in caps.notes)]), warning=bool(caps.notes))


def _hopeless(turn: Turn) -> Turn | None:
    spec, candidate = turn.spec, turn.seen.candidate
    if spec.aborted:
        return turn.stop(Phase.ABORTED, "Aborted", "spec.aborted is set: the candidate is removed. No user met it.")
    refusal = turn.seen.refusal or turn.state.refusal
    if refusal:
        return turn.stop(
            Phase.REJECTED,
            "Refused",
            f"The candidate cannot serve: {refusal}. No user met it; correct that, start again.",
        )
    if candidate.readiness is Readiness.FAILED:
        return turn.stop(
            Phase.REJECTED,
            "CandidateFailed",
            f"The candidate's pods failed: {candidate.message or 'look at their events'}. No user met it.",
        )
    return None


def _starting(turn: Turn, said: str) -> Turn:
    """Not ready yet, within a limit; times of one that comes and goes add up."""
    lapse = lasting(turn.state.starting, turn.now, credit(turn.spec, turn.before, turn.now))
    limit = turn.spec.candidate.start_limit
    if over(lapse, length(limit)):
        return turn.stop(
            Phase.REJECTED,
            "CandidateNeverReady",
            f"The candidate was not ready within {limit} ({said}). No user met it. Look at its pods; a model that "
            "takes longer to load needs a longer candidate.startLimit.",
        )
    return turn.put(starting=lapse, message=f"The candidate starts, for {span(lapse.seconds)} of {limit}: {said}.")


def _uncapped(turn: Turn) -> Turn:
    """Ready, and the source of caps does not answer, within the same limit: a candidate is not kept for ever."""
    lapse = lasting(turn.state.starting, turn.now, credit(turn.spec, turn.before, turn.now))
    limit = turn.spec.candidate.start_limit
    if over(lapse, length(limit)):
        return turn.stop(
            Phase.REJECTED,
            "CapsNeverRead",
            f"The caps of metrics could not be read from the time before within {limit}. {_unanswered(turn)} No user "
            "met the candidate. Repair the source of evidence, or leave capQuantile out, and start again.",
        )
    waits = f"Waiting for the caps of metrics, from the time before, for {span(lapse.seconds)} of {limit}."
    return turn.put(starting=lapse, message=f"{waits} {_unanswered(turn)}".strip())


def _waits_for(turn: Turn) -> str:
    if turn.state.predictor_host is None:
        return "The candidate is ready, and its address is not known yet."
    if not turn.state.warmed:
        return f"The candidate is ready and being warmed. {_unanswered(turn)}".strip()
    return "Paused before users meet the candidate. Clear spec.paused to go on." if turn.spec.paused else ""


def _unanswered(turn: Turn) -> str:
    return f"No answer: {turn.seen.unanswered}." if turn.seen.unanswered else ""


def _first_users(turn: Turn) -> Turn:
    schedule = turn.spec.schedule
    turn = turn.put(stable_identity=turn.seen.stable)
    if schedule.shadow_share > 0:
        return turn.enter(
            Phase.SHADOW,
            "ShadowBegan",
            f"The rankings of {share(schedule.shadow_share)} of users are scored by the candidate too, for "
            f"{schedule.shadow_hold}; users see stable's.",
        )
    return first_stage(turn)


def first_stage(turn: Turn) -> Turn:
    """The first users get the candidate."""
    stages = turn.spec.schedule.stages
    return turn.enter(
        Phase.RUNNING,
        "StageBegan",
        f"Stage 1 of {len(stages)}: {share(stages[0].share)} of users get the candidate, as many are compared on "
        f"stable. Next after {stages[0].hold}, if every guardrail was read and is fine.",
        stage=0,
        stage_since=turn.now,
        stage_watched=0.0,
        stage_looked=False,
        exposed_since=turn.now,
    )

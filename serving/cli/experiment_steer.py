"""`sightline experiment pause|resume|approve|abort|promote|rollback`: changes of a running experiment's spec."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.context import of
from serving.cli.job import KubeContext, Namespace

if TYPE_CHECKING:
    from serving.rollout.report.resource import Resource

Name = Annotated[str, typer.Argument(help="The experiment's name.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, for the report and whoever looks later.")]
Patch = dict[str, Any]


def pause(
    context: typer.Context,
    name: Name,
    reason: Reason = None,
    namespace: Namespace = None,
    kube_context: KubeContext = None,
) -> None:
    """Keep shares and candidate as they are: no stage and no win follow; guardrails and harm still act."""
    done = f"{name} is paused: shares stay, guardrails go on. To go on: sightline experiment resume {name}"
    _change(context, name, namespace, kube_context, lambda found: _set(found, "paused", True, reason), done)


def resume(context: typer.Context, name: Name, namespace: Namespace = None, kube_context: KubeContext = None) -> None:
    """Let a paused experiment go on."""
    done = f"{name} goes on"
    _change(context, name, namespace, kube_context, lambda found: _set(found, "paused", False), done)


def approve(context: typer.Context, name: Name, namespace: Namespace = None, kube_context: KubeContext = None) -> None:
    """Promote a candidate that has won and waits for it (promotion: manual)."""
    done = f"{name} is approved: the candidate replaces stable. Follow it: sightline experiment watch {name}"
    _change(context, name, namespace, kube_context, _approval, done)


def promote(context: typer.Context, name: Name, namespace: Namespace = None, kube_context: KubeContext = None) -> None:
    """Approve a winner; with promotion: report, say what to run, as nothing is changed by itself."""
    from serving.cluster.connection import connect
    from serving.cluster.experiments import read as fetch
    from serving.rollout.experiment.spec import Promotion
    from serving.rollout.report.resource import read

    cluster = connect(kube_context, namespace)
    found = read(fetch(cluster, name, cluster.namespace))
    if found.spec.promotion is not Promotion.REPORT:
        approve(context, name, namespace, kube_context)
        return
    state = _won(found)
    hint = state.message or f"give {found.spec.candidate.bundle} to {found.spec.target.name}"
    document = {"experiment": name, "namespace": found.namespace, "changed": False, "done": hint}
    of(context).output.answer(document, f"promotion is report, so nothing was changed. {hint}")


def abort(
    context: typer.Context,
    name: Name,
    reason: Reason = None,
    namespace: Namespace = None,
    kube_context: KubeContext = None,
) -> None:
    """Give all users stable, remove the candidate, and end. It cannot be taken back."""
    done = f"{name} is aborted: users get stable within seconds, then the candidate is removed"
    _change(context, name, namespace, kube_context, lambda found: _set(found, "aborted", True, reason), done)


def rollback(
    context: typer.Context,
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why: it stands first in the report.")],
    namespace: Namespace = None,
    kube_context: KubeContext = None,
) -> None:
    """Abort, with the reason that the report will give."""
    abort(context, name, reason, namespace, kube_context)


def _change(
    context: typer.Context,
    name: str,
    namespace: str | None,
    kube_context: str | None,
    make: Callable[[Resource], Patch],
    done: str,
) -> None:
    from serving.cluster.connection import connect
    from serving.cluster.experiments import change
    from serving.rollout.report.resource import read

    cluster = connect(kube_context, namespace)
    change(cluster, name, cluster.namespace, lambda document: make(read(document)))
    document = {"experiment": name, "namespace": cluster.namespace, "changed": True, "done": done}
    of(context).output.answer(document, done)


def _set(found: Resource, field: str, value: bool, reason: str | None = None) -> Patch:
    """A patch of one switch. Raises ClusterError where it would do nothing."""
    from serving.cluster.errors import ClusterError
    from serving.rollout.report.resource import REASON_ANNOTATION

    _refuse_ended(found)
    if getattr(found.spec, field) == value:
        said = f"{'' if value else 'not '}{field} already"
        raise ClusterError(f"Experiment {found.name} is {said}; nothing was changed")
    if field == "paused" and found.spec.aborted:
        raise ClusterError(f"Experiment {found.name} is aborted; pausing it would do nothing")
    noted = {"metadata": {"annotations": {REASON_ANNOTATION: reason}}} if reason else {}
    return {"spec": {field: value}, **noted}


def _approval(found: Resource) -> Patch:
    """Raises ClusterError where an approval would do nothing."""
    from serving.cluster.errors import ClusterError
    from serving.rollout.experiment.spec import Promotion

    if found.spec.promotion is Promotion.AUTOMATIC:
        raise ClusterError(f"Experiment {found.name} promotes by itself when it wins (promotion: automatic)")
    if found.spec.promotion is Promotion.REPORT:
        raise ClusterError(
            f"Experiment {found.name} has promotion: report and waits for nobody; see what to run with "
            f"`sightline experiment promote {found.name}`"
        )
    _won(found)
    return _set(found, "approved", True)


def _won(found: Resource) -> Any:
    """The state of a winner. Raises ClusterError if it has not won."""
    from serving.cluster.errors import ClusterError
    from serving.rollout.report.document import End
    from serving.rollout.report.sentence import verdict

    said = verdict(found.spec, found.state, found.given_reason)
    if found.state is None or said.end is not End.WIN:
        raise ClusterError(f"Experiment {found.name} has not won, and only a winner is promoted. {said.headline}")
    return found.state


def _refuse_ended(found: Resource) -> None:
    from serving.cluster.errors import ClusterError

    if found.state is not None and found.state.phase.ended:
        raise ClusterError(
            f"Experiment {found.name} has ended ({found.state.phase}); see `sightline experiment status {found.name}`"
        )

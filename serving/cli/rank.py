"""`sightline rank`: ask the running stack."""

from typing import Annotated

import typer

from serving.cli.candidates import Item, Items, candidates
from serving.cli.context import of
from serving.cli.output import table
from serving.stack import ask
from serving.stack.errors import StackError
from serving.stack.ports import HOST
from serving.stack.state import ready_state


def rank(
    context: typer.Context,
    user: Annotated[str, typer.Option(help="User id, for instance 196.")],
    items: Items = None,
    item: Item = None,
    hour: Annotated[int | None, typer.Option(min=0, max=23, help="Hour of the day of the request.")] = None,
    weekday: Annotated[int | None, typer.Option(min=0, max=6, help="Day of the week, 0 is Monday.")] = None,
    model: Annotated[str, typer.Option(help="Which served ranker.")] = "ranker",
) -> None:
    """Rank candidates for a user through the transformer (V1 over REST)."""
    given, asked = of(context), candidates(items, item)
    state = ready_state(given.layout.run)
    if state is None:
        raise StackError(f"no stack is running on {given.layout.root}; start it: sightline up")
    told = {name: value for name, value in (("hour", hour), ("weekday", weekday)) if value is not None}
    question = ask.Question(user, asked, told)
    answer = ask.over_rest(f"{HOST}:{state.ports['transformer_http']}", model, question)
    rows = [
        (entry["rank"], entry["item_id"], f"{entry['score']:.4f}", entry["caption"], entry["item"])
        for entry in answer["ranking"]
    ]
    known = "" if answer["user_known"] else " (unknown)"
    shown = table(f"user {user}{known}", ("rank", "item", "score", "caption", "item known"), rows, ("rank", "score"))
    given.output.answer(answer, shown)
    if answer["degraded"]:
        given.output.say(f"degraded: {', '.join(answer['degraded'])}")

"""A training job in one process, or in several of which the first leads.

Several processes train together and part when every run is kept. The first then measures, writes and publishes alone:
none of it needs the others. So it does when it is started again and they are not, because they were done.
"""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections.abc import Callable, Mapping

from training.distributed import ALONE, JoinError, Leader, agree, torch_group
from training.job_inputs import Inputs, read_inputs
from training.job_message import Message
from training.job_publish import reachable
from training.job_say import Told
from training.job_train import Work, identity_of, lift, nothing_to_train, train
from training.recipe import Recipe


def alone(arguments: Namespace, stop: Callable[[], bool]) -> Message:
    """The job in this process, and in workers of its own where the recipe asks for them."""
    told = Told()
    inputs = _inputs(arguments, told.say)
    return _finish(Work(arguments, inputs, ALONE, stop, told))


def together(arguments: Namespace, stop: Callable[[], bool], environment: Mapping[str, str] = os.environ) -> Message:
    """The job in one of several processes that share every batch.

    Raises:
        RankError: the processes have different inputs, or were not started as they should be.
        RankLostError: another process is gone.
    """
    leads = environment.get("RANK") == "0"
    told = Told(quiet=not leads)
    inputs = _inputs(arguments, told.say)
    trained = None
    try:
        with torch_group(inputs.recipe.training.device, arguments.rank_timeout, environment) as group:
            agree(group, json.dumps(identity_of(inputs), sort_keys=True).encode(), "inputs")
            work = Work(arguments, inputs, group, stop, told)
            if group.share(b"train" if leads and not nothing_to_train(work) else b"") == b"train":
                told.say(f"{group.world} processes share every batch; runs go one after the other")
                trained = work.train()
            group.share(b"kept")
            if not leads:
                return Message(arguments.job, "done", f"took part as process {group.rank} of {group.world}")
    except JoinError as error:
        if not leads:
            raise
        told.say(f"{error}; going on alone, which is enough if every run is trained")
    return _finish(Work(arguments, inputs, Leader(int(environment["WORLD_SIZE"])), stop, told, trained))


def _finish(work: Work) -> Message:
    return (train if work.arguments.job == "train" else lift)(work)


def _inputs(arguments: Namespace, say: Callable[[str], None]) -> Inputs:
    """The inputs, with the command line's own settings in the recipe, once the outputs are known to be reachable."""
    if arguments.job == "train" and arguments.out_store:
        reachable(arguments.out_store, arguments.name)
    inputs = read_inputs(arguments, say)
    return inputs.with_recipe(_with_options(inputs.recipe, arguments))


def _with_options(recipe: Recipe, arguments: Namespace) -> Recipe:
    changes: dict[str, object] = {}
    if arguments.workers is not None:
        changes["workers"] = arguments.workers
    if arguments.checkpoint_seconds is not None:
        changes["checkpoint"] = recipe.checkpoint.model_copy(update={"seconds": arguments.checkpoint_seconds})
    return recipe.model_copy(update=changes)

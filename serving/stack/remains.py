"""What a killed command leaves behind, and its end: processes, half-written files, shared memory, the state."""

from models.bundle import settle
from models.files import remove_abandoned
from serving.stack import services
from serving.stack.layout import Layout
from serving.stack.orphans import end_marked
from serving.stack.state import read_state, remove_state


def clear_remains(layout: Layout) -> bool:
    """To be called by who holds the state folder.

    Returns:
        Whether there was a stack or a process of one to end; files alone do not count.
    """
    state = read_state(layout.run)
    ended = end_marked(state.token) if state is not None else []
    remove_state(layout.run)
    _sweep(layout)
    return bool(ended) or (state is not None and state.phase != "failed")


def _sweep(layout: Layout) -> None:
    for root in (layout.root, layout.data, layout.posters, layout.run, layout.demo, *layout.data.glob("*/")):
        remove_abandoned(root)
    for home in (layout.demonstration, layout.own):
        for root in (home.captions, home.bundles, home.triton, *home.triton.glob("*/")):
            remove_abandoned(root)
        for name in (services.RANKER, services.ABLATION):
            settle(services.bundle_path(home, name))
    services.triton_command(layout).forget()

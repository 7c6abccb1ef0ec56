"""The errors that are answers: shown as a message, not as a traceback."""

import sys

BASES = {
    "models.bundle": "BundleError",
    "models.captioner.errors": "CaptionerError",
    "models.contract.errors": "ContractError",
    "models.export.onnx": "ExportError",
    "models.items": "ItemStoreError",
    "models.store.errors": "ModelStoreError",
    "models.triton.repository": "RepositoryError",
    "serving.backfill.errors": "CatalogueError",
    "serving.bench.ranking": "BenchError",
    "serving.captioner.client": "CaptionerUnreachableError",
    "serving.cli.experiment_faults": "ExperimentFileError",
    "serving.cli.experiment_history": "HistoryError",
    "serving.cluster.errors": "ClusterError",
    "serving.forgetting.place": "PlaceError",
    "serving.ranker.command": "TritonServerError",
    "serving.rollout.experiment.evidence": "EvidenceError",
    "serving.rollout.report.folder": "FolderError",
    "serving.rollout.report.resource": "ResourceError",
    "serving.rollout.statistics.plan": "PlanError",
    "serving.stack.errors": "StackError",
    "serving.tls": "TlsError",
    "training.checkpoint_file": "CheckpointError",
    "training.data.errors": "DataError",
    "training.distributed": "RankError",
    "training.loop": "TrainingError",
    "training.recipe": "RecipeError",
}
"""Module to the base class of its refusals."""


def errors() -> tuple[type[Exception], ...]:
    """The refusals of the modules loaded so far; a module that is not loaded has raised nothing."""
    return tuple(getattr(sys.modules[module], name) for module, name in BASES.items() if module in sys.modules)

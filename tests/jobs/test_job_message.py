"""What a training job tells at its end; how it is written is tested with `models.termination`."""

from models.store.errors import NoSuchEntryError, StoreUnreachableError
from training.job_inputs import InputError
from training.job_message import Message
from training.job_refusals import is_away


def test_a_message_is_what_the_status_command_reads():
    message = Message("train", "done", "fine", {"ranker": "s3://b/ranker/7"}, "sha256:1", {"auc": 0.5}, {"delta": 0.1})
    assert message.document() == {
        "job": "train",
        "outcome": "done",
        "message": "fine",
        "bundles": {"ranker": "s3://b/ranker/7"},
        "contract_digest": "sha256:1",
        "metrics": {"auc": 0.5},
        "lift": {"delta": 0.1},
    }


def test_a_service_that_did_not_answer_is_told_from_an_input_that_is_not_there():
    def caused(error, cause):
        error.__cause__ = cause
        return error

    class ClientError(Exception):
        __module__ = "botocore.exceptions"

    away = [StoreUnreachableError(), ConnectionResetError(), TimeoutError(), ClientError()]
    assert all(is_away(error) and is_away(caused(InputError(), error)) for error in away)
    there = [NoSuchEntryError(), InputError(), FileNotFoundError(), PermissionError(), ZeroDivisionError()]
    assert not any(is_away(error) or is_away(caused(InputError(), error)) for error in there)

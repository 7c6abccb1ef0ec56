"""Why a verdict cannot be given. None of it is ever a pass."""


class VerdictError(Exception):
    """No verdict; `status` is the HTTP status that says so, `kind` its name in the metric."""

    status = 500
    kind = "error"


class UnknownError(VerdictError):
    """There is no such experiment."""

    status = 404
    kind = "unknown"


class AwayError(VerdictError):
    """The Kubernetes API does not answer, or refuses; or the experiment cannot be read."""

    status = 503
    kind = "away"


class OtherBundleError(VerdictError):
    """The experiment is about another bundle than the one that was asked for."""

    status = 409
    kind = "other-bundle"


class QuestionError(VerdictError):
    """A request that cannot be understood."""

    status = 400
    kind = "malformed"


class TooLongError(QuestionError):
    """A body that is longer than any webhook's."""

    status = 413


class LateError(QuestionError):
    """A body that does not come."""

    status = 408

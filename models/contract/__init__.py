"""The feature contract: one description of what the ranker eats, and the one encoder of training and serving."""

from models.contract.diff import Difference, check_bump, differences
from models.contract.encode import FeatureEncoder, Side, encode
from models.contract.encoders import HashEncoder, IdentityEncoder, MultiHashEncoder, QREncoder
from models.contract.errors import (
    ContractError,
    ContractFormatError,
    DigestMismatchError,
    Fault,
    FeatureValueError,
    TokenizerError,
    VersionBumpError,
)
from models.contract.features import (
    CaptionFeature,
    CategoricalFeature,
    DenseFeature,
    HashBuckets,
    IntegerRange,
    Source,
    Vocabulary,
)
from models.contract.report import BucketLoad, CollisionReport, caption_report, strings_report
from models.contract.schema import Contract, TensorSpec
from models.contract.text import normalize
from models.contract.tokenizer import CaptionTokenizer
from models.contract.tokens import TokenRows

__all__ = [
    "BucketLoad",
    "CaptionFeature",
    "CaptionTokenizer",
    "CategoricalFeature",
    "CollisionReport",
    "Contract",
    "ContractError",
    "ContractFormatError",
    "DenseFeature",
    "Difference",
    "DigestMismatchError",
    "Fault",
    "FeatureEncoder",
    "FeatureValueError",
    "HashBuckets",
    "HashEncoder",
    "IdentityEncoder",
    "IntegerRange",
    "MultiHashEncoder",
    "QREncoder",
    "Side",
    "Source",
    "TensorSpec",
    "TokenRows",
    "TokenizerError",
    "VersionBumpError",
    "Vocabulary",
    "caption_report",
    "check_bump",
    "differences",
    "encode",
    "normalize",
    "strings_report",
]

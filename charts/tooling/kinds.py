"""Closed schemas of the Kubernetes fields that values hand through to pods: what the chart's pods can use of them.

Volumes are those that restricted Pod Security admits. Bounds and patterns are here to give the reader of an error a
path in his values; the API server remains the judge of the rest.
"""

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel

from serving.captioner.settings import CaptionerSettings
from serving.rollout.collector.settings import Settings as CollectorSettings
from serving.transformer.settings import Settings as TransformerSettings

Schema = dict[str, Any]

# What the chart passes to the transformer itself, and what needs a file that no pod keeps.
TRANSFORMER_OWN = frozenset(
    {
        *("model_name", "bundle", "also", "store", "missing_file", "missing_limit"),
        *("predictor_host", "predictor_protocol", "host", "http_port", "grpc_port", "workers"),
        *("assignments", "exposures", "grpc_connection_age_seconds"),
    }
)
COLLECTOR_OWN = frozenset({"database", "host", "port", "metrics_port", "tls_certificate", "tls_key"})

TEXT: Schema = {"type": "string"}
NAME: Schema = {"type": "string", "minLength": 1}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
# A number, or a number with a unit: 500m, 1.5, 2Gi, 1e3.
QUANTITY: Schema = {
    "type": ["string", "number"],
    "minimum": 0,
    "pattern": r"^[0-9]+(\.[0-9]+)?([eE][0-9]+|m|k|[KMGTPE]i?)?$",
}


def closed(*required: str, **properties: Schema) -> Schema:
    """An object with these properties and no other."""
    schema: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return schema | ({"required": list(required)} if required else {})


def many(items: Schema, **bounds: int) -> Schema:
    return {"type": "array", "items": items, **bounds}


def one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


def expressions(*operators: str) -> Schema:
    return many(closed("key", "operator", key=NAME, operator=one_of(*operators), values=many(TEXT)))


SELECTOR = closed(matchLabels=TEXTS, matchExpressions=expressions("In", "NotIn", "Exists", "DoesNotExist"))
NODE_EXPRESSIONS = expressions("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
NODE_TERM = closed(matchExpressions=NODE_EXPRESSIONS, matchFields=NODE_EXPRESSIONS)
POD_TERM = closed(
    "topologyKey",
    topologyKey=NAME,
    labelSelector=SELECTOR,
    namespaceSelector=SELECTOR,
    namespaces=many(NAME),
    matchLabelKeys=many(NAME),
    mismatchLabelKeys=many(NAME),
)
WEIGHT: Schema = {"type": "integer", "minimum": 1, "maximum": 100}
POD_AFFINITY = closed(
    requiredDuringSchedulingIgnoredDuringExecution=many(POD_TERM),
    preferredDuringSchedulingIgnoredDuringExecution=many(
        closed("weight", "podAffinityTerm", weight=WEIGHT, podAffinityTerm=POD_TERM)
    ),
)
NODE_AFFINITY = closed(
    requiredDuringSchedulingIgnoredDuringExecution=closed(
        "nodeSelectorTerms", nodeSelectorTerms=many(NODE_TERM, minItems=1)
    ),
    preferredDuringSchedulingIgnoredDuringExecution=many(
        closed("weight", "preference", weight=WEIGHT, preference=NODE_TERM)
    ),
)

KEY = closed("name", "key", name=NAME, key=NAME, optional=FLAG)
FIELD = closed("fieldPath", fieldPath=NAME, apiVersion=TEXT)
RESOURCE_FIELD = closed("resource", resource=NAME, containerName=TEXT, divisor=QUANTITY)
FROM = closed(secretKeyRef=KEY, configMapKeyRef=KEY, fieldRef=FIELD, resourceFieldRef=RESOURCE_FIELD)
VARIABLE: Schema = {"type": "string", "pattern": "^[A-Za-z_.-][A-Za-z0-9_.-]*$"}
OBJECT = closed("name", name=NAME, optional=FLAG)

MODE: Schema = {"type": "integer", "minimum": 0, "maximum": 511}
FILES = many(closed("key", "path", key=NAME, path=NAME, mode=MODE))
DOWNWARD = many(closed("path", path=NAME, fieldRef=FIELD, resourceFieldRef=RESOURCE_FIELD, mode=MODE))
PROJECTION = closed(
    secret=closed("name", name=NAME, items=FILES, optional=FLAG),
    configMap=closed("name", name=NAME, items=FILES, optional=FLAG),
    downwardAPI=closed(items=DOWNWARD),
    serviceAccountToken=closed("path", path=NAME, audience=TEXT, expirationSeconds=COUNT),
)
VOLUME = closed(
    "name",
    name=NAME,
    emptyDir=closed(medium=one_of("", "Memory"), sizeLimit=QUANTITY),
    configMap=closed("name", name=NAME, items=FILES, defaultMode=MODE, optional=FLAG),
    secret=closed("secretName", secretName=NAME, items=FILES, defaultMode=MODE, optional=FLAG),
    persistentVolumeClaim=closed("claimName", claimName=NAME, readOnly=FLAG),
    projected=closed("sources", sources=many(PROJECTION), defaultMode=MODE),
    downwardAPI=closed(items=DOWNWARD, defaultMode=MODE),
    csi=closed(
        "driver",
        driver=NAME,
        readOnly=FLAG,
        fsType=TEXT,
        volumeAttributes=TEXTS,
        nodePublishSecretRef=closed("name", name=NAME),
    ),
)

# Of security contexts; a null takes the chart's value away.
NUMBER_OR_NULL: Schema = {"type": ["integer", "null"], "minimum": 0}
WORD_OR_NULL: Schema = {"type": ["string", "null"]}
FLAG_OR_NULL: Schema = {"type": ["boolean", "null"]}
SECURITY: dict[str, Schema] = {
    "runAsNonRoot": FLAG_OR_NULL,
    "runAsUser": NUMBER_OR_NULL,
    "runAsGroup": NUMBER_OR_NULL,
    "seccompProfile": closed("type", type=NAME, localhostProfile=TEXT) | {"type": ["object", "null"]},
    "appArmorProfile": closed("type", type=NAME, localhostProfile=TEXT) | {"type": ["object", "null"]},
    "seLinuxOptions": closed(level=TEXT, role=TEXT, type=TEXT, user=TEXT) | {"type": ["object", "null"]},
}

# The API server refuses other names too, but only when the pod is made.
RESOURCES: Schema = {
    "type": "object",
    "additionalProperties": False,
    "patternProperties": {"^(cpu|memory|ephemeral-storage|hugepages-.+|.+/.+)$": QUANTITY},
}

KUBERNETES: dict[str, Schema] = {
    "resources": closed(requests=RESOURCES, limits=RESOURCES),
    "tolerations": many(
        closed(
            key=TEXT,
            operator=one_of("Exists", "Equal"),
            value=TEXT,
            effect=one_of("", "NoSchedule", "PreferNoSchedule", "NoExecute"),
            tolerationSeconds={"type": "integer"},
        )
    ),
    "affinity": closed(nodeAffinity=NODE_AFFINITY, podAffinity=POD_AFFINITY, podAntiAffinity=POD_AFFINITY),
    "topologySpreadConstraints": many(
        closed(
            "maxSkew",
            "topologyKey",
            "whenUnsatisfiable",
            maxSkew={"type": "integer", "minimum": 1},
            topologyKey=NAME,
            whenUnsatisfiable=one_of("DoNotSchedule", "ScheduleAnyway"),
            labelSelector=SELECTOR,
            minDomains={"type": "integer", "minimum": 1},
            nodeAffinityPolicy=one_of("Honor", "Ignore"),
            nodeTaintsPolicy=one_of("Honor", "Ignore"),
            matchLabelKeys=many(NAME),
        )
    ),
    "env": many(closed("name", name=VARIABLE, value=TEXT, valueFrom=FROM)),
    "envFrom": many(closed(prefix=TEXT, secretRef=OBJECT, configMapRef=OBJECT)),
    "volumes": many(VOLUME),
    "volumeMounts": many(
        closed(
            "name",
            "mountPath",
            name=NAME,
            mountPath={"type": "string", "pattern": "^/"},
            subPath=TEXT,
            subPathExpr=TEXT,
            readOnly=FLAG,
        )
    ),
    "imagePullSecrets": many({"anyOf": [NAME, closed("name", name=NAME)]}),
    # Whole containers of a site's own: the API server judges them.
    "containers": many({"type": "object", "required": ["name", "image"], "properties": {"name": NAME, "image": NAME}}),
    "hostAliases": many(closed("ip", ip=NAME, hostnames=many(NAME))),
    "dnsConfig": closed(
        nameservers=many(NAME), searches=many(NAME), options=many(closed("name", name=NAME, value=TEXT))
    ),
    "podSecurityContext": closed(
        **SECURITY,
        fsGroup=NUMBER_OR_NULL,
        fsGroupChangePolicy=WORD_OR_NULL,
        supplementalGroups={"type": ["array", "null"], "items": COUNT},
        supplementalGroupsPolicy=WORD_OR_NULL,
        sysctls={"type": ["array", "null"], "items": closed("name", "value", name=NAME, value=TEXT)},
    ),
    "securityContext": closed(
        **SECURITY,
        allowPrivilegeEscalation=FLAG_OR_NULL,
        privileged=FLAG_OR_NULL,
        readOnlyRootFilesystem=FLAG_OR_NULL,
        procMount=WORD_OR_NULL,
        capabilities=closed(add=many(NAME), drop=many(NAME)) | {"type": ["object", "null"]},
    ),
    "networkPolicyPeers": many(
        closed(
            podSelector=SELECTOR,
            namespaceSelector=SELECTOR,
            ipBlock=closed("cidr", cidr={"type": "string", "pattern": "/[0-9]+$"}, **{"except": many(NAME)}),
        )
        | {"minProperties": 1}
    ),
    "ports": many(PORT),
    "parentRefs": many(closed("name", name=NAME, namespace=TEXT, group=TEXT, kind=TEXT, sectionName=TEXT, port=PORT)),
    "strings": many(TEXT),
    "objects": many({"type": ["object", "string"]}),
}


def model_schema(model: type[BaseModel], without: Collection[str] = ()) -> Schema:
    """The fields of a settings class as a closed schema; a tuple becomes a list, `| None` may be left out."""
    fields = model.model_json_schema()["properties"]
    properties = {name: _field(schema) for name, schema in fields.items() if name not in without}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _field(schema: Schema) -> Schema:
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    merged = (kinds[0] if kinds else {}) | {key: value for key, value in schema.items() if key != "anyOf"}
    return {key: value for key, value in merged.items() if key not in {"title", "format"} and value is not None}


KINDS: dict[str, Schema] = KUBERNETES | {
    "captionerSettings": model_schema(CaptionerSettings),
    "transformerSettings": model_schema(TransformerSettings, TRANSFORMER_OWN),
    "collectorSettings": model_schema(CollectorSettings, COLLECTOR_OWN),
}

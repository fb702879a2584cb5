"""Shapes of the C2PA Soft Binding Resolution API 2.4."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

_ALG = "org.filigrana.dft.1"
_LABEL = "urn:c2pa:f3765de6-2e12-45c7-8728-f3d4ad4eed1c"
Alg = Annotated[str, Field(min_length=1, max_length=128, examples=[_ALG])]
Value = Annotated[
    str,
    Field(
        min_length=1, max_length=2048, description="base64 of the value, or the value", examples=["VlNBSks0MU5KOTJH"]
    ),
]


class Query(BaseModel):
    """What is looked up."""

    alg: Alg
    value: Value


class Reference(BaseModel):
    """``assetLength`` in bytes: a larger file is not fetched."""

    referenceUrl: Annotated[str, Field(min_length=1, max_length=2048, examples=["https://example.org/copy.jpg"])]  # noqa: N815
    assetLength: Annotated[int | None, Field(ge=1)] = None  # noqa: N815
    assetType: Annotated[str | None, Field(max_length=128)] = None  # noqa: N815
    region: list[Any] | None = None


class BindingRequest(BaseModel):
    """``alg``: where the manifest carries this value under several; the specification leaves it out."""

    bindingValue: Value  # noqa: N815
    manifestId: Annotated[str, Field(min_length=1, max_length=256, examples=[_LABEL])]  # noqa: N815
    alg: Alg | None = None


class Match(BaseModel):
    manifestId: str  # noqa: N815
    similarityScore: Annotated[int | None, Field(ge=0, le=100)] = None  # noqa: N815
    endpoint: str | None = None


class Matches(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"example": {"matches": [{"manifestId": _LABEL, "similarityScore": 100}]}}
    )
    matches: list[Match]


class Algorithm(BaseModel):
    alg: str


class Algorithms(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"watermarks": [{"alg": _ALG}], "fingerprints": []}})
    watermarks: list[Algorithm]
    fingerprints: list[Algorithm]


class ReceiptRepository(BaseModel):
    uri: str
    manifestId: str  # noqa: N815


class ReceiptAnchor(BaseModel):
    """``proof``: a C2SP tlog-proof with the entry in it."""

    uri: str
    parameters: dict[str, Any] = {}
    proof: dict[str, Any]


class Receipt(BaseModel):
    """Proof that the repository took the manifest in."""

    model_config = ConfigDict(
        populate_by_name=True,
        json_schema_extra={
            "example": {
                "@context": {"receipt": "https://c2pa.org/ns/manifest-receipt#"},
                "@type": "org.c2pa.manifest-receipt",
                "repository": {"uri": "https://check.example.org/c2pa/v1", "manifestId": _LABEL},
                "anchor": {
                    "uri": "filigrana.org/log/1a2b",
                    "parameters": {"index": 4},
                    "proof": {"format": "c2sp.org/tlog-proof@v1", "tlogProof": "c2sp.org/tlog-proof@v1\nextra …"},
                },
            }
        },
    )
    context: Any = Field(alias="@context")
    type: str = Field(alias="@type")
    repository: ReceiptRepository
    anchor: ReceiptAnchor


class VerifiedReceipt(Receipt):
    verified: bool
    error: str | None = None


class Created(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"manifestId": _LABEL}})
    manifestId: str  # noqa: N815
    receipt: Receipt | None = None


class Status(BaseModel):
    status: str
    timestamp: str


class Capabilities(BaseModel):
    c2paSpecificationVersion: str  # noqa: N815
    supportedCapabilities: list[str]  # noqa: N815


class Discovery(BaseModel):
    apiEndpoint: str  # noqa: N815
    c2paSpecificationVersion: str  # noqa: N815
    capabilitiesEndpoint: str  # noqa: N815
    statusEndpoint: str  # noqa: N815

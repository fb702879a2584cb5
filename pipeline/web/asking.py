"""What is asked of the service, and the orders that it becomes. Unknown fields are an error: a typo must not switch
anything off."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ...errors import InputError, ServiceError
from ..access import Caller
from ..jobs.model import HIGHEST, Order
from ..labelled import ReleaseLabels
from ..request import MAX_SEED, MOST_PROFILES, GenerateRequest
from ..tracing import current_trace
from .service import plain

if TYPE_CHECKING:
    from ..installation import Installation

MOST_PROMPT = 4000
_SIZE = re.compile(r"(\d{2,4})x(\d{2,4})")
MIMES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
OURS = "filigrana"
"""Whatever model the installation is set up with."""


@dataclass(frozen=True)
class Here:
    """What orders are held against: the installation's model, and the labels of its settings."""

    model: str
    labels: ReleaseLabels

    @classmethod
    def of(cls, house: Installation) -> Here:
        return cls(house.settings.model, house.labels)


Prompt = Annotated[str, Field(min_length=1, max_length=MOST_PROMPT, description="what to make")]


def _split(value: Any) -> Any:
    """Forms have no lists: `eu,cn`."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Profiles = Annotated[
    list[Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]{2})?$")]],
    BeforeValidator(_split),
    Field(max_length=MOST_PROFILES, description="laws that it fulfils beside those of the settings: `eu`, `cn`, …"),
]


class Labelled(BaseModel):
    """What may be said of labels. Never less than the settings ask for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    profiles: Profiles = []
    visible_label: Literal["profiles", "always"] = Field(
        "profiles", description="`always`: AI-made work gets a visible label although no profile asks for one"
    )
    unlabelled_consent: bool = Field(
        False,
        description="no visible label, where every chosen profile lets one be left out (`cn`): whoever asks agrees to "
        "the duties that follow. The log says so, and the record is kept for as long as the law asks",
    )

    def labels(self, chosen: ReleaseLabels) -> dict[str, Any]:
        """As fields of a request of the engine. ``chosen``: of the settings. Raises ServiceError where they do not let
        it."""
        try:
            found = chosen.beside(self.profiles, self.visible_label == "always")
            if self.unlabelled_consent:
                found.may_be_waived()
        except InputError as error:
            field = "unlabelled_consent" if error.code == "input.unlabelled" else "profiles"
            raise ServiceError(error.message, param=field, code=error.code) from None
        said: dict[str, Any] = {"profiles": self.profiles} if self.profiles else {}
        said |= {"labelled": True} if self.visible_label == "always" else {}
        return said | ({"unlabelled": True} if self.unlabelled_consent else {})


class Asked(Labelled):
    """What pictures and clips have in common. Everything from `seed` on is our own."""

    prompt: Prompt
    model: str | None = Field(None, max_length=256, description=f"the model of this installation, or `{OURS}`")
    size: str | None = Field(None, pattern=r"^(auto|\d{2,4}x\d{2,4})$", description="`auto`, or WIDTHxHEIGHT in px")
    user: str | None = Field(
        None, pattern=r"^[\w.@:+-]{1,100}$", description="your user: prompts are kept, and erased, by subject and user"
    )
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="the same seed gives the same picture")
    steps: int | None = Field(None, ge=1, le=1000, description="sampling steps")
    guidance: float | None = Field(None, ge=0, le=100, description="how strictly the prompt is followed")
    negative_prompt: str | None = Field(None, min_length=1, max_length=MOST_PROMPT, description="what not to show")
    best_of: int = Field(1, ge=1, le=64, description="make several, keep what fits the prompt best")
    accept_rewrite: str | None = Field(
        None, pattern=r"^[0-9a-f]{16}$", description="the digest of an offered rewrite that the author accepts"
    )
    priority: int = Field(0, ge=0, le=HIGHEST, description="the higher goes first")

    def order(self, caller: Caller, here: Here, key: str | None, more: dict[str, Any]) -> Order:
        """``more``: further fields of the request. Raises ServiceError, InputError."""
        if self.model not in (None, OURS, here.model):
            raise ServiceError(
                f"there is no such model here: leave `model` out, or name `{OURS}`",
                status=404, param="model", code="service.model",
            )  # fmt: skip
        size = _SIZE.fullmatch(self.size or "")
        request: dict[str, Any] = {
            "seed": self.seed,
            "steps": self.steps,
            "guidance": self.guidance,
            "size": None if size is None else [int(size[1]), int(size[2])],
            "best_of": self.best_of,
            "accept_rewrite": self.accept_rewrite,
            **self.labels(here.labels),
            **more,
        }
        _check(self.prompt, request)
        texts = {"prompt": self.prompt}
        if self.negative_prompt is not None:
            texts["negative_prompt"] = self.negative_prompt
        return ordered(caller, "generate", request, texts, self.priority, key, self.user)


class ImagesAsked(Asked):
    """The body of `POST /v1/images/generations`. `quality`, `background`, `moderation` and `stream` are taken where
    they ask for what is done anyway."""

    n: int = Field(1, ge=1, le=10, description="how many pictures; seeds are counted up")
    response_format: Literal["b64_json", "url"] = "b64_json"
    output_format: Literal["png", "jpeg", "webp"] = "png"
    quality: Literal["auto"] | None = None
    background: Literal["auto", "opaque"] | None = None
    moderation: Literal["auto"] | None = None
    stream: Literal[False] | None = None

    def orders(self, caller: Caller, here: Here, key: str | None) -> list[Order]:
        """One a picture. An idempotency key counts for all of them together: the first has it as it is, so that it is
        also one with those of clips, and the others with a space in it, which no client can send."""
        found = []
        for number in range(self.n):
            more: dict[str, Any] = {"mime": MIMES[self.output_format], "_of": [number, self.n]}
            if self.seed is not None:
                more["seed"] = self.seed + number
            found.append(self.order(caller, here, f"{key} {number}" if key and number else key, more))
        return found


class VideoAsked(Asked):
    """The body of `POST /v1/videos`."""

    seconds: str | None = Field(
        None, pattern=r"^\d{1,4}$", description="a wish: the model makes clips of its own length, which is told"
    )
    sound: bool = Field(False, description="with sound, where the model makes some")

    def one(self, caller: Caller, here: Here, key: str | None) -> Order:
        more = {"mime": "video/mp4", "sound": self.sound, "_seconds": self.seconds}
        return self.order(caller, here, key, more)


def ordered(
    caller: Caller,
    kind: str,
    request: dict[str, Any],
    texts: dict[str, str],
    rank: int,
    key: str | None,
    user: str | None,
) -> Order:
    """``user``: the caller's own, under whose name prompts are kept. Raises ServiceError where the key may not ask
    for so high a priority."""
    if caller.limits.priority is not None and rank > caller.limits.priority:
        raise ServiceError(
            f"this key may ask for priorities up to {caller.limits.priority}",
            status=403, param="priority", code="access.priority",
        )  # fmt: skip
    subject = caller.subject if user is None else f"{caller.subject}/{user}"
    return Order(
        caller.tenant, subject, kind, request, texts, rank, key, caller.key, caller.limits.in_flight, current_trace()
    )


def parsed(shape: type[BaseModel], body: dict[str, Any], *, strict: bool = True) -> Any:
    """``strict``: false for forms, in which everything is text. Raises ServiceError with the field's name."""
    try:
        return shape.model_validate(body, strict=strict)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        # With the field's name: the openai client, and a form, show the message alone.
        message = f"`{plain(place, 64)}`: {_in_words(shape, first)}" if place else str(first["msg"])
        raise ServiceError(message[:200], param=place[:64] or None, code="service.parameter") from None


def _in_words(shape: type[BaseModel], wrong: Any) -> str:
    """For whoever wrote the request: a pattern, or pydantic's own words for a typo, say little."""
    if wrong["type"] == "extra_forbidden":
        return "there is no such field here"
    if wrong["type"] == "missing":
        return "this field is missing"
    field = shape.model_fields.get(str(wrong["loc"][0]))
    if wrong["type"] == "string_pattern_mismatch" and field is not None and field.description:
        return f"not as it is written here: {field.description}"
    return str(wrong["msg"])


def body_of(shape: type[BaseModel], example: dict[str, Any], *, form: bool = False) -> dict[str, Any]:
    """The `requestBody` of OpenAPI."""
    schema = shape.model_json_schema()
    content: dict[str, Any] = {"application/json": {"schema": schema, "example": example}}
    if form:
        content["multipart/form-data"] = {"schema": schema}
    return {"requestBody": {"required": True, "content": content}}


def _check(prompt: str, request: dict[str, Any]) -> None:
    """Everything that a worker would refuse without looking at the prompt."""
    fields = {name: value for name, value in request.items() if not name.startswith("_")}
    size = fields.pop("size")
    fields["profiles"] = tuple(fields.pop("profiles", ()))
    try:
        GenerateRequest(prompt, **fields, size=None if size is None else (size[0], size[1]))
    except InputError as error:
        raise ServiceError(error.message, code=error.code, param=error.code.rpartition(".")[2]) from None

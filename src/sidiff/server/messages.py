"""Requests and responses, with their descriptions for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from sidiff.ranking.settings import Method
from sidiff.serving.lists import DESCRIBED, Item, UserList

MOST_USERS = 256
MOST_ITEMS = 10_000
MOST_PLACES = 1000
MOST_EXPLAINED = {"histories": 10, "k": 100}
"""Largest numbers of a request with explain: a third of a second of work."""

ItemId = Annotated[str, StringConstraints(max_length=512)]
Ids = Annotated[list[ItemId], Field(max_length=MOST_ITEMS)]
Places = Annotated[
    int,
    Field(ge=1, le=MOST_PLACES),
    # In JSON, 10.0 is a whole number.
    BeforeValidator(lambda k: int(k) if isinstance(k, float) and k.is_integer() else k),
]


class ListsRequest(BaseModel):
    """The users to recommend to, and options of their lists."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        json_schema_extra={
            "if": {"properties": {"explain": {"const": True}}, "required": ["explain"]},
            "then": {
                "properties": {
                    "histories": {"maxItems": MOST_EXPLAINED["histories"]},
                    "k": {"maximum": MOST_EXPLAINED["k"]},
                }
            },
        },
    )

    histories: list[Ids] = Field(
        min_length=1,
        max_length=MOST_USERS,
        examples=[[["B0SYN7TI2T", "B0SYN6QKJK"]]],
    )
    """The item ids of each user, oldest first."""
    k: Places = 10
    """Length of the lists."""
    exclude_seen: bool = True
    """Whether to leave out the items of the history."""
    allow: Ids | None = None
    """The only items that may be recommended; null for all."""
    deny: Ids | None = None
    """Items that may not be recommended."""
    decoder: Method | None = None
    """The method; null for the one of the evaluation."""
    explain: bool = Field(
        default=False,
        description="Whether to add each item's denoising; for at most "
        "{histories} histories and a k of {k}.".format(**MOST_EXPLAINED),
    )

    @model_validator(mode="after")
    def _explains_few(self) -> ListsRequest:
        users, places = MOST_EXPLAINED["histories"], MOST_EXPLAINED["k"]
        if self.explain and (len(self.histories) > users or self.k > places):
            raise ValueError(
                f"explain allows at most {users} histories and a k of {places}; send "
                "fewer at a time"
            )
        return self


class ListsResponse(BaseModel):
    """The lists of all users of a request, in their order."""

    model_config = DESCRIBED

    bundle: str
    """Fingerprint of the bundle that made the lists."""
    lists: list[UserList]
    """A list for each history."""


class SimilarItems(BaseModel):
    """Items similar to one item."""

    model_config = DESCRIBED

    bundle: str
    """Fingerprint of the bundle."""
    items: list[Item]
    """The items, most similar first."""


class Health(BaseModel):
    """The health of a server that can make lists."""

    model_config = DESCRIBED

    status: Literal["ok"]
    """Always ok."""
    bundle: str
    """Fingerprint of the bundle in use."""


class Version(BaseModel):
    """The version of server and bundle."""

    model_config = DESCRIBED

    sidiff: str
    """Release of the server."""
    bundle: str
    """Fingerprint of the bundle in use."""
    dataset: str | None
    """Data set of the bundle."""
    created: str | None
    """Time at which the bundle was made, UTC."""
    items: int
    """Number of items in the catalogue."""
    decoders: list[str]
    """Values of decoder in a request."""


class Problem(BaseModel):
    """A problem in one sentence."""

    model_config = DESCRIBED

    detail: str
    """The sentence."""

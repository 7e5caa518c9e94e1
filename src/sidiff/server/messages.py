"""The forms of requests and answers."""

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
from sidiff.serving.lists import Item, UserList

MOST_USERS = 256
MOST_ITEMS = 10_000
MOST_PLACES = 1000
MOST_EXPLAINED = {"histories": 10, "k": 100}
"""Users and places of a request that explains: a third of a second of work."""

ItemId = Annotated[str, StringConstraints(max_length=512)]
Ids = Annotated[list[ItemId], Field(max_length=MOST_ITEMS)]
Places = Annotated[
    int,
    Field(ge=1, le=MOST_PLACES),
    # To JSON, 10.0 is a whole number.
    BeforeValidator(lambda k: int(k) if isinstance(k, float) and k.is_integer() else k),
]


class Asked(BaseModel):
    """Whom to recommend to, and what."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
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
        description="for each user what they had, oldest first",
        examples=[[["B0SYN7TI2T", "B0SYN6QKJK"]]],
    )
    k: Places = Field(10, description="length of the lists")
    exclude_seen: bool = Field(
        default=True, description="leave out what is in the history"
    )
    allow: Ids | None = Field(
        None, description="the only items that may be recommended"
    )
    deny: Ids | None = Field(None, description="items that may not")
    decoder: Method | None = Field(None, description="null: the one that was evaluated")
    explain: bool = Field(
        default=False,
        description="say how the network denoises each item; for at most "
        "{histories} users and {k} places".format(**MOST_EXPLAINED),
    )

    @model_validator(mode="after")
    def _explains_few(self) -> Asked:
        users, places = MOST_EXPLAINED["histories"], MOST_EXPLAINED["k"]
        if self.explain and (len(self.histories) > users or self.k > places):
            raise ValueError(
                f"explain goes with at most {users} histories and a k of {places}; "
                "ask for fewer at a time"
            )
        return self


class Recommended(BaseModel):
    """The lists of all users of a request, in their order."""

    bundle: str
    lists: list[UserList]


class Similar(BaseModel):
    """Items like one item."""

    bundle: str
    items: list[Item]


class Health(BaseModel):
    """The health of a server: lists can be made."""

    status: Literal["ok"]
    bundle: str


class Version(BaseModel):
    """The version of server and bundle."""

    sidiff: str
    bundle: str
    dataset: str | None
    created: str | None
    items: int
    decoders: list[str]


class Problem(BaseModel):
    """A problem in one sentence."""

    detail: str

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
from sidiff.serving.lists import Item, Step, UserList

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

    histories: Annotated[
        list[Ids],
        Field(
            min_length=1,
            max_length=MOST_USERS,
            description="for each user what they had, oldest first",
            examples=[[["B0SYN7TI2T", "B0SYN6QKJK"]]],
        ),
    ]
    k: Annotated[Places, Field(description="length of the lists")] = 10
    exclude_seen: Annotated[
        bool, Field(description="leave out what is in the history")
    ] = True
    allow: Annotated[
        Ids | None, Field(description="the only items that may be recommended")
    ] = None
    deny: Annotated[Ids | None, Field(description="items that may not")] = None
    decoder: Annotated[
        Method | None,
        Field(description="null: the one that was evaluated"),
    ] = None
    explain: Annotated[
        bool,
        Field(
            description="say how the network denoises each item; for at most "
            "{histories} users and {k} places".format(**MOST_EXPLAINED)
        ),
    ] = False

    @model_validator(mode="after")
    def _explains_few(self) -> Asked:
        users, places = MOST_EXPLAINED["histories"], MOST_EXPLAINED["k"]
        if self.explain and (len(self.histories) > users or self.k > places):
            raise ValueError(
                f"explain goes with at most {users} histories and a k of {places}; "
                "ask for fewer at a time"
            )
        return self


class Place(BaseModel):
    """One item of a list."""

    item_id: str
    title: str | None
    semantic_id: str
    score: float
    chain: Annotated[
        float | None,
        Field(description="part of its probability that the Markov chain gave"),
    ] = None
    steps: Annotated[
        list[StepTaken] | None, Field(description="its denoising, step by step")
    ] = None


class Likely(BaseModel):
    """A code and its probability."""

    code: int
    probability: float


class StepTaken(BaseModel):
    """One digit filled."""

    digit: int
    code: int
    probability: float
    likeliest: list[Likely]


class Listed(BaseModel):
    """The list of one user."""

    items: list[Place]
    method: str
    filled_up: bool
    unknown: list[str]


class Recommended(BaseModel):
    """The lists of all users of a request, in their order."""

    bundle: str
    lists: list[Listed]


class Similar(BaseModel):
    """Items like one item."""

    bundle: str
    items: list[Place]


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


Place.model_rebuild()


def place_of(item: Item) -> dict[str, object]:
    """An item as ``Place`` has it; without what is not known of it."""
    place: dict[str, object] = {
        "item_id": item.item_id,
        "title": item.title,
        "semantic_id": item.semantic_id,
        "score": item.score,
    }
    if item.chain is not None:
        place["chain"] = item.chain
    if item.steps is not None:
        place["steps"] = [_step(step) for step in item.steps]
    return place


def listed(user_list: UserList) -> dict[str, object]:
    """A list as ``Listed`` has it."""
    return {
        "items": [place_of(item) for item in user_list.items],
        "method": user_list.method,
        "filled_up": user_list.filled_up,
        "unknown": list(user_list.unknown),
    }


def _step(step: Step) -> dict[str, object]:
    return {
        **step._asdict(),
        "likeliest": [
            {"code": code, "probability": probability}
            for code, probability in step.likeliest
        ],
    }

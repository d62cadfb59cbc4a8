"""Pydantic's findings as problems."""

from typing import Annotated, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field

from jobplatform.api.problems import Problem
from jobplatform.api.validation import pointer_to, validated


class Cat(BaseModel):
    sort: Literal["cat"]


class Dog(BaseModel):
    sort: Literal["dog"]


class Ask(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: UUID
    names: list[str] = []
    pet: Annotated[Cat | Dog, Field(discriminator="sort")] | None = None


def problem_of(data: object, pointer: str = "") -> Problem:
    with pytest.raises(Problem) as refused:
        validated(Ask, data, pointer=pointer)
    return refused.value


def test_what_fits_is_returned() -> None:
    assert validated(Ask, {"id": str(UUID(int=1))}).id == UUID(int=1)


def test_each_field_has_its_pointer_and_code() -> None:
    problem = problem_of({"id": "x", "names": ["a", 1], "more/or~less": True}, pointer="/jobs/3")

    assert (problem.status, problem.code) == (422, "validation_error")
    assert [(error["field"], error["code"]) for error in problem.errors] == [
        ("/jobs/3/id", "uuid_parsing"),
        ("/jobs/3/names/1", "string_type"),
        ("/jobs/3/more~1or~0less", "extra_forbidden"),
    ]
    assert problem.detail == "3 fields do not fit."


@pytest.mark.parametrize("data", [None, [], "text", 5, True])
def test_another_document_than_an_object_is_one_error_at_the_root(data: object) -> None:
    problem = problem_of(data)

    assert [error["field"] for error in problem.errors] == [""]


@pytest.mark.parametrize(
    "data",
    [
        {"id": "hunter2"},
        {"id": {"password": "hunter2"}},
        {"id": str(UUID(int=1)), "names": "hunter2"},
        {"id": str(UUID(int=1)), "pet": {"sort": "hunter2"}},
        {"id": str(UUID(int=1)), "pet": "hunter2"},
        "hunter2",
    ],
)
def test_what_was_sent_is_not_repeated(data: object) -> None:
    assert "hunter" not in str(problem_of(data).body())


def test_names_and_numbers_of_errors_are_bounded() -> None:
    problem = problem_of({"id": str(UUID(int=1)), **{f"{'k' * 5000}{n}": n for n in range(500)}})

    assert len(problem.errors) == 50
    assert problem.detail == "500 fields do not fit. The first 50 are listed."
    assert len(str(problem.body())) < 20_000


def test_a_pointer_escapes_slashes_and_tildes() -> None:
    assert pointer_to(["a/b", 0, "~"]) == "/a~1b/0/~0"
    assert pointer_to([]) == ""

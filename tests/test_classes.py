"""A class is found by index, name, word or part of a name, and never guessed between two."""

import re

import numpy as np
import pytest
import torch

from netlens.classes import ClassNames, imagenet
from netlens.errors import AmbiguousClass, ClassNotFound

BIRDS = ClassNames(
    ["crane", "house finch", "great grey owl", "crane", "Bald Eagle", "owlet", "bird house", "goldfinch"]
)


def test_is_the_sequence_it_was_made_of():
    names = ["a", "b", "c"]
    classes = ClassNames(iter(names))
    assert list(classes) == names and len(classes) == 3 and classes[1] == "b" and classes[-1] == "c"
    assert classes[1:] == ("b", "c") and "b" in classes and "B" not in classes
    assert classes == ClassNames(names) and hash(classes) == hash(ClassNames(names)) and classes != ClassNames("ab")
    assert repr(classes) == "ClassNames(3: 'a', 'b', 'c')"


@pytest.mark.parametrize("index", [0, 4, 7])
def test_an_index_is_itself_in_every_type(index):
    for same in (index, np.int64(index), torch.tensor(index), str(index), f" {index} "):
        number = BIRDS.index(same)
        assert number == index and type(number) is int


@pytest.mark.parametrize("index", [-1, 8, 10**30, "-1", "8", np.int64(-3), torch.tensor(9)])
def test_an_index_out_of_range_is_refused(index):
    with pytest.raises(ClassNotFound, match=r"-?\d+ is out of range; the 8 classes are 0 to 7\."):
        BIRDS.index(index)


@pytest.mark.parametrize("wrong", [True, None, 1.0, torch.zeros(2), ["owl"]])
def test_what_is_neither_name_nor_index_is_refused(wrong):
    with pytest.raises(ClassNotFound, match="give an index or a name"):
        BIRDS.index(wrong)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("great grey owl", 2),  # the whole name
        ("GREAT_grey  Owl", 2),
        ("bald eagle", 4),
        ("owl", 2),  # a whole word goes before the part of "owlet"
        ("finch", 1),
        ("house", AmbiguousClass),
        ("eagl", 4),  # a part
        ("owle", 5),
        ("crane", AmbiguousClass),  # twice the same name
    ],
)
def test_names_are_read_as_whole_then_words_then_parts(name, index):
    if index is AmbiguousClass:
        with pytest.raises(AmbiguousClass):
            BIRDS.index(name)
    else:
        assert BIRDS.index(name) == index


def test_the_candidates_are_listed_with_their_indices():
    with pytest.raises(AmbiguousClass, match=re.escape("'Crane' fits 2 classes: 0 'crane', 3 'crane'; give")):
        BIRDS.index("Crane")
    with pytest.raises(AmbiguousClass, match=r"fits 9 classes: 0 'dog 0', .*, 4 'dog 4' and 4 more;"):
        ClassNames(f"dog {n}" for n in range(9)).index("dog")


@pytest.mark.parametrize("name", ["", "  ", "_"])
def test_an_empty_name_is_no_part_of_every_name(name):
    with pytest.raises(ClassNotFound, match="empty"):
        BIRDS.index(name)


def test_a_missing_name_gets_the_closest():
    with pytest.raises(ClassNotFound, match=r"no class is named 'GOLDFINSH'\. Closest: 'goldfinch'"):
        BIRDS.index("GOLDFINSH")
    with pytest.raises(ClassNotFound, match=r"a\.c"):
        ClassNames(["abc"]).index("a.c")  # no pattern
    with pytest.raises(ClassNotFound):
        ClassNames([]).index("owl")


def test_a_name_that_is_a_number_goes_before_the_index():
    assert ClassNames(["2", "1", "0"]).index("0") == 2
    assert ClassNames(["2", "1", "0"]).index(0) == 0


def test_every_imagenet_name_finds_its_index_but_the_one_that_is_there_twice():
    names = imagenet()
    assert len(names) == 1000 and names is imagenet()
    lowered = [name.lower() for name in names]
    twice = {name for name in lowered if lowered.count(name) > 1}
    for index, name in enumerate(names):
        if name.lower() in twice:
            with pytest.raises(AmbiguousClass, match=f"{index} '{name}'"):
                names.index(name)
        else:
            assert names.index(name) == names.index(name.upper().replace(" ", "_")) == names.index(str(index)) == index
    assert names.index("Egyptian cat") == 285 and names.index("labrador") == 208 and twice == {"cardigan"}

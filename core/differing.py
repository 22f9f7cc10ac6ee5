"""Two weights as what they are made of: which corrections are in one only, and which weigh otherwise.

Weights are named by a log, by LOG@SEQ, or by a digest that the store knows (`cc adapter list`). A correction
is in them if an update that stands took it up: not one that was undone, rejected by the gate, or left out.
The same correction in two logs (one is a fork of the other) is one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from continualcode.core.curriculum import Attempt, Choice, Course, course, decide
from continualcode.core.data import Data
from continualcode.core.errors import CapabilityMissing, ReplayError, UsageError
from continualcode.core.events import CorrectionGiven, UpdateApplied
from continualcode.core.optional import Portable
from continualcode.core.plugins import Plugins
from continualcode.core.protocols import FeedbackType, Policy, Progress
from continualcode.core.replay import TrainerOf
from continualcode.core.retraining import Changes, retrained
from continualcode.core.store import Known, WeightStore, first_key, lineage


class Ingredient(Data, frozen=True):
    """A correction that weights were learned from. words: its first line."""

    log: str
    seq: int
    kind: str
    by: str
    words: str
    weight: float = 1.0


class Recipe(NamedTuple):
    """Weights by what they are made of. ingredients: by correction id. known: what the store says of them.

    courses: the logs, with the updates that these weights went through and no others.
    """

    name: str
    weights: str
    ingredients: dict[str, Ingredient]
    courses: tuple[Course, ...]
    known: Known | None = None


class Difference(Data, frozen=True):
    """What two recipes do not share; weighted: those in both that weigh otherwise, as in A and as in B."""

    both: int
    only_a: tuple[Ingredient, ...]
    only_b: tuple[Ingredient, ...]
    weighted: tuple[tuple[Ingredient, Ingredient], ...]


def difference(a: Recipe, b: Recipe) -> Difference:
    """Which corrections differ, each list in the order in which they were learned."""
    mine, yours = a.ingredients, b.ingredients
    shared = [id for id in mine if id in yours]
    return Difference(
        both=len(shared),
        only_a=tuple(one for id, one in mine.items() if id not in yours),
        only_b=tuple(one for id, one in yours.items() if id not in mine),
        weighted=tuple((mine[id], yours[id]) for id in shared if mine[id].weight != yours[id].weight),
    )


def recipe(
    text: str, plugins: Plugins, store: WeightStore, feedback: Mapping[str, FeedbackType] | None = None
) -> Recipe:
    """The weights that `text` names: LOG, LOG@SEQ, or the beginning of a digest in `store`."""
    name, _, seq = text.rpartition("@")
    if Path(text).is_file():
        return _of_log(text, course(Path(text), plugins, feedback=feedback))
    if name and seq.isdecimal() and Path(name).is_file():
        return _of_log(text, course(Path(name), plugins, until=int(seq), feedback=feedback))
    if name and Path(name).is_file():
        raise UsageError(f"{text}: SEQ is the number of an event, such as {name}@12, and not {seq!r}")
    try:
        known = store.named(text)
    except UsageError as error:
        raise UsageError(f"there is no file {text}; as a digest: {error}") from None
    return _of_store(text, known, plugins, store, feedback)


def make(
    recipe: Recipe, policy: Policy, trainer_of: TrainerOf, store: WeightStore, progress: Progress
) -> str:
    """Give `policy` these weights, from the store or by training; their digest."""
    known = recipe.known
    if known is not None and store.has(known):
        if not isinstance(policy, Portable):
            raise CapabilityMissing(f"the policy {policy.model.name!r} cannot load weights that were kept")
        *_, first = lineage(known, store)
        if first.parent != first_key(policy):
            raise ReplayError(
                f"{recipe.name} was made on another model or stack than {policy.model.name!r} is here"
            )
        policy.load(store.state(known))
        return policy.weights()
    if known is not None and known.changes:
        raise ReplayError(
            f"the state of {recipe.name} was let go of, and it is no log's own ({known.changes}): "
            "make it again with cc replay … --resume and the same options"
        )
    found = retrained(recipe.courses, trainer_of, policy, None, progress, store=store, resume=True)
    return found.weights


def _of_log(name: str, one: Course) -> Recipe:
    ingredients = {
        correction.id: _ingredient(attempt, correction)
        for attempt in one.attempts
        if isinstance(attempt.outcome, UpdateApplied)
        for correction in attempt.own
    }
    return Recipe(name, one.transcript.weights, ingredients, (one,))


def _of_store(
    name: str,
    known: Known,
    plugins: Plugins,
    store: WeightStore,
    feedback: Mapping[str, FeedbackType] | None,
) -> Recipe:
    line = list(lineage(known, store))[::-1]
    if line[0].depth != 1:
        raise ReplayError(
            f"{name}: the store does not know its updates before number {line[0].depth}: "
            "what it was learned from cannot be said"
        )
    courses: dict[str, Course] = {}
    for one in line:
        if one.path not in courses:
            if not Path(one.path).is_file():
                raise ReplayError(f"{name} was learned from {one.path}, which is not there any more")
            courses[one.path] = course(Path(one.path), plugins, feedback=feedback)
    choice = msgspec.json.decode(known.changes, type=Changes).choice if known.changes else Choice()
    verdicts = decide([attempt for one in courses.values() for attempt in one.attempts], choice)
    ingredients: dict[str, Ingredient] = {}
    went: set[str] = set()
    for one in line:
        attempt = next((a for a in courses[one.path].attempts if a.started.id == one.update), None)
        if attempt is None:
            raise ReplayError(
                f"{name}: update {one.update} (event {one.seq} of {one.path}) does not stand any more"
            )
        went.add(one.update)
        for correction in attempt.own:
            verdict = verdicts[correction.id]
            if one.rejected is None and verdict.taken:
                ingredients[correction.id] = _ingredient(attempt, correction, verdict.weight)
    kept = (
        one._replace(attempts=tuple(a for a in one.attempts if a.started.id in went))
        for one in courses.values()
    )
    return Recipe(name, known.weights, ingredients, tuple(kept), known)


def _ingredient(attempt: Attempt, correction: CorrectionGiven, weight: float = 1.0) -> Ingredient:
    return Ingredient(
        log=attempt.log,
        seq=correction.seq,
        kind=correction.kind,
        by=correction.by,
        words=(correction.feedback.splitlines() or [""])[0],
        weight=weight,
    )

"""`cc diff A B`: what two weights were learned from, how far each went, what they do otherwise."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from continualcode.cli.adapter import store_folder
from continualcode.cli.evaluate import measuring_session
from continualcode.cli.output import progress_on_stderr
from continualcode.cli.results import Comparison, as_text, result
from continualcode.cli.run import configuration, session_options
from continualcode.cli.timeline import counted
from continualcode.core.config import Config
from continualcode.core.differing import Difference, Ingredient, Recipe, difference, make, recipe
from continualcode.core.evaluation.cases import Cases, load_cases
from continualcode.core.evaluation.measure import Figures, Ruler, Settings
from continualcode.core.optional import Portable
from continualcode.core.plugins import Plugins
from continualcode.core.replay import trainers_of
from continualcode.core.store import WeightStore


class Measured(NamedTuple):
    """One side with its weights made: norms by layer, if the policy says any; figures, if there are cases."""

    norms: dict[str, float]
    figures: Figures | None


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--norms", is_flag=True, help="How far each is from the base, by layer; makes the weights.")
@click.option(
    "--cases",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What each does on this case set; makes the weights.",
)
@click.option(
    "-n", "--draws", type=click.IntRange(1), default=4, show_default=True, help="Calls drawn a case."
)
@click.option("--json", "as_json", is_flag=True, help="Print one object: only_a, only_b, weighted, norms, …")
@session_options
def diff(
    a: str,
    b: str,
    norms: bool,
    file: Path | None,
    draws: int,
    as_json: bool,
    model: str | None,
    modules: tuple[str, ...],
    disable: tuple[str, ...],
    sets: tuple[str, ...],
) -> None:
    """Compare two weights: the corrections that they were learned from, norms, and cases.

    A and B: a log, LOG@SEQ, or a digest that `cc adapter list` shows, or its beginning. Without --norms and
    --cases no model is loaded.
    """
    cases = load_cases(file) if file is not None else None
    config = configuration(Path(), model=model, modules=modules, disable=disable, sets=sets)
    plugins, store = Plugins(config.plugins), WeightStore(store_folder())
    sides = recipe(a, plugins, store, plugins.feedback()), recipe(b, plugins, store, plugins.feedback())
    found = difference(*sides)
    measured: list[Measured] = []
    if norms or cases is not None:
        recorded = sides[0].courses[0].started.config["model"] if model is None else None
        config = configuration(
            Path(), model=model, modules=modules, disable=disable, sets=sets, recorded=recorded
        )
        measured = _measured(sides, config, store, cases, draws)
    labels = sides[0].name, sides[1].name
    compared: Comparison | None = None
    if cases is not None and (before := measured[0].figures) is not None:
        compared = Comparison(cases=cases, labels=labels, before=before, after=measured[1].figures)
    table = (
        {name: (size, measured[1].norms.get(name, 0.0)) for name, size in measured[0].norms.items()}
        if norms
        else None
    )
    if as_json:
        weights = {
            side: {"name": one.name, "weights": one.weights} for side, one in zip("ab", sides, strict=True)
        }
        click.echo(
            msgspec.json.encode(
                {
                    **weights,
                    **msgspec.to_builtins(found),
                    "norms": table,
                    "cases": result(compared) if compared is not None else None,
                }
            )
        )
        return
    click.echo("\n".join(_in_words(sides, found)))
    if table is not None:
        click.echo("\n".join(_norms(table)))
    if compared is not None:
        click.echo("\n" + as_text(compared))


def _measured(
    sides: Iterable[Recipe], config: Config, store: WeightStore, cases: Cases | None, draws: int
) -> list[Measured]:
    progress = progress_on_stderr()
    found: list[Measured] = []
    with measuring_session(config, progress, keep=None) as session:
        policy = session.policy
        for side in sides:
            make(side, policy, trainers_of(session.plugins), store, progress)
            sizes = policy.norms() if isinstance(policy, Portable) else {}
            ruler = Ruler(session, Settings(draws=draws))
            figures = ruler.measure(cases, progress=progress) if cases is not None else None
            found.append(Measured(sizes, figures))
    return found


def _in_words(sides: tuple[Recipe, Recipe], found: Difference) -> Iterator[str]:
    for letter, side in zip("AB", sides, strict=True):
        learned = counted(len(side.ingredients), "correction")
        yield f"{letter}  {side.name}  {side.weights[:12]}  {learned}"
    if sides[0].weights == sides[1].weights:
        yield "the same weights"
    yield f"{counted(found.both, 'correction')} in both"
    for letter, only in (("A", found.only_a), ("B", found.only_b)):
        if only:
            yield f"only in {letter}:"
            yield from (f"  {_line(one)}" for one in only)
    if found.weighted:
        yield "weighted otherwise:"
        yield from (f"  ×{one.weight:g} → ×{other.weight:g}  {_line(one)}" for one, other in found.weighted)


def _line(one: Ingredient) -> str:
    words = one.words if len(one.words) < 60 else one.words[:57] + "…"
    return f"{one.log}@{one.seq} {one.kind}, {one.by}: {words}"


def _norms(table: dict[str, tuple[float, float]]) -> Iterator[str]:
    if not table:
        yield "no layers: the model says no norms"
        return
    width = max(len(name) for name in table) + 2
    yield f"{'norm of the update':{width}}{'A':>10}{'B':>10}"
    yield from (f"{name:{width}}{one:10.4g}{other:10.4g}" for name, (one, other) in table.items())

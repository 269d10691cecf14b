"""A small training run that a tester may kill wherever it likes, and start again.

    python tests/chaos/training.py OUT --how save|attempt|prune|in-place [--steps N]

A line is fitted to noisy points by gradient descent with momentum, in plain Python, so that a start
costs next to nothing. All that the next step depends on is in the checkpoint, the generator's state
too: a run that was killed and resumed ends with the same numbers as one that was not.

    save      `Store.save` of three parts
    attempt   foreign code writes files into `Store.attempt`, with plain `open`
    prune     as `save`, and only the newest two groups are kept
    in-place  one JSON file, written over the last one: the habit that the others replace
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lastgood import LatestN, Store

EVERY = 4
"""Steps from one checkpoint to the next."""
State = dict[str, Any]


class Keeper(Protocol):
    """Where checkpoints go."""

    def save(self, step: int, parts: Mapping[str, bytes]) -> object:
        """Keep one; returning means that it is kept."""

    def newest(self) -> Mapping[str, bytes | memoryview] | None:
        """The newest one that is intact, if there is any."""


class Saves:
    """Checkpoints as groups of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def save(self, step: int, parts: Mapping[str, bytes]) -> object:
        """See `Keeper.save`."""
        return self.store.save(step, parts)

    def newest(self) -> Mapping[str, bytes | memoryview] | None:
        """See `Keeper.newest`."""
        return self.store.load_latest()


class Attempts(Saves):
    """Files that are written by somebody else, and sealed into a group."""

    def save(self, step: int, parts: Mapping[str, bytes]) -> object:
        """See `Keeper.save`."""
        with self.store.attempt(step) as attempt:
            for name, data in parts.items():
                with open(attempt.path / name, "wb") as file:
                    file.write(data)
        return attempt


class InPlace:
    """One file that is written over. Not a checkpoint that survives anything."""

    def __init__(self, out: Path) -> None:
        self.path = out / "ckpt-1.json"

    def save(self, step: int, parts: Mapping[str, bytes]) -> object:
        """See `Keeper.save`."""
        with open(self.path, "w") as file:
            json.dump({name: data.decode() for name, data in parts.items()}, file)
        return step

    def newest(self) -> Mapping[str, bytes | memoryview] | None:
        """See `Keeper.newest`."""
        if not self.path.exists():
            return None
        with open(self.path) as file:
            return {name: text.encode() for name, text in json.load(file).items()}


def fresh() -> State:
    """The state before the first step."""
    dice = random.Random(7)  # noqa: S311  # a run that is repeated must draw the same points
    return {"step": 0, "weights": [0.0, 0.0], "speed": [0.0, 0.0], "dice": dice}


def next_step(state: State) -> None:
    """One step of gradient descent on a freshly drawn point."""
    dice: random.Random = state["dice"]
    x = dice.uniform(-1, 1)
    slope, offset = state["weights"]
    error = slope * x + offset - (3 * x + 1 + dice.gauss(0, 0.1))
    for n, gradient in enumerate((error * x, error)):
        state["speed"][n] = 0.9 * state["speed"][n] - 0.05 * gradient
        state["weights"][n] += state["speed"][n]
    state["step"] += 1


def parts_of(state: State) -> dict[str, bytes]:
    """A checkpoint; the same state gives the same bytes."""
    progress = {"step": state["step"], "dice": state["dice"].getstate()}
    texts = {"model": state["weights"], "optimizer": state["speed"], "progress": progress}
    return {f"{name}.json": json.dumps(value).encode() for name, value in texts.items()}


def state_from(parts: Mapping[str, bytes | memoryview]) -> State:
    """The state that `parts_of` has kept."""
    read = {name: json.loads(bytes(parts[f"{name}.json"])) for name in ("model", "optimizer")}
    progress = json.loads(bytes(parts["progress.json"]))
    version, inner, gauss = progress["dice"]
    dice = random.Random()  # noqa: S311  # it goes on with the state that was kept
    dice.setstate((version, tuple(inner), gauss))
    return {
        "step": progress["step"],
        "weights": read["model"],
        "speed": read["optimizer"],
        "dice": dice,
    }


def train(keeper: Keeper, steps: int) -> State:
    """Go on after the newest checkpoint until `steps` are done."""
    found = keeper.newest()
    state = fresh() if found is None else state_from(found)
    print(f"resumed from step {state['step']}", flush=True)
    while state["step"] < steps:
        next_step(state)
        if state["step"] % EVERY == 0:
            keeper.save(state["step"], parts_of(state))
    return state


def main() -> None:
    """Train in OUT, and write the weights to OUT/final.json at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--how", choices=["save", "attempt", "prune", "in-place"], required=True)
    parser.add_argument("--steps", type=int, default=3 * EVERY)
    asked = parser.parse_args()
    # A preempted job that saves nothing more and leaves at once, through every `with`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.how == "in-place":
        state = train(InPlace(asked.out), asked.steps)
    else:
        keep = LatestN(2) if asked.how == "prune" else None
        with Store(asked.out / "store", keep=keep) as store:
            state = train((Attempts if asked.how == "attempt" else Saves)(store), asked.steps)
    with open(asked.out / "final.json", "w") as file:
        json.dump(state["weights"], file)


if __name__ == "__main__":
    main()

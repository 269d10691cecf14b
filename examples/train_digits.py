"""A training run that survives being killed: a small network on real digits.

    python examples/train_digits.py DIR [--epochs N]

The network (64-64-10, tanh and softmax, Adam, all in NumPy) learns scikit-learn's bundled
handwritten digits.  Each epoch ends with one `Store.save` of three parts:

    model.safetensors       the weights; the header carries the accuracy that they reach
    optimizer.safetensors   both Adam moments and the number of steps taken
    rng.json                the state of the generator that shuffles the samples

Started again on the same DIR, it goes on after the newest group that is intact.  All that the
next epoch depends on is in the group, so a run that was killed ends with the same weights, bit
for bit, as one that was not (on one machine with one set of libraries: another BLAS may add
floats in another order).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from attrs import frozen
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

Floats = npt.NDArray[np.float32]
Tensors = dict[str, Floats]

SEED = 20
HIDDEN = 64
CLASSES = 10
BATCH = 64
TEST_SAMPLES = 360
LEARNING_RATE = 0.003
DECAY_1, DECAY_2, EPSILON = 0.9, 0.999, 1e-8

MODEL, OPTIMIZER, RNG = "model.safetensors", "optimizer.safetensors", "rng.json"


class Loaded(Protocol):
    """What a store gives back: verified content by the name of its part."""

    def read(self, part: str, /) -> bytes:
        """The bytes of one part."""
        ...


class Saver(Protocol):
    """What training asks of a store: `lastgood.Store` has this shape."""

    def save(self, step: int, parts: Mapping[str, bytes], metadata: Any = ...) -> object:
        """Keeps one group; returning means that it is kept."""
        ...


@frozen
class Digits:
    """Images as rows of 64 values from 0 to 1, and the digit that each one shows."""

    train_x: Floats
    train_y: npt.NDArray[np.int64]
    test_x: Floats
    test_y: npt.NDArray[np.int64]


@frozen(eq=False)
class Run:
    """All that the next epoch depends on; a value, never changed in place."""

    epoch: int
    step: int
    weights: Tensors
    first_moments: Tensors
    second_moments: Tensors
    rng_state: Mapping[str, Any]


@frozen
class SavedGroup:
    """One group as it was given to the store, and the accuracy that its weights reach."""

    step: int
    parts: Mapping[str, bytes]
    accuracy: float


@lru_cache(maxsize=1)
def digits() -> Digits:
    """The bundled data set, in its own order, with the last samples kept for the test."""
    # Imported late: scikit-learn is the slowest import here and only this function needs it.
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    x, y = load_digits(return_X_y=True)
    scaled = (x / 16.0).astype(np.float32)
    cut = len(y) - TEST_SAMPLES
    return Digits(scaled[:cut], y[:cut].astype(np.int64), scaled[cut:], y[cut:].astype(np.int64))


def fresh(seed: int = SEED) -> Run:
    """The state before the first epoch."""
    rng = np.random.default_rng(seed)
    weights: Tensors = {
        "hidden.weight": _scaled(rng, (64, HIDDEN)),
        "hidden.bias": np.zeros(HIDDEN, np.float32),
        "output.weight": _scaled(rng, (HIDDEN, CLASSES)),
        "output.bias": np.zeros(CLASSES, np.float32),
    }
    zeros = {name: np.zeros_like(value) for name, value in weights.items()}
    return Run(0, 0, weights, zeros, zeros, rng.bit_generator.state)


def _scaled(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Random weights whose size suits the number of inputs."""
    drawn: Floats = rng.standard_normal(shape, np.float32)
    return drawn / np.float32(np.sqrt(shape[0]))


def accuracy(weights: Tensors, data: Digits) -> float:
    """The share of the test images that the network names rightly, from 0 to 1."""
    _, scores = _forward(weights, data.test_x)
    return float(np.mean(scores.argmax(axis=1) == data.test_y))


def _forward(weights: Tensors, x: Floats) -> tuple[Floats, Floats]:
    hidden = np.tanh(x @ weights["hidden.weight"] + weights["hidden.bias"])
    return hidden, hidden @ weights["output.weight"] + weights["output.bias"]


def _gradients(weights: Tensors, x: Floats, y: npt.NDArray[np.int64]) -> Tensors:
    """Of the mean cross entropy over one batch."""
    hidden, scores = _forward(weights, x)
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    error = shifted / shifted.sum(axis=1, keepdims=True)
    error[np.arange(len(y)), y] -= 1.0
    error /= np.float32(len(y))
    behind = (error @ weights["output.weight"].T) * (1.0 - hidden * hidden)
    return {
        "hidden.weight": x.T @ behind,
        "hidden.bias": behind.sum(axis=0),
        "output.weight": hidden.T @ error,
        "output.bias": error.sum(axis=0),
    }


def next_epoch(run: Run, data: Digits) -> Run:
    """The state after one more pass over the training images in a newly drawn order."""
    rng = np.random.default_rng()
    rng.bit_generator.state = dict(run.rng_state)
    order = rng.permutation(len(data.train_y))
    weights, first, second = dict(run.weights), dict(run.first_moments), dict(run.second_moments)
    step = run.step
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        step += 1
        slopes = _gradients(weights, data.train_x[batch], data.train_y[batch])
        for name, slope in slopes.items():
            first[name] = _mixed(first[name], slope, DECAY_1)
            second[name] = _mixed(second[name], slope * slope, DECAY_2)
            mean = first[name] / np.float32(1 - DECAY_1**step)
            spread = np.sqrt(second[name] / np.float32(1 - DECAY_2**step))
            move = mean / (spread + np.float32(EPSILON))
            weights[name] = weights[name] - np.float32(LEARNING_RATE) * move
    return Run(run.epoch + 1, step, weights, first, second, rng.bit_generator.state)


def _mixed(old: Floats, new: Floats, share: float) -> Floats:
    return np.float32(share) * old + np.float32(1 - share) * new


def parts_of(run: Run, data: Digits) -> dict[str, bytes]:
    """The three parts of a group; the same run gives the same bytes."""
    moments = {f"first.{name}": value for name, value in run.first_moments.items()}
    moments |= {f"second.{name}": value for name, value in run.second_moments.items()}
    # One key only: safetensors writes the keys of its header's metadata in no fixed order.
    about = {"accuracy": repr(accuracy(run.weights, data))}
    progress = {"epoch": run.epoch, "step": run.step, "generator": run.rng_state}
    return {
        MODEL: save_tensors(run.weights, metadata=about),
        OPTIMIZER: save_tensors(moments),
        RNG: json.dumps(progress, sort_keys=True).encode(),
    }


def run_from(loaded: Loaded) -> Run:
    """The run that `parts_of` put into a group. The store has verified every byte of it."""
    progress = json.loads(loaded.read(RNG))
    moments = _tensors(loaded.read(OPTIMIZER))
    return Run(
        progress["epoch"],
        progress["step"],
        _tensors(loaded.read(MODEL)),
        {n.removeprefix("first."): v for n, v in moments.items() if n.startswith("first.")},
        {n.removeprefix("second."): v for n, v in moments.items() if n.startswith("second.")},
        progress["generator"],
    )


def _tensors(content: bytes) -> Tensors:
    """Copies, because the tensors that safetensors gives look into `content`."""
    return {name: np.array(value, np.float32) for name, value in load_tensors(content).items()}


def recorded_accuracy(model_part: bytes) -> float:
    """The accuracy that was written beside the weights when they were saved."""
    length = int.from_bytes(model_part[:8], "little")
    header = json.loads(model_part[8 : 8 + length])
    return float(header["__metadata__"]["accuracy"])


def train(store: Saver, epochs: int, start: Run | None = None) -> Run:
    """Goes on from `start` until `epochs` are done, and saves a group after each of them."""
    data = digits()
    run = fresh() if start is None else start
    while run.epoch < epochs:
        run = next_epoch(run, data)
        parts = parts_of(run, data)
        about = {"epoch": run.epoch, "accuracy": recorded_accuracy(parts[MODEL])}
        store.save(run.step, parts, metadata=about)
    return run


def saved_groups(epochs: int, seed: int = SEED) -> list[SavedGroup]:
    """What `train` would save, without a store."""
    data, run, groups = digits(), fresh(seed), []
    for _ in range(epochs):
        run = next_epoch(run, data)
        parts = parts_of(run, data)
        groups.append(SavedGroup(run.step, parts, recorded_accuracy(parts[MODEL])))
    return groups


def main(arguments: list[str] | None = None) -> int:
    """Trains in DIR, after what an earlier run left there."""
    from lastgood import Store

    parser = argparse.ArgumentParser(description="Train on digits; kill it, start it again.")
    parser.add_argument("dir", type=Path, metavar="DIR", help="the store; made if missing")
    parser.add_argument("--epochs", type=int, default=8)
    asked = parser.parse_args(arguments)
    with Store(asked.dir) as store:
        loaded = store.load_latest()
        start = None if loaded is None else run_from(loaded)
        if loaded is not None and start is not None:
            for rejected in loaded.rejected:
                print(f"not used: {rejected.name}: {rejected.reason}")
            print(f"resumed after epoch {start.epoch}, step {start.step}")
        run = train(store, asked.epochs, start)
        print(f"epoch {run.epoch}: {accuracy(run.weights, digits()):.1%} of the test images")
    return 0


if __name__ == "__main__":
    sys.exit(main())

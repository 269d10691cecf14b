"""Strategies: the same ops by other spellings of their paths, and links that say odd things.

What a spelling changes is what the kernel looks at: slashes behind the last name, several slashes
for one, "." and ".." on the way and in the end.  Some spellings mean the same file, others none.
"""

from __future__ import annotations

from typing import Final

from attrs import evolve
from hypothesis import strategies as st

from powercut.filesystem import ops

ENDS: Final = ("", "/", "//", "/.", "/./", "/..", "/../")
"""What may stand behind a path."""

STARTS: Final = ("/", "/.", "/..", "/d/..", "/d/e/..", "/a/..", "/b/..")
"""What may stand before a path: each means the root, if it means anything."""

ODD_TARGETS: Final = ("/", ".", "..", "a/", "b/", "d/", "d//e/", "d/.", "e/..", "../a", "/d/", "/b")
"""What links say beside the usual: absolute paths, upwards, and with slashes in the end."""

_some_starts: Final = st.one_of(st.just(""), st.just(""), st.sampled_from(STARTS))
_some_ends: Final = st.one_of(st.just(""), st.just("/"), st.sampled_from(ENDS))
_separators: Final = st.sampled_from(("/", "/", "//", "/./"))


def path_fields(op: ops.Op) -> list[str]:
    """The arguments of an op that are paths, and not handles."""
    paths = {name: getattr(op, name, "@") for name in ("path", "src", "dst")}
    return [name for name, path in paths.items() if not path.startswith("@")]


@st.composite
def respelt(draw: st.DrawFn, some: st.SearchStrategy[ops.Op]) -> ops.Op:
    """One of those ops; its paths may be spelt in another way, and a link may say another thing."""
    op = draw(some)
    changed = {
        name: draw(_some_starts)
        + getattr(op, name).replace("/", draw(_separators))
        + draw(_some_ends)
        for name in path_fields(op)
    }
    if isinstance(op, ops.Symlink) and op.target:
        changed["target"] = draw(st.one_of(st.just(op.target), st.sampled_from(ODD_TARGETS)))
    return evolve(op, **changed)

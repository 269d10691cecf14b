"""THE MODEL: the rules that make a crash state legal or illegal.

Read it with a man page beside it and agree or object, rule by rule.  It is longer than other files
may be, so that there is one to read.

**Events.**  An op of a program does not reach the disk as a whole.  It issues *persistence events*,
the smallest changes that can reach the medium apart from each other.  There are three: the data of
a byte range (`Extent`), a new size (`Size`), a name that is given or taken (`Entry`).  A rename
issues two: the new name appears, the old name vanishes (or means the other file, in an exchange).
Data and growing sizes may also land in part, so rules speak of *pieces*: `piece.event` is the
event, or the part of it.  Into how many pieces an event may tear is part of the question that is
asked.  Where a log may bring one half of a rename, a name that goes from one inode to another is
two pieces as well: its old meaning is taken (`event.is_half`), its new one is given.

**Crash states.**  A crash leaves a set of events that *landed*.  All others are lost.  Each such
set, applied in program order to what no crash takes back (what is *durable*), is a crash state: a
tree that recovery may find.  Lost data may read there as zeros or as *stale* bytes, which somebody
else's file held before.  With no rule at all, any set may land, whatever was synced.

An event lands by the ordinary *commit* (a journal or a transaction), or by a *log* that syncs
write.

**Rules.**  There are five kinds.  Each takes crash states away, but for the permissions below:

order     `rule(earlier, later)`: if the later one landed by commit, the earlier one did too.
atomic    `rule(one, other)`: both land or neither does.
scope     `rule(sync, piece)`: once the sync has returned, the event has landed.
exposure  `rule(piece)`: where this data was lost, its range does not read as stale bytes.
ceiling   `rule(piece)`: the event never lands, whatever was synced, nor does what needs it.

A scope rule is asked of the syncs that `on` names, about events issued before the sync.  Its
`promise` may be another one.  "ordered": nothing issued after the sync lands by commit before the
event.  "unordered" and "withdrawn" are permissions: a log may bring the event out of order, or may
hold it no longer.  Ops of threads that run at the same time are not ordered: no promise covers the
one for the other, a permission does.

**Profiles.**  A file system is a list of rules by id, each with its source, its evidence and the
crash classes it holds for: *kernel*, where the drive keeps its power, and *power*
(profiles/*.toml). A rule in doubt is not used; a quiet one is used for published cases alone.  No
rule knows a file system by name, except in prose. A process that is killed loses nothing that the
kernel has: no rule is asked then.

**Example.**  The disk holds /ckpt with the bytes "old".  A program replaces it:

    create /new            issues  c.entry           /new appears
    write /new "new"       issues  w.data, w.size    three bytes, and the size 3
    fsync /new             issues  nothing; scope rules speak of it
    rename /new to /ckpt   issues  r.add, r.remove   /ckpt is the new file; /new vanishes

Then the power fails.  How many different trees may recovery find, when no event is torn?

* With no rule: 13.  /ckpt may be empty, or three bytes of something else, because r.add may land
  without w.data or w.size, although the program called fsync.
* `fsync-data` says that the synced file's data and size have landed: 4 are left.  /ckpt is "old" or
  "new", and /new is there or not, each combination.
* `rename-atomic` takes away the tree in which the new file has both names: 3 are left.
* If the program now calls fsync on the directory, `fsync-directory` says that its names have
  landed: 1 is left, the one that the program saw.

So the rename is not durable before the directory is synced; and the fsync of the file alone makes
it safe to rename.  Each step is a rule below that a reader can reject, and its source to check.

**Carriers.**  A profile says by which carrier a scope rule lands, commit or log.  Order rules bind
the commit only.  Atomic rules bind both, unless the profile limits one to the commit.  A log or a
commit becomes valid by one write: a crash inside a sync leaves what one before it leaves, or what
one after it does.

**Words.**  A piece is *fresh* where no older data of its file is in its blocks (for a size, in the
block in which it ends).  A *ranged* sync (O_SYNC, O_DSYNC, msync) names bytes.  A sync that
*failed* has *abandoned* the data of its file: no rule orders them, no later sync saves them; they
may have landed before.  A piece was *sent* by the first fsync of its file, which hands its data and
size to the drive, or by the first sync that makes it survive a crash of the kernel.

**What else decides, and where.**  These parts are arithmetic or history, too long for here:

* filesystem/lower.py, content.py: which events an op issues; that holes read as zeros; what a cut
  leaves behind it, unseen, until zeros are written there.
* crash/torn_writes.py: where an event may be torn, and which pieces are fresh.
* filesystem/inode_history.py: facts about a synced inode (`sync.about`), one sentence each.
* filesystem/tree_log.py: which names a btrfs log may hold at most (`sync.may_log`).
* filesystem/syncs.py, state.py: which ops count as a sync, and which ran at the same time.
* crash/constraints.py: how rules combine: commit and log, abandoned data, what was sent, and
  permissions (the last sync says what a log may bring, each sync what it may have dropped; what a
  log brings keeps what the log holds together with it).
* crash/space.py, lazy_search.py: from a set that landed to a tree: all trees, or one question.
* membership/: the inverse question, from a tree to a set, by the same constraints.
* profile.py: blocks and sectors.  published/conformance.py: how a published case is asked.
* simulation/world.py: the death of a process, which keeps every event.

**How to read a rule.**  The first sentence is its claim.  `Source:` labels are explained in
docs/sources.md.  `Litmus:` names tests in traces/litmus: for each profile that has the rule, the
answer of one of them changes without it.  Run one: `powercut litmus traces/litmus/NAME.toml`.
`Errs:` says in which direction a rule departs from the file systems it is used for, where that is
known.  A permission that allows too much says by `Measure:` what would settle a verdict that hangs
on it.

What runs is a second, fast form of the order, atomic and scope rules, in crash/fast_order_rules.py
and fast_scope_rules.py; some conditions are shared.  Tests compare the two forms on every trace
and litmus test, on random programs of up to 16 ops, and on programs that tell half a rule from the
whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from powercut.filesystem.events import Entry, Event, Extent, Piece, Size
from powercut.filesystem.syncs import SyncCall
from powercut.rule import RULES, rule

__all__ = ["DATA_SYNCS", "FILE_SYNCS", "INODE_SYNCS", "RANGED_SYNCS", "RULES"]

# The kinds of sync, by what they name: a file or a directory, bytes of a file, either of the two;
# and those that skip what is not needed to read the data.
FILE_SYNCS: Final = ("fsync", "fdatasync", "barrier", "fullsync")
RANGED_SYNCS: Final = ("o_sync", "o_dsync", "msync")
INODE_SYNCS: Final = (*FILE_SYNCS, *RANGED_SYNCS)
DATA_SYNCS: Final = ("fdatasync", "o_dsync", "msync")


def _journalled(piece: Piece) -> bool:
    """A journal of metadata has the change: of a name, or a truncation."""
    event = piece.event
    return isinstance(event, Entry) or (isinstance(event, Size) and event.truncates)


# --- order ------------------------------------------------------------------------------------


@rule("truncation-in-order", "order")
def truncation_in_order(earlier: Piece, later: Piece) -> bool:
    """A file that was cut short never shows a later size without having been cut.

    Otherwise a file cut to nothing and written again could show its new size over its old bytes.
    The cut itself waits for no growth before it: below the size on the medium nothing is written.
    Source: posix.ftruncate, inode.one-size, xfs.cut-alone
    Litmus: truncate-then-write, truncate-then-extend, cut-without-growth
    Errs: allows too much: data written into the freed blocks may land without the cut; and a cut
    may land above the size on the medium.
    """
    one, other = earlier.event, later.event
    if not (isinstance(one, Size) and isinstance(other, Size) and one.inode == other.inode):
        return False
    return one.truncates


@rule("zeros-before-cut", "order")
def zeros_before_cut(earlier: Piece, later: Piece) -> bool:
    """A file is cut only when the rest of the page in which it then ends is zeros on the medium.

    Otherwise a size that grows later shows the old bytes again, behind the cut.  It speaks of a
    block that is on the medium: one that has yet to be allocated is not waited for.
    Source: ext4.data=ordered, ext4.block-truncate
    Litmus: cut-inside-page-then-grow
    Errs: allows too much: what only a sync has put on the medium counts as yet to be allocated, and
        so does a block of zeros, which may be a hole.
    """
    zeros, cut = earlier.event, later.event
    if not (isinstance(zeros, Extent) and isinstance(cut, Size) and zeros.op == cut.op):
        return False
    return zeros.zeroes and cut.truncates and earlier.held


@rule("new-blocks-before-size", "order")
def new_blocks_before_size(earlier: Piece, later: Piece) -> bool:
    """Data in newly allocated blocks is there before the size that lets a reader see it.

    It says nothing of a block that held older data of the file: an append inside that block can
    leave the new size with zeros behind the old end.
    Source: ext4.data=ordered, ext4.disksize-at-submission, ferrite.prefix-append
    Litmus: append-to-new-file, append-twice
    Errs: allows too much: blocks that a truncation freed count as allocated.
    """
    data, size = earlier.event, later.event
    if not (isinstance(data, Extent) and isinstance(size, Size) and data.inode == size.inode):
        return False
    return earlier.fresh and not size.truncates and data.span[1] <= size.new


@rule("data-before-its-size", "order")
def data_before_its_size(earlier: Piece, later: Piece) -> bool:
    """A size lands only when the data that it newly exposes has: the write's own, at its place.

    A later part of the file may be there, and its size, while an earlier part reads as zeros, or as
    what a cut has left in its page.
    Source: xfs.size-at-completion
    Litmus: append-inside-block, append-in-two-parts
    Errs: allows too much: data submitted together land together more often than not; and too
    little of one I/O over several extents, whose size is logged with the first of them.
    """
    data, size = earlier.event, later.event
    if not (isinstance(data, Extent) and isinstance(size, Size) and data.inode == size.inode):
        return False
    exposes = not size.truncates and data.span[0] < size.new and size.old < data.span[1]
    return exposes and not data.zeroes


@rule("same-sector-in-order", "order")
def same_sector_in_order(earlier: Piece, later: Piece) -> bool:
    """Two writes to one sector land in program order: the page that holds the later has both.

    A sector is what the drive writes whole.  Nothing is said of writes to two sectors, nor of two
    parts of one write.
    Source: linux.page-cache, drive.sector, ferrite.same-block
    Litmus: two-writes-one-sector, kernel-two-writes-one-sector, short-write-over-long,
    long-write-beside-short
    Errs: allows too little where a buffered and a direct write race for one sector.
    """
    one, other = earlier.event, later.event
    if not (isinstance(one, Extent) and isinstance(other, Extent) and one.inode == other.inode):
        return False
    meets = earlier.sectors[0] <= later.sectors[1] and later.sectors[0] <= earlier.sectors[1]
    return earlier.index != later.index and meets


@rule("directory-in-order", "order")
def directory_in_order(earlier: Piece, later: Piece) -> bool:
    """Names of one directory appear and vanish on the medium in program order.

    Where it holds, a name that is there vouches for every earlier change of its directory.
    Source: jbd2.one-transaction, alice.directory-order
    Litmus: two-names-one-directory, kernel-names-in-order
    """
    one, other = earlier.event, later.event
    return isinstance(one, Entry) and isinstance(other, Entry) and one.directory == other.directory


@rule("namespace-in-order", "order")
def namespace_in_order(earlier: Piece, later: Piece) -> bool:
    """Names of all directories appear and vanish on the medium in one program order.

    The stronger sister of directory-in-order: one log, or whole transactions one after another.
    Source: jbd2.one-transaction, xfs.log-order, btrfs.transaction, ferrite.cross-directory
    Litmus: two-names-two-directories
    """
    return isinstance(earlier.event, Entry) and isinstance(later.event, Entry)


@rule("all-in-order", "order")
def all_in_order(earlier: Piece, later: Piece) -> bool:
    """Data, sizes and names reach the medium in one program order: all of them are journalled.

    A write that is longer than a transaction can still be cut: what landed of it is a beginning.
    Source: ext4.data=journal
    Litmus: two-writes-two-blocks
    Errs: allows too little if a size is journalled before a later part of the same write.
    """
    return True


# --- atomic -----------------------------------------------------------------------------------


@rule("rename-atomic", "atomic")
def rename_atomic(one: Piece, other: Piece) -> bool:
    """A rename is seen whole or not at all: never under neither name, never under both.

    POSIX says so of running programs; of crashes it says nothing.
    Source: ext4.journal, posix.rename
    Litmus: rename-whole, rename-both, kernel-rename-both
    """
    half = one.event
    return isinstance(half, Entry) and half.op_kind == "rename" and half.op == other.event.op


@rule("op-atomic", "atomic")
def op_atomic(one: Piece, other: Piece) -> bool:
    """Each op lands whole or not at all, a write of any size included.

    No real file system does this; with return-is-durable it makes the ideal one.
    Source: ideal.sequential
    Litmus: rename-both
    """
    return one.event.op == other.event.op


# --- scope: what a sync of a file covers --------------------------------------------------------
# `sync.about` holds what a file system knows of the synced inode: see filesystem/inode_history.py.


def last_committed(sync: SyncCall) -> int:
    """The number of events up to the last change that this sync has to commit.

    Fdatasync skips changes that are not needed to read the data.
    """
    return sync.about.sized if sync.kind in DATA_SYNCS else sync.about.touched


def is_checkpoint(sync: SyncCall) -> bool:
    """It syncs a directory, or a file with several links or a changed name."""
    known = sync.about
    return sync.is_directory or len(known.names) > 1 or known.dropped > 0


def relinked(sync: SyncCall) -> bool:
    """The inode has gained, changed or removed a name since the last sync."""
    known = sync.about
    return max(known.linked, known.moved, known.removed) > sync.since


def metadata_changed(sync: SyncCall) -> bool:
    """A name or a size has changed since the last sync."""
    return any(isinstance(event, Entry | Size) for event in sync.issued[sync.since :])


def gives_first_name_by_link(event: Event) -> bool:
    """The file was made with O_TMPFILE, and this is its first name."""
    return isinstance(event, Entry) and event.first and event.op_kind == "link"


def _place(event: Entry) -> tuple[int, str]:
    return event.directory, event.entry


def was_anothers(sync: SyncCall, index: int, loss: Entry) -> bool:
    """The name that event number `index` takes from an inode had been yet another's before."""
    return any(
        event is None  # another thread's: it may have been
        or (
            isinstance(event, Entry)
            and _place(event) == _place(loss)
            and event.replaced not in (None, loss.replaced)
        )
        for event in sync.issued[:index]
    )


def in_span(sync: SyncCall, piece: Piece) -> bool:
    """The piece is of the synced file, in blocks that meet the bytes that a ranged sync names.

    Of a direct write it is the write's own: no page is written back with it.
    """
    event, unit = piece.event, piece.block_bytes
    if isinstance(event, Entry) or event.inode != sync.inode or sync.span is None:
        return False
    if sync.is_direct:
        return event.op == sync.op
    start, stop = sync.span[0] // unit * unit, -(-sync.span[1] // unit) * unit
    first, last = event.span
    if isinstance(event, Size) and event.truncates:
        first = last = event.old
    return first < stop and last > start


@rule("fsync-data", "scope", on=FILE_SYNCS)
def fsync_data(sync: SyncCall, piece: Piece) -> bool:
    """Fsync of a file makes its data and its size durable.

    The one promise that POSIX puts into words.  It says nothing of the file's names.
    Source: posix.fsync
    Litmus: fsync-then-crash, fdatasync-then-crash, fsync-then-panic
    """
    return isinstance(piece.event, Extent | Size) and piece.event.inode == sync.inode


@rule("ranged-sync-data", "scope", on=RANGED_SYNCS)
def ranged_sync_data(sync: SyncCall, piece: Piece) -> bool:
    """A write with O_SYNC or O_DSYNC, or an msync, makes the blocks that it names durable.

    And the steps of the size that end in them, where they are its own or end in new blocks. Older
    dirty blocks of the file stay dirty, and read as zeros under that size.
    Source: posix.o_sync, posix.msync, ext4.o_sync
    Litmus: o-sync-own-bytes, msync-own-bytes, o-sync-then-panic, o-sync-behind-unsynced,
    direct-o-dsync-own-bytes
    Errs: allows too much: the folio around them is written back whole.
    """
    event = piece.event
    if isinstance(event, Size) and not (event.truncates or event.op == sync.op or piece.fresh):
        return False
    return in_span(sync, piece)


@rule("ranged-sync-size", "scope", on=("o_sync", "o_dsync"))
def ranged_sync_size(sync: SyncCall, piece: Piece) -> bool:
    """Such a write makes every step of the size durable that ends in the blocks that it names.

    Also one that an earlier write has taken, whose own blocks stay dirty. Without it a write over
    the end of a block that is on the medium can return, and be cut off there.  An msync may find
    nothing dirty where it looks, and then writes no size.
    Source: xfs.size-at-completion, ext4.o_sync
    Litmus: o-sync-below-unsynced, msync-of-a-hole
    """
    return isinstance(piece.event, Size) and in_span(sync, piece)


@rule("ranged-sync-takes-file", "scope", on=RANGED_SYNCS)
def ranged_sync_takes_file(sync: SyncCall, piece: Piece) -> bool:
    """A write with O_SYNC or O_DSYNC, or an msync, makes the whole file durable.

    Source: btrfs.fsync
    Litmus: o-sync-older-bytes
    """
    return isinstance(piece.event, Extent | Size) and piece.event.inode == sync.inode


@rule("fsync-logs-names", "scope", on=INODE_SYNCS)
def fsync_logs_names(sync: SyncCall, piece: Piece) -> bool:
    """Fsync of a file or a directory keeps its own names as they are: those given, those removed.

    Every hard link, and the new name after a rename.  A name that an unlink or a rename of its own
    removed is gone, if no log was written before, and no other inode had a name of the directory;
    one that it had taken from another itself may be that one's once more.  A name that another
    inode has taken it need not keep: not the loss, which an old file does not log, nor what the
    name means now.

    Through a handle it keeps no names of a file that has none any more, nor of one that was linked:
    the handle has its first name only.
    Source: btrfs.tree-log, btrfs.taken-name, btrfs.loss-not-logged, f2fs.roll-forward
    Litmus: fsync-file-keeps-name, fsync-keeps-links, name-then-panic, removed-name-then-fsync,
    logged-loss-of-a-name, logged-loss-undone, fsync-of-a-nameless-file,
    linked-file-synced-by-handle, loss-in-logged-directory, loss-beside-in-logged-directory,
    loss-by-replacement-elsewhere, loss-by-replacement-beside, loss-in-conflicting-directory,
    loss-in-exchanged-directory
    Errs: allows too much: of a name that was taken and lost again, it may keep nothing; and where a
    log was written before, or another took the name, the loss is kept more often than not.
    """
    event = piece.event
    if not (isinstance(event, Entry) and sync.about.names) or sync.by_other_name:
        return False
    if event.target is not None:
        return event.target == sync.inode and _place(event) in sync.about.names
    if event.replaced != sync.inode or event.is_half or not sync.is_first:
        return False
    if None in sync.issued or event.directory in sync.about.contested:
        return False
    return not was_anothers(sync, piece.index, event)


@rule("fsync-logs-ancestors", "scope", on=INODE_SYNCS)
def fsync_logs_ancestors(sync: SyncCall, piece: Piece) -> bool:
    """Fsync of what has got, changed or lost a name keeps the first names of new directories above.

    Those that were made before that change: what it keeps can be reached.  An old file whose names
    did not change, or one of whose names another has taken, takes no directory along; nor does any
    keep the new name of an old directory.
    Source: btrfs.fsync, btrfs.tree-log, btrfs.old-file-alone, btrfs.loss-not-logged
    Litmus: fsync-below-new-directory, logged-ancestor-removed, fsync-below-new-directory-after-loss
    Errs: allows too much: a directory whose entries changed takes new ones above it along as well.
    """
    event = piece.event
    if not (isinstance(event, Entry) and event.first) or sync.by_other_name:
        return False
    return event.target in sync.about.ancestors and sync.had_issued(piece, sync.about.named)


@rule("log-may-bring", "scope", on=INODE_SYNCS, promise="unordered")
def log_may_bring(sync: SyncCall, piece: Piece) -> bool:
    """A log may bring more names than it must, out of order: all that it may hold.

    What is beneath a directory; what stands in the directories of a file whose names changed; and
    later changes of what it held, for they are made in the log too, and the next sync of whatever
    file writes it. A rename or a link of what it held takes in what is above, and what ever was.
    That a name was taken from an inode it brings alone only where the inode has another name, or
    had one when the log was written after that.
    Source: btrfs.log-follows, btrfs.tree-log, btrfs.directory-log
    Litmus: logged-file-renamed, logged-name-unlinked, log-brings-grandchild, log-brings-neighbour,
    logged-file-moved-below-new, logged-file-linked-below-new, logged-name-brings-removal,
    moved-out-of-logged-and-on, synced-log-brings-nothing,
    nameless-sync-brings-directory, logged-name-made-anew, logged-loss-of-a-removed-file
    Errs: allows too much: an inode counts as held if it may have been, since the last `sync`.
    Measure: `powercut compare TRACE --fs btrfs`: does an image show the tree of the crash?
    """
    event = piece.event
    if not isinstance(event, Entry) or event.op not in sync.may_log:
        return False
    loser = event.replaced if event.is_half else None
    return loser is None or sync.logged_by_other_name(loser, piece)


@rule("log-drops-replaced", "scope", on=INODE_SYNCS, promise="withdrawn")
def log_drops_replaced(sync: SyncCall, piece: Piece) -> bool:
    """A name that a log held, taken since by a file that no log held, may be gone altogether.

    The log loses the old one, the new one waits for the commit: the next sync of another file
    writes that down.  What the name had meant before may be back as well.  Safe is a file that was
    changed and synced before it took the name, where nothing else was synced, renamed or linked
    since that change.
    Source: btrfs.log-follows, btrfs.synced-taker
    Litmus: logged-name-replaced-again, logged-name-replaced, logged-entry-replaced,
    logged-ancestor-exchanged, logged-name-replaced-by-synced
    Errs: allows too much: also where a log held the new one in other ways.
    Measure: `powercut compare TRACE --fs btrfs`: is the name gone in an image?
    """
    return any(
        index is None or not sync.synced_alone(taker, index) for index, taker in takers(sync, piece)
    )


@rule("log-forgets-removed", "scope", on=INODE_SYNCS, promise="withdrawn")
def log_forgets_removed(sync: SyncCall, piece: Piece) -> bool:
    """A name that a log held and that is removed since may mean again what it meant before.

    So where it had been taken from another file or directory, by whatever op.  Of an inode that has
    lost its last name the log forgets all: the names that it had lost before may be back, and those
    that it was given may never have been, but for one that safe takers have (log-drops-replaced).
    What a sync of the directory has kept since, the log keeps there.
    Source: btrfs.removed-name
    Litmus: logged-name-removed, logged-directory-removed, logged-loss-forgotten
    Errs: allows too much: also where no log held the name, and where the removal is in the log.
    Measure: `powercut compare TRACE --fs btrfs`: is the old meaning back in an image?
    """
    changed = piece.event
    if not isinstance(changed, Entry):
        return False
    if piece.index < sync.last_whole.get(changed.directory, 0):
        return False
    own = changed.replaced if changed.target is None else changed.target
    later = list(takers(sync, piece))
    all_safe = all(index is not None and sync.synced_alone(n, index) for index, n in later)
    if own not in sync.named and not (later and all_safe):
        return True
    return any(
        event is None  # another thread's: it may have removed the name
        or (
            isinstance(event, Entry)
            and event.target is None
            and _place(event) == _place(changed)
            and was_anothers(sync, index, event)
        )
        for index, event in enumerate(sync.issued[piece.index + 1 :], piece.index + 1)
    )


def takers(sync: SyncCall, piece: Piece) -> Iterator[tuple[int | None, int]]:
    """The later events that gave the same name to another inode, by number, and that inode.

    A number of None stands for an event of another thread: it may have.
    """
    given = piece.event
    if not isinstance(given, Entry) or given.target is None:
        return
    for index, event in enumerate(sync.issued[piece.index + 1 :], piece.index + 1):
        if event is None:
            yield None, 0
        elif (
            isinstance(event, Entry)
            and _place(event) == _place(given)
            and event.target not in (None, given.target)
        ):
            yield index, event.target


@rule("fsync-commits-journal", "scope", on=INODE_SYNCS)
def fsync_commits_journal(sync: SyncCall, piece: Piece) -> bool:
    """Fsync commits the one journal: changes of names and truncations up to the file's own last.

    So the name of a new file is durable with it.  Where the file itself had no change since the
    last commit, there is nothing to commit and nothing follows.  Of a sync of data alone its making
    and its size count; a growth that was cut away again may have changed nothing.
    Source: ext4.fsync, xfs.fsync, ext4.fast-commit, jbd2.one-transaction, ext4.disksize-unchanged
    Litmus: fsync-file-keeps-name, fsync-new-directory, kernel-fsync-new-directory,
    overwrite-commits-nothing, fdatasync-after-growth-and-cut
    Errs: allows too much: changes after that are kept too if no commit came between.
    """
    return _journalled(piece) and sync.had_issued(piece, last_committed(sync))


@rule("fdatasync-commits-names", "scope", on=DATA_SYNCS)
def fdatasync_commits_names(sync: SyncCall, piece: Piece) -> bool:
    """Fdatasync of a file commits the one journal as fsync does: a new name is a change of it.

    But for an exchange, which changes no file.
    Source: xfs.fsync, xfs.exchange
    Litmus: fdatasync-after-rename, o-dsync-after-exchange
    Errs: allows too much, as fsync-commits-journal does.
    """
    return (
        _journalled(piece) and not sync.is_directory and sync.had_issued(piece, sync.about.logged)
    )


@rule("fsync-logs-queue", "scope", on=INODE_SYNCS)
def fsync_logs_queue(sync: SyncCall, piece: Piece) -> bool:
    """Fsync logs the queue of names, as much as a commit would keep, but for files by O_TMPFILE.

    No name of a file whose first one came by a link replays.
    Source: ext4.fast-commit, ext4.fast-commit-tmpfile
    Litmus: fsync-file-keeps-name, fsync-after-linkat, fsync-after-linkat-and-rename
    Errs: allows too much, as fsync-commits-journal does; and such names once a commit kept them.
    """
    event = piece.event
    if isinstance(event, Entry) and {event.target, event.replaced} & sync.linked_first:
        return False
    return fsync_commits_journal(sync, piece)


@rule("log-skips-linked", "scope", on=INODE_SYNCS, promise="unordered")
def log_skips_linked(sync: SyncCall, piece: Piece) -> bool:
    """A log that skips the first name of a file may bring every later name without it.

    Source: ext4.fast-commit-tmpfile
    Litmus: logged-name-after-linkat
    Errs: allows too much: a commit brings them in order.
    Measure: `powercut compare TRACE --fs ext4-fast-commit`: is a later name in an image alone?
    """
    earlier = sync.issued[: piece.index]
    skipped = any(event is None or gives_first_name_by_link(event) for event in earlier)
    return isinstance(piece.event, Entry) and skipped


@rule("directory-sync-commits", "scope", on=FILE_SYNCS)
def directory_sync_commits(sync: SyncCall, piece: Piece) -> bool:
    """Fsync of any directory commits the journal: every change of any name, and every truncation.

    Source: ext4.directory-fsync
    Litmus: fsync-directory, fsync-directory-keeps-others, fdatasync-directory,
    fdatasync-directory-then-panic
    """
    return _journalled(piece) and sync.is_directory


@rule("fsync-commits-all", "scope", on=INODE_SYNCS)
def fsync_commits_all(sync: SyncCall, piece: Piece) -> bool:
    """Fsync commits a journal that holds the data as well: all events up to its own last change.

    Source: ext4.data=journal, ext4.fsync
    Litmus: fsync-keeps-other-data
    Errs: allows too much, as fsync-commits-journal does.
    """
    return sync.had_issued(piece, last_committed(sync))


@rule("fsync-keeps-moves", "scope", on=FILE_SYNCS)
def fsync_keeps_moves(sync: SyncCall, piece: Piece) -> bool:
    """Fsync of a directory out of which something was renamed to another keeps that rename.

    The log of a directory cannot say where the entry has gone, so that all is committed. Where the
    file or the directory was in the log already, the rename is in it too, and no more is kept; nor
    that, of a name that has changed once more since.
    Source: btrfs.full-commit
    Litmus: fsync-of-the-old-directory, rename-inside-and-sync, logged-move-replaced,
    moved-over-another-and-back
    Errs: allows too much: where all was committed, what came before the rename is kept as well.
    """
    event = piece.event
    if not (isinstance(event, Entry) and event.op in sync.about.moves):
        return False
    later = sync.issued[piece.index + 1 :]
    passed = any(e is None or (isinstance(e, Entry) and _place(e) == _place(event)) for e in later)
    return sync.is_first or not passed


@rule("fsync-checkpoints", "scope", on=INODE_SYNCS)
def fsync_checkpoints(sync: SyncCall, piece: Piece) -> bool:
    """Fsync of a directory, or of a file with several links or a changed name, is a checkpoint.

    Every change of a name up to the inode's own last change is durable; for any other file, those
    that made the directories above it.
    Source: f2fs.checkpoint
    Litmus: fsync-directory-keeps-others, fsync-below-new-directory, fsync-keeps-links
    Errs: allows too much: changes after that are kept too if no checkpoint came between.
    """
    last = last_committed(sync) if is_checkpoint(sync) else sync.about.above
    return isinstance(piece.event, Entry) and sync.had_issued(piece, last)


@rule("fsync-checkpoints-moves", "scope", on=INODE_SYNCS)
def fsync_checkpoints_moves(sync: SyncCall, piece: Piece) -> bool:
    """Fsync of a new file is a checkpoint where a rename had touched its directory before.

    Source: f2fs.strict
    Litmus: fsync-below-renamed-directory
    Errs: allows too much: what was issued after that rename counts as not checkpointed.
    """
    last = min(sync.about.beside, sync.about.born)
    return isinstance(piece.event, Entry) and sync.had_issued(piece, last)


# --- scope: what other syncs cover --------------------------------------------------------------


@rule("fsync-directory", "scope", on=FILE_SYNCS)
def fsync_directory(sync: SyncCall, piece: Piece) -> bool:
    """Fsync of a directory makes the changes of its own names durable.

    Not the name of the directory itself, nor anything below those names.
    Source: posix.directory-sync
    Litmus: fsync-directory, fdatasync-directory, fdatasync-directory-then-panic,
    logged-entry-replaced
    """
    return isinstance(piece.event, Entry) and piece.event.directory == sync.inode


@rule("sync-all", "scope", on=("sync",))
def sync_all(sync: SyncCall, piece: Piece) -> bool:
    """sync(2) returns when everything issued before it is durable.

    Linux waits; POSIX lets sync return before the writing is done.
    Source: linux.sync
    Litmus: whole-system-sync, kernel-whole-system-sync
    """
    return True


@rule("sync-keeps-logged", "scope", on=("sync",))
def sync_keeps_logged(sync: SyncCall, piece: Piece) -> bool:
    """sync(2) makes durable all that a log speaks of: names, the size, and data in new blocks.

    An overwrite of blocks that exist has been written when it returns; where nothing was left to
    log, no flush was sent, and the drive may still have it in its cache.  So too an append inside a
    block, where a later write has moved the size past it already.
    Source: xfs.sync-without-flush
    Litmus: whole-system-sync, sync-after-size-has-passed
    """
    event = piece.event
    if not isinstance(event, Size) or event.truncates:
        return not isinstance(event, Extent) or piece.fresh
    sizes = [
        e
        for e in sync.issued[piece.index :]
        if e is None or (isinstance(e, Size) and e.inode == event.inode)
    ]
    own = sizes[0] if sizes else None
    is_last = len(sizes) == 1 and isinstance(own, Size) and own.new == event.new
    return piece.fresh or is_last


@rule("return-is-durable", "scope", on=("return", "sync", *INODE_SYNCS))
def return_is_durable(sync: SyncCall, piece: Piece) -> bool:
    """An op that has returned is durable.

    True of no ordinary file system; with op-atomic it makes the ideal one.
    Source: ideal.sequential
    Litmus: sequential-create
    """
    return True


@rule("direct-write-reaches-drive", "scope", on=("return", "o_sync", "o_dsync"))
def direct_write_reaches_drive(sync: SyncCall, piece: Piece) -> bool:
    """An O_DIRECT write over blocks that are on the medium is in the drive when it returns.

    Other blocks need their metadata as well, and the drive's cache needs a flush.
    Source: linux.o_direct, linux.direct-mapping
    Litmus: direct-overwrite, direct-write-over-hole, direct-write-sets-size
    Errs: allows too much: a block of zeros counts as a hole.
    """
    event = piece.event
    return isinstance(event, Extent) and event.direct and event.op == sync.op and piece.held


@rule("fullsync-drains-drive", "scope", on=("fullsync",), needs_sent=True)
def fullsync_drains_drive(sync: SyncCall, piece: Piece) -> bool:
    """F_FULLFSYNC empties the drive's cache: what it handed over and what was handed over before.

    Files that nobody synced are not among them.
    Source: apfs.fullfsync
    Litmus: fullsync-then-crash, fullsync-drains-others
    """
    return sync.had_sent(piece)


@rule("barrier-orders", "scope", on=("barrier",), promise="ordered", needs_sent=True)
def barrier_orders(sync: SyncCall, piece: Piece) -> bool:
    """F_BARRIERFSYNC: what it and earlier syncs handed over lands before all that is issued later.

    When it returns, nothing need have landed.
    Source: apfs.barrier
    Litmus: barrier-orders, barrier-is-not-durable
    """
    return sync.had_sent(piece)


# --- exposure and ceiling -----------------------------------------------------------------------


@rule("unwritten-reads-zeros", "exposure")
def unwritten_reads_zeros(piece: Piece) -> bool:
    """A range whose data was lost reads as zeros, never as what the blocks held before.

    Without it, a file can show somebody's deleted data.
    Source: ext4.data=ordered, xfs.unwritten
    Litmus: stale-tail, stale-append, stale-beginning, stale-after-failed-fsync,
    stale-gap, kernel-stale-tail
    """
    return isinstance(piece.event, Extent)


@rule("memory-only", "ceiling")
def memory_only(piece: Piece) -> bool:
    """Nothing lands: the file system is memory, and it is empty after every crash of the machine.

    Source: linux.tmpfs
    Litmus: memory-forgets
    """
    return True


# --- scope, while the kernel commits nothing of its own accord ----------------------------------
# A published test runs within milliseconds, in which no timer fires; its answer is for that case
# only.  Profiles list these rules under [[quiet]]; no verdict on a protocol ever leans on them.


@rule("quiet-fsync-commits-running", "scope", on=INODE_SYNCS)
def quiet_fsync_commits_running(sync: SyncCall, piece: Piece) -> bool:
    """Fsync of an inode that the running transaction has changed commits all of that transaction.

    Source: ext4.fsync, xfs.fsync, xfstests.quiet
    Litmus: quiet-unrelated-name
    """
    return isinstance(piece.event, Entry) and last_committed(sync) > sync.since


@rule("quiet-sync-flushes", "scope", on=("sync",))
def quiet_sync_flushes(sync: SyncCall, piece: Piece) -> bool:
    """sync(2) makes everything durable where a name or a size has changed since the last sync.

    The log still has to write that, and flushes. Bytes over others may change not even a time.
    Source: xfs.sync-without-flush, xfstests.quiet
    Litmus: quiet-name-and-sync, quiet-name-then-overwrite-and-sync
    """
    return metadata_changed(sync)


@rule("quiet-fsync-logs-parents", "scope", on=INODE_SYNCS)
def quiet_fsync_logs_parents(sync: SyncCall, piece: Piece) -> bool:
    """Fsync of a file that has gained, changed or lost a name logs the directories of its names.

    All that changed in them: their new entries and the lack of old ones.
    Source: btrfs.tree-log, xfstests.quiet
    Litmus: quiet-unrelated-name
    """
    event = piece.event
    return isinstance(event, Entry) and relinked(sync) and event.directory in sync.about.former


@rule("quiet-fsync-commits-shifts", "scope", on=INODE_SYNCS)
def quiet_fsync_commits_shifts(sync: SyncCall, piece: Piece) -> bool:
    """Where such a directory lost an entry to another, or was given a directory, all is committed.

    Source: btrfs.full-commit, xfstests.quiet
    Litmus: quiet-moved-neighbour
    """
    shifted = sync.about.shifted > sync.since
    return isinstance(piece.event, Entry) and relinked(sync) and shifted


@rule("quiet-fsync-logs-kin", "scope", on=INODE_SYNCS)
def quiet_fsync_logs_kin(sync: SyncCall, piece: Piece) -> bool:
    """Fsync keeps the names of files whose old names the synced one has taken, and of theirs.

    Source: btrfs.conflicting-names, xfstests.quiet
    Litmus: quiet-name-taken-over
    Errs: allows too little: a name in a directory that is new as well can be lost.
    """
    event = piece.event
    if not isinstance(event, Entry):
        return False
    return not sync.about.kin.isdisjoint({event.target, event.replaced} - {None})


@rule("quiet-fsync-logs-below", "scope", on=FILE_SYNCS)
def quiet_fsync_logs_below(sync: SyncCall, piece: Piece) -> bool:
    """Fsync of a directory keeps what is below its new subdirectories, under all of its names.

    Whether it must is disputed among the maintainers.
    Source: btrfs.tree-log, xfs.directory-sync, xfstests.quiet
    Litmus: quiet-grandchild
    """
    event = piece.event
    if not (isinstance(event, Entry) and sync.is_directory):
        return False
    return event.directory in sync.about.below or event.target in sync.about.children


@rule("quiet-fsync-checkpoints", "scope", on=INODE_SYNCS)
def quiet_fsync_checkpoints(sync: SyncCall, piece: Piece) -> bool:
    """Fsync of a directory, of a file with links or a changed name, or below a new directory.

    Each is a checkpoint, of everything.
    Source: f2fs.checkpoint, xfstests.quiet
    Litmus: quiet-unrelated-name, quiet-below-new-directory
    """
    whole = is_checkpoint(sync) or sync.about.above > sync.since
    return isinstance(piece.event, Entry) and whole and last_committed(sync) > sync.since


@rule("quiet-fsync-checkpoints-moves", "scope", on=INODE_SYNCS)
def quiet_fsync_checkpoints_moves(sync: SyncCall, piece: Piece) -> bool:
    """Fsync of a new file in a directory that a rename touched is a checkpoint, of everything.

    Source: f2fs.strict, xfstests.quiet
    Litmus: quiet-name-taken-over
    """
    known = sync.about
    return isinstance(piece.event, Entry) and min(known.beside, known.born) > sync.since


# --- rules of published models --------------------------------------------------------------------
# No kernel promises these, and no profile of a file system lists one.  They are what the authors of
# Ferrite wrote into models of their own; with them, the profiles in tests/litmus/profiles give the
# numbers that they published.


@rule("write-before-allocation", "order")
def write_before_allocation(earlier: Piece, later: Piece) -> bool:
    """A write into an allocated block lands before the file gets a new block.

    A rule of a published model; no kernel promises it.
    Source: ferrite.ext4-model
    Litmus: chrome-append
    Errs: allows too little: delayed allocation does not wait for older dirty blocks.
    """
    one, other = earlier.event, later.event
    if not (isinstance(one, Extent) and isinstance(other, Extent | Size)):
        return False
    return one.inode == other.inode and later.fresh and not earlier.fresh


@rule("names-before-later-data", "order")
def names_before_later_data(earlier: Piece, later: Piece) -> bool:
    """Changes of names land before the data that are written after them.

    A rule of a published model, whose fsync lets nothing pass.
    Source: ferrite.advfs
    Litmus: name-then-synced-data
    Errs: allows too much: names changed between the write and its fsync may be missing.
    """
    return isinstance(earlier.event, Entry) and not isinstance(later.event, Entry)


@rule("fsync-is-a-barrier", "scope", on=FILE_SYNCS, promise="ordered")
def fsync_is_a_barrier(sync: SyncCall, piece: Piece) -> bool:
    """Everything issued before an fsync of any file lands before everything issued after it.

    A rule of a published model, whose authors call it too strong.
    Source: ferrite.ext4-model
    Litmus: fsync-of-another-file
    Errs: allows too little.
    """
    return True


@rule("data-wait-for-fsync", "ceiling", needs_sent=True)
def data_wait_for_fsync(piece: Piece) -> bool:
    """Data and sizes land by an fsync of their file, and by nothing else.

    A rule of a published model.
    Source: ferrite.advfs
    Litmus: write-without-fsync
    """
    return not isinstance(piece.event, Entry) and piece.sent is None

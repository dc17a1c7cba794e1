"""Writes the speed tables of README.md from benchmarks' records: `make docs`; a test holds them.

Every number stands in benchmarks/results/, in the newest record of its name. Lines are read as
benchmarks/peers.py and benchmarks/stacking.py print them; what is not recorded is not in a table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "README.md"
BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"

OURS = ("this project", "this project once more")
BETTER = "the better of Optuna and Ray Tune reused"
_STOPPED, _WITHOUT_RAY = ", early stopping", ", without Ray"
_DATED = re.compile(r"(\d{4}-\d\d-\d\d)-(.+)\.txt")
_MACHINE = re.compile(r"^date \S+, Python \S+, (.+)$", re.MULTILINE)
_VERDICT = r"(?:target (?P<target>[\d.]+): (?P<how>reached|MISSED))"
_CONTEST = re.compile(rf"(\w+: \d+ trials x \d+ epochs(?:{_STOPPED})?(?:{_WITHOUT_RAY})?)")
_TIME = re.compile(r"  (.+?): ([\d.]+) s(.*), (\d+) epochs, best accuracy .*")
_TIMES = re.compile(rf"  (?P<tool>.+?): (?P<times>[\d.]+) times ours(?: \({_VERDICT}\))?")
_BUSY = re.compile(r"  others were at work, .*")
_DIFFER = re.compile(
    rf"  best accuracies differ by (?P<best>[\d.]+), means by (?P<mean>[\d.]+) \({_VERDICT}\)"
)
_PLAIN = re.compile(r"^plain PyTorch loop: (\d+) µs a step", re.MULTILINE)
_STACK = re.compile(
    r"^(?P<workers>\d+) workers of (?P<width>\d+) members each: "
    r"(?P<us>[\d.]+) µs a step and trial, "
    rf"(?P<times>[\d.]+) times less \((?P<range>[\d.]+ to [\d.]+)\)(?:; {_VERDICT})?$",
    re.MULTILINE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A benchmark's output; ``name`` is the file's without its date."""

    file: str
    name: str
    date: str
    text: str

    def source(self) -> str:
        """A link to it, with what it was measured on."""
        machine = _MACHINE.search(self.text)
        where = "" if machine is None else f", {machine[1]}"
        return f"[{self.name}](benchmarks/results/{self.file}), {self.date}{where}"


@dataclass(kw_only=True, slots=True)
class Contest:
    """One search in each tool; what is by tool are parts of the table's cells."""

    title: str
    seconds: dict[str, str] = field(default_factory=dict)
    times: dict[str, str] = field(default_factory=dict)
    epochs: dict[str, str] = field(default_factory=dict)
    results: str = "—"
    is_busy: bool = False

    def read(self, line: str) -> None:
        """Take up what a line of the record says."""
        if found := _TIME.fullmatch(line):
            tool, seconds, how, epochs = found.groups()
            self.seconds[tool] = f"{'about ' * ('(from ' in how)}{float(seconds):,.1f} s"
            if self._stops_early and "(from " not in how:  # each tool stops others
                self.epochs[tool] = f" for {int(epochs):,} epochs"
        elif found := _TIMES.fullmatch(line):
            self.times[found["tool"]] = f"{found['times']} times{_judged(found)}"
        elif found := _DIFFER.fullmatch(line):
            mean = "" if self._stops_early else f", mean by {found['mean']}"  # not judged then
            differ = f"best by {found['best']}{mean}"
            self.results = f"{differ}{_judged(found)}"
        elif _BUSY.fullmatch(line):
            self.is_busy = True

    def row(self, tools: Sequence[str]) -> list[str]:
        """The cells of this search."""
        title = self.title + " (others were at work)" * self.is_busy
        ours = [self.seconds[name] for name in OURS if name in self.seconds]
        slower = max(ours, key=_number, default="—")  # as the times were compared with
        cells = (self._cell(tool) for tool in tools)
        slower += self.epochs.get(OURS[0], "")
        return [title, slower, *cells, self.times.get(BETTER, "—"), self.results]

    @property
    def _stops_early(self) -> bool:
        return _STOPPED in self.title

    def _cell(self, tool: str) -> str:
        time = self.seconds.get(tool)
        parts = (None if time is None else time + self.epochs.get(tool, ""), self.times.get(tool))
        return ": ".join(part for part in parts if part is not None) or "—"


def tables(folder: Path = RESULTS) -> str:
    """What stands between the markers: a table of peers and one of stacking, as far as recorded."""
    return "\n\n".join([*_peers(newest(folder, "peers")), *_stacking(newest(folder, "stacking"))])


def page(text: str, folder: Path = RESULTS) -> str:
    """``text`` with the tables between its markers. ValueError if they are not both there, once."""
    if (text.count(BEGIN), text.count(END)) != (1, 1):
        raise ValueError(f"a page must have {BEGIN} and {END} once each: put them back")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{tables(folder)}\n\n{END}{rest.split(END)[1]}"


def newest(folder: Path, kind: str) -> list[Record]:
    """The newest record of each name that begins with ``kind``; the oldest of these first."""
    found: dict[str, Record] = {}
    for file in sorted(folder.glob(f"*-{kind}*.txt")):
        if match := _DATED.fullmatch(file.name):
            date, name = match.groups()
            found[name] = Record(file=file.name, name=name, date=date, text=file.read_text())
    return sorted(found.values(), key=lambda record: (record.date, record.name))


def contests(records: Sequence[Record]) -> list[Contest]:
    """The searches of all records, those that stop early last; the newest of each title counts."""
    found: dict[str, Contest] = {}
    for record in records:
        contest = None
        for line in record.text.splitlines():
            if head := _CONTEST.fullmatch(line):
                contest = found[head[1]] = Contest(title=head[1])
            elif not line.startswith(" "):  # another heading, under which nothing is read
                contest = None
            elif contest is not None:
                contest.read(line)
    return sorted(found.values(), key=lambda each: _STOPPED in each.title)


def _peers(records: Sequence[Record]) -> Iterator[str]:
    found = contests(records)
    if not found:
        return
    tools = list(dict.fromkeys(tool for one in found for tool in one.seconds if tool not in OURS))
    yield (
        "One search in each tool: the same trials for the same epochs, but where each tool stops "
        "some early, by its own successive halving; each tool's process timed whole, from Enter "
        "to its end. Rows *without Ray* are hpsearch as it comes, in worker processes; the "
        "others have it start Ray and its dashboard first, `--ray local`. Of two runs of "
        "hpsearch the slower counts; *times* are how many times as long the others took. "
        "*About*: measured on some of the trials. *Accuracies*: by how much those that the tools "
        "found differ."
    )
    heads = ["search", "hpsearch", *tools, "the better of Optuna and Ray Tune reused", "accuracies"]
    yield _table(heads, [contest.row(tools) for contest in found])
    yield _sources(records)


def _stacking(records: Sequence[Record]) -> Iterator[str]:
    for record in records[-1:]:
        plain = _PLAIN.search(record.text)
        if plain is None:
            return
        yield (
            "A step of one trial (digits, MLP 64-50-10, batch 32), when each core trains so many "
            "trials at once, against one plain PyTorch loop on one core:"
        )
        rows = [["plain PyTorch loop", f"{plain[1]} µs", ""]]
        rows += [_stack_row(found) for found in _STACK.finditer(record.text)]
        yield _table(["trained at once", "a step and trial", "times less"], rows)
        yield _sources([record])


def _stack_row(found: re.Match[str]) -> list[str]:
    at_once = f"{found['width']} on each of {found['workers']} cores"
    times = f"{found['times']} ({found['range']}){_judged(found)}"
    return [at_once, f"{found['us']} µs", times]


def _judged(found: re.Match[str]) -> str:
    """What a cell ends with that has a target; a missed one stands out."""
    if found["target"] is None:
        return ""
    target = f"target {found['target']}"
    return f"; {target}" if found["how"] == "reached" else f"; **{target} missed**"


def _sources(records: Sequence[Record]) -> str:
    return f"Measured: {'; '.join(record.source() for record in records)}."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def _number(cell: str) -> float:
    return float(cell.removeprefix("about ").removesuffix(" s").replace(",", ""))


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))

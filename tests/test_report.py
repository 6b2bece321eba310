import base64
import dataclasses
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from experiment_fixture import write_experiment
from matplotlib.image import imread

from ser_tune.errors import InputError
from ser_tune.experiment import ExperimentFolder, read_json
from ser_tune.files import write_json
from ser_tune.report import background, headline, write_report
from ser_tune.report.evidence import read_evidence
from ser_tune.report.markup import element, join, percent, table

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Parses strictly: every tag is closed in its turn, every attribute is kept."""

    def __init__(self, source: str):
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.headings: list[str] = []
        self.words = ""
        self.marked = ""
        self._row_is_marked = False
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "tr":
            self._row_is_marked = ("class", "marked") in attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._row_is_marked &= tag != "tr"

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.words += " ".join(data.split()) + " "
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)
        if self._row_is_marked:
            self.marked += data + " "


def report(folder: ExperimentFolder) -> Page:
    write_report(folder)
    return Page(folder.report.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentFolder, Page]:
    folder = write_experiment(tmp_path_factory.mktemp("experiments") / "demo")
    return folder, report(folder)


def change(folder: ExperimentFolder, name: str, **values: Any) -> None:
    path: Path = getattr(folder, name)
    write_json(path, read_json(path) | values)


def test_the_sections_stand_in_their_order(finished: tuple[ExperimentFolder, Page]) -> None:
    assert finished[1].headings == [
        "What the numbers are",
        "Candidates",
        "Test",
        "The network",
        "Data",
        "What was left out",
        "How to reproduce it",
        "How to read on",
    ]


def test_the_headline_gives_choice_score_interval_and_size(finished: tuple[ExperimentFolder, Page]) -> None:
    folder, page = finished
    choice, test = read_json(folder.selection), read_json(folder.test)
    low, high = test["accuracy_interval"]
    for fact in [
        f"lr={choice['hyperparameters']['lr']:g} at {choice['epochs']} epochs was chosen",
        f"{choice['mean']:.1%} ± {100 * choice['sd']:.1f}",
        f"{test['n']} test clips",
        f"accuracy {test['accuracy']:.1%} (95% interval {100 * low:.1f} to {100 * high:.1f})",
        f"UAR {test['uar']:.1%}",
        f"macro F1 {test['macro_f1']:.1%}",
    ]:
        assert fact in page.words


def test_the_chosen_candidate_is_the_marked_row(finished: tuple[ExperimentFolder, Page]) -> None:
    assert finished[1].marked.startswith("lr=0.001 (chosen) ")


def test_the_page_needs_no_other_file_and_no_script(finished: tuple[ExperimentFolder, Page]) -> None:
    folder, page = finished
    sources = [value for _, name, value in page.attributes if name in ("src", "href")]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "<script" not in folder.report.read_text(encoding="utf-8")
    embedded = {base64.b64decode(source.partition(",")[2]) for source in sources}
    assert embedded == {path.read_bytes() for path in folder.figures.iterdir()}


def test_every_figure_is_described_for_those_who_do_not_see_it(finished: tuple[ExperimentFolder, Page]) -> None:
    page = finished[1]
    images = sum(tag == "img" and name == "src" for tag, name, _ in page.attributes)
    assert images == sum(tag == "img" and name == "alt" and len(value) > 10 for tag, name, value in page.attributes)


def test_a_path_that_is_html_is_shown_as_text(finished: tuple[ExperimentFolder, Page]) -> None:
    folder, page = finished
    assert "/data/<b>bold</b> & co.wav" in page.words
    assert "<b>" not in folder.report.read_text(encoding="utf-8")


def test_what_was_left_out_is_counted_by_kind(finished: tuple[ExperimentFolder, Page]) -> None:
    assert re.search(r"identical audio 2 silent 1 unreadable 1", finished[1].words)


def test_the_report_says_how_to_repeat_and_use_it(finished: tuple[ExperimentFolder, Page]) -> None:
    folder, page = finished
    record = read_json(folder.config)
    facts = [record["command"], record["data_fingerprint"], record["git_commit"], record["versions"]["torch"]]
    for fact in [*facts, f"tensorboard --logdir {folder.tensorboard}", f"--bundle {folder.bundle}"]:
        assert fact in page.words


def test_shared_speakers_and_synthetic_voices_are_said_loudly(finished: tuple[ExperimentFolder, Page]) -> None:
    words = finished[1].words
    assert "Not speaker-independent: the same speakers are in the training and the test split" in words
    assert "synthetic sample corpora, not people" in words
    assert "22 of the 22 test speakers are in the training split too" in words


def test_real_recordings_of_new_speakers_carry_no_warning(tmp_path: Path) -> None:
    evidence = read_evidence(write_experiment(tmp_path, protocol="speaker", synthetic=False))
    page = Page(join(*headline.headline(evidence), headline.definitions(evidence), background.data(evidence)))
    assert ("p", "class", "note") not in page.attributes
    assert "speakers it has never heard" in page.words
    assert "drawing the 3 test speakers" in page.words
    assert "0 of the 3 test speakers are in the training split too" in page.words


def test_an_untested_experiment_with_a_gap_says_so(tmp_path: Path) -> None:
    page = report(write_experiment(tmp_path, tested=False, incomplete=True))
    assert "It has not been tested yet" in page.words
    assert "Incomplete candidates: 1 of 4." in page.words
    assert "lr=0.0005 - - 2 of 4 incomplete" in page.words
    assert "ser_tune.predict" not in page.words


def test_an_experiment_that_only_began_is_reported_and_twice_the_same(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, tested=False)
    for path in (folder.selection, folder.candidates, folder.trials):
        path.unlink()
    assert "No candidate is complete yet" in report(folder).words
    before = folder.report.read_bytes()
    write_report(folder)
    assert folder.report.read_bytes() == before


def test_a_second_look_at_the_test_split_is_said_loudly(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path)
    change(folder, "test", evaluations=2, weights_sha256=["a", "b"])
    assert "looked at with 2 different networks" in join(*headline.headline(read_evidence(folder)))


def test_diverged_trials_and_scores_that_do_not_exist_are_reported(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path)
    results = folder.read_trials()
    folder.trials.unlink()
    for result in results:
        nothing = [float("nan")] * result.epochs
        diverged = result.hyperparameters["lr"] == 0.01
        folder.append_trial(dataclasses.replace(result, val_loss=nothing, val_uar=nothing) if diverged else result)
    test = read_json(folder.test)
    test["per_emotion"]["calm"] = {"recall": None, "precision": None, "f1": None, "n": 0}
    write_json(folder.test, test)
    assert re.search(r"calm - - - 0\.0% 0 ", report(folder).words)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path)
    folder.manifest.unlink()
    with pytest.raises(InputError, match=r"manifest\.parquet cannot be read"):
        write_report(folder)


def test_elements_escape_what_is_not_html() -> None:
    assert element("p", "<&>", element("b", 1), title='"') == '<p title="&quot;">&lt;&amp;&gt;<b>1</b></p>'


def test_columns_of_numbers_are_aligned_as_such() -> None:
    rendered = table(["name", "score", "note"], [("a", "12.5% ± 1.0", "fine"), ("b", "-", 7)])
    assert re.findall(r'<th scope="col"( class="number")?>', rendered) == ["", ' class="number"', ""]


def test_a_share_that_does_not_exist_is_a_hyphen() -> None:
    assert [percent(None), percent(float("nan")), percent(0.1254)] == ["-", "-", "12.5%"]


@pytest.mark.browser
def test_chromium_shows_every_image_and_nothing_sticks_out_of_a_narrow_window(
    finished: tuple[ExperimentFolder, Page], tmp_path: Path
) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine (on Debian: apt-get install chromium)")
    probe = tmp_path / "probe.html"
    measure = (
        "<script>addEventListener('load', () => document.title = JSON.stringify({"
        "broken: [...document.images].filter(image => image.naturalWidth === 0).length, images: document.images.length,"
        "over: document.documentElement.scrollWidth - document.documentElement.clientWidth}))</script>"
    )
    probe.write_text(finished[0].report.read_text(encoding="utf-8") + measure, encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --hide-scrollbars --window-size=500,1600"
    command = [chromium, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}"]
    picture = tmp_path / "page.png"
    shown = subprocess.run([*command, "--dump-dom", probe.as_uri()], capture_output=True, text=True, timeout=60)
    subprocess.run(
        [*command, f"--screenshot={picture}", finished[0].report.as_uri()], capture_output=True, check=True, timeout=60
    )
    title = re.search(r"<title>(.*?)</title>", shown.stdout)
    assert title, shown.stderr
    assert json.loads(html.unescape(title[1])) == {"broken": 0, "images": 9, "over": 0}
    assert imread(picture).std() > 0.1

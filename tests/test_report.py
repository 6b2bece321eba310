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

import numpy as np
import pytest
from experiment_fixture import N_FOLDS, write_experiment, write_race
from matplotlib.image import imread

from ser_tune.candidates import draw_candidates
from ser_tune.errors import InputError
from ser_tune.experiment import ExperimentFolder, read_json
from ser_tune.files import write_json
from ser_tune.report import background, candidates, headline, searching, write_report
from ser_tune.report.evidence import Evidence
from ser_tune.report.markup import Wide, element, interval, join, percent, table
from ser_tune.report.reading import read_evidence

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Parses strictly: every tag is closed in its turn, every attribute is kept."""

    def __init__(self, source: str):
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.headings: list[str] = []
        self.rows: list[list[str]] = []
        self.folded = 0
        self.words = ""
        self.marked = ""
        self._row_is_marked = False
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.folded += tag == "img" and "details" in self.open
        if tag == "tr":
            self.rows.append([])
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
        if self.open[-1:] in (["h2"], ["h3"]):
            self.headings.append(data)
        if self.open[-1:] in (["td"], ["th"]):
            self.rows[-1].append(data)
        if self._row_is_marked:
            self.marked += data + " "


def report(folder: ExperimentFolder) -> Page:
    write_report(folder)
    return Page(folder.report.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentFolder, Page]:
    folder = write_experiment(tmp_path_factory.mktemp("experiments") / "demo")
    return folder, report(folder)


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentFolder, Page]:
    """A race of nine candidates with six hyperparameters, all folds twice."""
    folder = write_race(tmp_path_factory.mktemp("experiments") / "race", n_candidates=9, n_repeats=2)
    return folder, report(folder)


def candidate_rows(page: Page) -> list[list[str]]:
    start = next(index for index, row in enumerate(page.rows) if row and row[0] == "candidate")
    end = next(index for index, row in enumerate(page.rows[start:], start) if row and row[0] == "corpus")
    return page.rows[start + 1 : end]


def change(folder: ExperimentFolder, name: str, **values: Any) -> None:
    path: Path = getattr(folder, name)
    write_json(path, read_json(path) | values)


def test_the_sections_stand_in_their_order(finished: tuple[ExperimentFolder, Page]) -> None:
    assert finished[1].headings == [
        "What the numbers are",
        "Candidates",
        "Learning curves",
        "Test",
        "By corpus",
        "By emotion",
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


def test_the_headline_and_the_choice_say_whether_the_winner_can_be_told_from_the_runner_up(
    finished: tuple[ExperimentFolder, Page],
) -> None:
    folder, page = finished
    choice = read_json(folder.selection)
    low, high = choice["runner_up"]["interval"]
    expected = "It can be told from" if low > 0 else "It cannot be told from"
    assert page.words.count(f"{expected} the runner-up, lr=0.0005: ") == 2
    assert f"[{100 * low:+.1f}, {100 * high:+.1f}], 95% interval" in page.words
    assert "Nadeau & Bengio (2003)" in page.words


def test_a_candidate_is_shown_with_its_intervals(finished: tuple[ExperimentFolder, Page]) -> None:
    scores = {r.fold: r.val_accuracy for r in finished[0].read_trials() if r.hyperparameters["lr"] == 0.005}
    chosen = {r.fold: r.val_accuracy for r in finished[0].read_trials() if r.hyperparameters["lr"] == 0.001}
    folds = np.array([scores[fold] for fold in range(N_FOLDS)])
    own = folds[:, folds.mean(axis=0).argmax()]
    best = np.array([chosen[fold] for fold in range(N_FOLDS)])
    difference = own - best[:, best.mean(axis=0).argmax()]
    factor = 3.182446 * np.sqrt(1 / 4 + 1 / 3)  # Student's t at 97.5% with 3 degrees of freedom, from a printed table
    half, gap = factor * own.std(ddof=1), factor * difference.std(ddof=1)
    row = next(row for row in candidate_rows(finished[1]) if row[0] == "lr=0.005")
    assert row[1:4] == [
        f"{100 * own.mean():.1f}% ± {100 * own.std(ddof=1):.1f}",
        f"{100 * (own.mean() - half):.1f} to {100 * (own.mean() + half):.1f}",
        f"{100 * difference.mean():+.1f} [{100 * (difference.mean() - gap):+.1f}, "
        f"{100 * (difference.mean() + gap):+.1f}]",
    ]


def test_a_grid_without_a_race_says_nothing_of_one(finished: tuple[ExperimentFolder, Page]) -> None:
    folder, page = finished
    assert "The race" not in page.words
    assert "it needs two or more that vary; only lr varies" in page.words
    assert not {"race.png", "hyperparameters.png", "importance.png"} & {path.name for path in folder.figures.iterdir()}


def test_candidates_are_ordered_by_choice_status_and_score(raced: tuple[ExperimentFolder, Page]) -> None:
    rows = candidate_rows(raced[1])
    assert len(rows) == 9
    assert rows[0][0].endswith("(chosen)")
    complete = [row for row in rows if "complete" in row]
    assert rows[: len(complete)] == complete
    assert all("dropped" in row for row in rows[len(complete) :])
    means = [float(row[1].partition("%")[0]) for row in complete]
    assert means == sorted(means, reverse=True)


def test_the_race_is_told_in_numbers(raced: tuple[ExperimentFolder, Page]) -> None:
    folder, page = raced
    trials, lines = len(folder.read_trials()), folder.read_decisions()
    drops = [line for line in lines if line["decision"] == "dropped"]
    assert f"all 9 candidates runs 72 trials; this search ran {trials} of them ({trials / 72:.1%})" in page.words
    assert f"{len(drops)} candidates were dropped: " in page.words
    early = sum(drop["folds_done"] == 1 for drop in drops)
    assert f"{early} after 1 fold," in page.words


def test_a_dropped_candidate_is_told_with_whom_it_lost_to(raced: tuple[ExperimentFolder, Page]) -> None:
    lines = raced[0].read_decisions()
    names = {
        line["candidate"]: f"#{number}"
        for number, line in enumerate((line for line in lines if line["decision"] == "proposed"), start=1)
    }
    drops = [line for line in lines if line["decision"] == "dropped"]
    assert drops
    rows = {row[0]: row for row in candidate_rows(raced[1])}
    for drop in drops:
        expected = f"{-100 * drop['difference']:.1f} points below {names[drop['against']]} on "
        assert rows[names[drop["candidate"]]][1].startswith(expected)


def test_candidates_with_long_names_are_numbered_and_their_hyperparameters_are_columns(
    raced: tuple[ExperimentFolder, Page],
) -> None:
    proposed = [line for line in raced[0].read_decisions() if line["decision"] == "proposed"]
    rows = {row[0].removesuffix(" (chosen)"): row for row in candidate_rows(raced[1])}
    for number, line in enumerate(proposed, start=1):
        values = [value if isinstance(value, str) else f"{value:g}" for value in line["hyperparameters"].values()]
        assert rows[f"#{number}"][-6:] == values


def test_folds_are_counted_over_all_repeats(raced: tuple[ExperimentFolder, Page]) -> None:
    assert "trained afresh on each of 8 folds (4 in each of 2 repeats)" in raced[1].words
    assert "8 of 8" in candidate_rows(raced[1])[0]


def test_every_candidate_has_its_curves_the_best_of_many_open(raced: tuple[ExperimentFolder, Page]) -> None:
    folder, page = raced
    ids = {result.candidate for result in folder.read_trials()}
    names = {path.name for path in folder.figures.iterdir()}
    assert {f"curves-{name}.png" for name in ids} <= names
    assert page.folded == len(ids) - candidates.OPEN
    assert all(re.fullmatch(r"[a-z0-9-]+\.png", name) for name in names)


def test_of_very_many_candidates_the_first_are_pictured_and_the_others_counted(
    raced: tuple[ExperimentFolder, Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ser_tune.report.evidence.MOST_PICTURED", 4)
    evidence = read_evidence(raced[0])
    assert evidence.pictured == evidence.ranked[:4]
    assert "The 5 candidates that come after these in the table are left out." in evidence.beyond


def test_a_candidate_that_was_given_up_is_shown_with_the_reason(tmp_path: Path) -> None:
    evidence = read_evidence(write_experiment(tmp_path, incomplete=True))
    rows = [dataclasses.replace(row, reason="the GPU <ran out> of memory") for row in evidence.candidates]
    page = Page(candidates.table(dataclasses.replace(evidence, candidates=rows)))
    assert ["lr=0.0005", "the GPU <ran out> of memory", "2 of 4", "incomplete"] in [row[:4] for row in page.rows]


def test_the_network_and_the_settings_are_those_of_the_chosen_candidate(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path)
    layers = [{"layer": "Linear(2208, 16)", "output": [16], "parameters": 35344}]
    settings = {"lr": 0.002, "duration_s": 1.5, "optimizer": "sgd", "channels": 8}
    change(folder, "selection", network=layers, hyperparameters=settings)
    page = Page(background.network(read_evidence(folder)))
    assert "It hears the first 1.5 s" in page.words
    assert "by sgd at a learning rate of 0.002 in batches of 32" in page.words
    assert ["model.channels", "8 16", "yes"] in page.rows
    assert ["features.duration_s", "1.5", "yes"] in page.rows
    assert ["training.batch_size", "32"] in [row[:2] for row in page.rows]


def complete_candidates(folder: ExperimentFolder, n: int) -> Evidence:
    """The experiment with complete candidates whose mean is their dropout, whatever else they are."""
    evidence = read_evidence(folder)
    row = dataclasses.replace(evidence.candidates[0], status="complete")
    drawn = draw_candidates(evidence.space, n, seed=1)
    rows = [dataclasses.replace(row, candidate=one, mean=one.hyperparameters["dropout"]) for one in drawn]
    return dataclasses.replace(evidence, candidates=rows)


def test_the_hyperparameter_that_alone_makes_the_score_is_the_important_one(
    raced: tuple[ExperimentFolder, Page],
) -> None:
    found = searching.importances(complete_candidates(raced[0], 30))
    assert not isinstance(found, str)
    assert next(iter(found)) == "dropout"
    assert found["dropout"] > 0.9
    assert sum(found.values()) == pytest.approx(1)


def test_too_few_candidates_or_equal_ones_have_no_importance_and_the_report_says_why(
    raced: tuple[ExperimentFolder, Page],
) -> None:
    assert re.search(
        r"it needs 10 complete or dropped candidates of the space searched; there are \d\b", raced[1].words
    )
    evidence = complete_candidates(raced[0], searching.LEAST)
    equal = [dataclasses.replace(row, mean=0.5) for row in evidence.candidates]
    assert "same score" in str(searching.importances(dataclasses.replace(evidence, candidates=equal)))


def test_a_dropped_candidate_counts_as_far_below_its_rivals_mean_as_on_the_folds_that_both_ran_on(
    raced: tuple[ExperimentFolder, Page],
) -> None:
    evidence = read_evidence(raced[0])
    scores = searching.expected_scores(evidence)
    assert set(scores) == {row.candidate.id for row in evidence.candidates}
    for name, drop in evidence.drops.items():
        assert scores[name] == pytest.approx(scores[drop["against"]] + drop["difference"])


def test_figures_of_an_earlier_report_go(tmp_path: Path) -> None:
    folder = write_experiment(tmp_path, tested=False)
    for path in (folder.selection, folder.candidates, folder.trials):
        path.unlink()
    folder.figures.mkdir()
    (folder.figures / "race.png").touch()
    write_report(folder)
    assert not (folder.figures / "race.png").exists()


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
    evidence = read_evidence(write_experiment(tmp_path, tested=False, incomplete=True))
    page = Page(join(*headline.headline(evidence), candidates.table(evidence), background.read_on(evidence)))
    assert "It has not been tested yet" in page.words
    assert "Incomplete candidates: 1 of 4." in page.words
    assert "lr=0.0005 2 of 4 trials are missing 2 of 4 incomplete" in page.words
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
    results = [result for result in folder.read_trials() if result.hyperparameters["lr"] == 0.01]
    folder.trials.unlink()
    for result in results:
        nothing = [float("nan")] * result.epochs
        folder.append_trial(dataclasses.replace(result, val_loss=nothing, val_uar=nothing))
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


def test_a_cell_over_several_columns_moves_the_ones_behind_it() -> None:
    rendered = table(["name", "a", "b", "c"], [("x", "1", "2", "3"), ("y", Wide("why not", 2), "4")])
    assert '<th scope="row">y</th><td colspan="2" class="words">why not</td><td class="number">4</td>' in rendered


def test_an_interval_of_a_score_ends_where_scores_do() -> None:
    assert [interval(-0.2, 0.531), interval(0.9, 1.1), interval(float("nan"), 1)] == [
        "0.0 to 53.1",
        "90.0 to 100.0",
        "-",
    ]


def test_a_share_that_does_not_exist_is_a_hyphen() -> None:
    assert [percent(None), percent(float("nan")), percent(0.1254)] == ["-", "-", "12.5%"]


@pytest.mark.browser
def test_chromium_shows_every_image_and_nothing_sticks_out_of_a_narrow_window(
    raced: tuple[ExperimentFolder, Page], tmp_path: Path
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
    probe.write_text(raced[0].report.read_text(encoding="utf-8") + measure, encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --hide-scrollbars --window-size=500,1600"
    command = [chromium, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}"]
    picture = tmp_path / "page.png"
    shown = subprocess.run([*command, "--dump-dom", probe.as_uri()], capture_output=True, text=True, timeout=60)
    subprocess.run(
        [*command, f"--screenshot={picture}", raced[0].report.as_uri()], capture_output=True, check=True, timeout=60
    )
    title = re.search(r"<title>(.*?)</title>", shown.stdout)
    assert title, shown.stderr
    n_images = len(list(raced[0].figures.iterdir()))
    assert json.loads(html.unescape(title[1])) == {"broken": 0, "images": n_images, "over": 0}
    assert imread(picture).std() > 0.1

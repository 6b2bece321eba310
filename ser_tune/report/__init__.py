"""The files of an experiment -> report.html, one page that needs nothing else, and figures/*.png.

What is not there yet, the test or some folds, is said on the page. reading.py reads the evidence, markup.py
escapes; headline.py, candidates.py, searching.py, tested.py and background.py write the sections.
"""

from ser_tune.experiment import ExperimentFolder
from ser_tune.files import write_text
from ser_tune.report import background, candidates, headline, tested
from ser_tune.report.markup import element, page
from ser_tune.report.reading import read_evidence


def write_report(folder: ExperimentFolder) -> None:
    """Write figures/*.png and report.html from the experiment's files; the same files give the same page."""
    evidence = read_evidence(folder)
    for outdated in folder.figures.glob("*.png"):
        outdated.unlink()
    name = evidence.config["experiment"]
    body = [
        element("h1", f"Experiment {name}"),
        *headline.headline(evidence),
        headline.definitions(evidence),
        candidates.candidates(evidence),
        tested.tested(evidence),
        background.network(evidence),
        background.data(evidence),
        background.left_out(evidence),
        background.reproduce(evidence),
        background.read_on(evidence),
    ]
    write_text(folder.report, page(f"{name}: speech emotion recognition", *body))

"""Fold-aware hyperparameter search for speech emotion recognition, on a laptop or a Ray cluster.

A module imports only modules above it; commands import no other command. Read it from the top:

    errors.py       the errors a user may meet
    signals.py      the signals that have come
    files.py        atomic replacement, durable appends, locks
    config/         every setting, its default and its --help text; the search space
    experiment.py   the folder of one experiment: file names, trials.jsonl, decisions.jsonl
    audio.py        one recording -> samples and facts (hash, duration, rate)
    adapters.py     one short adapter per corpus: the name of a recording -> speaker, emotion, text
    corpora.py      a folder or a table of recordings -> clips
    voice.py        a synthetic voice: speaker, emotion, text -> waveform
    sample.py       the sample corpora: synthetic voices in the layouts of the real ones
    manifest.py     clips and facts -> one checked table, and what is left out and why
    findings.py     what an audit tells about clips, their audio and what is left out
    splits.py       test split and folds for each protocol
    features.py     waveforms -> MFCC, delta, delta-delta
    rows.py         recordings -> rows of the cache, each with its features or its error
    shards.py       the cache's immutable Parquet files and their manifest
    cache.py        Ray tasks: recordings -> Parquet under feature_cache/<fingerprint>/; incremental
    dataset.py      cached rows -> arrays; standardisation from training rows only
    sharing.py      rows of the manifest -> these arrays, in Ray's object store: a node holds them once
    metrics.py      accuracy, UAR, macro F1, confusion, intervals
    model.py        ModelConfig -> a fresh network
    training.py     the one epoch loop, used by trials and by the refit
    candidates.py   the search space -> candidates of a grid or at random; the seeds of trials
    race.py         which candidates need no further folds: a paired test
    schedule.py     which trial comes next, which candidates are dropped; pure
    study.py        the candidate that Optuna's TPE proposes next
    selection.py    results -> fold means -> the choice; refuses gaps
    certainty.py    how sure the choice is: corrected intervals, paired differences
    trial.py        (candidate, fold) -> its result; what Ray Tune runs
    searcher.py     a Ray Tune Searcher of (candidate, fold) trials
    precision.py    float32, or what the devices are clearly faster with: measured once per experiment
    refit.py        the final trainer: the choice on the whole training split
    testing.py      the test split is opened here and nowhere else
    figures/        what people look at: curves, race, hyperparameters, confusion matrix, scores, network
    events.py       TensorBoard's event files
    tracking.py     what TensorBoard is shown
    export.py       the bundle: save and load
    inference.py    a bundle and one recording -> probabilities, window by window
    report/         the files of an experiment -> report.html
    board.py, progress.py   what a terminal shows while work goes on
    ray_loss.py     ends the command in a line when the Ray that it uses is lost
    cluster.py      a Ray of one's own, or the one that is named
    preparation.py  recordings -> the experiment's data: the steps above up to the splits
    staging.py      the features a candidate asks for -> its data in the object store
    fold_search.py  runs what is missing of a search; every result and decision on the disk
    finish.py       the choice -> refit, one look at the test split, bundle, outcome
    pipeline.py     the steps of a search in their order
    command.py      what all commands share: parsing, signals, exit status
    commands:       search.py, extract.py, audit.py, predict.py
"""

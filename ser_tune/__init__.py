"""Fold-aware hyperparameter search for speech emotion recognition, on a laptop or a Ray cluster.

A module imports only modules above it; commands import no other command. Read it from the top:

    errors.py      the errors a user may meet
    files.py       atomic replacement, durable appends, locks
    config.py      every setting, its default and its --help text
    experiment.py  the folder of one experiment: file names, trials.jsonl
    audio.py       one recording -> samples and facts (hash, duration, rate)
    adapters.py    one short adapter per corpus: the name of a recording -> speaker, emotion, text
    corpora.py     a folder or a table of recordings -> clips
    voice.py       a synthetic voice: speaker, emotion, text -> waveform
    sample.py      the sample corpora: synthetic voices in the layouts of the real ones
    manifest.py    clips and facts -> one checked table, and what is left out and why
    findings.py    what an audit tells about clips, their audio and what is left out
    splits.py      test split and folds for each protocol
    features.py    waveforms -> MFCC, delta, delta-delta; batched
    cache.py       Ray Data: recordings -> Parquet under feature_cache/<fingerprint>/; incremental
    dataset.py     cached rows -> arrays; standardisation from training rows only
    metrics.py     accuracy, UAR, macro F1, confusion, intervals
    model.py       ModelConfig -> a fresh network
    training.py    the one epoch loop, used by trials and by the refit
    candidates.py  the search space -> candidates
    selection.py   results -> fold means -> the choice; refuses gaps
    trial.py       (candidate, fold) -> its result; what Ray Tune runs
    searcher.py    which trial comes next (a Ray Tune Searcher)
    refit.py       the final trainer: refit on the training split, test once
    figures.py     what people look at: curves, confusion matrix, scores, network
    events.py      TensorBoard's event files
    tracking.py    what TensorBoard is shown
    export.py      the bundle: save and load
    report/        the files of an experiment -> report.html
    board.py       the live board of candidates and folds
    command.py     what all commands share: parsing, signals, exit status
    commands:      search.py, extract.py, audit.py, final.py, predict.py
"""

"""Feature extraction as one writes it: joblib over a loop of librosa.load, MFCC, deltas; nothing of ours.

    python benchmarks/plain_extraction.py DIR OUT.npz [--cut]

`--cut` decodes only the 2 s that are kept, as those do who know librosa's `duration`.
"""

import argparse
from pathlib import Path

import joblib
import librosa
import numpy as np
import numpy.typing as npt

SAMPLE_RATE, DURATION_S = 24000, 2


def extract(path: Path, seconds: float | None) -> npt.NDArray[np.float32]:
    """MFCC, delta and delta-delta of the first 2 s, levelled to their peak [39, 94]."""
    waveform, _ = librosa.load(path, sr=SAMPLE_RATE, duration=seconds)
    waveform = librosa.util.fix_length(waveform, size=SAMPLE_RATE * DURATION_S)
    waveform = waveform / max(np.abs(waveform).max(), 1e-9)
    mfcc = librosa.feature.mfcc(y=waveform, sr=SAMPLE_RATE, n_mfcc=13)
    features: npt.NDArray[np.float32] = np.concatenate(
        [mfcc, librosa.feature.delta(mfcc), librosa.feature.delta(mfcc, order=2)]
    )
    return features


def main() -> None:
    """Extract all recordings below the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cut", action="store_true")
    args = parser.parse_args()
    paths = sorted(args.folder.rglob("*.wav"))
    seconds = DURATION_S if args.cut else None
    found = joblib.Parallel(n_jobs=joblib.cpu_count())(joblib.delayed(extract)(path, seconds) for path in paths)
    np.savez(args.out, features=np.stack(found), paths=[str(path) for path in paths])


if __name__ == "__main__":
    main()

"""Search hyperparameters by cross-validation: recordings in, a chosen, tested, exported classifier out."""
from ser_tune.command import run
from ser_tune.config import SearchConfig


def main(config: SearchConfig) -> None:
    print(config)


if __name__ == "__main__":
    run(main, SearchConfig)

from ser_tune.candidates import draw_candidates, list_grid
from ser_tune.config import SpaceConfig

MIXED = SpaceConfig(lr=("log:1e-4..1e-2",), optimizer=("adam", "sgd"), batch_size=("int:16..64",))


def test_a_grid_is_every_combination_the_last_hyperparameter_changing_fastest() -> None:
    grid = list_grid(SpaceConfig(lr=(0.01, 0.001), dropout=(0.1, 0.2), optimizer=("adam", "sgd")))
    assert [list(candidate.hyperparameters.values()) for candidate in grid] == [
        [lr, word, dropout] for lr in (0.01, 0.001) for word in ("adam", "sgd") for dropout in (0.1, 0.2)
    ]
    assert grid[0].label == "lr=0.01, optimizer=adam, dropout=0.1"


def test_more_candidates_begin_with_the_same_ones_and_no_two_are_alike() -> None:
    few, many = draw_candidates(MIXED, 5, 0), draw_candidates(MIXED, 50, 0)
    assert many[:5] == few
    assert len({candidate.id for candidate in many}) == 50
    assert draw_candidates(MIXED, 5, 1) != few


def test_drawn_values_lie_in_the_space_and_all_over_it() -> None:
    drawn = [candidate.hyperparameters for candidate in draw_candidates(MIXED, 400, 0)]
    assert {values["optimizer"] for values in drawn} == {"adam", "sgd"}
    assert min(values["batch_size"] for values in drawn) <= 18
    assert max(values["batch_size"] for values in drawn) >= 62
    below = sum(values["lr"] < 1e-3 for values in drawn)
    assert 160 < below < 240  # half of the decades lie below
    assert all(1e-4 <= values["lr"] <= 1e-2 for values in drawn)


def test_a_space_of_fewer_candidates_than_wanted_gives_all_it_has() -> None:
    lists = SpaceConfig(lr=(0.01, 0.001), optimizer=("adam", "sgd"))
    assert draw_candidates(lists, 4, 0) == list_grid(lists)
    assert len(draw_candidates(SpaceConfig(lr=(0.01,), batch_size=("int:1..3",)), 24, 0)) == 3

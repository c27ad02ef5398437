"""Training, on a model and a task so small that it takes seconds."""

import pytest
import torch

from perfmamba.errors import InputError
from perfmamba.evaluation.recall import RecallTask, accuracy
from perfmamba.models import load_model
from perfmamba.training import recall as training
from perfmamba.training.recall import (
    CURRICULA,
    Stage,
    main,
    model_card,
    recall_model,
    train,
)
from perfmamba.training.trainable import TrainingCheck
from tests.small_models import small_mamba1, small_mamba2

TASK = RecallTask(pairs=2, length=8, vocabulary=12)


def trained(stages, make=small_mamba2):
    model = make()
    return model, list(train(model, stages, seed=0))


@pytest.mark.parametrize("make", [small_mamba1, small_mamba2])
def test_it_learns_what_it_is_asked(make):
    assert accuracy(make(), TASK, samples=100).value < 0.3
    stages = [Stage(RecallTask(1, 4, 12), 300, mastered=0.95), Stage(TASK, 300, mastered=0.9)]
    model, checks = trained(stages, make)
    assert [check.stage for check in checks] == sorted(check.stage for check in checks)
    assert checks[-1].stage == 1
    assert checks[-1].measured.value >= 0.9
    assert checks[-1].total_steps > checks[-1].step
    assert accuracy(model, TASK, samples=500, seed=5).value > 0.8


def test_a_stage_without_a_goal_takes_all_its_steps():
    _, checks = trained([Stage(TASK, 60)])
    assert [check.step for check in checks] == [50, 60]


def test_a_stage_that_is_not_mastered():
    with pytest.raises(InputError, match=r"2 pairs in 8 tokens: accuracy 0\.\d+ after 3 steps, not 1\.0"):
        trained([Stage(TASK, 3, mastered=1.0)])


def test_the_same_seed_gives_the_same_model():
    first, again = (trained([Stage(TASK, 5)])[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("kind", ["mamba", "mamba2"])
def test_the_weights_depend_on_the_seed_alone(kind):
    rng = torch.get_rng_state()
    first, again, other = (recall_model(kind, seed=seed).lm_head.weight for seed in (1, 1, 2))
    assert torch.equal(rng, torch.get_rng_state())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_curriculum_ends_with_what_the_study_asks():
    assert CURRICULA["mamba2"][-1].task == RecallTask()
    assert CURRICULA["mamba"][-1].task == RecallTask(pairs=4, length=32)


@pytest.mark.parametrize("kind", ["mamba", "mamba2"])
def test_a_curriculum_gets_harder(kind):
    tasks = [stage.task.pairs for stage in CURRICULA[kind]]
    assert tasks == sorted(tasks)
    assert [stage.mastered is None for stage in CURRICULA[kind]] == [False] * (len(tasks) - 1) + [True]


def test_the_card_says_how_to_train_it_again():
    _, (check,) = trained([Stage(TASK, 2)])
    card = model_card("mamba2", 7, 2, check, [Stage(TASK, 2)])
    assert "perfmamba.training.recall --kind mamba2 --seed 7 --threads 2 --out" in card
    assert "2 steps of 64 sequences, at last of 2 pairs in 8 tokens" in card
    assert f"{check.measured.value:.4f}" in card


@pytest.fixture
def interrupted(monkeypatch):
    def train_then_stop(model, curriculum, *, seed):
        answered = accuracy(model, RecallTask(), samples=2)
        yield TrainingCheck(step=1, steps=2, measured=answered)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", train_then_stop)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # other tests keep theirs


def test_an_interrupt_keeps_the_last_checkpoint(interrupted, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(out=tmp_path / "tiny")
    assert stop.value.code == 130
    assert "interrupted; the last checkpoint is in" in capsys.readouterr().err
    assert load_model(str(tmp_path / "tiny")).generation == 2


@pytest.mark.parametrize("out", [".", "precious"])
def test_a_folder_that_is_in_use_and_a_file(tmp_path, capsys, out):
    (tmp_path / "precious").write_text("data")
    with pytest.raises(SystemExit) as stop:
        main(out=tmp_path / out)
    assert stop.value.code == 2
    assert "something is there already" in capsys.readouterr().err

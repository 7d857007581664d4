"""From the settings of a run to TRL's."""

import os
from pathlib import Path

from trl import GRPOConfig

from reproduce.environment import set_precision
from reproduce.training.fully_sharded import OFFLOAD
from reproduce.training.parallel import check_division, processes
from reproduce.training.sampler_copy import divided

CHECKPOINTING = {"use_reentrant": False}


NO_QUESTION = -1
"""The dataset's `index` in a row that only fills up TRL's batch."""


def rows_of_a_pass(training) -> int:
    """Rows of a mini-batch that TRL counts for one process, rounded up; each stands for a trajectory."""
    rows = training.prompts_per_step * training.group_size
    return -(-rows // (training.minibatches * processes()))


def question_indices(training) -> list[int]:
    """The dataset's `index` column: the questions of each RL step in order, then `NO_QUESTION` up to the rows that TRL
    takes from the dataset in a step, which are more where groups of 1 do not divide among mini-batches and processes.
    """
    taken = rows_of_a_pass(training) * training.minibatches * processes() // training.group_size
    fill = [NO_QUESTION] * (taken - training.prompts_per_step)
    starts = range(0, training.steps * training.prompts_per_step, training.prompts_per_step)
    return [index for start in starts for index in [*range(start, start + training.prompts_per_step), *fill]]


def grpo_config(output_dir: Path, training, max_completion_tokens: int, seed: int) -> GRPOConfig:
    """TRL's config for one run: each of its updates is one mini-batch, and one RL step makes epochs x minibatches.

    TRL asks for groups of 2 or more; `AgenticTrainer` takes groups of 1 from `group_size`. Its learning-rate schedule
    is the trainer's too.

    Args:
        output_dir: of checkpoints.
        training: `TrainingConfig`.
        max_completion_tokens: the most tokens of a completion, tool results included.
        seed: of TRL's shuffling.

    Raises:
        UserError: the processes cannot divide the work of a step.
    """
    check_division(training)
    set_precision(training.dtype)
    if training.offload_optimizer and training.device == "cpu":
        print("training.offload_optimizer: changes nothing, since the model is on the CPU itself", flush=True)
    elif training.offload_optimizer and divided():
        os.environ[OFFLOAD] = "true"  # before the processes find each other: they then exchange what is on CPUs too
    updates = training.epochs * training.minibatches
    return GRPOConfig(
        output_dir=str(output_dir),
        seed=seed,
        data_seed=seed,
        report_to="none",
        disable_tqdm=True,
        max_steps=training.steps * updates,
        save_steps=training.checkpoint_every * updates,
        save_total_limit=2,
        logging_steps=1,
        logging_first_step=False,
        save_strategy="steps",
        per_device_train_batch_size=rows_of_a_pass(training),
        gradient_accumulation_steps=1,
        steps_per_generation=training.minibatches,
        num_iterations=training.epochs,
        num_generations=max(2, training.group_size),
        shuffle_dataset=False,
        remove_unused_columns=False,
        max_completion_length=max_completion_tokens,
        temperature=training.temperature,
        top_p=1.0,
        top_k=0,
        learning_rate=training.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        beta=0.0,
        use_vllm=False,
        use_cpu=training.device == "cpu",
        bf16=training.dtype == "bfloat16",
        fp16=False,
        gradient_checkpointing=bool(training.gradient_checkpointing),
        gradient_checkpointing_kwargs=CHECKPOINTING,
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
        dataloader_pin_memory=False,
    )

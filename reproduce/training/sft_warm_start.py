"""The warm start of a hub's model: supervised fine-tuning on an SFT set (ARPO-SFT-54K) by TRL's `SFTTrainer`.

As many processes take part as the launcher started. Weights may be divided among them (FSDP, ZeRO-3); a whole copy
takes them over at the end. Checkpoints lie beside the folder that is made, and a killed warm start goes on from the
last one.
"""

import shutil
from pathlib import Path

from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from reproduce.environment import set_precision
from reproduce.errors import UserError
from reproduce.rollouts.chat import ChatCollector
from reproduce.training.checkpoints import complete, last_checkpoint, load_carried
from reproduce.training.exchange import ExchangedOnce
from reproduce.training.fully_sharded import divide_trained, on_cpus
from reproduce.training.master_weights import in_float32, low_precision
from reproduce.training.own_forward import with_own_forward
from reproduce.training.parallel import process_index, processes, wait_for_all
from reproduce.training.sampler_copy import Replica, divided
from reproduce.training.warm_start import common_settings, save_warm_start
from reproduce.worlds.benchmarks.datasets.sft import read_sft

CHECKPOINT_EVERY = 50
"""Updates from one checkpoint to the next."""


def sft_rows(collector: ChatCollector, config, path: Path) -> list[dict]:
    """The rows of an SFT set as chats. Those longer than `config.data.max_tokens` are left out.

    Args:
        collector: has the chat template and the tokens.
        config: `WarmStartConfig` with `data`; at most `config.demonstrations` rows are read.
        path: of the set.

    Returns:
        input_ids and labels (-100 where nothing is learned) of each.

    Raises:
        UserError: nothing is left.
    """
    grammar, rows, seen = collector.grammar, [], 0
    for row in read_sft(path, config.demonstrations):
        seen += 1
        ids = collector.chat_ids(row.messages)
        labels = [-100] * len(ids)
        for text, learned in row.pieces:
            piece = grammar.encode(text)
            ids += piece
            labels += piece if learned else [-100] * len(piece)
        if len(ids) < config.data.max_tokens:
            rows.append({"input_ids": [*ids, grammar.eos_id], "labels": [*labels, grammar.eos_id]})
    print(
        f"warm start: {len(rows)} of {seen} rows of {path.name} have at most {config.data.max_tokens} tokens",
        flush=True,
    )
    if not rows:
        raise UserError(
            f"warm_start.data.max_tokens: no row of {path.name} has at most {config.data.max_tokens} tokens"
        )
    return rows


class _Trainer(ExchangedOnce, SFTTrainer):
    """`SFTTrainer` whose optimiser keeps float32 copies and float32 gradients of bfloat16 weights."""

    mean = True

    @staticmethod
    def get_optimizer_cls_and_kwargs(args, model=None):
        """The optimiser that the config names (AdamW); over float32 copies where bfloat16 weights are trained."""
        cls, options = SFTTrainer.get_optimizer_cls_and_kwargs(args, model)
        return in_float32(cls, model), options


class _Told(TrainerCallback):
    """Reports every update, and completes every checkpoint."""

    def __init__(self, report):
        self.report = report

    def on_step_end(self, args, state, control, **kwargs):
        self.report("warm start", state.global_step, state.max_steps)

    def on_save(self, args, state, control, **kwargs):
        wait_for_all()  # each process saves random states of its own
        if state.is_world_process_zero:
            complete(Path(args.output_dir) / f"checkpoint-{state.global_step}", {})


def train_on_sft_set(model, tokenizer, config, rows: list[dict], folder: Path, report) -> None:
    """Fine-tunes `model` and saves it with its tokenizer to `folder` (replaced in one step). Every process calls it.

    Args:
        model, tokenizer: the causal LM, which is changed, and its tokenizer.
        config: `WarmStartConfig` with `data`.
        rows: as of `sft_rows`.
        folder: of the warm start; checkpoints lie beside it.
        report: (stage, step, total) is called with the progress.

    Raises:
        UserError: the processes cannot share a batch, or another number of them wrote the checkpoint to go on from.
    """
    share = config.batch_size / processes()
    if share != int(share):
        raise UserError(f"warm_start.batch_size: must be a multiple of the {processes()} processes")
    scratch = folder.with_name(folder.name + ".sft")
    whole = Replica(model) if divided() else None
    set_precision("bfloat16" if low_precision(model) else "float32")
    args = SFTConfig(
        **common_settings(config, scratch, model),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=int(share),
        weight_decay=config.data.weight_decay,
        lr_scheduler_type=config.data.schedule,
        warmup_steps=config.data.warmup_share,
        save_strategy="steps",
        save_steps=CHECKPOINT_EVERY,
        save_total_limit=2,
        bf16=low_precision(model),
        gradient_checkpointing=next(model.parameters()).device.type != "cpu",
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
    )
    on_cpus()
    trainer = _Trainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[_Told(report)],
    )
    divide_trained(trainer.accelerator, trainer.model, mean=True)
    checkpoint = last_checkpoint(scratch)
    if checkpoint is not None:
        load_carried(checkpoint, "cpu")  # refuses that of another number of processes
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    with_own_forward(model)
    if whole is not None:
        whole.refresh(trainer.model)
    if process_index() == 0:
        save_warm_start(model if whole is None else whole.model, tokenizer, folder, [])
        shutil.rmtree(scratch, ignore_errors=True)
    wait_for_all()

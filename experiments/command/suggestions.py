"""What an unknown key or option probably means: one of our keys without its part, or another library's word for it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache

from experiments.command import keys
from framework.errors import UserError, near
from framework.spec.renamed import OLD_KEYS

# Our key, and what timm, Keras, Lightning and the Hugging Face trainer call it.
_OURS = {
    "optimizer": "opt optim",
    "optimizer.lr": "learning_rate base_lr peak_lr max_lr lr0 eta",
    "optimizer.weight_decay": "wd decay",
    "optimizer.b1": "momentum beta1 beta_1 adam_beta1",
    "optimizer.b2": "beta2 beta_2 adam_beta2",
    "optimizer.epsilon": "eps opt_eps adam_epsilon",
    "optimizer.clip_norm": "clip clip_grad grad_clip max_grad_norm clipnorm gradient_clip_val clip_value",
    "schedule": "sched scheduler lr_scheduler lr_schedule lr_scheduler_type",
    "schedule.warmup_steps": "warmup warmup_epochs warmup_iters warmup_ratio",
    "duration.total_epochs": "epochs epoch num_epochs n_epochs max_epochs num_train_epochs e",
    "duration.total_steps": "steps max_steps num_steps train_steps iterations iters max_iter",
    "batch_size": "batch bs batchsize train_batch_size per_device_train_batch_size b",
    "evaluation.batch_size": "eval_batch_size val_batch_size validation_batch_size per_device_eval_batch_size",
    "evaluation.num_times": "eval_every eval_interval val_interval validation_freq eval_freq eval_steps",
    "views.size": "image_size img_size input_size crop_size resolution imgsz image_shape input_shape",
    "views.area": "scale crop random_resized_crop",
    "views.aspect": "ratio",
    "views.flip": "hflip horizontal_flip",
    "views.mixup": "mixup_alpha mix",
    "views.augmentations": "aug augment augmentation aa auto_augment",
    "loss.distance": "criterion loss_fn kd_loss",
    "loss.temperature": "t temp tau",
    "loss.task_weight": "alpha ce_weight hard_weight task_loss_weight",
    "loss.options.label_smoothing": "smoothing label_smoothing",
    "data": "dataset data_dir data_path data_set dataset_name train_dir root",
    "data.train": "train_split",
    "data.validation": "val val_split validation_split",
    "data.test": "test_split",
    "student": "model arch architecture backbone net network student_model",
    "student.weights": "pretrained checkpoint ckpt initial_checkpoint finetune init_weights checkpoint_path",
    "student.options": "model_kwargs",
    "teacher": "teacher_model teacher_path teacher_name",
    "threads": "workers num_workers j num_threads cpus",
    "precision": "amp fp16 bf16 half mixed_precision dtype",
    "device": "gpu cuda accelerator",
    "devices": "gpus num_gpus n_gpus num_devices nproc_per_node",
    "backend": "framework engine keras_backend",
    "seed": "random_seed manual_seed random_state rng",
    "grad_accum_steps": "grad_accum accum_steps accumulate_grad_batches gradient_accumulation_steps",
    "batch_norm_size": "sync_bn sync_batchnorm sync_batch_norm split_bn ghost_batch_size",
    "remat": "gradient_checkpointing grad_checkpointing activation_checkpointing",
    "log_every": "log_interval log_freq print_freq logging_steps log_steps",
    "checkpoint_steps": "save_every save_freq save_steps checkpoint_every recovery_interval",
    "best_by": "metric eval_metric monitor metric_for_best_model",
    "resume": "resume_from resume_from_checkpoint load_checkpoint",
}
_THEIRS = {word: key for key, words in _OURS.items() for word in words.split()} | {
    word: f"student.options.{word}" for word in ("depth", "width", "depths", "widths")
}
_EXPORT = (
    "afterwards `python -m experiments.runs export --to wandb-offline|tensorboard|csv` writes what other tools read"
)
_FILE = "a file of keys is named alone after 'with', as a recipe is: with FILE.json"
_OUTPUT = "runs are written to .experiments, or where EXPERIMENTS_DIR says"
# What there is no key for.
_NONE = {
    **dict.fromkeys(("num_classes", "nb_classes", "classes", "n_classes"), "the number of classes is the data's"),
    **dict.fromkeys(("output", "output_dir", "out", "save_dir", "log_dir", "logdir", "experiment_dir"), _OUTPUT),
    **dict.fromkeys(("wandb", "tensorboard", "report_to", "logger", "log_wandb"), _EXPORT),
    **dict.fromkeys(("config", "cfg", "config_file", "yaml"), _FILE),
    **dict.fromkeys(("cutmix", "cutmix_alpha"), "views are mixed by views.mixup alone"),
    **dict.fromkeys(("dropout", "drop", "drop_rate", "drop_path"), "dropout is in the student itself, if it has any"),
    **dict.fromkeys(("ema", "ema_decay", "model_ema", "swa"), "no average of weights is kept; best_by picks a student"),
    **dict.fromkeys(
        ("patience", "early_stopping", "early_stop"), "training is never cut short; the best student is kept as well"
    ),
}


@cache
def _names() -> tuple[str, ...]:
    """Every key of a command line, and the parts that are set as a whole."""
    known = [key.name for part in keys.parts() for key in part.keys]
    parts = [name.partition(".")[0] for name in known]
    return tuple(dict.fromkeys([*parts, *known]))


def key_for(word: str) -> str | None:
    """Our key for a word that is none: `optimizer.lr` for `lr`, `learning-rate`, `optimiser.lr`; None for no idea."""
    wanted = word.strip().lower().replace("-", "_")
    top, _, rest = wanted.partition(".")
    found = wanted if wanted in _names() else _THEIRS.get(wanted) or _only_leaf(wanted)
    if found is None and rest:
        part = _close(top, [name for name in _names() if "." not in name])
        found = f"{part}.{rest}" if f"{part}.{rest}" in _names() else _THEIRS.get(rest) or _only_leaf(rest)
    return found or _closest(wanted)


def _only_leaf(word: str) -> str | None:
    """The key that ends in a word; of several none is meant more than another, but the student's own come first."""
    found = [name for name in _names() if name.endswith(f".{word}")]
    own = [name for name in found if name.startswith("student.")]
    return own[0] if own else found[0] if len(found) == 1 else None


def _closest(word: str) -> str | None:
    """For a slip of the pen, in a key or in another library's word."""
    leaves = {name.rpartition(".")[2]: name for name in reversed(_names())}
    table = {**_THEIRS, **leaves, **{name: name for name in _names()}}
    # Of two or three letters any other word is a neighbour.
    close = _close(word, [name for name in table if len(name) > 2])
    return table[close] if close else None


def _close(word: str, names: list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, names, n=1, cutoff=0.7)), None)


def advice(word: str) -> str:
    """What to write instead of an unknown key."""
    none = _NONE.get(word.lower().replace("-", "_"))
    if none:
        return none
    found = key_for(word)
    return f"did you mean {found!r}? --help {found} explains it" if found else "--help lists the keys"


def check_key(key: str) -> None:
    """Refuse a key of a command line whose part is unknown, or that belongs to another part.

    Raises:
        UserError: it says which key is probably meant.
    """
    if key in OLD_KEYS:
        return
    top, _, rest = key.partition(".")
    inner = [name.partition(".")[2] for name in _names() if name.startswith(f"{top}.")]
    if top not in _names():
        raise UserError(f"unknown key {key!r}: {advice(key)}")
    first = rest.partition(".")[0]
    # A slip within the part is answered by the part, with all that it has.
    is_slip = first not in _THEIRS and difflib.get_close_matches(first, inner, n=1, cutoff=0.5)
    if first and inner and first not in inner and not is_slip:
        theirs = _THEIRS.get(first) or _only_leaf(first)
        told = f"did you mean {theirs!r}?" if theirs else near(first, inner)
        raise UserError(f"unknown key {key!r}: {told}")


def is_known(word: str) -> bool:
    """Whether an option's name is exactly one of our keys, or another library's word for one."""
    name = word.lstrip("-").lower().replace("-", "_")
    return name in _names() or name in _THEIRS or name in _NONE or _only_leaf(name) is not None


def meant(name: str, known: Iterable[str], value: str | None, takes_keys: bool = True) -> str:
    """What to write instead of an unknown option.

    Args:
        name: with its dashes.
        known: the options that there are.
        value: what followed it; nothing is as good as None.
        takes_keys: whether the command takes keys after `with`.
    """
    if name == "--with":
        return "write 'with', without dashes"
    close = _close(name, [each for each in known if each.startswith("--")])
    if close and not (takes_keys and is_known(name)):
        return f"did you mean {close}?"
    return _instead(name.lstrip("-"), value) if takes_keys else "there is none like it"


def _instead(name: str, value: str | None) -> str:
    """The key after `with` that an option means."""
    none = _NONE.get(name.lower().replace("-", "_"))
    found = key_for(name)
    if none or not found:
        return none or "--help lists the options and keys"
    value = f"gpu:{value}" if found == "device" and value and value.isdecimal() else value
    return f"keys have no dashes and follow 'with': with {found}={value or '...'}"

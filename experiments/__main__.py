"""`python -m experiments` lists the commands."""

from experiments.command.streams import lasting

COMMANDS = {
    "run": "distil a teacher into a student",
    "sweep": "distil many students on one teacher's pass, and pick the best",
    "worker": "run what was queued, here or on other machines",
    "study": "run a study of the paper and draw its figure",
    "figures": "draw the paper's figures from your own runs",
    "views": "draw what teacher and student see at some steps, and compare it on all backends",
    "predict": "what a stored student sees in your images",
    "export": "put a stored student into a file of another library: ONNX, Keras, PyTorch, ...",
    "teacher": "train or fine-tune a teacher and store it",
    "runs": "list, show, compare, plot, watch, report and export what was run",
    "db": "the embedded database: serve, status, stop, replay",
    "parity": "compare the backends on one spec, step by step",
    "bench": "time our step against what people would use instead",
}


def main() -> None:
    """Print the commands."""
    print("python -m experiments.COMMAND --help\n")
    for name, summary in COMMANDS.items():
        print(f"  experiments.{name:14s}{summary}")


if __name__ == "__main__":
    with lasting():
        main()

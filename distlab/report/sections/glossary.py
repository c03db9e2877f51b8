"""What a report says of its own figures: a legend for each section, and the method."""

from distlab.measure.blocks import PROCESS_SD

FIGURES = (
    "Geometric means over repeats, below them their 95% intervals, each by itself. A row that "
    "stands out is told to be faster than every other with as many workers."
)
FEW = (
    "Of each combination too few runs for an interval: how far a figure would be from that of "
    "another run is not known, and no difference is told."
)
WORDS = [
    (
        "eager, graph",
        "How a framework runs its steps: eager, operation by operation as Python calls them; "
        "graph, compiled to a program before the first step.",
    ),
    (
        "workers",
        "Processes that train one model together, each with its part of every batch. Weak scaling "
        "gives each a whole batch, so that more workers take fewer and larger steps; strong "
        "scaling divides one batch between them.",
    ),
    (
        "s to a target",
        "Training time until an evaluation found that test accuracy or above; it is known to the "
        "steps from one to the next: an epoch's, or those of evaluate.every.",
    ),
    ("samples/s", "Training images a second of all workers together."),
    ("speed-up", "Over the samples/s of one worker; in brackets over as many (efficiency)."),
    ("memory", "The most that one worker held, in millions of bytes."),
    (
        "whole job, start-up",
        "From the command to the record, and to the first step: medians of runs in freshly started "
        "processes; neither is in samples/s. Compile is a part of start-up: cached where the "
        "compiled steps of an earlier run were found, and then beside it what they took when they "
        "were compiled (cold).",
    ),
    (
        "exchange",
        "The share of a step that workers spend on exchanging gradients, where its interval lies "
        "above 0.",
    ),
    (
        "MFU",
        "Model FLOP utilisation: the model's arithmetic over the matrix products that the "
        "same threads of this machine can do, which is one figure for all frameworks.",
    ),
    (
        "verified",
        "Runs that passed every check of weights, samples, optimizer, arithmetic, threads and "
        "clock. A run that didn't, or whose machine was too busy with other work, is set apart, "
        "and no figure is from it.",
    ),
    ("cell", "One combination of options, with all its repeats; a row of the table."),
    ("group", "The worker processes that were started together; repeats may share them."),
]
RATIOS = (
    "Ratios of throughputs over pairs of repeats, which share their seed and their time. A "
    "difference is told where its 95% interval excludes 1 and it stands out among all that the "
    "report compares."
)
RANGES = (
    "Ranges hold what the measurements leave open; they are no confidence intervals. Stragglers, "
    "congestion and shared cores are in none (docs/prediction.md)."
)
PREDICTION = (
    "From the steps, the exchange and the all-reduces that runs of few workers measured, the model "
    "of docs/prediction.md says what more workers do; python -m distlab.predict tells it for up to "
    "1,024 and more."
)
UNSURE = "No pair has repeats enough for an interval."
CLASSROOM = (
    "Published means of ten runs beside ours. Ours are of training alone (all epochs' windows); a "
    "whole run is from the command to the record."
)
COMPILATION = (
    "A graph is compiled before the first step, outside the timed windows, so no throughput has "
    "that in it. It pays once what it saves an epoch adds up to what compiling it took. Compile "
    "times are of runs in processes that had not compiled the same before: mostly one run a cell, "
    "so they have no interval. What is saved is the mean difference of the epochs of pairs of "
    "repeats; where the report does not tell the two apart, no number of epochs is given."
)
JOB_TIMES = (
    "A whole job: its start and compilation, as measured here (compiled steps that a cache held "
    "are not compiled again), and so many epochs with their evaluation. More than ten times the "
    "epochs or the samples that were measured, or less than a tenth of these, is extrapolated and "
    "marked by ~. Training is in proportion to the samples; evaluation stays as it was. These are "
    "means without intervals, and claim nothing of who is first."
)
TUNED = (
    "No framework is timed as pip installs it. All get the threads that were asked for, the same "
    "formula of the optimizer, and their batches by index from memory, without a data loader. "
    "Besides that:"
)
SCORECARD = (
    "The original study's three criteria. Lines of code are those that a user writes to train "
    "LeNet-5 on several workers and to evaluate it, in the style of the framework's own tutorials "
    "(its script stands below and runs as it stands; distlab's adapters are not counted). Speed is "
    "measured; openness is dated facts with their sources, and no ranking."
)
METHOD = [
    (
        "window",
        "An epoch is timed between two barriers, with the devices idle at both ends. Only training "
        "steps are inside; warm-up, compilation, evaluation and records are outside.",
    ),
    (
        "throughput",
        "Samples of all workers over the slowest worker's windows, over all epochs of a run.",
    ),
    (
        "speed-up, efficiency",
        "T(n) / T(1) and T(n) / (n T(1)) of throughputs, where the runs with 1 worker differ in "
        "nothing else and whose cell is ranked. Runs of another study are no pairs of these and "
        "ran on another day: the interval allows for that, and the table says so.",
    ),
    (
        "intervals",
        "Student's t of logarithms, 95% each by itself, for the time of the study. A ratio is "
        "of pairs: two runs of one repeat, which share their seed and their time. Repeats in "
        "the same worker processes are one draw. With fewer than 3 groups of processes repeats are "
        f"the draws, and the interval allows for processes that differ by {PROCESS_SD:.1%} "
        "(standard deviation). Fewer than 3 runs have no interval.",
    ),
    (
        "claims",
        "A difference is told if its interval excludes 1 and Holm's test over all comparisons of "
        "the report, with a variance pooled over its setting or the report, whichever is greater, "
        "rejects it. Each look at a study that goes on spends a part of the 5% (the first four "
        "fifths).",
    ),
    (
        "repeats",
        "Repeat k of every cell uses seed + k, and all cells run once before any runs again. One "
        "run at a time has the machine.",
    ),
    (
        "cost",
        "No price: what a job costs is told as the seconds of cores (or GPUs) that it held. Energy "
        "stands among the conditions, where a counter tells it.",
    ),
]
